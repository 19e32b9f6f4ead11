/* SPDX-License-Identifier: MIT */
#include "ref/weak.h"

#include "base/trap.h"
#include "ref/count.h"
#include "ref/destroy.h"
#include "ref/pending.h"

/* ---- the table ----
 *
 * Blocks are chained in their bucket, so taking one out needs no memory. A table that finds none to grow or to shrink stays what
 * it is. It begins with one bucket, which is the shard's own. */

enum { GROWTH = 4, EMPTY = 16 }; /* it shrinks by GROWTH when one bucket in EMPTY would be enough; not below EMPTY buckets */

struct shard {
  _Alignas(64) struct fh__mutex lock;
  struct fh__weak_block **bucket;
  size_t capacity; /* a power of two */
  size_t count;
  struct fh__weak_block *own_bucket;
};
static struct shard shards[FH__WEAK_SHARDS];

static uint64_t hash(const fh_object *object) { return ((uint64_t)(uintptr_t)object >> 4) * 0x9e3779b97f4a7c15u; }

static uint32_t shard_of(const fh_object *object) { return (uint32_t)(hash(object) >> 32) % FH__WEAK_SHARDS; }

/* Other bits than those that chose the shard. */
static struct fh__weak_block **bucket_of(const struct shard *shard, const fh_object *object) {
  return &shard->bucket[(hash(object) >> 40) & (shard->capacity - 1)];
}

static void insert(struct shard *shard, struct fh__weak_block *block) {
  struct fh__weak_block **bucket = bucket_of(shard, block->target);
  block->next = *bucket;
  *bucket = block;
}

static void resize(struct shard *shard, size_t capacity) {
  struct fh__weak_block **old = shard->bucket;
  struct fh__weak_block **bucket = fh__backend_alloc_zeroed(capacity * sizeof(struct fh__weak_block *));
  if (!bucket) return;
  size_t old_capacity = shard->capacity;
  shard->bucket = bucket;
  shard->capacity = capacity;
  struct fh__weak_block *next;
  for (size_t i = 0; i < old_capacity; i++)
    for (struct fh__weak_block *block = old[i]; block; block = next) {
      next = block->next;
      insert(shard, block);
    }
  if (old_capacity > 1) fh__backend_free(old);
}

/* What leads to the object's block, or to the NULL at the end of its chain. */
static struct fh__weak_block **find(const struct shard *shard, const fh_object *object) {
  struct fh__weak_block **place = bucket_of(shard, object);
  while (*place && FH__LOAD(&(*place)->target, RELAXED) != object) place = &(*place)->next;
  return place;
}

static struct fh__weak_block *add(struct shard *shard, fh_object *target) {
  struct fh__weak_block *block = fh__backend_alloc(sizeof *block);
  if (!block) return NULL;
  *block = (struct fh__weak_block){.target = target, .shard = shard_of(target)};
  if (shard->count >= shard->capacity) resize(shard, GROWTH * shard->capacity);
  insert(shard, block);
  shard->count++;
  return block;
}

static void take_out(struct shard *shard, struct fh__weak_block **place) {
  *place = (*place)->next;
  shard->count--;
  if (shard->capacity > EMPTY && shard->count < shard->capacity / EMPTY) resize(shard, shard->capacity / GROWTH);
}

/* ---- a block's list of weak references with callbacks ---- */

static void link_callback(struct fh__weak_block *block, fh_weak *weak) {
  weak->next = block->first;
  weak->link = &block->first;
  if (weak->next) weak->next->link = &weak->next;
  block->first = weak;
}

static void unlink_callback(fh_weak *weak) {
  *weak->link = weak->next;
  if (weak->next) weak->next->link = weak->link;
  weak->link = NULL;
}

/* ---- a block's list of entries ---- */

static void link_entry(struct fh__weak_block *block, struct fh__weak_entry *entry) {
  entry->block = block;
  entry->next = block->entries;
  entry->link = &block->entries;
  if (entry->next) entry->next->link = &entry->next;
  block->entries = entry;
}

static void unlink_entry(struct fh__weak_entry *entry) {
  *entry->link = entry->next;
  if (entry->next) entry->next->link = entry->link;
  entry->link = NULL;
}

/* ---- weak references come and go ---- */

static struct fh__weak_block *join(struct shard *shard, fh_object *target) {
  struct fh__weak_block *block = *find(shard, target);
  if (!block) block = add(shard, target);
  if (block) block->count++;
  return block;
}

struct fh__weak_block *fh__weak_join(fh_object *target) {
  struct shard *shard = &shards[shard_of(target)];
  fh__mutex_lock(&shard->lock);
  struct fh__weak_block *block = join(shard, target);
  fh__mutex_unlock(&shard->lock);
  return block;
}

