/* SPDX-License-Identifier: MIT */
/* Callbacks of collections: fh_gc_callback_add, fh_gc_callback_remove.
 *
 * Claims: each is told of the start and of the end of every collection, by hand and by itself, in the order of adding, with the
 * figures that the statistics have; the world runs meanwhile, and all but a collection may be done; a pair that was added twice is
 * called twice; after a remove no call is under way and none begins, whatever other threads do, but a remove from inside of a
 * callback does not wait; a callback may remove itself, stop the world, end its thread; a fork does not wait for calls of threads
 * that it has lost. */
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/support.h"

/* What a callback has heard. */
struct record {
  size_t count;
  fh_gc_event event[16];
};
static void note(void *context, const fh_gc_event *event) {
  struct record *record = context;
  if (record->count < 16) record->event[record->count] = *event;
  record->count++;
}
static void ignore(void *context, const fh_gc_event *event) {}

/* ---- what they are told ---- */

static void start_and_end_are_told(void **state) {
  struct record record = {0};
  assert_int_equal(fh_gc_callback_add(note, &record), FH_OK);
  struct node *alive = node_new(3);
  for (int generation = 0; generation < 3; generation++) {
    record.count = 0;
    fh_release(node_ring(2));
    assert_int_equal((int)fh_collect(generation), 2);
    assert_true(record.count == 2);
    const fh_gc_event *start = &record.event[0], *end = &record.event[1];
    assert_true(start->phase == FH_GC_START && end->phase == FH_GC_END);
    assert_true(start->generation == generation && end->generation == generation);
    assert_true(start->scanned == 0 && start->total_ns == 0);
    assert_true(end->scanned == 3 && end->found == 2 && end->resurrected == 0 && end->uncollectable == 0 && end->saved == 0 && !end->failed);
    assert_true(end->pause_ns > 0 && end->total_ns >= end->pause_ns + end->time_to_stop_ns);
  }
  assert_int_equal(fh_gc_callback_remove(note, &record), FH_OK);
  fh_collect(2);
  assert_true(record.count == 2);
  fh_release(alive);
}

static void collect_by_itself(void) {
  struct record record = {0};
  runtime_start(&(fh_options){.gc_threshold = 2000});
  require(fh_gc_callback_add(note, &record) == FH_OK);
  uint64_t before = stats_now().collections;
  for (int i = 0; i < 5000 && record.count < 2; i++) {
    fh_release(node_ring(2));
    fh_safepoint();
  }
  require(record.count >= 2 && record.event[0].phase == FH_GC_START && record.event[1].phase == FH_GC_END);
  require(record.event[0].generation == record.event[1].generation);
  require(record.count == 2 * (stats_now().collections - before));
  runtime_stop(); /* removes it */
}

static void collections_that_start_by_themselves_are_told(void **state) { collect_by_itself(); }

static char order[16];
static void put(void *context, const fh_gc_event *event) { strcat(order, context); }

static void they_are_called_in_the_order_of_adding(void **state) {
  static char a[] = "a", b[] = "b";
  order[0] = 0;
  assert_int_equal(fh_gc_callback_add(put, a), FH_OK);
  assert_int_equal(fh_gc_callback_add(put, b), FH_OK);
  assert_int_equal(fh_gc_callback_add(put, a), FH_OK);
  fh_collect(0);
  assert_string_equal(order, "abaaba");
  assert_int_equal(fh_gc_callback_remove(put, a), FH_OK); /* the older one */
  order[0] = 0;
  fh_collect(0);
  assert_string_equal(order, "baba");
  assert_int_equal(fh_gc_callback_remove(put, a), FH_OK);
  assert_int_equal(fh_gc_callback_remove(put, a), FH_ENOTFOUND);
  assert_int_equal(fh_gc_callback_remove(put, b), FH_OK);
}

static void what_cannot_be_is_refused(void **state) {
  assert_int_equal(fh_gc_callback_add(NULL, NULL), FH_EINVAL);
  assert_int_equal(fh_gc_callback_remove(ignore, NULL), FH_ENOTFOUND);
  runtime_teardown(state);
  assert_int_equal(fh_gc_callback_add(ignore, NULL), FH_ESHUTDOWN);
  assert_int_equal(fh_gc_callback_remove(ignore, NULL), FH_ESHUTDOWN);
  runtime_setup(state);
  assert_int_equal(fh_gc_callback_remove(ignore, NULL), FH_ENOTFOUND);
}

