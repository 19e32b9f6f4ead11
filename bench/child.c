/* SPDX-License-Identifier: MIT */
/* Figures about resident memory run in a process of their own, so that no other figure's heap is in them; so do those of
 * another design than the usual one, and those of processes without a runtime. */
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
    {.name = "pair_atomic", .run = child_pair, .design = FH_DESIGN_ATOMIC},
    {.name = "pair_gil", .run = child_pair, .design = FH_DESIGN_GIL},
    {.name = "make_biased", .run = child_make},
    {.name = "make_atomic", .run = child_make, .design = FH_DESIGN_ATOMIC},
    {.name = "fork_server", .run = child_fork_server},
    {.name = "fork_server_plain", .run = child_fork_server_plain, .without_runtime = true},
    {.name = "fork_busy", .run = child_fork_busy},
    {.name = "fork_busy_plain", .run = child_fork_busy_plain, .without_runtime = true},
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

static void start_runtime(fh_design design) {
  const fh_options options = {.design = design};
  const fh_status status = fh_init(&options);
  if (status != FH_OK) die("fh_init: %s", fh_status_name(status));
}

int be_child(const char *name) {
  double values[CHILD_VALUES] = {0};
  for (const struct child *child = bench_children; child->name; child++) {
    if (strcmp(child->name, name) != 0) continue;
    if (!child->without_runtime) start_runtime(child->design);
    child->run(values, CHILD_VALUES);
    for (unsigned i = 0; i < CHILD_VALUES; i++) printf("%.17g\n", values[i]);
    fflush(stdout);
    return 0;
  }
  die("there is no child named %s", name);
}
