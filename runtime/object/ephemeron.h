/* SPDX-License-Identifier: MIT */
/* Ephemerons, as far as the walk over an object's cells sees them: a weak-key map does not keep a value alive by itself, only together
 * with the value's key. So where a collection asks what an object keeps, such a map is put into a list instead, and who marks
 * looks at the list later (collect/ephemeron.h). Several threads may do so at once. */
#ifndef FH_OBJECT_EPHEMERON_H
#define FH_OBJECT_EPHEMERON_H

#include "object/type.h"

/* How objects begin whose type has `ephemerons`. */
struct fh__ephemeron_map {
  fh_object fh;
  struct fh__ephemeron_map *next; /* in the list, in a stop */
};

/* Stopped: those that were reached and not looked at yet. */
extern struct fh__ephemeron_map *fh__ephemerons_reached;

void fh__ephemerons_reach(fh_object *map) __attribute__((cold));

#endif
