/* SPDX-License-Identifier: MIT */
/* What the two passes of a linear scan share. They go over the chunks in order, so the next objects are known and can be prefetched;
 * children go through the queue of walk.h. With a crew, each worker takes one chunk number after the other.
 *
 * Both are compiled for each case: `how` is a constant. */
#ifndef FH_COLLECT_PASS_H
#define FH_COLLECT_PASS_H

#include "collect/walk.h"

enum { FH__PARTIAL = 1, FH__CREW = 2 };

/* Only young generations are looked at. */
FH__INLINE bool fh__scan_is_young(const struct fh__scan *scan) { return scan->generation < FH__OLD; }

/* The chunks are taken in order: by a crew, each by one worker. */
FH__INLINE struct fh__chunk *fh__scan_take_chunk(struct fh__scan *scan, uint32_t *number, unsigned how) {
  if (!(how & FH__CREW)) {
    struct fh__chunk *chunk = fh__scan_next_chunk(scan, *number);
    if (chunk) *number = chunk->base / FH__CHUNK_ENTRIES + 1;
    return chunk;
  }
  for (;;) {
    uint32_t taken = FH__ADD(&scan->next, 1, RELAXED); /* what is in the chunk is ordered by the crew's joining */
    if (taken >= fh__track.limit) return NULL;
    if (fh__track.generation[taken] > scan->generation) continue;
    struct fh__chunk *chunk = fh__track_chunk(taken);
    if (chunk) return chunk;
  }
}

/* ---- the tally ---- */

/* What a partial pass sees of an object before it looks at its type. */
struct fh__seen {
  uint32_t count;
  bool others; /* to be freed by others, or somebody is to be told */
};

/* The usual young object is the collecting mutator's own, and was never shown to anybody. */
FH__INLINE struct fh__seen fh__scan_look(const fh_object *object, uint32_t stamp) {
  uint32_t bias = FH__LOAD(&object->fh__bias, RELAXED), shared = FH__LOAD(&object->fh__shared, RELAXED);
  uint32_t more = (bias | FH__BIAS_MARK) ^ stamp;
  if (FH__LIKELY(more <= FH__BIAS_LOCAL_MAX) && FH__LIKELY(shared == FH__PRIVATE)) return (struct fh__seen){more + 1, false};
  return (struct fh__seen){(uint32_t)fh__walk_count(object), !fh__scan_may_free(object, stamp)};
}

/* ---- cells ---- */

/* What a pass does with a cell, for each way. */
#define FH__CELL(pass, suffix, how)                                    \
  FH__INLINE void pass##_cell##suffix(void *context, fh__cell *cell) { \
    fh_object *child = fh__cell_load(cell);                            \
    if (child) pass##_child(context, child, (how));                    \
  }
#define FH__CELL_IN_ALL_WAYS(pass)      \
  FH__CELL(pass, , 0)                   \
  FH__CELL(pass, _partial, FH__PARTIAL) \
  FH__CELL(pass, _crew, FH__CREW)       \
  FH__CELL(pass, _both, FH__PARTIAL | FH__CREW)

#define FH__PASS_EACH_CELL(walk_cells, type, object, how, pass, context) \
  walk_cells((type), (object),                                           \
             (how) == 0               ? pass                             \
             : (how) == FH__PARTIAL   ? pass##_partial                   \
             : (how) == FH__CREW      ? pass##_crew                      \
                                      : pass##_both,                     \
             (context))

#endif
