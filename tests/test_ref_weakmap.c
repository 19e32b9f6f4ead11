/* SPDX-License-Identifier: MIT */
/* Weak maps and sets from the inside: entries, deaths that are put off, no memory, and races.
 *
 * Claims: [weak.entry] and [map.entry] after every coming and going; an object whose death is put off is found by nobody, and until it
 * is destroyed its entry keeps the value; without memory an entry is refused and nothing changed, and death needs none. Under races
 * between setting, reading, removing, listing and emptying, between the deaths of keys, values and maps, by count and as garbage, and
 * finalizers that resurrect, whoever gets something gets what belongs to it and is alive, and nothing is left in the end. */
#include "support/exhaust.h"
#include "support/inside.h"

#include <string.h>

#include "collect/collect.h"
#include "mutator/mutator.h"
#include "ref/destroy.h"
#include "ref/weakmap.h"

static size_t entries_of(const struct node *n) {
  size_t count = 0;
  for (struct fh__weak_entry *entry = fh__weak_entries_of(&n->fh); entry; entry = entry->next) {
    require(entry->object == &n->fh && entry->block->target == &n->fh && entry->in_table); /* [weak.entry] */
    count++;
  }
  return count;
}

/* ---- entries ---- */

static void an_entry_leads_to_its_object_and_counts_in_its_block(void **state) {
  fh_weak_keys *keys = fh_weak_keys_new();
  fh_weak_set *members = fh_weak_set_new();
  fh_weak_values *values = fh_weak_values_new();
  struct node *n = node_new(1), *value = node_new(2);
  assert_int_equal(fh_weak_keys_set(keys, n, value), FH_OK);
  assert_int_equal(fh_weak_set_add(members, n), FH_OK);
  assert_int_equal(fh_weak_values_set(values, "k", 1, n), FH_OK);
  FH_AUTO fh_weak *weak = fh_weak_new(n);
  assert_true(entries_of(n) == 3 && weak->block->count == 4 && weak_blocks() == 1 && n->fh.fh__shared & FH__WEAK);
  assert_int_equal(fh_weak_keys_set(keys, n, n), FH_OK); /* the same entry */
  assert_true(entries_of(n) == 3);
  fh_weak_keys_clear(keys);
  fh_release(members);
  assert_true(entries_of(n) == 1 && weak->block->count == 2);
  assert_true(fh_weak_values_remove(values, "k", 1) && entries_of(n) == 0 && weak->block->count == 1);
  assert_int_equal(fh_weak_keys_set(keys, n, value), FH_OK);
  fh_release(n);
  assert_true(!weak->block->target && weak->block->count == 1 && weak_blocks() == 0);
  fh_release(value);
  fh_release(keys);
  fh_release(values);
  assert_true(deaths() == 2);
}

/* ---- deaths that are put off ---- */

/* As a merge leaves it that took the count to zero. */
static void die_later(struct node *n) {
  n->fh.fh__bias = FH__BIAS_MARK;
  n->fh.fh__shared = FH__MERGED | FH__WEAK;
  fh__ref_die_later(fh__self(), &n->fh);
}

static void note_call(void *context, const void *key, size_t size, void *value) { ++*(int *)context; }

static void an_object_whose_death_is_put_off_is_found_by_nobody(void **state) {
  FH_AUTO fh_weak_values *values = fh_weak_values_new();
  struct node *n = node_new(1);
  int calls = 0;
  assert_int_equal(fh_weak_values_set(values, "k", 1, n), FH_OK);
  die_later(n);
  assert_null(fh_weak_values_get(values, "k", 1));
  assert_int_equal(fh_weak_values_each(values, note_call, &calls), FH_OK);
  assert_int_equal(calls, 0);
  assert_int_equal(fh_check_heap(), FH_OK);
  FH_AUTO struct node *other = node_new(2);
  FH_AUTO struct node *there = fh_weak_values_set_default(values, "k", 1, other); /* takes its place */
  assert_true(there == other && fh_weak_values_count(values) == 1);
  fh_safepoint();
  assert_true(deaths() == 1 && fh_weak_values_count(values) == 1);
}

/* A collection meets a key that has no entry in the chunks any more, and whose slot word is a link. */
static void a_key_whose_death_is_put_off_keeps_its_value(void **state) {
  FH_AUTO fh_weak_keys *keys = fh_weak_keys_new();
  struct node *n = node_new(1), *value = node_new(2);
  assert_int_equal(fh_weak_keys_set(keys, n, value), FH_OK);
  fh_set(value, left, value); /* else it dies by count */
  fh_release(value);
  die_later(n);
  assert_int_equal((int)fh__collect(fh__self(), FH__OLD), 0);
  assert_true(deaths() == 1 && fh_weak_keys_count(keys) == 0); /* destroyed behind the stop */
  assert_int_equal((int)fh_collect(2), 1);
  assert_true(deaths() == 2);
}

