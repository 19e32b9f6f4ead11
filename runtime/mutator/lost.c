/* SPDX-License-Identifier: MIT */
#include "mutator/lost.h"

void fh__lost_bury(struct fh__mutator *lost) {
  lost->lost = lost->uncounted = true;
  fh__attend(&lost->sync, FH__ATTEND_WORK); /* its safepoint may have taken the bits and not yet done the work */
  lost->heap = NULL; /* its thread's; blocks in it may be freed, but nobody can tidy it any more */
  lost->no_safepoint = lost->in_dealloc = 0;
  lost->yielding = 0;
  lost->returning = false;
  fh__producer_close(&lost->producer);
  fh__account_settle(&lost->account);
  FH__STORE_(&lost->sync.state, FH__STOPPED, RELAXED); /* its thread does not want it back; nobody else runs */
  fh__registry_unbind_locked(&lost->sync);
}

static uint64_t count_private(const struct fh__chunk *chunk) {
  uint64_t found = 0;
  for (uint32_t at = 0; at < chunk->bump; at++) {
    uint64_t entry = FH__LOAD(&chunk->entries[at], RELAXED);
    found += fh__entry_is_object(entry) && !fh__is_published(fh__entry_object(entry));
  }
  return found;
}

/* Private objects of a mutator without a thread: nobody can reach them. Only the biased design tells whose they are. */
static void count(struct fh__mutator *lost) {
  lost->uncounted = false;
  if (!fh__design_is(FH_DESIGN_BIASED)) return;
  uint64_t stranded = 0;
  for (uint32_t number = 0; number < FH__LOAD(&fh__track.limit, RELAXED); number++) {
    const struct fh__chunk *chunk = fh__track_chunk(number);
    if (chunk && chunk->owner == lost->sync.id) stranded += count_private(chunk);
  }
  FH__ADD(&fh__shared.stranded, stranded - lost->stranded, RELAXED); /* some may have been counted after an earlier fork */
  lost->stranded = stranded;
}

void fh__lost_adopt(struct fh__mutator *me) {
  me->lost = false;
  if (me->uncounted) count(me);
}

void fh__lost_count_stopped(void) {
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync))
    if (FH__UNLIKELY(fh__mutator_of(sync)->uncounted)) count(fh__mutator_of(sync));
}
