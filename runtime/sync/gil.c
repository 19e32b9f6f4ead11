/* SPDX-License-Identifier: MIT */
#include "sync/gil.h"

#include <limits.h>
#include <stddef.h>

#include "base/futex.h"

struct fh__gil fh__gil;

static void ask_holder(void) {
  struct fh__sync_local *holder = FH__LOAD(&fh__gil.holder, ACQUIRE); /* partner: note_holder. Mutators are never freed meanwhile */
  if (holder) fh__attend(holder, FH__ATTEND_GIL);
}

static void wait_for_turn(void) {
  FH__ADD(&fh__gil.waiting, 1, SEQ_CST); /* before the look at the word; partner: fh__gil_let_others */
  for (;;) {
    uint32_t turn = FH__LOAD(&fh__gil.turn, RELAXED);
    if (FH__SWAP(&fh__gil.word, 2, ACQUIRE) == 0) break; /* partner: release; at worst one wake too many */
    fh__futex_wait(&fh__gil.word, 2, fh__gil.interval_ns);
    if (FH__LOAD(&fh__gil.turn, RELAXED) == turn) ask_holder(); /* nobody came and went while this thread waited */
  }
  FH__SUB(&fh__gil.waiting, 1, RELAXED);
}

static void note_holder(struct fh__sync_local *sync) {
  FH__STORE_(&fh__gil.holder, sync, RELEASE); /* partner: ask_holder */
  FH__ADD(&fh__gil.turn, 1, SEQ_CST);         /* store-load against yielding, partner: fh__gil_let_others */
  if (FH__LOAD(&fh__gil.yielding, SEQ_CST)) fh__futex_wake(&fh__gil.turn, INT_MAX);
}

void fh__gil_take_now(struct fh__sync_local *sync) {
  uint32_t expected = 0;
  if (!FH__CAS(&fh__gil.word, &expected, 1, ACQUIRE)) wait_for_turn(); /* partner: release */
  note_holder(sync);
}

void fh__gil_release_now(void) {
  FH__STORE_(&fh__gil.holder, NULL, RELAXED);
  if (FH__SWAP(&fh__gil.word, 0, RELEASE) == 2) fh__futex_wake(&fh__gil.word, 1); /* partner: take */
}

void fh__gil_let_others(uint32_t turn) {
  FH__ADD(&fh__gil.yielding, 1, SEQ_CST);
  /* Whoever is counted as waiting takes it sooner or later, and that changes the turn: this wait ends. */
  while (FH__LOAD(&fh__gil.turn, SEQ_CST) == turn && FH__LOAD(&fh__gil.waiting, SEQ_CST)) fh__futex_wait(&fh__gil.turn, turn, 0);
  FH__SUB(&fh__gil.yielding, 1, RELAXED);
}

void fh__gil_reset(struct fh__sync_local *holder) {
  fh__gil.word = holder != NULL;
  fh__gil.waiting = fh__gil.yielding = 0;
  fh__gil.holder = holder;
}
