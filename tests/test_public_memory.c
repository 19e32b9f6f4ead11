/* SPDX-License-Identifier: MIT */
/* Buffers, through the public interface: fh_alloc, fh_alloc_zeroed, fh_realloc, fh_free, fh_retire.
 *
 * Claims: blocks are aligned to 16, of any size from 0; realloc keeps what fits; NULL leaves everything as it was; a block may be
 * freed by any thread in any state, and the account comes back to where it was [account.sum]; what was retired stays as it is
 * until every reader has passed a safepoint. */
#include <string.h>

#include "support/support.h"

static void blocks_have_any_size_and_are_aligned(void **state) {
  const size_t sizes[] = {0, 1, 7, 8, 15, 16, 17, 100, 1000, 4096, 65536, 1 << 20, 40 << 20};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    char *block = fh_alloc(sizes[i]);
    assert_non_null(block);
    assert_int_equal((uintptr_t)block % 16, 0);
    memset(block, 0x55, sizes[i]);
    fh_free(block);
    char *zeroed = fh_alloc_zeroed(sizes[i]); /* perhaps where the other was */
    assert_non_null(zeroed);
    for (size_t at = 0; at < sizes[i]; at++) require(!zeroed[at]);
    fh_free(zeroed);
  }
  fh_free(NULL);
  fh_retire(NULL);
}

static void fill(unsigned char *block, size_t from, size_t to) {
  for (size_t i = from; i < to; i++) block[i] = (unsigned char)(i * 31 + 7);
}
static void check(const unsigned char *block, size_t to) {
  for (size_t i = 0; i < to; i++) require(block[i] == (unsigned char)(i * 31 + 7));
}

static void realloc_keeps_what_fits(void **state) {
  unsigned char *block = fh_realloc(NULL, 10);
  assert_non_null(block);
  fill(block, 0, 10);
  for (size_t n = 10; n < 3000000; n = n * 3 / 2) {
    unsigned char *grown = fh_realloc(block, n * 3 / 2);
    assert_non_null(grown);
    assert_int_equal((uintptr_t)grown % 16, 0);
    check(grown, n);
    fill(grown, n, n * 3 / 2);
    block = grown;
  }
  for (size_t n = 2000000; n; n = n * 2 / 3) {
    block = fh_realloc(block, n);
    assert_non_null(block);
    check(block, n);
  }
  block = fh_realloc(block, 0);
  assert_non_null(block);
  fh_free(block);
  assert_int_equal((int)stats_now().buffer_bytes, 0);
}

static void what_cannot_be_had_is_null_and_changes_nothing(void **state) {
  unsigned char *block = fh_alloc(100);
  assert_non_null(block);
  fill(block, 0, 100);
  fh_stats before = stats_now();
  const size_t huge[] = {SIZE_MAX, SIZE_MAX - 15, (size_t)1 << 63, ((size_t)1 << 47) + 1};
  for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
    assert_null(fh_alloc(huge[i]));
    assert_null(fh_alloc_zeroed(huge[i]));
    assert_null(fh_realloc(NULL, huge[i]));
    assert_null(fh_realloc(block, huge[i]));
  }
  check(block, 100);
  fh_stats after = stats_now();
  assert_true(after.live_bytes == before.live_bytes && after.buffer_bytes == before.buffer_bytes);
  fh_free(block);
}

static void the_account_follows_every_block(void **state) {
  enum { BLOCKS = 200 };
  void *blocks[BLOCKS];
  fh_stats before = stats_now();
  size_t asked = 0;
  for (size_t i = 0; i < BLOCKS; i++) {
    blocks[i] = fh_alloc(i * i);
    asked += i * i;
  }
  fh_stats now = stats_now();
  assert_true(now.buffer_bytes - before.buffer_bytes >= asked);
  assert_true(now.live_bytes - before.live_bytes == now.buffer_bytes - before.buffer_bytes);
  for (size_t i = 0; i < BLOCKS; i++) blocks[i] = fh_realloc(blocks[i], 1000);
  now = stats_now();
  assert_true(now.buffer_bytes - before.buffer_bytes >= BLOCKS * 1000);
  assert_true(now.buffer_bytes - before.buffer_bytes < BLOCKS * 1400);
  for (size_t i = 0; i < BLOCKS; i++) fh_free(blocks[i]);
  assert_true(stats_now().buffer_bytes == before.buffer_bytes && stats_now().live_bytes == before.live_bytes);
}

/* ---- freed by others ---- */

enum { EACH = 500 };
static void *handed[4 * EACH];

static void make_blocks(void) {
  for (size_t i = 0; i < 4 * EACH; i++) {
    handed[i] = fh_alloc(i % 700);
    require(handed[i]);
    memset(handed[i], 1, i % 700);
  }
}

static void free_some(int index, void *argument) {
  for (int i = index; i < 4 * EACH; i += 4) fh_free(handed[i]);
}

