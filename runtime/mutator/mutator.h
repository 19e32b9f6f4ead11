/* SPDX-License-Identifier: MIT */
/* A mutator: the parts that the layers below declare, put together, and what the layers above keep for each thread. A
 * mutator outlives its thread: the next thread to attach adopts it, with its id, its chunks, its queue.
 *
 * Unless a field says otherwise, it is read and written by whoever has the right to the mutator [state.right]. */
#ifndef FH_MUTATOR_MUTATOR_H
#define FH_MUTATOR_MUTATOR_H

#include <freehold/lock.h>
#include <freehold/stats.h>

#include "memory/account.h"
#include "object/census.h"
#include "object/limbo.h"
#include "sync/gil.h"
#include "sync/inbox.h"
#include "sync/registry.h"
#include "track/track.h"

/* Counters for fh_stats: their mutator writes, anybody reads, relaxed. */
struct fh__counters {
  uint64_t destroyed, immortal;
  uint64_t owner_retains, owner_releases, stranger_retains, stranger_releases, immortal_skips;
  uint64_t spills, take_backs, merges, queued, drained, claimed, claims;
  uint64_t plain_deaths, private_deaths, published_deaths, published, overflows; /* plain: not in the other two, nor in destroyed */
  uint64_t finalized, resurrected, collected, weak_callbacks;
};

/* Garbage that a stop found and this mutator finishes at its safepoint (collect/garbage.h). */
struct fh__garbage;
/* Somebody who is told of collections (collect/callback.h). */
struct fh__callback;

/* Freed blocks that a checked build keeps poisoned for a while, so that their use is seen. */
struct fh__quarantine {
  void *block[FH__QUARANTINE];
  uint32_t at;
};

/* How a thread's attaches and blocking regions nest: even levels are attached, odd ones blocking. Its thread's only. */
struct fh__modes {
  uint32_t top;
  uint32_t level[FH__MODE_DEPTH];      /* level[top] counts the nesting within */
  fh_critical *hidden[FH__MODE_DEPTH]; /* of an even level above 0: the sections around the blocking region below it */
};

struct fh__mutator {
  struct fh__sync_local sync; /* first: a mutator is found by its sync part */
  uint32_t stamp;             /* owner's half of the bias words of the objects that it owns */
  uint32_t birth_stamp;       /* of those that it makes */
  struct fh__track_local track;
  struct fh__account_local account;
  struct fh__pool pool;
  struct fh__counters counters;
  struct fh__limbo_local limbo;
  struct fh__producer producer;
  struct fh__dead_list dying;       /* dead, fields not yet cleared: the work list of destruction */
  struct fh__dead_list deferred;    /* dead in a claim or a stop: destroyed at the next safepoint */
  struct fh__dead_list finalizable; /* dead, their finalizers wait */
  struct fh__dead_list finalizing_now; /* the rest of those that are being run */
  fh_object *finalized_now;            /* the one whose finalizer runs: the runtime holds a reference to it */
  struct fh_weak *weak_lost;    /* their targets are lost, their callbacks wait; the runtime holds a reference to each */
  struct fh_weak *weak_calling; /* the rest of those that are being called */
  struct fh_weak *weak_called;  /* the one whose callback runs */
  struct fh__weak_entry *lost_entries; /* of weak maps, their objects are lost: to be taken out, their values to be given up */
  struct fh__garbage *garbage;
  struct fh__garbage *finalizing_garbage; /* the list whose finalizers run */
  struct fh__callback *gc_callback; /* the one that it calls just now */
  uint32_t garbage_count;  /* scratch of a collection: how much of its own it will be handed */
  bool garbage_finalizes;  /* ... and whether any of that has a finalizer to run */
  bool returning;          /* off line for a moment of the runtime's own, not in a blocking region */
  uint32_t yielding;       /* atomic: 1: its thread waits for memory and touches no counts, 2: somebody merges in its place */
  bool destroying;         /* inside the destruction loop: deaths are appended to it */
  bool losing;             /* inside the loop over lost entries: further ones are appended to it */
  bool finalizing;         /* inside a finalizer or a weak callback: safepoints run no further ones */
  bool notifies;           /* it has to tell the application that finalizers wait */
  bool collecting;         /* collections do not nest */
  bool telling;            /* inside the application's memory callback */
  uint32_t events;         /* memory events that it has to be told: a bit each */
  int64_t refused;         /* bytes that the hard limit refused last; 0: granted since */
  uint32_t torture_turns;  /* torture builds: safepoints since the last collection that they asked for */
  uint32_t no_safepoint;   /* depth of scopes in which safepoints do nothing */
  uint32_t in_dealloc;     /* depth of dealloc calls, part of no_safepoint */
  fh_critical *critical;   /* innermost critical section */
  struct fh__modes modes;
  void *held[FH__LOCKS_BY_HAND]; /* objects locked by hand */
  uint32_t held_count;
  void *locking[2];      /* the object whose lock it waits for, and one that it holds meanwhile */
  bool lost;             /* its thread is in the process that this one was forked from: cleaned up when it is adopted */
  uint64_t stranded;     /* how much of what is stranded was counted as its */
  bool uncounted;        /* ... and what only that thread could reach has not been counted */
  fh__heap *heap;        /* of the bound thread; NULL if it must not be tidied */
  uint64_t heap_debt;    /* atomic: bytes that others freed into that heap since it was tidied */
  struct fh__quarantine *quarantine;
  struct fh__census_local census;
};

