/* SPDX-License-Identifier: MIT */
/* fork, through the public interface: options.fork, fh_fork_prepare, fh_fork_parent, fh_fork_child, stats.forks, stats.stranded.
 *
 * Claims: a child that follows has one mutator, if the forking thread had one, and a heap in which nothing is half done, whatever the
 * other threads were doing; it goes on, attaches threads, collects, proves its heap, and ends with nothing leaked but what
 * is stranded. Locks of the dead are free in it, the survivor's are held. What the forking thread borrowed, or only looked at, is
 * the same afterwards in parent and child. What the dead left undone is finished by whoever adopts their mutators, or by the end of the
 * runtime. A child that must not use the runtime is told so. Other ways to start a program stop nobody.
 *
 * Children are real forks. Each reports what it finds wrong through a pipe, leaves by _exit, and has an alarm: a child that hangs
 * dumps the runtime and fails. gcc's ThreadSanitizer cannot start threads in the child of a fork, and there the children do without;
 * clang's can if it is told so. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support/sanitizers.h"
#include "support/support.h"

extern char **environ;

/* Children have threads, but for builds with gcc's ThreadSanitizer; clang's wants to be told that they do. */
#if UNDER_TSAN && defined(__clang__)
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) { return "die_after_fork=0"; }
enum { THREADS_IN_CHILDREN = 1 };
#else
enum { THREADS_IN_CHILDREN = !UNDER_TSAN };
#endif

/* ---- children ---- */

enum { CHILD_SECONDS = 60 };

static int report = -1; /* in a child: where it says what is wrong */

static void give_up(const char *what) {
  ssize_t written = write(report, what, strlen(what));
  (void)written;
  _exit(1);
}

#define LINE(line) LINE_(line)
#define LINE_(line) #line
/* For children. */
#define check(condition) ((condition) ? (void)0 : give_up(__FILE__ ":" LINE(__LINE__) ": " #condition))

/* A large difference is easier to understand with both numbers. */
static void check_equal_at(const char *where, uint64_t found, uint64_t expected) {
  char text[200];
  if (found == expected) return;
  snprintf(text, sizeof text, "%s: %llu instead of %llu", where, (unsigned long long)found, (unsigned long long)expected);
  give_up(text);
}
#define check_equal(found, expected) check_equal_at(__FILE__ ":" LINE(__LINE__) ": " #found, (uint64_t)(found), (uint64_t)(expected))

static void it_hangs(int signal) {
  (void)signal;
  fh_dump(STDERR_FILENO);
  give_up("the child hangs");
}

struct child {
  pid_t pid;
  int from;
};

static void become_child(int pipe_ends[2]) {
  close(pipe_ends[0]);
  report = pipe_ends[1];
  signal(SIGALRM, it_hangs);
  alarm(CHILD_SECONDS);
}

/* As fork; the child reports to the parent, which calls await_child. */
static pid_t fork_child(struct child *child) {
  int pipe_ends[2];
  require(!pipe2(pipe_ends, O_CLOEXEC));
  child->pid = fork();
  require(child->pid >= 0);
  if (child->pid == 0) {
    become_child(pipe_ends);
    return 0;
  }
  close(pipe_ends[1]);
  child->from = pipe_ends[0];
  return child->pid;
}

static size_t read_report(int from, char *text, size_t room) {
  size_t length = 0;
  for (;;) {
    ssize_t n = read(from, text + length, room - 1 - length);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    length += (size_t)n;
  }
  text[length] = 0;
  return length;
}

static int wait_for(const struct child *child, char *text, size_t room) {
  bool attached = fh_is_attached();
  if (attached) fh_blocking_begin();
  read_report(child->from, text, room);
  close(child->from);
  int status;
  while (waitpid(child->pid, &status, 0) < 0) require(errno == EINTR);
  if (attached) (void)fh_blocking_end();
  return status;
}

/* It must have found nothing wrong. A safepoint, if the caller is attached. */
static void await_child(const struct child *child) {
  char text[1024];
  int status = wait_for(child, text, sizeof text);
  if (status || text[0]) fprintf(stderr, "child: status 0x%x: %s\n", (unsigned)status, text);
  require(status == 0 && !text[0]);
}

/* Runs body(argument) in a child that the calling thread forks, and waits for it. */
static void in_child(void (*body)(void *), void *argument) {
  struct child child;
  if (fork_child(&child) == 0) {
    body(argument);
    _exit(0);
  }
  await_child(&child);
}

/* ---- what children do ---- */

static struct node *make_loop(void) {
  struct node *a = node_new(1), *b = node_new(2);
  fh_set(b, left, a);
  fh_give(a, left, b);
  return a;
}

/* Attached: makes, publishes, drops; by count and by cycles. */
static void work_a_little(void) {
  for (int i = 0; i < 20; i++) {
    struct node *loop = make_loop(), *shared = node_new(3);
    fh_publish(shared);
    fh_set(loop, right, shared);
    fh_release(shared);
    fh_release(loop);
    fh_safepoint();
  }
}

static void work_in_thread(int index, void *argument) {
  (void)index;
  (void)argument;
  work_a_little();
}

static void work_in_threads(void) {
  if (THREADS_IN_CHILDREN) run_threads(3, work_in_thread, NULL);
}

/* In a child, attached or not (but in no blocking region): everything is proved, and the runtime ends. */
static void end_in_child(uint64_t leaked_expected) {
  check(fh_is_attached() || fh_attach("child") == FH_OK);
  fh_settle();
  check_equal(fh_check_heap(), FH_OK);
  fh_detach();
  uint64_t leaked = UINT64_MAX;
  check_equal(fh_shutdown(0, &leaked), FH_OK);
  check_equal(leaked, leaked_expected);
}

static void go_on(void *leaked) {
  check(fh_is_attached() || fh_attach("child") == FH_OK);
  work_a_little();
  work_in_threads();
  end_in_child(*(uint64_t *)leaked);
}

static uint64_t nothing = 0;

/* ---- the three places to fork from ---- */

struct kept {
  struct node *private, *published;
  fh_slot slot;
};

static void keep(struct kept *kept) {
  kept->private = node_new(10);
  fh_give(kept->private, left, node_new(11));
  kept->published = node_new(20);
  fh_slot_store(&kept->slot, kept->published);
}

static bool are_whole(const struct kept *kept) {
  return node_is_whole(kept->private) && kept->private->id == 10 && node_is_whole(kept->private->left) && node_is_whole(kept->published) &&
         fh_refcount(kept->private) == 1 && fh_refcount(kept->published) == 2 && kept->slot.fh__value == kept->published;
}

