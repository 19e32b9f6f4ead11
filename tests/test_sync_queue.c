/* SPDX-License-Identifier: MIT */
/* The merge queue: what goes in comes out once, and a segment's memory has one owner at every moment.
 *
 * Claims: [queue.open] a segment takes items until it is full, closed under its producer, or its producer goes elsewhere;
 * [queue.linked] the queue is empty iff nothing is linked or taken; [queue.memory] whoever lets go last has the memory, in
 * both orders; reserves are filled, bounded, and used when there is no memory; no item is lost or doubled, however many
 * producers race the consumer. Real: everything. Items are addresses that nobody looks behind. */
#include "support/exhaust.h"

#include <sched.h>

#include "sync/queue.h"

static char item[4 * FH__SEGMENT_ITEMS + 16];

static void drain_to(struct fh__queue *queue, struct fh__producer *recycler, size_t wanted) {
  size_t got = 0;
  while (fh__queue_pop(queue, recycler)) got++;
  assert_int_equal(got, wanted);
  assert_true(fh__queue_is_empty(queue));
}

/* ---- one producer, one consumer ---- */

static void items_come_out_once_in_the_order_of_their_segment(void **state) {
  struct fh__queue queue = {0};
  struct fh__producer producer = {0}, consumer = {0};
  assert_true(fh__queue_is_empty(&queue));
  assert_null(fh__queue_pop(&queue, &consumer));
  for (int i = 0; i < FH__SEGMENT_ITEMS; i++) assert_true(fh__queue_push(&producer, &queue, &item[i]));
  assert_false(fh__queue_is_empty(&queue));
  for (int i = 0; i < FH__SEGMENT_ITEMS; i++) assert_ptr_equal(fh__queue_pop(&queue, &consumer), &item[i]);
  assert_false(fh__queue_is_empty(&queue)); /* the segment is taken, and not yet known to be drained */
  assert_null(fh__queue_pop(&queue, &consumer));
  assert_true(fh__queue_is_empty(&queue));
  fh__producer_finish(&producer);
  fh__producer_finish(&consumer);
}

static void a_push_is_linked_once_a_segment(void **state) {
  struct fh__queue queue = {0};
  struct fh__producer producer = {0};
  fh__queue_push(&producer, &queue, &item[0]);
  struct fh__segment *first = queue.head;
  for (int i = 1; i < FH__SEGMENT_ITEMS; i++) {
    fh__queue_push(&producer, &queue, &item[i]);
    assert_ptr_equal(queue.head, first);
  }
  fh__queue_push(&producer, &queue, &item[FH__SEGMENT_ITEMS]);
  assert_ptr_not_equal(queue.head, first);
  assert_ptr_equal(queue.head->next, first);
  drain_to(&queue, &producer, FH__SEGMENT_ITEMS + 1);
  fh__producer_finish(&producer);
}

static void the_consumer_closes_the_open_segment(void **state) {
  struct fh__queue queue = {0};
  struct fh__producer producer = {0}, consumer = {0};
  fh__queue_push(&producer, &queue, &item[0]);
  struct fh__segment *open = producer.open;
  assert_ptr_equal(fh__queue_pop(&queue, &consumer), &item[0]);
  assert_ptr_equal(producer.open, open); /* it does not know yet */
  fh__queue_push(&producer, &queue, &item[1]);
  assert_ptr_not_equal(producer.open, open); /* [queue.open]: nothing was appended to the closed one */
  assert_ptr_equal(fh__queue_pop(&queue, &consumer), &item[1]);
  assert_null(fh__queue_pop(&queue, &consumer));
  fh__producer_finish(&producer);
  fh__producer_finish(&consumer);
}

/* ---- whose memory it is ---- */

static void drained_first_then_abandoned_goes_to_the_producer(void **state) {
  struct fh__queue queue = {0};
  struct fh__producer producer = {0}, consumer = {0};
  fh__queue_push(&producer, &queue, &item[0]);
  struct fh__segment *open = producer.open;
  drain_to(&queue, &consumer, 1);
  assert_int_equal(consumer.spare_count, 0);
  fh__producer_close(&producer);
  assert_null(producer.open);
  assert_null(producer.target);
  assert_int_equal(producer.spare_count, 1);
  assert_ptr_equal(producer.spares, open);
  fh__producer_finish(&producer);
}

