/* SPDX-License-Identifier: MIT */
/* Finalizers that are attached to an object from outside: weak references that call back, and that the runtime keeps.
 *
 *            call, detach, loss: swap alive to 0
 *   ALIVE --------------------------------------> DONE
 *
 * One word decides. Whoever takes `alive` from 1 to 0 has won, and nobody else looks at the function and its context after that:
 *
 *   winner             then
 *   fh_finalizer_call  calls the function, in this thread and now
 *   the target's loss  calls it, at a safepoint or out of the queue, as a weak reference's callback
 *   detach             takes it from the list of those who hear of the loss; a callback that is on its way finds `alive` 0
 *   shutdown           as fh_finalizer_call, for those with FH_FINALIZER_AT_EXIT; the others are detached when all is over
 *
 *   [final.kept]  alive <=> the runtime has one reference to the finalizer, which the winner gives up
 *   [final.once]  the function is called at most once, and only by the winner
 *
 * The swap needs no order. What the winner reads was written before the finalizer was known to anybody: a caller was handed the
 * reference, and the loss comes by the lock of the shard in which the finalizer was entered. */
#ifndef FH_REF_FINALIZER_H
#define FH_REF_FINALIZER_H

#include <freehold/finalize.h>

#include "ref/weak.h"

/* Published from birth, and written before anybody else knows it, but for `alive` and `next`. */
struct fh_finalizer {
  fh_weak weak; /* first; its callback is fh__finalizer_on_loss */
  void (*call)(void *context);
  void *context;
  uint64_t number;    /* in the order of creation */
  fh_finalizer *next; /* in a list of the shutdown's */
  uint32_t alive;     /* atomic */
  uint32_t flags;
};

void fh__finalizer_on_loss(fh_weak *weak, void *context);
uint64_t fh__finalizer_number(void);
/* At shutdown, when nobody else is attached: calls those with FH_FINALIZER_AT_EXIT whose objects live, the newest first. */
void fh__finalizers_at_exit(struct fh__mutator *me);
/* ... and at its end: detaches those whose objects leaked or are immortal. True: there were any. */
bool fh__finalizers_forget(struct fh__mutator *me);

#endif
