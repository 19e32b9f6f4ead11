/* SPDX-License-Identifier: MIT */
/* Edges and the shortest path. Packages are borrowed: the caller owns the graph, which nobody changes. */
#include "query.h"

#include <stdlib.h>

void search_init(struct search *search, uint64_t seed) { *search = (struct search){.random = seed}; }

void search_finish(struct search *search) { free(search->mark); }

/* ---- edges ---- */

static bool is_dependency(const struct relation *relation) {
  return relation->kind == FIELD_DEPENDS || relation->kind == FIELD_PRE_DEPENDS;
}

static void check(struct search *search, bool right) { search->wrong += !right; }

/* The reverse edge of an alternative stands where `back` says. */
static bool has_reverse(const struct relation *relation, const struct alternative *alternative) {
  const struct package *target = alternative->target;
  return target && alternative->back < target->mentions.count && package_mention(target, alternative->back) == relation;
}

static void find(struct search *search, struct package *package) {
  if (search->found_count < ANSWER_MAX) search->found[search->found_count++] = package;
}

static void find_targets(struct search *search, const struct version *version) {
  for (size_t i = 0; i < version->relation_count && search->found_count < ANSWER_MAX; i++) {
    const struct relation *relation = version->relations[i].relation;
    check(search, relation->source == version);
    for (size_t j = 0; is_dependency(relation) && j < relation->alternative_count; j++) {
      check(search, has_reverse(relation, &relation->alternatives[j]));
      find(search, relation->alternatives[j].target);
    }
  }
}

static void find_providers(struct search *search, const struct package *package) {
  uint32_t n = package->mentions.count < PROVIDERS_MAX ? package->mentions.count : PROVIDERS_MAX;
  for (uint32_t i = 0; i < n; i++) {
    const struct relation *relation = package_mention(package, i);
    if (relation->kind == FIELD_PROVIDES) find(search, relation->source->package);
  }
}

void query_dependencies(struct search *search, struct package *package) {
  search->found_count = 0;
  for (uint32_t i = 0; i < package->versions.count; i++) find_targets(search, package_version(package, i));
  if (package->versions.count == 0) find_providers(search, package);
}

bool query_has_edge(struct search *search, struct package *from, struct package *to) {
  query_dependencies(search, from);
  for (size_t i = 0; i < search->found_count; i++)
    if (search->found[i] == to) return true;
  return false;
}

/* ---- paths ---- */

/* Marks of earlier searches have other stamps, so they need no clearing until the stamps are used up. */
static bool begin_search(struct search *search, const struct graph *graph) {
  search->visited = 0;
  if (search->mark_room < graph->id_limit || search->stamp == UINT32_MAX) {
    free(search->mark);
    search->stamp = 0;
    search->mark = calloc(graph->id_limit, sizeof *search->mark);
    search->mark_room = search->mark ? graph->id_limit : 0;
  }
  search->stamp++;
  return search->mark != NULL;
}

static void reach(struct search *search, struct package *package, uint32_t parent) {
  if (search->visited == VISITED_MAX || search->mark[package->id] == search->stamp) return;
  search->mark[package->id] = search->stamp;
  search->parent[search->visited] = parent;
  search->queue[search->visited++] = package;
}

/* Leaves the way from the first package in the queue to number `last` and on to `to` in `found`. */
static void retrace(struct search *search, uint32_t last, struct package *to) {
  size_t length = 2;
  for (uint32_t i = last; i != 0; i = search->parent[i]) length++;
  search->found_count = length < ANSWER_MAX ? length : 0;
  if (search->found_count == 0) return;
  search->found[--length] = to;
  for (uint32_t i = last; length; i = search->parent[i]) search->found[--length] = search->queue[i];
}

/* Reaches what number `i` depends on. True: `to` is among it. */
static bool expand(struct search *search, uint32_t i, const struct package *to) {
  query_dependencies(search, search->queue[i]);
  for (size_t j = 0; j < search->found_count; j++) {
    if (search->found[j] == to) return true;
    reach(search, search->found[j], i);
  }
  return false;
}

enum answered query_path(struct search *search, const struct graph *graph, struct package *from, struct package *to) {
  if (!begin_search(search, graph)) return ANSWERED_NO_MEMORY;
  reach(search, from, 0);
  for (uint32_t i = 0; i < search->visited; i++) {
    if (expand(search, i, to)) {
      retrace(search, i, to);
      return search->found_count ? ANSWERED : ANSWERED_NOTHING;
    }
    fh_safepoint();
  }
  return ANSWERED_NOTHING;
}
