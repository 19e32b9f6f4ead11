/* SPDX-License-Identifier: MIT */
/* So many roots that their table grows; the runtime clears them when it ends, in several lives of the runtime, in one of which
 * nobody ever attaches. */
#include "user.h"

struct leaf {
  fh_object fh;
  struct leaf *other;
};
static const fh_ref leaf_refs[] = {FH_FIELD(struct leaf, other), FH_END};
static const fh_type_spec leaf_spec = {.name = "leaf", .size = sizeof(struct leaf), .refs = leaf_refs};

enum { ROOTS = 40, LIVES = 3 };
static fh_slot root[ROOTS];

static bool fill_roots(void) {
  fh_type *type = NULL;
  if (!user_type(&leaf_spec, &type)) return false;
  for (int i = 0; i < ROOTS; i++) {
    if (!user_root_add(&root[i])) return false;
    demand(fh_root_add(&root[i]) == FH_EEXIST);
    FH_AUTO struct leaf *leaf = user_new(type);
    if (!leaf) return false;
    fh_slot_store(&root[i], leaf);
    demand(fh_refcount(leaf) == 2);
  }
  for (int i = 0; i < ROOTS; i += 3) {
    fh_root_remove(&root[i]);
    fh_slot_store(&root[i], NULL);
  }
  return true;
}

static bool fill_attached(void) {
  if (!user_attach("main")) return false;
  bool went_well = fill_roots();
  fh_detach();
  return went_well;
}

/* Any thread may add a root while the runtime runs, attached or not. */
static bool live_once(int life) {
  if (!user_init(NULL)) return false;
  bool went_well =
      user_root_add(&root[ROOTS - 1]) && (life == 1 || (fh_root_remove(&root[ROOTS - 1]), fill_attached()));
  user_shutdown();
  for (int i = 0; i < ROOTS; i++) demand(!root[i].fh__value);
  return went_well;
}

int main(void) {
  bool went_well = true;
  for (int life = 0; went_well && life < LIVES; life++) went_well = live_once(life);
  return user_status(went_well);
}
