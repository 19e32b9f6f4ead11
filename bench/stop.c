/* SPDX-License-Identifier: MIT */
/* How long it takes until everybody stands still, until everybody runs again, and what stops cost a program of many more
 * threads than processors. The heap is nearly empty, so a collection is little but its stop; the runtime's own clock tells
 * the time of each stop: its sum before and after. */
#include "bench.h"

#include <mimalloc.h>
#include <sched.h>
#include <time.h>

enum { STOPS_A_ROUND = 400, RESUMES_A_ROUND = 40, BLOCKED = 32, RUNNING = 2, RESUMED = 8, WORK_BETWEEN_POLLS = 1000 };

struct stopping {
  atomic_bool over;
  atomic_uint inside; /* threads in their blocking regions */
  pthread_mutex_t lock;
  pthread_cond_t ended; /* goes with `over` */
  pthread_cond_t ran;   /* goes with `unseen` */
  unsigned unseen;      /* threads that were asked for a sign of life and have not given it; guarded by the lock */
  struct {
    _Alignas(128) atomic_bool asked; /* set by the stopping thread, cleared by the one that runs */
    uint64_t ran_ns;                 /* when it was; goes with `unseen` */
  } runner[RESUMED];
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
  const uint64_t now = now_ns();
  atomic_store_explicit(&stopping->runner[index].asked, false, memory_order_relaxed);
  pthread_mutex_lock(&stopping->lock);
  stopping->runner[index].ran_ns = now;
  if (--stopping->unseen == 0) pthread_cond_signal(&stopping->ran);
  pthread_mutex_unlock(&stopping->lock);
}

