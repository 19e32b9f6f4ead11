/* SPDX-License-Identifier: MIT */
/* What happens at a safepoint, and the thread's moves between online and offline that the public calls are made of. */
#ifndef FH_API_SAFEPOINT_H
#define FH_API_SAFEPOINT_H

#include "mutator/mutator.h"
#include "ref/merge.h"

/* Parks if the world stops, and does what the attention word asks for. */
void fh__safepoint_run(struct fh__mutator *me);
/* The same, whether asked for or not; also what sleepers need. */
void fh__safepoint_housekeep(struct fh__mutator *me);
/* The caller's mutator, or NULL where no safepoint may be; traps unless attached. */
struct fh__mutator *fh__self_at_safepoint(const char *call);
/* Housekeeping and full collections until nothing changes any more. */
void fh__safepoint_settle(struct fh__mutator *me);
/* A safepoint with a collection in it; returns as fh__collect. */
size_t fh__safepoint_collect(struct fh__mutator *me, uint32_t generation);

/* By a mutator that left ATTACHED: tells those who may have waited for just that. */
void fh__tell_departure(struct fh__mutator *me);

FH__INLINE void fh__go_offline(struct fh__mutator *me) {
  fh__mutator_go_offline(me, fh__merge_own);
  if (FH__UNLIKELY(fh__attention_of(&me->sync) & FH__ATTEND_LEAVING)) fh__tell_departure(me);
}

/* Critical sections are given up while their thread waits or runs other code, and the innermost is taken again. */
void fh__critical_suspend(struct fh__mutator *me);
void fh__critical_resume(struct fh__mutator *me);
/* In the child of a fork, before anything runs: frees the object locks of a mutator whose thread is not there any more. */
void fh__locks_of_lost(struct fh__mutator *lost, const struct fh__mutator *survivor);

#endif
