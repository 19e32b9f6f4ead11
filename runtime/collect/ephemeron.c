/* SPDX-License-Identifier: MIT */
#include "collect/ephemeron.h"

#include "ref/weakmap.h"

static bool is_dead(const fh_object *object) { return fh__is_dead_count(FH__LOAD(&object->fh__shared, RELAXED)); }

/* What died in this very stop (its queue was merged) waits for its mutator and is out of the collector's sight; its slot word is a
 * link. Its entries are still there, and go when it is destroyed: until then it is as good as alive. */
static bool is_alive(const struct fh__scan *scan, const fh_object *object) {
  uint32_t slot = object->fh__slot;
  if (is_dead(object) || !fh__scan_covers(scan, slot)) return true;
  return scan->refs[slot] == FH__SCAN_MARKED || (scan->gathered && scan->refs[slot] == 0);
}

/* ---- keys ---- */

static bool has_value(const struct fh__weak_block *block) {
  const struct fh__weak_entry *entry = block->entries;
  while (entry && !entry->value) entry = entry->next;
  return entry;
}

static void track_key(void *context, const struct fh__weak_block *block) {
  struct fh__mutator *me = context;
  fh_object *key = block->target;
  bool due;
  if (key->fh__slot || is_dead(key) || !has_value(block)) return;
  if (!fh__track_add(&me->track, key) && !fh__track_add_slow(&me->track, key, &due)) FH__STORE_(&fh__weakmap_got_untracked, true, RELAXED);
}

void fh__ephemerons_track_keys(struct fh__mutator *me) {
  if (FH__LIKELY(!FH__LOAD(&fh__weakmap_got_untracked, RELAXED))) return;
  FH__STORE_(&fh__weakmap_got_untracked, false, RELAXED);
  fh__weak_each(track_key, me);
}

/* ---- by the key ---- */

/* Sets and weak-value maps have no values here. */
static struct fh__weak_entry *entries_of(const fh_object *key) {
  return FH__UNLIKELY(FH__LOAD(&key->fh__shared, RELAXED) & FH__WEAK) ? fh__weak_entries_of(key) : NULL;
}

static void mark_values_of(struct fh__scan *scan, const fh_object *key) {
  for (struct fh__weak_entry *entry = entries_of(key); entry; entry = entry->next) {
    scan->pairs++;
    if (entry->value && is_alive(scan, entry->map)) fh__scan_keep_cell(scan, (fh__cell *)&entry->value);
  }
}

void fh__ephemerons_each_map(const fh_object *key, fh__ephemerons_map_function *each, void *context) {
  for (struct fh__weak_entry *entry = entries_of(key); entry; entry = entry->next)
    if (entry->value && !is_dead(entry->map)) each(context, entry->map);
}

/* ---- by the map ---- */

/* A pair whose key is lost waits to be taken out; until then its reference is one like any other. */
static void mark_pair(void *context, const fh_object *key, fh_object **value) {
  struct fh__scan *scan = context;
  scan->pairs++;
  if (!key || is_alive(scan, key)) fh__scan_keep_cell(scan, (fh__cell *)value);
}

static fh_object *pop_map(void) {
  struct fh__ephemeron_map *map = fh__ephemerons_reached;
  if (!map) return NULL;
  fh__ephemerons_reached = map->next;
  return &map->fh;
}

static void mark_stack(struct fh__scan *scan) {
  while (scan->depth) {
    fh_object *object = scan->stack[--scan->depth];
    fh__cells_each_strong(fh__type_of(object), object, fh__scan_keep_cell, scan);
    mark_values_of(scan, object);
  }
}

void fh__ephemerons_mark(struct fh__scan *scan) {
  fh_object *map;
  mark_stack(scan);
  while ((map = pop_map())) {
    fh__type_of(map)->ephemerons(map, mark_pair, scan);
    mark_stack(scan);
  }
}
