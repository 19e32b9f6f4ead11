/* SPDX-License-Identifier: MIT */
/* What tests share that see the library's inside: a stopped world, a count of weak blocks, and types without a runtime. */
#ifndef TESTS_INSIDE_H
#define TESTS_INSIDE_H

#include "mutator/mutator.h"
#include "object/type.h"
#include "ref/merge.h"
#include "ref/weak.h"
#include "support/support.h"

/* ---- the world ---- */

/* By the calling thread, which is attached. */
static inline void stop_world(void) { fh__world_stop(fh__self()); }
/* As for a collection: what waits in queues is merged, too. */
static inline void stop_and_merge(void) {
  stop_world();
  fh__merge_all_stopped(fh__self());
}
static inline void resume_world(void) { fh__world_resume(fh__self()); }

/* ---- weak blocks ---- */

static inline void count_weak_block(void *context, const struct fh__weak_block *block) { ++*(size_t *)context; }
static inline size_t weak_blocks(void) {
  size_t count = 0;
  fh__weak_each(count_weak_block, &count);
  return count;
}

/* ---- types without a runtime ---- */

static inline fh_type *bare_type(const fh_type_spec *spec) {
  fh_type *type = NULL;
  require(fh__type_register(spec, &type) == FH_OK);
  return type;
}
/* Tear-down: removes them. */
static inline int finish_types(void **state) {
  fh__types_finish();
  return 0;
}

#endif
