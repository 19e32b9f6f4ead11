/* SPDX-License-Identifier: MIT */
/* The watchdog: who holds others up is named.
 *
 * Claims: a stop, a grace period and a merge queue that wait longer than the option says are reported through the application's
 * callback, with the straggler's name, number, state and how long, and again when that has doubled; by default in a warning;
 * somebody who blocks in a region is never reported; a thread that waits in a system call is found there; nothing is reported
 * where the watchdog is off. The clock decides nothing: stragglers wait until they are reported. */
#include "support/support.h"

#include <sched.h>
#include <string.h>
#include <time.h>

/* ---- who was reported ---- */

static struct {
  struct gate seen; /* reports so far */
  fh_wait wait;
  char name[32], state[64], where[4096];
  uint64_t waited_ns, waited_before_ns;
} last;

static void note(void *context, const fh_straggler *straggler) {
  require(context == &last);
  require(straggler->mutator > 0 && straggler->thread > 0);
  last.wait = straggler->wait;
  snprintf(last.name, sizeof last.name, "%s", straggler->name);
  snprintf(last.state, sizeof last.state, "%s", straggler->state);
  snprintf(last.where, sizeof last.where, "%s", straggler->where);
  last.waited_before_ns = last.waited_ns;
  last.waited_ns = straggler->waited_ns;
  gate_open(&last.seen, atomic_load(&last.seen.value) + 1);
}

static int setup(void **state) {
  atomic_store(&last.seen.value, 0);
  last.waited_ns = last.waited_before_ns = 0;
  runtime_start(&(fh_options){.watchdog_ms = 10, .straggler = note, .straggler_context = &last, .limbo_batch = 64, .flags = FH_OPTION_GC_OFF});
  return 0;
}

/* ---- stragglers: attached, and waiting outside of a region until they were reported ---- */

static struct {
  struct gate attached;
  int reports; /* that it waits for */
  struct node *node;
} straggler = {.attached = GATE};

static void straggle(void *unused) {
  (void)unused;
  struct node *n = node_new(1);
  fh_publish(n);
  straggler.node = fh_retain(n);
  gate_open(&straggler.attached, 1);
  gate_await_deaf(&last.seen, straggler.reports);
  fh_release(n);
}

static void start(struct companion *companion, int reports) {
  atomic_store(&straggler.attached.value, 0);
  straggler.reports = reports;
  companion_start(companion, straggle, NULL);
  gate_await(&straggler.attached, 1);
}

static void check_report(fh_wait wait) {
  assert_int_equal(last.wait, wait);
  assert_true(last.waited_ns >= 10000000);
  assert_non_null(strstr(last.state, "attached"));
}

static void a_stop_names_whom_it_waits_for(void **state) {
  only_parallel();
  struct companion companion;
  start(&companion, 2);
  fh_collect(2); /* it comes back: the straggler goes on when it was reported twice */
  check_report(FH_WAIT_STOP);
  assert_true(last.waited_ns >= 2 * last.waited_before_ns);
  /* It waited for a condition: if the kernel tells, in a system call that was called from somewhere. */
  if (last.where[0]) assert_true(strstr(last.where, "running") || strstr(last.where, "system call"));
  fh_release(straggler.node);
  companion_join(&companion);
}

static void a_grace_period_names_whom_it_waits_for(void **state) {
  only_parallel();
  struct companion companion;
  start(&companion, 1);
  while (!atomic_load(&last.seen.value)) {
    fh_retire(fh_alloc(100));
    fh_housekeep();
    sched_yield();
  }
  check_report(FH_WAIT_GRACE);
  fh_release(straggler.node);
  companion_join(&companion);
}

enum { HEIRS = 1000 };
static struct node *heir[HEIRS];

static void give_and_straggle(void *unused) {
  (void)unused;
  struct node *kept[HEIRS];
  for (int i = 0; i < HEIRS; i++) {
    kept[i] = node_new((uint64_t)i);
    fh_publish(kept[i]);
    heir[i] = fh_retain(kept[i]);
  }
  gate_open(&straggler.attached, 1);
  gate_await_deaf(&last.seen, 1);
  for (int i = 0; i < HEIRS; i++) fh_release(kept[i]);
}

static void a_merge_queue_names_its_owner(void **state) {
  only_biased();
  const struct timespec moment = {0, 1000000};
  struct companion companion;
  atomic_store(&straggler.attached.value, 0);
  companion_start(&companion, give_and_straggle, NULL);
  gate_await(&straggler.attached, 1);
  for (int i = 0; i < HEIRS; i++) { /* a second at least: a hundred times what is allowed */
    fh_release(heir[i]);             /* to its owner's queue */
    if (!atomic_load(&last.seen.value)) nanosleep(&moment, NULL);
  }
  check_report(FH_WAIT_MERGE);
  companion_join(&companion);
}

static void stay_quiet(void *unused) {
  (void)unused;
  gate_open(&straggler.attached, 1);
  gate_await(&straggler.attached, 2);
}

static void sleepers_are_not_reported(void **state) {
  struct companion companion;
  atomic_store(&straggler.attached.value, 0);
  companion_start(&companion, stay_quiet, NULL);
  gate_await(&straggler.attached, 1);
  for (int i = 0; i < 10; i++) fh_collect(2);
  gate_open(&straggler.attached, 2);
  companion_join(&companion);
}

/* ---- without a callback, and without a watchdog ---- */

static struct heard heard = HEARD;

static void await_warning(void *unused) {
  (void)unused;
  gate_open(&straggler.attached, 1);
  for (bool told = false; !told; sched_yield()) {
    pthread_mutex_lock(&heard.lock);
    told = strstr(heard.text, "a stop has waited") != NULL;
    pthread_mutex_unlock(&heard.lock);
  }
}

static void a_warning_is_logged(void **state) {
  only_parallel();
  runtime_start(&(fh_options){.watchdog_ms = 10, .log = hear, .log_context = &heard});
  struct companion companion;
  atomic_store(&straggler.attached.value, 0);
  companion_start(&companion, await_warning, NULL);
  gate_await(&straggler.attached, 1);
  fh_collect(2);
  companion_join(&companion);
  runtime_stop();
}

static void the_watchdog_may_be_off(void **state) {
  only_parallel();
  atomic_store(&last.seen.value, 0);
  runtime_start(&(fh_options){.watchdog_ms = FH_WATCHDOG_OFF, .straggler = note, .straggler_context = &last});
  fh_collect(2);
  assert_int_equal(atomic_load(&last.seen.value), 0);
  runtime_stop();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_stop_names_whom_it_waits_for, setup, runtime_teardown),
      cmocka_unit_test_setup_teardown(a_grace_period_names_whom_it_waits_for, setup, runtime_teardown),
      cmocka_unit_test_setup_teardown(a_merge_queue_names_its_owner, setup, runtime_teardown),
      cmocka_unit_test_setup_teardown(sleepers_are_not_reported, setup, runtime_teardown),
      cmocka_unit_test(a_warning_is_logged),
      cmocka_unit_test(the_watchdog_may_be_off),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
