/* SPDX-License-Identifier: MIT */
/* Blocks of small objects that died while they were private, kept by their mutator for its next newborns of that size: making one object
 * where another one died asks nothing of the allocator.
 *
 *   [pool.right]  a pool is used by whoever has the right to its mutator [state.right]
 *   [pool.most]   a running mutator keeps FH__POOL_MOST blocks at most; one that goes off line FH__POOL_ASLEEP, and one without a
 *                 thread none
 *
 * What is in a pool is nobody's: it is in no account and in no census. Builds that want to see each block's end have no pools: checked
 * ones, which poison it, and those on the system's malloc, but for ThreadSanitizer, which is to watch the pools. */
#ifndef FH_MEMORY_POOL_H
#define FH_MEMORY_POOL_H

#include "base/config.h"
#include "memory/backend.h"

enum {
  FH__SMALL_BYTES = 64, /* objects up to this size are zeroed in line, and pooled */
  FH__SMALL_STEP = 16,
#if defined(FH_ALLOCATOR_MALLOC) && !defined(FH__TSAN)
  FH__POOLS = 0
#else
  FH__POOLS = !FH__CHECKED
#endif
};

/* In a dead block. The list itself says only what comes next, and that is too late to be fetched from memory. */
struct fh__pooled {
  void *next;
  void *soon; /* one that is taken some turns later, as far as it is known: only prefetched */
};
enum {
  FH__POOL_AHEAD = 8, /* turns */
  FH__POOL_ROW = 256, /* blocks in a row at most: one that does not fit is freed as a whole */
};

struct fh__pool {
  void *first[FH__SMALL_BYTES / FH__SMALL_STEP + 1]; /* by size, in steps; linked through the blocks */
  uint32_t count;                                    /* of all sizes together */
};

void fh__pool_refuse_row(void *first, uint32_t count);
/* Frees blocks until `most` are left. */
void fh__pool_trim(struct fh__pool *pool, uint32_t most);

/* Where the list of a size is, in bytes: types know it. Size 0, which stands for what is not small, has one that stays empty. */
FH__INLINE uint32_t fh__pool_at(size_t size) { return (uint32_t)(size / FH__SMALL_STEP * sizeof(void *)); }
FH__INLINE void **fh__pool_list(struct fh__pool *pool, uint32_t at) { return (void **)(void *)((char *)pool->first + at); }

/* The block that the next newborn gets; NULL: there is none. */
FH__INLINE void *fh__pool_first(struct fh__pool *pool, uint32_t at) { return FH__POOLS ? *fh__pool_list(pool, at) : NULL; }
/* Takes it out. Its contents are what they happen to be. */
FH__INLINE void fh__pool_take(struct fh__pool *pool, const void *block, uint32_t at) {
  const struct fh__pooled *pooled = block;
  __builtin_prefetch(pooled->soon, 1);
  *fh__pool_list(pool, at) = pooled->next;
  pool->count--;
}

FH__INLINE bool fh__pool_has_room(const struct fh__pool *pool) { return FH__POOLS && pool->count < FH__POOL_MOST; }
/* A small one, if there is room. */
FH__INLINE void fh__pool_put(struct fh__pool *pool, void *block, uint32_t at) {
  void **first = fh__pool_list(pool, at);
  *(struct fh__pooled *)block = (struct fh__pooled){*first, *first};
  *first = block;
  pool->count++;
}

/* `count` of them, linked to each other and to what fh__pool_first gave before, from `top` on. */
FH__INLINE void fh__pool_stack(struct fh__pool *pool, void *top, uint32_t count, uint32_t at) {
  if (!FH__POOLS || FH__UNLIKELY(!at) || FH__UNLIKELY(pool->count + count > FH__POOL_MOST)) {
    fh__pool_refuse_row(top, count);
    return;
  }
  *fh__pool_list(pool, at) = top;
  pool->count += count;
}

/* The same, linked from `first` to `last`. */
FH__INLINE void fh__pool_put_row(struct fh__pool *pool, void *first, void *last, uint32_t count, uint32_t at) {
  ((struct fh__pooled *)last)->next = fh__pool_first(pool, at);
  fh__pool_stack(pool, first, count, at);
}

#endif
