/* SPDX-License-Identifier: MIT */
/* Publication and fields, through the public interface: fh_publish, fh_is_published, fh_field_set, _give, _take and their
 * macros, in private and in published holders.
 *
 * Claims: publishing reaches everything, however deep, wide or cyclic, through holders that are not tracked and through
 * buffers, with a bounded stack; each object once [ref.published]; a store into a published holder publishes the value; set
 * retains, give consumes, take hands out, and the old value is released last. */
#include "support/support.h"

/* What the statistics say when `count` objects were published that were not so from birth. */
static uint64_t publications(uint64_t count) { return born_published() ? 0 : count; }

/* ---- shapes ---- */

static void a_published_object_stays_published(void **state) {
  struct node *n = node_new(1);
  assert_int_equal(fh_is_published(n), born_published());
  uint64_t before = stats_now().published;
  fh_publish(n);
  assert_true(fh_is_published(n));
  fh_publish(n);
  assert_true(stats_now().published - before == publications(1));
  fh_release(n);
}

static void a_chain_of_a_million_is_published_and_destroyed(void **state) {
  uint64_t length = scaled(1000000);
  struct node *head = node_chain(length);
  fh_publish(head);
  assert_true(stats_now().published == publications(length));
  for (struct node *n = head; n; n = n->left) require(fh_is_published(n));
  assert_int_equal(fh_check_heap(), FH_OK);
  fh_release(head);
  assert_true(atomic_load(&node_deaths) == length);
}

static const fh_ref wide_refs[] = {{0, FH__REF_FIELD, 1}, FH_END};
struct wide {
  fh_object fh;
  size_t count;
  struct node *items[];
};
static const fh_type_spec wide_spec = {.name = "wide",
                                       .size = sizeof(struct wide),
                                       .item_size = sizeof(void *),
                                       .count_at = offsetof(struct wide, count),
                                       .item_refs = wide_refs};

static void a_wide_object_publishes_all_its_items(void **state) {
  size_t count = scaled(300000);
  struct wide *wide = fh_new_items(type_of_spec(&wide_spec), count);
  assert_non_null(wide);
  for (size_t i = 0; i < count; i += 2) fh_field_give(wide, &wide->items[i], node_new(i));
  fh_publish(wide);
  for (size_t i = 0; i < count; i += 2) require(fh_is_published(wide->items[i]));
  assert_true(stats_now().published == publications(1 + (count + 1) / 2));
  fh_release(wide);
  fh_settle();
  assert_true(atomic_load(&node_deaths) == (count + 1) / 2);
}

static void a_graph_full_of_cycles_is_published_once_each(void **state) {
  enum { NODES = 2000 };
  struct node *nodes[NODES];
  for (uint64_t i = 0; i < NODES; i++) nodes[i] = node_new(i);
  for (uint64_t i = 0; i < NODES; i++) {
    fh_set(nodes[i], left, nodes[i * 7919 % NODES]);
    fh_set(nodes[i], right, nodes[(i + 1) % NODES]);
  }
  fh_publish(nodes[NODES / 2]);
  for (int i = 0; i < NODES; i++) assert_true(fh_is_published(nodes[i]));
  assert_true(stats_now().published == publications(NODES));
  for (int i = 0; i < NODES; i++) fh_release(nodes[i]);
  fh_collect(2);
  assert_int_equal((int)atomic_load(&node_deaths), NODES);
}

static const fh_ref link_refs[] = {FH_FIELD(struct node, left), FH_FIELD(struct node, right), FH_END};
static const fh_type_spec link_spec = {
    .name = "link", .size = sizeof(struct node), .refs = link_refs, .flags = FH_ACYCLIC}; /* not tracked */

static void holders_that_are_not_tracked_are_walked_too(void **state) {
  enum { LENGTH = 100000 };
  fh_type *link = type_of_spec(&link_spec);
  struct node *head = node_new(0);
  for (uint64_t i = 0; i < LENGTH; i++) { /* links and nodes in turn; some links have spilled counts */
    struct node *holder = fh_new(link);
    assert_non_null(holder);
    fh_give(holder, left, head);
    if (i % 1000 == 0)
      for (int j = 0; j < 40000; j++) fh_retain(holder);
    head = node_new(i);
    fh_give(head, right, holder);
  }
  fh_publish(head);
  assert_true(stats_now().published == publications(2 * LENGTH + 1));
  for (struct node *n = head; n;) {
    struct node *holder = n->right;
    require(fh_is_published(n) && (!holder || fh_is_published(holder)));
    if (holder && fh_refcount(holder) > 1)
      for (int j = 0; j < 40000; j++) fh_release(holder);
    if (holder) require(fh_refcount(holder) == 1);
    n = holder ? holder->left : NULL;
  }
  fh_release(head);
  fh_settle();
  assert_int_equal((int)fh_type_live(link), 0);
}

