/* SPDX-License-Identifier: MIT */
/* Broken contracts about threads, safepoints, locks and types: each ends the program with a message that says the call, what is
 * wrong and the calling thread, and the object where there is one. Calls without a mutator trap in release builds too. */
#include "support/support.h"

static void begin(void) {
  require(fh_init(NULL) == FH_OK);
  require(fh_attach("culprit") == FH_OK);
}

/* ---- not attached ---- */

static struct node *object;
static fh_type *type;
static fh_slot slot;

static void prepare_and_detach(void) {
  begin();
  object = node_new(1);
  type = node_type();
  fh_publish(object);
  fh_detach();
}

#define without_mutator(name, call)   \
  static void name(void) {            \
    prepare_and_detach();             \
    call;                             \
  }                                   \
  static void name##_blocking(void) { \
    begin();                          \
    object = node_new(1);             \
    type = node_type();               \
    fh_publish(object);               \
    fh_blocking_begin();              \
    call;                             \
  }

static bool see_nothing(void *context, void *seen) {
  (void)context, (void)seen;
  return true;
}

without_mutator(new_detached, (void)!fh_new(type))
without_mutator(new_items_detached, (void)!fh_new_items(type, 1))
without_mutator(retain_detached, (void)fh_retain(object))
without_mutator(release_detached, fh_release(object))
without_mutator(try_detached, fh_try_retain(object))
without_mutator(publish_detached, fh_publish(object))
without_mutator(immortal_detached, fh_make_immortal(object))
without_mutator(unique_detached, fh_is_unique(object))
without_mutator(set_detached, fh_clear(object, left))
without_mutator(take_detached, (void)!fh_take(object, left))
without_mutator(load_detached, (void)!fh_slot_load(&slot))
without_mutator(store_detached, fh_slot_store(&slot, NULL))
without_mutator(cas_detached, fh_slot_cas(&slot, NULL, object))
without_mutator(alloc_detached, (void)!fh_alloc(10))
without_mutator(realloc_detached, (void)!fh_realloc(object, 10))
without_mutator(retire_detached, fh_retire(object))
without_mutator(lock_detached, fh_lock(object))
without_mutator(unlock_detached, fh_unlock(object))
without_mutator(collect_detached, fh_collect(2))
without_mutator(check_detached, (void)!fh_check_heap())
without_mutator(freeze_detached, (void)fh_gc_freeze())
without_mutator(unfreeze_detached, (void)fh_gc_unfreeze())
without_mutator(frozen_detached, (void)fh_gc_freeze_count())
without_mutator(objects_detached, (void)!fh_gc_objects(-1, NULL, see_nothing, NULL))
without_mutator(referents_detached, (void)!fh_gc_referents(object, NULL, see_nothing, NULL))
without_mutator(referrers_detached, (void)!fh_gc_referrers(NULL, 0, NULL, see_nothing, NULL))
without_mutator(saved_detached, (void)!fh_gc_saved(NULL, see_nothing, NULL))
without_mutator(clear_detached, (void)fh_gc_saved_clear())
without_mutator(housekeep_detached, fh_housekeep())
without_mutator(settle_detached, fh_settle())
without_mutator(detach_detached, fh_detach())
without_mutator(unregister_detached, (void)!fh_type_unregister(type))

static void detach_in_callback(void *context, const fh_gc_event *event) {
  (void)context, (void)event;
  fh_detach();
}
static void detached_in_callback(void) {
  begin();
  require(fh_gc_callback_add(detach_in_callback, NULL) == FH_OK);
  fh_collect(0);
}

static void critical_detached(void) {
  prepare_and_detach();
  FH_CRITICAL(object);
}
static void safepoint_detached(void) {
  prepare_and_detach();
  fh_safepoint();
}
static void blocking_detached(void) {
  prepare_and_detach();
  fh_blocking_begin();
}
static void end_of_no_blocking(void) {
  begin();
  fh_blocking_end();
}
static void detach_in_blocking(void) {
  begin();
  fh_blocking_begin();
  fh_detach();
}