static void let_go(struct kept *kept) {
  fh_slot_store(&kept->slot, NULL);
  fh_drop(&kept->private);
  fh_drop(&kept->published);
}

static void use_what_was_kept(void *argument) {
  struct kept *kept = argument;
  check(fh_is_attached());
  check(are_whole(kept));
  check_equal(stats_now().forks, 1);
  check_equal(stats_now().attached, 1);
  let_go(kept);
  go_on(&nothing);
}

static void an_attached_thread_goes_on_in_parent_and_child(void **state) {
  struct kept kept = {0};
  keep(&kept);
  in_child(use_what_was_kept, &kept);
  assert_true(are_whole(&kept));
  assert_int_equal((int)stats_now().forks, 1);
  let_go(&kept);
}

static void leave_region_and_use(void *argument) {
  check(!fh_is_attached());
  check_equal(fh_blocking_end(), FH_OK);
  use_what_was_kept(argument);
}

static void a_thread_in_a_blocking_region_goes_on(void **state) {
  struct kept kept = {0};
  keep(&kept);
  fh_blocking_begin();
  in_child(leave_region_and_use, &kept);
  assert_int_equal(fh_blocking_end(), FH_OK);
  assert_true(are_whole(&kept));
  let_go(&kept);
}

/* The mutator of the thread that had attached is adopted. */
static void adopt_and_go_on(void *argument) {
  check(!fh_is_attached());
  check_equal(stats_now().attached, 0);
  check_equal(stats_now().mutators, 1);
  check_equal(fh_attach("adopter"), FH_OK);
  check_equal(stats_now().mutators, 1);
  go_on(argument);
}

static void fork_bare(void *argument) { in_child(adopt_and_go_on, argument); }

static void a_thread_that_never_attached_goes_on(void **state) {
  struct companion bare;
  struct node *held = node_new(1);
  uint64_t stranded = 1;
  fh_blocking_begin();
  companion_start_bare(&bare, fork_bare, &stranded);
  companion_join(&bare);
  fh_blocking_end();
  fh_release(held);
}

static void work_and_end(void *unused) {
  (void)unused;
  go_on(&nothing);
}

static void fork_again(void *unused) {
  (void)unused;
  check_equal(stats_now().forks, 1);
  work_a_little();
  in_child(work_and_end, NULL);
  check_equal(stats_now().forks, 2);
  go_on(&nothing);
}

static void a_child_forks_again(void **state) { in_child(fork_again, NULL); }

/* ---- what the forking thread looks at ---- */

struct peek {
  struct gate made, seen, dropped, leave;
  fh_slot slot;
};

static void drop_and_do_all_to_free_it(void *argument) {
  struct peek *peek = argument;
  struct node *n = node_new(30);
  fh_slot_store(&peek->slot, n);
  fh_release(n);
  gate_open(&peek->made, 1);
  gate_await(&peek->seen, 1);
  fh_slot_store(&peek->slot, NULL);
  for (int i = 0; i < 3; i++) fh_housekeep();
  gate_open(&peek->dropped, 1);
  gate_await(&peek->leave, 1);
}

/* No safepoint of this thread comes between the look and the last comparison. */
static void what_was_looked_at_stays_through_a_fork(void **state) {
  only_parallel(); /* elsewhere nobody drops anything before this thread's next safepoint */
  const fh_options options = {.limbo_batch = 1, .flags = FH_OPTION_QUIET};
  runtime_start(&options);
  struct peek peek = {GATE, GATE, GATE, GATE, {NULL}};
  struct node before;
  struct companion dropper;
  companion_start(&dropper, drop_and_do_all_to_free_it, &peek);
  gate_await(&peek.made, 1);
  const struct node *seen = peek.slot.fh__value;
  gate_open(&peek.seen, 1);
  gate_await_deaf(&peek.dropped, 1);
  memcpy(&before, (const void *)seen, sizeof before);
  assert_true(before.id == 30 && before.check == before.id); /* deallocated, and its memory waits */
  uint64_t waits = stats_now().limbo_bytes;
  assert_true(waits > 0);
  struct child child;
  if (fork_child(&child) == 0) {
    check_equal(stats_now().limbo_bytes, waits);
    check(!memcmp(&before, (const void *)seen, sizeof before));
    go_on(&nothing);
    _exit(0);
  }
  assert_true(stats_now().limbo_bytes == waits);
  assert_memory_equal(&before, (const void *)seen, sizeof before);
  await_child(&child);
  gate_open(&peek.leave, 1);
  companion_join(&dropper);
  runtime_stop();
}

static void borrowed_fields_stay(void **state) {
  struct node *holder = node_new(40);
  fh_give(holder, left, node_new(41));
  fh_publish(holder);
  struct node *borrowed = fh_get(holder, left);
  struct child child;
  if (fork_child(&child) == 0) {
    check(borrowed == holder->left && node_is_whole(borrowed) && fh_refcount(borrowed) == 1);
    fh_release(holder);
    go_on(&nothing);
    _exit(0);
  }
  assert_true(node_is_whole(borrowed) && fh_refcount(borrowed) == 1);
  await_child(&child);
  fh_release(holder);
}

/* ---- locks ---- */

enum { SURVIVORS, SECTION_A, SECTION_B, HELD, LOW, HIGH, LOCKED_OBJECTS };

struct locks {
  struct node *object[LOCKED_OBJECTS];
  struct gate held, leave;
};

static uint8_t lock_byte(const struct node *n) { return __atomic_load_n(&n->fh.fh__lock, __ATOMIC_RELAXED); }

static void hold_two(void *argument) {
  struct locks *locks = argument;
  fh_lock(locks->object[HELD]);
  fh_lock(locks->object[HIGH]);
  gate_open(&locks->held, 1);
  gate_await(&locks->leave, 1);
  fh_unlock(locks->object[HIGH]);
  fh_unlock(locks->object[HELD]);
}

static void want_the_survivors(void *argument) {
  struct locks *locks = argument;
  fh_lock(locks->object[SURVIVORS]);
  fh_unlock(locks->object[SURVIVORS]);
}

static void want_the_deads(void *argument) {
  struct locks *locks = argument;
  fh_lock(locks->object[HELD]);
  fh_unlock(locks->object[HELD]);
}

