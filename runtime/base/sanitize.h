/* SPDX-License-Identifier: MIT */
/* What the sanitizers must be told about memory that passes through an allocator and queues they cannot see into. In
 * other builds these are nothing. */
#ifndef FH_BASE_SANITIZE_H
#define FH_BASE_SANITIZE_H

#include <stddef.h>

#if defined(__SANITIZE_THREAD__)
#define FH__TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FH__TSAN 1
#endif
#endif

/* Reads what others may be writing, and means to. */
#if defined(FH__TSAN)
#define FH__UNWATCHED __attribute__((no_sanitize("thread"), noinline))
#else
#define FH__UNWATCHED
#endif

#if defined(FH__TSAN)
void __tsan_acquire(void *address);
void __tsan_release(void *address);
void __tsan_write_range(void *address, unsigned long size);
#define FH__TSAN_ACQUIRE(p) __tsan_acquire(p)
#define FH__TSAN_RELEASE(p) __tsan_release(p)
/* The block ends here: whoever touched it before and is not ordered with us raced. */
#define FH__TSAN_FREE(p, n) (__tsan_write_range((p), (n)), __tsan_release(p))
#else
#define FH__TSAN_ACQUIRE(p) ((void)(p))
#define FH__TSAN_RELEASE(p) ((void)(p))
#define FH__TSAN_FREE(p, n) ((void)(p), (void)(n))
#endif

#endif
