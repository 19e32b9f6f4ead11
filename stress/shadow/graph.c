/* SPDX-License-Identifier: MIT */
/* The graph: what is counted, what is reachable, and who may die. It knows nothing of how the library does it, but for the one order
 * that programs can see: weak references are lost when the last reference goes, and children die after their parents. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shadow.h"

/* ---- kinds ---- */

static const struct {
  const char *name;
  bool tracked, leaf, finalizes, grace;
} traits[KINDS] = {
    [PAIR] = {"pair", true, false, false, false},
    [LINE] = {"line", true, false, false, false},
    [BOX] = {"box", true, false, false, false},
    [BAG] = {"bag", true, false, false, false},
    [GRACE] = {"grace", true, false, false, true},
    [FIXED] = {"fixed", true, false, false, false},
    [PUBLIC] = {"public", true, false, false, false},
    [FINAL] = {"final", true, false, true, false},
    [FINAL_BOX] = {"final box", true, false, true, false},
    [LEAF] = {"leaf", false, true, false, false},
    [FINAL_LEAF] = {"final leaf", false, true, true, false},
    [GRACE_LEAF] = {"grace leaf", false, true, false, true},
    [SHEAF] = {"sheaf", false, false, false, false},
    [PLAIN_LEAF] = {"plain leaf", false, true, false, false},
    [PLAIN_ONE] = {"plain one", true, false, false, false},
    [PLAIN_TWO] = {"plain two", true, false, false, false},
    [PLAIN_BOX] = {"plain box", true, false, false, false},
    [PLAIN_WIDE] = {"plain wide", true, false, false, false},
    [PLAIN_SHEAF] = {"plain sheaf", false, false, false, false},
    [WEAK] = {"weak", false, true, false, false},
};

bool kind_is_tracked(enum kind kind) { return traits[kind].tracked; }
bool kind_is_leaf(enum kind kind) { return traits[kind].leaf; }
bool kind_finalizes(enum kind kind) { return traits[kind].finalizes; }
bool kind_has_grace(enum kind kind) { return traits[kind].grace; }
bool kind_is_plain(enum kind kind) { return kind >= PLAIN && kind < WEAK; }
const char *kind_name(enum kind kind) { return traits[kind].name; }

/* ---- worlds and their nodes ---- */

struct pool {
  struct pool *next;
  struct node node[POOL];
};

static void *allocate(size_t n) {
  void *memory = calloc(1, n);
  if (!memory) abort();
  return memory;
}

void world_init(struct world *world, unsigned owner) {
  pthread_mutexattr_t recursive;
  memset(world, 0, sizeof *world);
  pthread_mutexattr_init(&recursive);
  pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(&world->lock, &recursive);
  pthread_mutexattr_destroy(&recursive);
  world->owner = owner;
  world->version = 1;
}

void world_finish(struct world *world) {
  for (struct pool *pool = world->pools, *next; pool; pool = next) {
    next = pool->next;
    free(pool);
  }
  free(world->node);
  free(world->stack);
  pthread_mutex_destroy(&world->lock);
}

void world_lock(struct world *world) { pthread_mutex_lock(&world->lock); }
void world_unlock(struct world *world) { pthread_mutex_unlock(&world->lock); }

static void add_pool(struct world *world) {
  struct pool *pool = allocate(sizeof *pool);
  pool->next = world->pools;
  world->pools = pool;
  for (int i = 0; i < POOL; i++) {
    pool->node[i].next = world->free;
    world->free = &pool->node[i];
  }
}

static void grow(struct world *world) {
  world->room = world->room ? 2 * world->room : POOL;
  world->node = realloc(world->node, world->room * sizeof(struct node *));
  world->stack = realloc(world->stack, 4 * world->room * sizeof(struct node *)); /* marks in one half, the dying in the other */
  if (!world->node || !world->stack) abort();
}

