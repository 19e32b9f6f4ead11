/* SPDX-License-Identifier: MIT */
/* Headers, lists of the dead, and limbo.
 *
 * Claims: the words of a header come apart and together again, counts are signed, death is tested under a mask [ref.dead];
 * a list of the dead needs no memory and leaves owner, shared word and type as they are, at any address; limbo has two
 * batches, and its bytes are the sum of both. Real: everything; objects are headers at addresses of the test's choosing. */
#include "support/support.h"

#include <sys/mman.h>

#include "object/limbo.h"

/* ---- words ---- */

static void words_come_apart_and_together(void **state) {
  for (uint32_t local = 1; local <= FH__BIAS_LOCAL_MAX; local += 0x1111) {
    uint32_t bias = fh__bias_with(fh__stamp_of(65534), local);
    assert_int_equal(fh__owner_of(bias), 65534);
    assert_int_equal(fh__local_of(bias), local);
    assert_true(bias & FH__BIAS_MARK);
  }
  assert_int_equal(fh__local_of(FH__BIAS_MARK), 0); /* nobody's */
  fh_object object = {0};
  struct fh__birth birth = fh__header_birth(7, FH__PRIVATE);
  fh__header_write(&object, &birth, 0, fh__stamp_of(3));
  assert_int_equal(object.fh__type, 7);
  assert_int_equal(object.fh__flags, 0);
  assert_int_equal(object.fh__lock, 0);
  assert_int_equal(object.fh__slot, 0);
  assert_int_equal(object.fh__shared, FH__PRIVATE);
  assert_false(fh__is_published(&object));
  assert_int_equal(fh__owner_of(object.fh__bias), 3);
  assert_int_equal(fh__local_of(object.fh__bias), 1);
  birth = fh__header_birth(65535, 0);
  fh__header_write(&object, &birth, UINT32_MAX, fh__stamp_of(65534));
  assert_int_equal(object.fh__type, 65535);
  assert_int_equal(object.fh__slot, UINT32_MAX);
  assert_true(fh__is_published(&object));
}

static void shared_counts_are_signed(void **state) {
  uint32_t shared = FH__MERGED | FH__WEAK;
  for (int i = 0; i < 3; i++) shared -= FH__ONE;
  assert_int_equal(fh__count_of(shared), -3); /* the borrow left by the top */
  assert_int_equal(shared & FH__STATE_BITS, FH__MERGED | FH__WEAK);
  for (int i = 0; i < 5; i++) shared += FH__ONE;
  assert_int_equal(fh__count_of(shared), 2);
}

static void death_is_tested_under_a_mask(void **state) {
  assert_true(fh__is_dead_count(FH__MERGED));
  assert_true(fh__is_dead_count(FH__MERGED | FH__WEAK | FH__SETTLED | FH__HOT));
  assert_false(fh__is_dead_count(0));
  assert_false(fh__is_dead_count(FH__MERGED | FH__QUEUED));
  assert_false(fh__is_dead_count(FH__MERGED | FH__IMMORTAL));
  assert_false(fh__is_dead_count(FH__MERGED | FH__ONE));
  assert_false(fh__is_dead_count(FH__MERGED - FH__ONE));
}

static void the_true_count_is_the_sum(void **state) {
  fh_object object = {.fh__bias = fh__bias_with(fh__stamp_of(1), 5), .fh__shared = 0u - 2 * FH__ONE};
  assert_int_equal(fh__true_count(&object), 3); /* [ref.sum] */
  assert_false(fh__is_immortal(&object));
  object.fh__shared |= FH__IMMORTAL;
  assert_true(fh__is_immortal(&object));
  object = (fh_object){.fh__bias = FH__BIAS_IMMORTAL};
  assert_true(fh__is_immortal(&object));
}

/* ---- lists ---- */

static void a_list_gives_back_what_it_took(void **state) {
  fh_object object[3] = {{.fh__type = 1}, {.fh__type = 2}, {.fh__type = 3}};
  struct fh__dead_list list = {NULL};
  assert_null(fh__dead_pop(&list));
  for (int i = 0; i < 3; i++) {
    object[i].fh__shared = FH__MERGED;
    object[i].fh__bias = FH__BIAS_MARK;
    fh__dead_push(&list, &object[i]);
  }
  for (int i = 0; i < 3; i++) {
    assert_int_equal(object[i].fh__shared, FH__MERGED); /* for late readers, who try to retain it */
    assert_int_equal(object[i].fh__type, i + 1);
    assert_int_equal(fh__owner_of(object[i].fh__bias), 0);
  }
  for (int i = 3; i--;) {
    assert_ptr_equal(fh__dead_next(&object[i]), i ? &object[i - 1] : NULL);
    assert_ptr_equal(fh__dead_pop(&list), &object[i]);
    assert_int_equal(object[i].fh__slot, 0);
  }
  assert_null(fh__dead_pop(&list));
}

