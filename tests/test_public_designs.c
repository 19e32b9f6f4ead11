/* SPDX-License-Identifier: MIT */
/* The counting designs, through the public interface.
 *
 * Claims: a design is chosen by an option and has a name; one program runs under each, and none leaks. atomic: everything is
 * published from birth, all counts are strangers', memory of the dead waits for a grace period. gil: one mutator runs at a time and
 * sees what the last one wrote; whoever computes hands over at safepoints; blocking regions, waits for locks, and threads that end
 * let others in; objects that nobody published may be used by whoever runs. */
#include "support/support.h"

#include <sched.h>

static void start(fh_options options) {
  atomic_store(&node_deaths, 0);
  require((fh_init)(&options) == FH_OK); /* not the one that the environment chooses */
  require(fh_attach("main") == FH_OK);
}

static int start_atomic(void **state) {
  start((fh_options){.design = FH_DESIGN_ATOMIC, .flags = FH_OPTION_COUNT_PATHS});
  return 0;
}
static int start_gil(void **state) {
  start((fh_options){.design = FH_DESIGN_GIL, .gil_switch_us = 100, .flags = FH_OPTION_COUNT_PATHS});
  return 0;
}

/* ---- choosing ---- */

static void designs_have_names(void **state) {
  assert_string_equal(fh_design_name(FH_DESIGN_BIASED), "biased");
  assert_string_equal(fh_design_name(FH_DESIGN_ATOMIC), "atomic");
  assert_string_equal(fh_design_name(FH_DESIGN_GIL), "gil");
  assert_string_equal(fh_design_name((fh_design)3), "?");
  assert_string_equal(fh_design_name((fh_design)-1), "?");
}

static void what_is_no_design_is_refused(void **state) {
  assert_int_equal((fh_init)(&(fh_options){.design = 3}), FH_EINVAL);
  assert_int_equal((fh_init)(&(fh_options){.design = UINT32_MAX}), FH_EINVAL);
  assert_int_equal((fh_init)(&(fh_options){.design = FH_DESIGN_GIL, .gil_switch_us = 1000001}), FH_EINVAL);
  assert_int_equal(fh_attach("nobody"), FH_ESHUTDOWN);
}

static fh_slot shelf;

/* A bit of everything. */
static void work(int index, void *argument) {
  for (uint64_t i = 0; i < scaled(20000); i++) {
    struct node *a = node_new(i), *b = node_new(i);
    fh_set(a, left, b);
    if (i % 4 == 0) fh_set(b, left, a); /* a cycle, which the collector finds */
    fh_release(b);
    if (i % 8 == 1) {
      fh_slot_store(&shelf, a);
      struct node *seen = fh_slot_load(&shelf);
      if (seen) {
        require(node_is_whole(seen));
        fh_release(seen);
      }
    }
    fh_release(a);
    if (i % 16 == 0) fh_safepoint();
  }
}

static void the_same_program_runs_under_each(void **state) {
  for (fh_design design = FH_DESIGN_BIASED; design <= FH_DESIGN_GIL; design++) {
    start((fh_options){.design = design, .gil_switch_us = 100});
    assert_int_equal(fh_design_get(), design);
    run_threads(4, work, NULL);
    fh_slot_store(&shelf, NULL);
    fh_settle();
    assert_true(atomic_load(&node_deaths) == 8 * scaled(20000));
    runtime_stop();
  }
}

/* ---- atomic ---- */

static void a_newborn_is_published(void **state) {
  struct node *n = node_new(1);
  assert_true(fh_is_published(n));
  assert_true(fh_refcount(n) == 1 && fh_is_unique(n));
  fh_publish(n); /* nothing */
  assert_true(stats_now().published == 0);
  fh_release(n);
  assert_true(atomic_load(&node_deaths) == 1);
  fh_stats stats = stats_now();
  assert_true(stats.private_deaths == 0 && stats.published_deaths == 1);
  if (!is_torture()) assert_true(stats.limbo_bytes > 0); /* a reader may still look at it */
}

static struct node *subject;

static void count_much(int index, void *argument) {
  for (size_t i = 0; i < scaled(100000); i++) {
    fh_retain(subject);
    require(node_is_whole(subject));
    fh_release(subject);
  }
}

static void all_count_one_object_that_nobody_published(void **state) {
  subject = node_new(1);
  fh_stats before = stats_now();
  run_threads(2, count_much, NULL);
  count_much(2, NULL);
  fh_stats after = stats_now();
  assert_true(fh_refcount(subject) == 1);
  assert_true(after.stranger_retains - before.stranger_retains == 3 * scaled(100000));
  assert_true(after.stranger_releases - before.stranger_releases == 3 * scaled(100000));
  assert_true(after.owner_retains == 0 && after.owner_releases == 0);
  assert_true(after.spills == 0 && after.merges == 0 && after.queued == 0 && after.claimed == 0);
  fh_release(subject);
}

static void release_it(int index, void *argument) { fh_release(subject); }

