/* SPDX-License-Identifier: MIT */
/* What it costs that the design is chosen at start-up, and what a pair costs in the designs that are not the usual one.
 *
 * The first is counted, not timed: in instructions, by callgrind. The second runs in processes of their own, because a
 * process has one design for good. There a pair is compared with a C11 pair of the same process, and two designs by their
 * ratios to it, so that a process on a slower moment of the machine does not make its design look slower. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- instructions ---- */

enum { THOUSANDS = 100 };

static const char *const usual_program = "fh-pairs";
static const char *const biased_only_program = "fh-pairs-biased-only";

/* The programs lie beside this one. */
static void find_program(char *path, size_t size, const char *name) {
  const ssize_t length = readlink("/proc/self/exe", path, size - 1);
  if (length < 0) die("cannot read /proc/self/exe");
  path[length] = 0;
  char *base = strrchr(path, '/') + 1;
  const size_t room = size - (size_t)(base - path);
  if ((size_t)snprintf(base, room, "%s", name) >= room) die("the path of %s is too long", name);
}

/* Of the whole run of a program; 0 if there is no valgrind. */
static uint64_t count_instructions(const char *name, const char *what, unsigned thousands) {
  char valgrind[] = "valgrind", tool[] = "--tool=callgrind", nowhere[] = "--callgrind-out-file=/dev/null";
  char program[4096], pairs[16], turns[16], line[512];
  char *arguments[] = {valgrind, tool, nowhere, program, pairs, turns, NULL};
  struct program run;
  uint64_t counted = 0;
  find_program(program, sizeof program, name);
  if (access(program, X_OK)) die("%s is not there", program);
  snprintf(pairs, sizeof pairs, "%s", what);
  snprintf(turns, sizeof turns, "%u", thousands);
  if (!program_start(&run, valgrind, arguments, STDERR_FILENO)) return 0;
  while (fgets(line, sizeof line, run.from)) {
    const char *found = strstr(line, "Collected : ");
    if (found) counted = strtoull(found + strlen("Collected : "), NULL, 10);
  }
  program_end(&run, name);
  expect(counted > 0, "valgrind says how many instructions it saw");
  return counted;
}

/* What one pair adds to a run. */
static double instructions_a_pair(const char *name, const char *what) {
  const uint64_t once = count_instructions(name, what, THOUSANDS);
  const uint64_t twice = once ? count_instructions(name, what, 2 * THOUSANDS) : 0;
  return (double)(twice - once) / (1000.0 * THOUSANDS);
}

static void compare_instructions(struct result *result, const char *what) {
  const double usual = instructions_a_pair(usual_program, what);
  if (!(usual > 0)) {
    snprintf(result->beside, sizeof result->beside, "valgrind is not installed");
    return;
  }
  const double biased_only = instructions_a_pair(biased_only_program, what);
  result_add(result, usual / biased_only);
  snprintf(result->beside, sizeof result->beside, "%.5g instructions against %.5g", usual, biased_only);
}

static void measure_dispatch_cost(struct result *result) { compare_instructions(result, "pair"); }
static void measure_dispatch_make(struct result *result) { compare_instructions(result, "make"); }

/* ---- processes of one design ---- */

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

static double run_design(const char *child) {
  double value = 0;
  run_child(child, &value, 1);
  return value;
}

static void measure_atomic_vs_c11(struct result *result) {
  for (unsigned round = 0; round < result->rounds; round++) result_add(result, run_design("pair_atomic"));
  snprintf(result->beside, sizeof result->beside, "a process a round");
}

static void compare_designs(struct result *result, const char *ours, const char *theirs) {
  double our[ROUNDS_MAX], their[ROUNDS_MAX];
  for (unsigned round = 0; round < result->rounds; round++) {
    our[round] = run_design(ours);
    their[round] = run_design(theirs);
    result_add(result, our[round] / their[round]);
  }
  snprintf(result->beside, sizeof result->beside, "%.3g against %.3g yardsticks; a process each a round",
           median_of(our, result->rounds), median_of(their, result->rounds));
}

static void measure_gil_pair(struct result *result) { compare_designs(result, "pair_gil", "pair_biased"); }
static void measure_atomic_make(struct result *result) { compare_designs(result, "make_atomic", "make_biased"); }

const struct figure design_figures[] = {
    {"design.dispatch_cost", "x", AT_MOST, 1.02, measure_dispatch_cost},
    {"design.dispatch_make", "x", REPORTED, 0, measure_dispatch_make},
    {"design.atomic_vs_c11", "x", AT_MOST, 1.3, measure_atomic_vs_c11},
    {"design.gil_pair_vs_biased", "x", REPORTED, 0, measure_gil_pair},
    {"design.atomic_make_vs_biased", "x", REPORTED, 0, measure_atomic_make},
    {NULL, NULL, REPORTED, 0, NULL},
};
