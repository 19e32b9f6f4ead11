/* SPDX-License-Identifier: MIT */
/* Limits, through the public interface: fh_limits_set, fh_limits_get, fh_reclaim, fh_purge, fh_options.memory.
 *
 * Claims: at the hard limit every kind of allocation returns NULL, changes nothing, and works again when memory comes back;
 * what is granted never passes the limit, whoever asks [account.limit]; a refusal brings a collection at the next safepoint, one
 * for all that were refused; crossings are told once, at a safepoint, and the callback may do what may be done there; no credit is lost
 * with mutators that detach or sleep, nor limbo; a program can live at its limit; memory goes back to the system on demand. */
#include "support/support.h"

#include <string.h>

enum { KIB = 1024, MIB = 1024 * KIB, HARD = 2 * MIB, BLOCK = 4096, BLOCKS_MAX = HARD / 32 + 1 };

static bool is_quiet_about(uint64_t before) { return stats_now().collections == before; }

/* No collection becomes due by what is allocated. */
static void start_with(size_t soft, size_t hard, fh_memory_function memory, void *context) {
  const fh_options options = {
      .soft_limit = soft, .hard_limit = hard, .gc_threshold = 1u << 31, .memory = memory, .memory_context = context};
  runtime_start(&options);
}

/* ---- what is allocated ---- */

struct small {
  fh_object fh;
  struct small *other;
  uint64_t id;
};
struct large {
  fh_object fh;
  struct large *other;
  uint64_t id;
  char bytes[4000];
};
struct array_item {
  struct small *small;
};
struct array {
  fh_object fh;
  uint64_t id;
  size_t count;
  struct array_item items[];
};

static const fh_ref small_refs[] = {FH_FIELD(struct small, other), FH_END};
static const fh_ref large_refs[] = {FH_FIELD(struct large, other), FH_END};
static const fh_ref array_refs[] = {FH_FIELD(struct array_item, small), FH_END};
static const fh_type_spec small_spec = {.name = "small", .size = sizeof(struct small), .refs = small_refs};
static const fh_type_spec large_spec = {.name = "large", .size = sizeof(struct large), .refs = large_refs};
static const fh_type_spec array_spec = {.name = "array",
                                        .size = sizeof(struct array),
                                        .item_size = sizeof(struct array_item),
                                        .count_at = offsetof(struct array, count),
                                        .item_refs = array_refs};

struct kind {
  const char *name;
  void *(*take)(uint64_t id);
  bool (*is_whole)(const void *taken, uint64_t id);
  void (*give)(void *taken);
};

static void *take_small(uint64_t id) {
  struct small *taken = fh_new(type_of_spec(&small_spec));
  if (taken) taken->id = id;
  return taken;
}
static bool small_is_whole(const void *taken, uint64_t id) {
  const struct small *small = taken;
  return small->id == id && !small->other && fh_refcount(small) == 1;
}
static void *take_large(uint64_t id) {
  struct large *taken = fh_new(type_of_spec(&large_spec));
  if (taken) taken->id = id;
  return taken;
}
static bool large_is_whole(const void *taken, uint64_t id) {
  const struct large *large = taken;
  return large->id == id && !large->other && fh_refcount(large) == 1;
}
static void *take_array(uint64_t id) {
  struct array *taken = fh_new_items(type_of_spec(&array_spec), 100 + id % 400);
  if (taken) taken->id = id;
  return taken;
}
static bool array_is_whole(const void *taken, uint64_t id) {
  const struct array *array = taken;
  return array->id == id && array->count == 100 + id % 400 && fh_refcount(array) == 1;
}
static void *note_id(void *block, uint64_t id) {
  if (block) memcpy(block, &id, sizeof id);
  return block;
}
static void *take_block(uint64_t id) { return note_id(fh_alloc(BLOCK), id); }
static void *take_zeroed(uint64_t id) { return note_id(fh_alloc_zeroed(BLOCK), id); }
static void *take_realloced(uint64_t id) { return note_id(fh_realloc(NULL, BLOCK), id); }
/* Grows a small one. */
static void *take_grown(uint64_t id) {
  void *block = note_id(fh_alloc(64), id);
  if (!block) return NULL;
  void *grown = fh_realloc(block, BLOCK);
  uint64_t found;
  memcpy(&found, grown ? grown : block, sizeof found);
  require(found == id); /* refused: the block is as it was */
  if (!grown) fh_free(block);
  return grown;
}
static bool block_is_whole(const void *taken, uint64_t id) { return !memcmp(taken, &id, sizeof id); }

