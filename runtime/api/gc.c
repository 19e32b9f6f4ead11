/* SPDX-License-Identifier: MIT */
/* The collector's public face. */
#include <freehold/gc.h>
#include <freehold/runtime.h>

#include <stdlib.h>

#include "api/safepoint.h"
#include "base/trap.h"
#include "collect/callback.h"
#include "collect/check.h"
#include "collect/collect.h"
#include "collect/found.h"
#include "collect/saved.h"

/* ---- collecting ---- */

size_t fh_collect(int generation) {
  struct fh__mutator *me = fh__self_at_safepoint("fh_collect");
  if (!me) return 0;
  return fh__safepoint_collect(me, generation < FH__YOUNG ? FH__YOUNG : generation > FH__OLD ? FH__OLD : (uint32_t)generation);
}

void fh_gc_enable(void) { FH__STORE_(&fh__shared.gc_enabled, true, RELAXED); }
void fh_gc_disable(void) { FH__STORE_(&fh__shared.gc_enabled, false, RELAXED); }
bool fh_gc_is_enabled(void) { return FH__LOAD(&fh__shared.gc_enabled, RELAXED); }

fh_status fh_check_heap(void) {
  struct fh__mutator *me = fh__self_at_safepoint("fh_check_heap");
  if (!me) return FH_EAGAIN;
  fh__critical_suspend(me);
  fh_status status = fh__check_heap(me);
  fh__critical_resume(me);
  return status;
}

/* ---- freezing ---- */

fh_status fh_gc_freeze(void) {
  struct fh__mutator *me = fh__self_at_safepoint("fh_gc_freeze");
  if (!me) return FH_EAGAIN;
  if (fh_is_stopping()) return FH_ESHUTDOWN; /* what was frozen then would leak */
  fh__critical_suspend(me);
  fh__collect_freeze(me);
  fh__critical_resume(me);
  return FH_OK;
}

fh_status fh_gc_unfreeze(void) {
  struct fh__mutator *me = fh__self_at_safepoint("fh_gc_unfreeze");
  if (!me) return FH_EAGAIN;
  fh__critical_suspend(me);
  fh__collect_unfreeze(me);
  fh__critical_resume(me);
  return FH_OK;
}

uint64_t fh_gc_freeze_count(void) {
  (void)fh__self_or_trap("fh_gc_freeze_count", NULL);
  return fh__track_count_frozen();
}

/* ---- thresholds ---- */

static const uint64_t most[FH__GENERATIONS] = {(uint64_t)1 << 31, (uint64_t)1 << 31, 10000};

fh_status fh_gc_thresholds_set(const uint64_t thresholds[3]) {
  for (int i = 0; i < FH__GENERATIONS; i++)
    if (!thresholds[i] || thresholds[i] > most[i]) return FH_EINVAL;
  for (int i = 0; i < FH__GENERATIONS; i++) FH__STORE_(&fh__collector.threshold[i], thresholds[i], RELAXED);
  fh__collect_pace_anew();
  return FH_OK;
}

void fh_gc_thresholds_get(uint64_t thresholds_out[3]) {
  for (int i = 0; i < FH__GENERATIONS; i++) thresholds_out[i] = FH__LOAD(&fh__collector.threshold[i], RELAXED);
}

void fh_gc_counts(uint64_t counts_out[3]) {
  counts_out[FH__YOUNG] = FH__LOAD(&fh__track.opened, RELAXED);
  counts_out[FH__MIDDLE] = FH__LOAD(&fh__collector.young_since, RELAXED);
  counts_out[FH__OLD] = FH__LOAD(&fh__collector.became_old, RELAXED);
}

/* ---- an object ---- */

bool fh_gc_is_tracked(const void *object) { return fh__type_of(object)->tracked; }

bool fh_gc_is_finalized(const void *object) { return fh__has_flag(object, FH__FLAG_FINALIZED); }

int fh_gc_generation(const void *object) {
  const fh_object *header = object;
  return fh__type_of(header)->tracked && header->fh__slot ? (int)fh__track_generation_of(header->fh__slot) : -1;
}

