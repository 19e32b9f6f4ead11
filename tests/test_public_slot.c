/* SPDX-License-Identifier: MIT */
/* Slots and roots, through the public interface, by one thread and by four that race on one slot.
 *
 * Claims: load returns an owned reference or NULL; store keeps the caller's reference, swap consumes it, cas keeps both and
 * releases the old one on success; what a slot holds is published; a racing load never returns a dead or torn object, and no
 * reference is lost or given up twice. */
#include "support/support.h"

static void slots_of_one_thread(void **state) {
  fh_slot slot = {NULL};
  assert_null(fh_slot_load(&slot));
  struct node *a = node_new(1), *b = node_new(2);
  fh_slot_store(&slot, a); /* retains and publishes */
  assert_true(fh_is_published(a) && fh_refcount(a) == 2);
  struct node *loaded = fh_slot_load(&slot);
  assert_ptr_equal(loaded, a);
  assert_true(fh_refcount(a) == 3);
  fh_release(loaded);
  fh_slot_store(&slot, a); /* over itself */
  assert_true(fh_refcount(a) == 2);
  fh_retain(b);
  struct node *old = fh_slot_swap(&slot, b); /* consumes b, hands out a */
  assert_ptr_equal(old, a);
  assert_true(fh_is_published(b) && fh_refcount(a) == 2 && fh_refcount(b) == 2);
  fh_release(old);
  fh_slot_store(&slot, NULL);
  assert_null(fh_slot_load(&slot));
  assert_true(fh_refcount(b) == 1);
  assert_null(fh_slot_swap(&slot, NULL));
  fh_release(a);
  fh_release(b);
  assert_int_equal((int)atomic_load(&node_deaths), 2);
}

static void cas_stores_only_over_what_it_expects(void **state) {
  fh_slot slot = {NULL};
  struct node *a = node_new(1), *b = node_new(2), *c = node_new(3);
  assert_false(fh_slot_cas(&slot, a, b));
  assert_true(fh_is_published(b) && fh_refcount(a) == 1 && fh_refcount(b) == 1);
  assert_true(fh_slot_cas(&slot, NULL, a));
  assert_true(fh_refcount(a) == 2);
  assert_false(fh_slot_cas(&slot, NULL, b));
  assert_true(fh_slot_cas(&slot, a, b));
  assert_true(fh_refcount(a) == 1 && fh_refcount(b) == 2);
  assert_false(fh_slot_cas(&slot, a, c));
  assert_true(fh_refcount(c) == 1);
  assert_true(fh_slot_cas(&slot, b, b));
  assert_true(fh_refcount(b) == 2);
  assert_true(fh_slot_cas(&slot, b, NULL));
  assert_true(fh_slot_cas(&slot, NULL, NULL));
  assert_null(slot.fh__value);
  assert_true(fh_refcount(b) == 1);
  fh_release(a);
  fh_release(b);
  fh_release(c);
  assert_int_equal((int)atomic_load(&node_deaths), 3);
}

static void a_store_into_a_slot_publishes_all_that_it_reaches(void **state) {
  fh_slot slot = {NULL};
  struct node *n = node_new(1);
  fh_give(n, left, node_new(2));
  assert_null(fh_slot_swap(&slot, n));
  assert_true(fh_is_published(n) && fh_is_published(n->left));
  fh_slot_store(&slot, NULL);
  assert_int_equal((int)atomic_load(&node_deaths), 2);
}

/* ---- races ---- */

static fh_slot slot;
static atomic_bool enough;

static void check_and_release(struct node *n) {
  if (!n) return;
  require(node_is_whole(n) && n->left && node_is_whole(n->left) && n->left->id == n->id + 1);
  require(fh_refcount(n) >= 1);
  fh_release(n);
}

static struct node *make_pair(uint64_t id) {
  struct node *n = node_new(id);
  fh_give(n, left, node_new(id + 1));
  return n;
}

static void load_often(int index) {
  for (size_t i = 0; i < scaled(300000); i++) {
    check_and_release(fh_slot_load(&slot));
    if (i % 16 == 0) fh_safepoint();
  }
}

static void store_often(int index) {
  for (uint64_t i = 0; i < scaled(100000); i++) {
    struct node *n = make_pair(i << 8);
    switch ((i + (uint64_t)index) % 4) {
      case 0: check_and_release(fh_slot_swap(&slot, fh_retain(n))); break;
      case 1: fh_slot_store(&slot, n); break;
      case 2: {
        struct node *seen = fh_slot_load(&slot);
        fh_slot_cas(&slot, seen, n);
        check_and_release(seen);
        break;
      }
      default: fh_slot_store(&slot, NULL);
    }
    fh_release(n);
    if (i % 16 == 0) fh_safepoint();
  }
}

static void load_or_store(int index, void *argument) {
  int writers = *(int *)argument;
  if (index < writers)
    store_often(index);
  else
    load_often(index);
}

static void race(int threads, int writers) {
  run_threads(threads, load_or_store, &writers);
  fh_slot_store(&slot, NULL);
  fh_settle();
  assert_int_equal((int)fh_type_live(node_type()), 0);
}

