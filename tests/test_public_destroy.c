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

/* ---- plain objects against a model ----
 *
 * Nothing of the application's tells when they die, so they are looked for from the roots: each has a number, what it refers to is known,
 * and what is not reached must be gone after a full collection. A block that two of them got would show the number of the other. */

enum { MODEL_ROOTS = 24, MODEL_MOST = 4096, MODEL_KINDS = 6 };

struct model_head { /* every kind has so much */
  fh_object fh;
  uint32_t number;
  uint32_t check; /* ~number */
};
struct model_pair {
  struct model_head head;
  void *cell[2];
};
struct model_single {
  struct model_head head;
  void *cell[1];
};
static const fh_ref model_pair_refs[] = {FH_FIELD(struct model_pair, cell[0]), FH_FIELD(struct model_pair, cell[1]), FH_END};
static const fh_ref model_single_refs[] = {FH_FIELD(struct model_single, cell[0]), FH_END};
static const fh_type_spec model_spec[MODEL_KINDS] = {
    {.name = "m-pair", .size = sizeof(struct model_pair), .refs = model_pair_refs},
    {.name = "m-wide", .size = 64, .refs = model_pair_refs},
    {.name = "m-single", .size = sizeof(struct model_single), .refs = model_single_refs},
    {.name = "m-large", .size = 176, .refs = model_pair_refs},
    {.name = "m-leaf", .size = sizeof(struct model_head)},
    {.name = "m-acyclic", .size = 48, .refs = model_pair_refs, .flags = FH_ACYCLIC}};
static const unsigned model_cells[MODEL_KINDS] = {2, 2, 1, 2, 0, 2};

struct model {
  struct model_node {
    struct model_head *object; /* NULL: the number is free */
    unsigned kind;
    uint32_t cell[2]; /* numbers; 0: NULL */
    bool reached;
  } node[MODEL_MOST];
  uint32_t root[MODEL_ROOTS];
  uint32_t stack[MODEL_MOST]; /* of a search */
  uint32_t next;
  uint64_t random;
};

static struct model_node *model_at(struct model *model, uint32_t number) {
  struct model_node *node = &model->node[number];
  require(node->object->number == number && node->object->check == ~number);
  return node;
}

static void **model_cell(struct model_node *node, unsigned i) { return (void **)(void *)(node->object + 1) + i; }

static uint32_t model_reach(struct model *model) {
  uint32_t *stack = model->stack, depth = 0, reached = 0;
  for (uint32_t i = 1; i < MODEL_MOST; i++) model->node[i].reached = false;
  for (unsigned i = 0; i < MODEL_ROOTS; i++) {
    if (!model->root[i] || model->node[model->root[i]].reached) continue;
    model->node[stack[depth++] = model->root[i]].reached = true;
    while (depth) {
      struct model_node *node = model_at(model, stack[--depth]);
      reached++;
      for (unsigned k = 0; k < model_cells[node->kind]; k++) {
        uint32_t child = node->cell[k];
        require(*model_cell(node, k) == (child ? model->node[child].object : NULL));
        if (child && !model->node[child].reached) model->node[stack[depth++] = child].reached = true;
      }
    }
  }
  return reached;
}

static uint64_t model_live(void) {
  uint64_t live = 0;
  for (unsigned i = 0; i < MODEL_KINDS; i++) {
    fh_type *type = type_of_spec(&model_spec[i]);
    live += fh_type_live(type);
  }
  return live;
}

/* Numbers of what is not reached are free; no collection may have taken more than that. */
static void model_look(struct model *model) {
  uint32_t reached = model_reach(model);
  require(model_live() >= reached);
  for (uint32_t i = 1; i < MODEL_MOST; i++)
    if (!model->node[i].reached) model->node[i].object = NULL;
}

static uint32_t model_make(struct model *model) {
  for (uint32_t tried = 0; tried < MODEL_MOST; tried++) {
    uint32_t number = model->next++ % MODEL_MOST;
    if (!number || model->node[number].object) continue;
    unsigned kind = (unsigned)below(&model->random, MODEL_KINDS);
    struct model_head *object = new_of_spec(&model_spec[kind]);
    model->node[number] = (struct model_node){.object = object, .kind = kind};
    for (unsigned k = 0; k < model_cells[kind]; k++) require(!*model_cell(&model->node[number], k));
    object->number = number;
    object->check = ~number;
    return number;
  }
  return 0;
}

static uint32_t model_walk(struct model *model) {
  uint32_t at = model->root[below(&model->random, MODEL_ROOTS)];
  for (size_t steps = below(&model->random, 8); at && steps; steps--) {
    struct model_node *node = model_at(model, at);
    uint32_t next = model_cells[node->kind] ? node->cell[below(&model->random, model_cells[node->kind])] : 0;
    if (next) at = next;
  }
  return at;
}

/* What is acyclic must not be in a cycle. */
static bool model_may(const struct model *model, uint32_t holder, uint32_t value) {
  const struct model_node *from = &model->node[holder];
  return model_cells[from->kind] && (from->kind != 5 || !value || model->node[value].kind == 4);
}

