/* SPDX-License-Identifier: MIT */
/* sleepers: owners that are away while others release their objects. Whoever needs the owner of an object that is away
 * merges in its place (a claim); an owner that comes back meanwhile has to wait for the claim to end, and is WANTED. So owners go
 * in and out as fast as they can, while the others make sure that there is always something to merge. */
#include "scenarios.h"

#include <sched.h>
#include <time.h>

enum { BATCH = 24 };

/* Objects with one count here and one in a slot: whoever clears the slot takes the shared count below zero. */
static void lay_out(struct worker *w, struct thing *kept[BATCH]) {
  for (unsigned i = 0; i < BATCH; i++) {
    kept[i] = thing_any(w);
    if (kept[i]) fh_slot_store(any_slot(w), kept[i]);
  }
}

static void nap(struct worker *w) {
  const struct timespec pause = {0, below(w, 50000)};
  if (one_in(w, 8))
    nanosleep(&pause, NULL);
  else
    for (unsigned i = below(w, 16); i > 0; i--) sched_yield();
}

/* In and out, with callbacks of the host's that come in from within the region. */
static void be_away(struct worker *w) {
  for (unsigned i = 1 + below(w, 8); i > 0; i--) {
    FH_BLOCKING();
    nap(w);
    if (one_in(w, 4)) {
      FH_ATTACHED(status, "callback");
      check(status == FH_OK);
      FH_AUTO struct thing *thing = thing_any(w);
      if (thing) fh_slot_store(any_slot(w), thing);
    }
  }
}

static void sleep_on_them(struct worker *w) {
  struct thing *kept[BATCH];
  lay_out(w, kept);
  be_away(w);
  for (unsigned i = 0; i < BATCH; i++)
    if (kept[i]) fh_release(thing_whole(kept[i]));
}

/* Takes away what the sleepers laid out: their counts go below zero, and their queues fill. */
static void sweep(struct worker *w) {
  for (unsigned i = below(w, SLOTS); i > 0; i--) {
    FH_AUTO struct thing *old = fh_slot_swap(any_slot(w), NULL);
    if (old && one_in(w, 2)) fh_release(fh_retain(thing_whole(old)));
  }
}

static void turn(struct worker *w) {
  if (one_in(w, 2))
    sleep_on_them(w);
  else
    sweep(w);
}

const struct scenario scenario_sleepers = {
    .name = "sleepers",
    .attacks = "owners that go in and out of blocking regions while others release their objects",
    .threads = 6,
    .turn = turn,
};
