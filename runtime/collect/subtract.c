/* SPDX-License-Identifier: MIT */
/* The first pass of a linear scan. With a crew, refs is written by atomic instructions. */
#include "collect/pass.h"
#include "ref/candidate.h"
#include "sync/crew.h"

FH__INLINE void add_refs(int32_t *refs, int32_t n, unsigned how) {
  if (how & FH__CREW)
    FH__ADD(refs, n, RELAXED); /* a sum, which is read after the pass */
  else
    *refs += n;
}

/* Places of few generations are few enough to be in the cache, so that only the children's headers are waited for. */
FH__INLINE void subtract_child(struct fh__walk *walk, fh_object *child, unsigned how) {
  uint32_t slot;
  if (how & FH__PARTIAL) {
    slot = fh__walk_turn_once(walk, child);
    if (!fh__scan_covers(walk->scan, slot)) return;
  } else {
    slot = fh__walk_leaving_slot(walk);
    fh__walk_turn(walk, child, false);
  }
  if (!(how & FH__CREW) || slot) add_refs(&walk->refs[slot], -1, how); /* nobody reads place 0; a crew would meet there */
}

FH__CELL_IN_ALL_WAYS(subtract)

FH__INLINE void subtract_object(struct fh__walk *walk, const struct fh__chunk *chunk, uint32_t at, fh_object *object, unsigned how) {
  const fh_type *type = fh__type_of(object);
  struct fh__seen seen = how & FH__PARTIAL ? fh__scan_look(walk, object, type) : (struct fh__seen){.count = fh__walk_count(object)};
  add_refs(&walk->refs[chunk->base + at], seen.count, how);
  if (walk->settles && FH__UNLIKELY(fh__is_candidate(object)) && !fh__candidate_settle(object)) fh__track_touch(chunk->base);
  if (FH__LIKELY(type->plain)) {
    struct fh__near near = fh__cells_near_some(type, object); /* what has none is not tracked */
    if (how & FH__PARTIAL) fh__scan_tally(walk, seen, near, 1);
    if (near.first) subtract_child(walk, near.first, how);
    if (near.second) subtract_child(walk, near.second, how);
  } else {
    if (how & FH__PARTIAL) walk->others++;
    FH__PASS_EACH_CELL(fh__cells_each, type, object, how, subtract_cell, walk);
  }
}

FH__INLINE void subtract_chunk(struct fh__walk *walk, struct fh__chunk *chunk, unsigned how) {
  uint32_t live = 0;
  if (walk->settles) FH__STORE_(&fh__track.touched[chunk->base / FH__CHUNK_ENTRIES], 0, RELAXED);
  uint32_t end = fh__chunk_has_nothing(chunk) ? 0 : chunk->bump;
  for (uint32_t at = 0; at < end; at++) {
    fh__walk_prefetch(chunk, at);
    uint64_t entry = FH__LOAD(&chunk->entries[at], ACQUIRE); /* partner: who left a tombstone [track.recycle] */
    if (FH__LIKELY(fh__entry_is_object(entry))) {
      live++;
      subtract_object(walk, chunk, at, fh__entry_object(entry), how);
    } else if (entry == FH__TRACK_TOMB) {
      fh__track_recycle(chunk, at); /* [track.recycle]: the world is stopped, so no stranger is about to write here */
    }
  }
  chunk->live = live;
  chunk->garbage = 0;
  walk->objects += live;
}

FH__INLINE void subtract_chunks(struct fh__scan *scan, uint32_t worker, unsigned how) {
  struct fh__walk walk;
  fh__walk_init(&walk, scan, worker, NULL);
  uint32_t number = 0;
  struct fh__chunk *chunk;
  while ((chunk = fh__scan_take_chunk(scan, &number, how))) subtract_chunk(&walk, chunk, how);
  for (int i = 0; i < 2 * FH__PREFETCH; i++) subtract_child(&walk, &fh__walk_dummy, how);
  FH__ADD(&scan->objects, walk.objects, RELAXED); /* a sum, which is read after the pass */
  fh__scan_add_tally(scan, &walk);
}

static void subtract_by_crew(void *context, uint32_t worker) {
  struct fh__scan *scan = context;
  if (fh__scan_is_partial(scan))
    subtract_chunks(scan, worker, FH__PARTIAL | FH__CREW);
  else
    subtract_chunks(scan, worker, FH__CREW);
}

void fh__scan_subtract(struct fh__scan *scan) {
  if (!scan->refs) return; /* there never was a chunk */
  scan->next = 0;
  if (scan->crew > 1)
    fh__crew_run(scan->crew, subtract_by_crew, scan);
  else if (fh__scan_is_partial(scan))
    subtract_chunks(scan, 0, FH__PARTIAL);
  else
    subtract_chunks(scan, 0, 0);
}
