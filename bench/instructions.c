/* SPDX-License-Identifier: MIT */
/* Figures that are counted, not timed: in instructions, by callgrind. What it costs that the design is chosen at start-up, and
 * what automatic collection costs objects that die by their counts. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THOUSANDS = 100, MANY_THOUSANDS = 1000 };

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

/* What one turn adds to a run. */
static double instructions_a_turn(const char *name, const char *what, unsigned thousands) {
  const uint64_t once = count_instructions(name, what, thousands);
  const uint64_t twice = once ? count_instructions(name, what, 2 * thousands) : 0;
  return (double)(twice - once) / (1000.0 * thousands);
}

static void compare_instructions(struct result *result, double ours, double theirs) {
  if (!(ours > 0)) {
    snprintf(result->beside, sizeof result->beside, "valgrind is not installed");
    return;
  }
  result_add(result, ours / theirs);
  snprintf(result->beside, sizeof result->beside, "%.5g instructions against %.5g", ours, theirs);
}

static void compare_libraries(struct result *result, const char *what) {
  compare_instructions(result, instructions_a_turn(usual_program, what, THOUSANDS),
                       instructions_a_turn(biased_only_program, what, THOUSANDS));
}

static void measure_dispatch_cost(struct result *result) { compare_libraries(result, "pair"); }
static void measure_dispatch_make(struct result *result) { compare_libraries(result, "make"); }

/* So many that there are some collections. */
static void measure_acyclic(struct result *result) {
  compare_instructions(result, instructions_a_turn(usual_program, "rows", MANY_THOUSANDS),
                       instructions_a_turn(usual_program, "rows-gc-off", MANY_THOUSANDS));
}

const struct figure instruction_figures[] = {
    {"design.dispatch_cost", "x", AT_MOST, 1.02, measure_dispatch_cost},
    {"design.dispatch_make", "x", REPORTED, 0, measure_dispatch_make},
    {"gc.acyclic_overhead", "x", AT_MOST, 1.02, measure_acyclic},
    {NULL, NULL, REPORTED, 0, NULL},
};
