/* SPDX-License-Identifier: MIT */
/* fh_dump: what the runtime knows of itself, in words, from where nothing else may be called.
 *
 * Claims: it names version, design, limits, each mutator with its state, each type with its instances; it works in a signal handler on a
 * thread that was struck in the middle of anything, the stopped world included, takes no lock and calls no malloc; where nothing can be
 * written it returns; while the runtime is down it says so; errno stays. Faked: malloc of this program, which counts. */
#include "support/sanitizers.h"
#include "support/support.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- allocations of the whole program, counted while somebody wants to know ---- */

static atomic_bool counting;
static atomic_int allocations;

/* A sanitizer has its own. */
#if !UNDER_TSAN && !UNDER_ASAN
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t count, size_t n);
extern void *__libc_realloc(void *block, size_t n);

static void count_allocation(void) {
  if (atomic_load(&counting)) atomic_fetch_add(&allocations, 1);
}
void *malloc(size_t n) {
  count_allocation();
  return __libc_malloc(n);
}
void *calloc(size_t count, size_t n) {
  count_allocation();
  return __libc_calloc(count, n);
}
void *realloc(void *block, size_t n) {
  count_allocation();
  return __libc_realloc(block, n);
}
#endif

/* ---- where a dump goes ---- */

static int dump_file = -1;
static char text[1 << 16];

static int open_file(void **state) {
  dump_file = memfd_create("dump", MFD_CLOEXEC);
  return dump_file < 0 ? -1 : 0;
}
static int close_file(void **state) {
  close(dump_file);
  return 0;
}
static int open_and_start(void **state) { return open_file(state) ? -1 : runtime_setup(state); }
static int stop_and_close(void **state) { return close_file(state) ? -1 : runtime_teardown(state); }

static void read_dump(void) {
  ssize_t n = pread(dump_file, text, sizeof text - 1, 0);
  require(n >= 0);
  text[n] = 0;
  require(!ftruncate(dump_file, 0) && !lseek(dump_file, 0, SEEK_SET));
}
static void dump_here(void) {
  errno = EDOM;
  fh_dump(dump_file);
  assert_int_equal(errno, EDOM);
  read_dump();
}
static void assert_says(const char *part) {
  if (!strstr(text, part)) fail_msg("\"%s\" is missing in:\n%s", part, text);
}
/* The line that begins like this has that in it. */
static void assert_line_says(const char *beginning, const char *part) {
  const char *line = strstr(text, beginning);
  if (!line) fail_msg("no line \"%s\" in:\n%s", beginning, text);
  const char *end = strchr(line, '\n'), *found = strstr(line, part);
  if (!end || !found || found > end) fail_msg("\"%s\" is missing in the line \"%s\" of:\n%s", part, beginning, text);
}

/* ---- what it says ---- */

static void it_says_what_there_is(void **state) {
  fh_type *type = node_type();
  struct node *nodes[3];
  for (uint64_t i = 0; i < 3; i++) nodes[i] = node_new(i);
  assert_int_equal(fh_limits_set(3000000, 4000000), FH_OK);
  assert_null(fh_alloc(5000000));
  dump_here();
  assert_says(fh_version());
  assert_line_says("freehold ", fh_design_name(fh_design_get()));
  assert_line_says("freehold ", "running");
  assert_line_says("world: ", "runs");
  assert_line_says("memory: ", "soft 3000000 hard 4000000");
  assert_line_says("memory: ", "refused 1");
  assert_line_says("collections:", "enabled");
  assert_line_says("mutator ", "\"main\": attached");
  assert_line_says("mutator ", "<- this thread");
  char line[64];
  snprintf(line, sizeof line, "type %s: 3 alive", fh_type_name(type));
  assert_says(line);
  for (int i = 0; i < 3; i++) fh_release(nodes[i]);
  fh_gc_disable();
  assert_int_equal(fh_limits_set(0, 0), FH_OK);
  fh_settle();
  dump_here();
  assert_line_says("memory: ", "soft none hard none");
  assert_line_says("collections:", "disabled");
  assert_null(strstr(text, "type node")); /* none is alive */
}

struct shown {
  struct gate ready, end;
};
static void be_shown(void *argument) {
  struct shown *shown = argument;
  struct node *n = node_new(1);
  {
    FH_CRITICAL(n);
    gate_open(&shown->ready, 1);
    gate_await_running(&shown->end, 1);
  }
  fh_release(n);
  fh_blocking_begin();
  gate_open(&shown->ready, 2);
  gate_await(&shown->end, 2);
  fh_blocking_end();
}

static void it_shows_each_mutator(void **state) {
  struct shown shown = {GATE, GATE};
  struct companion companion;
  companion_start(&companion, be_shown, &shown);
  gate_await(&shown.ready, 1);
  dump_here();
  assert_line_says("mutator 2 \"companion\": ", "in a critical section");
  gate_open(&shown.end, 1);
  gate_await(&shown.ready, 2);
  dump_here();
  assert_line_says("mutator 2 \"companion\": ", "detached, blocking");
  assert_line_says("mutator 1 \"main\": ", "attached");
  gate_open(&shown.end, 2);
  companion_join(&companion);
  dump_here();
  assert_line_says("mutator 2 \"companion\": ", "detached, no thread");
}

