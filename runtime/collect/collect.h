/* SPDX-License-Identifier: MIT */
/* The cycle collector's driver and its trigger. */
#ifndef FH_COLLECT_COLLECT_H
#define FH_COLLECT_COLLECT_H

#include <freehold/gc.h>

#include "mutator/mutator.h"

struct fh__collector { /* atomic, all of it; written under the stop lock, but for the thresholds */
  uint64_t threshold[FH__GENERATIONS];   /* entries opened; young collections; percent of what lives that became old */
  uint64_t young_since;                  /* young collections since the last larger one */
  uint64_t became_old, old_due;          /* objects, since the last old collection; how many make the next one due */
  uint64_t collections[FH__GENERATIONS];
  uint64_t scanned[FH__GENERATIONS];
  uint64_t found[FH__GENERATIONS];
  uint64_t collected[FH__GENERATIONS];     /* these three: whoever finishes garbage of a collection of that generation */
  uint64_t resurrected[FH__GENERATIONS];   /* in the second look */
  uint64_t uncollectable[FH__GENERATIONS]; /* garbage that could not be freed then, for want of memory */
  uint64_t saved[FH__GENERATIONS];
  uint64_t failures[FH__GENERATIONS];
  uint64_t failed;
  uint64_t from_candidates;              /* old collections that looked at what candidates reach */
  uint64_t live;                         /* tracked objects, after the last old collection */
  uint32_t linear_in;                    /* so many old collections from candidates, and the next one goes by no marks */
  bool by_marks;                         /* objects are settled; an option */
  bool ignore_marks;                     /* the next old collection goes by no marks: some were lost, or something was unfrozen */
  uint64_t young_due;                    /* the first threshold, as the goal for the pause lets it be */
  uint64_t old_ended_ns;                 /* the last old collection; the runtime's start before the first */
  uint32_t stretch;                      /* percent of old_due that make an old collection due, by the goal for the overhead */
  uint32_t debug;                        /* FH_GC_SAVE, FH_GC_LOG; written by anybody */
};
extern struct fh__collector fh__collector;

/* By generation; under the lock of fh__durations. */
struct fh__collect_durations {
  fh_histogram time_to_stop[FH__GENERATIONS];
  fh_histogram pause[FH__GENERATIONS];
  fh_histogram total[FH__GENERATIONS];
};
extern struct fh__collect_durations fh__collect_durations;

/* Collects a generation and the younger ones, at a safepoint; returns how many objects were found and not resurrected. 0 if `me` is
 * collecting already. */
size_t fh__collect(struct fh__mutator *me, uint32_t generation);
/* The same, if it is due when the caller's turn to stop the world comes: of many that wait to collect, one does. */
void fh__collect_if_due(struct fh__mutator *me);
/* At init. */
void fh__collect_start(const fh_options *options);
/* Sets the trigger of old collections for a heap in which `live` tracked objects live on. */
void fh__collect_arm(uint64_t live);
/* At a safepoint: freezes all that is tracked, or lets what is frozen be old again. */
void fh__collect_freeze(struct fh__mutator *me);
void fh__collect_unfreeze(struct fh__mutator *me);
/* At the end of the runtime: nothing is frozen or saved any more, so that the last look is at all there is. */
void fh__collect_keep_nothing(struct fh__mutator *me);
/* Stopped, or by hand: a collection has taken so long, and ended `now`; `was_due`: nobody asked for it. */
void fh__collect_keep_pace(const fh_gc_event *event, bool was_due, uint64_t now);
/* The thresholds were set: the young one begins anew at what was set. */
void fh__collect_pace_anew(void);
/* How many objects have to become old before an old collection is due, stretched. */
uint64_t fh__collect_old_due(void);
/* True if enough entries were opened since the last collection. */
bool fh__collect_is_due(void);

#endif
