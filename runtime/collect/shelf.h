/* SPDX-License-Identifier: MIT */
/* A shelf: where a worker that marks puts objects that others may take. One worker owns it, any may steal from it.
 *
 * | from   | to     | who              | order                                                             |
 * |--------|--------|------------------|-------------------------------------------------------------------|
 * | EMPTY  | FULL   | its owner        | acquire, then release: what it put there                            |
 * | FULL   | TAKING | whoever steals   | CAS, acquire: partner is the owner's release                        |
 * | TAKING | EMPTY  | that one         | release: partner is the owner's acquire, before it writes there again |
 *
 * The owner steals like anybody else when it has nothing left. */
#ifndef FH_COLLECT_SHELF_H
#define FH_COLLECT_SHELF_H

#include <string.h>

#include "object/header.h"

enum { FH__SHELF_ITEMS = FH__PICK(256, 4), FH__SHELF_EMPTY = 0, FH__SHELF_FULL, FH__SHELF_TAKING };

struct fh__shelf {
  _Alignas(64) uint32_t state; /* atomic */
  fh_object *item[FH__SHELF_ITEMS];
};

/* The owner puts its oldest objects on the shelf, of more than twice as many: the others are behind them, and probably more. */
static inline void fh__shelf_offer(struct fh__shelf *shelf, fh_object **stack, size_t *depth) {
  if (FH__LOAD(&shelf->state, ACQUIRE) != FH__SHELF_EMPTY) return; /* partner: whoever stole */
  memcpy(shelf->item, stack, sizeof shelf->item);
  *depth -= FH__SHELF_ITEMS;
  memcpy(stack, stack + *depth, sizeof shelf->item);
  FH__STORE_(&shelf->state, FH__SHELF_FULL, RELEASE); /* partner: fh__shelf_steal */
}

/* True: what was there is on top of the stack now. */
static inline bool fh__shelf_steal(struct fh__shelf *shelf, fh_object **stack, size_t *depth) {
  uint32_t full = FH__SHELF_FULL;
  if (FH__LOAD(&shelf->state, RELAXED) != full || !FH__CAS(&shelf->state, &full, FH__SHELF_TAKING, ACQUIRE)) return false;
  memcpy(stack + *depth, shelf->item, sizeof shelf->item);
  *depth += FH__SHELF_ITEMS;
  FH__STORE_(&shelf->state, FH__SHELF_EMPTY, RELEASE); /* partner: fh__shelf_offer */
  return true;
}

#endif
