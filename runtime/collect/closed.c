/* SPDX-License-Identifier: MIT */
#include "collect/closed.h"

#include <string.h>

#include "collect/pass.h"

struct closing {
  const struct fh__scan *scan;
  struct fh__garbage *list;
  int64_t outgoing; /* references to what is no garbage */
  bool plain;
};

static struct fh__chunk *chunk_of(const fh_object *object) { return fh__track_chunk_of(object->fh__slot); }

/* ---- by a look at all of it ---- */

static void look_at(void *context, fh_object *object) {
  struct closing *closing = context;
  if (FH__UNLIKELY(!closing->plain)) return;
  const fh_type *type = fh__type_of(object);
  if (FH__UNLIKELY(!type->plain) || FH__UNLIKELY(!fh__scan_may_free(object, closing->scan->stamp))) {
    closing->plain = false;
    return;
  }
  closing->outgoing += fh__near_count(fh__cells_near(type, object)) - fh__true_count(object);
  closing->list->object[closing->list->count++] = object;
  chunk_of(object)->garbage++;
}

/* A chunk in which nothing lives is as good as new. */
static void free_entry(const fh_object *object) {
  struct fh__chunk *chunk = chunk_of(object);
  if (chunk->live == chunk->garbage)
    fh__chunk_reset(chunk);
  else
    fh__track_recycle(chunk, object->fh__slot - chunk->base);
}

static bool take_seen(const struct fh__scan *scan, struct fh__garbage *list) {
  struct closing closing = {.scan = scan, .plain = true, .list = list};
  fh__scan_unmarked(scan, look_at, &closing);
  bool closed = closing.plain && !closing.outgoing;
  for (size_t i = 0; i < list->count; i++) {
    if (closed)
      free_entry(list->object[i]);
    else
      chunk_of(list->object[i])->garbage--;
  }
  return closed;
}

/* ---- by the tally ---- */

/* Nothing was marked there. A pass is over, so that nothing is more than zero. */
static bool is_all_garbage(const struct fh__scan *scan, const struct fh__chunk *chunk) {
  const int32_t *refs = &scan->refs[chunk->base];
  for (uint32_t at = 0; at < chunk->bump; at += FH__SCAN_ROW)
    if (!fh__scan_row_is_zero(&refs[at])) return false;
  return true;
}

/* All that was ever entered is garbage: the entries are the list. Chunk 0 never is: place 0 in refs is marked. */
static void take_whole(struct fh__chunk *chunk, struct fh__garbage *list) {
  memcpy(&list->object[list->count], chunk->entries, chunk->bump * sizeof *list->object);
  list->count += chunk->bump;
  chunk->garbage = chunk->live;
  fh__chunk_reset(chunk);
}

static void take_all_in(const struct fh__scan *scan, struct fh__chunk *chunk, struct fh__garbage *list) {
  if (!chunk->holes && is_all_garbage(scan, chunk)) {
    take_whole(chunk, list);
    return;
  }
  const int32_t *refs = &scan->refs[chunk->base];
  size_t before = list->count, count = before;
  for (uint32_t at = 0; at < chunk->bump; at++) {
    uint64_t entry = chunk->entries[at];
    list->object[count] = fh__entry_object(entry);
    count += fh__entry_is_object(entry) && refs[at] != FH__SCAN_MARKED;
  }
  list->count = count;
  chunk->garbage = (uint32_t)(count - before);
  if (chunk->garbage == chunk->live) {
    fh__chunk_reset(chunk);
    return;
  }
  for (uint32_t at = 0; at < chunk->bump; at++)
    if (fh__entry_is_object(chunk->entries[at]) && refs[at] != FH__SCAN_MARKED) fh__track_recycle(chunk, at);
}

/* It lives, and is not the garbage's: [scan.tally]. */
static void strike(const struct fh__scan *scan, struct fh__tally *tally, const fh_object *object) {
  const fh_type *type = fh__type_of(object);
  struct fh__seen seen = fh__scan_look(object, scan->stamp);
  tally->outgoing += seen.count;
  if (type->paired) tally->outgoing -= fh__near_count(fh__cells_near_some(type, object));
  tally->others -= seen.others + !type->paired;
}

