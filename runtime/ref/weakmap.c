/* SPDX-License-Identifier: MIT */
/* Who may do what to an entry:
 *
 *   linked   in its block's list and in its map's table. Whoever holds the map's lock may take it out: leaves the block (shard's
 *            lock), then the table. From then on it and its value are the taker's alone.
 *   lost     its object died by count, and its finder (fh__weak_clear, under the shard's lock) took it off the block's list into a
 *            list of its own, with a reference to the map. Others find it in the table, see that its object is NULL and leave it:
 *            fh__weak_exit says no. The finder takes it out under the map's lock, at once, before its next safepoint.
 *   left     the same, but the map's count was zero, or it is garbage: the finder left it there. Its map's dealloc frees it; or, if a
 *            finalizer resurrected the map, fh__weakmap_rescued.
 *
 * So at a stop there are no lost entries (but those of a thread that ended inside a dealloc). When the stop finds an object to be
 * garbage, its entries are lost to the collecting mutator, which takes them out right there: nobody is inside any lock. */
#include "ref/weakmap.h"

#include <string.h>

#include "base/trap.h"
#include "ref/count.h"

/* ---- the table ---- */

enum { GROWTH = 4, EMPTY = 16 }; /* as the table of blocks */

static const uint64_t odd = 0x9e3779b97f4a7c15u;

static uint32_t hash_object(const fh_object *object) { return (uint32_t)(((uint64_t)(uintptr_t)object >> 4) * odd >> 32); }

static uint32_t hash_bytes(struct fh__weakmap_key key) {
  uint64_t hash = key.size * odd, word = 0;
  const char *at = key.bytes;
  size_t left = key.size;
  for (; left >= sizeof word; left -= sizeof word, at += sizeof word) {
    memcpy(&word, at, sizeof word);
    hash = (hash ^ word) * odd;
    hash ^= hash >> 29;
  }
  word = 0;
  if (left) memcpy(&word, at, left);
  hash = (hash ^ word) * odd;
  return (uint32_t)(hash >> 32);
}

static struct fh__weak_entry **bucket_of(const struct fh__weakmap *map, uint32_t hash) { return &map->bucket[hash & (map->capacity - 1)]; }

static void chain(struct fh__weakmap *map, struct fh__weak_entry *entry) {
  struct fh__weak_entry **bucket = bucket_of(map, entry->hash);
  entry->chain = *bucket;
  *bucket = entry;
}

static void resize(struct fh__weakmap *map, size_t capacity) {
  struct fh__weak_entry **old = map->bucket;
  struct fh__weak_entry **bucket = fh__backend_alloc_zeroed(capacity * sizeof(struct fh__weak_entry *));
  if (!bucket) return;
  size_t old_capacity = map->capacity;
  map->bucket = bucket;
  map->capacity = capacity;
  struct fh__weak_entry *next;
  for (size_t i = 0; i < old_capacity; i++)
    for (struct fh__weak_entry *entry = old[i]; entry; entry = next) {
      next = entry->chain;
      chain(map, entry);
    }
  if (old != &map->own_bucket) fh__backend_free(old);
}

static void unchain(struct fh__weakmap *map, struct fh__weak_entry *entry) {
  struct fh__weak_entry **place = bucket_of(map, entry->hash);
  while (*place != entry) place = &(*place)->chain;
  *place = entry->chain;
  entry->in_table = false;
  FH__BUMP(&map->count, (size_t)-1);
}

static void shrink(struct fh__weakmap *map) {
  if (map->capacity > EMPTY && map->count < map->capacity / EMPTY) resize(map, map->capacity / GROWTH);
}

/* NULL: no memory, and nothing changed. */
static struct fh__weak_entry *insert(struct fh__weakmap *map, fh_object *object, uint32_t hash, struct fh__weakmap_key key) {
  size_t bytes;
  if (__builtin_add_overflow(sizeof(struct fh__weak_entry), key.size, &bytes) || bytes > PTRDIFF_MAX) return NULL;
  struct fh__weak_entry *entry = fh__backend_alloc(bytes);
  if (!entry) return NULL;
  *entry = (struct fh__weak_entry){.map = &map->head.fh, .hash = hash, .in_table = true, .size = key.size};
  if (key.size) memcpy(entry->bytes, key.bytes, key.size);
  if (!fh__weak_enter(entry, object)) {
    fh__backend_free(entry);
    return NULL;
  }
  if (map->count >= map->capacity) resize(map, GROWTH * map->capacity);
  chain(map, entry);
  FH__BUMP(&map->count, 1);
  return entry;
}