/* Of a thread: which mutator is bound to it. Small, because it is static thread-local storage of the host's. */
struct fh__thread {
  struct fh__mutator *mutator;
  bool exit_registered; /* detach at thread exit */
  int32_t number;       /* in the kernel; 0: not asked for yet */
  bool forking;         /* between fh_fork_prepare and what follows */
  bool heap_is_ours;    /* nobody but Freehold uses its heap */
  bool past_exit;       /* that was done: what runs now are destructors of the thread's exit */
};
extern __thread struct fh__thread fh__thread FH__TLS_MODEL;

/* What fh__tls leads to in a thread that is not attached. Its attention word never rests, so every poll finds out. */
extern struct fh__mutator fh__nobody;

/* Process-wide state that several layers above look at. */
struct fh__shared {
  uint32_t phase;         /* atomic: enum fh__phase */
  uint32_t design;        /* enum fh_design; written before anybody attaches */
  bool out_of_line;       /* stamps are withheld, so that every count operation comes out of line */
  bool gc_enabled;        /* atomic */
  bool heap_is_ours;      /* nobody but Freehold uses attached threads' heaps, so claimers may tidy them */
  fh_options options;     /* defaults filled in; written before anybody attaches */
  uint32_t fork;           /* atomic: enum fh_fork; beside the options, because a fork may come while they are written */
  uint64_t forks;          /* atomic */
  uint64_t stranded;       /* atomic: objects that only threads lost in a fork could reach */
  uint32_t inbox_waits;    /* atomic: something was left for any mutator to take care of */
  struct fh__inbox later;  /* references given up by fh_release_later */
  void *freed;             /* atomic stack of buffers that were freed in blocking regions */
};
enum fh__phase {
  FH__PHASE_DOWN,
  FH__PHASE_RUNNING,
  FH__PHASE_ENDING,
  FH__PHASE_BARRED /* the child of a fork that must not use the runtime, for ever */
};
extern struct fh__shared fh__shared;

/* The runtime is there to be used, or is ending. Acquire: partner is fh__init. */
FH__INLINE bool fh__is_up(void) {
  uint32_t phase = FH__LOAD(&fh__shared.phase, ACQUIRE);
  return phase == FH__PHASE_RUNNING || phase == FH__PHASE_ENDING;
}
/* This process must not use it: the locks may be held by threads that are not there. */
FH__INLINE bool fh__is_barred(void) { return FH__LOAD(&fh__shared.phase, RELAXED) == FH__PHASE_BARRED; }
/* The calling thread's mutator while it is attached, else &fh__nobody. */
FH__INLINE struct fh__mutator *fh__self(void) { return (struct fh__mutator *)(void *)fh__tls.attention; }
FH__INLINE struct fh__mutator *fh__mutator_of(struct fh__sync_local *sync) { return (struct fh__mutator *)(void *)sync; }
FH__INLINE struct fh__mutator *fh__mutator_by_id(uint32_t id) { return fh__mutator_of(fh__registry_get(id)); }
FH__INLINE bool fh__owns(const struct fh__mutator *me, uint32_t bias) { return fh__owner_of(bias ^ me->stamp) == 0; }
FH__INLINE bool fh__design_is(fh_design design) { return FH__SWITCHABLE ? fh__shared.design == design : design == FH_DESIGN_BIASED; }

