/* SPDX-License-Identifier: MIT */
/* Figures about resident memory run in a process of their own, so that no other figure's heap is in them. */
#include "bench.h"

#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_VALUES = 4 };

const struct child bench_children[] = {
    {"blocked_owner", child_blocked_owner},
    {"churn", child_churn},
    {NULL, NULL},
};

static pid_t spawn_self(const char *name, int write_end) {
  char program[] = "fh-bench", option[] = "--child", which[32];
  char *arguments[] = {program, option, which, NULL};
  posix_spawn_file_actions_t actions;
  pid_t pid = 0;
  snprintf(which, sizeof which, "%s", name);
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, write_end, STDOUT_FILENO);
  const int error = posix_spawn(&pid, "/proc/self/exe", &actions, NULL, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error) die("cannot start a process: %s", strerror(error));
  return pid;
}

void run_child(const char *name, double *values, unsigned count) {
  int ends[2], status = 0;
  if (pipe(ends)) die("cannot make a pipe");
  const pid_t pid = spawn_self(name, ends[1]);
  close(ends[1]);
  FILE *from = fdopen(ends[0], "r");
  if (!from) die("cannot read from a pipe");
  unsigned got = 0;
  while (got < count && fscanf(from, "%lf", &values[got]) == 1) got++;
  fclose(from);
  if (waitpid(pid, &status, 0) != pid || status != 0) die("the process for %s ended with status %d", name, status);
  if (got < count) die("the process for %s gave %u numbers instead of %u", name, got, count);
}

int be_child(const char *name) {
  double values[CHILD_VALUES] = {0};
  for (const struct child *child = bench_children; child->name; child++) {
    if (strcmp(child->name, name) != 0) continue;
    const fh_status status = fh_init(NULL);
    if (status != FH_OK) die("fh_init: %s", fh_status_name(status));
    child->run(values, CHILD_VALUES);
    for (unsigned i = 0; i < CHILD_VALUES; i++) printf("%.17g\n", values[i]);
    fflush(stdout);
    return 0;
  }
  die("there is no child named %s", name);
}
