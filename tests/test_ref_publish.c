/* SPDX-License-Identifier: MIT */
/* The publish barrier.
 *
 * Claims: whatever a published object refers to is published [ref.published], in cycles, deep chains, items and buffers; each
 * object once in its life; the walk needs neither stack nor memory, and puts back what it borrowed: entries, slots, counts;
 * what is published already ends it; another's private object cannot be published. Real: the whole runtime. */
#include "support/exhaust.h"

#include "mutator/mutator.h"
#include "ref/publish.h"

/* An acyclic, hence untracked, type with references: its list of the gray goes through header words. */
struct link {
  fh_object fh;
  struct link *next;
  void *other;
};
static const fh_ref link_refs[] = {FH_FIELD(struct link, next), FH_FIELD(struct link, other), FH_END};
static const fh_type_spec link_spec = {.name = "link", .size = sizeof(struct link), .refs = link_refs, .flags = FH_ACYCLIC};

/* Items, and a buffer with cells that only traverse knows. */
struct box {
  fh_object fh;
  size_t count;
  struct node **buffer;
  size_t buffered;
};
static void show_buffer(void *object, fh_visitor *visitor) {
  struct box *box = object;
  for (size_t i = 0; i < box->buffered; i++) fh_visit(visitor, &box->buffer[i]);
}
static void free_buffer(void *object) { fh_free(((struct box *)object)->buffer); }
static const fh_ref box_items[] = {{0, FH__REF_FIELD, 1}, FH_END};
static const fh_type_spec box_spec = {.name = "box",
                                      .size = sizeof(struct box),
                                      .item_size = sizeof(void *),
                                      .count_at = offsetof(struct box, count),
                                      .item_refs = box_items,
                                      .traverse = show_buffer,
                                      .dealloc = free_buffer};

static struct link *link_new(void) { return new_of_spec(&link_spec); }

static bool is_tracked(const void *object) {
  const fh_object *header = object;
  struct fh__chunk *chunk = fh__track_chunk_of(header->fh__slot);
  return chunk->entries[header->fh__slot - chunk->base] == (uint64_t)(uintptr_t)object;
}

static uint64_t published_count(void) { return stats_now().published; }
/* What that is when `count` objects were published that were not so from birth. */
static uint64_t publications(uint64_t count) { return born_published() ? 0 : count; }

/* ---- shapes ---- */

static void one_object_alone(void **state) {
  struct node *n = node_new(1);
  assert_int_equal(fh_is_published(n), born_published());
  fh_publish(n);
  assert_true(fh_is_published(n) && is_tracked(n) && fh_refcount(n) == 1);
  fh_publish(n); /* again: nothing */
  assert_true(published_count() == publications(1));
  fh_release(n);
}

static void a_cycle_is_published_once(void **state) {
  struct node *a = node_new(1), *b = node_new(2);
  fh_set(a, left, b);
  fh_set(b, left, a);
  fh_set(a, right, a);
  fh_release(b);
  fh_publish(a);
  assert_true(fh_is_published(b) && published_count() == publications(2));
  assert_true(fh_refcount(a) == 3 && fh_refcount(b) == 1);
  assert_true(is_tracked(a) && is_tracked(b));
  fh_clear(a, right);
  fh_clear(b, left);
  fh_release(a);
}

static void a_deep_chain_needs_no_stack(void **state) {
  size_t length = scaled(1000000);
  struct node *head = node_chain(length);
  fh_publish(head);
  assert_true(published_count() == publications(length));
  for (struct node *n = head; n; n = n->left) require(fh_is_published(n) && is_tracked(n) && fh_refcount(n) == 1);
  fh_release(head);
}

static void an_untracked_chain_keeps_its_words(void **state) {
  size_t length = scaled(1000000);
  struct link *head = NULL;
  for (size_t i = 0; i < length; i++) {
    struct link *link = link_new();
    fh_give(link, next, head);
    for (size_t extra = i % 7; extra; extra--) fh_retain(link); /* torture builds have spilled by then */
    head = link;
  }
  fh_publish(head);
  assert_true(published_count() == publications(length));
  size_t i = length;
  for (struct link *link = head; link;) {
    i--;
    require(fh_is_published(link) && link->fh.fh__slot == 0 && fh_refcount(link) == 1 + i % 7);
    require(fh__owns(fh__self(), link->fh.fh__bias) == !born_published() && (link->fh.fh__bias & FH__BIAS_MARK));
    struct link *next = link->next;
    for (size_t extra = i % 7; extra; extra--) fh_release(link);
    link = next;
  }
  assert_int_equal(i, 0);
  fh_release(head);
}

static void spilled_counts_survive(void **state) {
  enum { MANY = 2 * FH__SPILL_AT + 3 };
  struct link *link = link_new(), *child = link_new();
  fh_give(link, next, child);
  for (int i = 0; i < MANY; i++) {
    fh_retain(link);
    fh_retain(child);
  }
  fh_publish(link);
  assert_true(fh_refcount(link) == 1 + MANY && fh_refcount(child) == 1 + MANY); /* [ref.sum] */
  for (int i = 0; i < MANY; i++) {
    fh_release(child);
    fh_release(link);
  }
  assert_true(fh_refcount(link) == 1);
  fh_release(link);
}

