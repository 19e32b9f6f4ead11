/* SPDX-License-Identifier: MIT */
/* Death, through the public interface: dealloc, finalize, FH_GRACE.
 *
 * Claims: dealloc runs inside the last release, fields already NULL, once, iteratively and with a bounded stack; a finalizer
 * runs at a safepoint and never inside a release, fields intact, once in an object's life, in the order of death, and may
 * resurrect, allocate and publish; garbage with finalizers is finalised before it is cleared, and what was resurrected lives on
 * with all it reaches; a published object of a FH_GRACE type is cleared and deallocated only after a grace period. */
#include <string.h>

#include "support/support.h"

/* An object that does what a test tells it to do when it is finalised and when it dies. */
struct actor {
  fh_object fh;
  struct actor *peer;
  struct actor *other;
  uint64_t id;
  void (*last_will)(struct actor *actor);
};
static const fh_ref actor_refs[] = {FH_FIELD(struct actor, peer), FH_FIELD(struct actor, other), FH_END};
static atomic_int finalized, destroyed;
static uint64_t order[64];

static void actor_finalize(void *object) {
  struct actor *actor = object;
  int at = atomic_fetch_add(&finalized, 1);
  if (at < 64) order[at] = actor->id;
  if (actor->last_will) actor->last_will(actor);
}
static void actor_dealloc(void *object) {
  struct actor *actor = object;
  require(!actor->peer && !actor->other);
  atomic_fetch_add(&destroyed, 1);
}
static const fh_type_spec actor_spec = {.name = "actor",
                                        .size = sizeof(struct actor),
                                        .refs = actor_refs,
                                        .finalize = actor_finalize,
                                        .dealloc = actor_dealloc};

static struct actor *actor_new(uint64_t id, void (*last_will)(struct actor *)) {
  struct actor *actor = new_of_spec(&actor_spec);
  actor->id = id;
  actor->last_will = last_will;
  return actor;
}

static int setup(void **state) {
  atomic_store(&finalized, 0);
  atomic_store(&destroyed, 0);
  return runtime_setup(state);
}
#define with_actors(test) cmocka_unit_test_setup_teardown(test, setup, runtime_teardown)

/* ---- dealloc ---- */

struct keeper {
  fh_object fh;
  char *buffer;
  struct node *hidden; /* no declared reference: dealloc releases it */
};
static int keepers_died;
static void keeper_dealloc(void *object) {
  struct keeper *keeper = object;
  require(!strcmp(keeper->buffer, "kept"));
  fh_free(keeper->buffer);
  if (keeper->hidden) fh_release(keeper->hidden);
  keepers_died++;
}
static const fh_type_spec keeper_spec = {.name = "keeper", .size = sizeof(struct keeper), .dealloc = keeper_dealloc};

static void dealloc_frees_buffers_and_releases_what_it_hid(void **state) {
  keepers_died = 0;
  struct keeper *keeper = new_of_spec(&keeper_spec);
  keeper->buffer = fh_alloc(5);
  assert_non_null(keeper->buffer);
  memcpy(keeper->buffer, "kept", 5);
  keeper->hidden = node_new(1);
  fh_give(keeper->hidden, left, node_new(2));
  fh_release(keeper);
  assert_int_equal(keepers_died, 1);
  assert_int_equal((int)atomic_load(&node_deaths), 2);
}

static void a_chain_of_millions_is_destroyed_iteratively(void **state) {
  uint64_t length = scaled(5000000);
  struct node *head = node_chain(length);
  fh_release(head);
  assert_true(atomic_load(&node_deaths) == length);
}

/* An acyclic list that knows its tail only in dealloc: a naive one recurses once a link. */
struct link {
  fh_object fh;
  struct link *next;
};
static atomic_uint_fast64_t link_deaths;
static void link_dealloc(void *object) {
  struct link *link = object;
  atomic_fetch_add(&link_deaths, 1);
  if (link->next) fh_release(link->next);
}
static const fh_type_spec link_spec = {
    .name = "link", .size = sizeof(struct link), .flags = FH_ACYCLIC, .dealloc = link_dealloc};

