/* SPDX-License-Identifier: MIT */
/* Automatic collections at work: pairs that are dropped at once and that only the collector can free, and a heap that grows.
 * Pairs are compared with mimalloc by hand, whose user frees both at once, and with libgc. */
#include "bench.h"

#include <mimalloc.h>

enum { SLICE_PAIRS = CHURN_PAIRS / 2, LARGE_HEAP = 5000000, SMALL_HEAP = LARGE_HEAP / 10, PAIRS_A_LOOK = 100 };

static void churn(fh_type *type, uint32_t pairs) {
  for (uint32_t i = 0; i < pairs; i++) {
    drop_pair(type);
    fh_safepoint();
  }
}

/* ---- against mimalloc ---- */

static uint64_t churn_side(void *context, uint64_t n) {
  const uint64_t begun = now_ns();
  (void)n;
  churn(context, SLICE_PAIRS);
  return now_ns() - begun;
}

static struct node *make_by_hand(void) {
  struct node *made = mi_malloc(sizeof *made);
  if (!made) die("mi_malloc: no memory");
  *made = (struct node){.a = NULL};
  return made;
}

static uint64_t by_hand_side(void *context, uint64_t n) {
  const uint64_t begun = now_ns();
  (void)context;
  (void)n;
  for (uint32_t i = 0; i < SLICE_PAIRS; i++) {
    struct node *a = make_by_hand(), *b = make_by_hand();
    a->a = b;
    b->a = a;
    COMPILER_BARRIER();
    mi_free(a);
    mi_free(b);
  }
  return now_ns() - begun;
}

static void measure_churn_vs_malloc(struct result *result) {
  const struct comparison comparison = {.ours = churn_side,
                                        .theirs = by_hand_side,
                                        .context = must_register(&node_spec),
                                        .operations = SLICE_PAIRS,
                                        .fixed = 1};
  result_limit_rounds(result, 5);
  compare(result, &comparison);
  fh_collect(2);
}

/* ---- against libgc, and what stays resident ---- */

/* Values: ns a pair; resident MB at the end, and against the first tenth. */
void child_pairs(double *values, unsigned count) {
  fh_type *type = must_register(&node_spec);
  expect(count >= 3, "there is room for three values");
  must_attach("child");
  const uint64_t begun = now_ns();
  churn(type, CHURN_PAIRS / 10);
  const double tenth_mb = resident_mb();
  churn(type, CHURN_PAIRS - CHURN_PAIRS / 10);
  values[0] = (double)(now_ns() - begun) / CHURN_PAIRS;
  values[1] = resident_mb();
  values[2] = values[1] / tenth_mb;
  fh_collect(2);
  fh_detach();
}

static void measure_churn_vs_libgc(struct result *result) {
  result_limit_rounds(result, 5);
  compare_with_libgc(result, "pairs", "ns a pair");
}

static void measure_resident(struct result *result, unsigned which) {
  double values[3];
  result_limit_rounds(result, 3);
  for (unsigned round = 0; round < result->rounds; round++) {
    run_child("pairs", values, 3);
    result_add(result, values[which]);
  }
}

static void measure_churn_rss(struct result *result) { measure_resident(result, 1); }
static void measure_churn_drift(struct result *result) { measure_resident(result, 2); }

/* ---- pauses ---- */

static fh_histogram pauses(void) {
  fh_stats stats = {.size = sizeof stats};
  if (fh_stats_get(&stats) != FH_OK) die("fh_stats_get failed");
  return stats.time_stopped;
}

/* Values: the longest pause, and how many there were. The histogram knows the longest one since the runtime began, which
 * was the one that made the million old; so each is looked at as it comes: as what it added to the sum. */
void child_pairs_beside_live(double *values, unsigned count) {
  struct live live;
  fh_type *type = must_register(&node_spec);
  struct edges *edges = must_draw_edges();
  expect(count >= 2, "there is room for two values");
  must_attach("child");
  fh_gc_disable();
  live_init(&live, edges);
  mi_free(edges);
  fh_collect(2);
  fh_gc_enable();
  const fh_histogram first = pauses();
  fh_histogram before = first;
  for (uint32_t i = 0; i < CHURN_PAIRS; i += PAIRS_A_LOOK) {
    churn(type, PAIRS_A_LOOK);
    const fh_histogram after = pauses();
    const double pause_ms = (double)(after.total_ns - before.total_ns) / 1e6;
    if (pause_ms > values[0]) values[0] = pause_ms;
    before = after;
  }
  values[1] = (double)(before.count - first.count);
  live_finish(&live);
  fh_detach();
}

static void measure_churn_pause(struct result *result) {
  double values[2];
  result_limit_rounds(result, 5);
  for (unsigned round = 0; round < result->rounds; round++) {
    run_child("pairs_beside_live", values, 2);
    result_add(result, values[0]);
  }
  snprintf(result->beside, sizeof result->beside, "the longest of %.0f", values[1]);
}

/* ---- growth ---- */

struct growing {
  fh_type *type;
  struct node *object[LARGE_HEAP];
};

/* A binary tree, filled from the root down. Its end is not timed, and the triggers forget it. */
static uint64_t grow(struct growing *growing, uint32_t size) {
  struct node **object = growing->object;
  const uint64_t begun = now_ns();
  object[0] = must_make(growing->type);
  for (uint32_t i = 1; i < size; i++) {
    object[i] = must_make(growing->type);
    if (i % 2)
      fh_give(object[i / 2], a, object[i]);
    else
      fh_give(object[i / 2 - 1], b, object[i]);
    fh_safepoint();
  }
  const uint64_t spent = now_ns() - begun;
  fh_release(object[0]);
  fh_collect(2);
  expect(fh_type_live(growing->type) == 0, "the heap is empty again");
  return spent;
}

static uint64_t large_side(void *context, uint64_t n) {
  (void)n;
  return grow(context, LARGE_HEAP);
}

static uint64_t small_side(void *context, uint64_t n) {
  uint64_t spent = 0;
  (void)n;
  for (uint32_t made = 0; made < LARGE_HEAP; made += SMALL_HEAP) spent += grow(context, SMALL_HEAP);
  return spent;
}

static void measure_growth(struct result *result) {
  struct growing *growing = must_allocate(sizeof *growing);
  const struct comparison comparison = {
      .ours = large_side, .theirs = small_side, .context = growing, .operations = LARGE_HEAP, .fixed = 1};
  growing->type = must_register(&node_spec);
  result_limit_rounds(result, 3);
  compare(result, &comparison);
  mi_free(growing);
}

const struct figure churn_figures[] = {
    {"gc.churn_vs_malloc", "x", AT_MOST, 2.2, measure_churn_vs_malloc},
    {"gc.churn_vs_libgc", "x", AT_MOST, 1.0, measure_churn_vs_libgc},
    {"gc.churn_rss_mb", "MB", AT_MOST, 12, measure_churn_rss},
    {"gc.churn_rss_drift", "x", AT_MOST, 1.1, measure_churn_drift},
    {"gc.churn_max_pause_ms", "ms", AT_MOST, 5, measure_churn_pause},
    {"gc.growth_linear", "x", AT_MOST, 1.3, measure_growth},
    {NULL, NULL, REPORTED, 0, NULL},
};
