/* SPDX-License-Identifier: MIT */
/* The first pass of a linear scan. With a crew, refs is written by atomic instructions. Here partial means young generations, whose children
 * do not go through the queue; whether anything is frozen is seen as it goes. */
#include "collect/pass.h"
#include "ref/candidate.h"
#include "sync/crew.h"

FH__INLINE void add_refs(int32_t *refs, int32_t n, unsigned how) {
  if (how & FH__CREW)
    FH__ADD(refs, n, RELAXED); /* a sum, which is read after the pass */
  else
    *refs += n;
}

FH__INLINE void subtract_one(int32_t *refs, uint32_t slot, unsigned how) {
  if (!(how & FH__CREW) || slot) add_refs(&refs[slot], -1, how); /* nobody reads place 0; a crew would meet there */
}

/* Children of the young are mostly young, too, and these are all looked at: they are in the cache, or on their way. */
FH__INLINE void subtract_young(int32_t *refs, uint32_t generation, const fh_object *child, unsigned how) {
  uint32_t slot = child->fh__slot;
  if (fh__track_generation_of(slot) <= generation) subtract_one(refs, slot, how);
}

FH__INLINE void subtract_child(struct fh__walk *walk, fh_object *child, unsigned how) {
  if (how & FH__PARTIAL) {
    subtract_young(walk->refs, walk->generation, child, how);
  } else {
    subtract_one(walk->refs, fh__walk_leaving_slot(walk), how);
    fh__walk_turn(walk, child, walk->partial);
  }
}

FH__CELL_IN_ALL_WAYS(subtract)

FH__INLINE void subtract_chunk(struct fh__walk *walk, struct fh__chunk *chunk, unsigned how) {
  /* What walk has is not in registers: it is shown to traverse functions. */
  int32_t *const refs = walk->refs, *const own = &refs[chunk->base];
  const uint32_t base = chunk->base, generation = walk->generation, stamp = walk->stamp;
  const bool settles = walk->settles;
  struct fh__tally tally = {0, 0};
  uint32_t live = 0;
  if (settles) FH__STORE_(&fh__track.touched[base / FH__CHUNK_ENTRIES], 0, RELAXED);
  uint32_t end = fh__chunk_has_nothing(chunk) ? 0 : chunk->bump;
  for (uint32_t at = 0; at < end; at++) {
    fh__walk_prefetch(chunk, at);
    uint64_t entry = FH__LOAD(&chunk->entries[at], ACQUIRE); /* partner: who left a tombstone [track.recycle] */
    if (FH__UNLIKELY(!fh__entry_is_object(entry))) {
      if (entry == FH__TRACK_TOMB) fh__track_recycle(chunk, at); /* [track.recycle]: the world is stopped, so no stranger is about to write here */
      continue;
    }
    live++;
    fh_object *object = fh__entry_object(entry);
    const fh_type *type = fh__type_of(object);
    struct fh__seen seen = how & FH__PARTIAL ? fh__scan_look(object, stamp) : (struct fh__seen){.count = (uint32_t)fh__walk_count(object)};
    add_refs(&own[at], (int32_t)seen.count, how);
    if (how & FH__PARTIAL) {
      tally.outgoing -= seen.count;
      if (FH__UNLIKELY(seen.others)) tally.others++;
    }
    if (!(how & FH__PARTIAL) && settles && FH__UNLIKELY(fh__is_candidate(object)) && !fh__candidate_settle(object)) fh__track_touch(base);
    if (FH__UNLIKELY(!type->paired)) {
      tally.others++;
      FH__PASS_EACH_CELL(fh__cells_each, type, object, how, subtract_cell, walk);
      continue;
    }
    struct fh__near near = fh__cells_near_some(type, object);
    if (how & FH__PARTIAL) {
      if (near.first) tally.outgoing++, subtract_young(refs, generation, near.first, how);
      if (near.second) tally.outgoing++, subtract_young(refs, generation, near.second, how);
    } else {
      if (near.first) subtract_child(walk, near.first, how);
      if (near.second) subtract_child(walk, near.second, how);
    }
  }
  chunk->live = live;
  chunk->garbage = 0;
  walk->objects += live;
  walk->tally.outgoing += tally.outgoing;
  walk->tally.others += tally.others;
}

FH__INLINE void subtract_chunks(struct fh__scan *scan, uint32_t worker, unsigned how) {
  struct fh__walk walk;
  fh__walk_init(&walk, scan, worker, NULL);
  uint32_t number = 0;
  struct fh__chunk *chunk;
  while ((chunk = fh__scan_take_chunk(scan, &number, how))) subtract_chunk(&walk, chunk, how);
  if (!(how & FH__PARTIAL))
    for (int i = 0; i < 2 * FH__PREFETCH; i++) subtract_child(&walk, &fh__walk_dummy, how);
  FH__ADD(&scan->objects, walk.objects, RELAXED); /* a sum, which is read after the pass */
  FH__ADD(&scan->tally.outgoing, walk.tally.outgoing, RELAXED);
  FH__ADD(&scan->tally.others, walk.tally.others, RELAXED);
}

static void subtract_by_crew(void *context, uint32_t worker) {
  struct fh__scan *scan = context;
  if (fh__scan_is_young(scan))
    subtract_chunks(scan, worker, FH__PARTIAL | FH__CREW);
  else
    subtract_chunks(scan, worker, FH__CREW);
}

void fh__scan_subtract(struct fh__scan *scan) {
  if (!scan->refs) return; /* there never was a chunk */
  scan->next = 0;
  scan->tallied = fh__scan_is_young(scan);
  if (scan->crew > 1)
    fh__crew_run(scan->crew, subtract_by_crew, scan);
  else if (fh__scan_is_young(scan))
    subtract_chunks(scan, 0, FH__PARTIAL);
  else
    subtract_chunks(scan, 0, 0);
}
