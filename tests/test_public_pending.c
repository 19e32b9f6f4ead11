/* SPDX-License-Identifier: MIT */
/* FH_FINALIZERS_QUEUE: finalizers and weak callbacks that wait for a thread of the application.
 *
 * Claims: what dies waits, published, until somebody runs it [pending.published], whether by count or as garbage; no safepoint runs it;
 * callbacks come before finalizers, garbage lists whole; fh_finalizers_run runs as many as it is asked to, and the rest waits [pending.count];
 * what is resurrected lives and is not finalized again; garbage without finalizers waits for nobody; the application is told when
 * the queue gets its first; fh_settle and fh_shutdown run what waits; a fork has its own copy; a thread may end in a finalizer;
 * a finalizer that never ends holds up nobody else, here and where finalizers run at safepoints. */
#include "support/support.h"

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- items ---- */

struct item {
  fh_object fh;
  struct item *left, *right;
  int id;
  int finalized;
  uint64_t check;
};
static atomic_int finalized, died;
static bool has_queue;
static void (*deed)(struct item *self); /* of the one with id 1 */

static bool is_whole(const struct item *item) { return item->check == ~(uint64_t)(uintptr_t)item; }

static void finalize(void *object) {
  struct item *item = object;
  require(is_whole(item) && (!item->left || is_whole(item->left)) && (!item->right || is_whole(item->right)));
  require(item->finalized++ == 0 && (fh_is_published(item) || !has_queue));
  atomic_fetch_add(&finalized, 1);
  if (item->id == 1 && deed) deed(item);
}

static void dealloc(void *object) {
  struct item *item = object;
  require(is_whole(item) && !item->left && !item->right);
  item->check = 0;
  atomic_fetch_add(&died, 1);
}

static const fh_ref item_refs[] = {FH_FIELD(struct item, left), FH_FIELD(struct item, right), FH_END};
static const fh_type_spec plain_spec = {.name = "plain item", .size = sizeof(struct item), .refs = item_refs, .dealloc = dealloc};
static const fh_type_spec final_spec = {
    .name = "item", .size = sizeof(struct item), .refs = item_refs, .finalize = finalize, .dealloc = dealloc};
static const fh_type_spec untracked_spec = {.name = "untracked item",
                                            .size = sizeof(struct item),
                                            .flags = FH_ACYCLIC,
                                            .refs = item_refs,
                                            .finalize = finalize,
                                            .dealloc = dealloc};

static struct item *item_of(const fh_type_spec *spec, int id) {
  struct item *item = new_of_spec(spec);
  item->id = id;
  item->check = ~(uint64_t)(uintptr_t)item;
  return item;
}
static struct item *item_new(int id) { return item_of(&final_spec, id); }

/* Two that refer to each other; only a collection finds them. */
static struct item *ring_of(const fh_type_spec *spec, int id) {
  struct item *a = item_of(spec, id), *b = item_of(spec, id + 1);
  fh_set(a, left, b);
  fh_set(b, left, a);
  fh_release(b);
  return a;
}
static struct item *ring(int id) { return ring_of(&final_spec, id); }

static int dead(void) { return atomic_load(&died); }
static int done(void) { return atomic_load(&finalized); }

/* ---- the application's part ---- */

static atomic_int told;
static void tell(void *context) { atomic_fetch_add((atomic_int *)context, 1); }

static const fh_options queued = {.flags = FH_OPTION_GC_OFF,
                                  .finalizers = FH_FINALIZERS_QUEUE,
                                  .finalizers_notify = tell,
                                  .finalizers_context = &told};

static void forget(void) {
  atomic_store(&finalized, 0);
  atomic_store(&died, 0);
  atomic_store(&told, 0);
  deed = NULL;
}

static int setup(void **state) {
  forget();
  has_queue = true;
  runtime_start(&queued);
  return 0;
}
static int setup_default(void **state) {
  forget();
  has_queue = false;
  runtime_start(&(fh_options){.flags = FH_OPTION_GC_OFF});
  return 0;
}
#define with_queue(test) cmocka_unit_test_setup_teardown(test, setup, runtime_teardown)
#define without_queue(test) cmocka_unit_test_setup_teardown(test, setup_default, runtime_teardown)

