/* SPDX-License-Identifier: MIT */
/* Weak maps and sets, as a user of the library sees them.
 *
 * Claims: a weak-key map holds a value as long as itself and the key live; a value that leads back to its key, by itself, through
 * others, through maps, or because it is the key, keeps nothing; an entry goes with its object, in the release that was the last one
 * or in the collection that finds it, before any finalizer; what a finalizer resurrects has lost its entries. A weak-value map
 * and a set keep nothing. What `each` shows lives while it is shown. Types can refuse. */
#include "support/support.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static fh_weak_keys *keys_new(void) {
  fh_weak_keys *keys = fh_weak_keys_new();
  require(keys);
  return keys;
}

static void set(fh_weak_keys *keys, void *key, void *value) { require(fh_weak_keys_set(keys, key, value) == FH_OK); }

/* Sets, and gives the value up: the map alone holds it. */
static void give(fh_weak_keys *keys, void *key, void *value) {
  set(keys, key, value);
  fh_release(value);
}

static bool leads_to(fh_weak_keys *keys, void *key, void *value) {
  FH_AUTO void *found = fh_weak_keys_get(keys, key);
  return found == value;
}

/* ---- weak keys: counts ---- */

static void a_value_is_found_by_the_identity_of_its_key(void **state) {
  FH_AUTO fh_weak_keys *keys = keys_new();
  FH_AUTO struct node *a = node_new(1), *b = node_new(1);
  struct node *value = node_new(2);
  assert_true(leads_to(keys, a, NULL) && fh_weak_keys_count(keys) == 0);
  set(keys, a, value);
  assert_true(fh_refcount(a) == 1 && fh_refcount(value) == 2);
  assert_true(leads_to(keys, a, value) && leads_to(keys, b, NULL) && fh_weak_keys_count(keys) == 1);
  fh_release(value);
  assert_true(leads_to(keys, a, value) && deaths() == 0); /* it lives by the map */
  struct node *other = node_new(3);
  give(keys, a, other);
  assert_true(leads_to(keys, a, other) && deaths() == 1 && fh_weak_keys_count(keys) == 1);
  struct node *taken = fh_weak_keys_take(keys, a);
  assert_ptr_equal(taken, other);
  assert_true(leads_to(keys, a, NULL) && !fh_weak_keys_take(keys, a) && fh_weak_keys_count(keys) == 0);
  fh_release(taken);
  assert_true(deaths() == 2);
}

static void all_of_it_is_published(void **state) {
  FH_AUTO fh_weak_keys *keys = keys_new();
  FH_AUTO struct node *key = node_new(1);
  struct node *value = node_new(2);
  fh_give(value, left, node_new(3));
  set(keys, key, value);
  assert_true(fh_is_published(keys) && fh_is_published(key) && fh_is_published(value) && fh_is_published(fh_get(value, left)));
  fh_release(value);
}

static void a_value_dies_with_its_key(void **state) {
  FH_AUTO fh_weak_keys *keys = keys_new();
  struct node *key = node_new(1);
  give(keys, key, node_new(2));
  fh_weak *weak = fh_weak_new(key);
  fh_release(key);
  assert_true(deaths() == 2 && fh_weak_keys_count(keys) == 0 && is_lost(weak)); /* in the release itself */
  fh_release(weak);
}

static void a_value_dies_with_the_map(void **state) {
  fh_weak_keys *keys = keys_new();
  struct node *key = node_new(1);
  give(keys, key, node_new(2));
  fh_release(keys);
  assert_true(deaths() == 1 && node_is_whole(key));
  assert_true(fh_is_unique(key)); /* no entry is left behind */
  fh_release(key);
}

static void one_key_is_in_many_maps(void **state) {
  enum { MAPS = 50 };
  fh_weak_keys *keys[MAPS];
  struct node *key = node_new(1);
  for (int i = 0; i < MAPS; i++) {
    keys[i] = keys_new();
    give(keys[i], key, node_new(2));
  }
  for (int i = 0; i < MAPS; i += 2) fh_release(keys[i]);
  assert_true(deaths() == MAPS / 2);
  assert_int_equal(fh_check_heap(), FH_OK);
  fh_release(key);
  assert_true(deaths() == MAPS + 1);
  for (int i = 1; i < MAPS; i += 2) {
    assert_true(fh_weak_keys_count(keys[i]) == 0);
    fh_release(keys[i]);
  }
}

