/* SPDX-License-Identifier: MIT */
#include "mutator/pressure.h"

#include "base/clock.h"
#include "base/trap.h"
#include "memory/system.h"

struct fh__pressure fh__pressure;

/* ---- limits ---- */

fh_status fh__pressure_limits(size_t soft, size_t hard, int64_t *soft_out, int64_t *hard_out) {
  if (hard == FH_LIMIT_CGROUP) {
    size_t container = fh__system_cgroup_limit("/proc/self/cgroup", "/sys/fs/cgroup");
    if (!container) return FH_ENOTFOUND;
    hard = container / 5 * 4;
  }
  if (soft > INT64_MAX || hard > INT64_MAX || (hard && soft > hard)) return FH_EINVAL;
  *hard_out = hard ? (int64_t)hard : INT64_MAX;
  *soft_out = soft ? (int64_t)soft : hard ? (int64_t)(hard / 4 * 3) : INT64_MAX;
  return FH_OK;
}

/* ---- going up ---- */

static void note_event(struct fh__mutator *me, fh_memory_event event) {
  me->events |= 1u << event;
  fh__attend(&me->sync, FH__ATTEND_LIMIT);
}

/* Moves the level up to `event`; only the one who did has it told. */
static void rise_to(struct fh__mutator *me, fh_memory_event event) {
  uint32_t level = FH__LOAD(&fh__pressure.level, RELAXED);
  while (level < (uint32_t)event)
    if (FH__CAS(&fh__pressure.level, &level, (uint32_t)event, RELAXED)) { /* relaxed: a number, ordered with nothing */
      note_event(me, event);
      return;
    }
}

/* Others may hold credit that they do not use. */
static void call_credits_in(void) {
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync))
    if (fh__state_of(sync) == FH__ATTACHED) fh__attend(sync, FH__ATTEND_LIMIT);
}

static void refuse(struct fh__mutator *me) {
  me->refused = -FH__LOAD(&me->account.credit, RELAXED);
  FH__ADD(&fh__pressure.refused, 1, RELAXED);
  if (!FH__SWAP(&fh__pressure.emergency, 1, RELAXED)) call_credits_in();
  rise_to(me, FH_MEMORY_HARD);
  fh__attend(&me->sync, FH__ATTEND_COLLECT);
}

FH__COLD bool fh__pressure_draw(struct fh__mutator *me) {
  if (!fh__account_draw(&me->account)) {
    refuse(me);
    return false;
  }
  me->refused = 0;
  if (FH__UNLIKELY(fh__account_is_tight())) {
    rise_to(me, FH_MEMORY_SOFT);
    fh__attend(&me->sync, FH__ATTEND_COLLECT); /* where it is looked at whether one is due */
  }
  return true;
}

FH__COLD void fh__pressure_overdraw(struct fh__mutator *me) {
  if (fh__account_draw(&me->account)) return;
  fh__account_settle(&me->account);
  refuse(me);
}

/* ---- going down ---- */

void fh__pressure_ease(struct fh__mutator *me) {
  uint32_t level = FH__LOAD(&fh__pressure.level, RELAXED);
  if (level == FH_MEMORY_EASED) return;
  bool tight = fh__account_is_tight();
  uint32_t next = tight ? FH_MEMORY_SOFT : FH_MEMORY_EASED;
  if (level == next || !FH__CAS(&fh__pressure.level, &level, next, RELAXED)) return;
  if (!tight) note_event(me, FH_MEMORY_EASED);
}

/* ---- telling ---- */

void fh__pressure_tell(struct fh__mutator *me) {
  fh__account_settle(&me->account);
  fh_memory_function tell = fh__shared.options.memory;
  if (me->telling) return;
  me->telling = true;
  while (me->events) {
    uint32_t event = 31u - (uint32_t)__builtin_clz(me->events); /* the worst first */
    me->events &= ~(1u << event);
    if (tell) tell(fh__shared.options.memory_context, (fh_memory_event)event);
  }
  me->telling = false;
}

/* ---- collections ---- */

bool fh__pressure_is_emergency(void) {
  return FH__LOAD(&fh__pressure.emergency, RELAXED) && fh__clock_ns() >= FH__LOAD(&fh__pressure.rest_until, RELAXED);
}

void fh__pressure_note_collection(uint64_t began_ns, uint64_t ended_ns) {
  if (FH__SWAP(&fh__pressure.emergency, 0, RELAXED)) FH__ADD(&fh__pressure.emergencies, 1, RELAXED);
  FH__STORE_(&fh__pressure.rest_until, ended_ns + (ended_ns - began_ns), RELAXED);
}

void fh__pressure_credits_stopped(void) {
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) fh__account_settle(&fh__mutator_of(sync)->account);
}

uint64_t fh__pressure_scale(uint64_t entries) {
  int64_t drawn = FH__LOAD(&fh__account.drawn, RELAXED);
  int64_t soft = FH__LOAD(&fh__account.soft, RELAXED), hard = FH__LOAD(&fh__account.hard, RELAXED);
  if (FH__LIKELY(drawn <= soft) || entries == UINT64_MAX) return entries;
  if (hard == INT64_MAX) return entries / 4;
  /* In proportion to what is left between the two limits, down to a sixteenth. */
  double left = hard > soft ? (double)(hard - drawn) / (double)(hard - soft) : 0;
  return (uint64_t)((double)entries * (left > 1.0 / 16 ? left : 1.0 / 16));
}