void fh__weak_listen(fh_weak *weak) {
  struct shard *shard = &shards[weak->block->shard];
  fh__mutex_lock(&shard->lock);
  link_callback(weak->block, weak);
  fh__mutex_unlock(&shard->lock);
}

void fh__weak_unlisten(fh_weak *weak) {
  struct shard *shard = &shards[weak->block->shard];
  fh__mutex_lock(&shard->lock);
  if (weak->link) unlink_callback(weak);
  fh__mutex_unlock(&shard->lock);
}

/* The last weak reference to an object that lives: nobody can be making another one just now, that would need the lock. A release
 * of the object's last reference that saw the bit finds no block, and that is all. */
static void forget(struct shard *shard, fh_object *target) {
  take_out(shard, find(shard, target));
  FH__AND(&target->fh__shared, ~(uint32_t)FH__WEAK, RELAXED); /* its memory is there: the block's target was not lost */
}

/* True: nobody leads to the block any more, and the caller frees it. */
static bool count_down(struct shard *shard, struct fh__weak_block *block) {
  fh_object *target = FH__LOAD(&block->target, RELAXED);
  if (--block->count) return false;
  if (target) forget(shard, target);
  return true;
}

static void leave(struct fh__weak_block *block, fh_weak *weak) {
  struct shard *shard = &shards[block->shard];
  fh__mutex_lock(&shard->lock);
  if (weak && weak->link) unlink_callback(weak);
  bool last = count_down(shard, block);
  fh__mutex_unlock(&shard->lock);
  if (last) fh__backend_free(block);
}

void fh__weak_leave(struct fh__weak_block *block) { leave(block, NULL); }

void fh__weak_dealloc(void *object) {
  fh_weak *weak = object;
  leave(weak->block, weak);
}

/* ---- entries of maps come and go ---- */

bool fh__weak_enter(struct fh__weak_entry *entry, fh_object *object) {
  struct shard *shard = &shards[shard_of(object)];
  fh__mutex_lock(&shard->lock);
  struct fh__weak_block *block = join(shard, object);
  if (block) {
    link_entry(block, entry);
    FH__STORE_(&entry->object, object, RELAXED); /* the map's lock, or the stop, brings it to others */
    FH__OR(&object->fh__shared, FH__WEAK, RELAXED);
  }
  fh__mutex_unlock(&shard->lock);
  return block != NULL;
}

bool fh__weak_exit(struct fh__weak_entry *entry) {
  struct fh__weak_block *block = entry->block;
  struct shard *shard = &shards[block->shard];
  bool last = false;
  fh__mutex_lock(&shard->lock);
  bool held = entry->held;
  if (!held) {
    if (entry->link) unlink_entry(entry);
    last = count_down(shard, block);
    entry->block = NULL;
  }
  fh__mutex_unlock(&shard->lock);
  if (last) fh__backend_free(block);
  return !held;
}

/* ---- the death of a target ---- */

/* A weak reference whose own count is zero is on its way to fh__weak_dealloc; it need not hear of anything. */
static bool keep_for_callback(struct fh__mutator *me, fh_weak *weak) {
  unlink_callback(weak);
  if (!fh__try_retain(me, &weak->fh)) return false;
  weak->next = me->weak_lost;
  me->weak_lost = weak;
  return true;
}

static void wait_for_a_thread(struct fh__mutator *me) {
  if (fh__pending_is_on()) {
    fh__pending_push_callbacks(me, me->weak_lost);
    me->weak_lost = NULL;
  } else {
    fh__attend(&me->sync, FH__ATTEND_FINALIZE);
  }
}

/* The map of a lost entry is kept until its finder has taken the entry out. But a map whose count is zero is on its way to its
 * dealloc, and garbage may be destroyed whatever its count is: either needs this shard's lock to let the entry go, so both are there
 * now, and the entry stays with them (docs/weak.md, "Lost entries"). */
static bool hold_map(struct fh__mutator *me, fh_object *map) { return !fh__has_flag(map, FH__FLAG_GARBAGE) && fh__try_retain(me, map); }

static void lose_entry(struct fh__mutator *me, struct fh__weak_entry *entry, bool stopped) {
  unlink_entry(entry);
  FH__STORE_(&entry->object, NULL, RELAXED); /* as the block's target is stored */
  if (!stopped && !hold_map(me, entry->map)) return;
  entry->held = !stopped;
  entry->next = me->lost_entries;
  me->lost_entries = entry;
}

