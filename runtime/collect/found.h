/* SPDX-License-Identifier: MIT */
/* Objects that are looked for in a stop, and shown to the application when the world runs again.
 *
 *   [found.held]       whatever is shown has a reference of the runtime's, taken in the stop that found it
 *   [found.published]  it is published in that stop, with all that it reaches, unless the caller owns it
 *
 * What a collection has found to be garbage and somebody is about to destroy is passed over. */
#ifndef FH_COLLECT_FOUND_H
#define FH_COLLECT_FOUND_H

#include <freehold/gc.h>

#include "mutator/mutator.h"

struct fh__found {
  struct fh__mutator *me;
  const fh_type *type; /* of those that are wanted; NULL: all */
  fh_object **object;
  size_t count, capacity;
  bool no_memory; /* for one of them at least */
};

/* Stopped, or under what keeps the object alive: adds one, if it is of the type. */
void fh__found_add(struct fh__found *found, fh_object *object);
/* With the world running: shows them until `visit` has enough, and gives all references up. FH_ENOMEM: nothing was shown. */
fh_status fh__found_show(struct fh__found *found, fh_gc_visit visit, void *context);

/* At a safepoint; they stop the world. Objects of a generation, -1: of all. Objects that refer to one of `count` others; those are sorted
 * by address. What an object refers to, each reference once. */
void fh__find_objects(struct fh__found *found, int generation);
void fh__find_referrers(struct fh__found *found, fh_object *const *sorted, size_t count);
void fh__find_referents(struct fh__found *found, fh_object *object);

#endif
