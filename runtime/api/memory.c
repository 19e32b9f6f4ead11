/* SPDX-License-Identifier: MIT */
/* Buffers. Each has room for a link at its end, so that retiring one, or freeing it in a blocking region, needs no memory. */
#include <freehold/gc.h>
#include <freehold/memory.h>
#include <freehold/object.h>

#include <string.h>

#include "api/safepoint.h"
#include "base/trap.h"
#include "memory/system.h"
#include "mutator/pressure.h"
#include "ref/relief.h"

enum { BYTES_LIMIT_SHIFT = 47 };

static size_t gross(size_t n) { return (n + FH__BUFFER_LINK + 15) & ~(size_t)15; }

void *fh_alloc(size_t n) {
  struct fh__mutator *me = fh__self_or_trap("fh_alloc", NULL);
  if (n >> BYTES_LIMIT_SHIFT) return NULL;
  void *block = fh__backend_alloc(gross(n));
  if (!block) return NULL;
  size_t bytes = fh__backend_usable(block);
  if (FH__LIKELY(fh__account_spend_part(&me->account, &me->account.buffers, bytes)) || fh__pressure_draw(me, bytes)) return block;
  fh__account_return_part(&me->account, &me->account.buffers, bytes);
  fh__backend_free(block);
  return NULL;
}

void *fh_alloc_zeroed(size_t n) {
  void *block = fh_alloc(n);
  if (block) memset(block, 0, n);
  return block;
}

/* A smaller block in the place of a larger one is never refused: the account only falls, and without memory the old one serves. */
static void *shrink(struct fh__mutator *me, void *block, size_t before, size_t n) {
  void *moved = fh__backend_alloc(gross(n));
  size_t after = moved ? fh__backend_usable(moved) : SIZE_MAX;
  if (after > before) { /* it would be no smaller */
    fh__backend_free(moved);
    return block;
  }
  memcpy(moved, block, n);
  fh__backend_free(block);
  fh__account_return_part(&me->account, &me->account.buffers, before - after);
  return moved;
}

/* Allocates, copies and frees, as the allocator would, so that the account is asked for the new block while the old one is
 * there, and for exactly what it has. */
void *fh_realloc(void *block, size_t n) {
  if (!block) return fh_alloc(n);
  struct fh__mutator *me = fh__self_or_trap("fh_realloc", NULL);
  if (n >> BYTES_LIMIT_SHIFT) return NULL;
  size_t before = fh__backend_usable(block);
  if (gross(n) <= before) return gross(n) >= before / 2 ? block : shrink(me, block, before, n);
  void *moved = fh_alloc(n);
  if (!moved) return NULL;
  memcpy(moved, block, before - FH__BUFFER_LINK);
  fh__account_return_part(&me->account, &me->account.buffers, before);
  fh__backend_free(block);
  return moved;
}

void fh_free(void *block) {
  if (!block) return;
  struct fh__mutator *me = fh__self();
  if (FH__LIKELY(me != &fh__nobody)) {
    fh__account_return_part(&me->account, &me->account.buffers, fh__backend_usable(block));
    fh__backend_free(block);
    return;
  }
  /* In a blocking region somebody else may be tidying this thread's heap; and a fork stops no thread that is not attached, which
   * must therefore not be inside the allocator then: the block is left to an attached one. */
  if (!fh__is_up() || !fh__relief_free_later(block)) fh__backend_free(block);
}

void fh_retire(void *block) {
  if (!block) return;
  struct fh__mutator *me = fh__self_or_trap("fh_retire", NULL);
  size_t bytes = fh__backend_usable(block);
  FH__BUMP(&me->account.buffers, -(int64_t)bytes);
  fh__limbo_add_buffer(&me->limbo, block, bytes);
  if (fh__limbo_wants_a_look(&me->limbo, fh__shared.options.limbo_batch)) fh__attend(&me->sync, FH__ATTEND_LIMBO);
}

void fh_release_later(void *object) {
  if (FH__CHECKED && !fh__is_up())
    fh__trap("freehold: fh_release_later: the runtime does not run (object %p)", object);
  if (FH__CHECKED) fh__check_object("fh_release_later", object);
  if (FH__CHECKED && !fh_is_published(object)) fh__misuse("fh_release_later", object, "the object is private");
  fh__relief_release_later(object);
}

/* ---- limits ---- */

fh_status fh_limits_set(size_t soft, size_t hard) {
  if (!fh__is_up()) return FH_ESHUTDOWN;
  int64_t soft_bytes, hard_bytes;
  fh_status status = fh__pressure_limits(soft, hard, &soft_bytes, &hard_bytes);
  if (status) return status;
  FH__STORE_(&fh__account.soft, soft_bytes, RELAXED);
  FH__STORE_(&fh__account.hard, hard_bytes, RELAXED);
  return FH_OK;
}

static size_t limit_of(const int64_t *limit) {
  int64_t bytes = FH__LOAD(limit, RELAXED);
  return bytes == INT64_MAX ? 0 : (size_t)bytes;
}

void fh_limits_get(size_t *soft_out, size_t *hard_out) {
  if (soft_out) *soft_out = limit_of(&fh__account.soft);
  if (hard_out) *hard_out = limit_of(&fh__account.hard);
}

static bool has_room_for(int64_t bytes) {
  return FH__LOAD(&fh__account.drawn, RELAXED) + bytes <= FH__LOAD(&fh__account.hard, RELAXED);
}

fh_status fh_reclaim(void) {
  struct fh__mutator *me = fh__self_at_safepoint("fh_reclaim");
  if (!me) return FH_EAGAIN;
  int64_t wanted = me->refused;
  fh_collect(2);
  fh__safepoint_housekeep(me); /* finalizers, and the limbo of what they and the collection released */
  fh__account_settle(&me->account);
  me->refused = 0;
  return has_room_for(wanted) ? FH_OK : FH_ELIMIT;
}

size_t fh_purge(size_t most) {
  struct fh__mutator *me = fh__self_at_safepoint("fh_purge");
  if (!me) return 0;
  size_t before = fh__system_resident();
  size_t enough = most && most < before ? before - most : 0;
  fh__safepoint_housekeep(me);
  fh__mutator_tidy(me);
  if (!enough || fh__system_resident() > enough) {
    fh__relief_purge_sleepers(me, enough);
    struct fh__sync_local *sync;
    for (FH__EACH_MUTATOR(sync))
      if (sync != &me->sync && fh__state_of(sync) == FH__ATTACHED) fh__attend(sync, FH__ATTEND_PURGE);
  }
  size_t after = fh__system_resident();
  return after < before ? before - after : 0;
}