static void enter(struct world *world, struct node *node) {
  if (world->nodes == world->room) grow(world);
  node->at = world->nodes;
  world->node[world->nodes++] = node;
  if (kind_is_plain(node->kind)) world->plain[node->kind - PLAIN]++;
}

static void leave(struct node *node) {
  struct world *world = node->world;
  struct node *last = world->node[--world->nodes];
  world->node[node->at] = last;
  last->at = node->at;
  if (kind_is_plain(node->kind)) world->plain[node->kind - PLAIN]--;
}

struct node *node_make(struct world *world, enum kind kind, unsigned cells) {
  if (!world->free) add_pool(world);
  struct node *node = world->free;
  world->free = node->next;
  *node = (struct node){.world = world, .id = ++world->next_id, .kind = kind, .state = ALIVE, .count = 1, .cells = cells, .generation = -1};
  node->behaviour = mix(choice.seed ^ mix(node->id + ((uint64_t)world->owner << 48))) % BEHAVIOURS;
  node->published = kind == PUBLIC || kind == WEAK || choice.design == FH_DESIGN_ATOMIC;
  enter(world, node);
  world->version++;
  return node;
}

static void recycle(struct node *node) {
  struct world *world = node->world;
  if (node->optional && !node->called) return; /* its callback may still come */
  node->state = FREE;
  node->id = 0;
  node->next = world->free;
  world->free = node;
}

/* ---- what is reachable ---- */

static size_t push_marked(struct world *world, size_t depth, struct node *node) {
  if (!node || node->mark == world->epoch) return depth;
  if (node->state == DEAD && world->from_dead) return depth; /* destroyed after something plain, of which nothing was said */
  demand(node->state != DEAD, node, "it is reachable, and was destroyed");
  node->mark = world->epoch;
  world->stack[depth++] = node;
  return depth;
}

static void mark_from(struct world *world, size_t depth) {
  while (depth) {
    const struct node *node = world->stack[--depth];
    for (unsigned i = 0; i < node->cells; i++) depth = push_marked(world, depth, node->cell[i]);
  }
}

/* What finds its fields intact when its time comes keeps what they refer to. Of garbage it cannot be told who is destroyed first. */
static bool keeps_children(const struct node *node) {
  bool limbo = node->state == LIMBO && !node->late && !node->world->without_limbo;
  return node->state == DYING || node->state == FINALIZING || limbo || node->due;
}

static void mark_roots(struct world *world) {
  size_t depth = 0;
  world->epoch++;
  for (int i = 0; i < ROOTS; i++) depth = push_marked(world, depth, world->root[i].node);
  for (size_t i = 0; i < world->nodes; i++)
    if (keeps_children(world->node[i])) depth = push_marked(world, depth, world->node[i]);
  mark_from(world, depth);
}

static void mark(struct world *world) {
  if (world->marked == world->version) return;
  mark_roots(world);
  world->marked = world->version;
}

bool is_reachable(struct node *node) {
  mark(node->world);
  return node->mark == node->world->epoch;
}

/* Reachable, but only from what waits for a grace period. */
static bool hangs_on_limbo(struct node *node) {
  struct world *world = node->world;
  bool reachable = is_reachable(node);
  if (!reachable || !world->limbo) return false;
  world->without_limbo = true;
  mark_roots(world);
  world->without_limbo = false;
  world->marked = 0;
  return node->mark != world->epoch;
}

bool weak_waits(const struct node *weak) { return weak->calls && !weak->called && !weak->target; }

/* ---- what is said of a node that should not be reachable ---- */

static bool is_root(const struct node *node) {
  for (int i = 0; i < ROOTS; i++)
    if (node->world->root[i].node == node) return true;
  return keeps_children(node);
}

static const struct node *referrer_of(const struct node *node) {
  const struct world *world = node->world;
  for (size_t n = 0; n < world->nodes; n++)
    for (unsigned i = 0; i < world->node[n]->cells; i++)
      if (world->node[n]->cell[i] == node && world->node[n]->mark == world->epoch) return world->node[n];
  return NULL;
}

