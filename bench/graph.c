/* SPDX-License-Identifier: MIT */
/* A million objects that live: what collections are measured on. */
#include "bench.h"

#include <mimalloc.h>

static uint64_t next_random(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return *state >> 33;
}

struct edges *must_draw_edges(void) {
  uint64_t state = 1;
  struct edges *edges = must_allocate(LIVE * sizeof *edges);
  /* The free ones; field f is edges[f / 2].to[f % 2]. */
  uint32_t *field = must_allocate(2 * (size_t)LIVE * sizeof *field);
  uint32_t free_fields = 0;
  for (uint32_t i = 0; i < LIVE; i++) {
    if (i >= ROOTS) {
      const uint64_t pick = next_random(&state) % free_fields;
      edges[field[pick] / 2].to[field[pick] % 2] = i;
      field[pick] = field[--free_fields];
    }
    field[free_fields++] = 2 * i;
    field[free_fields++] = 2 * i + 1;
  }
  for (uint32_t f = 0; f < free_fields; f++)
    edges[field[f] / 2].to[field[f] % 2] = (uint32_t)(next_random(&state) % LIVE);
  mi_free(field);
  return edges;
}

void live_init(struct live *live, const struct edges *edges) {
  fh_type *type = must_register(&node_spec);
  struct node **object = must_allocate(LIVE * sizeof *object);
  for (uint32_t i = 0; i < LIVE; i++) object[i] = must_make(type);
  for (uint32_t i = 0; i < LIVE; i++) {
    fh_set(object[i], a, object[edges[i].to[0]]);
    fh_set(object[i], b, object[edges[i].to[1]]);
  }
  for (uint32_t i = 0; i < LIVE; i++) {
    if (i < ROOTS)
      live->root[i] = object[i];
    else
      fh_release(object[i]);
  }
  mi_free(object);
}

void live_finish(struct live *live) {
  for (uint32_t i = 0; i < ROOTS; i++) fh_release(live->root[i]);
  expect(fh_collect(2) > 0 && fh_type_live(must_register(&node_spec)) == 0, "the graph is garbage in the end");
}
