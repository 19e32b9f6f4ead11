/* SPDX-License-Identifier: MIT */
/* Two threads, one of which releases what the other made: merge queues, whose segments are allocations that must not lose a
 * reference; garbage that is private to another mutator; owners that have left. */
#include "user.h"

struct cell {
  fh_object fh;
  struct cell *next;
};
static const fh_ref cell_refs[] = {FH_FIELD(struct cell, next), FH_END};
static const fh_type_spec cell_spec = {.name = "cell", .size = sizeof(struct cell), .refs = cell_refs};

enum {
  CELLS = 400, /* more than the segments hold that a mutator has in reserve */
  RING = 2
};

struct owner {
  struct gate made, go_on;
  fh_type *type;
  bool came;      /* it is attached */
  bool went_well; /* and has made all its cells */
  size_t count;
  struct cell *cell[CELLS];
};

static bool make_private_ring(fh_type *type) {
  FH_AUTO struct cell *a = user_new(type);
  FH_AUTO struct cell *b = a ? user_new(type) : NULL;
  if (!b) return false;
  fh_set(a, next, b);
  fh_set(b, next, a);
  return true;
}

static bool make_cells(struct owner *owner) {
  if (!make_private_ring(owner->type)) return false;
  while (owner->count < CELLS) {
    struct cell *cell = user_new(owner->type);
    if (!cell) return false;
    fh_publish(cell);
    owner->cell[owner->count++] = cell;
  }
  return true;
}

static void own(void *argument) {
  struct owner *owner = argument;
  owner->came = user_attach("owner");
  owner->went_well = owner->came && make_cells(owner);
  gate_open(&owner->made, 1);
  if (!owner->came) return;
  gate_await_running(&owner->go_on, 1); /* finishes the garbage that is its own */
  fh_detach();
}

/* The releases have no safepoint among them, at which the reserve of segments would be filled again. */
static bool meet_owner(fh_type *type, bool leaves_first) {
  static struct owner owner;
  owner = (struct owner){.made = GATE, .go_on = GATE, .type = type};
  struct companion companion;
  companion_start_bare(&companion, own, &owner);
  gate_await(&owner.made, 1);
  user_collect(); /* the ring is its owner's to finish */
  if (leaves_first) {
    gate_open(&owner.go_on, 1);
    companion_join(&companion);
  }
  for (size_t i = 0; i < owner.count; i++) fh_release(owner.cell[i]);
  gate_open(&owner.go_on, 1);
  if (!leaves_first) companion_join(&companion);
  fh_housekeep();
  user_check_heap();
  /* Before a collection: that would find what a queue has lost. Counts alone must free the cells. */
  demand(fh_type_live(type) <= RING);
  user_collect();
  fh_settle();
  demand(fh_type_live(type) == 0);
  return owner.went_well;
}

static bool work(void) {
  fh_type *type = NULL;
  if (!user_type(&cell_spec, &type)) return false;
  user_is_alone = false;
  return meet_owner(type, false) && meet_owner(type, true);
}

int main(void) { return user_run(work); }
