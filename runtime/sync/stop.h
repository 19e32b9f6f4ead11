/* SPDX-License-Identifier: MIT */
/* Stopping the world. One requester at a time holds the stop lock; it makes the epoch odd, raises STOP in every attention
 * word, takes the detached mutators and waits for the attached ones to park, detach or unclaim, each of which counts itself
 * in. Resuming makes the epoch even first, and resets the states afterwards: the other order lets a late waker park in the
 * old stop (tests/model/).
 *
 *   [stop.still]  between begin and end, every mutator but the requester is STOPPED
 *   [stop.born]   a new mutator is registered under the stop lock */
#ifndef FH_SYNC_STOP_H
#define FH_SYNC_STOP_H

#include <freehold/stats.h>

#include "sync/registry.h"

struct fh__stop {
  struct fh__mutex lock;
  uint32_t epoch;    /* atomic: odd while the world is stopped or being stopped */
  uint32_t arrivals; /* atomic: parked, detached or unclaimed under a stop; a futex */
  uint32_t target;   /* atomic: the arrivals that the requester waits for */
  uint32_t starving; /* atomic: mutators that waited through a whole stop and met another; a futex */
  uint64_t count;    /* atomic */
  bool close;        /* atomic: this stop followed the last one at once */
  uint64_t began_ns; /* the requester's */
  uint64_t ended_ns; /* the last one's, under the stop lock */
};

/* Durations of everything that stops the world; shared by all, under a lock of the highest rank, so that readers of
 * statistics need not wait for a stop. */
struct fh__durations {
  struct fh__mutex lock;
  fh_histogram time_to_stop;
  fh_histogram time_stopped;
  fh_histogram gc_total;
};
extern struct fh__durations fh__durations;

extern struct fh__stop fh__stop;

/* The caller holds the stop lock, and is ATTACHED as `self`, or is not attached, and `self` is NULL (a fork). */
void fh__stop_begin(struct fh__sync_local *self);
/* Also releases the stop lock, before it wakes anybody. */
void fh__stop_end(struct fh__sync_local *self);
/* Counts the caller in, if a stop is on. */
void fh__stop_arrive(const struct fh__sync_local *sync);

void fh__durations_reset(void);
void fh__durations_add(fh_histogram *histogram, uint64_t ns);

#endif
