/* SPDX-License-Identifier: MIT */
/* A piece of the input, which stays where it was read to: nothing is copied until it becomes part of an object. */
#ifndef DEPGRAPH_SPAN_H
#define DEPGRAPH_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct span {
  const char *at;
  size_t length;
};

static inline bool span_is(struct span span, const char *word) {
  return span.length == strlen(word) && memcmp(span.at, word, span.length) == 0;
}

static inline bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static inline struct span span_trim(struct span span) {
  while (span.length && is_blank(span.at[0])) span.at++, span.length--;
  while (span.length && is_blank(span.at[span.length - 1])) span.length--;
  return span;
}

#endif
