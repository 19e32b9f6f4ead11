/* SPDX-License-Identifier: MIT */
/* Fields: guarded references inside objects. A store into a published object is the publish barrier. */
#include "base/trap.h"
#include "object/cells.h"
#include "ref/candidate.h"
#include "ref/publish.h"

static struct fh__mutator *check_holder(const char *call, const fh_object *holder) {
  struct fh__mutator *me = fh__self_or_trap(call, holder);
  if (FH__CHECKED) {
    fh__check_object(call, holder);
    bool published = fh__is_published(holder);
    if (!published && !fh__owns(me, FH__LOAD(&holder->fh__bias, RELAXED)))
      fh__misuse(call, holder, "a field of a private object of another thread");
    /* In the atomic design everything is published from birth, and nobody can tell whether others know it already. */
    bool guarded = published && !fh__design_is(FH_DESIGN_ATOMIC) && fh__type_of(holder)->flags & FH_LOCKED;
    if (guarded && !FH__LOAD(&holder->fh__lock, RELAXED))
      fh__misuse(call, holder, "a field of a published object is written without the object's lock");
  }
  return me;
}

/* Stores; returns the old reference. The value's publication is ordered by the release: partner is whoever reads the cell
 * under the guard, or the slot it was copied to. */
static fh_object *exchange(struct fh__mutator *me, const char *call, fh_object *holder, fh__cell *cell, fh_object *value) {
  if (value && fh__is_published(holder)) fh__publish(me, value, call);
  fh_object *old = fh__cell_load(cell);
  FH__STORE_(cell, value, RELEASE);
  return old;
}

void fh_field_set(void *holder, void *cell, void *value) {
  struct fh__mutator *me = check_holder("fh_field_set", holder);
  if (value) fh__retain(value);
  fh_object *old = exchange(me, "fh_field_set", holder, cell, value);
  if (old) fh__release(old);
}

void fh_field_give(void *holder, void *cell, void *value) {
  struct fh__mutator *me = check_holder("fh_field_give", holder);
  if (value) fh__candidate_moves(me, value);
  fh_object *old = exchange(me, "fh_field_give", holder, cell, value);
  if (old) fh__release(old);
}

void *fh_field_take(void *holder, void *cell) {
  struct fh__mutator *me = check_holder("fh_field_take", holder);
  return exchange(me, "fh_field_take", holder, cell, NULL);
}