/* Runs what waits on a thread of its own. */
static void run_all(void *ran) { *(size_t *)ran = fh_finalizers_run(SIZE_MAX); }
static size_t run_elsewhere(void) {
  size_t ran = 0;
  struct companion companion;
  companion_start(&companion, run_all, &ran);
  companion_join(&companion);
  return ran;
}

/* ---- deaths by count ---- */

static void the_dead_wait_for_whoever_runs_them(void **state) {
  struct item *item = item_new(2);
  fh_give(item, left, item_of(&plain_spec, 3));
  fh_give(item, right, item_of(&untracked_spec, 4));
  fh_release(item);
  for (int i = 0; i < 3; i++) fh_safepoint();
  fh_collect(2);
  assert_true(done() == 0 && dead() == 0 && fh_finalizers_pending() == 1);
  assert_int_equal(fh_check_heap(), FH_OK);
  assert_int_equal(fh_finalizers_run(0), 0);
  size_t ran = run_elsewhere();
  fh_housekeep(); /* the second died when the first was destroyed, and perhaps in this thread's queue */
  assert_int_equal(ran + run_elsewhere(), 2);
  assert_true(done() == 2 && fh_finalizers_pending() == 0);
  fh_settle();
  assert_int_equal(dead(), 3);
  assert_int_equal(fh_finalizers_run(SIZE_MAX), 0);
}

static void they_come_in_the_order_of_death_and_as_many_as_wanted(void **state) {
  enum { MANY = 10 };
  for (int i = 0; i < MANY; i++) fh_release(item_of(i % 2 ? &untracked_spec : &final_spec, 2));
  assert_true(fh_finalizers_pending() == MANY);
  assert_int_equal(fh_finalizers_run(3), 3);
  assert_int_equal(done(), 3);
  assert_true(fh_finalizers_pending() == MANY - 3);
  assert_int_equal(fh_finalizers_run(100), MANY - 3);
}

static int order[4], next_in_order;
static void note_order(struct item *self) { order[next_in_order++] = self->right ? self->right->id : 0; }

static void first_come_first_served(void **state) {
  deed = note_order;
  next_in_order = 0;
  for (int i = 0; i < 4; i++) {
    struct item *item = item_new(1);
    fh_give(item, right, item_of(&plain_spec, 10 + i));
    fh_release(item);
  }
  assert_int_equal(fh_finalizers_run(2), 2);
  assert_int_equal(fh_finalizers_run(2), 2);
  for (int i = 0; i < 4; i++) assert_int_equal(order[i], 10 + i);
}

/* It was private, and its references were spilled and taken back. */
static void a_private_one_that_was_counted_much(void **state) {
  struct item *item = item_new(2);
  for (int i = 0; i < 40000; i++) (void)fh_retain(item);
  for (int i = 0; i < 40001; i++) fh_release(item);
  assert_int_equal(run_elsewhere(), 1);
}

static struct item *saved;
static void save(struct item *self) { saved = fh_retain(self); }

static void the_resurrected_live_and_are_finalized_once(void **state) {
  deed = save;
  fh_release(item_new(1));
  assert_int_equal(run_elsewhere(), 1);
  assert_true(is_whole(saved) && fh_refcount(saved) == 1 && stats_now().resurrected == 1);
  fh_drop(&saved);
  fh_settle();
  assert_true(done() == 1 && dead() == 1);
}

/* ---- garbage ---- */

static void garbage_waits_as_a_list(void **state) {
  struct item *private = ring(2), *published = ring(4), *plain = ring_of(&plain_spec, 6);
  fh_publish(published);
  fh_set(private, right, published);
  fh_set(published, right, published->left);
  fh_set(plain, right, private);
  fh_release(private);
  fh_release(published);
  fh_release(plain);
  assert_int_equal(fh_collect(2), 6);
  fh_settle(); /* in the midst of which they are run: it is for tests */
  assert_true(done() == 4 && dead() == 6);
}

