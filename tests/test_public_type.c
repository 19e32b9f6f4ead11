/* SPDX-License-Identifier: MIT */
/* Types, through the public interface: fh_type_register, fh_type_unregister, fh_type_name, fh_type_live, fh_type_of, and what
 * the members of a spec make the runtime do.
 *
 * Claims: the same spec gives the same type, from any number of threads at once; a spec that changed, or whose references lie
 * outside the object, on its header or on each other, is refused (a checked build traps: test_misuse_type.c); contents are
 * copied; a type goes when no instance is left; every kind of reference (field, slot, array, item, traverse) is counted, cleared
 * and collected. */
#include <string.h>

#include "support/support.h"

/* ---- registration ---- */

static void the_same_spec_is_the_same_type(void **state) {
  fh_type *first = NULL, *again = NULL;
  assert_int_equal(fh_type_register(&node_spec, &first), FH_OK);
  assert_int_equal(fh_type_register(&node_spec, &again), FH_OK);
  assert_ptr_equal(first, again);
  static fh_type_spec copy;
  copy = node_spec;
  assert_int_equal(fh_type_register(&copy, &again), FH_OK);
  assert_ptr_not_equal(first, again); /* another address is another spec */
  assert_string_equal(fh_type_name(again), "node");
}

static void the_contents_of_a_spec_are_copied(void **state) {
  char name[] = "short-lived";
  fh_ref refs[] = {FH_FIELD(struct node, left), FH_END};
  static fh_type_spec spec;
  spec = (fh_type_spec){.name = name, .size = sizeof(struct node), .refs = refs};
  fh_type *type;
  assert_int_equal(fh_type_register(&spec, &type), FH_OK);
  memset(name, 'x', sizeof name - 1);
  refs[0] = refs[1];
  assert_string_equal(fh_type_name(type), "short-lived");
  struct node *n = fh_new(type);
  fh_give(n, left, node_new(1));
  fh_release(n); /* also what the reference held that the changed array no longer shows */
  assert_int_equal((int)fh_type_live(node_type()), 0);
}

static fh_type_spec many_specs[500];
static fh_type *many_types[8][500];

static void register_many(int index, void *argument) {
  for (size_t i = 0; i < 500; i++) {
    size_t at = (i + (size_t)index * 61) % 500;
    require(fh_type_register(&many_specs[at], &many_types[index][at]) == FH_OK);
    void *object = fh_new(many_types[index][at]);
    require(object && fh_type_of(object) == many_types[index][at]);
    fh_release(object);
  }
}

static void eight_threads_register_the_same_specs_at_once(void **state) {
  for (int i = 0; i < 500; i++) many_specs[i] = (fh_type_spec){.name = "one of many", .size = sizeof(fh_object) + (size_t)i};
  run_threads(8, register_many, NULL);
  for (int i = 0; i < 500; i++) {
    for (int t = 1; t < 8; t++) assert_ptr_equal(many_types[t][i], many_types[0][i]);
    if (i) assert_ptr_not_equal(many_types[0][i], many_types[0][i - 1]);
    assert_int_equal((int)fh_type_live(many_types[0][i]), 0);
  }
}

static void register_bare(int index, void *argument) {
  fh_type *type = NULL;
  require(fh_type_register(&node_spec, &type) == FH_OK);
  require(type == node_type() && !fh_is_attached());
}

static void a_thread_that_is_not_attached_registers_too(void **state) { run_bare_threads(4, register_bare, NULL); }

/* ---- refusals, as far as a checked build does not trap ---- */

