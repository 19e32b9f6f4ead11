/* SPDX-License-Identifier: MIT */
/* Objects: their types, and what `dealloc`, finalizers and weak callbacks report to the graph and do themselves. */
#include "shadow.h"

enum { FIELDS = 3 };

struct fields {
  struct thing thing;
  void *cell[FIELDS];
};

struct box {
  struct thing thing;
  fh_slot slot[FIELDS];
};

struct line {
  struct thing thing;
  size_t count;
  void *cell[];
};

struct bag {
  struct thing thing;
  size_t count;
  void **cell;
};

enum { PADDING = 12 };

struct plain {
  struct thing thing;
  void *cell[2];
};

struct plain_box {
  struct thing thing;
  fh_slot slot[2];
};

struct plain_wide {
  struct thing thing;
  void *cell;
  uint64_t padding[PADDING]; /* the id */
  void *last;
};

static struct node *node_of(void *object) {
  const struct thing *thing = object;
  struct node *node = thing->node;
  demand(thing->check == ~node->id && node->object == object, node, "its memory was written over");
  return node;
}

/* ---- dealloc ---- */

static void bury(void *object) {
  struct thing *thing = object;
  struct world *world = thing->node->world;
  world_lock(world);
  struct node *node = node_of(object);
  for (unsigned i = 0; i < node->cells; i++)
    demand(!*thing_cell(node, i), node, "it is destroyed, and cell %u is not cleared", i);
  node_died(node);
  thing->check = 0;
  world_unlock(world);
}

static void bag_dealloc(void *object) {
  struct bag *bag = object;
  bury(object);
  fh_free(bag->cell);
}

static void bag_traverse(void *object, fh_visitor *visitor) {
  struct bag *bag = object;
  for (size_t i = 0; i < bag->count; i++) fh_visit(visitor, &bag->cell[i]);
}

/* ---- what finalizers and callbacks do ----
 *
 * They run on whatever mutator the library chose. What they hand to the program must be published, unless they run where it lives. */

static void hand_over(struct node *node) {
  if (is_home(node->world)) return;
  node_publish(node);
  fh_publish(node->object);
}

/* A reference to what the program may not have known to be alive. */
static void resurrect(struct node *node) {
  hand_over(node);
  if (root_try(node->world, node)) fh_retain(node->object);
}

static void allocate_some(struct world *world) {
  struct node *first = thing_make(world, PAIR, 0), *second = thing_make(world, PAIR, 0), *leaf = thing_make(world, GRACE_LEAF, 0);
  struct node *made[] = {first, second, leaf};
  for (int i = 0; i < 3; i++) hand_over(made[i]);
  thing_store(first, 0, second);
  thing_store(second, 0, first);
  thing_store(second, 1, leaf);
  for (int i = 0; i < 3; i++) {
    void *object = made[i]->object;
    node_release(made[i]);
    fh_release(object);
  }
}

/* Stores the dying one into something that lives. */
static void join(struct node *node) {
  struct world *world = node->world;
  struct node *holder = world->root[node->id % ROOTS].node;
  if (!holder || holder->kind == FIXED || holder->kind == SHEAF || holder->kind == PLAIN_SHEAF || !holder->cells) return;
  if (!is_home(world) && !fh_is_published(holder->object)) return;
  world->disturbed = true; /* what was there is released, and may die in its own time with what it had got to keep */
  hand_over(node);
  thing_store(holder, (unsigned)(node->id / ROOTS) % holder->cells, node);
}

static void drop_some(struct world *world, uint64_t random) {
  unsigned place = (unsigned)(random % ROOTS);
  const struct node *node = world->root[place].node;
  if (!node || (!is_home(world) && !fh_is_published(node->object))) return;
  world->disturbed = true;
  trace("drops #%llu", (unsigned long long)node->id);
  root_drop(world, place, world->root[place].count);
}

static void refer_weakly(struct node *node) {
  struct world *world = node->world;
  struct node *weak = weak_thing_make(node, node->id % 2);
  void *object = weak->object;
  trace("makes weak #%llu to #%llu", (unsigned long long)weak->id, (unsigned long long)node->id);
  if (root_try(world, weak)) fh_retain(object);
  node_release(weak);
  fh_release(object);
}

static void behave(struct node *node) {
  unsigned cell = node->cells ? (unsigned)(node->id % node->cells) : 0;
  struct node *child = node->cells ? node->cell[cell] : NULL;
  switch (node->behaviour) {
    case RISE: resurrect(node); break;
    case RAISE_CHILD:
      if (child) resurrect(child);
      break;
    case REFER_WEAKLY: refer_weakly(child && child->kind != WEAK && node->id % 3 ? child : node); break;
    case ALLOCATE: allocate_some(node->world); break;
    case JOIN: join(node); break;
    case CUT:
      node->world->disturbed |= node->state == FINALIZING;
      if (child) thing_store(node, cell, NULL);
      if (node->id % 4 == 0) drop_some(node->world, node->id);
      break;
    default: break;
  }
}