static void whoever_releases_last_destroys_at_once(void **state) {
  subject = node_new(1);
  for (int i = 0; i < 3; i++) fh_retain(subject);
  run_threads(4, release_it, NULL);
  assert_true(atomic_load(&node_deaths) == 1); /* without a safepoint of its maker */
  assert_true(stats_now().queued == 0);
}

static void count_up_and_down(struct node *n, uint64_t most) {
  for (uint64_t i = 0; i < most; i++) fh_retain(n);
  assert_true(fh_refcount(n) == 1 + most);
  assert_int_equal(fh_check_heap(), FH_OK);
  for (uint64_t i = 0; i < most; i++) fh_release(n);
}

static void counts_have_one_word(void **state) {
  struct node *n = node_new(1);
  count_up_and_down(n, 200000);
  assert_true(stats_now().spills == 0 && stats_now().take_backs == 0);
  fh_release(n);
}

static void become_immortal(int index, void *argument) { fh_make_immortal(subject); }

static void make_immortal(void) {
  start((fh_options){.design = FH_DESIGN_ATOMIC, .flags = FH_OPTION_QUIET});
  subject = node_new(1);
  run_threads(3, become_immortal, NULL);
  for (int i = 0; i < 10; i++) fh_release(subject);
  require(fh_refcount(subject) == UINT64_MAX && atomic_load(&node_deaths) == 0);
  require(stats_now().objects_immortal == 1 && fh_check_heap() == FH_OK);
  fh_detach();
  require(fh_shutdown(1000, NULL) == FH_OK);
}
static void anybody_makes_an_object_immortal(void **state) { expect_fine(make_immortal); }

/* ---- gil: one at a time ---- */

enum { MANY = 8 };
static uint64_t plain; /* neither atomic nor locked: the one lock of the design protects it */

static void count_plainly(int index, void *argument) {
  for (size_t i = 0; i < scaled(200000); i++) {
    uint64_t seen = plain;
    if (i % 1024 == 0) sched_yield(); /* room for somebody else to come in between */
    plain = seen + 1;
    fh_safepoint();
  }
}

static void one_mutator_runs_at_a_time(void **state) {
  plain = 0;
  run_threads(MANY, count_plainly, NULL);
  assert_true(plain == MANY * scaled(200000));
}

static uint64_t progress[2]; /* by the lock, too */

/* Each goes on until it has seen the other go on, again and again; there is nothing but safepoints in between. */
static void compute_until_the_other_did(int index, void *argument) {
  for (uint64_t round = 1; round <= 20; round++) {
    progress[index] = round;
    while (progress[1 - index] < round) fh_safepoint();
  }
}

static void who_computes_hands_over_at_safepoints(void **state) {
  progress[0] = progress[1] = 0;
  uint64_t before = stats_now().gil_switches;
  run_threads(2, compute_until_the_other_did, NULL);
  assert_true(progress[0] == 20 && progress[1] == 20);
  assert_true(stats_now().gil_switches - before >= 20);
}

static atomic_bool apart;

static void come_and_go(int index, void *argument) {
  if (index == 0) {
    for (size_t i = 0; i < scaled(4000) + 10; i++) {
      fh_detach();
      require(fh_attach("comes and goes") == FH_OK);
      plain++;
    }
    atomic_store(&apart, true);
    return;
  }
  while (!atomic_load(&apart)) {
    plain++;
    fh_safepoint();
  }
}

static void threads_come_in_while_others_compute(void **state) {
  atomic_store(&apart, false);
  run_threads(3, come_and_go, NULL);
}

/* ---- gil: who waits lets others in ---- */

static struct gate gate = GATE;

static void answer_from_a_blocking_region(void *argument) {
  for (int i = 0; i < 100; i++) {
    gate_await(&gate, 2 * i + 1);
    gate_open(&gate, 2 * i + 2);
  }
}

/* With an interval so long that handing over at safepoints does not help. */
static void blocking_regions_let_others_in(void **state) {
  start((fh_options){.design = FH_DESIGN_GIL, .gil_switch_us = 1000000});
  atomic_store(&gate.value, 0);
  struct companion companion;
  companion_start(&companion, answer_from_a_blocking_region, NULL);
  for (int i = 0; i < 100; i++) {
    gate_open(&gate, 2 * i + 1);
    gate_await(&gate, 2 * i + 2);
  }
  companion_join(&companion);
  runtime_stop();
}

static void wait_for_the_lock(void *argument) {
  gate_open(&gate, 1);
  fh_lock(subject); /* attached, and waits for a lock whose holder wants to come in */
  plain = 2;
  fh_unlock(subject);
}

static void waits_for_object_locks_let_others_in(void **state) {
  for (int i = 0; i < 20; i++) {
    atomic_store(&gate.value, 0);
    subject = node_new(1);
    fh_lock(subject);
    struct companion companion;
    companion_start(&companion, wait_for_the_lock, NULL);
    gate_await(&gate, 1);
    plain = 1;
    fh_safepoint();
    fh_unlock(subject);
    companion_join(&companion);
    assert_true(plain == 2);
    fh_release(subject);
  }
}

static void *leave_without_a_word(void *argument) {
  require(fh_attach("ends") == FH_OK);
  plain++;
  return NULL; /* detached by the end of the thread */
}