static void abandoned_first_then_drained_goes_to_the_consumer(void **state) {
  struct fh__queue queue = {0};
  struct fh__producer producer = {0}, consumer = {0};
  fh__queue_push(&producer, &queue, &item[0]);
  struct fh__segment *open = producer.open;
  fh__producer_close(&producer);
  assert_int_equal(producer.spare_count, 0);
  drain_to(&queue, &consumer, 1);
  assert_int_equal(consumer.spare_count, 1);
  assert_ptr_equal(consumer.spares, open);
  fh__producer_close(&producer); /* nothing is open: nothing happens */
  fh__producer_finish(&consumer);
}

static void another_target_abandons_the_open_segment(void **state) {
  struct fh__queue queue[2] = {{0}, {0}};
  struct fh__producer producer = {0}, consumer = {0};
  fh__queue_push(&producer, &queue[0], &item[0]);
  fh__queue_push(&producer, &queue[1], &item[1]);
  assert_ptr_equal(producer.target, &queue[1]);
  drain_to(&queue[0], &consumer, 1);
  assert_int_equal(consumer.spare_count, 1);
  drain_to(&queue[1], &consumer, 1);
  assert_int_equal(consumer.spare_count, 1); /* the producer has not let go of this one */
  fh__producer_finish(&producer);
  fh__producer_finish(&consumer);
}

/* ---- reserves ---- */

static void a_reserve_is_filled_and_bounded(void **state) {
  struct fh__queue queue = {0};
  struct fh__producer producer = {0}, consumer = {0};
  fh__producer_refill(&producer);
  assert_int_equal(producer.spare_count, FH__SEGMENT_RESERVE);
  fh__producer_refill(&producer);
  assert_int_equal(producer.spare_count, FH__SEGMENT_RESERVE);
  fh__queue_push(&producer, &queue, &item[0]);
  assert_int_equal(producer.spare_count, FH__SEGMENT_RESERVE - 1); /* the reserve is used first */
  drain_to(&queue, &consumer, 1);
  for (int i = 0; i < 4 * FH__SEGMENT_RESERVE; i++) { /* every one of these becomes the consumer's */
    fh__producer_close(&producer);
    fh__queue_push(&producer, &queue, &item[i]);
    fh__producer_close(&producer);
    drain_to(&queue, &consumer, 1);
  }
  assert_int_equal(consumer.spare_count, 2 * FH__SEGMENT_RESERVE); /* the rest was freed */
  fh__producer_finish(&producer);
  fh__producer_finish(&consumer);
  assert_int_equal(consumer.spare_count, 0);
}

static void push_without_memory(void) {
  static struct fh__queue queue;
  static struct fh__producer producer, consumer;
  static struct exhausted exhausted;
  fh__producer_refill(&producer);
  exhaust_memory(&exhausted);
  size_t pushed = 0;
  while (pushed < 1000 && fh__queue_push(&producer, &queue, &item[0])) pushed++;
  require(pushed == FH__SEGMENT_RESERVE * FH__SEGMENT_ITEMS); /* the reserve, and not one more */
  require(!producer.open); /* it let go of the full one, to get it back as soon as it is drained */
  size_t popped = 0;
  while (fh__queue_pop(&queue, &consumer)) popped++;
  require(popped == pushed);
  fh__producer_refill(&producer); /* finds nothing, which is no error */
  require(producer.spare_count == 0);
  refill_memory(&exhausted);
  require(fh__queue_push(&producer, &queue, &item[0]));
}

static void close_to_get_a_segment_back(void) {
  static struct fh__queue queue;
  static struct fh__producer producer, consumer;
  static struct exhausted exhausted;
  require(fh__queue_push(&producer, &queue, &item[0]));
  require(fh__queue_pop(&queue, &consumer) == &item[0] && !fh__queue_pop(&queue, &consumer));
  exhaust_memory(&exhausted);
  require(fh__queue_push(&producer, &queue, &item[1])); /* into the drained segment that it still held open */
  require(fh__queue_pop(&queue, &consumer) == &item[1]);
  refill_memory(&exhausted);
}

static void without_memory_a_push_fails_and_nothing_happened(void **state) {
  if (!can_exhaust_memory()) skip();
  expect_fine(push_without_memory);
  expect_fine(close_to_get_a_segment_back);
}

/* ---- looking ---- */

