/* SPDX-License-Identifier: MIT */
/* Objects made by one thread and released by another: through a ring of batches while both run, and all at once while
 * the maker sleeps in a blocking region. */
#include "bench.h"

#include <mimalloc.h>
#include <sched.h>

enum { BATCH = 1000, RING = 8, SLEEPERS_OBJECTS = 1000000, HOUSEKEEPING_NS = 2000000000 };

/* ---- the pipeline ---- */

/* A ring with one producer and one consumer. `made` is written by the producer only, `taken` by the consumer only; each
 * release store pairs with the other's acquire load, and hands the batch over. */
struct pipeline {
  fh_type *small; /* 32 bytes */
  fh_type *large; /* 48 bytes */
  _Alignas(128) atomic_uint_fast64_t made;
  _Alignas(128) atomic_uint_fast64_t taken;
  _Alignas(128) void *batch[RING][BATCH];
};

static void **producer_claim(struct pipeline *pipeline, uint64_t turn) {
  unsigned turns = 0;
  while (turn - atomic_load_explicit(&pipeline->taken, memory_order_acquire) >= RING) wait_turn(&turns);
  return pipeline->batch[turn % RING];
}

static void **consumer_claim(struct pipeline *pipeline, uint64_t turn) {
  unsigned turns = 0;
  while (atomic_load_explicit(&pipeline->made, memory_order_acquire) <= turn) wait_turn(&turns);
  return pipeline->batch[turn % RING];
}

static void produce_objects(struct pipeline *pipeline, uint64_t n) {
  for (uint64_t turn = 0; turn < n; turn++) {
    void **batch = producer_claim(pipeline, turn);
    for (unsigned i = 0; i < BATCH; i++) {
      batch[i] = must_make(i % 2 ? pipeline->large : pipeline->small);
      fh_publish(batch[i]);
    }
    atomic_store_explicit(&pipeline->made, turn + 1, memory_order_release);
    fh_safepoint();
  }
}

static void consume_objects(struct pipeline *pipeline, uint64_t n) {
  for (uint64_t turn = 0; turn < n; turn++) {
    void **batch = consumer_claim(pipeline, turn);
    for (unsigned i = 0; i < BATCH; i++) fh_release(batch[i]);
    atomic_store_explicit(&pipeline->taken, turn + 1, memory_order_release);
    fh_safepoint();
  }
}

/* The first word is written, as every program that allocates would; the rest is left as it comes. */
static void produce_blocks(struct pipeline *pipeline, uint64_t n) {
  for (uint64_t turn = 0; turn < n; turn++) {
    void **batch = producer_claim(pipeline, turn);
    for (unsigned i = 0; i < BATCH; i++) {
      uint64_t *block = mi_malloc(i % 2 ? sizeof(struct parcel) : sizeof(struct node));
      if (!block) die("mi_malloc: no memory");
      *block = i;
      COMPILER_BARRIER();
      batch[i] = block;
    }
    atomic_store_explicit(&pipeline->made, turn + 1, memory_order_release);
  }
}

static void consume_blocks(struct pipeline *pipeline, uint64_t n) {
  for (uint64_t turn = 0; turn < n; turn++) {
    void **batch = consumer_claim(pipeline, turn);
    for (unsigned i = 0; i < BATCH; i++) mi_free(batch[i]);
    atomic_store_explicit(&pipeline->taken, turn + 1, memory_order_release);
  }
}

static void pass_objects(unsigned index, void *context, uint64_t n) {
  if (index == 0)
    produce_objects(context, n);
  else
    consume_objects(context, n);
}

static void pass_blocks(unsigned index, void *context, uint64_t n) {
  if (index == 0)
    produce_blocks(context, n);
  else
    consume_blocks(context, n);
}

static uint64_t run_pipeline(struct pipeline *pipeline, crew_body body, uint64_t n) {
  atomic_store_explicit(&pipeline->made, 0, memory_order_relaxed);
  atomic_store_explicit(&pipeline->taken, 0, memory_order_relaxed);
  return crew_run(2, body, pipeline, n);
}

