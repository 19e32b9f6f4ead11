/* SPDX-License-Identifier: MIT */
/* Questions to a graph. Each makes an answer object, checks it against the graph, and is bounded in its work. */
#ifndef DEPGRAPH_QUERY_H
#define DEPGRAPH_QUERY_H

#include "graph.h"

enum query { QUERY_DEPENDENCIES, QUERY_REVERSE, QUERY_PATH, QUERY_CYCLE, QUERIES };

enum { ANSWER_MAX = 256, VISITED_MAX = 4096, WALK_MAX = 8, PROVIDERS_MAX = 64 };

/* What one thread needs to search: marks by package id, and a queue that remembers where each package was reached from. */
struct search {
  uint64_t random;
  uint32_t *mark, mark_room, stamp;
  struct package *queue[VISITED_MAX];
  uint32_t parent[VISITED_MAX];
  uint32_t visited;
  struct package *found[ANSWER_MAX]; /* what the answer will hold */
  size_t found_count;
  uint64_t wrong; /* checks of answers that failed */
};

enum answered { ANSWERED_NOTHING, ANSWERED, ANSWERED_NO_MEMORY };

/* Asks about packages chosen at random. NOTHING: there is no path or cycle within the bounds. */
enum answered query_ask(struct search *search, struct graph *graph, enum query query);

/* True if there is a direct dependency; each edge that is looked at is checked against its reverse. */
bool query_has_edge(struct search *search, struct package *from, struct package *to);

void search_init(struct search *search, uint64_t seed);
void search_finish(struct search *search);

/* ---- between the two files ---- */

/* Direct dependencies of a package in `found`, at most ANSWER_MAX; those of a virtual package are its providers. */
void query_dependencies(struct search *search, struct package *package);
/* Breadth first from one package to another, or to itself for a cycle: the shortest way in `found`, both ends included. */
enum answered query_path(struct search *search, const struct graph *graph, struct package *from, struct package *to);

#endif
