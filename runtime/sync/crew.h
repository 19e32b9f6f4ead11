/* SPDX-License-Identifier: MIT */
/* The crew: threads that a stop idles do a part of its work. The requester opens a run; whoever is parked, or waits to attach, may
 * join it, works, and leaves. The run is over when everybody has left, and nobody can join it after that.
 *
 *   word   31..24 number of the run | 23..16 may work | 15..8 have joined | 7..0 are at work
 *
 *   open    at work = 0      -> next number, joined 1, at work 1   the requester, which is the first worker
 *   join    at work > 0      -> joined + 1, at work + 1          a thread that waits; fails when as many have joined as may work
 *   leave   at work > 0      -> at work - 1                      each, when it finds nothing more to do
 *
 *   [crew.run]  while somebody is at work, function and context are what the requester has set, and the world is stopped:
 *               the requester opens, and returns only when nobody is at work; from then on joining fails until it opens again
 *
 * Nobody needs the crew: the requester does alone what nobody helps it with. A thread that joins is parked as far as everybody else is
 * concerned, runs no application code but `traverse`, and touches no count. */
#ifndef FH_SYNC_CREW_H
#define FH_SYNC_CREW_H

#include <stdbool.h>
#include <stdint.h>

enum { FH__CREW_MAX = 32 };

typedef void fh__crew_function(void *context, uint32_t worker);

struct fh__crew {
  uint32_t word;  /* atomic; a futex for the requester, who waits for the last to leave */
  uint32_t bell;  /* atomic: changes whenever those who wait for the world should look; a futex for them */
  uint32_t limit; /* workers at most, by option; written before anybody attaches */
  fh__crew_function *function;
  void *context;
  uint64_t helped; /* atomic: how often somebody has joined */
};
extern struct fh__crew fh__crew;

/* The requester, in the stopped world: has the function called by itself as worker 0, and by others at the same time, `workers` of them
 * together at most. Returns when all of them have returned. */
void fh__crew_run(uint32_t workers, fh__crew_function *function, void *context);
/* Somebody who waits for the world: helps, if there is a run to join. */
bool fh__crew_help(void);
/* Sleeps until the bell has changed from what it was. */
void fh__crew_wait(uint32_t bell);
/* Wakes all who wait for the world. */
void fh__crew_ring(void);

#endif
