/* SPDX-License-Identifier: MIT */
/* Ephemerons in trial deletion, against a fixpoint by hand.
 *
 * Claims: what a full collection leaves is what the roots reach, where a pair of a weak-key map leads from both its map and its key to
 * its value [ephemeron.pair], whatever the graph: keys, values and maps are ordinary objects, and each may be any of the three; so
 * also of types that are not tracked; also when finalizers run beside it, and when a collection starts from candidates [candidate.reach]; a partial collection frees
 * nothing that a full one keeps; marking looks at a pair twice at most, also where each pair brings the next one to life.
 * Real: the whole runtime. Seeds are printed with every failure. */
#include "support/inside.h"

#include <string.h>

#include "collect/collect.h"
#include "collect/ephemeron.h"
#include "ref/merge.h"
#include "sync/stop.h"

/* ---- things and maps ---- */

enum { MOST = 120, KINDS_OF_MAPS = 4 };

struct thing {
  fh_object fh;
  void *left, *right; /* things or maps */
  size_t id;
};
static bool dead[MOST];
static void thing_dealloc(void *object) { dead[((struct thing *)object)->id] = true; }
static size_t finalized;
static void thing_finalize(void *object) { finalized++; }

static const fh_ref thing_refs[] = {FH_FIELD(struct thing, left), FH_FIELD(struct thing, right), FH_END};
static const fh_type_spec thing_spec = {.name = "thing", .size = sizeof(struct thing), .refs = thing_refs, .dealloc = thing_dealloc};
static const fh_type_spec last_spec = {
    .name = "last", .size = sizeof(struct thing), .refs = thing_refs, .dealloc = thing_dealloc, .finalize = thing_finalize};

/* Not tracked, before it is a key. */
struct leaf {
  fh_object fh;
  size_t id;
};
static void leaf_dealloc(void *object) { dead[((struct leaf *)object)->id] = true; }
static const fh_type_spec leaf_spec = {.name = "leaf", .size = sizeof(struct leaf), .dealloc = leaf_dealloc};

static uint64_t chance;

/* ---- a graph and its oracle ---- */

enum { PAIRS = 4 * MOST };
struct pair {
  size_t map, key, value;
};
static void *vertex[MOST]; /* borrowed, once the graph is built */
static size_t vertices, pairs;
static bool is_map[MOST], is_leaf[MOST], is_root[MOST], reached[MOST];
static struct pair pair[PAIRS];
static size_t edge[MOST][2];

static bool has(size_t map, size_t key) {
  for (size_t i = 0; i < pairs; i++)
    if (pair[i].map == map && pair[i].key == key) return true;
  return false;
}

static void build(uint64_t seed, const fh_type_spec *spec) {
  chance = random_from(seed);
  vertices = 2 + below(&chance, MOST - 2);
  memset(dead, 0, sizeof dead);
  pairs = 0;
  for (size_t i = 0; i < vertices; i++) {
    is_map[i] = below(&chance, KINDS_OF_MAPS) == 0;
    is_leaf[i] = !is_map[i] && below(&chance, 5) == 0;
    is_root[i] = below(&chance, 8) == 0;
    edge[i][0] = edge[i][1] = MOST;
    vertex[i] = is_map[i] ? (void *)fh_weak_keys_new() : new_of_spec(is_leaf[i] ? &leaf_spec : spec);
    require(vertex[i]);
    if (is_leaf[i])
      ((struct leaf *)vertex[i])->id = i;
    else if (!is_map[i])
      ((struct thing *)vertex[i])->id = i;
  }
  for (size_t i = 0; i < vertices; i++) {
    struct thing *thing = vertex[i];
    if (is_map[i] || is_leaf[i]) continue;
    if (below(&chance, 2)) fh_set(thing, left, vertex[edge[i][0] = below(&chance, vertices)]);
    if (below(&chance, 4) == 0) fh_set(thing, right, vertex[edge[i][1] = below(&chance, vertices)]);
  }
  for (size_t n = below(&chance, 2 * vertices); n; n--) {
    struct pair p = {below(&chance, vertices), below(&chance, vertices), below(&chance, vertices)};
    if (!is_map[p.map] || has(p.map, p.key)) continue;
    require(fh_weak_keys_set(vertex[p.map], vertex[p.key], vertex[p.value]) == FH_OK);
    pair[pairs++] = p;
  }
  for (size_t i = 0; i < vertices; i++)
    if (!is_root[i]) fh_release(vertex[i]);
}