static void finalize(void *object) {
  struct world *world = ((struct thing *)object)->node->world;
  world_lock(world);
  struct node *node = node_of(object);
  me->depth++;
  trace("finalize #%llu", (unsigned long long)node->id);
  node_begin_finalizer(node);
  thing_check(node);
  behave(node);
  node_end_finalizer(node);
  me->depth--;
  world_unlock(world);
}

static void on_loss(fh_weak *object, void *context) {
  struct node *weak = context;
  struct world *world = weak->world;
  world_lock(world);
  me->depth++;
  demand(weak->object == object, weak, "another weak reference is called");
  demand(!fh_weak_get(object), weak, "its callback comes, and it still leads to its target");
  trace("callback of #%llu", (unsigned long long)weak->id);
  weak_called(weak);
  if (weak->id % 8 == 1) allocate_some(world);
  if (weak->id % 8 == 2) drop_some(world, weak->id / 8);
  me->depth--;
  weak_call_ended(weak);
  world_unlock(world);
}

/* ---- types ---- */

static const fh_ref field_refs[] = {FH_FIELD(struct fields, cell), FH_END};
static const fh_ref slot_refs[] = {FH_SLOT(struct box, slot), FH_END};
static const fh_ref one_refs[] = {{offsetof(struct plain, cell), FH__REF_FIELD, 1}, FH_END};
static const fh_ref two_refs[] = {FH_FIELD(struct plain, cell), FH_END};
static const fh_ref plain_slot_refs[] = {FH_SLOT(struct plain_box, slot), FH_END};
static const fh_ref wide_refs[] = {FH_FIELD(struct plain_wide, cell), FH_FIELD(struct plain_wide, last), FH_END};
static const fh_ref item_refs[] = {{0, FH__REF_FIELD, 1}, FH_END};

#define FIELDS_SPEC(n, f, final) \
  { .name = n, .size = sizeof(struct fields), .flags = f, .refs = field_refs, .finalize = final, .dealloc = bury }
#define BOX_SPEC(n, final) \
  { .name = n, .size = sizeof(struct box), .refs = slot_refs, .finalize = final, .dealloc = bury }
#define LINE_SPEC(n, f)                                                                                               \
  { .name = n, .size = sizeof(struct line), .item_size = sizeof(void *), .count_at = offsetof(struct line, count), .flags = f, \
    .item_refs = item_refs, .dealloc = bury }
#define LEAF_SPEC(n, f, final) \
  { .name = n, .size = sizeof(struct thing), .flags = FH_ACYCLIC | (f), .finalize = final, .dealloc = bury }

static const fh_type_spec specs[KINDS] = {
    [PAIR] = FIELDS_SPEC("pair", 0, NULL),
    [LINE] = LINE_SPEC("line", 0),
    [BOX] = BOX_SPEC("box", NULL),
    [BAG] = {.name = "bag", .size = sizeof(struct bag), .traverse = bag_traverse, .dealloc = bag_dealloc},
    [GRACE] = FIELDS_SPEC("grace", FH_GRACE, NULL),
    [FIXED] = LINE_SPEC("fixed", FH_IMMUTABLE),
    [PUBLIC] = FIELDS_SPEC("public", FH_PUBLISHED, NULL),
    [FINAL] = FIELDS_SPEC("final", 0, finalize),
    [FINAL_BOX] = BOX_SPEC("final box", finalize),
    [LEAF] = LEAF_SPEC("leaf", 0, NULL),
    [FINAL_LEAF] = LEAF_SPEC("final leaf", 0, finalize),
    [GRACE_LEAF] = LEAF_SPEC("grace leaf", FH_GRACE, NULL),
    [SHEAF] = FIELDS_SPEC("sheaf", FH_ACYCLIC, NULL),
    [PLAIN_LEAF] = {.name = "plain leaf", .size = sizeof(struct thing)},
    [PLAIN_ONE] = {.name = "plain one", .size = offsetof(struct plain, cell[1]), .refs = one_refs},
    [PLAIN_TWO] = {.name = "plain two", .size = sizeof(struct plain), .refs = two_refs},
    [PLAIN_BOX] = {.name = "plain box", .size = sizeof(struct plain_box), .refs = plain_slot_refs},
    [PLAIN_WIDE] = {.name = "plain wide", .size = sizeof(struct plain_wide), .refs = wide_refs},
    [PLAIN_SHEAF] = {.name = "plain sheaf", .size = sizeof(struct plain), .flags = FH_ACYCLIC, .refs = two_refs},
};
static fh_type *types[KINDS];

void things_register(void) {
  for (int kind = 0; kind < WEAK; kind++) demand(fh_type_register(&specs[kind], &types[kind]) == FH_OK, NULL, "a type");
}

fh_type *thing_type(enum kind kind) { return types[kind]; }

