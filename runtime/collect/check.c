/* SPDX-License-Identifier: MIT */
/* What is proved, by the names under which the headers state it:
 *
 *   [ref.merged] [ref.owner] [ref.private] [ref.queued] [ref.published] [ref.dead]   each tracked object, each queue, limbo
 *   [scan.refs]      references from tracked objects are part of the count
 *   [track.entry]    entries and slots name each other; free lists are lists of free entries
 *   [track.holes] [track.tombs]   the length of a free list is known; a chunk with tombstones is marked
 *   [queue.drained]  queued objects are QUEUED, and in the queue of their owner
 *   [weak.bit]       WEAK and the blocks of weakly referenced objects name each other
 *   [weak.entry]     entries of weak maps lead to what their blocks lead to
 *   [account.sum] [account.parts] [census.sum]   the sums agree */
#include "collect/check.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/trap.h"
#include "collect/scan.h"
#include "object/cells.h"
#include "ref/merge.h"
#include "ref/pending.h"
#include "ref/weak.h"

struct check {
  struct fh__scan scan;
  unsigned findings;
  const fh_object *object; /* the one that is being looked at */
  uint64_t queued_flags;   /* tracked objects with QUEUED */
  uint64_t queued_entries; /* tracked objects found in queues */
};

static void find(struct check *check, const char *invariant, const fh_object *object, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void find(struct check *check, const char *invariant, const fh_object *object, const char *format, ...) {
  char text[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  check->findings++;
  fh__log(FH_LOG_ERROR, "freehold: check: [%s] object %p: %s", invariant, (const void *)object, text);
}

/* ---- an object ---- */

static void check_words(struct check *check, const fh_object *object, const struct fh__chunk *chunk) {
  uint32_t bias = object->fh__bias, shared = object->fh__shared;
  uint32_t owner = fh__owner_of(bias), local = fh__local_of(bias);
  bool published = fh__is_published(object);
  if (fh__is_immortal(object)) return;
  if (owner > fh__registry_count()) find(check, "ref.owner", object, "owner %u does not exist", owner);
  if (shared & FH__MERGED && (owner || local)) find(check, "ref.merged", object, "merged, but owner %u local %u", owner, local);
  if (!(shared & FH__MERGED) && (!owner || !local)) find(check, "ref.owner", object, "not merged, owner %u local %u", owner, local);
  if (!published && (shared & (FH__MERGED | FH__QUEUED))) find(check, "ref.private", object, "private with state bits 0x%x", shared & FH__STATE_BITS);
  if (!published && owner != chunk->owner && !fh__design_is(FH_DESIGN_GIL)) find(check, "ref.private", object, "private to %u in a chunk of %u", owner, chunk->owner);
  if (fh__is_dead_count(shared)) find(check, "ref.dead", object, "dead and tracked");
  if (fh__true_count(object) < 1 && !(shared & FH__QUEUED)) find(check, "ref.sum", object, "count %ld", (long)fh__true_count(object));
  if (shared & FH__WEAK && !fh__weak_is_known(object)) find(check, "weak.bit", object, "WEAK, and no block");
  check->queued_flags += (shared & FH__QUEUED) != 0;
}

static void check_cell(void *context, fh__cell *cell) {
  struct check *check = context;
  const fh_object *child = fh__cell_load(cell);
  if (!child) return;
  if (!child->fh__type || !fh__types[child->fh__type]) {
    find(check, "ref.sum", check->object, "refers to %p, which is no object", (const void *)child);
    return;
  }
  if (fh__is_published(check->object) && !fh__is_published(child))
    find(check, "ref.published", check->object, "published, refers to private %p", (const void *)child);
}

static void check_object(struct check *check, fh_object *object, const struct fh__chunk *chunk, uint32_t at) {
  fh_type *type = object->fh__type ? fh__types[object->fh__type] : NULL;
  if (!type) {
    find(check, "track.entry", object, "entry %u holds no object", chunk->base + at);
    return;
  }
  if (object->fh__slot != chunk->base + at) find(check, "track.entry", object, "slot %u in entry %u", object->fh__slot, chunk->base + at);
  /* A published one may have become a key (collect/ephemeron.h). */
  if (!type->tracked && !fh__is_published(object)) find(check, "track.entry", object, "of untracked type %s", type->name);
  check_words(check, object, chunk);
  check->object = object;
  fh__cells_each(type, object, check_cell, check);
}

/* ---- chunks ---- */

static void check_free_list(struct check *check, const struct fh__chunk *chunk) {
  uint32_t count = 0, links = 0, tombs = 0;
  for (uint32_t at = 0; at < chunk->bump; at++) {
    links += (chunk->entries[at] & 3) == 1;
    tombs += chunk->entries[at] == FH__TRACK_TOMB;
  }
  for (uint32_t next = chunk->free; next && count <= links; count++) {
    uint64_t entry = chunk->entries[next - 1];
    if ((entry & 3) != 1 || next > chunk->bump) {
      find(check, "track.entry", NULL, "free list of chunk %u is broken at %u", chunk->base, next - 1);
      return;
    }
    next = (uint32_t)(entry >> 2);
  }
  if (count != links) find(check, "track.entry", NULL, "chunk %u: %u free entries in a list of %u", chunk->base, links, count);
  if (chunk->holes != links) find(check, "track.holes", NULL, "chunk %u: %u free entries, counted as %u", chunk->base, links, chunk->holes);
  if (tombs && !chunk->tombs) find(check, "track.tombs", NULL, "chunk %u: %u tombstones, not marked", chunk->base, tombs);
}

static void check_chunks(struct check *check) {
  struct fh__chunk *chunk;
  for (FH__EACH_CHUNK(chunk)) {
    if (!chunk) continue;
    for (uint32_t at = 0; at < chunk->bump; at++)
      if (fh__entry_is_object(chunk->entries[at])) check_object(check, fh__entry_object(chunk->entries[at]), chunk, at);
    check_free_list(check, chunk);
  }
}

/* ---- counts against references ---- */

static void check_refs(struct check *check) {
  if (check->findings) return; /* the scan trusts what was found broken */
  fh__scan_subtract(&check->scan);
  struct fh__chunk *chunk;
  for (FH__EACH_CHUNK(chunk))
    for (uint32_t at = 0; chunk && at < chunk->bump; at++) {
      int32_t refs = check->scan.refs[chunk->base + at];
      if (fh__entry_is_object(chunk->entries[at]) && refs < 0 &&
          !(fh__entry_object(chunk->entries[at])->fh__shared & FH__QUEUED))
        find(check, "scan.refs", fh__entry_object(chunk->entries[at]), "%d more references than counted", -refs);
    }
}

/* ---- queues and limbo ---- */

struct queue_check {
  struct check *check;
  uint32_t owner;
};

static void check_queued(void *context, void *item) {
  struct queue_check *queue = context;
  const fh_object *object = item;
  uint32_t owner = fh__owner_of(object->fh__bias);
  if (!(object->fh__shared & FH__QUEUED)) find(queue->check, "ref.queued", object, "in a queue without QUEUED");
  if (owner && owner != queue->owner) find(queue->check, "ref.queued", object, "of %u in the queue of %u", owner, queue->owner);
  queue->check->queued_entries += object->fh__slot != 0;
}

static void check_limbo(struct check *check, const struct fh__limbo_batch *batch) {
  for (const fh_object *object = batch->objects.first; object; object = fh__dead_next(object))
    if (!fh__is_dead_count(object->fh__shared)) find(check, "ref.dead", object, "in limbo with shared 0x%x", object->fh__shared);
}

static void check_mutators(struct check *check) {
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) {
    struct fh__mutator *mutator = fh__mutator_of(sync);
    struct queue_check queue = {check, sync->id};
    fh__queue_each(&sync->queue, check_queued, &queue);
    check_limbo(check, &mutator->limbo.open);
    check_limbo(check, &mutator->limbo.sealed);
    if (mutator->account.credit && !FH__LOAD(&sync->bound, RELAXED))
      find(check, "account.sum", NULL, "unbound mutator %u holds credit", sync->id);
  }
  for (const fh_object *object = fh__pending_first_object(); object; object = fh__dead_next(object))
    if (!fh__is_dead_count(object->fh__shared)) find(check, "ref.dead", object, "waits for its finalizer with shared 0x%x", object->fh__shared);
  if (check->queued_flags != check->queued_entries)
    find(check, "ref.queued", NULL, "%lu objects are QUEUED, %lu are in queues", (unsigned long)check->queued_flags,
         (unsigned long)check->queued_entries);
}

/* ---- weakly referenced objects ---- */

static void check_weak_block(void *context, const struct fh__weak_block *block) {
  const fh_object *target = FH__LOAD(&block->target, RELAXED);
  if (!target || !(target->fh__shared & FH__WEAK) || !fh__is_published(target))
    find(context, "weak.bit", target, "a block of an object that is not weakly referenced");
  if (!block->count) find(context, "weak.count", target, "a block that no weak reference leads to");
  for (const struct fh__weak_entry *entry = block->entries; entry; entry = entry->next)
    if (FH__LOAD(&entry->object, RELAXED) != target || entry->block != block || !entry->in_table)
      find(context, "weak.entry", target, "an entry of map %p leads elsewhere", (const void *)entry->map);
}

/* ---- sums ---- */

/* Bytes of objects of fixed size, by the census. */
static int64_t check_census(struct check *check) {
  int64_t bytes = 0;
  for (uint32_t index = 1; index <= FH__TYPES_MAX; index++) {
    const fh_type *type = FH__LOAD(&fh__types[index], ACQUIRE);
    if (!type) continue;
    int64_t live = fh__mutator_count_live(type);
    if (live < 0) find(check, "census.sum", NULL, "%ld instances of %s", (long)live, type->name);
    if (!type->item_size) bytes += live * type->usable;
  }
  return bytes;
}

static int64_t account_difference(int64_t fixed) {
  int64_t used = fixed, credit = 0;
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) {
    const struct fh__account_local *account = &fh__mutator_of(sync)->account;
    used += account->items + account->buffers + (int64_t)fh__mutator_of(sync)->limbo.dead;
    credit += account->credit;
  }
  return FH__LOAD(&fh__account.drawn, RELAXED) - credit - used;
}

static void check_account(struct check *check, int64_t fixed) {
  int64_t difference = account_difference(fixed);
  if (difference) find(check, "account.parts", NULL, "live bytes and their parts differ by %ld", (long)difference);
}

fh_status fh__check_heap(struct fh__mutator *me) {
  struct check check = {.findings = 0};
  fh__world_stop(me);
  fh__scan_begin(&check.scan, FH__FROZEN);
  check_chunks(&check);
  check_refs(&check);
  check_mutators(&check);
  fh__weak_each(check_weak_block, &check);
  check_account(&check, check_census(&check));
  fh__scan_end(&check.scan);
  fh__world_resume(me);
  return check.findings ? FH_EINVAL : FH_OK;
}
