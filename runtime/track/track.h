/* SPDX-License-Identifier: MIT */
/* Tracking: how the collector finds every object that can take part in a cycle, without a list through the objects and
 * without walking the allocator's pages.
 *
 * Each mutator appends a pointer to its newest chunk; the object remembers the entry's index in its slot word. The chunks are
 * arrays of pointers, so every pass of the collector knows the next objects in advance and can prefetch them.
 *
 * An entry holds an object (low bits 00), a tombstone (TOMB), a link of its chunk's list of free entries (low bits 01), or
 * whatever it last held (above `bump`). Entry 0 of chunk 0 is nobody's.
 *
 * | who writes an entry     | what                    | when                                       | order             |
 * |-------------------------|-------------------------|--------------------------------------------|-------------------|
 * | the chunk's mutator     | object, or a free link  | it makes or frees an object                | relaxed           |
 * | anybody else            | tombstone               | it brought the count of the object to zero | seq_cst           |
 * | the collector           | free links              | the world is stopped                       | (stopped)         |
 *
 *   [track.entry]   slot(object) = i  <=>  entry i = object
 *   [track.recycle] an entry is used again only by its chunk's mutator, after it has read the tombstone: a stranger with the
 *                   old index can no longer write into it
 *   [track.still]   the slot of a published live object changes only with the world stopped
 *   [track.holes]   holes(chunk) = length of its free list
 *   [track.tombs]   a chunk that holds a tombstone has its mark, `tombs`; but while who left it is about to set that, or the
 *                   chunk's mutator is about to read the tombstone
 *
 * The mark spares the chunk's mutator to look through the entries when nobody left anything there. A stranger stores the
 * tombstone and looks at the mark then, and sets it if it is not set. The mutator takes the mark away and looks at the entries
 * then. All of that is seq_cst. So either the mutator sees the tombstone, or the stranger looks at the mark after it was taken
 * away, and sets it again, or finds it set by somebody who came as late. And a mark that the mutator takes away was set after
 * its tombstone, which the mutator sees therefore. A stop takes tombstones without asking, and may leave a mark without one:
 * that costs a needless look. */
#ifndef FH_TRACK_TRACK_H
#define FH_TRACK_TRACK_H

#include "object/header.h"
#include "sync/mutex.h"

/* Generations are sets of chunks. */
enum {
  FH__YOUNG,
  FH__MIDDLE,
  FH__OLD,
  FH__GENERATIONS,             /* that are collected */
  FH__FROZEN = FH__GENERATIONS /* what no collection looks at: older than all of them */
};

extern const char *const fh__generation_name[FH__GENERATIONS];

enum {
  FH__TRACK_PAGE = 1024,      /* chunks in a page of the directory */
  FH__TRACK_PAGES = 4096,
  FH__TRACK_TOMB = 2,
  FH__TRACK_NOBODY = 3       /* in the entry that nobody gets: slot 0 means "not tracked" */
};

struct fh__chunk {
  uint32_t base;       /* index of entry 0 */
  uint32_t owner;      /* id of the mutator that fills it; written once */
  uint32_t bump;       /* entries ever used; the owner's */
  uint32_t free;       /* 1 + first free entry, 0: none; the owner's */
  uint32_t live;       /* objects that the collector counted when it looked at it last */
  uint32_t garbage;    /* of these, those that were garbage then */
  uint32_t holes;      /* length of the list of free entries; the owner's */
  uint32_t tombs;      /* atomic: strangers left tombstones since the owner looked */
  struct fh__chunk *next; /* ring of the owner's young chunks, or list of its aged ones */
  uint64_t entries[FH__CHUNK_ENTRIES + FH__PREFETCH]; /* those at the end are never used: a pass need not ask whether it is near */
};

struct fh__track_page {
  struct fh__chunk *chunk[FH__TRACK_PAGE];
};

struct fh__track_local {
  uint32_t owner;
  struct fh__chunk *current; /* newborns go here; also the handle of the ring; fh__no_chunk before the first */
  struct fh__chunk *aged;    /* chunks of the middle and the old generation, and frozen ones: no newborns go there */
};

/* A chunk that is full and holds nobody's entries, so that the fast paths need not ask whether there is one. */
extern struct fh__chunk fh__no_chunk;
enum { FH__NO_CHUNK_BASE = UINT32_MAX - FH__CHUNK_ENTRIES };