static void reach(void) {
  memcpy(reached, is_root, sizeof reached);
  for (bool more = true; more;) {
    more = false;
    for (size_t i = 0; i < vertices; i++)
      for (int side = 0; side < 2; side++)
        if (reached[i] && edge[i][side] < MOST && !reached[edge[i][side]]) more = reached[edge[i][side]] = true;
    for (size_t i = 0; i < pairs; i++)
      if (reached[pair[i].map] && reached[pair[i].key] && !reached[pair[i].value]) more = reached[pair[i].value] = true;
  }
}

/* ---- against the oracle ---- */

static void check_reached(uint64_t seed, bool exactly) {
  for (size_t i = 0; i < vertices; i++)
    if (!is_map[i] && (reached[i] ? dead[i] : exactly && !dead[i])) {
      fprintf(stderr, "seed %lu: vertex %zu is %s\n", (unsigned long)seed, i, dead[i] ? "dead" : "alive");
      abort();
    }
  for (size_t i = 0; i < vertices; i++) {
    if (!is_map[i] || !reached[i]) continue;
    size_t expected = 0;
    for (size_t j = 0; j < pairs; j++) {
      if (pair[j].map != i || !reached[pair[j].key]) continue;
      expected++;
      FH_AUTO void *value = fh_weak_keys_get(vertex[i], vertex[pair[j].key]);
      require(value == vertex[pair[j].value]);
    }
    require(!exactly || fh_weak_keys_count(vertex[i]) == expected);
  }
}

/* Between two collections: roots go, entries come and go among what lives. The next one starts from what this has touched. */
static void change(void) {
  for (size_t i = 0; i < vertices; i++)
    if (is_root[i] && below(&chance, 3) == 0) {
      is_root[i] = false;
      fh_release(vertex[i]);
    }
  for (size_t n = below(&chance, 6); n; n--) { /* what is reached no more is alive until the collection, unless it died by count */
    size_t i = below(&chance, pairs + 1);
    struct pair p = i < pairs ? pair[i] : (struct pair){below(&chance, vertices), below(&chance, vertices), below(&chance, vertices)};
    reach();
    if (!is_map[p.map] || !reached[p.map] || !reached[p.key]) continue;
    if (i < pairs) {
      void *taken = fh_weak_keys_take(vertex[p.map], vertex[p.key]);
      require(taken == vertex[p.value]);
      pair[i] = pair[--pairs];
      fh_release(taken);
    } else if (reached[p.value] && !has(p.map, p.key)) {
      require(fh_weak_keys_set(vertex[p.map], vertex[p.key], vertex[p.value]) == FH_OK);
      pair[pairs++] = p;
    }
  }
}

static void drop_roots(void) {
  for (size_t i = 0; i < vertices; i++)
    if (is_root[i]) fh_release(vertex[i]);
  fh_settle();
  for (size_t i = 0; i < vertices; i++) require(is_map[i] || dead[i]);
}

static void compare(const fh_type_spec *spec) {
  enum { CHANGES = 4 };
  size_t rounds = scaled(2000);
  for (uint64_t seed = 1; seed <= rounds; seed++) {
    build(seed, spec);
    reach();
    fh_collect((unsigned)(seed % 3)); /* a partial one first: it may keep what it likes, and free nothing that is alive */
    check_reached(seed, false);
    fh_collect(2);
    fh_settle();
    check_reached(seed, true);
    for (int i = 0; i < CHANGES; i++) {
      change();
      reach();
      fh_collect(2);
      fh_settle();
      check_reached(seed, true);
    }
    if (seed % 16 == 0) assert_int_equal(fh_check_heap(), FH_OK);
    drop_roots();
  }
}

