/* SPDX-License-Identifier: MIT */
/* The graph as Freehold objects.
 *
 *   root slot -> graph -> shard -> package -> version -> relation -> package ...
 *                           |        |  ^        ^         |  |         |
 *                           |        |  |        +-source--+  +-> text  |
 *                         (table)  text +--------- mentions <-----------+
 *
 * A package knows the relations that mention it, and a relation the packages that it mentions, so nearly everything is
 * in cycles. A package without versions is virtual if somebody provides it, and else only a name that others mention.
 *
 * Once a graph is in the root slot nobody writes to it, but for its slot `longest`. So whoever owns a reference to the
 * graph may follow plain pointers anywhere below it, across safepoints too. */
#ifndef DEPGRAPH_GRAPH_H
#define DEPGRAPH_GRAPH_H

#include "parse.h"

#include <freehold/freehold.h>
#include <stdint.h>

enum { SHARDS = 64 };

/* A name or a version: the bytes are the object's tail, with a NUL at their end that `size` counts. */
struct text {
  fh_object fh;
  size_t size;
  char bytes[];
};

/* References in a buffer that an object owns and shows in its traverse. */
struct cells {
  void **at;
  uint32_t count, room;
};

/* A name. All of it but the object's header is written by the one loader that links the package's shard. */
struct package {
  fh_object fh;
  struct text *name;
  struct cells versions; /* of struct version */
  struct cells mentions; /* of struct relation: the edges that end here */
  uint64_t hash;
  uint32_t id; /* below the graph's id_limit, no other package's */
};

struct version_item {
  struct relation *relation;
};
/* One stanza. */
struct version {
  fh_object fh;
  struct text *text; /* NULL if the stanza had none */
  struct package *package;
  size_t relation_count;
  struct version_item relations[];
};

struct alternative {
  struct package *target;
  struct text *version; /* NULL if every version will do */
  uint32_t back;        /* target->mentions.at[back] is the relation: each edge finds its reverse at once */
  uint8_t operator;
};
/* A relation of a version to packages of which one satisfies it. */
struct relation {
  fh_object fh;
  struct version *source;
  uint8_t kind;
  size_t alternative_count;
  struct alternative alternatives[];
};

/* The packages whose hash falls into one part of 64: a hash table with open addressing. */
struct shard {
  fh_object fh;
  struct package **table;
  uint32_t index, count, room;
};

struct graph {
  fh_object fh;
  struct shard *shards[SHARDS];
  fh_slot longest; /* an answer: the longest of the shortest paths that readers found */
  uint64_t stanzas, packages, defined, virtual_packages, relations, edges, texts;
  uint32_t id_limit;
};

/* What a query returns: packages in an order that depends on the question. */
struct answer_item {
  struct package *package;
};
struct answer {
  fh_object fh;
  size_t count;
  struct answer_item items[];
};

/* Registers the types with a runtime that was just started. */
fh_status graph_types_init(void);
/* How many objects of one graph's types live, answers left out, and how many a graph has. */
uint64_t graph_objects_live(void);
uint64_t graph_objects_of(const struct graph *graph);

/* Makers. NULL: no memory. */
struct text *text_new(struct span span);
struct version *version_new(const struct draft *draft);
struct graph *graph_new(void);
struct shard *shard_new(uint32_t index);
struct answer *answer_new(struct package *const *packages, size_t count);

/* Take objects out of their cycles, so that counts alone free them: where there is no memory, the collector may find none
 * either. The caller is the only one that knows the objects; the version is kept alive by somebody. */
void version_break(struct version *version);
void shard_break(struct shard *shard);
void graph_break(struct graph *graph);

uint64_t name_hash(struct span name);
static inline uint32_t hash_shard(uint64_t hash) { return (uint32_t)(hash >> 58); }
/* The package of that name, borrowed from the shard; a new one if there is none. NULL: no memory. */
struct package *shard_intern(struct shard *shard, struct span name, uint64_t hash);

/* Makes room for one more reference; cells_give and cells_set fill it, so the two of them cannot fail. */
bool cells_reserve(struct cells *cells);
void cells_give(void *holder, struct cells *cells, void *owned);
void cells_set(void *holder, struct cells *cells, void *value);

static inline struct version *package_version(const struct package *package, uint32_t i) { return package->versions.at[i]; }
static inline struct relation *package_mention(const struct package *package, uint32_t i) { return package->mentions.at[i]; }

#endif