/* Holds the lower one while it waits for the other. */
static void want_two(void *argument) {
  struct locks *locks = argument;
  FH_CRITICAL2(locks->object[LOW], locks->object[HIGH]);
}

static int by_address(const void *a, const void *b) {
  uintptr_t left = *(const uintptr_t *)a, right = *(const uintptr_t *)b;
  return (left > right) - (left < right);
}

static void make_objects(struct locks *locks) {
  for (int i = 0; i < LOCKED_OBJECTS; i++) {
    locks->object[i] = node_new((uint64_t)i);
    fh_publish(locks->object[i]);
  }
  qsort(locks->object, LOCKED_OBJECTS, sizeof locks->object[0], by_address);
}

static void drop_objects(struct locks *locks) {
  for (int i = 0; i < LOCKED_OBJECTS; i++) fh_drop(&locks->object[i]);
}

enum { FREE = 0, WAITED_FOR = 3 }; /* what the byte of a lock says */

static void await_waiters(const struct locks *locks) {
  fh_blocking_begin();
  while (lock_byte(locks->object[SURVIVORS]) != WAITED_FOR || lock_byte(locks->object[HELD]) != WAITED_FOR ||
         lock_byte(locks->object[HIGH]) != WAITED_FOR || lock_byte(locks->object[LOW]) == FREE)
    sched_yield();
  fh_blocking_end();
}

static void check_locks(struct locks *locks, fh_critical *section) {
  check(lock_byte(locks->object[SURVIVORS]) != FREE);
  check(lock_byte(locks->object[SECTION_A]) != FREE);
  check(lock_byte(locks->object[SECTION_B]) != FREE);
  check_equal(lock_byte(locks->object[HELD]), FREE);
  check_equal(lock_byte(locks->object[LOW]), FREE);
  check_equal(lock_byte(locks->object[HIGH]), FREE);
  fh_critical_end(section);
  fh_unlock(locks->object[SURVIVORS]);
  for (int i = 0; i < LOCKED_OBJECTS; i++) {
    check_equal(lock_byte(locks->object[i]), FREE);
    FH_CRITICAL(locks->object[i]);
  }
}

static void locks_of_the_dead_are_free_and_the_survivors_are_held(void **state) {
  struct locks locks = {.held = GATE, .leave = GATE};
  void (*const bodies[])(void *) = {hold_two, want_the_survivors, want_the_deads, want_two};
  struct companion threads[4];
  make_objects(&locks);
  fh_lock(locks.object[SURVIVORS]);
  companion_start(&threads[0], bodies[0], &locks);
  gate_await(&locks.held, 1);
  for (int i = 1; i < 4; i++) companion_start(&threads[i], bodies[i], &locks);
  await_waiters(&locks);
  fh_critical section;
  fh_critical_begin(&section, locks.object[SECTION_A], locks.object[SECTION_B]);
  struct child child;
  if (fork_child(&child) == 0) {
    check_locks(&locks, &section);
    drop_objects(&locks);
    go_on(&nothing);
    _exit(0);
  }
  assert_true(lock_byte(locks.object[SECTION_A]) != FREE && lock_byte(locks.object[LOW]) != FREE);
  fh_critical_end(&section);
  fh_unlock(locks.object[SURVIVORS]);
  await_child(&child);
  gate_open(&locks.leave, 1);
  for (int i = 0; i < 4; i++) companion_join(&threads[i]);
  for (int i = 0; i < LOCKED_OBJECTS; i++) assert_int_equal(lock_byte(locks.object[i]), FREE);
  drop_objects(&locks);
}

/* ---- finalizers and garbage ---- */

static atomic_int finalized;
static void (*in_finalizer)(int nth); /* what a finalizer does besides */

struct mortal {
  fh_object fh;
  struct mortal *other;
};

static void mortal_finalize(void *object) {
  (void)object;
  int nth = atomic_fetch_add(&finalized, 1) + 1;
  if (in_finalizer) in_finalizer(nth);
}

static const fh_ref mortal_refs[] = {FH_FIELD(struct mortal, other), FH_END};
static const fh_type_spec mortal_spec = {
    .name = "mortal", .size = sizeof(struct mortal), .refs = mortal_refs, .finalize = mortal_finalize};

static struct mortal *mortal_new(void) { return new_of_spec(&mortal_spec); }

enum { MORTALS = 4 };

static void drop_mortals(void) {
  for (int i = 0; i < MORTALS; i++) fh_release(mortal_new());
}

static void drop_loops_of_mortals(void) {
  for (int i = 0; i < MORTALS / 2; i++) {
    struct mortal *a = mortal_new(), *b = mortal_new();
    fh_set(b, other, a);
    fh_give(a, other, b);
    fh_release(a);
  }
}

static struct child of_finalizer;

static void fork_in_the_second(int nth) {
  if (nth == 2) (void)fork_child(&of_finalizer);
}

/* Parent and child both come out of the finalizer, and do the rest. */
static void a_finalizer_forks(void (*drop)(void), bool collect) {
  atomic_store(&finalized, 0);
  of_finalizer = (struct child){-1, -1};
  in_finalizer = fork_in_the_second;
  drop();
  if (collect)
    (void)fh_collect(2);
  else
    fh_safepoint();
  in_finalizer = NULL;
  if (of_finalizer.pid == 0) {
    check_equal(atomic_load(&finalized), MORTALS);
    go_on(&nothing);
    _exit(0);
  }
  require(of_finalizer.pid > 0 && atomic_load(&finalized) == MORTALS);
  await_child(&of_finalizer);
}

static void finalizers_of_counted_objects_fork(void **state) { a_finalizer_forks(drop_mortals, false); }
static void finalizers_of_garbage_fork(void **state) { a_finalizer_forks(drop_loops_of_mortals, true); }

/* The end of the runtime runs the finalizers: the child ends it, too. */
static void finalizers_at_the_end_of_the_runtime_fork(void **state) {
  const fh_options options = {.size = 0};
  static fh_slot root;
  runtime_start(&options);
  require(fh_root_add(&root) == FH_OK);
  struct mortal *a = mortal_new(), *b = mortal_new();
  fh_give(a, other, b);
  fh_slot_store(&root, a);
  fh_release(a);
  fh_detach();
  atomic_store(&finalized, 0);
  of_finalizer = (struct child){-1, -1};
  in_finalizer = fork_in_the_second;
  uint64_t leaked = UINT64_MAX;
  fh_status status = fh_shutdown(0, &leaked);
  in_finalizer = NULL;
  if (of_finalizer.pid == 0) {
    check_equal(status, FH_OK);
    check_equal(leaked, 0);
    check_equal(atomic_load(&finalized), 2);
    check_equal(fh_init(&options), FH_OK);
    go_on(&nothing);
    _exit(0);
  }
  assert_int_equal(status, FH_OK);
  assert_int_equal((int)leaked, 0);
  await_child(&of_finalizer);
}