static void tracked_and_untracked_mix(void **state) {
  struct link *link = link_new();
  struct node *n = node_new(1), *deep = node_new(2);
  struct link *below = link_new();
  fh_field_give(link, &link->other, n);
  fh_give(n, left, deep);
  fh_field_give(deep, &deep->right, below);
  fh_publish(link);
  assert_true(fh_is_published(n) && fh_is_published(deep) && fh_is_published(below));
  assert_true(published_count() == publications(4) && is_tracked(n) && is_tracked(deep));
  fh_release(link);
}

static void items_and_buffers_are_published(void **state) {
  enum { ITEMS = 5, BUFFERED = 3 };
  struct box *box = fh_new_items(type_of_spec(&box_spec), ITEMS);
  struct node **items = (struct node **)(void *)(box + 1);
  assert_int_equal(box->count, ITEMS);
  for (int i = 0; i < ITEMS; i++) fh_field_give(box, &items[i], node_new(10));
  box->buffer = fh_alloc_zeroed(BUFFERED * sizeof *box->buffer);
  box->buffered = BUFFERED;
  for (int i = 0; i < BUFFERED; i++) fh_field_give(box, &box->buffer[i], node_new(20));
  fh_publish(box);
  for (int i = 0; i < ITEMS; i++) assert_true(fh_is_published(items[i]));
  for (int i = 0; i < BUFFERED; i++) assert_true(fh_is_published(box->buffer[i]));
  assert_true(published_count() == publications(1 + ITEMS + BUFFERED));
  fh_release(box);
  assert_true(atomic_load(&node_deaths) == ITEMS + BUFFERED);
}

static void what_is_published_ends_the_walk(void **state) {
  struct node *top = node_new(1), *known = node_new(2), *below = node_new(3);
  fh_set(known, left, below);
  fh_publish(known);
  assert_true(published_count() == publications(2));
  fh_set(top, left, known);
  fh_publish(top);
  assert_true(published_count() == publications(3));
  fh_release(below);
  fh_release(known);
  fh_release(top);
}

/* ---- random graphs, against a plain search ---- */

enum { NODES = 400 };

static void random_graphs_are_published_whole(void **state) {
  only_private();
  for (unsigned seed = 1; seed <= 40; seed++) {
    struct node *n[NODES];
    bool reached[NODES] = {false};
    unsigned random = seed * 2654435761u;
    for (size_t i = 0; i < NODES; i++) n[i] = node_new(i);
    for (size_t edge = 0; edge < NODES + NODES / 4; edge++) {
      random = random * 1664525 + 1013904223;
      struct node *from = n[(random >> 8) % NODES];
      random = random * 1664525 + 1013904223;
      fh_field_set(from, random >> 31 ? &from->left : &from->right, n[(random >> 8) % NODES]);
    }
    size_t stack[NODES], depth = 0, count = 0;
    stack[depth++] = seed % NODES;
    reached[seed % NODES] = true;
    while (depth) {
      const struct node *from = n[stack[--depth]];
      const struct node *to[2] = {from->left, from->right};
      count++;
      for (int i = 0; i < 2; i++)
        if (to[i] && !reached[to[i]->id]) reached[stack[depth++] = to[i]->id] = true;
    }
    uint64_t before = published_count();
    fh_publish(n[seed % NODES]);
    if (published_count() - before != count) fail_msg("seed %u: %d published, %zu reached", seed, (int)(published_count() - before), count);
    for (size_t i = 0; i < NODES; i++) {
      if (fh_is_published(n[i]) != reached[i] || !is_tracked(n[i])) fail_msg("seed %u: node %zu", seed, i);
    }
    assert_int_equal(fh_check_heap(), FH_OK);
    for (size_t i = 0; i < NODES; i++) fh_release(n[i]);
    fh_collect(2);
  }
}

/* ---- no memory, and misuse ---- */

static void publish_without_memory(void) {
  static struct exhausted exhausted;
  runtime_start(NULL);
  struct node *head = NULL;
  for (size_t i = 0; i < 10000; i++) {
    struct node *n = node_new(i);
    fh_give(n, right, head);
    head = n;
  }
  exhaust_memory(&exhausted);
  fh_publish(head);
  for (struct node *n = head; n; n = n->right) require(fh_is_published(n));
  refill_memory(&exhausted);
  fh_release(head);
  runtime_stop();
}

static void publishing_needs_no_memory(void **state) {
  if (!can_exhaust_memory()) skip();
  expect_fine(publish_without_memory);
}

static struct node *of_another;
static void make_private(void *unused) { of_another = node_new(1); }
static void publish_anothers(void) {
  struct companion companion;
  runtime_start(NULL);
  companion_start(&companion, make_private, NULL);
  companion_join(&companion);
  fh_publish(of_another);
}

static void anothers_private_object_cannot_be_published(void **state) {
  only_biased();
  expect_trap(publish_anothers, "fh_publish: a private object of another thread cannot be published by this one", NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(one_object_alone),
      with_runtime(a_cycle_is_published_once),
      with_runtime(a_deep_chain_needs_no_stack),
      with_runtime(an_untracked_chain_keeps_its_words),
      with_runtime(spilled_counts_survive),
      with_runtime(tracked_and_untracked_mix),
      with_runtime(items_and_buffers_are_published),
      with_runtime(what_is_published_ends_the_walk),
      with_runtime(random_graphs_are_published_whole),
      cmocka_unit_test(publishing_needs_no_memory),
      cmocka_unit_test(anothers_private_object_cannot_be_published),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
