/* SPDX-License-Identifier: MIT */
/* Weak maps and sets: tables of entries (ref/weak.h), each of which leads weakly to one object. In a weak-key map and a set that is
 * the key, and is found by its address; in a weak-value map it is the value, and found by a string of bytes. The entry of a weak-key
 * map holds a counted reference to a value beside it.
 *
 *   fh_weak_keys --table--> entry --object (weak)--> key          fh_weak_values --table--> entry: bytes --object (weak)--> value
 *                             +-----value (counted)--> value      fh_weak_set    --table--> entry --object (weak)--> member
 *
 *   [map.entry]   an entry in a map's table leads to the map, and its object is alive, or its death is under way
 *   [map.still]   the world is never stopped while a map is half changed: its lock is no safepoint, nobody parks with it
 *
 * Each has a lock. Under it nothing of the application's runs: what is dropped is collected, the lock given up, and then
 * released. A shard's lock (ref/weak.h) is taken under it, never the other way round: so who finds an object dead, under the shard's
 * lock, can only put the entries into a list of its own. It takes them out of their maps right after that, and gives up their values. */
#ifndef FH_REF_WEAKMAP_H
#define FH_REF_WEAKMAP_H

#include <freehold/weakmap.h>

#include "object/ephemeron.h"
#include "ref/weak.h"

/* Atomic: a weak-key map got a key that is not tracked. The next old collection tracks those (collect/ephemeron.h). */
extern bool fh__weakmap_got_untracked;

/* Published from birth. */
struct fh__weakmap {
  struct fh__ephemeron_map head;
  struct fh__mutex lock;
  struct fh__weak_entry **bucket; /* the lock, as all that follows */
  size_t capacity;                /* a power of two */
  size_t count;                   /* atomic: read by anybody */
  struct fh__weak_entry *own_bucket;
};

struct fh_weak_keys {
  struct fh__weakmap map;
};
struct fh_weak_values {
  struct fh__weakmap map;
};
struct fh_weak_set {
  struct fh__weakmap map;
};

void fh__weakmap_init(struct fh__weakmap *map);
/* Of the types. */
void fh__weakmap_dealloc(void *map);
void fh__weakmap_traverse(void *map, fh_visitor *visitor);
void fh__weakmap_ephemerons(fh_object *map, fh__pair_function *each, void *context);

/* By object. `object` and `value` are published, and the caller has references to them. */
fh_status fh__weakmap_set(struct fh__weakmap *map, fh_object *key, fh_object *value);
fh_status fh__weakmap_add(struct fh__weakmap *map, fh_object *object);
bool fh__weakmap_has(struct fh__weakmap *map, const fh_object *object);
fh_object *fh__weakmap_value_of(struct fh__weakmap *map, const fh_object *key); /* owned, or NULL */
/* False: it was not there. The value, if it has one, is the caller's. */
bool fh__weakmap_take(struct fh__weakmap *map, const fh_object *object, fh_object **value_out);

/* By bytes. The object that is found is owned. */
struct fh__weakmap_key {
  const void *bytes;
  size_t size;
};
fh_object *fh__weakmap_find(struct fh__mutator *me, struct fh__weakmap *map, struct fh__weakmap_key key);
/* The object that is there afterwards: another one only if `keep`. NULL: no memory, and nothing changed. */
fh_object *fh__weakmap_put(struct fh__mutator *me, struct fh__weakmap *map, struct fh__weakmap_key key, fh_object *object, bool keep);
bool fh__weakmap_remove(struct fh__weakmap *map, struct fh__weakmap_key key);

static inline size_t fh__weakmap_count(const struct fh__weakmap *map) { return FH__LOAD(&map->count, RELAXED); }
void fh__weakmap_clear(struct fh__mutator *me, struct fh__weakmap *map);

/* What a map has at one moment, with owned references. */
struct fh__weakmap_item {
  fh_object *object;
  fh_object *value; /* or NULL */
  const void *bytes;
  size_t size;
  bool lost; /* in the very moment: there is no such item, but a reference to be released */
};
struct fh__weakmap_snapshot {
  size_t count;
  struct fh__weakmap_item item[];
};
/* NULL: no memory. Its parts are released, and it is freed, by the second. */
struct fh__weakmap_snapshot *fh__weakmap_look(struct fh__mutator *me, struct fh__weakmap *map);
void fh__weakmap_forget(struct fh__weakmap_snapshot *snapshot);

/* Takes the lost entries in this mutator's list out of their maps and gives up their values. Not under a lock, not in a stop. */
void fh__weakmap_drop_lost(struct fh__mutator *me);
/* Stopped, when all garbage is in its lists: takes them out of their maps. Values that are garbage are given up here. */
void fh__weakmap_take_out_lost_stopped(struct fh__mutator *me);
/* A map was garbage and is not any more: what it lost meanwhile is taken out. */
void fh__weakmap_rescued(struct fh__mutator *me, struct fh__weakmap *map);

#endif