static void calls_without_a_mutator_are_refused(void **state) {
  static const struct {
    void (*detached)(void), (*blocking)(void);
    const char *call;
  } calls[] = {
#define PAIR(name, call) {name, name##_blocking, call}
      PAIR(new_detached, "fh_new:"),           PAIR(new_items_detached, "fh_new_items:"),
      PAIR(retain_detached, "fh_retain:"),     PAIR(release_detached, "fh_release:"),
      PAIR(try_detached, "fh_try_retain:"),    PAIR(publish_detached, "fh_publish:"),
      PAIR(immortal_detached, "fh_make_immortal:"), PAIR(unique_detached, "fh_is_unique:"),
      PAIR(set_detached, "fh_field_set:"),     PAIR(take_detached, "fh_field_take:"),
      PAIR(load_detached, "fh_slot_load:"),    PAIR(store_detached, "fh_slot_s"),
      PAIR(cas_detached, "fh_slot_cas:"),      PAIR(alloc_detached, "fh_alloc:"),
      PAIR(realloc_detached, "fh_realloc:"),   PAIR(retire_detached, "fh_retire:"),
      PAIR(lock_detached, "fh_lock:"),         PAIR(unlock_detached, "fh_unlock:"),
      PAIR(collect_detached, "fh_collect:"),   PAIR(check_detached, "fh_check_heap:"),
      PAIR(freeze_detached, "fh_gc_freeze:"),  PAIR(unfreeze_detached, "fh_gc_unfreeze:"),
      PAIR(frozen_detached, "fh_gc_freeze_count:"), PAIR(objects_detached, "fh_gc_objects:"),
      PAIR(referents_detached, "fh_gc_referents:"), PAIR(referrers_detached, "fh_gc_referrers:"),
      PAIR(saved_detached, "fh_gc_saved:"),    PAIR(clear_detached, "fh_gc_saved_clear:"),
      PAIR(housekeep_detached, "fh_housekeep:"), PAIR(settle_detached, "fh_settle:"),
      PAIR(detach_detached, "fh_detach:"),     PAIR(unregister_detached, "fh_type_unregister:"),
#undef PAIR
  };
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
    expect_trap(calls[i].detached, calls[i].call, "not attached", "thread: mutator", NULL);
    expect_trap(calls[i].blocking, calls[i].call, "not attached", "thread: mutator", NULL);
  }
  expect_trap(critical_detached, "fh_critical_begin:", "not attached", "type: node", "object: 0x", NULL);
  expect_trap(retain_detached, "type: node", "object: 0x", "owner: mutator", NULL);
  expect_trap(blocking_detached, "fh_blocking_begin:", "not attached", NULL);
  expect_trap(end_of_no_blocking, "fh_blocking_end:", "not in a blocking region", "\"culprit\"", NULL);
  expect_trap(detach_in_blocking, "fh_detach:", "not attached", NULL);
}

static void a_callback_of_collections_stays_attached(void **state) {
  only_checked();
  expect_trap(detached_in_callback, "fh_detach: the last detach", "a callback of the runtime", NULL);
}

static void a_safepoint_needs_a_mutator(void **state) {
  only_checked();
  expect_trap(safepoint_detached, "fh_safepoint:", "not attached", NULL);
}

static void release_later_without_runtime(void) {
  begin();
  object = node_new(1);
  fh_make_immortal(object);
  fh_detach();
  require(fh_shutdown(0, NULL) == FH_OK);
  fh_release_later(object);
}

static void release_later_needs_a_runtime(void **state) {
  only_checked();
  expect_trap(release_later_without_runtime, "fh_release_later:", "does not run", "0x", NULL);
}

static void carry_a_long_name(void) {
  require(fh_init(NULL) == FH_OK);
  require(fh_attach("a name that is longer than thirty-one bytes") == FH_OK);
  fh_unlock(node_new(1));
}

static void names_are_cut(void **state) {
  expect_trap(carry_a_long_name, "\"a name that is longer than thir\"", NULL);
}

/* ---- locks ---- */

static void detach_with_lock(void) {
  begin();
  object = node_new(1);
  fh_lock(object);
  fh_detach();
}
static void unlock_what_is_not_locked(void) {
  begin();
  fh_unlock(node_new(1));
}
static struct gate gate = GATE;
static void lock_and_wait(void *argument) {
  fh_lock(object);
  gate_open(&gate, 1);
  gate_await(&gate, 2);
}
static void unlock_what_another_holds(void) {
  static struct companion holder;
  begin();
  object = node_new(1);
  fh_publish(object);
  companion_start(&holder, lock_and_wait, NULL);
  gate_await(&gate, 1);
  fh_unlock(object);
}
static void lock_twice(void) {
  begin();
  object = node_new(1);
  fh_lock(object);
  fh_lock(object);
}
static void lock_too_many(void) {
  begin();
  for (uint64_t i = 0; i < 65; i++) fh_lock(node_new(i));
}
static void end_out_of_order(void) {
  begin();
  fh_critical outer, inner;
  fh_critical_begin(&outer, node_new(1), NULL);
  fh_critical_begin(&inner, node_new(2), NULL);
  fh_critical_end(&outer);
}
static void detach_in_section(void) {
  begin();
  fh_critical section;
  fh_critical_begin(&section, node_new(1), NULL);
  fh_detach();
}

