/* SPDX-License-Identifier: MIT */
/* The registry: ids, births and adoptions.
 *
 * Claims: ids count up from 1 and stay; only unbound mutators are adopted, each by one thread at a time [state.bound]; the
 * number of the bound is right; a full registry refuses; it closes only while nobody is bound, and then lets in the
 * shutdown alone. Real: the registry; mutators are bare sync parts. */
#include "support/parts.h"

static void ids_count_up_from_one(void **state) {
  for (uint32_t id = 1; id <= 3; id++) {
    struct fh__sync_local *sync = add_part();
    assert_int_equal(sync->id, id);
    assert_int_equal(sync->bound, 1);
    assert_int_equal(sync->state, FH__DETACHED);
    assert_ptr_equal(fh__registry_get(id), sync);
  }
  assert_int_equal(fh__registry_count(), 3);
  assert_int_equal(fh__registry.bound, 3);
  uint32_t seen = 0;
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) assert_int_equal(sync->id, ++seen);
  assert_int_equal(seen, 3);
}

static void only_the_unbound_are_adopted(void **state) {
  struct fh__sync_local *a = add_part(), *b = add_part();
  assert_null(fh__registry_adopt());
  fh__registry_unbind(a);
  assert_int_equal(fh__registry.bound, 1);
  assert_int_equal(a->bound, 0);
  assert_ptr_equal(fh__registry_adopt(), a);
  assert_int_equal(a->bound, 1);
  assert_null(fh__registry_adopt());
  fh__registry_unbind(b);
  fh__registry_unbind(a);
  assert_ptr_equal(fh__registry_adopt(), a); /* the last one that was left: its memory is still warm */
  assert_ptr_equal(fh__registry_adopt(), b);
  assert_null(fh__registry_adopt());
  assert_int_equal(fh__registry.adoptions, 3);
}

static void a_full_registry_refuses(void **state) {
  struct fh__sync_local sync = {0};
  fh__registry_set_open();
  fh__registry.count = FH__MUTATORS_MAX;
  bool fits = fh__registry_add(&sync) == FH__REGISTRY_FITS;
  uint32_t count = fh__registry.count;
  fh__registry.count = 0;
  assert_false(fits);
  assert_int_equal(count, FH__MUTATORS_MAX);
}

static void a_closed_registry_lets_the_shutdown_in_alone(void **state) {
  struct fh__sync_local *sync[3] = {add_part(), add_part(), add_part()}, late = {0};
  fh__registry_unbind(sync[0]);
  fh__registry_unbind(sync[1]);
  assert_false(fh__registry_close()); /* one is bound */
  assert_ptr_equal(fh__registry_adopt(), sync[1]);
  fh__registry_unbind(sync[1]);
  fh__registry_unbind(sync[2]);
  assert_true(fh__registry_close());
  assert_null(fh__registry_adopt());
  assert_int_equal(fh__registry_add(&late), FH__REGISTRY_CLOSED);
  for (uint32_t id = 3; id; id--) { /* from anywhere in the list of the unbound */
    assert_ptr_equal(fh__registry_adopt_closed(id), sync[id - 1]);
    assert_int_equal(fh__registry.bound, 1);
    assert_int_equal(sync[id - 1]->bound, 1);
    fh__registry_unbind(sync[id - 1]);
  }
  fh__registry_set_open();
  assert_non_null(fh__registry_adopt());
}

struct churn {
  uint64_t plain[PARTS_MAX + 1]; /* by id: touched by the bound thread only */
};

static void adopt_and_unbind(int index, void *argument) {
  struct churn *churn = argument;
  for (size_t i = scaled(50000); i; i--) {
    struct fh__sync_local *sync;
    while (!(sync = fh__registry_adopt())) {
    }
    churn->plain[sync->id]++;
    require(FH__LOAD(&sync->bound, RELAXED));
    fh__registry_unbind(sync);
  }
}

static void each_is_adopted_by_one_thread_at_a_time(void **state) {
  struct churn churn = {{0}};
  for (int i = 0; i < 2; i++) fh__registry_unbind(add_part());
  run_bare_threads(4, adopt_and_unbind, &churn);
  assert_true(churn.plain[1] + churn.plain[2] == 4 * scaled(50000));
  assert_int_equal(fh__registry.bound, 0);
}

#define with_parts(test) cmocka_unit_test_teardown(test, forget_parts)

int main(void) {
  const struct CMUnitTest tests[] = {
      with_parts(ids_count_up_from_one),
      with_parts(only_the_unbound_are_adopted),
      with_parts(a_full_registry_refuses),
      with_parts(a_closed_registry_lets_the_shutdown_in_alone),
      with_parts(each_is_adopted_by_one_thread_at_a_time),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
