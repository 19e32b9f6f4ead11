/* SPDX-License-Identifier: MIT */
/* Collections: of a million objects that live, against the three passes that no trial deletion can do without, written by
 * hand over the same graph, and against libgc; and of a million dead pairs, against freeing their memory by hand. */
#include "bench.h"

#include <mimalloc.h>

enum { PAIRS = 1000000, AHEAD = 16, ROUNDS_A_PROCESS = 3 };

/* As large as a node: its index and its count stand where a header would have them. */
struct plain {
  uint64_t index;
  uint64_t count;
  struct plain *child[2];
};
_Static_assert(sizeof(struct plain) == sizeof(struct node), "equal size");

/* The same graph, without the runtime. */
struct by_hand {
  struct plain **plain; /* in the order of allocation; AHEAD more at the end, for the prefetch */
  uint32_t *refs;
  uint8_t *marked;
  struct plain **stack;
};

/* ---- the floor ---- */

static void by_hand_init(struct by_hand *by_hand, const struct edges *edges) {
  *by_hand = (struct by_hand){.plain = must_allocate((LIVE + AHEAD) * sizeof *by_hand->plain),
                              .refs = must_allocate(LIVE * sizeof *by_hand->refs),
                              .marked = must_allocate(LIVE),
                              .stack = must_allocate(3 * (size_t)LIVE * sizeof *by_hand->stack)};
  for (uint32_t i = 0; i < LIVE; i++) {
    by_hand->plain[i] = must_allocate(sizeof(struct plain));
    by_hand->plain[i]->index = i;
    by_hand->plain[i]->count = i < ROOTS;
  }
  for (uint32_t i = LIVE; i < LIVE + AHEAD; i++) by_hand->plain[i] = by_hand->plain[LIVE - 1];
  for (uint32_t i = 0; i < LIVE; i++)
    for (unsigned k = 0; k < 2; k++) {
      by_hand->plain[i]->child[k] = by_hand->plain[edges[i].to[k]];
      by_hand->plain[i]->child[k]->count++;
    }
}

/* Reads every header. */
static __attribute__((noinline)) void pass_linear(struct by_hand *by_hand) {
  for (uint32_t i = 0; i < LIVE; i++) {
    __builtin_prefetch(by_hand->plain[i + AHEAD]);
    const struct plain *one = by_hand->plain[i];
    by_hand->refs[one->index] = (uint32_t)one->count;
    by_hand->marked[one->index] = 0;
  }
}

/* Takes every reference from inside off; a child is looked at when 16 others were seen after it. */
static __attribute__((noinline)) void pass_subtract(struct by_hand *by_hand) {
  static struct plain nobody;
  struct plain *waiting[AHEAD];
  uint32_t *refs = by_hand->refs;
  unsigned at = 0;
  for (unsigned k = 0; k < AHEAD; k++) waiting[k] = &nobody;
  nobody.index = by_hand->plain[0]->index;
  refs[nobody.index] += AHEAD; /* the fillers take these off again */
  for (uint32_t i = 0; i < LIVE; i++) {
    __builtin_prefetch(by_hand->plain[i + AHEAD]);
    for (unsigned k = 0; k < 2; k++) {
      struct plain *child = by_hand->plain[i]->child[k];
      __builtin_prefetch(child);
      refs[waiting[at]->index]--;
      waiting[at] = child;
      at = (at + 1) % AHEAD;
    }
  }
  for (unsigned k = 0; k < AHEAD; k++) refs[waiting[k]->index]--;
}

/* Marks what `one` reaches and is not yet marked: a first-in-first-out of 16 before the stack. */
static uint32_t mark_from(struct by_hand *by_hand, struct plain *root) {
  struct plain *waiting[AHEAD] = {NULL}, **stack = by_hand->stack;
  uint32_t found = 0;
  size_t top = 0;
  unsigned at = 0, idle = 0;
  stack[top++] = root;
  while (idle < AHEAD) { /* so many turns with an empty stack empty the queue */
    struct plain *in = top ? stack[--top] : NULL;
    struct plain *out = waiting[at];
    __builtin_prefetch(in);
    waiting[at] = in;
    at = (at + 1) % AHEAD;
    idle = in ? 0 : idle + 1;
    if (!out || by_hand->marked[out->index]) continue;
    by_hand->marked[out->index] = 1;
    found++;
    stack[top++] = out->child[0];
    stack[top++] = out->child[1];
    idle = 0;
  }
  return found;
}