/* ---- callbacks ---- */

fh_status fh_gc_callback_add(fh_gc_function function, void *context) {
  if (!function) return FH_EINVAL;
  return fh__is_up() ? fh__callback_add(function, context) : FH_ESHUTDOWN;
}

/* The wait is a blocking region: the callback may stop the world. */
static void await_calls(struct fh__callback *callback) {
  bool bound = fh__thread.mutator != NULL;
  if (bound) fh_blocking_begin();
  fh__callback_await(callback);
  if (bound) (void)fh_blocking_end();
}

fh_status fh_gc_callback_remove(fh_gc_function function, void *context) {
  if (!fh__is_up()) return FH_ESHUTDOWN;
  const struct fh__mutator *me = fh__thread.mutator;
  struct fh__callback *awaited;
  fh_status status = fh__callback_remove(function, context, !me || !me->gc_callback, &awaited);
  if (awaited) await_calls(awaited);
  return status;
}

/* ---- looking into the heap ---- */

fh_status fh_gc_debug_set(uint32_t flags) {
  if (flags & ~(uint32_t)(FH_GC_SAVE | FH_GC_LOG)) return FH_EINVAL;
  FH__STORE_(&fh__collector.debug, flags, RELAXED);
  return FH_OK;
}

uint32_t fh_gc_debug_get(void) { return FH__LOAD(&fh__collector.debug, RELAXED); }

fh_status fh_gc_saved(const fh_type *type, fh_gc_visit visit, void *context) {
  struct fh__found found = {.me = fh__self_at_safepoint("fh_gc_saved"), .type = type};
  if (!found.me) return FH_EAGAIN;
  fh__saved_find(&found);
  return fh__found_show(&found, visit, context);
}

size_t fh_gc_saved_clear(void) {
  (void)fh__self_or_trap("fh_gc_saved_clear", NULL);
  return fh__saved_clear();
}

fh_status fh_gc_objects(int generation, const fh_type *type, fh_gc_visit visit, void *context) {
  struct fh__found found = {.me = fh__self_at_safepoint("fh_gc_objects"), .type = type};
  if (!found.me) return FH_EAGAIN;
  if (generation < -1 || generation > FH__FROZEN) return FH_EINVAL;
  fh__critical_suspend(found.me);
  fh__find_objects(&found, generation);
  fh__critical_resume(found.me);
  return fh__found_show(&found, visit, context);
}

static int compare_addresses(const void *a, const void *b) {
  const fh_object *const *left = a, *const *right = b;
  return (*left > *right) - (*left < *right);
}

static fh_object **sort_addresses(void *const objects[], size_t count) {
  fh_object **sorted = fh__backend_alloc((count + 1) * sizeof(fh_object *));
  if (!sorted) return NULL;
  for (size_t i = 0; i < count; i++) sorted[i] = objects[i];
  qsort(sorted, count, sizeof *sorted, compare_addresses);
  return sorted;
}

fh_status fh_gc_referrers(void *const objects[], size_t count, const fh_type *type, fh_gc_visit visit, void *context) {
  struct fh__found found = {.me = fh__self_at_safepoint("fh_gc_referrers"), .type = type};
  if (!found.me) return FH_EAGAIN;
  fh_object **sorted = sort_addresses(objects, count);
  if (!sorted) return FH_ENOMEM;
  fh__critical_suspend(found.me);
  fh__find_referrers(&found, sorted, count);
  fh__critical_resume(found.me);
  fh__backend_free(sorted);
  return fh__found_show(&found, visit, context);
}

fh_status fh_gc_referents(void *object, const fh_type *type, fh_gc_visit visit, void *context) {
  struct fh__found found = {.me = fh__self_at_safepoint("fh_gc_referents"), .type = type};
  if (!found.me) return FH_EAGAIN;
  if (FH__CHECKED) fh__check_object("fh_gc_referents", object);
  fh__critical_suspend(found.me);
  fh__find_referents(&found, object);
  fh__critical_resume(found.me);
  return fh__found_show(&found, visit, context);
}
