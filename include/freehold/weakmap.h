/* SPDX-License-Identifier: MIT */
/* Weak maps and sets: tables that do not keep what they lead to.
 *
 *   fh_weak_keys     object (by identity, weak) -> object    what belongs to an object, kept outside of it
 *   fh_weak_values   bytes -> object (weak)                  caches; interning
 *   fh_weak_set      objects (by identity, weak)             everybody who is there: observers, registries
 *
 * Each is an object as any other: counted, kept in fields and slots, published from birth, used from any thread at once. What they
 * lead to is published when it is put in. An entry goes when its object dies; docs/weak.md says when exactly.
 *
 * Calls of all three may be mixed freely from any number of threads; each takes the map's lock for a few instructions, and is no
 * safepoint. */
#ifndef FREEHOLD_WEAKMAP_H
#define FREEHOLD_WEAKMAP_H

#include <freehold/object.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fh_weak_keys fh_weak_keys;
typedef struct fh_weak_values fh_weak_values;
typedef struct fh_weak_set fh_weak_set;

/* Makes an empty map or set.
 *
 * Shape:   no arguments.
 * Owns:    returns an owned reference; NULL: no memory, and nothing changed.
 * Threads: an attached thread.
 * Runs:    as fh_new.
 * Errors:  NULL. Traps: not attached.
 * Source:  docs/weak.md, "Weak maps and sets". */
FH_API FH_MUST_USE fh_weak_keys *fh_weak_keys_new(void);
FH_API FH_MUST_USE fh_weak_values *fh_weak_values_new(void);
FH_API FH_MUST_USE fh_weak_set *fh_weak_set_new(void);

/* ---- weak keys ----
 *
 * The map holds a value as long as the map and the key live. A value that leads back to its key, by itself, through others or
 * through other such maps, does not keep it: the collector finds both. Except that a key of a type that is FH_ACYCLIC, or refers to
 * nothing, is not tracked: a value that refers to it keeps it. */

/* Gives a key a value, in the place of the one that it had.
 *
 * Shape:   neither is NULL; they may be the same object.
 * Owns:    retains the value; keeps no reference to the key. The old value is released last.
 * Threads: an attached thread that owns or borrows references to all three. Publishes key and value, with all that they reach,
 *          also if it fails.
 * Runs:    as fh_publish, and as fh_release (the old value); no safepoint.
 * Errors:  FH_ENOMEM: the map is as it was. FH_EINVAL: the key's type has FH_NO_WEAK (a checked build traps). Traps: not
 *          attached; a private object of another thread; a freed object, or none of that type (checked builds).
 * Source:  docs/weak.md, "Weak maps and sets". */
FH_API FH_MUST_USE fh_status fh_weak_keys_set(fh_weak_keys *map, void *key, void *value);

/* The value of a key, or NULL. take removes it as well.
 *
 * Shape:   not NULL.
 * Owns:    returns an owned reference, or NULL.
 * Threads: an attached thread that owns or borrows references to the map and the key.
 * Runs:    nothing.
 * Errors:  NULL: the key has none; one that a finalizer has resurrected has none either. Traps: as fh_weak_keys_set.
 * Source:  docs/weak.md, "Weak maps and sets". */
FH_API FH_MUST_USE void *fh_weak_keys_get(fh_weak_keys *map, const void *key);
FH_API FH_MUST_USE void *fh_weak_keys_take(fh_weak_keys *map, const void *key);

/* The number of entries.
 *
 * Shape:   not NULL.
 * Owns:    nothing.
 * Threads: any thread that owns or borrows a reference. Entries of objects that are garbage, or die just now, are counted.
 * Runs:    nothing.
 * Errors:  none.
 * Source:  docs/weak.md, "Weak maps and sets". */
FH_API size_t fh_weak_keys_count(const fh_weak_keys *map);
FH_API size_t fh_weak_values_count(const fh_weak_values *map);
FH_API size_t fh_weak_set_count(const fh_weak_set *set);

/* Removes all entries.
 *
 * Shape:   not NULL.
 * Owns:    gives up the values of a weak-key map.
 * Threads: an attached thread that owns or borrows a reference.
 * Runs:    as fh_release. What others put in meanwhile may stay.
 * Errors:  Traps: as fh_weak_keys_set.
 * Source:  docs/weak.md, "Weak maps and sets". */
FH_API void fh_weak_keys_clear(fh_weak_keys *map);
FH_API void fh_weak_values_clear(fh_weak_values *map);
FH_API void fh_weak_set_clear(fh_weak_set *set);

