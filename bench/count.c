/* SPDX-License-Identifier: MIT */
/* What a pair of retain and release costs: for the owner, for a stranger, for two strangers at once, of an immortal
 * object, and where the retain is the read of a weak reference. Each loop walks an array of pointers to 32-byte structs, so
 * that only the counting differs. */
#include "bench.h"

#include <mimalloc.h>

/* As large as a node, and its counts stand where a node's bias word stands. */
struct plain {
  uint32_t before[2];
  uint32_t count;
  uint32_t behind[5];
};
struct atomic_count {
  uint32_t before[2];
  atomic_uint count;
  uint32_t behind[5];
};
_Static_assert(sizeof(struct plain) == sizeof(struct node), "equal strides");
_Static_assert(offsetof(struct plain, count) == offsetof(fh_object, fh__bias), "the same field");

struct counting {
  struct node *object[COUNT_OBJECTS];
  fh_weak *weak[COUNT_OBJECTS]; /* to these; made where they are measured */
  struct plain *plain[COUNT_OBJECTS];
  struct atomic_count *atomic[COUNT_OBJECTS];
};

/* ---- the loops ---- */

/* Of its own and at the start of a cache line: where the linker put such a short loop would make a difference of 20%. */
#define TIMED_LOOP __attribute__((noinline, aligned(64)))

static TIMED_LOOP void count_objects(struct node *const *object, uint64_t n) {
  for (uint64_t turn = 0; turn < n; turn++)
    for (unsigned i = 0; i < COUNT_OBJECTS; i++) {
      struct node *one = object[i];
      fh_retain(one);
      COMPILER_BARRIER();
      fh_release(one);
    }
}

static TIMED_LOOP void count_plainly(struct plain *const *plain, uint64_t n) {
  for (uint64_t turn = 0; turn < n; turn++)
    for (unsigned i = 0; i < COUNT_OBJECTS; i++) {
      struct plain *one = plain[i];
      one->count++;
      COMPILER_BARRIER(); /* or the two would be folded to nothing */
      one->count--;
      COMPILER_BARRIER();
    }
}

static __attribute__((noinline, cold)) void count_fell_to_zero(void) { die("an atomic count fell to zero"); }

/* As a C11 program would write it: the last one out notices. */
static inline void pair_atomically(struct atomic_count *one) {
  atomic_fetch_add_explicit(&one->count, 1, memory_order_relaxed);
  COMPILER_BARRIER();
  if (atomic_fetch_sub_explicit(&one->count, 1, memory_order_acq_rel) == 1) count_fell_to_zero();
}

static TIMED_LOOP void count_atomically(struct atomic_count *const *atomic, uint64_t n) {
  for (uint64_t turn = 0; turn < n; turn++)
    for (unsigned i = 0; i < COUNT_OBJECTS; i++) pair_atomically(atomic[i]);
}

static TIMED_LOOP void read_weak(fh_weak *const *weak, uint64_t n) {
  for (uint64_t turn = 0; turn < n; turn++)
    for (unsigned i = 0; i < COUNT_OBJECTS; i++) fh_release(fh_weak_get(weak[i]));
}

static TIMED_LOOP void count_one_object(struct node *one, uint64_t n) {
  for (uint64_t turn = 0; turn < n; turn++) {
    fh_retain(one);
    COMPILER_BARRIER();
    fh_release(one);
  }
}

static TIMED_LOOP void count_one_atomic(struct atomic_count *one, uint64_t n) {
  for (uint64_t turn = 0; turn < n; turn++) pair_atomically(one);
}

/* ---- the sides ---- */

static uint64_t owner_side(void *context, uint64_t n) {
  const struct counting *counting = context;
  const uint64_t begun = now_ns();
  count_objects(counting->object, n);
  return now_ns() - begun;
}

static uint64_t plain_side(void *context, uint64_t n) {
  const struct counting *counting = context;
  const uint64_t begun = now_ns();
  count_plainly(counting->plain, n);
  return now_ns() - begun;
}

static uint64_t atomic_side(void *context, uint64_t n) {
  const struct counting *counting = context;
  const uint64_t begun = now_ns();
  count_atomically(counting->atomic, n);
  return now_ns() - begun;
}

/* The stranger holds a reference of its own meanwhile, so that no release comes near zero. */
static void be_stranger(unsigned index, void *context, uint64_t n) {
  struct counting *counting = context;
  (void)index;
  for (unsigned i = 0; i < COUNT_OBJECTS; i++) fh_retain(counting->object[i]);
  count_objects(counting->object, n);
  for (unsigned i = 0; i < COUNT_OBJECTS; i++) fh_release(counting->object[i]);
}

/* The owner keeps the objects alive. */
static void be_weak_stranger(unsigned index, void *context, uint64_t n) {
  const struct counting *counting = context;
  (void)index;
  read_weak(counting->weak, n);
}

static void be_atomic(unsigned index, void *context, uint64_t n) {
  const struct counting *counting = context;
  (void)index;
  count_atomically(counting->atomic, n);
}

