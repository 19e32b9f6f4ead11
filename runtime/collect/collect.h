/* SPDX-License-Identifier: MIT */
/* The cycle collector's driver and its trigger. */
#ifndef FH_COLLECT_COLLECT_H
#define FH_COLLECT_COLLECT_H

#include "mutator/mutator.h"

struct fh__collector {
  uint64_t collections; /* atomic, all of them */
  uint64_t failed;
  uint64_t scanned;
};
extern struct fh__collector fh__collector;

/* Collects, at a safepoint; returns how many objects were found and not resurrected. 0 if `me` is collecting already. */
size_t fh__collect(struct fh__mutator *me);
/* The same, if it is due when the caller's turn to stop the world comes: of many that wait to collect, one does. */
void fh__collect_if_due(struct fh__mutator *me);
/* Sets the trigger for a heap in which `live` tracked objects live on. */
void fh__collect_arm(uint64_t live);
/* True if enough entries were opened since the last collection. */
bool fh__collect_is_due(void);

#endif