static void tables_grow_and_shrink(void **state) {
  enum { MANY = 5000 };
  static struct node *key[MANY];
  size_t many = scaled(MANY);
  FH_AUTO fh_weak_keys *keys = keys_new();
  FH_AUTO fh_weak_set *members = fh_weak_set_new();
  for (size_t i = 0; i < many; i++) {
    key[i] = node_new(i);
    give(keys, key[i], node_new(i));
    assert_int_equal(fh_weak_set_add(members, key[i]), FH_OK);
  }
  assert_true(fh_weak_keys_count(keys) == many && fh_weak_set_count(members) == many);
  for (size_t i = 0; i < many; i++) {
    FH_AUTO struct node *value = fh_weak_keys_get(keys, key[i]);
    assert_true(value && value->id == i && fh_weak_set_contains(members, key[i]));
  }
  assert_int_equal(fh_check_heap(), FH_OK);
  for (size_t i = 0; i < many; i++) fh_release(key[i]);
  assert_true(fh_weak_keys_count(keys) == 0 && fh_weak_set_count(members) == 0 && deaths() == 2 * many);
}

static void clear_empties_it(void **state) {
  FH_AUTO fh_weak_keys *keys = keys_new();
  FH_AUTO struct node *a = node_new(1), *b = node_new(2);
  give(keys, a, node_new(3));
  give(keys, b, node_new(4));
  fh_weak_keys_clear(keys);
  assert_true(deaths() == 2 && fh_weak_keys_count(keys) == 0 && leads_to(keys, a, NULL));
  give(keys, a, node_new(5));
  assert_true(fh_weak_keys_count(keys) == 1);
}

static void the_immortal_keep_their_entries(void **state) {
  fh_weak_keys *keys = keys_new();
  struct node *key = node_new(1);
  fh_make_immortal(key);
  give(keys, key, node_new(2));
  fh_release(key);
  fh_collect(2);
  assert_true(fh_weak_keys_count(keys) == 1 && deaths() == 0);
  fh_release(keys);
  assert_true(deaths() == 1);
}

/* ---- weak keys: the collector ---- */

static void expect_collected(fh_weak_keys *keys, size_t found, size_t left) {
  assert_int_equal((int)fh_collect(2), (int)found);
  assert_true(fh_weak_keys_count(keys) == left);
  assert_int_equal(fh_check_heap(), FH_OK);
}

static void a_value_that_refers_to_its_key_does_not_keep_it(void **state) {
  FH_AUTO fh_weak_keys *keys = keys_new();
  struct node *key = node_new(1), *value = node_new(2);
  fh_set(value, left, key);
  give(keys, key, value);
  expect_collected(keys, 0, 1); /* somebody has the key */
  fh_release(key);
  expect_collected(keys, 2, 0);
  assert_true(deaths() == 2);
}

static void nor_through_others(void **state) {
  FH_AUTO fh_weak_keys *keys = keys_new();
  struct node *key = node_new(1), *value = node_new(2);
  fh_give(value, left, node_new(3));
  fh_give(fh_get(value, left), right, node_new(4));
  fh_set(fh_get(fh_get(value, left), right), left, key);
  give(keys, key, value);
  fh_release(key);
  expect_collected(keys, 4, 0);
}

static void nor_through_maps(void **state) {
  FH_AUTO fh_weak_keys *keys = keys_new(), *others = keys_new();
  struct node *a = node_new(1), *b = node_new(2);
  set(keys, a, b); /* the key of one is the value of the other */
  set(others, b, a);
  fh_release(b);
  expect_collected(keys, 0, 1);
  fh_release(a);
  expect_collected(keys, 2, 0);
  assert_true(fh_weak_keys_count(others) == 0);
}

static void nor_as_the_key_itself(void **state) {
  FH_AUTO fh_weak_keys *keys = keys_new();
  struct node *key = node_new(1);
  set(keys, key, key);
  expect_collected(keys, 0, 1);
  fh_release(key);
  expect_collected(keys, 1, 0);
}

static void a_map_may_be_its_own_key_and_value(void **state) {
  fh_weak_keys *keys = keys_new();
  fh_weak *weak = fh_weak_new(keys);
  set(keys, keys, keys);
  fh_release(keys);
  assert_false(is_lost(weak));
  assert_int_equal((int)fh_collect(2), 1);
  assert_true(is_lost(weak));
  fh_release(weak);
}

