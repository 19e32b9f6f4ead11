/* SPDX-License-Identifier: MIT */
/* The collector's tools: callbacks, garbage that is kept, and looks into the heap. What was looked for and finds no memory is not
 * shown, none of it, and every reference is given up; what could not be kept is found again. */
#include "user.h"

struct knot {
  fh_object fh;
  struct knot *self, *next;
};
static const fh_ref knot_refs[] = {FH_FIELD(struct knot, self), FH_FIELD(struct knot, next), FH_END};
static const fh_type_spec knot_spec = {.name = "knot", .size = sizeof(struct knot), .refs = knot_refs};

enum { KNOTS = 200, CALLBACKS = 3 }; /* more than the runtime makes room for at first */

static fh_type *type;
static struct knot *knot[KNOTS];

static void on_collection(void *context, const fh_gc_event *event) { (void)event, ++*(unsigned *)context; }

static bool add_callback(unsigned *calls) {
  for (;;) {
    struct sight before = user_look();
    fh_status status = fh_gc_callback_add(on_collection, calls);
    if (status == FH_OK) return true;
    demand(status == FH_ENOMEM && fh_gc_callback_remove(on_collection, calls) == FH_ENOTFOUND);
    if (!user_tries_again(&before)) return false;
  }
}

/* ---- looking ---- */

static bool count_one(void *count, void *object) {
  demand(fh_type_of(object) == type);
  ++*(size_t *)count;
  return true;
}

enum what { OBJECTS, REFERRERS, REFERENTS, SAVED };

static fh_status look_for(enum what what, size_t *count) {
  switch (what) {
    case OBJECTS: return fh_gc_objects(-1, type, count_one, count);
    case REFERRERS: return fh_gc_referrers((void *const *)knot, KNOTS, type, count_one, count);
    case REFERENTS: return fh_gc_referents(knot[0], type, count_one, count);
    default: return fh_gc_saved(type, count_one, count);
  }
}

static bool sees(enum what what, size_t expected) {
  for (;;) {
    struct sight before = user_look();
    size_t count = 0;
    fh_status status = look_for(what, &count);
    if (status == FH_OK) {
      demand(count == expected);
      return true;
    }
    demand(status == FH_ENOMEM && count == 0);
    if (!user_tries_again(&before)) return false;
  }
}

/* ---- all of it ---- */

static bool tie_all(void) {
  for (int i = 0; i < KNOTS; i++) {
    knot[i] = user_new(type);
    if (!knot[i]) return false;
    fh_set(knot[i], self, knot[i]);
    fh_set(knot[i], next, knot[0]);
  }
  return true;
}

static void drop_all(void) {
  for (int i = 0; i < KNOTS; i++)
    if (knot[i]) fh_drop(&knot[i]);
}

static bool look_at_all(void) {
  if (!sees(OBJECTS, KNOTS) || !sees(REFERRERS, KNOTS) || !sees(REFERENTS, 2)) return false;
  for (int i = 0; i < KNOTS; i++) demand(fh_refcount(knot[i]) == (i ? 2 : KNOTS + 2)); /* nothing was kept */
  return true;
}

static bool keep_all(void) {
  demand(fh_gc_debug_set(FH_GC_SAVE) == FH_OK);
  drop_all();
  demand(user_collect() == KNOTS);
  bool went_well = sees(SAVED, KNOTS);
  demand(fh_gc_debug_set(0) == FH_OK && fh_gc_saved_clear() == KNOTS);
  demand(user_collect() == KNOTS && fh_type_live(type) == 0);
  return went_well;
}

static bool work(void) {
  static unsigned calls[CALLBACKS];
  if (!user_type(&knot_spec, &type)) return false;
  for (int i = 0; i < CALLBACKS; i++)
    if (!add_callback(&calls[i])) return false; /* the end of the runtime removes the others */
  bool went_well = tie_all() && look_at_all() && keep_all();
  drop_all();
  user_collect();
  user_check_heap();
  for (int i = 0; i < CALLBACKS; i++) {
    demand(calls[i] == calls[0] && calls[i] >= 2);
    demand(fh_gc_callback_remove(on_collection, &calls[i]) == FH_OK);
  }
  return went_well;
}

int main(void) { return user_run(work); }