static void model_store(struct model *model, uint32_t holder, unsigned k, uint32_t value, bool gives) {
  struct model_node *node = model_at(model, holder);
  void *object = value ? model_at(model, value)->object : NULL;
  node->cell[k] = value;
  struct model_pair *pair = (struct model_pair *)(void *)node->object;
  if (gives && k) fh_give(pair, cell[1], object);
  else if (gives) fh_give(pair, cell[0], object);
  else if (k) fh_set(pair, cell[1], object);
  else fh_set(pair, cell[0], object);
}

static void model_drop(struct model *model, unsigned place) {
  uint32_t number = model->root[place];
  model->root[place] = 0;
  if (number) fh_release(model->node[number].object);
}

static void model_link(struct model *model) {
  uint32_t holder = model_walk(model), value = below(&model->random, 4) ? model_walk(model) : 0;
  if (!holder || !model_may(model, holder, value)) return;
  model_store(model, holder, (unsigned)below(&model->random, model_cells[model->node[holder].kind]), value, false);
}

/* A root's reference moves into a field. */
static void model_move(struct model *model) {
  unsigned place = (unsigned)below(&model->random, MODEL_ROOTS);
  uint32_t holder = model_walk(model), value = model->root[place];
  if (!holder || !value || !model_may(model, holder, value)) return;
  model->root[place] = 0;
  model_store(model, holder, (unsigned)below(&model->random, model_cells[model->node[holder].kind]), value, true);
}

/* A comb, or a tree: new ones on top of what a root has. */
static void model_grow(struct model *model) {
  unsigned place = (unsigned)below(&model->random, MODEL_ROOTS);
  for (size_t turns = below(&model->random, 100); turns; turns--) {
    uint32_t number = model_make(model), below_it = model->root[place];
    if (!number) return;
    if (below_it && model_may(model, number, below_it)) {
      model_store(model, number, 0, below_it, true);
      uint32_t other = below(&model->random, 2) ? model_make(model) : 0;
      unsigned last = model_cells[model->node[number].kind] - 1;
      if (other && last && model_may(model, number, other)) model_store(model, number, 1, other, true);
      else if (other) fh_release(model->node[other].object), model->node[other].object = NULL;
      model->root[place] = number;
    } else {
      model_drop(model, place);
      model->root[place] = number;
    }
  }
}

static void model_copy(struct model *model) {
  unsigned to = (unsigned)below(&model->random, MODEL_ROOTS);
  uint32_t number = model_walk(model);
  if (number) fh_retain(model->node[number].object);
  model_drop(model, to);
  model->root[to] = number;
}

static void model_turn(struct model *model) {
  uint32_t number;
  switch (below(&model->random, 40)) {
    case 0: fh_collect(0); break;
    case 1: fh_collect(1); break;
    case 2: fh_collect(2); break;
    case 3:
      if ((number = model_walk(model))) fh_publish(model->node[number].object);
      break;
    case 4: /* it has a block from then on */
      if ((number = model_walk(model)) && !below(&model->random, 4)) fh_release(fh_weak_new(model->node[number].object));
      break;
    case 5:
      if (!below(&model->random, 8)) (void)fh_gc_freeze();
      break;
    case 6: (void)fh_gc_unfreeze(); break;
    case 7: fh_housekeep(); break;
    case 8: case 9: case 10: model_look(model); break;
    case 11: case 12: case 13: case 14: case 15: model_drop(model, (unsigned)below(&model->random, MODEL_ROOTS)); break;
    case 16: case 17: case 18: case 19: model_copy(model); break;
    case 20: case 21: case 22: case 23: case 24: model_move(model); break;
    case 25: case 26: case 27: model_grow(model); break;
    default: model_link(model); break;
  }
}

static void be_a_model(int index, void *argument) {
  struct model *model = calloc(1, sizeof *model);
  require(model);
  model->random = random_from((uint64_t)index + 1);
  for (size_t turn = scaled(20000); turn; turn--) model_turn(model);
  model_look(model);
  for (unsigned i = 0; i < MODEL_ROOTS; i++) model_drop(model, i);
  free(model);
}

static void plain_objects_are_as_a_model_says(void **state) {
  struct model *model = calloc(1, sizeof *model);
  for (uint64_t seed = 1; seed <= 4; seed++) {
    *model = (struct model){.random = random_from(seed)};
    for (size_t turn = 0; turn < scaled(8000); turn++) {
      model_turn(model);
      if (turn % 128) continue;
      (void)fh_gc_unfreeze();
      fh_collect(2);
      fh_housekeep();
      uint32_t reached = model_reach(model);
      uint64_t live = model_live();
      if (live != reached || fh_check_heap() != FH_OK)
        fail_msg("seed %d, turn %zu: %llu live, %u reached", (int)seed, turn, (unsigned long long)live, reached);
      model_look(model);
    }
    for (unsigned i = 0; i < MODEL_ROOTS; i++) model_drop(model, i);
    (void)fh_gc_unfreeze();
    fh_settle();
    assert_int_equal(model_live(), 0);
  }
  free(model);
}

static void models_of_many_threads_do_not_meet(void **state) {
  run_threads(3, be_a_model, NULL);
  (void)fh_gc_unfreeze();
  fh_settle();
  assert_int_equal(model_live(), 0);
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
      with_runtime_gc_off(plain_objects_are_as_a_model_says),
      with_runtime(models_of_many_threads_do_not_meet),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