static struct fh__weak_entry *find_object(const struct fh__weakmap *map, const fh_object *object) {
  struct fh__weak_entry *entry = *bucket_of(map, hash_object(object));
  while (entry && FH__LOAD(&entry->object, RELAXED) != object) entry = entry->chain; /* the caller holds it: it is not being lost */
  return entry;
}

static bool is_keyed(const struct fh__weak_entry *entry, uint32_t hash, struct fh__weakmap_key key) {
  if (entry->hash != hash || entry->size != key.size || !FH__LOAD(&entry->object, RELAXED)) return false;
  return key.size == 0 || memcmp(entry->bytes, key.bytes, key.size) == 0;
}

static struct fh__weak_entry *find_bytes(const struct fh__weakmap *map, uint32_t hash, struct fh__weakmap_key key) {
  struct fh__weak_entry *entry = *bucket_of(map, hash);
  while (entry && !is_keyed(entry, hash, key)) entry = entry->chain;
  return entry;
}

/* False: it was lost meanwhile, and its finder takes it out. */
static bool take_out(struct fh__weakmap *map, struct fh__weak_entry *entry) {
  if (!fh__weak_exit(entry)) return false;
  unchain(map, entry);
  shrink(map);
  return true;
}

/* ---- the object, from births to deaths ---- */

void fh__weakmap_init(struct fh__weakmap *map) {
  map->lock = (struct fh__mutex)FH__MUTEX(FH__RANK_MAP);
  map->bucket = &map->own_bucket;
  map->capacity = 1;
}

void fh__weakmap_traverse(void *object, fh_visitor *visitor) {
  struct fh__weakmap *map = object;
  for (size_t i = 0; i < map->capacity; i++)
    for (struct fh__weak_entry *entry = map->bucket[i]; entry; entry = entry->chain)
      if (entry->value) fh_visit(visitor, &entry->value);
}

void fh__weakmap_ephemerons(fh_object *object, fh__pair_function *each, void *context) {
  struct fh__weakmap *map = (struct fh__weakmap *)(void *)object;
  for (size_t i = 0; i < map->capacity; i++)
    for (struct fh__weak_entry *entry = map->bucket[i]; entry; entry = entry->chain)
      if (entry->value) each(context, FH__LOAD(&entry->object, RELAXED), &entry->value);
}

/* Nobody has a reference to the map, so no finder holds it, and none will. The values are gone: its cells were cleared. */
void fh__weakmap_dealloc(void *object) {
  struct fh__weakmap *map = object;
  struct fh__weak_entry *next;
  for (size_t i = 0; i < map->capacity; i++)
    for (struct fh__weak_entry *entry = map->bucket[i]; entry; entry = next) {
      next = entry->chain;
      fh__weak_exit(entry);
      fh__backend_free(entry);
    }
  if (map->bucket != &map->own_bucket) fh__backend_free(map->bucket);
}

/* ---- lost entries ---- */

static void push(struct fh__mutator *me, struct fh__weak_entry *entry) {
  entry->next = me->lost_entries;
  me->lost_entries = entry;
}

static void take_out_lost(struct fh__weak_entry *entry) {
  struct fh__weakmap *map = (struct fh__weakmap *)(void *)entry->map;
  fh__mutex_lock(&map->lock);
  unchain(map, entry);
  shrink(map);
  fh__mutex_unlock(&map->lock);
}

/* A value that dies may be the key of others: those come to the list, and the loop goes on, whatever the depth. A dealloc may
 * end the thread, so what is still to be done is in the list at each moment. */
void fh__weakmap_drop_lost(struct fh__mutator *me) {
  if (me->losing) return;
  me->losing = true;
  struct fh__weak_entry *entry;
  while ((entry = me->lost_entries)) {
    if (entry->in_table) take_out_lost(entry);
    fh_object *value = entry->value;
    if (value) {
      entry->value = NULL;
      fh__release(value);
      continue; /* others may stand before it now */
    }
    me->lost_entries = entry->next;
    fh_object *map = entry->held ? entry->map : NULL;
    entry->held = false;
    if (entry->block) fh__weak_exit(entry);
    fh__backend_free(entry);
    if (map) fh__release(map);
  }
  me->losing = false;
}

/* What garbage becomes of is decided by its own list, whatever its count says; unless it is CROSS. Such a value has the list's count,
 * so taking one away here never destroys it. */
static bool dies_by_its_list(const fh_object *value) {
  return (FH__LOAD(&value->fh__flags, RELAXED) & (FH__FLAG_GARBAGE | FH__FLAG_CROSS)) == FH__FLAG_GARBAGE;
}

