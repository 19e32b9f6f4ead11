/* SPDX-License-Identifier: MIT */
/* The arithmetic of the collector's goals. Nothing here looks at a clock or at the heap: durations come in, figures go out.
 *
 * Two figures give way to what collections take, or find. Both have bounds, so that all collections together stay work in proportion
 * to allocation: a young one comes at most YOUNG_PARTS times as often as it was told to, and an old one is put off at most by
 * the factor STRETCH_MOST, which bounds how much garbage may wait for it. */
#ifndef FH_COLLECT_PACE_H
#define FH_COLLECT_PACE_H

#include <stdbool.h>
#include <stdint.h>

enum {
  FH__PACE_PATIENCE = 2,        /* the young threshold is at most so many times what it was set to; more made growing heaps of some sizes
                                 * cheap, and others no cheaper (gc.growth_linear) */
  FH__PACE_YOUNG_PARTS = 16,    /* ... and at least so small a part of it */
  FH__PACE_STRETCH_LEAST = 100, /* percent: old collections come when they are due */
  FH__PACE_STRETCH_MOST = 400,
  FH__PACE_NO_OVERHEAD = 100    /* percent, as a goal for the overhead: there is none */
};

/* The next young threshold without a goal for pauses, given what it was set to, and whether the last young collection found
 * anything. */
uint64_t fh__pace_patience(uint64_t set, bool found);
/* With a goal, given the present one, what it was set to, and how long the last young pause was. */
uint64_t fh__pace_young(uint64_t threshold, uint64_t set, uint64_t pause_ns, uint64_t goal_ns);
/* The next stretch, in percent, given the present one, and that of the last `elapsed_ns` the world stood still for `stopped_ns`
 * because of an old collection. `goal`: in percent. */
uint32_t fh__pace_stretch(uint32_t stretch, uint64_t stopped_ns, uint64_t elapsed_ns, uint32_t goal);
/* `due`, stretched. */
uint64_t fh__pace_stretched(uint64_t due, uint32_t stretch);

#endif
