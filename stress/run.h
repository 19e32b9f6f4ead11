/* SPDX-License-Identifier: MIT */
/* What only the command line needs of a run. */
#ifndef STRESS_RUN_H
#define STRESS_RUN_H

#include "stress.h"

struct result {
  uint64_t operations;
  uint64_t made;
  uint64_t destroyed;
  double seconds;
  uint64_t losses; /* made - destroyed - live, in whichever direction */
  uint64_t leaks;  /* what lived on after everything was dropped */
  unsigned wrong;  /* checks of the balance that failed; each says so on standard error */
  int races;       /* reports of ThreadSanitizer; -1: it does not watch */
};

/* Runs scenario, threads, seed, seconds and design as they stand in `run`. A check that fails in between ends the program. */
struct result run_scenario(struct run *run);

/* From now on a check that fails, a trap, a crash or a run that hangs says what replays it. */
void watch_for_the_end(void);

#endif
