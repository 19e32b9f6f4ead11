/* SPDX-License-Identifier: MIT */
#include "collect/garbage.h"

#include "base/trap.h"
#include "collect/closed.h"
#include "collect/collect.h"
#include "collect/saved.h"
#include "object/cells.h"
#include "ref/candidate.h"
#include "ref/destroy.h"
#include "ref/merge.h"
#include "ref/publish.h"
#include "ref/weak.h"
#include "ref/weakmap.h"
#include "sync/stop.h"

/* ---- in the stop: sorting ---- */

struct sorting {
  struct fh__mutator *me;
  struct fh__scan *scan;
  size_t count;
  size_t finalizers;
  bool private, published; /* there is such garbage */
  bool earlier;            /* garbage of earlier collections is not finished yet */
};

static bool wants_finalizer(const fh_object *object) {
  return fh__type_of(object)->finalize && !fh__has_flag(object, FH__FLAG_FINALIZED);
}

static struct fh__mutator *owner_of(const fh_object *object) {
  return fh__mutator_by_id(fh__owner_of(FH__LOAD(&object->fh__bias, RELAXED)));
}

/* Who will finish it. A mutator that sleeps in a blocking region, or has no thread, may do so for ever; one that is off line
 * for a moment of the runtime's own comes back by itself. */
static struct fh__mutator *finisher_of(const struct sorting *sorting, const fh_object *object) {
  if (fh__is_published(object) || fh__design_is(FH_DESIGN_GIL)) return sorting->me;
  struct fh__mutator *owner = owner_of(object);
  if (FH__UNLIKELY(owner->garbage_finalizes) && fh__pending_is_on()) return sorting->me; /* known when the first pass is over */
  return owner->sync.taken && !owner->returning ? sorting->me : owner;
}

static void note_one(void *context, fh_object *object) {
  struct sorting *sorting = context;
  if (fh__is_published(object))
    sorting->published = true;
  else
    sorting->private = true;
  if (!wants_finalizer(object)) return;
  sorting->finalizers++;
  finisher_of(sorting, object)->garbage_finalizes = true;
  if (fh__pending_is_on()) sorting->me->garbage_finalizes = true; /* they are all finished as one list */
}

/* When all is noted. */
static void assign_one(void *context, fh_object *object) { finisher_of(context, object)->garbage_count++; }

static void keep_published(void *context, fh__cell *cell) {
  fh_object *child = fh__cell_load(cell);
  if (!child || !fh__is_published(child)) return;
  struct fh__scan *scan = context;
  scan->kept = true;
  fh__scan_keep(scan, child);
}

static void keep_for_finalizers(void *context, fh_object *object) {
  struct sorting *sorting = context;
  struct fh__mutator *finisher = finisher_of(sorting, object);
  if (finisher != sorting->me && finisher->garbage_finalizes)
    fh__cells_each(fh__type_of(object), object, keep_published, sorting->scan);
}

static bool make_list(struct fh__mutator *finisher, uint32_t generation) {
  size_t room = finisher->garbage_count;
  if (!room) return true;
  struct fh__garbage *list = fh__backend_alloc(sizeof *list + room * sizeof(fh_object *));
  if (!list) return false;
  *list = (struct fh__garbage){.next = finisher->garbage, .generation = generation, .runs_code = finisher->garbage_finalizes};
  list->queued = list->runs_code && fh__pending_is_on();
  finisher->garbage = list;
  return true;
}

static void forget_new_lists(void) {
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) {
    struct fh__mutator *finisher = fh__mutator_of(sync);
    struct fh__garbage *list = finisher->garbage;
    finisher->garbage_count = 0;
    finisher->garbage_finalizes = false;
    if (!list || list->count) continue; /* a list that is new has no objects yet */
    finisher->garbage = list->next;
    fh__backend_free(list);
  }
}

static bool make_lists(uint32_t generation) {
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync))
    if (!make_list(fh__mutator_of(sync), generation)) {
      forget_new_lists();
      return false;
    }
  return true;
}

/* One count for the list; and a candidate again [candidate.held]. A published object is merged on the way, so that whoever finishes it
 * need not be its owner. */
static void hold(fh_object *object) {
  if (fh__is_published(object)) {
    uint32_t shared = FH__LOAD(&object->fh__shared, RELAXED);
    uint32_t local = fh__local_of(FH__LOAD(&object->fh__bias, RELAXED));
    FH__STORE_(&object->fh__bias, FH__BIAS_MARK, RELAXED);
    FH__STORE_(&object->fh__shared, (shared + (local + 1) * FH__ONE) | FH__MERGED, RELAXED);
  } else {
    FH__STORE_(&object->fh__shared, FH__LOAD(&object->fh__shared, RELAXED) + FH__ONE, RELAXED);
  }
  fh__candidate_again(object);
}

/* [weak.cleared]. True: a callback of the application runs before the garbage is destroyed. */
static bool lose_weak(struct fh__mutator *me, fh_object *object) {
  return FH__UNLIKELY(FH__LOAD(&object->fh__shared, RELAXED) & FH__WEAK) && fh__weak_clear(me, object, true);
}

static void enlist_one(void *context, fh_object *object) {
  struct sorting *sorting = context;
  struct fh__mutator *finisher = finisher_of(sorting, object);
  struct fh__garbage *list = finisher->garbage;
  bool foreign = finisher == sorting->me && !fh__owns(finisher, FH__LOAD(&object->fh__bias, RELAXED));
  if (foreign || list->queued) fh__publish_stopped(finisher, object); /* [pending.published] */
  hold(object);
  if (lose_weak(sorting->me, object) && !fh__pending_is_on()) list->runs_code = true; /* it is published: both are one */
  FH__STORE_(&object->fh__flags, FH__LOAD(&object->fh__flags, RELAXED) | FH__FLAG_GARBAGE, RELAXED);
  list->object[list->count++] = object;
  fh__track_chunk_of(object->fh__slot)->garbage++;
  sorting->count++;
}

