/* SPDX-License-Identifier: MIT */
#include <freehold/memory.h>
#include <freehold/stats.h>

#include "collect/collect.h"
#include "collect/scan.h"
#include "mutator/pressure.h"
#include "sync/crew.h"
#include "sync/grace.h"
#include "sync/stop.h"

uint64_t fh_histogram_quantile(const fh_histogram *histogram, double share) {
  uint64_t seen = 0;
  for (int i = 0; i < 40; i++) {
    seen += histogram->bucket[i];
    if (seen && (double)seen >= share * (double)histogram->count) {
      uint64_t top = ((uint64_t)2 << i) - 1;
      return top < histogram->max_ns ? top : histogram->max_ns;
    }
  }
  return histogram->max_ns;
}

static uint64_t not_negative(int64_t value) { return value > 0 ? (uint64_t)value : 0; }

#define ADD(field, counter) stats->field += FH__LOAD(&counters->counter, RELAXED)

static void add_counters(fh_stats *stats, const struct fh__counters *counters) {
  ADD(objects_destroyed, destroyed);
  ADD(objects_destroyed, plain_deaths);
  ADD(private_deaths, plain_deaths);
  ADD(owner_releases, plain_deaths);
  ADD(private_deaths, private_deaths);
  ADD(objects_immortal, immortal);
  ADD(owner_retains, owner_retains);
  ADD(owner_releases, owner_releases);
  ADD(stranger_retains, stranger_retains);
  ADD(stranger_releases, stranger_releases);
  ADD(immortal_skips, immortal_skips);
  ADD(spills, spills);
  ADD(take_backs, take_backs);
  ADD(merges, merges);
  ADD(queued, queued);
  ADD(drained, drained);
  ADD(claimed, claimed);
  ADD(claims, claims);
  ADD(published_deaths, published_deaths);
  ADD(published, published);
  ADD(overflows, overflows);
  ADD(finalized, finalized);
  ADD(resurrected, resurrected);
  ADD(collected, collected);
}

static void add_mutators(fh_stats *stats) {
  int64_t credit = 0, items = 0, buffers = 0, dead = 0;
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) {
    const struct fh__mutator *mutator = fh__mutator_of(sync);
    add_counters(stats, &mutator->counters);
    credit += FH__LOAD(&mutator->account.credit, RELAXED);
    items += FH__LOAD(&mutator->account.items, RELAXED);
    buffers += FH__LOAD(&mutator->account.buffers, RELAXED);
    stats->limbo_bytes += FH__LOAD(&mutator->limbo.bytes, RELAXED);
    dead += (int64_t)FH__LOAD(&mutator->limbo.dead, RELAXED);
  }
  stats->live_bytes = not_negative(FH__LOAD(&fh__account.drawn, RELAXED) - credit - dead);
  stats->object_bytes = not_negative(items);
  stats->buffer_bytes = not_negative(buffers);
}

static void add_live(fh_stats *stats) {
  for (uint32_t index = 1; index <= FH__TYPES_MAX; index++) {
    fh_type *type = FH__LOAD(&fh__types[index], ACQUIRE); /* partner: registration */
    if (!type) continue;
    uint64_t live = fh_type_live(type);
    stats->objects_live += live;
    if (type->tracked) stats->objects_tracked += live;
    if (!type->item_size) stats->object_bytes += live * type->usable;
  }
  /* Not counted on the fast path, but derived. */
  stats->objects_made = stats->objects_live + stats->objects_destroyed;
}

static void add_durations(fh_stats *stats) {
  fh__mutex_lock(&fh__durations.lock);
  stats->time_to_stop = fh__durations.time_to_stop;
  stats->time_stopped = fh__durations.time_stopped;
  stats->gc_total = fh__durations.gc_total;
  for (int i = 0; i < FH__GENERATIONS; i++) {
    stats->generation[i].time_to_stop = fh__collect_durations.time_to_stop[i];
    stats->generation[i].pause = fh__collect_durations.pause[i];
    stats->generation[i].total = fh__collect_durations.total[i];
  }
  fh__mutex_unlock(&fh__durations.lock);
}

static void add_generation(fh_stats *stats, int i) {
  fh_generation_stats *generation = &stats->generation[i];
  generation->collections = FH__LOAD(&fh__collector.collections[i], RELAXED);
  generation->scanned = FH__LOAD(&fh__collector.scanned[i], RELAXED);
  generation->found = FH__LOAD(&fh__collector.found[i], RELAXED);
  generation->collected = FH__LOAD(&fh__collector.collected[i], RELAXED);
  generation->resurrected = FH__LOAD(&fh__collector.resurrected[i], RELAXED);
  generation->uncollectable = FH__LOAD(&fh__collector.uncollectable[i], RELAXED);
  generation->saved = FH__LOAD(&fh__collector.saved[i], RELAXED);
  generation->failed = FH__LOAD(&fh__collector.failures[i], RELAXED);
  stats->collections += generation->collections;
  stats->scanned += generation->scanned;
}

static void fill(fh_stats *stats) {
  add_mutators(stats);
  add_live(stats);
  stats->peak_bytes = not_negative(FH__LOAD(&fh__account.peak, RELAXED));
  if (stats->peak_bytes < stats->live_bytes) stats->peak_bytes = stats->live_bytes;
  size_t soft, hard;
  fh_limits_get(&soft, &hard);
  stats->soft_limit = soft;
  stats->hard_limit = hard;
  stats->refused = FH__LOAD(&fh__pressure.refused, RELAXED);
  stats->emergencies = FH__LOAD(&fh__pressure.emergencies, RELAXED);
  stats->mutators = fh__registry_count();
  stats->attached = FH__LOAD(&fh__registry.bound, RELAXED);
  stats->adoptions = FH__LOAD(&fh__registry.adoptions, RELAXED);
  stats->stops = FH__LOAD(&fh__stop.count, RELAXED);
  stats->gil_switches = FH__LOAD(&fh__gil.switches, RELAXED);
  stats->forks = FH__LOAD(&fh__shared.forks, RELAXED);
  stats->stranded = FH__LOAD(&fh__shared.stranded, RELAXED);
  stats->grace_periods = FH__LOAD(&fh__grace.completed, RELAXED);
  for (int i = 0; i < FH__GENERATIONS; i++) add_generation(stats, i);
  stats->collections_failed = FH__LOAD(&fh__collector.failed, RELAXED);
  stats->from_candidates = FH__LOAD(&fh__collector.from_candidates, RELAXED);
  stats->helped = FH__LOAD(&fh__crew.helped, RELAXED);
  stats->young_due = FH__LOAD(&fh__collector.young_due, RELAXED);
  stats->old_due = fh__collect_old_due();
  add_durations(stats);
}

fh_status fh_stats_get(fh_stats *stats) {
  if (!stats || stats->size != sizeof *stats) return FH_EVERSION;
  *stats = (fh_stats){.size = sizeof *stats};
  if (!fh__is_up()) return FH_ESHUTDOWN; /* also where the registry's lock may be held by nobody that is left */
  fh__mutex_lock(&fh__registry.lock); /* the end of the runtime takes it, too, before it frees what is read here */
  bool up = fh__is_up();
  if (up) fill(stats);
  fh__mutex_unlock(&fh__registry.lock);
  return up ? FH_OK : FH_ESHUTDOWN;
}

void fh_stats_reset_peak(void) { FH__STORE_(&fh__account.peak, FH__LOAD(&fh__account.drawn, RELAXED), RELAXED); }
