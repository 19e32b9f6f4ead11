/* SPDX-License-Identifier: MIT */
/* What the tests share: threads that meet, chance, a type of nodes, a runtime that must end clean, and children that must trap.
 *
 * It needs nothing but the public headers, so that tests of the shared library use it too. */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

/* cmocka.h wants these four before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <freehold/freehold.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- checks for any thread ----
 *
 * cmocka's assertions jump to the test's thread, so other threads use this one: it says where and ends the program. */
#define require(condition) \
  ((condition) ? (void)0 : (fprintf(stderr, "%s:%d: required: %s\n", __FILE__, __LINE__, #condition), abort()))

/* ---- the design ----
 *
 * The suite runs under each design: the environment names it (FREEHOLD_TEST_DESIGN), and every runtime that a test starts
 * without naming one itself gets it. A test of what only some designs do skips itself in the others. */
fh_design test_design(void);
fh_status test_init(const fh_options *options);
#define fh_init(...) test_init(__VA_ARGS__)
void only_biased(void);    /* owners and strangers, queues and merges are the biased design's */
void only_parallel(void);  /* mutators run beside each other: not in the gil design */
void only_private(void);   /* objects are private until they are published: not in the atomic design */
void only_strangers(void); /* somebody counts with atomic instructions: not in the gil design */
bool born_published(void); /* ... and this is the atomic design */

/* ---- the build ---- */

bool is_checked(void); /* broken contracts trap: checked and torture builds of the library */
bool is_torture(void); /* hostile constants: counts spill at 4, queues have segments of 2 */
void only_checked(void);

/* Resident size says something: a sanitizer keeps freed memory for itself. */
bool memory_is_measurable(void);
size_t resident_bytes(void);

/* How often to turn a loop, given how often a release build can afford to: sanitizers and torture builds are slower. */
size_t scaled(size_t turns);

/* ---- gates: forced order between threads, no sleeps ---- */

/* One turn of a loop that waits for another attached thread: a safepoint, and a processor for others. */
void give_way(void);

/* A number that only grows. Threads open it to a value, and wait until it has reached one. */
struct gate {
  pthread_mutex_t lock;
  pthread_cond_t opened;
  atomic_int value;
  int waiting; /* in gate_await; under the lock */
};
#define GATE {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0}

void gate_open(struct gate *gate, int value);
void gate_await(struct gate *gate, int value);         /* in a blocking region, if the caller is attached */
void gate_await_running(struct gate *gate, int value); /* stays attached and reaches safepoints */
void gate_await_deaf(struct gate *gate, int value);    /* stays attached and reaches none */

/* Stays attached and reaches safepoints, until somebody waits in gate_await. If that one is attached, it is in its blocking region
 * then, and does nothing more by itself. Its state alone would not say so: it is also off line while it waits for another's stop,
 * and for a moment before it finds something in its queue and comes back. */
void gate_await_waiter(struct gate *gate);

/* ---- threads ---- */

/* All of `count` threads meet; attached ones wait in a blocking region. */
void meet(pthread_barrier_t *barrier);

/* Runs body(index, argument) on `count` new threads, which all start at once, and waits for them in a blocking region if
 * the caller is attached. The first attaches each of them around its body; the second leaves them as they were born. */
void run_threads(int count, void (*body)(int index, void *argument), void *argument);
void run_bare_threads(int count, void (*body)(int index, void *argument), void *argument);

/* One thread that runs beside the caller. */
struct companion {
  pthread_t thread;
  void (*body)(void *argument);
  void *argument;
  bool attached;
};
void companion_start(struct companion *companion, void (*body)(void *), void *argument);      /* attached */
void companion_start_bare(struct companion *companion, void (*body)(void *), void *argument); /* not attached */
void companion_join(struct companion *companion); /* in a blocking region, if the caller is attached */

/* ---- chance ----
 *
 * A generator is one word, and the seed decides all that it draws: what fails once fails again. */
uint64_t random_from(uint64_t seed);
uint64_t draw(uint64_t *random);
size_t below(uint64_t *random, size_t n); /* 0 .. n - 1 */

/* ---- types ---- */

fh_type *type_of_spec(const fh_type_spec *spec); /* registered with the runtime that runs */
void *new_of_spec(const fh_type_spec *spec);     /* an object of that type, never NULL */

/* An object of a type that refuses weak references, which is called "proud". */
fh_object *proud_new(void);

/* ---- nodes ---- */

/* An ordinary object with two fields. Its death is counted, and its check word tells a dead or torn one from a live one. */
struct node {
  fh_object fh;
  struct node *left;
  struct node *right;
  uint64_t id;
  uint64_t check; /* ~id */
};
extern const fh_type_spec node_spec;
extern atomic_uint_fast64_t node_deaths;
fh_type *node_type(void);                  /* registered with the runtime that runs */
struct node *node_new(uint64_t id);        /* never NULL */
struct node *published_node(uint64_t id);  /* the same, published */
bool node_is_whole(const struct node *n);  /* its check word fits */
uint64_t deaths(void);                     /* node_deaths by now */

/* Private nodes with the ids from 0 on, one behind the other by `left`; only the first is the caller's. A chain begins with the
 * last id and ends with 0, a ring begins with 0 and leads back to it. */
struct node *node_chain(size_t length); /* 0: NULL */
struct node *node_ring(size_t length);

/* ---- weak references ---- */

fh_weak *weak_to(void *target); /* never NULL */
bool is_lost(fh_weak *weak);

/* ---- the runtime around a test ---- */

/* Set-up: starts the runtime and attaches. Tear-down: settles, proves the heap, detaches, and requires that nothing leaked. */
int runtime_setup(void **state);
int runtime_teardown(void **state);
/* The same two without a test around them, and with options. */
void runtime_start(const fh_options *options);
void runtime_stop(void);

/* The set-up without collections but those that the test asks for: torture builds collect of their own accord. */
int runtime_setup_gc_off(void **state);

/* A test between set-up and tear-down. */
#define with_runtime(test) cmocka_unit_test_setup_teardown(test, runtime_setup, runtime_teardown)
#define with_runtime_gc_off(test) cmocka_unit_test_setup_teardown(test, runtime_setup_gc_off, runtime_teardown)

fh_stats stats_now(void);

/* Hears the runtime's messages: options.log = hear, options.log_context = the struct. */
struct heard {
  pthread_mutex_t lock;
  size_t length;
  char text[16384];
};
#define HEARD {PTHREAD_MUTEX_INITIALIZER, 0, {0}}
void hear(void *heard, fh_log_level level, const char *message);

/* ---- children ----
 *
 * A child is this program again, which runs one function instead of the tests: a fork alone would leave ThreadSanitizer
 * without its threads. So `body` must not rely on anything that a test has set. */

struct outcome {
  int signal;       /* that ended the child; 0: none */
  int status;       /* its exit status, if no signal did */
  char text[16384]; /* what it wrote to standard error */
};
void child_run(void (*body)(void), struct outcome *outcome);
/* The child must abort, and its message must have all of these (the last is NULL). */
void expect_trap(void (*body)(void), ...) __attribute__((sentinel));
/* The child must end with status 0. */
void expect_fine(void (*body)(void));

#endif
