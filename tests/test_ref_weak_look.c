/* SPDX-License-Identifier: MIT */
/* The two looks of fh_weak_get and of weak maps, with everything that matters in between.
 *
 * Claims: what dies between the first look and the try is not returned, also if its finalizer has been given a reference by then,
 * nor if it has been resurrected; and its memory is still there. The library is real, but for a gate in front of its
 * fh__try_retain, which the linker puts there (tests/CMakeLists.txt). */
#include "support/support.h"

#include "ref/count.h"
#include "ref/weak.h"

/* ---- the gate ---- */

bool __real_fh__try_retain(struct fh__mutator *me, fh_object *object);
bool __wrap_fh__try_retain(struct fh__mutator *me, fh_object *object);

static fh_object *watched; /* the next try to retain this one waits */
static struct gate made, looked, gone, tried, shown, read_it;

bool __wrap_fh__try_retain(struct fh__mutator *me, fh_object *object) {
  if (object != watched) return __real_fh__try_retain(me, object);
  watched = NULL;
  gate_open(&looked, 1);
  gate_await_deaf(&gone, 1); /* no safepoint: inside of a read there is none */
  return __real_fh__try_retain(me, object);
}

static int setup(void **state) {
  made = looked = gone = tried = shown = read_it = (struct gate)GATE;
  watched = NULL;
  return runtime_setup(state);
}
#define with_gate(test) cmocka_unit_test_setup_teardown(test, setup, runtime_teardown)

/* ---- what happens in between ---- */

struct mortal {
  fh_object fh;
  bool waits;   /* its finalizer does, until the other thread has tried */
  bool rises;
};
static fh_slot risen;
static void mortal_finalize(void *object) {
  struct mortal *m = object;
  if (m->rises) fh_slot_store(&risen, m);
  if (!m->waits) return;
  gate_open(&gone, 1);
  gate_await_deaf(&tried, 1);
}
static const fh_type_spec mortal_spec = {.name = "mortal", .size = sizeof(struct mortal), .finalize = mortal_finalize};
static const fh_type_spec plain_spec = {.name = "plain", .size = sizeof(struct mortal)};

struct life {
  const fh_type_spec *spec;
  bool waits, rises;
  fh_weak *weak;
  struct mortal *target;
};

static struct mortal *mortal_new(const struct life *life) {
  struct mortal *m = new_of_spec(life->spec);
  m->waits = life->waits;
  m->rises = life->rises;
  return m;
}

/* The owner: it makes the object, and gives up its only reference. */
static void live_and_let_go(void *argument) {
  struct life *life = argument;
  struct mortal *m = mortal_new(life);
  life->weak = weak_to(m);
  watched = &m->fh;
  gate_open(&made, 1);
  gate_await_deaf(&looked, 1);
  fh_release(m);
  fh_safepoint(); /* its finalizer, if it has one */
  gate_open(&gone, 1);
}

static void lose_between(const fh_type_spec *spec, bool waits, bool rises) {
  only_parallel(); /* two threads wait attached */
  struct life life = {.spec = spec, .waits = waits, .rises = rises};
  struct companion companion;
  companion_start(&companion, live_and_let_go, &life);
  gate_await(&made, 1);
  void *found = fh_weak_get(life.weak);
  gate_open(&tried, 1);
  companion_join(&companion);
  assert_null(found);
  assert_null(watched);
  fh_slot_store(&risen, NULL);
  fh_release(life.weak);
}

static void what_died_in_between_is_not_returned(void **state) { lose_between(&plain_spec, false, false); }
static void what_is_being_finalized_is_not_returned(void **state) { lose_between(&mortal_spec, true, false); }
static void what_was_resurrected_is_not_returned(void **state) { lose_between(&mortal_spec, false, true); }
static void what_is_just_rising_is_not_returned(void **state) { lose_between(&mortal_spec, true, true); }

/* ---- maps ----
 *
 * Who finds a key dead takes its entry out under the map's lock, before its finalizer can run; so a reader in between keeps it out. But
 * from a map that is garbage, and that a finalizer of the same garbage shows to others, nobody takes it out. */

static fh_slot shown_map;
struct shower {
  fh_object fh;
  fh_weak_keys *keys;
};
static void show_map(void *object) {
  fh_slot_store(&shown_map, ((struct shower *)object)->keys);
  gate_open(&shown, 1);
  gate_await(&read_it, 1);
}
static const fh_ref shower_refs[] = {FH_FIELD(struct shower, keys), FH_END};
static const fh_type_spec shower_spec = {
    .name = "shower", .size = sizeof(struct shower), .refs = shower_refs, .finalize = show_map};

/* In a thread of its own, whose finalizer takes its time: the map, and the value that leads to it, are garbage. */
static void collect_and_show(void *key) {
  struct shower *shower = new_of_spec(&shower_spec);
  fh_weak_keys *keys = fh_weak_keys_new();
  require(shower && keys);
  fh_set(shower, keys, keys);
  require(fh_weak_keys_set(keys, key, shower) == FH_OK);
  fh_release(shower);
  fh_release(keys);
  fh_collect(2);
}

static void own_a_key(void *argument) {
  struct life *life = argument;
  struct mortal *m = mortal_new(life);
  fh_publish(m);
  life->target = m;
  gate_open(&made, 1);
  gate_await(&looked, 1);
  fh_release(m);
  fh_safepoint(); /* its finalizer */
  gate_open(&gone, 1);
}

static void expect_nothing(void *context, void *key, void *value) { require(!"a key is shown whose finalizer has begun"); }

static void lose_while_listed(bool waits, bool rises) {
  only_parallel();
  struct life life = {.spec = &mortal_spec, .waits = waits, .rises = rises};
  struct companion owner, collector;
  companion_start(&owner, own_a_key, &life);
  gate_await(&made, 1);
  companion_start(&collector, collect_and_show, life.target);
  gate_await(&shown, 1);
  FH_AUTO fh_weak_keys *keys = fh_slot_load(&shown_map);
  watched = &life.target->fh;
  fh_status status = fh_weak_keys_each(keys, expect_nothing, NULL);
  gate_open(&tried, 1);
  gate_open(&read_it, 1);
  companion_join(&owner);
  companion_join(&collector);
  assert_true(status == FH_OK && !watched);
  assert_true(fh_weak_keys_count(keys) == 0); /* the rescued map has lost it by now */
  fh_slot_store(&shown_map, NULL);
  fh_slot_store(&risen, NULL);
}

static void a_key_that_is_being_finalized_is_not_shown(void **state) { lose_while_listed(true, false); }
static void a_key_that_was_resurrected_is_not_shown(void **state) { lose_while_listed(false, true); }

int main(void) {
  const struct CMUnitTest tests[] = {
      with_gate(what_died_in_between_is_not_returned),
      with_gate(what_is_being_finalized_is_not_returned),
      with_gate(what_was_resurrected_is_not_returned),
      with_gate(what_is_just_rising_is_not_returned),
      with_gate(a_key_that_is_being_finalized_is_not_shown),
      with_gate(a_key_that_was_resurrected_is_not_shown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
