/* SPDX-License-Identifier: MIT */
/* The watchdog: whoever waits longer than the limit names those it waits for. It is no thread: those who wait look at the clock, and
 * those who pass by something that others should have done. What a report says is the layer above's affair. */
#ifndef FH_SYNC_WATCHDOG_H
#define FH_SYNC_WATCHDOG_H

#include <freehold/runtime.h>

#include "sync/state.h"

struct fh__watchdog {
  uint64_t limit_ns; /* 0: off; written before anybody attaches */
  void (*report)(fh_wait wait, struct fh__sync_local *straggler, uint64_t waited_ns);
};
extern struct fh__watchdog fh__watchdog;

/* True if something that began at `since_ns` is late and was not reported yet; `reported_ns` is 0 at first, and holds how long it
 * had lasted at the last report: each report wants twice the time of the one before. */
FH__INLINE bool fh__watchdog_is_late(uint64_t now_ns, uint64_t since_ns, uint64_t reported_ns) {
  uint64_t limit = fh__watchdog.limit_ns;
  return limit && now_ns - since_ns >= (reported_ns ? 2 * reported_ns : limit);
}

#endif