/* ---- no memory ---- */

static void use_without_memory(void) {
  static struct exhausted exhausted;
  runtime_start(&(fh_options){.flags = FH_OPTION_GC_OFF});
  fh_weak_keys *keys = fh_weak_keys_new();
  fh_weak_values *values = fh_weak_values_new();
  fh_weak_set *members = fh_weak_set_new();
  struct node *key = node_new(1), *value = node_new(2), *other = node_new(3);
  require(fh_weak_keys_set(keys, key, value) == FH_OK && fh_weak_values_set(values, "k", 1, key) == FH_OK);
  exhaust_memory(&exhausted);
  require(fh_weak_keys_set(keys, other, value) == FH_ENOMEM && fh_refcount(value) == 2 && entries_of(other) == 0);
  require(fh_weak_values_set(values, "k", 1, other) == FH_ENOMEM && !fh_weak_values_set_default(values, "o", 1, other));
  require(fh_weak_set_add(members, other) == FH_ENOMEM && !(other->fh.fh__shared & FH__WEAK));
  require(fh_weak_values_each(values, note_call, NULL) == FH_ENOMEM && !fh_weak_set_new());
  require(fh_weak_keys_set(keys, key, other) == FH_OK && fh_refcount(value) == 1); /* in the old one's place */
  struct node *found = fh_weak_values_get(values, "k", 1);
  require(found == key);
  fh_release(found);
  fh_release(key); /* death needs none */
  require(fh_weak_keys_count(keys) == 0 && fh_weak_values_count(values) == 0 && fh_refcount(other) == 1);
  refill_memory(&exhausted);
  require(fh_weak_set_add(members, other) == FH_OK && entries_of(other) == 1);
  fh_release(value);
  fh_release(other);
  fh_release(keys);
  fh_release(values);
  fh_release(members);
  runtime_stop();
}

static void without_memory_it_is_refused(void **state) {
  if (!can_exhaust_memory()) skip();
  expect_fine(use_without_memory);
}

/* ---- races ---- */

/* Keys, values and members are all these. What belongs together has the same id, so whoever gets a stranger's sees it. */
struct item {
  fh_object fh;
  struct item *back; /* written before publication only */
  uint64_t id;
  bool rises;
};
enum { SHARED = 8, MAPS = 3, IDS = 32, RACERS = 4 };
static fh_slot shared_items[SHARED], shared_keys[MAPS], shared_values, shared_members, risen;
static atomic_uint_fast64_t made, destroyed;

static void item_finalize(void *object) {
  struct item *item = object;
  if (item->rises) fh_slot_store(&risen, item);
}
static void item_dealloc(void *object) { atomic_fetch_add(&destroyed, 1); }
static const fh_ref item_refs[] = {FH_FIELD(struct item, back), FH_END};
static const fh_type_spec item_spec = {
    .name = "item", .size = sizeof(struct item), .refs = item_refs, .finalize = item_finalize, .dealloc = item_dealloc};

static struct item *item_new(uint64_t id, struct item *back, bool rises) {
  struct item *item = new_of_spec(&item_spec);
  atomic_fetch_add(&made, 1);
  item->id = id;
  item->rises = rises;
  if (back) fh_set(item, back, back);
  return item;
}

static void expect_pair(void *context, void *key, void *value) { require(((struct item *)key)->id == ((struct item *)value)->id); }
static void expect_bytes(void *context, const void *key, size_t size, void *value) {
  require(size == sizeof(uint64_t) && memcmp(key, &((struct item *)value)->id, size) == 0);
}
static void expect_member(void *context, void *object) { require(((struct item *)object)->id < IDS); }

static struct item *any_item(uint64_t *random) {
  struct item *item = fh_slot_load(&shared_items[below(random, SHARED)]);
  return item ? item : item_new(below(random, IDS), NULL, false);
}

/* Its value leads to it, or to a key before it, or to nothing; or is the key. */
static void use_keys(uint64_t *random, struct item *item) {
  FH_AUTO fh_weak_keys *keys = fh_slot_load(&shared_keys[below(random, MAPS)]);
  FH_AUTO struct item *value = NULL;
  switch (below(random, 8)) {
    case 0: value = fh_retain(item); break;
    case 1: value = fh_weak_keys_take(keys, item); break;
    case 2: require(fh_weak_keys_each(keys, expect_pair, NULL) == FH_OK); break;
    case 3: value = fh_weak_keys_get(keys, item); break;
    default: value = item_new(item->id, below(random, 2) ? item : NULL, below(random, 8) == 0);
  }
  if (!value) return;
  require(value->id == item->id);
  require(fh_weak_keys_set(keys, item, value) == FH_OK);
  FH_AUTO struct item *found = fh_weak_keys_get(keys, item);
  require(!found || found->id == item->id);
}

