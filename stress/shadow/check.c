/* SPDX-License-Identifier: MIT */
/* Checkpoints: what a collection must have found, and what must be gone after two of them. */
#include <sched.h>

#include "shadow.h"

/* ---- meeting ---- */

static struct {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  unsigned arrived;
  atomic_uint round;
} meeting = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static bool is_last(void) {
  pthread_mutex_lock(&meeting.lock);
  bool last = ++meeting.arrived == choice.threads;
  if (last) {
    meeting.arrived = 0;
    atomic_fetch_add(&meeting.round, 1);
    pthread_cond_broadcast(&meeting.changed);
  }
  pthread_mutex_unlock(&meeting.lock);
  return last;
}

static void wait_blocked(unsigned round) {
  FH_BLOCKING();
  pthread_mutex_lock(&meeting.lock);
  while (atomic_load(&meeting.round) == round) pthread_cond_wait(&meeting.changed, &meeting.lock);
  pthread_mutex_unlock(&meeting.lock);
}

/* In the gil design who only polls keeps the lock for a while. */
static void give_way(void) {
  fh_safepoint();
  if (choice.design == FH_DESIGN_GIL) {
    FH_BLOCKING();
    sched_yield();
  } else {
    sched_yield();
  }
}

void meet(struct worker *w) {
  if (is_alone()) return;
  unsigned round = atomic_load(&meeting.round);
  if (is_last()) return;
  if ((w->index + round) % 2) wait_blocked(round);
  while (atomic_load(&meeting.round) == round) give_way();
}

/* ---- what is plain ---- */

static void for_all_worlds(void (*each)(struct world *)) {
  for (unsigned i = 0; i < worlds_count(); i++) each(&worlds[i]);
}

static uint64_t plain_live(int i) { return fh_type_live(thing_type((enum kind)(PLAIN + i))); }

static void demand_plain(int i, uint64_t least, uint64_t most) {
  uint64_t live = plain_live(i);
  demand(live >= least && live <= most, NULL, "%llu objects of kind %s live, and not from %llu to %llu", (unsigned long long)live,
         kind_name((enum kind)(PLAIN + i)), (unsigned long long)least, (unsigned long long)most);
}

/* While all worlds are locked nothing is born, and nothing that is reachable can die: whatever other threads free meanwhile in their own
 * time is between the two. */
void check_plain(void) {
  uint64_t least[PLAINS] = {0}, most[PLAINS] = {0};
  for_all_worlds(world_lock);
  for (unsigned i = 0; i < worlds_count(); i++) world_count_plain(&worlds[i], least, most);
  for (int i = 0; i < PLAINS; i++) demand_plain(i, least[i], most[i]);
  for_all_worlds(world_unlock);
}

void check_plain_died(const struct world *world) {
  for (int i = 0; i < PLAINS; i++) demand_plain(i, 0, world->plain[i]);
}

static bool is_plain_waiting(const struct world *world) {
  for (int i = 0; i < PLAINS; i++)
    if (plain_live(i) > world->plain[i] - world->gone[i]) return true;
  return false;
}

/* None of the plain ones in the graph was freed. Automatic collections may have found some that are unreachable. */
static bool is_plain_complete(const struct world *world) {
  for (int i = 0; i < PLAINS; i++)
    if (plain_live(i) != world->plain[i]) return false;
  return true;
}

static bool no_plain_lives(void) {
  for (int i = 0; i < PLAINS; i++)
    if (plain_live(i)) return false;
  return true;
}

static bool is_gone(const struct node *node) { return node->state == GONE; }
static bool was_garbage(const struct node *node) { return node->garbage; }

/* ---- all that can be known ---- */

/* Nothing is garbage now, and the library counts as many objects. */
static void check_settled(struct world *world) {
  fh_stats stats = {.size = sizeof stats};
  me->settles = true;
  fh_settle();
  me->settles = false;
  world_flush_later(world);
  world_bury(world, NULL);
  for (size_t i = 0; i < world->nodes; i++) {
    struct node *node = world->node[i];
    demand(node->state == ALIVE && !node->due && is_reachable(node), node, "everything has settled, and it is still there");
  }
  demand(fh_stats_get(&stats) == FH_OK && stats.objects_live == world->nodes, NULL, "%llu objects live, and not %zu",
         (unsigned long long)stats.objects_live, world->nodes);
  check_plain();
}

/* ---- one collection ---- */

/* It was found, and has not died: made it reachable again, and the weak references that it had are lost. */
static void check_rescued(struct node *node) {
  if (node->world->disturbed || (node->state == LIMBO && node->kind == GRACE_LEAF)) return; /* the leaf hung on garbage, and waits */
  demand(is_reachable(node), node, "it was garbage when a collection began, and is still there");
  for (struct node *weak = node->weak; weak; weak = weak->next) {
    if (weak->newborn || !is_reachable(weak)) continue;
    void *found = fh_weak_get((fh_weak *)weak->object);
    weak_read(weak, found);
    if (found && !kind_is_tracked(node->kind)) {
      fh_release(found); /* the collector does not find it, but only what refers to it */
      continue;
    }
    demand(!found, node, "it was garbage and rose again, and weak reference %llu still leads to it", (unsigned long long)weak->id);
    return; /* weak_read took the others out of the list as well */
  }
}

