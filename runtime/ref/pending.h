/* SPDX-License-Identifier: MIT */
/* Finalizers that wait for a thread of the application (FH_FINALIZERS_QUEUE): one queue for all mutators, in three parts.
 *
 *   callbacks   weak references whose target is lost, linked through themselves
 *   objects     dead ones that have a finalizer, linked as all dead objects are
 *   lists       garbage of a collection among which there are finalizers (collect/garbage.h)
 *
 * Each part is first in, first out, and they are served in this order; so an object's callbacks begin before its finalizer.
 * Nothing here needs memory: a death cannot fail. Whoever takes something out notes it in its mutator before it goes on, so a
 * thread that ends in a finalizer, or is lost in a fork, leaves nothing behind but in its mutator or in the queue.
 *
 *   [pending.published] what waits here is published and merged: whoever takes it out need not be its owner
 *   [pending.count]     `count` = callbacks + objects + the finalizers of the lists that are to run, at least 1 a list
 *
 * The lock is held for a few instructions, by threads that are attached and do not park meanwhile: in a stopped world, and in a
 * fork, it is free. */
#ifndef FH_REF_PENDING_H
#define FH_REF_PENDING_H

#include "mutator/mutator.h"

/* The head of a garbage list. */
struct fh__pending_list {
  struct fh__pending_list *next; /* the queue's lock */
  size_t finalizers;             /* how many are to run; of whoever has the list, and constant while it waits */
};

FH__INLINE bool fh__pending_is_on(void) { return fh__shared.options.finalizers == FH_FINALIZERS_QUEUE; }

/* At the end. If that makes the queue non-empty, `me` tells the application at its next safepoint. */
void fh__pending_push_callbacks(struct fh__mutator *me, struct fh_weak *newest); /* linked, the newest first */
void fh__pending_push_object(struct fh__mutator *me, fh_object *object);
void fh__pending_push_list(struct fh__mutator *me, struct fh__pending_list *list);
/* At the front: what could not be finished. */
void fh__pending_return_object(struct fh__mutator *me, fh_object *object);
void fh__pending_return_list(struct fh__mutator *me, struct fh__pending_list *list);
/* NULL: there is none. */
struct fh_weak *fh__pending_take_callback(void);
fh_object *fh__pending_take_object(void);
struct fh__pending_list *fh__pending_take_list(void);

/* At a safepoint: calls the application's function, if it has to be told. */
void fh__pending_notify(struct fh__mutator *me);
uint64_t fh__pending_count(void);
/* Stopped: each dead object that waits. */
fh_object *fh__pending_first_object(void);

void fh__pending_start(void);

#endif