/* ---- what the lost leave behind ---- */

/* The words of the attention word, which the inline poll reads (runtime/sync/state.h). */
enum { ASKED_TO_STOP = 1 << 0, ASKED_FOR_THE_GIL = 1 << 9 };

/* Attached, without a safepoint: until somebody wants it. */
static void await_request(uint32_t bit) {
  while (!(__atomic_load_n(fh__tls.attention, __ATOMIC_RELAXED) & bit)) sched_yield();
}

enum { PRIVATE = 5, PUBLISHED = 3 };

struct leaver {
  struct gate ready, leave;
  void (*get_stuck)(void); /* opens `ready`, and ends when a fork stops the world; parks, at once or later */
  struct node *node[PRIVATE + PUBLISHED];
};

static struct gate *is_stuck; /* the leaver's; it opens it */

static void await_the_stop(void) {
  gate_open(is_stuck, 1);
  await_request(ASKED_TO_STOP);
}

static void leave_behind(void *argument) {
  struct leaver *leaver = argument;
  for (int i = 0; i < PRIVATE + PUBLISHED; i++) {
    leaver->node[i] = node_new((uint64_t)i);
    if (i >= PRIVATE) fh_publish(leaver->node[i]);
  }
  is_stuck = &leaver->ready;
  leaver->get_stuck();
  gate_await(&leaver->leave, 1);
  for (int i = 0; i < PRIVATE + PUBLISHED; i++) fh_release(leaver->node[i]);
}

static void wait_to_be_stopped(void) {
  await_the_stop();
  fh_safepoint();
}

/* A safepoint parks before it does anything else. */
static void drop_mortals_and_be_stopped(void) {
  drop_mortals();
  wait_to_be_stopped();
}

static void park_in_the_first(int nth) {
  if (nth == 1) wait_to_be_stopped();
}
static void wait_in_the_first(int nth) {
  if (nth == 1) await_the_stop();
}

static void be_stopped_in_a_finalizer(void) {
  in_finalizer = park_in_the_first;
  drop_mortals();
  fh_safepoint();
}
static void be_stopped_in_a_finalizer_of_garbage(void) {
  in_finalizer = park_in_the_first;
  drop_loops_of_mortals();
  (void)fh_collect(2);
}
/* The finalizers have run, and the collector wants a second stop to see what they resurrected. */
static void be_stopped_between_finalizers_and_the_second_look(void) {
  in_finalizer = wait_in_the_first;
  drop_loops_of_mortals();
  (void)fh_collect(2);
}

struct after_loss {
  bool adopt;
  int finalized; /* in the end */
  int unfinished; /* private mortals that are still tracked when they are counted: found dead, but not destroyed */
};

/* Only the biased design knows whose a private object is. */
static uint64_t if_biased(uint64_t count) { return test_design() == FH_DESIGN_BIASED ? count : 0; }

static void settle_the_legacy(void *argument) {
  const struct after_loss *after = argument;
  in_finalizer = NULL;
  check_equal(stats_now().attached, 0);
  check_equal(stats_now().stranded, 0);
  if (after->adopt) {
    check_equal(fh_attach("adopter"), FH_OK);
    check_equal(stats_now().mutators, 1);
    check_equal(atomic_load(&finalized), after->finalized);
    work_a_little();
    (void)fh_collect(2);
    check_equal(stats_now().stranded, if_biased((uint64_t)(PRIVATE + after->unfinished)));
    end_in_child(PRIVATE + PUBLISHED);
  } else {
    uint64_t leaked = UINT64_MAX;
    check_equal(fh_shutdown(0, &leaked), FH_OK);
    check_equal(leaked, PRIVATE + PUBLISHED);
  }
  check_equal(atomic_load(&finalized), after->finalized);
}

/* The test's own thread never attaches, so the leaver's mutator is the one to adopt. */
static void lose(void (*get_stuck)(void), int finalizers, int unfinished) {
  const fh_options options = {.flags = FH_OPTION_QUIET};
  for (int adopt = 0; adopt < 2; adopt++) {
    struct leaver leaver = {.ready = GATE, .leave = GATE, .get_stuck = get_stuck};
    struct after_loss after = {adopt, finalizers, unfinished};
    atomic_store(&finalized, 0);
    require(fh_init(&options) == FH_OK);
    struct companion companion;
    companion_start(&companion, leave_behind, &leaver);
    gate_await(&leaver.ready, 1);
    in_child(settle_the_legacy, &after);
    gate_open(&leaver.leave, 1);
    companion_join(&companion);
    in_finalizer = NULL;
    require(atomic_load(&finalized) == finalizers);
    uint64_t leaked = UINT64_MAX;
    require(fh_shutdown(1000, &leaked) == FH_OK && leaked == 0);
  }
}

static void what_only_the_lost_could_reach_is_stranded_and_counted(void **state) { lose(wait_to_be_stopped, 0, 0); }
static void finalizers_that_waited_run_in_the_child(void **state) { lose(drop_mortals_and_be_stopped, MORTALS, 0); }
static void a_finalizer_that_was_cut_off_does_not_stop_the_others(void **state) {
  lose(be_stopped_in_a_finalizer, MORTALS, 1);
}
static void garbage_whose_finalizer_was_cut_off_is_finished(void **state) {
  lose(be_stopped_in_a_finalizer_of_garbage, MORTALS, MORTALS);
}
static void garbage_before_its_second_look_is_finished(void **state) {
  lose(be_stopped_between_finalizers_and_the_second_look, MORTALS, MORTALS);
}

/* gil: the safepoint has taken the bits, hands the lock over, and its thread is lost before it did what they ask for. */
struct handover {
  struct gate ready, leave;
};

static void drop_mortals_and_hand_over(void *argument) {
  struct handover *handover = argument;
  drop_mortals();
  gate_open(&handover->ready, 1);
  await_request(ASKED_FOR_THE_GIL);
  fh_safepoint();
  gate_await(&handover->leave, 1);
}

static void end_and_check_finalizers(void *unused) {
  (void)unused;
  fh_detach();
  uint64_t leaked = UINT64_MAX;
  check_equal(fh_shutdown(0, &leaked), FH_OK);
  check_equal(leaked, 0);
  check_equal(atomic_load(&finalized), MORTALS);
}

