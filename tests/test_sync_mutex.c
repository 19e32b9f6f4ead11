/* SPDX-License-Identifier: MIT */
/* The two mutexes of the runtime: a word with a rank, a byte without.
 *
 * Claims: one holder at a time, under contention and where byte locks share a bucket of waiters; a lock is taken only above
 * every rank that is held, and released only by a thread that took one of its rank [lock.rank]; a byte that is not locked
 * cannot be unlocked; nobody who waits is forgotten. Real: everything, down to the futex. */
#include "support/support.h"

#include <sched.h>

#include "sync/mutex.h"

/* ---- words ---- */

static void a_held_mutex_is_not_taken_again(void **state) {
  struct fh__mutex mutex = FH__MUTEX(FH__RANK_ROOTS);
  assert_true(fh__mutex_try_lock(&mutex));
  assert_false(fh__mutex_try_lock(&mutex));
  fh__mutex_unlock(&mutex);
  fh__mutex_lock(&mutex);
  assert_false(fh__mutex_try_lock(&mutex));
  fh__mutex_unlock(&mutex);
  assert_int_equal(mutex.word, 0);
}

static void ranks_may_rise(void **state) {
  struct fh__mutex low = FH__MUTEX(FH__RANK_STOP), high = FH__MUTEX(FH__RANK_STATISTICS);
  fh__mutex_lock(&low);
  fh__mutex_lock(&high);
  fh__mutex_unlock(&low); /* in any order */
  fh__mutex_unlock(&high);
}

static void take_downwards(void) {
  struct fh__mutex low = FH__MUTEX(FH__RANK_STOP), high = FH__MUTEX(FH__RANK_TRACK);
  fh__mutex_lock(&high);
  fh__mutex_lock(&low);
}

static void take_the_same_rank(void) {
  struct fh__mutex a = FH__MUTEX(FH__RANK_TRACK), b = FH__MUTEX(FH__RANK_TRACK);
  fh__mutex_lock(&a);
  fh__mutex_try_lock(&b);
}

static void unlock_what_was_never_locked(void) {
  struct fh__mutex mutex = FH__MUTEX(FH__RANK_TRACK);
  fh__mutex_unlock(&mutex);
}

static void broken_ranks_trap(void **state) {
  only_checked();
  expect_trap(take_downwards, "[lock.rank]", NULL);
  expect_trap(take_the_same_rank, "[lock.rank]", NULL);
  expect_trap(unlock_what_was_never_locked, "[lock.rank]", NULL);
}

struct counter {
  struct fh__mutex mutex;
  uint64_t plain;
};

static void count_up(int index, void *argument) {
  struct counter *counter = argument;
  for (size_t i = scaled(200000); i; i--) {
    if (i % 8 || !fh__mutex_try_lock(&counter->mutex)) fh__mutex_lock(&counter->mutex);
    counter->plain++;
    if (i % 64 == 0) sched_yield(); /* so that somebody has to sleep */
    fh__mutex_unlock(&counter->mutex);
  }
}

static void a_contended_mutex_has_one_holder(void **state) {
  struct counter counter = {.mutex = FH__MUTEX(FH__RANK_ROOTS)};
  run_bare_threads(4, count_up, &counter);
  assert_true(counter.plain == 4 * scaled(200000));
  assert_int_equal(counter.mutex.word, 0);
}

/* ---- bytes ---- */

static void a_byte_is_locked_once(void **state) {
  uint8_t byte = 0;
  assert_true(fh__byte_try_lock(&byte));
  assert_false(fh__byte_try_lock(&byte));
  assert_true(fh__byte_unlock(&byte));
  assert_false(fh__byte_unlock(&byte));
  fh__byte_lock_wait(&byte); /* free: no wait */
  assert_true(byte != 0);
  assert_true(fh__byte_unlock(&byte));
  assert_int_equal(byte, 0);
}

/* Waiters sleep on one of 256 words, chosen by the byte's address: with so many bytes, strangers share one. */
enum { BYTES = 600, STRIDE = 16 };
static uint8_t bytes[BYTES * STRIDE];
static uint64_t plain[BYTES];

static void lock_all_over(int index, void *argument) {
  size_t spread = (size_t)(uintptr_t)argument;
  unsigned random = (unsigned)index + 1;
  for (size_t i = scaled(100000); i; i--) {
    random = random * 1664525 + 1013904223;
    size_t at = (random >> 8) % spread * (BYTES / spread);
    uint8_t *byte = &bytes[at * STRIDE];
    if (!fh__byte_try_lock(byte)) fh__byte_lock_wait(byte);
    plain[at]++;
    if (i % 32 == 0) sched_yield();
    require(fh__byte_unlock(byte));
  }
}

static void contended_bytes_have_one_holder_each(void **state) {
  static const size_t spreads[] = {1, 3, BYTES};
  /* With two threads, whoever is forgotten by one unlock is forgotten for ever: nobody else will wake it. */
  for (int threads = 2; threads <= 4; threads += 2)
    for (size_t s = 0; s < sizeof spreads / sizeof *spreads; s++) {
      uint64_t total = 0;
      for (size_t i = 0; i < BYTES; i++) plain[i] = 0;
      run_bare_threads(threads, lock_all_over, (void *)(uintptr_t)spreads[s]);
      for (size_t i = 0; i < BYTES; i++) {
        total += plain[i];
        assert_int_equal(bytes[i * STRIDE], 0);
      }
      assert_true(total == (size_t)threads * scaled(100000));
    }
}

/* Two bytes of one bucket: the unlock of either must not wake the other's waiter into a lock that it does not hold. */
static uint32_t bucket_like_the_runtimes(const uint8_t *byte) {
  return (uint32_t)(((uint64_t)(uintptr_t)byte >> 4) * 0x9e3779b97f4a7c15u >> 56);
}

struct pair {
  uint8_t *waited, *other;
  atomic_bool got;
};

static void wait_for_one(void *argument) {
  struct pair *pair = argument;
  fh__byte_lock_wait(pair->waited);
  atomic_store(&pair->got, true);
}

static void bytes_that_share_a_bucket_do_not_share_a_lock(void **state) {
  struct pair pair = {.waited = &bytes[0]};
  for (size_t i = 1; i < BYTES && !pair.other; i++)
    if (bucket_like_the_runtimes(&bytes[i * STRIDE]) == bucket_like_the_runtimes(&bytes[0])) pair.other = &bytes[i * STRIDE];
  assert_non_null(pair.other);
  assert_true(fh__byte_try_lock(pair.waited));
  struct companion companion;
  companion_start_bare(&companion, wait_for_one, &pair);
  while (FH__LOAD(pair.waited, SEQ_CST) != 3) sched_yield(); /* marked as waited for */
  for (int i = 0; i < 100; i++) {
    fh__byte_lock_wait(pair.other); /* held as "waited for": its unlock wakes the whole bucket */
    assert_true(fh__byte_unlock(pair.other));
    sched_yield();
    assert_false(atomic_load(&pair.got));
  }
  assert_true(fh__byte_unlock(pair.waited));
  companion_join(&companion);
  assert_true(atomic_load(&pair.got));
  assert_true(fh__byte_unlock(pair.waited));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_held_mutex_is_not_taken_again),
      cmocka_unit_test(ranks_may_rise),
      cmocka_unit_test(broken_ranks_trap),
      cmocka_unit_test(a_contended_mutex_has_one_holder),
      cmocka_unit_test(a_byte_is_locked_once),
      cmocka_unit_test(contended_bytes_have_one_holder_each),
      cmocka_unit_test(bytes_that_share_a_bucket_do_not_share_a_lock),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
