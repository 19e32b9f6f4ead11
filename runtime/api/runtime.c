/* SPDX-License-Identifier: MIT */
/* The runtime's life. Phases: DOWN -> RUNNING (fh_init) -> ENDING (fh_shutdown) -> DOWN, or back to RUNNING where somebody is
 * still attached. All moves under the runtime's lock; attaching threads read the phase without it, and the registry,
 * closed under its own lock, keeps out those who come late (api/attach.c). */
#include <freehold/freehold.h>

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "api/attach.h"
#include "api/finalize.h"
#include "api/fork.h"
#include "api/safepoint.h"
#include "api/weak.h"
#include "base/clock.h"
#include "base/trap.h"
#include "collect/callback.h"
#include "collect/collect.h"
#include "collect/pace.h"
#include "collect/saved.h"
#include "memory/system.h"
#include "mutator/pressure.h"
#include "mutator/straggler.h"
#include "ref/finalizer.h"
#include "ref/pending.h"
#include "ref/relief.h"
#include "ref/slot.h"
#include "ref/weak.h"
#include "sync/crew.h"
#include "sync/grace.h"
#include "sync/stop.h"

static struct fh__mutex lock = FH__MUTEX(FH__RANK_RUNTIME);
static uint32_t users;

const char *fh_status_name(fh_status status) {
  static const char *const names[] = {"FH_OK",       "FH_ENOMEM",    "FH_ELIMIT", "FH_EINVAL", "FH_EVERSION",
                                      "FH_ESHUTDOWN", "FH_EBUSY",     "FH_ENOTFOUND", "FH_EEXIST", "FH_ERANGE",
                                      "FH_EAGAIN",   "FH_ETIMEOUT",  "FH_ESHARED"};
  return (unsigned)status < sizeof names / sizeof *names ? names[status] : "FH_?";
}

const char *fh_version(void) {
  return FH__STRINGIFY(FH_VERSION_MAJOR) "." FH__STRINGIFY(FH_VERSION_MINOR) "." FH__STRINGIFY(FH_VERSION_PATCH) " (" FH__BUILD_NAME ")";
}

/* ---- init ---- */

static bool fits(uint64_t value, uint64_t most) { return value <= most; }

static uint32_t default_workers(void) {
  uint32_t processors = fh__system_processors("/proc/self/cgroup", "/sys/fs/cgroup");
  return processors < FH__CREW_MAX ? processors : FH__CREW_MAX;
}

static fh_status fill_options(fh_options *filled, const fh_options *given, size_t size) {
  *filled = (fh_options){.size = sizeof *filled};
  if (given) {
    if (given->size && given->size != size) return FH_EVERSION;
    *filled = *given;
  }
  if (filled->flags >= FH_OPTION_NO_CANDIDATES << 1) return FH_EINVAL;
  if (filled->reserved || !fits(filled->finalizers, FH_FINALIZERS_QUEUE)) return FH_EINVAL;
  if (!fits(filled->watchdog_ms, 3600000) && filled->watchdog_ms != FH_WATCHDOG_OFF) return FH_EINVAL;
  if (!fits(filled->gc_overhead, FH__PACE_NO_OVERHEAD) || !fits(filled->gc_pause_us, 1000000)) return FH_EINVAL;
  if (!fits(filled->design, FH__SWITCHABLE ? FH_DESIGN_GIL : FH_DESIGN_BIASED) || !fits(filled->fork, FH_FORK_FORBID)) return FH_EINVAL;
  if (!fits(filled->gc_threshold, (uint64_t)1 << 31) || !fits(filled->gc_percent, 10000) || !fits(filled->limbo_batch, (size_t)1 << 30) ||
      !fits(filled->gil_switch_us, 1000000) || !fits(filled->gc_workers, FH__CREW_MAX))
    return FH_EINVAL;
  if (!filled->gc_threshold) filled->gc_threshold = FH__GC_THRESHOLD;
  if (!filled->gc_percent) filled->gc_percent = 100;
  if (!filled->gc_workers) filled->gc_workers = default_workers();
  if (!filled->gc_overhead) filled->gc_overhead = FH__GC_OVERHEAD;
  if (!filled->watchdog_ms) filled->watchdog_ms = FH__WATCHDOG_MS;
  if (!filled->gil_switch_us) filled->gil_switch_us = FH__GIL_SWITCH_US;
  if (!filled->limbo_batch) filled->limbo_batch = FH__LIMBO_BATCH;
  return FH_OK;
}

