/* SPDX-License-Identifier: MIT */
/* Weak references: their type, the objects, the blocks, and the table, which may not find the memory to grow and then must do
 * without. Deaths and callbacks need none. */
#include "user.h"

struct link {
  fh_object fh;
  struct link *next;
};
static const fh_ref link_refs[] = {FH_FIELD(struct link, next), FH_END};
static const fh_type_spec link_spec = {.name = "link", .size = sizeof(struct link), .refs = link_refs};

enum { NODES = 150 }; /* several for each lock, so that the table grows */

static unsigned called;
static void on_loss(fh_weak *weak, void *context) {
  FH_AUTO void *target = fh_weak_get(weak);
  demand(!target);
  ++*(unsigned *)context;
}

/* A refusal leaves the target as it was. */
static fh_weak *user_weak(void *target, bool calls) {
  for (;;) {
    struct sight before = user_look();
    bool unique = fh_is_unique(target), published = fh_is_published(target);
    fh_weak *weak = calls ? fh_weak_new_callback(target, on_loss, &called) : fh_weak_new(target);
    if (weak) return weak;
    demand(fh_is_unique(target) == unique && fh_is_published(target) == published);
    if (!user_tries_again(&before)) return NULL;
  }
}

static struct link *node[NODES];
static fh_weak *weak[NODES];

static bool make_all(fh_type *type) {
  for (unsigned i = 0; i < NODES; i++) {
    node[i] = user_new(type);
    if (!node[i]) return false;
    weak[i] = user_weak(node[i], i % 2);
    if (!weak[i]) return false;
    FH_AUTO struct link *found = fh_weak_get(weak[i]);
    demand(found == node[i]);
  }
  return true;
}

/* A quarter becomes garbage, the rest dies by count. */
static void lose_all(void) {
  for (unsigned i = 0; i < NODES; i++) {
    if (node[i] && i % 4 == 0) {
      FH_CRITICAL(node[i]);
      fh_set(node[i], next, node[i]);
    }
    if (node[i]) fh_drop(&node[i]);
  }
  user_collect();
  fh_safepoint();
}

static bool work(void) {
  fh_type *type = NULL;
  if (!user_type(&link_spec, &type)) return false;
  bool went_well = make_all(type);
  user_check_heap();
  unsigned expected = 0;
  for (unsigned i = 1; i < NODES; i += 2) expected += weak[i] != NULL;
  lose_all();
  demand(called == expected);
  for (unsigned i = 0; i < NODES; i++) {
    if (!weak[i]) continue;
    FH_AUTO void *target = fh_weak_get(weak[i]);
    demand(!target);
    fh_drop(&weak[i]);
  }
  user_check_heap();
  return went_well;
}

int main(void) { return user_run(work); }
