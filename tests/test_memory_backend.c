/* SPDX-License-Identifier: MIT */
/* The door to the allocator, whichever backend is behind it.
 *
 * Claims: blocks are aligned to 16 and as long as they say; zeroed ones are; a resize keeps the contents; a block's cost is
 * not more than it has, so poisoning it stays inside; any thread may free; a buffer's link lies inside; the host's malloc is
 * told apart from the backend's; without memory the answer is NULL. Real: everything. */
#include "support/exhaust.h"

#include <string.h>

#include "memory/backend.h"

static const size_t sizes[] = {1, 8, 15, 16, 17, 24, 32, 33, 48, 64, 100, 128, 1000, 4096, 5000, 70000, 1 << 20, 5 << 20};
enum { SIZES = sizeof sizes / sizeof *sizes };

static bool is_zero(const char *bytes, size_t from, size_t n) {
  for (size_t i = from; i < n; i++)
    if (bytes[i]) return false;
  return true;
}

static void blocks_are_aligned_and_as_long_as_they_say(void **state) {
  for (int i = 0; i < SIZES; i++) {
    char *block = fh__backend_alloc(sizes[i]);
    assert_non_null(block);
    if (sizes[i] >= 16) assert_int_equal((uintptr_t)block & 15, 0); /* whoever needs 16 asks for 16 at least */
    size_t usable = fh__backend_usable(block);
    assert_true(usable >= sizes[i]);
    memset(block, 0xa5, usable);
    fh__backend_free(block);
  }
  fh__backend_free(NULL);
}

static void a_block_has_at_least_what_it_costs(void **state) {
  for (size_t n = 16; n <= 4096; n += 16) {
    char *block = fh__backend_alloc(n);
    size_t cost = fh__backend_good_size(n);
    assert_true(cost >= n);
    assert_true(fh__backend_usable(block) >= cost);
    memset(block, 0xdb, cost); /* what a checked build does to the dead */
    fh__backend_free(block);
  }
}

static void zeroed_blocks_are_zero_where_memory_was_used_before(void **state) {
  for (int i = 0; i < SIZES; i++) {
    char *used = fh__backend_alloc(sizes[i]);
    memset(used, 0xff, sizes[i]);
    fh__backend_free(used);
    char *block = fh__backend_alloc_zeroed(sizes[i]);
    assert_true(is_zero(block, 0, sizes[i]));
    fh__backend_free(block);
  }
}

static void small_blocks_are_aligned(void **state) {
  for (size_t n = 16; n <= 64; n += 16) {
    char *block = fh__backend_alloc_small(n);
    assert_int_equal((uintptr_t)block & 15, 0);
    memset(block, 0xff, n);
    fh__backend_free(block);
  }
}

static void a_resize_keeps_the_contents(void **state) {
  char *block = fh__backend_alloc(sizes[0]);
  block[0] = 1;
  size_t known = 1;
  for (int i = 1; i < SIZES; i++) {
    block = fh__backend_realloc(block, sizes[i]);
    assert_non_null(block);
    for (size_t at = 0; at < known; at++) assert_int_equal(block[at], (char)(at + 1));
    for (known = 0; known < sizes[i] && known < 300; known++) block[known] = (char)(known + 1);
  }
  block = fh__backend_realloc(block, 16);
  for (size_t at = 0; at < 16; at++) assert_int_equal(block[at], (char)(at + 1));
  fh__backend_free(block);
}

static void the_link_lies_at_the_end_of_the_block(void **state) {
  for (int i = 0; i < SIZES; i++) {
    size_t n = (sizes[i] + FH__BUFFER_LINK + 15) & ~(size_t)15;
    char *block = fh__backend_alloc(n);
    char *link = (char *)fh__buffer_link(block);
    assert_int_equal((uintptr_t)link % sizeof(void *), 0);
    assert_true(link >= block + sizes[i]); /* behind what the application asked for */
    assert_true(link + sizeof(void *) <= block + fh__backend_usable(block));
    fh__backend_free(block);
  }
}

/* ---- threads ---- */

enum { BLOCKS = 500 };
static void free_all(void *argument) {
  void **blocks = argument;
  for (int i = 0; i < BLOCKS; i++) fh__backend_free(blocks[i]);
}

static void any_thread_may_free(void **state) {
  void *blocks[BLOCKS];
  for (int round = 0; round < 10; round++) {
    for (int i = 0; i < BLOCKS; i++) memset(blocks[i] = fh__backend_alloc(40), i, 40);
    struct companion companion;
    companion_start_bare(&companion, free_all, blocks);
    companion_join(&companion);
  }
  fh__backend_tidy();
}

static void a_sleepers_heap_can_be_tidied_by_another(void **state) {
  void *blocks[BLOCKS];
  for (int i = 0; i < BLOCKS; i++) blocks[i] = fh__backend_alloc(4000);
  struct companion companion;
  companion_start_bare(&companion, free_all, blocks);
  companion_join(&companion);
  fh__heap *heap = fh__backend_heap();
  if (heap) fh__backend_heap_tidy(heap);
}

/* ---- the host ---- */

static void the_hosts_malloc_is_told_apart(void **state) {
  bool is_malloc = strcmp(fh__backend_name(), "malloc") == 0;
  assert_true(is_malloc || strcmp(fh__backend_name(), "mimalloc") == 0);
  assert_int_equal(fh__backend_is_hosts(), is_malloc); /* this program's malloc is the system's */
}

static void ask_for_too_much(void) {
  static struct exhausted exhausted;
  exhaust_memory(&exhausted);
  require(!fh__backend_alloc(1 << 20) && !fh__backend_alloc_zeroed(1 << 20) && !fh__backend_alloc(16));
  require(!fh__backend_alloc_small(32));
  refill_memory(&exhausted);
  void *block = fh__backend_alloc(1 << 20);
  require(block);
  fh__backend_free(block);
}

static void without_memory_the_answer_is_null(void **state) {
  if (!can_exhaust_memory()) skip();
  expect_fine(ask_for_too_much);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(blocks_are_aligned_and_as_long_as_they_say),
      cmocka_unit_test(a_block_has_at_least_what_it_costs),
      cmocka_unit_test(zeroed_blocks_are_zero_where_memory_was_used_before),
      cmocka_unit_test(small_blocks_are_aligned),
      cmocka_unit_test(a_resize_keeps_the_contents),
      cmocka_unit_test(the_link_lies_at_the_end_of_the_block),
      cmocka_unit_test(any_thread_may_free),
      cmocka_unit_test(a_sleepers_heap_can_be_tidied_by_another),
      cmocka_unit_test(the_hosts_malloc_is_told_apart),
      cmocka_unit_test(without_memory_the_answer_is_null),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
