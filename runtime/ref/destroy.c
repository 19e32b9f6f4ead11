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

/* Those that die together often are of few types, and lie in few chunks: what they change in figures and lists is written once for a lot
 * of them, which are of one type. Others see the figures, which are not kept from them for long. */
struct lot {
  fh_type *type;                /* of all of it */
  uint32_t index;               /* the type's */
  uint32_t near[2];             /* where its cells are, */
  uintptr_t mask[2];            /* and 0 if they are not there */
  uint32_t count;
  uint32_t elsewhere;           /* of these, those whose holes are written already */
  void *top;                    /* the last block, linked as in the pool, and to what is there */
  void *recent[FH__POOL_AHEAD]; /* the last ones */
  struct fh__chunk *chunk;      /* of the last one; this mutator's */
  uint32_t base;                /* the chunk's */
  uint32_t free;                /* what is going to be chunk->free */
  fh_object *waiting;           /* they died, and their turn comes */
  fh_object *others;            /* the same, and they were of other types when they died */
};

static void write_holes(struct lot *lot) {
  if (lot->count == lot->elsewhere) return;
  lot->chunk->free = lot->free;
  lot->chunk->holes += lot->count - lot->elsewhere;
  lot->elsewhere = lot->count;
}

static void turn_to_chunk(struct lot *lot, struct fh__chunk *chunk) {
  lot->chunk = chunk;
  lot->base = chunk->base;
  lot->free = chunk->free;
}

static __attribute__((noinline)) void end_lot(struct fh__mutator *me, struct lot *lot) {
  write_holes(lot);
  fh__ref_count_plain_deaths(me, lot->type, lot->count);
  fh__pool_stack(&me->pool, lot->top, lot->count, lot->type->pool_at);
}

static void begin_lot(struct fh__mutator *me, struct lot *lot, fh_type *type) {
  lot->type = type;
  lot->index = type->index;
  for (int i = 0; i < 2; i++) lot->near[i] = type->near[i];
  lot->mask[0] = type->paired ? UINTPTR_MAX : 0;
  lot->mask[1] = type->near[1] != type->near[0] ? UINTPTR_MAX : 0;
  lot->top = fh__pool_first(&me->pool, type->pool_at);
  for (int i = 0; i < FH__POOL_AHEAD; i++) lot->recent[i] = NULL;
  lot->count = lot->elsewhere = 0;
  turn_to_chunk(lot, lot->chunk);
}

static __attribute__((noinline)) void turn_to_type(struct fh__mutator *me, struct lot *lot, fh_type *type) {
  end_lot(me, lot);
  begin_lot(me, lot, type);
}

/* The object's entry is not in the lot's chunk. Returns its place in that of the lot now, or FH__CHUNK_ENTRIES if it is done. */
static __attribute__((noinline)) uint32_t find_entry(const struct fh__mutator *me, struct lot *lot, const fh_object *object) {
  if (!object->fh__slot) {
    lot->elsewhere++;
    return FH__CHUNK_ENTRIES;
  }
  struct fh__chunk *chunk = fh__track_own_chunk_of(&me->track, object); /* touched once: no collection looks before all this is over */
  write_holes(lot);
  if (FH__UNLIKELY(!chunk)) {
    lot->elsewhere++;
    return FH__CHUNK_ENTRIES;
  }
  turn_to_chunk(lot, chunk);
  return object->fh__slot - chunk->base;
}

/* A cell of an object of the lot's type. */
FH__INLINE fh_object *cell_in(const struct lot *lot, const fh_object *object, int i) {
  const char *base = (const char *)object;
  return (fh_object *)((uintptr_t)fh__cell_load((const fh__cell *)(const void *)(base + lot->near[i])) & lot->mask[i]);
}

FH__INLINE void bury(struct fh__mutator *me, struct lot *lot, fh_object *object) {
  uint32_t at = object->fh__slot - 1 - lot->base; /* entry 0 goes the long way, and so does what is not tracked: its slot is 0 */
  if (FH__UNLIKELY(at >= FH__CHUNK_ENTRIES - 1)) at = find_entry(me, lot, object) - 1;
  if (FH__LIKELY(at + 1 < FH__CHUNK_ENTRIES)) {
    fh__chunk_put_hole(lot->chunk, at + 1, lot->free);
    lot->free = at + 2;
  }
  *(struct fh__pooled *)(void *)object = (struct fh__pooled){lot->top, lot->recent[lot->count % FH__POOL_AHEAD]};
  lot->recent[lot->count % FH__POOL_AHEAD] = lot->top = object;
  lot->count++;
  if (FH__UNLIKELY(lot->count == FH__POOL_ROW)) turn_to_type(me, lot, lot->type);
}

