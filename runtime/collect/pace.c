/* SPDX-License-Identifier: MIT */
#include "collect/pace.h"

static uint64_t within(uint64_t value, uint64_t least, uint64_t most) { return value < least ? least : value > most ? most : value; }

/* value * part / whole, at least halved and at most doubled by that: one measurement alone does not decide. */
static uint64_t scale(uint64_t value, uint64_t part, uint64_t whole) {
  double factor = whole ? (double)part / (double)whole : 2;
  return (uint64_t)((double)value * (factor < 0.5 ? 0.5 : factor > 2 ? 2 : factor));
}

uint64_t fh__pace_patience(uint64_t set, bool found) { return found ? set : FH__PACE_PATIENCE * set; }

/* Between half the goal and the goal it stays, so that it comes to rest. */
uint64_t fh__pace_young(uint64_t threshold, uint64_t set, uint64_t pause_ns, uint64_t goal_ns) {
  uint64_t least = set / FH__PACE_YOUNG_PARTS ? set / FH__PACE_YOUNG_PARTS : 1;
  uint64_t next = threshold;
  if (pause_ns > goal_ns) next = scale(threshold, goal_ns, pause_ns);
  if (pause_ns <= goal_ns / 2) next = 2 * threshold;
  return within(next, least, set);
}

uint32_t fh__pace_stretch(uint32_t stretch, uint64_t stopped_ns, uint64_t elapsed_ns, uint32_t goal) {
  if (goal >= FH__PACE_NO_OVERHEAD) return FH__PACE_STRETCH_LEAST;
  uint64_t allowed_ns = elapsed_ns / 100 * goal;
  return (uint32_t)within(scale(stretch, stopped_ns, allowed_ns), FH__PACE_STRETCH_LEAST, FH__PACE_STRETCH_MOST);
}

uint64_t fh__pace_stretched(uint64_t due, uint32_t stretch) { return due / 100 * stretch + due % 100 * stretch / 100; }
