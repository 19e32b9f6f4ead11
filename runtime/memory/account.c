/* SPDX-License-Identifier: MIT */
#include "memory/account.h"

struct fh__account_shared fh__account = {.soft = INT64_MAX, .hard = INT64_MAX};

static void note_peak(int64_t drawn) {
  int64_t peak = FH__LOAD(&fh__account.peak, RELAXED);
  /* Relaxed: a figure for statistics, ordered with nothing. */
  while (drawn > peak && !FH__CAS(&fh__account.peak, &peak, drawn, RELAXED)) {
  }
}

/* Brings the credit to `credit`, which is less than it was. */
static void lower_credit(struct fh__account_local *local, int64_t credit) {
  int64_t less = FH__LOAD(&local->credit, RELAXED) - credit;
  FH__STORE_(&local->credit, credit, RELAXED);
  FH__SUB(&fh__account.drawn, less, RELAXED); /* relaxed: a sum, ordered with nothing */
}

/* What is drawn beyond the need. Near the limit less, so that little of the budget lies idle in credits. */
static int64_t extra(int64_t room) { return room / 16 < FH__CREDIT_BYTES ? room / 16 : FH__CREDIT_BYTES; }

FH__COLD bool fh__account_draw(struct fh__account_local *local) {
  int64_t need = -FH__LOAD(&local->credit, RELAXED);
  int64_t drawn = FH__LOAD(&fh__account.drawn, RELAXED), more;
  do {
    int64_t room = FH__LOAD(&fh__account.hard, RELAXED) - drawn - need;
    if (room < 0) return false;
    more = need + extra(room);
  } while (!FH__CAS(&fh__account.drawn, &drawn, drawn + more, RELAXED)); /* relaxed: a sum, ordered with nothing */
  FH__STORE_(&local->credit, more - need, RELAXED);
  note_peak(drawn + more);
  return true;
}

FH__COLD void fh__account_give_back(struct fh__account_local *local) {
  lower_credit(local, fh__account_is_tight() ? 0 : FH__CREDIT_BYTES);
}

void fh__account_settle(struct fh__account_local *local) { lower_credit(local, 0); }

void fh__account_start(int64_t soft, int64_t hard) {
  fh__account = (struct fh__account_shared){.soft = soft, .hard = hard};
}
