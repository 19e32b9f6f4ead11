/* SPDX-License-Identifier: MIT */
/* churn: threads come, make, leave survivors behind, and go, by each of the ways in which a thread may end. Their mutators
 * are adopted by those who come next, with whatever still hangs in them. */
#include "scenarios.h"

enum { VISITORS = 4, TURNS = 64 };

/* Lives until its thread was joined, because a thread that ends while attached runs deallocs after its function returned. */
struct visitor {
  struct worker worker;
  pthread_t thread;
  void (*leave)(void);
};

static void leave_detached(void) { fh_detach(); }
static void leave_attached(void) {}
static void leave_nested(void) {
  if (fh_attach("nested") != FH_OK) return;
}
static void leave_blocking(void) { fh_blocking_begin(); }
static void leave_by_exit(void) { pthread_exit(NULL); }

static void (*const ways[])(void) = {leave_detached, leave_attached, leave_nested, leave_blocking, leave_by_exit};

static void *visit(void *argument) {
  struct visitor *visitor = argument;
  struct worker *w = me = &visitor->worker;
  check(fh_attach("visitor") == FH_OK);
  for (unsigned i = below(w, TURNS); i > 0; i--) {
    FH_AUTO struct thing *thing = thing_any(w);
    if (!thing) continue;
    thing_link(w, thing, hoard_any(w));
    fh_slot_store(any_slot(w), thing); /* the survivors: their owner is gone when they die */
    struct thing *old = thing_whole(fh_slot_load(any_slot(w)));
    if (old) hoard_put(w, old);
    if (one_in(w, 512)) slots_clear(w->run);
    fh_safepoint();
  }
  hoard_drop(w);
  visitor->leave();
  return NULL;
}

static void turn(struct worker *w) {
  struct visitor visitor[VISITORS];
  const unsigned count = 1 + below(w, VISITORS);
  for (unsigned i = 0; i < count; i++) {
    worker_init_from(&visitor[i].worker, w);
    visitor[i].worker.turn = w->turn;
    visitor[i].leave = ways[below(w, sizeof ways / sizeof *ways)];
    check(!pthread_create(&visitor[i].thread, NULL, visit, &visitor[i]));
  }
  for (unsigned i = 0; i < count; i++) check(!pthread_join(visitor[i].thread, NULL));
}

const struct scenario scenario_churn = {
    .name = "churn",
    .attacks = "threads that come, make, leave survivors behind, and go in every way there is",
    .threads = 4,
    .bare = true,
    .turn = turn,
};