static void start(const fh_options *options, int64_t soft, int64_t hard) {
  if (FH__TORTURE) fh__torture_start();
  fh__log_to(options->log, options->log_context);
  fh__shared.options = *options;
  fh__account_start(soft, hard);
  fh__pressure = (struct fh__pressure){0};
  FH__STORE_(&fh__shared.fork, options->fork, RELAXED);
  /* Forks while the runtime was down, or was being taken apart, counted. */
  FH__STORE_(&fh__stop.count, 0, RELAXED);
  FH__STORE_(&fh__shared.forks, 0, RELAXED);
  fh__durations_reset();
  fh__straggler_start(options);
  fh__shared.design = options->design;
  fh__types_start(options->design == FH_DESIGN_ATOMIC);
  fh__gil.on = options->design == FH_DESIGN_GIL;
  fh__gil.interval_ns = (uint64_t)options->gil_switch_us * 1000u;
  fh__shared.out_of_line = FH__CHECKED || (options->flags & FH_OPTION_COUNT_PATHS);
  fh__shared.gc_enabled = !(options->flags & FH_OPTION_GC_OFF);
  fh__shared.heap_is_ours = !(options->flags & FH_OPTION_SHARED_HEAP) && !fh__backend_is_hosts();
  fh__inbox_init(&fh__shared.later);
  fh__weak_start();
  fh__pending_start();
  fh__crew.limit = options->gc_workers;
  FH__STORE_(&fh__crew.helped, 0, RELAXED);
  fh__collect_start(options);
}

static fh_status init_locked(const fh_options *options, size_t size) {
  uint32_t phase = FH__LOAD(&fh__shared.phase, RELAXED);
  if (phase == FH__PHASE_ENDING) return FH_ESHUTDOWN;
  fh_options filled;
  fh_status status = fill_options(&filled, options, size);
  if (status) return status;
  if (phase == FH__PHASE_RUNNING) {
    users++;
    return FH_EEXIST;
  }
  int64_t soft, hard;
  status = fh__pressure_limits(filled.soft_limit, filled.hard_limit, &soft, &hard);
  if (status) return status;
  start(&filled, soft, hard);
  users = 1;
  fh__registry_set_open();
  FH__STORE_(&fh__shared.phase, FH__PHASE_RUNNING, RELEASE); /* partner: the acquire of every attach */
  return FH_OK;
}

fh_status fh__init(const fh_options *options, size_t size, uint32_t abi) {
  if (abi != FH_ABI || size != sizeof(fh_options)) return FH_EVERSION;
  if (fh__is_barred()) return FH_ESHUTDOWN;
  fh__fork_watch(); /* before the lock is taken: from here on a fork finds it free */
  fh__mutex_lock(&lock);
  fh_status status = init_locked(options, size);
  fh__mutex_unlock(&lock);
  return status;
}

fh_design fh_design_get(void) { return (fh_design)fh__shared.design; }

const char *fh_design_name(fh_design design) {
  static const char *const names[] = {"biased", "atomic", "gil"};
  return (unsigned)design < sizeof names / sizeof *names ? names[design] : "?";
}

bool fh_is_stopping(void) { return FH__LOAD(&fh__shared.phase, RELAXED) == FH__PHASE_ENDING; }

/* ---- shutdown ---- */

static bool wait_until_alone(uint32_t wait_ms) {
  const struct timespec pause = {0, 500000};
  uint64_t deadline = fh__clock_ns() + (uint64_t)wait_ms * 1000000u;
  while (!fh__registry_close()) {
    if (fh__clock_ns() >= deadline) return false;
    nanosleep(&pause, NULL);
  }
  return true;
}

static uint64_t report_leaks(void) {
  uint64_t leaked = 0;
  for (uint32_t index = 1; index <= FH__TYPES_MAX; index++) {
    const fh_type *type = fh__types[index];
    uint64_t live = type ? fh_type_live(type) - FH__LOAD(&type->immortals, RELAXED) : 0;
    leaked += live;
    if (live && !(fh__shared.options.flags & FH_OPTION_QUIET))
      fh__log(FH_LOG_WARNING, "freehold: leak: %llu of type %s", (unsigned long long)live, type->name);
  }
  return leaked;
}

