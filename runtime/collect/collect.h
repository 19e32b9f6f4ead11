/* SPDX-License-Identifier: MIT */
/* The cycle collector's driver and its trigger. */
#ifndef FH_COLLECT_COLLECT_H
#define FH_COLLECT_COLLECT_H

#include "mutator/mutator.h"

struct fh__collector { /* atomic, all of it; written under the stop lock, but for the thresholds */
  uint64_t threshold[FH__GENERATIONS];   /* entries opened; young collections; percent of what lives that became old */
  uint64_t young_since;                  /* young collections since the last larger one */
  uint64_t became_old, old_due;          /* objects, since the last old collection; how many make the next one due */
  uint64_t collections[FH__GENERATIONS];
  uint64_t scanned[FH__GENERATIONS];
  uint64_t found[FH__GENERATIONS];
  uint64_t failed;
  uint64_t from_candidates;              /* old collections that looked at what candidates reach */
  uint64_t live;                         /* tracked objects, after the last old collection */
  uint32_t linear_in;                    /* so many old collections from candidates, and the next one goes by no marks */
  bool by_marks;                         /* objects are settled; an option */
  bool ignore_marks;                     /* the next old collection goes by no marks: some were lost */
};
extern struct fh__collector fh__collector;

/* Collects a generation and the younger ones, at a safepoint; returns how many objects were found and not resurrected. 0 if `me` is
 * collecting already. */
size_t fh__collect(struct fh__mutator *me, uint32_t generation);
/* The same, if it is due when the caller's turn to stop the world comes: of many that wait to collect, one does. */
void fh__collect_if_due(struct fh__mutator *me);
/* At init. */
void fh__collect_start(const fh_options *options);
/* Sets the trigger of old collections for a heap in which `live` tracked objects live on. */
void fh__collect_arm(uint64_t live);
/* True if enough entries were opened since the last collection. */
bool fh__collect_is_due(void);

#endif
