/* SPDX-License-Identifier: MIT */
/* In the stop: what was not marked is sorted into lists, one for each mutator that will finish some of it. */
#include "base/trap.h"
#include "collect/closed.h"
#include "collect/collect.h"
#include "collect/saved.h"
#include "object/cells.h"
#include "ref/candidate.h"
#include "ref/destroy.h"
#include "ref/publish.h"
#include "ref/weak.h"
#include "ref/weakmap.h"

/* ---- who finishes what ---- */

struct sorting {
  struct fh__mutator *me;
  struct fh__scan *scan;
  size_t count;
  size_t finalizers;
  bool private, published; /* there is such garbage */
  bool earlier;            /* garbage of earlier collections is not finished yet */
};

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
  if (!fh__ref_wants_finalizer(object)) return;
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

/* ---- lists ---- */

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

static void enlist_one(void *context, fh_object *object) {
  struct sorting *sorting = context;
  struct fh__mutator *finisher = finisher_of(sorting, object);
  struct fh__garbage *list = finisher->garbage;
  bool foreign = finisher == sorting->me && !fh__owns(finisher, FH__LOAD(&object->fh__bias, RELAXED));
  if (foreign || list->queued) fh__publish_stopped(finisher, object); /* [pending.published] */
  hold(object);
  if (fh__weak_lose(sorting->me, object) && !fh__pending_is_on()) list->runs_code = true; /* it is published: both are one */
  FH__STORE_(&object->fh__flags, FH__LOAD(&object->fh__flags, RELAXED) | FH__FLAG_GARBAGE, RELAXED);
  list->object[list->count++] = object;
  fh__track_chunk_of(object->fh__slot)->garbage++;
  sorting->count++;
}

/* ---- references between lists ---- */

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

/* ---- all of it ---- */

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
