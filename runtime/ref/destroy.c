/* SPDX-License-Identifier: MIT */
#include "ref/destroy.h"

#include "base/trap.h"
#include "object/cells.h"
#include "ref/pending.h"
#include "ref/publish.h"
#include "ref/weak.h"
#include "ref/weakmap.h"

/* ---- destroying one object ---- */

static void release_cell(void *context, fh__cell *cell) {
  (void)context;
  fh_object *child = fh__cell_clear(cell);
  if (child) fh__release(child);
}

static void run_dealloc(struct fh__mutator *me, fh_object *object, const fh_type *type) {
  me->no_safepoint++;
  me->in_dealloc++;
  type->dealloc(object);
  me->in_dealloc--;
  me->no_safepoint--;
}

static void put_into_limbo(struct fh__mutator *me, fh_object *object, size_t bytes, size_t dead) {
  fh__limbo_add_object(&me->limbo, object, bytes, dead);
  if (fh__limbo_wants_a_look(&me->limbo, fh__shared.options.limbo_batch)) fh__attend(&me->sync, FH__ATTEND_LIMBO);
}

void fh__ref_dealloc_and_free(struct fh__mutator *me, fh_object *object, bool at_once) {
  fh_type *type = fh__type_of(object);
  size_t bytes = fh__object_bytes(type, object);
  if (type->dealloc) run_dealloc(me, object, type);
  fh__census_add(&me->census, type, -1);
  if (type->item_size) FH__BUMP(&me->account.items, -(int64_t)bytes);
  FH__BUMP(&me->counters.destroyed, 1);
  if (!at_once) {
    put_into_limbo(me, object, bytes, bytes);
    return;
  }
  fh__account_return(&me->account, bytes);
  fh__mutator_free_block(me, object, bytes);
}

static void destroy_one(struct fh__mutator *me, fh_object *object) {
  fh_type *type = fh__type_of(object);
  bool published = fh__is_published(object);
  bool at_once = !published || fh__has_flag(object, FH__FLAG_GARBAGE);
  if (FH__UNLIKELY(type->flags & FH_GRACE) && !at_once) {
    put_into_limbo(me, object, fh__object_bytes(type, object), 0); /* cleared and deallocated when that is ripe */
    return;
  }
  if (FH__CHECKED) FH__OR(&object->fh__flags, FH__FLAG_DEAD, RELAXED);
  if (type->has_cells) fh__cells_each(type, object, release_cell, NULL);
  fh__ref_dealloc_and_free(me, object, at_once);
}

static void destroy_dying(struct fh__mutator *me) {
  fh_object *object;
  while ((object = fh__dead_pop(&me->dying))) destroy_one(me, object);
}

static void destroy(struct fh__mutator *me, fh_object *object) {
  if (me->destroying) {
    fh__dead_push(&me->dying, object);
    return;
  }
  me->destroying = true;
  destroy_one(me, object);
  destroy_dying(me);
  me->destroying = false;
}

/* ---- the short way ---- */

/* Those that die together often are of one type, and lie in one chunk: what they change in figures and lists is written once for a lot
 * of them. Others see the figures, which are not kept from them for long. */
struct lot {
  fh_type *type;                /* of all of it; NULL: there is none */
  size_t count;
  void *first, *last;           /* blocks, linked as in a pool */
  void *recent[FH__POOL_AHEAD]; /* the last ones of these */
  struct fh__chunk *chunk;      /* of the last one; this mutator's */
  uint32_t base;                /* the chunk's */
  uint32_t free;                /* what is going to be chunk->free */
  size_t elsewhere;             /* of `count`, those whose holes are written already */
};

static void write_holes(struct lot *lot) {
  if (lot->count == lot->elsewhere) return;
  lot->chunk->free = lot->free;
  lot->chunk->holes += (uint32_t)(lot->count - lot->elsewhere);
  lot->elsewhere = lot->count;
}

static void turn_to_chunk(struct lot *lot, struct fh__chunk *chunk) {
  lot->chunk = chunk;
  lot->base = chunk->base;
  lot->free = chunk->free;
}

static __attribute__((noinline)) void end_lot(struct fh__mutator *me, struct lot *lot) {
  if (!lot->type) return;
  if (lot->type->tracked) write_holes(lot);
  fh__ref_count_plain_deaths(me, lot->type, lot->count);
  fh__pool_put_row(&me->pool, lot->first, lot->last, (uint32_t)lot->count, lot->type->small_size);
  lot->type = NULL;
}