static void one_stores_and_one_loads(void **state) { race(2, 1); }
static void two_store(void **state) { race(2, 2); }
static void one_stores_and_three_load(void **state) { race(4, 1); }
static void three_store_and_one_loads(void **state) { race(4, 3); }

/* A stack by compare-and-swap of immutable links: nothing is lost and nothing comes out twice. Each popper owns what it
 * expects, so an address cannot come back meanwhile. */
static atomic_uint_fast64_t popped_sum, popped_count;

static void push_and_pop(int index, void *argument) {
  for (uint64_t i = 1; i <= scaled(20000); i++) {
    struct node *n = node_new(i);
    for (;;) {
      struct node *top = fh_slot_load(&slot);
      if (fh_is_published(n)) { /* a failed attempt has published it, so it has a guard now: nobody else knows it */
        FH_CRITICAL(n);
        fh_set(n, left, top);
      } else {
        fh_set(n, left, top);
      }
      bool pushed = fh_slot_cas(&slot, top, n);
      if (top) fh_release(top);
      if (pushed) break;
    }
    fh_release(n);
    for (;;) {
      FH_AUTO struct node *top = fh_slot_load(&slot);
      require(top); /* each thread pops as often as it pushed */
      if (!fh_slot_cas(&slot, top, fh_get(top, left))) continue;
      atomic_fetch_add(&popped_sum, top->id);
      atomic_fetch_add(&popped_count, 1);
      break;
    }
    if (i % 16 == 0) fh_safepoint();
  }
}

static void a_stack_by_compare_and_swap_loses_nothing(void **state) {
  enum { THREADS = 4 };
  uint64_t each = scaled(20000);
  atomic_store(&popped_sum, 0);
  atomic_store(&popped_count, 0);
  run_threads(THREADS, push_and_pop, NULL);
  assert_null(slot.fh__value);
  assert_true(atomic_load(&popped_count) == THREADS * each);
  assert_true(atomic_load(&popped_sum) == THREADS * (each * (each + 1) / 2));
  fh_settle();
  assert_int_equal((int)fh_type_live(node_type()), 0);
}

/* Collections, stops and grace periods while threads race. */
static void race_or_collect(int index, void *argument) {
  if (index == 0) {
    for (size_t i = 0; i < scaled(1000) + 20; i++) {
      fh_collect(2);
      fh_housekeep();
    }
    atomic_store(&enough, true);
    return;
  }
  for (uint64_t i = 0; !atomic_load(&enough); i++) {
    if (index == 1) {
      struct node *n = make_pair(i << 8);
      check_and_release(fh_slot_swap(&slot, n));
    } else {
      check_and_release(fh_slot_load(&slot));
    }
    fh_safepoint();
  }
}

static void slots_race_with_collections(void **state) {
  atomic_store(&enough, false);
  run_threads(4, race_or_collect, NULL);
  fh_slot_store(&slot, NULL);
  fh_settle();
  assert_int_equal((int)fh_type_live(node_type()), 0);
}

/* ---- roots ---- */

static void a_root_is_registered_once(void **state) {
  static fh_slot roots[100];
  for (int i = 0; i < 100; i++) assert_int_equal(fh_root_add(&roots[i]), FH_OK);
  for (int i = 0; i < 100; i++) assert_int_equal(fh_root_add(&roots[i]), FH_EEXIST);
  for (uint64_t i = 0; i < 100; i++) (void)!fh_slot_swap(&roots[i], node_new(i));
  assert_int_equal((int)fh_collect(2), 0);
  for (int i = 0; i < 100; i += 2) {
    fh_root_remove(&roots[i]);
    assert_non_null(roots[i].fh__value); /* the value stays */
    fh_slot_store(&roots[i], NULL);
    fh_root_remove(&roots[i]); /* once more is nothing */
  }
  assert_int_equal(fh_root_add(&roots[0]), FH_OK);
  /* The other fifty are still full: the shutdown behind this test clears them, and requires that nothing leaked. */
}

static void add_and_remove_roots(int index, void *argument) {
  static fh_slot slots[4][50];
  for (size_t round = 0; round < scaled(400); round++) {
    for (int i = 0; i < 50; i++) require(fh_root_add(&slots[index][i]) == FH_OK);
    for (int i = 0; i < 50; i++) fh_root_remove(&slots[index][i]);
  }
}

static void threads_register_roots_at_once(void **state) {
  run_threads(4, add_and_remove_roots, NULL);
  run_bare_threads(4, add_and_remove_roots, NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(slots_of_one_thread),
      with_runtime(cas_stores_only_over_what_it_expects),
      with_runtime(a_store_into_a_slot_publishes_all_that_it_reaches),
      with_runtime(one_stores_and_one_loads),
      with_runtime(two_store),
      with_runtime(one_stores_and_three_load),
      with_runtime(three_store_and_one_loads),
      with_runtime(a_stack_by_compare_and_swap_loses_nothing),
      with_runtime(slots_race_with_collections),
      with_runtime(a_root_is_registered_once),
      with_runtime(threads_register_roots_at_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