static void unlocking_what_one_does_not_hold_is_refused(void **state) {
  expect_trap(unlock_what_is_not_locked, "fh_unlock:", "does not hold", "type: node", "object: 0x", "\"culprit\"", NULL);
  expect_trap(unlock_what_another_holds, "fh_unlock:", "does not hold", "type: node", "published", "\"culprit\"", NULL);
}

static void locks_are_used_in_order(void **state) {
  only_checked();
  expect_trap(detach_with_lock, "fh_detach: detached while holding an object's lock", "type: node", "object: 0x",
              "owner: mutator", "\"culprit\"", NULL);
  expect_trap(lock_twice, "fh_lock:", "holds its lock already", "type: node", "\"culprit\"", NULL);
  expect_trap(lock_too_many, "fh_lock:", "too many locks", "\"culprit\"", NULL);
  expect_trap(end_out_of_order, "fh_critical_end:", "reverse order", "\"culprit\"", NULL);
  expect_trap(detach_in_section, "fh_detach:", "critical section", "\"culprit\"", NULL);
}

/* ---- in dealloc, and where no safepoint may be ---- */

static void (*in_dealloc)(void);
static void misbehave(void *dying) { in_dealloc(); }
static const fh_type_spec bad_spec = {.name = "bad", .size = 32, .dealloc = misbehave};

static void die_with(void (*last_act)(void)) {
  begin();
  in_dealloc = last_act;
  fh_release(new_of_spec(&bad_spec));
}

/* A poll comes out of line only if something waits, as a finalizer does here. */
static void finalize_nothing(void *dying) {}
static const fh_type_spec final_spec = {.name = "final", .size = 32, .finalize = finalize_nothing};
static void poll(void) {
  fh_release(new_of_spec(&final_spec));
  fh_safepoint();
}
static void collect(void) { fh_collect(2); }
static void check(void) { (void)!fh_check_heap(); }

static void poll_in_dealloc(void) { die_with(poll); }
static void collect_in_dealloc(void) { die_with(collect); }
static void check_in_dealloc(void) { die_with(check); }
static void housekeep_in_dealloc(void) { die_with(fh_housekeep); }
static void settle_in_dealloc(void) { die_with(fh_settle); }
static void block_in_dealloc(void) { die_with(fh_blocking_begin); }
static void detach_in_dealloc(void) { die_with(fh_detach); }

static void dealloc_may_not_block_nor_reach_a_safepoint(void **state) {
  only_checked();
  expect_trap(poll_in_dealloc, "fh_safepoint: a safepoint inside dealloc", "\"culprit\"", NULL);
  expect_trap(collect_in_dealloc, "fh_collect: a safepoint inside dealloc", "\"culprit\"", NULL);
  expect_trap(check_in_dealloc, "fh_check_heap: a safepoint inside dealloc", "\"culprit\"", NULL);
  expect_trap(housekeep_in_dealloc, "fh_housekeep: a safepoint inside dealloc", "\"culprit\"", NULL);
  expect_trap(settle_in_dealloc, "fh_settle: a safepoint inside dealloc", "\"culprit\"", NULL);
  expect_trap(block_in_dealloc, "fh_blocking_begin: called inside dealloc", "\"culprit\"", NULL);
  expect_trap(detach_in_dealloc, "fh_detach: called inside dealloc", "\"culprit\"", NULL);
}

static atomic_int tried;
static void try_all(void) {
  poll();
  require(fh_collect(2) == 0);
  fh_housekeep();
  fh_settle();
  fh_blocking_begin();
  fh_blocking_end();
  atomic_fetch_add(&tried, 1);
}
static void survive(void) {
  die_with(try_all);
  require(atomic_load(&tried) == 1);
  fh_detach();
  require(fh_shutdown(0, NULL) == FH_OK);
}

static void in_release_builds_a_safepoint_inside_dealloc_does_nothing(void **state) {
  if (is_checked()) skip();
  expect_fine(survive);
}

