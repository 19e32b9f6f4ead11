/* SPDX-License-Identifier: MIT */
/* liburcu's functions are called, not inlined: its inlined parts are LGPL, and ThreadSanitizer cannot see the fences
 * inside them, so each node carries the order explicitly. */
#include "sync/inbox.h"

#include <urcu/wfstack.h>

#include "base/sanitize.h"

_Static_assert(sizeof(struct fh__inbox) == sizeof(struct __cds_wfs_stack), "the door hides the stack's layout");
_Static_assert(sizeof(struct fh__inbox_node) == sizeof(struct cds_wfs_node), "and the node's");

static struct __cds_wfs_stack *stack_of(struct fh__inbox *inbox) { return (struct __cds_wfs_stack *)(void *)inbox; }

void fh__inbox_init(struct fh__inbox *inbox) { __cds_wfs_init(stack_of(inbox)); }

void fh__inbox_put(struct fh__inbox *inbox, struct fh__inbox_node *node) {
  struct cds_wfs_node *entry = (struct cds_wfs_node *)(void *)node;
  cds_wfs_node_init(entry);
  FH__TSAN_RELEASE(inbox); /* partner: the acquire below; the push itself is a full exchange */
  cds_wfs_push(stack_of(inbox), entry);
}

bool fh__inbox_is_empty(struct fh__inbox *inbox) { return cds_wfs_empty(stack_of(inbox)); }

void fh__inbox_take_all(struct fh__inbox *inbox, void (*each)(void *, struct fh__inbox_node *), void *context) {
  struct cds_wfs_head *all = __cds_wfs_pop_all(stack_of(inbox));
  FH__TSAN_ACQUIRE(inbox);
  if (!all) return;
  struct cds_wfs_node *node = cds_wfs_first(all);
  while (node) {
    struct cds_wfs_node *next = cds_wfs_next_blocking(node);
    each(context, (struct fh__inbox_node *)(void *)node);
    node = next;
  }
}
