/* SPDX-License-Identifier: MIT */
/* rounds: the runtime starts and ends all the time. Every worker is a user of it like a library among others: it starts it or counts
 * itself in, works, and ends its use; some only come to visit, with no right to find it running. */
#include "scenarios.h"

#include <sched.h>

enum { LINKS = 64, LINK = KINDS };

/* Types last for a round, so each worker registers its own after it attached. */
struct link {
  struct thing thing;
  struct thing *next;
  fh_slot slot;
};

static const fh_ref link_refs[] = {FH_FIELD(struct link, next), FH_SLOT(struct link, slot), FH_END};
static const fh_type_spec link_spec = {
    .name = "link", .size = sizeof(struct link), .refs = link_refs, .dealloc = thing_bury};

static struct link *link_new(struct worker *w, fh_type *type) { return thing_enter(w, fh_new(type), LINK); }

/* Attached: some that die at once, some in rings, some in roots, which the end of the round clears. */
static void make_links(struct worker *w) {
  fh_type *type = NULL;
  check(fh_type_register(&link_spec, &type) == FH_OK);
  for (unsigned i = below(w, LINKS); i > 0; i--) {
    FH_AUTO struct link *a = link_new(w, type);
    FH_AUTO struct link *b = link_new(w, type);
    if (!a || !b) return;
    fh_set(a, next, &b->thing);
    if (one_in(w, 2)) fh_slot_store(&b->slot, a);
    if (one_in(w, 4)) fh_slot_store(any_slot(w), a);
    FH_AUTO struct thing *other = thing_whole(fh_slot_load(any_slot(w)));
    fh_safepoint();
  }
  if (one_in(w, 64)) fh_collect(2);
}

/* Nobody promised that it runs: a status is the only right answer if it does not. */
static void visit(struct worker *w) {
  const fh_status status = fh_attach("visitor");
  check(status == FH_OK || status == FH_ESHUTDOWN);
  if (status == FH_OK) {
    make_links(w);
    fh_detach();
  } else {
    sched_yield();
  }
}

/* Holding keeps it running without being attached or a user. Somebody may wait for the end by now; then nobody attaches. */
static void hold(struct worker *w) {
  const fh_status status = fh_hold();
  check(status == FH_OK || status == FH_ESHUTDOWN);
  visit(w);
  if (status) return;
  if (one_in(w, 2)) sched_yield();
  visit(w);
  fh_unhold();
}

/* The slots are roots while a round lasts. Who started it is a user of it until it ends its use, so they are registered in time. */
static void add_roots(struct run *run) {
  for (int i = 0; i < SLOTS; i++) check(fh_root_add(&run->slot[i]) == FH_OK);
}

static void end_use(struct worker *w) {
  uint64_t leaked = 0;
  fh_status status = FH_EBUSY;
  while (status == FH_EBUSY) status = fh_shutdown(below(w, 3), &leaked);
  check(status == FH_OK);
  check(leaked == 0);
}

static void use(struct worker *w) {
  const fh_options options = {.design = w->run->design};
  const fh_status status = fh_init(&options);
  check(status == FH_OK || status == FH_EEXIST || status == FH_ESHUTDOWN);
  if (status == FH_ESHUTDOWN) {
    visit(w);
    return;
  }
  if (status == FH_OK) add_roots(w->run);
  for (unsigned i = below(w, 4); i > 0; i--) {
    const fh_status attached = fh_attach("user");
    check(attached == FH_OK);
    make_links(w);
    fh_detach();
  }
  end_use(w);
}

static void turn(struct worker *w) {
  switch (below(w, 4)) {
    case 0:
      visit(w);
      return;
    case 1:
      hold(w);
      return;
    default:
      use(w);
      return;
  }
}

const struct scenario scenario_rounds = {
    .name = "rounds",
    .attacks = "rounds of init and shutdown by several users, with threads that race to attach and to hold",
    .threads = 4,
    .bare = true,
    .own_runtime = true,
    .turn = turn,
};