/* What a collection needs of memory is there before it begins: an allocation can fail, a collection should not. Address space by slot,
 * which costs memory only where it is written; all zero, and nobody's, while the world runs. */
struct fh__scratch {
  int32_t *refs;
  fh_object **stack;
  size_t entries; /* room for so many of each */
};

struct fh__track_shared {
  struct fh__mutex lock;
  struct fh__scratch scratch; /* room for all chunks that were registered; grows under the lock, used with the world stopped */
  uint32_t limit;     /* atomic: chunk numbers below it were used */
  uint32_t vacant;    /* no chunk number below it is free; under the lock */
  uint64_t opened;    /* atomic: entries made available to newborns since the last collection */
  uint64_t due;       /* atomic: how many make a collection due; UINT64_MAX: never */
  uint32_t frozen;    /* chunks that are; changes with the world stopped */
  struct fh__track_page *page[FH__TRACK_PAGES];
  uint8_t generation[FH__TRACK_PAGES * FH__TRACK_PAGE]; /* by chunk number; changes with the world stopped. Not in the chunk, because
                                                         * a collection asks for each reference that it meets */
  uint8_t touched[FH__TRACK_PAGES * FH__TRACK_PAGE];    /* atomic, by chunk number: something in an old chunk may be a candidate */
};

extern struct fh__track_shared fh__track;

FH__INLINE struct fh__chunk *fh__track_chunk(uint32_t number) {
  /* Acquire: partner is the directory's release store. A chunk is removed only with the world stopped. */
  struct fh__track_page *page = FH__LOAD(&fh__track.page[number / FH__TRACK_PAGE], ACQUIRE);
  return page ? FH__LOAD(&page->chunk[number % FH__TRACK_PAGE], ACQUIRE) : NULL;
}
FH__INLINE struct fh__chunk *fh__track_chunk_of(uint32_t slot) { return fh__track_chunk(slot / FH__CHUNK_ENTRIES); }
FH__INLINE uint32_t fh__track_generation_of(uint32_t slot) { return fh__track.generation[slot / FH__CHUNK_ENTRIES]; }
FH__INLINE uint32_t fh__chunk_generation(const struct fh__chunk *chunk) { return fh__track_generation_of(chunk->base); }
/* The entry need not exist: 0, which stands for "not tracked", has a place here as well. */
FH__INLINE void fh__track_touch(uint32_t slot) {
  uint8_t *touched = &fh__track.touched[slot / FH__CHUNK_ENTRIES];
  if (!FH__LOAD(touched, RELAXED)) FH__STORE_(touched, 1, RELAXED); /* read in stops only */
}
/* Of an entry below `bump`. */
FH__INLINE bool fh__entry_is_object(uint64_t entry) { return !(entry & 3); }
FH__INLINE fh_object *fh__entry_object(uint64_t entry) { return (fh_object *)(uintptr_t)entry; }

/* Zeroed memory of the system's, which costs nothing where it is not written. NULL: none. */
void *fh__track_reserve(size_t bytes);
void fh__track_unreserve(void *memory, size_t bytes);

void fh__track_init(struct fh__track_local *track, uint32_t owner);
/* Opens another chunk for the object. False: no memory, nothing changed. *due_out is set if a collection is due. */
bool fh__track_add_slow(struct fh__track_local *track, fh_object *object, bool *due_out);
void fh__track_forget_remote(struct fh__chunk *chunk, uint32_t slot);
/* Stopped, after a collection of `generation` and the younger ones: a mutator's chunks of these in which something lives on belong to the
 * generation `to` now, but for the one that newborns go to; of the others, newborns get those that were in use, up to `keep` of them,
 * and the rest is freed. Returns how many objects became old. */
uint64_t fh__track_age_stopped(struct fh__track_local *track, uint32_t generation, uint32_t to, uint32_t keep);
/* Stopped: all chunks of a mutator are frozen, the one that newborns go to among them; or those that are frozen become old. Returns how
 * many objects are in those. */
