/* SPDX-License-Identifier: MIT */
/* Claims: two libraries use one runtime, each with its own fh_init and fh_shutdown. Objects of one may be kept by the other, after
 * the one has shut down too; references across them are counted and collected as all others; only the last shutdown ends the
 * runtime, and nothing is left then. Everything here is real. */
#include "users.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 2, THINGS = 1000 };

#define CHECK(what)                                                   \
  do {                                                                \
    if (!(what)) {                                                    \
      fprintf(stderr, "main.c:%d: not true: %s\n", __LINE__, #what); \
      exit(EXIT_FAILURE);                                             \
    }                                                                 \
  } while (0)

/* Every second thing refers back to the shelf that it lies on: a cycle through both libraries. */
static void *fill_shelf(void *unused) {
  (void)unused;
  void *shelf = keeper_shelf();
  CHECK(shelf);
  for (int i = 0; i < THINGS; i++) {
    void *thing = maker_make(i);
    CHECK(thing);
    if (i % 2) maker_bind(thing, shelf);
    CHECK(keeper_put(shelf, thing));
  }
  return shelf;
}

static void *use_both(void *unused) {
  keeper_drop(fill_shelf(unused));
  return NULL;
}

/* `maker_goes_first`: who made the objects shuts down while the other still keeps them. */
static void round_of_both(bool maker_opens_first, bool maker_goes_first) {
  uint64_t leaked = 1;
  CHECK(maker_opens_first ? maker_open() && keeper_open() : keeper_open() && maker_open());

  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) CHECK(!pthread_create(&threads[i], NULL, use_both, NULL));
  for (int i = 0; i < THREADS; i++) CHECK(!pthread_join(threads[i], NULL));

  void *shelf = fill_shelf(NULL);
  CHECK(maker_alive() >= THINGS);
  if (maker_goes_first) {
    CHECK(maker_close());
    CHECK(maker_alive() >= THINGS);
    keeper_drop(shelf);
    CHECK(keeper_close(&leaked));
    CHECK(leaked == 0);
  } else {
    keeper_drop(shelf);
    CHECK(keeper_close(&leaked));
    CHECK(leaked == 0);
    void *last = maker_make(0);
    CHECK(last);
    CHECK(keeper_open()); /* once more, to give the thing back */
    void *shelf_for_one = keeper_shelf();
    CHECK(shelf_for_one && keeper_put(shelf_for_one, last));
    keeper_drop(shelf_for_one);
    CHECK(keeper_close(&leaked) && leaked == 0);
    CHECK(maker_close());
  }
  CHECK(maker_alive() == 0);
  CHECK(!maker_make(0)); /* the runtime is down */
}

int main(void) {
  for (int i = 0; i < 4; i++) round_of_both(i & 1, i & 2);
  puts("works");
  return EXIT_SUCCESS;
}
