/* SPDX-License-Identifier: MIT */
/* Serving: readers ask the graph in the root slot while the main thread loads new ones and swaps them in. */
#ifndef DEPGRAPH_SERVE_H
#define DEPGRAPH_SERVE_H

#include "graph.h"
#include "input.h"
#include "options.h"
#include "query.h"

struct query_count {
  uint64_t asked, answered;
  double seconds; /* of all readers together */
};

struct memory {
  uint64_t live, resident; /* bytes */
};

struct swap {
  struct memory before, both, after; /* one graph; the old and the new; one again */
  double load_seconds, collect_seconds;
  unsigned collections; /* asked for until the old graph was gone */
  bool came_back;       /* the objects of exactly one graph live */
  bool gave_way;        /* the old graph went before the new one was there: both did not fit */
};

struct served {
  unsigned readers;
  double seconds;
  struct query_count count[QUERIES];
  uint64_t wrong;
  uint64_t reloading; /* questions answered with "being reloaded" */
  uint64_t refused;   /* questions for whose answer the limit left no memory */
  unsigned swaps;
  struct swap swap[SWAPS_MAX];
  char longest[512]; /* the longest shortest path that was found, in words */
};

extern fh_slot graph_root;

/* Serves from the graph in the root slot until all swaps are done and `seconds` have passed. False: no memory, or no
 * threads. The caller is attached; this is a safepoint. */
bool serve(const struct options *options, const struct input *input, double seconds, unsigned swaps, struct served *served);

/* Collects until the objects of so many graphs' types live, at most 10 s. Counts the collections. False: they still differ. */
bool collect_down_to(uint64_t objects, unsigned *collections);

#endif