static void strike_marked_in(const struct fh__scan *scan, const struct fh__chunk *chunk, struct fh__tally *tally) {
  const int32_t *refs = &scan->refs[chunk->base];
  for (uint32_t at = 0; at < chunk->bump; at++) {
    if (at % FH__SCAN_ROW == 0 && fh__scan_row_is_zero(&refs[at]))
      at += FH__SCAN_ROW - 1;
    else if (refs[at] == FH__SCAN_MARKED && fh__entry_is_object(chunk->entries[at]))
      strike(scan, tally, fh__entry_object(chunk->entries[at]));
  }
}

struct fh__tally fh__garbage_tally(const struct fh__scan *scan) {
  struct fh__tally tally = scan->tally;
  struct fh__chunk *chunk;
  if (!scan->marked) return tally;
  for (FH__EACH_COVERED(scan, chunk))
    if (chunk->live) strike_marked_in(scan, chunk, &tally);
  return tally;
}

static void take_all(const struct fh__scan *scan, struct fh__garbage *list) {
  struct fh__chunk *chunk;
  for (FH__EACH_COVERED(scan, chunk))
    if (chunk->live) take_all_in(scan, chunk, list);
}

/* ---- taking and freeing ---- */

bool fh__garbage_take_closed(struct fh__mutator *me, struct fh__scan *scan) {
  size_t garbage = (size_t)(scan->objects - scan->marked);
  bool by_tally = scan->tallied && scan->marked <= garbage; /* else less is to be seen of the garbage */
  if (by_tally) {
    struct fh__tally tally = fh__garbage_tally(scan);
    if (tally.others || tally.outgoing) return false;
  }
  size_t room = garbage + FH__PREFETCH; /* more are written than are counted, and looked ahead at */
  struct fh__garbage *list = fh__backend_alloc(sizeof *list + room * sizeof(fh_object *));
  if (!list) return false;
  *list = (struct fh__garbage){.generation = scan->generation, .closed = true};
  if (by_tally) {
    take_all(scan, list);
  } else if (!take_seen(scan, list)) {
    fh__backend_free(list);
    return false;
  }
  memset(&list->object[list->count], 0, FH__PREFETCH * sizeof *list->object);
  list->next = me->garbage;
  me->garbage = list;
  return true;
}

/* Frees the first ones of one type, up to `most`: they are counted together. What was private goes to the pool in a row: newborns want as
 * many blocks soon. */
static size_t free_lot(struct fh__mutator *me, fh_object *const *object, size_t most) {
  const uint16_t index = object[0]->fh__type;
  fh_type *type = fh__types[index];
  void *first = NULL, **last = &first;
  size_t lot = 0;
  uint32_t freed = 0;
  if (most > FH__POOL_ROW) most = FH__POOL_ROW;
  for (; lot < most && object[lot]->fh__type == index; lot++) {
    __builtin_prefetch(object[lot + FH__PREFETCH], 1);
    if (FH__CHECKED) FH__OR(&object[lot]->fh__flags, FH__FLAG_DEAD, RELAXED);
    if (FH__POOLS && FH__LIKELY(!fh__is_published(object[lot]))) {
      struct fh__pooled *pooled = (struct fh__pooled *)(void *)object[lot];
      pooled->soon = object[lot + FH__POOL_AHEAD];
      *last = pooled;
      last = &pooled->next;
    } else {
      fh__mutator_free_block(me, object[lot], type->usable);
      freed++;
    }
  }
  uint32_t row = (uint32_t)lot - freed;
  if (FH__POOLS && row) fh__pool_put_row(&me->pool, first, (void *)last, row, type->pool_at);
  fh__census_add(&me->census, type, -(int64_t)lot);
  fh__account_return(&me->account, lot * type->usable);
  return lot;
}

void fh__garbage_free_closed(struct fh__mutator *me, const struct fh__garbage *list) {
  for (size_t i = 0; i < list->count;) i += free_lot(me, &list->object[i], list->count - i);
  FH__BUMP(&me->counters.destroyed, list->count);
}