static void what_a_safepoint_had_taken_is_done_by_others(void **state) {
  if (test_design() != FH_DESIGN_GIL) skip();
  struct handover handover = {GATE, GATE};
  atomic_store(&finalized, 0);
  require(fh_init(NULL) == FH_OK);
  struct companion companion;
  companion_start(&companion, drop_mortals_and_hand_over, &handover);
  gate_await(&handover.ready, 1);
  require(fh_attach("next holder") == FH_OK);
  in_child(end_and_check_finalizers, NULL);
  gate_open(&handover.leave, 1);
  companion_join(&companion);
  require(atomic_load(&finalized) == MORTALS);
  fh_detach();
  uint64_t leaked = UINT64_MAX;
  require(fh_shutdown(1000, &leaked) == FH_OK && leaked == 0);
}

/* ---- stranded over generations ---- */

static void hold_more(void *argument) {
  struct leaver *leaver = argument;
  for (int i = 0; i < PUBLISHED; i++) leaver->node[i] = node_new(99);
  is_stuck = &leaver->ready;
  wait_to_be_stopped();
  gate_await(&leaver->leave, 1);
}

static void count_both_generations(void *unused) {
  (void)unused;
  check_equal(fh_attach("grandchild"), FH_OK);
  (void)fh_collect(2);
  check_equal(stats_now().stranded, if_biased(PRIVATE + PUBLISHED));
  end_in_child(PRIVATE + PUBLISHED + PUBLISHED);
}

static void fork_with_an_adopter(void *unused) {
  (void)unused;
  struct leaver second = {.ready = GATE, .leave = GATE};
  struct companion adopter;
  companion_start(&adopter, hold_more, &second);
  gate_await(&second.ready, 1);
  check_equal(stats_now().mutators, 1);
  check_equal(stats_now().stranded, if_biased(PRIVATE));
  in_child(count_both_generations, NULL);
}

static void stranded_objects_are_counted_once_over_generations(void **state) {
  if (!THREADS_IN_CHILDREN) skip();
  const fh_options options = {.flags = FH_OPTION_QUIET};
  struct leaver leaver = {.ready = GATE, .leave = GATE, .get_stuck = wait_to_be_stopped};
  require(fh_init(&options) == FH_OK);
  struct companion companion;
  companion_start(&companion, leave_behind, &leaver);
  gate_await(&leaver.ready, 1);
  in_child(fork_with_an_adopter, NULL);
  gate_open(&leaver.leave, 1);
  companion_join(&companion);
  uint64_t leaked = UINT64_MAX;
  require(fh_shutdown(1000, &leaked) == FH_OK && leaked == 0);
}

/* ---- nobody waits for a sleeper, forks included ---- */

struct sleepers_object {
  struct gate made, leave;
  struct node *node;
  atomic_bool released;
};

static bool dump_says(const char *words) {
  static char text[65536];
  int file = memfd_create("dump", MFD_CLOEXEC);
  require(file >= 0);
  fh_dump(file);
  ssize_t length = pread(file, text, sizeof text - 1, 0);
  close(file);
  require(length >= 0);
  text[length] = 0;
  return strstr(text, words) != NULL;
}

static void make_and_sleep(void *argument) {
  struct sleepers_object *object = argument;
  require(fh_attach("sleeper") == FH_OK);
  object->node = node_new(1);
  fh_publish(object->node);
  fh_blocking_begin();
  gate_open(&object->made, 1);
  gate_await(&object->leave, 1);
  fh_blocking_end();
  fh_detach();
}

static bool dies_within_seconds(int seconds) {
  for (time_t end = time(NULL) + seconds; !atomic_load(&node_deaths) && time(NULL) <= end; sched_yield()) fh_safepoint();
  return atomic_load(&node_deaths) == 1;
}

/* Releases the sleeper's object when the stop has taken the sleeper, and waits for nobody but the releaser. */
static void release_in_the_stop(void *argument) {
  struct sleepers_object *object = argument;
  gate_open(&object->made, 2);
  while (!dump_says("\"sleeper\": stopped")) sched_yield();
  fh_release(object->node);
  fh_safepoint();
  require(dies_within_seconds(20));
}

static void attach_and_see_it_die(void *unused) {
  (void)unused;
  check_equal(fh_attach("heir"), FH_OK);
  fh_safepoint();
  check_equal(atomic_load(&node_deaths), 1);
  end_in_child(0);
}

static void no_entry_stays_in_a_sleepers_queue(void **state) {
  only_biased();
  struct sleepers_object object = {.made = GATE, .leave = GATE};
  atomic_store(&node_deaths, 0);
  require(fh_init(NULL) == FH_OK);
  struct companion sleeper, releaser;
  companion_start_bare(&sleeper, make_and_sleep, &object);
  gate_await(&object.made, 1);
  companion_start(&releaser, release_in_the_stop, &object);
  gate_await(&object.made, 2);
  in_child(attach_and_see_it_die, NULL);
  companion_join(&releaser);
  gate_open(&object.leave, 1);
  companion_join(&sleeper);
  uint64_t leaked = UINT64_MAX;
  require(fh_shutdown(1000, &leaked) == FH_OK && leaked == 0);
}

/* ---- several at once ---- */

struct forkers {
  struct node *object[4];
  size_t forks;
};

static void see_all_locks_free(struct forkers *forkers, int index, fh_critical *section) {
  if (section) fh_critical_end(section);
  for (int i = 0; i < 4; i++) check_equal(lock_byte(forkers->object[i]), FREE);
  check_equal(stats_now().attached, index < 2 ? 1 : 0);
  check(fh_is_attached() || fh_attach("child") == FH_OK);
  for (int i = 0; i < 4; i++) fh_release(forkers->object[i]);
  work_a_little();
  end_in_child(0);
}

/* The first two are attached, and in a critical section; the others are not. */
static void fork_many_times(int index, void *argument) {
  struct forkers *forkers = argument;
  bool attached = index < 2;
  if (attached) require(fh_attach("forker") == FH_OK);
  for (size_t i = 0; i < forkers->forks; i++) {
    fh_critical section;
    struct child child;
    if (attached) fh_critical_begin(&section, forkers->object[index], NULL);
    if (fork_child(&child) == 0) {
      see_all_locks_free(forkers, index, attached ? &section : NULL);
      _exit(0);
    }
    if (attached) fh_critical_end(&section);
    await_child(&child);
  }
  if (attached) fh_detach();
}

