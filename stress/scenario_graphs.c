/* SPDX-License-Identifier: MIT */
/* publish, cycles and deep: graphs. They are built in private, published by one store, walked by others, changed, and dropped as
 * a whole: by counts where that goes, by collections where it does not. */
#include "scenarios.h"

enum { STEPS = 32, POLL_EVERY = 1024 };

/* Down from a thing along random children, with a count on each. */
static void walk(struct worker *w, struct thing *from, unsigned steps) {
  struct thing *at = fh_retain(from);
  while (at && steps-- > 0) {
    struct thing *next = thing_child(w, at);
    if (one_in(w, 16))
      hoard_put(w, at);
    else
      fh_release(at);
    at = next;
  }
  if (at) fh_release(at);
}

static struct thing *any_published(struct worker *w) {
  struct thing *thing = thing_whole(fh_slot_load(any_slot(w)));
  check(!thing || fh_is_published(thing));
  return thing;
}

/* ---- publish ---- */

/* A page that lists things of all kinds. It is complete before anything refers to it: it is immutable, and a store into one of the
 * slots below it may publish it. */
static struct page *list_things(struct worker *w, unsigned lines) {
  struct page *page = page_new(w, lines);
  for (unsigned i = 0; page && i < lines; i++) {
    struct page *note = one_in(w, 16) ? page_new(w, 1) : NULL;
    if (note) fh_set(note, line[0], page->line[0]);
    struct thing *thing = note ? &note->thing : thing_any(w);
    if (thing) fh_give(page, line[i], thing);
  }
  return page;
}

/* The same, and the things refer to each other in any way, and back to the page. */
static struct page *build_book(struct worker *w, unsigned lines) {
  struct page *page = list_things(w, lines);
  for (unsigned i = 0; page && i < lines; i++)
    if (page->line[i]) thing_link(w, page->line[i], one_in(w, 8) ? &page->thing : page->line[below(w, lines)]);
  return page;
}

static void publish_turn(struct worker *w) {
  if (!one_in(w, 8)) {
    FH_AUTO struct thing *seen = any_published(w);
    if (seen) walk(w, seen, STEPS);
    return;
  }
  FH_AUTO struct page *book = build_book(w, 1 + below(w, one_in(w, 8) ? 2000 : 100));
  if (!book) return;
  struct thing *inside = book->line[below(w, (unsigned)book->count)];
  if (inside) hoard_put(w, fh_retain(inside));
  if (one_in(w, 4)) fh_publish(book);
  fh_slot_store(any_slot(w), book);
  check(fh_is_published(book) && (!inside || fh_is_published(inside)));
}

const struct scenario scenario_publish = {
    .name = "publish",
    .attacks = "big private graphs, published by one store while others walk what they can reach",
    .threads = 4,
    .turn = publish_turn,
};

/* ---- cycles ---- */

static struct pair *build_ring(struct worker *w, unsigned members) {
  struct pair *first = thing_new(w, PAIR), *last = first;
  for (unsigned i = 1; i < members && last; i++) {
    struct pair *next = thing_new(w, PAIR);
    if (!next) break;
    thing_link(w, &next->thing, &first->thing); /* on either side; the other one is the ring's */
    FH_CRITICAL(last);
    fh_give(last, left, &next->thing);
    last = next;
  }
  if (last) {
    FH_CRITICAL(last);
    fh_set(last, left, &first->thing);
  }
  return first;
}

/* Any pair's fields may be stored into at any time, so a ring that others see breaks, grows together with others, and dies in parts. */
static void cycles_turn(struct worker *w) {
  FH_AUTO struct thing *seen = any_published(w);
  if (!seen || one_in(w, 4)) {
    FH_AUTO struct pair *ring = build_ring(w, 1 + below(w, one_in(w, 16) ? 500 : 20));
    if (!ring) return;
    if (one_in(w, 2)) fh_slot_store(any_slot(w), ring);
    if (one_in(w, 4)) hoard_put(w, FH_MOVE(ring));
    return;
  }
  walk(w, seen, STEPS);
  FH_AUTO struct thing *other = any_published(w);
  thing_link(w, seen, one_in(w, 4) ? NULL : other);
  if (one_in(w, 8)) fh_slot_store(any_slot(w), hoard_any(w));
  if (one_in(w, 512)) fh_collect(2);
}

const struct scenario scenario_cycles = {
    .name = "cycles",
    .attacks = "rings and webs made, shared, joined, broken and dropped, with collections amid all of it",
    .threads = 4,
    .turn = cycles_turn,
};

/* ---- deep ---- */

/* The first worker's are the deepest, and one more of that size may be in the slot: it takes about two gigabytes. In a run of a few
 * seconds they are smaller, so that there is more than one. */
static size_t deepest(const struct worker *w) {
  const size_t most = scaled(10000000) / (w->run->seconds < 5 ? 10 : 1);
  return (w->index == 0 ? most : most / 10) + 1;
}

static struct box *build_list(struct worker *w, size_t length) {
  struct box *head = NULL;
  for (size_t i = 0; i < length; i++) {
    struct box *next = thing_new(w, BOX);
    if (!next) break;
    if (head) fh_slot_store(&next->slot[i & 1], head);
    if (head) fh_release(head);
    head = next;
    if (i % POLL_EVERY == 0) fh_safepoint();
  }
  return head;
}

/* The same in fields, so that it stays private. */
static struct page *build_private_list(struct worker *w, size_t length) {
  struct page *head = NULL;
  for (size_t i = 0; i < length; i++) {
    struct page *next = page_new(w, 1);
    if (!next) break;
    if (head) fh_give(next, line[0], &head->thing);
    head = next;
    if (i % POLL_EVERY == 0) fh_safepoint();
  }
  return head;
}

static struct page *build_wide(struct worker *w, size_t lines) {
  struct page *page = page_new(w, lines);
  for (size_t i = 0; page && i < lines; i++) {
    struct thing *leaf = thing_new(w, one_in(w, 2) ? LEAF : PAIR);
    if (leaf) fh_give(page, line[i], leaf);
    if (i % POLL_EVERY == 0) fh_safepoint();
  }
  return page;
}

static void close_loop(struct box *list) {
  if (!fh_slot_cas(&list->slot[0], NULL, list)) fh_slot_cas(&list->slot[1], NULL, list);
}

static void *build_any(struct worker *w) {
  const size_t most = deepest(w);
  const size_t size = one_in(w, 2) ? most : 1 + below(w, (unsigned)most);
  switch (below(w, 3)) {
    case 0: {
      struct box *list = build_list(w, size);
      if (list && one_in(w, 2)) close_loop(list);
      return list;
    }
    case 1:
      return build_private_list(w, size);
    default:
      return build_wide(w, size);
  }
}

/* Dropped here, or published by a store and dropped by whoever stores next. */
static void deep_turn(struct worker *w) {
  FH_AUTO struct thing *root = build_any(w);
  if (!root) return;
  if (one_in(w, 2)) fh_slot_store(&w->run->slot[0], root);
  if (one_in(w, 4)) fh_collect(2);
}

const struct scenario scenario_deep = {
    .name = "deep",
    .attacks = "lists of up to ten million links and pages as wide, private and shared, dropped and collected",
    .threads = 2,
    .turn = deep_turn,
};