struct crossing {
  const struct fh__scan *scan;
  bool from_private;
};

static void cross_cell(void *context, fh__cell *cell) {
  const struct crossing *crossing = context;
  fh_object *child = fh__cell_load(cell);
  if (!child || !fh__has_flag(child, FH__FLAG_GARBAGE)) return;
  bool other_list = crossing->from_private && fh__is_published(child);
  /* Garbage that this collection did not find is an earlier list's. */
  bool found_now = fh__scan_covers(crossing->scan, child->fh__slot) && crossing->scan->refs[child->fh__slot] != FH__SCAN_MARKED;
  bool earlier = !found_now;
  if (other_list || earlier) FH__OR(&child->fh__flags, FH__FLAG_CROSS, RELAXED);
}

static void cross_one(void *context, fh_object *object) {
  struct sorting *sorting = context;
  struct crossing crossing = {sorting->scan, !fh__is_published(object)};
  fh__cells_each(fh__type_of(object), object, cross_cell, &crossing);
}

static void hand_to_application(struct fh__mutator *me, size_t finalizers) {
  struct fh__garbage *list = me->garbage;
  if (!me->garbage_count || !list->queued) return;
  me->garbage = list->next;
  list->pending.finalizers = finalizers;
  fh__pending_push_list(me, &list->pending);
}

static void hand_out(struct fh__mutator *me, size_t finalizers) {
  hand_to_application(me, finalizers);
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) {
    struct fh__mutator *finisher = fh__mutator_of(sync);
    if (finisher->garbage_count && finisher != me) fh__attend(sync, FH__ATTEND_GARBAGE);
    finisher->garbage_count = 0;
    finisher->garbage_finalizes = false;
  }
}

static bool lists_wait(void) {
  if (fh__pending_is_on()) return true; /* perhaps */
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync))
    if (fh__mutator_of(sync)->garbage || fh__mutator_of(sync)->finalizing_garbage) return true;
  return false;
}

static size_t sort(struct fh__mutator *me, struct fh__scan *scan) {
  struct sorting sorting = {.me = me, .scan = scan, .earlier = lists_wait()};
  fh__scan_unmarked(scan, note_one, &sorting);
  fh__scan_unmarked(scan, assign_one, &sorting);
  if (!make_lists(scan->generation)) return SIZE_MAX;
  if (sorting.finalizers) fh__scan_unmarked(scan, keep_for_finalizers, &sorting); /* the lists have room for more than is left */
  fh__scan_unmarked(scan, enlist_one, &sorting);
  fh__weakmap_take_out_lost_stopped(me); /* all flags are set; and what is out crosses nothing */
  if (sorting.earlier || (sorting.private && sorting.published)) fh__scan_unmarked(scan, cross_one, &sorting);
  hand_out(me, sorting.finalizers);
  return sorting.count;
}

/* There was no memory for the lists: it waits for another collection. */
static size_t give_up(const struct fh__scan *scan, size_t count) {
  FH__ADD(&fh__collector.uncollectable[scan->generation], count, RELAXED);
  return SIZE_MAX;
}

static size_t save(struct fh__mutator *me, struct fh__scan *scan, size_t count) {
  size_t saved = fh__saved_sort(me, scan, count);
  if (saved != SIZE_MAX) FH__BUMP(&fh__collector.saved[scan->generation], count);
  return saved;
}

size_t fh__garbage_sort(struct fh__mutator *me, struct fh__scan *scan) {
  FH__ASSERT(scan->marked <= scan->objects, "scan.refs");
  size_t count = (size_t)(scan->objects - scan->marked);
  if (!count) return 0;
  size_t found;
  if (FH__UNLIKELY(FH__LOAD(&fh__collector.debug, RELAXED) & FH_GC_SAVE))
    found = save(me, scan, count);
  else
    found = fh__garbage_take_closed(me, scan) ? count : sort(me, scan);
  return found == SIZE_MAX ? give_up(scan, count) : found;
}

/* ---- finishing: finalizers and what they resurrect ---- */

/* Those that did not run, but at most so many; returns how many ran. A finalizer may end the thread: it has had its turn then. */
static size_t run_finalizers(struct fh__mutator *me, struct fh__garbage *list, size_t most) {
  size_t ran = 0;
  while (list->next_finalizer < list->count && ran < most) {
    fh_object *object = list->object[list->next_finalizer++];
    if (!wants_finalizer(object)) continue;
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
    if (fh__has_flag(list->object[i], FH__FLAG_GARBAGE)) (void)lose_weak(me, list->object[i]);
}

static void look_again(struct fh__mutator *me, const struct fh__garbage *list) {
  struct fh__scan scan;
  fh__mutator_lock_stop(me, fh__merge_own);
  fh__stop_begin(&me->sync);
  fh__merge_all_stopped(me);
  fh__scan_begin(&scan, FH__OLD);
  scan.strays = true; /* this list's, and what of other garbage it refers to */
  rescue_referenced(&scan, list);
  cross_others(&scan, list);
  lose_new_weak(me, list);
  fh__weakmap_take_out_lost_stopped(me);
  fh__scan_end(&scan);
  fh__stop_end(&me->sync);
  fh__merge_after_resume(me);
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