/* An object that died waits, linked by its count, which nobody reads any more. */
FH__INLINE void let_wait(fh_object **waiting, fh_object *object) {
  __builtin_memcpy((char *)object + offsetof(fh_object, fh__bias), waiting, sizeof *waiting);
  *waiting = object;
}
FH__INLINE fh_object *end_wait(fh_object **waiting) {
  fh_object *object = *waiting;
  if (object) __builtin_memcpy(waiting, (const char *)object + offsetof(fh_object, fh__bias), sizeof *waiting);
  return object;
}
_Static_assert(sizeof(fh_object *) <= sizeof(fh_object) - offsetof(fh_object, fh__bias), "a link is no longer than the count");

/* What is released may die, and its entry be in the lot's chunk, and its block in the pool. */
static FH__COLD void release_slowly(struct fh__mutator *me, struct lot *lot, fh_object *child) {
  end_lot(me, lot);
  fh__release_slow(child);
  begin_lot(me, lot, lot->type);
}

/* Releases a child of what died. Returns it if it dies, too, and joins the lot: that is the caller's to do. */
FH__INLINE fh_object *release_child(struct fh__mutator *me, struct lot *lot, fh_object *child) {
  if (!child) return NULL;
  uint32_t bias = FH__LOAD(&child->fh__bias, RELAXED);
  if (FH__LIKELY(fh__ref_is_last_own(me, bias)) && FH__LIKELY(fh__ref_is_simple(child))) {
    if (FH__LIKELY(child->fh__type == lot->index)) return child;
    if (FH__LIKELY(fh__type_of(child)->plain)) {
      let_wait(&lot->others, child);
      return NULL;
    }
  }
  if (FH__LIKELY(((bias - 1) ^ fh__tls.stamp) < FH__BIAS_LOCAL_MAX))
    FH__STORE_(&child->fh__bias, bias - 1, RELAXED);
  else if (FH__UNLIKELY(bias != FH__BIAS_IMMORTAL)) /* many may refer to one of those: as fh_release, they do not end the lot */
    release_slowly(me, lot, child);
  return NULL;
}

/* Without children: it may go at once. */
FH__INLINE bool is_leaf(const struct lot *lot, const fh_object *object) {
  return !((uintptr_t)cell_in(lot, object, 0) | (uintptr_t)cell_in(lot, object, 1));
}

/* The next one that waits. Those of other types when nothing else is left: so lots are large. */
FH__INLINE fh_object *take_waiting(struct fh__mutator *me, struct lot *lot) {
  fh_object *object = end_wait(&lot->waiting);
  if (!object) {
    lot->waiting = lot->others;
    lot->others = NULL;
    object = end_wait(&lot->waiting);
    if (!object) return NULL;
  }
  if (FH__UNLIKELY(object->fh__type != lot->index)) turn_to_type(me, lot, fh__type_of(object));
  return object;
}

/* Depth first. If both children die, one goes on and the other waits, but for one without children, which goes at once. Usually it is the
 * second that goes on, because the one that was made last hangs there if leaves are made first: so memory is walked backwards, and is in
 * order for newborns. But in a list of trees, which hangs on its second cells, so many would wait that they are out of the cache again: where
 * more and more wait, the other one goes on.
 *
 * An object is freed before its children are released. Nothing of the application's sees that: what has a dealloc or a finalizer joins a
 * list, and its turn comes when all of this is over. */
void fh__ref_die_with_children(struct fh__mutator *me, fh_object *object) {
  enum { MANY = 32 }; /* a power of two */
  uint32_t depth = 0;
  struct lot lot;
  lot.chunk = me->track.current;
  lot.waiting = lot.others = NULL;
  begin_lot(me, &lot, fh__type_of(object));
  bool outer = !me->destroying;
  me->destroying = true;
  do {
    fh_object *first = cell_in(&lot, object, 0), *second = cell_in(&lot, object, 1);
    bury(me, &lot, object);
    first = release_child(me, &lot, first);
    second = release_child(me, &lot, second);
    if (first && second) {
      object = depth & MANY ? first : second;
      fh_object *other = depth & MANY ? second : first;
      if (is_leaf(&lot, other)) {
        bury(me, &lot, other);
      } else {
        let_wait(&lot.waiting, other);
        depth++;
      }
    } else if (first || second) {
      object = first ? first : second;
    } else {
      object = take_waiting(me, &lot);
      if (depth) depth--;
    }
  } while (object);
  end_lot(me, &lot);
  if (!outer) return;
  destroy_dying(me);
  me->destroying = false;
}

void fh__ref_die_childless(struct fh__mutator *me, fh_object *object) {
  fh_type *type = fh__type_of(object);
  if (FH__LIKELY(type->tracked)) fh__track_forget(&me->track, object);
  if (FH__LIKELY(type->small_size) && FH__LIKELY(fh__pool_has_room(&me->pool)))
    fh__pool_put(&me->pool, object, type->pool_at);
  else
    fh__backend_free(object);
  fh__ref_count_plain_deaths(me, type, 1);
}

bool fh__ref_die_plain_large(struct fh__mutator *me, fh_object *object) {
  const fh_type *type = fh__type_of(object);
  if (!type->plain) return false;
  if (type->paired && !fh__cells_near_empty(type, object))
    fh__ref_die_with_children(me, object);
  else
    fh__ref_die_childless(me, object);
  return true;
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