void fh__track_freeze_stopped(struct fh__track_local *track);
uint64_t fh__track_unfreeze_stopped(struct fh__track_local *track);
/* Objects in frozen chunks, by a mutator that is not stopped; exact while nobody else frees any. */
uint64_t fh__track_count_frozen(void);
void fh__track_finish(struct fh__track_local *track);
void fh__track_finish_shared(void);

/* What the collector saw there, and will be there when the garbage is gone. */
FH__INLINE uint32_t fh__chunk_survivors(const struct fh__chunk *chunk) { return chunk->live - chunk->garbage; }
/* Stopped, or by its mutator: nothing of it is in use, or will be asked for. */
FH__INLINE void fh__chunk_reset(struct fh__chunk *chunk) {
  chunk->bump = chunk->base == 0; /* slot 0 means "not tracked" */
  chunk->free = chunk->holes = 0;
}
/* Neither objects nor tombstones: all of its entries are holes. */
FH__INLINE bool fh__chunk_has_nothing(const struct fh__chunk *chunk) { return chunk->holes == chunk->bump - (chunk->base == 0); }
FH__INLINE bool fh__chunk_is_unused(const struct fh__chunk *chunk) { return chunk->bump == (chunk->base == 0); }

/* Gives the object an entry of the current chunk, and returns its slot; 0: it is full, take the slow way. */
FH__INLINE uint32_t fh__track_enter(struct fh__track_local *track, const fh_object *object) {
  struct fh__chunk *chunk = track->current;
  uint32_t at = chunk->free;
  if (at) {
    at--;
    chunk->free = (uint32_t)(FH__LOAD(&chunk->entries[at], RELAXED) >> 2);
    chunk->holes--;
  } else {
    at = chunk->bump;
    if (FH__UNLIKELY(at >= FH__CHUNK_ENTRIES)) return 0;
    chunk->bump = at + 1;
  }
  FH__STORE_(&chunk->entries[at], (uint64_t)(uintptr_t)object, RELAXED);
  return chunk->base + at;
}
FH__INLINE bool fh__track_add(struct fh__track_local *track, fh_object *object) {
  uint32_t slot = fh__track_enter(track, object);
  if (FH__LIKELY(slot)) object->fh__slot = slot;
  return slot != 0;
}

/* The owner's own free list: the newest hole is filled first, while it is in the cache. `next`: what chunk->free said so far. */
FH__INLINE void fh__chunk_put_hole(struct fh__chunk *chunk, uint32_t at, uint32_t next) {
  FH__STORE_(&chunk->entries[at], (uint64_t)next << 2 | 1, RELAXED);
}
FH__INLINE void fh__track_recycle(struct fh__chunk *chunk, uint32_t at) {
  fh__chunk_put_hole(chunk, at, chunk->free);
  chunk->free = at + 1;
  chunk->holes++;
}

/* This mutator's chunk in which the object's entry is. NULL: it is another mutator's, and the entry is taken away already; a stranger comes
 * that way, or whoever has the lock of the gil design. */
FH__INLINE struct fh__chunk *fh__track_own_chunk_of(const struct fh__track_local *track, const fh_object *object) {
  uint32_t slot = object->fh__slot;
  struct fh__chunk *chunk = fh__track_chunk_of(slot);
  fh__track_touch(slot); /* a collection sees whether the chunk is empty */
  if (FH__LIKELY(chunk->owner == track->owner)) return chunk;
  fh__track_forget_remote(chunk, slot);
  return NULL;
}

/* Takes the object's entry away, at the moment that its count became zero; by whoever brought it there. The slot word keeps
 * its old value: the caller frees the object, or links it into a list of the dead. */
FH__INLINE void fh__track_forget(const struct fh__track_local *track, const fh_object *object) {
  uint32_t slot = object->fh__slot;
  struct fh__chunk *chunk = track->current;
  if (FH__UNLIKELY(slot - chunk->base >= FH__CHUNK_ENTRIES)) {
    chunk = fh__track_own_chunk_of(track, object);
    if (FH__UNLIKELY(!chunk)) return;
  }
  fh__track_recycle(chunk, slot - chunk->base);
}

/* The same for an object that may not be tracked, and may be looked at again. */
static inline void fh__track_remove(struct fh__track_local *track, fh_object *object) {
  if (!object->fh__slot) return;
  fh__track_forget(track, object);
  FH__STORE_(&object->fh__slot, 0, RELAXED);
}

#endif
