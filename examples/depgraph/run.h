/* SPDX-License-Identifier: MIT */
/* One run of the runtime, from fh_init to fh_shutdown, and what was found in it. */
#ifndef DEPGRAPH_RUN_H
#define DEPGRAPH_RUN_H

#include "input.h"
#include "load.h"
#include "options.h"
#include "serve.h"

struct load_time {
  double seconds[ROUNDS_MAX], parse[ROUNDS_MAX];
};

/* The numbers of the graph that outlive it. */
struct graph_counts {
  uint64_t stanzas, packages, defined, virtual_packages, relations, edges, texts, objects;
};

struct run {
  struct loaded loaded; /* the first load; its problems are the input's */
  struct graph_counts graph;
  uint64_t graph_bytes; /* live bytes with one graph and nothing else */
  uint64_t limit;       /* bytes; 0: none */
  uint64_t object_bytes, buffer_bytes;
  struct load_time load_time[THREADS_MAX]; /* by threads - 1 */
  struct served served;
  fh_stats stats; /* before the runtime ended */
  bool swaps_came_back, heap_is_right;
  uint64_t leaked;
};

enum run_result { RUN_DONE, RUN_NOTHING_LOADED, RUN_NO_MEMORY };

/* Measures loads, serves, checks, ends the runtime. */
enum run_result run_main(const struct options *options, const struct input *input, struct run *run);
/* Loads once and serves shortly, with every count operation counted. */
enum run_result run_counted(const struct options *options, const struct input *input, struct run *run);

#endif
