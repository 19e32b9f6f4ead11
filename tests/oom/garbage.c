/* SPDX-License-Identifier: MIT */
/* Garbage of several mutators at once: each gets a list, and if one of the lists finds no memory there are none. */
#include "user.h"

struct knot {
  fh_object fh;
  struct knot *self;
};
static const fh_ref knot_refs[] = {FH_FIELD(struct knot, self), FH_END};
static atomic_uint finalized;
static void knot_finalize(void *object) {
  (void)object;
  atomic_fetch_add(&finalized, 1);
}
static const fh_type_spec knot_spec = {
    .name = "knot", .size = sizeof(struct knot), .refs = knot_refs, .finalize = knot_finalize};

enum { MAKERS = 3, KNOTS = 4 };

static fh_type *type;
static struct gate made = GATE, collected = GATE;
static atomic_uint knots;

static void tie(void *unused) {
  (void)unused;
  bool came = user_attach("maker");
  for (int i = 0; came && i < KNOTS; i++) {
    FH_AUTO struct knot *knot = user_new(type);
    if (!knot) break;
    fh_set(knot, self, knot);
    atomic_fetch_add(&knots, 1);
  }
  static atomic_int makers;
  gate_open(&made, atomic_fetch_add(&makers, 1) + 1);
  if (!came) return;
  gate_await_running(&collected, 1);
  fh_detach();
}

static bool work(void) {
  if (!user_type(&knot_spec, &type)) return false;
  user_is_alone = false;
  struct companion companion[MAKERS];
  for (int i = 0; i < MAKERS; i++) companion_start_bare(&companion[i], tie, NULL);
  gate_await(&made, MAKERS);
  user_collect();
  user_check_heap();
  gate_open(&collected, 1);
  for (int i = 0; i < MAKERS; i++) companion_join(&companion[i]);
  user_collect();
  fh_settle();
  demand(fh_type_live(type) == 0 && atomic_load(&finalized) == atomic_load(&knots));
  return atomic_load(&knots) == MAKERS * KNOTS;
}

int main(void) { return user_run(work); }
