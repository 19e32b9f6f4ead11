/* SPDX-License-Identifier: MIT */
/* The crew: threads that wait for the world help with what the stop does.
 *
 * Claims: a parked thread joins a run, and so does one that waits to attach; no more than the limit work at once, each with a number of its
 * own; when a run is over nobody is inside [crew.run], and nobody joins it any more; whoever sleeps is woken for a run.
 * Real: the whole runtime; the world is stopped by the test. Gates order the threads; nothing is decided by time. */
#include "support/inside.h"

#include "ref/merge.h"
#include "sync/crew.h"
#include "sync/stop.h"

enum { THREADS = 3, WORKERS = THREADS + 1 };

static int setup(void **state) {
  runtime_start(&(fh_options){.flags = FH_OPTION_GC_OFF, .gc_workers = WORKERS});
  return 0;
}

/* ---- threads that reach safepoints, until they are let go ---- */

static struct gate ready, leave;

static void poll_until_let_go(void *number) {
  gate_open(&ready, *(const int *)number);
  gate_await_running(&leave, 1);
}

/* ---- a run that everybody takes part in ---- */

struct meeting {
  uint32_t inside, most; /* atomic */
  uint32_t seen;         /* atomic: a bit for each worker */
  uint32_t wanted;
};

/* Until so many have. */
static void stay_until_all_came(void *context, uint32_t worker) {
  struct meeting *meeting = context;
  require(worker < meeting->wanted);
  require(!(__atomic_fetch_or(&meeting->seen, 1u << worker, __ATOMIC_SEQ_CST) & 1u << worker));
  uint32_t inside = __atomic_add_fetch(&meeting->inside, 1, __ATOMIC_SEQ_CST), most = __atomic_load_n(&meeting->most, __ATOMIC_SEQ_CST);
  while (inside > most && !__atomic_compare_exchange_n(&meeting->most, &most, inside, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
  }
  while ((uint32_t)__builtin_popcount(__atomic_load_n(&meeting->seen, __ATOMIC_SEQ_CST)) < meeting->wanted) sched_yield();
  __atomic_sub_fetch(&meeting->inside, 1, __ATOMIC_SEQ_CST);
}

static void start_companions(struct companion *companion) {
  ready = leave = (struct gate)GATE;
  for (int number = 1; number <= THREADS; number++) {
    companion_start(&companion[number - 1], poll_until_let_go, &number);
    gate_await(&ready, number);
  }
}

static void join_companions(struct companion *companion) {
  gate_open(&leave, 1);
  for (int i = 0; i < THREADS; i++) companion_join(&companion[i]);
}

static void whoever_waits_is_woken_for_a_run(void **state) {
  if (fh_design_get() == FH_DESIGN_GIL) skip(); /* the others wait for the lock, not for the world */
  struct companion companion[THREADS];
  start_companions(companion);
  for (size_t round = scaled(200); round; round--) {
    struct meeting meeting = {.wanted = WORKERS};
    stop_world();
    for (int run = 0; run < 3; run++) { /* they sleep between the runs, or not yet */
      meeting.seen = 0;
      fh__crew_run(WORKERS, stay_until_all_came, &meeting);
      require(meeting.inside == 0 && meeting.seen == (1u << WORKERS) - 1);
    }
    resume_world();
    require(meeting.most == WORKERS);
  }
  join_companions(companion);
}

static void no_more_than_the_limit_work(void **state) {
  if (fh_design_get() == FH_DESIGN_GIL) skip();
  struct companion companion[THREADS];
  start_companions(companion);
  for (size_t round = scaled(200); round; round--) {
    struct meeting meeting = {.wanted = 2};
    stop_world();
    fh__crew_run(2, stay_until_all_came, &meeting);
    resume_world();
    require(meeting.seen == 3);
  }
  join_companions(companion);
}

/* ---- what is over, is over ---- */

struct chunk_of_work {
  uint32_t next; /* atomic */
  uint32_t inside; /* atomic */
  bool open;     /* atomic: the requester waits */
};

static void take_some(void *context, uint32_t worker) {
  struct chunk_of_work *work = context;
  __atomic_add_fetch(&work->inside, 1, __ATOMIC_SEQ_CST);
  while (__atomic_fetch_add(&work->next, 1, __ATOMIC_RELAXED) < 20) require(__atomic_load_n(&work->open, __ATOMIC_RELAXED));
  __atomic_sub_fetch(&work->inside, 1, __ATOMIC_SEQ_CST);
}

static void nobody_is_inside_after_a_run(void **state) {
  struct companion companion[THREADS];
  start_companions(companion);
  for (size_t round = scaled(2000); round; round--) {
    struct chunk_of_work work = {.open = true};
    stop_world();
    fh__crew_run(WORKERS, take_some, &work);
    require(work.inside == 0 && work.next >= 20);
    work.open = false;
    require(!fh__crew_help());
    resume_world();
  }
  join_companions(companion);
}

static void alone_it_works_as_well(void **state) {
  struct chunk_of_work work = {.open = true};
  require(!fh__crew_help()); /* nothing to join */
  stop_world();
  fh__crew_run(WORKERS, take_some, &work);
  resume_world();
  assert_int_equal(work.next, 21);
}

#define in_a_runtime(test) cmocka_unit_test_setup_teardown(test, setup, runtime_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      in_a_runtime(whoever_waits_is_woken_for_a_run),
      in_a_runtime(no_more_than_the_limit_work),
      in_a_runtime(nobody_is_inside_after_a_run),
      in_a_runtime(alone_it_works_as_well),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
