/* SPDX-License-Identifier: MIT */
#include "ref/pending.h"

#include <string.h>

#include "ref/weak.h"

static struct fh__mutex lock = FH__MUTEX(FH__RANK_PENDING);
static struct {
  fh_weak *first_callback, *last_callback;
  fh_object *first_object, *last_object;
  struct fh__pending_list *first_list, *last_list;
  uint64_t count; /* atomic: written under the lock, read by anybody */
} queue;

/* ---- counting, and telling the application ---- */

static bool add_locked(size_t n) {
  uint64_t before = FH__LOAD(&queue.count, RELAXED);
  FH__STORE_(&queue.count, before + n, RELAXED);
  return before == 0;
}

static void subtract_locked(size_t n) { FH__STORE_(&queue.count, FH__LOAD(&queue.count, RELAXED) - n, RELAXED); }

uint64_t fh__pending_count(void) { return FH__LOAD(&queue.count, RELAXED); }

/* Not here: the caller may be in the middle of a release, or have stopped the world. */
static void unlock_and_ask(struct fh__mutator *me, bool was_empty) {
  fh__mutex_unlock(&lock);
  if (!was_empty || !fh__shared.options.finalizers_notify) return;
  me->notifies = true;
  fh__attend(&me->sync, FH__ATTEND_FINALIZE);
}

void fh__pending_notify(struct fh__mutator *me) {
  if (FH__LIKELY(!me->notifies)) return;
  me->notifies = false;
  fh__shared.options.finalizers_notify(fh__shared.options.finalizers_context);
}

/* ---- callbacks ---- */

void fh__pending_push_callbacks(struct fh__mutator *me, fh_weak *newest) {
  fh_weak *first = NULL, *last = newest;
  size_t n = 0;
  for (fh_weak *weak = newest, *next; weak; weak = next, n++) {
    next = weak->next;
    weak->next = first;
    first = weak;
  }
  fh__mutex_lock(&lock);
  *(queue.last_callback ? &queue.last_callback->next : &queue.first_callback) = first;
  queue.last_callback = last;
  unlock_and_ask(me, add_locked(n));
}

fh_weak *fh__pending_take_callback(void) {
  fh__mutex_lock(&lock);
  fh_weak *weak = queue.first_callback;
  if (weak) {
    queue.first_callback = weak->next;
    if (!weak->next) queue.last_callback = NULL;
    subtract_locked(1);
  }
  fh__mutex_unlock(&lock);
  return weak;
}

/* ---- objects ---- */

void fh__pending_push_object(struct fh__mutator *me, fh_object *object) {
  fh__dead_link(object, NULL);
  fh__mutex_lock(&lock);
  if (queue.last_object)
    fh__dead_link(queue.last_object, object);
  else
    queue.first_object = object;
  queue.last_object = object;
  unlock_and_ask(me, add_locked(1));
}

void fh__pending_return_object(struct fh__mutator *me, fh_object *object) {
  fh__mutex_lock(&lock);
  fh__dead_link(object, queue.first_object);
  queue.first_object = object;
  if (!queue.last_object) queue.last_object = object;
  unlock_and_ask(me, add_locked(1));
}

fh_object *fh__pending_take_object(void) {
  fh__mutex_lock(&lock);
  struct fh__dead_list list = {queue.first_object};
  fh_object *object = fh__dead_pop(&list);
  queue.first_object = list.first;
  if (!list.first) queue.last_object = NULL;
  if (object) subtract_locked(1);
  fh__mutex_unlock(&lock);
  return object;
}

fh_object *fh__pending_first_object(void) { return queue.first_object; }

/* ---- lists ---- */

/* One whose thread ended in its last finalizer still has to be finished. */
static size_t weight_of(const struct fh__pending_list *list) { return list->finalizers ? list->finalizers : 1; }

void fh__pending_push_list(struct fh__mutator *me, struct fh__pending_list *list) {
  list->next = NULL;
  fh__mutex_lock(&lock);
  *(queue.last_list ? &queue.last_list->next : &queue.first_list) = list;
  queue.last_list = list;
  unlock_and_ask(me, add_locked(weight_of(list)));
}

void fh__pending_return_list(struct fh__mutator *me, struct fh__pending_list *list) {
  fh__mutex_lock(&lock);
  list->next = queue.first_list;
  queue.first_list = list;
  if (!list->next) queue.last_list = list;
  unlock_and_ask(me, add_locked(weight_of(list)));
}

struct fh__pending_list *fh__pending_take_list(void) {
  fh__mutex_lock(&lock);
  struct fh__pending_list *list = queue.first_list;
  if (list) {
    queue.first_list = list->next;
    if (!list->next) queue.last_list = NULL;
    subtract_locked(weight_of(list));
  }
  fh__mutex_unlock(&lock);
  return list;
}

void fh__pending_start(void) { memset(&queue, 0, sizeof queue); }