static void a_chain_that_is_released_in_dealloc_is_destroyed_iteratively(void **state) {
  uint64_t length = scaled(2000000);
  fh_type *type = type_of_spec(&link_spec);
  atomic_store(&link_deaths, 0);
  struct link *head = NULL;
  for (uint64_t i = 0; i < length; i++) {
    struct link *link = fh_new(type);
    require(link);
    link->next = head;
    head = link;
  }
  fh_release(head);
  assert_true(atomic_load(&link_deaths) == length);
}

static void release_elsewhere(int index, void *argument) {
  if (index == 0) fh_release(argument);
}

static void a_stranger_destroys_a_deep_chain(void **state) {
  uint64_t length = scaled(1000000);
  struct node *head = node_chain(length);
  fh_publish(head);
  run_threads(2, release_elsewhere, head); /* this thread blocks meanwhile */
  fh_settle();
  assert_true(atomic_load(&node_deaths) == length);
}

static void a_wide_tree_is_destroyed(void **state) {
  enum { DEPTH = 16 };
  struct node *level[1 << DEPTH];
  size_t width = (size_t)1 << (is_torture() ? 8 : DEPTH), made = width;
  for (size_t i = 0; i < width; i++) level[i] = node_new(i);
  for (; width > 1; width /= 2)
    for (size_t i = 0; i < width / 2; i++) {
      struct node *n = node_new(i);
      fh_give(n, left, level[2 * i]);
      fh_give(n, right, level[2 * i + 1]);
      level[i] = n;
      made++;
    }
  fh_release(level[0]);
  assert_true(atomic_load(&node_deaths) == made);
}

/* ---- finalizers of what counts free ---- */

static void a_finalizer_runs_at_a_safepoint_once_and_then_dealloc(void **state) {
  for (int published = 0; published < 2; published++) {
    atomic_store(&finalized, 0);
    atomic_store(&destroyed, 0);
    struct actor *actor = actor_new(1, NULL);
    fh_give(actor, peer, actor_new(2, NULL));
    if (published) fh_publish(actor);
    fh_release(actor);
    assert_int_equal(atomic_load(&finalized), 0);
    assert_int_equal(atomic_load(&destroyed), 0);
    fh_safepoint();
    assert_true(order[0] == 1); /* the peer died only when its holder was destroyed */
    fh_safepoint();
    fh_safepoint();
    assert_int_equal(atomic_load(&finalized), 2);
    assert_int_equal(atomic_load(&destroyed), 2);
  }
}

static void look_at_peer(struct actor *actor) { require(actor->peer && actor->peer->id == actor->id + 1); }

static void a_finalizer_sees_its_fields_intact(void **state) {
  struct actor *actor = actor_new(1, look_at_peer);
  fh_give(actor, peer, actor_new(2, NULL));
  fh_release(actor);
  fh_settle();
  assert_int_equal(atomic_load(&finalized), 2);
}

static void finalizers_run_in_the_order_of_death(void **state) {
  for (uint64_t i = 0; i < 20; i++) fh_release(actor_new(i, NULL));
  fh_safepoint();
  assert_int_equal(atomic_load(&finalized), 20);
  for (uint64_t i = 0; i < 20; i++) assert_true(order[i] == i);
  assert_int_equal(atomic_load(&destroyed), 20);
}

static struct actor *rescued[8];
static void rescue(struct actor *actor) { rescued[actor->id] = fh_retain(actor); }