static void what_is_left_is_what_is_reached(void **state) {
  compare(&thing_spec);
  assert_true(fh__collector.from_candidates > 0);
}

static void finalizers_change_nothing_of_it(void **state) {
  finalized = 0;
  compare(&last_spec);
  assert_true(finalized > 0);
}

/* ---- chains ---- */

enum order { FORWARD, BACKWARD };

/* key 0 -> value 0 = key 1 -> value 1 = key 2 ... in one map, or in a map for each pair. */
static struct thing *make_chain(fh_weak_keys **map, size_t maps, size_t length, enum order order) {
  struct thing **link = calloc(length + 1, sizeof *link);
  for (size_t i = 0; i <= length; i++) link[i] = new_of_spec(&thing_spec);
  for (size_t n = 0; n < length; n++) {
    size_t i = order == FORWARD ? n : length - 1 - n;
    require(fh_weak_keys_set(map[i % maps], link[i], link[i + 1]) == FH_OK);
  }
  struct thing *first = link[0];
  for (size_t i = 1; i <= length; i++) fh_release(link[i]);
  free(link);
  return first;
}

static uint64_t count_looks(uint64_t *living_out) {
  struct fh__scan scan;
  stop_and_merge();
  fh__scan_begin(&scan, FH__OLD);
  fh__scan_subtract(&scan);
  fh__scan_mark(&scan);
  fh__ephemerons_mark(&scan);
  *living_out = 0;
  for (size_t i = 1; i < scan.entries; i++) *living_out += scan.refs[i] == FH__SCAN_MARKED;
  fh__scan_end(&scan);
  resume_world();
  return scan.pairs;
}

static void look_twice_at_most(size_t maps, size_t length, enum order order) {
  fh_weak_keys **map = calloc(maps, sizeof *map);
  for (size_t i = 0; i < maps; i++) require(map[i] = fh_weak_keys_new());
  struct thing *first = make_chain(map, maps, length, order);
  uint64_t living;
  uint64_t looks = count_looks(&living);
  assert_true(living == length + 1 + maps);
  assert_true(looks >= length && looks <= 2 * length);
  assert_int_equal((int)fh_collect(2), 0);
  fh_release(first); /* by count: each value is the next key, and the stack stays where it is */
  size_t left = 0;
  for (size_t i = 0; i < maps; i++) left += fh_weak_keys_count(map[i]);
  assert_true(left == 0);
  for (size_t i = 0; i < maps; i++) fh_release(map[i]);
  free(map);
}

static void a_chain_is_marked_in_linear_time(void **state) {
  size_t length = scaled(100000);
  for (enum order order = FORWARD; order <= BACKWARD; order++) {
    look_twice_at_most(1, length, order);
    look_twice_at_most(length / 8, length, order);
  }
}

/* The end of the chain leads to its beginning: only a collection frees it, in one go. */
static void a_ring_of_pairs_is_collected(void **state) {
  size_t length = scaled(100000);
  fh_weak_keys *map[2] = {fh_weak_keys_new(), fh_weak_keys_new()};
  struct thing *first = make_chain(map, 2, length, BACKWARD);
  fh_set(first, left, first);
  assert_int_equal((int)fh_collect(2), 0);
  fh_release(first);
  assert_int_equal((int)fh_collect(2), (int)length + 1);
  assert_true(fh_weak_keys_count(map[0]) + fh_weak_keys_count(map[1]) == 0);
  fh_release(map[0]);
  fh_release(map[1]);
}

/* ---- keys of types that are not tracked ---- */

static const fh_type_spec bare_leaf_spec = {.name = "bare leaf", .size = sizeof(struct leaf)};
static const fh_ref acyclic_refs[] = {FH_FIELD(struct thing, left), FH_FIELD(struct thing, right), FH_END};
static const fh_type_spec acyclic_spec = {
    .name = "acyclic", .size = sizeof(struct thing), .flags = FH_ACYCLIC, .refs = acyclic_refs, .dealloc = thing_dealloc};
