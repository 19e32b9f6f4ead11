/* SPDX-License-Identifier: MIT */
/* Threads come and go: fh_attach, fh_detach, blocking regions, and the nesting of the two. Even levels of fh__thread are
 * attached, odd ones blocking; attach inside a blocking region opens a new level, and its detach returns to the region. */
#include <freehold/lock.h>

#include <pthread.h>

#include "api/attach.h"
#include "api/safepoint.h"
#include "base/trap.h"
#include "base/where.h"
#include "collect/callback.h"
#include "collect/garbage.h"
#include "mutator/lost.h"
#include "ref/destroy.h"
#include "ref/merge.h"
#include "ref/relief.h"
#include "ref/weak.h"
#include "sync/stop.h"

/* ---- levels ---- */

static bool is_blocking(const struct fh__modes *modes) { return modes->top & 1; }

static void open_level(struct fh__modes *modes, const char *call) {
  if (modes->top + 1 == FH__MODE_DEPTH) fh__misuse(call, NULL, "attaches and blocking regions are nested too deeply");
  modes->level[++modes->top] = 1;
}

static void reset_levels(struct fh__modes *modes) {
  modes->top = 0;
  modes->level[0] = 1;
}

/* The critical sections of the code around a blocking region stay given up while code inside of it attaches. */
static void hide_sections(struct fh__mutator *me) {
  me->modes.hidden[me->modes.top] = me->critical;
  me->critical = NULL;
}

static void show_sections(struct fh__mutator *me) { me->critical = me->modes.hidden[me->modes.top]; }

/* ---- binding a mutator ---- */

static fh_status make_mutator(struct fh__mutator **made_out) {
  static const fh_status status[] = {FH_OK, FH_ELIMIT, FH_ESHUTDOWN};
  fh__mutex_lock(&fh__stop.lock); /* [stop.born]; and a fork finds it whole, or not at all */
  struct fh__mutator *mutator = fh__mutator_create();
  fh__registry_answer answer = mutator ? fh__registry_add(&mutator->sync) : FH__REGISTRY_FULL;
  if (mutator && answer == FH__REGISTRY_FITS) fh__mutator_born(mutator);
  fh__mutex_unlock(&fh__stop.lock);
  if (!mutator) return FH_ENOMEM;
  if (answer != FH__REGISTRY_FITS) fh__mutator_destroy(mutator);
  *made_out = mutator;
  return status[answer];
}

extern int __cxa_thread_atexit_impl(void (*function)(void *), void *argument, void *dso);
extern char __dso_handle; /* its address says which library or program this is */

/* A safepoint that pthread_exit came out of had taken what it attended to: it is raised again. */
static void resume_work(struct fh__mutator *me) {
  bool interrupted = me->finalizing || me->collecting;
  if (me->dying.first || me->lost_entries) fh__ref_defer_dying(me);
  me->destroying = me->losing = me->finalizing = me->collecting = me->telling = false;
  if (me->finalized_now) fh__ref_end_finalizer(me);
  if (me->weak_called) fh__weak_end_callback(me);
  fh__callback_left(me);
  fh__garbage_resume(me);
  if (interrupted) fh__attend(&me->sync, FH__ATTEND_WORK);
  if (me->events) fh__attend(&me->sync, FH__ATTEND_LIMIT);
}

static void leave_at_exit(struct fh__mutator *me) {
  if (is_blocking(&me->modes) && !fh_is_attached()) fh__mutator_go_online(me);
  reset_levels(&me->modes);
  me->no_safepoint = me->in_dealloc = 0;
  me->critical = NULL; /* it lived on the stack that is gone */
  while (me->held_count) fh_unlock(me->held[0]);
  resume_work(me); /* pthread_exit may have come out of anything */
  fh__unbind(me);
}

static void detach_at_exit(void *argument) {
  (void)argument;
  fh__thread.past_exit = true;
  if (fh__thread.mutator) leave_at_exit(fh__thread.mutator);
  if (!fh__thread.heap_is_ours) return;
  /* What the allocator does with a heap that ends must not be under way when somebody forks. */
  fh__mutex_lock(&fh__stop.lock);
  fh__backend_thread_done();
  fh__mutex_unlock(&fh__stop.lock);
}

/* Two lines. The first runs before pthread-key destructors, while the allocator's heap of this thread is alive. The second is for
 * threads that attach in such a destructor: the C library runs key destructors again as long as values are set. */
static pthread_key_t exit_key;
static bool has_exit_key;

static void make_exit_key(void) { has_exit_key = pthread_key_create(&exit_key, detach_at_exit) == 0; }

