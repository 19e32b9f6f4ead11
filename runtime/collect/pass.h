/* SPDX-License-Identifier: MIT */
/* What the two passes of a linear scan share. They go over the chunks in order, so the next objects are known and can be prefetched;
 * children go through the queue of walk.h. With a crew, each worker takes one chunk number after the other.
 *
 * Both are compiled for each case: `how` is a constant. */
#ifndef FH_COLLECT_PASS_H
#define FH_COLLECT_PASS_H

#include "collect/walk.h"

enum { FH__PARTIAL = 1, FH__CREW = 2 };

/* Not all generations are looked at. */
FH__INLINE bool fh__scan_is_partial(const struct fh__scan *scan) { return scan->generation < (fh__track.frozen ? FH__FROZEN : FH__OLD); }

/* The chunks are taken in order: by a crew, each by one worker. */
FH__INLINE struct fh__chunk *fh__scan_take_chunk(struct fh__scan *scan, uint32_t *number, unsigned how) {
  for (;;) {
    /* What is in the chunk is ordered by the crew's joining. */
    uint32_t taken = how & FH__CREW ? FH__ADD(&scan->next, 1, RELAXED) : (*number)++;
    if (taken >= fh__track.limit) return NULL;
    if (fh__track.generation[taken] > scan->generation) continue;
    struct fh__chunk *chunk = fh__track_chunk(taken);
    if (chunk) return chunk;
  }
}

/* ---- the tally ---- */

/* [scan.tally] */
struct fh__seen {
  int32_t count;
  bool plain;
};

/* The usual young object is the collecting mutator's own, and was never shown to anybody. */
FH__INLINE struct fh__seen fh__scan_look(const struct fh__walk *walk, const fh_object *object, const fh_type *type) {
  uint32_t bias = FH__LOAD(&object->fh__bias, RELAXED), shared = FH__LOAD(&object->fh__shared, RELAXED);
  uint32_t more = (bias | FH__BIAS_MARK) ^ walk->stamp;
  if (FH__LIKELY(more <= FH__BIAS_LOCAL_MAX) && FH__LIKELY(shared == FH__PRIVATE)) return (struct fh__seen){(int32_t)more + 1, type->plain};
  return (struct fh__seen){fh__walk_count(object), fh__scan_is_plain(walk->scan, object, type)};
}

FH__INLINE void fh__scan_tally(struct fh__walk *walk, struct fh__seen seen, struct fh__near near, int sign) {
  if (FH__LIKELY(seen.plain))
    walk->outgoing += sign * (fh__near_count(near) - seen.count);
  else
    walk->others += sign;
}

static inline void fh__scan_add_tally(struct fh__scan *scan, const struct fh__walk *walk) {
  FH__ADD(&scan->outgoing, walk->outgoing, RELAXED); /* sums, which are read after the pass */
  FH__ADD(&scan->others, walk->others, RELAXED);
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