static void four_threads_fork_at_once(void **state) {
  struct forkers forkers = {.forks = scaled(100)};
  for (int i = 0; i < 4; i++) {
    forkers.object[i] = node_new((uint64_t)i);
    fh_publish(forkers.object[i]);
  }
  fh_detach();
  run_bare_threads(4, fork_many_times, &forkers);
  require(fh_attach("main") == FH_OK);
  assert_int_equal((int)stats_now().forks, (int)(4 * forkers.forks));
  for (int i = 0; i < 4; i++) fh_release(forkers.object[i]);
}

static atomic_bool enough;

static void collect_on_and_on(void *unused) {
  (void)unused;
  struct node *ring[100];
  while (!atomic_load(&enough)) {
    for (int i = 0; i < 100; i++) ring[i] = make_loop();
    for (int i = 0; i < 100; i++) fh_release(ring[i]);
    (void)fh_collect(2);
  }
}

/* Whatever a collection was about, the child ends without leaks but for the loops that are held at that moment. */
static void work_and_end_somehow(void *unused) {
  (void)unused;
  check(fh_is_attached() || fh_attach("child") == FH_OK);
  work_a_little();
  (void)fh_collect(2);
  check_equal(fh_check_heap(), FH_OK);
  fh_detach();
  check_equal(fh_shutdown(0, NULL), FH_OK);
}

static void forks_and_collections_take_turns(void **state) {
  const fh_options options = {.flags = FH_OPTION_QUIET};
  runtime_start(&options);
  atomic_store(&enough, false);
  struct companion collector;
  companion_start(&collector, collect_on_and_on, NULL);
  for (size_t i = 0; i < scaled(200); i++) in_child(work_and_end_somehow, NULL);
  atomic_store(&enough, true);
  companion_join(&collector);
  runtime_stop();
}

/* ---- threads that come and go, and runtimes ---- */

static void come_and_go(int index, void *unused) {
  (void)index;
  (void)unused;
  while (!atomic_load(&enough)) {
    require(fh_attach("churn") == FH_OK);
    struct node *loop = make_loop();
    fh_publish(loop);
    fh_blocking_begin();
    fh_release_later(loop);
    fh_blocking_end();
    fh_detach();
  }
}

static void fork_amid(int index, void *forks) {
  if (index == 0) {
    for (size_t i = 0; i < *(size_t *)forks; i++) in_child(work_and_end_somehow, NULL);
    atomic_store(&enough, true);
  } else {
    come_and_go(index, NULL);
  }
}

static void forks_amid_threads_that_attach_and_detach(void **state) {
  const fh_options options = {.flags = FH_OPTION_QUIET};
  size_t forks = scaled(400);
  atomic_store(&enough, false);
  require(fh_init(&options) == FH_OK);
  run_bare_threads(5, fork_amid, &forks);
  uint64_t leaked = UINT64_MAX;
  require(fh_shutdown(1000, &leaked) == FH_OK && leaked == 0);
}

static void sleep_attached(void *gates) {
  struct handover *gate = gates;
  fh_blocking_begin();
  gate_open(&gate->ready, 1);
  gate_await(&gate->leave, 1);
  (void)fh_blocking_end();
}

static void shut_down_patiently(void *unused) {
  (void)unused;
  uint64_t leaked = UINT64_MAX;
  require(fh_shutdown(100000, &leaked) == FH_OK && leaked == 0);
}

/* Nobody waits in the child any more, and it can end the runtime itself. */
static void use_and_end(void *unused) {
  (void)unused;
  check(!fh_is_stopping());
  check_equal(stats_now().attached, 0);
  go_on(&nothing);
  check_equal(fh_init(NULL), FH_OK);
  go_on(&nothing);
}

static void a_shutdown_that_waits_does_not_wait_in_the_child(void **state) {
  struct handover gate = {GATE, GATE};
  require(fh_init(NULL) == FH_OK);
  struct companion sleeper, ender;
  companion_start(&sleeper, sleep_attached, &gate);
  gate_await(&gate.ready, 1);
  companion_start_bare(&ender, shut_down_patiently, NULL);
  while (!fh_is_stopping()) sched_yield();
  for (int i = 0; i < 5; i++) in_child(use_and_end, NULL);
  gate_open(&gate.leave, 1);
  companion_join(&sleeper);
  companion_join(&ender);
}

static void live_a_short_life(void) {
  require(fh_init(NULL) == FH_OK);
  require(fh_attach("short life") == FH_OK);
  work_a_little();
  fh_detach();
  uint64_t leaked = UINT64_MAX;
  require(fh_shutdown(0, &leaked) == FH_OK && leaked == 0);
}

static void live_many_lives(void *unused) {
  (void)unused;
  while (!atomic_load(&enough)) live_a_short_life();
}

/* The runtime of the parent may have been anything. Where it was being taken apart, the child is told that there is none. */
static void use_what_there_is(void *unused) {
  (void)unused;
  fh_status status = fh_init(NULL);
  if (status == FH_ESHUTDOWN) {
    check_equal(fh_attach("child"), FH_ESHUTDOWN);
    return;
  }
  check(status == FH_OK || status == FH_EEXIST);
  check_equal(fh_attach("child"), FH_OK);
  work_a_little();
  check_equal(fh_check_heap(), FH_OK);
  fh_detach();
  if (status == FH_EEXIST) check_equal(fh_shutdown(0, NULL), FH_OK);
  check_equal(fh_shutdown(0, NULL), FH_OK);
  check_equal(fh_init(NULL), FH_OK);
  go_on(&nothing);
}

static void forks_amid_runtimes_that_start_and_end(void **state) {
  atomic_store(&enough, false);
  live_a_short_life(); /* from now on forks are noticed */
  struct companion lives;
  companion_start_bare(&lives, live_many_lives, NULL);
  for (size_t i = 0; i < scaled(400); i++) in_child(use_what_there_is, NULL);
  atomic_store(&enough, true);
  companion_join(&lives);
}

/* ---- children that must not ---- */

static const fh_options forbid = {.fork = FH_FORK_FORBID, .flags = FH_OPTION_QUIET};
static const fh_options manual = {.fork = FH_FORK_MANUAL, .flags = FH_OPTION_QUIET};