struct buffered {
  fh_object fh;
  size_t count;
  void **cells;
};
static void buffered_traverse(void *object, fh_visitor *visitor) {
  struct buffered *b = object;
  for (size_t i = 0; i < b->count; i++) fh_visit(visitor, &b->cells[i]);
}
static void buffered_dealloc(void *object) {
  struct buffered *b = object;
  for (size_t i = 0; i < b->count; i++) require(!b->cells[i]);
  fh_free(b->cells);
}
static const fh_type_spec buffered_spec = {
    .name = "buffered", .size = sizeof(struct buffered), .traverse = buffered_traverse, .dealloc = buffered_dealloc};

static void cells_in_buffers_are_references(void **state) {
  enum { CELLS = 100 };
  struct buffered *b = new_of_spec(&buffered_spec);
  b->cells = fh_alloc_zeroed(CELLS * sizeof *b->cells);
  assert_non_null(b->cells);
  b->count = CELLS;
  for (uint64_t i = 0; i < CELLS / 2; i++) fh_field_give(b, &b->cells[i], node_new(i));
  fh_publish(b);
  for (uint64_t i = CELLS / 2; i < CELLS; i++) fh_field_give(b, &b->cells[i], node_new(i));
  for (int i = 0; i < CELLS; i++) assert_true(fh_is_published(b->cells[i]));
  struct node *back = b->cells[7];
  fh_set(back, left, (struct node *)(void *)b);
  assert_int_equal((int)fh_collect(2), 0);
  fh_release(b);
  assert_int_equal((int)fh_collect(2), CELLS + 1);
}

/* ---- fields ---- */

static void fields_of(struct node *h) {
  bool published = fh_is_published(h);
  struct node *a = node_new(1), *b = node_new(2);
  fh_set(h, left, a); /* retains */
  assert_ptr_equal(fh_get(h, left), a);
  assert_true(fh_refcount(a) == 2);
  assert_int_equal(fh_is_published(a), published);
  fh_give(h, right, b); /* consumes */
  assert_true(fh_refcount(b) == 1);
  assert_int_equal(fh_is_published(b), published);
  fh_set(h, left, fh_get(h, left)); /* to itself: retained before it is released */
  assert_true(fh_refcount(a) == 2);
  fh_set(h, left, b); /* the old one is released */
  assert_true(fh_refcount(a) == 1 && fh_refcount(b) == 2);
  struct node *taken = fh_take(h, left); /* hands out */
  assert_ptr_equal(taken, b);
  assert_null(fh_get(h, left));
  assert_null(fh_take(h, left));
  fh_release(taken);
  fh_set(h, left, NULL);
  fh_give(h, left, NULL);
  fh_give(h, left, a);
  uint64_t deaths = atomic_load(&node_deaths);
  fh_clear(h, left);
  assert_null(fh_get(h, left));
  fh_clear(h, left);
  fh_set(h, right, NULL);
  assert_int_equal((int)(atomic_load(&node_deaths) - deaths), 2);
}

static void fields_of_a_private_holder(void **state) {
  FH_AUTO struct node *h = node_new(0);
  fields_of(h);
}

static void fields_of_a_published_holder(void **state) {
  FH_AUTO struct node *h = node_new(0);
  fh_publish(h);
  FH_CRITICAL(h);
  fields_of(h);
}

static void a_store_publishes_all_that_the_value_reaches(void **state) {
  struct node *h = node_new(0);
  fh_publish(h);
  struct node *chain = node_chain(100);
  {
    FH_CRITICAL(h);
    fh_give(h, left, chain);
  }
  for (struct node *n = chain; n; n = n->left) assert_true(fh_is_published(n));
  fh_release(h);
}

/* The old value is released last: its death finds the new value in place. */
static struct node *watched;
static uint64_t seen_in_field;
static void look_at_field(void *object) { seen_in_field = watched->left ? watched->left->id : 0; }
static const fh_type_spec looker_spec = {.name = "looker", .size = sizeof(struct node), .dealloc = look_at_field};

