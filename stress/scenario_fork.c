/* SPDX-License-Identifier: MIT */
/* fork: one worker forks again and again while the others do everything at once. The child finds a heap in which every count is right,
 * works on with what it has, collects, shuts down, and exits with 0. It starts no threads: ThreadSanitizer cannot follow that. */
#include "scenarios.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_TURNS = 50, CHILD_SECONDS = 120, SHUTDOWN_MS = 1000 };

/* What the parent's other threads held is lost in a child, and it need not say so each time. */
static void log_of_parent(void *context, fh_log_level level, const char *message) {
  const struct run *run = context;
  if (!run->is_child || level == FH_LOG_ERROR) fprintf(stderr, "%s\n", message);
}

static void choose(struct worker *main, fh_options *options) {
  options->log = log_of_parent;
  options->log_context = main->run;
  options->fork = one_in(main, 2) ? FH_FORK_FOLLOW : FH_FORK_MANUAL;
  main->run->fork = options->fork;
  options->finalizers = one_in(main, 2) ? FH_FINALIZERS_QUEUE : FH_FINALIZERS_SAFEPOINT;
}

static pid_t fork_as_chosen(const struct run *run) {
  if (run->fork == FH_FORK_FOLLOW) return fork();
  fh_fork_prepare();
  const pid_t child = fork();
  if (child == 0)
    fh_fork_child();
  else
    fh_fork_parent();
  return child;
}

/* fh_stats and the ledger agree at once, and after some work. In the end as many leak as the ledger knows to be alive: those
 * that only the parent's other threads could reach. */
_Noreturn static void live_as_child(struct worker *w) {
  uint64_t leaked = 0;
  w->run->is_child = true;
  alarm(CHILD_SECONDS);
  check(accounts_are_wrong(w->run) == 0);
  for (int i = 0; i < CHILD_TURNS; i++) {
    scenario_mix.turn(w);
    fh_safepoint();
  }
  fh_collect(2);
  hoard_drop(w);
  slots_clear(w->run);
  atomic_store(&w->run->over, true); /* finalizers begin nothing new */
  fh_settle();
  check(accounts_are_wrong(w->run) == 0);
  fh_detach();
  check(fh_shutdown(SHUTDOWN_MS, &leaked) == FH_OK);
  check(leaked == things_alive(w->run));
  _exit(0);
}

static void await(pid_t child) {
  int status = 0;
  FH_BLOCKING();
  while (waitpid(child, &status, 0) < 0) check(errno == EINTR);
  check(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void turn(struct worker *w) {
  if (w->index > 0) {
    scenario_mix.turn(w);
    return;
  }
  const pid_t child = fork_as_chosen(w->run);
  check(child >= 0);
  if (child == 0) live_as_child(w);
  for (unsigned i = below(w, 16); i > 0; i--) scenario_mix.turn(w);
  await(child);
}

static void prepare(struct worker *main) { scenario_mix.prepare(main); }
static void finish(struct worker *main) { scenario_mix.finish(main); }

const struct scenario scenario_fork = {
    .name = "fork",
    .attacks = "children of a process at work: they work on, collect, shut down, and exit with 0",
    .threads = 6,
    .choose = choose,
    .prepare = prepare,
    .turn = turn,
    .finish = finish,
};