struct pair {
  fh_object fh;
  void *a, *b;
  size_t count;
};
static const fh_ref on_header[] = {{8, FH__REF_FIELD, 1}, FH_END};
static const fh_ref outside[] = {{sizeof(struct pair), FH__REF_FIELD, 1}, FH_END};
static const fh_ref half_outside[] = {{sizeof(struct pair) - 8, FH__REF_FIELD, 2}, FH_END};
static const fh_ref far_outside[] = {{UINT32_MAX - 7, FH__REF_SLOT, 1}, FH_END};
static const fh_ref unaligned[] = {{offsetof(struct pair, a) + 4, FH__REF_FIELD, 1}, FH_END};
static const fh_ref none[] = {{offsetof(struct pair, a), FH__REF_FIELD, 0}, FH_END};
static const fh_ref unknown[] = {{offsetof(struct pair, a), 7, 1}, FH_END};
static const fh_ref twice[] = {FH_FIELD(struct pair, a), FH_SLOT(struct pair, a), FH_END};
static const fh_ref overlap[] = {FH_FIELD(struct pair, b), {offsetof(struct pair, a), FH__REF_FIELD, 2}, FH_END};
static const fh_ref item[] = {{0, FH__REF_FIELD, 1}, FH_END};
static const fh_ref item_outside[] = {{8, FH__REF_FIELD, 1}, FH_END};

static void a_wrong_spec_is_refused(void **state) {
  if (is_checked()) skip();
  enum { COUNT_AT = offsetof(struct pair, count), SIZE = sizeof(struct pair) };
  static const fh_type_spec wrong[] = {
      {.size = SIZE},
      {.name = "", .size = SIZE},
      {.name = "w"},
      {.name = "w", .size = sizeof(fh_object) - 1},
      {.name = "w", .size = ((size_t)1 << 30) + 1},
      {.name = "w", .size = SIZE, .flags = 1u << 30},
      {.name = "w", .size = SIZE, .refs = on_header},
      {.name = "w", .size = SIZE, .refs = outside},
      {.name = "w", .size = SIZE, .refs = half_outside},
      {.name = "w", .size = SIZE, .refs = far_outside},
      {.name = "w", .size = SIZE, .refs = unaligned},
      {.name = "w", .size = SIZE, .refs = none},
      {.name = "w", .size = SIZE, .refs = unknown},
      {.name = "w", .size = SIZE, .refs = twice},
      {.name = "w", .size = SIZE, .refs = overlap},
      {.name = "w", .size = SIZE, .item_refs = item},
      {.name = "w", .size = SIZE, .item_size = 8, .item_refs = item},
      {.name = "w", .size = SIZE, .count_at = COUNT_AT, .item_refs = item},
      {.name = "w", .size = SIZE, .count_at = COUNT_AT, .item_size = 8, .item_refs = item_outside},
      {.name = "w", .size = SIZE, .count_at = COUNT_AT, .item_size = 12, .item_refs = item},
      {.name = "w", .size = SIZE, .count_at = SIZE, .item_size = 8},
      {.name = "w", .size = SIZE, .count_at = 8, .item_size = 8},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    fh_type *type = NULL;
    if (fh_type_register(&wrong[i], &type) != FH_EINVAL) fail_msg("spec %zu was accepted", i);
    assert_null(type);
  }
}

static void the_ends_of_each_range_are_accepted(void **state) {
  static const fh_ref last[] = {{sizeof(struct pair) - 8, FH__REF_FIELD, 1}, FH_END};
  static const fh_type_spec right[] = {
      {.name = "s", .size = sizeof(fh_object)},
      {.name = "b", .size = (size_t)1 << 30},
      {.name = "l", .size = sizeof(struct pair), .refs = last},
      {.name = "i", .size = sizeof(struct pair), .count_at = offsetof(struct pair, count), .item_size = 8, .item_refs = item},
      {.name = "n", .size = sizeof(struct pair), .item_size = 1}, /* items without references need no count */
  };
  for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
    fh_type *type = NULL;
    assert_int_equal(fh_type_register(&right[i], &type), FH_OK);
    assert_non_null(type);
  }
}

static void a_spec_that_changed_is_refused(void **state) {
  if (is_checked()) skip();
  static fh_type_spec spec;
  spec = (fh_type_spec){.name = "changing", .size = 32};
  fh_type *type = NULL, *again = NULL;
  assert_int_equal(fh_type_register(&spec, &type), FH_OK);
  spec.size = 48;
  assert_int_equal(fh_type_register(&spec, &again), FH_EEXIST);
  spec.size = 32;
  spec.flags = FH_ACYCLIC;
  assert_int_equal(fh_type_register(&spec, &again), FH_EEXIST);
  spec.flags = 0;
  spec.name = "changed";
  assert_int_equal(fh_type_register(&spec, &again), FH_EEXIST);
  assert_null(again);
  spec.name = "changing";
  assert_int_equal(fh_type_register(&spec, &again), FH_OK);
  assert_ptr_equal(type, again);
}

