/* SPDX-License-Identifier: MIT */
/* The type table: what the runtime knows of each struct, with its references flattened to offsets. An object names its
 * type by a 16-bit index, and does not count it: instances are counted per mutator (object/census.h). */
#ifndef FH_OBJECT_TYPE_H
#define FH_OBJECT_TYPE_H

#include "object/header.h"
#include "memory/pool.h"

enum { FH__TYPES_MAX = 65535, FH__CENSUS_PAGE = 256, FH__CENSUS_PAGES = (FH__TYPES_MAX + 1) / FH__CENSUS_PAGE };

/* Shows the pairs of a weak-key map, each by its key, which is NULL if it is lost, and the cell of its value. */
typedef void fh__pair_function(void *context, const fh_object *key, fh_object **value);
typedef void fh__ephemerons_function(fh_object *map, fh__pair_function *each, void *context);

struct fh_type {
  uint32_t small_size; /* alloc_size, if it is fixed and small enough for the inline way of making one; else 0 */
  uint32_t pool_at;    /* its list in a pool; of what is not small, the empty one */
  uint32_t near[2];    /* plain, with cells: their offsets, the same twice if there is one */
  struct fh__birth birth; /* what newborns' headers have in common */
  bool tracked;        /* may take part in cycles */
  bool has_cells;      /* refers to anything at all */
  bool plain;          /* two fixed cells at most, and nothing of the application's runs when an instance dies */
  bool brief;          /* plain and small */
  bool paired;         /* plain, with cells: `near` says where */
  uint32_t size;       /* the fixed part, as the spec says */
  uint32_t alloc_size; /* what is allocated for it, without items */
  uint32_t usable;     /* what that costs in the account */
  uint32_t item_size;
  uint32_t count_at;
  uint16_t index;
  uint16_t census_page; /* index, split */
  uint16_t census_at;
  uint32_t cell_count;
  uint32_t item_cell_count;
  uint32_t *cells;      /* offsets of references in the fixed part */
  uint32_t *item_cells; /* offsets of references in one item */
  uint32_t flags;
  void (*traverse)(void *, fh_visitor *);
  void (*finalize)(void *);
  void (*dealloc)(void *);
  fh__ephemerons_function *ephemerons; /* of the runtime's own types: shows pairs instead of what traverse shows, while marking */
  const fh_type_spec *spec; /* identity */
  fh_type_spec contents;    /* as registered, to tell a changed spec */
  char *name;
  fh_type *next_removed;
  uint64_t immortals; /* atomic: instances that live until the runtime ends, and are no leaks */
  int64_t stray; /* atomic: instances counted here when a mutator had no memory for its own counter */
};

/* Indexed by the header's type word. Written under the table's lock, released by the store of the pointer; an object's
 * type is there for as long as the object is, so readers of objects need no order. */
extern struct fh_type *fh__types[FH__TYPES_MAX + 1];

/* What the shared word of a newborn says; at init. `born_shared`: every object is published and merged from birth. */
void fh__types_start(bool born_shared);
fh_status fh__type_register(const fh_type_spec *spec, fh_type **type_out);
/* Its memory stays until the runtime ends: statistics may be looking at it. */
void fh__type_remove(fh_type *type);
/* Around a fork: nobody is in the midst of a change. */
void fh__types_lock(void);
void fh__types_unlock(void);
/* At shutdown: all of them. */
void fh__types_finish(void);

FH__INLINE fh_type *fh__type_of(const fh_object *object) { return fh__types[object->fh__type]; }

FH__INLINE size_t fh__item_count(const fh_type *type, const fh_object *object) {
  return type->count_at ? *(const size_t *)(const void *)((const char *)object + type->count_at) : 0;
}

/* What the object costs in the account. */
FH__INLINE size_t fh__object_bytes(const fh_type *type, const fh_object *object) {
  return FH__LIKELY(type->item_size == 0) ? type->usable : fh__backend_usable(object);
}

#endif
