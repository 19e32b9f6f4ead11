/* SPDX-License-Identifier: MIT */
/* Threads that are not ours: they belong to a host, come when they like, call out of other libraries, and end anywhere.
 *
 * Claims: attaches and blocking regions come back level by level, also where two libraries call each other; a thread that
 * ends is detached by itself, from every state it can be in, and leaves a mutator that the next one adopts; the same holds
 * for one that attaches in the destructor of a pthread key, with four rounds of destructors if it detaches by hand and one
 * less if it does not; fh_release_later and fh_free work in any thread, at any time of its life; pools, C11 threads and
 * callbacks need nothing but fh_attach and fh_detach; no call of Freehold's is a cancellation point, and cancellation in a
 * blocking region loses nothing; fh_hold keeps a shutdown waiting; who attaches too late, or comes back from a blocking region
 * while a shutdown waits, gets a status.
 *
 * What a jump may and may not skip stands above the tests of longjmp. */
#include "support/support.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sched.h>
#include <search.h>
#include <signal.h>
#include <sys/time.h>
#include <threads.h>
#include <unistd.h>

static bool is_sanitized(void) { return !memory_is_measurable(); }

static void attach(void) { require(fh_attach("foreign") == FH_OK); }
static void end_region(void) { require(fh_blocking_end() == FH_OK); }

static void work_a_little(void) {
  FH_AUTO struct node *a = node_new(1);
  FH_AUTO struct node *b = node_new(2);
  fh_set(a, left, b);
  fh_publish(a);
  fh_safepoint();
  require(node_is_whole(fh_get(a, left)));
}

static void in_another_thread(void (*body)(void *), void *argument) {
  struct companion companion;
  companion_start_bare(&companion, body, argument);
  companion_join(&companion);
}

/* Nobody but the test is attached, and who comes next finds all in order, and no lock taken but those it knows of. */
static struct node *guarded; /* the object that ending threads lock */

static void be_the_next(void *unused) {
  attach();
  work_a_little();
  fh_lock(guarded);
  fh_unlock(guarded);
  fh_collect(2);
  fh_detach();
}

static void expect_tidiness(void) {
  fh_stats before = stats_now();
  assert_int_equal(before.attached, 1);
  in_another_thread(be_the_next, NULL);
  fh_stats after = stats_now();
  assert_int_equal(after.attached, 1);
  assert_int_equal(after.mutators, before.mutators);
  assert_int_equal(after.adoptions, before.adoptions + 1);
  assert_int_equal(fh_check_heap(), FH_OK);
}

static int setup(void **state) {
  runtime_setup(state);
  guarded = published_node(0);
  in_another_thread(be_the_next, NULL); /* so that there is a mutator to adopt */
  return 0;
}

static int teardown(void **state) {
  fh_release(guarded);
  return runtime_teardown(state);
}
#define with_guarded(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

/* ---- nesting ---- */

/* A walk through attaches and blocking regions, nested at random, against the one thing that they promise: after the end
 * of each everything is as it was before its beginning. */
struct walk {
  uint64_t random;
  int alternations, steps;
};

static void walk_on(struct walk *walk, bool attached);

static void step_into(struct walk *walk, bool attached, bool attach_again) {
  enum { ALTERNATIONS_MAX = 40 };
  bool alternates = attached != attach_again;
  if (alternates && walk->alternations == ALTERNATIONS_MAX) return;
  walk->alternations += alternates;
  if (attach_again)
    attach();
  else
    fh_blocking_begin();
  walk_on(walk, attach_again);
  if (attach_again)
    fh_detach();
  else
    end_region();
  walk->alternations -= alternates;
}

static void walk_on(struct walk *walk, bool attached) {
  require(fh_is_attached() == attached);
  struct node *kept = attached ? node_new(walk->random) : NULL;
  while (walk->steps && below(&walk->random, 4)) {
    walk->steps--;
    step_into(walk, attached, below(&walk->random, 2));
    require(fh_is_attached() == attached);
    if (kept) require(node_is_whole(kept) && fh_refcount(kept) == 1);
  }
  if (kept) fh_release(kept);
}

static void every_level_is_come_back_to(void **state) {
  for (uint64_t seed = 1; seed <= scaled(2000); seed++) {
    struct walk walk = {.random = random_from(seed), .steps = 200};
    walk_on(&walk, true);
  }
  assert_int_equal(stats_now().attached, 1);
}

/* Two libraries that know nothing of each other. Each attaches around its own work, and calls out in a blocking region. */
struct library {
  struct library *other;
  struct node *cache;
  int calls;
};

static void call_library(struct library *library, int depth) {
  FH_ATTACHED(status, "library");
  require(status == FH_OK);
  FH_AUTO struct node *own = node_new((uint64_t)depth);
  fh_lock(library->cache);
  fh_set(library->cache, left, own);
  fh_unlock(library->cache);
  library->calls++;
  if (!depth) return;
  {
    FH_BLOCKING();
    require(!fh_is_attached());
    call_library(library->other, depth - 1);
    require(!fh_is_attached());
  }
  require(fh_is_attached() && node_is_whole(own));
}

static void libraries_call_each_other_out_of_blocking_regions(void **state) {
  struct library one = {.cache = published_node(1)}, two = {.other = &one, .cache = published_node(2)};
  one.other = &two;
  fh_blocking_begin();
  call_library(&one, 24);
  assert_false(fh_is_attached());
  end_region();
  call_library(&two, 24);
  assert_true(fh_is_attached());
  assert_int_equal(one.calls, 13 + 12);
  assert_int_equal(two.calls, 12 + 13);
  fh_release(one.cache);
  fh_release(two.cache);
}

/* ---- the states that a thread can end in ---- */

static void enter_attached(void) { attach(); }
static void enter_nested(void) {
  attach();
  attach();
  attach();
}
static void enter_region(void) {
  attach();
  fh_blocking_begin();
}
static void enter_nested_regions(void) {
  enter_region();
  fh_blocking_begin();
  fh_blocking_begin();
}
static void enter_attached_in_region(void) {
  enter_nested_regions();
  attach();
  attach();
}
static void enter_region_in_region(void) {
  enter_attached_in_region();
  fh_blocking_begin();
}
static void enter_with_lock(void) {
  attach();
  fh_lock(guarded);
}
static void enter_region_with_lock(void) {
  enter_with_lock();
  fh_blocking_begin();
}
static void enter_attached_in_region_with_lock(void) {
  enter_region_with_lock();
  attach();
}
static void enter_no_safepoint(void) {
  attach();
  fh__no_safepoint_begin(); /* the guard, and a block that is never left */
}

