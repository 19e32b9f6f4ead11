/* SPDX-License-Identifier: MIT */
/* A mutator: who a thread is, its quarantine, and the messages about broken contracts.
 *
 * Claims: a thread that is not attached is nobody, whom no inline path takes for an owner and whose every poll comes out of
 * line; in checked builds freed blocks stay poisoned for a while, in a bounded number; a message names the call, the object,
 * its type, its owner and the thread, whatever the object's words are. Real: the whole runtime. */
#include "support/support.h"

#include <string.h>

#include "mutator/mutator.h"

/* ---- who a thread is ---- */

static void an_unattached_thread_is_nobody(void **state) {
  assert_ptr_equal(fh__self(), &fh__nobody);
  assert_int_equal(fh__nobody.sync.id, FH__NOBODY);
  assert_true(*fh__tls.attention & FH__ATTEND_NEVER);
  for (uint32_t id = 0; id <= FH__MUTATORS_MAX; id++) require(fh__tls.stamp != fh__stamp_of(id));
  assert_false(fh__owns(&fh__nobody, FH__BIAS_IMMORTAL));
  assert_false(fh__owns(&fh__nobody, FH__BIAS_MARK)); /* merged */
}

static void an_attached_thread_is_its_mutator(void **state) {
  struct fh__mutator *me = fh__self();
  assert_ptr_equal(me, fh__mutator_by_id(me->sync.id));
  assert_ptr_equal(fh__tls.attention, &me->sync.attention);
  assert_int_equal(me->stamp, fh__stamp_of(test_design() == FH_DESIGN_GIL ? FH__GIL_OWNER : me->sync.id));
  assert_string_equal(fh__state_name_of(&me->sync).text, "main");
  struct node *n = node_new(1);
  assert_int_equal(fh__owns(me, n->fh.fh__bias), !born_published());
  fh_blocking_begin();
  assert_ptr_equal(fh__self(), &fh__nobody);
  assert_ptr_equal(fh__thread.mutator, me);
  fh_blocking_end();
  assert_ptr_equal(fh__self(), me);
  fh_release(n);
}

/* ---- quarantine ---- */

static void freed_blocks_stay_poisoned_for_a_while(void **state) {
  only_checked();
  struct fh__mutator *me = fh__self();
  unsigned char *block = fh__backend_alloc(48);
  memset(block, 0, 48);
  fh__mutator_free_block(me, block, 48);
  for (int i = 0; i < 48; i++) assert_int_equal(block[i], 0xdb);
  assert_non_null(me->quarantine);
  for (int i = 0; i < FH__QUARANTINE; i++) fh__mutator_free_block(me, fh__backend_alloc(16), 16);
  for (int i = 0; i < FH__QUARANTINE; i++) assert_ptr_not_equal(me->quarantine->block[i], block); /* its turn came */
  fh__quarantine_flush(me);
  for (int i = 0; i < FH__QUARANTINE; i++) assert_null(me->quarantine->block[i]);
}

static void release_builds_free_at_once(void **state) {
  if (is_checked()) skip();
  fh__mutator_free_block(fh__self(), fh__backend_alloc(48), 48);
  assert_null(fh__self()->quarantine);
  fh__quarantine_flush(fh__self());
}

/* ---- messages ---- */

static struct node *start_with_a_node(void) {
  runtime_start(NULL);
  return node_new(1);
}

static void say_without_an_object(void) {
  start_with_a_node();
  fh__misuse("fh_call", NULL, "something is wrong");
}
static void say_of_a_private_object(void) { fh__misuse("fh_call", start_with_a_node(), "it is wrong"); }
static void say_of_a_published_object(void) {
  struct node *n = start_with_a_node();
  fh_publish(n);
  fh_retain(n);
  fh__misuse("fh_call", n, "it is wrong");
}
static void say_of_a_merged_object(void) {
  struct node *n = start_with_a_node();
  n->fh.fh__bias = FH__BIAS_MARK;
  n->fh.fh__shared = FH__MERGED + 3 * FH__ONE;
  fh__misuse("fh_call", n, "it is wrong");
}
static void say_of_a_strange_owner(void) {
  struct node *n = start_with_a_node();
  n->fh.fh__bias = fh__stamp_of(999);
  fh__misuse("fh_call", n, "it is wrong");
}
static void say_of_no_object(void) {
  struct node *n = start_with_a_node();
  n->fh.fh__type = 4711;
  fh__misuse("fh_call", n, "it is wrong");
}
static void say_of_an_unnamed_owner(void) {
  require(fh_init(NULL) == FH_OK && fh_attach(NULL) == FH_OK);
  fh__misuse("fh_call", node_new(1), "it is wrong");
}
static void say_while_not_attached(void) {
  struct node *n = start_with_a_node();
  fh_blocking_begin();
  fh__misuse("fh_call", n, "it is wrong");
}

static void a_message_names_everything(void **state) {
  expect_trap(say_without_an_object, "freehold: fh_call: something is wrong", "thread: mutator 1 \"main\"", NULL);
  if (born_published()) {
    expect_trap(say_of_a_private_object, "fh_call: it is wrong", "type: node, published", "owner: mutator 0 \"nobody",
                "local 0, shared 1", "thread: mutator 1 \"main\"", NULL);
  } else {
    expect_trap(say_of_a_private_object, "fh_call: it is wrong", "type: node, private",
                "owner: mutator 1 \"main\"; local 1, shared 0", "thread: mutator 1 \"main\"", NULL);
    expect_trap(say_of_a_published_object, "published", "local 2", NULL);
  }
  expect_trap(say_of_a_merged_object, "nobody (merged or immortal)", "local 0, shared 3, state bits 0x1", NULL);
  expect_trap(say_of_a_strange_owner, "mutator 999 \"?\"", NULL);
  expect_trap(say_of_no_object, "not an object", NULL);
  if (!born_published()) expect_trap(say_of_an_unnamed_owner, "\"unnamed\"", NULL);
  expect_trap(say_while_not_attached, "thread: mutator 65535 \"(not attached)\"", NULL);
}

static void check_null(void) {
  start_with_a_node();
  fh__check_object("fh_call", NULL);
}
static void check_a_crooked_address(void) { fh__check_object("fh_call", (char *)start_with_a_node() + 8); }
static void check_a_freed_object(void) {
  struct node *n = start_with_a_node();
  memset(n, 0xdb, sizeof *n);
  fh__check_object("fh_call", n);
}
static void check_a_dead_object(void) {
  struct node *n = start_with_a_node();
  n->fh.fh__flags |= FH__FLAG_DEAD;
  fh__check_object("fh_call", n);
}
static void check_what_never_was_an_object(void) {
  static _Alignas(16) char bytes[64];
  start_with_a_node();
  fh__check_object("fh_call", bytes);
}

static void what_is_no_live_object_is_told_apart(void **state) {
  struct node *n = node_new(1);
  fh__check_object("fh_call", n);
  fh_release(n);
  expect_trap(check_null, "the object is NULL", NULL);
  expect_trap(check_a_crooked_address, "is not the address of an object", NULL);
  expect_trap(check_a_freed_object, "use of a freed object", "a freed object", NULL);
  expect_trap(check_a_dead_object, "use of a freed object", NULL);
  expect_trap(check_what_never_was_an_object, "this is not an object", NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_unattached_thread_is_nobody),
      with_runtime(an_attached_thread_is_its_mutator),
      with_runtime(freed_blocks_stay_poisoned_for_a_while),
      with_runtime(release_builds_free_at_once),
      cmocka_unit_test(a_message_names_everything),
      with_runtime(what_is_no_live_object_is_told_apart),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
