/* SPDX-License-Identifier: MIT */
/* GCBench, against libgc: all of it by one thread, and by two at the same time; the sum of both times counts. */
#include "bench.h"

struct tree {
  fh_object fh;
  struct tree *left;
  struct tree *right;
  int i, j;
};
struct numbers {
  fh_object fh;
  double at[];
};

static const fh_ref tree_refs[] = {FH_FIELD(struct tree, left), FH_FIELD(struct tree, right), FH_END};
static const fh_type_spec tree_spec = {.name = "bench.tree", .size = sizeof(struct tree), .refs = tree_refs};
static const fh_type_spec numbers_spec = {
    .name = "bench.numbers", .size = sizeof(struct numbers), .item_size = sizeof(double)};
static fh_type *tree_type, *numbers_type;

static struct tree *make_tree(void) {
  fh_safepoint();
  struct tree *tree = fh_new(tree_type);
  if (!tree) die("fh_new: no memory");
  return tree;
}

static struct numbers *make_numbers(size_t count) {
  struct numbers *numbers = fh_new_items(numbers_type, count);
  if (!numbers) die("fh_new_items: no memory");
  return numbers;
}

static void set_left(struct tree *tree, struct tree *part) { fh_give(tree, left, part); }
static void set_right(struct tree *tree, struct tree *part) { fh_give(tree, right, part); }
static void drop_tree(struct tree *tree) { fh_release(tree); }
static void drop_numbers(struct numbers *numbers) { fh_release(numbers); }

#include "gcbench.h"

static void be_gcbench(unsigned index, void *context, uint64_t n) {
  (void)index;
  (void)context;
  (void)n;
  run_gcbench();
}

/* Values: seconds, of one thread, and of two. */
void child_gcbench(double *values, unsigned count) {
  expect(count >= 2, "there is room for two values");
  must_attach("child");
  tree_type = must_register(&tree_spec);
  numbers_type = must_register(&numbers_spec);
  for (unsigned threads = 1; threads <= 2; threads++)
    values[threads - 1] = (double)crew_run(threads, be_gcbench, NULL, 1) / 1e9;
  fh_detach();
}

static void measure_gcbench(struct result *result) {
  double our[2][ROUNDS_MAX], their[2][ROUNDS_MAX], ours[2], theirs[2];
  if (!has_libgc(result)) return;
  result_limit_rounds(result, 3);
  for (unsigned round = 0; round < result->rounds; round++) {
    run_child("gcbench", ours, 2);
    run_child("libgc_gcbench", theirs, 2);
    result_add(result, (ours[0] + ours[1]) / (theirs[0] + theirs[1]));
    for (unsigned i = 0; i < 2; i++) {
      our[i][round] = ours[i];
      their[i][round] = theirs[i];
    }
  }
  snprintf(result->beside, sizeof result->beside, "one thread %.3g s against %.3g, two %.3g s against %.3g",
           median_of(our[0], result->rounds), median_of(their[0], result->rounds), median_of(our[1], result->rounds),
           median_of(their[1], result->rounds));
}

const struct figure gcbench_figures[] = {
    {"gcbench.vs_libgc", "x", AT_MOST, 0.8, measure_gcbench},
    {NULL, NULL, REPORTED, 0, NULL},
};
