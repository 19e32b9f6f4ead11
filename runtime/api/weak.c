/* SPDX-License-Identifier: MIT */
/* Making weak references. What they do is in ref/weak.c. */
#include <freehold/weak.h>

#include "api/weak.h"
#include "base/trap.h"
#include "ref/publish.h"
#include "ref/weak.h"

static const fh_type_spec weak_spec = {.name = "fh_weak",
                                       .size = sizeof(fh_weak),
                                       .flags = FH_ACYCLIC | FH_PUBLISHED | FH_NO_WEAK,
                                       .dealloc = fh__weak_dealloc};

static fh_type *weak_type; /* atomic: of the runtime that runs; registered by the first weak reference */

static fh_type *type_of_weak(const struct fh__weak_kind *kind) {
  fh_type *type = FH__LOAD(kind->type, ACQUIRE); /* partner: the release below */
  if (FH__LIKELY(type != NULL) && FH__LIKELY(fh__types[type->index] == type)) return type; /* not unregistered */
  if (fh__type_register(kind->spec, &type)) return NULL;
  FH__STORE_(kind->type, type, RELEASE); /* whoever comes at the same time stores the same */
  return type;
}

void fh__weak_forget_type(void) { FH__STORE_(&weak_type, NULL, RELAXED); }

bool fh__weak_is_allowed(const char *call, fh_object *target) {
  if (FH__CHECKED) fh__check_object(call, target);
  bool refused = fh__type_of(target)->flags & FH_NO_WEAK;
  if (FH__CHECKED && refused) fh__misuse(call, target, "the type refuses weak references (FH_NO_WEAK)");
  return !refused;
}

/* What may fail comes first. Nobody can die meanwhile: the caller has a reference to the target. */
fh_weak *fh__weak_make(const char *call, fh_object *target, const struct fh__weak_kind *kind) {
  struct fh__mutator *me = fh__self_or_trap(call, target);
  fh_type *type = fh__weak_is_allowed(call, target) ? type_of_weak(kind) : NULL;
  struct fh__weak_block *block = type ? fh__weak_join(target) : NULL;
  if (!block) return NULL;
  fh_weak *weak = fh_new(type);
  if (!weak) {
    fh__weak_leave(block);
    return NULL;
  }
  weak->block = block;
  weak->callback = kind->callback;
  weak->context = kind->context;
  if (kind->callback) fh__weak_listen(weak);
  fh__publish(me, target, call);
  FH__OR(&target->fh__shared, FH__WEAK, RELAXED); /* seen by whoever takes the count to zero: the same word */
  return weak;
}

fh_weak *fh_weak_new(void *target) {
  return fh__weak_make("fh_weak_new", target, &(struct fh__weak_kind){&weak_spec, &weak_type, NULL, NULL});
}

fh_weak *fh_weak_new_callback(void *target, void (*callback)(fh_weak *weak, void *context), void *context) {
  if (FH__CHECKED && !callback) fh__misuse("fh_weak_new_callback", target, "the callback is NULL");
  struct fh__weak_kind kind = {&weak_spec, &weak_type, callback, context};
  return fh__weak_make("fh_weak_new_callback", target, &kind);
}
