/* SPDX-License-Identifier: MIT */
/* What is wrong with the input: counted by kind, the first ones of each kind kept with line and text. */
#ifndef DEPGRAPH_PROBLEM_H
#define DEPGRAPH_PROBLEM_H

#include "span.h"

#include <stdint.h>

enum problem_kind {
  PROBLEM_NO_COLON,
  PROBLEM_FIELD_NAME,
  PROBLEM_STRAY_CONTINUATION,
  PROBLEM_REPEATED_FIELD,
  PROBLEM_NUL,
  PROBLEM_LONG_LINE,
  PROBLEM_TRUNCATED,
  PROBLEM_NO_PACKAGE,
  PROBLEM_PACKAGE_NAME,
  PROBLEM_VERSION,
  PROBLEM_TARGET_NAME,
  PROBLEM_PARENTHESIS,
  PROBLEM_OPERATOR,
  PROBLEM_CONSTRAINT_VERSION,
  PROBLEM_EMPTY_ALTERNATIVE,
  PROBLEM_RELATION_SYNTAX,
  PROBLEM_TOO_MANY_ALTERNATIVES,
  PROBLEM_KINDS
};

enum { PROBLEMS_SHOWN = 20, PROBLEM_TEXT = 48 };

struct problem {
  enum problem_kind kind;
  uint64_t line;
  char text[PROBLEM_TEXT];
};

/* The problems of one part of the input, or of all of it, in the order of the input. */
struct problems {
  uint64_t count[PROBLEM_KINDS];
  struct problem *kept;
  size_t kept_count;
};

/* Counts a problem and keeps it, if it is one of the first of its kind. Without memory it is only counted. */
void problems_add(struct problems *problems, enum problem_kind kind, uint64_t line, struct span text);
/* Appends those of a part that begins after `lines_before` lines. */
void problems_append(struct problems *problems, const struct problems *part, uint64_t lines_before);
/* Writes them to standard error, each as FILE:LINE: what; at the end of each kind how many more there are. */
void problems_print(const struct problems *problems, const char *file);
void problems_finish(struct problems *problems);

#endif