static void resurrection_is_allowed_and_finalizers_run_once(void **state) {
  for (int published = 0; published < 2; published++) {
    atomic_store(&finalized, 0);
    atomic_store(&destroyed, 0);
    struct actor *actor = actor_new(0, rescue);
    fh_give(actor, peer, actor_new(1, NULL));
    if (published) fh_publish(actor);
    uint64_t before = stats_now().resurrected;
    fh_release(actor);
    fh_safepoint();
    assert_ptr_equal(rescued[0], actor);
    assert_int_equal(atomic_load(&finalized), 1);
    assert_int_equal(atomic_load(&destroyed), 0);
    assert_true(actor->peer && actor->peer->id == 1);
    assert_true(fh_refcount(actor) == 1);
    assert_int_equal((int)(stats_now().resurrected - before), 1);
    assert_int_equal(fh_check_heap(), FH_OK);
    fh_set(actor, other, actor); /* it is tracked again: a cycle through it is found */
    fh_release(actor);
    fh_collect(2);
    fh_settle();
    assert_int_equal(atomic_load(&finalized), 2); /* the peer's; not the actor's again */
    assert_int_equal(atomic_load(&destroyed), 2);
  }
}

static void allocate_much(struct actor *actor) {
  for (uint64_t i = 0; i < 100; i++) {
    struct node *n = node_new(i);
    fh_set(n, left, n);
    fh_release(n);
    fh_free(fh_alloc(1000));
  }
  fh_collect(2);
  fh_safepoint();
  fh_blocking_begin();
  fh_blocking_end();
}

static void a_finalizer_may_do_what_any_code_does(void **state) {
  for (uint64_t i = 0; i < 10; i++) fh_release(actor_new(i, allocate_much));
  fh_settle();
  assert_int_equal(atomic_load(&finalized), 10);
  assert_int_equal((int)fh_type_live(node_type()), 0);
}

static void drop_another(struct actor *actor) {
  if (actor->id) fh_release(actor_new(actor->id - 1, drop_another));
}

static void a_finalizer_may_cause_further_ones(void **state) {
  fh_release(actor_new(50, drop_another));
  fh_settle();
  assert_int_equal(atomic_load(&finalized), 51);
  assert_int_equal(atomic_load(&destroyed), 51);
}

static fh_slot hall;
static void publish_self(struct actor *actor) { fh_slot_store(&hall, actor); }

static void a_finalizer_may_publish_its_object(void **state) {
  struct actor *actor = actor_new(1, publish_self);
  fh_give(actor, peer, actor_new(2, NULL));
  fh_release(actor);
  fh_safepoint();
  assert_true(fh_is_published(actor) && fh_is_published(actor->peer));
  assert_int_equal(atomic_load(&destroyed), 0);
  fh_slot_store(&hall, NULL);
  fh_settle();
  assert_int_equal(atomic_load(&finalized), 2);
  assert_int_equal(atomic_load(&destroyed), 2);
}

/* Finalizers may fill the hall until all of them have run. */
static void empty_the_hall(void) {
  fh_settle();
  fh_slot_store(&hall, NULL);
  fh_settle();
}

static void drop_many(int index, void *argument) {
  for (uint64_t i = 0; i < scaled(20000); i++) {
    struct actor *actor = actor_new(i, i % 16 ? NULL : publish_self);
    if (i % 3 == 0) fh_publish(actor);
    fh_release(actor);
    if (i % 7 == 0) fh_safepoint();
  }
}

static void finalizers_of_many_threads_run_once_each(void **state) {
  int wanted = 4 * (int)scaled(20000);
  run_threads(4, drop_many, NULL);
  empty_the_hall();
  assert_int_equal(atomic_load(&finalized), wanted);
  assert_int_equal(atomic_load(&destroyed), wanted);
}

/* ---- finalizers of cycles ---- */

static struct actor *make_ring(uint64_t first, int count, void (*will)(struct actor *)) {
  struct actor *head = actor_new(first, will), *last = head;
  for (int i = 1; i < count; i++) {
    struct actor *next = actor_new(first + (uint64_t)i, will);
    fh_give(last, peer, next);
    last = next;
  }
  fh_set(last, peer, head);
  return head;
}