static void garbage_takes_its_entries_out_of_maps_that_live(void **state) {
  FH_AUTO fh_weak_keys *keys = keys_new();
  FH_AUTO struct node *kept = node_new(1);
  struct node *ring = node_new(2);
  fh_set(ring, left, ring);
  set(keys, ring, kept); /* its value lives on */
  fh_release(ring);
  assert_true(fh_refcount(kept) == 2);
  expect_collected(keys, 1, 0);
  assert_true(fh_refcount(kept) == 1);
}

static void values_that_only_the_entry_kept_die_after_the_collection(void **state) {
  static const fh_type_spec leaf = {.name = "leaf", .size = 32}; /* not tracked: the collector does not see it */
  fh_type *type = type_of_spec(&leaf);
  FH_AUTO fh_weak_keys *keys = keys_new();
  struct node *ring = node_new(2);
  fh_set(ring, left, ring);
  give(keys, ring, fh_new(type));
  fh_release(ring);
  expect_collected(keys, 1, 0);
  assert_true(fh_type_live(type) == 0);
}

static void a_map_that_is_garbage_leaves_its_keys(void **state) {
  fh_weak_keys *keys = keys_new();
  FH_AUTO struct node *key = node_new(1);
  struct node *value = node_new(2);
  fh_set(value, left, (struct node *)(void *)keys); /* a cycle through the map */
  give(keys, key, value);
  fh_release(keys);
  assert_true(deaths() == 0);
  assert_int_equal((int)fh_collect(2), 2);
  assert_true(deaths() == 1 && node_is_whole(key) && fh_is_unique(key));
}

/* Fills the chunks that newborns go to, and lets them grow old with all that is there. */
static void grow_old(void) {
  enum { ENOUGH = 3000 };
  static struct node *n[ENOUGH];
  for (int i = 0; i < ENOUGH; i++) n[i] = node_new(0);
  fh_collect(2);
  for (int i = 0; i < ENOUGH; i++) fh_release(n[i]);
}

/* What a partial collection does not look at, it takes for alive. */
static void older_generations_keep_what_they_lead_to(void **state) {
  fh_gc_disable(); /* but by hand */
  for (int old_key = 0; old_key < 2; old_key++) {
    fh_weak_keys *keys = keys_new();
    struct node *key = old_key ? node_new(1) : NULL;
    if (old_key) fh_publish(key);
    grow_old();
    assert_int_equal(fh_gc_generation(old_key ? (void *)key : keys), 2);
    if (old_key) {
      fh_release(keys);
      keys = keys_new();
    } else {
      key = node_new(1);
    }
    assert_int_equal(fh_gc_generation(old_key ? (void *)keys : key), 0);
    struct node *value = node_new(2);
    fh_set(value, left, key);
    give(keys, key, value);
    fh_release(key);
    uint64_t before = deaths();
    fh_collect(0);
    assert_true(deaths() == before && fh_weak_keys_count(keys) == 1);
    fh_collect(2);
    assert_true(deaths() == before + 2 && fh_weak_keys_count(keys) == 0);
    fh_release(keys);
  }
}

/* ---- finalizers ---- */

enum deed { NOTHING, RISE_SELF, RISE_NEXT, ENTER };
struct phoenix {
  fh_object fh;
  void *next;
  fh_weak_keys *map; /* borrowed */
  enum deed deed;
};
static void *risen;
static int finalized;

static void phoenix_finalize(void *object) {
  struct phoenix *p = object;
  finalized++;
  if (p->map) require(leads_to(p->map, p, NULL)); /* its entry is gone */
  if (p->deed == RISE_SELF) risen = fh_retain(p);
  if (p->deed == RISE_NEXT) risen = fh_retain(p->next);
  if (p->deed == ENTER) give(p->map, p, node_new(9));
}
static const fh_ref phoenix_refs[] = {FH_FIELD(struct phoenix, next), FH_END};
static const fh_type_spec phoenix_spec = {
    .name = "phoenix", .size = sizeof(struct phoenix), .refs = phoenix_refs, .finalize = phoenix_finalize};

