/* SPDX-License-Identifier: MIT */
/* What the safepoint layer knows of a mutator, and the moves of its state.
 *
 *                    attach                        claim
 *        +--------------------------+   +----------------------------+
 *        v          detach          |   v          unclaim           |
 *    ATTACHED ------------------> DETACHED ------------------------> CLAIMED
 *        |                         ^  |
 *        | park             resume |  | take
 *        +-------> STOPPED <-------+--+
 *
 * | move    | from     -> to       | who                                | order and partner                             |
 * |---------|----------------------|------------------------------------|-----------------------------------------------|
 * | attach  | DETACHED -> ATTACHED | the bound thread                   | seq_cst CAS, then loads queue and grace epoch |
 * | detach  | ATTACHED -> DETACHED | the bound thread                   | seq_cst swap, then loads queue and attention  |
 * | park    | ATTACHED -> STOPPED  | the bound thread, a stop is on     | seq_cst store, then counts itself in          |
 * | take    | DETACHED -> STOPPED  | the requester of a stop            | seq_cst CAS after raising STOP                |
 * | resume  | STOPPED  -> DETACHED | the requester, epoch even again    | seq_cst CAS, then loads the queue             |
 * | claim   | DETACHED -> CLAIMED  | an attached mutator that merges    | seq_cst CAS; never if WANTED                  |
 * | unclaim | CLAIMED  -> DETACHED | the claimer                        | seq_cst CAS, then loads queue and attention   |
 *
 * WANTED rides on DETACHED, CLAIMED and STOPPED: the bound thread waits to attach; nobody may begin a claim.
 *
 *   [state.right]   the right to a mutator's queue, bias words and limbo: its thread while ATTACHED, the claimer while CLAIMED,
 *                   the requester while the world is stopped
 *   [state.bound]   a mutator with a thread is never adopted, whatever its state
 *   [queue.drained] a mutator that rests DETACHED and is not WANTED has an empty queue, or somebody is about to look at it */
#ifndef FH_SYNC_STATE_H
#define FH_SYNC_STATE_H

#include "base/atomic.h"
#include "base/config.h"
#include "sync/queue.h"

enum fh__state {
  FH__DETACHED = 0,
  FH__ATTACHED = 1,
  FH__STOPPED = 2,
  FH__CLAIMED = 3,
  FH__STATE_MASK = 3,
  FH__WANTED = 4
};

/* The attention word: lower layers and other threads raise bits, only the mutator's own safepoint lowers them (STOP is
 * lowered by the requester, at resume). */
enum fh__attention {
  FH__ATTEND_STOP = 1u << 0,     /* a stop is on: park */
  FH__ATTEND_MERGE = 1u << 1,    /* the merge queue has entries */
  FH__ATTEND_GRACE = 1u << 2,    /* somebody waits for a grace period: report a quiescent state */
  FH__ATTEND_LIMBO = 1u << 3,    /* sealed limbo may be ripe */
  FH__ATTEND_DESTROY = 1u << 4,  /* dead objects wait for destruction */
  FH__ATTEND_FINALIZE = 1u << 5, /* finalizers or weak callbacks wait */
  FH__ATTEND_GARBAGE = 1u << 6,  /* the collector handed over private garbage */
  FH__ATTEND_COLLECT = 1u << 7,  /* a collection is due */
  FH__ATTEND_INBOX = 1u << 8,    /* threads that are not attached left something */
  FH__ATTEND_GIL = 1u << 9,      /* gil design: others have waited long enough */
  FH__ATTEND_LIMIT = 1u << 10,   /* a memory limit was crossed: give the credit up, tell the application */
  FH__ATTEND_PURGE = 1u << 11,   /* give unused memory back to the system */
  FH__ATTEND_LEAVING = FH__ATTEND_STOP | FH__ATTEND_GRACE | FH__ATTEND_INBOX, /* somebody hears of it when the mutator leaves */
  FH__ATTEND_WORK = FH__ATTEND_MERGE | FH__ATTEND_GRACE | FH__ATTEND_LIMBO | FH__ATTEND_DESTROY | FH__ATTEND_FINALIZE |
                    FH__ATTEND_GARBAGE | FH__ATTEND_INBOX,
  FH__ATTEND_NEVER = 1u << 31    /* of the word that threads which are not attached look at */
};

/* Grace periods are counted here, and described in sync/grace.h. */
struct fh__grace {
  uint64_t epoch;     /* atomic: the last number given out */
  uint64_t completed; /* atomic: the last one that has passed */
};
extern struct fh__grace fh__grace;