typedef void (*entry)(void);
static const entry states[] = {
    enter_attached,         enter_nested,    enter_region,           enter_nested_regions,               enter_attached_in_region,
    enter_region_in_region, enter_with_lock, enter_region_with_lock, enter_attached_in_region_with_lock, enter_no_safepoint,
};
enum { STATES = sizeof states / sizeof *states };

static void enter_and_return(void *state) { (*(const entry *)state)(); }
static void enter_and_exit(void *state) {
  (*(const entry *)state)();
  pthread_exit(NULL);
}

static void a_thread_is_detached_from_every_state(void **state) {
  for (int i = 0; i < STATES; i++) {
    in_another_thread(enter_and_return, (void *)(uintptr_t)&states[i]);
    expect_tidiness();
    in_another_thread(enter_and_exit, (void *)(uintptr_t)&states[i]);
    expect_tidiness();
  }
}

/* A critical section lives on the stack. Where it was given up, for a blocking region, nothing of it is left. A thread that
 * ends while it has the lock has ended in the middle of a change; the lock stays taken, as a mutex would. Whoever may be ended
 * there says what to do, with pthread_cleanup_push or by compiling with -fexceptions (test_foreign_unwind.c). */
static void exit_in_region_in_section(void *unused) {
  attach();
  FH_CRITICAL(guarded);
  fh_blocking_begin();
  pthread_exit(NULL);
}
static void exit_attached_in_region_in_section(void *unused) {
  attach();
  FH_CRITICAL(guarded);
  fh_blocking_begin();
  attach();
  pthread_exit(NULL);
}
static void end_section(void *section) { fh_critical_end(section); }
static void exit_in_section_with_a_handler(void *unused) {
  attach();
  fh_critical section;
  fh_critical_begin(&section, guarded, NULL);
  pthread_cleanup_push(end_section, &section);
  pthread_exit(NULL);
  pthread_cleanup_pop(true);
}
static void exit_in_section(void *object) {
  attach();
  FH_CRITICAL(object);
  pthread_exit(NULL);
}

static void a_thread_may_end_inside_a_critical_section(void **state) {
  in_another_thread(exit_in_region_in_section, NULL);
  expect_tidiness();
  in_another_thread(exit_attached_in_region_in_section, NULL);
  expect_tidiness();
  in_another_thread(exit_in_section_with_a_handler, NULL);
  expect_tidiness();
  struct node *lost = published_node(1);
  in_another_thread(exit_in_section, lost);
  expect_tidiness();
  fh_release(lost); /* its lock is taken for ever; counts do not care */
}

/* Finalizers of one type; what each does is in the object. */
struct ending {
  fh_object fh;
  entry enter;
};
static atomic_int finalized;
static void end_in_finalizer(void *object) {
  struct ending *ending = object;
  atomic_fetch_add(&finalized, 1);
  if (!ending->enter) return;
  ending->enter();
  pthread_exit(NULL);
}
static const fh_type_spec ending_spec = {.name = "ending", .size = sizeof(struct ending), .finalize = end_in_finalizer};

static void drop_ending(entry enter) {
  struct ending *ending = new_of_spec(&ending_spec);
  ending->enter = enter;
  fh_release(ending);
}

static void drop_two_and_reach_a_safepoint(void *state) {
  attach();
  drop_ending(*(const entry *)state);
  drop_ending(NULL);
  fh_safepoint();
  require(!"the finalizer has ended the thread");
}
static void drop_and_detach(void *state) {
  attach();
  drop_ending(*(const entry *)state);
  fh_detach();
  require(!"the finalizer has ended the thread");
}

static void a_thread_may_end_inside_a_finalizer_in_every_state(void **state) {
  for (int i = 0; i < STATES; i++) {
    atomic_store(&finalized, 0);
    in_another_thread(drop_two_and_reach_a_safepoint, (void *)(uintptr_t)&states[i]);
    assert_int_equal(atomic_load(&finalized), 2);
    in_another_thread(drop_and_detach, (void *)(uintptr_t)&states[i]);
    assert_int_equal(atomic_load(&finalized), 3);
    expect_tidiness();
    fh_housekeep();
    fh_housekeep();
    assert_int_equal(fh_type_live(type_of_spec(&ending_spec)), 0);
  }
}

/* A cycle, so that it is the collector that runs the finalizer. */
struct ring {
  fh_object fh;
  struct ring *next;
};
static void exit_in_ring(void *ring) {
  if (atomic_fetch_add(&finalized, 1) == 0) pthread_exit(NULL);
}
static const fh_ref ring_refs[] = {FH_FIELD(struct ring, next), FH_END};
static const fh_type_spec ring_spec = {.name = "ring", .size = sizeof(struct ring), .refs = ring_refs, .finalize = exit_in_ring};

static void collect_rings(void *unused) {
  attach();
  for (int i = 0; i < 3; i++) {
    FH_AUTO struct ring *ring = new_of_spec(&ring_spec);
    fh_set(ring, next, ring);
  }
  fh_collect(2);
  require(!"a finalizer has ended the thread");
}

static void a_thread_may_end_inside_a_finalizer_of_garbage(void **state) {
  atomic_store(&finalized, 0);
  in_another_thread(collect_rings, NULL);
  expect_tidiness();
  fh_settle();
  assert_int_equal(atomic_load(&finalized), 3);
  assert_int_equal(fh_type_live(type_of_spec(&ring_spec)), 0);
}

/* ---- destructors of pthread keys ----
 *
 * They run after those that the C++ ABI knows of, in rounds: as long as destructors set their values again, but no more than
 * PTHREAD_DESTRUCTOR_ITERATIONS times. The runtime detaches with a key of its own, which may come before the host's. So a
 * destructor that leaves its thread attached needs one more round; one that detaches by hand may use the last one.
 *
 * The sanitizers forget a thread at the beginning of the last round, so nothing of ours may run there. */

static int rounds_by_hand(void) { return is_sanitized() ? PTHREAD_DESTRUCTOR_ITERATIONS - 2 : PTHREAD_DESTRUCTOR_ITERATIONS; }
static int rounds_left_to_the_runtime(void) { return PTHREAD_DESTRUCTOR_ITERATIONS - 1 - is_sanitized(); }

/* glibc keeps a record of 32 bytes, for good, for a thread-local destructor that is registered after such destructors have run: one
 * for each thread whose first attach is in the destructor of a key. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:__cxa_thread_atexit_impl\n"; }

/* What a destructor is to do. */
struct errand {
  pthread_key_t key;
  int rounds;
  int ran;
  bool attach_first;  /* the thread itself attaches, too */
  entry enter;        /* the state that each round ends in; NULL: it detaches by hand */
  struct node *carry; /* owned references: one a round is released */
};

