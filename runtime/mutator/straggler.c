/* SPDX-License-Identifier: MIT */
#include "mutator/straggler.h"

#include <stdio.h>

#include "base/sanitize.h"
#include "base/trap.h"
#include "base/where.h"

enum { FRAMES = 12, WHERE_BYTES = 2048 };

/* What it is doing, as far as its flags tell, after its state: they are read while they may change. */
static FH__UNWATCHED void describe(const struct fh__mutator *mutator, char *text, size_t room) {
  snprintf(text, room, "%s%s%s%s%s", fh__state_name(FH__LOAD(&mutator->sync.state, RELAXED)), mutator->in_dealloc ? ", in dealloc" : "",
           mutator->finalizing || mutator->finalizing_garbage ? ", in a finalizer" : "", mutator->telling ? ", in the memory callback" : "",
           mutator->no_safepoint > mutator->in_dealloc ? ", where no safepoint may be" : "");
}

static void log_straggler(const fh_straggler *straggler) {
  static const char *const waits[] = {"?", "a stop", "a grace period", "a merge"};
  fh__log(FH_LOG_WARNING, "freehold: %s has waited %llu ms for mutator %u \"%s\" (thread %d): %s; %s", waits[straggler->wait],
          (unsigned long long)(straggler->waited_ns / 1000000u), straggler->mutator, straggler->name, (int)straggler->thread, straggler->state,
          straggler->where);
}

static void report(fh_wait wait, struct fh__sync_local *sync, uint64_t waited_ns) {
  char state[128], where[WHERE_BYTES];
  describe(fh__mutator_of(sync), state, sizeof state);
  int32_t thread = FH__LOAD(&sync->thread, RELAXED);
  fh__thread_where(thread, FRAMES, where, sizeof where);
  struct fh__name name = fh__state_name_of(sync);
  const fh_straggler straggler = {wait, sync->id, thread, name.text, state, where, waited_ns};
  if (fh__shared.options.straggler)
    fh__shared.options.straggler(fh__shared.options.straggler_context, &straggler);
  else
    log_straggler(&straggler);
}

void fh__straggler_start(const fh_options *options) {
  bool off = options->watchdog_ms == FH_WATCHDOG_OFF;
  fh__watchdog = (struct fh__watchdog){.limit_ns = off ? 0 : (uint64_t)options->watchdog_ms * 1000000u, .report = report};
}
