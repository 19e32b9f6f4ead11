/* SPDX-License-Identifier: MIT */
/* Lists of dead objects that need no memory: a dead object is untracked, so its slot word is free, and so is the lower half
 * of its bias word. Addresses are multiples of 16 below 2^52, hence a link fits into these 48 bits. Owner (0), shared and
 * type stay as they are, for late readers who try to retain it [ref.dead]. */
#ifndef FH_OBJECT_DEAD_H
#define FH_OBJECT_DEAD_H

#include "object/header.h"

struct fh__dead_list {
  fh_object *first;
};

/* Also of the last object of a list, which has got a successor. */
static inline void fh__dead_link(fh_object *object, const fh_object *next) {
  uint64_t link = (uint64_t)(uintptr_t)next >> 4;
  /* Relaxed: whoever reads these words of a dead object at the same time looks only at the owner, which stays 0. */
  FH__STORE_(&object->fh__slot, (uint32_t)link, RELAXED);
  FH__STORE_(&object->fh__bias, (uint32_t)(link >> 32) & 0xffffu, RELAXED);
}

static inline fh_object *fh__dead_next(const fh_object *object) {
  uint64_t link = (uint64_t)(FH__LOAD(&object->fh__bias, RELAXED) & 0xffffu) << 32 | FH__LOAD(&object->fh__slot, RELAXED);
  return (fh_object *)(uintptr_t)(link << 4);
}

static inline void fh__dead_push(struct fh__dead_list *list, fh_object *object) {
  fh__dead_link(object, list->first);
  list->first = object;
}

static inline fh_object *fh__dead_pop(struct fh__dead_list *list) {
  fh_object *object = list->first;
  if (!object) return NULL;
  list->first = fh__dead_next(object);
  FH__STORE_(&object->fh__slot, 0, RELAXED);
  return object;
}

#endif
