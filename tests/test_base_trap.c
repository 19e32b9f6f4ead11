/* SPDX-License-Identifier: MIT */
/* What the runtime says, how it ends a program, and how it sleeps.
 *
 * Claims: messages go to the embedder's function with its context and level, or as one line to standard error; long ones are
 * cut, not lost; a trap says its message and aborts; an invariant's trap names it; a futex returns at once if the word
 * differs, after its time, and when it is woken. Real: everything. */
#include "support/support.h"

#include <limits.h>
#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/futex.h"
#include "base/trap.h"

static struct {
  fh_log_level level;
  void *context;
  char text[2048];
} last;

static void remember(void *context, fh_log_level level, const char *message) {
  last.level = level;
  last.context = context;
  snprintf(last.text, sizeof last.text, "%s", message);
}

static void messages_go_to_the_embedder(void **state) {
  int context;
  fh__log_to(remember, &context);
  fh__log(FH_LOG_INFO, "number %d", 7);
  fh__log_to(NULL, NULL);
  assert_string_equal(last.text, "number 7");
  assert_int_equal(last.level, FH_LOG_INFO);
  assert_ptr_equal(last.context, &context);
}

static void long_messages_are_cut(void **state) {
  char text[3000];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = 0;
  fh__log_to(remember, NULL);
  fh__log(FH_LOG_WARNING, "%s", text);
  fh__log_to(NULL, NULL);
  assert_int_equal(strlen(last.text), 1023);
}

static void say_something(void) { fh__log(FH_LOG_ERROR, "line %d", 1); }

static void without_an_embedder_it_is_standard_error(void **state) {
  struct outcome outcome;
  child_run(say_something, &outcome);
  assert_int_equal(outcome.signal, 0);
  assert_string_equal(outcome.text, "line 1\n");
}

static void trap_with_a_listener(void) {
  fh__log_to(remember, NULL);
  fh__trap("nobody writes this");
}
static void trap_plainly(void) { fh__trap("freehold: %s broke", "something"); }
static void break_an_invariant(void) { FH__ASSERT(1 + 1 == 3, "some.invariant"); }

static void a_trap_says_its_message_and_aborts(void **state) {
  expect_trap(trap_plainly, "freehold: something broke\n", NULL);
  struct outcome outcome;
  child_run(trap_with_a_listener, &outcome);
  assert_int_equal(outcome.signal, SIGABRT);
  assert_null(strstr(outcome.text, "nobody writes this")); /* the listener had it */
}

static void a_broken_invariant_is_named_in_checked_builds(void **state) {
  if (FH__CHECKED)
    expect_trap(break_an_invariant, "[some.invariant]", "1 + 1 == 3", "test_base_trap.c", NULL);
  else
    expect_fine(break_an_invariant);
}

/* ---- sleeping ---- */

static void a_futex_returns_at_once_if_the_word_differs(void **state) {
  uint32_t word = 1;
  fh__futex_wait(&word, 2, 0);
  assert_int_equal(word, 1);
}

static void a_futex_returns_after_its_time(void **state) {
  enum { NS = 2000000 };
  uint32_t word = 1;
  uint64_t began = fh__clock_ns();
  while (fh__clock_ns() - began < NS) fh__futex_wait(&word, 1, NS); /* it may return early for no reason */
  assert_true(fh__clock_ns() - began >= NS);
}

static void wake(void *argument) {
  uint32_t *word = argument;
  __atomic_store_n(word, 2, __ATOMIC_SEQ_CST);
  fh__futex_wake(word, INT_MAX);
}

static void a_futex_is_woken(void **state) {
  uint32_t word = 1;
  struct companion companion;
  companion_start_bare(&companion, wake, &word);
  while (__atomic_load_n(&word, __ATOMIC_SEQ_CST) == 1) fh__futex_wait(&word, 1, 0);
  companion_join(&companion);
  assert_int_equal(word, 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(messages_go_to_the_embedder),
      cmocka_unit_test(long_messages_are_cut),
      cmocka_unit_test(without_an_embedder_it_is_standard_error),
      cmocka_unit_test(a_trap_says_its_message_and_aborts),
      cmocka_unit_test(a_broken_invariant_is_named_in_checked_builds),
      cmocka_unit_test(a_futex_returns_at_once_if_the_word_differs),
      cmocka_unit_test(a_futex_returns_after_its_time),
      cmocka_unit_test(a_futex_is_woken),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