static void check_that_all_is_refused(void) {
  static fh_slot slot;
  fh_stats stats = {.size = sizeof stats};
  fh_type *type;
  uint64_t leaked;
  check(!fh_is_attached());
  check_equal(fh_attach("child"), FH_ESHUTDOWN);
  check_equal(fh_init(NULL), FH_ESHUTDOWN);
  check_equal(fh_stats_get(&stats), FH_ESHUTDOWN);
  check_equal(fh_shutdown(0, &leaked), FH_ESHUTDOWN);
  check_equal(fh_hold(), FH_ESHUTDOWN);
  check_equal(fh_root_add(&slot), FH_ESHUTDOWN);
  check_equal(fh_type_register(&node_spec, &type), FH_ESHUTDOWN);
  check_equal(fh_limits_set(0, 0), FH_ESHUTDOWN);
  check(!fh_is_stopping());
  check(dump_says("barred"));
}

static void be_refused(void *unused) {
  (void)unused;
  check_that_all_is_refused();
  struct child grandchild;
  if (fork_child(&grandchild) == 0) {
    check_that_all_is_refused();
    _exit(0);
  }
  await_child(&grandchild);
  fh_fork_prepare(); /* stops nobody, waits for nobody */
  pid_t pid = fork();
  if (pid == 0) {
    fh_fork_child();
    check_that_all_is_refused();
    _exit(0);
  }
  fh_fork_parent();
  int status;
  check(waitpid(pid, &status, 0) == pid && status == 0);
}

/* Takes what locks there are. */
static void use_the_runtime(void *unused) {
  (void)unused;
  static fh_slot slot;
  while (!atomic_load(&enough)) {
    (void)stats_now();
    require(fh_root_add(&slot) == FH_OK);
    fh_root_remove(&slot);
    (void)node_type();
    require(fh_attach("user") == FH_OK);
    (void)fh_collect(2);
    fh_detach();
  }
}

static void refuses(const fh_options *options) {
  runtime_start(options);
  struct node *n = node_new(1);
  atomic_store(&enough, false);
  struct companion user;
  companion_start_bare(&user, use_the_runtime, NULL);
  for (size_t i = 0; i < scaled(100); i++) in_child(be_refused, NULL);
  atomic_store(&enough, true);
  companion_join(&user);
  assert_true(node_is_whole(n) && fh_refcount(n) == 1);
  assert_int_equal((int)stats_now().forks, 0);
  fh_release(n);
  runtime_stop();
}

static void forbidden_children_are_refused(void **state) { refuses(&forbid); }
static void children_of_unannounced_forks_are_refused(void **state) { refuses(&manual); }

/* The child's standard error is the report. */
static void trap_in_child(void (*act)(struct node *), const char *words) {
  runtime_start(&forbid);
  struct node *n = node_new(1);
  struct child child;
  if (fork_child(&child) == 0) {
    dup2(report, STDERR_FILENO);
    signal(SIGABRT, SIG_DFL);
    act(n);
    _exit(0);
  }
  char text[4096];
  int status = wait_for(&child, text, sizeof text);
  if (!WIFSIGNALED(status) || !strstr(text, words)) fprintf(stderr, "status 0x%x: %s\n", (unsigned)status, text);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  assert_non_null(strstr(text, words));
  fh_release(n);
  runtime_stop();
}

static void retain(struct node *n) { (void)fh_retain(n); }
static void release(struct node *n) { fh_release(n); }
static void make(struct node *n) { require(!fh_new(fh_type_of(n))); }
static void leave(struct node *n) {
  (void)n;
  fh_detach();
}

static void forbidden_children_trap_where_there_is_no_status(void **state) {
  trap_in_child(retain, "not attached");
  trap_in_child(release, "not attached");
  trap_in_child(make, "not attached");
  trap_in_child(leave, "not attached");
}

/* ---- by hand ---- */

static void fork_by_hand(const fh_options *options) {
  runtime_start(options);
  struct kept kept = {0};
  keep(&kept);
  struct companion other;
  struct handover gate = {GATE, GATE};
  companion_start(&other, sleep_attached, &gate);
  gate_await(&gate.ready, 1);
  struct child child;
  fh_fork_prepare();
  if (fork_child(&child) == 0) {
    fh_fork_child();
    use_what_was_kept(&kept);
    _exit(0);
  }
  fh_fork_parent();
  assert_true(are_whole(&kept));
  assert_int_equal((int)stats_now().forks, 1);
  await_child(&child);
  gate_open(&gate.leave, 1);
  companion_join(&other);
  let_go(&kept);
  runtime_stop();
}

static void announced_forks_are_followed(void **state) {
  const fh_options follow = {.flags = FH_OPTION_QUIET};
  fork_by_hand(&manual);
  fork_by_hand(&follow); /* not twice */
}

static void churn_until_enough(int index, void *unused) {
  if (index) {
    while (!atomic_load(&enough)) work_a_little();
  } else {
    for (size_t i = 0; i < scaled(2000); i++) {
      fh_fork_prepare();
      fh_fork_parent(); /* as after a fork that failed */
    }
    atomic_store(&enough, true);
  }
  (void)unused;
}

static void forks_that_fail_change_nothing(void **state) {
  atomic_store(&enough, false);
  run_threads(4, churn_until_enough, NULL);
  assert_true(stats_now().forks == scaled(2000));
}

static void finish_without_beginning(void) {
  runtime_start(NULL);
  fh_fork_parent();
}
static void fork_in_dealloc(void *object) {
  (void)object;
  fh_fork_prepare();
}
static const fh_type_spec forker_spec = {.name = "forker", .size = sizeof(fh_object), .dealloc = fork_in_dealloc};
static void fork_while_deallocating(void) {
  fh_type *type;
  runtime_start(NULL);
  require(fh_type_register(&forker_spec, &type) == FH_OK);
  fh_release(fh_new(type));
}
static void fork_without_safepoints(void) {
  runtime_start(NULL);
  FH_NO_SAFEPOINT();
  fh_fork_prepare();
}

static void misuse_traps(void **state) {
  expect_trap(finish_without_beginning, "fh_fork_parent", "without fh_fork_prepare", NULL);
  if (!is_checked()) return;
  expect_trap(fork_while_deallocating, "fh_fork_prepare", "dealloc", NULL);
  expect_trap(fork_without_safepoints, "fh_fork_prepare", "no safepoint", NULL);
}

/* While it is down there is nobody to stop, and the next runtime begins with zeros. */
static void come_up_in_child(void *unused) {
  (void)unused;
  check_equal(fh_init(NULL), FH_OK);
  check_equal(fh_attach("child"), FH_OK);
  check_equal(stats_now().forks, 0);
  go_on(&nothing);
}

