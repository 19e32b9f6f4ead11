/* SPDX-License-Identifier: MIT */
/* Both passes go over the chunks in order, so the next objects are known and can be prefetched; and both look at the children
 * through a queue of FH__PREFETCH places in two steps, so that a child's header, and then its place in refs, are in the
 * cache when they are needed. The queues are filled with a dummy of slot 0 first, whose place in refs nobody reads: no
 * branches for their beginning and end. */
#include "collect/scan.h"

#include <sys/mman.h>

#include "base/trap.h"
#include "object/cells.h"

static fh_object dummy; /* slot 0 */

/* ---- side arrays ---- */

static void *reserve(size_t bytes) {
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? NULL : memory;
}

bool fh__scan_begin(struct fh__scan *scan, uint32_t generation) {
  *scan = (struct fh__scan){.generation = generation, .entries = (size_t)(fh__track.limit + 1) * FH__CHUNK_ENTRIES};
  scan->refs = reserve(scan->entries * sizeof *scan->refs);
  scan->stack = reserve(scan->entries * sizeof *scan->stack);
  if (scan->refs && scan->stack) return true;
  fh__scan_end(scan);
  return false;
}

void fh__scan_end(struct fh__scan *scan) {
  if (scan->refs) munmap(scan->refs, scan->entries * sizeof *scan->refs);
  if (scan->stack) munmap(scan->stack, scan->entries * sizeof *scan->stack);
  scan->refs = NULL;
  scan->stack = NULL;
}

/* ---- subtract ---- */

struct pipeline {
  int32_t *refs;
  struct fh__scan *scan;
  uint32_t at;
  fh_object *object[FH__PREFETCH]; /* step 1: the header is on its way */
  fh_object *known[FH__PREFETCH];  /* step 2: its slot was read, the place in refs is on its way */
  uint32_t slot[FH__PREFETCH];
};

static void pipeline_init(struct pipeline *pipeline, struct fh__scan *scan) {
  pipeline->refs = scan->refs;
  pipeline->scan = scan;
  pipeline->at = 0;
  for (int i = 0; i < FH__PREFETCH; i++) {
    pipeline->object[i] = pipeline->known[i] = &dummy;
    pipeline->slot[i] = 0;
  }
}

/* Moves the places at the pipeline's turn one step on, and returns which one it was. `partial`: not all generations are looked
 * at; a child of another one leaves the pipeline as if it were not tracked. Each pass is compiled twice. */
FH__INLINE uint32_t pipeline_turn(struct pipeline *pipeline, fh_object *child, bool partial) {
  uint32_t i = pipeline->at++ % FH__PREFETCH;
  fh_object *seen = pipeline->object[i];
  pipeline->object[i] = child;
  __builtin_prefetch(child);
  uint32_t slot = seen->fh__slot;
  if (partial && !fh__scan_covers(pipeline->scan, slot)) slot = 0;
  pipeline->known[i] = seen;
  pipeline->slot[i] = slot;
  __builtin_prefetch(&pipeline->refs[pipeline->slot[i]], 1);
  return i;
}

FH__INLINE void subtract_child(struct pipeline *pipeline, fh_object *child, bool partial) {
  uint32_t leaving = pipeline->slot[pipeline->at % FH__PREFETCH];
  pipeline->refs[leaving]--;
  pipeline_turn(pipeline, child, partial);
}

FH__INLINE void subtract_cell(void *context, fh__cell *cell) {
  fh_object *child = fh__cell_load(cell);
  if (child) subtract_child(context, child, false);
}

FH__INLINE void subtract_cell_partial(void *context, fh__cell *cell) {
  fh_object *child = fh__cell_load(cell);
  if (child) subtract_child(context, child, true);
}

FH__INLINE int32_t count_for_refs(const fh_object *object) {
  if (FH__UNLIKELY(fh__is_immortal(object))) return 1 << 30; /* whatever refers to it, it stays */
  return (int32_t)fh__true_count(object);
}

FH__INLINE void prefetch_entry(const struct fh__chunk *chunk, uint32_t at) {
  if (at < chunk->bump) __builtin_prefetch((const void *)(uintptr_t)(chunk->entries[at] & ~(uint64_t)3));
}

FH__INLINE void subtract_chunk(struct pipeline *pipeline, struct fh__chunk *chunk, bool partial) {
  uint32_t live = 0;
  for (uint32_t at = 0; at < chunk->bump; at++) {
    prefetch_entry(chunk, at + FH__PREFETCH);
    uint64_t entry = FH__LOAD(&chunk->entries[at], ACQUIRE);
    if (FH__LIKELY(fh__entry_is_object(entry))) {
      fh_object *object = fh__entry_object(entry);
      live++;
      pipeline->refs[chunk->base + at] += count_for_refs(object);
      if (partial)
        fh__cells_each(fh__type_of(object), object, subtract_cell_partial, pipeline);
      else
        fh__cells_each(fh__type_of(object), object, subtract_cell, pipeline);
    } else if (entry == FH__TRACK_TOMB) {
      fh__track_recycle(chunk, at); /* [track.recycle]: the world is stopped, so no stranger is about to write here */
    }
  }
  chunk->live = live;
  pipeline->scan->objects += live;
}