static void use_values(uint64_t *random, struct item *item) {
  FH_AUTO fh_weak_values *values = fh_slot_load(&shared_values);
  uint64_t id = below(random, IDS);
  FH_AUTO struct item *found = fh_weak_values_get(values, &id, sizeof id);
  require(!found || found->id == id);
  switch (below(random, 8)) {
    case 0: require(fh_weak_values_set(values, &item->id, sizeof id, item) == FH_OK); break;
    case 1: fh_weak_values_remove(values, &id, sizeof id); break;
    case 2: require(fh_weak_values_each(values, expect_bytes, NULL) == FH_OK); break;
    default: {
      FH_AUTO struct item *there = fh_weak_values_set_default(values, &item->id, sizeof id, item);
      require(there && there->id == item->id);
    }
  }
}

static void use_members(uint64_t *random, struct item *item) {
  FH_AUTO fh_weak_set *members = fh_slot_load(&shared_members);
  switch (below(random, 4)) {
    case 0: fh_weak_set_remove(members, item); break;
    case 1: require(fh_weak_set_each(members, expect_member, NULL) == FH_OK); break;
    default: require(fh_weak_set_add(members, item) != FH_ENOMEM);
  }
}

static void replace(fh_slot *slot, void *object) {
  fh_slot_store(slot, object);
  fh_release(object);
}

static void change_what_is_shared(uint64_t *random, struct item *item) {
  switch (below(random, 64)) {
    case 0: replace(&shared_keys[below(random, MAPS)], fh_weak_keys_new()); break; /* with its entries it dies, amid others' use */
    case 1: replace(&shared_values, fh_weak_values_new()); break;
    case 2: replace(&shared_members, fh_weak_set_new()); break;
    case 3: {
      FH_AUTO fh_weak_keys *keys = fh_slot_load(&shared_keys[below(random, MAPS)]);
      fh_weak_keys_clear(keys);
      break;
    }
    case 4: { /* garbage with a map in it: the map is its own key, and has one of others' */
      fh_weak_keys *keys = fh_weak_keys_new();
      require(fh_weak_keys_set(keys, keys, keys) == FH_OK);
      replace(&risen, item_new(0, NULL, false));
      struct item *value = item_new(item->id, item, true);
      require(fh_weak_keys_set(keys, item, value) == FH_OK);
      fh_release(value);
      fh_release(keys);
      break;
    }
    case 5: fh_collect((unsigned)below(random, 3)); break;
    case 6: fh_slot_store(&risen, NULL); break;
    default: fh_slot_store(&shared_items[below(random, SHARED)], below(random, 3) ? item : NULL);
  }
}

static void race(int index, void *argument) {
  uint64_t random = random_from((uint64_t)index + 1);
  for (uint64_t i = 0; i < scaled(60000); i++) {
    FH_AUTO struct item *item = below(&random, 4) ? any_item(&random) : item_new(below(&random, IDS), NULL, below(&random, 16) == 0);
    use_keys(&random, item);
    use_values(&random, item);
    use_members(&random, item);
    change_what_is_shared(&random, item);
    if (i % 8 == 0) fh_safepoint();
    if (i % 64 == 0) give_way();
  }
}

static void empty(fh_slot *slot) { fh_slot_store(slot, NULL); }

static void all_of_it_at_once(void **state) {
  atomic_store(&made, 0);
  atomic_store(&destroyed, 0);
  for (int i = 0; i < MAPS; i++) replace(&shared_keys[i], fh_weak_keys_new());
  replace(&shared_values, fh_weak_values_new());
  replace(&shared_members, fh_weak_set_new());
  run_threads(RACERS, race, NULL);
  assert_int_equal(fh_check_heap(), FH_OK);
  for (int i = 0; i < SHARED; i++) empty(&shared_items[i]);
  for (int round = 0; round < 3; round++) { /* the last may rise once more */
    fh_settle();
    empty(&risen);
  }
  fh_settle();
  assert_true(atomic_load(&made) == atomic_load(&destroyed));
  for (int i = 0; i < MAPS; i++) {
    FH_AUTO fh_weak_keys *keys = fh_slot_load(&shared_keys[i]);
    assert_true(fh_weak_keys_count(keys) == 0);
    empty(&shared_keys[i]);
  }
  FH_AUTO fh_weak_values *values = fh_slot_load(&shared_values);
  FH_AUTO fh_weak_set *members = fh_slot_load(&shared_members);
  assert_true(fh_weak_values_count(values) == 0 && fh_weak_set_count(members) == 0 && weak_blocks() == 0);
  empty(&shared_values);
  empty(&shared_members);
}

