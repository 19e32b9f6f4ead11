/* SPDX-License-Identifier: MIT */
/* Random graphs of objects of many types.
 *
 * Claims: whatever hangs together, and however it was put together, a release or a collection takes what nothing refers to any more, and
 * nothing else: objects with no, one, two and three references, small and large, tracked and not, plain and with a dealloc or a finalizer,
 * private and published, newborn, settled by an old collection, and frozen, in lists, trees and cycles. */
#include <string.h>

#include "support/support.h"

struct thing {
  fh_object fh;
  struct thing *cell[3];
};

static void thing_dies(void *object) {
  struct thing *thing = object;
  require(!thing->cell[0] && !thing->cell[1]);
}
static void thing_is_finalized(void *object) {
  struct thing *thing = object;
  require(fh_refcount(thing) >= 1);
}

static const fh_ref one_ref[] = {FH_FIELD(struct thing, cell[0]), FH_END};
static const fh_ref two_refs[] = {FH_FIELD(struct thing, cell[0]), FH_FIELD(struct thing, cell[1]), FH_END};
static const fh_ref three_refs[] = {FH_FIELD(struct thing, cell[0]), FH_FIELD(struct thing, cell[1]), FH_FIELD(struct thing, cell[2]), FH_END};
enum { BARE = sizeof(fh_object), CELL = sizeof(void *) };
static const fh_type_spec specs[] = {
    {.name = "nothing", .size = BARE},
    {.name = "large nothing", .size = 200},
    {.name = "one", .size = BARE + CELL, .refs = one_ref},
    {.name = "another one", .size = 48, .refs = one_ref},
    {.name = "large one", .size = 96, .refs = one_ref},
    {.name = "two", .size = BARE + 2 * CELL, .refs = two_refs},
    {.name = "another two", .size = 64, .refs = two_refs},
    {.name = "large two", .size = 80, .refs = two_refs},
    {.name = "three", .size = sizeof(struct thing), .refs = three_refs},
    {.name = "mortal", .size = sizeof(struct thing), .refs = two_refs, .dealloc = thing_dies},
    {.name = "finalized", .size = sizeof(struct thing), .refs = two_refs, .finalize = thing_is_finalized},
    {.name = "acyclic one", .size = BARE + CELL, .refs = one_ref, .flags = FH_ACYCLIC},
    {.name = "acyclic two", .size = 160, .refs = two_refs, .flags = FH_ACYCLIC},
};
enum { SPECS = sizeof specs / sizeof *specs, PLAIN = 8, CYCLIC = 11 };
static const int cells_of[SPECS] = {0, 0, 1, 1, 1, 2, 2, 2, 3, 2, 2, 1, 2};

static uint64_t live_things(void) {
  uint64_t live = 0;
  for (int i = 0; i < SPECS; i++) live += fh_type_live(type_of_spec(&specs[i]));
  return live;
}

/* ---- a turn ---- */

enum { ROOTS = 24, MOST = 1 << 16 };

struct graph {
  struct thing *root[ROOTS];
  int kind[ROOTS];
  uint64_t random;
  int kinds; /* of the first ones */
};

static void drop_root(struct graph *graph, size_t i) {
  if (!graph->root[i]) return;
  fh_release(graph->root[i]);
  graph->root[i] = NULL;
}

static int kind_of(const struct thing *thing) {
  for (int i = 0; i < SPECS; i++)
    if (fh_type_of(thing) == type_of_spec(&specs[i])) return i;
  abort();
}

/* Acyclic ones refer only to what has no references. */
static bool may_refer(int holder, int value) { return holder < CYCLIC || value < 2; }

static void make_one(struct graph *graph, size_t i) {
  drop_root(graph, i);
  graph->kind[i] = (int)below(&graph->random, (size_t)graph->kinds);
  graph->root[i] = new_of_spec(&specs[graph->kind[i]]);
}

static void step_down(struct graph *graph, size_t i) {
  struct thing *thing = graph->root[i];
  int cells = cells_of[graph->kind[i]];
  if (!cells) return;
  struct thing *child = thing->cell[below(&graph->random, (size_t)cells)];
  if (!child) return;
  fh_retain(child);
  drop_root(graph, i);
  graph->root[i] = child;
  graph->kind[i] = kind_of(child);
}

/* A list, which takes other roots in. */
static void grow(struct graph *graph, size_t i) {
  for (size_t n = below(&graph->random, 60); n; n--) {
    int kind = 2 + (int)below(&graph->random, PLAIN - 2);
    struct thing *holder = new_of_spec(&specs[kind]);
    size_t j = below(&graph->random, ROOTS), cell = below(&graph->random, (size_t)cells_of[kind]);
    fh_give(holder, cell[cell], graph->root[i]);
    if (cells_of[kind] == 2 && graph->root[j] && j != i && below(&graph->random, 2)) {
      fh_give(holder, cell[!cell], graph->root[j]);
      graph->root[j] = NULL;
    }
    graph->root[i] = holder;
    graph->kind[i] = kind;
  }
}