bool fh__weak_clear(struct fh__mutator *me, fh_object *object, bool stopped) {
  struct shard *shard = &shards[shard_of(object)];
  bool callbacks = false;
  fh__mutex_lock(&shard->lock);
  struct fh__weak_block **place = find(shard, object), *block = *place;
  if (block) {
    take_out(shard, place);
    /* Relaxed: a reader's second look is ordered behind it by the count that a finalizer's object is given afterwards. */
    FH__STORE_(&block->target, NULL, RELAXED);
    while (block->first) callbacks |= keep_for_callback(me, block->first);
    while (block->entries) lose_entry(me, block->entries, stopped);
    FH__AND(&object->fh__shared, ~(uint32_t)FH__WEAK, RELAXED);
  }
  fh__mutex_unlock(&shard->lock);
  if (callbacks) wait_for_a_thread(me);
  return callbacks;
}

/* ---- callbacks ---- */

static fh_weak *pop(fh_weak **list) {
  fh_weak *weak = *list;
  if (weak) *list = weak->next;
  return weak;
}

static void push(fh_weak **list, fh_weak *weak) {
  weak->next = *list;
  *list = weak;
}

void fh__weak_end_callback(struct fh__mutator *me) {
  fh_weak *weak = me->weak_called;
  me->weak_called = NULL;
  FH__BUMP(&me->counters.weak_callbacks, 1);
  fh__release(&weak->fh);
}

static void call(struct fh__mutator *me, fh_weak *weak) {
  me->weak_called = weak;
  weak->callback(weak, weak->context);
  fh__weak_end_callback(me);
}

bool fh__weak_run_pending(struct fh__mutator *me) {
  fh_weak *weak = fh__pending_take_callback();
  if (weak) call(me, weak);
  return weak != NULL;
}

void fh__weak_run_callbacks(struct fh__mutator *me) {
  if (me->finalizing || !fh__weak_has_callbacks(me)) return;
  me->finalizing = true; /* neither finalizers nor callbacks nest in a callback */
  fh_weak *weak;
  if (!me->weak_calling) { /* in the mutator: a callback may end the thread */
    while ((weak = pop(&me->weak_lost))) push(&me->weak_calling, weak); /* in the order of death */
    fh__ref_take_finalizable(me);
  }
  while ((weak = pop(&me->weak_calling))) call(me, weak);
  /* What was lost or died meanwhile: a safepoint inside may have taken the bit. */
  if (fh__weak_has_callbacks(me) || fh__ref_has_finalizers(me)) fh__attend(&me->sync, FH__ATTEND_FINALIZE);
  me->finalizing = false;
}

/* ---- reading ---- */

void *fh_weak_get(fh_weak *weak) {
  struct fh__mutator *me = fh__self_or_trap("fh_weak_get", weak);
  if (FH__CHECKED) fh__check_object("fh_weak_get", weak);
  const struct fh__weak_block *block = weak->block;
  /* Relaxed: the target is older than the block, and the block older than the weak reference that the caller was given. */
  fh_object *target = FH__LOAD(&block->target, RELAXED);
  if (!target || !fh__try_retain(me, target)) return NULL;
  if (FH__LIKELY(FH__LOAD(&block->target, RELAXED) == target)) return target;
  fh__release(target); /* its finalizer runs, or has resurrected it */
  return NULL;
}

/* ---- all of it ---- */

void fh__weak_each(fh__weak_function *each, void *context) {
  for (uint32_t at = 0; at < FH__WEAK_SHARDS; at++)
    for (size_t i = 0; i < shards[at].capacity; i++)
      for (const struct fh__weak_block *block = shards[at].bucket[i]; block; block = block->next) each(context, block);
}

struct fh__weak_entry *fh__weak_entries_of(const fh_object *object) {
  const struct fh__weak_block *block = *find(&shards[shard_of(object)], object);
  return block ? block->entries : NULL;
}

bool fh__weak_is_known(const fh_object *object) { return *find(&shards[shard_of(object)], object) != NULL; }

void fh__weak_start(void) {
  for (uint32_t at = 0; at < FH__WEAK_SHARDS; at++)
    shards[at] = (struct shard){.lock = FH__MUTEX(FH__RANK_WEAK), .bucket = &shards[at].own_bucket, .capacity = 1};
}

void fh__weak_finish(void) {
  for (uint32_t at = 0; at < FH__WEAK_SHARDS; at++) {
    struct shard *shard = &shards[at];
    struct fh__weak_block *next;
    for (size_t i = 0; i < shard->capacity; i++)
      for (struct fh__weak_block *block = shard->bucket[i]; block; block = next) {
        next = block->next;
        fh__backend_free(block);
      }
    if (shard->capacity > 1) fh__backend_free(shard->bucket);
  }
  fh__weak_start();
}
