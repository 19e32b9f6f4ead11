/* SPDX-License-Identifier: MIT */
/* Behind the stop: what becomes of the lists. */
#include "collect/garbage.h"

#include "base/trap.h"
#include "collect/closed.h"
#include "collect/collect.h"
#include "object/cells.h"
#include "ref/destroy.h"
#include "ref/merge.h"
#include "ref/weak.h"
#include "ref/weakmap.h"

/* ---- finishing: finalizers and what they resurrect ---- */

/* Those that did not run, but at most so many; returns how many ran. A finalizer may end the thread: it has had its turn then. */
static size_t run_finalizers(struct fh__mutator *me, struct fh__garbage *list, size_t most) {
  size_t ran = 0;
  while (list->next_finalizer < list->count && ran < most) {
    fh_object *object = list->object[list->next_finalizer++];
    if (!fh__ref_wants_finalizer(object)) continue;
    if (list->queued) list->pending.finalizers--;
    fh__ref_finalize(me, object, fh__type_of(object));
    ran++;
    fh__mutator_let_stop(me); /* one after the other may take long */
  }
  return ran;
}

static void subtract_internal(void *context, fh__cell *cell) {
  int32_t *refs = context;
  fh_object *child = fh__cell_load(cell);
  if (child && fh__has_flag(child, FH__FLAG_GARBAGE)) refs[child->fh__slot]--;
}

static void rescue(struct fh__scan *scan, fh_object *object) {
  FH__AND(&object->fh__flags, ~(FH__FLAG_GARBAGE | FH__FLAG_CROSS), RELAXED);
  scan->stack[scan->depth++] = object;
}

static void rescue_cell(void *context, fh__cell *cell) {
  fh_object *child = fh__cell_load(cell);
  if (child && fh__has_flag(child, FH__FLAG_GARBAGE)) rescue(context, child);
}

/* Stopped: garbage that something outside of the list refers to now, and all that it reaches, is garbage no longer. */
static void rescue_referenced(struct fh__scan *scan, const struct fh__garbage *list) {
  for (size_t i = 0; i < list->count; i++) {
    fh_object *object = list->object[i];
    scan->refs[object->fh__slot] += (int32_t)fh__true_count(object) - 1; /* [garbage.held] */
    fh__cells_each(fh__type_of(object), object, subtract_internal, scan->refs);
  }
  for (size_t i = 0; i < list->count; i++) {
    fh_object *object = list->object[i];
    if (scan->refs[object->fh__slot] > 0 && fh__has_flag(object, FH__FLAG_GARBAGE)) rescue(scan, object);
    while (scan->depth) {
      fh_object *rescued = scan->stack[--scan->depth];
      fh__cells_each(fh__type_of(rescued), rescued, rescue_cell, scan);
    }
  }
}

enum { MEMBER = INT32_MAX }; /* in refs: no count comes so high */

static void cross_again(void *context, fh__cell *cell) {
  const struct fh__scan *scan = context;
  fh_object *child = fh__cell_load(cell);
  if (child && fh__has_flag(child, FH__FLAG_GARBAGE) && scan->refs[child->fh__slot] != MEMBER) FH__OR(&child->fh__flags, FH__FLAG_CROSS, RELAXED);
}

/* Stopped: what stays in the list may have got references to other lists' garbage since it was sorted: finalizers of both showed
 * theirs to other threads, and one of those linked the two. Such an edge counts, and its end dies by its count. */
static void cross_others(struct fh__scan *scan, const struct fh__garbage *list) {
  for (size_t i = 0; i < list->count; i++) scan->refs[list->object[i]->fh__slot] = MEMBER;
  for (size_t i = 0; i < list->count; i++) {
    fh_object *object = list->object[i];
    if (fh__has_flag(object, FH__FLAG_GARBAGE)) fh__cells_each(fh__type_of(object), object, cross_again, scan);
  }
}

/* Stopped: finalizers may have made weak references to what stays garbage. */
static void lose_new_weak(struct fh__mutator *me, const struct fh__garbage *list) {
  for (size_t i = 0; i < list->count; i++)
    if (fh__has_flag(list->object[i], FH__FLAG_GARBAGE)) (void)fh__weak_lose(me, list->object[i]);
}

static void look_again(struct fh__mutator *me, const struct fh__garbage *list) {
  struct fh__scan scan;
  fh__world_stop(me);
  fh__merge_all_stopped(me);
  fh__scan_begin(&scan, FH__OLD);
  scan.strays = true; /* this list's, and what of other garbage it refers to */
  rescue_referenced(&scan, list);
  cross_others(&scan, list);
  lose_new_weak(me, list);
  fh__weakmap_take_out_lost_stopped(me);
  fh__scan_end(&scan);
  fh__world_resume(me);
  fh__weakmap_drop_lost(me);
}

static void let_go(struct fh__mutator *me, fh_object *object) {
  if (FH__UNLIKELY(fh__type_of(object)->ephemerons != NULL)) fh__weakmap_rescued(me, (struct fh__weakmap *)(void *)object);
  fh__release(object);
}

