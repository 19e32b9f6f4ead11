/* SPDX-License-Identifier: MIT */
/* What an object costs: its header, making and releasing it, and whether two threads get in each other's way. */
#include "bench.h"

#include <mimalloc.h>
#include <string.h>

enum { IN_A_ROW = 1000 };

struct making {
  fh_type *type;
  void *block[2][IN_A_ROW]; /* a row for each thread */
  char apart[64];           /* so that the end of one row shares no line with what follows */
};

/* `n` rows: a thousand objects are made, then a thousand are released. */
static __attribute__((noinline)) void make_and_release(fh_type *type, void **row, uint64_t n) {
  for (uint64_t turn = 0; turn < n; turn++) {
    for (unsigned i = 0; i < IN_A_ROW; i++) row[i] = must_make(type);
    for (unsigned i = 0; i < IN_A_ROW; i++) fh_release(row[i]);
  }
}

static __attribute__((noinline)) void allocate_and_free(void **row, uint64_t n) {
  for (uint64_t turn = 0; turn < n; turn++) {
    for (unsigned i = 0; i < IN_A_ROW; i++) {
      row[i] = mi_malloc(sizeof(struct node));
      if (!row[i]) die("mi_malloc: no memory");
      memset(row[i], 0, sizeof(struct node));
      COMPILER_BARRIER(); /* or the zeroing of what is freed anyway could go */
    }
    for (unsigned i = 0; i < IN_A_ROW; i++) mi_free(row[i]);
  }
}

static uint64_t make_side(void *context, uint64_t n) {
  struct making *making = context;
  const uint64_t begun = now_ns();
  make_and_release(making->type, making->block[0], n);
  return now_ns() - begun;
}

static uint64_t malloc_side(void *context, uint64_t n) {
  struct making *making = context;
  const uint64_t begun = now_ns();
  allocate_and_free(making->block[0], n);
  return now_ns() - begun;
}

static void be_maker(unsigned index, void *context, uint64_t n) {
  struct making *making = context;
  make_and_release(making->type, making->block[index], n);
}

/* The same number of rows, by one thread or shared by two: the ratio of the times is that of the throughputs. */
static uint64_t one_thread_side(void *context, uint64_t n) { return crew_run(1, be_maker, context, 2 * n); }
static uint64_t two_threads_side(void *context, uint64_t n) { return crew_run(2, be_maker, context, n); }

static void measure_header(struct result *result) { result_add(result, (double)sizeof(fh_object)); }

static void compare_making(struct result *result, side_function ours, side_function theirs, double rows) {
  struct making *making = must_allocate(sizeof *making);
  making->type = must_register(&node_spec);
  const struct comparison comparison = {
      .ours = ours, .theirs = theirs, .context = making, .operations = rows * IN_A_ROW};
  compare(result, &comparison);
  expect(fh_type_live(making->type) == 0, "all objects that were made are gone");
  mi_free(making);
}

static void measure_make_release(struct result *result) { compare_making(result, make_side, malloc_side, 1); }
static void measure_scaling(struct result *result) { compare_making(result, one_thread_side, two_threads_side, 2); }

const struct figure object_figures[] = {
    {"object.header_bytes", "B", EXACTLY, 16, measure_header},
    {"object.make_release_vs_malloc", "x", AT_MOST, 1.8, measure_make_release},
    {"object.scaling_2", "x", AT_LEAST, 1.8, measure_scaling},
    {NULL, NULL, REPORTED, 0, NULL},
};
