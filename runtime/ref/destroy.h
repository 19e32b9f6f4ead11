/* SPDX-License-Identifier: MIT */
/* What happens to an object whose count became zero:
 *
 *   count 0 --> untracked --+-- has a finalizer that did not run --> `finalizable`, until the mutator's next safepoint
 *                           |      (there: count 1, tracked again, finalizer, ordinary release)
 *                           +-- else --> fields cleared, dealloc --+-- private   --> freed
 *                                                                  +-- published --> limbo --> grace period --> freed
 *
 * Destruction is iterative: what dies while an object is being destroyed joins the list `dying`, linked through the dead
 * themselves, so a tree of any depth needs neither stack nor memory. */
#ifndef FH_REF_DESTROY_H
#define FH_REF_DESTROY_H

#include "mutator/mutator.h"

/* The count of `object` is zero, and the caller brought it there. */
void fh__ref_die(struct fh__mutator *me, fh_object *object);
/* The same, but only puts it away for this mutator's next safepoint: for deaths under a claim or in a stop. */
void fh__ref_die_later(struct fh__mutator *me, fh_object *object);
/* At a safepoint: destroys what was put away. */
void fh__ref_run_deferred(struct fh__mutator *me);
/* At a safepoint: runs the finalizers that wait. */
void fh__ref_run_finalizers(struct fh__mutator *me);
/* Runs one finalizer; the caller holds a reference. False if it ran before. */
bool fh__ref_finalize(struct fh__mutator *me, fh_object *object, const fh_type *type);

/* An object of a type with FH_GRACE, whose grace period has passed: clears, deallocs and frees it. */
void fh__ref_destroy_ripe(struct fh__mutator *me, fh_object *object);
/* The last step alone, for an object whose fields are NULL: dealloc, then its memory, at once or through limbo. */
void fh__ref_dealloc_and_free(struct fh__mutator *me, fh_object *object, bool at_once);

#endif