static void do_errand(void *value) {
  struct errand *errand = value;
  errand->ran++;
  require(!fh_is_attached());
  attach();
  fh_release(errand->carry);
  work_a_little();
  fh_detach();
  if (errand->enter) errand->enter();
  if (errand->ran < errand->rounds) require(!pthread_setspecific(errand->key, errand));
}

/* One that is older than the runtime's own, and runs before it in every round; the tests make younger ones. */
static pthread_key_t old_key;
__attribute__((constructor(101))) static void make_old_key(void) { require(!pthread_key_create(&old_key, do_errand)); }

static void leave_an_errand(void *argument) {
  struct errand *errand = argument;
  if (errand->attach_first) {
    attach();
    work_a_little();
  }
  require(!pthread_setspecific(errand->key, errand));
}

static void run_errand(struct errand errand) {
  errand.carry = published_node(1);
  for (int i = 1; i < errand.rounds; i++) (void)fh_retain(errand.carry);
  in_another_thread(leave_an_errand, &errand);
  assert_int_equal(errand.ran, errand.rounds);
  expect_tidiness();
  fh_housekeep();
}

static void run_errands(int rounds, entry enter) {
  pthread_key_t young_key;
  require(!pthread_key_create(&young_key, do_errand));
  const pthread_key_t keys[] = {old_key, young_key};
  for (int k = 0; k < 2; k++)
    for (int first = 0; first < 2; first++)
      for (int r = 1; r <= rounds; r++) run_errand((struct errand){.key = keys[k], .rounds = r, .attach_first = first, .enter = enter});
  pthread_key_delete(young_key);
}

static void key_destructors_attach_and_detach_in_every_round(void **state) {
  run_errands(rounds_by_hand(), NULL);
  assert_int_equal(fh_type_live(node_type()), 1);
}

static void key_destructors_may_leave_the_detaching_to_the_runtime(void **state) {
  for (int i = 0; i < STATES; i++) run_errands(rounds_left_to_the_runtime(), states[i]);
  fh_settle();
  assert_int_equal(fh_type_live(node_type()), 1);
}

/* Many threads at once, while others collect and tidy up for those that sleep. */
static atomic_bool over;
static void drop_all(void *value) {
  struct node **node = value;
  attach();
  for (int i = 0; i < 16; i++) fh_release(node[i]);
  free(node);
  fh_blocking_begin();
}
static pthread_key_t drop_key;

static void fill_and_leave(int index, void *argument) {
  struct node **node = calloc(16, sizeof *node);
  require(node);
  attach();
  for (uint64_t i = 0; i < 16; i++) node[i] = published_node(i);
  require(!pthread_setspecific(drop_key, node));
}
static void tidy_until_over(void *unused) {
  while (!atomic_load(&over)) {
    struct node *n = published_node(1);
    fh_release(n);
    fh_housekeep();
    fh_collect(2);
  }
}

static void key_destructors_run_amid_collections(void **state) {
  struct companion tidier;
  require(!pthread_key_create(&drop_key, drop_all));
  atomic_store(&over, false);
  companion_start(&tidier, tidy_until_over, NULL);
  for (size_t i = 0; i < scaled(100) + 2; i++) run_bare_threads(8, fill_and_leave, NULL);
  atomic_store(&over, true);
  companion_join(&tidier);
  pthread_key_delete(drop_key);
  fh_settle();
  assert_int_equal(fh_type_live(node_type()), 1);
  assert_int_equal(stats_now().attached, 1);
}

/* ---- giving up without being attached ---- */

enum { GIFTS = 200 };
struct gifts {
  struct node *node[GIFTS];
  void *buffer[GIFTS];
};

static void give_up(void *argument) {
  struct gifts *gifts = argument;
  require(!fh_is_attached());
  for (int i = 0; i < GIFTS; i++) {
    fh_release_later(gifts->node[i]);
    fh_free(gifts->buffer[i]);
  }
}
static void give_up_in_region(void *argument) {
  attach();
  {
    FH_BLOCKING();
    give_up(argument);
  }
  fh_detach();
}
static void give_up_in_region_for_good(void *argument) {
  enter_region_in_region();
  give_up(argument);
}
static pthread_key_t give_key;
static void give_up_in_destructor(void *argument) { require(!pthread_setspecific(give_key, argument)); }
static void give_up_in_late_destructor(void *argument) {
  attach();
  require(!pthread_setspecific(give_key, argument));
}

static void anybody_gives_up_references_and_buffers(void **state) {
  void (*const ways[])(void *) = {give_up, give_up_in_region, give_up_in_region_for_good, give_up_in_destructor, give_up_in_late_destructor};
  enum { WAYS = sizeof ways / sizeof *ways };
  require(!pthread_key_create(&give_key, give_up));
  fh_settle();
  uint64_t bytes = stats_now().buffer_bytes;
  for (size_t round = 0; round < scaled(20) + 1; round++) {
    static struct gifts gifts[WAYS];
    struct companion companion[WAYS];
    for (int w = 0; w < WAYS; w++)
      for (int i = 0; i < GIFTS; i++) {
        gifts[w].node[i] = published_node((uint64_t)i);
        gifts[w].buffer[i] = fh_alloc((size_t)i);
        require(gifts[w].buffer[i]);
      }
    for (int w = 0; w < WAYS; w++) companion_start_bare(&companion[w], ways[w], &gifts[w]);
    fh_collect(2);
    for (int w = 0; w < WAYS; w++) companion_join(&companion[w]);
  }
  pthread_key_delete(give_key);
  fh_settle();
  assert_int_equal(fh_type_live(node_type()), 1);
  assert_int_equal(stats_now().buffer_bytes, bytes);
}

static void what_nobody_took_care_of_is_gone_at_shutdown(void **state) {
  static struct gifts gifts;
  runtime_start(NULL);
  for (int i = 0; i < GIFTS; i++) {
    gifts.node[i] = published_node((uint64_t)i);
    gifts.buffer[i] = fh_alloc(100);
  }
  fh_detach();
  in_another_thread(give_up, &gifts); /* and nobody is attached */
  uint64_t leaked = 1;
  assert_int_equal(fh_shutdown(0, &leaked), FH_OK);
  assert_int_equal(leaked, 0);
  assert_int_equal(atomic_load(&node_deaths), GIFTS);
}

