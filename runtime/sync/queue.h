/* SPDX-License-Identifier: MIT */
/* The merge queue: many producers leave objects for one mutator, whoever holds the exclusive right to it takes them out.
 *
 * A producer appends to a *segment* of its own, which it has linked into the consumer's queue once; so a push is one
 * uncontended compare-and-swap. The consumer takes the whole chain, closes each segment, and drains it. A segment belongs
 * to two parties, and the last one to let go has its memory:
 *
 *   producer: open --full, closed under it, or other target--> ABANDONED      consumer: linked --> CLOSED --> DRAINED
 *
 *   [queue.open]    not CLOSED   => the producer, and only it, may append
 *   [queue.linked]  a linked segment holds at least one item, so the queue is empty iff nothing is linked or taken
 *   [queue.memory]  ABANDONED and DRAINED: whoever set the second of the two bits owns the memory
 *
 * A push is a seq_cst read-modify-write, followed by a seq_cst load of the owner's state; an edge to DETACHED is
 * a seq_cst read-modify-write, followed by a seq_cst load of the queue. One of the two sees the other [queue.drained]. */
#ifndef FH_SYNC_QUEUE_H
#define FH_SYNC_QUEUE_H

#include "base/atomic.h"
#include "base/config.h"

struct fh__segment {
  struct fh__segment *next; /* in the queue, in the taken chain, or among the spares */
  uint32_t word;            /* atomic: count of items, and the bits below */
  void *items[FH__SEGMENT_ITEMS];
};

/* A consumer's queue. `taken` and `at` belong to whoever holds the exclusive right to the mutator. */
struct fh__queue {
  struct fh__segment *head;  /* atomic: pushed by producers, swapped out by the consumer */
  struct fh__segment *taken; /* atomic for readers of emptiness: the chain that is being drained */
  uint32_t at;               /* next item of its first segment */
  uint64_t since_ns;         /* atomic, coarse: when it became other than empty last; for the watchdog */
  uint64_t reported_ns;      /* atomic: how long that had lasted when it was reported last */
};

/* What a mutator needs to push to others' queues. Its own thread's, or its claimer's for the spares. */
struct fh__producer {
  struct fh__segment *open; /* linked to `target`, or NULL */
  struct fh__queue *target;
  struct fh__segment *spares;
  uint32_t spare_count;
};

/* Fills the reserve; called at safepoints, where running out of memory loses nothing. */
void fh__producer_refill(struct fh__producer *producer);
/* Lets go of the open segment, at detach. */
void fh__producer_close(struct fh__producer *producer);
void fh__producer_finish(struct fh__producer *producer);

/* Appends an item; false: no memory for a segment, nothing happened. */
bool fh__queue_push(struct fh__producer *producer, struct fh__queue *queue, void *item);
FH__INLINE bool fh__queue_is_empty(const struct fh__queue *queue) {
  /* seq_cst: the second half of [queue.drained]; partner: the read-modify-write of a push. */
  return !FH__LOAD(&queue->head, SEQ_CST) && !FH__LOAD(&queue->taken, SEQ_CST);
}
/* The next item, or NULL; by the holder of the exclusive right, whose producer part gets drained segments. */
void *fh__queue_pop(struct fh__queue *queue, struct fh__producer *recycler);

/* For the checker, in a stopped world: shows every item. */
void fh__queue_each(struct fh__queue *queue, void (*each)(void *context, void *item), void *context);

#endif
