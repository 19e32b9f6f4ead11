/* SPDX-License-Identifier: MIT */
/* liburcu's functions are called, not inlined: its inlined parts are LGPL, and ThreadSanitizer cannot see the fences
 * inside them, so each node carries the order explicitly. The lock-free stack and not the wait-free one: a node is linked
 * before it is visible, so a fork in the midst of a put leaves the child a box that is whole. */
#include "sync/inbox.h"

#include <urcu/lfstack.h>

#include "base/sanitize.h"

_Static_assert(sizeof(struct fh__inbox) == sizeof(struct __cds_lfs_stack), "the door hides the stack's layout");
_Static_assert(sizeof(struct fh__inbox_node) == sizeof(struct cds_lfs_node), "and the node's");

static struct __cds_lfs_stack *stack_of(struct fh__inbox *inbox) { return (struct __cds_lfs_stack *)(void *)inbox; }

void fh__inbox_init(struct fh__inbox *inbox) { __cds_lfs_init(stack_of(inbox)); }

void fh__inbox_put(struct fh__inbox *inbox, struct fh__inbox_node *node) {
  FH__TSAN_RELEASE(inbox); /* partner: the acquire below; the push itself is a full compare-and-swap */
  cds_lfs_push(stack_of(inbox), (struct cds_lfs_node *)(void *)node);
}

bool fh__inbox_is_empty(struct fh__inbox *inbox) { return cds_lfs_empty(stack_of(inbox)); }

void fh__inbox_take_all(struct fh__inbox *inbox, void (*each)(void *, struct fh__inbox_node *), void *context) {
  struct cds_lfs_head *all = __cds_lfs_pop_all(stack_of(inbox));
  FH__TSAN_ACQUIRE(inbox);
  struct cds_lfs_node *node = all ? &all->node : NULL;
  while (node) {
    struct cds_lfs_node *next = node->next;
    each(context, (struct fh__inbox_node *)(void *)node);
    node = next;
  }
}