/* ---- a pool that the host owns ---- */

struct pool {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  struct node *job[64]; /* owned: a job is an object, published, that the worker consumes */
  size_t count;
  bool closed;
  bool for_life;
};

static struct node *take_job(struct pool *pool) {
  pthread_mutex_lock(&pool->lock);
  while (!pool->count && !pool->closed) pthread_cond_wait(&pool->changed, &pool->lock);
  struct node *job = pool->count ? pool->job[--pool->count] : NULL;
  pthread_cond_broadcast(&pool->changed);
  pthread_mutex_unlock(&pool->lock);
  return job;
}

static void submit(struct pool *pool, struct node *job) {
  pthread_mutex_lock(&pool->lock);
  while (pool->count == 64) pthread_cond_wait(&pool->changed, &pool->lock);
  pool->job[pool->count++] = job;
  pthread_cond_broadcast(&pool->changed);
  pthread_mutex_unlock(&pool->lock);
}

static void close_pool(struct pool *pool) {
  pthread_mutex_lock(&pool->lock);
  pool->closed = true;
  pthread_cond_broadcast(&pool->changed);
  pthread_mutex_unlock(&pool->lock);
}

static void do_job(struct node *job) {
  require(node_is_whole(job));
  {
    FH_AUTO struct node *result = node_new(job->id);
    FH_CRITICAL(job);
    fh_set(job, left, result);
    fh_set(job, right, job); /* a cycle: the collector's to find */
  }
  fh_release(job);
}

static void work_for_one_job_at_a_time(struct pool *pool) {
  for (struct node *job; (job = take_job(pool));) {
    FH_ATTACHED(status, "job");
    require(status == FH_OK);
    do_job(job);
  }
}

static void work_for_life(struct pool *pool) {
  attach(); /* and never detaches */
  for (;;) {
    fh_blocking_begin();
    struct node *job = take_job(pool);
    end_region();
    if (!job) return;
    do_job(job);
  }
}

static void work(void *argument) {
  struct pool *pool = argument;
  if (pool->for_life)
    work_for_life(pool);
  else
    work_for_one_job_at_a_time(pool);
}

static void run_pool(bool for_life) {
  enum { WORKERS = 6 };
  struct pool pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .for_life = for_life};
  struct companion worker[WORKERS];
  for (int i = 0; i < WORKERS; i++) companion_start_bare(&worker[i], work, &pool);
  for (size_t i = 0; i < scaled(20000) + 100; i++) {
    struct node *job = published_node(i);
    fh_blocking_begin();
    submit(&pool, job);
    end_region();
    if (i % 1000 == 0) fh_collect(2);
  }
  close_pool(&pool);
  for (int i = 0; i < WORKERS; i++) companion_join(&worker[i]);
  assert_true(stats_now().mutators <= 2 + WORKERS);
  expect_tidiness();
  fh_settle();
  assert_int_equal(fh_type_live(node_type()), 1);
}

static void a_pool_attaches_around_each_job(void **state) { run_pool(false); }
static void a_pool_attaches_for_life(void **state) { run_pool(true); }

/* ---- C11 threads ----
 *
 * ThreadSanitizer does not know them: it sees no beginning of such a thread. */

static once_flag once = ONCE_FLAG_INIT;
static int inits;
static void init_once(void) { inits += fh_init(NULL) == FH_EEXIST; }
static tss_t tss;
static void release_at_end(void *object) {
  attach();
  fh_release(object);
}

static int run_c11(void *argument) {
  call_once(&once, init_once);
  attach();
  tss_set(tss, fh_retain((struct node *)argument));
  work_a_little();
  fh_blocking_begin();
  thrd_yield();
  end_region();
  if ((uintptr_t)thrd_current() % 2) thrd_exit(7);
  return 7;
}

static void c11_threads_are_threads(void **state) {
  enum { THREADS = 8 };
  if (is_sanitized()) return;
  require(tss_create(&tss, release_at_end) == thrd_success);
  struct node *shared = published_node(1);
  thrd_t thread[THREADS];
  for (int i = 0; i < THREADS; i++) require(thrd_create(&thread[i], run_c11, shared) == thrd_success);
  fh_collect(2);
  fh_blocking_begin();
  for (int i = 0; i < THREADS; i++) {
    int result = 0;
    require(thrd_join(thread[i], &result) == thrd_success && result == 7);
  }
  end_region();
  tss_delete(tss);
  fh_housekeep();
  assert_true(node_is_whole(shared) && fh_refcount(shared) == 1);
  assert_int_equal(inits, 1);
  assert_int_equal(fh_shutdown(0, NULL), FH_OK); /* that of init_once; the runtime stays */
  fh_release(shared);
  expect_tidiness();
}

/* ---- callbacks of other libraries ---- */

static int compare_nodes(const void *a, const void *b, void *calls) {
  struct node *x = fh_retain(*(struct node *const *)a), *y = fh_retain(*(struct node *const *)b);
  ++*(int *)calls;
  fh_release(node_new(1));
  fh_safepoint(); /* owned references outlive it */
  int order = (x->id > y->id) - (x->id < y->id);
  fh_release(x);
  fh_release(y);
  return order;
}
static int compare_with_id(const void *id, const void *node) {
  uint64_t a = *(const uint64_t *)id, b = (*(struct node *const *)node)->id;
  return (a > b) - (a < b);
}

static void sorting_and_searching_call_back(void **state) {
  enum { NODES = 500 };
  struct node *node[NODES];
  int calls = 0;
  for (uint64_t i = 0; i < NODES; i++) node[i] = i % 2 ? node_new(i * 7919 % NODES) : published_node(i * 7919 % NODES);
  qsort_r(node, NODES, sizeof *node, compare_nodes, &calls);
  assert_true(calls >= NODES - 1);
  for (uint64_t i = 0; i < NODES; i++) assert_int_equal(node[i]->id, i);
  for (uint64_t i = 0; i < NODES; i++) assert_ptr_equal(bsearch(&i, node, NODES, sizeof *node, compare_with_id), &node[i]);
  for (int i = 0; i < NODES; i++) fh_release(node[i]);
}

static int compare_ids(const void *a, const void *b) {
  const struct node *x = a, *y = b;
  return (x->id > y->id) - (x->id < y->id);
}
static void sum_up(const void *position, VISIT visit, void *sum) {
  if (visit == postorder || visit == leaf) *(uint64_t *)sum += (*(const struct node *const *)position)->id;
}
static void release_attached(void *object) {
  FH_ATTACHED(status, "tdestroy");
  require(status == FH_OK);
  fh_release(object);
}

