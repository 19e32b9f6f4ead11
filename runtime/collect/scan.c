/* SPDX-License-Identifier: MIT */
/* The two passes of a linear scan. They go over the chunks in order, so the next objects are known and can be prefetched; children go
 * through the queue of walk.h.
 *
 * With a crew, each worker takes one chunk number after the other. In subtract, refs is written by atomic instructions. In mark, the
 * worker that exchanges an object's refs for MARKED has it on its stack, and scans it; when its stack grows it offers a part to the others
 * (shelf.h). A worker with nothing left says so in `marking`:
 *
 *   [scan.marking]  marking counts the workers that hold unscanned objects, on a stack, in a queue or out of a shelf, or may find
 *                   roots in a chunk. A worker leaves its own shelf empty when it says that it has nothing. So at 0 all is marked:
 *                   no shelf is full, and whoever comes back finds nothing.
 *
 * All passes are compiled for each case: `how` is a constant. */
#include "collect/scan.h"

#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#include "base/trap.h"
#include "collect/ephemeron.h"
#include "collect/shelf.h"
#include "collect/walk.h"
#include "ref/candidate.h"
#include "sync/crew.h"

enum { PARTIAL = 1, CREW = 2 };

/* Chunks that a worker should have, or waking it costs more than it does. */
enum { CHUNKS_A_WORKER = FH__PICK(64, 1), SPINS = 2000 };

fh_object fh__walk_dummy;
static struct fh__shelf shelves[FH__CREW_MAX];

/* ---- beginning and end ---- */

static uint32_t count_covered(const struct fh__scan *scan) {
  uint32_t covered = 0;
  for (uint32_t number = 0; number < fh__track.limit; number++) covered += fh__track.generation[number] <= scan->generation;
  return covered;
}

static uint32_t crew_for(const struct fh__scan *scan) {
  uint32_t workers = count_covered(scan) / CHUNKS_A_WORKER;
  return workers < fh__crew.limit ? workers : fh__crew.limit;
}

void fh__scan_begin(struct fh__scan *scan, uint32_t generation) {
  fh__ephemerons_reached = NULL;
  *scan = (struct fh__scan){.generation = generation,
                            .stamp = fh__self()->stamp,
                            .tallied = UINT64_MAX,
                            .entries = (size_t)fh__track.limit * FH__CHUNK_ENTRIES,
                            .refs = fh__track.scratch.refs,
                            .stack = fh__track.scratch.stack};
  scan->crew = crew_for(scan);
}

/* Pages that were written go back to the system, and read as zero. */
static void give_back(void *memory, size_t bytes) {
  if (bytes) madvise(memory, bytes, MADV_DONTNEED);
}

static void clear_covered(const struct fh__scan *scan) {
  struct fh__chunk *chunk;
  for (FH__EACH_COVERED(scan, chunk))
    if (chunk->live) memset(&scan->refs[chunk->base], 0, FH__CHUNK_ENTRIES * sizeof *scan->refs);
}

static void clear_gathered(const struct fh__scan *scan) {
  for (size_t i = 0; i < scan->gathered_count; i++) scan->refs[scan->gathered[i].slot] = 0;
}

void fh__scan_end(struct fh__scan *scan) {
  size_t few = scan->entries / 4;
  if (scan->gathered && scan->gathered_count <= few) {
    clear_gathered(scan);
  } else if (!scan->gathered && !scan->strays && (size_t)count_covered(scan) * FH__CHUNK_ENTRIES <= few) {
    clear_covered(scan);
  } else {
    give_back(scan->refs, scan->entries * sizeof *scan->refs);
    give_back(scan->stack, scan->entries * sizeof *scan->stack);
  }
  if (scan->refs) scan->refs[0] = 0;
  fh__track_unreserve(scan->gathered, scan->entries * sizeof *scan->gathered);
  scan->gathered = NULL;
}

void fh__walk_init(struct fh__walk *walk, struct fh__scan *scan, uint32_t worker, fh_object **stack) {
  *walk = (struct fh__walk){
      .refs = scan->refs, .scan = scan, .stamp = scan->stamp, .settles = scan->settles, .worker = worker, .stack = stack};
  for (int i = 0; i < FH__PREFETCH; i++) walk->object[i] = walk->known[i] = &fh__walk_dummy;
}

/* The chunks are taken in order: by a crew, each by one worker. */
FH__INLINE struct fh__chunk *take_chunk(struct fh__scan *scan, uint32_t *number, unsigned how) {
  for (;;) {
    uint32_t taken = how & CREW ? FH__ADD(&scan->next, 1, RELAXED) : (*number)++; /* what is in the chunk is ordered by the crew's joining */
    if (taken >= fh__track.limit) return NULL;
    if (fh__track.generation[taken] > scan->generation) continue;
    struct fh__chunk *chunk = fh__track_chunk(taken);
    if (chunk) return chunk;
  }
}

