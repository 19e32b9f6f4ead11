/* SPDX-License-Identifier: MIT */
/* From text to drafts: reads one stanza after the other and checks all of it before anything is made of it.
 *
 * A draft points into the input and is good until the next stanza is read. Nothing here knows of Freehold. */
#ifndef DEPGRAPH_PARSE_H
#define DEPGRAPH_PARSE_H

#include "problem.h"
#include "span.h"

#include <stdbool.h>
#include <stdint.h>

enum field {
  FIELD_PRE_DEPENDS, /* the kinds of relation come first: a field's number is the relation's kind */
  FIELD_DEPENDS,
  FIELD_RECOMMENDS,
  FIELD_SUGGESTS,
  FIELD_CONFLICTS,
  FIELD_BREAKS,
  FIELD_PROVIDES,
  FIELD_REPLACES,
  RELATION_KINDS,
  FIELD_PACKAGE = RELATION_KINDS,
  FIELD_VERSION,
  FIELDS
};

enum operator { OPERATOR_ANY, OPERATOR_BELOW, OPERATOR_UP_TO, OPERATOR_EXACTLY, OPERATOR_FROM, OPERATOR_ABOVE };

/* One of the packages that satisfy a relation. */
struct draft_alternative {
  struct span name;
  struct span version; /* empty if the operator is OPERATOR_ANY */
  enum operator operator;
};

/* One element of a comma-separated field; its alternatives are a range of the draft's. */
struct draft_relation {
  enum field kind;
  size_t first_alternative, alternative_count;
};

struct draft {
  struct span package, version; /* the version may be empty: a package that is known and not installed */
  struct draft_relation *relations;
  struct draft_alternative *alternatives;
  size_t relation_count, relation_room, alternative_count, alternative_room;
};

struct parser {
  struct span rest;
  bool is_last, has_nul;
  uint64_t line; /* lines read so far */
  uint64_t stanzas, skipped;
  struct problems problems;
  struct draft draft;
  /* the present stanza */
  bool bad;
  int current; /* the field that a continuation line continues; FIELDS: one that is not ours, -1: none */
  struct span fields[FIELDS];
  uint64_t field_line[FIELDS];
};

enum parsed { PARSED_STANZA, PARSED_END, PARSED_NO_MEMORY };

enum { ALTERNATIVES_MAX = 4096, NAME_MAX_LENGTH = 255, LINE_MAX_LENGTH = 1 << 20 };

/* Begins with a part of the input; `is_last`: the last one, in which a last line without a newline is a truncated one. */
void parser_init(struct parser *parser, struct span part, bool is_last);
/* Reads up to the next good stanza and leaves it in `draft`; bad ones are reported and skipped. */
enum parsed parser_next(struct parser *parser);
void parser_finish(struct parser *parser);

/* ---- between the two files of the parser ---- */

/* Notes the first problem of a stanza; the others are most likely its consequences. */
void parser_complain(struct parser *parser, enum problem_kind kind, uint64_t line, struct span text);
/* Reads the elements of one relation field into the draft. False: no memory. */
bool parser_relations(struct parser *parser, enum field kind);
bool is_package_name(struct span name);
bool is_version(struct span version);

#endif