/* ---- unregistering ---- */

static void a_type_goes_when_no_instance_is_left(void **state) {
  static fh_type_spec spec;
  spec = (fh_type_spec){.name = "going", .size = 32};
  fh_type *type;
  assert_int_equal(fh_type_register(&spec, &type), FH_OK);
  void *object = fh_new(type);
  assert_int_equal(fh_type_unregister(type), FH_EBUSY);
  assert_int_equal((int)fh_type_live(type), 1);
  assert_string_equal(fh_type_name(type), "going");
  fh_release(object);
  assert_int_equal(fh_type_unregister(type), FH_OK);
  spec.size = 64; /* the address may serve another type now */
  spec.name = "come";
  assert_int_equal(fh_type_register(&spec, &type), FH_OK);
  assert_string_equal(fh_type_name(type), "come");
  assert_int_equal(fh_type_unregister(type), FH_OK);
}

static void types_are_limited_and_their_places_used_again(void **state) {
  enum { MOST = 65535 };
  static fh_type_spec specs[MOST + 1];
  fh_type *type = NULL, *first = NULL;
  for (int i = 0; i <= MOST; i++) specs[i] = (fh_type_spec){.name = "one of very many", .size = 32};
  assert_int_equal(fh_type_register(&specs[0], &first), FH_OK);
  for (int i = 1; i < MOST; i++)
    if (fh_type_register(&specs[i], &type) != FH_OK) fail_msg("type %d was refused", i);
  fh_type *late = NULL;
  assert_int_equal(fh_type_register(&specs[MOST], &late), FH_ELIMIT);
  assert_null(late);
  void *object = fh_new(type); /* of the last one that there is room for */
  assert_ptr_equal(fh_type_of(object), type);
  fh_release(object);
  assert_int_equal(fh_type_unregister(first), FH_OK);
  assert_int_equal(fh_type_register(&specs[MOST], &late), FH_OK);
  assert_ptr_equal(fh_type_of(object = fh_new(late)), late);
  fh_release(object);
}

static struct gate gate = GATE;

static void look_and_wait(void *argument) {
  gate_open(&gate, 1);
  gate_await_deaf(&gate, 2); /* no safepoint: a grace period cannot pass */
}

static void a_type_stays_while_its_memory_waits_for_a_grace_period(void **state) {
  only_parallel();
  static const fh_type_spec spec = {.name = "late", .size = 32, .flags = FH_PUBLISHED};
  fh_type *type;
  assert_int_equal(fh_type_register(&spec, &type), FH_OK);
  struct companion reader;
  atomic_store(&gate.value, 0);
  companion_start(&reader, look_and_wait, NULL);
  gate_await(&gate, 1);
  fh_release(fh_new(type)); /* dead, but a reader may still look at it */
  assert_int_equal((int)fh_type_live(type), 0);
  assert_true(stats_now().limbo_bytes > 0);
  gate_open(&gate, 2);
  companion_join(&reader);
  fh_status status;
  while ((status = fh_type_unregister(type)) == FH_EBUSY) fh_housekeep();
  assert_int_equal(status, FH_OK);
}

static void types_come_and_go(int index, void *argument) {
  static fh_type_spec specs[4];
  for (size_t i = 0; i < scaled(400) + 20; i++) {
    specs[index] = (fh_type_spec){.name = "mayfly", .size = 32 + 16 * (i % 4)};
    fh_type *type;
    require(fh_type_register(&specs[index], &type) == FH_OK);
    fh_release(fh_new(type));
    fh_status status;
    while ((status = fh_type_unregister(type)) == FH_EBUSY) {
      require(born_published()); /* then the memory of the dead waits for a grace period */
      fh_housekeep();
    }
    require(status == FH_OK);
  }
}

