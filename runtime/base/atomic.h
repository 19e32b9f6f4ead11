/* SPDX-License-Identifier: MIT */
/* Atomic accesses. The words live in structs that C++ and the inline paths share, so they are plain integers touched by
 * the builtins; every call names its order, and a comment at the call names its partner (docs/memory-order.md). */
#ifndef FH_BASE_ATOMIC_H
#define FH_BASE_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/torture.h"

#define FH__LOAD(p, order) (FH__WINDOW_BEFORE_##order, __atomic_load_n((p), __ATOMIC_##order))
#define FH__STORE_(p, v, order) (FH__WINDOW_BEFORE_##order, __atomic_store_n((p), (v), __ATOMIC_##order))
#define FH__SWAP(p, v, order) (FH__WINDOW(), __atomic_exchange_n((p), (v), __ATOMIC_##order))
#define FH__ADD(p, v, order) (FH__WINDOW(), __atomic_fetch_add((p), (v), __ATOMIC_##order))
#define FH__SUB(p, v, order) (FH__WINDOW(), __atomic_fetch_sub((p), (v), __ATOMIC_##order))
#define FH__OR(p, v, order) (FH__WINDOW(), __atomic_fetch_or((p), (v), __ATOMIC_##order))
#define FH__AND(p, v, order) (FH__WINDOW(), __atomic_fetch_and((p), (v), __ATOMIC_##order))
/* Strong compare-and-swap; a failed one loads relaxed into *expected, which is enough for a retry. */
#define FH__CAS(p, expected, v, order) \
  (FH__WINDOW(), __atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_##order, __ATOMIC_RELAXED))

/* Race windows open before what orders others (base/torture.h); relaxed loads and stores have none of their own. */
#define FH__WINDOW_BEFORE_RELAXED ((void)0)
#define FH__WINDOW_BEFORE_ACQUIRE FH__WINDOW()
#define FH__WINDOW_BEFORE_RELEASE FH__WINDOW()
#define FH__WINDOW_BEFORE_SEQ_CST FH__WINDOW()

#define FH__LIKELY(x) __builtin_expect(!!(x), 1)
#define FH__UNLIKELY(x) __builtin_expect(!!(x), 0)
#define FH__COLD __attribute__((cold, noinline))
#define FH__INLINE static inline __attribute__((always_inline))

/* A counter that one thread writes and others may read: no read-modify-write instruction is needed. */
#define FH__BUMP(p, v) FH__STORE_((p), FH__LOAD((p), RELAXED) + (v), RELAXED)

static inline void fh__cpu_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

#endif