static uint64_t objects_side(void *context, uint64_t n) { return run_pipeline(context, pass_objects, n); }
static uint64_t blocks_side(void *context, uint64_t n) { return run_pipeline(context, pass_blocks, n); }

static void measure_pipeline(struct result *result) {
  struct pipeline *pipeline = mi_zalloc_aligned(sizeof *pipeline, 128);
  if (!pipeline) die("mi_zalloc_aligned: no memory");
  pipeline->small = must_register(&node_spec);
  pipeline->large = must_register(&parcel_spec);
  const struct comparison comparison = {
      .ours = objects_side, .theirs = blocks_side, .context = pipeline, .operations = BATCH};
  compare(result, &comparison);
  fh_settle();
  expect(fh_type_live(pipeline->small) + fh_type_live(pipeline->large) == 0, "all objects that were passed on are gone");
  mi_free(pipeline);
}

/* ---- the owner that sleeps ---- */

struct sleeper {
  fh_type *type;
  void **object;
  uint64_t left;
  double released_mb;
  double end_mb;
};

static uint64_t limbo_bytes(void) {
  fh_stats stats = {.size = sizeof stats};
  if (fh_stats_get(&stats) != FH_OK) die("fh_stats_get failed");
  return stats.limbo_bytes;
}

/* One call of fh_housekeep must do for the objects; their memory may wait for grace periods. */
static void release_for_sleeper(unsigned index, void *context, uint64_t n) {
  struct sleeper *sleeper = context;
  (void)index;
  for (uint64_t i = 0; i < n; i++) fh_release(sleeper->object[i]);
  sleeper->released_mb = resident_mb();
  fh_housekeep();
  sleeper->left = fh_type_live(sleeper->type);
  const uint64_t begun = now_ns();
  while (limbo_bytes() != 0 && now_ns() - begun < HOUSEKEEPING_NS) {
    fh_housekeep();
    sched_yield();
  }
  fh_housekeep();
  sleeper->end_mb = resident_mb();
}

/* Values: objects left, share of the growth that is left, the growth in MB, bytes still in limbo. */
void child_blocked_owner(double *values, unsigned count) {
  struct sleeper sleeper = {0};
  expect(count >= 4, "there is room for four values");
  must_attach("sleeper");
  sleeper.type = must_register(&parcel_spec);
  sleeper.object = must_allocate(SLEEPERS_OBJECTS * sizeof *sleeper.object);
  const double base_mb = resident_mb();
  for (unsigned i = 0; i < SLEEPERS_OBJECTS; i++) {
    sleeper.object[i] = must_make(sleeper.type);
    fh_publish(sleeper.object[i]);
  }
  double peak_mb = resident_mb();
  crew_run(1, release_for_sleeper, &sleeper, SLEEPERS_OBJECTS);
  if (sleeper.released_mb > peak_mb) peak_mb = sleeper.released_mb;
  values[0] = (double)sleeper.left;
  values[1] = (sleeper.end_mb - base_mb) / (peak_mb - base_mb);
  values[2] = peak_mb - base_mb;
  values[3] = (double)limbo_bytes();
}

static void measure_sleeper(struct result *result, unsigned which) {
  double values[4] = {0};
  result_limit_rounds(result, 3);
  for (unsigned round = 0; round < result->rounds; round++) {
    run_child("blocked_owner", values, 4);
    result_add(result, values[which]);
  }
  snprintf(result->beside, sizeof result->beside, "of %.0f MB, %.0f bytes in limbo", values[2], values[3]);
}

static void measure_left(struct result *result) { measure_sleeper(result, 0); }
static void measure_rss(struct result *result) { measure_sleeper(result, 1); }

const struct figure handoff_figures[] = {
    {"handoff.pipeline_vs_malloc", "x", AT_MOST, 1.5, measure_pipeline},
    {"handoff.blocked_owner_left", "obj", EXACTLY, 0, measure_left},
    {"handoff.blocked_owner_rss", "x", AT_MOST, 0.5, measure_rss},
    {NULL, NULL, REPORTED, 0, NULL},
};
