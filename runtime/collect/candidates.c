/* SPDX-License-Identifier: MIT */
/* A scan from candidates. What they reach is gathered into a list, which is its own queue: the objects behind the one that is being
 * looked at are not yet. An object's place in refs tells whether it was gathered:
 *
 *   0           not reached
 *   GATHERED    + its count - the references from gathered objects that were seen
 *   MARKED      alive
 *
 * Gathering and subtracting are one pass: whatever a gathered object refers to is gathered at the first reference. The list is closed
 * under references, so trial deletion within it finds all its garbage; and by [candidate.reach] there is no other. A key of weak maps
 * brings the maps, which refer to its values: these hang on it, though it does not refer to them. */
#include "base/trap.h"
#include "collect/ephemeron.h"
#include "collect/walk.h"
#include "ref/candidate.h"

enum { GATHERED = 1 << 30 }; /* above any sum of counts, and of an immortal object's */

static void gather(struct fh__scan *scan, fh_object *object, uint32_t slot) {
  scan->gathered[scan->gathered_count++] = (struct fh__gathered){object, slot};
  scan->refs[slot] = GATHERED + fh__walk_count(object);
}

/* ---- the candidates ---- */

static void gather_chunk(struct fh__scan *scan, struct fh__chunk *chunk) {
  uint32_t live = 0;
  uint32_t end = fh__chunk_has_nothing(chunk) ? 0 : chunk->bump;
  for (uint32_t at = 0; at < end; at++) {
    fh__walk_prefetch(chunk, at);
    uint64_t entry = FH__LOAD(&chunk->entries[at], ACQUIRE); /* partner: who left a tombstone [track.recycle] */
    if (entry == FH__TRACK_TOMB) fh__track_recycle(chunk, at);
    if (!fh__entry_is_object(entry)) continue;
    live++;
    fh_object *object = fh__entry_object(entry);
    if (!fh__is_candidate(object)) continue;
    if (!fh__candidate_settle(object)) fh__track_touch(chunk->base);
    gather(scan, object, chunk->base + at);
  }
  chunk->live = live;
  chunk->garbage = 0;
}

/* False: they are too many. */
static bool gather_candidates(struct fh__scan *scan, size_t most) {
  struct fh__chunk *chunk;
  for (FH__EACH_COVERED(scan, chunk)) {
    uint8_t *touched = &fh__track.touched[chunk->base / FH__CHUNK_ENTRIES];
    if (fh__chunk_generation(chunk) == FH__OLD && !FH__LOAD(touched, RELAXED)) continue; /* [candidate.chunk] */
    FH__STORE_(touched, 0, RELAXED);
    gather_chunk(scan, chunk);
    if (scan->gathered_count > most) return false;
  }
  return true;
}

/* ---- what they reach ---- */

FH__INLINE void reach_child(struct fh__walk *walk, fh_object *child) {
  fh_object *leaving = fh__walk_leaving(walk);
  uint32_t slot = fh__walk_leaving_slot(walk);
  if (slot) {
    if (!walk->refs[slot]) gather(walk->scan, leaving, slot);
    walk->refs[slot]--;
  }
  fh__walk_turn(walk, child, true);
}

FH__INLINE void reach_cell(void *context, fh__cell *cell) {
  fh_object *child = fh__cell_load(cell);
  if (child) reach_child(context, child);
}

/* No reference: it takes nothing off. A frozen map lives. */
static void reach_map(void *context, fh_object *map) {
  struct fh__scan *scan = context;
  uint32_t slot = map->fh__slot;
  if (slot && fh__scan_covers(scan, slot) && !scan->refs[slot]) gather(scan, map, slot);
}

/* From all that was gathered, from `at` on; what that brings is gathered, too. Stops where it is too much. */
static size_t reach_from(struct fh__walk *walk, size_t at, size_t most) {
  struct fh__scan *scan = walk->scan;
  for (; at < scan->gathered_count && scan->gathered_count <= most; at++) {
    if (at + FH__PREFETCH < scan->gathered_count) __builtin_prefetch(scan->gathered[at + FH__PREFETCH].object);
    fh_object *object = scan->gathered[at].object;
    fh__cells_each(fh__type_of(object), object, reach_cell, walk);
    fh__ephemerons_each_map(object, reach_map, scan);
  }
  return at;
}

/* False: they reach too much. What is still in the queue may be new: until two whole turns of it bring nothing. */
static bool gather_reached(struct fh__scan *scan, size_t most) {
  struct fh__walk walk;
  fh__walk_init(&walk, scan, 0, NULL);
  size_t at = 0;
  for (int quiet = 0; quiet < 2 * FH__PREFETCH && scan->gathered_count <= most; quiet++) {
    reach_child(&walk, &fh__walk_dummy);
    if (at == scan->gathered_count) continue;
    quiet = -1;
    at = reach_from(&walk, at, most);
  }
  return scan->gathered_count <= most;
}

/* ---- what of it lives ---- */

static void mark_gathered(struct fh__scan *scan) {
  scan->refs[0] = FH__SCAN_MARKED;
  for (size_t i = 0; i < scan->gathered_count; i++) {
    const struct fh__gathered *gathered = &scan->gathered[i];
    FH__ASSERT(scan->refs[gathered->slot] == FH__SCAN_MARKED || scan->refs[gathered->slot] >= GATHERED, "scan.refs");
    if (scan->refs[gathered->slot] > GATHERED) fh__scan_keep(scan, gathered->object);
  }
}

bool fh__scan_candidates(struct fh__scan *scan, size_t most) {
  scan->gathered = fh__track_reserve(scan->entries * sizeof *scan->gathered);
  if (!scan->gathered) return false;
  bool all = gather_candidates(scan, most) && gather_reached(scan, most);
  scan->objects = scan->gathered_count;
  if (all) mark_gathered(scan);
  return all;
}