static struct phoenix *phoenix_new(enum deed deed, fh_weak_keys *map) {
  struct phoenix *p = new_of_spec(&phoenix_spec);
  p->deed = deed;
  p->map = map;
  return p;
}

static int setup(void **state) {
  risen = NULL;
  finalized = 0;
  return runtime_setup(state);
}
#define with_phoenixes(test) cmocka_unit_test_setup_teardown(test, setup, runtime_teardown)

static void a_key_that_rises_has_lost_its_entry(void **state) {
  for (int as_garbage = 0; as_garbage < 2; as_garbage++) {
    uint64_t before = deaths();
    FH_AUTO fh_weak_keys *keys = keys_new();
    struct phoenix *p = phoenix_new(RISE_SELF, keys);
    struct node *value = node_new(1);
    if (as_garbage) fh_set(value, left, (struct node *)(void *)p);
    give(keys, p, value);
    fh_release(p);
    fh_settle();
    assert_ptr_equal(risen, p);
    assert_true(fh_weak_keys_count(keys) == 0 && deaths() == before + 1);
    give(keys, risen, node_new(2)); /* it may have one again */
    assert_true(fh_weak_keys_count(keys) == 1);
    fh_release(risen);
    fh_settle();
    assert_true(fh_weak_keys_count(keys) == 0 && deaths() == before + 2);
  }
}

static void a_value_that_rises_lives_on_without_it(void **state) {
  FH_AUTO fh_weak_keys *keys = keys_new();
  struct phoenix *value = phoenix_new(RISE_SELF, NULL);
  struct node *key = node_new(1);
  fh_set(value, next, key);
  give(keys, key, value);
  fh_release(key);
  assert_int_equal((int)fh_collect(2), 0); /* both rose */
  assert_ptr_equal(risen, value);
  assert_true(fh_get(value, next) == key && node_is_whole(key) && fh_weak_keys_count(keys) == 0);
  assert_true(fh_refcount(value) == 1);
  fh_release(risen);
  fh_settle();
  assert_true(deaths() == 1);
}

/* The map, its values and one of its keys are garbage together. */
static void a_map_that_rises_has_the_entries_of_living_keys(void **state) {
  FH_AUTO struct node *alive = node_new(1);
  fh_weak_keys *keys = keys_new();
  struct node *dead = node_new(2);
  fh_set(dead, left, dead);
  struct phoenix *p = phoenix_new(RISE_NEXT, NULL);
  fh_set(p, next, keys);
  set(keys, alive, p); /* a cycle: the phoenix, the map */
  give(keys, dead, node_new(4));
  fh_release(p);
  fh_release(dead);
  fh_release(keys);
  fh_collect(2);
  assert_ptr_equal(risen, keys);
  assert_true(fh_weak_keys_count(keys) == 1 && leads_to(keys, alive, p) && finalized == 1);
  fh_settle();
  assert_true(deaths() == 2); /* the dead key and its value */
  assert_int_equal(fh_check_heap(), FH_OK);
  fh_release(risen);
  fh_settle();
}

static struct node *held_key;
static void release_key_finalize(void *object) {
  struct phoenix *p = object;
  fh_drop(&held_key); /* while the map is garbage */
  risen = fh_retain(p->next);
}
static const fh_type_spec dropper_spec = {
    .name = "dropper", .size = sizeof(struct phoenix), .refs = phoenix_refs, .finalize = release_key_finalize};

static void a_map_that_rises_has_lost_what_died_meanwhile(void **state) {
  FH_AUTO struct node *alive = node_new(0);
  fh_weak_keys *keys = keys_new();
  held_key = node_new(1);
  struct phoenix *p = new_of_spec(&dropper_spec);
  fh_set(p, next, keys);
  set(keys, alive, p);
  give(keys, held_key, node_new(2));
  fh_release(p);
  fh_release(keys);
  fh_collect(2);
  assert_ptr_equal(risen, keys);
  assert_true(fh_weak_keys_count(keys) == 1 && deaths() == 2);
  fh_release(risen);
  fh_settle();
}

static void an_entry_that_a_finalizer_makes_goes_with_its_key(void **state) {
  for (int as_garbage = 0; as_garbage < 2; as_garbage++) {
    FH_AUTO fh_weak_keys *keys = keys_new();
    uint64_t before = deaths();
    struct phoenix *p = phoenix_new(ENTER, keys);
    if (as_garbage) fh_set(p, next, p);
    fh_release(p);
    fh_settle();
    assert_true(finalized == as_garbage + 1 && fh_weak_keys_count(keys) == 0 && deaths() == before + 1);
  }
}