static void cyclic_garbage_is_finalised_and_destroyed(void **state) {
  for (int published = 0; published < 2; published++) {
    atomic_store(&finalized, 0);
    atomic_store(&destroyed, 0);
    struct actor *ring = make_ring(0, 10, NULL);
    if (published) fh_publish(ring);
    assert_int_equal((int)fh_collect(2), 0);
    fh_release(ring);
    assert_int_equal((int)fh_collect(2), 10);
    assert_int_equal(atomic_load(&finalized), 10);
    assert_int_equal(atomic_load(&destroyed), 10);
  }
}

static void rescue_the_third(struct actor *actor) {
  if (actor->id == 3) rescue(actor);
}

static void a_resurrected_cycle_lives_on_with_all_it_reaches(void **state) {
  for (int published = 0; published < 2; published++) {
    atomic_store(&finalized, 0);
    atomic_store(&destroyed, 0);
    struct actor *lost = make_ring(10, 5, NULL), *saved = make_ring(0, 5, rescue_the_third);
    fh_set(lost, other, saved); /* the lost ring refers to the saved one, and keeps it not */
    if (published) fh_publish(lost);
    uint64_t before = stats_now().resurrected;
    fh_release(lost);
    fh_release(saved);
    assert_int_equal((int)fh_collect(2), 5);
    assert_int_equal(atomic_load(&finalized), 10);
    assert_int_equal(atomic_load(&destroyed), 5);
    assert_int_equal((int)(stats_now().resurrected - before), 5);
    struct actor *actor = rescued[3];
    for (uint64_t i = 0; i < 5; i++, actor = actor->peer) assert_true(actor->id == (i + 3) % 5);
    assert_ptr_equal(actor, rescued[3]);
    assert_int_equal(fh_check_heap(), FH_OK);
    fh_release(rescued[3]);
    assert_int_equal((int)fh_collect(2), 5);
    assert_int_equal(atomic_load(&finalized), 10);
    assert_int_equal(atomic_load(&destroyed), 10);
  }
}

static void cut_the_ring(struct actor *actor) { fh_clear(actor, peer); }

static void a_finalizer_may_take_its_cycle_apart(void **state) {
  struct actor *ring = make_ring(0, 10, cut_the_ring);
  fh_release(ring);
  fh_collect(2);
  fh_settle();
  assert_int_equal(atomic_load(&finalized), 10);
  assert_int_equal(atomic_load(&destroyed), 10);
}

static void a_cycle_may_publish_itself_in_a_finalizer(void **state) {
  struct actor *ring = make_ring(0, 4, NULL);
  ring->last_will = publish_self;
  fh_release(ring);
  assert_int_equal((int)fh_collect(2), 0);
  assert_int_equal(atomic_load(&destroyed), 0);
  for (int i = 0; i < 4; i++, ring = ring->peer) assert_true(fh_is_published(ring));
  fh_slot_store(&hall, NULL);
  assert_int_equal((int)fh_collect(2), 4);
  assert_int_equal(atomic_load(&finalized), 4);
}

static void make_rings(int index, void *argument) {
  for (size_t i = 0; i < scaled(2000); i++) {
    struct actor *ring = make_ring(100, 3, i % 8 ? NULL : publish_self);
    if (i % 2) fh_publish(ring);
    fh_release(ring);
    if (i % 64 == (size_t)index) fh_collect(2);
    fh_safepoint();
  }
}

static void rings_of_many_threads_are_finalised_once(void **state) {
  int wanted = 4 * 3 * (int)scaled(2000);
  run_threads(4, make_rings, NULL);
  empty_the_hall();
  assert_int_equal(atomic_load(&finalized), wanted);
  assert_int_equal(atomic_load(&destroyed), wanted);
}

/* ---- FH_GRACE ---- */