static void free_everything(void) {
  fh__mutex_lock(&fh__stop.lock);     /* a fork holds it */
  fh__mutex_lock(&fh__registry.lock); /* readers of statistics hold it */
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) {
    FH__STORE_(&fh__registry.table[fh__i.id], NULL, RELAXED); /* first: fh_dump takes no lock */
    fh__mutator_destroy(fh__mutator_of(sync));
  }
  fh__registry.count = fh__registry.free_head = 0;
  fh__registry.alive = false;
  fh__relief_finish();
  fh__registry.adoptions = 0;
  fh__roots_finish();
  fh__callbacks_finish();
  fh__saved_finish();
  fh__track_finish_shared();
  fh__weak_finish();
  fh__weak_forget_type();
  fh__finalizer_forget_type();
  fh__weakmap_forget_types();
  fh__types_finish();
  fh__account_start(INT64_MAX, INT64_MAX);
  fh__collector = (struct fh__collector){0};
  fh__gil.switches = 0;
  fh__grace = (struct fh__grace){0};
  fh__shared.gc_enabled = false;
  FH__STORE_(&fh__shared.stranded, 0, RELAXED);
  fh__mutex_unlock(&fh__registry.lock);
  fh__mutex_unlock(&fh__stop.lock);
  fh__backend_tidy();
}

/* Also what waits for a thread of the application. Finalizers of what has leaked are no leaks. */
static void settle_for_good(struct fh__mutator *me) {
  fh__safepoint_settle(me);
  if (fh__finalizers_forget(me)) fh__safepoint_settle(me);
}

/* By the last user, when nobody is attached and nobody can be. Runs application code: no lock is held. */
static uint64_t end(void) {
  /* Every mutator in turn: some may have left finalizers or garbage that are theirs alone. The first calls what is to be called
   * while everything lives, and clears the roots; the last look is at the whole. */
  uint32_t count = fh__registry_count();
  for (uint32_t id = 1; id <= count; id++) {
    fh__bind_for_shutdown(id);
    if (id == 1) fh__collect_keep_nothing(fh__self());
    if (id == 1) fh__finalizers_at_exit(fh__self());
    fh__roots_clear();
    if (id == count) settle_for_good(fh__self());
    fh__unbind(fh__self()); /* finishes its work */
  }
  uint64_t leaked = report_leaks();
  free_everything();
  return leaked;
}

static fh_status begin_ending_locked(void) {
  if (FH__LOAD(&fh__shared.phase, RELAXED) != FH__PHASE_RUNNING) return FH_ESHUTDOWN;
  if (fh__thread.mutator && users == 1) return FH_EBUSY;
  if (--users) return FH_EEXIST; /* others use it on */
  FH__STORE_(&fh__shared.phase, FH__PHASE_ENDING, RELEASE);
  return FH_OK;
}

static void set_phase(uint32_t phase, uint32_t users_now) {
  fh__mutex_lock(&lock);
  users = users_now;
  FH__STORE_(&fh__shared.phase, phase, RELEASE);
  fh__mutex_unlock(&lock);
}

static fh_status shut_down(uint32_t wait_ms, uint64_t *leaked_out) {
  if (fh__is_barred()) return FH_ESHUTDOWN;
  fh__mutex_lock(&lock);
  fh_status status = begin_ending_locked();
  fh__mutex_unlock(&lock);
  if (status == FH_EEXIST) { /* others use it on: nothing leaked yet */
    if (leaked_out) *leaked_out = 0;
    return FH_OK;
  }
  if (status) return status;
  if (!wait_until_alone(wait_ms)) {
    set_phase(FH__PHASE_RUNNING, 1);
    return FH_EBUSY;
  }
  uint64_t leaked = end();
  if (leaked_out) *leaked_out = leaked;
  set_phase(FH__PHASE_DOWN, 0);
  return FH_OK;
}

/* A thread that is cancelled on the way would leave a runtime that is ending for ever. */
fh_status fh_shutdown(uint32_t wait_ms, uint64_t *leaked_out) {
  int cancel_state;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
  fh_status status = shut_down(wait_ms, leaked_out);
  pthread_setcancelstate(cancel_state, &cancel_state);
  return status;
}

/* ---- fork ---- */

void fh__runtime_lock(void) { fh__mutex_lock(&lock); }
void fh__runtime_unlock(void) { fh__mutex_unlock(&lock); }

bool fh__runtime_survives_fork(bool forker_is_bound) {
  if (FH__LOAD(&fh__shared.phase, RELAXED) != FH__PHASE_ENDING) return true;
  if (!fh__registry.open) return forker_is_bound; /* a finalizer of the shutdown forked: its thread goes on */
  users = 1; /* somebody waited for the others to detach, and had changed nothing yet */
  FH__STORE_(&fh__shared.phase, FH__PHASE_RUNNING, RELAXED);
  return true;
}
