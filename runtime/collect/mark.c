/* SPDX-License-Identifier: MIT */
/* The second pass of a linear scan.
 *
 * With a crew, the worker that exchanges an object's refs for MARKED has it on its stack, and scans it; when its stack grows it offers a
 * part to the others (shelf.h). A worker with nothing left says so in `marking`:
 *
 *   [scan.marking]  marking counts the workers that hold unscanned objects, on a stack, in a queue or out of a shelf, or may find
 *                   roots in a chunk. A worker leaves its own shelf empty when it says that it has nothing. So at 0 all is marked:
 *                   no shelf is full, and whoever comes back finds nothing. */
#include <sched.h>

#include "collect/pass.h"
#include "collect/shelf.h"
#include "sync/crew.h"

enum { SPINS = 2000 };

static struct fh__shelf shelves[FH__CREW_MAX];

/* True for the one who is to scan the object. */
FH__INLINE bool claim(int32_t *refs, unsigned how) {
  if (FH__LOAD(refs, RELAXED) == FH__SCAN_MARKED) return false;
  if (how & FH__CREW) return FH__SWAP(refs, FH__SCAN_MARKED, RELAXED) != FH__SCAN_MARKED; /* one of several; nothing else goes with it */
  *refs = FH__SCAN_MARKED;
  return true;
}

FH__INLINE void push(struct fh__walk *walk, fh_object *object) {
  walk->stack[walk->depth++] = object;
  walk->objects++;
}

FH__INLINE void mark_child(struct fh__walk *walk, fh_object *child, unsigned how) {
  fh_object *leaving = fh__walk_leaving(walk);
  if (claim(&walk->refs[fh__walk_leaving_slot(walk)], how)) push(walk, leaving);
  fh__walk_turn(walk, child, how & FH__PARTIAL);
}

FH__CELL_IN_ALL_WAYS(mark)

FH__INLINE void mark_stack(struct fh__walk *walk, unsigned how) {
  while (walk->depth) {
    if (how & FH__CREW && FH__UNLIKELY(walk->depth > 2 * FH__SHELF_ITEMS)) fh__shelf_offer(&shelves[walk->worker], walk->stack, &walk->depth);
    fh_object *object = walk->stack[--walk->depth];
    const fh_type *type = fh__type_of(object);
    if (FH__LIKELY(type->paired)) {
      struct fh__near near = fh__cells_near_some(type, object);
      if (near.first) mark_child(walk, near.first, how);
      if (near.second) mark_child(walk, near.second, how);
    } else {
      FH__PASS_EACH_CELL(fh__cells_each_strong, type, object, how, mark_cell, walk);
    }
  }
}

FH__INLINE void mark_chunk(struct fh__walk *walk, struct fh__chunk *chunk, unsigned how) {
  int32_t *refs = &walk->refs[chunk->base];
  uint32_t end = chunk->live ? chunk->bump : 0;
  for (uint32_t at = 0; at < end; at++) {
    if (!(how & FH__CREW) && at % FH__SCAN_ROW == 0) {
      while (at < end && !fh__scan_row_has_roots(&refs[at])) at += FH__SCAN_ROW;
      if (at >= end) break;
    }
    if (FH__LIKELY(FH__LOAD(&refs[at], RELAXED) <= 0)) continue;
    uint64_t entry = chunk->entries[at];
    if (!fh__entry_is_object(entry) || !claim(&refs[at], how)) continue;
    push(walk, fh__entry_object(entry));
    mark_stack(walk, how);
  }
}

/* What is still in the queue may have children, which go into the queue: until two whole turns bring nothing. */
FH__INLINE void mark_rest(struct fh__walk *walk, unsigned how) {
  for (int quiet = 0; quiet < 2 * FH__PREFETCH; quiet++) {
    mark_child(walk, &fh__walk_dummy, how);
    if (walk->depth) quiet = -1;
    mark_stack(walk, how);
  }
}

FH__INLINE void mark_chunks(struct fh__walk *walk, unsigned how) {
  uint32_t number = 0;
  struct fh__chunk *chunk;
  while ((chunk = fh__scan_take_chunk(walk->scan, &number, how))) mark_chunk(walk, chunk, how);
  mark_rest(walk, how);
}

/* ---- the crew marks ---- */

/* From the own shelf first. */
static bool steal(struct fh__walk *walk) {
  uint32_t crew = walk->scan->crew;
  for (uint32_t i = 0; i < crew; i++)
    if (fh__shelf_steal(&shelves[(walk->worker + i) % crew], walk->stack, &walk->depth)) return true;
  return false;
}

static bool something_is_offered(const struct fh__scan *scan) {
  for (uint32_t i = 0; i < scan->crew; i++)
    if (FH__LOAD(&shelves[i].state, RELAXED) == FH__SHELF_FULL) return true;
  return false;
}

/* [scan.marking] */
static void have_something(struct fh__scan *scan) { FH__ADD(&scan->marking, 1, SEQ_CST); }
static bool have_nothing(struct fh__scan *scan) { return FH__SUB(&scan->marking, 1, SEQ_CST) == 1; }

/* Has nothing left; true: has something again, false: nobody has. */
static bool wait_for_offer(struct fh__walk *walk) {
  struct fh__scan *scan = walk->scan;
  if (have_nothing(scan)) return false;
  for (int spins = 0; FH__LOAD(&scan->marking, SEQ_CST); spins++) {
    if (something_is_offered(scan)) {
      have_something(scan);
      if (steal(walk)) return true;
      if (have_nothing(scan)) return false;
    }
    if (spins < SPINS)
      fh__cpu_pause();
    else
      sched_yield();
  }
  return false;
}

FH__INLINE void mark_with_others(struct fh__walk *walk, unsigned how) {
  mark_chunks(walk, how);
  while (steal(walk) || wait_for_offer(walk)) {
    mark_stack(walk, how);
    mark_rest(walk, how);
  }
}

static void mark_by_crew(void *context, uint32_t worker) {
  struct fh__scan *scan = context;
  size_t bytes = scan->entries * sizeof *scan->stack;
  fh_object **stack = worker == 0 ? scan->stack : fh__track_reserve(bytes);
  if (!stack) return; /* the others do it */
  if (worker) have_something(scan); /* the requester had from the beginning */
  struct fh__walk walk;
  fh__walk_init(&walk, scan, worker, stack);
  if (fh__scan_is_partial(scan))
    mark_with_others(&walk, FH__PARTIAL | FH__CREW);
  else
    mark_with_others(&walk, FH__CREW);
  FH__ADD(&scan->marked, walk.objects, RELAXED); /* a sum, which is read after the pass */
  if (worker) fh__track_unreserve(stack, bytes);
}

static void mark_alone(struct fh__scan *scan) {
  struct fh__walk walk;
  fh__walk_init(&walk, scan, 0, scan->stack);
  if (fh__scan_is_partial(scan))
    mark_chunks(&walk, FH__PARTIAL);
  else
    mark_chunks(&walk, 0);
  scan->marked = walk.objects;
}

void fh__scan_mark(struct fh__scan *scan) {
  if (!scan->refs) return;
  scan->refs[0] = FH__SCAN_MARKED; /* whatever is not tracked need not be marked */
  scan->next = 0;
  scan->marking = 1; /* the requester */
  if (scan->crew > 1)
    fh__crew_run(scan->crew, mark_by_crew, scan);
  else
    mark_alone(scan);
}