static void a_tree_of_another_library_owns_references(void **state) {
  void *tree = NULL;
  uint64_t sum = 0;
  for (uint64_t i = 0; i < 1000; i++) require(tsearch(published_node(i * 7919 % 1000), &tree, compare_ids));
  twalk_r(tree, sum_up, &sum);
  assert_int_equal(sum, 1000 * 999 / 2);
  fh_blocking_begin(); /* it calls back out of a region, each time */
  tdestroy(tree, release_attached);
  end_region();
  fh_housekeep();
  assert_int_equal(fh_type_live(node_type()), 1);
}

/* nftw has no argument for its callback: the list hangs on a thread-local one, as it would in a host. */
static __thread struct node *found;
static int note_file(const char *path, const struct stat *status, int type, struct FTW *ftw) {
  if (type != FTW_F) return 0;
  FH_ATTACHED(attached, "nftw");
  require(attached == FH_OK);
  struct node *n = node_new((uint64_t)status->st_size);
  fh_give(n, left, found);
  found = n;
  return 0;
}
static int remove_file(const char *path, const struct stat *status, int type, struct FTW *ftw) { return remove(path); }

static void a_walk_through_files_makes_objects(void **state) {
  enum { FILES = 20 };
  char directory[] = P_tmpdir "/freehold-XXXXXX", path[sizeof directory + 16];
  require(mkdtemp(directory));
  for (int i = 0; i < FILES; i++) {
    snprintf(path, sizeof path, "%s/%d", directory, i);
    int file = open(path, O_WRONLY | O_CREAT, 0600);
    require(file >= 0 && !ftruncate(file, i) && !close(file));
  }
  found = NULL;
  {
    FH_BLOCKING();
    require(!nftw(directory, note_file, 8, FTW_PHYS));
    require(!nftw(directory, remove_file, 8, FTW_PHYS | FTW_DEPTH));
  }
  uint64_t sum = 0;
  for (struct node *n = found; n; n = fh_get(n, left)) sum += n->id;
  assert_int_equal(sum, FILES * (FILES - 1) / 2);
  fh_drop(&found);
}

/* ---- cancellation ----
 *
 * Deferred cancellation is acted on at cancellation points of the C library: in blocking regions, if the program keeps them
 * there, and no call of Freehold's is one. Cleanup handlers then run, and the thread is detached by itself. Asynchronous
 * cancellation would cut a call of Freehold's in two, so it is not supported while a thread may be in one; around code that calls
 * nothing of Freehold's, in a blocking region, it does no harm. */

struct victim {
  struct gate ready;
  pthread_mutex_t lock; /* of the host's */
  pthread_cond_t never;
  int pipe_ends[2];
  struct node *node; /* owned by the victim */
  int handlers;
};

static void hand_over_in_region(void *argument) {
  struct victim *victim = argument;
  require(!fh_is_attached());
  fh_release_later(victim->node);
  victim->handlers++;
}
static void release_attached_in_region(void *argument) {
  struct victim *victim = argument;
  attach();
  fh_release(victim->node);
  fh_detach();
  require(!fh_is_attached());
  victim->handlers++;
}
static void leave_and_release(void *argument) {
  struct victim *victim = argument;
  end_region();
  fh_release(victim->node);
  fh_detach();
  victim->handlers++;
}
static void unlock(void *lock) { pthread_mutex_unlock(lock); }

static void be_cancelled_in_read(void *argument) {
  struct victim *victim = argument;
  char byte;
  attach();
  fh_blocking_begin();
  pthread_cleanup_push(hand_over_in_region, victim);
  gate_open(&victim->ready, 1);
  require(read(victim->pipe_ends[0], &byte, 1) == 1);
  pthread_cleanup_pop(true);
}
static void be_cancelled_in_wait(void *argument) {
  struct victim *victim = argument;
  attach();
  fh_blocking_begin();
  pthread_cleanup_push(release_attached_in_region, victim);
  pthread_mutex_lock(&victim->lock);
  pthread_cleanup_push(unlock, &victim->lock);
  gate_open(&victim->ready, 1);
  for (;;) pthread_cond_wait(&victim->never, &victim->lock);
  pthread_cleanup_pop(true);
  pthread_cleanup_pop(true);
}
static void be_cancelled_in_nested_region(void *argument) {
  struct victim *victim = argument;
  enter_attached_in_region();
  fh_blocking_begin();
  pthread_cleanup_push(leave_and_release, victim);
  gate_open(&victim->ready, 1);
  for (;;) pause();
  pthread_cleanup_pop(true);
}
static void release_all(void *argument) {
  struct victim *victim = argument;
  require(fh_is_attached());
  fh_release(victim->node);
  victim->handlers++;
}
static void be_cancelled_attached(void *argument) {
  struct victim *victim = argument;
  fh_critical section;
  attach();
  pthread_cleanup_push(release_all, victim);
  fh_critical_begin(&section, guarded, victim->node);
  pthread_cleanup_push(end_section, &section);
  gate_open(&victim->ready, 1);
  for (;;) {
    pthread_testcancel();
    fh_safepoint();
  }
  pthread_cleanup_pop(true);
  pthread_cleanup_pop(true);
}
static void be_cancelled_at_any_instruction(void *argument) {
  struct victim *victim = argument;
  static volatile uint64_t counter;
  attach();
  fh_blocking_begin();
  pthread_cleanup_push(hand_over_in_region, victim);
  gate_open(&victim->ready, 1);
  require(!pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL));
  for (;;) counter++; /* stands for a computation that calls nothing */
  pthread_cleanup_pop(true);
}

static void cancel_one(void (*body)(void *)) {
  struct victim victim = {GATE, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, {0, 0}, published_node(1), 0};
  require(!pipe(victim.pipe_ends));
  struct companion companion;
  void *result = NULL;
  companion_start_bare(&companion, body, &victim);
  gate_await(&victim.ready, 1);
  require(!pthread_cancel(companion.thread));
  fh_blocking_begin();
  require(!pthread_join(companion.thread, &result));
  end_region();
  assert_ptr_equal(result, PTHREAD_CANCELED);
  assert_int_equal(victim.handlers, 1);
  assert_int_equal(pthread_mutex_trylock(&victim.lock), 0); /* the handler has unlocked it */
  pthread_mutex_unlock(&victim.lock);
  close(victim.pipe_ends[0]);
  close(victim.pipe_ends[1]);
  expect_tidiness();
  fh_housekeep();
  fh_housekeep();
  assert_int_equal(fh_type_live(node_type()), 1);
}

