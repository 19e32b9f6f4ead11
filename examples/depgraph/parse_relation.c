/* SPDX-License-Identifier: MIT */
/* Relation fields:
 *
 *   field       = [ relation *( "," relation ) [ "," ] ]
 *   relation    = alternative *( "|" alternative )
 *   alternative = name [ ":" architecture ] [ "(" operator version ")" ] [ "[" ... "]" ] *( "<" ... ">" )
 *
 * The restrictions in [] and <> belong to source packages and are read over. No field holds a NUL byte: the stanza would
 * have been refused before. */
#include "parse.h"

#include <stdlib.h>

static bool is_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

bool is_package_name(struct span name) {
  if (name.length == 0 || name.length > NAME_MAX_LENGTH || !is_alnum(name.at[0])) return false;
  for (size_t i = 1; i < name.length; i++)
    if (!is_alnum(name.at[i]) && !strchr("+-._", name.at[i])) return false;
  return true;
}

bool is_version(struct span version) {
  if (version.length == 0 || version.length > NAME_MAX_LENGTH || !is_alnum(version.at[0])) return false;
  for (size_t i = 1; i < version.length; i++)
    if (!is_alnum(version.at[i]) && !strchr("+-.~:", version.at[i])) return false;
  return true;
}

/* ---- a cursor over one field ---- */

struct cursor {
  struct parser *parser;
  enum field field;
  const char *at, *end;
};

static void skip_blanks(struct cursor *cursor) {
  while (cursor->at < cursor->end && is_blank(*cursor->at)) cursor->at++;
}

static bool next_is(const struct cursor *cursor, char c) { return cursor->at < cursor->end && *cursor->at == c; }

static bool skip(struct cursor *cursor, char c) {
  if (!next_is(cursor, c)) return false;
  cursor->at++;
  skip_blanks(cursor);
  return true;
}

/* Takes what stands before the next of `stops` or a blank. */
static struct span take_until(struct cursor *cursor, const char *stops) {
  const char *begin = cursor->at;
  while (cursor->at < cursor->end && !is_blank(*cursor->at) && !strchr(stops, *cursor->at)) cursor->at++;
  struct span taken = {begin, (size_t)(cursor->at - begin)};
  skip_blanks(cursor);
  return taken;
}

/* Complains about the line on which `at` stands, and shows what is written from there to the end of the element. */
static void complain(struct cursor *cursor, enum problem_kind kind, const char *at) {
  struct parser *parser = cursor->parser;
  uint64_t line = parser->field_line[cursor->field];
  for (const char *p = parser->fields[cursor->field].at; p < at; p++) line += *p == '\n';
  const char *end = at;
  while (end < cursor->end && *end != ',' && *end != '\n') end++;
  parser_complain(parser, kind, line, (struct span){at, (size_t)(end - at)});
}

/* ---- the parts of an alternative ---- */

static bool read_operator(struct cursor *cursor, enum operator *operator) {
  static const struct {
    const char *word;
    enum operator operator;
  } words[] = {{"<<", OPERATOR_BELOW}, {"<=", OPERATOR_UP_TO}, {"=", OPERATOR_EXACTLY}, {">=", OPERATOR_FROM},
               {">>", OPERATOR_ABOVE}, {"<", OPERATOR_UP_TO},  {">", OPERATOR_FROM}};
  const char *begin = cursor->at;
  while (cursor->at < cursor->end && strchr("<=>", *cursor->at)) cursor->at++;
  struct span word = {begin, (size_t)(cursor->at - begin)};
  skip_blanks(cursor);
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (span_is(word, words[i].word)) {
      *operator = words[i].operator;
      return true;
    }
  complain(cursor, PROBLEM_OPERATOR, begin);
  return false;
}

static bool read_constraint(struct cursor *cursor, struct draft_alternative *alternative) {
  const char *begin = cursor->at;
  if (next_is(cursor, ')')) {
    complain(cursor, PROBLEM_PARENTHESIS, begin);
    return false;
  }
  if (!skip(cursor, '(')) return true;
  if (!read_operator(cursor, &alternative->operator)) return false;
  const char *version = cursor->at;
  alternative->version = take_until(cursor, "(),|");
  bool closed = skip(cursor, ')');
  if (!closed)
    complain(cursor, PROBLEM_PARENTHESIS, begin);
  else if (!is_version(alternative->version))
    complain(cursor, PROBLEM_CONSTRAINT_VERSION, version);
  return !cursor->parser->bad;
}

