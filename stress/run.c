/* SPDX-License-Identifier: MIT */
/* One run of one scenario: the runtime and the workers around it, what happens to a worker between turns, the balance at
 * the end, and what is said when something goes wrong in between. */
#include "run.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "support/sanitizers.h"

enum {
  GC_THRESHOLD = 4096, /* collections come often; torture builds have a smaller default */
  GIL_SWITCH_US = 200, /* and so do handovers */
  SHUTDOWN_MS = 10000,
  PATIENCE_SECONDS = 300, /* a run that is late by so much hangs */
};

__thread struct worker *me;
static struct run *running;

static bool build_is(const char *name) { return strstr(fh_version(), name) != NULL; }

size_t scaled(size_t most) {
  const size_t divisor = UNDER_TSAN              ? 100
                         : UNDER_ASAN            ? 50
                         : build_is("(torture)") ? 50
                         : build_is("(checked)") ? 10
                                                 : 1;
  return most / divisor ? most / divisor : 1;
}

/* ---- decisions ---- */

/* SplitMix64: Steele, Lea and Flood, Fast splittable pseudorandom number generators, 2014. */
uint64_t draw(struct worker *w) {
  uint64_t z = w->random += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

unsigned below(struct worker *w, unsigned n) { return (unsigned)(((draw(w) >> 32) * n) >> 32); }

static void worker_init(struct worker *w, struct run *run, unsigned index) {
  *w = (struct worker){.run = run, .index = index, .random = run->seed, .ledger = &run->ledger[index]};
  for (const char *c = run->scenario->name; *c; c++) w->random = draw(w) + (unsigned char)*c;
  w->random = draw(w) + index;
}

void worker_init_from(struct worker *w, struct worker *parent) {
  *w = (struct worker){.run = parent->run, .index = parent->index, .random = draw(parent), .ledger = parent->ledger};
}

/* ---- when something goes wrong ---- */

/* ThreadSanitizer calls this for each report, if the program has it. */
static atomic_int reports;
void __tsan_on_report(void *report);
void __tsan_on_report(void *report) {
  (void)report;
  atomic_fetch_add_explicit(&reports, 1, memory_order_relaxed);
}

static void say(const char *text) {
  if (write(STDERR_FILENO, text, strlen(text)) < 0) return; /* nobody is left to be told */
}

static void say_number(uint64_t n) {
  char digits[24];
  char *first = &digits[sizeof digits - 1];
  *first = 0;
  do *--first = (char)('0' + n % 10);
  while (n /= 10);
  say(first);
}

/* Async-signal-safe. */
static void say_what_replays(const struct run *run) {
  say("fh-stress: scenario ");
  say(run->scenario->name);
  if (me) {
    say(me->index == run->threads ? ", the main thread" : ", thread ");
    if (me->index != run->threads) say_number(me->index);
    say(", operation ");
    say_number(me->turn);
  }
  say(run->is_child ? ", in a forked child" : "");
  say("\nfh-stress: to replay: fh-stress --seed ");
  say_number(run->seed);
  say(" --threads ");
  say_number(run->threads);
  say(" --seconds ");
  say_number((uint64_t)run->seconds + 1);
  say(" --design ");
  say(fh_design_name(run->design));
  say(" ");
  say(run->scenario->name);
  say("\n");
}

/* Of a check that failed, a trap of the library's, a crash, or the alarm of a run that hangs. The first one speaks. */
static void on_end(int signal) {
  static atomic_flag spoken = ATOMIC_FLAG_INIT;
  struct sigaction action = {.sa_handler = SIG_DFL};
  if (atomic_flag_test_and_set(&spoken)) {
    for (;;) pause();
  }
  if (signal == SIGALRM) say("\nfh-stress: the time is over by far: it hangs\n");
  if (running) say_what_replays(running);
  fh_dump(STDERR_FILENO);
  sigaction(SIGABRT, &action, NULL);
  if (signal == SIGALRM || signal == SIGABRT) abort();
  sigaction(signal, &action, NULL);
  raise(signal);
}

/* The sanitizers have more to say about a bad access than this program. */
void watch_for_the_end(void) {
  struct sigaction action = {.sa_handler = on_end, .sa_flags = SA_NODEFER};
  sigaction(SIGABRT, &action, NULL);
  sigaction(SIGALRM, &action, NULL);
  if (UNDER_TSAN || UNDER_ASAN) return;
  sigaction(SIGSEGV, &action, NULL);
  sigaction(SIGBUS, &action, NULL);
}

void check_failed(const char *file, int line, const char *condition) {
  say("\n");
  say(file);
  say(":");
  say_number((uint64_t)line);
  say(": failed: ");
  say(condition);
  say("\n");
  abort();
}

/* A check of the balance: the others are made all the same. */
static unsigned is_wrong(bool holds, const char *what) {
  if (holds) return 0;
  fprintf(stderr, "\nfh-stress: wrong: %s\n", what);
  say_what_replays(running);
  return 1;
}

/* ---- workers ---- */

static void leave_and_come_back(struct worker *w) {
  for (int i = 0; i < HOARD; i++)
    if (w->hoard[i]) fh_publish(w->hoard[i]); /* another mutator may be adopted, and what is private is the old one's */
  fh_detach();
  if (one_in(w, 2)) sched_yield();
  check(fh_attach("worker") == FH_OK);
}

static void sleep_a_little(struct worker *w) {
  const struct timespec pause = {0, below(w, 100000)};
  FH_BLOCKING();
  nanosleep(&pause, NULL);
}

/* What may happen to any mutator at any time, whatever it works at. */
static void between_turns(struct worker *w) {
  fh_safepoint();
  if (!one_in(w, 128)) return;
  switch (below(w, 16)) {
    case 0:
      fh_collect((int)below(w, 3));
      return;
    case 1:
      slots_clear(w->run);
      return; /* without it, what is linked to what is linked would only grow */
    case 2:
      hoard_drop(w);
      return;
    case 3:
    case 4:
      leave_and_come_back(w);
      return;
    case 5:
      if (one_in(w, 8)) check(fh_check_heap() == FH_OK);
      return;
    case 6:
    case 7:
      fh_housekeep();
      return;
    case 8:
      fh_finalizers_run(below(w, 256)); /* where they wait in the queue */
      return;
    default:
      sleep_a_little(w);
      return;
  }
}

static void *work(void *argument) {
  struct worker *w = me = argument;
  const bool attaches = !w->run->scenario->bare;
  pthread_barrier_wait(&w->run->start);
  if (attaches) check(fh_attach("worker") == FH_OK);
  do {
    w->turn++;
    w->run->scenario->turn(w);
    if (attaches) between_turns(w);
  } while (!is_over(w->run));
  if (!attaches) return NULL;
  hoard_drop(w);
  if (one_in(w, 2)) fh_detach(); /* otherwise the end of the thread does it */
  return NULL;
}

/* ---- the balance ---- */

static uint64_t add_up(const struct run *run, size_t entry) {
  uint64_t sum = 0;
  for (unsigned i = 0; i <= run->threads; i++)
    sum += atomic_load_explicit((const atomic_uint_fast64_t *)((const char *)&run->ledger[i] + entry),
                                memory_order_relaxed);
  return sum;
}

static uint64_t made_in(const struct run *run) { return add_up(run, offsetof(struct ledger, made)); }
static uint64_t destroyed_in(const struct run *run) { return add_up(run, offsetof(struct ledger, destroyed)); }
static uint64_t others_in(const struct run *run) { return add_up(run, offsetof(struct ledger, others)); }
static uint64_t balance_of(const struct run *run) { return add_up(run, offsetof(struct ledger, balance)); }

uint64_t things_alive(const struct run *run) { return made_in(run) - destroyed_in(run); }

/* [ledger.stats] */
unsigned accounts_are_wrong(struct run *run) {
  fh_stats stats = {.size = sizeof stats};
  unsigned wrong = is_wrong(fh_check_heap() == FH_OK, "fh_check_heap");
  wrong += is_wrong(fh_stats_get(&stats) == FH_OK, "fh_stats_get");
  wrong += is_wrong(stats.objects_made == made_in(run) + others_in(run), "fh_stats counts other objects made than the ledger");
  wrong += is_wrong(stats.objects_destroyed == destroyed_in(run) + others_in(run),
                    "fh_stats counts other objects destroyed than the ledger");
  wrong += is_wrong(stats.objects_live == stats.objects_made - stats.objects_destroyed,
                    "fh_stats: live is not made - destroyed");
  return wrong;
}

/* [ledger.even], and what else must hold when everything was dropped. */
static void draw_balance(struct run *run, struct result *result) {
  fh_stats stats = {.size = sizeof stats};
  result->made = made_in(run);
  result->destroyed = destroyed_in(run);
  result->losses = result->made - result->destroyed;
  if (!run->scenario->own_runtime && fh_stats_get(&stats) == FH_OK) {
    result->losses -= stats.objects_live;
    result->leaks = stats.objects_live;
  }
  result->wrong += is_wrong(balance_of(run) == 0, "what was destroyed is not what was made");
}

/* ---- the run ---- */

static double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void start_runtime(struct run *run) {
  fh_options options = {.design = run->design, .gil_switch_us = GIL_SWITCH_US};
  if (!build_is("(torture)")) options.gc_threshold = GC_THRESHOLD;
  if (run->scenario->choose) run->scenario->choose(&run->main, &options);
  check(fh_init(&options) == FH_OK);
  check(fh_attach("main") == FH_OK);
  things_register(run);
  if (run->scenario->prepare) run->scenario->prepare(&run->main);
  fh_detach();
}

static void end_runtime(struct run *run, struct result *result) {
  uint64_t leaked = 0;
  check(fh_attach("main") == FH_OK);
  if (run->scenario->finish) run->scenario->finish(&run->main);
  hoard_drop(&run->main);
  slots_clear(run);
  fh_settle();
  result->wrong += accounts_are_wrong(run);
  draw_balance(run, result);
  fh_detach();
  result->wrong += is_wrong(fh_shutdown(SHUTDOWN_MS, &leaked) == FH_OK, "fh_shutdown");
  result->wrong += is_wrong(leaked == result->leaks, "fh_shutdown counts other leaks than fh_stats");
}

static void sleep_until(double end) {
  for (double left = end - seconds_now(); left > 0; left = end - seconds_now()) {
    const struct timespec pause = {(time_t)left, (long)(1e9 * (left - (double)(time_t)left))};
    nanosleep(&pause, NULL);
  }
}

static void run_workers(struct run *run) {
  static pthread_t thread[THREADS_MAX];
  check(!pthread_barrier_init(&run->start, NULL, run->threads + 1));
  for (unsigned i = 0; i < run->threads; i++) check(!pthread_create(&thread[i], NULL, work, &run->worker[i]));
  pthread_barrier_wait(&run->start);
  sleep_until(seconds_now() + run->seconds);
  atomic_store_explicit(&run->over, true, memory_order_relaxed);
  for (unsigned i = 0; i < run->threads; i++) check(!pthread_join(thread[i], NULL));
  pthread_barrier_destroy(&run->start);
}

struct result run_scenario(struct run *run) {
  struct result result = {.races = -1};
  const double began = seconds_now();
  const int reported = atomic_load(&reports);
  memset(run->slot, 0, sizeof run->slot);
  memset(run->ledger, 0, sizeof run->ledger);
  atomic_store(&run->over, false);
  for (unsigned i = 0; i < run->threads; i++) worker_init(&run->worker[i], run, i);
  worker_init(&run->main, run, run->threads);
  running = run;
  me = &run->main;
  alarm((unsigned)run->seconds + PATIENCE_SECONDS);

  if (!run->scenario->own_runtime) start_runtime(run);
  run_workers(run);
  if (!run->scenario->own_runtime)
    end_runtime(run, &result);
  else
    draw_balance(run, &result);

  alarm(0);
  for (unsigned i = 0; i < run->threads; i++) result.operations += run->worker[i].turn;
  result.seconds = seconds_now() - began;
  if (UNDER_TSAN) result.races = atomic_load(&reports) - reported;
  return result;
}
