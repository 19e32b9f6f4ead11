/* SPDX-License-Identifier: MIT */
#include "ref/finalizer.h"

#include "base/trap.h"
#include "ref/count.h"

/* ---- one of them ---- */

/* [final.once] */
static bool win(fh_finalizer *finalizer) { return FH__SWAP(&finalizer->alive, 0, RELAXED) != 0; }

/* The function comes last: it may release the finalizer, or end the thread. */
static bool call(struct fh__mutator *me, fh_finalizer *finalizer) {
  if (!win(finalizer)) return false;
  void (*function)(void *) = finalizer->call;
  void *context = finalizer->context;
  fh__weak_unlisten(&finalizer->weak);
  fh__release(&finalizer->weak.fh); /* [final.kept] */
  FH__BUMP(&me->counters.finalized, 1);
  function(context);
  return true;
}

static bool detach(fh_finalizer *finalizer) {
  if (!win(finalizer)) return false;
  fh__weak_unlisten(&finalizer->weak);
  fh__release(&finalizer->weak.fh); /* [final.kept] */
  return true;
}

void fh__finalizer_on_loss(fh_weak *weak, void *context) {
  (void)context;
  (void)call(fh__self(), (fh_finalizer *)(void *)weak);
}

bool fh_finalizer_call(fh_finalizer *finalizer) {
  struct fh__mutator *me = fh__self_or_trap("fh_finalizer_call", finalizer);
  if (FH__CHECKED) fh__check_object("fh_finalizer_call", finalizer);
  return call(me, finalizer);
}

bool fh_finalizer_detach(fh_finalizer *finalizer) {
  (void)fh__self_or_trap("fh_finalizer_detach", finalizer);
  if (FH__CHECKED) fh__check_object("fh_finalizer_detach", finalizer);
  return detach(finalizer);
}

bool fh_finalizer_is_alive(const fh_finalizer *finalizer) { return FH__LOAD(&finalizer->alive, RELAXED) != 0; }

uint64_t fh__finalizer_number(void) {
  static uint64_t made; /* atomic */
  return FH__ADD(&made, 1, RELAXED);
}

/* ---- at shutdown: all of them ---- */

struct gathering {
  fh_finalizer *first;
  uint32_t flags; /* those with all of these */
};

static void gather(void *context, const struct fh__weak_block *block) {
  struct gathering *gathering = context;
  for (fh_weak *weak = block->first; weak; weak = weak->next) {
    if (weak->callback != fh__finalizer_on_loss) continue;
    fh_finalizer *finalizer = (fh_finalizer *)(void *)weak;
    if ((finalizer->flags & gathering->flags) != gathering->flags) continue;
    fh__retain(&weak->fh); /* those that are called before it may detach it */
    finalizer->next = gathering->first;
    gathering->first = finalizer;
  }
}

/* The newer first. */
static fh_finalizer *merge(fh_finalizer *a, fh_finalizer *b) {
  fh_finalizer *first = NULL, **end = &first;
  while (a && b) {
    fh_finalizer **newer = a->number > b->number ? &a : &b;
    *end = *newer;
    end = &(*newer)->next;
    *newer = *end;
  }
  *end = a ? a : b;
  return first;
}

/* By merging lists of equal lengths, which needs no memory: `sorted[i]` has 2^i of them, or none. */
static fh_finalizer *sort(fh_finalizer *list) {
  enum { LEVELS = 64 };
  fh_finalizer *sorted[LEVELS] = {NULL};
  for (fh_finalizer *one = list, *next; one; one = next) {
    next = one->next;
    one->next = NULL;
    int level = 0;
    for (; sorted[level]; level++) {
      one = merge(sorted[level], one);
      sorted[level] = NULL;
    }
    sorted[level] = one;
  }
  fh_finalizer *all = NULL;
  for (int level = 0; level < LEVELS; level++) all = merge(sorted[level], all);
  return all;
}

static fh_finalizer *take_all(uint32_t flags) {
  struct gathering gathering = {NULL, flags};
  fh__weak_each(gather, &gathering);
  return gathering.first;
}

void fh__finalizers_at_exit(struct fh__mutator *me) {
  enum { ROUNDS = 100 }; /* they may make new ones, but not for ever */
  me->finalizing = true; /* nothing nests in them */
  for (int round = 0; round < ROUNDS; round++) {
    fh_finalizer *finalizer = sort(take_all(FH_FINALIZER_AT_EXIT));
    if (!finalizer) break;
    for (fh_finalizer *next; finalizer; finalizer = next) {
      next = finalizer->next;
      me->weak_called = &finalizer->weak; /* with the reference that it was gathered with */
      (void)call(me, finalizer);
      fh__weak_end_callback(me);
    }
  }
  me->finalizing = false;
}

bool fh__finalizers_forget(struct fh__mutator *me) {
  (void)me;
  fh_finalizer *finalizer = take_all(0);
  bool any = finalizer != NULL;
  for (fh_finalizer *next; finalizer; finalizer = next) {
    next = finalizer->next;
    (void)detach(finalizer);
    fh__release(&finalizer->weak.fh);
  }
  return any;
}
