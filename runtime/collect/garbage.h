/* SPDX-License-Identifier: MIT */
/* What becomes of garbage.
 *
 * In the stop it is sorted into lists, one a mutator that will finish it, and every object gets one more count, held by its
 * list. Private garbage is finished by its own mutator, because nobody else may touch what it refers to; that of mutators
 * that sleep in blocking regions or have no thread is published in the stop, with what it reaches, and finished by the
 * collecting mutator together with the published garbage. Where another mutator's private garbage has finalizers to run,
 * the published garbage that it refers to is kept until the next collection: the finalizers must find it intact.
 *
 * Finishing, at the mutator's safepoint, with the world running: weak callbacks; finalizers; if there were any, a second stop finds
 * what they resurrected; fields are cleared; dealloc; memory is freed, without a grace period, because the first stop was one.
 *
 * With FH_FINALIZERS_QUEUE, garbage that has finalizers to run is finished by a thread of the application. All published garbage of that
 * stop, and all of the mutators whose private garbage has finalizers, is published with what it reaches and becomes one list, which
 * waits in the queue (ref/pending.h) until that thread comes. Lists without finalizers are finished as above.
 *
 * References from garbage to garbage of the same list need not be counted down: both die. Where garbage of another list
 * refers to it (private to published, or a list that an earlier collection left), an object is marked CROSS, its incoming
 * references are counted, and it dies by its count.
 *
 *   [garbage.held]   an object of a list has one count of the list's: a later collection finds it alive
 *   [garbage.flag]   GARBAGE is set and CROSS decided with the world stopped, before anybody clears a field */
#ifndef FH_COLLECT_GARBAGE_H
#define FH_COLLECT_GARBAGE_H

#include "collect/scan.h"
#include "ref/pending.h"

struct fh__garbage {
  struct fh__pending_list pending; /* first: a list that is queued is found by it */
  struct fh__garbage *next; /* in the mutator's list of lists */
  size_t count;
  uint32_t generation; /* of the collection that found it */
  bool closed;    /* nothing but its memory is left to free (collect/closed.h) */
  size_t next_finalizer; /* of the objects: those before it have had their turn */
  bool runs_code; /* finalizers that did not run, or callbacks of weak references to its objects */
  bool queued;    /* finished by a thread of the application: all its objects are published */
  fh_object *object[];
};

/* Stopped: sorts the unmarked objects into lists. Returns their number, or SIZE_MAX if there was no memory for the lists, and
 * then nothing changed. */
size_t fh__garbage_sort(struct fh__mutator *me, struct fh__scan *scan);
/* At a safepoint: finishes the lists that wait for this mutator. Returns how many objects finalizers resurrected. */
size_t fh__garbage_finish(struct fh__mutator *me);
/* With the queue: runs at most so many finalizers of one list that waits there, and finishes it if these were all. False: none waits. */
bool fh__garbage_run_pending(struct fh__mutator *me, size_t most, size_t *ran);
/* By a thread that ends, perhaps inside a finalizer of such a list: the list waits again. Those that ran do not run twice. */
void fh__garbage_resume(struct fh__mutator *me);

#endif