static void it_counts_no_malloc(void **state) {
  for (int i = 0; i < 20; i++) fh_release(node_new((uint64_t)i));
  atomic_store(&allocations, 0);
  atomic_store(&counting, true);
  fh_dump(dump_file);
  atomic_store(&counting, false);
  assert_int_equal(atomic_load(&allocations), 0);
}

static void dump_bare(int index, void *argument) { fh_dump(dump_file); }

static void a_thread_that_never_attached_may_call_it(void **state) {
  run_bare_threads(1, dump_bare, NULL);
  read_dump();
  assert_line_says("mutator 1 \"main\": ", "detached, blocking");
  assert_null(strstr(text, "this thread"));
}

static void the_runtime_is_down(void **state) {
  dump_here();
  assert_line_says("freehold ", "down");
  assert_null(strstr(text, "mutator"));
  runtime_start(NULL);
  runtime_stop();
  dump_here();
  assert_line_says("freehold ", "down");
  assert_null(strstr(text, "mutator"));
}

/* ---- where it cannot write ---- */

static void nowhere_to_write(void **state) {
  fh_dump(-1);
  int closed = dup(dump_file);
  close(closed);
  fh_dump(closed);
  int ends[2];
  require(!pipe2(ends, O_NONBLOCK | O_CLOEXEC));
  char zeros[4096] = {0};
  while (write(ends[1], zeros, sizeof zeros) > 0) {
  }
  fh_dump(ends[1]); /* full: it does not wait */
  fh_dump(ends[0]); /* not for writing */
  close(ends[0]);
  close(ends[1]);
}

/* ---- in a crash handler ---- */

static atomic_int dumps;
static void on_signal(int number) {
  fh_dump(dump_file);
  atomic_fetch_add(&dumps, 1);
}
static void catch_signals(void) {
  struct sigaction action = {.sa_handler = on_signal};
  require(!sigaction(SIGSEGV, &action, NULL) && !sigaction(SIGUSR1, &action, NULL));
  atomic_store(&dumps, 0);
}
static void release_signals(void) {
  signal(SIGSEGV, SIG_DFL);
  signal(SIGUSR1, SIG_DFL);
}

static atomic_bool crash;
struct fragile {
  fh_object fh;
  struct node *node;
};
static void traverse_fragile(void *object, fh_visitor *visitor) {
  struct fragile *fragile = object;
  if (atomic_exchange(&crash, false)) raise(SIGSEGV);
  fh_visit(visitor, &fragile->node);
}
static const fh_type_spec fragile_spec = {.name = "fragile", .size = sizeof(struct fragile), .traverse = traverse_fragile};

static void a_crash_in_the_stopped_world(void **state) {
  fh_type *type = type_of_spec(&fragile_spec);
  struct fragile *fragile = fh_new(type);
  assert_non_null(fragile);
  catch_signals();
  atomic_store(&crash, true);
  fh_collect(2);
  assert_int_equal(atomic_load(&dumps), 1);
  release_signals();
  read_dump();
  assert_line_says("world: ", "stop lock held");
  assert_line_says("mutator 1 \"main\": ", "collecting");
  assert_says("type fragile: 1 alive");
  fh_release(fragile);
}

/* The handler strikes in the middle of allocation, releases, attaches, collections. */
static atomic_bool enough;
static void work(void *argument) {
  atomic_store((atomic_bool *)argument, true);
  for (uint64_t i = 0; !atomic_load(&enough); i++) {
    struct node *n = node_new(i);
    fh_set(n, left, n);
    fh_publish(n);
    fh_release(n);
    fh_free(fh_alloc(100));
    if (i % 16 == 0) fh_collect(2);
    if (i % 3 == 0) fh_housekeep();
    fh_safepoint();
  }
}

static void signals_in_the_middle_of_work(void **state) {
  enum { STRIKES = 200 };
  struct companion companion;
  static atomic_bool started;
  atomic_store(&started, false);
  atomic_store(&enough, false);
  catch_signals();
  companion_start(&companion, work, &started);
  fh_blocking_begin();
  while (!atomic_load(&started)) sched_yield();
  int strikes = (int)scaled(STRIKES);
  for (int i = 0; i < strikes; i++) {
    require(!pthread_kill(companion.thread, SIGUSR1));
    while (atomic_load(&dumps) <= i) sched_yield();
    read_dump();
    require(strstr(text, "freehold ") && strstr(text, "\"companion\"") && strstr(text, "this thread"));
  }
  fh_blocking_end();
  atomic_store(&enough, true);
  companion_join(&companion);
  release_signals();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(it_says_what_there_is, open_and_start, stop_and_close),
      cmocka_unit_test_setup_teardown(it_shows_each_mutator, open_and_start, stop_and_close),
      cmocka_unit_test_setup_teardown(it_counts_no_malloc, open_and_start, stop_and_close),
      cmocka_unit_test_setup_teardown(a_thread_that_never_attached_may_call_it, open_and_start, stop_and_close),
      cmocka_unit_test_setup_teardown(the_runtime_is_down, open_file, close_file),
      cmocka_unit_test_setup_teardown(nowhere_to_write, open_and_start, stop_and_close),
      cmocka_unit_test_setup_teardown(a_crash_in_the_stopped_world, open_and_start, stop_and_close),
      cmocka_unit_test_setup_teardown(signals_in_the_middle_of_work, open_and_start, stop_and_close),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
