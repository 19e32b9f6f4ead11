/* SPDX-License-Identifier: MIT */
/* The runtime's own account of live bytes. Resident size is useless as a trigger, and the allocator's statistics are not
 * to be had, so each mutator spends from a credit that it draws from a global figure in steps.
 *
 *   live = drawn - (sum of the mutators' credits)                                                   [account.sum]
 *   live = (sum of buffers + items) + (sum over types without items of live x size)
 *          + (sum of what is dead in limbo)                                                         [account.parts]
 *
 * What waits for a grace period is in `live`, because nobody else can have that memory yet.
 *
 *   drawn <= hard, but for what was drawn before the limit was set lower                            [account.limit]
 *
 * Objects of a fixed size are not added up a second time: the census (object/census.h) knows how many there are.
 *
 * Writers: each local part its mutator only (or who has claimed it). Readers: anybody, relaxed. */
#ifndef FH_MEMORY_ACCOUNT_H
#define FH_MEMORY_ACCOUNT_H

#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/config.h"

struct fh__account_local {
  int64_t credit;  /* drawn and not in use */
  int64_t items;   /* bytes of objects with items allocated less freed by this mutator: may be negative */
  int64_t buffers; /* the same of buffers */
};

struct fh__account_shared {
  int64_t drawn;   /* atomic */
  int64_t peak;    /* atomic */
  int64_t soft;    /* atomic: limits; INT64_MAX: none */
  int64_t hard;    /* atomic */
};

extern struct fh__account_shared fh__account;

/* A new account, at init. */
void fh__account_start(int64_t soft, int64_t hard);
static inline bool fh__account_is_tight(void) {
  return FH__LOAD(&fh__account.drawn, RELAXED) > FH__LOAD(&fh__account.soft, RELAXED);
}
/* Covers a negative credit by drawing from the budget, exactly up to the hard limit; false: it would be passed. */
bool fh__account_draw(struct fh__account_local *local);
void fh__account_give_back(struct fh__account_local *local);
/* At detach: the whole credit returns, so that a sleeping mutator holds none of the budget. */
void fh__account_settle(struct fh__account_local *local);

/* Takes bytes from the credit, or nothing and returns false if it has not so many. */
FH__INLINE bool fh__account_take(struct fh__account_local *local, size_t bytes) {
  int64_t credit = FH__LOAD(&local->credit, RELAXED) - (int64_t)bytes;
  if (FH__UNLIKELY(credit < 0)) return false;
  FH__STORE_(&local->credit, credit, RELAXED);
  return true;
}

/* Takes bytes from the credit; false: it is overdrawn, and a draw must cover that, or the bytes be returned. */
FH__INLINE bool fh__account_spend(struct fh__account_local *local, size_t bytes) {
  int64_t credit = FH__LOAD(&local->credit, RELAXED) - (int64_t)bytes;
  FH__STORE_(&local->credit, credit, RELAXED);
  return FH__LIKELY(credit >= 0);
}

FH__INLINE void fh__account_return(struct fh__account_local *local, size_t bytes) {
  int64_t credit = FH__LOAD(&local->credit, RELAXED) + (int64_t)bytes;
  FH__STORE_(&local->credit, credit, RELAXED);
  if (FH__UNLIKELY(credit > 2 * FH__CREDIT_BYTES)) fh__account_give_back(local);
}

/* The same for what is also added up by kind: `part` is &local->items or &local->buffers. */
static inline bool fh__account_spend_part(struct fh__account_local *local, int64_t *part, size_t bytes) {
  FH__BUMP(part, (int64_t)bytes);
  return fh__account_spend(local, bytes);
}

static inline void fh__account_return_part(struct fh__account_local *local, int64_t *part, size_t bytes) {
  FH__BUMP(part, -(int64_t)bytes);
  fh__account_return(local, bytes);
}

#endif
