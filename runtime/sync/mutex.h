/* SPDX-License-Identifier: MIT */
/* A mutex of one word that knows no owner. Ranks order the locks of the runtime (docs/memory-order.md); a thread may take a
 * lock only if it holds none of the same or a higher rank; checked builds enforce it. */
#ifndef FH_SYNC_MUTEX_H
#define FH_SYNC_MUTEX_H

#include "base/atomic.h"
#include "base/config.h"

enum fh__rank {
  FH__RANK_STOP = 1,    /* who may stop the world */
  FH__RANK_RUNTIME,     /* init and shutdown */
  FH__RANK_REGISTRY,    /* mutators */
  FH__RANK_TRACK,       /* the chunk directory */
  FH__RANK_ROOTS,       /* registered slots */
  FH__RANK_CALLBACKS,   /* who is told of collections */
  FH__RANK_SAVED,       /* garbage that is kept to be looked at */
  FH__RANK_MAP,         /* a weak map or set */
  FH__RANK_WEAK,        /* a shard of the table of weakly referenced objects */
  FH__RANK_PENDING,     /* finalizers that wait for a thread of the application */
  FH__RANK_STATISTICS   /* histograms */
};

struct fh__mutex {
  uint32_t word; /* 0 free, 1 held, 2 held and somebody may wait */
  uint32_t rank;
};

#define FH__MUTEX(rank_) {0, (rank_)}

void fh__mutex_lock(struct fh__mutex *mutex);
bool fh__mutex_try_lock(struct fh__mutex *mutex);
void fh__mutex_unlock(struct fh__mutex *mutex);

/* Byte locks: 0 free, 1 held, 3 held and somebody may wait. The slow paths park on a table of words, hashed by address. */
static inline bool fh__byte_try_lock(uint8_t *byte) {
  uint8_t expected = 0;
  return FH__CAS(byte, &expected, 1, ACQUIRE); /* partner: the release in fh__byte_unlock */
}
/* Waits until the lock is held; the caller is offline meanwhile, or a stop would wait for it. */
void fh__byte_lock_wait(uint8_t *byte);
/* Returns false if it was not locked. */
bool fh__byte_unlock(uint8_t *byte);

#endif
