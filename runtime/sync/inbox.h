/* SPDX-License-Identifier: MIT */
/* Things left by threads that cannot act on them now: anybody puts, one at a time takes all. A lock-free stack of
 * liburcu's, behind this door: no other file knows liburcu. */
#ifndef FH_SYNC_INBOX_H
#define FH_SYNC_INBOX_H

#include <stdbool.h>

struct fh__inbox {
  void *head;
};
struct fh__inbox_node {
  void *next;
};

void fh__inbox_init(struct fh__inbox *inbox);
void fh__inbox_put(struct fh__inbox *inbox, struct fh__inbox_node *node);
bool fh__inbox_is_empty(struct fh__inbox *inbox);
/* Empties the box and shows every node to `each`, which may free it. */
void fh__inbox_take_all(struct fh__inbox *inbox, void (*each)(void *context, struct fh__inbox_node *node), void *context);

#endif