/* Another mutator's private garbage has finalizers, so what it refers to is kept for one collection: a key, and with it the value. */
struct mourner {
  fh_object fh;
  struct mourner *self;
  struct node *key;
};
static void mourner_finalize(void *object) { require(node_is_whole(((struct mourner *)object)->key)); }
static const fh_ref mourner_refs[] = {FH_FIELD(struct mourner, self), FH_FIELD(struct mourner, key), FH_END};
static const fh_type_spec mourner_spec = {
    .name = "mourner", .size = sizeof(struct mourner), .refs = mourner_refs, .finalize = mourner_finalize};

static struct gate waiting = GATE, over = GATE;
static struct node *shared_key;
static void leave_garbage(void *argument) {
  struct mourner *mourner = new_of_spec(&mourner_spec);
  fh_set(mourner, self, mourner);
  fh_set(mourner, key, shared_key);
  fh_release(mourner);
  gate_open(&waiting, 1);
  gate_await_running(&over, 1);
}

static void garbage_of_others_keeps_keys_and_values(void **state) {
  only_biased();
  fh_gc_disable(); /* but by hand */
  struct companion companion;
  FH_AUTO fh_weak_keys *keys = keys_new();
  shared_key = node_new(1);
  struct node *value = node_new(2);
  fh_set(value, left, shared_key);
  give(keys, shared_key, value);
  companion_start(&companion, leave_garbage, NULL);
  gate_await(&waiting, 1);
  fh_drop(&shared_key);
  assert_int_equal((int)fh_collect(2), 1); /* the mourner alone */
  assert_true(fh_weak_keys_count(keys) == 1 && deaths() == 0);
  assert_int_equal(fh_check_heap(), FH_OK);
  gate_open(&over, 1);
  companion_join(&companion);
  fh_collect(2);
  assert_true(fh_weak_keys_count(keys) == 0 && deaths() == 2);
}

/* ---- weak values ---- */

static bool stands_for(fh_weak_values *values, const char *key, void *value) {
  FH_AUTO void *found = fh_weak_values_get(values, key, strlen(key));
  return found == value;
}

static void bytes_lead_to_values_and_keep_nothing(void **state) {
  FH_AUTO fh_weak_values *values = fh_weak_values_new();
  struct node *a = node_new(1), *b = node_new(2);
  char key[] = "key";
  assert_int_equal(fh_weak_values_set(values, key, 3, a), FH_OK);
  assert_int_equal(fh_weak_values_set(values, NULL, 0, b), FH_OK);
  assert_int_equal(fh_weak_values_set(values, "a longer key than a word", 24, b), FH_OK);
  key[0] = 'c'; /* it was copied */
  assert_true(stands_for(values, "key", a) && stands_for(values, "cey", NULL) && stands_for(values, "", b));
  assert_true(stands_for(values, "a longer key than a word", b) && stands_for(values, "a longer key than a wort", NULL));
  assert_true(fh_weak_values_count(values) == 3 && fh_refcount(a) == 1 && fh_is_published(a));
  fh_release(a);
  assert_true(deaths() == 1 && stands_for(values, "key", NULL) && fh_weak_values_count(values) == 2);
  assert_true(fh_weak_values_remove(values, NULL, 0) && !fh_weak_values_remove(values, NULL, 0));
  fh_weak_values_clear(values);
  assert_true(fh_weak_values_count(values) == 0 && fh_is_unique(b));
  fh_release(b);
}

static void a_value_takes_the_place_of_another(void **state) {
  FH_AUTO fh_weak_values *values = fh_weak_values_new();
  FH_AUTO struct node *a = node_new(1), *b = node_new(2);
  assert_int_equal(fh_weak_values_set(values, "k", 1, a), FH_OK);
  assert_int_equal(fh_weak_values_set(values, "k", 1, b), FH_OK);
  assert_true(stands_for(values, "k", b) && fh_weak_values_count(values) == 1 && fh_is_unique(a));
  fh_release(fh_retain(a));
  assert_true(stands_for(values, "k", b));
}