static void a_list_is_run_piece_by_piece(void **state) {
  struct item *first = ring(2);
  for (int i = 0; i < 4; i++) {
    struct item *next = ring(4 + 2 * i);
    fh_set(next, right, first);
    fh_release(first);
    first = next;
  }
  fh_set(first->left, right, first);
  fh_release(first);
  assert_int_equal(fh_collect(2), 10);
  assert_true(fh_finalizers_pending() == 10 && done() == 0 && dead() == 0);
  assert_int_equal(fh_collect(2), 0); /* [garbage.held] */
  for (int i = 1; i <= 9; i++) {
    assert_int_equal(fh_finalizers_run(1), 1);
    assert_true(done() == i && dead() == 0 && fh_finalizers_pending() == 10u - (unsigned)i);
  }
  assert_int_equal(run_elsewhere(), 1);
  assert_int_equal(dead(), 10);
}

static void garbage_without_finalizers_waits_for_nobody(void **state) {
  fh_release(ring_of(&plain_spec, 2));
  assert_int_equal(fh_collect(2), 2);
  assert_true(dead() == 2 && fh_finalizers_pending() == 0);
}

static void what_its_finalizer_saves_lives_with_all_it_reaches(void **state) {
  deed = save;
  struct item *a = ring(1), *rest = ring(5);
  fh_give(a, right, item_of(&plain_spec, 3));
  fh_set(rest, right, a);
  fh_release(a);
  fh_release(rest);
  assert_int_equal(fh_collect(2), 5);
  assert_int_equal(run_elsewhere(), 4);
  fh_housekeep();
  assert_true(dead() == 2 && is_whole(saved) && is_whole(saved->left) && is_whole(saved->right));
  assert_int_equal(fh_check_heap(), FH_OK);
  fh_drop(&saved);
  assert_int_equal(fh_collect(2), 3);
  assert_true(done() == 4 && dead() == 5 && fh_finalizers_pending() == 0);
}

/* Garbage of mutators that run, sleep, or have gone; private to them until this collection. */
static struct gate ready = GATE, leave = GATE;
static void make_ring(void *how) {
  void (*await)(struct gate *, int) = *(void (**)(struct gate *, int))how;
  fh_release(ring(2));
  fh_release(ring_of(&plain_spec, 4));
  gate_open(&ready, 1);
  await(&leave, 1);
}

static void everybodys_garbage_comes_to_the_queue(void **state) {
  static void (*const awaits[])(struct gate *, int) = {gate_await_running, gate_await};
  for (size_t i = 0; i < 2; i++) {
    forget();
    ready = leave = (struct gate)GATE;
    void (*await)(struct gate *, int) = awaits[i];
    struct companion companion;
    companion_start(&companion, make_ring, &await);
    gate_await(&ready, 1);
    fh_release(ring(6));
    assert_int_equal(fh_collect(2), 6);
    assert_true(done() == 0 && fh_finalizers_pending() == 4);
    assert_int_equal(fh_finalizers_run(SIZE_MAX), 4); /* while their maker lives */
    gate_open(&leave, 1);
    companion_join(&companion);
    fh_housekeep();
    assert_int_equal(dead(), 6);
  }
}

/* Another mutator collects while this one runs a list, and finds garbage that is private to this one. */
static void collect_beside(void *unused) {
  gate_await(&ready, 1);
  fh_collect(2);
  gate_open(&leave, 1);
}

static void make_private_garbage(struct item *self) {
  fh_release(ring_of(&plain_spec, 4));
  gate_open(&ready, 1);
  gate_await_running(&leave, 1);
}

static void own_garbage_of_a_server_is_finished_afterwards(void **state) {
  if (test_design() == FH_DESIGN_GIL) skip(); /* it would keep the lock while it waits */
  ready = leave = (struct gate)GATE;
  deed = make_private_garbage;
  fh_release(ring(1));
  fh_collect(2);
  struct companion companion;
  companion_start(&companion, collect_beside, NULL);
  assert_int_equal(fh_finalizers_run(SIZE_MAX), 2);
  assert_int_equal(dead(), 4);
  companion_join(&companion);
}

