/* SPDX-License-Identifier: MIT */
#include "collect/saved.h"

#include "ref/publish.h"
#include "sync/mutex.h"

struct list {
  struct list *next;
  size_t count;
  fh_object *object[];
};

static struct {
  struct fh__mutex lock; /* taken by mutators that are attached, so a fork finds it free */
  struct list *first;
} saved = {.lock = FH__MUTEX(FH__RANK_SAVED)};

struct saving {
  struct fh__mutator *me;
  struct list *list;
};

static void save_one(void *context, fh_object *object) {
  struct saving *saving = context;
  fh__publish_stopped(saving->me, object);
  fh__retain(object); /* [saved.held] */
  saving->list->object[saving->list->count++] = object;
}

size_t fh__saved_sort(struct fh__mutator *me, struct fh__scan *scan, size_t count) {
  struct list *list = fh__backend_alloc(sizeof *list + count * sizeof(fh_object *));
  if (!list) return SIZE_MAX;
  list->count = 0;
  struct saving saving = {me, list};
  fh__scan_unmarked(scan, save_one, &saving);
  fh__mutex_lock(&saved.lock);
  list->next = saved.first;
  saved.first = list;
  fh__mutex_unlock(&saved.lock);
  return list->count;
}

void fh__saved_find(struct fh__found *found) {
  fh__mutex_lock(&saved.lock); /* the lists hold what is added */
  for (const struct list *list = saved.first; list; list = list->next)
    for (size_t i = 0; i < list->count; i++) fh__found_add(found, list->object[i]);
  fh__mutex_unlock(&saved.lock);
}

static struct list *take_all(void) {
  fh__mutex_lock(&saved.lock);
  struct list *list = saved.first;
  saved.first = NULL;
  fh__mutex_unlock(&saved.lock);
  return list;
}

size_t fh__saved_clear(void) {
  size_t count = 0;
  struct list *list = take_all(), *next;
  for (; list; list = next) {
    next = list->next;
    count += list->count;
    for (size_t i = 0; i < list->count; i++) fh__release(list->object[i]);
    fh__backend_free(list);
  }
  return count;
}

void fh__saved_finish(void) {
  struct list *list = take_all(), *next;
  for (; list; list = next) {
    next = list->next;
    fh__backend_free(list);
  }
}