/* Takes the rescued out of the list and gives up the list's counts of them. */
static size_t let_go_of_rescued(struct fh__mutator *me, struct fh__garbage *list) {
  size_t kept = 0, rescued = 0;
  for (size_t i = 0; i < list->count; i++) {
    fh_object *object = list->object[i];
    if (fh__has_flag(object, FH__FLAG_GARBAGE)) {
      list->object[kept++] = object;
    } else {
      rescued++;
      let_go(me, object);
    }
  }
  list->count = kept;
  FH__BUMP(&me->counters.resurrected, rescued);
  FH__ADD(&fh__collector.resurrected[list->generation], rescued, RELAXED);
  return rescued;
}

/* ---- finishing: clearing and destroying ---- */

struct clearing {
  bool published;
};

static void clear_cell(void *context, fh__cell *cell) {
  const struct clearing *clearing = context;
  fh_object *child = fh__cell_load(cell);
  if (!child) return;
  FH__STORE_(cell, NULL, RELAXED);
  unsigned flags = FH__LOAD(&child->fh__flags, RELAXED);
  bool both_die = (flags & (FH__FLAG_GARBAGE | FH__FLAG_CROSS)) == FH__FLAG_GARBAGE;
  bool same_list = fh__is_published(child) == clearing->published;
  if (both_die && same_list) return;
  fh__release(child);
}

static void clear_all(const struct fh__garbage *list) {
  for (size_t i = 0; i < list->count; i++) {
    if (i + FH__PREFETCH < list->count) __builtin_prefetch(list->object[i + FH__PREFETCH], 1);
    fh_object *object = list->object[i];
    struct clearing clearing = {fh__is_published(object)};
    fh__cells_each(fh__type_of(object), object, clear_cell, &clearing);
  }
}

static void destroy_all(struct fh__mutator *me, const struct fh__garbage *list) {
  for (size_t i = 0; i < list->count; i++) {
    if (i + FH__PREFETCH < list->count) __builtin_prefetch(list->object[i + FH__PREFETCH], 1);
    fh_object *object = list->object[i];
    if (FH__UNLIKELY(fh__has_flag(object, FH__FLAG_CROSS))) {
      fh__release(object); /* the list's count; others' references are still being cleared */
      continue;
    }
    FH__ASSERT(!(FH__LOAD(&object->fh__shared, RELAXED) & FH__WEAK), "weak.cleared"); /* no grace period */
    fh__track_remove(&me->track, object);
    if (FH__CHECKED) FH__OR(&object->fh__flags, FH__FLAG_DEAD, RELAXED);
    fh__ref_dealloc_and_free(me, object, true);
  }
}

/* After finalizers and callbacks. */
static size_t rescue_list(struct fh__mutator *me, struct fh__garbage *list) {
  look_again(me, list);
  me->finalizing_garbage = NULL; /* not before: behind a fork's stop the thread may be lost */
  return let_go_of_rescued(me, list);
}

static void destroy_list(struct fh__mutator *me, struct fh__garbage *list) {
  FH__BUMP(&me->counters.collected, list->count);
  FH__ADD(&fh__collector.collected[list->generation], list->count, RELAXED);
  if (list->closed) {
    fh__garbage_free_closed(me, list);
  } else {
    clear_all(list);
    destroy_all(me, list);
  }
  fh__backend_free(list);
}

static size_t finish_list(struct fh__mutator *me, struct fh__garbage *list) {
  size_t rescued = 0;
  if (list->runs_code) {
    me->finalizing_garbage = list; /* a finalizer may end the thread */
    fh__weak_run_callbacks(me);
    run_finalizers(me, list, SIZE_MAX);
    rescued = rescue_list(me, list);
  }
  destroy_list(me, list);
  return rescued;
}

size_t fh__garbage_finish(struct fh__mutator *me) {
  size_t rescued = 0;
  bool outer = me->collecting;
  me->collecting = true; /* collections do not nest on a mutator, nor in the finalizers of one */
  struct fh__garbage *list;
  while ((list = me->garbage)) {
    me->garbage = list->next;
    rescued += finish_list(me, list);
  }
  me->collecting = outer;
  return rescued;
}

static void wait_again(struct fh__mutator *me, struct fh__garbage *list) {
  me->finalizing_garbage = NULL;
  if (list->queued) {
    fh__pending_return_list(me, &list->pending);
  } else {
    list->next = me->garbage;
    me->garbage = list;
  }
}

void fh__garbage_resume(struct fh__mutator *me) {
  if (me->finalizing_garbage) wait_again(me, me->finalizing_garbage);
}

bool fh__garbage_run_pending(struct fh__mutator *me, size_t most, size_t *ran) {
  struct fh__pending_list *head = fh__pending_take_list();
  if (!head) return false;
  struct fh__garbage *list = (struct fh__garbage *)(void *)head;
  bool outer = me->collecting;
  me->collecting = true;
  me->finalizing_garbage = list;
  *ran += run_finalizers(me, list, most);
  if (list->pending.finalizers) {
    wait_again(me, list);
  } else {
    (void)rescue_list(me, list);
    destroy_list(me, list);
  }
  me->collecting = outer;
  if (me->garbage) fh__attend(&me->sync, FH__ATTEND_GARBAGE); /* a safepoint inside may have taken the bit */
  return true;
}