static __attribute__((noinline)) void begin_lot(struct fh__mutator *me, struct lot *lot, fh_object *last, fh_type *type) {
  end_lot(me, lot);
  lot->type = type;
  lot->first = NULL;
  for (int i = 0; i < FH__POOL_AHEAD; i++) lot->recent[i] = NULL;
  lot->last = last;
  lot->count = lot->elsewhere = 0;
  turn_to_chunk(lot, lot->chunk);
}

/* The object's entry is not in the lot's chunk. Returns its place in that of the lot now, or FH__CHUNK_ENTRIES if it is done. */
static __attribute__((noinline)) uint32_t find_entry(const struct fh__mutator *me, struct lot *lot, const fh_object *object) {
  struct fh__chunk *chunk = fh__track_own_chunk_of(&me->track, object); /* touched once: no collection looks before all this is over */
  write_holes(lot);
  if (FH__UNLIKELY(!chunk)) {
    lot->elsewhere++;
    return FH__CHUNK_ENTRIES;
  }
  turn_to_chunk(lot, chunk);
  return object->fh__slot - chunk->base;
}

FH__INLINE void bury(struct fh__mutator *me, struct lot *lot, fh_object *object, fh_type *type) {
  if (FH__UNLIKELY(type != lot->type) || FH__UNLIKELY(lot->count >= FH__POOL_ROW)) begin_lot(me, lot, object, type);
  if (FH__LIKELY(type->tracked)) {
    uint32_t at = object->fh__slot - lot->base;
    if (FH__UNLIKELY(at >= FH__CHUNK_ENTRIES)) at = find_entry(me, lot, object);
    if (FH__LIKELY(at < FH__CHUNK_ENTRIES)) {
      fh__chunk_put_hole(lot->chunk, at, lot->free);
      lot->free = at + 1;
    }
  }
  *(struct fh__pooled *)(void *)object = (struct fh__pooled){lot->first, lot->recent[lot->count % FH__POOL_AHEAD]};
  lot->recent[lot->count % FH__POOL_AHEAD] = lot->first = object;
  lot->count++;
}

/* What is released may die, and its entry be in the lot's chunk. */
static FH__COLD void release_slowly(struct fh__mutator *me, struct lot *lot, fh_object *child) {
  end_lot(me, lot);
  fh__release_slow(child);
}

/* Releases a child of what died. Returns it if it dies, too, and goes the short way: that is the caller's to do. */
FH__INLINE fh_object *release_child(struct fh__mutator *me, struct lot *lot, fh_object *child) {
  if (!child) return NULL;
  uint32_t bias = FH__LOAD(&child->fh__bias, RELAXED);
  if (FH__LIKELY(fh__ref_is_last_private(me, child, bias)) && FH__LIKELY(fh__type_of(child)->plain)) return child;
  if (FH__LIKELY(((bias - 1) ^ fh__tls.stamp) < FH__BIAS_LOCAL_MAX))
    FH__STORE_(&child->fh__bias, bias - 1, RELAXED);
  else
    release_slowly(me, lot, child);
  return NULL;
}

/* There is no room to let it wait elsewhere. It leaves its entry at once, which may be in the lot's chunk. */
static FH__COLD void put_among_dying(struct fh__mutator *me, struct lot *lot, fh_object *object) {
  end_lot(me, lot);
  FH__BUMP(&me->counters.owner_releases, 1);
  fh__ref_die(me, object);
}

/* Depth first. If both children die, one of them waits meanwhile, but for a childless one: that goes at once, so a list of pairs
 * lets nothing wait. An object is freed before its children are released. Nothing of the application's sees that: what has a
 * dealloc or a finalizer joins a list, and its turn comes when all of this is over. */
