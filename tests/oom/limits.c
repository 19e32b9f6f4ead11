/* SPDX-License-Identifier: MIT */
/* Memory that ends in two ways: a hard limit refuses, and allocations fail. Garbage in cycles fills the room up to the limit again
 * and again, and every time reclaiming makes room. */
#include "user.h"

struct block {
  fh_object fh;
  struct block *other;
  void *buffer;
};
static const fh_ref block_refs[] = {FH_FIELD(struct block, other), FH_END};
static void block_dealloc(void *object) { fh_free(((struct block *)object)->buffer); }
static const fh_type_spec block_spec = {
    .name = "block", .size = sizeof(struct block), .refs = block_refs, .dealloc = block_dealloc};

enum {
  BUFFER_BYTES = 16384,
  LIMIT_BYTES = 1 << 20,
  RINGS = 100
}; /* the rings are three times what fits below the limit */

static struct block *make_block(fh_type *type) {
  FH_AUTO struct block *block = fh_new(type);
  if (!block) return NULL;
  block->buffer = fh_alloc(BUFFER_BYTES / 2);
  if (!block->buffer) return NULL;
  void *grown = fh_realloc(block->buffer, BUFFER_BYTES);
  if (!grown) return NULL;
  block->buffer = grown;
  return FH_MOVE(block);
}

static bool make_ring(fh_type *type) {
  FH_AUTO struct block *a = make_block(type);
  FH_AUTO struct block *b = a ? make_block(type) : NULL;
  if (!b) return false;
  fh_set(a, other, b);
  fh_set(b, other, a);
  return true;
}

static void demand_below_limit(void) {
  fh_stats stats = {.size = sizeof stats};
  demand(fh_stats_get(&stats) == FH_OK);
  demand(stats.live_bytes <= LIMIT_BYTES);
}

/* Both users make room here and try again, which works, as all that lives is garbage. Returns how often they were refused. */
static unsigned make_ring_at_last(fh_type *type) {
  enum { OFTEN = 100 };
  for (unsigned refusals = 0; refusals < OFTEN; refusals++) {
    if (make_ring(type)) return refusals;
    demand_below_limit();
    fh_status status = fh_reclaim();
    demand(status == FH_OK || status == FH_ELIMIT); /* the latter if the collection found no memory for itself */
  }
  demand(!"there was room at last");
}

static bool work(void) {
  fh_type *type = NULL;
  if (!user_type(&block_spec, &type)) return false;
  demand(fh_limits_set(0, LIMIT_BYTES) == FH_OK);
  unsigned refusals = 0;
  for (int i = 0; i < RINGS; i++) refusals += make_ring_at_last(type);
  demand(refusals > 1); /* a failed allocation is one; the limit was met as well */
  demand_below_limit();
  user_check_heap();
  demand(fh_limits_set(0, 0) == FH_OK);
  user_collect();
  fh_purge(0);
  demand(fh_type_live(type) == 0);
  return true;
}

int main(void) { return user_run(work); }
