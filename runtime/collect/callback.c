/* SPDX-License-Identifier: MIT */
#include "collect/callback.h"

#include <limits.h>
#include <stdlib.h>

#include "base/futex.h"
#include "sync/mutex.h"

static struct {
  struct fh__mutex lock;
  struct fh__callback *first;
  uint64_t newest;   /* atomic: the number of the last one in the list; 0: it is empty */
  uint64_t number;   /* given out */
  uint32_t returned; /* atomic: last calls of awaited callbacks that returned; a futex */
} callbacks = {.lock = FH__MUTEX(FH__RANK_CALLBACKS)};

void fh__callbacks_lock(void) { fh__mutex_lock(&callbacks.lock); }
void fh__callbacks_unlock(void) { fh__mutex_unlock(&callbacks.lock); }

/* ---- the list ---- */

static void note_newest_locked(void) {
  uint64_t newest = 0;
  for (const struct fh__callback *at = callbacks.first; at; at = at->next) newest = at->number;
  FH__STORE_(&callbacks.newest, newest, RELAXED);
}

static void append_locked(struct fh__callback *callback) {
  struct fh__callback **link = &callbacks.first;
  while (*link) link = &(*link)->next;
  callback->number = ++callbacks.number;
  *link = callback;
  note_newest_locked();
}

/* The oldest of those that are alike. */
static struct fh__callback *take_out_locked(fh_gc_function function, const void *context) {
  struct fh__callback **link = &callbacks.first, *callback;
  while ((callback = *link) && (callback->function != function || callback->context != context)) link = &callback->next;
  if (!callback) return NULL;
  *link = callback->next;
  note_newest_locked();
  return callback;
}

fh_status fh__callback_add(fh_gc_function function, void *context) {
  struct fh__callback *callback = malloc(sizeof *callback);
  if (!callback) return FH_ENOMEM;
  *callback = (struct fh__callback){.function = function, .context = context};
  fh__callbacks_lock();
  append_locked(callback);
  fh__callbacks_unlock();
  return FH_OK;
}

fh_status fh__callback_remove(fh_gc_function function, void *context, bool may_wait, struct fh__callback **awaited_out) {
  *awaited_out = NULL;
  fh__callbacks_lock();
  struct fh__callback *callback = take_out_locked(function, context);
  bool called = callback && callback->calls;
  if (called) {
    callback->removed = true;
    callback->awaited = may_wait;
    if (may_wait) *awaited_out = callback;
  }
  fh__callbacks_unlock();
  if (!callback) return FH_ENOTFOUND;
  if (!called) free(callback);
  return FH_OK;
}

/* The number is read under the lock, before it is given up: a return after that changes it, and the wait ends at once. */
void fh__callback_await(struct fh__callback *callback) {
  fh__callbacks_lock();
  while (callback->calls) {
    uint32_t returned = FH__LOAD(&callbacks.returned, RELAXED);
    fh__callbacks_unlock();
    fh__futex_wait(&callbacks.returned, returned, 0);
    fh__callbacks_lock();
  }
  fh__callbacks_unlock();
  free(callback);
}

/* ---- calls ---- */

uint64_t fh__callbacks_newest(void) { return FH__LOAD(&callbacks.newest, RELAXED); }

static struct fh__callback *begin_call(struct fh__mutator *me, uint64_t after, uint64_t newest) {
  fh__callbacks_lock();
  struct fh__callback *callback = callbacks.first;
  while (callback && callback->number <= after) callback = callback->next;
  if (callback && callback->number > newest) callback = NULL;
  if (callback) callback->calls++;
  me->gc_callback = callback;
  fh__callbacks_unlock();
  return callback;
}

/* True: nobody else knows it any more. */
static bool count_out_locked(struct fh__mutator *me, bool *wake_out) {
  struct fh__callback *callback = me->gc_callback;
  me->gc_callback = NULL;
  bool last = --callback->calls == 0 && callback->removed;
  *wake_out = last && callback->awaited;
  if (*wake_out) FH__ADD(&callbacks.returned, 1, RELAXED);
  return last && !callback->awaited;
}

static void end_call(struct fh__mutator *me) {
  bool wake;
  struct fh__callback *callback = me->gc_callback;
  fh__callbacks_lock();
  bool ours = count_out_locked(me, &wake);
  fh__callbacks_unlock();
  if (ours) free(callback);
  if (wake) fh__futex_wake(&callbacks.returned, INT_MAX);
}

void fh__callbacks_call(struct fh__mutator *me, const fh_gc_event *event, uint64_t newest) {
  uint64_t number = 0;
  struct fh__callback *callback;
  while ((callback = begin_call(me, number, newest))) {
    number = callback->number;
    callback->function(callback->context, event);
    end_call(me);
  }
}

void fh__callback_left(struct fh__mutator *me) {
  if (me->gc_callback) end_call(me);
}

/* Whoever waited for it is not there either. */
void fh__callback_lost_locked(struct fh__mutator *lost) {
  bool awaited;
  struct fh__callback *callback = lost->gc_callback;
  if (callback && (count_out_locked(lost, &awaited) || awaited)) free(callback);
}

void fh__callbacks_finish(void) {
  fh__callbacks_lock();
  struct fh__callback *callback;
  while ((callback = callbacks.first)) {
    callbacks.first = callback->next;
    free(callback);
  }
  note_newest_locked();
  fh__callbacks_unlock();
}