void fh__weakmap_take_out_lost_stopped(struct fh__mutator *me) {
  for (struct fh__weak_entry *entry = me->lost_entries; entry; entry = entry->next) {
    fh_object *value = entry->value;
    if (entry->in_table) unchain((struct fh__weakmap *)(void *)entry->map, entry);
    if (!value || !dies_by_its_list(value)) continue;
    entry->value = NULL;
    FH__STORE_(&value->fh__shared, FH__LOAD(&value->fh__shared, RELAXED) - FH__ONE, RELAXED); /* the world is stopped */
  }
}

/* Takes out all entries, or those of the dead. */
static void empty(struct fh__mutator *me, struct fh__weakmap *map, bool all) {
  struct fh__weak_entry *next;
  fh__mutex_lock(&map->lock);
  for (size_t i = 0; i < map->capacity; i++)
    for (struct fh__weak_entry *entry = map->bucket[i]; entry; entry = next) {
      next = entry->chain;
      if ((!all && FH__LOAD(&entry->object, RELAXED)) || !fh__weak_exit(entry)) continue;
      unchain(map, entry);
      push(me, entry);
    }
  shrink(map);
  fh__mutex_unlock(&map->lock);
  fh__weakmap_drop_lost(me);
}

void fh__weakmap_clear(struct fh__mutator *me, struct fh__weakmap *map) { empty(me, map, true); }

void fh__weakmap_rescued(struct fh__mutator *me, struct fh__weakmap *map) { empty(me, map, false); }

/* ---- by object ---- */

bool fh__weakmap_got_untracked;

fh_status fh__weakmap_set(struct fh__weakmap *map, fh_object *key, fh_object *value) {
  fh_object *old = value;
  fh__retain(value);
  fh__mutex_lock(&map->lock);
  struct fh__weak_entry *entry = find_object(map, key);
  bool found = entry != NULL;
  if (!found) entry = insert(map, key, hash_object(key), (struct fh__weakmap_key){NULL, 0});
  if (entry) {
    old = entry->value;
    entry->value = value;
    /* The slot changes in stops only. So does this: whoever clears it sees the entry. */
    if (FH__UNLIKELY(!FH__LOAD(&key->fh__slot, RELAXED))) FH__STORE_(&fh__weakmap_got_untracked, true, RELAXED);
  }
  fh__mutex_unlock(&map->lock);
  if (old) fh__release(old);
  return entry ? FH_OK : FH_ENOMEM;
}

fh_status fh__weakmap_add(struct fh__weakmap *map, fh_object *object) {
  fh__mutex_lock(&map->lock);
  fh_status status = FH_EEXIST;
  if (!find_object(map, object)) status = insert(map, object, hash_object(object), (struct fh__weakmap_key){NULL, 0}) ? FH_OK : FH_ENOMEM;
  fh__mutex_unlock(&map->lock);
  return status;
}

bool fh__weakmap_has(struct fh__weakmap *map, const fh_object *object) {
  fh__mutex_lock(&map->lock);
  bool has = find_object(map, object) != NULL;
  fh__mutex_unlock(&map->lock);
  return has;
}

fh_object *fh__weakmap_value_of(struct fh__weakmap *map, const fh_object *key) {
  fh__mutex_lock(&map->lock);
  struct fh__weak_entry *entry = find_object(map, key);
  fh_object *value = entry ? entry->value : NULL;
  if (value) fh__retain(value);
  fh__mutex_unlock(&map->lock);
  return value;
}

bool fh__weakmap_take(struct fh__weakmap *map, const fh_object *object, fh_object **value_out) {
  fh__mutex_lock(&map->lock);
  struct fh__weak_entry *entry = find_object(map, object);
  bool taken = entry && take_out(map, entry);
  fh__mutex_unlock(&map->lock);
  if (!taken) return false;
  *value_out = entry->value;
  fh__backend_free(entry);
  return true;
}

/* ---- upgrades ---- */

/* Under the lock. As fh_weak_get: its memory is there, because what has entries at its death waits for a grace period, and entries
 * of garbage are out of the table before the world resumes. NULL: it is dead. *lost_out: its finalizer runs, or has resurrected it;
 * the reference is to be released when the lock is given up. That can be only in a map that is garbage and that a finalizer shows to
 * others: from any other one the finder takes the entry out first, under the lock. */
static fh_object *upgrade(struct fh__mutator *me, const struct fh__weak_entry *entry, bool *lost_out) {
  fh_object *object = FH__LOAD(&entry->object, RELAXED);
  if (!object || !fh__try_retain(me, object)) return NULL;
  *lost_out = FH__LOAD(&entry->object, RELAXED) != object;
  return object;
}