void node_explain(const struct node *node) {
  enum { STEPS = 16 };
  static const char *const states[] = {"free", "alive", "dying", "finalizing", "in limbo", "gone", "doomed", "dead"};
  for (int i = 0; node && i < STEPS; i++) {
    fprintf(stderr, "fh-shadow: %s %s #%llu, count %u, %s%s%s%s%s\n", i ? "referred to by" : "this is", kind_name(node->kind),
            (unsigned long long)node->id, node->count, states[node->state], node->finalized ? ", finalized" : "",
            node->published ? ", published" : "", node->due ? ", due" : "", is_root(node) ? ", a root" : "");
    node = is_root(node) ? NULL : referrer_of(node);
  }
}

/* Released by the runtime at some safepoint, and by now it must have been. The same safepoint destroys what is ripe in limbo, and it
 * is not said which comes first. */
void world_flush_later(struct world *world) {
  world->flushing = true;
  while (world->laters) node_release(world->later[--world->laters]);
  world->flushing = false;
}

/* ---- what is plain ----
 *
 * What it must know of them the graph learns from what it knows of the others. One that loses its last reference is freed at once,
 * where a death is exact, and leaves the graph. Any other one that is unreachable may be freed or not; it stays in the graph, and nobody
 * looks at its memory, until it has to be gone. */

static bool is_loose(const struct node *node) { return kind_is_plain(node->kind) && node->mark != node->world->epoch; }

void world_count_plain(struct world *world, uint64_t least[PLAINS], uint64_t most[PLAINS]) {
  mark(world);
  for (int i = 0; i < PLAINS; i++) {
    least[i] += world->plain[i];
    most[i] += world->plain[i];
  }
  for (size_t i = 0; i < world->nodes; i++)
    if (is_loose(world->node[i])) least[world->node[i]->kind - PLAIN]--;
}

void world_count_loose(struct world *world) {
  mark(world);
  for (size_t i = 0; i < world->nodes; i++) world->node[i]->loose = 0;
  for (size_t i = 0; i < world->nodes; i++) {
    const struct node *node = world->node[i];
    for (unsigned n = 0; is_loose(node) && n < node->cells; n++)
      if (node->cell[n]) node->cell[n]->loose++;
  }
}

/* A weak reference that may have been freed with the plain ones that refer to it. What refers to it and is not plain has not been
 * destroyed yet. */
static bool may_be_gone(struct node *weak) {
  const struct world *world = weak->world;
  bool loose = false;
  if (is_reachable(weak)) return false;
  for (size_t n = 0; n < world->nodes; n++)
    for (unsigned i = 0; i < world->node[n]->cells; i++) {
      if (world->node[n]->cell[i] != weak) continue;
      if (!is_loose(world->node[n])) return false;
      loose = true;
    }
  return loose;
}

static bool hangs_loosely(const struct node *node) {
  const struct world *world = node->world;
  for (size_t n = 0; n < world->nodes; n++)
    for (unsigned i = 0; i < world->node[n]->cells; i++)
      if (world->node[n]->cell[i] == node && is_loose(world->node[n])) return true;
  return false;
}

bool weak_may_be_lost(const struct node *weak) {
  struct node *target = weak->target;
  if (!weak->calls || weak->called || !target || is_reachable(target)) return false;
  return is_loose(target) || hangs_loosely(target);
}

/* What waits to be noticed, for a grace period or for a finalizer keeps its children for longer than two collections. */
void world_note_old(struct world *world) {
  mark_roots(world);
  world->marked = 0;
  world->from_dead = true;
  for (size_t i = 0; i < world->nodes; i++) {
    const struct node *node = world->node[i];
    size_t depth = 0;
    for (unsigned n = 0; node->count == 0 && n < node->cells; n++) depth = push_marked(world, depth, node->cell[n]);
    mark_from(world, depth);
  }
  world->from_dead = false;
  for (size_t i = 0; i < world->nodes; i++) {
    struct node *node = world->node[i];
    bool waits = node->count == 0 && kind_has_grace(node->kind);
    node->old = (node->mark != world->epoch && !waits) || node->state != ALIVE || weak_waits(node);
  }
  world->has_old = true;
}