static void the_old_value_dies_after_the_store(void **state) {
  watched = node_new(0);
  fh_type *type = type_of_spec(&looker_spec);
  fh_give(watched, left, (struct node *)fh_new(type));
  fh_give(watched, left, node_new(77));
  assert_true(seen_in_field == 77);
  fh_give(watched, left, (struct node *)fh_new(type));
  fh_set(watched, left, NULL);
  assert_true(seen_in_field == 0);
  fh_release(watched);
}

static void a_holder_may_hold_itself(void **state) {
  struct node *n = node_new(1);
  fh_set(n, left, n);
  assert_true(fh_refcount(n) == 2);
  fh_clear(n, left);
  assert_true(fh_refcount(n) == 1);
  fh_give(n, right, n); /* now the field holds the only reference */
  fh_clear(n, right);
  assert_int_equal((int)atomic_load(&node_deaths), 1);
}

static void macros_evaluate_their_arguments_once(void **state) {
  FH_AUTO struct node *h = node_new(0);
  struct node *values[3] = {node_new(1), node_new(2), NULL}, **next = values;
  struct node *holders[4] = {h, h, h, h}, **holder = holders;
  fh_give(*holder++, left, *next++);
  assert_ptr_equal(next, values + 1);
  fh_give(*holder++, right, *next++);
  assert_ptr_equal(next, values + 2);
  struct node *taken = fh_take(*holder++, right);
  assert_ptr_equal(taken, values[1]);
  fh_clear(*holder++, left);
  assert_ptr_equal(holder, holders + 4);
  fh_release(taken);
}

/* ---- threads ---- */

static struct node *exchange;

/* Each thread stores private nodes into one published holder and takes out what others stored. */
static void exchange_nodes(int index, void *argument) {
  for (uint64_t i = 0; i < scaled(40000); i++) {
    struct node *made = node_new(i << 8 | (uint64_t)index);
    fh_give(made, left, node_new(i));
    struct node *taken;
    {
      FH_CRITICAL(exchange);
      taken = fh_take(exchange, left);
      fh_give(exchange, left, made);
      require(fh_is_published(made) && fh_is_published(made->left));
    }
    if (taken) {
      require(node_is_whole(taken) && node_is_whole(taken->left) && fh_is_published(taken->left));
      fh_release(taken);
    }
    if (i % 64 == 0) fh_safepoint();
  }
}

static void threads_exchange_private_nodes_through_a_published_field(void **state) {
  exchange = node_new(0);
  fh_publish(exchange);
  run_threads(4, exchange_nodes, NULL);
  fh_release(exchange);
  fh_settle();
  assert_int_equal((int)fh_type_live(node_type()), 0);
}

static void own_by_message(int index, void *argument) {
  struct node *chain = argument;
  uint64_t sum = 0;
  for (struct node *n = chain; n; n = n->left) {
    require(node_is_whole(n));
    sum += n->id;
  }
  require(sum == 999 * 1000 / 2);
  fh_release(chain); /* the strangers' release takes the whole chain down */
}

static void what_is_published_may_travel_by_any_means(void **state) {
  for (int i = 0; i < 20; i++) {
    struct node *chain = node_chain(1000);
    fh_publish(chain);
    fh_retain(chain);
    run_threads(2, own_by_message, chain);
  }
  fh_settle();
  assert_int_equal((int)fh_type_live(node_type()), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(a_published_object_stays_published),
      with_runtime(a_chain_of_a_million_is_published_and_destroyed),
      with_runtime(a_wide_object_publishes_all_its_items),
      with_runtime(a_graph_full_of_cycles_is_published_once_each),
      with_runtime(holders_that_are_not_tracked_are_walked_too),
      with_runtime(cells_in_buffers_are_references),
      with_runtime(fields_of_a_private_holder),
      with_runtime(fields_of_a_published_holder),
      with_runtime(a_store_publishes_all_that_the_value_reaches),
      with_runtime(the_old_value_dies_after_the_store),
      with_runtime(a_holder_may_hold_itself),
      with_runtime(macros_evaluate_their_arguments_once),
      with_runtime(threads_exchange_private_nodes_through_a_published_field),
      with_runtime(what_is_published_may_travel_by_any_means),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
