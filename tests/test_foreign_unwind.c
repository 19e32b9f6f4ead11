/* SPDX-License-Identifier: MIT */
/* Guards in code that is compiled with -fexceptions, as this file is: there pthread_exit and cancellation unwind the stack
 * and run clean-ups, so every guard ends as at the end of its block. Without that option they are skipped.
 *
 * Claims: FH_AUTO, FH_CRITICAL, FH_BLOCKING, FH_ATTACHED and FH_DEFER end, innermost first, when a thread is ended or cancelled
 * inside of them; nothing stays locked, counted or attached. */
#include "support/support.h"

#include <unistd.h>

static struct node *shared; /* published */
static atomic_int deferred;
static struct gate ready = GATE;

static void count_call(void *unused) { atomic_fetch_add(&deferred, 1); }

static void end_here(void *by_exit) {
  if (by_exit) pthread_exit(NULL);
  gate_open(&ready, 1);
  for (;;) pause();
}

static void end_under_guards(void *by_exit) {
  FH_ATTACHED(status, "guarded");
  require(status == FH_OK);
  FH_DEFER(count_call, NULL);
  FH_AUTO struct node *counted = fh_retain(shared);
  FH_AUTO struct node *own = node_new(1);
  FH_CRITICAL2(shared, own);
  FH_BLOCKING();
  FH_ATTACHED(again, "nested");
  require(again == FH_OK);
  FH_CRITICAL(own);
  FH_NO_SAFEPOINT();
  end_here(by_exit);
}

static void end_in_section(void *by_exit) {
  FH_ATTACHED(status, "section");
  require(status == FH_OK);
  FH_DEFER(count_call, NULL);
  FH_CRITICAL(shared);
  end_here(by_exit);
}

static void take_lock(void *unused) {
  fh_lock(shared);
  fh_unlock(shared);
}

static void end_one(void (*body)(void *), bool by_exit) {
  static char yes;
  struct companion companion;
  void *result = NULL;
  atomic_store(&deferred, 0);
  atomic_store(&ready.value, 0);
  companion_start_bare(&companion, body, by_exit ? &yes : NULL);
  fh_blocking_begin();
  if (!by_exit) {
    gate_await(&ready, 1);
    require(!pthread_cancel(companion.thread));
  }
  require(!pthread_join(companion.thread, &result));
  require(fh_blocking_end() == FH_OK);
  assert_ptr_equal(result, by_exit ? NULL : PTHREAD_CANCELED);
  assert_int_equal(atomic_load(&deferred), 1);
  assert_int_equal(stats_now().attached, 1);
  assert_int_equal(fh_refcount(shared), 1);
  companion_start(&companion, take_lock, NULL);
  companion_join(&companion);
  fh_housekeep();
  assert_int_equal(fh_type_live(node_type()), 1);
}

static void guards_end(bool by_exit) {
  shared = node_new(1);
  fh_publish(shared);
  end_one(end_under_guards, by_exit);
  end_one(end_in_section, by_exit);
  fh_release(shared);
}

static void guards_end_where_a_thread_exits(void **state) { guards_end(true); }
static void guards_end_where_a_thread_is_cancelled(void **state) {
  only_parallel(); /* it waits attached to be cancelled, and would keep everybody else out */
  guards_end(false);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(guards_end_where_a_thread_exits),
      with_runtime(guards_end_where_a_thread_is_cancelled),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
