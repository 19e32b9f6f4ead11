/* SPDX-License-Identifier: MIT */
/* Broken contracts about objects: each ends the program, and the message says the call, what is wrong, the object, its type,
 * its owner and the calling thread. What only checked builds notice is skipped in the others; what release builds notice for
 * free, because the path is out of line anyway, is tested in every build. Each misuse runs in a child of its own. */
#include "support/support.h"

static void begin(void) {
  require(fh_init(NULL) == FH_OK);
  require(fh_attach("culprit") == FH_OK);
}

static struct node *made_by_another;
static bool publish_it;
static struct gate gate = GATE;

static void make_one(void *argument) {
  made_by_another = node_new(1);
  if (publish_it) fh_publish(made_by_another);
  gate_open(&gate, 1);
  gate_await(&gate, 2); /* attached, so that the message can name it */
}

static struct companion owner;

static struct node *of_another(bool published) {
  publish_it = published;
  begin();
  companion_start(&owner, make_one, NULL);
  gate_await(&gate, 1);
  return made_by_another;
}

/* ---- a private object of another thread ---- */

static void retain_private(void) { fh_retain(of_another(false)); }
static void release_private(void) { fh_release(of_another(false)); }
static void publish_private(void) { fh_publish(of_another(false)); }
static void make_private_immortal(void) { fh_make_immortal(of_another(false)); }
static void set_field_of_private(void) { fh_clear(of_another(false), left); }
static void set_field_to_private(void) {
  struct node *theirs = of_another(false), *mine = node_new(2);
  fh_publish(mine);
  fh_set(mine, left, theirs);
}
static void give_field_private(void) {
  struct node *theirs = of_another(false), *mine = node_new(2);
  fh_publish(mine);
  fh_give(mine, left, theirs);
}
static void store_private(void) {
  static fh_slot slot;
  fh_slot_store(&slot, of_another(false));
}
static void swap_private(void) {
  static fh_slot slot;
  (void)!fh_slot_swap(&slot, of_another(false));
}
static void cas_private(void) {
  static fh_slot slot;
  fh_slot_cas(&slot, NULL, of_another(false));
}
static void try_private(void) { fh_try_retain(of_another(false)); }

#define OBJECT_TYPE_OWNER_THREAD "object: 0x", "type: node", "\"companion\"", "thread: mutator", "\"culprit\""

static void a_stranger_may_not_count_a_private_object(void **state) {
  only_biased();
  expect_trap(retain_private, "fh_retain: a private object of another thread", "private", OBJECT_TYPE_OWNER_THREAD, NULL);
  expect_trap(release_private, "fh_release: a private object of another thread", "private", OBJECT_TYPE_OWNER_THREAD, NULL);
  expect_trap(try_private, "fh_try_retain: a private object", OBJECT_TYPE_OWNER_THREAD, NULL);
}

static void a_stranger_may_not_publish_a_private_object(void **state) {
  only_biased();
  expect_trap(publish_private, "fh_publish: a private object of another thread", OBJECT_TYPE_OWNER_THREAD, NULL);
  expect_trap(make_private_immortal, "fh_make_immortal: a private object", OBJECT_TYPE_OWNER_THREAD, NULL);
  expect_trap(store_private, "a private object of another thread", OBJECT_TYPE_OWNER_THREAD, NULL);
  expect_trap(swap_private, "fh_slot_swap: a private object", OBJECT_TYPE_OWNER_THREAD, NULL);
  expect_trap(cas_private, "fh_slot_cas: a private object", OBJECT_TYPE_OWNER_THREAD, NULL);
  expect_trap(set_field_to_private, "a private object of another thread", OBJECT_TYPE_OWNER_THREAD, NULL);
  expect_trap(give_field_private, "fh_field_give: a private object", OBJECT_TYPE_OWNER_THREAD, NULL);
}

static void a_stranger_may_not_write_fields_of_a_private_object(void **state) {
  only_biased();
  only_checked();
  expect_trap(set_field_of_private, "fh_field_set: a field of a private object", OBJECT_TYPE_OWNER_THREAD, NULL);
}

static void release_private_later(void) {
  begin();
  fh_release_later(node_new(1));
}

static void a_private_object_may_not_be_released_later(void **state) {
  only_private();
  only_checked();
  expect_trap(release_private_later, "fh_release_later: the object is private", "type: node", "\"culprit\"", NULL);
}