static void take_a_turn(struct graph *graph) {
  size_t i = below(&graph->random, ROOTS), j = below(&graph->random, ROOTS);
  size_t what = below(&graph->random, 100);
  struct thing *holder = graph->root[i], *value = graph->root[j];
  if (what < 25 || !holder) {
    make_one(graph, i);
  } else if (what < 30) {
    drop_root(graph, i);
  } else if (what < 32) {
    fh_publish(holder);
  } else if (what < 40) {
    step_down(graph, i);
  } else if (what < 45) {
    grow(graph, i);
  } else if (cells_of[graph->kind[i]] && value && may_refer(graph->kind[i], graph->kind[j])) {
    size_t cell = below(&graph->random, (size_t)cells_of[graph->kind[i]]);
    if (what < 65) {
      fh_set(holder, cell[cell], value);
    } else if (what < 85) { /* it may become garbage by this, and the holder with it */
      bool last = i == j || below(&graph->random, 2);
      if (last && i != j) graph->root[j] = NULL;
      struct thing *given = last && i != j ? value : fh_retain(value);
      if (below(&graph->random, 2)) { /* only the value keeps the holder */
        if (cells_of[graph->kind[j]] && j != i && may_refer(graph->kind[j], graph->kind[i])) {
          fh_set(given, cell[0], holder);
          drop_root(graph, i);
        }
      }
      fh_give(holder, cell[cell], given);
    } else {
      fh_clear(holder, cell[cell]);
    }
  }
}

/* ---- what is reachable ---- */

static int by_address(const void *a, const void *b) {
  uintptr_t x = (uintptr_t) * (void *const *)a, y = (uintptr_t) * (void *const *)b;
  return (x > y) - (x < y);
}

static uint64_t count_reachable(const struct graph *graph) {
  static struct thing *seen[MOST], *fresh[3 * MOST];
  size_t count = 0, found = 0;
  for (size_t i = 0; i < ROOTS; i++)
    if (graph->root[i]) fresh[found++] = graph->root[i];
  while (found) {
    qsort(fresh, found, sizeof *fresh, by_address);
    size_t before = count, distinct = 0;
    for (size_t i = 0; i < found; i++) {
      if (i && fresh[i] == fresh[i - 1]) continue;
      if (before && bsearch(&fresh[i], seen, before, sizeof *seen, by_address)) continue;
      fresh[distinct++] = fresh[i];
    }
    require(before + distinct <= MOST);
    memcpy(&seen[before], fresh, distinct * sizeof *fresh);
    count = before + distinct;
    found = 0;
    for (size_t i = before; i < count; i++)
      for (int k = 0; k < cells_of[kind_of(seen[i])]; k++)
        if (seen[i]->cell[k]) fresh[found++] = seen[i]->cell[k];
    qsort(seen, count, sizeof *seen, by_address);
  }
  return count;
}

static void expect_only_what_is_reachable(const struct graph *graph, int generation) {
  (void)fh_collect(generation);
  fh_settle();
  fh_safepoint();
  if (generation == 2) (void)fh_collect(2); /* what finalizers kept for a while */
  fh_settle();
  uint64_t live = live_things(), reachable = count_reachable(graph);
  if (generation == 2 && live != reachable)
    fail_msg("%llu live, %llu reachable", (unsigned long long)live, (unsigned long long)reachable);
  assert_true(live >= reachable);
  assert_int_equal(fh_check_heap(), FH_OK);
}

static void drop_all(struct graph *graph) {
  for (size_t i = 0; i < ROOTS; i++) drop_root(graph, i);
}

/* In between, everything is as the seed says: a test that fails once fails again. */
static void random_turns(uint64_t seed, int kinds, bool freezes) {
  fh_stats before = stats_now();
  struct graph graph = {.random = random_from(seed), .kinds = kinds};
  for (int round = 0; round < 60; round++) {
    for (size_t n = below(&graph.random, 400); n; n--) take_a_turn(&graph);
    if (freezes && below(&graph.random, 8) == 0) (void)fh_gc_freeze();
    if (freezes && below(&graph.random, 4) == 0) (void)fh_gc_unfreeze();
    if (fh_gc_freeze_count()) (void)fh_collect(2);
    int generation = fh_gc_freeze_count() ? 1 : (int)below(&graph.random, 3); /* what is frozen may be garbage */
    expect_only_what_is_reachable(&graph, generation);
    if (below(&graph.random, 10) == 0) drop_all(&graph);
  }
  drop_all(&graph);
  (void)fh_gc_unfreeze();
  expect_only_what_is_reachable(&graph, 2);
  assert_int_equal(live_things(), 0);
  fh_stats after = stats_now();
  assert_true(after.live_bytes == before.live_bytes);
  assert_true(after.objects_made - before.objects_made == after.objects_destroyed - before.objects_destroyed);
}