void fh__ref_die_with_children(struct fh__mutator *me, fh_object *object) {
  enum { WAITING = 32 };
  fh_object *waiting[WAITING];
  unsigned count = 0;
  struct lot lot = {.chunk = me->track.current};
  bool outer = !me->destroying;
  me->destroying = true;
  for (;;) {
    fh_type *type = fh__type_of(object);
    struct fh__near children = fh__cells_near(type, object);
    bury(me, &lot, object, type);
    object = release_child(me, &lot, children.first);
    fh_object *second = release_child(me, &lot, children.second);
    if (!object) object = second, second = NULL;
    if (second) {
      type = fh__type_of(second);
      if (fh__ref_is_childless(type, second))
        bury(me, &lot, second, type);
      else if (FH__LIKELY(count < WAITING))
        waiting[count++] = second;
      else
        put_among_dying(me, &lot, second);
    }
    if (!object) {
      if (!count) break;
      object = waiting[--count];
    }
  }
  end_lot(me, &lot);
  if (!outer) return;
  destroy_dying(me);
  me->destroying = false;
}

void fh__ref_die_childless(struct fh__mutator *me, fh_object *object) {
  fh_type *type = fh__type_of(object);
  if (FH__LIKELY(type->tracked)) fh__track_forget(&me->track, object);
  if (FH__LIKELY(fh__pool_has_room(&me->pool, type->small_size)))
    fh__pool_put(&me->pool, object, type->small_size);
  else
    fh__backend_free(object);
  fh__ref_count_plain_deaths(me, type, 1);
}

/* ---- death ---- */

/* Before the finalizer: it must not be found by them any more. Somebody may have found it just now, so its memory waits for a
 * grace period, also if it was garbage: a finalizer of other garbage may have made the weak reference. */
static void lose_weak(struct fh__mutator *me, fh_object *object) {
  fh__weak_clear(me, object, false);
  FH__AND(&object->fh__flags, ~FH__FLAG_GARBAGE, RELAXED);
}

static void wait_for_finalizer(struct fh__mutator *me, fh_object *object) {
  if (fh__pending_is_on()) {
    fh__pending_push_object(me, object);
  } else {
    fh__dead_push(&me->finalizable, object);
    fh__attend(&me->sync, FH__ATTEND_FINALIZE);
  }
}

static void finalize_or_destroy(struct fh__mutator *me, fh_object *object) {
  if (FH__UNLIKELY(fh__ref_wants_finalizer(object))) {
    wait_for_finalizer(me, object);
    return;
  }
  destroy(me, object);
}

/* What it kept as a key of weak maps goes after it: a dealloc may end the thread, and what is left then stands in a list. */
static FH__COLD void die_as_target(struct fh__mutator *me, fh_object *object) {
  lose_weak(me, object);
  finalize_or_destroy(me, object);
  fh__weakmap_drop_lost(me);
}

/* `shared`: as the last reference left it. */
static void die_untracked(struct fh__mutator *me, fh_object *object, uint32_t shared) {
  if (FH__UNLIKELY(shared & FH__WEAK))
    die_as_target(me, object);
  else
    finalize_or_destroy(me, object);
}

/* [pending.published]. While it is still tracked, which the walk relies on. Nobody refers to it, so what its owner's words say may
 * be written at once: a merged object with no references. */
static FH__COLD void publish_dead(struct fh__mutator *me, fh_object *object) {
  fh__publish(me, object, "fh_release");
  FH__STORE_(&object->fh__bias, FH__BIAS_MARK, RELAXED);
  FH__STORE_(&object->fh__shared, FH__MERGED, RELAXED);
}

void fh__ref_die(struct fh__mutator *me, fh_object *object) {
  uint32_t shared = FH__LOAD(&object->fh__shared, RELAXED);
  FH__BUMP(shared & FH__PRIVATE ? &me->counters.private_deaths : &me->counters.published_deaths, 1);
  if (FH__UNLIKELY(fh__pending_is_on()) && shared & FH__PRIVATE && fh__ref_wants_finalizer(object)) publish_dead(me, object);
  fh__track_remove(&me->track, object); /* before any list and any application code sees it */
  die_untracked(me, object, shared);
}

void fh__ref_die_later(struct fh__mutator *me, fh_object *object) {
  FH__BUMP(&me->counters.published_deaths, 1);
  fh__track_remove(&me->track, object);
  fh__dead_push(&me->deferred, object);
  fh__attend(&me->sync, FH__ATTEND_DESTROY);
}

void fh__ref_destroy_ripe(struct fh__mutator *me, fh_object *object) {
  FH__OR(&object->fh__flags, FH__FLAG_GARBAGE, RELAXED); /* nobody can see it any more: no second grace period */
  destroy(me, object);
}