/* ---- more releases than references, freed objects ---- */

static void release_twice(void) {
  begin();
  struct node *n = node_new(1);
  fh_release(n);
  fh_release(n);
}
static void retain_freed(void) {
  begin();
  struct node *n = node_new(1);
  fh_release(n);
  fh_retain(n);
}
static void release_freed_published(void) {
  begin();
  struct node *n = node_new(1);
  fh_publish(n);
  fh_release(n);
  fh_release(n);
}
static void retain_freed_published(void) {
  begin();
  struct node *n = node_new(1);
  fh_publish(n);
  fh_release(n);
  fh_retain(n);
}
static void set_field_of_freed(void) {
  begin();
  struct node *n = node_new(1);
  fh_release(n);
  fh_set(n, left, NULL);
}
static void take_field_of_freed(void) {
  begin();
  struct node *n = node_new(1);
  fh_release(n);
  (void)!fh_take(n, left);
}
static void publish_freed(void) {
  begin();
  struct node *n = node_new(1);
  fh_release(n);
  fh_publish(n);
}
static void lock_freed(void) {
  begin();
  struct node *n = node_new(1);
  fh_release(n);
  fh_lock(n);
}
static void ask_freed(void) {
  begin();
  struct node *n = node_new(1);
  fh_release(n);
  fh_is_unique(n);
}
static void store_freed(void) {
  static fh_slot slot;
  begin();
  struct node *n = node_new(1);
  fh_release(n);
  fh_slot_store(&slot, n);
}
static void release_collected(void) {
  begin();
  struct node *n = node_new(1);
  fh_set(n, left, n);
  fh_release(n);
  fh_collect(2);
  fh_release(n);
}

static void a_freed_object_may_not_be_used(void **state) {
  only_checked();
  static void (*const uses[])(void) = {release_twice,       retain_freed,  release_freed_published, retain_freed_published,
                                       set_field_of_freed,  publish_freed, lock_freed,              ask_freed,
                                       take_field_of_freed, store_freed,   release_collected};
  for (size_t i = 0; i < sizeof uses / sizeof *uses; i++)
    expect_trap(uses[i], "freed object", "object: 0x", "thread: mutator", "\"culprit\"", NULL);
  expect_trap(release_twice, "fh_release: use of a freed object", NULL);
  expect_trap(retain_freed, "fh_retain: use of a freed object", NULL);
  expect_trap(set_field_of_freed, "fh_field_set: use of a freed object", NULL);
}

static void release_below_zero(void) {
  struct node *theirs = of_another(true);
  fh_retain(theirs);
  for (int i = 0; i < 5; i++) fh_release(theirs); /* it owned one, and the owner has one */
  gate_open(&gate, 2);
  companion_join(&owner); /* by now it has merged */
}

static void own_deaf(void *argument) {
  made_by_another = node_new(1);
  fh_publish(made_by_another);
  gate_open(&gate, 1);
  gate_await_deaf(&gate, 2);
  fh_safepoint(); /* merges: one reference of its own, three too few elsewhere */
  gate_open(&gate, 3);
  gate_await(&gate, 4);
}

static void release_below_zero_of_a_running_owner(void) {
  begin();
  companion_start(&owner, own_deaf, NULL);
  gate_await(&gate, 1);
  for (int i = 0; i < 3; i++) fh_release(made_by_another);
  gate_open(&gate, 2);
  gate_await(&gate, 3);
}

static void more_releases_than_references_are_noticed(void **state) {
  only_checked();
  expect_trap(release_below_zero, "fh_release: ", "0x", "thread: mutator", NULL); /* the owner, if it merges just then */
  if (test_design() == FH_DESIGN_BIASED) /* elsewhere there is no merge that could be the first to notice */
    expect_trap(release_below_zero_of_a_running_owner, "more releases than references", "type: node", "0x", NULL);
}

static struct node *merged;
static void release_too_often(void *argument) {
  fh_retain(merged);
  gate_open(&gate, 1);
  gate_await(&gate, 2);
  for (int i = 0; i < 3; i++) fh_release(merged);
}

/* The owner's last release merged it, and a stranger holds the one reference that is left. */
static void release_merged_below_zero(void) {
  static struct companion stranger;
  begin();
  merged = node_new(1);
  fh_publish(merged);
  companion_start(&stranger, release_too_often, NULL);
  gate_await(&gate, 1);
  fh_release(merged);
  gate_open(&gate, 2);
  companion_join(&stranger);
}

