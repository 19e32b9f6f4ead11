/* SPDX-License-Identifier: MIT */
/* Finalizers from outside, and finalizers that wait in the queue: making the former may fail and changes nothing then; deaths and the
 * queue need no memory, and a dead object that cannot be tracked again for its finalizer waits until it can. */
#include "user.h"

struct link {
  fh_object fh;
  struct link *next;
};
static unsigned finalized;
static void link_finalize(void *object) {
  (void)object;
  finalized++;
}
static const fh_ref link_refs[] = {FH_FIELD(struct link, next), FH_END};
static const fh_type_spec link_spec = {
    .name = "link", .size = sizeof(struct link), .refs = link_refs, .finalize = link_finalize};

enum { LINKS = 40 };
static unsigned called;
static void on_loss(void *context) { ++*(unsigned *)context; }

/* A refusal leaves the object as it was. */
static bool user_finalizer(void *object) {
  for (;;) {
    struct sight before = user_look();
    bool unique = fh_is_unique(object), published = fh_is_published(object);
    fh_finalizer *finalizer = fh_finalizer_new(object, on_loss, &called, 0);
    if (finalizer) {
      fh_release(finalizer);
      return true;
    }
    demand(fh_is_unique(object) == unique && fh_is_published(object) == published);
    if (!user_tries_again(&before)) return false;
  }
}

/* A failure is not for ever: whoever has nothing to give up comes again. By a thread that has no chunk yet, so that the first one that
 * is tracked again wants one. */
static void run_what_waits(void *unused) {
  (void)unused;
  if (!user_attach("server")) return;
  while (fh_finalizers_pending()) (void)fh_finalizers_run(SIZE_MAX);
  fh_detach();
}

static void serve(void) {
  struct companion server;
  user_is_alone = false;
  companion_start_bare(&server, run_what_waits, NULL);
  companion_join(&server);
  user_is_alone = true;
}

static struct link *link[LINKS];

static bool make_all(fh_type *type, unsigned *promised) {
  for (unsigned i = 0; i < LINKS; i++) {
    link[i] = user_new(type);
    if (!link[i]) return false;
    if (i % 8) continue;
    if (!user_finalizer(link[i])) return false;
    ++*promised;
  }
  return true;
}

/* A quarter becomes garbage, the rest dies by count. */
static unsigned lose_all(void) {
  unsigned lost = 0;
  for (unsigned i = 0; i < LINKS && link[i]; i++, lost++) {
    if (i % 4 == 0) {
      FH_CRITICAL(link[i]);
      fh_set(link[i], next, link[i]);
    }
    fh_drop(&link[i]);
  }
  user_collect();
  return lost;
}

static bool work(void) {
  fh_type *type = NULL;
  if (!user_type(&link_spec, &type)) return false;
  unsigned promised = 0;
  bool went_well = make_all(type, &promised);
  unsigned lost = lose_all();
  demand(finalized == 0 && called == 0);
  user_check_heap();
  serve();
  fh_settle();
  demand(finalized == lost && called == promised);
  return went_well;
}

int main(void) {
  if (!user_init(&(fh_options){.flags = FH_OPTION_GC_OFF, .finalizers = FH_FINALIZERS_QUEUE})) return user_status(false);
  bool went_well = user_attach("main");
  if (went_well) {
    went_well = work();
    user_check_heap();
    fh_detach();
  }
  user_shutdown();
  return user_status(went_well);
}