static void free_some_blocking(int index, void *argument) {
  FH_BLOCKING();
  free_some(index, argument);
}

static void retire_some(int index, void *argument) {
  for (int i = index; i < 4 * EACH; i += 4) fh_retire(handed[i]);
}

static void blocks_are_freed_by_any_thread(void **state) {
  uint64_t before = stats_now().buffer_bytes;
  for (int round = 0; round < 20; round++) {
    make_blocks();
    run_bare_threads(4, free_some, NULL); /* never attached */
    make_blocks();
    run_threads(4, free_some, NULL);
    make_blocks();
    run_threads(4, free_some_blocking, NULL);
    make_blocks();
    run_threads(4, retire_some, NULL);
    make_blocks();
    free_some_blocking(0, NULL);
    for (int i = 1; i < 4; i++) free_some(i, NULL);
  }
  fh_settle();
  assert_true(stats_now().buffer_bytes == before && stats_now().limbo_bytes == 0);
}

static void threads_allocate_and_free_at_once(int index, void *argument) {
  void *blocks[64] = {NULL};
  uint64_t seed = 7777 + (uint64_t)index;
  for (size_t i = 0; i < scaled(200000); i++) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    size_t at = seed >> 58, n = (seed >> 40) % 3000;
    if (blocks[at] && seed & 1) {
      blocks[at] = fh_realloc(blocks[at], n);
      require(blocks[at]);
    } else if (blocks[at]) {
      fh_free(blocks[at]);
      blocks[at] = NULL;
    } else {
      blocks[at] = fh_alloc(n);
      require(blocks[at]);
    }
  }
  for (int i = 0; i < 64; i++) fh_free(blocks[i]);
}

static void threads_share_the_account(void **state) {
  uint64_t before = stats_now().live_bytes;
  run_threads(4, threads_allocate_and_free_at_once, NULL);
  assert_true(stats_now().live_bytes == before);
}

/* ---- retired ---- */

static struct gate gate = GATE;

static void look_deaf(void *argument) {
  unsigned char *block = argument;
  gate_open(&gate, 1);
  gate_await_deaf(&gate, 2);
  check(block, 1000); /* no safepoint since it found the block */
}

static void what_is_retired_stays_while_a_reader_may_look(void **state) {
  only_parallel();
  atomic_store(&gate.value, 0);
  unsigned char *block = fh_alloc(1000);
  assert_non_null(block);
  fill(block, 0, 1000);
  struct companion reader;
  companion_start(&reader, look_deaf, block);
  gate_await(&gate, 1);
  fh_retire(block);
  assert_true(stats_now().limbo_bytes >= 1000);
  for (int i = 0; i < 100; i++) {
    fh_housekeep();
    void *other = fh_alloc(1000); /* would get the memory, if it were free */
    memset(other, 0, 1000);
    fh_retire(other);
  }
  assert_true(stats_now().limbo_bytes >= 1000);
  gate_open(&gate, 2);
  companion_join(&reader);
  fh_settle();
  assert_int_equal((int)stats_now().limbo_bytes, 0);
}

struct cell {
  uint64_t number;
  uint64_t check;
};
static _Atomic(struct cell *) current;
static atomic_bool enough;

static void replace_or_look(int index, void *argument) {
  if (index == 0) {
    for (uint64_t i = 0; i < scaled(100000); i++) {
      struct cell *fresh = fh_alloc(sizeof *fresh);
      require(fresh);
      *fresh = (struct cell){i, ~i};
      struct cell *old = atomic_exchange(&current, fresh);
      if (old) fh_retire(old);
      if (i % 8 == 0) fh_safepoint();
    }
    atomic_store(&enough, true);
    return;
  }
  while (!atomic_load(&enough)) {
    for (int i = 0; i < 8; i++) {
      struct cell *seen = atomic_load(&current);
      if (seen) require(seen->check == ~seen->number);
    }
    if (index == 1)
      fh_safepoint();
    else {
      fh_blocking_begin();
      fh_blocking_end();
    }
  }
}

static void readers_look_while_a_writer_retires(void **state) {
  atomic_store(&enough, false);
  run_threads(3, replace_or_look, NULL);
  fh_retire(atomic_exchange(&current, NULL));
  fh_settle();
  assert_int_equal((int)stats_now().limbo_bytes, 0);
  assert_int_equal((int)stats_now().buffer_bytes, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(blocks_have_any_size_and_are_aligned),
      with_runtime(realloc_keeps_what_fits),
      with_runtime(what_cannot_be_had_is_null_and_changes_nothing),
      with_runtime(the_account_follows_every_block),
      with_runtime(blocks_are_freed_by_any_thread),
      with_runtime(threads_share_the_account),
      with_runtime(what_is_retired_stays_while_a_reader_may_look),
      with_runtime(readers_look_while_a_writer_retires),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
