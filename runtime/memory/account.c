/* SPDX-License-Identifier: MIT */
#include "memory/account.h"

struct fh__account_shared fh__account;

static void note_peak(int64_t drawn) {
  int64_t peak = FH__LOAD(&fh__account.peak, RELAXED);
  /* Relaxed: a figure for statistics, ordered with nothing. */
  while (drawn > peak && !FH__CAS(&fh__account.peak, &peak, drawn, RELAXED)) {
  }
}

/* Brings the credit to `credit`; returns the new global figure. */
static int64_t set_credit(struct fh__account_local *local, int64_t credit) {
  int64_t more = credit - FH__LOAD(&local->credit, RELAXED);
  FH__STORE_(&local->credit, credit, RELAXED);
  return FH__ADD(&fh__account.drawn, more, RELAXED) + more; /* relaxed: a sum, ordered with nothing */
}

FH__COLD bool fh__account_draw(struct fh__account_local *local) {
  note_peak(set_credit(local, FH__CREDIT_BYTES));
  return true;
}

FH__COLD void fh__account_give_back(struct fh__account_local *local) { set_credit(local, FH__CREDIT_BYTES); }

void fh__account_settle(struct fh__account_local *local) { set_credit(local, 0); }

void fh__account_free_foreign(size_t bytes) {
  FH__SUB(&fh__account.foreign, (int64_t)bytes, RELAXED);
  FH__SUB(&fh__account.drawn, (int64_t)bytes, RELAXED);
}