static void four_threads_make_and_remove_types(void **state) { run_threads(4, types_come_and_go, NULL); }

/* ---- what a spec makes happen ---- */

struct many {
  fh_object fh;
  struct node *field;
  struct node *fields[3];
  fh_slot slot;
  fh_slot slots[2];
  struct node **buffer; /* of two, shown by traverse */
  size_t count;
};
struct item {
  uint64_t number;
  struct node *first;
  struct node *second;
};
static const fh_ref many_refs[] = {FH_FIELD(struct many, field), FH_FIELD(struct many, fields), FH_SLOT(struct many, slot),
                                   FH_SLOT(struct many, slots), FH_END};
static const fh_ref item_refs[] = {FH_FIELD(struct item, first), FH_FIELD(struct item, second), FH_END};

static void many_traverse(void *object, fh_visitor *visitor) {
  struct many *many = object;
  for (int i = 0; many->buffer && i < 2; i++) fh_visit(visitor, &many->buffer[i]);
}

static void many_dealloc(void *object) {
  struct many *many = object;
  require(!many->field && !many->fields[2] && !many->slot.fh__value && !many->slots[1].fh__value);
  struct item *items = (struct item *)(void *)(many + 1);
  for (size_t i = 0; i < many->count; i++) require(!items[i].first && !items[i].second);
  require(!many->buffer || (!many->buffer[0] && !many->buffer[1]));
  fh_free(many->buffer);
}

static const fh_type_spec many_spec = {.name = "many",
                                       .size = sizeof(struct many),
                                       .item_size = sizeof(struct item),
                                       .count_at = offsetof(struct many, count),
                                       .refs = many_refs,
                                       .item_refs = item_refs,
                                       .traverse = many_traverse,
                                       .dealloc = many_dealloc};

enum { ITEMS = 5, REFERENCES = 1 + 3 + 1 + 2 + 2 + 2 * ITEMS };

/* One with a node in every place that can hold one; `back`: each node refers back, so that all is one cycle. */
static struct many *make_full(bool back) {
  fh_type *type;
  require(fh_type_register(&many_spec, &type) == FH_OK);
  struct many *many = fh_new_items(type, ITEMS);
  require(many && many->count == ITEMS);
  many->buffer = fh_alloc_zeroed(2 * sizeof *many->buffer);
  require(many->buffer);
  uint64_t id = 0;
  struct node *nodes[REFERENCES];
  for (int i = 0; i < REFERENCES; i++) {
    nodes[i] = node_new(++id);
    if (back) fh_field_set(nodes[i], &nodes[i]->left, many);
  }
  struct node **next = nodes;
  fh_give(many, field, *next++);
  for (int i = 0; i < 3; i++) fh_field_give(many, &many->fields[i], *next++);
  for (int i = 0; i < 2; i++) fh_field_give(many, &many->buffer[i], *next++);
  struct item *items = (struct item *)(void *)(many + 1);
  for (int i = 0; i < ITEMS; i++) {
    fh_field_give(many, &items[i].first, *next++);
    fh_field_give(many, &items[i].second, *next++);
  }
  require(!fh_slot_swap(&many->slot, *next++));
  for (int i = 0; i < 2; i++) require(!fh_slot_swap(&many->slots[i], *next++));
  require(next == nodes + REFERENCES);
  return many;
}

static void every_kind_of_reference_is_released(void **state) {
  struct many *many = make_full(false);
  assert_int_equal((int)fh_type_live(node_type()), REFERENCES);
  fh_release(many);
  assert_int_equal((int)fh_type_live(node_type()), 0);
  assert_int_equal((int)atomic_load(&node_deaths), REFERENCES);
}

static void every_kind_of_reference_keeps_alive_what_a_collection_looks_at(void **state) {
  struct many *many = make_full(true);
  assert_int_equal((int)fh_collect(2), 0);
  assert_int_equal((int)fh_type_live(node_type()), REFERENCES);
  assert_true(fh_refcount(many) == 1 + REFERENCES);
  fh_release(many);
}

