/* SPDX-License-Identifier: MIT */
/* Room at the limit: what a loader does when it is refused memory. First everything goes that nobody refers to. If that is not
 * enough, the graph that is served gives way to the one that is being loaded: it is taken out of its slot, and queries are answered
 * with "being reloaded" until the new one is there. */
#ifndef DEPGRAPH_ROOM_H
#define DEPGRAPH_ROOM_H

#include <freehold/freehold.h>

struct room {
  fh_slot *old;  /* the graph that may give way; NULL: there is none */
  bool gave_way; /* it did; atomic */
};

/* True: the refused allocation is worth another try. `since` begins at 0 for each allocation. This is a safepoint. */
bool room_make(struct room *room, double *since);

#endif