static bool read_over(struct cursor *cursor, char open, char close) {
  while (next_is(cursor, open)) {
    const char *begin = cursor->at;
    while (cursor->at < cursor->end && *cursor->at != close) cursor->at++;
    if (!skip(cursor, close)) {
      complain(cursor, PROBLEM_PARENTHESIS, begin);
      return false;
    }
  }
  return true;
}

static bool read_alternative(struct cursor *cursor, struct draft_alternative *alternative) {
  const char *begin = cursor->at;
  alternative->name = take_until(cursor, ":()[]<>,|");
  if (next_is(cursor, ':')) {
    cursor->at++;
    take_until(cursor, "()[]<>,|");
  }
  if (alternative->name.length == 0 && (cursor->at == cursor->end || strchr(",|", *cursor->at)))
    complain(cursor, PROBLEM_EMPTY_ALTERNATIVE, begin);
  else if (alternative->name.length && !is_package_name(alternative->name))
    complain(cursor, PROBLEM_TARGET_NAME, begin);
  else if (read_constraint(cursor, alternative) && read_over(cursor, '[', ']') && read_over(cursor, '<', '>')) {
    if (next_is(cursor, ')'))
      complain(cursor, PROBLEM_PARENTHESIS, begin);
    else if (alternative->name.length == 0 || (cursor->at < cursor->end && !strchr(",|", *cursor->at)))
      complain(cursor, PROBLEM_RELATION_SYNTAX, begin);
  }
  return !cursor->parser->bad;
}

/* ---- the draft ---- */

/* Makes room for one more element of `size` bytes; doubles. */
static bool make_room(void *array, size_t count, size_t *room, size_t size) {
  if (count < *room) return true;
  size_t more = *room ? 2 * *room : 64;
  void *old;
  memcpy(&old, array, sizeof old);
  void *grown = realloc(old, more * size);
  if (!grown) return false;
  memcpy(array, &grown, sizeof grown);
  *room = more;
  return true;
}

static struct draft_alternative *add_alternative(struct draft *draft) {
  if (!make_room(&draft->alternatives, draft->alternative_count, &draft->alternative_room, sizeof *draft->alternatives))
    return NULL;
  struct draft_alternative *alternative = &draft->alternatives[draft->alternative_count++];
  *alternative = (struct draft_alternative){.operator = OPERATOR_ANY};
  return alternative;
}

static bool add_relation(struct draft *draft, enum field kind, size_t first) {
  if (!make_room(&draft->relations, draft->relation_count, &draft->relation_room, sizeof *draft->relations)) return false;
  draft->relations[draft->relation_count++] =
      (struct draft_relation){.kind = kind, .first_alternative = first, .alternative_count = draft->alternative_count - first};
  return true;
}

static bool read_relation(struct cursor *cursor) {
  struct draft *draft = &cursor->parser->draft;
  const char *begin = cursor->at;
  size_t first = draft->alternative_count;
  do {
    struct draft_alternative *alternative = add_alternative(draft);
    if (!alternative) return false;
    if (!read_alternative(cursor, alternative)) return true;
  } while (skip(cursor, '|'));
  if (draft->alternative_count - first > ALTERNATIVES_MAX) {
    complain(cursor, PROBLEM_TOO_MANY_ALTERNATIVES, begin);
    return true;
  }
  return add_relation(draft, cursor->field, first);
}

bool parser_relations(struct parser *parser, enum field kind) {
  struct span value = parser->fields[kind];
  struct cursor cursor = {.parser = parser, .field = kind, .at = value.at, .end = value.at + value.length};
  skip_blanks(&cursor);
  while (cursor.at < cursor.end && !parser->bad) {
    if (!read_relation(&cursor)) return false;
    if (parser->bad) return true;
    skip(&cursor, ',');
  }
  return true;
}