enum { SEEDS = 3 };

static void plain_graphs(void **state) {
  for (uint64_t seed = 1; seed <= SEEDS; seed++) random_turns(seed, PLAIN, false);
}
static void mixed_graphs(void **state) {
  for (uint64_t seed = 1; seed <= SEEDS; seed++) random_turns(1000 + seed, SPECS, false);
}
static void frozen_graphs(void **state) {
  for (uint64_t seed = 1; seed <= SEEDS; seed++) random_turns(2000 + seed, SPECS, true);
}

/* ---- beside each other ---- */

static fh_slot shared[8];

static void turns_of_a_thread(int index, void *unused) {
  struct graph graph = {.random = random_from(77 + (uint64_t)index), .kinds = CYCLIC};
  for (size_t n = 0; n < scaled(20000); n++) {
    take_a_turn(&graph);
    size_t i = below(&graph.random, ROOTS);
    fh_slot *slot = &shared[below(&graph.random, 8)];
    switch (below(&graph.random, 40)) {
      case 0:
        if (graph.root[i] && below(&graph.random, 2)) fh_slot_store(slot, graph.root[i]);
        drop_all(&graph); /* others may know some of it now: nobody writes that any more */
        break;
      case 1: {
        struct thing *thing = fh_slot_load(slot);
        if (!thing) break;
        struct thing *holder = new_of_spec(&specs[5]);
        fh_give(holder, cell[1], thing);
        drop_root(&graph, i);
        fh_release(holder);
        break;
      }
      case 2: fh_slot_store(slot, NULL); break;
      case 3: (void)fh_collect((int)below(&graph.random, 3)); break;
      default: fh_safepoint();
    }
  }
  drop_all(&graph);
}

static void graphs_beside_each_other(void **state) {
  run_threads(3, turns_of_a_thread, NULL);
  for (int i = 0; i < 8; i++) fh_slot_store(&shared[i], NULL);
  (void)fh_collect(2);
  fh_settle();
  fh_safepoint();
  (void)fh_collect(2);
  fh_settle();
  assert_int_equal(live_things(), 0);
  assert_int_equal(fh_check_heap(), FH_OK);
}

/* ---- deep ones ---- */

/* A list of lists: its cells and those of its members are chosen; types alternate. */
static struct thing *list_of_lists(int outer, int inner, size_t length, const int *kinds) {
  struct thing *list = NULL;
  for (size_t n = 0; n < length; n++) {
    struct thing *member = NULL;
    for (size_t k = 0; k < 40; k++) {
      struct thing *next = new_of_spec(&specs[kinds[k % 3]]);
      fh_give(next, cell[cells_of[kinds[k % 3]] == 1 ? 0 : inner], member);
      member = next;
    }
    struct thing *head = new_of_spec(&specs[5 + (kinds[0] == kinds[1] ? 0 : n % 3)]);
    fh_give(head, cell[!outer], member);
    fh_give(head, cell[outer], list);
    list = head;
  }
  return list;
}

static void lists_of_lists(void **state) {
  static const int same[] = {5, 5, 5}, singles[] = {2, 3, 4}, mixed[] = {2, 7, 6};
  const int *const kinds[] = {same, singles, mixed};
  fh_stats before = stats_now();
  for (int k = 0; k < 3; k++) {
    for (int way = 0; way < 4; way++) {
      struct thing *list = list_of_lists(way & 1, way >> 1, scaled(20000), kinds[k]);
      fh_release(list);
      assert_int_equal(live_things(), 0);
    }
  }
  fh_settle();
  fh_stats after = stats_now();
  assert_true(after.live_bytes == before.live_bytes);
  assert_true(after.objects_made - before.objects_made == after.objects_destroyed - before.objects_destroyed);
  assert_int_equal(fh_check_heap(), FH_OK);
}

/* Those of plain types between others, whose deaths wait until the plain ones are over. */
static void chains_of_all_kinds(void **state) {
  static const int kinds[] = {5, 9, 2, 8, 7, 9, 11, 12};
  struct thing *chain = NULL;
  for (size_t n = 0; n < scaled(300000); n++) {
    int kind = kinds[n % 8];
    struct thing *next = new_of_spec(&specs[kind]);
    fh_give(next, cell[0], chain);
    chain = next;
  }
  fh_release(chain);
  assert_int_equal(live_things(), 0);
  assert_int_equal(fh_check_heap(), FH_OK);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(plain_graphs, runtime_setup_gc_off, runtime_teardown),
      cmocka_unit_test_setup_teardown(mixed_graphs, runtime_setup_gc_off, runtime_teardown),
      cmocka_unit_test_setup_teardown(frozen_graphs, runtime_setup_gc_off, runtime_teardown),
      with_runtime(graphs_beside_each_other),
      with_runtime(lists_of_lists),
      with_runtime(chains_of_all_kinds),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
