/* SPDX-License-Identifier: MIT */
/* Bare sync parts in place of mutators. For tests of the registry and of what stands on it alone. */
#ifndef TESTS_PARTS_H
#define TESTS_PARTS_H

#include "support/support.h"
#include "sync/registry.h"

enum { PARTS_MAX = 8 };
static struct fh__sync_local part[PARTS_MAX];

static inline struct fh__sync_local *add_part(void) {
  require(fh__registry.count < PARTS_MAX);
  struct fh__sync_local *sync = &part[fh__registry.count];
  *sync = (struct fh__sync_local){0};
  fh__registry_set_open();
  require(fh__registry_add(sync) == FH__REGISTRY_FITS);
  return sync;
}

/* Tear-down: the registry is as before the first of them. */
static inline int forget_parts(void **state) {
  for (uint32_t id = 1; id <= PARTS_MAX; id++) fh__registry.table[id] = NULL;
  fh__registry.count = fh__registry.bound = fh__registry.free_head = 0;
  fh__registry.open = false;
  fh__registry.adoptions = 0;
  return 0;
}

#endif
