/* SPDX-License-Identifier: MIT */
/* Loading: several threads make one graph. */
#ifndef DEPGRAPH_LOAD_H
#define DEPGRAPH_LOAD_H

#include "graph.h"
#include "input.h"
#include "problem.h"
#include "room.h"

struct loaded {
  uint64_t lines, stanzas, skipped;
  double parse_seconds, link_seconds;
  bool gave_way; /* the graph in `old` was dropped for it */
  struct problems problems;
};

/* Loads the graph with so many threads. Where the limit of memory refuses it some, the graph in `old` gives way.
 *
 * Returns the graph, owned and private to the caller; NULL if there is no memory for it, and then what was made by then is
 * garbage. In both cases `loaded` is filled in; finish its problems. The caller is attached; this is a safepoint. */
struct graph *graph_load(const struct input *input, unsigned threads, fh_slot *old, struct loaded *loaded);

#endif
