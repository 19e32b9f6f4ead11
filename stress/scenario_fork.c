/* SPDX-License-Identifier: MIT */
/* fork: one worker forks again and again while the others do everything at once. The child finds a heap in which every count is right,
 * works on with what it has, collects, shuts down, and exits with 0. It starts no threads: ThreadSanitizer cannot follow that. */
#include "scenarios.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/sanitizers.h"

enum { CHILD_TURNS = 50, CHILD_SECONDS = 120, SHUTDOWN_MS = 1000 };

/* The sanitizers' allocators do not follow a fork: what another thread had locked of one stays locked in the child. So there a child first
 * asks for so many blocks of every size that each of the locks is taken, and ends by SIGALRM if one is held. Nobody but the child can
 * hold any of them afterwards, and what hangs then is Freehold's. */
enum { HAS_SANITIZER = UNDER_TSAN || UNDER_ASAN };
static void try_allocator(void) {
  enum { SECONDS = 5, MOST = 1 << 17, CACHED = 512, CACHED_BYTES = 1 << 18 };
  void (*before)(int) = signal(SIGALRM, SIG_DFL);
  alarm(SECONDS);
  for (size_t size = 16; size <= 2 * MOST; size += size < 1024 ? 16 : size / 8) {
    static void *block[CACHED];
    size_t count = 0;
    while (count < CACHED && (!count || count * size < CACHED_BYTES)) block[count++] = malloc(size);
    while (count) free(block[--count]);
  }
  alarm(0);
  signal(SIGALRM, before);
}

/* Before Freehold's own handler, which fh_init registers: children run them in the order of their registration. */
static __attribute__((constructor)) void try_allocators(void) {
  if (HAS_SANITIZER && pthread_atfork(NULL, NULL, try_allocator)) abort();
}

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
  bool could_not_allocate = HAS_SANITIZER && WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
  check(could_not_allocate || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
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
