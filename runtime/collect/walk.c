/* SPDX-License-Identifier: MIT */
#include "collect/walk.h"

fh_object fh__walk_dummy;

void fh__walk_init(struct fh__walk *walk, struct fh__scan *scan, uint32_t worker, fh_object **stack) {
  *walk = (struct fh__walk){.refs = scan->refs,
                            .scan = scan,
                            .stamp = scan->stamp,
                            .generation = scan->generation,
                            .settles = scan->settles,
                            .partial = fh__scan_is_partial(scan),
                            .worker = worker,
                            .stack = stack};
  for (int i = 0; i < FH__PREFETCH; i++) walk->object[i] = walk->known[i] = &fh__walk_dummy;
}
