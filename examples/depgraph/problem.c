/* SPDX-License-Identifier: MIT */
#include "problem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const problem_words[PROBLEM_KINDS] = {
    [PROBLEM_NO_COLON] = "line without a colon",
    [PROBLEM_FIELD_NAME] = "not a field name",
    [PROBLEM_STRAY_CONTINUATION] = "continuation line that continues no field",
    [PROBLEM_REPEATED_FIELD] = "field given twice",
    [PROBLEM_NUL] = "NUL byte",
    [PROBLEM_LONG_LINE] = "line of more than 1 MiB",
    [PROBLEM_TRUNCATED] = "the input ends in the middle of a line",
    [PROBLEM_NO_PACKAGE] = "no Package field",
    [PROBLEM_PACKAGE_NAME] = "bad package name",
    [PROBLEM_VERSION] = "bad version",
    [PROBLEM_TARGET_NAME] = "bad name in a relation",
    [PROBLEM_PARENTHESIS] = "unbalanced parenthesis",
    [PROBLEM_OPERATOR] = "bad operator in a version constraint",
    [PROBLEM_CONSTRAINT_VERSION] = "bad version in a version constraint",
    [PROBLEM_EMPTY_ALTERNATIVE] = "empty alternative",
    [PROBLEM_RELATION_SYNTAX] = "relation that cannot be understood",
    [PROBLEM_TOO_MANY_ALTERNATIVES] = "too many alternatives",
};

static size_t kept_of_kind(const struct problems *problems, enum problem_kind kind) {
  uint64_t count = problems->count[kind];
  return count < PROBLEMS_SHOWN ? (size_t)count : PROBLEMS_SHOWN;
}

/* The room grows by doubling from the first problem on, so no separate capacity has to be remembered. */
static struct problem *make_room(struct problems *problems) {
  size_t n = problems->kept_count;
  if ((n & (n - 1)) == 0) {
    struct problem *more = realloc(problems->kept, (n ? 2 * n : 1) * sizeof *more);
    if (!more) return NULL;
    problems->kept = more;
  }
  return &problems->kept[problems->kept_count++];
}

static void keep(struct problems *problems, const struct problem *problem) {
  if (kept_of_kind(problems, problem->kind) >= PROBLEMS_SHOWN) return;
  struct problem *room = make_room(problems);
  if (room) *room = *problem;
}

void problems_add(struct problems *problems, enum problem_kind kind, uint64_t line, struct span text) {
  struct problem problem = {.kind = kind, .line = line};
  text = span_trim(text);
  size_t n = text.length < PROBLEM_TEXT - 1 ? text.length : PROBLEM_TEXT - 1;
  for (size_t i = 0; i < n; i++) problem.text[i] = text.at[i] < ' ' || text.at[i] > '~' ? '?' : text.at[i];
  keep(problems, &problem);
  problems->count[kind]++;
}

void problems_append(struct problems *problems, const struct problems *part, uint64_t lines_before) {
  for (size_t i = 0; i < part->kept_count; i++) {
    struct problem problem = part->kept[i];
    problem.line += lines_before;
    keep(problems, &problem);
    problems->count[problem.kind]++;
  }
  for (int kind = 0; kind < PROBLEM_KINDS; kind++)
    problems->count[kind] += part->count[kind] - kept_of_kind(part, (enum problem_kind)kind);
}

void problems_print(const struct problems *problems, const char *file) {
  for (size_t i = 0; i < problems->kept_count; i++) {
    const struct problem *problem = &problems->kept[i];
    fprintf(stderr, "%s:%" PRIu64 ": %s", file, problem->line, problem_words[problem->kind]);
    fprintf(stderr, problem->text[0] ? ": \"%s\"; stanza skipped\n" : "%s; stanza skipped\n", problem->text);
  }
  for (int kind = 0; kind < PROBLEM_KINDS; kind++) {
    uint64_t more = problems->count[kind] - kept_of_kind(problems, (enum problem_kind)kind);
    if (more) fprintf(stderr, "%s: %" PRIu64 " more: %s; stanzas skipped\n", file, more, problem_words[kind]);
  }
}

void problems_finish(struct problems *problems) {
  free(problems->kept);
  *problems = (struct problems){0};
}