/* ---- subtract ---- */

FH__INLINE void add_refs(int32_t *refs, int32_t n, unsigned how) {
  if (how & CREW)
    FH__ADD(refs, n, RELAXED); /* a sum, which is read after the pass */
  else
    *refs += n;
}

/* [scan.tally] */
struct seen {
  int32_t count;
  bool plain;
};

/* The usual young object is the collecting mutator's own, and was never shown to anybody. */
FH__INLINE struct seen look(const struct fh__walk *walk, const fh_object *object, const fh_type *type) {
  uint32_t bias = FH__LOAD(&object->fh__bias, RELAXED), shared = FH__LOAD(&object->fh__shared, RELAXED);
  uint32_t more = (bias | FH__BIAS_MARK) ^ walk->stamp;
  if (FH__LIKELY(more <= FH__BIAS_LOCAL_MAX) && FH__LIKELY(shared == FH__PRIVATE)) return (struct seen){(int32_t)more + 1, type->plain};
  return (struct seen){fh__walk_count(object), fh__scan_is_plain(walk->scan, object, type)};
}

FH__INLINE void tally(struct fh__walk *walk, struct seen seen, struct fh__near near, int sign) {
  if (FH__LIKELY(seen.plain))
    walk->outgoing += sign * (fh__near_count(near) - seen.count);
  else
    walk->others += sign;
}

static void add_tally(struct fh__scan *scan, const struct fh__walk *walk) {
  FH__ADD(&scan->outgoing, walk->outgoing, RELAXED); /* sums, which are read after the pass */
  FH__ADD(&scan->others, walk->others, RELAXED);
}

/* Places of few generations are few enough to be in the cache, so that only the children's headers are waited for. */
FH__INLINE void subtract_child(struct fh__walk *walk, fh_object *child, unsigned how) {
  uint32_t slot = how & PARTIAL ? fh__walk_turn_once(walk, child) : fh__walk_leaving_slot(walk);
  if (!(how & PARTIAL)) fh__walk_turn(walk, child, false);
  if (how & PARTIAL && !fh__scan_covers(walk->scan, slot)) return;
  if (!(how & CREW) || slot) add_refs(&walk->refs[slot], -1, how); /* nobody reads place 0; a crew would meet there */
}

/* What a pass does with a cell, for each way. */
#define CELL(pass, suffix, how)                                            \
  FH__INLINE void pass##_cell##suffix(void *context, fh__cell *cell) {     \
    fh_object *child = fh__cell_load(cell);                                \
    if (child) pass##_child(context, child, (how));                        \
  }
#define CELL_IN_ALL_WAYS(pass)  \
  CELL(pass, , 0)               \
  CELL(pass, _partial, PARTIAL) \
  CELL(pass, _crew, CREW)       \
  CELL(pass, _both, PARTIAL | CREW)

CELL_IN_ALL_WAYS(subtract)

