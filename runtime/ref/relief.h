/* SPDX-License-Identifier: MIT */
/* Giving memory back: ripe limbo, the sleepers' limbo and heaps, and what threads that are not attached left behind. */
#ifndef FH_REF_RELIEF_H
#define FH_REF_RELIEF_H

#include "mutator/mutator.h"

/* Reports a quiescent state, and wakes those whose batches that made ripe. */
void fh__relief_quiesce(struct fh__mutator *me);
/* Raises LIMBO with those whose sealed batch is ripe; true if some of them sleep. */
bool fh__relief_wake_ripe(void);
/* By a mutator that just left ATTACHED with GRACE raised: it may have been the last that a grace period waited for. */
void fh__relief_leaving(void);
/* Frees the sealed batch if it is ripe; seals the open one if it is large, or if `all`. */
void fh__relief_limbo(struct fh__mutator *me, bool all);
/* Does for sleeping mutators what they cannot do: seals and frees their limbo, tidies heaps with at least `debt` bytes. */
void fh__relief_sleepers(struct fh__mutator *me, uint64_t debt);
/* Tidies the heaps of all sleepers, whatever they owe, until the process has become smaller than `enough` bytes. */
void fh__relief_purge_sleepers(struct fh__mutator *me, size_t enough);
/* Stopped: all limbo of everybody becomes ripe at the mutators' next look. */
void fh__relief_stopped(void);
/* Releases and frees what the inboxes hold. */
void fh__relief_inbox(struct fh__mutator *me);
bool fh__relief_inbox_is_empty(void);
/* Asks one mutator that runs to look at the inbox; if none runs, whoever comes next does. */
void fh__relief_ask(void);

/* The same by a thread without a mutator: the runtime may end beside it. False: it has. */
bool fh__relief_ask_from_outside(void);

/* fh_release_later and fh_free for threads that must not act themselves. free_later: false if the runtime does not run: the caller
 * frees the block itself. */
void fh__relief_release_later(fh_object *object);
bool fh__relief_free_later(void *block);
/* At the end, the registry locked: what was left after the last look. */
void fh__relief_finish(void);

#endif
