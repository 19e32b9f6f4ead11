/* SPDX-License-Identifier: MIT */
/* What a pair costs in the designs that are not the usual one: in processes of their own, because a process has one design
 * for good. There a pair is compared with a C11 pair of the same process, and two designs by their ratios to it, so that a
 * process on a slower moment of the machine does not make its design look slower. */
#include "bench.h"

#include <string.h>

enum { ROUNDS_A_PROCESS = 3 };

static const struct figure *figure_named(const struct figure *family, const char *name) {
  for (; family->name; family++)
    if (!strcmp(family->name, name)) return family;
  die("there is no figure %s", name);
}

static void measure_in_child(const struct figure *figure, double *values, unsigned count) {
  struct result result = {.rounds = ROUNDS_A_PROCESS};
  expect(count >= 1, "there is room for a value");
  must_attach("child");
  figure->measure(&result);
  fh_detach();
  values[0] = median_of(result.value, result.filled);
}

/* Value: the ratio of a pair on an object of this thread to a C11 pair. */
void child_pair(double *values, unsigned count) {
  measure_in_child(figure_named(count_figures, "count.owner_vs_atomic"), values, count);
}

/* Value: the ratio of making and releasing to malloc and free. */
void child_make(double *values, unsigned count) {
  measure_in_child(figure_named(object_figures, "object.make_release_vs_malloc"), values, count);
}

static void measure_atomic_vs_c11(struct result *result) {
  double value = 0;
  for (unsigned round = 0; round < result->rounds; round++) {
    run_child("pair_atomic", &value, 1);
    result_add(result, value);
  }
  snprintf(result->beside, sizeof result->beside, "a process a round");
}

static void measure_gil_pair(struct result *result) { compare_children(result, "pair_gil", "pair_biased", "yardsticks"); }
static void measure_atomic_make(struct result *result) { compare_children(result, "make_atomic", "make_biased", "yardsticks"); }

const struct figure design_figures[] = {
    {"design.atomic_vs_c11", "x", AT_MOST, 1.3, measure_atomic_vs_c11},
    {"design.gil_pair_vs_biased", "x", REPORTED, 0, measure_gil_pair},
    {"design.atomic_make_vs_biased", "x", REPORTED, 0, measure_atomic_make},
    {NULL, NULL, REPORTED, 0, NULL},
};