FH__INLINE void subtract_all(struct fh__scan *scan, bool partial) {
  struct pipeline pipeline;
  pipeline_init(&pipeline, scan);
  struct fh__chunk *chunk;
  for (FH__EACH_COVERED(scan, chunk)) subtract_chunk(&pipeline, chunk, partial);
  for (int i = 0; i < 2 * FH__PREFETCH; i++) subtract_child(&pipeline, &dummy, partial);
}

static bool is_partial(const struct fh__scan *scan) { return scan->generation < FH__OLD; }

void fh__scan_subtract(struct fh__scan *scan) {
  if (is_partial(scan))
    subtract_all(scan, true);
  else
    subtract_all(scan, false);
}

/* ---- mark ---- */

FH__INLINE void mark_child(struct pipeline *pipeline, fh_object *child, bool partial) {
  uint32_t i = pipeline->at % FH__PREFETCH;
  fh_object *leaving = pipeline->known[i];
  int32_t *refs = &pipeline->refs[pipeline->slot[i]];
  if (*refs != FH__SCAN_MARKED) {
    *refs = FH__SCAN_MARKED;
    pipeline->scan->stack[pipeline->scan->depth++] = leaving;
  }
  pipeline_turn(pipeline, child, partial);
}

FH__INLINE void mark_cell(void *context, fh__cell *cell) {
  fh_object *child = fh__cell_load(cell);
  if (child) mark_child(context, child, false);
}

FH__INLINE void mark_cell_partial(void *context, fh__cell *cell) {
  fh_object *child = fh__cell_load(cell);
  if (child) mark_child(context, child, true);
}

FH__INLINE void mark_stack(struct pipeline *pipeline, bool partial) {
  struct fh__scan *scan = pipeline->scan;
  while (scan->depth) {
    fh_object *object = scan->stack[--scan->depth];
    if (partial)
      fh__cells_each(fh__type_of(object), object, mark_cell_partial, pipeline);
    else
      fh__cells_each(fh__type_of(object), object, mark_cell, pipeline);
  }
}

FH__INLINE void mark_chunk(struct pipeline *pipeline, struct fh__chunk *chunk, bool partial) {
  int32_t *refs = &pipeline->refs[chunk->base];
  for (uint32_t at = 0; at < chunk->bump; at++) {
    uint64_t entry = chunk->entries[at];
    if (refs[at] <= 0 || !fh__entry_is_object(entry)) continue;
    refs[at] = FH__SCAN_MARKED;
    pipeline->scan->stack[pipeline->scan->depth++] = fh__entry_object(entry);
    mark_stack(pipeline, partial);
  }
}

FH__INLINE void mark_all(struct fh__scan *scan, bool partial) {
  struct pipeline pipeline;
  pipeline_init(&pipeline, scan);
  scan->refs[0] = FH__SCAN_MARKED; /* whatever is not tracked need not be marked */
  struct fh__chunk *chunk;
  for (FH__EACH_COVERED(scan, chunk)) mark_chunk(&pipeline, chunk, partial);
  /* What is still in the queue may have children, which go into the queue: until two whole turns bring nothing. */
  for (int quiet = 0; quiet < 2 * FH__PREFETCH; quiet++) {
    mark_child(&pipeline, &dummy, partial);
    if (scan->depth) quiet = -1;
    mark_stack(&pipeline, partial);
  }
}

void fh__scan_mark(struct fh__scan *scan) {
  if (is_partial(scan))
    mark_all(scan, true);
  else
    mark_all(scan, false);
}

static void keep_cell(void *context, fh__cell *cell) {
  struct fh__scan *scan = context;
  fh_object *child = fh__cell_load(cell);
  if (!child || !fh__scan_covers(scan, child->fh__slot) || scan->refs[child->fh__slot] == FH__SCAN_MARKED) return;
  scan->refs[child->fh__slot] = FH__SCAN_MARKED;
  scan->stack[scan->depth++] = child;
}

void fh__scan_keep(struct fh__scan *scan, fh_object *object) {
  fh__cell cell = object;
  keep_cell(scan, &cell);
  while (scan->depth) {
    fh_object *kept = scan->stack[--scan->depth];
    fh__cells_each(fh__type_of(kept), kept, keep_cell, scan);
  }
}

void fh__scan_unmarked(const struct fh__scan *scan, fh__scan_function *each, void *context) {
  struct fh__chunk *chunk;
  for (FH__EACH_COVERED(scan, chunk))
    for (uint32_t at = 0; at < chunk->bump; at++) {
      int32_t refs = scan->refs[chunk->base + at];
      if (FH__LIKELY(refs == FH__SCAN_MARKED)) continue;
      uint64_t entry = chunk->entries[at];
      if (!fh__entry_is_object(entry)) continue;
      FH__ASSERT(refs == 0, "scan.refs");
      if (refs == 0) each(context, fh__entry_object(entry));
    }
}
