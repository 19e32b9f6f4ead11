/* SPDX-License-Identifier: MIT */
/* The four questions. What an answer says is looked up again in the graph, edge by edge and in both directions. */
#include "query.h"

#include "clock.h"

/* ---- choosing ---- */

/* A package at random: any place of any shard, and on from there to the next one that is taken. */
static struct package *choose_package(struct search *search, const struct graph *graph) {
  uint64_t first = random_below(&search->random, SHARDS);
  for (uint64_t i = 0; i < SHARDS; i++) {
    const struct shard *shard = graph->shards[(first + i) % SHARDS];
    if (shard->count == 0) continue;
    uint32_t at = (uint32_t)random_below(&search->random, shard->room);
    while (!shard->table[at]) at = (at + 1) % shard->room;
    return shard->table[at];
  }
  return NULL;
}

/* Goes some steps along dependencies: where it ends can be reached, and often is in a cycle. */
static struct package *walk(struct search *search, struct package *package) {
  for (uint64_t steps = 1 + random_below(&search->random, WALK_MAX); steps; steps--) {
    query_dependencies(search, package);
    if (search->found_count == 0) break;
    package = search->found[random_below(&search->random, search->found_count)];
  }
  return package;
}

/* ---- asking ---- */

/* True if one of the relation's alternatives is the package, and knows that this is its number `i` mention. */
static bool is_mention(const struct relation *relation, const struct package *package, uint32_t i) {
  for (size_t j = 0; j < relation->alternative_count; j++)
    if (relation->alternatives[j].target == package && relation->alternatives[j].back == i) return true;
  return false;
}

/* Relations that mention the package: a stretch of the list that begins anywhere. */
static void find_reverse(struct search *search, const struct package *package) {
  uint32_t count = package->mentions.count, n = count < ANSWER_MAX ? count : ANSWER_MAX;
  uint64_t first = count ? random_below(&search->random, count) : 0;
  search->found_count = 0;
  while (search->found_count < n) {
    uint32_t i = (uint32_t)((first + search->found_count) % count);
    const struct relation *relation = package_mention(package, i);
    search->wrong += !is_mention(relation, package, i) || !relation->source->package;
    search->found[search->found_count++] = relation->source->package;
  }
}

/* Finds what the answer will hold. The package that was asked about is left in `about`. */
static enum answered find_answer(struct search *search, struct graph *graph, enum query query, struct package **about) {
  struct package *package = *about = choose_package(search, graph);
  switch (query) {
  case QUERY_DEPENDENCIES:
    query_dependencies(search, package);
    return ANSWERED;
  case QUERY_REVERSE:
    find_reverse(search, package);
    return ANSWERED;
  case QUERY_PATH:
    return query_path(search, graph, package, walk(search, package));
  default:
    *about = walk(search, package);
    return query_path(search, graph, *about, *about);
  }
}

/* ---- checking ---- */

/* Asked again, the question has the same answer. */
static bool is_repeated(struct search *search, const struct answer *answer, struct package *about) {
  query_dependencies(search, about);
  bool same = search->found_count == answer->count;
  for (size_t i = 0; same && i < answer->count; i++) same = answer->items[i].package == search->found[i];
  return same;
}

static bool is_path(struct search *search, const struct answer *answer) {
  bool right = answer->count > 1;
  for (size_t i = 1; i < answer->count; i++) {
    right &= query_has_edge(search, answer->items[i - 1].package, answer->items[i].package);
    fh_safepoint();
  }
  return right;
}

static bool is_right(struct search *search, const struct answer *answer, enum query query, struct package *about) {
  switch (query) {
  case QUERY_DEPENDENCIES:
    return is_repeated(search, answer, about);
  case QUERY_REVERSE:
    return true; /* each mention was checked when it was found */
  case QUERY_PATH:
    return is_path(search, answer);
  default:
    return is_path(search, answer) && answer->items[0].package == answer->items[answer->count - 1].package;
  }
}

/* Keeps the longest of the shortest paths. Several readers may have one at once: whoever loses looks again. */
static void keep_longest(struct graph *graph, struct answer *answer) {
  for (;;) {
    FH_AUTO struct answer *longest = fh_slot_load(&graph->longest);
    if (longest && longest->count >= answer->count) return;
    if (fh_slot_cas(&graph->longest, longest, answer)) return;
  }
}

enum answered query_ask(struct search *search, struct graph *graph, enum query query) {
  struct package *about;
  enum answered answered = find_answer(search, graph, query, &about);
  if (answered != ANSWERED) return answered;
  FH_AUTO struct answer *answer = answer_new(search->found, search->found_count);
  if (!answer) return ANSWERED_NO_MEMORY;
  search->wrong += !is_right(search, answer, query, about);
  if (query == QUERY_PATH) keep_longest(graph, answer);
  return ANSWERED;
}