#define EACH_CELL(walk_cells, type, object, how, pass, context)                                                          \
  walk_cells((type), (object),                                                                                           \
                 (how) == 0 ? pass : (how) == PARTIAL ? pass##_partial : (how) == CREW ? pass##_crew : pass##_both, (context))

FH__INLINE void subtract_object(struct fh__walk *walk, const struct fh__chunk *chunk, uint32_t at, fh_object *object, unsigned how) {
  const fh_type *type = fh__type_of(object);
  struct seen seen = how & PARTIAL ? look(walk, object, type) : (struct seen){.count = fh__walk_count(object)};
  add_refs(&walk->refs[chunk->base + at], seen.count, how);
  if (walk->settles && FH__UNLIKELY(fh__is_candidate(object)) && !fh__candidate_settle(object)) fh__track_touch(chunk->base);
  if (FH__LIKELY(type->plain)) {
    struct fh__near near = fh__cells_near_some(type, object); /* what has none is not tracked */
    if (how & PARTIAL) tally(walk, seen, near, 1);
    if (near.first) subtract_child(walk, near.first, how);
    if (near.second) subtract_child(walk, near.second, how);
  } else {
    if (how & PARTIAL) walk->others++;
    EACH_CELL(fh__cells_each, type, object, how, subtract_cell, walk);
  }
}

FH__INLINE void subtract_chunk(struct fh__walk *walk, struct fh__chunk *chunk, unsigned how) {
  uint32_t live = 0;
  if (walk->scan->settles) FH__STORE_(&fh__track.touched[chunk->base / FH__CHUNK_ENTRIES], 0, RELAXED);
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
  while ((chunk = take_chunk(scan, &number, how))) subtract_chunk(&walk, chunk, how);
  for (int i = 0; i < 2 * FH__PREFETCH; i++) subtract_child(&walk, &fh__walk_dummy, how);
  FH__ADD(&scan->objects, walk.objects, RELAXED); /* a sum, which is read after the pass */
  add_tally(scan, &walk);
}

static bool is_partial(const struct fh__scan *scan) { return scan->generation < (fh__track.frozen ? FH__FROZEN : FH__OLD); }

static void subtract_by_crew(void *context, uint32_t worker) {
  struct fh__scan *scan = context;
  if (is_partial(scan))
    subtract_chunks(scan, worker, PARTIAL | CREW);
  else
    subtract_chunks(scan, worker, CREW);
}

void fh__scan_subtract(struct fh__scan *scan) {
  if (!scan->refs) return; /* there never was a chunk */
  scan->next = 0;
  if (scan->crew > 1)
    fh__crew_run(scan->crew, subtract_by_crew, scan);
  else if (is_partial(scan))
    subtract_chunks(scan, 0, PARTIAL);
  else
    subtract_chunks(scan, 0, 0);
}

/* ---- mark ---- */

/* True for the one who is to scan the object. */
FH__INLINE bool claim(int32_t *refs, unsigned how) {
  if (FH__LOAD(refs, RELAXED) == FH__SCAN_MARKED) return false;
  if (how & CREW) return FH__SWAP(refs, FH__SCAN_MARKED, RELAXED) != FH__SCAN_MARKED; /* one of several; nothing else goes with it */
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
  fh__walk_turn(walk, child, how & PARTIAL);
}

CELL_IN_ALL_WAYS(mark)

FH__INLINE void mark_stack(struct fh__walk *walk, unsigned how) {
  while (walk->depth) {
    if (how & CREW && FH__UNLIKELY(walk->depth > 2 * FH__SHELF_ITEMS)) fh__shelf_offer(&shelves[walk->worker], walk->stack, &walk->depth);
    fh_object *object = walk->stack[--walk->depth];
    const fh_type *type = fh__type_of(object);
    if (FH__LIKELY(type->plain)) {
      struct fh__near near = fh__cells_near_some(type, object);
      if (how & PARTIAL) tally(walk, look(walk, object, type), near, -1);
      if (near.first) mark_child(walk, near.first, how);
      if (near.second) mark_child(walk, near.second, how);
    } else {
      if (how & PARTIAL) walk->others--;
      EACH_CELL(fh__cells_each_strong, type, object, how, mark_cell, walk);
    }
  }
}

FH__INLINE void mark_chunk(struct fh__walk *walk, struct fh__chunk *chunk, unsigned how) {
  int32_t *refs = &walk->refs[chunk->base];
  uint32_t end = chunk->live ? chunk->bump : 0;
  for (uint32_t at = 0; at < end; at++) {
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
  while ((chunk = take_chunk(walk->scan, &number, how))) mark_chunk(walk, chunk, how);
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
  if (is_partial(scan))
    mark_with_others(&walk, PARTIAL | CREW);
  else
    mark_with_others(&walk, CREW);
  FH__ADD(&scan->marked, walk.objects, RELAXED); /* a sum, which is read after the pass */
  add_tally(scan, &walk);
  if (worker) fh__track_unreserve(stack, bytes);
}

static void mark_alone(struct fh__scan *scan) {
  struct fh__walk walk;
  fh__walk_init(&walk, scan, 0, scan->stack);
  if (is_partial(scan))
    mark_chunks(&walk, PARTIAL);
  else
    mark_chunks(&walk, 0);
  scan->marked = walk.objects;
  add_tally(scan, &walk);
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
  if (is_partial(scan)) scan->tallied = scan->marked;
}

/* ---- after mark ---- */

void fh__scan_keep_cell(void *context, fh__cell *cell) {
  struct fh__scan *scan = context;
  fh_object *child = fh__cell_load(cell);
  if (!child || !fh__scan_covers(scan, child->fh__slot)) return;
  int32_t *refs = &scan->refs[child->fh__slot];
  /* From candidates, a pair of a map that is not looked at may lead to what is not either: that lives anyhow. */
  if (*refs == FH__SCAN_MARKED || (scan->gathered && !*refs)) return;
  *refs = FH__SCAN_MARKED;
  scan->stack[scan->depth++] = child;
  scan->marked++;
}

void fh__scan_keep(struct fh__scan *scan, fh_object *object) {
  fh__cell cell = object;
  fh__scan_keep_cell(scan, &cell);
  fh__ephemerons_mark(scan);
}