/* What a finalizer raised was found, and begins anew: another finalizer may drop it, after the last collection. */
static void forget_raised(struct world *world) {
  for (size_t i = 0; world->has_old && i < world->nodes; i++) {
    struct node *node = world->node[i];
    if (node->state == ALIVE && !weak_waits(node) && is_reachable(node)) node->old = false;
  }
}

static bool is_old(const struct node *node) { return node->old; }

void world_check_old(struct world *world) {
  world_bury(world, is_old);
  for (size_t i = 0; i < world->nodes; i++) {
    struct node *node = world->node[i];
    if (!node->old) continue;
    demand(node->state == ALIVE, node, "its count was zero two collections ago");
    node->old = false;
    if (node->kind == WEAK && may_be_gone(node)) continue;
    demand(!weak_waits(node), node, "its target was lost two collections ago, and its callback did not come");
    demand(is_reachable(node), node, "it was garbage two collections ago");
  }
  world->has_old = false;
}

size_t world_expect(struct world *world, int generation) {
  size_t tracked = 0;
  mark_roots(world);
  world->marked = 0;
  for (size_t i = 0; i < world->nodes; i++) {
    struct node *node = world->node[i];
    node->generation = kind_is_tracked(node->kind) && node->state == ALIVE ? fh_gc_generation(node->object) : -1;
    if (node->generation > generation) mark_from(world, push_marked(world, 0, node));
  }
  for (size_t i = 0; i < world->nodes; i++) {
    struct node *node = world->node[i];
    node->garbage = node->mark != world->epoch;
    tracked += node->garbage && kind_is_tracked(node->kind);
  }
  world->collected = 0;
  world->disturbed = false;
  return tracked;
}

/* ---- weak references ---- */

static void leave_target(struct node *weak) {
  struct node **link = &weak->target->weak;
  while (*link != weak) link = &(*link)->next;
  *link = weak->next;
  weak->target = NULL;
}

static void call_for(struct node *target, struct node *weak, bool certain) {
  if (!weak->calls || weak->called) return;
  if (!certain || !is_alone()) {
    weak->optional = true;
    return;
  }
  weak->due = true;
  weak->count++;
  weak->world->due++;
  weak->was = target;
  weak->was_id = target->id;
  target->callbacks++;
}

static void lose(struct node *target, struct node *weak, bool certain) {
  leave_target(weak);
  weak->maybe = 0;
  call_for(target, weak, certain);
}

/* A target dies. If its count became zero, all that live hear of it; if it is garbage, those that are garbage themselves may die first,
 * and if something plain dies as well, those that die with it. */
static void lose_all(struct node *target, bool as_garbage) {
  while (target->weak) {
    struct node *weak = target->weak;
    bool first = target->world->flushing && hangs_on_limbo(weak); /* the weak reference may die first */
    bool hears = !weak->calls || (as_garbage || target->world->silent ? is_reachable(weak) : !may_be_gone(weak));
    lose(target, weak, !target->found && !first && hears);
  }
}

/* The runtime said that it is lost, though the object lives: a collection had found it, and with it those that were in doubt already
 * when this one came to be so. */
static void lose_with(struct node *target, const struct node *known) {
  uint64_t since = known->maybe;
  for (struct node *weak = target->weak, *next; weak; weak = next) {
    next = weak->next;
    if (weak == known || (weak->maybe && weak->maybe <= since)) lose(target, weak, false);
  }
}

/* One that leads to its target was not lost, nor were those whose doubt is not older. */
static void trust_with(const struct node *target, const struct node *known) {
  uint64_t since = known->maybe;
  for (struct node *weak = target->weak; since && weak; weak = weak->next)
    if (weak->maybe >= since) weak->maybe = 0;
}

