/* SPDX-License-Identifier: MIT */
#include "ref/publish.h"

#include "base/trap.h"
#include "object/cells.h"

/* ---- the list of objects that wait to be scanned ----
 *
 * Tracked: the entry in the chunk holds the link (tagged 3, so that it is neither an object nor a tombstone) and is restored
 * when the object is taken off. Only the chunk's mutator, or the collector, looks into entries, and neither does so now.
 *
 * Not tracked: the local count moves to the shared word, which nobody else sees yet; the link takes its 16 bits, and the 32
 * of the slot word. Taken off, as much of the count as fits moves back. */

struct gray {
  fh_object *first;
  uint64_t published;
};

enum { LINK_TAG = 3 };

static uint64_t *entry_of(const fh_object *object) {
  FH__ASSERT(object->fh__slot, "track.entry");
  struct fh__chunk *chunk = fh__track_chunk_of(object->fh__slot);
  return &chunk->entries[object->fh__slot - chunk->base];
}

static void link_tracked(struct gray *gray, fh_object *object) {
  FH__STORE_(entry_of(object), (uint64_t)(uintptr_t)gray->first | LINK_TAG, RELAXED);
  gray->first = object;
}

static void unlink_tracked(struct gray *gray, fh_object *object) {
  uint64_t *entry = entry_of(object);
  gray->first = (fh_object *)(uintptr_t)(FH__LOAD(entry, RELAXED) & ~(uint64_t)LINK_TAG);
  FH__STORE_(entry, (uint64_t)(uintptr_t)object, RELAXED);
}

static void link_untracked(struct gray *gray, fh_object *object) {
  uint64_t link = (uint64_t)(uintptr_t)gray->first >> 4;
  uint32_t bias = FH__LOAD(&object->fh__bias, RELAXED), shared = FH__LOAD(&object->fh__shared, RELAXED);
  FH__STORE_(&object->fh__shared, shared + fh__local_of(bias) * FH__ONE, RELAXED);
  FH__STORE_(&object->fh__bias, (bias & 0xffff0000u) | (uint32_t)(link >> 32), RELAXED);
  FH__STORE_(&object->fh__slot, (uint32_t)link, RELAXED);
  gray->first = object;
}

static void unlink_untracked(struct gray *gray, fh_object *object) {
  uint32_t bias = FH__LOAD(&object->fh__bias, RELAXED), shared = FH__LOAD(&object->fh__shared, RELAXED);
  int32_t count = fh__count_of(shared);
  uint32_t local = count < FH__SPILL_AT ? (uint32_t)count : FH__SPILL_AT;
  gray->first = (fh_object *)(uintptr_t)(((uint64_t)(bias & 0xffffu) << 32 | FH__LOAD(&object->fh__slot, RELAXED)) << 4);
  FH__STORE_(&object->fh__slot, 0, RELAXED);
  FH__STORE_(&object->fh__shared, shared - local * FH__ONE, RELAXED);
  FH__STORE_(&object->fh__bias, fh__bias_with(fh__stamp_of(fh__owner_of(bias)), local), RELAXED);
}

static fh_object *take_gray(struct gray *gray) {
  fh_object *object = gray->first;
  if (fh__type_of(object)->tracked)
    unlink_tracked(gray, object);
  else
    unlink_untracked(gray, object);
  return object;
}

/* ---- the walk ---- */

static void flag(struct gray *gray, fh_object *object) {
  /* Relaxed: the publishing store releases it; until then nobody else can reach the object. */
  uint32_t settled = FH__LOAD(&object->fh__bias, RELAXED) & FH__BIAS_MARK ? 0 : FH__SETTLED; /* [candidate.chunk] */
  FH__STORE_(&object->fh__shared, (FH__LOAD(&object->fh__shared, RELAXED) & ~(uint32_t)FH__PRIVATE) | settled, RELAXED);
  gray->published++;
  const fh_type *type = fh__type_of(object);
  if (!type->has_cells) return;
  if (type->tracked)
    link_tracked(gray, object);
  else
    link_untracked(gray, object);
}

static void visit_cell(void *context, fh__cell *cell) {
  fh_object *child = fh__cell_load(cell);
  if (child && !fh__is_published(child)) flag(context, child);
}

static void publish(struct fh__mutator *me, fh_object *object) {
  struct gray gray = {NULL, 0};
  flag(&gray, object);
  while (gray.first) {
    fh_object *next = take_gray(&gray);
    fh__cells_each(fh__type_of(next), next, visit_cell, &gray);
  }
  FH__BUMP(&me->counters.published, gray.published);
}

void fh__publish(struct fh__mutator *me, fh_object *object, const char *call) {
  if (FH__CHECKED) fh__check_object(call, object);
  if (FH__LIKELY(fh__is_published(object))) return;
  if (FH__UNLIKELY(!fh__owns(me, FH__LOAD(&object->fh__bias, RELAXED))))
    fh__misuse(call, object, "a private object of another thread cannot be published by this one");
  publish(me, object);
}

void fh__publish_stopped(struct fh__mutator *me, fh_object *object) {
  if (!fh__is_published(object)) publish(me, object);
}

void fh_publish(void *object) { fh__publish(fh__self_or_trap("fh_publish", object), object, "fh_publish"); }