struct record {
  fh_object fh;
  struct node *field;
  char *text;
};
static const fh_ref record_refs[] = {FH_FIELD(struct record, field), FH_END};
static atomic_int records_died;
static void record_dealloc(void *object) {
  struct record *record = object;
  require(!record->field);
  fh_free(record->text);
  atomic_fetch_add(&records_died, 1);
}
static const fh_type_spec record_spec = {
    .name = "record", .size = sizeof(struct record), .refs = record_refs, .flags = FH_GRACE, .dealloc = record_dealloc};

static struct record *record_new(void) {
  struct record *record = new_of_spec(&record_spec);
  fh_give(record, field, node_new(1));
  record->text = fh_alloc(16);
  require(record->text);
  strcpy(record->text, "still here");
  return record;
}

static struct gate gate = GATE;

static void look_at_the_dead(void *argument) {
  struct record *record = argument;
  gate_open(&gate, 1);
  gate_await_deaf(&gate, 2); /* no safepoint since it saw the record: no grace period ends */
  require(!strcmp(record->text, "still here") && record->field && node_is_whole(record->field));
}

static void a_grace_object_is_cleared_only_after_a_grace_period(void **state) {
  only_parallel();
  atomic_store(&records_died, 0);
  atomic_store(&gate.value, 0);
  struct record *record = record_new();
  fh_publish(record);
  struct companion reader;
  companion_start(&reader, look_at_the_dead, record);
  gate_await(&gate, 1);
  fh_release(record);
  for (int i = 0; i < 10; i++) fh_housekeep();
  assert_int_equal(atomic_load(&records_died), 0);
  assert_int_equal((int)atomic_load(&node_deaths), 0);
  gate_open(&gate, 2);
  companion_join(&reader);
  fh_settle();
  assert_int_equal(atomic_load(&records_died), 1);
  assert_int_equal((int)atomic_load(&node_deaths), 1);
}

static void a_private_grace_object_dies_at_once(void **state) {
  only_private();
  atomic_store(&records_died, 0);
  fh_release(record_new());
  assert_int_equal(atomic_load(&records_died), 1);
  assert_int_equal((int)atomic_load(&node_deaths), 1);
}

static void release_records(int index, void *argument) {
  for (size_t i = 0; i < scaled(5000); i++) {
    struct record *record = record_new();
    fh_publish(record);
    fh_release(record);
    if (i % 5 == 0) fh_safepoint();
  }
}

static void grace_objects_of_many_threads_all_die(void **state) {
  atomic_store(&records_died, 0);
  run_threads(4, release_records, NULL);
  fh_settle();
  assert_int_equal(atomic_load(&records_died), 4 * (int)scaled(5000));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_actors(dealloc_frees_buffers_and_releases_what_it_hid),
      with_actors(a_chain_of_millions_is_destroyed_iteratively),
      with_actors(a_chain_that_is_released_in_dealloc_is_destroyed_iteratively),
      with_actors(a_stranger_destroys_a_deep_chain),
      with_actors(a_wide_tree_is_destroyed),
      with_actors(a_finalizer_runs_at_a_safepoint_once_and_then_dealloc),
      with_actors(a_finalizer_sees_its_fields_intact),
      with_actors(finalizers_run_in_the_order_of_death),
      with_actors(resurrection_is_allowed_and_finalizers_run_once),
      with_actors(a_finalizer_may_do_what_any_code_does),
      with_actors(a_finalizer_may_cause_further_ones),
      with_actors(a_finalizer_may_publish_its_object),
      with_actors(finalizers_of_many_threads_run_once_each),
      with_actors(cyclic_garbage_is_finalised_and_destroyed),
      with_actors(a_resurrected_cycle_lives_on_with_all_it_reaches),
      with_actors(a_finalizer_may_take_its_cycle_apart),
      with_actors(a_cycle_may_publish_itself_in_a_finalizer),
      with_actors(rings_of_many_threads_are_finalised_once),
      with_actors(a_grace_object_is_cleared_only_after_a_grace_period),
      with_actors(a_private_grace_object_dies_at_once),
      with_actors(grace_objects_of_many_threads_all_die),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
