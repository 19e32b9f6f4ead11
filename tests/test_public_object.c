/* SPDX-License-Identifier: MIT */
/* Objects and their counts, by one thread and by several, through the public interface.
 *
 * Claims: fh_new and fh_new_items give zeroed, private objects of one reference, or NULL and nothing changed; the count is
 * exact through spills and back [ref.sum]; the last release destroys at once; immortal objects ignore counting; FH_AUTO,
 * FH_MOVE and fh_drop release what they hold, once; fh_is_unique never says true of what somebody else can reach. */
#include <string.h>

#include "support/support.h"

/* ---- making ---- */

struct text {
  fh_object fh;
  size_t count;
  char bytes[];
};
static const fh_type_spec text_spec = {
    .name = "text", .size = sizeof(struct text), .item_size = 1, .count_at = offsetof(struct text, count)};
struct vector {
  fh_object fh;
  size_t count;
  struct node *items[];
};
static const fh_ref vector_items[] = {{0, FH__REF_FIELD, 1}, FH_END};
static const fh_type_spec vector_spec = {.name = "vector",
                                         .size = sizeof(struct vector),
                                         .item_size = sizeof(void *),
                                         .count_at = offsetof(struct vector, count),
                                         .item_refs = vector_items};

static void a_newborn_is_zeroed_private_and_owned_once(void **state) {
  static fh_type_spec specs[40];
  for (size_t i = 0; i < 40; i++) {
    specs[i] = (fh_type_spec){.name = "sized", .size = i < 30 ? 16 + i : (size_t)16 << (i - 28)};
    fh_type *type = type_of_spec(&specs[i]);
    for (int round = 0; round < 3; round++) { /* also in memory that was used before */
      unsigned char *bytes = fh_new(type);
      assert_non_null(bytes);
      assert_int_equal((uintptr_t)bytes % 16, 0);
      for (size_t at = sizeof(fh_object); at < specs[i].size; at++) assert_int_equal(bytes[at], 0);
      assert_true(fh_refcount(bytes) == 1);
      assert_int_equal(fh_is_published(bytes), born_published());
      assert_true(fh_is_unique(bytes));
      assert_ptr_equal(fh_type_of(bytes), type);
      memset(bytes + sizeof(fh_object), 0xee, specs[i].size - sizeof(fh_object));
      fh_release(bytes);
    }
  }
}

static void items_are_counted_and_zeroed(void **state) {
  const size_t counts[] = {0, 1, 2, 7, 100, 4096, 1000000};
  fh_type *type = type_of_spec(&text_spec);
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    struct text *text = fh_new_items(type, counts[i]);
    assert_non_null(text);
    assert_true(text->count == counts[i]);
    for (size_t at = 0; at < counts[i]; at++)
      if (text->bytes[at]) fail_msg("byte %zu of %zu is not zero", at, counts[i]);
    memset(text->bytes, 'x', counts[i]);
    fh_release(text);
  }
  struct text *text = fh_new(type); /* the same as no items */
  assert_true(text->count == 0);
  fh_release(text);
}

static void references_in_items_are_owned(void **state) {
  struct vector *vector = fh_new_items(type_of_spec(&vector_spec), 1000);
  assert_non_null(vector);
  for (uint64_t i = 0; i < 1000; i++) fh_field_give(vector, &vector->items[i], node_new(i));
  assert_int_equal((int)fh_type_live(node_type()), 1000);
  fh_release(vector);
  assert_int_equal((int)fh_type_live(node_type()), 0);
}

static void what_cannot_be_had_is_null_and_changes_nothing(void **state) {
  fh_type *bytes = type_of_spec(&text_spec), *cells = type_of_spec(&vector_spec);
  fh_stats before = stats_now();
  const size_t huge[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 8, SIZE_MAX / 8 + 1, (size_t)1 << 61, (size_t)1 << 47};
  for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
    assert_null(fh_new_items(bytes, huge[i]));
    assert_null(fh_new_items(cells, huge[i]));
  }
  fh_stats after = stats_now();
  assert_true(after.live_bytes == before.live_bytes && after.objects_made == before.objects_made);
  assert_int_equal((int)fh_type_live(bytes), 0);
  fh_release(fh_new_items(bytes, 10));
}

