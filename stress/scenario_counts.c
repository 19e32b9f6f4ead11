/* SPDX-License-Identifier: MIT */
/* counts and slots: references to the same few objects, taken and given up by everybody at once. */
#include "scenarios.h"

enum {
  CROWDED = 4, /* slots that all of the workers fight for */
  BURST = 64,  /* references to one object taken in a row: local counts spill in torture builds */
};

static fh_slot *crowded_slot(struct worker *w) { return &w->run->slot[below(w, CROWDED)]; }

/* ---- counts ---- */

/* Takes many references to what others hold as well, and gives them up in between and afterwards. */
static void take_and_give(struct worker *w, struct thing *thing) {
  unsigned held = 0;
  for (unsigned i = below(w, BURST); i > 0; i--) {
    if (held > 0 && one_in(w, 3)) {
      fh_release(thing);
      held--;
    } else {
      fh_retain(thing);
      held++;
    }
  }
  thing_whole(thing);
  while (held-- > 0) fh_release(thing);
}

static void counts_turn(struct worker *w) {
  FH_AUTO struct thing *thing = thing_whole(fh_slot_load(crowded_slot(w)));
  if (!thing || one_in(w, 16)) {
    FH_AUTO struct thing *fresh = thing_any(w);
    fh_slot_store(crowded_slot(w), fresh);
    return;
  }
  take_and_give(w, thing);
  if (one_in(w, 4)) hoard_put(w, fh_retain(thing));
  struct thing *kept = hoard_any(w);
  if (kept) take_and_give(w, kept);
}

const struct scenario scenario_counts = {
    .name = "counts",
    .attacks = "references to a few objects, taken and given up by all threads at once",
    .threads = 4,
    .turn = counts_turn,
};

/* ---- slots ---- */

static void swap(struct worker *w, fh_slot *slot) {
  struct thing *old = thing_whole(fh_slot_swap(slot, one_in(w, 4) ? NULL : thing_any(w)));
  if (old) hoard_put(w, old);
}

/* What a successful exchange replaced is still the caller's by its own reference. */
static void compare_and_swap(struct worker *w, fh_slot *slot) {
  FH_AUTO struct thing *expected = thing_whole(fh_slot_load(slot));
  FH_AUTO struct thing *desired = one_in(w, 8) ? NULL : thing_any(w);
  if (one_in(w, 2)) fh_slot_cas(crowded_slot(w), thing_whole(w->hoard[0]), desired); /* mostly fails */
  fh_slot_cas(slot, expected, desired);
  thing_whole(expected);
  thing_whole(desired);
}

/* Without a count: what the slot held is there until the next safepoint, and is retained only if it lives. Then the slot is
 * looked at again, as the contract wants it. */
static void try_to_retain(struct worker *w, fh_slot *slot) {
  struct thing *seen = fh_slot_load(slot);
  if (!seen) return;
  fh_release(seen);
  if (!fh_try_retain(seen)) return;
  FH_AUTO struct thing *again = fh_slot_load(slot);
  if (seen == again)
    hoard_put(w, thing_whole(seen));
  else
    fh_release(seen);
}

static void slots_turn(struct worker *w) {
  fh_slot *slot = crowded_slot(w);
  FH_AUTO struct thing *box = thing_whole(fh_slot_load(any_slot(w)));
  if (box && box->kind == BOX) slot = &((struct box *)box)->slot[below(w, 2)];
  switch (below(w, 8)) {
    case 0:
      swap(w, slot);
      return;
    case 1:
      compare_and_swap(w, slot);
      return;
    case 2:
      try_to_retain(w, slot);
      return;
    case 3:
      fh_slot_store(slot, hoard_any(w));
      return;
    case 4:
      fh_slot_store(any_slot(w), hoard_any(w));
      return;
    default: {
      struct thing *thing = thing_whole(fh_slot_load(slot));
      if (thing) hoard_put(w, thing);
    }
  }
}

const struct scenario scenario_slots = {
    .name = "slots",
    .attacks = "load, store, swap and compare-and-swap of the same slots, in and out of objects",
    .threads = 4,
    .turn = slots_turn,
};