static void a_merged_object_may_not_be_released_below_zero(void **state) {
  only_checked();
  expect_trap(release_merged_below_zero, "fh_release: ", "0x", "\"companion\"", NULL);
}

/* ---- what is no object ---- */

static void set_field_of_null(void) {
  begin();
  void *cell = NULL;
  fh_field_set(NULL, &cell, NULL);
}
static void lock_null(void) {
  begin();
  fh_lock(NULL);
}
static void publish_null(void) {
  begin();
  fh_publish(NULL);
}
static void retain_unaligned(void) {
  begin();
  struct node *n = node_new(1);
  fh_publish((char *)n + 4);
}
static void retain_what_is_no_object(void) {
  begin();
  _Alignas(16) static char garbage[64] = {0};
  fh_retain((fh_object *)(void *)garbage);
}
static void retain_of_unknown_type(void) {
  begin();
  _Alignas(16) static char garbage[64] = {0};
  for (size_t i = 0; i < sizeof garbage; i++) garbage[i] = 0x40;
  fh_release(garbage);
}

static void what_is_no_object_is_refused(void **state) {
  only_checked();
  expect_trap(set_field_of_null, "fh_field_set", "NULL", "\"culprit\"", NULL);
  expect_trap(lock_null, "fh_lock", "NULL", "\"culprit\"", NULL);
  expect_trap(publish_null, "fh_publish", "NULL", "\"culprit\"", NULL);
  expect_trap(retain_unaligned, "fh_publish", "is not the address of an object", NULL);
  expect_trap(retain_what_is_no_object, "fh_retain", "this is not an object", "\"culprit\"", NULL);
  expect_trap(retain_of_unknown_type, "fh_release", "this is not an object", "\"culprit\"", NULL);
}

static void make_without_type(void) {
  begin();
  (void)!fh_new(NULL);
}
static void make_of_removed_type(void) {
  begin();
  fh_type *type = node_type();
  require(fh_type_unregister(type) == FH_OK);
  static fh_type_spec other = {.name = "other", .size = 32};
  fh_type *unused;
  require(fh_type_register(&other, &unused) == FH_OK);
  (void)!fh_new((fh_type *)(void *)&other);
}
static void make_items_without_items(void) {
  begin();
  (void)!fh_new_items(node_type(), 3);
}

static void what_is_no_type_is_refused(void **state) {
  only_checked();
  expect_trap(make_without_type, "fh_new: this type is not registered", "\"culprit\"", NULL);
  expect_trap(make_of_removed_type, "fh_new: this type is not registered", "\"culprit\"", NULL);
  expect_trap(make_items_without_items, "fh_new_items: the type has no items", "\"culprit\"", NULL);
}

/* ---- without the lock ---- */

static const fh_ref guarded_refs[] = {FH_FIELD(struct node, left), FH_END};
static const fh_type_spec guarded_spec = {
    .name = "guarded", .size = sizeof(struct node), .refs = guarded_refs, .flags = FH_LOCKED};

static void write_without_lock(void) {
  begin();
  struct node *n = new_of_spec(&guarded_spec);
  fh_set(n, left, NULL); /* private: fine */
  fh_publish(n);
  fh_set(n, left, NULL);
}

static void fields_of_locked_types_need_the_lock(void **state) {
  only_private();
  only_checked();
  expect_trap(write_without_lock, "fh_field_set: a field of a published object is written without the object's lock",
              "type: guarded", "published", "owner: mutator", "\"culprit\"", NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_stranger_may_not_count_a_private_object),
      cmocka_unit_test(a_stranger_may_not_publish_a_private_object),
      cmocka_unit_test(a_stranger_may_not_write_fields_of_a_private_object),
      cmocka_unit_test(a_private_object_may_not_be_released_later),
      cmocka_unit_test(a_freed_object_may_not_be_used),
      cmocka_unit_test(more_releases_than_references_are_noticed),
      cmocka_unit_test(a_merged_object_may_not_be_released_below_zero),
      cmocka_unit_test(what_is_no_object_is_refused),
      cmocka_unit_test(what_is_no_type_is_refused),
      cmocka_unit_test(fields_of_locked_types_need_the_lock),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
