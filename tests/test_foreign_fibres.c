/* SPDX-License-Identifier: MIT */
/* Fibres: swapped contexts that begin in one thread and go on in another, with references on their stacks.
 *
 * The contract: what crosses a yield is published, because the thread that resumes a fibre is a stranger to what the one
 * before it made, and private objects are for their thread alone. A reference is owned by the fibre, not by the thread, so it
 * crosses as it is. No guard is open across a yield: attaches, blocking regions, critical sections and locks are the
 * thread's, and so is the promise of a peeked or borrowed pointer. The thread that resumes a fibre is attached already, or the
 * fibre attaches and detaches between two yields.
 *
 * Claims: under that contract nothing is lost and nothing dies early, whoever made an object, wherever its maker is: attached,
 * asleep, gone, adopted; the counts that strangers change are merged by the owner, from its queue, and in its place; with
 * collections and whole-heap checks all the while. And a broken contract traps. */
#include "support/fibre.h"

#include <string.h>

#include "support/support.h"

FIBRE_STEP static struct node *retain(struct node *n) { return fh_retain(n); }
FIBRE_STEP static void release(struct node *n) { fh_release(n); }

/* ---- one fibre, led by hand ---- */

struct led {
  struct fibre *fibre;
  struct node *brought; /* where the test sees what the fibre has */
};

/* Each reference lives on the fibre's stack, and is made, doubled and given up in different turns. */
static void take_turns(struct fibre *fibre, void *argument) {
  struct led *led = argument;
  struct node *first = published_node(1), *second = published_node(2);
  led->brought = first;
  fibre_yield(fibre);
  struct node *again = retain(first);
  fibre_yield(fibre);
  release(first);
  fibre_yield(fibre);
  require(node_is_whole(again) && node_is_whole(second));
  release(again);
  led->brought = NULL;
  fibre_yield(fibre);
  release(second);
}

static void resume(void *fibre) { require(fibre_resume(fibre)); }
static void resume_last(void *fibre) { require(!fibre_resume(fibre)); }

static void elsewhere(void (*body)(void *), struct led *led) {
  struct companion companion;
  companion_start(&companion, body, led->fibre);
  companion_join(&companion);
}

/* The maker is the test, attached or asleep; every other turn is in a thread of its own. */
static void a_fibre_goes_on_in_another_thread(void **state) {
  struct led led = {.brought = NULL};
  led.fibre = fibre_new(take_turns, &led);
  resume(led.fibre);
  assert_int_equal(fh_refcount(led.brought), 1);
  elsewhere(resume, &led);
  assert_int_equal(fh_refcount(led.brought), 2);
  resume(led.fibre);
  assert_int_equal(fh_refcount(led.brought), 1);
  elsewhere(resume, &led); /* the last reference of the first one, by a stranger: to the owner's queue, or merged in its place */
  fh_safepoint();
  assert_int_equal(atomic_load(&node_deaths), 1);
  elsewhere(resume_last, &led);
  fh_safepoint();
  assert_int_equal(atomic_load(&node_deaths), 2);
  if (test_design() == FH_DESIGN_BIASED) assert_true(stats_now().queued >= 1);
  fibre_free(led.fibre);
}

/* Each turn in a thread of its own that ends after it; the next one adopts the maker, or is a stranger beside it. */
static void a_fibre_outlives_every_thread_that_ran_it(void **state) {
  struct led led = {.brought = NULL};
  led.fibre = fibre_new(take_turns, &led);
  for (int turn = 0; turn < 4; turn++) {
    elsewhere(resume, &led);
    fh_collect(2);
    if (led.brought) assert_true(node_is_whole(led.brought));
  }
  resume_last(led.fibre);
  fh_settle();
  assert_int_equal(fh_type_live(node_type()), 0);
  fibre_free(led.fibre);
}

/* ---- many fibres, on a run queue that threads share ---- */

enum { FIBRES = 48, CARRIED = 12, BOARD = 8 };

struct scheduler {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  struct fibre *ready[FIBRES];
  int first, count, alive;
  fh_slot board[BOARD]; /* where fibres leave objects for each other */
  atomic_uint_fast64_t made, switched;
};

