/* SPDX-License-Identifier: MIT */
/* Ephemerons in trial deletion. A pair (key, value) of a weak-key map counts as a reference from the map to the value: subtract takes
 * it off like any other. But it keeps the value only if
 *
 *   [ephemeron.pair]  the map and the key are both alive: marked, or not looked at by this collection (of an older generation, not
 *                     tracked, not reached from candidates)
 *
 * Marking goes past the maps and puts them into a list (object/ephemeron.h). Then, here, an object that is marked is looked at as
 * what it may be to a pair:
 *
 *   a map   its pairs are gone through once, and the values of those whose keys are alive are marked
 *   a key   its entries, which its block leads to (ref/weak.h), are gone through once, and the values of those whose maps are alive
 *           are marked
 *
 * An object of a type without references, or one that is FH_ACYCLIC, is not tracked, and would be alive for ever to its pairs: also if
 * nothing but their values refer to it. So if it becomes a key, the next old collection tracks it, in the stop [track.still].
 *
 * A pair is so looked at when its map is reached and when its key is reached, if that happens here, and at the later of the two both
 * are alive. A key that was marked before, by the ordinary pass, needs no look: all maps come after that. So a pair costs two
 * looks at most, and all of it time in proportion to pairs; no pass is repeated, and no memory is needed. */
#ifndef FH_COLLECT_EPHEMERON_H
#define FH_COLLECT_EPHEMERON_H

#include "collect/scan.h"

/* Stopped, before the scan of an old collection: tracks all keys. Where there is no memory for that, the next one tries again. */
void fh__ephemerons_track_keys(struct fh__mutator *me);
/* After fh__scan_mark, and whenever more was marked: marks all that follows from what is on the stack and in the list of maps. */
void fh__ephemerons_mark(struct fh__scan *scan);

/* Stopped: shows the weak-key maps of which the object is a key. Values hang on keys, and no cell shows it: who goes from object to object
 * and must miss nothing goes to the maps as well, which refer to the values. */
typedef void fh__ephemerons_map_function(void *context, fh_object *map);
void fh__ephemerons_each_map(const fh_object *key, fh__ephemerons_map_function *each, void *context);

#endif
