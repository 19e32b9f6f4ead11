/* SPDX-License-Identifier: MIT */
#include "sync/registry.h"

struct fh__registry fh__registry = {.lock = FH__MUTEX(FH__RANK_REGISTRY)};

static void bind_locked(struct fh__sync_local *sync) {
  FH__STORE_(&sync->bound, 1, RELAXED); /* [state.bound]: the lock orders it against unbind */
  FH__ADD(&fh__registry.bound, 1, RELAXED);
}

struct fh__sync_local *fh__registry_adopt(void) {
  struct fh__sync_local *sync = NULL;
  fh__mutex_lock(&fh__registry.lock);
  if (fh__registry.open && fh__registry.free_head) {
    sync = fh__registry.table[fh__registry.free_head];
    fh__registry.free_head = sync->next_free;
    FH__BUMP(&fh__registry.adoptions, 1);
    bind_locked(sync);
  }
  fh__mutex_unlock(&fh__registry.lock);
  return sync;
}

fh__registry_answer fh__registry_add(struct fh__sync_local *sync) {
  fh__mutex_lock(&fh__registry.lock);
  fh__registry_answer answer = !fh__registry.open                             ? FH__REGISTRY_CLOSED
                                    : fh__registry.count == FH__MUTATORS_MAX ? FH__REGISTRY_FULL
                                                                             : FH__REGISTRY_FITS;
  if (answer == FH__REGISTRY_FITS) {
    sync->id = fh__registry.count + 1;
    sync->state = FH__DETACHED;
    fh__registry.table[sync->id] = sync;
    bind_locked(sync);
    FH__STORE_(&fh__registry.count, sync->id, SEQ_CST); /* partner: fh__registry_count, in the scans of grace periods too */
  }
  fh__mutex_unlock(&fh__registry.lock);
  return answer;
}

void fh__registry_unbind_locked(struct fh__sync_local *sync) {
  FH__STORE_(&sync->bound, 0, RELAXED);
  sync->next_free = fh__registry.free_head;
  fh__registry.free_head = sync->id;
  FH__SUB(&fh__registry.bound, 1, RELAXED);
}

void fh__registry_unbind(struct fh__sync_local *sync) {
  fh__mutex_lock(&fh__registry.lock);
  fh__registry_unbind_locked(sync);
  fh__mutex_unlock(&fh__registry.lock);
}

bool fh__registry_hold(void) {
  fh__mutex_lock(&fh__registry.lock);
  bool open = fh__registry.open;
  if (open) fh__registry.holds++;
  fh__mutex_unlock(&fh__registry.lock);
  return open;
}

bool fh__registry_unhold(void) {
  fh__mutex_lock(&fh__registry.lock);
  bool held = fh__registry.holds > 0;
  if (held) fh__registry.holds--;
  fh__mutex_unlock(&fh__registry.lock);
  return held;
}

void fh__registry_set_open(void) {
  fh__mutex_lock(&fh__registry.lock);
  fh__registry.open = fh__registry.alive = true;
  fh__mutex_unlock(&fh__registry.lock);
}

bool fh__registry_close(void) {
  fh__mutex_lock(&fh__registry.lock);
  bool alone = fh__registry.bound == 0 && fh__registry.holds == 0;
  if (alone) fh__registry.open = false;
  fh__mutex_unlock(&fh__registry.lock);
  return alone;
}

struct fh__sync_local *fh__registry_adopt_closed(uint32_t id) {
  fh__mutex_lock(&fh__registry.lock);
  uint32_t *link = &fh__registry.free_head;
  while (*link != id) link = &fh__registry.table[*link]->next_free;
  struct fh__sync_local *sync = fh__registry.table[id];
  *link = sync->next_free;
  bind_locked(sync);
  fh__mutex_unlock(&fh__registry.lock);
  return sync;
}