static void arm_exit(struct fh__thread *thread) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, make_exit_key);
  if (has_exit_key) pthread_setspecific(exit_key, thread);
  if (!thread->exit_registered) thread->exit_registered = __cxa_thread_atexit_impl(detach_at_exit, NULL, &__dso_handle) == 0;
}

/* A mutator can do without memory for a while only if it has a reserve for its queues. */
static bool fill_reserve(struct fh__mutator *me) {
  fh__producer_refill(&me->producer);
  return me->producer.spare_count > 0;
}

/* The mutator is bound to this thread: it comes in. */
static void come_in(struct fh__mutator *me, const char *name) {
  struct fh__thread *thread = &fh__thread;
  fh__state_set_name(&me->sync, name);
  fh__mutator_go_online(me);
  /* In a destructor of the thread's exit the allocator may delete the heap before the thread detaches. */
  thread->heap_is_ours = fh__shared.heap_is_ours; /* kept here: at its exit the thread may find another runtime being started */
  me->heap = thread->heap_is_ours && !thread->past_exit ? fh__backend_heap() : NULL;
  thread->mutator = me;
  if (!thread->number) thread->number = fh__thread_number();
  FH__STORE_(&me->sync.thread, thread->number, RELAXED);
  reset_levels(&me->modes);
  if (FH__UNLIKELY(me->lost)) {
    fh__lost_adopt(me);
    resume_work(me);
  }
}

static fh_status stay(struct fh__mutator *me) {
  struct fh__thread *thread = &fh__thread;
  if (!fill_reserve(me)) {
    fh__unbind(me);
    return FH_ENOMEM;
  }
  arm_exit(thread);
  if (FH__TORTURE) fh__attend(&me->sync, FH__ATTEND_COLLECT);
  fh_safepoint();
  return FH_OK;
}

static fh_status bind(const char *name) {
  if (FH__LOAD(&fh__shared.phase, ACQUIRE) != FH__PHASE_RUNNING) return FH_ESHUTDOWN; /* partner: fh__init */
  struct fh__sync_local *sync = fh__registry_adopt();
  struct fh__mutator *me = sync ? fh__mutator_of(sync) : NULL;
  fh_status status = sync ? FH_OK : make_mutator(&me); /* the registry may have been closed meanwhile */
  if (status) return status;
  come_in(me, name);
  return stay(me);
}

/* Without a reserve: nobody else runs, so what the queues cannot take is merged in the owner's place. */
void fh__bind_for_shutdown(uint32_t id) { come_in(fh__mutator_of(fh__registry_adopt_closed(id)), "shutdown"); }

static bool has_work(const struct fh__mutator *me) {
  return fh__ref_has_finalizers(me) || fh__weak_has_callbacks(me) || me->deferred.first || me->garbage;
}

/* Finishes what waits for this thread; finalizers may make more of it, but not for ever. */
static void finish_work(struct fh__mutator *me) {
  enum { ROUNDS = 100 };
  for (int round = 0; round < ROUNDS; round++) {
    fh__merge_own(me);
    fh__safepoint_run(me);
    if (!has_work(me)) return;
  }
}

/* The same, and its limbo is sealed: others free it when it is ripe. Looking after sleepers on the way makes more work. */
static void finish_for_good(struct fh__mutator *me) {
  enum { ROUNDS = 100 };
  for (int round = 0; round < ROUNDS; round++) {
    finish_work(me);
    fh__relief_limbo(me, true);
    if (!has_work(me)) return;
  }
}

void fh__unbind(struct fh__mutator *me) {
  do {
    finish_for_good(me);
    fh__producer_close(&me->producer);
    fh__pool_trim(&me->pool, 0);
    fh__quarantine_flush(me);
    fh__account_settle(&me->account);
    me->heap = NULL;
  } while (!fh__state_detach(&me->sync)); /* something was queued meanwhile, and merging may make more work */
  fh__mutator_left();
  fh__tell_departure(me);
  fh__thread.mutator = NULL;
  fh__registry_unbind(&me->sync);
}

/* ---- holding ---- */

fh_status fh_hold(void) {
  bool running = FH__LOAD(&fh__shared.phase, ACQUIRE) == FH__PHASE_RUNNING; /* partner: fh__init */
  return running && fh__registry_hold() ? FH_OK : FH_ESHUTDOWN;
}

void fh_unhold(void) {
  if (!fh__is_up()) fh__misuse("fh_unhold", NULL, "the runtime does not run");
  if (!fh__registry_unhold()) fh__misuse("fh_unhold", NULL, "nobody holds the runtime");
}

/* ---- attach and detach ---- */

