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
enum { SLICE_NS = 8000000, SPINS_BEFORE_YIELD = 512 };

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

static void one_round(const struct comparison *comparison, const uint64_t n[2], double cost[2]) {
  double spent[2] = {0, 0};
  for (unsigned slice = 0; slice < 4; slice++) {
    const unsigned which = slice == 1 || slice == 2;
    spent[which] += (double)(which ? comparison->theirs : comparison->ours)(comparison->context, n[which]);
  }
  for (unsigned which = 0; which < 2; which++) cost[which] = spent[which] / (2.0 * (double)n[which]);
}

void compare(struct result *result, const struct comparison *comparison) {
  uint64_t n[2] = {comparison->fixed, comparison->fixed};
  double cost[2], ours[ROUNDS_MAX], theirs[ROUNDS_MAX];
  if (!comparison->fixed) {
    n[0] = calibrate(comparison->ours, comparison->context);
    n[1] = calibrate(comparison->theirs, comparison->context);
  }
  one_round(comparison, n, cost); /* not counted: caches, branch predictors and heaps warm up */
  for (unsigned round = 0; round < result->rounds; round++) {
    one_round(comparison, n, cost);
    ours[round] = cost[0] / comparison->operations;
    theirs[round] = cost[1] / comparison->operations;
    result_add(result, cost[0] / cost[1]);
  }
  snprintf(result->beside, sizeof result->beside, "%.3g ns against %.3g ns", median_of(ours, result->rounds),
           median_of(theirs, result->rounds));
}

/* ---- crews ---- */

static void *crew_thread(void *argument) {
  struct crew_member *member = argument;
  struct crew *crew = member->crew;
  unsigned turns = 0;
  must_attach("crew");
  atomic_fetch_add_explicit(&crew->arrived, 1, memory_order_relaxed);
  /* Pairs with the release in crew_go: what the caller wrote before is seen by the body. */
  while (!atomic_load_explicit(&crew->go, memory_order_acquire)) wait_turn(&turns);
  member->begun_ns = now_ns();
  crew->body(member->index, crew->context, crew->n);
  member->ended_ns = now_ns();
  fh_detach();
  pthread_mutex_lock(&crew->lock);
  crew->finished++;
  pthread_cond_signal(&crew->ended);
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
  uint64_t first = UINT64_MAX, last = 0;
  wait_for_all(crew);
  for (unsigned i = 0; i < crew->count; i++) {
    const struct crew_member *member = &crew->member[i];
    pthread_join(member->thread, NULL);
    if (member->begun_ns < first) first = member->begun_ns;
    if (member->ended_ns > last) last = member->ended_ns;
  }
  pthread_cond_destroy(&crew->ended);
  pthread_mutex_destroy(&crew->lock);
  return last - first;
}

uint64_t crew_run(unsigned count, crew_body body, void *context, uint64_t n) {
  struct crew crew;
  crew_start(&crew, count, body, context, n);
  return crew_finish(&crew);
}
