/* SPDX-License-Identifier: MIT */
/* fork. Between prepare and what follows in parent and child, the forking thread owns the world: nobody is ATTACHED but it, no
 * claim is under way, and every lock of the runtime is its own. So the child finds a heap in which nothing is half done, and
 * unlocks the same locks as the parent does.
 *
 *   [fork.still]  the stop of a fork neither merges, collects nor frees: what the forking thread peeked at stays there
 *   [fork.locks]  in the child, an object's lock is held by the survivor, or by nobody
 *   [fork.lost]   a mutator other than the survivor's is unbound, keeps its lists, and is cleaned up by whoever adopts it */
#include "api/fork.h"

#include <freehold/runtime.h>

#include <pthread.h>

#include "api/safepoint.h"
#include "base/trap.h"
#include "base/where.h"
#include "collect/callback.h"
#include "mutator/lost.h"
#include "ref/relief.h"
#include "ref/slot.h"
#include "sync/stop.h"

/* ---- the world, by the forking thread ---- */

static bool prepared_by_handler; /* the stop lock's holder's */

static struct fh__sync_local *attached_self(void) {
  struct fh__mutator *me = fh__self();
  return me == &fh__nobody ? NULL : &me->sync;
}

static void lock_everything(void) {
  fh__runtime_lock();
  fh__mutex_lock(&fh__registry.lock);
  fh__mutex_lock(&fh__track.lock);
  fh__roots_lock();
  fh__callbacks_lock();
  fh__mutex_lock(&fh__durations.lock);
  fh__types_lock();
}

static void unlock_everything(void) {
  fh__types_unlock();
  fh__mutex_unlock(&fh__durations.lock);
  fh__callbacks_unlock();
  fh__roots_unlock();
  fh__mutex_unlock(&fh__track.lock);
  fh__mutex_unlock(&fh__registry.lock);
  fh__runtime_unlock();
}

void fh_fork_prepare(void) {
  struct fh__mutator *me = fh__self();
  if (fh__is_barred()) {
    fh__thread.forking = true;
    return;
  }
  bool attached = me != &fh__nobody;
  if (FH__CHECKED && attached && me->in_dealloc) fh__misuse("fh_fork_prepare", NULL, "fork inside dealloc");
  if (FH__CHECKED && attached && me->no_safepoint) fh__misuse("fh_fork_prepare", NULL, "fork where no safepoint may be");
  if (attached)
    fh__mutator_lock_stop(me, fh__merge_own); /* a second forker parks here */
  else
    fh__mutex_lock(&fh__stop.lock);
  fh__stop_begin(attached_self());
  lock_everything();
  fh__thread.forking = true;
}

static void resume(void) {
  if (fh__is_up()) FH__BUMP(&fh__shared.forks, 1);
  unlock_everything();
  fh__stop_end(attached_self());
}

/* [queue.drained]: who saw STOPPED left the look at the queues to the resume. A thread that is not attached leaves it to others. */
static void look_at_queues(void) {
  struct fh__mutator *me = fh__self();
  if (me != &fh__nobody)
    fh__merge_after_resume(me);
  else
    (void)fh__relief_ask_from_outside();
}

/* False: prepared, but in a process that must not use the runtime; there is nothing to resume. */
static bool has_stopped(const char *call) {
  if (!fh__thread.forking) fh__misuse(call, NULL, "without fh_fork_prepare by this thread");
  fh__thread.forking = false;
  return !fh__is_barred();
}

void fh_fork_parent(void) {
  if (!has_stopped("fh_fork_parent")) return;
  resume();
  look_at_queues();
}

/* ---- the child ---- */

static void bury_the_lost(struct fh__mutator *survivor) {
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) {
    struct fh__mutator *mutator = fh__mutator_of(sync);
    if (mutator == survivor || !FH__LOAD(&sync->bound, RELAXED)) continue;
    fh__locks_of_lost(mutator, survivor);
    fh__callback_lost_locked(mutator);
    fh__lost_bury(mutator);
  }
}

/* The child must not use the runtime: whoever tries gets a status, or a trap that says "not attached". */
static void bar(void) {
  FH__STORE_(&fh__shared.phase, FH__PHASE_BARRED, RELAXED); /* there is one thread */
  fh__thread.mutator = NULL;
  fh__mutator_show_nobody();
}

void fh_fork_child(void) {
  if (!has_stopped("fh_fork_child")) return;
  struct fh__mutator *survivor = fh__thread.mutator;
  fh__thread.number = fh__thread_number();
  if (survivor) FH__STORE_(&survivor->sync.thread, fh__thread.number, RELAXED);
  bury_the_lost(survivor);
  fh__stop.starving = 0;
  if (fh__gil.on) fh__gil_reset(attached_self());
  bool goes_on = fh__runtime_survives_fork(survivor != NULL);
  resume();
  if (!goes_on) {
    bar();
    return;
  }
  look_at_queues();
  (void)fh__relief_ask_from_outside(); /* a lost thread may have left something and not yet said so */
}

/* ---- by itself ---- */

/* While the runtime is down a fork is followed: somebody may be starting it just now. */
static bool follows(void) { return !fh__is_up() || FH__LOAD(&fh__shared.fork, RELAXED) == FH_FORK_FOLLOW; }

static void before_fork(void) {
  if (fh__thread.forking || fh__is_barred() || !follows()) return;
  fh_fork_prepare();
  prepared_by_handler = true;
}

/* True if the stop of this fork is the handlers' to end. */
static bool take_over(void) {
  bool ours = fh__thread.forking && prepared_by_handler;
  if (ours) prepared_by_handler = false;
  return ours;
}

static void after_fork_in_parent(void) {
  if (take_over()) fh_fork_parent();
}

static void after_fork_in_child(void) {
  if (take_over())
    fh_fork_child();
  else if (!fh__thread.forking)
    bar();
}

static void register_handlers(void) {
  /* It fails only for want of memory: then forks are not followed, and the application may still do so by hand. */
  if (pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child))
    fh__log(FH_LOG_WARNING, "freehold: fork cannot be followed: pthread_atfork found no memory");
}

void fh__fork_watch(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, register_handlers);
}