/* ---- counting ---- */

static void the_last_release_destroys_at_once(void **state) {
  struct node *n = node_new(1);
  assert_ptr_equal(fh_retain(n), n);
  assert_true(fh_refcount(n) == 2);
  assert_false(fh_is_unique(n));
  fh_release(n);
  assert_true(fh_is_unique(n));
  assert_int_equal((int)atomic_load(&node_deaths), 0);
  fh_release(n);
  assert_int_equal((int)atomic_load(&node_deaths), 1);
}

static void count_up_and_down(struct node *n, uint64_t most) {
  uint64_t before = fh_refcount(n);
  for (uint64_t i = 1; i <= most; i++) {
    fh_retain(n);
    if ((i & (i - 1)) == 0 && fh_refcount(n) != before + i) fail_msg("the count of %llu is wrong", (unsigned long long)i);
  }
  assert_true(fh_refcount(n) == before + most);
  assert_int_equal(fh_check_heap(), FH_OK); /* where a torture build keeps it: mostly spilled */
  for (uint64_t i = most; i > 0; i--) {
    if ((i & (i - 1)) == 0 && fh_refcount(n) != before + i) fail_msg("the count of %llu is wrong", (unsigned long long)i);
    fh_release(n);
  }
  assert_true(fh_refcount(n) == before);
}

static void counts_spill_and_come_back(void **state) {
  struct node *n = node_new(1), *published = node_new(2);
  fh_publish(published);
  const uint64_t most[] = {3, 100, 32766, 32767, 32768, 65536, 100000, 300000};
  for (size_t i = 0; i < sizeof most / sizeof *most; i++) {
    count_up_and_down(n, most[i]);
    count_up_and_down(published, most[i]);
  }
  assert_int_equal(stats_now().spills > 0, !born_published()); /* then there is but one count */
  assert_int_equal(stats_now().take_backs > 0, !born_published());
  assert_int_equal((int)atomic_load(&node_deaths), 0);
  fh_release(n);
  fh_release(published);
  assert_int_equal((int)atomic_load(&node_deaths), 2);
}

static void a_spilled_private_object_can_be_published(void **state) {
  struct node *n = node_new(1);
  for (int i = 0; i < 100000; i++) fh_retain(n);
  fh_publish(n);
  assert_true(fh_refcount(n) == 100001);
  for (int i = 0; i < 100000; i++) fh_release(n);
  assert_int_equal((int)atomic_load(&node_deaths), 0);
  fh_release(n);
  fh_settle();
  assert_int_equal((int)atomic_load(&node_deaths), 1);
}

static struct node *subject;

static void retain_and_release(int index, void *argument) {
  uint64_t mine = 0;
  uint64_t seed = 88172645463325252u + (uint64_t)index;
  for (size_t i = 0; i < scaled(400000); i++) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    if (mine == 0 || (mine < 60000 && seed % 3)) {
      fh_retain(subject);
      mine++;
    } else {
      fh_release(subject);
      mine--;
    }
    require(node_is_whole(subject));
  }
  while (mine--) fh_release(subject);
}

static void owner_and_strangers_count_one_object(void **state) {
  subject = node_new(42);
  fh_publish(subject);
  struct node *mine = fh_retain(subject);
  run_threads(4, retain_and_release, NULL);
  retain_and_release(9, NULL);
  fh_housekeep();
  assert_true(fh_refcount(subject) == 2);
  assert_int_equal((int)atomic_load(&node_deaths), 0);
  fh_release(subject);
  fh_release(mine);
  fh_settle();
  assert_int_equal((int)atomic_load(&node_deaths), 1);
}

/* Every thread holds one reference from the start; whoever is last destroys, exactly once. */
static struct node *raced[2000];

