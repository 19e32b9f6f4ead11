/* SPDX-License-Identifier: MIT */
/* An owner in a thread of its own, whose objects the test releases. For tests that see the library's inside. */
#ifndef TESTS_OWNER_H
#define TESTS_OWNER_H

#include <stdlib.h>

#include "mutator/mutator.h"
#include "support/support.h"

/* Makes `count` published nodes, hands its references over, and then does what the test tells it. */
struct owner {
  struct gate made, leave;
  struct node **node;
  size_t count;
  struct fh__mutator *mutator;
  void (*wait)(struct gate *, int);
};

static inline void own(void *argument) {
  struct owner *owner = argument;
  owner->mutator = fh__self();
  for (size_t i = 0; i < owner->count; i++) owner->node[i] = published_node(i);
  gate_open(&owner->made, 1);
  owner->wait(&owner->leave, 1);
}

static inline void start_owner(struct owner *owner, struct companion *companion, size_t count, void (*wait)(struct gate *, int)) {
  *owner = (struct owner){.made = GATE, .leave = GATE, .count = count, .wait = wait};
  owner->node = calloc(count, sizeof *owner->node);
  companion_start(companion, own, owner);
  gate_await(&owner->made, 1);
}

static inline void finish_owner(struct owner *owner, struct companion *companion) {
  gate_open(&owner->leave, 1);
  companion_join(companion);
  free(owner->node);
}

/* It sleeps for good: its state rests DETACHED. Only if it waits in gate_await. */
static inline void await_sleep(struct owner *owner) { gate_await_waiter(&owner->leave); }

#endif
