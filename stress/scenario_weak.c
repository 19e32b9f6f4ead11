/* SPDX-License-Identifier: MIT */
/* weak: weak references to things that die all the time: by their last release, as garbage, in finalizers that resurrect them. Some
 * are shared by all workers, some are read by their maker only, some call back; many lead to one thing, and most things have none. */
#include "scenarios.h"

enum { SHARED = 16, MANY = 32 };

static fh_slot weak[SHARED]; /* shared by all workers */

/* It may be dead or risen by now: whoever gets it holds it, so it is whole. */
static void look(struct worker *w, fh_weak *reference) {
  FH_AUTO struct thing *thing = thing_whole(fh_weak_get(reference));
  if (!thing) return;
  if (one_in(w, 4)) fh_slot_store(any_slot(w), thing);
  if (one_in(w, 4)) thing_link(w, thing, hoard_any(w));
  thing_whole(thing);
}

/* The context says which worker made it. Once, and its target is lost by then. */
static void on_loss(fh_weak *reference, void *context) {
  struct worker *maker = context;
  check(maker->run == me->run);
  FH_AUTO void *target = fh_weak_get(reference);
  check(!target);
  if (is_over(me->run)) return;
  if (one_in(me, 8)) hoard_drop(me);
  if (one_in(me, 64)) fh_collect(2);
  if (one_in(me, 8)) {
    FH_AUTO struct thing *thing = thing_any(me);
    if (thing) fh_slot_store(any_slot(me), thing);
  }
}

static fh_weak *refer(struct worker *w, struct thing *thing) {
  fh_weak *reference = one_in(w, 4) ? fh_weak_new_callback(thing, on_loss, w) : fh_weak_new(thing);
  if (!reference) return NULL;
  atomic_fetch_add_explicit(&w->ledger->others, 1, memory_order_relaxed);
  FH_AUTO struct thing *found = fh_weak_get(reference);
  check(found == thing); /* the caller holds it */
  return reference;
}

static void show(struct worker *w, struct thing *thing) {
  FH_AUTO fh_weak *reference = refer(w, thing);
  if (reference) fh_slot_store(&weak[below(w, SHARED)], reference);
}

static void refer_often(struct worker *w, struct thing *thing) {
  fh_weak *many[MANY] = {NULL};
  for (int i = 0; i < MANY; i++) many[i] = refer(w, thing);
  fh_release(thing);
  for (unsigned i = below(w, MANY); i < MANY; i++)
    if (many[i]) look(w, many[i]);
  for (int i = 0; i < MANY; i++)
    if (many[i]) fh_release(many[i]);
}

static void make_a_ring(struct worker *w) {
  FH_AUTO struct thing *b = NULL;
  FH_AUTO struct thing *a = thing_ring(w, &b);
  if (!a) return;
  show(w, one_in(w, 2) ? a : b);
}

static void turn(struct worker *w) {
  FH_AUTO fh_weak *reference = fh_slot_load(&weak[below(w, SHARED)]);
  if (reference) look(w, reference);
  switch (below(w, 8)) {
    case 0:
    case 1:
      make_a_ring(w);
      break;
    case 2: {
      FH_AUTO struct thing *thing = thing_whole(fh_slot_load(any_slot(w)));
      if (thing) show(w, thing);
      break;
    }
    case 3: {
      struct thing *thing = thing_any(w);
      if (thing && one_in(w, 8))
        refer_often(w, thing);
      else if (thing)
        fh_release(thing);
      break;
    }
    case 4:
      fh_slot_store(&weak[below(w, SHARED)], NULL);
      break;
    default: {
      struct thing *thing = thing_any(w);
      if (!thing) break;
      show(w, thing);
      if (one_in(w, 2))
        hoard_put(w, thing);
      else
        fh_release(thing);
    }
  }
  if (one_in(w, 1024)) fh_collect(2);
}

static void finish(struct worker *main) {
  (void)main;
  for (int i = 0; i < SHARED; i++) fh_slot_store(&weak[i], NULL);
}

const struct scenario scenario_weak = {
    .name = "weak",
    .attacks = "weak references read while their targets die, are collected and rise again; callbacks",
    .threads = 4,
    .turn = turn,
    .finish = finish,
};
