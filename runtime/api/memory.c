/* SPDX-License-Identifier: MIT */
/* Buffers. Each has room for a link at its end, so that retiring one, or freeing it in a blocking region, needs no memory. */
#include <freehold/memory.h>
#include <freehold/object.h>

#include <string.h>

#include "base/trap.h"
#include "ref/relief.h"

enum { BYTES_LIMIT_SHIFT = 47 };

static size_t gross(size_t n) { return (n + FH__BUFFER_LINK + 15) & ~(size_t)15; }

void *fh_alloc(size_t n) {
  struct fh__mutator *me = fh__self_or_trap("fh_alloc", NULL);
  if (n >> BYTES_LIMIT_SHIFT) return NULL;
  void *block = fh__backend_alloc(gross(n));
  if (!block) return NULL;
  size_t bytes = fh__backend_usable(block);
  if (FH__LIKELY(fh__account_take_part(&me->account, &me->account.buffers, bytes))) return block;
  fh__account_return_part(&me->account, &me->account.buffers, bytes);
  fh__backend_free(block);
  return NULL;
}

void *fh_alloc_zeroed(size_t n) {
  void *block = fh_alloc(n);
  if (block) memset(block, 0, n);
  return block;
}

void *fh_realloc(void *block, size_t n) {
  if (!block) return fh_alloc(n);
  struct fh__mutator *me = fh__self_or_trap("fh_realloc", NULL);
  if (n >> BYTES_LIMIT_SHIFT) return NULL;
  size_t before = fh__backend_usable(block);
  /* The account is asked for the most that can be needed at once, before the old block may be gone. */
  if (!fh__account_take_part(&me->account, &me->account.buffers, gross(n))) {
    fh__account_return_part(&me->account, &me->account.buffers, gross(n));
    return NULL;
  }
  void *moved = fh__backend_realloc(block, gross(n));
  fh__account_return_part(&me->account, &me->account.buffers, gross(n));
  if (!moved) return NULL;
  (void)fh__account_take_part(&me->account, &me->account.buffers, fh__backend_usable(moved));
  fh__account_return_part(&me->account, &me->account.buffers, before);
  return moved;
}

void fh_free(void *block) {
  if (!block) return;
  size_t bytes = fh__backend_usable(block);
  struct fh__mutator *me = fh__self();
  if (FH__LIKELY(me != &fh__nobody)) {
    fh__account_return_part(&me->account, &me->account.buffers, bytes);
    fh__backend_free(block);
    return;
  }
  fh__account_free_foreign(bytes);
  /* In a blocking region somebody else may be tidying this thread's heap: leave the block to an attached thread. */
  if (fh__thread.mutator)
    fh__relief_free_later(block);
  else
    fh__backend_free(block);
}

void fh_retire(void *block) {
  if (!block) return;
  struct fh__mutator *me = fh__self_or_trap("fh_retire", NULL);
  size_t bytes = fh__backend_usable(block);
  fh__account_return_part(&me->account, &me->account.buffers, bytes);
  fh__limbo_add_buffer(&me->limbo, block, bytes);
  if (fh__limbo_wants_a_look(&me->limbo, fh__shared.options.limbo_batch)) fh__attend(&me->sync, FH__ATTEND_LIMBO);
}

void fh_release_later(void *object) {
  if (FH__CHECKED && FH__LOAD(&fh__shared.phase, ACQUIRE) == FH__PHASE_DOWN)
    fh__trap("freehold: fh_release_later: the runtime does not run (object %p)", object);
  if (FH__CHECKED) fh__check_object("fh_release_later", object);
  if (FH__CHECKED && !fh_is_published(object)) fh__misuse("fh_release_later", object, "the object is private");
  fh__relief_release_later(object);
}