/* ---- by bytes ---- */

static fh_object *find_locked(struct fh__mutator *me, struct fh__weakmap *map, uint32_t hash, struct fh__weakmap_key key, bool *lost_out) {
  const struct fh__weak_entry *entry = find_bytes(map, hash, key);
  return entry ? upgrade(me, entry, lost_out) : NULL;
}

fh_object *fh__weakmap_find(struct fh__mutator *me, struct fh__weakmap *map, struct fh__weakmap_key key) {
  bool lost = false;
  uint32_t hash = hash_bytes(key);
  fh__mutex_lock(&map->lock);
  fh_object *found = find_locked(me, map, hash, key, &lost);
  fh__mutex_unlock(&map->lock);
  if (!lost) return found;
  fh__release(found);
  return NULL;
}

/* What stands for the key already is taken out after the new entry is in, which may fail. */
static bool replace(struct fh__weakmap *map, uint32_t hash, struct fh__weakmap_key key, fh_object *object, struct fh__weak_entry **old_out) {
  struct fh__weak_entry *old = find_bytes(map, hash, key);
  if (!insert(map, object, hash, key)) return false;
  if (old && take_out(map, old)) *old_out = old;
  return true;
}

fh_object *fh__weakmap_put(struct fh__mutator *me, struct fh__weakmap *map, struct fh__weakmap_key key, fh_object *object, bool keep) {
  bool lost = false, put = false;
  struct fh__weak_entry *old = NULL;
  uint32_t hash = hash_bytes(key);
  fh__mutex_lock(&map->lock);
  fh_object *found = keep ? find_locked(me, map, hash, key, &lost) : NULL;
  if (!found || lost) put = replace(map, hash, key, object, &old);
  fh__mutex_unlock(&map->lock);
  if (old) fh__backend_free(old);
  if (found && !lost) return found;
  if (lost) fh__release(found);
  return put ? fh_retain(object) : NULL;
}

bool fh__weakmap_remove(struct fh__weakmap *map, struct fh__weakmap_key key) {
  uint32_t hash = hash_bytes(key);
  fh__mutex_lock(&map->lock);
  struct fh__weak_entry *entry = find_bytes(map, hash, key);
  bool taken = entry && take_out(map, entry);
  fh__mutex_unlock(&map->lock);
  if (taken) fh__backend_free(entry);
  return taken;
}

/* ---- snapshots ---- */

static FH__COLD size_t bytes_in(const struct fh__weakmap *map) {
  size_t bytes = 0;
  for (size_t i = 0; i < map->capacity; i++)
    for (const struct fh__weak_entry *entry = map->bucket[i]; entry; entry = entry->chain) bytes += entry->size;
  return bytes;
}

static void note(struct fh__mutator *me, struct fh__weakmap_snapshot *snapshot, const struct fh__weak_entry *entry, char **bytes) {
  struct fh__weakmap_item *item = &snapshot->item[snapshot->count];
  *item = (struct fh__weakmap_item){.bytes = *bytes, .size = entry->size};
  item->object = upgrade(me, entry, &item->lost);
  if (!item->object) return;
  if (entry->value) item->value = fh_retain(entry->value);
  if (entry->size) memcpy(*bytes, entry->bytes, entry->size);
  *bytes += entry->size;
  snapshot->count++;
}

static struct fh__weakmap_snapshot *look_locked(struct fh__mutator *me, const struct fh__weakmap *map) {
  size_t items = map->count * sizeof(struct fh__weakmap_item);
  struct fh__weakmap_snapshot *snapshot = fh__backend_alloc(sizeof *snapshot + items + bytes_in(map));
  if (!snapshot) return NULL;
  char *bytes = (char *)snapshot->item + items;
  snapshot->count = 0;
  for (size_t i = 0; i < map->capacity; i++)
    for (const struct fh__weak_entry *entry = map->bucket[i]; entry; entry = entry->chain) note(me, snapshot, entry, &bytes);
  return snapshot;
}

struct fh__weakmap_snapshot *fh__weakmap_look(struct fh__mutator *me, struct fh__weakmap *map) {
  fh__mutex_lock(&map->lock);
  struct fh__weakmap_snapshot *snapshot = look_locked(me, map);
  fh__mutex_unlock(&map->lock);
  return snapshot;
}

void fh__weakmap_forget(struct fh__weakmap_snapshot *snapshot) {
  for (size_t i = 0; i < snapshot->count; i++) {
    if (snapshot->item[i].value) fh__release(snapshot->item[i].value);
    fh__release(snapshot->item[i].object);
  }
  fh__backend_free(snapshot);
}
