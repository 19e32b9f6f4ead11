/* SPDX-License-Identifier: MIT */
/* Walking the cells of an object: the references that its type declares, its items' references, and what its traverse
 * function shows. `each` is inlined into the loops, so a pass costs what its body costs. */
#ifndef FH_OBJECT_CELLS_H
#define FH_OBJECT_CELLS_H

#include "object/ephemeron.h"

/* A reference as the runtime reads it: the application wrote it as a pointer to its own struct. */
typedef fh_object *fh__cell __attribute__((may_alias));

typedef void fh__cell_function(void *context, fh__cell *cell);

/* Relaxed: slots change at any time and order themselves; fields are ordered by their guard, or by the stop. */
FH__INLINE fh_object *fh__cell_load(const fh__cell *cell) { return FH__LOAD(cell, RELAXED); }
FH__INLINE fh_object *fh__cell_clear(fh__cell *cell) {
  fh_object *object = FH__LOAD(cell, RELAXED);
  FH__STORE_(cell, NULL, RELAXED);
  return object;
}

struct fh__traversal {
  fh_visitor visitor; /* first: traverse sees only this */
  fh__cell_function *each;
  void *context;
};

static inline void fh__traversal_visit(fh_visitor *visitor, void *cell) {
  struct fh__traversal *traversal = (struct fh__traversal *)(void *)visitor;
  traversal->each(traversal->context, (fh__cell *)cell);
}

FH__INLINE void fh__cells_each_declared(const fh_type *type, fh_object *object, fh__cell_function *each, void *context) {
  char *base = (char *)object;
  for (uint32_t i = 0; i < type->cell_count; i++) each(context, (fh__cell *)(void *)(base + type->cells[i]));
  if (FH__UNLIKELY(type->item_cell_count != 0)) {
    size_t items = fh__item_count(type, object);
    char *item = base + type->size;
    for (size_t n = 0; n < items; n++, item += type->item_size)
      for (uint32_t i = 0; i < type->item_cell_count; i++) each(context, (fh__cell *)(void *)(item + type->item_cells[i]));
  }
}

FH__INLINE void fh__cells_traverse(const fh_type *type, fh_object *object, fh__cell_function *each, void *context) {
  struct fh__traversal traversal = {{fh__traversal_visit}, each, context};
  type->traverse(object, &traversal.visitor);
}

FH__INLINE void fh__cells_each(const fh_type *type, fh_object *object, fh__cell_function *each, void *context) {
  fh__cells_each_declared(type, object, each, context);
  if (FH__UNLIKELY(type->traverse != NULL)) fh__cells_traverse(type, object, each, context);
}

/* Stopped, while marking: what the object keeps alive by itself. A weak-key map goes into the list of those that were reached. */
FH__INLINE void fh__cells_each_strong(const fh_type *type, fh_object *object, fh__cell_function *each, void *context) {
  fh__cells_each_declared(type, object, each, context);
  if (FH__LIKELY(type->traverse == NULL)) return;
  if (FH__UNLIKELY(type->ephemerons != NULL))
    fh__ephemerons_reach(object);
  else
    fh__cells_traverse(type, object, each, context);
}

/* What an object of a paired type refers to. */
struct fh__near {
  fh_object *first, *second;
};
FH__INLINE fh_object *fh__cells_near_at(const fh_type *type, const fh_object *object, int i) {
  return fh__cell_load((const fh__cell *)(const void *)((const char *)object + type->near[i]));
}
FH__INLINE struct fh__near fh__cells_near_some(const fh_type *type, const fh_object *object) {
  struct fh__near near = {fh__cells_near_at(type, object, 0), NULL};
  if (FH__LIKELY(type->near[1] != type->near[0])) near.second = fh__cells_near_at(type, object, 1);
  return near;
}

/* The same of a plain type, which may have no cells. */
FH__INLINE struct fh__near fh__cells_near(const fh_type *type, const fh_object *object) {
  return FH__LIKELY(type->paired) ? fh__cells_near_some(type, object) : (struct fh__near){NULL, NULL};
}
/* A paired type's, again: the one cell of some is looked at twice, which costs less than to ask. */
FH__INLINE bool fh__cells_near_empty(const fh_type *type, const fh_object *object) {
  return !((uintptr_t)fh__cells_near_at(type, object, 0) | (uintptr_t)fh__cells_near_at(type, object, 1));
}
FH__INLINE int64_t fh__near_count(struct fh__near near) { return (near.first != NULL) + (near.second != NULL); }

#endif