static void compute_until_over(unsigned index, void *context, uint64_t n) {
  struct stopping *stopping = context;
  uint64_t number = index + 1;
  (void)n;
  while (!atomic_load_explicit(&stopping->over, memory_order_relaxed)) {
    compute(&number, WORK_BETWEEN_POLLS);
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

static void ask_all(struct stopping *stopping, unsigned running) {
  pthread_mutex_lock(&stopping->lock);
  stopping->unseen = running;
  for (unsigned i = 0; i < running; i++)
    atomic_store_explicit(&stopping->runner[i].asked, true, memory_order_relaxed);
  pthread_mutex_unlock(&stopping->lock);
}

/* The wait gives its processor away, because there may be no third one. */
static void wait_until_all_ran(struct stopping *stopping) {
  FH_BLOCKING();
  pthread_mutex_lock(&stopping->lock);
  while (stopping->unseen > 0) pthread_cond_wait(&stopping->ran, &stopping->lock);
  pthread_mutex_unlock(&stopping->lock);
}

/* The stop is that of a fork, because the caller can do something in it, and knows when it ends. */
static double resume_once_us(struct stopping *stopping, unsigned running) {
  uint64_t last = 0;
  fh_fork_prepare();
  ask_all(stopping, running);
  const uint64_t begun = now_ns();
  fh_fork_parent();
  wait_until_all_ran(stopping);
  for (unsigned i = 0; i < running; i++)
    if (stopping->runner[i].ran_ns > last) last = stopping->runner[i].ran_ns;
  return (double)(last - begun) / 1e3;
}

static void stop_often(struct result *result, struct stopping *stopping, unsigned running) {
  const size_t all = (size_t)result->rounds * STOPS_A_ROUND;
  double *sample = must_allocate(all * sizeof *sample);
  for (unsigned i = 0; i < STOPS_A_ROUND / 10; i++) stop_once_us();
  for (size_t i = 0; i < all; i++) {
    /* A stop should meet threads that compute, not such that are about to wake: everybody runs once since the last one. */
    ask_all(stopping, running);
    wait_until_all_ran(stopping);
    sample[i] = stop_once_us();
  }
  for (unsigned round = 0; round < result->rounds; round++)
    result_add(result, median_of(sample + (size_t)round * STOPS_A_ROUND, STOPS_A_ROUND));
  snprintf(result->beside, sizeof result->beside, "p99 %.3g us, most %.3g us", quantile_of(sample, all, 0.99),
           quantile_of(sample, all, 1));
  mi_free(sample);
}

static void resume_often(struct result *result, struct stopping *stopping, unsigned running) {
  double sample[RESUMES_A_ROUND];
  resume_once_us(stopping, running);
  for (unsigned round = 0; round < result->rounds; round++) {
    for (unsigned i = 0; i < RESUMES_A_ROUND; i++) sample[i] = resume_once_us(stopping, running);
    result_add(result, median_of(sample, RESUMES_A_ROUND));
  }
}

typedef void (*stopping_function)(struct result *result, struct stopping *stopping, unsigned running);

static void measure_stops(struct result *result, stopping_function stop, unsigned blocked, unsigned running) {
  struct stopping stopping = {.over = false};
  struct crew crew;
  unsigned turns = 0;
  result_limit_rounds(result, 5);
  pthread_mutex_init(&stopping.lock, NULL);
  pthread_cond_init(&stopping.ended, NULL);
  pthread_cond_init(&stopping.ran, NULL);
  crew_start(&crew, blocked + running, blocked ? block_until_over : compute_until_over, &stopping, 0);
  crew_go(&crew);
  while (atomic_load_explicit(&stopping.inside, memory_order_relaxed) < blocked) wait_turn(&turns);
  stop(result, &stopping, running);
  end_it(&stopping);
  crew_finish(&crew);
  pthread_cond_destroy(&stopping.ran);
  pthread_cond_destroy(&stopping.ended);
  pthread_mutex_destroy(&stopping.lock);
}

static void measure_blocked(struct result *result) { measure_stops(result, stop_often, BLOCKED, 0); }
static void measure_running(struct result *result) { measure_stops(result, stop_often, 0, RUNNING); }
static void measure_resume(struct result *result) { measure_stops(result, resume_often, 0, RESUMED); }

/* ---- more threads than processors ---- */

enum { MUTATORS_A_PROCESSOR = 32, STOP_EVERY_NS = 10000000, WINDOW_NS = 500000000, UNITS_A_LOOK = 16 };

/* Each of the crowd counts what it has done in a cache line of its own. */
struct crowd {
  atomic_bool over;
  _Atomic uint64_t stop_at; /* the clock's time of the next stop */
  struct {
    _Alignas(128) _Atomic uint64_t done;
  } member[CREW_MAX];
};

struct window {
  double throughput; /* of all, a second */
  double stops;      /* a second */
  double stop_us;    /* one, until all stand still */
  double lost;       /* share of the machine that the crowd did not have, 0 to 1 */
};

/* As in a program that collects: one of those who run finds that it is time, and does it. A thread that slept until then
 * would wait for its turn behind all of the crowd. A stop that is late by a whole turn is left out: none follows another at
 * once. */
static void stop_if_time(struct crowd *crowd) {
  uint64_t due = atomic_load_explicit(&crowd->stop_at, memory_order_relaxed);
  const uint64_t now = now_ns();
  if (now < due) return;
  const uint64_t next = (now < due + STOP_EVERY_NS ? due : now) + STOP_EVERY_NS;
  if (atomic_compare_exchange_strong_explicit(&crowd->stop_at, &due, next, memory_order_relaxed, memory_order_relaxed))
    fh_collect(2);
}

static void compute_in_crowd(unsigned index, void *context, uint64_t n) {
  struct crowd *crowd = context;
  uint64_t number = index + 1, done = 0;
  (void)n;
  while (!atomic_load_explicit(&crowd->over, memory_order_relaxed)) {
    compute(&number, WORK_BETWEEN_POLLS);
    fh_safepoint();
    atomic_store_explicit(&crowd->member[index].done, ++done, memory_order_relaxed);
    if (done % UNITS_A_LOOK == 0) stop_if_time(crowd);
  }
}

static uint64_t done_by(struct crowd *crowd, unsigned count) {
  uint64_t sum = 0;
  for (unsigned i = 0; i < count; i++) sum += atomic_load_explicit(&crowd->member[i].done, memory_order_relaxed);
  return sum;
}

static bool all_have_begun(struct crowd *crowd, unsigned count) {
  for (unsigned i = 0; i < count; i++)
    if (!atomic_load_explicit(&crowd->member[i].done, memory_order_relaxed)) return false;
  return true;
}

static void sleep_until(uint64_t ns) {
  const struct timespec time = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
  FH_BLOCKING();
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL)) {
  }
}