static void count_item(void *context, void *seen) {
  require(seen);
  ++*(size_t *)context;
}

static void each_item_is_shown_wherever_it_is(void **state) {
  struct fh__queue queue = {0};
  struct fh__producer producer = {0}, consumer = {0};
  size_t total = 2 * FH__SEGMENT_ITEMS + 1, seen = 0;
  for (size_t i = 0; i < total; i++) fh__queue_push(&producer, &queue, &item[i]);
  fh__queue_each(&queue, count_item, &seen);
  assert_int_equal(seen, total);
  assert_non_null(fh__queue_pop(&queue, &consumer));   /* now a chain is taken, */
  assert_non_null(fh__queue_pop(&queue, &consumer));
  fh__queue_push(&producer, &queue, &item[total]);     /* and another one is linked */
  seen = 0;
  fh__queue_each(&queue, count_item, &seen);
  assert_int_equal(seen, total - 2 + 1);
  drain_to(&queue, &consumer, seen);
  fh__producer_finish(&producer);
  fh__producer_finish(&consumer);
}

/* ---- many producers ---- */

enum { PRODUCERS = 4, QUEUES = 2 };

struct traffic {
  struct fh__queue queue[QUEUES];
  atomic_int running;
  size_t each;
  uint32_t *payload; /* of each item: written before it is pushed, read after it is popped, both plainly */
  uint8_t *seen;     /* a byte an item, a consumer's */
};

static void produce(struct traffic *traffic, int index) {
  struct fh__producer producer = {0};
  unsigned random = (unsigned)index * 7919 + 1;
  for (size_t i = 0; i < traffic->each; i++) {
    random = random * 1103515245 + 12345;
    uintptr_t number = (uintptr_t)index * traffic->each + i + 1;
    traffic->payload[number - 1] = ~(uint32_t)number;
    require(fh__queue_push(&producer, &traffic->queue[random >> 16 & 1], (void *)number));
    if ((random >> 20) % 64 == 0) fh__producer_close(&producer); /* as at a detach */
    if ((random >> 20) % 64 == 1) fh__producer_refill(&producer);
  }
  fh__producer_finish(&producer);
  atomic_fetch_sub(&traffic->running, 1);
}

static void consume(struct traffic *traffic, int index) {
  struct fh__queue *queue = &traffic->queue[index];
  struct fh__producer recycler = {0};
  bool last = false;
  do {
    last = atomic_load(&traffic->running) == 0;
    void *got;
    while ((got = fh__queue_pop(queue, &recycler))) {
      require(traffic->payload[(uintptr_t)got - 1] == ~(uint32_t)(uintptr_t)got);
      traffic->seen[(uintptr_t)got - 1]++;
    }
    sched_yield();
  } while (!last);
  require(fh__queue_is_empty(queue));
  fh__producer_finish(&recycler);
}

static void produce_or_consume(int index, void *argument) {
  if (index < QUEUES)
    consume(argument, index);
  else
    produce(argument, index - QUEUES);
}

static void nothing_is_lost_or_doubled_in_traffic(void **state) {
  struct traffic traffic = {.running = PRODUCERS, .each = scaled(400000)};
  traffic.seen = calloc(PRODUCERS * traffic.each, 1);
  traffic.payload = calloc(PRODUCERS * traffic.each, sizeof *traffic.payload);
  run_bare_threads(PRODUCERS + QUEUES, produce_or_consume, &traffic);
  for (size_t i = 0; i < PRODUCERS * traffic.each; i++) assert_int_equal(traffic.seen[i], 1);
  free(traffic.seen);
  free(traffic.payload);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(items_come_out_once_in_the_order_of_their_segment),
      cmocka_unit_test(a_push_is_linked_once_a_segment),
      cmocka_unit_test(the_consumer_closes_the_open_segment),
      cmocka_unit_test(drained_first_then_abandoned_goes_to_the_producer),
      cmocka_unit_test(abandoned_first_then_drained_goes_to_the_consumer),
      cmocka_unit_test(another_target_abandons_the_open_segment),
      cmocka_unit_test(a_reserve_is_filled_and_bounded),
      cmocka_unit_test(without_memory_a_push_fails_and_nothing_happened),
      cmocka_unit_test(each_item_is_shown_wherever_it_is),
      cmocka_unit_test(nothing_is_lost_or_doubled_in_traffic),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
