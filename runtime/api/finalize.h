/* SPDX-License-Identifier: MIT */
#ifndef FH_API_FINALIZE_H
#define FH_API_FINALIZE_H

#include "mutator/mutator.h"

/* At a safepoint: runs at most so many of what waits in the queue; returns how many ran. */
size_t fh__finalizers_run(struct fh__mutator *me, size_t most);
/* At shutdown, with the other types. */
void fh__finalizer_forget_type(void);

#endif