fh_status fh_attach(const char *name) {
  struct fh__mutator *me = fh__thread.mutator;
  if (!me) return bind(name);
  struct fh__modes *modes = &me->modes;
  if (!is_blocking(modes) || fh_is_attached()) { /* attached; or blocking where no safepoint may be, and hence still on line */
    modes->level[modes->top]++;
    return FH_OK;
  }
  open_level(modes, "fh_attach");
  fh__mutator_go_online(me);
  hide_sections(me);
  fh_safepoint();
  return FH_OK;
}

static void check_may_leave(const struct fh__mutator *me, const char *call) {
  if (!FH__CHECKED) return;
  if (me->in_dealloc) fh__misuse(call, NULL, "called inside dealloc");
  if (me->no_safepoint) fh__misuse(call, NULL, "called where no safepoint may be");
}

/* Off line, with nothing left behind that only this thread can do: what is merged on the way out may be finalizable. */
static void leave_for_long(struct fh__mutator *me) {
  for (;;) {
    if (FH__UNLIKELY(me->pool.count > FH__POOL_ASLEEP)) fh__pool_trim(&me->pool, FH__POOL_ASLEEP);
    if (FH__LIKELY(fh__state_detach(&me->sync))) break;
    finish_work(me);
    fh__critical_suspend(me); /* its safepoints took the innermost section again */
  }
  fh__mutator_left();
  if (FH__UNLIKELY(fh__attention_of(&me->sync) & FH__ATTEND_LEAVING)) fh__tell_departure(me);
}

/* Back into the blocking region that the attach came from. */
static void leave_nested(struct fh__mutator *me) {
  finish_work(me); /* runs application code, which may attach and detach: before the level changes */
  show_sections(me);
  leave_for_long(me);
  me->modes.top--;
}

void fh_detach(void) {
  struct fh__mutator *me = fh__self_or_trap("fh_detach", NULL);
  struct fh__modes *modes = &me->modes;
  if (modes->level[modes->top] > 1) {
    modes->level[modes->top]--;
    return;
  }
  check_may_leave(me, "fh_detach");
  if (FH__CHECKED && me->held_count) fh__misuse("fh_detach", me->held[0], "detached while holding an object's lock");
  if (FH__CHECKED && me->critical) fh__misuse("fh_detach", NULL, "detached inside a critical section");
  if (modes->top) {
    leave_nested(me);
    return;
  }
  if (FH__CHECKED && (me->telling || me->finalized_now || me->weak_called || me->finalizing_garbage || me->gc_callback))
    fh__misuse("fh_detach", NULL, "the last detach, inside a finalizer or a callback of the runtime's");
  fh__unbind(me);
}

bool fh_is_attached(void) { return fh__self() != &fh__nobody; }

/* ---- blocking regions ---- */

static FH__COLD void blocking_begin_slow(struct fh__mutator *me) {
  if (!me) fh__misuse("fh_blocking_begin", NULL, "the calling thread is not attached");
  if (is_blocking(&me->modes)) {
    me->modes.level[me->modes.top]++;
    return;
  }
  check_may_leave(me, "fh_blocking_begin");
  if (!me->no_safepoint) { /* with it, in release builds: stays online, others wait for it */
    finish_work(me);       /* runs application code, which may attach and block: before the level changes */
    fh__critical_suspend(me);
    leave_for_long(me);
  }
  open_level(&me->modes, "fh_blocking_begin");
}

void fh_blocking_begin(void) {
  struct fh__mutator *me = fh__thread.mutator;
  /* The attention word of a thread that is not attached, or is blocking already, is never zero. */
  if (FH__UNLIKELY(FH__LOAD(fh__tls.attention, RELAXED) != 0) || FH__UNLIKELY(me->no_safepoint || me->critical) ||
      FH__UNLIKELY(is_blocking(&me->modes)) || FH__UNLIKELY(me->modes.top + 1 == FH__MODE_DEPTH)) {
    blocking_begin_slow(me);
    return;
  }
  leave_for_long(me);
  me->modes.level[++me->modes.top] = 1;
}

static fh_status status_now(void) {
  return FH__LIKELY(FH__LOAD(&fh__shared.phase, RELAXED) == FH__PHASE_RUNNING) ? FH_OK : FH_ESHUTDOWN;
}

fh_status fh_blocking_end(void) {
  struct fh__mutator *me = fh__thread.mutator;
  if (FH__UNLIKELY(!me || !is_blocking(&me->modes))) fh__misuse("fh_blocking_end", NULL, "the calling thread is not in a blocking region");
  if (--me->modes.level[me->modes.top]) return FH_OK;
  me->modes.top--;
  if (FH__UNLIKELY(me->no_safepoint)) return status_now(); /* it stayed online */
  fh__mutator_go_online(me);
  if (FH__UNLIKELY(me->critical != NULL)) fh__critical_resume(me);
  fh_safepoint();
  return status_now();
}
