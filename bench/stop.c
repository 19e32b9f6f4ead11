/* SPDX-License-Identifier: MIT */
/* How long it takes until everybody stands still. The heap is nearly empty, so a collection is little but its stop; the
 * runtime's own clock tells the time of each stop: its sum before and after. */
#include "bench.h"

#include <mimalloc.h>

enum { STOPS_A_ROUND = 400, BLOCKED = 32, RUNNING = 2, WORK_BETWEEN_POLLS = 1000 };

struct stopping {
  atomic_bool over;
  atomic_uint inside; /* threads in their blocking regions */
  pthread_mutex_t lock;
  pthread_cond_t ended; /* goes with `over` */
  pthread_cond_t ran;   /* goes with `unseen` */
  unsigned unseen;      /* threads that were asked for a sign of life and have not given it; guarded by the lock */
  struct {
    _Alignas(128) atomic_bool asked; /* set by the stopping thread, cleared by the one that runs */
  } runner[RUNNING];
};

/* ---- those that are stopped ---- */

static void block_until_over(unsigned index, void *context, uint64_t n) {
  struct stopping *stopping = context;
  (void)index;
  (void)n;
  FH_BLOCKING();
  pthread_mutex_lock(&stopping->lock);
  atomic_fetch_add_explicit(&stopping->inside, 1, memory_order_relaxed);
  while (!atomic_load_explicit(&stopping->over, memory_order_relaxed)) pthread_cond_wait(&stopping->ended, &stopping->lock);
  pthread_mutex_unlock(&stopping->lock);
}

static void show_life(struct stopping *stopping, unsigned index) {
  atomic_store_explicit(&stopping->runner[index].asked, false, memory_order_relaxed);
  pthread_mutex_lock(&stopping->lock);
  if (--stopping->unseen == 0) pthread_cond_signal(&stopping->ran);
  pthread_mutex_unlock(&stopping->lock);
}

static void compute_until_over(unsigned index, void *context, uint64_t n) {
  struct stopping *stopping = context;
  uint64_t number = index + 1;
  (void)n;
  while (!atomic_load_explicit(&stopping->over, memory_order_relaxed)) {
    for (unsigned i = 0; i < WORK_BETWEEN_POLLS; i++) {
      number = number * 6364136223846793005u + 1442695040888963407u;
      __asm__ volatile("" : "+r"(number));
    }
    fh_safepoint();
    if (atomic_load_explicit(&stopping->runner[index].asked, memory_order_relaxed)) show_life(stopping, index);
  }
}

static void end_it(struct stopping *stopping) {
  pthread_mutex_lock(&stopping->lock);
  atomic_store_explicit(&stopping->over, true, memory_order_relaxed);
  pthread_cond_broadcast(&stopping->ended);
  pthread_mutex_unlock(&stopping->lock);
}

/* ---- the one that stops them ---- */

static fh_histogram stop_times(void) {
  fh_stats stats = {.size = sizeof stats};
  if (fh_stats_get(&stats) != FH_OK) die("fh_stats_get failed");
  return stats.time_to_stop;
}

static double stop_once_us(void) {
  const fh_histogram before = stop_times();
  fh_collect(2);
  const fh_histogram after = stop_times();
  expect(after.count > before.count, "a collection stops the world");
  return (double)(after.total_ns - before.total_ns) / (double)(after.count - before.count) / 1e3;
}

/* The next stop waits until everybody has run since the last one: it should meet threads that compute, not such that
 * are about to wake. The wait gives its processor away, because there may be no third one. */
static void wait_until_all_ran(struct stopping *stopping, unsigned running) {
  if (running == 0) return;
  FH_BLOCKING();
  pthread_mutex_lock(&stopping->lock);
  stopping->unseen = running;
  for (unsigned i = 0; i < running; i++)
    atomic_store_explicit(&stopping->runner[i].asked, true, memory_order_relaxed);
  while (stopping->unseen > 0) pthread_cond_wait(&stopping->ran, &stopping->lock);
  pthread_mutex_unlock(&stopping->lock);
}

static void stop_often(struct result *result, struct stopping *stopping, unsigned running) {
  const size_t all = (size_t)result->rounds * STOPS_A_ROUND;
  double *sample = must_allocate(all * sizeof *sample);
  for (unsigned i = 0; i < STOPS_A_ROUND / 10; i++) stop_once_us();
  for (size_t i = 0; i < all; i++) {
    wait_until_all_ran(stopping, running);
    sample[i] = stop_once_us();
  }
  for (unsigned round = 0; round < result->rounds; round++)
    result_add(result, median_of(sample + (size_t)round * STOPS_A_ROUND, STOPS_A_ROUND));
  snprintf(result->beside, sizeof result->beside, "p99 %.3g us, most %.3g us", quantile_of(sample, all, 0.99),
           quantile_of(sample, all, 1));
  mi_free(sample);
}

static void measure_stops(struct result *result, unsigned blocked, unsigned running) {
  struct stopping stopping = {.over = false};
  struct crew crew;
  unsigned turns = 0;
  pthread_mutex_init(&stopping.lock, NULL);
  pthread_cond_init(&stopping.ended, NULL);
  pthread_cond_init(&stopping.ran, NULL);
  crew_start(&crew, blocked + running, blocked ? block_until_over : compute_until_over, &stopping, 0);
  crew_go(&crew);
  while (atomic_load_explicit(&stopping.inside, memory_order_relaxed) < blocked) wait_turn(&turns);
  stop_often(result, &stopping, running);
  end_it(&stopping);
  crew_finish(&crew);
  pthread_cond_destroy(&stopping.ran);
  pthread_cond_destroy(&stopping.ended);
  pthread_mutex_destroy(&stopping.lock);
}

static void measure_blocked(struct result *result) {
  result_limit_rounds(result, 5);
  measure_stops(result, BLOCKED, 0);
}

static void measure_running(struct result *result) {
  result_limit_rounds(result, 5);
  measure_stops(result, 0, RUNNING);
}

const struct figure stop_figures[] = {
    {"stop.blocked32_us", "us", REPORTED, 0, measure_blocked},
    {"stop.running2_us", "us", REPORTED, 0, measure_running},
    {NULL, NULL, REPORTED, 0, NULL},
};