static void the_default_is_who_comes_first(void **state) {
  FH_AUTO fh_weak_values *values = fh_weak_values_new();
  struct node *a = node_new(1), *b = node_new(2);
  struct node *first = fh_weak_values_set_default(values, "k", 1, a), *second = fh_weak_values_set_default(values, "k", 1, b);
  assert_true(first == a && second == a && fh_refcount(a) == 3);
  fh_release(first);
  fh_release(second);
  fh_release(a);
  struct node *third = fh_weak_values_set_default(values, "k", 1, b);
  assert_true(third == b && fh_weak_values_count(values) == 1);
  fh_release(third);
  fh_release(b);
}

static void values_that_are_garbage_are_gone(void **state) {
  FH_AUTO fh_weak_values *values = fh_weak_values_new();
  struct node *ring = node_new(1);
  fh_set(ring, left, ring);
  assert_int_equal(fh_weak_values_set(values, "ring", 4, ring), FH_OK);
  fh_release(ring);
  assert_true(stands_for(values, "ring", ring));
  assert_int_equal((int)fh_collect(2), 1);
  assert_true(stands_for(values, "ring", NULL) && fh_weak_values_count(values) == 0);
}

enum { THREADS = 4, WORDS = 64 };
static struct node *interned[THREADS][WORDS];
static void intern(int index, void *argument) {
  for (uint32_t word = 0; word < WORDS; word++) {
    struct node *mine = node_new(word);
    interned[index][word] = fh_weak_values_set_default(argument, &word, sizeof word, mine);
    fh_release(mine);
  }
}

static void interning_gives_all_the_same(void **state) {
  FH_AUTO fh_weak_values *values = fh_weak_values_new();
  for (size_t round = 0; round < scaled(100); round++) {
    run_threads(THREADS, intern, values);
    assert_true(fh_weak_values_count(values) == WORDS);
    for (int word = 0; word < WORDS; word++) {
      struct node *one = interned[0][word];
      assert_true(one && one->id == (uint64_t)word);
      for (int i = 0; i < THREADS; i++) {
        assert_ptr_equal(interned[i][word], one);
        fh_release(interned[i][word]);
      }
    }
    fh_settle();
    assert_true(fh_weak_values_count(values) == 0);
  }
}

/* ---- weak sets ---- */

static void a_set_knows_its_members_and_keeps_none(void **state) {
  FH_AUTO fh_weak_set *members = fh_weak_set_new();
  struct node *a = node_new(1), *b = node_new(2), *c = node_new(3);
  assert_int_equal(fh_weak_set_add(members, a), FH_OK);
  assert_int_equal(fh_weak_set_add(members, b), FH_OK);
  assert_int_equal(fh_weak_set_add(members, a), FH_EEXIST);
  assert_true(fh_weak_set_contains(members, a) && !fh_weak_set_contains(members, c) && fh_weak_set_count(members) == 2);
  assert_true(fh_weak_set_remove(members, b) && !fh_weak_set_remove(members, b) && fh_is_unique(b));
  fh_set(a, left, a);
  fh_release(a);
  assert_int_equal((int)fh_collect(2), 1);
  assert_true(fh_weak_set_count(members) == 0);
  assert_int_equal(fh_weak_set_add(members, c), FH_OK);
  fh_weak_set_clear(members);
  assert_true(fh_is_unique(c) && fh_weak_set_count(members) == 0);
  fh_release(b);
  fh_release(c);
}

/* ---- each ---- */

struct seen {
  void *map;
  uint64_t keys, values, bytes;
  int calls;
};

static void see_pair(void *context, void *key, void *value) {
  struct seen *seen = context;
  seen->calls++;
  fh_weak_keys_clear(seen->map); /* changes nothing of what is shown */
  fh_collect(2);
  require(node_is_whole(key) && node_is_whole(value));
  seen->keys += ((struct node *)key)->id;
  seen->values += ((struct node *)value)->id;
}

static void see_bytes(void *context, const void *key, size_t size, void *value) {
  struct seen *seen = context;
  seen->calls++;
  seen->bytes += *(const unsigned char *)key * size;
  fh_weak_values_clear(seen->map);
  require(node_is_whole(value));
}

static void see_member(void *context, void *object) {
  struct seen *seen = context;
  seen->calls++;
  fh_weak_set_clear(seen->map);
  seen->keys += ((struct node *)object)->id;
}