struct traveller {
  struct scheduler *scheduler;
  uint64_t random;
  pthread_t last; /* the thread of the last turn */
  size_t turns;
  struct node *carried[CARRIED]; /* owned, published, across yields */
};

/* A private graph lives and dies within a turn; what of it is to travel is published. */
static struct node *make_for_the_way(struct traveller *t) {
  struct node *n = node_new(draw(&t->random)), *leaf = node_new(draw(&t->random));
  fh_give(n, left, leaf);
  if (below(&t->random, 4) == 0) fh_set(n, right, n); /* the collector's, one day */
  fh_publish(n);
  atomic_fetch_add_explicit(&t->scheduler->made, 2, memory_order_relaxed);
  return n;
}

static void change_one(struct traveller *t, struct node **carried) {
  struct scheduler *s = t->scheduler;
  switch (below(&t->random, 6)) {
    case 0: fh_drop(carried); break;
    case 1: if (!*carried) *carried = make_for_the_way(t); break;
    case 2: /* two references where there was one */
      fh_drop(carried);
      if (t->carried[0] && carried != &t->carried[0]) *carried = fh_retain(t->carried[0]);
      break;
    case 3: /* what another fibre left, made in who knows which thread */
      *carried = fh_slot_swap(&s->board[below(&t->random, BOARD)], *carried);
      break;
    case 4:
      fh_drop(carried);
      *carried = fh_slot_load(&s->board[below(&t->random, BOARD)]);
      break;
    default:
      if (*carried && t->carried[0]) {
        FH_CRITICAL(*carried);
        fh_set(*carried, left, t->carried[0]);
      }
  }
}

/* One turn, in one thread. */
FIBRE_STEP static void do_turn(struct traveller *t) {
  require(fh_is_attached());
  if (!pthread_equal(t->last, pthread_self())) atomic_fetch_add(&t->scheduler->switched, 1);
  t->last = pthread_self();
  for (int i = 0; i < CARRIED; i++)
    if (t->carried[i]) require(node_is_whole(t->carried[i]));
  for (int i = 0; i < 6; i++) change_one(t, &t->carried[below(&t->random, CARRIED)]);
  if (below(&t->random, 8) == 0) fh_safepoint();
}
FIBRE_STEP static void let_go(struct traveller *t) {
  for (int i = 0; i < CARRIED; i++) fh_drop(&t->carried[i]);
}

static void travel(struct fibre *fibre, void *argument) {
  struct traveller t = *(struct traveller *)argument; /* on the fibre's stack from here on */
  for (size_t turn = 0; turn < t.turns; turn++) {
    do_turn(&t);
    fibre_yield(fibre);
  }
  let_go(&t);
}

static void put_ready(struct scheduler *s, struct fibre *fibre) {
  pthread_mutex_lock(&s->lock);
  s->ready[(s->first + s->count++) % FIBRES] = fibre;
  pthread_cond_signal(&s->changed);
  pthread_mutex_unlock(&s->lock);
}

/* Waits in a blocking region: a thread without a fibre holds nobody up. NULL: all have ended. */
static struct fibre *take_ready(struct scheduler *s) {
  FH_BLOCKING();
  pthread_mutex_lock(&s->lock);
  while (!s->count && s->alive) pthread_cond_wait(&s->changed, &s->lock);
  struct fibre *fibre = NULL;
  if (s->count) {
    fibre = s->ready[s->first];
    s->first = (s->first + 1) % FIBRES;
    s->count--;
  }
  pthread_mutex_unlock(&s->lock);
  return fibre;
}

static void count_end(struct scheduler *s) {
  pthread_mutex_lock(&s->lock);
  if (!--s->alive) pthread_cond_broadcast(&s->changed);
  pthread_mutex_unlock(&s->lock);
}

/* A fibre is put back by the thread that it has left, not before it has left. A thread that is not for life hands over to the next
 * after a while. */
static void run_fibres(struct scheduler *s, int most) {
  for (struct fibre *fibre; most-- && (fibre = take_ready(s));) {
    if (fibre_resume(fibre)) {
      put_ready(s, fibre);
    } else {
      fibre_free(fibre);
      count_end(s);
    }
  }
}

