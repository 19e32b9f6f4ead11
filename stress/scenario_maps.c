/* SPDX-License-Identifier: MIT */
/* maps: weak-key maps, weak-value maps and weak sets, shared by all workers, while what they lead to dies by its last release, as
 * garbage and in finalizers that resurrect it, and while the maps themselves are dropped, emptied and become part of garbage.
 *
 * The value of a key is a box that leads back to it, or to nothing; nobody else changes these boxes. A weak-value map leads from the
 * number of a thing to the thing. */
#include <string.h>

#include "scenarios.h"

enum { MAPS = 4 };

static fh_slot keys[MAPS], values[MAPS], members[MAPS]; /* each NULL or a map */

static void enter(struct worker *w, fh_slot *slot, void *map) {
  if (!map) return;
  atomic_fetch_add_explicit(&w->ledger->others, 1, memory_order_relaxed);
  fh_slot_store(slot, map);
  fh_release(map);
}

/* ---- weak keys ---- */

static struct box *box_for(struct worker *w, struct thing *key) {
  struct box *box = thing_new(w, BOX);
  if (box && one_in(w, 2)) fh_slot_store(&box->slot[0], key);
  return box;
}

static void check_pair(struct thing *key, struct box *box) {
  if (!thing_whole(box)) return;
  FH_AUTO void *back = fh_slot_load(&box->slot[0]);
  check(!back || back == key);
}

static void on_pair(void *context, void *key, void *value) {
  (void)context;
  check_pair(thing_whole(key), value);
}

/* The map is a part of the garbage, and so is what leads from one of its values to it. */
static void lose_map(struct worker *w, fh_weak_keys *map, struct thing *key) {
  FH_AUTO struct box *box = thing_new(w, BOX);
  if (!box) return;
  fh_slot_store(&box->slot[1], map);
  (void)!fh_weak_keys_set(map, key, box);
}

static void use_keys(struct worker *w, struct thing *thing) {
  fh_slot *slot = &keys[below(w, MAPS)];
  FH_AUTO fh_weak_keys *map = fh_slot_load(slot);
  if (!map || one_in(w, 128)) enter(w, slot, fh_weak_keys_new());
  if (!map) return;
  switch (below(w, 16)) {
    case 0: {
      FH_AUTO struct box *taken = fh_weak_keys_take(map, thing);
      check_pair(thing, taken);
      break;
    }
    case 1:
      if (one_in(w, 16)) (void)!fh_weak_keys_each(map, on_pair, NULL);
      break;
    case 2:
      if (one_in(w, 64)) fh_weak_keys_clear(map);
      break;
    case 3:
      if (one_in(w, 8)) lose_map(w, map, thing);
      break;
    default: {
      FH_AUTO struct box *box = box_for(w, thing);
      if (box) (void)!fh_weak_keys_set(map, thing, box);
    }
  }
  FH_AUTO struct box *found = fh_weak_keys_get(map, thing);
  check_pair(thing, found);
}

/* ---- weak values ---- */

static void on_value(void *context, const void *key, size_t size, void *value) {
  (void)context;
  const struct thing *thing = thing_whole(value);
  check(size == sizeof thing->id && memcmp(key, &thing->id, size) == 0);
}

static void use_values(struct worker *w, struct thing *thing) {
  fh_slot *slot = &values[below(w, MAPS)];
  FH_AUTO fh_weak_values *map = fh_slot_load(slot);
  if (!map || one_in(w, 128)) enter(w, slot, fh_weak_values_new());
  if (!map) return;
  const uint64_t id = thing->id;
  switch (below(w, 16)) {
    case 0:
      fh_weak_values_remove(map, &id, sizeof id);
      break;
    case 1:
      if (one_in(w, 16)) (void)!fh_weak_values_each(map, on_value, NULL);
      break;
    case 2:
      if (one_in(w, 64)) fh_weak_values_clear(map);
      break;
    case 3:
      (void)!fh_weak_values_set(map, &id, sizeof id, thing);
      break;
    default: {
      FH_AUTO struct thing *there = fh_weak_values_set_default(map, &id, sizeof id, thing);
      check(!there || thing_whole(there) == thing); /* nobody else has its number, and it is held */
    }
  }
  FH_AUTO struct thing *found = fh_weak_values_get(map, &id, sizeof id);
  check(!found || found == thing);
}

/* ---- weak sets ---- */

static void on_member(void *context, void *object) {
  struct worker *w = context;
  thing_whole(object);
  if (one_in(w, 16)) fh_slot_store(any_slot(w), object);
}

static void use_members(struct worker *w, struct thing *thing) {
  fh_slot *slot = &members[below(w, MAPS)];
  FH_AUTO fh_weak_set *set = fh_slot_load(slot);
  if (!set || one_in(w, 128)) enter(w, slot, fh_weak_set_new());
  if (!set) return;
  if (one_in(w, 4)) fh_weak_set_remove(set, thing);
  if (one_in(w, 2)) (void)!fh_weak_set_add(set, thing);
  if (one_in(w, 64)) (void)!fh_weak_set_each(set, on_member, w);
}

/* ---- turns ---- */

static void make_a_ring(struct worker *w) {
  FH_AUTO struct thing *b = NULL;
  FH_AUTO struct thing *a = thing_ring(w, &b);
  if (!a) return;
  use_keys(w, a);
  use_members(w, b);
}

static void turn(struct worker *w) {
  FH_AUTO struct thing *thing = one_in(w, 2) ? thing_whole(fh_slot_load(any_slot(w))) : thing_any(w);
  if (!thing) return;
  use_keys(w, thing);
  use_values(w, thing);
  use_members(w, thing);
  if (one_in(w, 4)) fh_slot_store(any_slot(w), thing);
  if (one_in(w, 8)) hoard_put(w, fh_retain(thing));
  if (one_in(w, 8)) make_a_ring(w);
  if (one_in(w, 1024)) fh_collect(below(w, 3));
}

static void finish(struct worker *main) {
  (void)main;
  for (int i = 0; i < MAPS; i++) {
    fh_slot_store(&keys[i], NULL);
    fh_slot_store(&values[i], NULL);
    fh_slot_store(&members[i], NULL);
  }
}

const struct scenario scenario_maps = {
    .name = "maps",
    .attacks = "weak maps and sets used while keys, values and maps die, are collected and rise again",
    .threads = 4,
    .turn = turn,
    .finish = finish,
};
