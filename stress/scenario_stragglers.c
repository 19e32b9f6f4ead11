/* SPDX-License-Identifier: MIT */
/* stragglers: the watchdog has a short limit, and some workers reach no safepoint for a while, deliberately or because there are more of
 * them than processors. Reports must name a mutator that is attached, and its thread; whoever is waited for loses nothing. */
#include "scenarios.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT_MS = 1, DEAF_NS = 3000000 };

static atomic_int threads[THREADS_MAX]; /* the kernel's number of each worker, by index */

static bool is_a_worker(const struct run *run, int thread) {
  for (unsigned i = 0; i < run->threads; i++)
    if (atomic_load_explicit(&threads[i], memory_order_relaxed) == thread) return true;
  return false;
}

/* Perhaps with internal locks held: it only looks. */
static void on_straggler(void *context, const fh_straggler *straggler) {
  const struct run *run = context;
  check(straggler->wait >= FH_WAIT_STOP && straggler->wait <= FH_WAIT_MERGE);
  check(straggler->waited_ns >= LIMIT_MS * 1000000u);
  check(straggler->mutator > 0 && straggler->state && straggler->where);
  if (!strcmp(straggler->name, "deaf")) check(is_a_worker(run, straggler->thread));
}

static void choose(struct worker *main, fh_options *options) {
  options->watchdog_ms = LIMIT_MS;
  options->straggler = on_straggler;
  options->straggler_context = main->run;
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* On line, and no safepoint: a stop, a grace period and this mutator's queue have to wait. */
static void be_deaf(struct worker *w) {
  FH_NO_SAFEPOINT();
  for (uint64_t until = now_ns() + below(w, DEAF_NS); now_ns() < until && !is_over(w->run);) {
    struct thing *thing = thing_any(w);
    if (thing) hoard_put(w, thing);
  }
}

static void turn(struct worker *w) {
  atomic_store_explicit(&threads[w->index], (int)gettid(), memory_order_relaxed);
  check(fh_attach("deaf") == FH_OK);
  for (int i = 0; i < 64 && !is_over(w->run); i++) {
    FH_AUTO struct thing *thing = thing_any(w);
    if (thing) fh_slot_store(any_slot(w), thing);
    FH_AUTO struct thing *other = thing_whole(fh_slot_load(any_slot(w)));
    if (other && thing) thing_link(w, thing, other);
    if (one_in(w, 32)) be_deaf(w);
    if (one_in(w, 32)) fh_collect((int)below(w, 3));
    fh_safepoint();
  }
  hoard_drop(w);
  if (one_in(w, 4)) slots_clear(w->run);
  fh_detach();
}

const struct scenario scenario_stragglers = {
    .name = "stragglers",
    .attacks = "mutators that reach no safepoint, and a watchdog that is told of them",
    .threads = 4,
    .bare = true,
    .choose = choose,
    .turn = turn,
};