/* New garbage that refers into a list that waits, and a live object that does. */
static void later_garbage_refers_to_a_list_that_waits(void **state) {
  deed = save;
  struct item *early = ring(1);
  fh_release(early);
  assert_int_equal(fh_collect(2), 2);
  assert_int_equal(fh_finalizers_run(1), 1); /* its first one is shown; the second still waits */
  struct item *late = ring(4);
  fh_set(late, right, saved->left);
  fh_drop(&saved);
  fh_release(late);
  assert_int_equal(fh_collect(2), 2);
  assert_true(fh_finalizers_pending() == 3);
  assert_int_equal(fh_check_heap(), FH_OK);
  assert_int_equal(run_elsewhere(), 3);
  fh_settle();
  assert_true(done() == 4 && dead() == 4);
}

/* ---- callbacks, weak references ---- */

static atomic_int callbacks;
static atomic_int finalized_at_callback;
static void on_loss(fh_weak *weak, void *context) {
  require(!fh_weak_get(weak));
  atomic_store(&finalized_at_callback, done());
  atomic_fetch_add(&callbacks, 1);
}

static void callbacks_wait_and_come_first(void **state) {
  for (int as_garbage = 0; as_garbage < 2; as_garbage++) {
    forget();
    atomic_store(&callbacks, 0);
    struct item *item = as_garbage ? ring(2) : item_new(2);
    FH_AUTO fh_weak *weak = fh_weak_new_callback(item, on_loss, NULL);
    assert_non_null(weak);
    fh_release(item);
    if (as_garbage) fh_collect(2);
    fh_safepoint();
    assert_null(fh_weak_get(weak)); /* lost before anything waits */
    assert_true(atomic_load(&callbacks) == 0 && fh_finalizers_pending() == 2u + (unsigned)as_garbage);
    assert_int_equal(fh_finalizers_run(1), 1);
    assert_true(atomic_load(&callbacks) == 1 && done() == 0);
    (void)run_elsewhere();
    assert_true(atomic_load(&callbacks) == 1 && atomic_load(&finalized_at_callback) == 0 && done() == 1 + as_garbage);
  }
}

static void garbage_does_not_wait_for_its_callbacks(void **state) {
  atomic_store(&callbacks, 0);
  struct item *item = ring_of(&plain_spec, 2);
  fh_weak *weak = fh_weak_new_callback(item, on_loss, NULL);
  assert_non_null(weak);
  fh_release(item);
  assert_true(fh_collect(2) == 2 && dead() == 2 && atomic_load(&callbacks) == 0);
  fh_release(weak); /* the queue keeps it */
  assert_int_equal(fh_finalizers_run(SIZE_MAX), 1);
  assert_int_equal(atomic_load(&callbacks), 1);
}

static void note_call(void *context) { atomic_fetch_add((atomic_int *)context, 1); }

static void those_from_outside_wait_too(void **state) {
  atomic_int called = 0;
  struct item *item = item_new(2);
  FH_AUTO fh_finalizer *finalizer = fh_finalizer_new(item, note_call, &called, 0), *detached = fh_finalizer_new(item, note_call, &called, 0),
                       *early = fh_finalizer_new(item, note_call, &called, 0);
  assert_true(finalizer && detached && early);
  assert_true(fh_finalizer_detach(early));
  fh_release(item);
  fh_safepoint();
  assert_true(fh_finalizers_pending() == 3); /* the object and two: the early one does not even come */
  assert_true(atomic_load(&called) == 0 && fh_finalizer_is_alive(finalizer));
  assert_true(fh_finalizer_detach(detached)); /* still in time */
  (void)run_elsewhere();
  assert_true(atomic_load(&called) == 1 && done() == 1);
}

/* ---- telling the application ---- */

static void the_first_is_told(void **state) {
  fh_safepoint();
  assert_int_equal(atomic_load(&told), 0);
  fh_release(item_new(2));
  assert_int_equal(atomic_load(&told), 0); /* not in the release */
  fh_safepoint();
  assert_int_equal(atomic_load(&told), 1);
  fh_release(item_new(2));
  fh_safepoint();
  assert_int_equal(atomic_load(&told), 1);
  fh_finalizers_run(SIZE_MAX);
  fh_release(ring(2));
  fh_collect(2);
  fh_safepoint();
  assert_int_equal(atomic_load(&told), 2);
  assert_int_equal(fh_finalizers_run(1), 1); /* what is put back is news as well: somebody else may do the rest */
  fh_safepoint();
  assert_int_equal(atomic_load(&told), 3);
}