bool thing_has_slots(enum kind kind) { return kind == BOX || kind == FINAL_BOX || kind == PLAIN_BOX; }

/* ---- making ---- */

static bool has_items(enum kind kind) { return kind == LINE || kind == FIXED; }

static unsigned cells_of(enum kind kind, unsigned wanted) {
  if (has_items(kind) || kind == BAG) return wanted;
  if (kind_is_plain(kind)) return kind == PLAIN_LEAF ? 0 : kind == PLAIN_ONE ? 1 : 2;
  return specs[kind].refs ? FIELDS : 0;
}

struct node *thing_make(struct world *world, enum kind kind, unsigned cells) {
  struct thing *thing = has_items(kind) ? fh_new_items(types[kind], cells) : fh_new(types[kind]);
  demand(thing, NULL, "no memory");
  struct node *node = node_make(world, kind, cells_of(kind, cells));
  node->object = thing;
  thing->node = node;
  thing->check = ~node->id;
  if (kind == BAG) {
    struct bag *bag = node->object;
    bag->cell = fh_alloc_zeroed(cells * sizeof *bag->cell);
    bag->count = bag->cell ? cells : 0;
    demand(bag->cell, node, "no memory");
  }
  for (int i = 0; kind == PLAIN_WIDE && i < PADDING; i++) ((struct plain_wide *)node->object)->padding[i] = node->id;
  demand(fh_gc_is_tracked(thing) == kind_is_tracked(kind), node, "it is tracked, or is not");
  demand(fh_gc_generation(thing) == (kind_is_tracked(kind) ? 0 : -1), node, "it was born into generation %d", fh_gc_generation(thing));
  if (me->depth) node->behaviour = NOTHING; /* an end must be */
  return node;
}

struct node *weak_thing_make(struct node *target, bool calls) {
  struct node *weak = weak_make(target, calls);
  weak->object = calls ? fh_weak_new_callback(target->object, on_loss, weak) : fh_weak_new(target->object);
  demand(weak->object, weak, "no memory");
  return weak;
}

/* ---- cells ---- */

void **thing_cell(const struct node *node, unsigned cell) {
  if (node->kind == PLAIN_BOX) return &((struct plain_box *)node->object)->slot[cell].fh__value;
  if (node->kind == PLAIN_WIDE) return cell ? &((struct plain_wide *)node->object)->last : &((struct plain_wide *)node->object)->cell;
  if (kind_is_plain(node->kind)) return &((struct plain *)node->object)->cell[cell];
  if (thing_has_slots(node->kind)) return &((struct box *)node->object)->slot[cell].fh__value;
  if (has_items(node->kind)) return &((struct line *)node->object)->cell[cell];
  if (node->kind == BAG) return &((struct bag *)node->object)->cell[cell];
  return &((struct fields *)node->object)->cell[cell];
}

void thing_check(const struct node *node) {
  if (node->kind == WEAK) return;
  demand(node_of(node->object) == node, node, "its memory was written over");
  for (int i = 0; node->kind == PLAIN_WIDE && i < PADDING; i++)
    demand(((struct plain_wide *)node->object)->padding[i] == node->id, node, "its memory was written over");
  for (unsigned i = 0; i < node->cells; i++) {
    const void *expected = node->cell[i] ? node->cell[i]->object : NULL;
    demand(!node->cell[i] || node->cell[i]->state != DEAD, node, "what cell %u refers to was destroyed", i);
    demand(*thing_cell(node, i) == expected, node, "cell %u is %p and not %p", i, *thing_cell(node, i), expected);
  }
}

void thing_store(struct node *holder, unsigned cell, struct node *value) {
  void *object = value ? value->object : NULL, *in = holder->object;
  void **place = thing_cell(holder, cell);
  bool slots = thing_has_slots(holder->kind);
  node_link(holder, cell, value);
  if (slots && value) node_publish(value);
  if (slots)
    fh_slot_store((fh_slot *)(void *)place, object);
  else
    fh_field_set(in, place, object);
}

/* ---- roots ---- */

void root_put(struct world *world, struct node *node, unsigned place) {
  struct root *root = &world->root[place];
  if (root->node && root->node != node) root_drop(world, place, root->count);
  root->node = node;
  root->count++;
  world->version++;
}

bool root_try(struct world *world, struct node *node) {
  for (unsigned i = 0; i < ROOTS; i += 3) {
    struct root *root = &world->root[(node->id + i) % ROOTS];
    if (root->node && root->node != node) continue;
    node_retain(node);
    root->node = node;
    root->count++;
    world->version++;
    return true;
  }
  return false;
}

void root_drop(struct world *world, unsigned place, unsigned count) {
  struct root *root = &world->root[place];
  struct node *node = root->node;
  void *object = node->object;
  root->count -= count;
  if (!root->count) root->node = NULL;
  for (unsigned i = 0; i < count; i++) node_release(node);
  for (unsigned i = 0; i < count; i++) fh_release(object);
}