static const struct kind kinds[] = {
    {"fh_new, small", take_small, small_is_whole, fh_release},
    {"fh_new, large", take_large, large_is_whole, fh_release},
    {"fh_new_items", take_array, array_is_whole, fh_release},
    {"fh_alloc", take_block, block_is_whole, fh_free},
    {"fh_alloc_zeroed", take_zeroed, block_is_whole, fh_free},
    {"fh_realloc of NULL", take_realloced, block_is_whole, fh_free},
    {"fh_realloc", take_grown, block_is_whole, fh_free},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* ---- filling ---- */

/* What one test holds. */
static void *held[BLOCKS_MAX];
static size_t held_count;

static void hold_until_refused(const struct kind *kind) {
  void *taken;
  while ((taken = kind->take(held_count))) {
    require(held_count < BLOCKS_MAX);
    held[held_count++] = taken;
  }
}
static void give_down_to(const struct kind *kind, size_t count) {
  while (held_count > count) {
    held_count--;
    require(kind->is_whole(held[held_count], held_count));
    kind->give(held[held_count]);
  }
}
static const struct kind *const blocks = &kinds[3];

/* Drawn is what the limit is about; where nobody has credit that is what lives, limbo included. */
static uint64_t used_bytes(void) {
  fh_stats stats = stats_now();
  return stats.live_bytes + stats.limbo_bytes;
}

/* Whether that helps or not. */
static void reclaim(void) {
  fh_status status = fh_reclaim();
  require(status == FH_OK || status == FH_ELIMIT);
}

/* ---- refusals ---- */

static void every_kind_is_refused_and_granted_again(void **state) {
  start_with(0, HARD, NULL, NULL);
  for (size_t i = 0; i < KINDS; i++) {
    const struct kind *kind = &kinds[i];
    hold_until_refused(kind);
    fh_stats full = stats_now();
    assert_true(full.peak_bytes <= HARD);
    assert_true(full.live_bytes > HARD - 2 * BLOCK - 8 * KIB);
    for (int again = 0; again < 10; again++) assert_null(kind->take(held_count));
    fh_stats after = stats_now();
    assert_true(after.live_bytes == full.live_bytes && after.objects_live == full.objects_live);
    assert_true(after.refused >= full.refused + 10);
    assert_int_equal(fh_check_heap(), FH_OK);
    size_t half = held_count / 2;
    give_down_to(kind, half);
    reclaim(); /* what was published waits for a grace period */
    hold_until_refused(kind);
    assert_true(held_count > half + half / 2);
    give_down_to(kind, 0);
    reclaim();
  }
  runtime_stop();
}

static void a_block_can_shrink_at_the_limit(void **state) {
  start_with(0, HARD, NULL, NULL);
  unsigned char *block = fh_alloc(256 * KIB);
  assert_non_null(block);
  memset(block, 0x5a, 256 * KIB);
  hold_until_refused(blocks);
  assert_null(fh_realloc(block, 512 * KIB));
  unsigned char *shrunk = fh_realloc(block, 64 * KIB);
  assert_non_null(shrunk);
  for (size_t i = 0; i < 64 * KIB; i++) require(shrunk[i] == 0x5a);
  size_t before = held_count;
  hold_until_refused(blocks); /* the rest is to be had */
  assert_true(held_count > before + 128 * KIB / BLOCK);
  give_down_to(blocks, 0);
  fh_free(shrunk);
  runtime_stop();
}

static void hit_the_limit(int index, void *argument) {
  enum { HOLD = 64 };
  void *block[HOLD] = {NULL};
  struct small *small[HOLD] = {NULL};
  unsigned random = (unsigned)index + 1;
  for (size_t turn = scaled(40000); turn; turn--) {
    random = random * 1664525 + 1013904223;
    size_t at = random >> 26, bytes = (size_t)(random >> 8 & 0xffff) + 1;
    if (random & 1) {
      void *resized = fh_realloc(block[at], bytes);
      if (resized) block[at] = resized;
    } else if (random & 2) {
      fh_free(block[at]);
      block[at] = fh_alloc(bytes);
    } else {
      fh_drop(&small[at]);
      small[at] = take_small(turn);
    }
    if (turn % 64 == 0) fh_safepoint();
  }
  for (int i = 0; i < HOLD; i++) {
    fh_free(block[i]);
    fh_drop(&small[i]);
  }
}

static void many_threads_never_pass_the_limit(void **state) {
  start_with(0, HARD, NULL, NULL);
  run_threads(8, hit_the_limit, NULL);
  fh_housekeep();
  fh_stats stats = stats_now();
  assert_true(stats.refused > 0);
  assert_true(stats.peak_bytes <= HARD && stats.peak_bytes > HARD - 128 * KIB);
  runtime_stop();
}

/* ---- limits ---- */

static void limits_are_set_and_read(void **state) {
  size_t soft = 1, hard = 1;
  assert_int_equal(fh_limits_set(1, 2), FH_ESHUTDOWN);
  start_with(0, 0, NULL, NULL);
  fh_limits_get(&soft, &hard);
  assert_true(soft == 0 && hard == 0);
  assert_int_equal(fh_limits_set(0, 4 * MIB), FH_OK);
  fh_limits_get(&soft, NULL);
  fh_limits_get(NULL, &hard);
  assert_true(soft == 3 * MIB && hard == 4 * MIB);
  const size_t wrong[][2] = {{5 * MIB, 4 * MIB}, {SIZE_MAX, 0}, {0, SIZE_MAX - 1}, {(size_t)INT64_MAX + 1, 0}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_int_equal(fh_limits_set(wrong[i][0], wrong[i][1]), FH_EINVAL);
  fh_limits_get(&soft, &hard);
  assert_true(soft == 3 * MIB && hard == 4 * MIB);
  fh_stats stats = stats_now();
  assert_true(stats.soft_limit == soft && stats.hard_limit == hard);
  assert_int_equal(fh_limits_set(MIB, 0), FH_OK);
  fh_limits_get(&soft, &hard);
  assert_true(soft == MIB && hard == 0);
  assert_int_equal(fh_limits_set(0, 0), FH_OK);
  runtime_stop();
  const fh_options backwards = {.soft_limit = 2, .hard_limit = 1};
  assert_int_equal(fh_init(&backwards), FH_EINVAL);
}

static void the_limit_of_the_container(void **state) {
  start_with(0, 0, NULL, NULL);
  fh_status status = fh_limits_set(0, FH_LIMIT_CGROUP);
  size_t hard = 0;
  fh_limits_get(NULL, &hard);
  assert_true(status == FH_OK ? hard > 0 : status == FH_ENOTFOUND && hard == 0);
  runtime_stop();
  const fh_options options = {.hard_limit = FH_LIMIT_CGROUP};
  fh_status started = fh_init(&options);
  assert_int_equal(started, status);
  if (started == FH_OK) assert_int_equal(fh_shutdown(0, NULL), FH_OK);
}

static void a_limit_below_what_lives(void **state) {
  start_with(0, 0, NULL, NULL);
  while (held_count < 256) held[held_count] = blocks->take(held_count), held_count++;
  assert_int_equal(fh_limits_set(0, 512 * KIB), FH_OK); /* about half of it */
  for (size_t i = 0; i < KINDS; i++) {
    void *taken;
    while ((taken = kinds[i].take(0))) { /* what the credit still has */
      kinds[i].give(taken);
      assert_int_equal(fh_reclaim(), FH_ELIMIT);
    }
  }
  give_down_to(blocks, 150);
  assert_int_equal(fh_reclaim(), FH_ELIMIT); /* the credit of what was freed went with it */
  assert_null(fh_alloc(BLOCK));
  give_down_to(blocks, 100);
  assert_int_equal(fh_reclaim(), FH_OK);
  hold_until_refused(blocks);
  assert_in_range(held_count, 101, 128);
  assert_int_equal(fh_limits_set(0, 0), FH_OK); /* and at once there is room again */
  void *block = fh_alloc(4 * MIB);
  assert_non_null(block);
  fh_free(block);
  give_down_to(blocks, 0);
  runtime_stop();
}

/* ---- garbage ---- */

/* A cycle that nobody refers to. False: refused. */
static bool make_garbage(void) {
  struct large *a = take_large(1), *b = a ? take_large(2) : NULL;
  if (!b) {
    if (a) fh_release(a);
    return false;
  }
  fh_set(a, other, b);
  fh_give(b, other, a);
  fh_release(b);
  return true;
}
static void fill_with_garbage(void) {
  while (make_garbage()) {
  }
}

static void reclaiming_frees_cycles(void **state) {
  start_with(0, HARD, NULL, NULL);
  fh_gc_disable(); /* it is asked for: it happens all the same */
  for (int round = 0; round < 5; round++) {
    fill_with_garbage();
    assert_int_equal(fh_reclaim(), FH_OK);
    assert_true(used_bytes() < 64 * KIB);
  }
  hold_until_refused(blocks);
  assert_int_equal(fh_reclaim(), FH_ELIMIT);
  {
    FH_NO_SAFEPOINT();
    assert_int_equal(fh_reclaim(), FH_EAGAIN);
  }
  give_down_to(blocks, held_count - 2);
  assert_int_equal(fh_reclaim(), FH_OK);
  give_down_to(blocks, 0);
  runtime_stop();
}

/* The answer is about all of the bytes that were refused, not about what the credit lacked. */
static void reclaiming_promises_what_was_refused(void **state) {
  start_with(0, 1 * MIB, NULL, NULL);
  enum { MUCH = 48 * KIB };
  for (int round = 0; round < 64; round++) {
    void *block = NULL;
    while ((held[held_count] = fh_alloc(MUCH - (size_t)round * 512))) held_count++;
    fh_status status = fh_reclaim();
    if (status == FH_OK) block = fh_alloc(MUCH - (size_t)round * 512);
    assert_true(status == FH_OK ? block != NULL : status == FH_ELIMIT);
    fh_free(block);
    while (held_count) fh_free(held[--held_count]);
    for (int i = 0; i < round; i++) fh_free(fh_alloc(1000)); /* some credit */
  }
  runtime_stop();
}

static void a_refusal_brings_a_collection(void **state) {
  start_with(0, HARD, NULL, NULL);
  fill_with_garbage();
  fh_stats before = stats_now();
  assert_null(fh_alloc(64 * KIB));
  assert_true(is_quiet_about(before.collections));
  fh_safepoint();
  fh_stats after = stats_now();
  assert_true(after.collections > before.collections && after.emergencies > before.emergencies);
  void *block = fh_alloc(64 * KIB);
  assert_non_null(block);
  fh_free(block);
  runtime_stop();
}

static void a_disabled_collector_stays_so(void **state) {
  start_with(0, HARD, NULL, NULL);
  fh_gc_disable();
  fill_with_garbage();
  uint64_t before = stats_now().collections;
  for (int i = 0; i < 100; i++) {
    assert_null(fh_alloc(64 * KIB));
    fh_safepoint();
  }
  assert_true(is_quiet_about(before));
  fh_gc_enable();
  assert_null(fh_alloc(64 * KIB));
  fh_safepoint();
  assert_false(is_quiet_about(before));
  runtime_stop();
}

/* ---- many that are refused ---- */

enum { HERD = 8 };
static struct gate refused_gate;

static void be_refused(int index, void *argument) {
  fill_with_garbage();
  gate_open(&refused_gate, index); /* in their order */
  fh_safepoint();
}

/* Nobody reaches a safepoint before all are refused. */
static void be_refused_together(int index, void *argument) {
  gate_await_deaf(&refused_gate, index);
  fill_with_garbage();
  gate_open(&refused_gate, index + 1);
  gate_await_deaf(&refused_gate, HERD);
  be_refused(HERD, NULL);
}

static void one_collection_answers_many_refusals(void **state) {
  only_parallel();
  if (is_torture()) skip();
  start_with(0, HARD, NULL, NULL);
  refused_gate = (struct gate)GATE;
  fh_stats before = stats_now();
  run_threads(HERD, be_refused_together, NULL);
  fh_stats after = stats_now();
  /* They may have been refused again while the first one worked; but that is rare, and they do not all collect. */
  assert_in_range(after.collections - before.collections, 1, HERD / 2);
  runtime_stop();
}

/* ---- the callback ---- */

enum { TOLD_MAX = 4096 };
static struct {
  fh_memory_event event[TOLD_MAX];
  size_t count;
  bool inside;
  void (*then)(fh_memory_event event);
} told;

static void hear_event(void *context, fh_memory_event event) {
  require(context == &told && fh_is_attached() && !told.inside && told.count < TOLD_MAX);
  told.inside = true;
  told.event[told.count++] = event;
  if (told.then) told.then(event);
  told.inside = false;
}
static void start_telling(size_t soft, size_t hard, void (*then)(fh_memory_event event)) {
  memset(&told, 0, sizeof told);
  told.then = then;
  start_with(soft, hard, hear_event, &told);
}
static size_t times_told(fh_memory_event event) {
  size_t times = 0;
  for (size_t i = 0; i < told.count; i++) times += told.event[i] == event;
  return times;
}
static void hold_bytes(size_t bytes) {
  for (size_t end = held_count + bytes / BLOCK; held_count < end; held_count++) require((held[held_count] = blocks->take(held_count)));
}

static void crossings_are_told_once_at_a_safepoint(void **state) {
  start_telling(MIB, HARD, NULL);
  for (size_t round = 1; round <= 3; round++) {
    hold_bytes(MIB / 2);
    fh_safepoint();
    assert_int_equal(times_told(FH_MEMORY_SOFT), round - 1);
    hold_bytes(MIB * 3 / 4);
    assert_int_equal(times_told(FH_MEMORY_SOFT), round - 1); /* no safepoint yet */
    fh_safepoint();
    assert_int_equal(times_told(FH_MEMORY_SOFT), round);
    for (int i = 0; i < 10; i++) {
      hold_bytes(BLOCK);
      fh_safepoint();
    }
    assert_int_equal(times_told(FH_MEMORY_SOFT), round);
    assert_int_equal(times_told(FH_MEMORY_HARD), round - 1);
    hold_until_refused(blocks);
    assert_null(fh_alloc(BLOCK));
    fh_safepoint();
    assert_int_equal(times_told(FH_MEMORY_HARD), round);
    assert_int_equal(times_told(FH_MEMORY_EASED), round - 1);
    give_down_to(blocks, 0);
    fh_housekeep();
    fh_safepoint();
    assert_int_equal(times_told(FH_MEMORY_EASED), round);
  }
  runtime_stop();
}

/* No collection, no housekeeping: what is freed by counts is noticed, too. */
static void every_crossing_is_told(void **state) {
  start_telling(MIB, 0, NULL);
  for (size_t round = 1; round <= 5; round++) {
    hold_bytes(MIB * 5 / 4);
    fh_safepoint();
    assert_int_equal(times_told(FH_MEMORY_SOFT), round);
    give_down_to(blocks, 0);
    hold_bytes(MIB / 2);
    fh_safepoint();
    assert_int_equal(times_told(FH_MEMORY_EASED), round);
  }
  give_down_to(blocks, 0);
  runtime_stop();
}

static void work_in_callback(fh_memory_event event) {
  struct small *small = take_small(7);
  void *block = fh_alloc(BLOCK);
  if (event == FH_MEMORY_HARD) give_down_to(blocks, held_count / 2);
  fh_free(block);
  if (small) fh_release(small);
  make_garbage();
  fh_safepoint();
  fh_collect(2);
  reclaim();
  fh_housekeep();
  fh_blocking_begin();
  fh_blocking_end();
}

static void the_callback_may_do_what_safepoints_may(void **state) {
  start_telling(MIB, HARD, work_in_callback);
  for (int round = 0; round < 10; round++) {
    hold_until_refused(blocks);
    size_t hard = times_told(FH_MEMORY_HARD);
    fh_safepoint();
    assert_true(times_told(FH_MEMORY_HARD) > hard);
    void *block = fh_alloc(BLOCK); /* it made room */
    assert_non_null(block);
    fh_free(block);
  }
  give_down_to(blocks, 0);
  runtime_stop();
}

/* Fills a cache when memory is eased, and drops it when it is not: each brings the other about. */
static void swing(fh_memory_event event) {
  if (event == FH_MEMORY_EASED)
    hold_bytes(MIB * 5 / 4);
  else
    give_down_to(blocks, 0);
}

static void a_safepoint_ends_though_the_callback_swings(void **state) {
  start_telling(MIB, 0, swing);
  hold_bytes(MIB * 5 / 4);
  for (int i = 0; i < 10; i++) {
    size_t before = told.count;
    fh_safepoint();
    assert_in_range(told.count - before, 1, 8);
  }
  told.then = NULL;
  give_down_to(blocks, 0);
  runtime_stop();
}

static pthread_key_t unused_key;
static void end_thread(fh_memory_event event) {
  told.inside = false; /* as no code after it runs */
  told.then = NULL;
  pthread_exit(&unused_key);
}
static void cross_and_end(void *argument) {
  void *block = fh_alloc(MIB * 3 / 2);
  require(block);
  *(void **)argument = block;
  require(!fh_alloc(MIB));
  fh_safepoint();
  require(false);
}

static void the_callback_may_end_its_thread(void **state) {
  start_telling(MIB, HARD, end_thread);
  void *block = NULL;
  struct companion companion;
  companion_start(&companion, cross_and_end, &block);
  companion_join(&companion);
  assert_int_equal(stats_now().attached, 1);
  assert_int_equal(times_told(FH_MEMORY_HARD), 1);
  assert_int_equal(times_told(FH_MEMORY_SOFT), 1); /* on its way out */
  assert_non_null(block);
  fh_free(block);
  fh_housekeep();
  fh_safepoint();
  assert_int_equal(times_told(FH_MEMORY_EASED), 1);
  runtime_stop();
}

/* ---- credits and limbo ---- */

static void use_and_leave(int index, void *argument) {
  for (int i = 0; i < 100; i++) fh_free(fh_alloc(100));
}

/* Less than a block is left. */
static bool is_full(void) { return used_bytes() + 2 * BLOCK > HARD; }

static void credits_return_at_detach(void **state) {
  start_with(0, HARD, NULL, NULL);
  fh_gc_disable();
  run_threads(8, use_and_leave, NULL);
  hold_until_refused(blocks);
  assert_true(is_full());
  give_down_to(blocks, 0);
  runtime_stop();
}

struct sleeper {
  struct gate asleep, wake;
  size_t retire;
};
static void sleep_with(void *argument) {
  struct sleeper *sleeper = argument;
  use_and_leave(0, NULL);
  if (sleeper->retire) fh_retire(fh_alloc(sleeper->retire));
  fh_blocking_begin();
  gate_open(&sleeper->asleep, 1);
  gate_await(&sleeper->wake, 1);
  fh_blocking_end();
}

enum { SLEEPERS = 6 };
static void fill_beside_sleepers(size_t soft, size_t retire) {
  start_with(soft, HARD, NULL, NULL);
  struct companion companion[SLEEPERS];
  struct sleeper sleeper[SLEEPERS];
  for (int i = 0; i < SLEEPERS; i++) {
    sleeper[i] = (struct sleeper){.asleep = GATE, .wake = GATE, .retire = retire};
    companion_start(&companion[i], sleep_with, &sleeper[i]);
    gate_await(&sleeper[i].asleep, 1);
  }
  hold_until_refused(blocks);
  if (!is_torture()) assert_false(is_full()); /* it is with those who sleep */
  fh_safepoint();
  hold_until_refused(blocks);
  assert_true(is_full());
  if (retire) assert_int_equal(stats_now().limbo_bytes, 0);
  give_down_to(blocks, 0);
  for (int i = 0; i < SLEEPERS; i++) gate_open(&sleeper[i].wake, 1);
  for (int i = 0; i < SLEEPERS; i++) companion_join(&companion[i]);
  runtime_stop();
}

static void a_collection_takes_sleepers_credits(void **state) { fill_beside_sleepers(0, 0); }
static void also_where_both_limits_are_one(void **state) { fill_beside_sleepers(HARD, 0); }
static void a_collection_frees_sleepers_limbo(void **state) { fill_beside_sleepers(0, 100 * KIB); }

/* ---- eager collections ---- */

static uint64_t collections_of(size_t soft, size_t hard) {
  const fh_options options = {.soft_limit = soft, .hard_limit = hard, .gc_threshold = 20000};
  runtime_start(&options);
  void *ballast = fh_alloc(8 * MIB);
  require(ballast);
  for (size_t i = 0; i < 100000; i++) {
    struct small *a = take_small(1), *b = take_small(2);
    require(a && b);
    fh_set(a, other, b);
    fh_give(b, other, a);
    fh_release(b);
    fh_safepoint();
  }
  uint64_t collections = stats_now().collections;
  fh_free(ballast);
  runtime_stop();
  return collections;
}

static void above_the_soft_limit_collections_are_eager(void **state) {
  if (is_torture()) skip(); /* collects all the time */
  uint64_t usual = collections_of(0, 0);
  assert_in_range(usual, 5, 12);
  assert_in_range(collections_of(64 * MIB, 0), usual - 1, usual + 1); /* below it */
  uint64_t eager = collections_of(4 * MIB, 0);
  assert_true(eager >= 3 * usual);
  uint64_t pressed = collections_of(4 * MIB, 10 * MIB); /* and the more the less is left */
  assert_true(pressed > usual);
}

/* ---- a program that lives at its limit ---- */

/* Keeps what it can get. What it gives up refers to itself, so that only collections free it. */
static atomic_size_t refusals;
static void live_at_the_limit(int index, void *argument) {
  enum { KEPT = 256, AT_ONCE = 4 };
  size_t wanted = *(const size_t *)argument, count = 0;
  struct large *kept[KEPT];
  while (atomic_load(&refusals) < wanted) {
    struct large *made = take_large(count);
    if (made) {
      fh_set(made, other, made);
      require(count < KEPT); /* more than the limit allows */
      kept[count++] = made;
    } else {
      for (int i = 0; i < AT_ONCE && count; i++) {
        require(kept[count - 1]->id == count - 1 && kept[count - 1]->other == kept[count - 1]);
        fh_release(kept[--count]);
      }
      if (atomic_fetch_add(&refusals, 1) % 2) reclaim();
    }
    fh_safepoint();
  }
  while (count) fh_release(kept[--count]);
}

static void a_program_lives_at_its_limit(void **state) {
  size_t wanted = scaled(1000);
  for (int threads = 1; threads <= 4; threads += 3) {
    start_with(0, 512 * KIB, NULL, NULL);
    atomic_store(&refusals, 0);
    run_threads(threads, live_at_the_limit, &wanted);
    fh_stats stats = stats_now();
    assert_true(stats.refused >= wanted && stats.peak_bytes <= 512 * KIB);
    runtime_stop();
  }
}

/* ---- memory goes back ---- */

enum { MUCH = 48 * MIB, PIECE = 512, PIECES = MUCH / PIECE };
static void *piece[PIECES];

static void make_pieces(void) {
  for (size_t i = 0; i < PIECES; i++) {
    require((piece[i] = fh_alloc(PIECE)));
    memset(piece[i], 1, PIECE);
  }
}
static void free_pieces(void) {
  for (size_t i = 0; i < PIECES; i++) fh_free(piece[i]);
}

static void purging_makes_the_process_smaller(void **state) {
  start_with(0, 0, NULL, NULL);
  make_pieces();
  size_t before = resident_bytes();
  free_pieces();
  (void)fh_purge(0);
  if (memory_is_measurable()) assert_true(resident_bytes() + MUCH / 2 < before);
  {
    FH_NO_SAFEPOINT();
    assert_int_equal(fh_purge(0), 0);
  }
  runtime_stop();
}

struct piecemaker {
  struct gate made, end;
};
static void make_pieces_and_sleep(void *argument) {
  struct piecemaker *maker = argument;
  make_pieces();
  fh_blocking_begin();
  gate_open(&maker->made, 1);
  gate_await(&maker->end, 1);
  fh_blocking_end();
}
static void free_and_purge(void *argument) {
  size_t before = resident_bytes();
  free_pieces();
  (void)fh_purge(0);
  if (memory_is_measurable()) require(resident_bytes() + MUCH / 2 < before);
}

static void purging_reaches_the_heaps_of_sleepers(void **state) {
  start_with(0, 0, NULL, NULL);
  for (int by_main = 0; by_main < 2; by_main++) { /* the allocator treats the main thread in a way of its own */
    struct piecemaker maker = {GATE, GATE};
    struct companion sleeper, purger;
    companion_start(&sleeper, make_pieces_and_sleep, &maker);
    gate_await(&maker.made, 1);
    if (by_main) {
      free_and_purge(NULL);
    } else {
      companion_start(&purger, free_and_purge, NULL);
      companion_join(&purger);
    }
    gate_open(&maker.end, 1);
    companion_join(&sleeper);
  }
  runtime_stop();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_kind_is_refused_and_granted_again),
      cmocka_unit_test(a_block_can_shrink_at_the_limit),
      cmocka_unit_test(many_threads_never_pass_the_limit),
      cmocka_unit_test(limits_are_set_and_read),
      cmocka_unit_test(the_limit_of_the_container),
      cmocka_unit_test(a_limit_below_what_lives),
      cmocka_unit_test(reclaiming_frees_cycles),
      cmocka_unit_test(reclaiming_promises_what_was_refused),
      cmocka_unit_test(a_refusal_brings_a_collection),
      cmocka_unit_test(a_disabled_collector_stays_so),
      cmocka_unit_test(one_collection_answers_many_refusals),
      cmocka_unit_test(crossings_are_told_once_at_a_safepoint),
      cmocka_unit_test(every_crossing_is_told),
      cmocka_unit_test(the_callback_may_do_what_safepoints_may),
      cmocka_unit_test(a_safepoint_ends_though_the_callback_swings),
      cmocka_unit_test(the_callback_may_end_its_thread),
      cmocka_unit_test(credits_return_at_detach),
      cmocka_unit_test(a_collection_takes_sleepers_credits),
      cmocka_unit_test(also_where_both_limits_are_one),
      cmocka_unit_test(a_collection_frees_sleepers_limbo),
      cmocka_unit_test(above_the_soft_limit_collections_are_eager),
      cmocka_unit_test(a_program_lives_at_its_limit),
      cmocka_unit_test(purging_makes_the_process_smaller),
      cmocka_unit_test(purging_reaches_the_heaps_of_sleepers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
