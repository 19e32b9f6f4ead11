/* SPDX-License-Identifier: MIT */
/* Weak references. An object's header has one bit for them, WEAK; the rest stands outside:
 *
 *   fh_weak --block--> struct fh__weak_block --target--> object (published, WEAK)
 *   fh_weak --block-------^  ^  ^                           .
 *   entry of a map --block---+  +-- table, by the address . .
 *
 * An object with weak references has one control block, in a table that is hashed by the object's address and split into shards,
 * each with a lock. Whoever makes or destroys a weak reference goes through the table, and so does the death of an object
 * that has the bit. Whoever reads one goes to the block at once, and takes no lock.
 *
 *   [weak.bit]      an object has WEAK <=> the table has a block of it, whose target it is; changes are under the shard's lock
 *   [weak.count]    a block's count is that of the weak references and entries that lead to it, and it is freed with the last of
 *                   them
 *   [weak.before]   of what is in `finalizing_now`, no callback is in `weak_lost`: it was called, or is in `weak_calling`
 *   [weak.cleared]  the target of a dead object's block is NULL before its finalizer runs or its memory goes anywhere. Of
 *                   garbage it is NULL before the world resumes
 *   [weak.entry]    an entry's object is its block's target, and the entry is in the block's list; or the object is NULL, and it
 *                   is in no such list
 *
 * Reading is: load the target, try to retain it, look at the block again. The first load may see an object that dies right then;
 * its memory waits for a grace period, because whatever had a weak reference at its death is published and goes through limbo.
 * The second look tells an object whose finalizer runs: that has been given a count again, but after its block was cleared. */
#ifndef FH_REF_WEAK_H
#define FH_REF_WEAK_H

#include <freehold/weak.h>

#include "mutator/mutator.h"

struct fh__weak_block {
  fh_object *target;           /* atomic: NULL once it is lost; written under the shard's lock */
  struct fh__weak_block *next; /* in its bucket, while the target is not lost; the shard's lock */
  fh_weak *first;              /* weak references with callbacks; the shard's lock */
  struct fh__weak_entry *entries; /* of weak maps and sets; the shard's lock */
  size_t count;                /* weak references and entries; the shard's lock */
  uint32_t shard;              /* written once */
};

/* An entry of a weak map or set (ref/weakmap.h), which leads weakly to one object, and may hold a reference to another. It is the
 * runtime's own memory. Whoever takes it out of its map's table, under the map's lock, owns it and its value. Only who found it
 * lost may do so, if that has it in its list and keeps the map for it (`held`). */
struct fh__weak_entry {
  fh_object *object;            /* atomic: what it leads to weakly; NULL once that is lost; written under the shard's lock */
  struct fh__weak_block *block; /* written once; NULL once it was left */
  struct fh__weak_entry *next;  /* in the block's list, the shard's lock; then in a list of its finder's */
  struct fh__weak_entry **link; /* what leads to it in the block's list; NULL: it is not there */
  fh_object *map;               /* written once */
  fh_object *value;             /* the map's lock; NULL: none */
  struct fh__weak_entry *chain; /* in the map's bucket; the map's lock */
  uint32_t hash;                /* written once */
  bool in_table;                /* the map's lock */
  bool held;                    /* the shard's lock; then its finder's */
  size_t size;                  /* of the key in bytes, written once */
  char bytes[];
};

/* Published from birth. `block`, `callback` and `context` are written before anybody else knows it. */
struct fh_weak {
  fh_object fh;
  struct fh__weak_block *block;
  void (*callback)(fh_weak *weak, void *context);
  void *context;
  fh_weak *next;  /* in the block's list, the shard's lock; then in a list of its finder's */
  fh_weak **link; /* what leads to it in the block's list; NULL: it is not there */
};

/* The target's block, which it makes if there is none, with a count for a new weak reference. NULL: no memory, and nothing changed.
 * The caller makes the weak reference, publishes the target, if it is private, and sets WEAK; or leaves again. */
struct fh__weak_block *fh__weak_join(fh_object *target);
void fh__weak_leave(struct fh__weak_block *block);
/* A new weak reference has a callback. The caller still has its reference to the target. */
void fh__weak_listen(fh_weak *weak);
/* It need not be called any more. It may be all the same, if it is on its way. */
void fh__weak_unlisten(fh_weak *weak);
/* Of the type of weak references. */
void fh__weak_dealloc(void *weak);
/* The object is dead or garbage: its weak references lose it, and so do entries, which go to `me`'s list of lost ones (ref/weakmap.h).
 * True: callbacks wait for `me`'s safepoint, or in the queue. `stopped`: it is garbage, and so may be the maps. */
bool fh__weak_clear(struct fh__mutator *me, fh_object *object, bool stopped);

/* Stopped, of garbage: the same, if it has any [weak.cleared]. */
FH__INLINE bool fh__weak_lose(struct fh__mutator *me, fh_object *object) {
  return FH__UNLIKELY(FH__LOAD(&object->fh__shared, RELAXED) & FH__WEAK) && fh__weak_clear(me, object, true);
}

/* An entry leads to a published object from now on, to which the caller has a reference. False: no memory, and nothing changed. */
bool fh__weak_enter(struct fh__weak_entry *entry, fh_object *object);
/* ... and no longer. False: it is lost, and in the list of whoever found that; nothing changed. */
bool fh__weak_exit(struct fh__weak_entry *entry);
/* Stopped: the entries that lead to an object; linked by `next`. */
struct fh__weak_entry *fh__weak_entries_of(const fh_object *object);

/* At a safepoint: runs the callbacks that wait. */
void fh__weak_run_callbacks(struct fh__mutator *me);
/* Gives up the runtime's reference to the weak reference whose callback ran, or ended its thread. */
void fh__weak_end_callback(struct fh__mutator *me);
/* With the queue: runs one that waits there. False: none does. */
bool fh__weak_run_pending(struct fh__mutator *me);
static inline bool fh__weak_has_callbacks(const struct fh__mutator *me) { return me->weak_lost || me->weak_calling; }

/* Stopped: calls `each` for every block in the table; looks for that of an object. */
typedef void fh__weak_function(void *context, const struct fh__weak_block *block);
void fh__weak_each(fh__weak_function *each, void *context);
bool fh__weak_is_known(const fh_object *object);

/* At init; and at the end: frees the blocks of what has leaked. */
void fh__weak_start(void);
void fh__weak_finish(void);

#endif
