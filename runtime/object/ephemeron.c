/* SPDX-License-Identifier: MIT */
#include "object/ephemeron.h"

struct fh__ephemeron_map *fh__ephemerons_reached;

/* An object is marked once, so a map comes here once in a collection. Relaxed: who takes the list apart comes after the end of the
 * pass that filled it, which orders far more than this. */
void fh__ephemerons_reach(fh_object *object) {
  struct fh__ephemeron_map *map = (struct fh__ephemeron_map *)(void *)object;
  map->next = FH__LOAD(&fh__ephemerons_reached, RELAXED);
  while (!FH__CAS(&fh__ephemerons_reached, &map->next, map, RELAXED)) {}
}
