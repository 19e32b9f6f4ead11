/* SPDX-License-Identifier: MIT */
/* Slots. A load is: read, try to retain, read again. The memory behind the first read cannot be reused before this thread's
 * next safepoint, because what a slot holds is published [grace.unreachable]; so the try is safe, it fails exactly if the
 * object is dead, and the second look tells a resurrected object, which left the slot, from one that is still there. */
#include <stdlib.h>

#include "base/trap.h"
#include "object/cells.h"
#include "ref/candidate.h"
#include "ref/count.h"
#include "ref/publish.h"
#include "ref/slot.h"

#include <freehold/slot.h>

static fh__cell *cell_of(fh_slot *slot) { return (fh__cell *)(void *)&slot->fh__value; }

void *fh_slot_load(fh_slot *slot) {
  struct fh__mutator *me = fh__self_or_trap("fh_slot_load", NULL);
  fh__cell *cell = cell_of(slot);
  for (;;) {
    fh_object *object = FH__LOAD(cell, ACQUIRE); /* partner: the exchanges below */
    if (!object) return NULL;
    if (FH__LIKELY(fh__try_retain(me, object))) {
      if (FH__LIKELY(FH__LOAD(cell, ACQUIRE) == object)) return object;
      fh__release(object);
    }
  }
}

void *fh_slot_swap(fh_slot *slot, void *value) {
  struct fh__mutator *me = fh__self_or_trap("fh_slot_swap", value);
  if (value) {
    fh__publish(me, value, "fh_slot_swap");
    fh__candidate_moves(me, value);
  }
  /* Release publishes the value's contents to loads; acquire: the caller may look into the old one. */
  return FH__SWAP(cell_of(slot), (fh_object *)value, ACQ_REL);
}

void fh_slot_store(fh_slot *slot, void *value) {
  if (value) fh__retain(value);
  fh_object *old = fh_slot_swap(slot, value);
  if (old) fh__release(old);
}

bool fh_slot_cas(fh_slot *slot, void *expected, void *desired) {
  struct fh__mutator *me = fh__self_or_trap("fh_slot_cas", desired);
  if (desired) {
    fh__publish(me, desired, "fh_slot_cas");
    fh__retain(desired);
  }
  fh_object *seen = expected;
  if (FH__CAS(cell_of(slot), &seen, (fh_object *)desired, ACQ_REL)) { /* as in fh_slot_swap */
    if (expected) fh__release(expected);
    return true;
  }
  if (desired) fh__release(desired);
  return false;
}

/* ---- roots: from the system's malloc, because any thread may add one in any state ---- */

static struct {
  struct fh__mutex lock;
  fh_slot **slot;
  size_t count, capacity;
} roots = {.lock = FH__MUTEX(FH__RANK_ROOTS)};

static size_t find_root(const fh_slot *slot) {
  size_t at = 0;
  while (at < roots.count && roots.slot[at] != slot) at++;
  return at;
}

static fh_status add_root_locked(fh_slot *slot) {
  if (find_root(slot) < roots.count) return FH_EEXIST;
  if (roots.count == roots.capacity) {
    size_t capacity = roots.capacity ? 2 * roots.capacity : 16;
    fh_slot **grown = realloc(roots.slot, capacity * sizeof *grown);
    if (!grown) return FH_ENOMEM;
    roots.slot = grown;
    roots.capacity = capacity;
  }
  roots.slot[roots.count++] = slot;
  return FH_OK;
}

fh_status fh_root_add(fh_slot *slot) {
  if (!slot) return FH_EINVAL;
  if (!fh__is_up()) return FH_ESHUTDOWN;
  fh__mutex_lock(&roots.lock);
  fh_status status = add_root_locked(slot);
  fh__mutex_unlock(&roots.lock);
  return status;
}

void fh_root_remove(fh_slot *slot) {
  if (!fh__is_up()) return; /* then there are none; and in a child that must not use it, the lock may be held for ever */
  fh__mutex_lock(&roots.lock);
  size_t at = find_root(slot);
  if (at < roots.count) roots.slot[at] = roots.slot[--roots.count];
  fh__mutex_unlock(&roots.lock);
}

/* At shutdown: takes the next root out of the table and releases what it holds. */
static fh_slot *pop_root(void) {
  fh__mutex_lock(&roots.lock);
  fh_slot *slot = roots.count ? roots.slot[--roots.count] : NULL;
  fh__mutex_unlock(&roots.lock);
  return slot;
}

void fh__roots_clear(void) {
  fh_slot *slot;
  while ((slot = pop_root())) fh_slot_store(slot, NULL);
}

void fh__roots_finish(void) {
  fh_slot *slot;
  while ((slot = pop_root())) slot->fh__value = NULL;
  free(roots.slot);
  roots.slot = NULL;
  roots.capacity = 0;
}

void fh__roots_lock(void) { fh__mutex_lock(&roots.lock); }
void fh__roots_unlock(void) { fh__mutex_unlock(&roots.lock); }
