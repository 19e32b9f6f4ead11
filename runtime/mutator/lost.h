/* SPDX-License-Identifier: MIT */
/* Mutators whose threads a fork left behind in the parent: everything that is theirs stays with them, until a thread of the child
 * adopts them, or the runtime ends. */
#ifndef FH_MUTATOR_LOST_H
#define FH_MUTATOR_LOST_H

#include "mutator/mutator.h"

/* In the child, the world stopped, the registry locked: the mutator has no thread any more. Its object locks are free already. */
void fh__lost_bury(struct fh__mutator *lost);
/* By the thread that adopted it. */
void fh__lost_adopt(struct fh__mutator *me);
/* Stopped: counts what is stranded, once after a fork. Not in the fork itself: a child that only calls exec need not pay for it. */
void fh__lost_count_stopped(void);

#endif