static void each_shows_one_moment(void **state) {
  FH_AUTO fh_weak_keys *keys = keys_new();
  FH_AUTO fh_weak_values *values = fh_weak_values_new();
  FH_AUTO fh_weak_set *members = fh_weak_set_new();
  struct node *n[3];
  for (unsigned i = 0; i < 3; i++) {
    n[i] = node_new(i + 1);
    give(keys, n[i], node_new(10 * (i + 1)));
    assert_int_equal(fh_weak_values_set(values, &"abc"[i], 3 - i, n[i]), FH_OK);
    assert_int_equal(fh_weak_set_add(members, n[i]), FH_OK);
  }
  struct seen seen = {.map = keys};
  assert_int_equal(fh_weak_keys_each(keys, see_pair, &seen), FH_OK);
  assert_true(seen.calls == 3 && seen.keys == 6 && seen.values == 60 && deaths() == 3);
  seen = (struct seen){.map = values};
  assert_int_equal(fh_weak_values_each(values, see_bytes, &seen), FH_OK);
  assert_true(seen.calls == 3 && seen.bytes == 'a' * 3 + 'b' * 2 + 'c');
  seen = (struct seen){.map = members};
  assert_int_equal(fh_weak_set_each(members, see_member, &seen), FH_OK);
  assert_true(seen.calls == 3 && seen.keys == 6);
  assert_int_equal(fh_weak_set_each(members, see_member, &seen), FH_OK);
  assert_true(seen.calls == 3);
  for (int i = 0; i < 3; i++) fh_release(n[i]);
}

/* ---- deallocs ---- */

static void end_the_thread(void *object) { pthread_exit(NULL); }
static const fh_type_spec exit_spec = {.name = "exit", .size = 32, .dealloc = end_the_thread};

static void end_in_a_dealloc(void *argument) {
  struct node *key = node_new(1);
  fh_weak_keys **keys = argument;
  give(keys[0], key, node_new(2));
  give(keys[1], key, new_of_spec(&exit_spec));
  give(keys[2], key, node_new(3));
  fh_release(key);
}

/* What its last release had still to do is done when it leaves; only the object in the midst of its dealloc is lost. */
static void leave_one_object(void) {
  runtime_start(&(fh_options){.flags = FH_OPTION_QUIET});
  fh_weak_keys *keys[3] = {keys_new(), keys_new(), keys_new()};
  struct companion companion;
  companion_start(&companion, end_in_a_dealloc, keys);
  companion_join(&companion);
  for (int i = 0; i < 3; i++) require(fh_weak_keys_count(keys[i]) == 0);
  require(deaths() == 3);
  for (int i = 0; i < 3; i++) fh_release(keys[i]);
  fh_detach();
  uint64_t leaked = 0;
  require(fh_shutdown(10000, &leaked) == FH_OK && leaked == 1);
}

static void a_dealloc_of_a_value_may_end_its_thread(void **state) {
  if (memory_is_measurable()) expect_fine(leave_one_object); /* the sanitizers report it, too */
}

/* ---- the child of a fork ---- */

static int fork_child(fh_weak_keys *keys, fh_weak_values *values, struct node *key, struct node *value) {
  if (!leads_to(keys, key, value)) return 1;
  if (!stands_for(values, "k", key)) return 2;
  fh_release(key);
  fh_collect(2);
  if (fh_weak_keys_count(keys) || fh_weak_values_count(values)) return 3;
  struct node *again = node_new(3);
  give(keys, again, node_new(4));
  fh_release(again);
  return fh_check_heap() ? 4 : 0;
}

