/* SPDX-License-Identifier: MIT */
/* Collections: of a million objects that live, against the three passes that no trial deletion can do without, written
 * by hand over the same graph; and of a million dead pairs, against freeing their memory by hand.
 *
 * The graph is random with out-degree 2 and reachable from a thousand roots: every other object is put into a random
 * free field of an earlier one, and the fields that are then left point anywhere. */
#include "bench.h"

#include <mimalloc.h>

enum { LIVE = 1000000, ROOTS = 1000, PAIRS = 1000000, AHEAD = 16 };

/* As large as a node: its index and its count stand where a header would have them. */
struct plain {
  uint64_t index;
  uint64_t count;
  struct plain *child[2];
};
_Static_assert(sizeof(struct plain) == sizeof(struct node), "equal size");

struct graph {
  uint32_t (*edge)[2]; /* of each object, its two children */
  struct node **object;
  struct plain **plain; /* in the order of allocation; AHEAD more at the end, for the prefetch */
  uint32_t *refs;
  uint8_t *marked;
  struct plain **stack;
};

/* ---- the graph ---- */

static uint64_t next_random(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return *state >> 33;
}

static void draw_edges(struct graph *graph) {
  uint64_t state = 1;
  uint32_t *field = must_allocate(2 * (size_t)LIVE * sizeof *field); /* the free ones; field f is edge[f / 2][f % 2] */
  uint32_t free_fields = 0, *edge = &graph->edge[0][0];
  for (uint32_t i = 0; i < LIVE; i++) {
    if (i >= ROOTS) {
      const uint64_t pick = next_random(&state) % free_fields;
      edge[field[pick]] = i;
      field[pick] = field[--free_fields];
    }
    field[free_fields++] = 2 * i;
    field[free_fields++] = 2 * i + 1;
  }
  while (free_fields > 0) edge[field[--free_fields]] = (uint32_t)(next_random(&state) % LIVE);
  mi_free(field);
}

static void build_objects(struct graph *graph) {
  fh_type *type = must_register(&node_spec);
  for (uint32_t i = 0; i < LIVE; i++) graph->object[i] = must_make(type);
  for (uint32_t i = 0; i < LIVE; i++) {
    fh_set(graph->object[i], a, graph->object[graph->edge[i][0]]);
    fh_set(graph->object[i], b, graph->object[graph->edge[i][1]]);
  }
  for (uint32_t i = ROOTS; i < LIVE; i++) fh_release(graph->object[i]);
}

static void build_plain(struct graph *graph) {
  for (uint32_t i = 0; i < LIVE; i++) {
    graph->plain[i] = must_allocate(sizeof(struct plain));
    graph->plain[i]->index = i;
    graph->plain[i]->count = i < ROOTS;
  }
  for (uint32_t i = LIVE; i < LIVE + AHEAD; i++) graph->plain[i] = graph->plain[LIVE - 1];
  for (uint32_t i = 0; i < LIVE; i++)
    for (unsigned k = 0; k < 2; k++) {
      graph->plain[i]->child[k] = graph->plain[graph->edge[i][k]];
      graph->plain[i]->child[k]->count++;
    }
}

static void graph_init(struct graph *graph) {
  graph->edge = must_allocate(LIVE * sizeof *graph->edge);
  graph->object = must_allocate(LIVE * sizeof *graph->object);
  graph->plain = must_allocate((LIVE + AHEAD) * sizeof *graph->plain);
  graph->refs = must_allocate(LIVE * sizeof *graph->refs);
  graph->marked = must_allocate(LIVE);
  graph->stack = must_allocate(3 * (size_t)LIVE * sizeof *graph->stack);
  draw_edges(graph);
  build_objects(graph);
  build_plain(graph);
}

static void graph_finish(struct graph *graph) {
  for (uint32_t i = 0; i < ROOTS; i++) fh_release(graph->object[i]);
  for (uint32_t i = 0; i < LIVE; i++) mi_free(graph->plain[i]);
  mi_free(graph->stack);
  mi_free(graph->marked);
  mi_free(graph->refs);
  mi_free(graph->plain);
  mi_free(graph->object);
  mi_free(graph->edge);
}

/* ---- the floor ---- */

/* Reads every header. */
static __attribute__((noinline)) void pass_linear(struct graph *graph) {
  for (uint32_t i = 0; i < LIVE; i++) {
    __builtin_prefetch(graph->plain[i + AHEAD]);
    const struct plain *one = graph->plain[i];
    graph->refs[one->index] = (uint32_t)one->count;
    graph->marked[one->index] = 0;
  }
}

