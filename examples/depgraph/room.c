/* SPDX-License-Identifier: MIT */
#include "room.h"

#include "clock.h"

enum { TRIES_MAX = 100 };

/* How long a graph may take to go: a reader may hold it for the rest of its question. */
enum { PATIENCE_MS = 2000 };

/* Whoever is first takes the old graph out. */
static void give_way(struct room *room, uint64_t now) {
  uint64_t never = 0;
  if (!__atomic_compare_exchange_n(&room->gave_way_ms, &never, now, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) return;
  void *old = fh_slot_swap(room->old, NULL);
  if (old) fh_release(old);
}

static void wait_a_little(void) {
  FH_BLOCKING();
  sleep_ms(1);
}

static bool is_limited(void) {
  size_t hard;
  fh_limits_get(NULL, &hard);
  return hard > 0;
}

bool room_make(struct room *room, unsigned *tries) {
  if (!is_limited() || ++*tries > TRIES_MAX) return false; /* the system itself has no memory */
  /* There is room for the one object that was refused. What is tried again may make several, so that is believed once. */
  bool fits = fh_reclaim() == FH_OK;
  if (fits && *tries == 1) return true;
  if (!room->old) return false;
  uint64_t now = (uint64_t)(now_seconds() * 1e3), gave_way = __atomic_load_n(&room->gave_way_ms, __ATOMIC_RELAXED);
  if (gave_way && !fits) wait_a_little();
  if (!gave_way) give_way(room, now);
  return !gave_way || now - gave_way < PATIENCE_MS;
}
