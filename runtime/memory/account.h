/* SPDX-License-Identifier: MIT */
/* The runtime's own account of live bytes. Resident size is useless as a trigger, and the allocator's statistics are not
 * to be had, so each mutator counts what it allocates and frees, against a credit that it draws from a global figure.
 *
 *   live = drawn - (sum of the mutators' credits)                                               [account.sum]
 *   live = sum over mutators of objects + buffers, + foreign                                    [account.parts]
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
  int64_t objects; /* bytes allocated less bytes freed by this mutator: may be negative */
  int64_t buffers;
};

struct fh__account_shared {
  int64_t drawn;   /* atomic */
  int64_t foreign; /* atomic: buffers freed by threads that are not attached, negative */
  int64_t peak;    /* atomic */
};

extern struct fh__account_shared fh__account;

/* Draws more credit; returns false at a limit. */
bool fh__account_draw(struct fh__account_local *local);
void fh__account_give_back(struct fh__account_local *local);
/* At detach: the whole credit returns, so that a sleeping mutator holds none of the budget. */
void fh__account_settle(struct fh__account_local *local);
void fh__account_free_foreign(size_t bytes);

FH__INLINE bool fh__account_take(struct fh__account_local *local, int64_t *part, size_t bytes) {
  int64_t credit = FH__LOAD(&local->credit, RELAXED) - (int64_t)bytes;
  FH__STORE_(&local->credit, credit, RELAXED);
  FH__BUMP(part, (int64_t)bytes);
  return FH__LIKELY(credit >= 0) || fh__account_draw(local);
}

FH__INLINE void fh__account_return(struct fh__account_local *local, int64_t *part, size_t bytes) {
  int64_t credit = FH__LOAD(&local->credit, RELAXED) + (int64_t)bytes;
  FH__STORE_(&local->credit, credit, RELAXED);
  FH__BUMP(part, -(int64_t)bytes);
  if (FH__UNLIKELY(credit > 2 * FH__CREDIT_BYTES)) fh__account_give_back(local);
}

#endif
