/* SPDX-License-Identifier: MIT */
/* The beginning and the end of a scan, and what is kept alive after its passes (subtract.c, mark.c). */
#include "collect/scan.h"

#include <string.h>
#include <sys/mman.h>

#include "collect/ephemeron.h"
#include "sync/crew.h"

/* Chunks that a worker should have, or waking it costs more than it does. */
enum { CHUNKS_A_WORKER = FH__PICK(64, 1) };

/* Entries whose places in refs, 4 MiB, are cleared by hand rather than given back: what is written again by the next collection would be as
 * many page faults, and each costs more than to clear a page. */
enum { KEPT = FH__PICK(1 << 20, 64) };

/* ---- beginning and end ---- */

static uint32_t count_covered(const struct fh__scan *scan) {
  uint32_t covered = 0;
  for (uint32_t number = 0; (number = fh__scan_next_number(scan, number)) < fh__track.limit; number++) covered++;
  return covered;
}

static uint32_t crew_for(const struct fh__scan *scan) {
  uint32_t workers = scan->covered / CHUNKS_A_WORKER;
  return workers < fh__crew.limit ? workers : fh__crew.limit;
}

void fh__scan_begin(struct fh__scan *scan, uint32_t generation) {
  fh__ephemerons_reached = NULL;
  *scan = (struct fh__scan){.generation = generation,
                            .stamp = fh__self()->stamp,
                            .entries = (size_t)fh__track.limit * FH__CHUNK_ENTRIES,
                            .refs = fh__track.scratch.refs,
                            .stack = fh__track.scratch.stack};
  scan->covered = count_covered(scan);
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

static bool few_are_covered(const struct fh__scan *scan) {
  size_t covered = (size_t)scan->covered * FH__CHUNK_ENTRIES;
  return covered <= KEPT || covered <= scan->entries / 4;
}

/* The stack of a collection of everything may have been as deep as the heap is large. */
void fh__scan_end(struct fh__scan *scan) {
  bool deep = scan->generation == FH__OLD && !scan->gathered;
  if (scan->gathered && scan->gathered_count <= scan->entries / 4) {
    clear_gathered(scan);
  } else if (!scan->gathered && !scan->strays && few_are_covered(scan)) {
    clear_covered(scan);
  } else {
    give_back(scan->refs, scan->entries * sizeof *scan->refs);
    deep = true;
  }
  if (deep) give_back(scan->stack, scan->entries * sizeof *scan->stack);
  if (scan->refs) scan->refs[0] = 0;
  fh__track_unreserve(scan->gathered, scan->entries * sizeof *scan->gathered);
  scan->gathered = NULL;
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
