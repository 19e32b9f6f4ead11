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

/* What is told last is how things are: EASED is told after the others, and taken out where it no longer holds. */
static void note_event(struct fh__mutator *me, fh_memory_event event) {
  if (event != FH_MEMORY_EASED) me->events &= ~(1u << FH_MEMORY_EASED);
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

static void ask_for_help(struct fh__mutator *me) {
  /* Where no collection will answer, each refusal calls them in. */
  if (!FH__SWAP(&fh__pressure.emergency, 1, RELAXED) || !FH__LOAD(&fh__shared.gc_enabled, RELAXED)) call_credits_in();
  rise_to(me, FH_MEMORY_HARD);
  fh__attend(&me->sync, FH__ATTEND_COLLECT);
}

FH__COLD bool fh__pressure_draw(struct fh__mutator *me, size_t bytes) {
  if (!fh__account_draw(&me->account)) {
    me->refused = (int64_t)bytes;
    FH__ADD(&fh__pressure.refused, 1, RELAXED);
    ask_for_help(me);
    return false;
  }
  me->refused = 0;
  if (FH__UNLIKELY(fh__account_is_tight())) {
    rise_to(me, FH_MEMORY_SOFT);
    fh__attend(&me->sync, FH__ATTEND_COLLECT); /* where it is looked at whether one is due */
  } else {
    fh__pressure_ease(me);
  }
  return true;
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
  /* What the callback brings up is told at the next turn, so that this one ends. */
  uint32_t events = me->events;
  for (uint32_t event = FH_MEMORY_HARD + 1; event-- > 0;) { /* the worst first */
    if (!(events & me->events & 1u << event)) continue;
    me->events &= ~(1u << event); /* before: the callback may end the thread */
    if (tell) tell(fh__shared.options.memory_context, (fh_memory_event)event);
  }
  me->telling = false;
  fh__pressure_ease(me); /* it may have made room */
  if (me->events) fh__attend(&me->sync, FH__ATTEND_LIMIT);
}

/* ---- collections ---- */

bool fh__pressure_wants_collection(void) { return FH__LOAD(&fh__pressure.emergency, RELAXED); }

bool fh__pressure_is_emergency(void) {
  return fh__pressure_wants_collection() && fh__clock_ns() >= FH__LOAD(&fh__pressure.rest_until, RELAXED);
}

void fh__pressure_note_collection(uint64_t began_ns, uint64_t now_ns) {
  FH__STORE_(&fh__pressure.rest_until, now_ns + (now_ns - began_ns), RELAXED);
}

void fh__pressure_collect_stopped(void) {
  bool emergency = FH__SWAP(&fh__pressure.emergency, 0, RELAXED);
  if (emergency) FH__ADD(&fh__pressure.emergencies, 1, RELAXED);
  if (!emergency && !fh__account_is_tight()) return;
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
