/* SPDX-License-Identifier: MIT */
/* What it costs to be a mutator: blocking regions, attaching, and what ten thousand short-lived threads leave behind. */
#include "bench.h"

enum { THREADS_A_UNIT = 16, CHURN_THREADS = 10000, AT_A_TIME = 8, CHURN_OBJECTS = 1000, CHURN_LEFT = 10 };

/* ---- blocking regions ---- */

static uint64_t blocking_side(void *context, uint64_t n) {
  (void)context;
  const uint64_t begun = now_ns();
  for (uint64_t turn = 0; turn < n; turn++) {
    fh_blocking_begin();
    COMPILER_BARRIER();
    fh_blocking_end();
  }
  return now_ns() - begun;
}

static uint64_t atomic_side(void *context, uint64_t n) {
  atomic_uint *count = context;
  const uint64_t begun = now_ns();
  for (uint64_t turn = 0; turn < n; turn++) {
    atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
    COMPILER_BARRIER();
    if (atomic_fetch_sub_explicit(count, 1, memory_order_acq_rel) == 1) die("an atomic count fell to zero");
  }
  return now_ns() - begun;
}

static void measure_blocking(struct result *result) {
  atomic_uint count = 1;
  const struct comparison comparison = {
      .ours = blocking_side, .theirs = atomic_side, .context = &count, .operations = 1};
  compare(result, &comparison);
}

/* ---- attaching ---- */

static void *attach_in_thread(void *argument) {
  uint64_t *spent = argument;
  const uint64_t begun = now_ns();
  must_attach("visitor");
  fh_detach();
  *spent = now_ns() - begun;
  return NULL;
}

static void *do_nothing(void *argument) { return argument; }

static void run_thread(void *(*body)(void *), void *argument) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, body, argument)) die("cannot start a thread");
  pthread_join(thread, NULL);
}

/* Only what the new thread itself spends between its first attach and its detach. */
static uint64_t attach_side(void *context, uint64_t n) {
  uint64_t all = 0, one = 0;
  (void)context;
  for (uint64_t turn = 0; turn < n * THREADS_A_UNIT; turn++) {
    run_thread(attach_in_thread, &one);
    all += one;
  }
  return all;
}

static uint64_t thread_side(void *context, uint64_t n) {
  (void)context;
  const uint64_t begun = now_ns();
  for (uint64_t turn = 0; turn < n * THREADS_A_UNIT; turn++) run_thread(do_nothing, NULL);
  return now_ns() - begun;
}

/* The caller leaves the runtime meanwhile: a detach is a safepoint, and nobody here should wait for the caller, which
 * waits for that thread. The number of threads is fixed, because attaching takes a small part of a thread's life. */
static void measure_attach(struct result *result) {
  const struct comparison comparison = {
      .ours = attach_side, .theirs = thread_side, .operations = THREADS_A_UNIT, .fixed = 40};
  fh_detach();
  compare(result, &comparison);
  must_attach("bench");
}

/* ---- churn ---- */

struct churn {
  fh_type *type;
  void **left;
  atomic_uint next;
};

/* Every hundredth object stays, so that the survivors lie scattered among what was freed. */
static void *make_and_leave(void *argument) {
  struct churn *churn = argument;
  void *object[CHURN_OBJECTS];
  must_attach("churn");
  for (unsigned i = 0; i < CHURN_OBJECTS; i++) object[i] = must_make(churn->type);
  void **left = churn->left + CHURN_LEFT * (size_t)atomic_fetch_add_explicit(&churn->next, 1, memory_order_relaxed);
  for (unsigned i = 0; i < CHURN_OBJECTS; i++) {
    if (i % (CHURN_OBJECTS / CHURN_LEFT) == 0) {
      fh_publish(object[i]);
      *left++ = object[i];
    } else {
      fh_release(object[i]);
    }
  }
  fh_detach();
  return NULL;
}

/* Values: MB of growth, objects that live. */
void child_churn(double *values, unsigned count) {
  struct churn churn = {.type = must_register(&parcel_spec)};
  pthread_t thread[AT_A_TIME];
  expect(count >= 2, "there is room for two values");
  churn.left = must_allocate((size_t)CHURN_THREADS * CHURN_LEFT * sizeof *churn.left);
  const double base_mb = resident_mb();
  for (unsigned i = 0; i < CHURN_THREADS + AT_A_TIME; i++) {
    if (i >= AT_A_TIME) pthread_join(thread[i % AT_A_TIME], NULL);
    if (i >= CHURN_THREADS) continue;
    if (pthread_create(&thread[i % AT_A_TIME], NULL, make_and_leave, &churn)) die("cannot start a thread");
  }
  values[0] = resident_mb() - base_mb;
  values[1] = (double)fh_type_live(churn.type);
}

static void measure_churn(struct result *result) {
  double values[2] = {0};
  result_limit_rounds(result, 3);
  for (unsigned round = 0; round < result->rounds; round++) {
    run_child("churn", values, 2);
    expect((unsigned)values[1] == CHURN_THREADS * CHURN_LEFT, "ten objects of each thread live, no more and no fewer");
    result_add(result, values[0]);
  }
  snprintf(result->beside, sizeof result->beside, "%.0f objects live", values[1]);
}

const struct figure mutator_figures[] = {
    {"mutator.blocking_vs_atomic", "x", AT_MOST, 2.3, measure_blocking},
    {"mutator.attach_vs_thread", "x", AT_MOST, 0.1, measure_attach},
    {"mutator.churn_rss_mb", "MB", AT_MOST, 40, measure_churn},
    {NULL, NULL, REPORTED, 0, NULL},
};
