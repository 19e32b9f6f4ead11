/* SPDX-License-Identifier: MIT */
/* Trial deletion over the tracked objects of some generations, in dense side arrays indexed by slot. The world is stopped, and nothing of the
 * objects is borrowed or dirtied, but for the marks of candidates.
 *
 *   subtract   refs[o] = true count of o, less one for each reference to o from a tracked object of these generations:
 *              what remains comes from outside (stacks, roots, untracked holders, older generations)
 *   mark       whatever an object with refs > 0 reaches is alive
 *   the rest   is garbage: nothing but garbage refers to it
 *
 *   [scan.scratch]  outside of a scan all of fh__track.scratch.refs is zero
 *   [scan.refs]  after subtract, refs >= 0 for every tracked object: internal references are part of the count
 *
 *   [scan.tally]  if only young generations are looked at, subtract adds up, over all that it looks at, references of objects of plain types
 *                 less counts, and how many objects are not plain. Less what the same comes to for those that are marked, that is the
 *                 garbage's
 *
 * A *linear* scan goes over all chunks of its generations, with the help of the crew if there are many. One *from candidates*
 * (collect/candidates.c) gathers what candidates reach, and looks at that alone. */
#ifndef FH_COLLECT_SCAN_H
#define FH_COLLECT_SCAN_H

#include "mutator/mutator.h"
#include "object/cells.h"

/* An object that a scan from candidates reached. */
struct fh__gathered {
  fh_object *object;
  uint32_t slot;
};

struct fh__tally {
  int64_t outgoing; /* references of objects of plain types, less counts of objects */
  int64_t others;   /* objects that are not plain */
};

struct fh__scan {
  int32_t *refs;       /* by slot; zero at first. Atomic where the crew works */
  fh_object **stack;   /* marked, not yet scanned; room for every entry */
  size_t entries;      /* slots below it may be in use */
  size_t depth;        /* of the stack, outside of mark */
  uint64_t objects;    /* tracked objects seen */
  uint64_t marked;     /* of these, alive; of several workers, after the pass */
  uint64_t pairs;      /* of weak-key maps, looked at while marking (collect/ephemeron.h) */
  struct fh__tally tally; /* of all that was looked at, */
  bool tallied;        /* if there is one */
  uint32_t stamp;      /* of the collecting mutator */
  uint32_t generation; /* this one and the younger ones are looked at */
  bool settles;        /* candidates that it sees are settled (ref/candidate.h) */
  bool strays;         /* writes refs of objects that it does not cover */
  bool kept;           /* garbage was kept alive, and is settled: it has to be looked at again */
  uint32_t covered;    /* chunk numbers that are looked at */
  uint32_t crew;       /* workers that the passes are worth */
  uint32_t next;       /* atomic: the chunk number that the next worker takes */
  uint32_t marking;    /* atomic: workers that have something to mark */
  struct fh__gathered *gathered; /* from candidates: what was reached; NULL in a linear scan */
  size_t gathered_count;
};

/* In refs. No difference of counts comes near them. */
#define FH__SCAN_MARKED INT32_MIN
#define FH__SCAN_IMMORTAL (1 << 28)

/* An object of a plain type can be freed as it is, once it is garbage: nothing has to be told, and the collecting mutator may, because
 * it is published or its own. */
FH__INLINE bool fh__scan_may_free(const fh_object *object, uint32_t stamp) {
  uint32_t shared = FH__LOAD(&object->fh__shared, RELAXED);
  if (shared & FH__WEAK) return false;
  return !(shared & FH__PRIVATE) || fh__owner_of(FH__LOAD(&object->fh__bias, RELAXED) ^ stamp) == 0;
}

/* In a row of refs something has some left. A chunk has whole rows, and what was never used of them is zero. */
enum { FH__SCAN_ROW = FH__PICK(16, 8) };
FH__INLINE bool fh__scan_row_has_roots(const int32_t *refs) {
  int32_t some = 0;
  for (int i = 0; i < FH__SCAN_ROW; i++) some |= refs[i] > 0;
  return some != 0;
}

FH__INLINE bool fh__scan_row_is_zero(const int32_t *refs) {
  int32_t some = 0;
  for (int i = 0; i < FH__SCAN_ROW; i++) some |= refs[i];
  return some == 0;
}

