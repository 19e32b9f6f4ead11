/* SPDX-License-Identifier: MIT */
/* Operations. Each of them draws what it does, does it to the graph, does it to the heap, and looks. */
#include <sched.h>
#include <string.h>

#include "shadow.h"

enum { RING_MOST = 12, CHAIN_MOST = 40, CHAIN_LONG = 3000, PILE_MOST = 40, TREES = 6, TREE_MOST = 60, MANY = 8, SPILLS = 40000 };

static unsigned long long id(const struct node *node) { return node ? node->id : 0; }

/* ---- what to work at ---- */

static unsigned place_any(struct worker *w) { return below(w, ROOTS); }

static struct node *root_any(struct worker *w, struct world *world) {
  unsigned from = place_any(w);
  for (unsigned i = 0; i < 8; i++) {
    struct node *node = world->root[(from + i) % ROOTS].node;
    if (node) return node;
  }
  return NULL;
}

static struct node *walk(struct worker *w, struct world *world) {
  struct node *at = root_any(w, world);
  for (unsigned steps = below(w, 6); at && steps && at->cells; steps--) {
    struct node *next = at->cell[below(w, at->cells)];
    if (next) at = next;
  }
  return at;
}

static struct node *object_any(struct worker *w, struct world *world) {
  struct node *node = walk(w, world);
  return node && node->kind != WEAK ? node : NULL;
}

static struct node *holder_any(struct worker *w, struct world *world) {
  struct node *node = walk(w, world);
  return node && node->cells && node->kind != FIXED ? node : NULL;
}

static bool may_refer(const struct node *holder, const struct node *value) {
  return !value || (holder->kind != SHEAF && holder->kind != PLAIN_SHEAF) || kind_is_leaf(value->kind);
}

/* ---- making ---- */

/* Garbage that is all plain, and trees of which all is, have ways of their own through the library, and among nine other kinds there would
 * be none: for some operations in a row nothing else is made. */
static bool is_plain_only(const struct worker *w) {
  enum { ROW = 256 };
  return mix(choice.seed ^ mix(w->operation / ROW + ((uint64_t)w->index << 40))) % 3 == 0;
}

static enum kind plain_any(struct worker *w) { return (enum kind)(PLAIN + below(w, PLAINS)); }

static enum kind kind_any(struct worker *w) { return is_plain_only(w) ? plain_any(w) : (enum kind)below(w, WEAK); }

static enum kind plain_with_cells(struct worker *w) {
  static const enum kind kinds[] = {PLAIN_ONE, PLAIN_TWO, PLAIN_TWO, PLAIN_TWO, PLAIN_BOX, PLAIN_WIDE};
  return kinds[below(w, sizeof kinds / sizeof *kinds)];
}

static enum kind kind_with_cells(struct worker *w) {
  static const enum kind others[] = {PAIR, PAIR, BOX, BAG, LINE, GRACE, PUBLIC, FINAL, FINAL_BOX};
  return is_plain_only(w) || one_in(w, 3) ? plain_with_cells(w) : others[below(w, sizeof others / sizeof *others)];
}

static enum kind kind_without_cells(struct worker *w) {
  static const enum kind kinds[] = {FINAL_LEAF, FINAL_LEAF, SHEAF, LEAF, PLAIN_LEAF, PLAIN_SHEAF};
  enum { LEAVES = sizeof kinds / sizeof *kinds, OF_THESE_PLAIN = 2 };
  return kinds[is_plain_only(w) ? LEAVES - 1 - below(w, OF_THESE_PLAIN) : below(w, LEAVES)];
}

/* One owned reference, which the graph counts as well. What everybody may use is published before the lock is given up. */
static struct node *make(struct worker *w, struct world *world, enum kind kind) {
  struct node *node = thing_make(world, kind, kind == FIXED ? below(w, 5) : 1 + below(w, CELLS));
  for (unsigned i = 0; kind == FIXED && i < node->cells; i++) {
    struct node *value = walk(w, world);
    if (value) thing_store(node, i, value);
  }
  if (world->owner == THREADS_MOST) {
    node_publish(node);
    fh_publish(node->object);
  }
  return node;
}

static void let_go(struct node *node) {
  void *object = node->object;
  node_release(node);
  fh_release(object);
}

static void do_make(struct worker *w, struct world *world) {
  struct node *node = make(w, world, kind_any(w));
  trace("make #%llu %s", id(node), kind_name(node->kind));
  root_put(world, node, place_any(w));
}