static __attribute__((noinline)) uint32_t pass_mark(struct by_hand *by_hand) {
  uint32_t found = 0;
  for (uint32_t i = 0; i < LIVE; i++)
    if (by_hand->refs[i] && !by_hand->marked[i]) found += mark_from(by_hand, by_hand->plain[i]);
  return found;
}

static uint64_t floor_side(void *context, uint64_t n) {
  struct by_hand *by_hand = context;
  const uint64_t begun = now_ns();
  for (uint64_t turn = 0; turn < n; turn++) {
    pass_linear(by_hand);
    pass_subtract(by_hand);
    expect(pass_mark(by_hand) == LIVE, "the passes by hand find everything alive");
  }
  return now_ns() - begun;
}

/* ---- full collections ---- */

static uint64_t collect_side(void *context, uint64_t n) {
  (void)context;
  const uint64_t begun = now_ns();
  for (uint64_t turn = 0; turn < n; turn++) expect(fh_collect(2) == 0, "a collection finds everything alive");
  return now_ns() - begun;
}

static double collect_ns(void) { return (double)collect_side(NULL, 1) / LIVE; }

/* The processes of these children end with their graphs. */
static void make_live(const struct edges *edges) {
  static struct live live;
  fh_gc_disable();
  live_init(&live, edges);
}

/* Values: ns an object, and the ratio to the passes by hand. */
void child_full(double *values, unsigned count) {
  struct by_hand by_hand;
  const struct comparison comparison = {
      .ours = collect_side, .theirs = floor_side, .context = &by_hand, .operations = LIVE, .fixed = 1};
  struct result result = {.rounds = ROUNDS_A_PROCESS};
  struct edges *edges = must_draw_edges();
  expect(count >= 2, "there is room for two values");
  must_attach("child");
  make_live(edges);
  by_hand_init(&by_hand, edges);
  compare(&result, &comparison);
  values[0] = result.ours;
  values[1] = median_of(result.value, result.filled);
}

static void measure_full(struct result *result) {
  double values[2], ours[ROUNDS_MAX];
  result_limit_rounds(result, 5);
  for (unsigned round = 0; round < result->rounds; round++) {
    run_child("full", values, 2);
    ours[round] = values[0];
    result_add(result, values[1]);
  }
  snprintf(result->beside, sizeof result->beside, "%.3g ns an object; a process a round", median_of(ours, result->rounds));
}

static void measure_full_vs_libgc(struct result *result) {
  result_limit_rounds(result, 5);
  compare_with_libgc(result, "full", "ns an object");
}

/* ---- two workers ---- */

static void poll_until_over(unsigned index, void *context, uint64_t n) {
  atomic_bool *over = context;
  (void)index;
  (void)n;
  for (unsigned turns = 0; !atomic_load_explicit(over, memory_order_relaxed);) wait_turn(&turns);
}

/* Value: ns an object, with another mutator that each collection stops. */
void child_full_beside(double *values, unsigned count) {
  static struct crew crew;
  double sample[ROUNDS_DEFAULT];
  atomic_bool over = false;
  expect(count >= 1, "there is room for a value");
  must_attach("child");
  make_live(must_draw_edges());
  crew_start(&crew, 1, poll_until_over, &over, 0);
  crew_go(&crew);
  collect_ns(); /* what is young becomes old */
  for (unsigned i = 0; i < ROUNDS_DEFAULT; i++) sample[i] = collect_ns();
  values[0] = median_of(sample, ROUNDS_DEFAULT);
  atomic_store_explicit(&over, true, memory_order_relaxed);
  crew_finish(&crew);
}

static void measure_full_two_workers(struct result *result) {
  result_limit_rounds(result, 5);
  snprintf(result->beside, sizeof result->beside, "a collection has one worker");
  compare_children(result, "full_one", "full_two", "ns an object");
}

/* ---- with nothing touched ---- */

static void measure_idle(struct result *result) {
  struct live live;
  double first[ROUNDS_MAX], second[ROUNDS_MAX];
  result_limit_rounds(result, 5);
  struct edges *edges = must_draw_edges();
  fh_gc_disable();
  for (unsigned round = 0; round < result->rounds; round++) {
    live_init(&live, edges);
    first[round] = collect_ns();
    second[round] = collect_ns();
    live_finish(&live);
    result_add(result, second[round] / first[round]);
  }
  mi_free(edges);
  fh_gc_enable();
  snprintf(result->beside, sizeof result->beside, "%.3g ns an object against %.3g", median_of(second, result->rounds),
           median_of(first, result->rounds));
}