/* What finalizers and callbacks make a weak reference to was found before that, if no further collection comes before they are over. */
static bool is_after_the_stop(const struct node *weak) {
  return weak->newborn && is_alone() && !me->settles && !fh_gc_is_enabled();
}

/* Application code runs and may find garbage: what is unreachable now has lost its weak references, if a collection has found it,
 * and its finalizer runs, even if another one makes it reachable before. */
static void doubt_all(struct world *world) {
  mark(world);
  world->doubts = true;
  world->doubt++;
  for (size_t i = 0; i < world->nodes; i++) {
    struct node *node = world->node[i];
    if (node->mark == world->epoch) continue;
    node->found = true;
    for (struct node *weak = node->weak; weak; weak = weak->next)
      if (!weak->maybe && !is_after_the_stop(weak)) weak->maybe = world->doubt;
  }
}

void world_forget_found(struct world *world) {
  for (size_t i = 0; world->doubts && i < world->nodes; i++) world->node[i]->found = false;
  world->doubts = false;
}

/* Weak references that finalizers and callbacks made are like others when those have come back, and what they found is finished. */
void worker_grow_up(struct worker *w) {
  for (unsigned i = 0; w->newborns && i < worlds_count(); i++) {
    world_lock(&worlds[i]);
    for (size_t n = 0; n < worlds[i].nodes; n++)
      if (worlds[i].node[n]->newborn == w->index + 1) worlds[i].node[n]->newborn = 0;
    world_unlock(&worlds[i]);
  }
  w->newborns = 0;
}

struct node *weak_make(struct node *target, bool calls) {
  struct world *world = target->world;
  struct node *weak = node_make(world, WEAK, 0);
  weak->calls = calls;
  weak->target = target;
  weak->next = target->weak;
  weak->newborn = me->depth ? me->index + 1 : 0;
  weak->meanwhile = target->found;
  me->newborns += me->depth > 0;
  target->weak = weak;
  node_publish(target);
  return weak;
}

void weak_read(struct node *weak, const void *found) {
  struct node *target = weak->target;
  if (!target) {
    demand(!found, weak, "a weak reference whose target is gone reads %p", found);
  } else if (found) {
    demand(found == target->object && target->state == ALIVE, target, "a weak reference to it reads %p", found);
    trust_with(target, weak);
  } else {
    demand(weak->maybe || !is_reachable(target), target, "it is reachable, and weak reference %llu to it reads NULL", (unsigned long long)weak->id);
    if (!weak->maybe) doubt_all(target->world); /* a collection has found it */
    lose_with(target, weak);
  }
}

static void look_at_target(struct node *weak) {
  struct node *target = weak->target;
  demand(target && target->state == ALIVE, weak, "its callback comes, and its target did not die");
  demand(weak->maybe || !is_reachable(target), target, "it is reachable, and a weak reference to it is called");
  doubt_all(target->world);
  if (is_reachable(target))
    lose_with(target, weak);
  else
    lose_all(target, true);
}

void weak_called(struct node *weak) {
  demand(!weak->called, weak, "its callback comes a second time");
  weak->world->reports++;
  if (!weak->due && !weak->optional) look_at_target(weak);
  if (weak->due && weak->was->id == weak->was_id) weak->was->callbacks--;
  weak->called = true;
}

void weak_call_ended(struct node *weak) {
  if (!weak->due) {
    if (weak->state == DEAD) recycle(weak);
    return;
  }
  weak->due = false;
  weak->world->due--;
  node_release(weak);
}

/* ---- counts ---- */

void node_retain(struct node *node) {
  node->count++;
  node->world->version++;
}

static void count_state(struct node *node, int by) {
  struct world *world = node->world;
  world->dying += (unsigned)(node->state == DYING ? by : 0);
  world->limbo += (unsigned)(node->state == LIMBO ? by : 0);
  if (node->state == GONE) world->gone[node->kind - PLAIN] += (unsigned)by;
  world->doomed += (unsigned)(node->state == DOOMED ? by : 0);
  world->doomed_exactly += (unsigned)(node->state == DOOMED && node->exact ? by : 0);
}