/* Calls `each` for all entries of one moment, in no order.
 *
 * Shape:   not NULL. `each` must return: it may not end its thread or jump out.
 * Owns:    what `each` is handed is borrowed until it returns; it is held during the whole call, so it lives. `key` of a weak-value
 *          map is a copy, of no alignment.
 * Threads: an attached thread that owns or borrows a reference.
 * Runs:    `each`, with no lock held: it may do anything, also change the map, which changes nothing of what it is called for.
 *          Afterwards as fh_release.
 * Errors:  FH_ENOMEM: for the list of what is there; then it is not called at all. Traps: as fh_weak_keys_set.
 * Source:  docs/weak.md, "Weak maps and sets". */
FH_API FH_MUST_USE fh_status fh_weak_keys_each(fh_weak_keys *map, void (*each)(void *context, void *key, void *value), void *context);
FH_API FH_MUST_USE fh_status fh_weak_values_each(fh_weak_values *map,
                                                 void (*each)(void *context, const void *key, size_t size, void *value), void *context);
FH_API FH_MUST_USE fh_status fh_weak_set_each(fh_weak_set *set, void (*each)(void *context, void *object), void *context);

/* ---- weak values ---- */

/* Gives a string of bytes a value, in the place of the one that it had.
 *
 * Shape:   `key` has `size` bytes, which are copied; it may be NULL if they are none. The value is not NULL.
 * Owns:    keeps no reference to the value.
 * Threads: as fh_weak_keys_set.
 * Runs:    as fh_publish; no safepoint.
 * Errors:  as fh_weak_keys_set, with the value in the place of the key.
 * Source:  docs/weak.md, "Weak maps and sets". */
FH_API FH_MUST_USE fh_status fh_weak_values_set(fh_weak_values *map, const void *key, size_t size, void *value);

/* The value that stands for a string of bytes; or else this one, which is put there. Of many threads that come at once with one
 * each, all get the same.
 *
 * Shape:   as fh_weak_values_set.
 * Owns:    returns an owned reference to what is there now; the caller keeps its own to `value`. NULL: nothing changed.
 * Threads: as fh_weak_keys_set. Publishes the value, also if another one is there.
 * Runs:    as fh_weak_values_set; as fh_release, if what was there died just now.
 * Errors:  NULL: no memory, or the value's type has FH_NO_WEAK (a checked build traps). Traps: as fh_weak_keys_set.
 * Source:  docs/weak.md, "Weak maps and sets". */
FH_API FH_MUST_USE void *fh_weak_values_set_default(fh_weak_values *map, const void *key, size_t size, void *value);

/* The value that stands for a string of bytes.
 *
 * Shape:   as fh_weak_values_set.
 * Owns:    returns an owned reference, or NULL: there is none, or it is dead.
 * Threads: an attached thread that owns or borrows a reference to the map.
 * Runs:    as fh_release, if the value was lost meanwhile.
 * Errors:  Traps: as fh_weak_keys_set.
 * Source:  docs/weak.md, "Weak maps and sets". */
FH_API FH_MUST_USE void *fh_weak_values_get(fh_weak_values *map, const void *key, size_t size);

/* Removes an entry. True if there was one, whose value may have died just now.
 *
 * Shape:   as fh_weak_values_set.
 * Owns:    nothing.
 * Threads: an attached thread that owns or borrows a reference to the map.
 * Runs:    nothing.
 * Errors:  Traps: as fh_weak_keys_set.
 * Source:  docs/weak.md, "Weak maps and sets". */
FH_API bool fh_weak_values_remove(fh_weak_values *map, const void *key, size_t size);

/* ---- weak sets ---- */

/* Adds an object.
 *
 * Shape:   not NULL.
 * Owns:    keeps no reference to it.
 * Threads: as fh_weak_keys_set.
 * Runs:    as fh_publish; no safepoint.
 * Errors:  FH_EEXIST: it is in the set already. Others as fh_weak_keys_set, with the object in the place of the key.
 * Source:  docs/weak.md, "Weak maps and sets". */
FH_API FH_MUST_USE fh_status fh_weak_set_add(fh_weak_set *set, void *object);

/* True if an object is, or was, in the set. What a finalizer has resurrected is not.
 *
 * Shape:   not NULL.
 * Owns:    nothing.
 * Threads: an attached thread that owns or borrows references to both.
 * Runs:    nothing.
 * Errors:  Traps: as fh_weak_keys_set.
 * Source:  docs/weak.md, "Weak maps and sets". */
FH_API bool fh_weak_set_contains(fh_weak_set *set, const void *object);
FH_API bool fh_weak_set_remove(fh_weak_set *set, const void *object);

#ifdef __cplusplus
}
#endif
#endif
