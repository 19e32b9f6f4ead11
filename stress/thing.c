/* SPDX-License-Identifier: MIT */
/* Things: making them, entering them in the ledger, and telling live ones from dead ones. */
#include "stress.h"

#include <string.h>

enum { BAG_CELLS = 8 };

/* ---- the ledger ---- */

static void add(atomic_uint_fast64_t *entry, uint64_t n) { atomic_fetch_add_explicit(entry, n, memory_order_relaxed); }

void *thing_enter(struct worker *w, void *object, uint32_t kind) {
  struct thing *thing = object;
  if (!thing) return NULL;
  thing->id = draw(w);
  thing->check = ~thing->id;
  thing->kind = kind;
  add(&w->ledger->made, 1);
  add(&w->ledger->balance, thing->id);
  return thing;
}

void thing_bury(void *object) {
  struct thing *thing = thing_whole(object);
  thing->check = thing->id;
  add(&me->ledger->destroyed, 1);
  add(&me->ledger->balance, -thing->id);
}

void *thing_whole(void *object) {
  const struct thing *thing = object;
  check(!thing || thing->check == ~thing->id);
  return object;
}

/* ---- kinds ---- */

static void bag_traverse(void *object, fh_visitor *visitor) {
  struct bag *bag = object;
  for (uint32_t i = 0; i < bag->count; i++) fh_visit(visitor, &bag->cell[i]);
}

static void pair_dealloc(void *object) {
  const struct pair *pair = object;
  check(!pair->left && !pair->right);
  thing_bury(object);
}

static void bag_dealloc(void *object) {
  struct bag *bag = object;
  for (uint32_t i = 0; i < bag->count; i++) check(!bag->cell[i]);
  fh_free(bag->cell);
  thing_bury(object);
}

static void phoenix_dealloc(void *object) {
  const struct phoenix *phoenix = object;
  check(!phoenix->field && phoenix->thing.finalized == 1);
  thing_bury(object);
}

static const fh_ref pair_refs[] = {FH_FIELD(struct pair, left), FH_FIELD(struct pair, right), FH_END};
static const fh_ref page_line[] = {{0, FH__REF_FIELD, 1}, FH_END};
static const fh_ref box_refs[] = {FH_SLOT(struct box, slot), FH_END};
static const fh_ref phoenix_refs[] = {FH_FIELD(struct phoenix, field), FH_SLOT(struct phoenix, slot), FH_END};

static const fh_type_spec specs[KINDS] = {
    [LEAF] = {.name = "leaf", .size = sizeof(struct thing), .flags = FH_ACYCLIC, .dealloc = thing_bury},
    [GRACE] = {.name = "grace", .size = sizeof(struct thing), .flags = FH_ACYCLIC | FH_GRACE, .dealloc = thing_bury},
    [PAIR] =
        {.name = "pair", .size = sizeof(struct pair), .flags = FH_LOCKED, .refs = pair_refs, .dealloc = pair_dealloc},
    [PAGE] = {.name = "page",
              .size = sizeof(struct page),
              .item_size = sizeof(struct thing *),
              .count_at = offsetof(struct page, count),
              .flags = FH_IMMUTABLE,
              .item_refs = page_line,
              .dealloc = thing_bury},
    [BOX] = {.name = "box", .size = sizeof(struct box), .refs = box_refs, .dealloc = thing_bury},
    [BAG] = {.name = "bag", .size = sizeof(struct bag), .traverse = bag_traverse, .dealloc = bag_dealloc},
    [PHOENIX] = {.name = "phoenix",
                 .size = sizeof(struct phoenix),
                 .refs = phoenix_refs,
                 .finalize = phoenix_finalize,
                 .dealloc = phoenix_dealloc},
};

void things_register(struct run *run) {
  for (int kind = 0; kind < KINDS; kind++) check(fh_type_register(&specs[kind], &run->type[kind]) == FH_OK);
}

/* ---- making ---- */