static void release_all(int index, void *argument) {
  for (size_t i = 0; i < 2000; i++) fh_release(raced[i]);
}

static void the_last_of_four_releases_destroys_once(void **state) {
  for (size_t round = 0; round < scaled(40) + 2; round++) {
    atomic_store(&node_deaths, 0);
    for (uint64_t i = 0; i < 2000; i++) {
      raced[i] = node_new(i);
      fh_publish(raced[i]);
      for (int t = 0; t < 3; t++) fh_retain(raced[i]);
    }
    run_threads(4, release_all, NULL);
    fh_housekeep();
    fh_settle();
    assert_int_equal((int)atomic_load(&node_deaths), 2000);
  }
}

/* ---- scopes ---- */

static struct node *hand_out(uint64_t id) {
  FH_AUTO struct node *n = node_new(id);
  return FH_MOVE(n);
}

static void scoped_references_are_released_once(void **state) {
  {
    FH_AUTO struct node *n = node_new(1);
    FH_AUTO struct node *nothing = NULL;
    FH_AUTO struct node *moved = node_new(2);
    struct node *out = FH_MOVE(moved);
    assert_null(moved);
    fh_release(out);
    assert_int_equal((int)atomic_load(&node_deaths), 1);
  }
  assert_int_equal((int)atomic_load(&node_deaths), 2);
  struct node *n = hand_out(3);
  assert_true(n->id == 3 && fh_refcount(n) == 1);
  fh_drop(&n);
  assert_null(n);
  assert_int_equal((int)atomic_load(&node_deaths), 3);
  fh_drop(&n);
  assert_int_equal((int)atomic_load(&node_deaths), 3);
}

static void retain_evaluates_its_argument_once(void **state) {
  struct node *nodes[2] = {node_new(1), NULL}, **next = nodes;
  struct node *again = fh_retain(*next++);
  assert_ptr_equal(again, nodes[0]);
  assert_ptr_equal(next, nodes + 1);
  assert_true(fh_refcount(again) == 2);
  fh_release(again);
  fh_release(again);
}

/* ---- immortal ---- */

static struct node *eternal;

static void count_the_immortal(int index, void *argument) {
  for (size_t i = 0; i < scaled(100000); i++) {
    if ((i + (size_t)index) % 3) fh_release(eternal);
    else fh_retain(eternal);
  }
}

static void immortal_objects_ignore_counting(void) {
  enum { LIMIT_MS = 1000 };
  require(fh_init(&(fh_options){.flags = FH_OPTION_QUIET}) == FH_OK);
  require(fh_attach("main") == FH_OK);
  eternal = node_new(7);
  fh_give(eternal, left, node_new(8));
  fh_make_immortal(eternal);
  fh_make_immortal(eternal);
  require(fh_is_published(eternal) && fh_is_published(eternal->left));
  require(fh_refcount(eternal) == UINT64_MAX && fh_refcount(eternal->left) == 1);
  require(!fh_is_unique(eternal));
  require(fh_try_retain(eternal));
  fh_stats before = stats_now();
  run_threads(3, count_the_immortal, NULL);
  for (int i = 0; i < 100000; i++) fh_release(eternal);
  fh_settle();
  require(fh_refcount(eternal) == UINT64_MAX && node_is_whole(eternal) && node_is_whole(eternal->left));
  require(atomic_load(&node_deaths) == 0);
  fh_stats after = stats_now();
  require(after.objects_immortal == 1 && after.stranger_retains == before.stranger_retains);
  require(fh_check_heap() == FH_OK);
  fh_detach();
  uint64_t leaked = 0;
  require(fh_shutdown(LIMIT_MS, &leaked) == FH_OK);
  require(leaked == 1); /* what it keeps; an immortal object itself is no leak */
}

static void immortal_objects_live_and_keep_what_they_reach(void **state) { expect_fine(immortal_objects_ignore_counting); }

