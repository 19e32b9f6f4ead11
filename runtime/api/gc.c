/* SPDX-License-Identifier: MIT */
/* The collector's public face. */
#include <freehold/gc.h>

#include "api/safepoint.h"
#include "collect/check.h"
#include "collect/collect.h"

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

/* ---- thresholds ---- */

static const uint64_t most[FH__GENERATIONS] = {(uint64_t)1 << 31, (uint64_t)1 << 31, 10000};

fh_status fh_gc_thresholds_set(const uint64_t thresholds[3]) {
  for (int i = 0; i < FH__GENERATIONS; i++)
    if (!thresholds[i] || thresholds[i] > most[i]) return FH_EINVAL;
  for (int i = 0; i < FH__GENERATIONS; i++) FH__STORE_(&fh__collector.threshold[i], thresholds[i], RELAXED);
  FH__STORE_(&fh__track.due, thresholds[FH__YOUNG], RELAXED);
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

int fh_gc_generation(const void *object) {
  const fh_object *header = object;
  return fh__type_of(header)->tracked && header->fh__slot ? (int)fh__track_generation_of(header->fh__slot) : -1;
}