static void do_make_many(struct worker *w, struct world *world) {
  trace("make many");
  for (unsigned i = 1 + below(w, MANY); i; i--) {
    struct node *node = make(w, world, kind_any(w)), *holder = make(w, world, kind_with_cells(w));
    if (node->kind != PUBLIC || one_in(w, 2)) thing_store(holder, 0, node);
    let_go(node);
    let_go(holder);
  }
}

/* A ring, closed or not, with whatever else its members get. */
static void do_ring(struct worker *w, struct world *world) {
  struct node *first = make(w, world, kind_with_cells(w)), *last = first;
  const unsigned members = below(w, RING_MOST);
  trace("ring of %u from #%llu", members + 1, id(first));
  node_retain(first);
  fh_retain(first->object);
  for (unsigned i = 0; i < members; i++) {
    struct node *next = make(w, world, kind_with_cells(w));
    thing_store(last, below(w, last->cells), next);
    if (last->cells > 1 && one_in(w, 3)) {
      struct node *leaf = make(w, world, kind_without_cells(w));
      unsigned cell = below(w, last->cells);
      if (last->cell[cell] != next) thing_store(last, cell, leaf);
      let_go(leaf);
    }
    let_go(last);
    last = next;
  }
  if (!one_in(w, 8)) thing_store(last, below(w, last->cells), first);
  let_go(last);
  if (one_in(w, 2))
    root_put(world, first, place_any(w));
  else
    let_go(first);
}

static void do_chain(struct worker *w, struct world *world) {
  const unsigned links = one_in(w, 400) ? CHAIN_LONG : below(w, CHAIN_MOST);
  struct node *head = make(w, world, kind_with_cells(w));
  trace("chain of %u to #%llu", links, id(head));
  for (unsigned i = 0; i < links; i++) {
    struct node *next = make(w, world, kind_with_cells(w));
    thing_store(next, 0, head);
    let_go(head);
    head = next;
  }
  if (links < CHAIN_LONG && one_in(w, 2))
    root_put(world, head, place_any(w));
  else
    let_go(head);
}

/* Trees, some of whose branches are joined: each new node gets some of those that were made before. */
static void do_tree(struct worker *w, struct world *world) {
  struct node *loose[TREES];
  unsigned count = 0;
  trace("trees");
  for (unsigned i = 1 + below(w, TREE_MOST); i; i--) {
    struct node *node = make(w, world, one_in(w, 4) ? kind_without_cells(w) : kind_with_cells(w));
    for (unsigned n = 0; n < node->cells && n < 2; n++) {
      if (!count || one_in(w, 4)) continue;
      unsigned from = below(w, count);
      struct node *child = loose[from];
      if (!may_refer(node, child)) continue;
      thing_store(node, n, child);
      if (one_in(w, 16)) continue;
      let_go(child);
      loose[from] = loose[--count];
    }
    if (count == TREES) let_go(loose[--count]);
    loose[count++] = node;
  }
  while (count--) {
    if (one_in(w, 4))
      root_put(world, loose[count], place_any(w));
    else
      let_go(loose[count]);
  }
}

/* ---- links ---- */

static void do_set(struct worker *w, struct world *world) {
  struct node *holder = holder_any(w, world), *value = one_in(w, 4) ? NULL : walk(w, world);
  if (!holder || !may_refer(holder, value)) return;
  unsigned cell = below(w, holder->cells);
  trace("set #%llu[%u] = #%llu", id(holder), cell, id(value));
  thing_store(holder, cell, value);
}

/* A root's reference moves into a field or a slot. */
static void do_give(struct worker *w, struct world *world) {
  struct node *holder = holder_any(w, world);
  struct root *root = &world->root[place_any(w)];
  struct node *value = root->node;
  if (!holder || !value || !may_refer(holder, value)) return;
  unsigned cell = below(w, holder->cells);
  void **place = thing_cell(holder, cell), *in = holder->object, *object = value->object;
  bool slots = thing_has_slots(holder->kind);
  trace("give #%llu[%u] = #%llu", id(holder), cell, id(value));
  struct node *old = holder->cell[cell];
  if (slots) node_publish(value);
  if (old) node_retain(old);
  node_link(holder, cell, value);
  if (!--root->count) root->node = NULL;
  node_release(value); /* the root's: the cell has one */
  void *found = old && slots ? old->object : NULL;
  if (old) node_release(old);
  if (slots) {
    void *swapped = fh_slot_swap((fh_slot *)(void *)place, object);
    demand(swapped == found, NULL, "a swap returns %p and not %p", swapped, found);
    if (swapped) fh_release(swapped);
  } else {
    fh_field_give(in, place, object);
  }
}