/* ---- what they may do ---- */

static unsigned calls;
static void do_much(void *context, const fh_gc_event *event) {
  calls++;
  fh_release(node_ring(2));
  struct node *n = node_new(9);
  fh_publish(n);
  fh_release(n);
  require(fh_collect(2) == 0); /* does not nest */
  require(fh_check_heap() == FH_OK);
  fh_blocking_begin();
  (void)fh_blocking_end();
  fh_housekeep();
}

static void a_callback_may_do_much(void **state) {
  calls = 0;
  assert_int_equal(fh_gc_callback_add(do_much, NULL), FH_OK);
  assert_int_equal((int)fh_collect(2), 2); /* what it made at the start */
  assert_int_equal(calls, 2);
  assert_int_equal(fh_gc_callback_remove(do_much, NULL), FH_OK);
  assert_int_equal((int)fh_collect(2), 2);
}

static void remove_itself(void *context, const fh_gc_event *event) {
  calls++;
  require(fh_gc_callback_remove(remove_itself, context) == FH_OK);
  require(fh_gc_callback_remove(remove_itself, context) == FH_ENOTFOUND);
}

static void a_callback_may_remove_itself(void **state) {
  calls = 0;
  assert_int_equal(fh_gc_callback_add(remove_itself, NULL), FH_OK);
  fh_collect(0);
  fh_collect(0);
  assert_int_equal(calls, 1);
}

static void add_another(void *context, const fh_gc_event *event) {
  if (event->phase == FH_GC_START) require(fh_gc_callback_add(note, context) == FH_OK);
}

static void one_that_is_added_meanwhile_hears_of_the_next(void **state) {
  struct record record = {0};
  assert_int_equal(fh_gc_callback_add(add_another, &record), FH_OK);
  fh_collect(0);
  assert_true(record.count == 0);
  assert_int_equal(fh_gc_callback_remove(add_another, &record), FH_OK);
  fh_collect(0);
  assert_true(record.count == 2);
  assert_int_equal(fh_gc_callback_remove(note, &record), FH_OK);
}

/* ---- removing while others call ---- */

static struct gate entered = GATE, leave = GATE;
static atomic_int left;

static void stay(void *context, const fh_gc_event *event) {
  if (event->phase == FH_GC_END) return;
  gate_open(&entered, 1);
  gate_await(&leave, 1);
  for (int i = 0; i < 100; i++) give_way(); /* whoever does not wait is gone by now */
  require(fh_check_heap() == FH_OK);        /* the world can be stopped: the remover waits off line */
  atomic_store(&left, 1);
}
static void collect_once(void *unused) { fh_collect(2); }

static void reset_gates(void) {
  atomic_store(&entered.value, 0);
  atomic_store(&leave.value, 0);
  atomic_store(&left, 0);
}

static void remove_while_it_is_called(bool attached) {
  struct companion companion;
  reset_gates();
  require(fh_gc_callback_add(stay, NULL) == FH_OK);
  companion_start(&companion, collect_once, NULL);
  gate_await(&entered, 1);
  if (!attached) fh_detach();
  gate_open(&leave, 1);
  require(fh_gc_callback_remove(stay, NULL) == FH_OK);
  require(atomic_load(&left) == 1);
  if (!attached) require(fh_attach("main") == FH_OK);
  companion_join(&companion);
}

static void remove_waits_for_a_call_that_is_under_way(void **state) {
  remove_while_it_is_called(true);
  remove_while_it_is_called(false);
}

/* Two callbacks that remove each other, on two threads at once: neither waits. */
static pthread_barrier_t both_inside;
static _Thread_local int number;
static char pair[2];

static void remove_other(void *context, const fh_gc_event *event) {
  if (event->phase == FH_GC_END || context != &pair[number]) return;
  meet(&both_inside);
  require(fh_gc_callback_remove(remove_other, &pair[!number]) == FH_OK);
  meet(&both_inside); /* so that the other one's call was under way all the time */
}
static void collect_with_number(int index, void *unused) {
  number = index;
  fh_collect(0);
}

