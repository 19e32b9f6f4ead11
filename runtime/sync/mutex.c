/* SPDX-License-Identifier: MIT */
#include "sync/mutex.h"

#include <limits.h>

#include "base/futex.h"
#include "base/trap.h"

/* ---- ranks ---- */

static __thread uint32_t held_ranks; /* a bit a rank; used in checked builds only */

static void note_lock(const struct fh__mutex *mutex) {
  if (!FH__CHECKED) return;
  FH__ASSERT(held_ranks >> mutex->rank == 0, "lock.rank");
  held_ranks |= 1u << mutex->rank;
}

static void note_unlock(const struct fh__mutex *mutex) {
  if (!FH__CHECKED) return;
  FH__ASSERT(held_ranks & 1u << mutex->rank, "lock.rank");
  held_ranks &= ~(1u << mutex->rank);
}

/* ---- one word ---- */

bool fh__mutex_try_lock(struct fh__mutex *mutex) {
  uint32_t expected = 0;
  if (!FH__CAS(&mutex->word, &expected, 1, ACQUIRE)) return false; /* partner: unlock */
  note_lock(mutex);
  return true;
}

void fh__mutex_lock(struct fh__mutex *mutex) {
  uint32_t expected = 0;
  if (!FH__CAS(&mutex->word, &expected, 1, ACQUIRE)) /* partner: unlock */
    while (FH__SWAP(&mutex->word, 2, ACQUIRE) != 0) fh__futex_wait(&mutex->word, 2, 0);
  note_lock(mutex);
}

void fh__mutex_unlock(struct fh__mutex *mutex) {
  note_unlock(mutex);
  if (FH__SWAP(&mutex->word, 0, RELEASE) == 2) fh__futex_wake(&mutex->word, 1); /* partner: lock */
}

/* ---- one byte ---- */

enum { BUCKETS = 256 };
static uint32_t buckets[BUCKETS];

static uint32_t *bucket_of(const uint8_t *byte) {
  return &buckets[((uint64_t)(uintptr_t)byte >> 4) * 0x9e3779b97f4a7c15u >> 56];
}

void fh__byte_lock_wait(uint8_t *byte) {
  uint32_t *bucket = bucket_of(byte);
  for (;;) {
    /* The sequence is read before the byte is looked at: an unlock after that look changes it, and the wait returns. */
    uint32_t sequence = FH__LOAD(bucket, SEQ_CST); /* with the swap below: load after load, partner fh__byte_unlock */
    if (FH__SWAP(byte, 3, SEQ_CST) == 0) return;   /* ours, and marked as waited for: at worst one wake too many */
    fh__futex_wait(bucket, sequence, 0);
  }
}

bool fh__byte_unlock(uint8_t *byte) {
  uint8_t old = FH__SWAP(byte, 0, SEQ_CST); /* store-load against the waiter's sequence */
  if (old == 3) {
    uint32_t *bucket = bucket_of(byte);
    FH__ADD(bucket, 1, SEQ_CST);
    fh__futex_wake(bucket, INT_MAX); /* a bucket is shared by many bytes */
  }
  return old != 0;
}
