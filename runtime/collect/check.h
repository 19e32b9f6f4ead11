/* SPDX-License-Identifier: MIT */
/* The whole-heap checker: proves, in a stopped world, every invariant that can be seen. */
#ifndef FH_COLLECT_CHECK_H
#define FH_COLLECT_CHECK_H

#include "mutator/mutator.h"

/* Stops the world and looks; each finding is logged. FH_EINVAL: there were findings. */
fh_status fh__check_heap(struct fh__mutator *me);

#endif
