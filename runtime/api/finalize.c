/* SPDX-License-Identifier: MIT */
/* Making finalizers from outside, and running those that wait for a thread of the application. What they do is in ref/finalizer.c,
 * what waits in ref/pending.c and collect/garbage.c. */
#include <freehold/finalize.h>

#include "api/finalize.h"
#include "api/safepoint.h"
#include "api/weak.h"
#include "base/trap.h"
#include "collect/garbage.h"
#include "ref/destroy.h"
#include "ref/finalizer.h"
#include "ref/pending.h"

/* ---- from outside ---- */

static const fh_type_spec finalizer_spec = {.name = "fh_finalizer",
                                            .size = sizeof(fh_finalizer),
                                            .flags = FH_ACYCLIC | FH_PUBLISHED | FH_NO_WEAK,
                                            .dealloc = fh__weak_dealloc};

static fh_type *finalizer_type; /* atomic: of the runtime that runs; registered by the first finalizer */

void fh__finalizer_forget_type(void) { FH__STORE_(&finalizer_type, NULL, RELAXED); }

fh_finalizer *fh_finalizer_new(void *object, void (*call)(void *context), void *context, uint32_t flags) {
  if (FH__CHECKED && !call) fh__misuse("fh_finalizer_new", object, "the function is NULL");
  if (flags & ~(uint32_t)FH_FINALIZER_AT_EXIT) return NULL;
  struct fh__weak_kind kind = {&finalizer_spec, &finalizer_type, fh__finalizer_on_loss, NULL};
  fh_weak *weak = fh__weak_make("fh_finalizer_new", object, &kind);
  if (!weak) return NULL;
  /* The object is not lost before this thread's reference to it is: nobody calls it yet. */
  fh_finalizer *finalizer = (fh_finalizer *)(void *)weak;
  finalizer->call = call;
  finalizer->context = context;
  finalizer->flags = flags;
  finalizer->number = fh__finalizer_number();
  FH__STORE_(&finalizer->alive, 1, RELAXED);
  return fh_retain(finalizer); /* [final.kept] */
}

/* ---- those that wait ---- */

/* One callback, one object, or a list of garbage. False: nothing waits. */
static bool run_next(struct fh__mutator *me, size_t most, size_t *ran) {
  if (fh__weak_run_pending(me) || fh__ref_run_pending(me)) {
    ++*ran;
    return true;
  }
  return fh__garbage_run_pending(me, most, ran);
}

/* False: nothing waits, or this thread is inside of a finalizer. */
static bool turn(struct fh__mutator *me, size_t most, size_t *ran) {
  if (me->finalizing || !fh__pending_count()) return false;
  fh__critical_suspend(me);
  me->finalizing = true;
  bool did = run_next(me, most, ran);
  me->finalizing = false;
  fh__critical_resume(me);
  return did;
}

size_t fh__finalizers_run(struct fh__mutator *me, size_t most) {
  size_t ran = 0;
  while (ran < most && turn(me, most - ran, &ran)) fh_safepoint();
  return ran;
}

size_t fh_finalizers_run(size_t max) {
  struct fh__mutator *me = fh__self_at_safepoint("fh_finalizers_run");
  if (!me) return 0;
  fh_safepoint();
  return fh__finalizers_run(me, max);
}

size_t fh_finalizers_pending(void) { return (size_t)fh__pending_count(); }
