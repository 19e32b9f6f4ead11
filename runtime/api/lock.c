/* SPDX-License-Identifier: MIT */
/* Object locks. Whoever has to wait goes offline, so a stop never waits for a lock; and gives up its critical sections, so two
 * sections never wait for each other. Of a section over two objects the one with the lower address is locked first. */
#include <freehold/lock.h>

#include "api/safepoint.h"
#include "base/trap.h"

static uint8_t *lock_of(void *object) { return &((fh_object *)object)->fh__lock; }

/* `holding`: an object whose lock is held meanwhile and noted nowhere else, or NULL. */
static void wait_for(struct fh__mutator *me, void *object, const char *call, void *holding) {
  if (FH__UNLIKELY(me->no_safepoint)) {
    if (FH__CHECKED) fh__misuse(call, object, "waits for a lock where no safepoint may be");
    fh__byte_lock_wait(lock_of(object));
    return;
  }
  me->returning = true;
  me->locking[0] = object; /* for the child of a fork */
  me->locking[1] = holding;
  fh__go_offline(me);
  fh__byte_lock_wait(lock_of(object));
  fh__mutator_go_online(me);
  me->locking[0] = me->locking[1] = NULL;
  me->returning = false;
}

/* ---- by hand ---- */

static uint32_t find_held(const struct fh__mutator *me, const void *object) {
  uint32_t at = 0;
  while (at < me->held_count && me->held[at] != object) at++;
  return at;
}

void fh_lock(void *object) {
  struct fh__mutator *me = fh__self_or_trap("fh_lock", object);
  if (FH__CHECKED) fh__check_object("fh_lock", object);
  if (FH__CHECKED && find_held(me, object) < me->held_count) fh__misuse("fh_lock", object, "this thread holds its lock already");
  if (me->held_count == FH__LOCKS_BY_HAND) fh__misuse("fh_lock", object, "too many locks held by hand");
  if (FH__UNLIKELY(!fh__byte_try_lock(lock_of(object)))) {
    fh__critical_suspend(me);
    wait_for(me, object, "fh_lock", NULL);
    me->held[me->held_count++] = object;
    fh__critical_resume(me);
    return;
  }
  me->held[me->held_count++] = object;
}

void fh_unlock(void *object) {
  struct fh__mutator *me = fh__self_or_trap("fh_unlock", object);
  uint32_t at = find_held(me, object);
  if (at == me->held_count) fh__misuse("fh_unlock", object, "this thread does not hold its lock");
  me->held[at] = me->held[--me->held_count];
  fh__byte_unlock(lock_of(object));
}

/* ---- critical sections ----
 *
 * A section that was given up has the lowest bit of its first object's address set. */

enum { GIVEN_UP = 1 };

static bool is_given_up(const fh_critical *section) { return (uintptr_t)section->fh__first & GIVEN_UP; }

static void lock_both(struct fh__mutator *me, void *first, void *second) {
  if (!fh__byte_try_lock(lock_of(first))) wait_for(me, first, "fh_critical_begin", NULL);
  if (second && !fh__byte_try_lock(lock_of(second))) wait_for(me, second, "fh_critical_begin", first);
}

static bool try_lock_section(fh_critical *section) {
  if (!fh__byte_try_lock(lock_of(section->fh__first))) return false;
  if (!section->fh__second || fh__byte_try_lock(lock_of(section->fh__second))) return true;
  fh__byte_unlock(lock_of(section->fh__first));
  return false;
}

static void unlock_section(fh_critical *section) {
  if (section->fh__second) fh__byte_unlock(lock_of(section->fh__second));
  fh__byte_unlock(lock_of(section->fh__first));
}

static void give_up(fh_critical *section) {
  unlock_section(section);
  section->fh__first = (void *)((uintptr_t)section->fh__first | GIVEN_UP);
}

void fh__critical_suspend(struct fh__mutator *me) {
  for (fh_critical *section = me->critical; section; section = section->fh__outer)
    if (!is_given_up(section)) give_up(section);
}

void fh__critical_resume(struct fh__mutator *me) {
  fh_critical *section = me->critical;
  if (!section || !is_given_up(section)) return;
  /* It counts as given up until it is locked: while this thread waits, a dealloc may suspend the sections, too. */
  void *first = (void *)((uintptr_t)section->fh__first & ~(uintptr_t)GIVEN_UP);
  lock_both(me, first, section->fh__second);
  section->fh__first = first;
}

void fh_critical_begin(fh_critical *section, void *a, void *b) {
  struct fh__mutator *me = fh__self_or_trap("fh_critical_begin", a);
  if (FH__CHECKED) {
    fh__check_object("fh_critical_begin", a);
    if (b) fh__check_object("fh_critical_begin", b);
  }
  bool swap = b && (uintptr_t)b < (uintptr_t)a;
  section->fh__first = swap ? b : a;
  section->fh__second = b == a ? NULL : swap ? a : b;
  section->fh__outer = me->critical;
  if (FH__UNLIKELY(!try_lock_section(section))) {
    fh__critical_suspend(me); /* also the case of an outer section over the same object */
    lock_both(me, section->fh__first, section->fh__second);
  }
  me->critical = section;
}

/* ---- fork ---- */

static bool holds(const struct fh__mutator *me, const void *object) {
  if (!me) return false;
  if (find_held(me, object) < me->held_count) return true;
  for (const fh_critical *section = me->critical; section; section = section->fh__outer)
    if (!is_given_up(section) && (section->fh__first == object || section->fh__second == object)) return true;
  return false;
}

static void free_lock(const struct fh__mutator *survivor, void *object) {
  if (object && !holds(survivor, object)) FH__STORE_(lock_of(object), 0, RELAXED);
}

void fh__locks_of_lost(struct fh__mutator *lost, const struct fh__mutator *survivor) {
  /* Nobody else is left, so what the survivor does not hold is free; what the lost one waited for, too: it may just have got it. */
  for (int i = 0; i < 2; i++) free_lock(survivor, lost->locking[i]);
  for (uint32_t i = 0; i < lost->held_count; i++) free_lock(survivor, lost->held[i]);
  for (const fh_critical *section = lost->critical; section; section = section->fh__outer)
    if (!is_given_up(section)) {
      free_lock(survivor, section->fh__first);
      free_lock(survivor, section->fh__second);
    }
  lost->locking[0] = lost->locking[1] = NULL;
  lost->held_count = 0;
  lost->critical = NULL;
}

void fh_critical_end(fh_critical *section) {
  struct fh__mutator *me = fh__self_or_trap("fh_critical_end", NULL);
  if (FH__UNLIKELY(me->critical != section)) fh__misuse("fh_critical_end", NULL, "critical sections end in reverse order");
  me->critical = section->fh__outer;
  if (!is_given_up(section)) unlock_section(section);
  fh__critical_resume(me);
}