static void check_generation(struct node *node, int collected) {
  if ((kind_is_plain(node->kind) || node->loose) && !is_reachable(node)) return; /* freed or dying, perhaps */
  if (node->generation < 0 || node->state != ALIVE || node->since == me->operation) return;
  int now = fh_gc_generation(node->object);
  bool stays = now == node->generation, grows = now == collected + 1 || now == 2; /* old at once, where nearly all survived */
  bool right = node->generation > collected ? stays : now == 0 || grows;
  demand(right, node, "a collection of generation %d moved it from %d to %d", collected, node->generation, now);
}

static void check_collected(struct world *world, int generation, bool exactly, size_t found) {
  if (!world->disturbed) world_bury(world, was_garbage);
  demand(!exactly || world->disturbed || found == world->collected, NULL, "a collection of generation %d says %zu, and %llu died",
         generation, found, (unsigned long long)world->collected);
  world_count_loose(world);
  for (size_t i = 0; i < world->nodes; i++) {
    struct node *node = world->node[i];
    if (exactly) check_generation(node, generation);
    if (node->garbage) check_rescued(node);
    node->garbage = false;
  }
  check_plain();
}

/* What died by its count has its finalizer and its grace period behind it; a chain takes a while. When a round
 * brings nothing any more, no callback waits for the next safepoint either, which is the collection's: one that need not come is not
 * among those that are due. */
static void settle_deaths(struct world *world) {
  enum { ROUNDS = 100000 };
  int rounds = 0;
  uint64_t reports;
  do {
    reports = world->reports;
    fh_housekeep();
    for (size_t i = 0; rounds == ROUNDS && i < world->nodes; i++)
      demand(world->node[i]->state == ALIVE && !world->node[i]->due, world->node[i], "it never dies");
    demand(rounds < ROUNDS, NULL, "something plain never dies");
    rounds++;
  } while (world->dying || world->due || world->limbo || is_plain_waiting(world) || world->reports != reports);
  world_bury(world, is_gone);
}

/* Alone, a thread can tell to the object what a collection of any generation must find, unless it does not know what of the plain garbage
 * was found already: then it looks at none of it, and makes sure now and then. */
void collect_and_check(struct worker *w, int generation) {
  struct world *world = &worlds[w->index];
  trace("collect %d", generation);
  if (!is_alone()) {
    fh_collect(generation);
    return;
  }
  bool automatic = fh_gc_is_enabled(), exactly = !automatic || one_in(w, 2);
  world_flush_later(world);
  settle_deaths(world);
  worker_grow_up(w);
  if (!is_plain_complete(world)) {
    if (choice.mixed && one_in(w, 2)) {
      fh_collect(generation);
      return;
    }
    check_settled(world);
  }
  if (exactly) fh_gc_disable();
  world_expect(world, generation);
  size_t found = fh_collect(generation);
  if (automatic) fh_gc_enable();
  world->disturbed |= !exactly && world->doubts; /* finalizers of one collection, and then another one */
  check_collected(world, generation, exactly, found);
}

/* ---- two collections ---- */

static void keep_house(struct worker *w) {
  for (int i = 0; i < 3; i++) {
    fh_housekeep();
    meet(w);
  }
}

static void note_old(struct world *world) {
  world_lock(world);
  world_flush_later(world);
  world_forget_found(world);
  world_note_old(world);
  world_unlock(world);
}

static void check_old(struct world *world) {
  world_lock(world);
  world_check_old(world);
  world_unlock(world);
}

void checkpoint(struct worker *w) {
  bool leads = w->checkpoints++ % choice.threads == w->index;
  trace("checkpoint");
  meet(w);
  keep_house(w);
  if (leads) for_all_worlds(note_old);
  meet(w);
  for (int i = 0; i < 2; i++) {
    worker_grow_up(w);
    if (leads) fh_collect(2);
    meet(w);
    keep_house(w);
  }
  if (leads) {
    for_all_worlds(check_old);
    check_plain();
  }
  meet(w);
  if (is_alone()) check_settled(&worlds[0]);
}

/* ---- the end ---- */

static bool drop_all(struct world *world) {
  world_lock(world);
  world_flush_later(world);
  for (unsigned i = 0; i < ROOTS; i++)
    if (world->root[i].node) root_drop(world, i, world->root[i].count);
  if (no_plain_lives()) world_bury(world, NULL);
  bool empty = world->nodes == 0;
  world_unlock(world);
  return empty;
}

/* A chain of objects with finalizers may rise once for each link. */
void wind_up(struct worker *w) {
  enum { ROUNDS = 100000 };
  bool empty = false;
  trace("wind up");
  w->operation = w->operations;
  meet(w);
  for (int i = 0; !empty; i++) {
    demand(i < ROUNDS, worlds[w->index].nodes ? worlds[w->index].node[0] : NULL, "it never dies");
    empty = drop_all(&worlds[w->index]);
    if (w->index == 0 && !is_alone()) empty &= drop_all(world_shared());
    fh_housekeep();
    if (i % 8 == 7) fh_collect(2);
  }
  meet(w);
}
