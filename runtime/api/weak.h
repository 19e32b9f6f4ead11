/* SPDX-License-Identifier: MIT */
#ifndef FH_API_WEAK_H
#define FH_API_WEAK_H

#include <freehold/weak.h>

#include "mutator/mutator.h"

/* What a weak reference is made as. */
struct fh__weak_kind {
  const fh_type_spec *spec;
  fh_type **type; /* atomic: of the runtime that runs, or NULL */
  void (*callback)(fh_weak *weak, void *context);
  void *context;
};
/* NULL: no memory, or the target refuses. What the type has beyond fh_weak is the caller's to fill in. */
fh_weak *fh__weak_make(const char *call, fh_object *target, const struct fh__weak_kind *kind);
/* At shutdown, with the other types. */
void fh__weak_forget_type(void);
void fh__weakmap_forget_types(void);
/* True if the object may be weakly referenced; traps in checked builds if its type refuses. */
bool fh__weak_is_allowed(const char *call, fh_object *target);

#endif