static void make_immortal_elsewhere(int index, void *argument) {
  fh_make_immortal(eternal);
  for (int i = 0; i < 1000; i++) fh_release(eternal);
}

/* By strangers, while the owner still counts: its last release must not destroy. */
static void strangers_make_immortal(void) {
  require(fh_init(&(fh_options){.flags = FH_OPTION_QUIET}) == FH_OK);
  require(fh_attach("main") == FH_OK);
  eternal = node_new(7);
  fh_publish(eternal);
  run_threads(3, make_immortal_elsewhere, NULL);
  for (int i = 0; i < 10; i++) fh_release(eternal);
  fh_settle();
  require(fh_refcount(eternal) == UINT64_MAX && node_is_whole(eternal) && atomic_load(&node_deaths) == 0);
  require(stats_now().objects_immortal == 1 && fh_check_heap() == FH_OK);
  fh_detach();
  require(fh_shutdown(1000, NULL) == FH_OK);
}

static void a_stranger_makes_an_object_immortal(void **state) { expect_fine(strangers_make_immortal); }

/* ---- unique, try ---- */

static void be_a_stranger_to(int index, void *argument) {
  struct node *n = argument;
  /* The owner has a reference, too, or at least may have; in the other designs it is known that there is just the one. */
  require(fh_is_unique(n) == (test_design() != FH_DESIGN_BIASED));
  require(fh_try_retain(n));
  fh_release(n);
}

static void unique_means_that_nobody_else_holds_it(void **state) {
  struct node *n = node_new(1);
  assert_true(fh_is_unique(n));
  fh_retain(n);
  assert_false(fh_is_unique(n));
  fh_release(n);
  fh_publish(n);
  assert_true(fh_is_unique(n)); /* it has fields, so nobody peeks at it */
  run_threads(1, be_a_stranger_to, n);
  fh_housekeep();
  assert_true(fh_refcount(n) == 1);
  fh_release(n);
}

static struct gate gate = GATE;

static void hold_for_a_while(void *argument) {
  struct node *n = fh_retain((struct node *)argument);
  require(!fh_is_unique(n)); /* the owner holds it, too */
  gate_open(&gate, 1);
  gate_await(&gate, 2);
  require(fh_is_unique(n)); /* the owner's last release merged it */
  fh_release(n);
}

static void what_a_stranger_holds_is_not_unique(void **state) {
  struct node *n = node_new(1);
  fh_publish(n);
  struct companion stranger;
  companion_start(&stranger, hold_for_a_while, n);
  gate_await(&gate, 1);
  assert_false(fh_is_unique(n));
  fh_release(n);
  gate_open(&gate, 2);
  companion_join(&stranger);
  assert_int_equal((int)atomic_load(&node_deaths), 1);
}

static void what_can_be_peeked_is_never_unique(void **state) {
  static const fh_type_spec record = {.name = "record", .size = 32, .flags = FH_IMMUTABLE};
  static const fh_type_spec grace = {.name = "grace", .size = 32, .flags = FH_GRACE};
  const fh_type_spec *specs[] = {&record, &grace};
  for (int i = 0; i < 2; i++) {
    void *object = new_of_spec(specs[i]);
    assert_int_equal(fh_is_unique(object), !born_published());
    fh_publish(object);
    assert_false(fh_is_unique(object));
    fh_release(object);
  }
}

static void retain_the_dead(int index, void *argument) { require(!fh_try_retain(argument)); }

static void a_dead_object_cannot_be_retained(void **state) {
  struct node *n = node_new(1);
  fh_publish(n);
  assert_true(fh_try_retain(n));
  assert_true(fh_refcount(n) == 2);
  fh_release(n);
  fh_release(n);
  retain_the_dead(0, n); /* its memory waits for this thread's next safepoint */
}

static void a_published_unique_object_passes_from_owner_to_stranger(void **state) {
  struct node *n = node_new(1);
  fh_publish(n);
  struct node *mine = fh_retain(n);
  fh_release(mine);
  assert_true(fh_try_retain(n));
  fh_release(n);
  assert_true(fh_is_unique(n));
  fh_release(n);
}

