/* SPDX-License-Identifier: MIT */
/* Who is told of collections. A callback is in one of these states, and moves under the lock alone:
 *
 *   listed ----- remove, no call is under way ----------------------> gone (the remover frees it)
 *      |
 *      +-- remove, calls are under way, by a mutator that waits ----> awaited -- the last call returns --> gone (the remover frees it)
 *      |
 *      +-- remove, calls are under way, by one that does not -------> left ----- the last call returns --> gone (the caller frees it)
 *
 * A call begins with a turn of the lock that finds the callback listed and counts itself in, and ends with one that counts itself
 * out. So when a remover that waited, or found no call, has returned, none is under way and none will begin. A mutator that is in a
 * callback itself does not wait: two that removed each other's callbacks would wait for ever. It waits outside of the lock, and off
 * line: the callback may stop the world. */
#ifndef FH_COLLECT_CALLBACK_H
#define FH_COLLECT_CALLBACK_H

#include <freehold/gc.h>

#include "mutator/mutator.h"

struct fh__callback {
  struct fh__callback *next;
  fh_gc_function function;
  void *context;
  uint64_t number; /* they are called in this order */
  uint32_t calls;  /* under way */
  bool removed;
  bool awaited;    /* ... and the remover waits, and frees it */
};

fh_status fh__callback_add(fh_gc_function function, void *context);
/* Takes it out of the list. NULL in `awaited_out`: that is all; else calls are under way, and fh__callback_await is to follow. */
fh_status fh__callback_remove(fh_gc_function function, void *context, bool may_wait, struct fh__callback **awaited_out);
void fh__callback_await(struct fh__callback *callback);

/* The youngest callback's number, 0: there is none. */
uint64_t fh__callbacks_newest(void);
/* Calls those up to `newest`, at a safepoint, with no lock held. */
void fh__callbacks_call(struct fh__mutator *me, const fh_gc_event *event, uint64_t newest);
/* By a thread that ends inside of a callback: the call is over. */
void fh__callback_left(struct fh__mutator *me);
/* In the child of a fork, the lock held: so is that of a thread which is not there any more. */
void fh__callback_lost_locked(struct fh__mutator *lost);

void fh__callbacks_lock(void);
void fh__callbacks_unlock(void);
/* At the end of the runtime. */
void fh__callbacks_finish(void);

#endif