/* One scan at a time: it takes the scratch [scan.scratch]. */
void fh__scan_begin(struct fh__scan *scan, uint32_t generation);
/* Before chunks age. */
void fh__scan_end(struct fh__scan *scan);
/* True if the object with that slot is looked at. Whatever is not tracked is not. */
FH__INLINE bool fh__scan_covers(const struct fh__scan *scan, uint32_t slot) { return fh__track_generation_of(slot) <= scan->generation; }
/* Not all generations are looked at: young ones only, or all but what is frozen. */
FH__INLINE bool fh__scan_is_partial(const struct fh__scan *scan) { return scan->generation < (fh__track.frozen ? FH__FROZEN : FH__OLD); }
/* Also takes tombstones into the free lists and counts each chunk's objects, in passing. */
void fh__scan_subtract(struct fh__scan *scan);
void fh__scan_mark(struct fh__scan *scan);

/* Both passes for what candidates reach, and settles the candidates. False: they reach more than `most` objects, or there is no
 * memory; then some are settled, and a linear scan has to follow. */
bool fh__scan_candidates(struct fh__scan *scan, size_t most);

/* After mark: keeps an object, and all that it reaches, alive for this collection. */
void fh__scan_keep(struct fh__scan *scan, fh_object *object);
/* Marks what a cell refers to, if it is not marked, and puts it on the stack; `scan` is a struct fh__scan. */
void fh__scan_keep_cell(void *scan, fh__cell *cell);

/* The first number from `number` on whose generation is looked at, or fh__track.limit. Beside an old heap, young collections spend their time
 * with this: they pass by eight old numbers at once. */
FH__INLINE uint32_t fh__scan_next_number(const struct fh__scan *scan, uint32_t number) {
  const uint64_t eight_old = 0x0202020202020202u;
  const uint32_t limit = fh__track.limit;
  uint64_t eight;
  while (number < limit && fh__track.generation[number] > scan->generation) {
    if (scan->generation < FH__OLD && number + sizeof eight <= limit) {
      __builtin_memcpy(&eight, &fh__track.generation[number], sizeof eight);
      if ((eight & eight_old) == eight_old) {
        number += sizeof eight;
        continue;
      }
    }
    number++;
  }
  return number;
}
_Static_assert(FH__OLD == 2 && FH__FROZEN == 3 && FH__MIDDLE < 2 && FH__YOUNG < 2, "the second bit tells what is old");

/* The first chunk from `number` on that is looked at, or NULL. A chunk that is not is not touched. */
static inline struct fh__chunk *fh__scan_next_chunk(const struct fh__scan *scan, uint32_t number) {
  for (; (number = fh__scan_next_number(scan, number)) < fh__track.limit; number++) {
    struct fh__chunk *chunk = fh__track_chunk(number);
    if (chunk) return chunk;
  }
  return NULL;
}
/* for (FH__EACH_COVERED(scan, chunk)) ... */
#define FH__EACH_COVERED(scan, chunk)                                                    \
  (chunk) = fh__scan_next_chunk((scan), 0);                                              \
  (chunk);                                                                               \
  (chunk) = fh__scan_next_chunk((scan), (chunk)->base / FH__CHUNK_ENTRIES + 1)

/* Shows every object that was not marked. */
typedef void fh__scan_function(void *context, fh_object *object);
FH__INLINE void fh__scan_unmarked_in(const struct fh__scan *scan, const struct fh__chunk *chunk, fh__scan_function *each, void *context) {
  const int32_t *refs = &scan->refs[chunk->base];
  uint32_t end = chunk->live ? chunk->bump : 0;
  for (uint32_t at = 0; at < end; at++) {
    if (FH__LIKELY(refs[at] == FH__SCAN_MARKED)) continue;
    uint64_t entry = chunk->entries[at];
    if (fh__entry_is_object(entry)) each(context, fh__entry_object(entry));
  }
}
FH__INLINE void fh__scan_unmarked(const struct fh__scan *scan, fh__scan_function *each, void *context) {
  if (scan->marked == scan->objects) return;
  if (scan->gathered) {
    for (size_t i = 0; i < scan->gathered_count; i++) {
      const struct fh__gathered *gathered = &scan->gathered[i];
      if (scan->refs[gathered->slot] != FH__SCAN_MARKED) each(context, gathered->object);
    }
  } else {
    struct fh__chunk *chunk;
    for (FH__EACH_COVERED(scan, chunk)) fh__scan_unmarked_in(scan, chunk, each, context);
  }
}

/* for (FH__EACH_CHUNK(chunk)) if (chunk) ... : the chunks of all mutators; NULL where a number is vacant. */
#define FH__EACH_CHUNK(chunk)                                           \
  uint32_t fh__n = 0;                                                   \
  fh__n < fh__track.limit && ((chunk) = fh__track_chunk(fh__n), 1);     \
  fh__n++

#endif