static unsigned usable_processors(void) {
  cpu_set_t allowed;
  return sched_getaffinity(0, sizeof allowed, &allowed) ? 1 : (unsigned)CPU_COUNT(&allowed);
}

static uint64_t processor_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static struct window measure_window(struct crowd *crowd, unsigned count, bool stops) {
  const fh_histogram before = stop_times();
  const uint64_t done = done_by(crowd, count), processor = processor_ns(), begun = now_ns();
  if (stops) atomic_store_explicit(&crowd->stop_at, begun + STOP_EVERY_NS, memory_order_relaxed);
  sleep_until(begun + WINDOW_NS);
  const double did = (double)(done_by(crowd, count) - done);
  const double had = (double)(processor_ns() - processor), spent = (double)(now_ns() - begun);
  const fh_histogram after = stop_times();
  const double seen = (double)(after.count - before.count);
  return (struct window){.throughput = did / spent * 1e9,
                         .stops = seen / spent * 1e9,
                         .stop_us = seen > 0 ? (double)(after.total_ns - before.total_ns) / seen / 1e3 : 0,
                         .lost = 1 - had / (spent * usable_processors())};
}

static struct window watch_crowd(unsigned count, bool stops) {
  struct crowd *crowd = must_allocate(sizeof *crowd);
  struct crew crew;
  atomic_init(&crowd->stop_at, UINT64_MAX);
  crew_start(&crew, count, compute_in_crowd, crowd, 0);
  crew_go(&crew);
  while (!all_have_begun(crowd, count)) sleep_until(now_ns() + 1000000);
  const struct window window = measure_window(crowd, count, stops);
  atomic_store_explicit(&crowd->stop_at, UINT64_MAX, memory_order_relaxed);
  atomic_store_explicit(&crowd->over, true, memory_order_relaxed);
  crew_finish(&crew);
  mi_free(crowd);
  return window;
}

/* In each round: the many, the few, the few, the many. How much of the processors the few did not get is told beside: where
 * other processes run, each of the many waits for them before it can stand still, and the figure says nothing.
 * With fewer stops than it asks for, it is missed. */
static void compare_crowds(struct result *result, bool few_are_stopped) {
  const unsigned most = CREW_MAX / MUTATORS_A_PROCESSOR;
  const unsigned few = usable_processors() < most ? usable_processors() : most;
  double stops[ROUNDS_MAX], stop_us[ROUNDS_MAX], lost[ROUNDS_MAX];
  result_limit_rounds(result, 5);
  for (unsigned round = 0; round < result->rounds; round++) {
    const struct window first = watch_crowd(few * MUTATORS_A_PROCESSOR, true);
    const struct window second = watch_crowd(few, few_are_stopped);
    const struct window third = watch_crowd(few, few_are_stopped);
    const struct window fourth = watch_crowd(few * MUTATORS_A_PROCESSOR, true);
    result_add(result, (first.throughput + fourth.throughput) / (second.throughput + third.throughput));
    stops[round] = (first.stops + fourth.stops) / 2;
    stop_us[round] = (first.stop_us + fourth.stop_us) / 2;
    lost[round] = (second.lost + third.lost) / 2;
  }
  result->unfit = median_of(stops, result->rounds) < 0.9 * 1e9 / STOP_EVERY_NS;
  snprintf(result->beside, sizeof result->beside, "%u on %u; %.3g stops a second, %.3g us each; few lacked %.1f%%",
           few * MUTATORS_A_PROCESSOR, few, median_of(stops, result->rounds), median_of(stop_us, result->rounds),
           100 * median_of(lost, result->rounds));
}

static void measure_oversubscribed(struct result *result) { compare_crowds(result, false); }
static void measure_both_stopped(struct result *result) { compare_crowds(result, true); }

const struct figure stop_figures[] = {
    {"stop.blocked32_us", "us", REPORTED, 0, measure_blocked},
    {"stop.running2_us", "us", REPORTED, 0, measure_running},
    {"stop.resume8_us", "us", REPORTED, 0, measure_resume},
    {"stop.oversubscribed", "x", AT_LEAST, 0.85, measure_oversubscribed},
    {"stop.oversubscribed_both", "x", REPORTED, 0, measure_both_stopped},
    {NULL, NULL, REPORTED, 0, NULL},
};