static void a_thread_that_ends_lets_others_in(void **state) {
  plain = 0;
  for (int i = 0; i < 10; i++) {
    pthread_t thread;
    fh_blocking_begin();
    require(!pthread_create(&thread, NULL, leave_without_a_word, NULL));
    require(!pthread_join(thread, NULL));
    fh_blocking_end();
  }
  assert_true(plain == 10);
}

/* ---- gil: objects are everybody's ---- */

static void use_what_another_made(void *argument) {
  struct node *n = argument;
  fh_retain(n);
  fh_give(n, left, node_new(7));
  fh_release(n);
  subject = node_new(3);
  fh_set(subject, left, n);
}

static void private_objects_are_used_by_whoever_runs(void **state) {
  struct node *n = node_new(1);
  fh_stats before = stats_now();
  struct companion companion;
  companion_start(&companion, use_what_another_made, n);
  companion_join(&companion);
  assert_false(fh_is_published(n));
  assert_false(fh_is_published(subject)); /* and its maker has gone */
  assert_true(fh_refcount(n) == 2 && fh_get(n, left)->id == 7);
  assert_int_equal(fh_check_heap(), FH_OK);
  fh_release(subject);
  fh_publish(n);
  fh_release(n);
  fh_stats after = stats_now();
  assert_true(atomic_load(&node_deaths) == 3);
  assert_true(after.stranger_retains == before.stranger_retains && after.stranger_releases == before.stranger_releases);
  assert_true(after.queued == 0 && after.claimed == 0);
}

static void all_count_what_nobody_published(void **state) {
  subject = node_new(1);
  run_threads(4, count_much, NULL);
  assert_true(fh_refcount(subject) == 1);
  assert_false(fh_is_published(subject));
  assert_true(stats_now().stranger_retains == 0);
  fh_release(subject);
}

static struct node *table[16]; /* references that belong to whoever runs */

static void exchange_and_collect(int index, void *argument) {
  for (uint64_t i = 0; i < scaled(20000); i++) {
    struct node *n = node_new(i);
    fh_set(n, right, n); /* only the collector destroys it */
    struct node **place = &table[(i * 7 + (uint64_t)index) % 16];
    if (*place) fh_give(n, left, *place);
    *place = n;
    if (i % 32 == 31) {
      fh_release(n);
      *place = NULL;
    }
    if (i % 8 == 0) fh_safepoint();
    if (index == 0 && i % 512 == 0) {
      fh_collect(2);
      require(fh_check_heap() == FH_OK);
    }
  }
}

static void collections_amid_switches(void **state) {
  run_threads(4, exchange_and_collect, NULL);
  for (int i = 0; i < 16; i++)
    if (table[i]) fh_drop(&table[i]);
  fh_settle();
  assert_int_equal((int)fh_type_live(node_type()), 0);
  assert_true(atomic_load(&node_deaths) == 4 * scaled(20000));
}

struct pair {
  fh_object fh;
  uint64_t first, second;
};
static const fh_type_spec pair_spec = {.name = "pair", .size = sizeof(struct pair)};

/* What the section protects holds wherever the section holds: between its beginning, or a safepoint in it, and the next safepoint. */
static void work_in_sections(int index, void *argument) {
  struct pair *pair = argument;
  for (size_t i = 0; i < scaled(20000); i++) {
    FH_CRITICAL(pair);
    require(pair->first == pair->second);
    pair->first++;
    if (i % 64 == 0) sched_yield();
    pair->second++;
    fh_safepoint(); /* gives the section up, if it does anything, and takes it again */
    require(pair->first == pair->second);
  }
}

static void critical_sections_across_switches(void **state) {
  struct pair *pair = new_of_spec(&pair_spec);
  run_threads(4, work_in_sections, pair);
  assert_true(pair->first == 4 * scaled(20000) && pair->second == pair->first);
  fh_release(pair);
}

#define with_atomic(test) cmocka_unit_test_setup_teardown(test, start_atomic, runtime_teardown)
#define with_gil(test) cmocka_unit_test_setup_teardown(test, start_gil, runtime_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(designs_have_names),
      cmocka_unit_test(what_is_no_design_is_refused),
      cmocka_unit_test(the_same_program_runs_under_each),
      with_atomic(a_newborn_is_published),
      with_atomic(all_count_one_object_that_nobody_published),
      with_atomic(whoever_releases_last_destroys_at_once),
      with_atomic(counts_have_one_word),
      cmocka_unit_test(anybody_makes_an_object_immortal),
      with_gil(one_mutator_runs_at_a_time),
      with_gil(who_computes_hands_over_at_safepoints),
      with_gil(threads_come_in_while_others_compute),
      cmocka_unit_test(blocking_regions_let_others_in),
      with_gil(waits_for_object_locks_let_others_in),
      with_gil(a_thread_that_ends_lets_others_in),
      with_gil(private_objects_are_used_by_whoever_runs),
      with_gil(all_count_what_nobody_published),
      with_gil(collections_amid_switches),
      with_gil(critical_sections_across_switches),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