/* The other way round. */
static void do_take(struct worker *w, struct world *world) {
  struct node *holder = holder_any(w, world);
  if (!holder) return;
  unsigned cell = below(w, holder->cells);
  struct node *value = holder->cell[cell];
  void **place = thing_cell(holder, cell);
  trace("take #%llu[%u], which is #%llu", id(holder), cell, id(value));
  holder->cell[cell] = NULL;
  void *taken = thing_has_slots(holder->kind) ? fh_slot_swap((fh_slot *)(void *)place, NULL) : fh_field_take(holder->object, place);
  demand(taken == (value ? value->object : NULL), holder, "taken from cell %u: %p", cell, taken);
  if (value) root_put(world, value, place_any(w));
}

static void do_load(struct worker *w, struct world *world) {
  struct node *holder = holder_any(w, world);
  if (!holder || !thing_has_slots(holder->kind)) return;
  unsigned cell = below(w, holder->cells);
  struct node *value = holder->cell[cell];
  void *loaded = fh_slot_load((fh_slot *)(void *)thing_cell(holder, cell));
  trace("load #%llu[%u], which is #%llu", id(holder), cell, id(value));
  demand(loaded == (value ? value->object : NULL), holder, "loaded from slot %u: %p", cell, loaded);
  if (!value) return;
  node_retain(value);
  root_put(world, value, place_any(w));
}

static void do_cas(struct worker *w, struct world *world) {
  struct node *holder = holder_any(w, world), *value = walk(w, world);
  if (!holder || !thing_has_slots(holder->kind)) return;
  unsigned cell = below(w, holder->cells);
  struct node *expected = one_in(w, 3) ? walk(w, world) : holder->cell[cell];
  bool fits = expected == holder->cell[cell];
  void *place = thing_cell(holder, cell), *was = expected ? expected->object : NULL, *object = value ? value->object : NULL;
  trace("cas #%llu[%u] from #%llu to #%llu", id(holder), cell, id(expected), id(value));
  if (value) node_publish(value);
  if (fits) node_link(holder, cell, value);
  demand(fh_slot_cas(place, was, object) == fits, NULL, "a compare-and-swap");
}

/* ---- references of the program ---- */

static void do_retain(struct worker *w, struct world *world) {
  struct root *root = &world->root[place_any(w)];
  if (!root->node) return;
  unsigned count = one_in(w, 2000) ? SPILLS : 1 + below(w, one_in(w, 16) ? 100 : 6);
  trace("retain #%llu %u times", id(root->node), count);
  for (unsigned i = 0; i < count; i++) {
    node_retain(root->node);
    fh_retain(root->node->object);
  }
  root->count += count;
}

static void do_borrow(struct worker *w, struct world *world) {
  struct node *node = walk(w, world);
  if (!node) return;
  bool tries = node->published && one_in(w, 2);
  trace("%s #%llu", tries ? "try to retain" : "retain", id(node));
  if (tries)
    demand(fh_try_retain(node->object), node, "it is reachable, and cannot be retained");
  else
    fh_retain(node->object);
  node_retain(node);
  root_put(world, node, place_any(w));
}

static void do_drop(struct worker *w, struct world *world) {
  unsigned place = place_any(w);
  const struct root *root = &world->root[place];
  if (!root->node) return;
  unsigned count = one_in(w, 2) ? root->count : 1 + below(w, root->count);
  trace("drop #%llu %u times of %u", id(root->node), count, root->count);
  root_drop(world, place, count);
}

static void do_drop_many(struct worker *w, struct world *world) {
  unsigned from = place_any(w), count = below(w, ROOTS);
  trace("drop %u roots", count);
  for (unsigned i = 0; i < count; i++) {
    unsigned place = (from + i) % ROOTS;
    if (world->root[place].node) root_drop(world, place, world->root[place].count);
  }
}

static void do_publish(struct worker *w, struct world *world) {
  struct node *node = walk(w, world);
  if (!node) return;
  trace("publish #%llu", id(node));
  node_publish(node);
  fh_publish(node->object);
}

/* ---- weak references ---- */

static void refer_weakly(struct worker *w, struct node *target) {
  struct node *weak = weak_thing_make(target, one_in(w, 2));
  trace("weak #%llu to #%llu%s", id(weak), id(target), weak->calls ? ", with a callback" : "");
  root_put(target->world, weak, place_any(w));
}

static void do_weak_new(struct worker *w, struct world *world) {
  struct node *target = object_any(w, world);
  if (!target || (is_plain_only(w) && !one_in(w, 4))) return;
  refer_weakly(w, target);
}

