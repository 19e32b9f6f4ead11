/* SPDX-License-Identifier: MIT */
#include "collect/closed.h"

#include "object/cells.h"

struct closing {
  struct fh__mutator *me;
  struct fh__garbage *list;
  int64_t outgoing; /* references to what is no garbage */
  bool plain;
};

/* Published garbage may be freed by anybody, private garbage by its owner. */
static bool is_plain(const struct fh__mutator *me, const fh_object *object, const fh_type *type) {
  uint32_t shared = FH__LOAD(&object->fh__shared, RELAXED);
  if (!type->plain || shared & FH__WEAK) return false;
  return !(shared & FH__PRIVATE) || fh__owns(me, FH__LOAD(&object->fh__bias, RELAXED));
}

static int64_t count_references(const fh_object *object, const fh_type *type) {
  struct fh__near near = fh__cells_near(type, object);
  return (near.first != NULL) + (near.second != NULL);
}

static struct fh__chunk *chunk_of(const fh_object *object) { return fh__track_chunk_of(object->fh__slot); }

static void look_at(void *context, fh_object *object) {
  struct closing *closing = context;
  if (FH__UNLIKELY(!closing->plain)) return;
  const fh_type *type = fh__type_of(object);
  if (FH__UNLIKELY(!is_plain(closing->me, object, type))) {
    closing->plain = false;
    return;
  }
  closing->outgoing += count_references(object, type) - fh__true_count(object);
  closing->list->object[closing->list->count++] = object;
  chunk_of(object)->garbage++;
}

/* A chunk in which nothing lives is as good as new. */
static void free_entry(fh_object *object) {
  struct fh__chunk *chunk = chunk_of(object);
  if (chunk->live == chunk->garbage)
    fh__chunk_reset(chunk);
  else
    fh__track_recycle(chunk, object->fh__slot - chunk->base);
}

bool fh__garbage_take_closed(struct fh__mutator *me, struct fh__scan *scan) {
  size_t room = (size_t)(scan->objects - scan->marked);
  struct closing closing = {.me = me, .plain = true, .list = fh__backend_alloc(sizeof *closing.list + room * sizeof(fh_object *))};
  if (!closing.list) return false;
  *closing.list = (struct fh__garbage){.generation = scan->generation, .closed = true};
  fh__scan_unmarked(scan, look_at, &closing);
  struct fh__garbage *list = closing.list;
  if (!closing.plain || closing.outgoing) {
    for (size_t i = 0; i < list->count; i++) chunk_of(list->object[i])->garbage--;
    fh__backend_free(list);
    return false;
  }
  for (size_t i = 0; i < list->count; i++) free_entry(list->object[i]);
  list->next = me->garbage;
  me->garbage = list;
  return true;
}

/* Much of it is of one type in a row: counted together. */
static size_t free_row(struct fh__mutator *me, fh_object *const *object, size_t most) {
  fh_type *type = fh__type_of(object[0]);
  size_t row = 0;
  for (; row < most && fh__type_of(object[row]) == type; row++) {
    if (row + FH__PREFETCH < most) __builtin_prefetch(object[row + FH__PREFETCH], 1);
    if (FH__CHECKED) FH__OR(&object[row]->fh__flags, FH__FLAG_DEAD, RELAXED);
    fh__mutator_free_block(me, object[row], type->usable);
  }
  fh__census_add(&me->census, type, -(int64_t)row);
  fh__account_return(&me->account, row * type->usable);
  return row;
}

void fh__garbage_free_closed(struct fh__mutator *me, const struct fh__garbage *list) {
  for (size_t i = 0; i < list->count;) i += free_row(me, &list->object[i], list->count - i);
  FH__BUMP(&me->counters.destroyed, list->count);
}