/* One releases keys while the other lets the maps go: who finds an entry lost and who frees it meet at every step. */
enum { PAIRS = 64 };
static struct node *doomed[PAIRS];
static fh_slot doomed_maps[PAIRS];
static pthread_barrier_t ready;

static void let_go(int index, void *argument) {
  for (size_t round = 0; round < scaled(3000); round++) {
    if (index == 0)
      for (int i = 0; i < PAIRS; i++) {
        doomed[i] = node_new(1);
        fh_weak_keys *keys = fh_weak_keys_new();
        struct node *value = node_new(2);
        require(keys && fh_weak_keys_set(keys, doomed[i], value) == FH_OK);
        fh_release(value);
        replace(&doomed_maps[i], keys);
      }
    meet(&ready);
    for (int i = 0; i < PAIRS; i++) {
      if (index == 0) fh_drop(&doomed[i]);
      if (index == 1) fh_slot_store(&doomed_maps[i], NULL);
      if (index == 2) {
        FH_AUTO fh_weak_keys *keys = fh_slot_load(&doomed_maps[i]);
        if (keys) fh_weak_keys_clear(keys);
      }
    }
    meet(&ready);
  }
}

static void keys_and_maps_die_at_once(void **state) {
  pthread_barrier_init(&ready, NULL, 3);
  run_threads(3, let_go, NULL);
  pthread_barrier_destroy(&ready);
  fh_settle();
  assert_true(deaths() == 2 * PAIRS * scaled(3000) && weak_blocks() == 0);
}

/* ---- a key dies while its map is destroyed ---- */

/* A ring that holds a leaf and a map. The leaf's death, in the midst of clearing the ring, lets another thread release the key of an
 * entry: the map is garbage by then, and will be destroyed whatever its count is, so that thread must not hold on to it. If it does
 * take the entry, its value dies with it, and waits there until the map is gone. */
struct chain {
  fh_object fh;
  struct chain *self;
  void *first, *second;
};
static const fh_ref chain_refs[] = {
    FH_FIELD(struct chain, self), FH_FIELD(struct chain, first), FH_FIELD(struct chain, second), FH_END};
static const fh_type_spec chain_spec = {.name = "chain", .size = sizeof(struct chain), .refs = chain_refs};

static struct gate key_made, clearing, released, destroyed_all;
static pthread_t releaser;
static void clearing_dealloc(void *object) {
  gate_open(&clearing, 1);
  gate_await_deaf(&released, 1);
}
static void value_dealloc(void *object) {
  if (!pthread_equal(pthread_self(), releaser)) return;
  gate_open(&released, 1);
  gate_await_deaf(&destroyed_all, 1);
}
static const fh_type_spec first_spec = {.name = "first", .size = 32, .dealloc = clearing_dealloc};
static const fh_type_spec value_spec = {.name = "value", .size = 32, .dealloc = value_dealloc};

static void release_amid_clearing(void *argument) {
  fh_weak_keys *keys = argument;
  struct node *key = node_new(1);
  void *value = new_of_spec(&value_spec);
  releaser = pthread_self();
  require(fh_weak_keys_set(keys, key, value) == FH_OK); /* both are its own: its last release ends them */
  fh_release(value);
  gate_open(&key_made, 1);
  gate_await(&clearing, 1); /* not attached, so the stop does not wait for it */
  fh_release(key);
  gate_open(&released, 1);
}

static void a_key_dies_while_its_map_is_destroyed(void **state) {
  only_parallel(); /* both wait attached */
  key_made = clearing = released = destroyed_all = (struct gate)GATE;
  struct chain *chain = new_of_spec(&chain_spec);
  fh_weak_keys *keys = fh_weak_keys_new();
  struct companion companion;
  companion_start(&companion, release_amid_clearing, keys);
  gate_await(&key_made, 1);
  fh_set(chain, self, chain);
  fh_give(chain, first, new_of_spec(&first_spec));
  fh_give(chain, second, keys);
  fh_publish(chain);
  fh_release(chain);
  assert_int_equal((int)fh_collect(2), 2);
  gate_open(&destroyed_all, 1);
  companion_join(&companion);
  assert_true(deaths() == 1 && weak_blocks() == 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(an_entry_leads_to_its_object_and_counts_in_its_block),
      with_runtime(an_object_whose_death_is_put_off_is_found_by_nobody),
      with_runtime(a_key_whose_death_is_put_off_keeps_its_value),
      cmocka_unit_test(without_memory_it_is_refused),
      with_runtime(all_of_it_at_once),
      with_runtime(keys_and_maps_die_at_once),
      with_runtime(a_key_dies_while_its_map_is_destroyed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