static void do_weak_get(struct worker *w, struct world *world) {
  struct node *weak = walk(w, world);
  for (int i = 0; i < 4 && (!weak || weak->kind != WEAK); i++) weak = root_any(w, world);
  if (!weak || weak->kind != WEAK) return;
  void *found = fh_weak_get((fh_weak *)weak->object);
  trace("get of weak #%llu to #%llu: %s", id(weak), id(weak->target), found ? "found" : "NULL");
  weak_read(weak, found);
  if (!found) return;
  node_retain(weak->target);
  root_put(world, weak->target, place_any(w));
}

/* ---- looking ---- */

/* A count is exact for whom nobody else can count beside, but for references of what may have been freed without a word. */
static void look_at(const struct world *world, const struct node *node) {
  thing_check(node);
  bool published = fh_is_published(node->object);
  demand(published || !node->published, node, "it is not published, and must be");
  demand(!is_alone() || !published || node->published, node, "it is published, and nobody did that");
  if (!(is_alone() || (!published && is_home(world))) || (node->optional && !node->called) || weak_may_be_lost(node)) return;
  uint64_t count = fh_refcount(node->object);
  demand(count <= node->count && count + node->loose >= node->count, node, "its count is %llu and not %u, or up to %u less",
         (unsigned long long)count, node->count, node->loose);
}

static void do_look(struct worker *w, struct world *world) {
  (void)w;
  trace("look");
  struct node *any = NULL;
  world_count_loose(world);
  for (size_t i = 0; i < world->nodes; i++) {
    any = world->node[i];
    if (any->state == ALIVE && is_reachable(any)) look_at(world, any);
  }
  if (is_alone()) check_plain();
}

/* ---- safepoints ---- */

/* A thread that is alone knows what its safepoint must have done: finalizers of what was dead before have run. */
static void after_safepoint(struct worker *w, struct world *world) {
  if (!is_alone() || !world->dying) return;
  for (size_t i = 0; i < world->nodes; i++)
    demand(world->node[i]->state != DYING || !world->node[i]->exact || world->node[i]->since == w->operation, world->node[i],
           "a safepoint has passed, and its finalizer did not run");
}

static void before_safepoint(struct world *world) {
  if (is_alone()) world_flush_later(world);
  world_unlock(world);
}

static void do_safepoint(struct worker *w, struct world *world) {
  trace("safepoint");
  before_safepoint(world);
  fh_safepoint();
  world_lock(world);
  after_safepoint(w, world);
}

static void do_housekeep(struct worker *w, struct world *world) {
  trace("housekeep");
  before_safepoint(world);
  fh_housekeep();
  world_lock(world);
  after_safepoint(w, world);
}

static void do_block(struct worker *w, struct world *world) {
  trace("block");
  before_safepoint(world);
  fh_blocking_begin();
  if (one_in(w, 4)) sched_yield();
  fh_blocking_end();
  world_lock(world);
  after_safepoint(w, world);
}

static void do_check_heap(struct worker *w, struct world *world) {
  (void)w;
  trace("check the heap");
  before_safepoint(world);
  demand(fh_check_heap() == FH_OK, NULL, "fh_check_heap found something");
  world_lock(world);
}

static void do_toggle(struct worker *w, struct world *world) {
  (void)world;
  if (!choice.mixed) return;
  trace("automatic collections");
  if (one_in(w, 2))
    fh_gc_enable();
  else
    fh_gc_disable();
}

static void do_collect(struct worker *w, struct world *world) {
  int generation = choice.mixed ? (int)below(w, 3) : 2;
  world_unlock(world);
  collect_and_check(w, generation);
  world_lock(world);
}

/* A ring of plain ones, in which nothing dies while it is made. */
static void make_plain_ring(struct worker *w, struct world *world) {
  enum { MEMBERS_MOST = 4 };
  struct node *first = make(w, world, plain_with_cells(w)), *last = first;
  node_retain(first);
  fh_retain(first->object);
  for (unsigned i = below(w, MEMBERS_MOST); i; i--) {
    struct node *next = make(w, world, plain_with_cells(w));
    thing_store(last, last->cells - 1, next);
    let_go(last);
    last = next;
  }
  thing_store(last, last->cells - 1, first);
  let_go(last);
  if (one_in(w, 8) && root_try(world, first)) fh_retain(first->object);
  if (one_in(w, 48)) refer_weakly(w, first);
  let_go(first);
}

