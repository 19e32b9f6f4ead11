/* SPDX-License-Identifier: MIT */
/* What the families share: results, clocks, comparisons, crews. */
#include "bench.h"

#include <mimalloc.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A slice is one side's turn. Four of them make a round: ours, theirs, theirs, ours, so that a steady drift of the
 * machine cancels out. */
enum { SLICE_NS = 8000000, SPINS_BEFORE_YIELD = 512, TRIES = 12 };

/* Threads that take turns on one processor neither contend nor scale, so a slice in which a crew did not run at once for
 * most of the time says nothing. This is the share that its threads lacked in the last slice, 0 to 1. */
static double lacked;
static const double TOLERABLE = 0.1;

static const fh_ref node_refs[] = {FH_FIELD(struct node, a), FH_FIELD(struct node, b), FH_END};
static const fh_ref parcel_refs[] = {FH_FIELD(struct parcel, a), FH_FIELD(struct parcel, b), FH_END};
const fh_type_spec node_spec = {.name = "bench.node", .size = sizeof(struct node), .refs = node_refs};
const fh_type_spec parcel_spec = {.name = "bench.parcel", .size = sizeof(struct parcel), .refs = parcel_refs};

/* ---- small things ---- */

void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fflush(stdout);
  fputs("fh-bench: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  _exit(2);
}

void expect(bool holds, const char *what) {
  if (!holds) die("this should hold and does not: %s", what);
}