static struct gate wake = GATE;
static void open_wake(void *context) { gate_open(&wake, 1); }
static void serve(void *unused) {
  do {
    gate_await(&wake, 1);
    fh_finalizers_run(SIZE_MAX);
    give_way();
  } while (done() < 1);
}

static void a_thread_that_sleeps_is_woken(void) {
  fh_options options = queued;
  options.finalizers_notify = open_wake;
  runtime_start(&options);
  struct companion companion;
  companion_start(&companion, serve, NULL);
  fh_release(item_new(2));
  companion_join(&companion); /* on its way into the blocking region it is told */
  require(done() == 1);
  runtime_stop();
}
static void who_blocks_tells_before(void **state) { expect_fine(a_thread_that_sleeps_is_woken); }

/* ---- where nothing is run ---- */

static size_t nested;
static void run_inside(struct item *self) {
  fh_release(item_new(2));
  fh_safepoint();
  nested = fh_finalizers_run(SIZE_MAX);
}

static void it_does_not_nest(void **state) {
  deed = run_inside;
  nested = 99;
  fh_release(item_new(1));
  assert_int_equal(fh_finalizers_run(SIZE_MAX), 2);
  assert_true(nested == 0 && done() == 2);
  fh_release(ring(1));
  fh_collect(2);
  nested = 99;
  assert_int_equal(fh_finalizers_run(SIZE_MAX), 3);
  assert_true(nested == 0 && done() == 5);
}

static void without_the_queue_there_is_nothing_to_run(void **state) {
  struct item *item = ring_of(&plain_spec, 2);
  fh_release(item);
  assert_int_equal(fh_finalizers_run(SIZE_MAX), 0);
  assert_true(fh_finalizers_pending() == 0);
  fh_collect(2);
}

static void options_are_checked(void **state) {
  assert_int_equal(fh_init(&(fh_options){.finalizers = FH_FINALIZERS_QUEUE + 1}), FH_EINVAL);
}

/* ---- the end ---- */

static void leave_all(void) {
  runtime_start(&queued);
  struct item *item = item_new(2);
  FH_AUTO fh_weak *weak = fh_weak_new_callback(item, on_loss, NULL);
  fh_release(item);
  fh_release(ring(4));
  fh_collect(2);
  fh_release(ring(6)); /* for the last collection */
  fh_drop(&weak);
  fh_detach();
  require(done() == 0);
  uint64_t leaked;
  require(fh_shutdown(1000, &leaked) == FH_OK && leaked == 0);
  require(done() == 5 && dead() == 5 && atomic_load(&callbacks) == 1);
}
static void shutdown_runs_what_waits(void **state) { expect_fine(leave_all); }

static void leave_for_good(struct item *self) { pthread_exit(NULL); }
static void run_and_end(void *unused) {
  fh_finalizers_run(SIZE_MAX);
  require(false);
}

static void a_thread_may_end_in_a_finalizer(void **state) {
  for (int as_garbage = 0; as_garbage < 2; as_garbage++) {
    forget();
    deed = leave_for_good;
    for (int i = 0; i < 3; i++) fh_release(as_garbage ? ring(1) : item_new(1));
    if (as_garbage) fh_collect(2);
    for (int i = 1; i <= 3; i++) {
      struct companion companion;
      companion_start(&companion, run_and_end, NULL);
      companion_join(&companion);
    }
    fh_settle();
    assert_true(done() == 3 + 3 * as_garbage && dead() == 3 + 3 * as_garbage && fh_finalizers_pending() == 0);
  }
}

/* The last finalizer of a list ends its thread: the list still wants to be finished. */
static void end_as_the_last(struct item *self) {
  if (done() == 2) pthread_exit(NULL);
}