static void a_thread_may_be_cancelled_in_a_blocking_region(void **state) {
  cancel_one(be_cancelled_in_read);
  cancel_one(be_cancelled_in_wait);
  cancel_one(be_cancelled_in_nested_region);
}
static void a_thread_may_be_cancelled_where_it_says_so(void **state) { cancel_one(be_cancelled_attached); }
static void asynchronous_cancellation_is_for_code_that_calls_nothing(void **state) {
  if (is_sanitized()) return; /* their run-time libraries are called at every instruction */
  cancel_one(be_cancelled_at_any_instruction);
}

/* Two threads that fight for a lock and for stops, one of them with a cancellation pending all the time. */
static void fight(void *unused) {
  attach();
  while (!atomic_load(&over)) {
    fh_lock(guarded);
    fh_unlock(guarded);
    {
      FH_CRITICAL(guarded);
      work_a_little();
    }
    fh_collect(2);
  }
}
static struct gate asked_for = GATE;
static void call_everything_while_cancelled(void *argument) {
  int *turns = argument;
  gate_open(&asked_for, 1); /* it may be acted on from here: pthread_cancel has not been called yet, perhaps */
  gate_await_deaf(&asked_for, 2);
  for (; *turns; --*turns) {
    attach();
    struct node *n = node_new(1);
    fh_set(n, left, n);
    fh_publish(n);
    fh_free(fh_realloc(fh_alloc(10), 10000));
    fh_retire(fh_alloc(100));
    fh_lock(guarded);
    fh_unlock(guarded);
    {
      FH_CRITICAL2(guarded, n);
      fh_clear(n, left);
      fh_blocking_begin();
      end_region();
    }
    fh_release(n);
    fh_housekeep();
    fh_collect(2);
    require(fh_check_heap() == FH_OK);
    fh_blocking_begin();
    attach();
    fh_detach();
    fh_release_later(fh_attach(NULL) == FH_OK ? published_node(2) : NULL);
    fh_detach();
    end_region();
    fh_detach();
  }
  pthread_testcancel();
  require(!"it was cancelled");
}

static void no_call_is_a_cancellation_point(void **state) {
  struct companion fighter, victim;
  int turns = (int)scaled(300) + 10;
  void *result;
  atomic_store(&over, false);
  atomic_store(&asked_for.value, 0);
  companion_start_bare(&fighter, fight, NULL);
  companion_start_bare(&victim, call_everything_while_cancelled, &turns);
  gate_await(&asked_for, 1);
  require(!pthread_cancel(victim.thread));
  gate_open(&asked_for, 2);
  fh_blocking_begin();
  require(!pthread_join(victim.thread, &result));
  atomic_store(&over, true);
  end_region();
  companion_join(&fighter);
  assert_ptr_equal(result, PTHREAD_CANCELED);
  assert_int_equal(turns, 0);
  expect_tidiness();
}

static void shut_down_while_cancelled(void *status_out) {
  gate_await_deaf(&asked_for, 1);
  uint64_t leaked = 1;
  *(fh_status *)status_out = fh_shutdown(60000, &leaked);
  require(leaked == 0);
}

static void shutdown_is_no_cancellation_point(void **state) {
  struct companion companion;
  fh_status status = FH_EAGAIN;
  atomic_store(&asked_for.value, 0);
  runtime_start(NULL);
  companion_start_bare(&companion, shut_down_while_cancelled, &status);
  require(!pthread_cancel(companion.thread));
  gate_open(&asked_for, 1);
  while (!fh_is_stopping()) sched_yield();
  fh_detach(); /* not before it waits */
  require(!pthread_join(companion.thread, NULL));
  assert_int_equal(status, FH_OK);
  runtime_start(NULL);
  runtime_stop();
}

/* ---- signals ---- */

static atomic_int alarms;
static void count_alarm(int signal) {
  if (fh_status_name(FH_OK)[0] == 'F') atomic_fetch_add(&alarms, 1);
}

/* Whatever call a signal interrupts goes on. */
static void signals_do_no_harm(void **state) {
  enum { ALARMS = 50, EVERY_US = 500 };
  const struct sigaction handler = {.sa_handler = count_alarm}, usual = {.sa_handler = SIG_DFL};
  const struct itimerval often = {{0, EVERY_US}, {0, EVERY_US}}, never = {{0, 0}, {0, 0}};
  struct companion fighter[3];
  atomic_store(&over, false);
  atomic_store(&alarms, 0);
  require(!sigaction(SIGALRM, &handler, NULL) && !setitimer(ITIMER_REAL, &often, NULL));
  for (int i = 0; i < 3; i++) companion_start_bare(&fighter[i], fight, NULL);
  while (atomic_load(&alarms) < ALARMS) {
    work_a_little();
    fh_lock(guarded);
    fh_unlock(guarded);
    fh_collect(2);
  }
  atomic_store(&over, true);
  for (int i = 0; i < 3; i++) companion_join(&fighter[i]);
  require(!setitimer(ITIMER_REAL, &never, NULL) && !sigaction(SIGALRM, &usual, NULL));
  expect_tidiness();
}

/* ---- longjmp ----
 *
 * A jump runs no clean-up, so what was opened in the frames that it leaves stays open. Promised:
 *
 *   frames without guards        nothing to do; the jump may leave frames of other libraries if they allow it
 *   FH_AUTO, owned references    the reference stays counted: release it by hand, where a copy of the pointer survives
 *   fh_lock                      stays held; fh_unlock by hand
 *   critical sections            end them by hand, innermost first, before the jump; or after it, if the fh_critical lies in
 *                                a frame that the jump does not leave. One in a frame that is gone cannot be ended.
 *   blocking regions, attaches   stay as they were at the jump: fh_blocking_end and fh_detach by hand, innermost first. The
 *                                program knows how many it opened; fh_is_attached tells the kind of the innermost.
 *   FH_NO_SAFEPOINT, dealloc, finalize, traverse: no jump may leave them. */

static jmp_buf landing;

static int jump_out_of_comparison(const void *a, const void *b, void *left) {
  static int calls;
  work_a_little();
  if (!--*(int *)left) longjmp(landing, 1);
  return compare_nodes(a, b, &calls);
}

static void a_jump_over_frames_without_guards_is_free(void **state) {
  enum { NODES = 20 };
  static struct node *node[NODES];
  static int left;
  left = 10;
  for (uint64_t i = 0; i < NODES; i++) node[i] = node_new(i ^ 5);
  if (!setjmp(landing)) {
    qsort_r(node, NODES, sizeof *node, jump_out_of_comparison, &left);
    fail();
  }
  for (int i = 0; i < NODES; i++) fh_release(node[i]); /* this sort of few elements keeps its copy on the stack; none was lost */
  work_a_little();
}

