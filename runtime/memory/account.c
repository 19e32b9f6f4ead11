/* SPDX-License-Identifier: MIT */
#include "memory/account.h"

struct fh__account_shared fh__account;

static void note_peak(int64_t drawn) {
  int64_t peak = FH__LOAD(&fh__account.peak, RELAXED);
  /* Relaxed: a figure for statistics, ordered with nothing. */
  while (drawn > peak && !FH__CAS(&fh__account.peak, &peak, drawn, RELAXED)) {
  }
}

bool fh__account_draw(struct fh__account_local *local) {
  int64_t missing = FH__CREDIT_BYTES - FH__LOAD(&local->credit, RELAXED);
  int64_t drawn = FH__ADD(&fh__account.drawn, missing, RELAXED) + missing;
  FH__BUMP(&local->credit, missing);
  note_peak(drawn);
  return true;
}

void fh__account_give_back(struct fh__account_local *local) {
  int64_t surplus = FH__LOAD(&local->credit, RELAXED) - FH__CREDIT_BYTES;
  FH__BUMP(&local->credit, -surplus);
  FH__SUB(&fh__account.drawn, surplus, RELAXED);
}

void fh__account_settle(struct fh__account_local *local) {
  int64_t credit = FH__LOAD(&local->credit, RELAXED);
  FH__STORE_(&local->credit, 0, RELAXED);
  FH__SUB(&fh__account.drawn, credit, RELAXED);
}

void fh__account_free_foreign(size_t bytes) {
  FH__SUB(&fh__account.foreign, (int64_t)bytes, RELAXED);
  FH__SUB(&fh__account.drawn, (int64_t)bytes, RELAXED);
}