static void run_or_collect(int index, void *argument) {
  enum { TURNS_OF_A_LIFE = 500 };
  struct scheduler *s = argument;
  if (index == 0) { /* this one only stops the others */
    for (bool alive = true; alive;) {
      fh_collect(2);
      require(fh_check_heap() == FH_OK);
      pthread_mutex_lock(&s->lock);
      alive = s->alive;
      pthread_mutex_unlock(&s->lock);
    }
    return;
  }
  if (index == 1) /* comes and goes: its objects have an owner that is away, or another one */
    for (bool alive = true; alive;) {
      run_fibres(s, TURNS_OF_A_LIFE);
      fh_detach();
      pthread_mutex_lock(&s->lock);
      alive = s->alive;
      pthread_mutex_unlock(&s->lock);
      require(fh_attach("again") == FH_OK);
    }
  run_fibres(s, -1);
}

static void fibres_carry_references_from_thread_to_thread(void **state) {
  static struct scheduler s = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
  static struct traveller start[FIBRES];
  s.first = 0;
  s.count = s.alive = FIBRES;
  for (int i = 0; i < BOARD; i++) require(fh_root_add(&s.board[i]) == FH_OK);
  for (int i = 0; i < FIBRES; i++) {
    start[i] = (struct traveller){.scheduler = &s, .random = random_from((uint64_t)i + 1), .turns = scaled(2000) + 20};
    s.ready[i] = fibre_new(travel, &start[i]);
  }
  run_threads(5, run_or_collect, &s);
  for (int i = 0; i < BOARD; i++) {
    fh_slot_store(&s.board[i], NULL);
    fh_root_remove(&s.board[i]);
  }
  fh_settle();
  fh_stats stats = stats_now();
  assert_int_equal(fh_type_live(node_type()), 0);
  assert_int_equal(atomic_load(&node_deaths), atomic_load(&s.made)); /* each once */
  assert_true(atomic_load(&s.switched) > FIBRES);
  if (test_design() == FH_DESIGN_BIASED) assert_true(stats.stranger_releases > 0 && stats.queued > 0);
  assert_int_equal(stats.queued, stats.drained + stats.claimed);
}

/* ---- the contract, broken ---- */

static void carry_private(struct fibre *fibre, void *argument) {
  struct node *n = node_new(1);
  fibre_yield(fibre);
  release(n);
}
FIBRE_STEP static void begin_section(fh_critical *section, struct node *n) { fh_critical_begin(section, n, NULL); }
FIBRE_STEP static void end_section(fh_critical *section) { fh_critical_end(section); }
static void carry_section(struct fibre *fibre, void *argument) {
  fh_critical section;
  begin_section(&section, argument);
  fibre_yield(fibre);
  end_section(&section);
}
FIBRE_STEP static void begin_region(void) { fh_blocking_begin(); }
FIBRE_STEP static void end_region(void) { require(fh_blocking_end() == FH_OK); }
static void carry_region(struct fibre *fibre, void *argument) {
  begin_region();
  fibre_yield(fibre);
  end_region();
}

static void carry(void (*body)(struct fibre *, void *)) {
  struct companion companion;
  runtime_start(NULL);
  struct fibre *fibre = fibre_new(body, published_node(1));
  require(fibre_resume(fibre));
  companion_start(&companion, resume_last, fibre);
  companion_join(&companion);
}
static void carry_a_private_object(void) { carry(carry_private); }
static void carry_a_section(void) { carry(carry_section); }
static void carry_a_region(void) { carry(carry_region); }

static void private_objects_and_guards_stay_with_their_thread(void **state) {
  if (test_design() == FH_DESIGN_BIASED) expect_trap(carry_a_private_object, "fh_release", "private", NULL);
  expect_trap(carry_a_section, "critical sections end in reverse order", NULL);
  expect_trap(carry_a_region, "not in a blocking region", NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(a_fibre_goes_on_in_another_thread),
      with_runtime(a_fibre_outlives_every_thread_that_ran_it),
      with_runtime(fibres_carry_references_from_thread_to_thread),
      cmocka_unit_test(private_objects_and_guards_stay_with_their_thread),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