static struct node *survivor;
static void jump_out_of_scoped_owner(void) {
  FH_AUTO struct node *mine = fh_retain(survivor);
  require(fh_refcount(mine) == 2);
  longjmp(landing, 1);
}

static void a_reference_that_was_jumped_over_stays_counted(void **state) {
  survivor = node_new(1);
  if (!setjmp(landing)) jump_out_of_scoped_owner();
  assert_int_equal(fh_refcount(survivor), 2);
  fh_release(survivor);
  fh_release(survivor);
}

static void jump_with_lock(void) {
  fh_lock(guarded);
  longjmp(landing, 1);
}
static void try_lock_elsewhere(void *gate) {
  attach();
  gate_open(gate, 1);
  fh_lock(guarded);
  fh_unlock(guarded);
}

static void a_lock_that_was_jumped_over_stays_held(void **state) {
  static struct companion companion;
  static struct gate gate = GATE;
  atomic_store(&gate.value, 0);
  if (!setjmp(landing)) jump_with_lock();
  companion_start_bare(&companion, try_lock_elsewhere, &gate);
  gate_await(&gate, 1);
  fh_collect(2); /* whoever waits for it holds nobody up */
  fh_unlock(guarded);
  companion_join(&companion);
}

static void jump_after_ending_sections(void) {
  fh_critical outer, inner;
  fh_critical_begin(&outer, guarded, NULL);
  fh_critical_begin(&inner, survivor, NULL);
  fh_critical_end(&inner);
  fh_critical_end(&outer);
  longjmp(landing, 1);
}
static void jump_inside_sections(fh_critical *outer, fh_critical *inner) {
  fh_critical_begin(outer, guarded, NULL);
  fh_critical_begin(inner, survivor, NULL);
  longjmp(landing, 1);
}

static void sections_are_ended_by_hand_before_a_jump_or_after_it(void **state) {
  static fh_critical outer, inner;
  survivor = published_node(1);
  if (!setjmp(landing)) jump_after_ending_sections();
  expect_tidiness();
  if (!setjmp(landing)) jump_inside_sections(&outer, &inner);
  fh_safepoint(); /* they are sections like any other: given up and taken again */
  fh_blocking_begin();
  in_another_thread(be_the_next, NULL);
  end_region();
  fh_critical_end(&inner);
  fh_critical_end(&outer);
  expect_tidiness();
  fh_release(survivor);
}

static void jump_out_of_region(void) {
  FH_BLOCKING();
  longjmp(landing, 1);
}
static void jump_out_of_attach_in_region(void) {
  FH_BLOCKING();
  FH_ATTACHED(status, "callback");
  require(status == FH_OK);
  work_a_little();
  longjmp(landing, 1);
}

static void regions_and_attaches_are_closed_by_hand_after_a_jump(void **state) {
  if (!setjmp(landing)) jump_out_of_region();
  assert_false(fh_is_attached());
  end_region();
  assert_true(fh_is_attached());
  if (!setjmp(landing)) jump_out_of_attach_in_region();
  assert_true(fh_is_attached());
  fh_detach();
  assert_false(fh_is_attached());
  end_region();
  assert_true(fh_is_attached());
  expect_tidiness();
}

/* ---- holds ---- */

static void a_hold_keeps_the_runtime(void **state) {
  assert_int_equal(fh_hold(), FH_ESHUTDOWN);
  assert_int_equal(fh_init(NULL), FH_OK);
  assert_int_equal(fh_hold(), FH_OK);
  assert_int_equal(fh_hold(), FH_OK);
  assert_int_equal(fh_shutdown(0, NULL), FH_EBUSY);
  assert_int_equal(fh_shutdown(2, NULL), FH_EBUSY);
  fh_unhold();
  assert_int_equal(fh_shutdown(0, NULL), FH_EBUSY);
  attach(); /* it stays usable */
  work_a_little();
  assert_int_equal(fh_hold(), FH_OK);
  fh_unhold();
  fh_detach();
  fh_unhold();
  uint64_t leaked = 1;
  assert_int_equal(fh_shutdown(0, &leaked), FH_OK);
  assert_int_equal(leaked, 0);
  assert_int_equal(fh_hold(), FH_ESHUTDOWN);
}

struct shutdown {
  struct companion companion;
  fh_status status;
  uint64_t leaked;
};
static void shut_down(void *argument) {
  struct shutdown *shutdown = argument;
  shutdown->status = fh_shutdown(60000, &shutdown->leaked);
}
/* Returns while it waits. */
static void begin_shutdown(struct shutdown *shutdown) {
  *shutdown = (struct shutdown){.leaked = 1};
  companion_start_bare(&shutdown->companion, shut_down, shutdown);
  while (!fh_is_stopping()) sched_yield();
}
static void expect_shutdown(struct shutdown *shutdown) {
  companion_join(&shutdown->companion);
  assert_int_equal(shutdown->status, FH_OK);
  assert_int_equal(shutdown->leaked, 0);
  assert_int_equal(fh_attach("too late"), FH_ESHUTDOWN);
  assert_int_equal(fh_hold(), FH_ESHUTDOWN);
}

static void unhold(void *unused) { fh_unhold(); }

static void a_shutdown_waits_for_the_last_hold(void **state) {
  struct shutdown shutdown;
  fh_stats stats = {.size = sizeof stats};
  assert_int_equal(fh_init(NULL), FH_OK);
  assert_int_equal(fh_hold(), FH_OK);
  begin_shutdown(&shutdown);
  assert_int_equal(fh_hold(), FH_ESHUTDOWN);
  assert_int_equal(fh_attach("late"), FH_ESHUTDOWN);
  assert_int_equal(fh_stats_get(&stats), FH_OK); /* what a hold is for: the runtime is there */
  in_another_thread(unhold, NULL);               /* whoever has it may give it back */
  expect_shutdown(&shutdown);
}

/* ---- shutdown ---- */

static void attach_too_late(void *unused) {
  for (int i = 0; i < 3; i++) {
    require(fh_attach("late") == FH_ESHUTDOWN);
    require(!fh_is_attached());
    FH_ATTACHED(status, "late");
    require(status == FH_ESHUTDOWN);
  }
}