/* Takes every reference from inside off; a child is looked at when 16 others were seen after it. */
static __attribute__((noinline)) void pass_subtract(struct graph *graph) {
  static struct plain nobody;
  struct plain *waiting[AHEAD];
  uint32_t *refs = graph->refs;
  unsigned at = 0;
  for (unsigned k = 0; k < AHEAD; k++) waiting[k] = &nobody;
  nobody.index = graph->plain[0]->index;
  refs[nobody.index] += AHEAD; /* the fillers take these off again */
  for (uint32_t i = 0; i < LIVE; i++) {
    __builtin_prefetch(graph->plain[i + AHEAD]);
    for (unsigned k = 0; k < 2; k++) {
      struct plain *child = graph->plain[i]->child[k];
      __builtin_prefetch(child);
      refs[waiting[at]->index]--;
      waiting[at] = child;
      at = (at + 1) % AHEAD;
    }
  }
  for (unsigned k = 0; k < AHEAD; k++) refs[waiting[k]->index]--;
}

/* Marks what `one` reaches and is not yet marked: a first-in-first-out of 16 before the stack. */
static uint32_t mark_from(struct graph *graph, struct plain *root) {
  struct plain *waiting[AHEAD] = {NULL}, **stack = graph->stack;
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
    if (!out || graph->marked[out->index]) continue;
    graph->marked[out->index] = 1;
    found++;
    stack[top++] = out->child[0];
    stack[top++] = out->child[1];
    idle = 0;
  }
  return found;
}

static __attribute__((noinline)) uint32_t pass_mark(struct graph *graph) {
  uint32_t found = 0;
  for (uint32_t i = 0; i < LIVE; i++)
    if (graph->refs[i] && !graph->marked[i]) found += mark_from(graph, graph->plain[i]);
  return found;
}

static uint64_t floor_side(void *context, uint64_t n) {
  struct graph *graph = context;
  const uint64_t begun = now_ns();
  for (uint64_t turn = 0; turn < n; turn++) {
    pass_linear(graph);
    pass_subtract(graph);
    expect(pass_mark(graph) == LIVE, "the passes by hand find everything alive");
  }
  return now_ns() - begun;
}

static uint64_t collect_side(void *context, uint64_t n) {
  (void)context;
  const uint64_t begun = now_ns();
  for (uint64_t turn = 0; turn < n; turn++) expect(fh_collect(2) == 0, "a collection finds everything alive");
  return now_ns() - begun;
}

static void measure_full(struct result *result) {
  struct graph graph;
  const struct comparison comparison = {
      .ours = collect_side, .theirs = floor_side, .context = &graph, .operations = LIVE, .fixed = 1};
  fh_gc_disable();
  graph_init(&graph);
  compare(result, &comparison);
  expect(fh_type_live(must_register(&node_spec)) == LIVE, "a million objects live");
  graph_finish(&graph);
  expect(fh_collect(2) > 0 && fh_type_live(must_register(&node_spec)) == 0, "the graph is garbage in the end");
  fh_gc_enable();
}

/* ---- dead pairs ---- */

/* Two objects that refer to each other, and nothing to them. */
static void drop_pair(fh_type *type) {
  struct node *a = must_make(type), *b = must_make(type);
  fh_set(a, a, b);
  fh_give(b, a, a);
  fh_release(b);
}

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
  double alone[ROUNDS_MAX], beside[ROUNDS_MAX];
};

/* The heap is empty in the first half, and holds a million old objects in the second: it cannot change sides in each round. */
static void sample_young(struct young *young, unsigned rounds) {
  struct graph graph;
  fh_type *type = must_register(&node_spec);
  fh_gc_disable();
  for (unsigned i = 0; i < rounds; i++) young->alone[i] = young_ns(type);
  graph_init(&graph);
  fh_collect(2);
  for (unsigned i = 0; i < rounds; i++) young->beside[i] = young_ns(type);
  graph_finish(&graph);
  expect(fh_collect(2) > 0 && fh_type_live(type) == 0, "the graph is garbage in the end");
  fh_gc_enable();
}

static void measure_young_beside_old(struct result *result) {
  struct young young;
  sample_young(&young, result->rounds);
  for (unsigned i = 0; i < result->rounds; i++) result_add(result, young.beside[i] / young.alone[i]);
  snprintf(result->beside, sizeof result->beside, "%.1f us against %.1f us", median_of(young.beside, result->rounds) / 1e3,
           median_of(young.alone, result->rounds) / 1e3);
}

static void measure_young(struct result *result) {
  struct young young;
  sample_young(&young, result->rounds);
  for (unsigned i = 0; i < result->rounds; i++) result_add(result, young.beside[i] / 1e3);
}

const struct figure gc_figures[] = {
    {"gc.young_beside_old", "x", AT_MOST, 1.3, measure_young_beside_old},
    {"gc.young_us", "us", AT_MOST, 150, measure_young},
    {"gc.full_vs_floor", "x", AT_MOST, 1.5, measure_full},
    {"gc.dead_pairs_vs_malloc", "x", REPORTED, 0, measure_pairs},
    {NULL, NULL, REPORTED, 0, NULL},
};
