/* SPDX-License-Identifier: MIT */
#include "sync/crew.h"

#include <limits.h>
#include <sched.h>

#include "base/atomic.h"
#include "base/futex.h"

struct fh__crew fh__crew = {.limit = 1};

enum { BYTE = 0xff, JOINED_SHIFT = 8, MAY_SHIFT = 16, RUN_SHIFT = 24, SPINS = 2000 };

static uint32_t at_work_of(uint32_t word) { return word & BYTE; }
static uint32_t joined_of(uint32_t word) { return word >> JOINED_SHIFT & BYTE; }
static uint32_t may_of(uint32_t word) { return word >> MAY_SHIFT & BYTE; }

void fh__crew_ring(void) {
  FH__ADD(&fh__crew.bell, 1, SEQ_CST); /* after what it tells of; partner: whoever reads it before looking at that */
  fh__futex_wake(&fh__crew.bell, INT_MAX);
}

void fh__crew_wait(uint32_t bell) { fh__futex_wait(&fh__crew.bell, bell, 0); }

static void leave(void) {
  uint32_t word = FH__SUB(&fh__crew.word, 1, ACQ_REL); /* releases the work that was done; partner: wait_for_others */
  if (at_work_of(word) == 1) fh__futex_wake(&fh__crew.word, 1);
}

/* What is left to them is short: the pieces of work are. */
static void wait_for_others(void) {
  for (int spins = 0;; spins++) {
    uint32_t word = FH__LOAD(&fh__crew.word, ACQUIRE); /* partner: leave */
    if (!at_work_of(word)) return;
    if (spins < SPINS)
      fh__cpu_pause();
    else
      fh__futex_wait(&fh__crew.word, word, 0);
  }
}

void fh__crew_run(uint32_t workers, fh__crew_function *function, void *context) {
  fh__crew.function = function;
  fh__crew.context = context;
  uint32_t run = (FH__LOAD(&fh__crew.word, RELAXED) >> RUN_SHIFT) + 1;
  FH__STORE_(&fh__crew.word, run << RUN_SHIFT | workers << MAY_SHIFT | 1u << JOINED_SHIFT | 1, SEQ_CST); /* open; partner: fh__crew_help */
  fh__crew_ring();
  function(context, 0);
  leave();
  wait_for_others();
}

bool fh__crew_help(void) {
  uint32_t word = FH__LOAD(&fh__crew.word, SEQ_CST);
  do {
    if (!at_work_of(word) || joined_of(word) >= may_of(word)) return false;
  } while (!FH__CAS(&fh__crew.word, &word, word + (1u << JOINED_SHIFT) + 1, SEQ_CST)); /* join; partner: open */
  FH__ADD(&fh__crew.helped, 1, RELAXED);
  fh__crew.function(fh__crew.context, joined_of(word));
  leave();
  return true;
}