struct fh__sync_local {
  uint32_t attention; /* atomic; first, because fh__tls points here */
  uint32_t state;     /* atomic */
  uint64_t quiescent; /* atomic: the grace epoch that this mutator last saw in a quiescent state; its thread's */
  struct fh__queue queue;
  uint32_t id;        /* written once */
  uint32_t bound;     /* atomic: has a thread; registry's lock to set, the thread itself to clear */
  uint32_t next_free; /* id of the next unbound mutator; registry's lock */
  int32_t thread;     /* atomic: its thread's number in the kernel; the thread itself, at attach */
  bool taken;         /* by the present stop, from DETACHED; the requester's */
  uint64_t name[FH__NAME_BYTES / sizeof(uint64_t)]; /* atomic, word by word: the thread itself, at attach; reports read it meanwhile */
};

/* The quiescent state right after an attach. At a safepoint, see fh__grace_report. */
FH__INLINE void fh__grace_quiesce(struct fh__sync_local *sync) {
  /* acquire: [grace.unreachable]; release: [grace.finished] */
  FH__STORE_(&sync->quiescent, FH__LOAD(&fh__grace.epoch, SEQ_CST), RELEASE);
}

FH__INLINE void fh__attend(struct fh__sync_local *sync, uint32_t bits) {
  /* seq_cst: raising STOP and GRACE is the first half of a store-load pair whose second half is the scan of the states. */
  if ((FH__LOAD(&sync->attention, SEQ_CST) & bits) != bits) FH__OR(&sync->attention, bits, SEQ_CST);
}

/* Second half of the pairs "raise STOP (GRACE); scan the states" against "move the state; look at the bit". */
FH__INLINE uint32_t fh__attention_of(const struct fh__sync_local *sync) { return FH__LOAD(&sync->attention, SEQ_CST); }

/* For reports. */
const char *fh__state_name(uint32_t state);
struct fh__name {
  char text[FH__NAME_BYTES];
};
/* While a thread attaches, a mixture of two names may be read. */
struct fh__name fh__state_name_of(const struct fh__sync_local *sync);
/* NULL: none. */
void fh__state_set_name(struct fh__sync_local *sync, const char *name);

FH__INLINE uint32_t fh__state_of(const struct fh__sync_local *sync) {
  return FH__LOAD(&sync->state, SEQ_CST) & FH__STATE_MASK; /* second half of [queue.drained], of the stop's and of the grace period's pair */
}

void fh__state_attach_slow(struct fh__sync_local *sync);
bool fh__state_detach_slow(struct fh__sync_local *sync);

/* attach: waits through claims and stops; afterwards the thread polls its attention word. */
FH__INLINE void fh__state_attach(struct fh__sync_local *sync) {
  uint32_t state = FH__DETACHED;
  if (FH__UNLIKELY(!FH__CAS(&sync->state, &state, FH__ATTACHED, SEQ_CST))) { /* attach */
    fh__state_attach_slow(sync);
    return;
  }
  fh__grace_quiesce(sync);                                                                /* after the move: [grace.unreachable] */
  if (FH__UNLIKELY(!fh__queue_is_empty(&sync->queue))) fh__attend(sync, FH__ATTEND_MERGE); /* pushes that saw us away */
}

/* detach; false: the queue is not empty, and the mutator is ATTACHED again: merge and try again. The caller looks at STOP and
 * GRACE afterwards: it may be the one that somebody waits for. */
FH__INLINE bool fh__state_detach(struct fh__sync_local *sync) {
  FH__SWAP(&sync->state, FH__DETACHED, SEQ_CST); /* detach */
  return FH__LIKELY(fh__queue_is_empty(&sync->queue)) || fh__state_detach_slow(sync);
}
/* park, wait, attach; nothing if no stop is on. */
void fh__state_park(struct fh__sync_local *sync);
bool fh__state_claim(struct fh__sync_local *sync);
void fh__state_unclaim(struct fh__sync_local *sync);
/* Claims a mutator that rests DETACHED or STOPPED, wanted or not; `unclaim_resting` puts it back where it was. For a releaser that
 * found no memory to queue one object. From STOPPED only while the epoch is odd: the caller is ATTACHED, so that stop
 * has not come about before the caller parks, and by then the state is STOPPED again. */
bool fh__state_claim_resting(struct fh__sync_local *sync, uint32_t *rest_out);
void fh__state_unclaim_resting(struct fh__sync_local *sync, uint32_t rest);
/* True if a claimer should end early: the owner wants to attach. A stop waits for the few objects of a claim. */
bool fh__state_is_wanted(const struct fh__sync_local *sync);

#endif