static void set_state(struct node *node, enum state state) {
  count_state(node, -1);
  node->state = state;
  count_state(node, 1);
  node->world->version++;
}

/* It may be in a list of garbage, which destroys it in its own time, without a grace period. */
static bool dies_as_garbage(const struct node *node) { return node->world->late || node->found; }

/* Not asked where the graph knows: what is released later may be gone in the heap. */
static bool is_published(const struct node *node) { return node->published || fh_is_published(node->object); }

/* Nobody else can delay its death: the thread is alone, or it is the owner, and nothing of the runtime holds what is private. */
static bool dies_exactly(const struct node *node) {
  const struct world *world = node->world;
  if (dies_as_garbage(node) || me->depth) return false;
  return is_alone() || (is_home(world) && !is_published(node));
}

/* The count of one that is plain became zero. It is gone now, or in its own time. */
static bool die_silently(struct node *node) {
  node->world->silent = true;
  if (!node->exact) {
    set_state(node, GONE);
    return false;
  }
  leave(node);
  node->state = DEAD;
  return true;
}

/* The count became zero. True: its cells are to be released. */
static bool die(struct node *node) {
  const struct world *world = node->world;
  node->since = me->operation;
  node->exact = dies_exactly(node);
  if (!is_alone() && !node->exact && node->kind != WEAK) return false; /* unreachable; the heap will say when it noticed */
  lose_all(node, world->late);
  if (node->kind == WEAK) {
    bool late = world->flushing && node->target && hangs_on_limbo(node->target); /* it may have been lost first */
    late |= world->late || world->silent || weak_may_be_lost(node);
    node->optional |= node->calls && !node->called && (!is_alone() || late || me->depth);
    if (node->target) leave_target(node);
    leave(node);
    node->state = DEAD;
    recycle(node);
    return false;
  }
  if (kind_is_plain(node->kind)) return die_silently(node);
  node->late = dies_as_garbage(node);
  bool doomed = false;
  if (kind_finalizes(node->kind) && !node->finalized) {
    set_state(node, DYING);
  } else if (node->late || (kind_has_grace(node->kind) && is_published(node))) {
    set_state(node, LIMBO);
  } else {
    set_state(node, DOOMED);
    doomed = true;
  }
  return doomed;
}

/* The last to be found is the first to be destroyed; the cells of one object in their order. */
static void release_all(struct node *first) {
  struct world *world = first->world;
  struct node **stack = world->stack + world->room * 2;
  size_t depth = 0;
  stack[depth++] = first;
  while (depth) {
    struct node *node = stack[--depth];
    for (unsigned i = 0; i < node->cells; i++) {
      struct node *child = node->cell[i];
      node->cell[i] = NULL;
      world->version++; /* the loss of a sibling may have asked what is reachable */
      if (!child || --child->count) continue;
      if (child->state == DEAD)
        recycle(child);
      else if (die(child))
        stack[depth++] = child;
    }
    if (node->state == DEAD && kind_is_plain(node->kind) && !node->count) recycle(node);
  }
}

void node_release(struct node *node) {
  node->world->version++;
  if (--node->count) return;
  if (node->state == DEAD)
    recycle(node);
  else if (die(node))
    release_all(node);
}

void node_link(struct node *holder, unsigned cell, struct node *value) {
  struct node *old = holder->cell[cell];
  if (value) node_retain(value);
  holder->cell[cell] = value;
  holder->world->version++;
  if (value && holder->published) node_publish(value);
  if (old) node_release(old);
}

void node_publish(struct node *node) {
  struct world *world = node->world;
  size_t depth = 0;
  if (node->published) return;
  node->published = true;
  world->marked = 0; /* the stack is the marks' */
  for (world->stack[depth++] = node; depth;) {
    const struct node *next = world->stack[--depth];
    for (unsigned i = 0; i < next->cells; i++) {
      struct node *child = next->cell[i];
      if (!child || child->published) continue;
      child->published = true;
      world->stack[depth++] = child;
    }
  }
}