static void block_without_safepoints(void) {
  begin();
  FH_NO_SAFEPOINT();
  fh_blocking_begin();
}
static void detach_without_safepoints(void) {
  begin();
  FH_NO_SAFEPOINT();
  fh_detach();
}

static void nothing_blocks_where_no_safepoint_may_be(void **state) {
  only_checked();
  expect_trap(block_without_safepoints, "fh_blocking_begin:", "no safepoint", "\"culprit\"", NULL);
  expect_trap(detach_without_safepoints, "fh_detach:", "no safepoint", "\"culprit\"", NULL);
}

/* ---- types ---- */

struct pair {
  fh_object fh;
  void *a, *b;
};

static void register_spec(const fh_type_spec *spec) {
  fh_type *made;
  begin();
  (void)!fh_type_register(spec, &made);
}

#define with_spec(function, ...)                                                                   \
  static void function(void) {                                                                    \
    static const fh_type_spec spec = {.name = "pair", .size = sizeof(struct pair), __VA_ARGS__}; \
    register_spec(&spec);                                                                         \
  }

static const fh_ref right_refs[] = {FH_FIELD(struct pair, a), FH_FIELD(struct pair, b), FH_END};
static const fh_ref on_header[] = {FH_FIELD(struct pair, a), {8, FH__REF_FIELD, 1}, FH_END};
static const fh_ref outside[] = {FH_FIELD(struct pair, a), FH_FIELD(struct pair, b), {sizeof(struct pair), FH__REF_FIELD, 1}, FH_END};
static const fh_ref twice[] = {FH_FIELD(struct pair, a), FH_FIELD(struct pair, a), FH_END};
static const fh_ref item_outside[] = {{8, FH__REF_FIELD, 1}, FH_END};

with_spec(spec_on_header, .refs = on_header)
with_spec(spec_outside, .refs = outside)
with_spec(spec_twice, .refs = twice)
with_spec(spec_item_outside, .item_refs = item_outside, .item_size = 8, .count_at = offsetof(struct pair, b))
with_spec(spec_item_without_count, .item_refs = item_outside, .item_size = 16)
with_spec(spec_of_unknown_flags, .flags = 1u << 31)

static void spec_without_name(void) {
  static const fh_type_spec spec = {.size = 32};
  register_spec(&spec);
}
static void spec_too_small(void) {
  static const fh_type_spec spec = {.name = "small", .size = 8};
  register_spec(&spec);
}
static void spec_changed(void) {
  static fh_type_spec spec = {.name = "pair", .size = sizeof(struct pair), .refs = right_refs};
  register_spec(&spec);
  spec.size += 16;
  fh_type *made;
  (void)!fh_type_register(&spec, &made);
}

static void a_wrong_spec_is_refused(void **state) {
  only_checked();
  expect_trap(spec_on_header, "fh_type_register:", "\"pair\"", "reference 1", NULL);
  expect_trap(spec_outside, "fh_type_register:", "\"pair\"", "outside the object", "reference 2", NULL);
  expect_trap(spec_twice, "fh_type_register:", "\"pair\"", "reference 1", NULL);
  expect_trap(spec_item_outside, "fh_type_register:", "\"pair\"", "outside the item", "reference 0", NULL);
  expect_trap(spec_item_without_count, "fh_type_register:", "\"pair\"", "count_at", NULL);
  expect_trap(spec_of_unknown_flags, "fh_type_register:", "\"pair\"", "flags", NULL);
  expect_trap(spec_without_name, "fh_type_register:", "no name", NULL);
  expect_trap(spec_too_small, "fh_type_register:", "\"small\"", "size", NULL);
  expect_trap(spec_changed, "fh_type_register:", "\"pair\"", "registered with other contents", NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(calls_without_a_mutator_are_refused),
      cmocka_unit_test(a_callback_of_collections_stays_attached),
      cmocka_unit_test(a_safepoint_needs_a_mutator),
      cmocka_unit_test(release_later_needs_a_runtime),
      cmocka_unit_test(names_are_cut),
      cmocka_unit_test(unlocking_what_one_does_not_hold_is_refused),
      cmocka_unit_test(locks_are_used_in_order),
      cmocka_unit_test(dealloc_may_not_block_nor_reach_a_safepoint),
      cmocka_unit_test(in_release_builds_a_safepoint_inside_dealloc_does_nothing),
      cmocka_unit_test(nothing_blocks_where_no_safepoint_may_be),
      cmocka_unit_test(a_wrong_spec_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
