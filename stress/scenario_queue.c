/* SPDX-License-Identifier: MIT */
/* queue: finalizers that wait for whoever runs them, and finalizers from outside. Things die by count and as garbage, with and without
 * finalizers of their own; promises hang on them, which are kept once: by the thing's death, by somebody who calls them early,
 * or given up by somebody who detaches them. */
#include "scenarios.h"

enum { SHOWN = 16, BURST = 64, PATIENCE = 4096 };

/* The context of a finalizer from outside. Whoever ends it frees it, so a second end is one of freed memory. */
struct promise {
  uint64_t id;
  uint64_t check; /* ~id until it has ended */
};
static atomic_uint_fast64_t promised, kept, given_up;
static fh_slot shown[SHOWN]; /* finalizers, for others to call and to detach */

static void end_promise(struct promise *promise, atomic_uint_fast64_t *how) {
  check(promise->check == ~promise->id);
  promise->check = promise->id;
  fh_free(promise);
  atomic_fetch_add_explicit(how, 1, memory_order_relaxed);
}

static void keep(void *context) {
  end_promise(context, &kept);
  if (is_over(me->run)) return;
  if (one_in(me, 16)) hoard_drop(me);
  if (one_in(me, 8)) {
    FH_AUTO struct thing *thing = thing_any(me);
    if (thing) fh_slot_store(any_slot(me), thing);
  }
  if (one_in(me, 64)) fh_collect((int)below(me, 3));
}

/* The maker alone may detach it, because it alone knows the context; anybody may call it. */
static void promise_something(struct worker *w, struct thing *thing) {
  struct promise *promise = fh_alloc(sizeof *promise);
  if (!promise) return;
  promise->id = draw(w);
  promise->check = ~promise->id;
  FH_AUTO fh_finalizer *finalizer = fh_finalizer_new(thing, keep, promise, one_in(w, 2) ? FH_FINALIZER_AT_EXIT : 0);
  if (!finalizer) {
    fh_free(promise);
    return;
  }
  atomic_fetch_add_explicit(&w->ledger->others, 1, memory_order_relaxed);
  atomic_fetch_add_explicit(&promised, 1, memory_order_relaxed);
  if (one_in(w, 2)) fh_slot_store(&shown[below(w, SHOWN)], finalizer);
  if (one_in(w, 8) && fh_finalizer_detach(finalizer)) end_promise(promise, &given_up);
}

static void make(struct worker *w) {
  FH_AUTO struct thing *a = thing_new(w, one_in(w, 2) ? PHOENIX : PAIR);
  FH_AUTO struct thing *b = thing_new(w, one_in(w, 2) ? PHOENIX : PAIR);
  if (!a || !b) return;
  if (one_in(w, 2)) {
    thing_link(w, a, b);
    thing_link(w, b, a);
  }
  for (unsigned i = below(w, 4); i > 0; i--) promise_something(w, one_in(w, 2) ? a : b);
  if (one_in(w, 4)) fh_slot_store(any_slot(w), a);
  if (one_in(w, 4)) hoard_put(w, fh_retain(b));
}

static void turn(struct worker *w) {
  make(w);
  FH_AUTO fh_finalizer *finalizer = fh_slot_load(&shown[below(w, SHOWN)]);
  if (finalizer && one_in(w, 8)) (void)fh_finalizer_call(finalizer);
  FH_AUTO struct thing *found = thing_whole(fh_slot_load(any_slot(w)));
  if (found && one_in(w, 2)) promise_something(w, found);
  if (one_in(w, 16)) fh_slot_store(any_slot(w), NULL);
  if (one_in(w, 256)) fh_collect(2);
  /* Even workers serve; the others help when too much waits. */
  if ((w->index % 2 == 0 && one_in(w, 16)) || fh_finalizers_pending() > PATIENCE) fh_finalizers_run(below(w, BURST));
}

static void tell(void *context) { atomic_fetch_add_explicit((atomic_uint_fast64_t *)context, 1, memory_order_relaxed); }

static void choose(struct worker *main, fh_options *options) {
  static atomic_uint_fast64_t told;
  options->finalizers = one_in(main, 4) ? FH_FINALIZERS_SAFEPOINT : FH_FINALIZERS_QUEUE;
  options->finalizers_notify = tell;
  options->finalizers_context = &told;
  atomic_store(&promised, 0);
  atomic_store(&kept, 0);
  atomic_store(&given_up, 0);
}

/* Every promise has ended, once. */
static void finish(struct worker *main) {
  for (int i = 0; i < SHOWN; i++) fh_slot_store(&shown[i], NULL);
  hoard_drop(main);
  slots_clear(main->run);
  fh_settle();
  check(fh_finalizers_pending() == 0);
  check(atomic_load(&promised) == atomic_load(&kept) + atomic_load(&given_up));
}

const struct scenario scenario_queue = {
    .name = "queue",
    .attacks = "finalizers that wait in the queue, and finalizers from outside that are called, detached and lost at once",
    .threads = 4,
    .choose = choose,
    .turn = turn,
    .finish = finish,
};