/* What they refer to was released when they were freed: either it is destroyed already, or it will be in its own time. */
void world_bury(struct world *world, bool (*is_gone)(const struct node *node)) {
  struct node *first = NULL, *next;
  mark(world);
  for (size_t i = 0; i < world->nodes; i++) {
    struct node *node = world->node[i];
    if (!is_loose(node) || (is_gone && !is_gone(node))) continue;
    node->next = first;
    first = node;
  }
  for (struct node *node = first; node; node = node->next) lose_all(node, true);
  for (struct node *node = first; node; node = node->next) {
    world->collected += node->garbage && kind_is_tracked(node->kind);
    count_state(node, -1);
    node->state = DEAD;
    node->count++; /* until all of them have let go of each other */
    leave(node);
  }
  bool outer = world->late;
  world->late = true;
  for (struct node *node = first; node; node = node->next) release_all(node);
  world->late = outer;
  for (struct node *node = first; node; node = next) {
    next = node->next;
    if (!--node->count) recycle(node);
  }
  if (first) world->version++;
}

/* ---- what the heap reports ---- */

void node_died(struct node *node) {
  struct world *world = node->world;
  bool as_garbage = node->state == ALIVE;
  world->reports++;
  demand(node->state == DOOMED || node->state == LIMBO || as_garbage, node, "it is destroyed in state %d", (int)node->state);
  demand(!as_garbage || !is_reachable(node), node, "it is reachable, and is destroyed");
  demand(!kind_finalizes(node->kind) || node->finalized, node, "it is destroyed, and its finalizer did not run");
  if (as_garbage) lose_all(node, true);
  world->collected += node->garbage && kind_is_tracked(node->kind);
  bool outer = world->late;
  world->late |= as_garbage || node->late;
  count_state(node, -1);
  node->state = DEAD;
  leave(node);
  node->count++; /* it may refer to itself */
  release_all(node);
  world->late = outer;
  if (!--node->count) recycle(node);
}

/* Perhaps nothing has found it, but it died by its count when the plain ones that referred to it were freed. Then all weak references to
 * it are lost, those as well that were made meanwhile, and if it rises it is as good as new. */
static void expect_death(struct node *node) {
  node->since = me->operation;
  node->world->doubt++; /* of its own: those that a collection lost are lost if one of these is, and not the other way round */
  for (struct node *weak = node->weak; weak; weak = weak->next)
    if (!weak->maybe) weak->maybe = node->world->doubt;
}

void node_begin_finalizer(struct node *node) {
  demand(!node->finalized, node, "its finalizer runs a second time");
  node->world->reports++;
  demand(!node->callbacks, node, "its finalizer runs before the callbacks of weak references to it");
  node->finalized = true;
  if (node->state == DYING) {
    set_state(node, FINALIZING);
    node->count = 1;
    return;
  }
  demand(node->state == ALIVE && (node->found || !is_reachable(node)), node, "it is reachable, and its finalizer runs (state %d)", (int)node->state);
  doubt_all(node->world);
  if (hangs_loosely(node)) expect_death(node);
  for (struct node *weak = node->weak, *next; weak; weak = next) {
    next = weak->next;
    if (weak->newborn || weak->meanwhile || !is_reachable(weak)) continue;
    void *found = fh_weak_get((fh_weak *)weak->object);
    demand(!found, node, "its finalizer runs, and weak reference %llu still leads to it", (unsigned long long)weak->id);
    demand(!weak->calls || weak->called, node, "its finalizer runs before the callback of weak reference %llu", (unsigned long long)weak->id);
    lose(node, weak, false);
  }
}

void node_end_finalizer(struct node *node) {
  if (node->state == FINALIZING) {
    set_state(node, ALIVE);
    node_release(node);
  }
  forget_raised(node->world);
}