/* A sanitizer has its own plans for most of the addresses. */
static bool may_choose_addresses(void) { return memory_is_measurable(); }

/* A link has 48 bits for an address that is a multiple of 16; user space ends at 2^47, so its last pages are the test. */
static void links_reach_the_highest_addresses(void **state) {
  if (!may_choose_addresses()) skip();
  static const uintptr_t wanted[] = {0x7ffffffde000, 0x7fff00000000, 0x7000deadb000, 0x100000000, 0x10000};
  struct fh__dead_list list = {NULL};
  fh_object *object[sizeof wanted / sizeof *wanted];
  size_t count = 0;
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    void *page = mmap((void *)wanted[i], 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (page == MAP_FAILED || !page) continue; /* somebody lives there */
    object[count++] = (fh_object *)(void *)((char *)page + 4096 - sizeof(fh_object));
  }
  assert_true(count >= 1);
  for (size_t i = 0; i < count; i++) fh__dead_push(&list, object[i]);
  while (count--) {
    assert_ptr_equal(fh__dead_pop(&list), object[count]);
    munmap((void *)((uintptr_t)object[count] & ~(uintptr_t)4095), 4096);
  }
  assert_null(list.first);
}

/* ---- limbo ---- */

static void limbo_has_an_open_and_a_sealed_batch(void **state) {
  struct fh__limbo_local limbo = {0};
  fh_object object[2] = {{.fh__shared = FH__MERGED}, {.fh__shared = FH__MERGED}};
  void *buffer = fh__backend_alloc(64);
  assert_true(fh__limbo_is_empty(&limbo));
  fh__limbo_add_object(&limbo, &object[0], 32, 0); /* it lives on until it is ripe: not yet dead */
  fh__limbo_add_buffer(&limbo, buffer, 64);
  assert_false(fh__limbo_is_empty(&limbo));
  assert_int_equal(limbo.bytes, 96);
  assert_int_equal(limbo.dead, 64);
  fh__limbo_seal(&limbo, 17);
  assert_int_equal(limbo.sealed.stamp, 17);
  assert_int_equal(limbo.sealed.bytes, 96);
  assert_true(fh__limbo_batch_is_empty(&limbo.open));
  assert_int_equal(limbo.open.bytes, 0);
  fh__limbo_add_object(&limbo, &object[1], 16, 16);
  assert_int_equal(limbo.bytes, 112);
  assert_int_equal(limbo.dead, 80);
  struct fh__limbo_batch batch = fh__limbo_take_sealed(&limbo);
  assert_ptr_equal(batch.objects.first, &object[0]);
  assert_ptr_equal(batch.buffers, buffer);
  assert_null(*fh__buffer_link(buffer));
  assert_int_equal(limbo.sealed.stamp, 0);
  assert_int_equal(limbo.bytes, 16);
  assert_int_equal(batch.dead, 64);
  assert_int_equal(limbo.dead, 16);
  assert_false(fh__limbo_is_empty(&limbo)); /* the open one is left */
  assert_ptr_equal(fh__dead_pop(&limbo.open.objects), &object[1]);
  assert_true(fh__limbo_is_empty(&limbo));
  fh__backend_free(buffer);
}

static void retired_buffers_are_linked_through_themselves(void **state) {
  struct fh__limbo_local limbo = {0};
  void *buffer[3];
  for (int i = 0; i < 3; i++) fh__limbo_add_buffer(&limbo, buffer[i] = fh__backend_alloc(32), 32);
  void *next = limbo.open.buffers;
  for (int i = 3; i--;) {
    assert_ptr_equal(next, buffer[i]);
    next = *fh__buffer_link(buffer[i]);
    fh__backend_free(buffer[i]);
  }
  assert_null(next);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(words_come_apart_and_together),
      cmocka_unit_test(shared_counts_are_signed),
      cmocka_unit_test(death_is_tested_under_a_mask),
      cmocka_unit_test(the_true_count_is_the_sum),
      cmocka_unit_test(a_list_gives_back_what_it_took),
      cmocka_unit_test(links_reach_the_highest_addresses),
      cmocka_unit_test(limbo_has_an_open_and_a_sealed_batch),
      cmocka_unit_test(retired_buffers_are_linked_through_themselves),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