static const fh_type_spec *const untracked_spec[] = {&leaf_spec, &bare_leaf_spec, &acyclic_spec};

enum { VALUE = 1, HOLDER };

/* A pair whose value leads back to its key. The key is the caller's. */
static fh_object *key_of(fh_weak_keys *map, const fh_type_spec *spec) {
  fh_object *key = new_of_spec(spec); /* its id, if it has one, is 0 */
  struct thing *value = new_of_spec(&thing_spec);
  value->id = VALUE;
  fh_set(value, left, key);
  assert_int_equal(fh_weak_keys_set(map, key, value), FH_OK);
  fh_release(value);
  return key;
}

static uint64_t live_of(const fh_type_spec *spec) { return fh_type_live(type_of_spec(spec)); }

static void a_leaf_dies_with_the_value_that_leads_back_to_it(void **state) {
  fh_weak_keys *map = fh_weak_keys_new();
  for (size_t i = 0; i < sizeof untracked_spec / sizeof *untracked_spec; i++) {
    const fh_type_spec *spec = untracked_spec[i];
    dead[VALUE] = false;
    fh_object *key = key_of(map, spec);
    fh_release(key);
    assert_true(live_of(spec) == 1 && fh_weak_keys_count(map) == 1);
    assert_int_equal(fh_collect(2), 2);
    assert_true(dead[VALUE] && live_of(spec) == 0 && fh_weak_keys_count(map) == 0);

    dead[VALUE] = false;
    key = key_of(map, spec);
    assert_int_equal(fh_collect(2), 0);
    assert_true(!dead[VALUE] && fh_refcount(key) == 2);
    assert_int_equal(fh_check_heap(), FH_OK);
    fh_release(key); /* it has an entry now */
    assert_int_equal(fh_collect(2), 2);
    assert_true(dead[VALUE] && live_of(spec) == 0 && fh_weak_keys_count(map) == 0);
  }
  fh_release(map);
}

static void a_leaf_that_was_a_key_dies_by_its_count(void **state) {
  fh_weak_keys *map = fh_weak_keys_new();
  for (size_t i = 0; i < sizeof untracked_spec / sizeof *untracked_spec; i++) {
    const fh_type_spec *spec = untracked_spec[i];
    fh_object *key = key_of(map, spec);
    assert_int_equal(fh_collect(2), 0);
    fh_release(fh_weak_keys_take(map, key)); /* the value, which refers to it */
    fh_settle();
    assert_true(live_of(spec) == 1 && fh_refcount(key) == 1 && fh_weak_keys_count(map) == 0);
    assert_int_equal(fh_collect(2), 0);
    assert_int_equal(fh_check_heap(), FH_OK);
    fh_release(key);
    fh_settle();
    assert_true(live_of(spec) == 0);
  }
  fh_release(map);
}

/* Something young that holds it is as good as any. */
static void a_leaf_lives_while_something_holds_it(void **state) {
  fh_weak_keys *map = fh_weak_keys_new();
  struct thing *holder = new_of_spec(&thing_spec);
  holder->id = HOLDER;
  fh_object *key = key_of(map, &leaf_spec);
  dead[VALUE] = false;
  fh_give(holder, right, key);
  for (int generation = 0; generation < FH__GENERATIONS; generation++) assert_int_equal(fh_collect(generation), 0);
  struct thing *value = fh_weak_keys_get(map, key);
  assert_true(value && fh_get(value, left) == key && !dead[VALUE]);
  fh_release(value);
  fh_release(holder);
  assert_int_equal(fh_collect(2), 2);
  assert_true(dead[VALUE]);
  fh_release(map);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(what_is_left_is_what_is_reached),
      with_runtime(finalizers_change_nothing_of_it),
      with_runtime(a_chain_is_marked_in_linear_time),
      with_runtime(a_ring_of_pairs_is_collected),
      with_runtime_gc_off(a_leaf_dies_with_the_value_that_leads_back_to_it),
      with_runtime_gc_off(a_leaf_that_was_a_key_dies_by_its_count),
      with_runtime_gc_off(a_leaf_lives_while_something_holds_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
