/* SPDX-License-Identifier: MIT */
#include "room.h"

#include "clock.h"

/* How long one allocation is tried: a reader may hold the graph that gave way for the rest of its question. */
enum { PATIENCE_MS = 2000 };

/* Where there is no limit, the system itself has no memory. */
static bool is_limited(void) {
  size_t hard;
  fh_limits_get(NULL, &hard);
  return hard > 0;
}

/* Whoever is first takes the old graph out. False: it is out already. */
static bool give_way(struct room *room) {
  if (__atomic_exchange_n(&room->gave_way, true, __ATOMIC_RELAXED)) return false;
  void *old = fh_slot_swap(room->old, NULL);
  if (old) fh_release(old);
  return true;
}

static void wait_a_little(void) {
  FH_BLOCKING();
  sleep_ms(1);
}

bool room_make(struct room *room, double *since) {
  if (!is_limited()) return false;
  double now = now_seconds();
  bool first = *since <= 0;
  if (first) *since = now;
  /* There is room for the one object that was refused. What is tried again may make several, so that is believed once. */
  if (fh_reclaim() == FH_OK && first) return true;
  if (!room->old) return false;
  if (!give_way(room)) wait_a_little();
  return (now - *since) * 1e3 < PATIENCE_MS;
}