static void a_list_outlives_the_thread_of_its_last_finalizer(void **state) {
  deed = end_as_the_last;
  struct item *a = item_new(1), *b = item_new(1);
  fh_set(a, left, b);
  fh_set(b, left, a);
  fh_release(a);
  fh_release(b);
  fh_collect(2);
  struct companion companion;
  companion_start(&companion, run_and_end, NULL);
  companion_join(&companion);
  assert_true(done() == 2 && dead() == 0 && fh_finalizers_pending() == 1);
  assert_int_equal(fh_finalizers_run(SIZE_MAX), 0);
  assert_true(dead() == 2 && fh_finalizers_pending() == 0);
}

/* ---- fork ---- */

static struct gate in_finalizer = GATE, go_on = GATE;
static void wait_inside(struct item *self) {
  gate_open(&in_finalizer, 1);
  gate_await(&go_on, 1);
}

static bool child_finds(int ran, int expected) {
  pid_t pid = fork();
  require(pid >= 0);
  if (pid == 0) {
    bool right = fh_check_heap() == FH_OK;
    right = right && fh_finalizers_run(SIZE_MAX) == (size_t)ran;
    fh_settle();
    right = right && done() == expected && fh_finalizers_pending() == 0;
    fh_detach();
    right = right && fh_shutdown(1000, NULL) == FH_OK && done() == expected;
    _exit(right ? 0 : 1);
  }
  int status;
  require(waitpid(pid, &status, 0) == pid);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void a_child_has_a_queue_of_its_own(void **state) {
  fh_release(item_new(2));
  fh_release(ring(4));
  fh_collect(2);
  assert_true(child_finds(3, 3));
  assert_true(fh_finalizers_pending() == 3 && done() == 0);
  assert_int_equal(fh_finalizers_run(SIZE_MAX), 3);
}

/* The thread that runs a list is lost, and so is the finalizer that it was in; it has had its turn. */
static void a_list_that_a_lost_thread_had_is_run(void **state) {
  in_finalizer = go_on = (struct gate)GATE;
  deed = wait_inside;
  fh_release(ring(1));
  struct item *more = ring(3);
  fh_release(more);
  fh_collect(2);
  size_t ran = 0;
  struct companion companion;
  companion_start(&companion, run_all, &ran);
  gate_await(&in_finalizer, 1);
  int before = done();
  pid_t pid = fork();
  require(pid >= 0);
  if (pid == 0) {
    deed = NULL;
    fh_detach();
    bool right = fh_shutdown(1000, NULL) == FH_OK && done() == 4 && dead() == 4; /* its mutator is adopted at the end */
    _exit(right ? 0 : 1);
  }
  int status;
  assert_true(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  assert_true(before >= 1 && before <= 4);
  gate_open(&go_on, 1);
  companion_join(&companion);
  assert_true(ran == 4 && done() == 4 && dead() == 4);
}

/* ---- a finalizer that does not end ---- */

static atomic_bool loops;
static void never_end(struct item *self) {
  gate_open(&in_finalizer, 1);
  if (atomic_load(&loops))
    gate_await_running(&go_on, 1); /* over safepoints, for ever but for the gate */
  else
    gate_await(&go_on, 1); /* in a blocking region */
}

static void drop_the_endless(void *as_garbage) {
  fh_release(as_garbage ? ring(1) : item_new(1));
  if (as_garbage) fh_collect(2);
  fh_safepoint();
  fh_finalizers_run(SIZE_MAX); /* in either mode it is inside by now, until the gate opens */
  require(atomic_load(&go_on.value) == 1);
}

static void live(int index, void *unused) {
  for (size_t i = 0; i < scaled(2000); i++) {
    fh_release(item_new(2));
    fh_release(ring(4));
    if (i % 50 == 0) fh_collect(2);
    if (i % 50 == 0) (void)fh_finalizers_run(SIZE_MAX);
    fh_safepoint();
    if (i % 100 == 0) {
      fh_detach();
      require(fh_attach("again") == FH_OK);
    }
  }
  fh_collect(2);
  fh_finalizers_run(SIZE_MAX);
}

static void hold_up_nobody(void) {
  for (int how = 0; how < 4; how++) {
    forget();
    in_finalizer = go_on = (struct gate)GATE;
    deed = never_end;
    atomic_store(&loops, how & 1);
    struct companion endless;
    companion_start(&endless, drop_the_endless, how & 2 ? &loops : NULL);
    gate_await(&in_finalizer, 1);
    int before = done();
    run_threads(3, live, NULL);
    fh_collect(2);
    fh_finalizers_run(SIZE_MAX);
    fh_housekeep();
    int turns = 3 * (int)scaled(2000);
    assert_true(done() - before == 3 * turns); /* all of theirs, and it is still inside */
    assert_true(atomic_load(&go_on.value) == 0);
    gate_open(&go_on, 1);
    companion_join(&endless);
    fh_settle();
    assert_true(dead() == 3 * turns + 1 + (how & 2) / 2 && done() == dead());
  }
}

static void one_that_never_ends_holds_up_nobody(void **state) { hold_up_nobody(); }

/* ---- everybody at once ---- */

enum { MAKERS = 3, SERVERS = 2 };
static fh_slot risen[4];
static atomic_int made, making;
static void rise(struct item *self) { fh_slot_store(&risen[atomic_load(&finalized) % 4], self); }

static void make_or_serve(int index, void *unused) {
  if (index >= MAKERS) {
    while (atomic_load(&making)) {
      (void)fh_finalizers_run(7);
      give_way();
    }
    return;
  }
  for (size_t i = 0; i < scaled(20000); i++) {
    bool as_ring = i % 3 == 0;
    struct item *item = as_ring ? ring(i % 6 ? 2 : 1) : item_new(i % 5 ? 2 : 1);
    atomic_fetch_add(&made, 1 + as_ring);
    if (i % 4 == 0) fh_publish(item);
    struct item *other = fh_slot_load(&risen[i % 4]);
    if (other && i % 2) {
      FH_CRITICAL2(item, other);
      fh_set(other, right, item);
    }
    if (other) fh_release(other);
    FH_AUTO fh_weak *weak = i % 7 ? NULL : fh_weak_new_callback(item, on_loss, NULL);
    fh_release(item);
    if (i % 128 == 0) fh_collect(2);
    fh_safepoint();
  }
  atomic_fetch_sub(&making, 1);
}

static void many_make_and_several_serve(void **state) {
  atomic_store(&made, 0);
  atomic_store(&making, MAKERS);
  deed = rise;
  run_threads(MAKERS + SERVERS, make_or_serve, NULL);
  for (int i = 0; i < 4; i++) fh_slot_store(&risen[i], NULL);
  deed = NULL;
  fh_settle();
  assert_true(done() == atomic_load(&made) && dead() == atomic_load(&made) && fh_finalizers_pending() == 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_queue(the_dead_wait_for_whoever_runs_them),
      with_queue(they_come_in_the_order_of_death_and_as_many_as_wanted),
      with_queue(first_come_first_served),
      with_queue(a_private_one_that_was_counted_much),
      with_queue(the_resurrected_live_and_are_finalized_once),
      with_queue(garbage_waits_as_a_list),
      with_queue(a_list_is_run_piece_by_piece),
      with_queue(garbage_without_finalizers_waits_for_nobody),
      with_queue(what_its_finalizer_saves_lives_with_all_it_reaches),
      with_queue(everybodys_garbage_comes_to_the_queue),
      with_queue(own_garbage_of_a_server_is_finished_afterwards),
      with_queue(later_garbage_refers_to_a_list_that_waits),
      with_queue(callbacks_wait_and_come_first),
      with_queue(garbage_does_not_wait_for_its_callbacks),
      with_queue(those_from_outside_wait_too),
      with_queue(the_first_is_told),
      cmocka_unit_test(who_blocks_tells_before),
      with_queue(it_does_not_nest),
      without_queue(without_the_queue_there_is_nothing_to_run),
      cmocka_unit_test(options_are_checked),
      cmocka_unit_test(shutdown_runs_what_waits),
      with_queue(a_thread_may_end_in_a_finalizer),
      with_queue(a_list_outlives_the_thread_of_its_last_finalizer),
      with_queue(a_child_has_a_queue_of_its_own),
      with_queue(a_list_that_a_lost_thread_had_is_run),
      with_queue(one_that_never_ends_holds_up_nobody),
      without_queue(one_that_never_ends_holds_up_nobody),
      with_queue(many_make_and_several_serve),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