static void callbacks_that_remove_each_other_do_not_wait(void **state) {
  pthread_barrier_init(&both_inside, NULL, 2);
  for (int i = 0; i < 2; i++) assert_int_equal(fh_gc_callback_add(remove_other, &pair[i]), FH_OK);
  run_threads(2, collect_with_number, NULL);
  for (int i = 0; i < 2; i++) assert_int_equal(fh_gc_callback_remove(remove_other, &pair[i]), FH_ENOTFOUND);
  pthread_barrier_destroy(&both_inside);
}

/* Threads add and remove callbacks of their own while others collect. What a callback looks at is gone when its remove returns. */
static atomic_int workers;
static void look_at_it(void *context, const fh_gc_event *event) {
  const uint64_t *life = context;
  require(*life == 42); /* plain: a call that is still under way after the remove is a race */
}

static void add_and_remove(int index, void *unused) {
  if (index < 2) {
    for (size_t i = 0; i < scaled(400) + 20; i++) {
      uint64_t *life = malloc(sizeof *life);
      require(life);
      *life = 42;
      require(fh_gc_callback_add(look_at_it, life) == FH_OK);
      give_way();
      if (i % 3 == 0) fh_collect(0);
      require(fh_gc_callback_remove(look_at_it, life) == FH_OK);
      *life = 0;
      free(life);
    }
    atomic_fetch_add(&workers, 1);
  } else {
    while (atomic_load(&workers) < 2) {
      fh_release(node_ring(2));
      fh_collect(0);
      fh_safepoint();
    }
  }
}

static void removing_races_with_calling(void **state) {
  atomic_store(&workers, 0);
  run_threads(4, add_and_remove, NULL);
}

/* ---- threads that end inside ---- */

static void end_thread(void *context, const fh_gc_event *event) {
  if (event->phase == *(fh_gc_phase *)context) pthread_exit(NULL);
}

/* Not a thread of the support's, which detaches by itself. */
static void *attach_and_collect(void *unused) {
  require(fh_attach("ends inside") == FH_OK);
  fh_collect(2);
  require(!"reached");
  return NULL;
}

static void a_callback_may_end_its_thread(void **state) {
  for (fh_gc_phase phase = FH_GC_START; phase <= FH_GC_END; phase++) {
    pthread_t thread;
    assert_int_equal(fh_gc_callback_add(end_thread, &phase), FH_OK);
    require(!pthread_create(&thread, NULL, attach_and_collect, NULL));
    fh_blocking_begin();
    pthread_join(thread, NULL);
    (void)fh_blocking_end();
    assert_int_equal(fh_gc_callback_remove(end_thread, &phase), FH_OK); /* waits for nobody */
    fh_release(node_ring(2));
    assert_int_equal((int)fh_collect(2), 2);
  }
}

static void stay_in_parent(void *context, const fh_gc_event *event) {
  if (event->phase == FH_GC_END) return;
  gate_open(&entered, 1);
  gate_await(&leave, 1);
}

static void a_child_waits_for_no_lost_call(void **state) {
  struct companion companion;
  reset_gates();
  assert_int_equal(fh_gc_callback_add(stay_in_parent, NULL), FH_OK);
  companion_start(&companion, collect_once, NULL);
  gate_await(&entered, 1);
  pid_t child = fork();
  assert_true(child >= 0);
  if (!child) {
    alarm(60);
    _exit(fh_gc_callback_remove(stay_in_parent, NULL) == FH_OK && fh_check_heap() == FH_OK ? 0 : 1);
  }
  int status;
  assert_true(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  gate_open(&leave, 1);
  companion_join(&companion);
  assert_int_equal(fh_gc_callback_remove(stay_in_parent, NULL), FH_OK);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime_gc_off(start_and_end_are_told),
      cmocka_unit_test(collections_that_start_by_themselves_are_told),
      with_runtime_gc_off(they_are_called_in_the_order_of_adding),
      with_runtime_gc_off(what_cannot_be_is_refused),
      with_runtime_gc_off(a_callback_may_do_much),
      with_runtime_gc_off(a_callback_may_remove_itself),
      with_runtime_gc_off(one_that_is_added_meanwhile_hears_of_the_next),
      with_runtime_gc_off(remove_waits_for_a_call_that_is_under_way),
      with_runtime_gc_off(callbacks_that_remove_each_other_do_not_wait),
      with_runtime_gc_off(removing_races_with_calling),
      with_runtime_gc_off(a_callback_may_end_its_thread),
      with_runtime_gc_off(a_child_waits_for_no_lost_call),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
