/* SPDX-License-Identifier: MIT */
/* Stanzas: lines, fields, and what a stanza must have. The insides of relation fields are in parse_relation.c. */
#include "parse.h"

#include <stdlib.h>

static const char *const field_names[FIELDS] = {
    [FIELD_PRE_DEPENDS] = "Pre-Depends", [FIELD_DEPENDS] = "Depends",     [FIELD_RECOMMENDS] = "Recommends",
    [FIELD_SUGGESTS] = "Suggests",       [FIELD_CONFLICTS] = "Conflicts", [FIELD_BREAKS] = "Breaks",
    [FIELD_PROVIDES] = "Provides",       [FIELD_REPLACES] = "Replaces",   [FIELD_PACKAGE] = "Package",
    [FIELD_VERSION] = "Version",
};

void parser_init(struct parser *parser, struct span part, bool is_last) {
  *parser = (struct parser){.rest = part, .is_last = is_last};
  parser->has_nul = part.length && memchr(part.at, 0, part.length) != NULL;
}

void parser_finish(struct parser *parser) {
  free(parser->draft.relations);
  free(parser->draft.alternatives);
  problems_finish(&parser->problems);
}

void parser_complain(struct parser *parser, enum problem_kind kind, uint64_t line, struct span text) {
  if (!parser->bad) problems_add(&parser->problems, kind, line, text);
  parser->bad = true;
}

/* Takes the next line off the rest, without its newline. */
static struct span next_line(struct parser *parser) {
  struct span *rest = &parser->rest;
  const char *end = memchr(rest->at, '\n', rest->length);
  struct span line = {rest->at, end ? (size_t)(end - rest->at) : rest->length};
  size_t taken = line.length + (end != NULL);
  rest->at += taken;
  rest->length -= taken;
  parser->line++;
  if (!end && parser->is_last) parser_complain(parser, PROBLEM_TRUNCATED, parser->line, line);
  return line;
}

static int find_field(struct span name) {
  for (int field = 0; field < FIELDS; field++)
    if (span_is(name, field_names[field])) return field;
  return FIELDS;
}

static bool is_field_name(struct span name) {
  for (size_t i = 0; i < name.length; i++)
    if (name.at[i] <= ' ' || name.at[i] > '~') return false;
  return name.length > 0;
}

static void begin_field(struct parser *parser, struct span line) {
  const char *colon = memchr(line.at, ':', line.length);
  if (!colon) {
    parser_complain(parser, PROBLEM_NO_COLON, parser->line, line);
    return;
  }
  struct span name = {line.at, (size_t)(colon - line.at)};
  if (!is_field_name(name)) parser_complain(parser, PROBLEM_FIELD_NAME, parser->line, name);
  int field = parser->current = find_field(name);
  if (field == FIELDS) return;
  if (parser->fields[field].at) parser_complain(parser, PROBLEM_REPEATED_FIELD, parser->line, name);
  parser->fields[field] = (struct span){colon + 1, line.length - name.length - 1};
  parser->field_line[field] = parser->line;
}

/* A value is one piece of the input from its colon to the end of its last line, newlines and all. */
static void continue_field(struct parser *parser, struct span line) {
  if (parser->current < 0) parser_complain(parser, PROBLEM_STRAY_CONTINUATION, parser->line, line);
  if (parser->current < 0 || parser->current == FIELDS) return;
  struct span *value = &parser->fields[parser->current];
  value->length = (size_t)(line.at + line.length - value->at);
}

static void take_line(struct parser *parser, struct span line) {
  if (line.length > LINE_MAX_LENGTH) parser_complain(parser, PROBLEM_LONG_LINE, parser->line, line);
  if (parser->has_nul && memchr(line.at, 0, line.length)) parser_complain(parser, PROBLEM_NUL, parser->line, line);
  if (line.at[0] == ' ' || line.at[0] == '\t')
    continue_field(parser, line);
  else
    begin_field(parser, line);
}

/* Reads the lines of one stanza, bad or not. False: there are none left. */
static bool read_lines(struct parser *parser, uint64_t *first_line) {
  parser->bad = false;
  parser->current = -1;
  memset(parser->fields, 0, sizeof parser->fields);
  bool some = false;
  while (parser->rest.length) {
    struct span line = next_line(parser);
    bool blank = span_trim(line).length == 0;
    if (blank && some) break;
    if (blank) continue;
    if (!some) *first_line = parser->line;
    some = true;
    take_line(parser, line);
  }
  return some;
}

static void check_identity(struct parser *parser, uint64_t first_line) {
  struct draft *draft = &parser->draft;
  draft->package = span_trim(parser->fields[FIELD_PACKAGE]);
  draft->version = span_trim(parser->fields[FIELD_VERSION]);
  if (!parser->fields[FIELD_PACKAGE].at)
    parser_complain(parser, PROBLEM_NO_PACKAGE, first_line, (struct span){"", 0});
  else if (!is_package_name(draft->package))
    parser_complain(parser, PROBLEM_PACKAGE_NAME, parser->field_line[FIELD_PACKAGE], draft->package);
  if (parser->fields[FIELD_VERSION].at && !is_version(draft->version))
    parser_complain(parser, PROBLEM_VERSION, parser->field_line[FIELD_VERSION], draft->version);
}

static bool read_relations(struct parser *parser) {
  parser->draft.relation_count = parser->draft.alternative_count = 0;
  for (int kind = 0; kind < RELATION_KINDS && !parser->bad; kind++)
    if (parser->fields[kind].at && !parser_relations(parser, (enum field)kind)) return false;
  return true;
}

enum parsed parser_next(struct parser *parser) {
  uint64_t first_line = 0;
  while (read_lines(parser, &first_line)) {
    parser->stanzas++;
    if (!parser->bad) check_identity(parser, first_line);
    if (!parser->bad && !read_relations(parser)) return PARSED_NO_MEMORY;
    if (!parser->bad) return PARSED_STANZA;
    parser->skipped++;
  }
  return PARSED_END;
}
