/* SPDX-License-Identifier: MIT */
/* Object locks. Whoever has to wait goes offline, so a stop never waits for a lock; and gives up its critical sections, so two
 * sections never wait for each other. Of a section over two objects the one with the lower address is locked first. */
#include <freehold/lock.h>

#include "api/safepoint.h"
#include "base/trap.h"

static uint8_t *lock_of(void *object) { return &((fh_object *)object)->fh__lock; }

static void wait_for(struct fh__mutator *me, uint8_t *lock, const char *call, const void *object) {
  if (FH__UNLIKELY(me->no_safepoint)) {
    if (FH__CHECKED) fh__misuse(call, object, "waits for a lock where no safepoint may be");
    fh__byte_lock_wait(lock);
    return;
  }
  me->returning = true;
  fh__go_offline(me);
  fh__byte_lock_wait(lock);
  fh__mutator_go_online(me);
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
    wait_for(me, lock_of(object), "fh_lock", object);
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

static void lock_section(struct fh__mutator *me, fh_critical *section) {
  if (!fh__byte_try_lock(lock_of(section->fh__first))) wait_for(me, lock_of(section->fh__first), "fh_critical_begin", section->fh__first);
  if (section->fh__second && !fh__byte_try_lock(lock_of(section->fh__second)))
    wait_for(me, lock_of(section->fh__second), "fh_critical_begin", section->fh__second);
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
  section->fh__first = (void *)((uintptr_t)section->fh__first & ~(uintptr_t)GIVEN_UP);
  lock_section(me, section);
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
    lock_section(me, section);
  }
  me->critical = section;
}

void fh_critical_end(fh_critical *section) {
  struct fh__mutator *me = fh__self_or_trap("fh_critical_end", NULL);
  if (FH__UNLIKELY(me->critical != section)) fh__misuse("fh_critical_end", NULL, "critical sections end in reverse order");
  me->critical = section->fh__outer;
  if (!is_given_up(section)) unlock_section(section);
  fh__critical_resume(me);
}
