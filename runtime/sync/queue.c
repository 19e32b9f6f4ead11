/* SPDX-License-Identifier: MIT */
#include "sync/queue.h"

#include "base/clock.h"
#include "memory/backend.h"

enum { COUNT = 0xffff, CLOSED = 1 << 16, DRAINED = 1 << 17, ABANDONED = 1 << 18 };

/* ---- segments ---- */

static void keep_spare(struct fh__producer *producer, struct fh__segment *segment) {
  if (producer->spare_count >= 2 * FH__SEGMENT_RESERVE) {
    fh__backend_free(segment);
    return;
  }
  segment->next = producer->spares;
  producer->spares = segment;
  producer->spare_count++;
}

static struct fh__segment *take_spare(struct fh__producer *producer) {
  struct fh__segment *segment = producer->spares;
  if (!segment) return fh__backend_alloc(sizeof *segment);
  producer->spares = segment->next;
  producer->spare_count--;
  return segment;
}

void fh__producer_refill(struct fh__producer *producer) {
  while (producer->spare_count < FH__SEGMENT_RESERVE) {
    struct fh__segment *segment = fh__backend_alloc(sizeof *segment);
    if (!segment) return;
    keep_spare(producer, segment);
  }
}

void fh__producer_close(struct fh__producer *producer) {
  struct fh__segment *segment = producer->open;
  if (!segment) return;
  producer->open = NULL;
  producer->target = NULL;
  /* acq_rel: the second party sees the first one's last accesses, [queue.memory]. */
  if (FH__OR(&segment->word, ABANDONED, ACQ_REL) & DRAINED) keep_spare(producer, segment);
}

void fh__producer_finish(struct fh__producer *producer) {
  fh__producer_close(producer);
  while (producer->spares) fh__backend_free(take_spare(producer));
}

/* ---- pushing ---- */

static bool append(struct fh__segment *segment, void *item) {
  uint32_t word = FH__LOAD(&segment->word, RELAXED);
  if (word & CLOSED || (word & COUNT) == FH__SEGMENT_ITEMS) return false;
  FH__STORE_(&segment->items[word & COUNT], item, RELAXED);
  /* seq_cst: store-load against the owner's state [queue.drained]; releases the item to the closing fetch_or. */
  return FH__CAS(&segment->word, &word, word + 1, SEQ_CST);
}

static void link_segment(struct fh__queue *queue, struct fh__segment *segment) {
  struct fh__segment *head = FH__LOAD(&queue->head, RELAXED);
  if (!head) {
    FH__STORE_(&queue->since_ns, fh__clock_coarse_ns(), RELAXED); /* a hint for the watchdog */
    FH__STORE_(&queue->reported_ns, 0, RELAXED);
  }
  do segment->next = head;
  while (!FH__CAS(&queue->head, &head, segment, SEQ_CST)); /* as in append; partner of the release: the swap in pop */
}

bool fh__queue_push(struct fh__producer *producer, struct fh__queue *queue, void *item) {
  if (producer->target == queue && append(producer->open, item)) return true;
  struct fh__segment *segment = take_spare(producer);
  if (!segment) {
    fh__producer_close(producer); /* which may return a segment that was drained */
    if (!(segment = producer->spares)) return false;
    segment = take_spare(producer);
  }
  fh__producer_close(producer);
  segment->word = 1;
  segment->items[0] = item;
  link_segment(queue, segment);
  producer->open = segment;
  producer->target = queue;
  return true;
}

/* ---- draining ---- */

static void let_go(struct fh__queue *queue, struct fh__segment *segment, struct fh__producer *recycler) {
  FH__STORE_(&queue->taken, segment->next, RELAXED);
  queue->at = 0;
  if (FH__OR(&segment->word, DRAINED, ACQ_REL) & ABANDONED) keep_spare(recycler, segment); /* [queue.memory] */
}

void *fh__queue_pop(struct fh__queue *queue, struct fh__producer *recycler) {
  for (;;) {
    struct fh__segment *segment = queue->taken;
    if (!segment) {
      if (!FH__LOAD(&queue->head, SEQ_CST)) return NULL; /* as in fh__queue_is_empty: a push that raised no bit, because it was up */
      segment = FH__SWAP(&queue->head, NULL, ACQUIRE); /* partner: link_segment */
      FH__STORE_(&queue->taken, segment, RELAXED);
      queue->at = 0;
      continue;
    }
    /* Closing is what makes the count final; acquire: partner is the append of each item. Closing twice does no harm. */
    uint32_t count = FH__OR(&segment->word, CLOSED, ACQUIRE) & COUNT;
    if (queue->at < count) return FH__LOAD(&segment->items[queue->at++], RELAXED);
    let_go(queue, segment, recycler);
  }
}

static void each_of_chain(struct fh__segment *segment, uint32_t from, void (*each)(void *, void *), void *context) {
  for (; segment; segment = segment->next, from = 0)
    for (uint32_t i = from; i < (FH__LOAD(&segment->word, ACQUIRE) & COUNT); i++) each(context, segment->items[i]);
}

void fh__queue_each(struct fh__queue *queue, void (*each)(void *, void *), void *context) {
  each_of_chain(queue->taken, queue->at, each, context);
  each_of_chain(FH__LOAD(&queue->head, ACQUIRE), 0, each, context);
}
