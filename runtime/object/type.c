/* SPDX-License-Identifier: MIT */
/* Registration. A spec is known by its address: the same address with the same contents gives the same type. One lock
 * orders all writers; it is held for a few hundred nanoseconds and never while application code runs. Types come from the
 * system's malloc: they are registered in any state of a thread, also where somebody else may be tidying its heap. */
#include "object/type.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/trap.h"

enum { SIZE_MIN = sizeof(fh_object), SIZE_LIMIT = 1 << 30 };

struct fh_type *fh__types[FH__TYPES_MAX + 1];

static struct {
  pthread_mutex_t lock;
  uint32_t limit;  /* indices below it were used */
  fh_type **table; /* open addressing by the spec's address, a power of two */
  uint32_t capacity;
  uint32_t used; /* tombstones included */
  bool born_shared;
  fh_type *removed;
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

static fh_type removed; /* tombstone in the table */

/* ---- checking a spec ---- */

/* Says what is wrong with a spec: a trap in checked builds, a status in others. */
static fh_status refuse(fh_status status, const fh_type_spec *spec, const char *what, size_t field) {
  if (FH__CHECKED)
    fh__trap("freehold: fh_type_register: type \"%s\" (spec %p): %s (reference %zu)", spec->name ? spec->name : "?",
             (const void *)spec, what, field);
  return status;
}

/* Counts the cells of a list of references within `size` bytes; -1 if one lies outside, or two overlap. */
static int64_t count_cells(const fh_ref *refs, size_t first, size_t size, size_t *bad_out) {
  int64_t cells = 0;
  for (size_t i = 0; refs && refs[i].kind != FH__REF_END; i++) {
    const fh_ref *ref = &refs[i];
    size_t end = (size_t)ref->offset + (size_t)ref->count * sizeof(void *);
    *bad_out = i;
    if (ref->kind > FH__REF_SLOT || ref->count == 0 || ref->offset % sizeof(void *) || ref->offset < first || end > size)
      return -1;
    for (size_t j = 0; j < i; j++)
      if (ref->offset < refs[j].offset + refs[j].count * sizeof(void *) && refs[j].offset < end) return -1;
    cells += ref->count;
  }
  return cells;
}

static fh_status check_spec(const fh_type_spec *spec) {
  if (!spec) return FH_EINVAL;
  size_t bad = 0;
  if (!spec->name || !spec->name[0]) return refuse(FH_EINVAL, spec, "it has no name", 0);
  if (spec->size < SIZE_MIN || spec->size > SIZE_LIMIT) return refuse(FH_EINVAL, spec, "its size is out of range", 0);
  if (spec->item_size > SIZE_LIMIT) return refuse(FH_EINVAL, spec, "its item size is out of range", 0);
  if (spec->count_at && (spec->count_at < SIZE_MIN || spec->count_at % sizeof(size_t) || spec->count_at + sizeof(size_t) > spec->size))
    return refuse(FH_EINVAL, spec, "count_at lies outside the object", 0);
  if (spec->item_refs && (!spec->item_size || !spec->count_at || spec->size % sizeof(void *) || spec->item_size % sizeof(void *)))
    return refuse(FH_EINVAL, spec, "item references need item_size, count_at and aligned sizes", 0);
  if (spec->flags >= FH_LOCKED << 1) return refuse(FH_EINVAL, spec, "unknown flags", 0);
  if (count_cells(spec->refs, SIZE_MIN, spec->size, &bad) < 0)
    return refuse(FH_EINVAL, spec, "a reference lies outside the object, on its header or on another one", bad);
  if (count_cells(spec->item_refs, 0, spec->item_size, &bad) < 0)
    return refuse(FH_EINVAL, spec, "an item's reference lies outside the item or on another one", bad);
  return FH_OK;
}

/* ---- building ---- */

static bool flatten(const fh_ref *refs, uint32_t **cells_out, uint32_t *count_out) {
  size_t unused;
  int64_t count = count_cells(refs, 0, SIZE_MAX, &unused);
  *count_out = (uint32_t)count;
  *cells_out = NULL;
  if (count == 0) return true;
  uint32_t *cells = malloc((size_t)count * sizeof *cells);
  if (!cells) return false;
  uint32_t n = 0;
  for (size_t i = 0; refs[i].kind != FH__REF_END; i++)
    for (uint32_t j = 0; j < refs[i].count; j++) cells[n++] = refs[i].offset + j * (uint32_t)sizeof(void *);
  *cells_out = cells;
  return true;
}

static void free_type(fh_type *type) {
  free(type->cells);
  free(type->item_cells);
  free(type->name);
  free(type);
}

static fh_type *make_type(const fh_type_spec *spec) {
  fh_type *type = calloc(1, sizeof *type);
  if (!type) return NULL;
  size_t name_bytes = strlen(spec->name) + 1;
  type->name = malloc(name_bytes);
  if (!type->name || !flatten(spec->refs, &type->cells, &type->cell_count) ||
      !flatten(spec->item_refs, &type->item_cells, &type->item_cell_count)) {
    free_type(type);
    return NULL;
  }
  memcpy(type->name, spec->name, name_bytes);
  type->has_cells = type->cell_count || type->item_cell_count || spec->traverse;
  type->tracked = type->has_cells && !(spec->flags & FH_ACYCLIC);
  type->plain = !spec->item_size && !spec->traverse && !spec->finalize && !spec->dealloc && type->cell_count <= 2;
  type->size = (uint32_t)spec->size;
  type->alloc_size = (uint32_t)((spec->size + 15) & ~(size_t)15);
  type->usable = (uint32_t)fh__backend_good_size(type->alloc_size);
  type->paired = type->plain && type->has_cells;
  for (uint32_t i = 0; type->paired && i < 2; i++) type->near[i] = type->cells[i % type->cell_count];
  type->small_size = !spec->item_size && type->alloc_size <= FH__SMALL_BYTES ? type->alloc_size : 0;
  type->pool_at = fh__pool_at(type->small_size);
  type->brief = type->plain && type->small_size;
  type->item_size = (uint32_t)spec->item_size;
  type->count_at = (uint32_t)spec->count_at;
  type->flags = spec->flags;
  type->traverse = spec->traverse;
  type->finalize = spec->finalize;
  type->dealloc = spec->dealloc;
  type->spec = spec;
  type->contents = *spec;
  return type;
}

/* ---- the table of specs ---- */

static uint32_t hash_spec(const fh_type_spec *spec) {
  return (uint32_t)(((uint64_t)(uintptr_t)spec >> 3) * 0x9e3779b97f4a7c15u >> 32);
}

static fh_type **find_place(fh_type **table, uint32_t capacity, const fh_type_spec *spec) {
  uint32_t at = hash_spec(spec) & (capacity - 1);
  while (table[at] && table[at]->spec != spec) at = (at + 1) & (capacity - 1);
  return &table[at];
}

static bool grow_table(void) {
  uint32_t live = 0;
  for (uint32_t i = 0; i < registry.capacity; i++) live += registry.table[i] && registry.table[i] != &removed;
  uint32_t capacity = 64;
  while (capacity < 4 * (live + 1)) capacity *= 2;
  fh_type **table = calloc(capacity, sizeof *table);
  if (!table) return false;
  for (uint32_t i = 0; i < registry.capacity; i++) {
    fh_type *type = registry.table[i];
    if (type && type != &removed) *find_place(table, capacity, type->spec) = type;
  }
  free(registry.table);
  registry.table = table;
  registry.capacity = capacity;
  registry.used = live;
  return true;
}

static uint32_t free_index(void) {
  if (registry.limit < FH__TYPES_MAX) return registry.limit + 1;
  for (uint32_t i = 1; i <= FH__TYPES_MAX; i++)
    if (!fh__types[i]) return i;
  return 0;
}

static bool same_contents(const fh_type *type, const fh_type_spec *spec) {
  const fh_type_spec *old = &type->contents;
  return old->size == spec->size && old->item_size == spec->item_size && old->count_at == spec->count_at &&
         old->flags == spec->flags && old->refs == spec->refs && old->item_refs == spec->item_refs &&
         old->traverse == spec->traverse && old->finalize == spec->finalize && old->dealloc == spec->dealloc &&
         old->hash == spec->hash && old->equal == spec->equal && old->describe == spec->describe &&
         strcmp(type->name, spec->name) == 0;
}

static uint32_t birth_word(const fh_type_spec *spec) {
  if (registry.born_shared) return FH__MERGED | FH__ONE;
  return spec->flags & FH_PUBLISHED ? 0 : FH__PRIVATE;
}

static fh_status register_locked(const fh_type_spec *spec, fh_type **type_out) {
  if (registry.used * 2 >= registry.capacity && !grow_table()) return FH_ENOMEM;
  fh_type **place = find_place(registry.table, registry.capacity, spec);
  if (*place) {
    if (!same_contents(*place, spec)) return refuse(FH_EEXIST, spec, "it was registered with other contents", 0);
    *type_out = *place;
    return FH_OK;
  }
  uint32_t index = free_index();
  if (!index) return FH_ELIMIT;
  fh_type *type = make_type(spec);
  if (!type) return FH_ENOMEM;
  type->index = (uint16_t)index;
  type->census_page = (uint16_t)(index / FH__CENSUS_PAGE);
  type->census_at = (uint16_t)(index % FH__CENSUS_PAGE);
  type->birth = fh__header_birth(index, birth_word(spec));
  if (index > registry.limit) registry.limit = index;
  *place = type;
  registry.used++;
  /* Release: partner is whatever handed the type to another thread; statistics read the table with acquire. */
  FH__STORE_(&fh__types[index], type, RELEASE);
  *type_out = type;
  return FH_OK;
}

fh_status fh__type_register(const fh_type_spec *spec, fh_type **type_out) {
  if (!type_out) return FH_EINVAL;
  fh_status status = check_spec(spec);
  if (status) return status;
  pthread_mutex_lock(&registry.lock);
  status = register_locked(spec, type_out);
  pthread_mutex_unlock(&registry.lock);
  return status;
}

void fh__types_start(bool born_shared) { registry.born_shared = born_shared; }

void fh__type_remove(fh_type *type) {
  pthread_mutex_lock(&registry.lock);
  *find_place(registry.table, registry.capacity, type->spec) = &removed;
  FH__STORE_(&fh__types[type->index], NULL, RELEASE);
  type->next_removed = registry.removed;
  registry.removed = type;
  pthread_mutex_unlock(&registry.lock);
}

void fh__types_finish(void) {
  pthread_mutex_lock(&registry.lock);
  for (uint32_t i = 1; i <= registry.limit; i++)
    if (fh__types[i]) {
      fh_type *type = fh__types[i];
      FH__STORE_(&fh__types[i], NULL, RELAXED); /* first: fh_dump takes no lock */
      free_type(type);
    }
  while (registry.removed) {
    fh_type *type = registry.removed;
    registry.removed = type->next_removed;
    free_type(type);
  }
  free(registry.table);
  registry.table = NULL;
  registry.capacity = registry.used = registry.limit = 0;
  pthread_mutex_unlock(&registry.lock);
}

void fh__types_lock(void) { pthread_mutex_lock(&registry.lock); }
void fh__types_unlock(void) { pthread_mutex_unlock(&registry.lock); }