static void attach_during_and_after_a_shutdown_gets_a_status(void **state) {
  struct shutdown shutdown;
  assert_int_equal(fh_attach("early"), FH_ESHUTDOWN);
  runtime_start(NULL);
  begin_shutdown(&shutdown);
  in_another_thread(attach_too_late, NULL);
  assert_int_equal(fh_attach("nested"), FH_OK); /* it is attached already */
  fh_detach();
  fh_detach();
  expect_shutdown(&shutdown);
}

/* A thread that sleeps in a region, twice, and tells what it comes back to. */
struct sleeper {
  struct companion companion;
  struct gate asleep, wake;
  fh_status first, second;
};
static void sleep_twice(void *argument) {
  struct sleeper *sleeper = argument;
  attach();
  FH_AUTO struct node *kept = node_new(1);
  fh_blocking_begin();
  gate_open(&sleeper->asleep, 1);
  gate_await(&sleeper->wake, 1);
  sleeper->first = fh_blocking_end();
  work_a_little();
  fh_blocking_begin();
  gate_open(&sleeper->asleep, 2);
  gate_await(&sleeper->wake, 2);
  sleeper->second = fh_blocking_end();
  require(fh_is_attached()); /* whatever the status: it finishes, and detaches */
  work_a_little();
  require(node_is_whole(kept));
  fh_drop(&kept);
  if (sleeper->second) fh_detach();
}

static void who_sleeps_through_a_shutdown_comes_back_to_a_status(void **state) {
  struct sleeper sleeper = {.asleep = GATE, .wake = GATE, .first = FH_EAGAIN, .second = FH_EAGAIN};
  struct shutdown shutdown;
  assert_int_equal(fh_init(NULL), FH_OK);
  companion_start_bare(&sleeper.companion, sleep_twice, &sleeper);
  gate_await(&sleeper.asleep, 1);
  assert_int_equal(fh_shutdown(0, NULL), FH_EBUSY);
  assert_int_equal(fh_shutdown(2, NULL), FH_EBUSY);
  gate_open(&sleeper.wake, 1);
  gate_await(&sleeper.asleep, 2);
  assert_int_equal(sleeper.first, FH_OK);
  begin_shutdown(&shutdown);
  gate_open(&sleeper.wake, 2);
  companion_join(&sleeper.companion);
  assert_int_equal(sleeper.second, FH_ESHUTDOWN);
  expect_shutdown(&shutdown);
}

/* ---- 200 threads against rounds of init and shutdown ---- */

static atomic_uint_fast64_t came_in, held_on;

static void race_attach(int index) {
  fh_status status = fh_attach(NULL);
  require(status == FH_OK || status == FH_ESHUTDOWN);
  if (status) return;
  atomic_fetch_add(&came_in, 1);
  work_a_little();
  if (index % 3 == 0) {
    fh_blocking_begin();
    sched_yield();
    status = fh_blocking_end();
    require(status == FH_OK || status == FH_ESHUTDOWN);
    work_a_little();
  }
  fh_detach();
}
static void race_hold(void) {
  fh_stats stats = {.size = sizeof stats};
  fh_status status = fh_hold();
  require(status == FH_OK || status == FH_ESHUTDOWN);
  if (status) return;
  atomic_fetch_add(&held_on, 1);
  require(fh_stats_get(&stats) == FH_OK);
  fh_unhold();
}
static void *race(void *argument) {
  int index = (int)(intptr_t)argument;
  while (!atomic_load(&over)) {
    if (index % 10)
      race_attach(index);
    else
      race_hold();
    sched_yield();
  }
  return NULL;
}

static void attaches_race_rounds_of_init_and_shutdown(void **state) {
  enum { THREADS = 200 };
  pthread_t thread[THREADS];
  atomic_store(&over, false);
  for (intptr_t i = 0; i < THREADS; i++) require(!pthread_create(&thread[i], NULL, race, (void *)i));
  for (size_t round = 0; round < scaled(200) + 5; round++) {
    require(fh_init(NULL) == FH_OK);
    uint64_t before = atomic_load(&came_in), held = atomic_load(&held_on);
    while (atomic_load(&came_in) == before || atomic_load(&held_on) == held) sched_yield();
    uint64_t leaked = 1;
    require(fh_shutdown(60000, &leaked) == FH_OK);
    assert_int_equal(leaked, 0);
  }
  atomic_store(&over, true);
  for (int i = 0; i < THREADS; i++) require(!pthread_join(thread[i], NULL));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_guarded(every_level_is_come_back_to),
      with_guarded(libraries_call_each_other_out_of_blocking_regions),
      with_guarded(a_thread_is_detached_from_every_state),
      with_guarded(a_thread_may_end_inside_a_critical_section),
      with_guarded(a_thread_may_end_inside_a_finalizer_in_every_state),
      with_guarded(a_thread_may_end_inside_a_finalizer_of_garbage),
      with_guarded(key_destructors_attach_and_detach_in_every_round),
      with_guarded(key_destructors_may_leave_the_detaching_to_the_runtime),
      with_guarded(key_destructors_run_amid_collections),
      with_guarded(anybody_gives_up_references_and_buffers),
      cmocka_unit_test(what_nobody_took_care_of_is_gone_at_shutdown),
      with_guarded(a_pool_attaches_around_each_job),
      with_guarded(a_pool_attaches_for_life),
      with_guarded(c11_threads_are_threads),
      with_guarded(sorting_and_searching_call_back),
      with_guarded(a_tree_of_another_library_owns_references),
      with_guarded(a_walk_through_files_makes_objects),
      with_guarded(a_thread_may_be_cancelled_in_a_blocking_region),
      with_guarded(a_thread_may_be_cancelled_where_it_says_so),
      with_guarded(asynchronous_cancellation_is_for_code_that_calls_nothing),
      with_guarded(no_call_is_a_cancellation_point),
      cmocka_unit_test(shutdown_is_no_cancellation_point),
      with_guarded(signals_do_no_harm),
      with_guarded(a_jump_over_frames_without_guards_is_free),
      with_guarded(a_reference_that_was_jumped_over_stays_counted),
      with_guarded(a_lock_that_was_jumped_over_stays_held),
      with_guarded(sections_are_ended_by_hand_before_a_jump_or_after_it),
      with_guarded(regions_and_attaches_are_closed_by_hand_after_a_jump),
      cmocka_unit_test(a_hold_keeps_the_runtime),
      cmocka_unit_test(a_shutdown_waits_for_the_last_hold),
      cmocka_unit_test(attach_during_and_after_a_shutdown_gets_a_status),
      cmocka_unit_test(who_sleeps_through_a_shutdown_comes_back_to_a_status),
      cmocka_unit_test(attaches_race_rounds_of_init_and_shutdown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