/* ---- dead pairs ---- */

static uint64_t pairs_side(void *context, uint64_t n) {
  fh_type *type = context;
  (void)n;
  for (uint32_t i = 0; i < PAIRS; i++) drop_pair(type);
  const uint64_t begun = now_ns();
  const size_t found = fh_collect(2);
  const uint64_t spent = now_ns() - begun;
  expect(found == 2 * (size_t)PAIRS && fh_type_live(type) == 0, "a collection finds and destroys all pairs");
  return spent;
}

static uint64_t blocks_side(void *context, uint64_t n) {
  void **block = must_allocate(2 * (size_t)PAIRS * sizeof *block);
  (void)context;
  (void)n;
  for (uint32_t i = 0; i < 2 * PAIRS; i++) block[i] = must_allocate(sizeof(struct node));
  const uint64_t begun = now_ns();
  for (uint32_t i = 0; i < 2 * PAIRS; i++) mi_free(block[i]);
  const uint64_t spent = now_ns() - begun;
  mi_free(block);
  return spent;
}

static void measure_pairs(struct result *result) {
  const struct comparison comparison = {.ours = pairs_side,
                                        .theirs = blocks_side,
                                        .context = must_register(&node_spec),
                                        .operations = PAIRS,
                                        .fixed = 1};
  result_limit_rounds(result, 5);
  fh_gc_disable();
  compare(result, &comparison);
  fh_gc_enable();
}

/* ---- young garbage beside what is old ---- */

enum { YOUNG_PAIRS = 1000, SAMPLES = 31 };

/* Makes 2,000 objects of garbage and collects the young generation; what is old was collected before. */
static double young_ns(fh_type *type) {
  double sample[SAMPLES];
  for (int i = 0; i < SAMPLES; i++) {
    for (int k = 0; k < YOUNG_PAIRS; k++) drop_pair(type);
    const uint64_t begun = now_ns();
    const size_t found = fh_collect(0);
    sample[i] = (double)(now_ns() - begun);
    expect(found == 2 * YOUNG_PAIRS, "a young collection finds the young garbage");
  }
  return median_of(sample, SAMPLES);
}

struct young {
  unsigned rounds; /* 0: not yet sampled */
  double alone[ROUNDS_MAX], beside[ROUNDS_MAX];
};

/* Both figures show the same samples. The heap is empty in the first half, and holds a million old objects in the second: it
 * cannot change sides in each round. */
static const struct young *sample_young(unsigned rounds) {
  static struct young young;
  struct live live;
  fh_type *type = must_register(&node_spec);
  if (young.rounds) return &young;
  young.rounds = rounds;
  struct edges *edges = must_draw_edges();
  fh_gc_disable();
  for (unsigned i = 0; i < rounds; i++) young.alone[i] = young_ns(type);
  live_init(&live, edges);
  fh_collect(2);
  for (unsigned i = 0; i < rounds; i++) young.beside[i] = young_ns(type);
  live_finish(&live);
  fh_gc_enable();
  mi_free(edges);
  return &young;
}

static void measure_young_beside_old(struct result *result) {
  const struct young *young = sample_young(result->rounds);
  for (unsigned i = 0; i < young->rounds; i++) result_add(result, young->beside[i] / young->alone[i]);
  snprintf(result->beside, sizeof result->beside, "%.1f us against %.1f us", median_of(young->beside, young->rounds) / 1e3,
           median_of(young->alone, young->rounds) / 1e3);
}

static void measure_young(struct result *result) {
  const struct young *young = sample_young(result->rounds);
  for (unsigned i = 0; i < young->rounds; i++) result_add(result, young->beside[i] / 1e3);
}

const struct figure gc_figures[] = {
    {"gc.full_vs_floor", "x", AT_MOST, 1.3, measure_full},
    {"gc.full_vs_libgc", "x", AT_MOST, 0.4, measure_full_vs_libgc},
    {"gc.full_two_workers", "x", AT_LEAST, 1.6, measure_full_two_workers},
    {"gc.idle_vs_full", "x", AT_MOST, 0.01, measure_idle},
    {"gc.young_beside_old", "x", AT_MOST, 1.3, measure_young_beside_old},
    {"gc.young_us", "us", AT_MOST, 150, measure_young},
    {"gc.dead_pairs_vs_malloc", "x", REPORTED, 0, measure_pairs},
    {NULL, NULL, REPORTED, 0, NULL},
};