/* ---- later ---- */

static void give_up_later(int index, void *argument) {
  struct node **nodes = argument;
  require(!fh_is_attached());
  for (int i = index; i < 1000; i += 4) fh_release_later(nodes[i]);
}

static void give_up_later_attached(int index, void *argument) {
  FH_BLOCKING();
  give_up_later(index, argument);
}

static void references_are_given_up_from_anywhere(void **state) {
  struct node *nodes[1000];
  for (int way = 0; way < 3; way++) {
    atomic_store(&node_deaths, 0);
    for (uint64_t i = 0; i < 1000; i++) fh_publish(nodes[i] = node_new(i));
    if (way == 0) run_bare_threads(4, give_up_later, nodes);
    if (way == 1) run_threads(4, give_up_later_attached, nodes);
    if (way == 2)
      for (int i = 0; i < 1000; i++) fh_release_later(nodes[i]);
    if (way == 2) assert_int_equal((int)atomic_load(&node_deaths), 0); /* only a safepoint releases */
    fh_housekeep();
    fh_safepoint();
    assert_int_equal((int)atomic_load(&node_deaths), 1000);
  }
}

static void the_sleeper_itself_is_served_when_it_wakes(void **state) {
  struct node *n = node_new(1);
  fh_publish(n);
  fh_blocking_begin();
  fh_release_later(n);
  fh_blocking_end();
  fh_housekeep();
  assert_int_equal((int)atomic_load(&node_deaths), 1);
}

/* ---- overflow ---- */

static void overflow(void) {
  static struct heard heard = HEARD;
  enum { MORE_THAN_HALF_RANGE = (1 << 24) + 100000 };
  require(fh_init(&(fh_options){.flags = FH_OPTION_QUIET, .log = hear, .log_context = &heard}) == FH_OK);
  require(fh_attach("main") == FH_OK);
  eternal = node_new(1);
  for (int i = 0; i < MORE_THAN_HALF_RANGE; i++) fh_retain(eternal);
  require(fh_refcount(eternal) == UINT64_MAX);
  require(stats_now().overflows == 1);
  require(strstr(heard.text, "node") && strstr(heard.text, "overflow"));
  for (int i = 0; i < MORE_THAN_HALF_RANGE + 10; i++) fh_release(eternal);
  require(node_is_whole(eternal) && atomic_load(&node_deaths) == 0);
  fh_detach();
  require(fh_shutdown(0, NULL) == FH_OK);
}

static void a_count_that_overflows_becomes_immortal(void **state) { expect_fine(overflow); }

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(a_newborn_is_zeroed_private_and_owned_once),
      with_runtime(items_are_counted_and_zeroed),
      with_runtime(references_in_items_are_owned),
      with_runtime(what_cannot_be_had_is_null_and_changes_nothing),
      with_runtime(the_last_release_destroys_at_once),
      with_runtime(counts_spill_and_come_back),
      with_runtime(a_spilled_private_object_can_be_published),
      with_runtime(owner_and_strangers_count_one_object),
      with_runtime(the_last_of_four_releases_destroys_once),
      with_runtime(scoped_references_are_released_once),
      with_runtime(retain_evaluates_its_argument_once),
      cmocka_unit_test(immortal_objects_live_and_keep_what_they_reach),
      cmocka_unit_test(a_stranger_makes_an_object_immortal),
      with_runtime(unique_means_that_nobody_else_holds_it),
      with_runtime(what_a_stranger_holds_is_not_unique),
      with_runtime(what_can_be_peeked_is_never_unique),
      with_runtime(a_dead_object_cannot_be_retained),
      with_runtime(a_published_unique_object_passes_from_owner_to_stranger),
      with_runtime(references_are_given_up_from_anywhere),
      with_runtime(the_sleeper_itself_is_served_when_it_wakes),
      cmocka_unit_test(a_count_that_overflows_becomes_immortal),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