/* Newborns that are nearly all garbage, and all plain, with no holes between them: a young collection takes whole chunks of those. */
static void do_pile(struct worker *w, struct world *world) {
  do_collect(w, world);
  trace("pile");
  for (unsigned i = 1 + below(w, PILE_MOST); i; i--) make_plain_ring(w, world);
  do_collect(w, world);
}

static void do_later(struct worker *w, struct world *world) {
  unsigned place = place_any(w);
  struct root *root = &world->root[place];
  struct node *node = root->node;
  if (!node || world->laters == LATER_MOST) return;
  void *object = node->object;
  trace("release #%llu later", id(node));
  node_publish(node);
  fh_publish(object);
  if (!--root->count) root->node = NULL;
  world->version++;
  world->later[world->laters++] = node;
  switch (below(w, 3)) {
    case 0:
      world_unlock(world);
      fh_blocking_begin();
      fh_release_later(object);
      if (is_alone()) world_flush_later(world);
      fh_blocking_end();
      world_lock(world);
      break;
    case 1:
      fh_release_later(object);
      do_housekeep(w, world);
      return;
    default: fh_release_later(object);
  }
  do_safepoint(w, world);
}

/* The thread leaves its mutator, and perhaps ends. Whoever comes next may get another one: what is private was the old one's. */
static void do_leave(struct worker *w, struct world *world) {
  struct world *own = &worlds[w->index];
  trace("leave");
  if (own != world) {
    world_unlock(world);
    world_lock(own);
  }
  for (int i = 0; i < ROOTS && !is_alone(); i++) {
    if (!own->root[i].node) continue;
    node_publish(own->root[i].node);
    fh_publish(own->root[i].node->object);
  }
  w->leaving = !is_alone();
  before_safepoint(own);
  if (one_in(w, 2)) {
    w->moves = true; /* at the end of this turn, by another thread */
  } else {
    fh_detach();
    demand(fh_attach("shadow") == FH_OK, NULL, "fh_attach");
    w->leaving = false;
  }
  world_lock(world);
}

static void do_settle(struct worker *w, struct world *world) {
  trace("settle");
  world_unlock(world);
  if (is_alone()) {
    for (int i = 0; i < 2; i++) collect_and_check(w, 2);
    checkpoint(w);
  }
  world_lock(world);
}

/* ---- the turn ---- */

typedef void operation(struct worker *w, struct world *world);

static const struct {
  operation *run;
  unsigned weight;
} operations[] = {
    {do_make, 200},     {do_make_many, 20}, {do_ring, 40},      {do_chain, 15},    {do_tree, 15},    {do_set, 160},
    {do_give, 60},      {do_take, 40},      {do_load, 20},      {do_cas, 30},      {do_retain, 30},  {do_borrow, 60},
    {do_drop, 200},     {do_drop_many, 2},  {do_publish, 20},   {do_weak_new, 50}, {do_weak_get, 80}, {do_look, 4},
    {do_safepoint, 60}, {do_housekeep, 10}, {do_block, 20},     {do_check_heap, 1}, {do_toggle, 2},  {do_collect, 12},
    {do_pile, 4},       {do_later, 20},     {do_leave, 2},      {do_settle, 1},
};
enum { OPERATIONS = sizeof operations / sizeof *operations };

static operation *operation_any(struct worker *w) {
  unsigned total = 0, i = 0;
  for (int n = 0; n < OPERATIONS; n++) total += operations[n].weight;
  unsigned at = below(w, total);
  while (at >= operations[i].weight) at -= operations[i++].weight;
  return operations[i].run;
}

static bool is_making(operation *run) {
  return run == do_make || run == do_ring || run == do_chain || run == do_tree || run == do_pile;
}

void turn_end(struct world *world) {
  if (world->doomed_exactly && (is_alone() || is_home(world)))
    for (size_t i = 0; i < world->nodes; i++)
      demand(world->node[i]->state != DOOMED || !world->node[i]->exact, world->node[i], "its count is zero, and it was not destroyed");
  world->silent = false;
  if (is_alone()) {
    check_plain_died(world);
    world_forget_found(world);
  }
  world_unlock(world);
}

void turn(struct worker *w) {
  struct world *world = !is_alone() && one_in(w, 4) ? world_shared() : &worlds[w->index];
  operation *run = operation_any(w);
  world_lock(world);
  if (world->nodes > LIVE_MOST && is_making(run)) run = one_in(w, 8) ? do_drop_many : do_drop;
  run(w, world);
  turn_end(world);
  worker_grow_up(w);
  if (!is_alone()) fh_safepoint();
}
