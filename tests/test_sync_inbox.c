/* SPDX-License-Identifier: MIT */
/* The inbox: anybody puts, one takes all.
 *
 * Claims: a box is empty until something is put in; taking shows every node once, and the shower may free it; nothing is
 * lost or doubled while many put and one takes. Real: liburcu's stack behind the door. */
#include "support/support.h"

#include <sched.h>

#include "sync/inbox.h"

struct letter {
  struct fh__inbox_node node;
  size_t number;
};

static void put(struct fh__inbox *box, size_t number) {
  struct letter *letter = malloc(sizeof *letter);
  require(letter);
  letter->number = number;
  fh__inbox_put(box, &letter->node);
}

static void mark_and_free(void *seen, struct fh__inbox_node *node) {
  struct letter *letter = (struct letter *)(void *)node;
  ((uint8_t *)seen)[letter->number]++;
  free(letter);
}

static void a_box_is_empty_until_something_is_put_in(void **state) {
  struct fh__inbox box;
  uint8_t seen[3] = {0};
  fh__inbox_init(&box);
  assert_true(fh__inbox_is_empty(&box));
  fh__inbox_take_all(&box, mark_and_free, seen);
  for (size_t i = 0; i < 3; i++) put(&box, i);
  assert_false(fh__inbox_is_empty(&box));
  fh__inbox_take_all(&box, mark_and_free, seen);
  assert_true(fh__inbox_is_empty(&box));
  for (size_t i = 0; i < 3; i++) assert_int_equal(seen[i], 1);
}

enum { PUTTERS = 3 };
struct traffic {
  struct fh__inbox box;
  atomic_int running;
  size_t each;
  uint8_t *seen;
};

static void put_or_take(int index, void *argument) {
  struct traffic *traffic = argument;
  if (index < PUTTERS) {
    for (size_t i = 0; i < traffic->each; i++) put(&traffic->box, (size_t)index * traffic->each + i);
    atomic_fetch_sub(&traffic->running, 1);
    return;
  }
  bool last;
  do {
    last = atomic_load(&traffic->running) == 0;
    fh__inbox_take_all(&traffic->box, mark_and_free, traffic->seen);
    sched_yield();
  } while (!last);
}

static void nothing_is_lost_or_doubled_in_traffic(void **state) {
  struct traffic traffic = {.running = PUTTERS, .each = scaled(100000)};
  traffic.seen = calloc(PUTTERS * traffic.each, 1);
  fh__inbox_init(&traffic.box);
  run_bare_threads(PUTTERS + 1, put_or_take, &traffic);
  for (size_t i = 0; i < PUTTERS * traffic.each; i++) assert_int_equal(traffic.seen[i], 1);
  free(traffic.seen);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_box_is_empty_until_something_is_put_in),
      cmocka_unit_test(nothing_is_lost_or_doubled_in_traffic),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