/* A broken contract: the message names the call, the object, its type, its owner and the calling thread. Aborts. */
_Noreturn void fh__misuse(const char *call, const void *object, const char *what) __attribute__((cold));
/* Checked builds: traps unless `object` is a live object and the caller is attached. */
void fh__check_object(const char *call, const void *object);
/* The calling mutator, or a trap. */
FH__INLINE struct fh__mutator *fh__self_or_trap(const char *call, const void *object) {
  struct fh__mutator *me = fh__self();
  if (FH__UNLIKELY(me == &fh__nobody)) fh__misuse(call, object, "the calling thread is not attached");
  return me;
}

struct fh__mutator *fh__mutator_create(void);
/* After registration, which gave it its id. */
void fh__mutator_born(struct fh__mutator *mutator);
void fh__mutator_destroy(struct fh__mutator *mutator);

/* Moves of the calling thread's mutator, with the thread-local words. A stamp that matches no object sends every count
 * operation out of line, where it is checked or counted. `merge` empties the own queue; it is the layer above's. */
#define FH__NOBODY_STAMP ((uint32_t)FH__NOBODY << FH__BIAS_OWNER_SHIFT | FH__BIAS_MARK)

/* What came while nobody could tell us: a batch that is ripe; things for any mutator (after the move: fh__relief_ask). */
FH__INLINE void fh__mutator_look_around(struct fh__mutator *me) {
  if (FH__UNLIKELY(me->limbo.sealed.stamp != 0)) fh__attend(&me->sync, FH__ATTEND_LIMBO);
  if (FH__UNLIKELY(FH__LOAD(&fh__shared.inbox_waits, SEQ_CST) != 0)) fh__attend(&me->sync, FH__ATTEND_INBOX);
}

/* Parks if a stop is on: at a safepoint, and between the pieces of long work that is done at one. */
FH__INLINE void fh__mutator_let_stop(struct fh__mutator *me) {
  if (FH__LIKELY(!(FH__LOAD(&me->sync.attention, ACQUIRE) & FH__ATTEND_STOP))) return;
  fh__state_park(&me->sync);
  fh__mutator_look_around(me); /* while nobody was ATTACHED, nobody could be asked */
}

FH__INLINE void fh__mutator_go_online(struct fh__mutator *me) {
  fh__gil_take(&me->sync);
  fh__state_attach(&me->sync);
  fh__mutator_look_around(me);
  fh__tls.stamp = fh__shared.out_of_line ? FH__NOBODY_STAMP : me->stamp;
  fh__tls.attention = &me->sync.attention;
}

FH__INLINE void fh__mutator_show_nobody(void) {
  fh__tls.stamp = FH__NOBODY_STAMP;
  fh__tls.attention = &fh__nobody.sync.attention;
}

/* After the move to DETACHED. */
FH__INLINE void fh__mutator_left(void) {
  fh__mutator_show_nobody();
  fh__gil_release();
}

FH__INLINE void fh__mutator_go_offline(struct fh__mutator *me, void (*merge)(struct fh__mutator *)) {
  while (FH__UNLIKELY(!fh__state_detach(&me->sync))) merge(me);
  fh__mutator_left();
}

/* Takes the stop lock; offline while it has to wait, so that another requester can stop this mutator. */
void fh__mutator_lock_stop(struct fh__mutator *me, void (*merge)(struct fh__mutator *));

/* Instances of a type that live, by the census of all mutators [census.sum]. */
int64_t fh__mutator_count_live(const fh_type *type);

/* Memory of destroyed objects. In checked builds it passes through a quarantine, poisoned. */
void fh__mutator_free_block(struct fh__mutator *me, void *block, size_t bytes);
void fh__quarantine_flush(struct fh__mutator *me);
/* Its pools, and what the allocator keeps for the calling thread. */
void fh__mutator_tidy(struct fh__mutator *me);

#endif
