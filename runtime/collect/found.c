/* SPDX-License-Identifier: MIT */
#include "collect/found.h"

#include "collect/scan.h"
#include "object/cells.h"
#include "ref/merge.h"
#include "ref/publish.h"

/* ---- what was found ---- */

static bool grow(struct fh__found *found) {
  size_t capacity = found->capacity ? 2 * found->capacity : 64;
  fh_object **grown = fh__backend_realloc(found->object, capacity * sizeof(fh_object *));
  if (!grown) return false;
  found->object = grown;
  found->capacity = capacity;
  return true;
}

void fh__found_add(struct fh__found *found, fh_object *object) {
  if (found->no_memory || (found->type && fh__type_of(object) != found->type)) return;
  if (found->count == found->capacity && !grow(found)) {
    found->no_memory = true;
    return;
  }
  if (!fh__owns(found->me, FH__LOAD(&object->fh__bias, RELAXED))) fh__publish_stopped(found->me, object); /* [found.published] */
  fh__retain(object);                                                                                     /* [found.held] */
  found->object[found->count++] = object;
}

fh_status fh__found_show(struct fh__found *found, fh_gc_visit visit, void *context) {
  bool goes_on = !found->no_memory;
  for (size_t i = 0; i < found->count; i++) {
    goes_on = goes_on && visit(context, found->object[i]);
    fh__release(found->object[i]);
  }
  fh__backend_free(found->object);
  return found->no_memory ? FH_ENOMEM : FH_OK;
}

/* ---- looking ---- */

static void stop(struct fh__mutator *me) {
  fh__world_stop(me);
  fh__merge_all_stopped(me); /* what is dead, and was not looked after, is not shown */
}

static void each_object(int generation, void (*each)(void *context, fh_object *object), void *context) {
  struct fh__chunk *chunk;
  for (FH__EACH_CHUNK(chunk)) {
    if (!chunk || (generation >= 0 && (uint32_t)generation != fh__chunk_generation(chunk))) continue;
    for (uint32_t at = 0; at < chunk->bump; at++) {
      uint64_t entry = FH__LOAD(&chunk->entries[at], RELAXED);
      if (fh__entry_is_object(entry) && !fh__has_flag(fh__entry_object(entry), FH__FLAG_GARBAGE)) each(context, fh__entry_object(entry));
    }
  }
}

static void add(void *found, fh_object *object) { fh__found_add(found, object); }

void fh__find_objects(struct fh__found *found, int generation) {
  stop(found->me);
  each_object(generation, add, found);
  fh__world_resume(found->me);
}

struct referring {
  struct fh__found *found;
  fh_object *const *sorted;
  size_t count;
  bool refers; /* the object that is being looked at */
};

static bool is_among(const struct referring *referring, const fh_object *object) {
  size_t from = 0, to = referring->count;
  while (from < to) {
    size_t middle = from + (to - from) / 2;
    if (referring->sorted[middle] == object) return true;
    if ((uintptr_t)referring->sorted[middle] < (uintptr_t)object)
      from = middle + 1;
    else
      to = middle;
  }
  return false;
}

static void compare_cell(void *context, fh__cell *cell) {
  struct referring *referring = context;
  const fh_object *child = fh__cell_load(cell);
  if (child && !referring->refers) referring->refers = is_among(referring, child);
}

static void add_if_it_refers(void *context, fh_object *object) {
  struct referring *referring = context;
  referring->refers = false;
  fh__cells_each(fh__type_of(object), object, compare_cell, referring);
  if (referring->refers) fh__found_add(referring->found, object);
}

void fh__find_referrers(struct fh__found *found, fh_object *const *sorted, size_t count) {
  struct referring referring = {found, sorted, count, false};
  stop(found->me);
  each_object(-1, add_if_it_refers, &referring);
  fh__world_resume(found->me);
}

static void add_cell(void *found, fh__cell *cell) {
  fh_object *child = fh__cell_load(cell);
  if (child) fh__found_add(found, child);
}

void fh__find_referents(struct fh__found *found, fh_object *object) {
  stop(found->me);
  fh__cells_each(fh__type_of(object), object, add_cell, found);
  fh__world_resume(found->me);
}