static void every_kind_of_reference_is_collected(void **state) {
  fh_release(make_full(true));
  assert_int_equal((int)fh_type_live(node_type()), REFERENCES);
  assert_int_equal((int)fh_collect(2), REFERENCES + 1);
  assert_int_equal((int)fh_type_live(node_type()), 0);
  struct many *many = make_full(true);
  fh_publish(many);
  fh_release(many);
  assert_int_equal((int)fh_collect(2), REFERENCES + 1);
}

static void live_counts_made_less_destroyed(void **state) {
  struct node *nodes[100];
  for (uint64_t i = 0; i < 100; i++) {
    nodes[i] = node_new(i);
    assert_int_equal((int)fh_type_live(node_type()), (int)i + 1);
  }
  for (int i = 0; i < 100; i++) {
    fh_release(nodes[i]);
    assert_int_equal((int)fh_type_live(node_type()), 99 - i);
  }
}

static struct node *shared_nodes[4][1000];

static void make_a_thousand(int index, void *argument) {
  for (uint64_t i = 0; i < 1000; i++) fh_publish(shared_nodes[index][i] = node_new(i));
}
static void release_the_neighbours(int index, void *argument) {
  for (uint64_t i = 0; i < 1000; i++) fh_release(shared_nodes[(index + 1) % 4][i]);
}

static void live_is_the_sum_over_threads(void **state) {
  run_threads(4, make_a_thousand, NULL);
  assert_int_equal((int)fh_type_live(node_type()), 4000);
  run_threads(4, release_the_neighbours, NULL);
  fh_settle();
  assert_int_equal((int)fh_type_live(node_type()), 0);
}

static void published_types_are_published_from_birth(void **state) {
  static const fh_type_spec spec = {.name = "public", .size = 32, .flags = FH_PUBLISHED};
  fh_type *type;
  assert_int_equal(fh_type_register(&spec, &type), FH_OK);
  void *object = fh_new(type);
  assert_true(fh_is_published(object));
  fh_release(object);
}

static void only_types_that_can_form_cycles_are_tracked(void **state) {
  static const fh_ref refs[] = {FH_FIELD(struct node, left), FH_END};
  static const fh_type_spec leaf = {.name = "leaf", .size = 32};
  static const fh_type_spec chain = {.name = "chain", .size = sizeof(struct node), .refs = refs, .flags = FH_ACYCLIC};
  static const fh_type_spec ring = {.name = "ring", .size = sizeof(struct node), .refs = refs};
  fh_type *type;
  const fh_type_spec *specs[] = {&leaf, &chain, &ring};
  for (int i = 0; i < 3; i++) {
    assert_int_equal(fh_type_register(specs[i], &type), FH_OK);
    void *object = fh_new(type);
    assert_int_equal(fh_gc_is_tracked(object), i == 2);
    assert_ptr_equal(fh_type_of(object), type);
    fh_release(object);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(the_same_spec_is_the_same_type),
      with_runtime(the_contents_of_a_spec_are_copied),
      with_runtime(eight_threads_register_the_same_specs_at_once),
      with_runtime(a_thread_that_is_not_attached_registers_too),
      with_runtime(a_wrong_spec_is_refused),
      with_runtime(the_ends_of_each_range_are_accepted),
      with_runtime(a_spec_that_changed_is_refused),
      with_runtime(a_type_goes_when_no_instance_is_left),
      with_runtime(types_are_limited_and_their_places_used_again),
      with_runtime(a_type_stays_while_its_memory_waits_for_a_grace_period),
      with_runtime(four_threads_make_and_remove_types),
      with_runtime(every_kind_of_reference_is_released),
      with_runtime(every_kind_of_reference_keeps_alive_what_a_collection_looks_at),
      with_runtime(every_kind_of_reference_is_collected),
      with_runtime(live_counts_made_less_destroyed),
      with_runtime(live_is_the_sum_over_threads),
      with_runtime(published_types_are_published_from_birth),
      with_runtime(only_types_that_can_form_cycles_are_tracked),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