static void the_child_of_a_fork_has_them_too(void **state) {
  FH_AUTO fh_weak_keys *keys = keys_new();
  FH_AUTO fh_weak_values *values = fh_weak_values_new();
  struct node *key = node_new(1), *value = node_new(2);
  fh_set(value, left, key);
  give(keys, key, value);
  assert_int_equal(fh_weak_values_set(values, "k", 1, key), FH_OK);
  pid_t pid = fork();
  if (pid == 0) _exit(fork_child(keys, values, key, value));
  int status;
  assert_true(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  assert_true(leads_to(keys, key, value));
  fh_release(key);
}

/* ---- who refuses ---- */

static void key_proud(void) {
  runtime_start(NULL);
  (void)!fh_weak_keys_set(keys_new(), proud_new(), node_new(1));
}
static void value_proud(void) {
  runtime_start(NULL);
  (void)!fh_weak_values_set(fh_weak_values_new(), "k", 1, proud_new());
}
static void member_proud(void) {
  runtime_start(NULL);
  (void)!fh_weak_set_add(fh_weak_set_new(), proud_new());
}
static void ask_another_type(void) {
  runtime_start(NULL);
  (void)!fh_weak_keys_get((fh_weak_keys *)(void *)fh_weak_set_new(), node_new(1));
}
static void ask_detached(void) {
  runtime_start(NULL);
  fh_weak_set *members = fh_weak_set_new();
  fh_detach();
  (void)fh_weak_set_contains(members, members);
}

static void types_may_refuse(void **state) {
  if (is_checked()) {
    expect_trap(key_proud, "fh_weak_keys_set", "FH_NO_WEAK", "proud", NULL);
    expect_trap(value_proud, "fh_weak_values_set", "FH_NO_WEAK", NULL);
    expect_trap(member_proud, "fh_weak_set_add", "FH_NO_WEAK", NULL);
    return;
  }
  FH_AUTO fh_weak_keys *keys = keys_new();
  FH_AUTO fh_weak_values *values = fh_weak_values_new();
  FH_AUTO fh_weak_set *members = fh_weak_set_new();
  FH_AUTO fh_object *proud = proud_new();
  FH_AUTO struct node *n = node_new(1);
  assert_int_equal(fh_weak_keys_set(keys, proud, n), FH_EINVAL);
  assert_int_equal(fh_weak_keys_set(keys, n, proud), FH_OK); /* a value may be proud */
  assert_int_equal(fh_weak_values_set(values, "k", 1, proud), FH_EINVAL);
  assert_null(fh_weak_values_set_default(values, "k", 1, proud));
  assert_int_equal(fh_weak_set_add(members, proud), FH_EINVAL);
}

static void misuse_traps(void **state) {
  expect_trap(ask_detached, "fh_weak_set_contains", "not attached", NULL);
  if (is_checked()) expect_trap(ask_another_type, "fh_weak_keys_get", "another type", NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(a_value_is_found_by_the_identity_of_its_key),
      with_runtime(all_of_it_is_published),
      with_runtime(a_value_dies_with_its_key),
      with_runtime(a_value_dies_with_the_map),
      with_runtime(one_key_is_in_many_maps),
      with_runtime(tables_grow_and_shrink),
      with_runtime(clear_empties_it),
      with_runtime(the_immortal_keep_their_entries),
      with_runtime(a_value_that_refers_to_its_key_does_not_keep_it),
      with_runtime(nor_through_others),
      with_runtime(nor_through_maps),
      with_runtime(nor_as_the_key_itself),
      with_runtime(a_map_may_be_its_own_key_and_value),
      with_runtime(garbage_takes_its_entries_out_of_maps_that_live),
      with_runtime(values_that_only_the_entry_kept_die_after_the_collection),
      with_runtime(a_map_that_is_garbage_leaves_its_keys),
      with_runtime(older_generations_keep_what_they_lead_to),
      with_phoenixes(a_key_that_rises_has_lost_its_entry),
      with_phoenixes(a_value_that_rises_lives_on_without_it),
      with_phoenixes(a_map_that_rises_has_the_entries_of_living_keys),
      with_phoenixes(a_map_that_rises_has_lost_what_died_meanwhile),
      with_phoenixes(an_entry_that_a_finalizer_makes_goes_with_its_key),
      with_phoenixes(garbage_of_others_keeps_keys_and_values),
      with_runtime(bytes_lead_to_values_and_keep_nothing),
      with_runtime(a_value_takes_the_place_of_another),
      with_runtime(the_default_is_who_comes_first),
      with_runtime(values_that_are_garbage_are_gone),
      with_runtime(interning_gives_all_the_same),
      with_runtime(a_set_knows_its_members_and_keeps_none),
      with_runtime(each_shows_one_moment),
      cmocka_unit_test(a_dealloc_of_a_value_may_end_its_thread),
      with_runtime(the_child_of_a_fork_has_them_too),
      with_runtime(types_may_refuse),
      cmocka_unit_test(misuse_traps),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
