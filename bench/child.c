/* SPDX-License-Identifier: MIT */
/* Figures about resident memory run in a process of their own, so that no other figure's heap is in them; so do those of
 * other options than the usual ones, and those of processes without a runtime. libgc scans all of its process's data, stacks
 * and threads, so it has processes of its own, too. */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_VALUES = 4 };

const struct child bench_children[] = {
    {.name = "blocked_owner", .run = child_blocked_owner},
    {.name = "churn", .run = child_churn},
    {.name = "pair_biased", .run = child_pair},
    {.name = "pair_atomic", .run = child_pair, .options.design = FH_DESIGN_ATOMIC},
    {.name = "pair_gil", .run = child_pair, .options.design = FH_DESIGN_GIL},
    {.name = "make_biased", .run = child_make},
    {.name = "make_atomic", .run = child_make, .options.design = FH_DESIGN_ATOMIC},
    {.name = "fork_server", .run = child_fork_server},
    {.name = "fork_server_plain", .run = child_fork_server_plain, .without_runtime = true},
    {.name = "fork_busy", .run = child_fork_busy},
    {.name = "fork_busy_plain", .run = child_fork_busy_plain, .without_runtime = true},
    {.name = "full", .run = child_full, .options = LINEAR(1)},
    {.name = "full_one", .run = child_full_beside, .options = LINEAR(1)},
    {.name = "full_two", .run = child_full_beside, .options = LINEAR(2)},
    {.name = "pairs", .run = child_pairs},
    {.name = "pairs_beside_live", .run = child_pairs_beside_live},
    {.name = "gcbench", .run = child_gcbench},
    {.name = NULL},
};

/* ---- any program ---- */

bool program_start(struct program *program, const char *file, char *const *arguments, int captured) {
  posix_spawn_file_actions_t actions;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC)) die("cannot make a pipe");
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], captured);
  const int error = posix_spawnp(&program->pid, file, &actions, NULL, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (error && error != ENOENT) die("cannot start %s: %s", file, strerror(error));
  program->from = error ? NULL : fdopen(ends[0], "r");
  if (!error && !program->from) die("cannot read from a pipe");
  if (error) close(ends[0]);
  return !error;
}

void program_end(struct program *program, const char *name) {
  int status = 0;
  fclose(program->from);
  if (waitpid(program->pid, &status, 0) != program->pid || status != 0)
    die("the process for %s ended with status %d", name, status);
}

/* ---- this one, as a child ---- */

void run_child(const char *name, double *values, unsigned count) {
  char self[] = "fh-bench", option[] = "--child", which[32];
  char *arguments[] = {self, option, which, NULL};
  struct program program;
  snprintf(which, sizeof which, "%s", name);
  if (!program_start(&program, "/proc/self/exe", arguments, STDOUT_FILENO)) die("cannot start this program again");
  unsigned got = 0;
  while (got < count && fscanf(program.from, "%lf", &values[got]) == 1) got++;
  program_end(&program, name);
  if (got < count) die("the process for %s gave %u numbers instead of %u", name, got, count);
}

static void start_runtime(const fh_options *options) {
  const fh_status status = fh_init(options);
  if (status != FH_OK) die("fh_init: %s", fh_status_name(status));
}

static const struct child *find_child(const struct child *child, const char *name) {
  while (child->name && strcmp(child->name, name) != 0) child++;
  return child->name ? child : NULL;
}

int be_child(const char *name) {
  double values[CHILD_VALUES] = {0};
  const struct child *child = find_child(bench_children, name);
  if (!child) child = find_child(libgc_children, name);
  if (!child) die("there is no child named %s", name);
  if (!child->without_runtime) start_runtime(&child->options);
  child->run(values, CHILD_VALUES);
  for (unsigned i = 0; i < CHILD_VALUES; i++) printf("%.17g\n", values[i]);
  fflush(stdout);
  return 0;
}

/* ---- two of them ---- */

static double first_value(const char *child) {
  double value = 0;
  run_child(child, &value, 1);
  return value;
}

void compare_children(struct result *result, const char *ours, const char *theirs, const char *unit) {
  double our[ROUNDS_MAX], their[ROUNDS_MAX];
  for (unsigned round = 0; round < result->rounds; round++) {
    our[round] = first_value(ours);
    their[round] = first_value(theirs);
    result_add(result, our[round] / their[round]);
  }
  snprintf(result->beside, sizeof result->beside, "%.3g against %.3g %s; a process each a round",
           median_of(our, result->rounds), median_of(their, result->rounds), unit);
}

bool has_libgc(struct result *result) {
  if (!libgc_children->name) snprintf(result->beside, sizeof result->beside, "libgc is not installed");
  return libgc_children->name;
}

void compare_with_libgc(struct result *result, const char *ours, const char *unit) {
  char theirs[32];
  snprintf(theirs, sizeof theirs, "libgc_%s", ours);
  if (has_libgc(result)) compare_children(result, ours, theirs, unit);
}