uint64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int compare_doubles(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

double quantile_of(const double *value, size_t n, double share) {
  double *sorted = must_allocate(n * sizeof *sorted);
  memcpy(sorted, value, n * sizeof *sorted);
  qsort(sorted, n, sizeof *sorted, compare_doubles);
  const double place = share * (double)(n - 1);
  const size_t below = (size_t)place;
  const size_t above = below + 1 < n ? below + 1 : below;
  const double result = sorted[below] + (sorted[above] - sorted[below]) * (place - (double)below);
  mi_free(sorted);
  return result;
}

double median_of(const double *value, size_t n) { return quantile_of(value, n, 0.5); }

void *must_allocate(size_t bytes) {
  void *block = mi_malloc(bytes);
  if (!block) die("no memory for %zu bytes", bytes);
  memset(block, 0, bytes);
  return block;
}

fh_type *must_register(const fh_type_spec *spec) {
  fh_type *type = NULL;
  const fh_status status = fh_type_register(spec, &type);
  if (status != FH_OK) die("fh_type_register(%s): %s", spec->name, fh_status_name(status));
  return type;
}

void must_attach(const char *name) {
  const fh_status status = fh_attach(name);
  if (status != FH_OK) die("fh_attach(%s): %s", name, fh_status_name(status));
}

struct node *must_make(fh_type *type) {
  struct node *made = fh_new(type);
  if (!made) die("fh_new: no memory");
  return made;
}

void drop_pair(fh_type *type) {
  struct node *a = must_make(type), *b = must_make(type);
  fh_set(a, a, b);
  fh_give(b, a, a);
  fh_release(b);
}

double resident_mb(void) {
  long pages = 0, resident = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (!file || fscanf(file, "%ld %ld", &pages, &resident) != 2) die("cannot read /proc/self/statm");
  fclose(file);
  return (double)resident * (double)sysconf(_SC_PAGESIZE) / 1e6;
}

void wait_turn(unsigned *turns) {
  fh_safepoint();
  if (++*turns % SPINS_BEFORE_YIELD == 0)
    sched_yield();
  else
    __builtin_ia32_pause();
}

/* ---- results and comparisons ---- */

void result_limit_rounds(struct result *result, unsigned most) {
  if (result->rounds > most) result->rounds = most;
}

void result_add(struct result *result, double value) {
  if (result->filled < ROUNDS_MAX) result->value[result->filled++] = value;
}

/* Finds how many units fill a slice; running them is the warm-up too. */
static uint64_t calibrate(side_function side, void *context) {
  uint64_t n = 1;
  for (;;) {
    const uint64_t spent = side(context, n);
    if (spent >= SLICE_NS) return n;
    const double wanted = spent > SLICE_NS / 16 ? 1.1 * SLICE_NS / (double)spent : 8;
    n = (uint64_t)((double)n * wanted) + 1;
  }
}

/* One slice; again if its threads did not run at once. If that happens each time, the least disturbed one counts, and is
 * counted. */
static double run_slice(const struct comparison *comparison, side_function side, uint64_t n, unsigned *disturbed) {
  double least = 2, spent = 0;
  for (unsigned try = 0; try < TRIES && least > TOLERABLE; try++) {
    lacked = 0;
    const uint64_t took = side(comparison->context, n);
    if (lacked >= least) continue;
    least = lacked;
    spent = (double)took;
  }
  *disturbed += least > TOLERABLE;
  return spent;
}

static unsigned one_round(const struct comparison *comparison, const uint64_t n[2], double cost[2]) {
  double spent[2] = {0, 0};
  unsigned disturbed = 0;
  for (unsigned slice = 0; slice < 4; slice++) {
    const unsigned which = slice == 1 || slice == 2;
    spent[which] += run_slice(comparison, which ? comparison->theirs : comparison->ours, n[which], &disturbed);
  }
  for (unsigned which = 0; which < 2; which++) cost[which] = spent[which] / (2.0 * (double)n[which]);
  return disturbed;
}

void compare(struct result *result, const struct comparison *comparison) {
  uint64_t n[2] = {comparison->fixed, comparison->fixed};
  double cost[2], ours[ROUNDS_MAX], theirs[ROUNDS_MAX];
  unsigned disturbed = 0;
  if (!comparison->fixed) {
    n[0] = calibrate(comparison->ours, comparison->context);
    n[1] = calibrate(comparison->theirs, comparison->context);
  }
  one_round(comparison, n, cost); /* not counted: caches, branch predictors and heaps warm up */
  for (unsigned round = 0; round < result->rounds; round++) {
    disturbed += one_round(comparison, n, cost);
    ours[round] = cost[0] / comparison->operations;
    theirs[round] = cost[1] / comparison->operations;
    result_add(result, cost[0] / cost[1]);
  }
  result->ours = median_of(ours, result->rounds);
  const int length = snprintf(result->beside, sizeof result->beside, "%.3g ns against %.3g ns", result->ours,
                              median_of(theirs, result->rounds));
  if (disturbed)
    snprintf(result->beside + length, sizeof result->beside - (size_t)length, "; disturbed in %u of %u slices", disturbed,
             4 * result->rounds);
}

/* ---- crews ---- */

static uint64_t processor_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

bool pin_crews = false;

/* The index-th of the processors that this process may use. A crew of more threads than processors is left alone. */
static void pin(unsigned index, unsigned count) {
  cpu_set_t allowed, one;
  if (sched_getaffinity(0, sizeof allowed, &allowed) || (unsigned)CPU_COUNT(&allowed) < count) return;
  CPU_ZERO(&one);
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
    if (CPU_ISSET(cpu, &allowed) && index-- == 0) CPU_SET(cpu, &one);
  if (pthread_setaffinity_np(pthread_self(), sizeof one, &one)) die("cannot pin a thread");
}

static void *crew_thread(void *argument) {
  struct crew_member *member = argument;
  struct crew *crew = member->crew;
  unsigned turns = 0;
  if (pin_crews) pin(member->index, crew->count);
  must_attach("crew");
  atomic_fetch_add_explicit(&crew->arrived, 1, memory_order_relaxed);
  /* Pairs with the release in crew_go: what the caller wrote before is seen by the body. */
  while (!atomic_load_explicit(&crew->go, memory_order_acquire)) wait_turn(&turns);
  atomic_fetch_add_explicit(&crew->ready, 1, memory_order_relaxed);
  while (atomic_load_explicit(&crew->ready, memory_order_relaxed) < crew->count) wait_turn(&turns);
  member->begun_ns = now_ns();
  const uint64_t processor = processor_ns();
  crew->body(member->index, crew->context, crew->n);
  member->processor_ns = processor_ns() - processor;
  member->ended_ns = now_ns();
  fh_detach();
  pthread_mutex_lock(&crew->lock);
  /* Only the last one wakes the caller, which would otherwise take the processor of one that is still timed. */
  if (++crew->finished == crew->count) pthread_cond_signal(&crew->ended);
  pthread_mutex_unlock(&crew->lock);
  return NULL;
}

void crew_start(struct crew *crew, unsigned count, crew_body body, void *context, uint64_t n) {
  *crew = (struct crew){.count = count, .body = body, .context = context, .n = n};
  pthread_mutex_init(&crew->lock, NULL);
  pthread_cond_init(&crew->ended, NULL);
  for (unsigned i = 0; i < count; i++) {
    struct crew_member *member = &crew->member[i];
    member->crew = crew;
    member->index = i;
    if (pthread_create(&member->thread, NULL, crew_thread, member)) die("cannot start a thread");
  }
  for (unsigned turns = 0; atomic_load_explicit(&crew->arrived, memory_order_relaxed) < count;) wait_turn(&turns);
}

void crew_go(struct crew *crew) { atomic_store_explicit(&crew->go, true, memory_order_release); }

/* Nothing in the blocking region may allocate or free in mimalloc, because the runtime may tidy the heap of a thread that
 * is in one. Where mimalloc is the program's malloc too, pthread_create and pthread_join do; so they stay outside. */
static void wait_for_all(struct crew *crew) {
  FH_BLOCKING();
  crew_go(crew);
  pthread_mutex_lock(&crew->lock);
  while (crew->finished < crew->count) pthread_cond_wait(&crew->ended, &crew->lock);
  pthread_mutex_unlock(&crew->lock);
}

uint64_t crew_finish(struct crew *crew) {
  uint64_t first = UINT64_MAX, last = 0, processor = 0;
  wait_for_all(crew);
  for (unsigned i = 0; i < crew->count; i++) {
    const struct crew_member *member = &crew->member[i];
    pthread_join(member->thread, NULL);
    if (member->begun_ns < first) first = member->begun_ns;
    if (member->ended_ns > last) last = member->ended_ns;
    processor += member->processor_ns;
  }
  lacked = 1 - (double)processor / ((double)crew->count * (double)(last - first));
  pthread_cond_destroy(&crew->ended);
  pthread_mutex_destroy(&crew->lock);
  return last - first;
}

uint64_t crew_run(unsigned count, crew_body body, void *context, uint64_t n) {
  struct crew crew;
  crew_start(&crew, count, body, context, n);
  return crew_finish(&crew);
}