static void a_fork_while_the_runtime_is_down_is_none_of_its_business(void **state) {
  live_a_short_life();
  in_child(come_up_in_child, NULL);
  runtime_start(NULL);
  assert_int_equal((int)stats_now().forks, 0);
  assert_int_equal((int)stats_now().stops, 0);
  runtime_stop();
}

/* ---- many mutators ---- */

enum { MUTATORS = 32, SLOTS = 8 };

static fh_slot slots[SLOTS];

static void make_share_drop(int index, void *collects) {
  uint64_t random = (uint64_t)index + 1;
  while (!atomic_load(&enough)) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    struct node *loop = make_loop();
    if (random >> 63) fh_slot_store(&slots[random >> 40 & (SLOTS - 1)], loop);
    fh_release(loop);
    struct node *other = fh_slot_load(&slots[random >> 50 & (SLOTS - 1)]);
    require(!other || node_is_whole(other));
    fh_drop(&other);
    if (*(bool *)collects && (random >> 32 & 0xfff) == 0) (void)fh_collect(2);
    if ((random >> 20 & 0xf) == 0) {
      fh_blocking_begin();
      sched_yield();
      fh_blocking_end();
    }
    fh_safepoint();
  }
}

struct crowd {
  bool collects;
  void (*act)(void);
};

static void be_of_the_crowd(int index, void *argument) {
  struct crowd *crowd = argument;
  if (index) {
    require(fh_attach("crowd") == FH_OK);
    make_share_drop(index, &crowd->collects);
    fh_detach();
  } else {
    crowd->act();
    atomic_store(&enough, true);
  }
}

/* act() runs in a thread of its own, not attached, beside so many mutators that work. */
static void amid_a_crowd(void (*act)(void)) {
  const fh_options options = {.flags = FH_OPTION_QUIET, .gc_threshold = 5000};
  struct crowd crowd = {true, act};
  atomic_store(&enough, false);
  require(fh_init(&options) == FH_OK);
  for (int i = 0; i < SLOTS; i++) require(fh_root_add(&slots[i]) == FH_OK);
  run_bare_threads(MUTATORS + 1, be_of_the_crowd, &crowd);
  uint64_t leaked = UINT64_MAX;
  require(fh_shutdown(10000, &leaked) == FH_OK);
  require(leaked == 0);
}

static void fork_children_in_turn(void) {
  size_t forks = scaled(test_design() == FH_DESIGN_BIASED ? 1000 : 100);
  for (size_t i = 0; i < forks; i++) {
    bool attached = i & 1;
    if (attached) require(fh_attach("forker") == FH_OK);
    in_child(work_and_end_somehow, NULL);
    if (attached) fh_detach();
  }
}

static void a_thousand_forks_amid_32_mutators(void **state) { amid_a_crowd(fork_children_in_turn); }

static void run_programs(void) {
  for (int i = 0; i < 20; i++) {
    pid_t pid = fork();
    require(pid >= 0);
    if (pid == 0) {
      execl("/bin/true", "true", (char *)NULL);
      _exit(127);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0) require(errno == EINTR);
    require(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
}

static void fork_and_exec_amid_32_mutators(void **state) { amid_a_crowd(run_programs); }

/* ---- other ways to start a program ---- */

static void await_success(pid_t pid) {
  int status;
  while (waitpid(pid, &status, 0) < 0) require(errno == EINTR);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void posix_spawn_and_vfork_stop_nobody(void **state) {
  char name[] = "true";
  char *const arguments[] = {name, NULL};
  pid_t pid;
  uint64_t stops = stats_now().stops;
  assert_int_equal(posix_spawn(&pid, "/bin/true", NULL, NULL, arguments, environ), 0);
  await_success(pid);
  if (!UNDER_TSAN) { /* which turns a vfork into a fork */
    pid = vfork();
    if (pid == 0) {
      execv("/bin/true", arguments);
      _exit(127);
    }
    await_success(pid);
  }
  assert_true(stats_now().forks == 0 && stats_now().stops == stops);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(an_attached_thread_goes_on_in_parent_and_child),
      with_runtime(a_thread_in_a_blocking_region_goes_on),
      with_runtime(a_thread_that_never_attached_goes_on),
      with_runtime(a_child_forks_again),
      cmocka_unit_test(what_was_looked_at_stays_through_a_fork),
      with_runtime(borrowed_fields_stay),
      with_runtime(locks_of_the_dead_are_free_and_the_survivors_are_held),
      with_runtime(finalizers_of_counted_objects_fork),
      with_runtime(finalizers_of_garbage_fork),
      cmocka_unit_test(finalizers_at_the_end_of_the_runtime_fork),
      cmocka_unit_test(what_only_the_lost_could_reach_is_stranded_and_counted),
      cmocka_unit_test(finalizers_that_waited_run_in_the_child),
      cmocka_unit_test(a_finalizer_that_was_cut_off_does_not_stop_the_others),
      cmocka_unit_test(garbage_whose_finalizer_was_cut_off_is_finished),
      cmocka_unit_test(garbage_before_its_second_look_is_finished),
      cmocka_unit_test(what_a_safepoint_had_taken_is_done_by_others),
      cmocka_unit_test(stranded_objects_are_counted_once_over_generations),
      cmocka_unit_test(no_entry_stays_in_a_sleepers_queue),
      with_runtime(four_threads_fork_at_once),
      cmocka_unit_test(forks_and_collections_take_turns),
      cmocka_unit_test(forks_amid_threads_that_attach_and_detach),
      cmocka_unit_test(a_shutdown_that_waits_does_not_wait_in_the_child),
      cmocka_unit_test(forks_amid_runtimes_that_start_and_end),
      cmocka_unit_test(forbidden_children_are_refused),
      cmocka_unit_test(children_of_unannounced_forks_are_refused),
      cmocka_unit_test(forbidden_children_trap_where_there_is_no_status),
      cmocka_unit_test(announced_forks_are_followed),
      with_runtime(forks_that_fail_change_nothing),
      cmocka_unit_test(misuse_traps),
      cmocka_unit_test(a_fork_while_the_runtime_is_down_is_none_of_its_business),
      cmocka_unit_test(a_thousand_forks_amid_32_mutators),
      cmocka_unit_test(fork_and_exec_amid_32_mutators),
      with_runtime(posix_spawn_and_vfork_stop_nobody),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
