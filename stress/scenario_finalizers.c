/* SPDX-License-Identifier: MIT */
/* finalizers: phoenixes, whose finalizers resurrect, publish, allocate, release much, block, and collect. Each runs once in an
 * object's life and never after its death; the thing's own counter and its dealloc see to that. */
#include "scenarios.h"

#include <sched.h>

enum { ASHES = 500 };

/* ---- what a finalizer does ---- */

static void rise(struct worker *w, struct phoenix *phoenix) { fh_slot_store(any_slot(w), phoenix); }

static void rise_in_a_ring(struct worker *w, struct phoenix *phoenix) {
  FH_AUTO struct thing *pair = thing_new(w, PAIR);
  if (!pair) return;
  thing_link(w, pair, &phoenix->thing);
  fh_slot_store(&phoenix->slot, pair);
  if (one_in(w, 2)) fh_slot_store(any_slot(w), pair);
}

static void release_much(struct worker *w, struct phoenix *phoenix) {
  (void)w;
  fh_clear(phoenix, field);
  fh_slot_store(&phoenix->slot, NULL);
}

static void allocate(struct worker *w, struct phoenix *phoenix) {
  (void)phoenix;
  for (unsigned i = below(w, 32); i > 0; i--) {
    FH_AUTO struct thing *thing = thing_any(w);
    if (thing && one_in(w, 4)) fh_slot_store(any_slot(w), thing);
  }
}

static void block(struct worker *w, struct phoenix *phoenix) {
  (void)w;
  (void)phoenix;
  FH_BLOCKING();
  sched_yield();
  FH_ATTACHED(status, "nested");
  check(status == FH_OK);
}

static void collect(struct worker *w, struct phoenix *phoenix) {
  (void)phoenix;
  if (one_in(w, 8)) fh_collect(2);
}

static void do_nothing(struct worker *w, struct phoenix *phoenix) {
  (void)w;
  (void)phoenix;
}

static void (*const deeds[])(struct worker *, struct phoenix *) = {rise,  rise_in_a_ring, release_much, allocate,
                                                                   block, collect,        do_nothing};

/* It leaves the hoard alone: a turn may be in the middle of using it. When the time is up nothing new begins. */
void phoenix_finalize(void *object) {
  struct phoenix *phoenix = thing_whole(object);
  check(phoenix->thing.finalized == 0);
  phoenix->thing.finalized++;
  if (!is_over(me->run)) deeds[below(me, sizeof deeds / sizeof *deeds)](me, phoenix);
  thing_whole(phoenix);
}

/* ---- what they have to do it with ---- */

static struct thing *ashes(struct worker *w) {
  struct page *page = page_new(w, below(w, ASHES));
  for (size_t i = 0; page && i < page->count; i++) {
    struct thing *leaf = thing_new(w, one_in(w, 2) ? LEAF : PAIR);
    if (leaf) fh_give(page, line[i], leaf);
  }
  return page ? &page->thing : NULL;
}

static void turn(struct worker *w) {
  FH_AUTO struct phoenix *phoenix = thing_new(w, PHOENIX);
  if (!phoenix) return;
  if (one_in(w, 4)) fh_give(phoenix, field, ashes(w));
  switch (below(w, 4)) {
    case 0:
      fh_slot_store(any_slot(w), phoenix);
      break;
    case 1:
      fh_slot_store(&phoenix->slot, phoenix);
      break; /* only a collection finds it */
    case 2:
      hoard_put(w, FH_MOVE(phoenix));
      break;
    default:
      break;
  }
  struct thing *found = thing_whole(fh_slot_load(any_slot(w)));
  if (found) hoard_put(w, found);
  if (one_in(w, 1024)) fh_collect(2);
}

const struct scenario scenario_finalizers = {
    .name = "finalizers",
    .attacks = "finalizers that resurrect, publish, allocate, release much, block and collect",
    .threads = 4,
    .turn = turn,
};
