/* SPDX-License-Identifier: MIT */
/* What the children of these names do, done with libgc. */
#include "bench.h"

#ifdef BENCH_WITH_LIBGC
#define GC_THREADS
#include <gc/gc.h>
#include <stdlib.h>
#include <string.h>

static void *must_make_collected(size_t bytes) {
  void *made = GC_MALLOC(bytes);
  if (!made) die("GC_MALLOC: no memory");
  return made;
}

/* ---- nodes ---- */

/* As large as a node. */
struct plain {
  uint64_t header[2];
  struct plain *a;
  struct plain *b;
};
_Static_assert(sizeof(struct plain) == sizeof(struct node), "equal size");

static struct plain *make_plain(void) { return must_make_collected(sizeof(struct plain)); }

static struct plain *volatile root[ROOTS]; /* libgc looks here, and nobody else does */

static void make_live(void) {
  struct edges *edges = must_draw_edges();
  struct plain **object = must_allocate(LIVE * sizeof *object);
  GC_disable(); /* it does not look where the objects are noted */
  for (uint32_t i = 0; i < LIVE; i++) object[i] = make_plain();
  for (uint32_t i = 0; i < LIVE; i++) {
    object[i]->a = object[edges[i].to[0]];
    object[i]->b = object[edges[i].to[1]];
  }
  for (uint32_t i = 0; i < ROOTS; i++) root[i] = object[i];
  GC_enable();
}

/* Value: ns an object. */
static void collect_live(double *values, unsigned count) {
  double sample[ROUNDS_DEFAULT];
  expect(count >= 1, "there is room for a value");
  if (setenv("GC_MARKERS", "1", 1)) die("cannot ask libgc for one marker");
  GC_INIT();
  make_live();
  GC_gcollect();
  expect(GC_get_heap_size() - GC_get_free_bytes() >= LIVE * sizeof(struct plain), "libgc finds everything alive");
  for (unsigned i = 0; i < ROUNDS_DEFAULT; i++) {
    const uint64_t begun = now_ns();
    GC_gcollect();
    sample[i] = (double)(now_ns() - begun) / LIVE;
  }
  values[0] = median_of(sample, ROUNDS_DEFAULT);
}

/* Value: ns a pair. */
static void drop_pairs(double *values, unsigned count) {
  expect(count >= 1, "there is room for a value");
  GC_INIT();
  const uint64_t begun = now_ns();
  for (uint32_t i = 0; i < CHURN_PAIRS; i++) {
    struct plain *a = make_plain(), *b = make_plain();
    a->a = b;
    b->a = a;
    COMPILER_BARRIER();
  }
  values[0] = (double)(now_ns() - begun) / CHURN_PAIRS;
}

/* ---- GCBench ---- */

struct tree {
  struct tree *left;
  struct tree *right;
  int i, j;
};
struct numbers {
  uint64_t count;
  double at[];
};

static struct tree *make_tree(void) { return must_make_collected(sizeof(struct tree)); }

static struct numbers *make_numbers(size_t count) {
  const size_t bytes = sizeof(struct numbers) + count * sizeof(double);
  struct numbers *numbers = GC_MALLOC_ATOMIC(bytes);
  if (!numbers) die("GC_MALLOC_ATOMIC: no memory");
  memset(numbers, 0, bytes);
  return numbers;
}

static void set_left(struct tree *tree, struct tree *part) { tree->left = part; }
static void set_right(struct tree *tree, struct tree *part) { tree->right = part; }
static void drop_tree(const struct tree *tree) { (void)tree; }
static void drop_numbers(const struct numbers *numbers) { (void)numbers; }

#include "gcbench.h"

static void *be_gcbench(void *unused) {
  run_gcbench();
  return unused;
}

static double run_threads(unsigned count) {
  pthread_t thread[2];
  const uint64_t begun = now_ns();
  for (unsigned i = 0; i < count; i++)
    if (pthread_create(&thread[i], NULL, be_gcbench, NULL)) die("cannot start a thread");
  for (unsigned i = 0; i < count; i++) pthread_join(thread[i], NULL);
  return (double)(now_ns() - begun) / 1e9;
}

/* Values: seconds, of one thread, and of two. */
static void gcbench(double *values, unsigned count) {
  expect(count >= 2, "there is room for two values");
  GC_INIT();
  for (unsigned threads = 1; threads <= 2; threads++) values[threads - 1] = run_threads(threads);
}

const struct child libgc_children[] = {
    {.name = "libgc_full", .run = collect_live, .without_runtime = true},
    {.name = "libgc_pairs", .run = drop_pairs, .without_runtime = true},
    {.name = "libgc_gcbench", .run = gcbench, .without_runtime = true},
    {.name = NULL},
};
#else
const struct child libgc_children[] = {{.name = NULL}};
#endif