static uint64_t stranger_side(void *context, uint64_t n) { return crew_run(1, be_stranger, context, n); }
static uint64_t weak_stranger_side(void *context, uint64_t n) { return crew_run(1, be_weak_stranger, context, n); }
static uint64_t atomic_stranger_side(void *context, uint64_t n) { return crew_run(1, be_atomic, context, n); }

static void contend_object(unsigned index, void *context, uint64_t n) {
  struct counting *counting = context;
  (void)index;
  fh_retain(counting->object[0]);
  count_one_object(counting->object[0], n);
  fh_release(counting->object[0]);
}

static void contend_atomic(unsigned index, void *context, uint64_t n) {
  const struct counting *counting = context;
  (void)index;
  count_one_atomic(counting->atomic[0], n);
}

/* Two threads, and a third, the caller's, owns the object and is in a blocking region. */
static uint64_t contended_side(void *context, uint64_t n) { return crew_run(2, contend_object, context, n); }
static uint64_t contended_atomic_side(void *context, uint64_t n) { return crew_run(2, contend_atomic, context, n); }

/* ---- the figures ---- */

static void make_counting(struct counting *counting) {
  fh_type *type = must_register(&node_spec);
  for (unsigned i = 0; i < COUNT_OBJECTS; i++) {
    counting->object[i] = must_make(type);
    counting->plain[i] = must_allocate(sizeof(struct plain));
    counting->atomic[i] = must_allocate(sizeof(struct atomic_count));
    atomic_init(&counting->atomic[i]->count, 1);
  }
}

static void publish_all(struct counting *counting) {
  for (unsigned i = 0; i < COUNT_OBJECTS; i++) fh_publish(counting->object[i]);
}

/* Every count is back at where it was, or else something else was measured. */
static void drop_counting(struct counting *counting) {
  for (unsigned i = 0; i < COUNT_OBJECTS; i++) {
    const uint64_t count = fh_refcount(counting->object[i]);
    expect(count == 1 || count == UINT64_MAX, "each object has one reference, or is immortal");
    expect(counting->plain[i]->count == 0, "each plain count is 0");
    expect(atomic_load_explicit(&counting->atomic[i]->count, memory_order_relaxed) == 1, "each atomic count is 1");
    fh_release(counting->object[i]);
    mi_free(counting->plain[i]);
    mi_free(counting->atomic[i]);
  }
}

static void compare_counting(struct result *result, struct counting *counting, side_function ours, side_function theirs,
                             double operations) {
  const struct comparison comparison = {.ours = ours, .theirs = theirs, .context = counting, .operations = operations};
  compare(result, &comparison);
  drop_counting(counting);
}

static void measure_owner_vs_plain(struct result *result) {
  struct counting counting;
  make_counting(&counting);
  compare_counting(result, &counting, owner_side, plain_side, COUNT_OBJECTS);
}

static void measure_owner_vs_atomic(struct result *result) {
  struct counting counting;
  make_counting(&counting);
  compare_counting(result, &counting, owner_side, atomic_side, COUNT_OBJECTS);
}

static void measure_stranger(struct result *result) {
  struct counting counting;
  make_counting(&counting);
  publish_all(&counting);
  compare_counting(result, &counting, stranger_side, atomic_stranger_side, COUNT_OBJECTS);
}

static void measure_weak(struct result *result) {
  struct counting counting;
  make_counting(&counting);
  for (unsigned i = 0; i < COUNT_OBJECTS; i++) {
    counting.weak[i] = fh_weak_new(counting.object[i]);
    if (!counting.weak[i]) die("fh_weak_new: no memory");
  }
  compare_counting(result, &counting, weak_stranger_side, atomic_stranger_side, COUNT_OBJECTS);
  for (unsigned i = 0; i < COUNT_OBJECTS; i++) fh_release(counting.weak[i]);
}

static void measure_immortal(struct result *result) {
  struct counting counting;
  make_counting(&counting);
  for (unsigned i = 0; i < COUNT_OBJECTS; i++) fh_make_immortal(counting.object[i]);
  result->immortal = COUNT_OBJECTS;
  compare_counting(result, &counting, owner_side, plain_side, COUNT_OBJECTS);
}

/* Both threads' pairs are counted as one: the figure beside is the time in which each made one. */
static void measure_contended(struct result *result) {
  struct counting counting;
  make_counting(&counting);
  publish_all(&counting);
  compare_counting(result, &counting, contended_side, contended_atomic_side, 1);
}

const struct figure count_figures[] = {
    {"count.owner_vs_plain", "x", AT_MOST, 1.9, measure_owner_vs_plain},
    {"count.owner_vs_atomic", "x", AT_MOST, 0.13, measure_owner_vs_atomic},
    {"count.stranger_vs_atomic", "x", AT_MOST, 1.3, measure_stranger},
    {"count.immortal_vs_plain", "x", AT_MOST, 1.9, measure_immortal},
    {"count.contended_vs_atomic", "x", AT_MOST, 1.4, measure_contended},
    {"weak.get_vs_atomic", "x", AT_MOST, 2.5, measure_weak},
    {NULL, NULL, REPORTED, 0, NULL},
};