void fh__ref_run_deferred(struct fh__mutator *me) {
  fh_object *object;
  fh__weakmap_drop_lost(me);
  while ((object = fh__dead_pop(&me->deferred))) die_untracked(me, object, FH__LOAD(&object->fh__shared, RELAXED));
}

void fh__ref_defer_dying(struct fh__mutator *me) {
  fh_object *object;
  while ((object = fh__dead_pop(&me->dying))) fh__dead_push(&me->deferred, object);
  fh__attend(&me->sync, FH__ATTEND_DESTROY);
}

/* ---- finalizers ---- */

/* Gives a dead object one reference again. A published one is merged, and stays so; nobody else can raise its count from
 * zero, so this add is the first. */
static bool revive(struct fh__mutator *me, fh_object *object, const fh_type *type) {
  bool due = false;
  if (type->tracked && !fh__track_add(&me->track, object) && !fh__track_add_slow(&me->track, object, &due)) return false;
  if (due) fh__attend(&me->sync, FH__ATTEND_COLLECT);
  if (fh__is_published(object)) {
    FH__STORE_(&object->fh__bias, FH__BIAS_MARK, RELAXED);
    FH__ADD(&object->fh__shared, FH__ONE, ACQ_REL);
  } else {
    FH__STORE_(&object->fh__bias, fh__bias_with(me->stamp, 1), RELAXED);
    FH__STORE_(&object->fh__shared, FH__PRIVATE, RELAXED);
  }
  return true;
}

bool fh__ref_finalize(struct fh__mutator *me, fh_object *object, const fh_type *type) {
  /* The bit decides who runs it, once in the object's life. */
  if (FH__OR(&object->fh__flags, FH__FLAG_FINALIZED, ACQ_REL) & FH__FLAG_FINALIZED) return false;
  type->finalize(object);
  FH__BUMP(&me->counters.finalized, 1);
  return true;
}

/* The list is last in, first out; finalizers run in the order of death. */
static void take_reversed(struct fh__dead_list *from, struct fh__dead_list *to) {
  fh_object *object;
  while ((object = fh__dead_pop(from))) fh__dead_push(to, object);
}

static void finalize_one(struct fh__mutator *me, fh_object *object) {
  me->finalized_now = object;
  fh__ref_finalize(me, object, fh__type_of(object));
  fh__ref_end_finalizer(me);
}

void fh__ref_end_finalizer(struct fh__mutator *me) {
  fh_object *object = me->finalized_now;
  me->finalized_now = NULL;
  if (fh__true_count(object) > 1) FH__BUMP(&me->counters.resurrected, 1);
  fh__release(object);
}

bool fh__ref_run_pending(struct fh__mutator *me) {
  fh_object *object = fh__pending_take_object();
  if (!object) return false;
  if (!revive(me, object, fh__type_of(object))) {
    fh__pending_return_object(me, object); /* no memory for its tracking entry: it stays dead until somebody comes again */
    return false;
  }
  finalize_one(me, object);
  return true;
}

void fh__ref_take_finalizable(struct fh__mutator *me) {
  if (!me->finalizing_now.first) take_reversed(&me->finalizable, &me->finalizing_now);
}

void fh__ref_run_finalizers(struct fh__mutator *me) {
  if (me->finalizing) return;
  /* Else a callback has just lost more. Those are called at the next safepoint, and theirs may be what died meanwhile. */
  if (!fh__weak_has_callbacks(me)) fh__ref_take_finalizable(me);
  struct fh__dead_list *list = &me->finalizing_now; /* in the mutator: a finalizer may end the thread */
  if (!list->first) return;
  me->finalizing = true;
  fh_object *object;
  while ((object = fh__dead_pop(list))) {
    if (revive(me, object, fh__type_of(object))) {
      finalize_one(me, object);
      fh__mutator_let_stop(me); /* one after the other may take long */
    } else {
      fh__dead_push(list, object); /* no memory for its tracking entry: it stays dead until a later safepoint */
      break;
    }
  }
  /* These, and what died or was lost meanwhile. */
  if (fh__ref_has_finalizers(me) || fh__weak_has_callbacks(me)) fh__attend(&me->sync, FH__ATTEND_FINALIZE);
  me->finalizing = false;
}