struct page *page_new(struct worker *w, size_t lines) {
  return thing_enter(w, fh_new_items(w->run->type[PAGE], lines), PAGE);
}

/* A bag that finds no memory for its cells is empty, and stays so. */
static struct bag *bag_new(struct worker *w) {
  struct bag *bag = thing_enter(w, fh_new(w->run->type[BAG]), BAG);
  if (!bag) return NULL;
  bag->cell = fh_alloc_zeroed(BAG_CELLS * sizeof *bag->cell);
  if (bag->cell) bag->count = BAG_CELLS;
  return bag;
}

void *thing_new(struct worker *w, enum kind kind) {
  if (kind == PAGE) return page_new(w, 0);
  if (kind == BAG) return bag_new(w);
  return thing_enter(w, fh_new(w->run->type[kind]), kind);
}

/* Phoenixes are rare: each of them costs a look of the collector's. */
struct thing *thing_any(struct worker *w) {
  return thing_new(w, one_in(w, 64) ? PHOENIX : (enum kind)below(w, PHOENIX));
}

/* ---- children ---- */

static struct thing *retain(struct thing *thing) { return thing ? fh_retain(thing) : NULL; }

struct thing *thing_child(struct worker *w, struct thing *parent) {
  switch (parent->kind) {
    case PAIR: {
      struct pair *pair = (struct pair *)parent;
      FH_CRITICAL(pair);
      return retain(thing_whole(one_in(w, 2) ? fh_get(pair, left) : fh_get(pair, right)));
    }
    case BAG: {
      struct bag *bag = (struct bag *)parent;
      FH_CRITICAL(bag);
      return bag->count ? retain(thing_whole(bag->cell[below(w, bag->count)])) : NULL;
    }
    case PAGE: {
      struct page *page = (struct page *)parent;
      return page->count ? retain(thing_whole(page->line[below(w, (unsigned)page->count)])) : NULL;
    }
    case BOX:
      return thing_whole(fh_slot_load(&((struct box *)parent)->slot[below(w, 2)]));
    case PHOENIX:
      return thing_whole(fh_slot_load(&((struct phoenix *)parent)->slot));
    default:
      return NULL;
  }
}

void thing_link(struct worker *w, struct thing *holder, struct thing *value) {
  switch (holder->kind) {
    case PAIR: {
      struct pair *pair = (struct pair *)holder;
      FH_CRITICAL(pair);
      if (one_in(w, 2))
        fh_set(pair, left, value);
      else
        fh_set(pair, right, value);
      return;
    }
    case BAG: {
      struct bag *bag = (struct bag *)holder;
      FH_CRITICAL(bag);
      if (bag->count) fh_field_set(bag, &bag->cell[below(w, bag->count)], value);
      return;
    }
    case BOX:
      fh_slot_store(&((struct box *)holder)->slot[below(w, 2)], value);
      return;
    case PHOENIX:
      fh_slot_store(&((struct phoenix *)holder)->slot, value);
      return;
    default:
      return;
  }
}

/* ---- rings ---- */

struct thing *thing_ring(struct worker *w, struct thing **other_out) {
  FH_AUTO struct thing *a = thing_new(w, PAIR);
  FH_AUTO struct thing *b = thing_new(w, one_in(w, 2) ? PAIR : PHOENIX);
  if (!a || !b) return NULL;
  thing_link(w, a, b);
  thing_link(w, b, a);
  *other_out = FH_MOVE(b);
  return FH_MOVE(a);
}

/* ---- where references are kept ---- */

void hoard_put(struct worker *w, void *reference) {
  void **place = &w->hoard[below(w, HOARD)];
  void *old = *place;
  *place = reference;
  if (old) fh_release(thing_whole(old));
}

void hoard_drop(struct worker *w) {
  for (int i = 0; i < HOARD; i++) fh_drop(&w->hoard[i]);
}

void slots_clear(struct run *run) {
  for (int i = 0; i < SLOTS; i++) fh_slot_store(&run->slot[i], NULL);
}
