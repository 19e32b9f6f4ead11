/* SPDX-License-Identifier: MIT */
/* Making objects, and the calls that look at types. */
#include <string.h>

#include "base/trap.h"
#include "api/safepoint.h"
#include "mutator/pressure.h"
#include "ref/merge.h"

enum { BYTES_LIMIT_SHIFT = 47 };

static void check_type(const char *call, const fh_type *type, bool items) {
  if (!type || !type->index || fh__types[type->index] != type) fh__misuse(call, NULL, "this type is not registered");
  if (items && !type->item_size) fh__misuse(call, NULL, "the type has no items");
}

static bool track_slow(struct fh__mutator *me, fh_object *object) {
  bool due = false;
  if (!fh__track_add_slow(&me->track, object, &due)) return false;
  if (due) fh__attend(&me->sync, FH__ATTEND_COLLECT);
  return true;
}

/* A newborn: one reference, the caller's; private, marked, tracked if it can be part of a cycle. False: no memory. */
static bool finish_new(struct fh__mutator *me, fh_type *type, fh_object *object) {
  fh__header_write(object, &type->birth, 0, me->birth_stamp);
  if (type->tracked && !fh__track_add(&me->track, object) && !track_slow(me, object)) return false;
  fh__census_add(&me->census, type, 1);
  return true;
}

static FH__COLD void *undo_new(struct fh__mutator *me, const fh_type *type, fh_object *object) {
  fh__backend_free(object);
  fh__account_return(&me->account, type->usable);
  return NULL;
}

/* What fh_new does not do in line is done by tail calls, so that it need not keep its registers for them. */

/* The first write of the header again is no harm. */
static FH__COLD void *finish_slowly(struct fh__mutator *me, fh_type *type, fh_object *object) {
  return finish_new(me, type, object) ? object : undo_new(me, type, object);
}

static FH__COLD void *census_slowly(struct fh__mutator *me, fh_type *type, fh_object *object) {
  fh__census_add_slow(&me->census, type, 1);
  return object;
}

/* Behind the header. Small blocks are zeroed faster in line than by the allocator: 16 bytes are one store, and it takes one, or three. */
FH__INLINE void zero_small(void *block, size_t n) {
  char *bytes = block;
  memset(bytes + n - 16, 0, 16);
  if (FH__LIKELY(n > 32)) { /* 48: its middle, twice; 64: both halves of that */
    memset(bytes + 16, 0, 16);
    memset(bytes + n - 32, 0, 16);
  }
}

/* Its bytes are spent. */
FH__INLINE void *be_born(struct fh__mutator *me, fh_type *type, fh_object *object, size_t size) {
  uint32_t slot = 0;
  zero_small(object, size);
  if (FH__LIKELY(type->tracked) && FH__UNLIKELY(!(slot = fh__track_enter(&me->track, object)))) return finish_slowly(me, type, object);
  fh__header_write(object, &type->birth, slot, me->birth_stamp);
  if (FH__UNLIKELY(!fh__census_try_add(&me->census, type, 1))) return census_slowly(me, type, object);
  return object;
}

/* Its bytes are spent; not `granted`: and the credit is overdrawn. */
static void *new_zeroed(struct fh__mutator *me, fh_type *type, bool granted) {
  if (!granted && !fh__pressure_draw(me, type->usable)) return undo_new(me, type, NULL);
  fh_object *object = fh__backend_alloc_zeroed(type->alloc_size);
  if (!object || !finish_new(me, type, object)) return undo_new(me, type, object);
  return object;
}

static __attribute__((noinline)) void *new_from_backend(fh_type *type) {
  struct fh__mutator *me = fh__self_or_trap("fh_new", NULL);
  if (FH__UNLIKELY(type->item_size)) return fh_new_items(type, 0);
  bool granted = fh__account_spend(&me->account, type->usable);
  if (FH__UNLIKELY(!type->small_size) || FH__UNLIKELY(!granted)) return new_zeroed(me, type, granted);
  fh_object *object = fh__backend_alloc_small(type->small_size);
  return FH__LIKELY(object != NULL) ? be_born(me, type, object, type->small_size) : undo_new(me, type, NULL);
}

/* The common way: a small fixed size, where another one died. A thread that is not attached has an empty pool. */
void *fh_new(fh_type *type) {
  struct fh__mutator *me = fh__self();
  if (FH__CHECKED) check_type("fh_new", type, false);
  size_t size = type->small_size;
  fh_object *object = fh__pool_first(&me->pool, type->pool_at);
  if (FH__UNLIKELY(!object) || !fh__account_take(&me->account, type->usable)) return new_from_backend(type);
  fh__pool_take(&me->pool, object, type->pool_at);
  return be_born(me, type, object, size);
}

void *fh_new_items(fh_type *type, size_t count) {
  struct fh__mutator *me = fh__self_or_trap("fh_new_items", NULL);
  if (FH__CHECKED) check_type("fh_new_items", type, true);
  size_t items, size;
  if (__builtin_mul_overflow(count, (size_t)type->item_size, &items) || __builtin_add_overflow(items, (size_t)type->size + 15, &size) ||
      size >> BYTES_LIMIT_SHIFT)
    return NULL;
  fh_object *object = fh__backend_alloc_zeroed(size & ~(size_t)15);
  if (!object) return NULL;
  size_t bytes = fh__backend_usable(object);
  bool granted = fh__account_spend_part(&me->account, &me->account.items, bytes) || fh__pressure_draw(me, bytes);
  if (!granted || !finish_new(me, type, object)) {
    fh__account_return_part(&me->account, &me->account.items, bytes);
    fh__backend_free(object);
    return NULL;
  }
  if (type->count_at) *(size_t *)(void *)((char *)object + type->count_at) = count;
  return object;
}

/* ---- types ---- */

fh_type *fh_type_of(const void *object) { return fh__type_of(object); }
const char *fh_type_name(const fh_type *type) { return type->name; }

fh_status fh_type_register(const fh_type_spec *spec, fh_type **type_out) {
  if (!fh__is_up()) return FH_ESHUTDOWN;
  return fh__type_register(spec, type_out);
}

uint64_t fh_type_live(const fh_type *type) {
  int64_t live = fh__mutator_count_live(type);
  return live > 0 ? (uint64_t)live : 0;
}

static bool waits_in(const struct fh__limbo_batch *batch, const fh_type *type) {
  for (const fh_object *object = batch->objects.first; object; object = fh__dead_next(object))
    if (object->fh__type == type->index) return true;
  return false;
}

/* Stopped: no instance lives, and the memory of none waits for a grace period. */
static bool is_unused(const fh_type *type) {
  if (fh__mutator_count_live(type)) return false;
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) {
    const struct fh__limbo_local *limbo = &fh__mutator_of(sync)->limbo;
    if (waits_in(&limbo->open, type) || waits_in(&limbo->sealed, type)) return false;
  }
  return true;
}

fh_status fh_type_unregister(fh_type *type) {
  struct fh__mutator *me = fh__self_or_trap("fh_type_unregister", NULL);
  if (FH__CHECKED) check_type("fh_type_unregister", type, false);
  if (FH__CHECKED && me->in_dealloc) fh__misuse("fh_type_unregister", NULL, "a safepoint inside dealloc");
  if (me->no_safepoint) return FH_EBUSY;
  fh__safepoint_housekeep(me);
  fh__world_stop(me);
  bool unused = is_unused(type);
  if (unused) fh__type_remove(type);
  fh__world_resume(me);
  return unused ? FH_OK : FH_EBUSY;
}
