/* SPDX-License-Identifier: MIT */
#include "support/support.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/sanitizers.h"

/* ---- the design ---- */

fh_design test_design(void) {
  const char *name = getenv("FREEHOLD_TEST_DESIGN");
  if (!name) return FH_DESIGN_BIASED;
  for (fh_design design = FH_DESIGN_BIASED; design <= FH_DESIGN_GIL; design++)
    if (!strcmp(name, fh_design_name(design))) return design;
  fprintf(stderr, "FREEHOLD_TEST_DESIGN is \"%s\", which is no design\n", name);
  abort();
}

#undef fh_init
fh_status test_init(const fh_options *options) {
  if (test_design() == FH_DESIGN_BIASED || (options && options->design)) return fh_init(options);
  fh_options chosen = options ? *options : (fh_options){0};
  chosen.design = test_design();
  chosen.gil_switch_us = chosen.gil_switch_us ? chosen.gil_switch_us : 200;
  return fh_init(&chosen);
}
#define fh_init(...) test_init(__VA_ARGS__)

void only_biased(void) {
  if (test_design() != FH_DESIGN_BIASED) skip();
}
void only_parallel(void) {
  if (test_design() == FH_DESIGN_GIL) skip();
}
void only_private(void) {
  if (test_design() == FH_DESIGN_ATOMIC) skip();
}
void only_strangers(void) { only_parallel(); }
bool born_published(void) { return test_design() == FH_DESIGN_ATOMIC; }

/* ---- the build ---- */

static bool build_is(const char *name) { return strstr(fh_version(), name) != NULL; }

bool is_torture(void) { return build_is("(torture)"); }
bool is_checked(void) { return build_is("(checked)") || is_torture(); }

void only_checked(void) {
  if (!is_checked()) skip();
}

bool memory_is_measurable(void) { return !UNDER_TSAN && !UNDER_ASAN; }

size_t resident_bytes(void) {
  FILE *file = fopen("/proc/self/statm", "r");
  unsigned long total, resident;
  require(file && fscanf(file, "%lu %lu", &total, &resident) == 2);
  fclose(file);
  return resident * (size_t)sysconf(_SC_PAGESIZE);
}

size_t scaled(size_t turns) {
  size_t divisor = UNDER_TSAN ? 10 : is_torture() ? 20 : is_checked() ? 4 : 1;
  return turns / divisor ? turns / divisor : 1;
}

/* ---- gates ---- */

void give_way(void) {
  fh_safepoint();
  if (test_design() == FH_DESIGN_GIL) { /* who polls there holds the lock until the switch interval is over */
    FH_BLOCKING();
    sched_yield();
  } else {
    sched_yield();
  }
}

void gate_open(struct gate *gate, int value) {
  pthread_mutex_lock(&gate->lock);
  if (atomic_load(&gate->value) < value) atomic_store(&gate->value, value);
  pthread_cond_broadcast(&gate->opened);
  pthread_mutex_unlock(&gate->lock);
}

static void await_opening(struct gate *gate, int value) {
  pthread_mutex_lock(&gate->lock);
  gate->waiting++;
  while (atomic_load(&gate->value) < value) pthread_cond_wait(&gate->opened, &gate->lock);
  gate->waiting--;
  pthread_mutex_unlock(&gate->lock);
}

void gate_await(struct gate *gate, int value) {
  bool attached = fh_is_attached();
  if (attached) fh_blocking_begin();
  await_opening(gate, value);
  if (attached) fh_blocking_end();
}

void gate_await_running(struct gate *gate, int value) {
  while (atomic_load(&gate->value) < value) {
    fh_safepoint();
    sched_yield();
  }
}

void gate_await_deaf(struct gate *gate, int value) {
  while (atomic_load(&gate->value) < value) sched_yield();
}

static bool has_waiter(struct gate *gate) {
  pthread_mutex_lock(&gate->lock);
  bool has = gate->waiting > 0;
  pthread_mutex_unlock(&gate->lock);
  return has;
}

void gate_await_waiter(struct gate *gate) {
  while (!has_waiter(gate)) give_way();
}

/* ---- threads ---- */

void meet(pthread_barrier_t *barrier) {
  bool attached = fh_is_attached();
  if (attached) fh_blocking_begin();
  pthread_barrier_wait(barrier);
  if (attached) fh_blocking_end();
}

struct runner {
  pthread_t thread;
  pthread_barrier_t *start;
  void (*body)(int, void *);
  void *argument;
  int index;
  bool attached;
};

static void *run_one(void *argument) {
  struct runner *runner = argument;
  char name[16];
  snprintf(name, sizeof name, "t%d", runner->index);
  if (runner->attached) require(fh_attach(name) == FH_OK);
  meet(runner->start);
  runner->body(runner->index, runner->argument);
  if (runner->attached) fh_detach();
  return NULL;
}

static void run_all(int count, void (*body)(int, void *), void *argument, bool attach) {
  enum { THREADS_MAX = 64 };
  struct runner runners[THREADS_MAX];
  require(count <= THREADS_MAX);
  pthread_barrier_t start;
  require(!pthread_barrier_init(&start, NULL, (unsigned)count));
  bool attached = fh_is_attached();
  if (attached) fh_blocking_begin();
  for (int i = 0; i < count; i++) {
    runners[i] = (struct runner){.start = &start, .body = body, .argument = argument, .index = i, .attached = attach};
    require(!pthread_create(&runners[i].thread, NULL, run_one, &runners[i]));
  }
  for (int i = 0; i < count; i++) require(!pthread_join(runners[i].thread, NULL));
  if (attached) fh_blocking_end();
  pthread_barrier_destroy(&start);
}

void run_threads(int count, void (*body)(int, void *), void *argument) { run_all(count, body, argument, true); }
void run_bare_threads(int count, void (*body)(int, void *), void *argument) { run_all(count, body, argument, false); }

static void *run_companion(void *argument) {
  struct companion *companion = argument;
  if (companion->attached) require(fh_attach("companion") == FH_OK);
  companion->body(companion->argument);
  if (companion->attached) fh_detach();
  return NULL;
}

static void start(struct companion *companion, void (*body)(void *), void *argument, bool attached) {
  *companion = (struct companion){.body = body, .argument = argument, .attached = attached};
  require(!pthread_create(&companion->thread, NULL, run_companion, companion));
}

void companion_start(struct companion *companion, void (*body)(void *), void *argument) { start(companion, body, argument, true); }
void companion_start_bare(struct companion *companion, void (*body)(void *), void *argument) {
  start(companion, body, argument, false);
}

void companion_join(struct companion *companion) {
  bool attached = fh_is_attached();
  if (attached) fh_blocking_begin();
  require(!pthread_join(companion->thread, NULL));
  if (attached) fh_blocking_end();
}

/* ---- chance ---- */

uint64_t random_from(uint64_t seed) { return seed * 0x9e3779b97f4a7c15u + 1; }

uint64_t draw(uint64_t *random) {
  *random ^= *random << 13;
  *random ^= *random >> 7;
  *random ^= *random << 17;
  return *random >> 11; /* the upper bits are the better ones */
}

size_t below(uint64_t *random, size_t n) { return (size_t)draw(random) % n; }

/* ---- types ---- */

fh_type *type_of_spec(const fh_type_spec *spec) {
  fh_type *type = NULL;
  require(fh_type_register(spec, &type) == FH_OK);
  return type;
}

void *new_of_spec(const fh_type_spec *spec) {
  void *object = fh_new(type_of_spec(spec));
  require(object);
  return object;
}

static const fh_type_spec proud_spec = {.name = "proud", .size = sizeof(fh_object), .flags = FH_NO_WEAK};
fh_object *proud_new(void) { return new_of_spec(&proud_spec); }

/* ---- nodes ---- */

atomic_uint_fast64_t node_deaths;

static void node_dealloc(void *object) {
  struct node *n = object;
  require(!n->left && !n->right && node_is_whole(n));
  n->check = n->id;
  atomic_fetch_add_explicit(&node_deaths, 1, memory_order_relaxed);
}

static const fh_ref node_refs[] = {FH_FIELD(struct node, left), FH_FIELD(struct node, right), FH_END};
const fh_type_spec node_spec = {.name = "node", .size = sizeof(struct node), .refs = node_refs, .dealloc = node_dealloc};

fh_type *node_type(void) { return type_of_spec(&node_spec); }

struct node *node_new(uint64_t id) {
  struct node *n = new_of_spec(&node_spec);
  require(!n->left && !n->right && !n->id && !n->check);
  n->id = id;
  n->check = ~id;
  return n;
}

struct node *published_node(uint64_t id) {
  struct node *n = node_new(id);
  fh_publish(n);
  return n;
}

bool node_is_whole(const struct node *n) { return n->check == ~n->id; }

uint64_t deaths(void) { return atomic_load(&node_deaths); }

struct node *node_chain(size_t length) {
  struct node *head = NULL;
  for (size_t i = 0; i < length; i++) {
    struct node *n = node_new(i);
    fh_give(n, left, head);
    head = n;
  }
  return head;
}

struct node *node_ring(size_t length) {
  struct node *head = node_new(0), *last = head;
  for (size_t i = 1; i < length; i++) {
    struct node *next = node_new(i);
    fh_give(last, left, next);
    last = next;
  }
  fh_set(last, left, head);
  return head;
}

/* ---- weak references ---- */

fh_weak *weak_to(void *target) {
  fh_weak *weak = fh_weak_new(target);
  require(weak);
  return weak;
}

bool is_lost(fh_weak *weak) {
  FH_AUTO void *target = fh_weak_get(weak);
  return !target;
}

/* ---- the runtime around a test ---- */

void runtime_start(const fh_options *options) {
  atomic_store(&node_deaths, 0);
  require(fh_init(options) == FH_OK);
  require(fh_attach("main") == FH_OK);
}

/* Says what is not clean, and goes on: a test that failed leaves objects behind, and its message comes after this one. */
static bool ends_clean(void) {
  enum { LONG_ENOUGH_MS = 10000 };
  fh_settle();
  bool clean = fh_check_heap() == FH_OK;
  fh_detach();
  uint64_t leaked = 1;
  require(fh_shutdown(LONG_ENOUGH_MS, &leaked) == FH_OK);
  if (leaked) fprintf(stderr, "%llu objects leaked\n", (unsigned long long)leaked);
  return clean && leaked == 0;
}

void runtime_stop(void) { require(ends_clean()); }

int runtime_setup(void **state) {
  (void)state;
  runtime_start(NULL);
  return 0;
}

int runtime_setup_gc_off(void **state) {
  (void)state;
  runtime_start(&(fh_options){.flags = FH_OPTION_GC_OFF});
  return 0;
}

int runtime_teardown(void **state) {
  (void)state;
  return ends_clean() ? 0 : -1;
}

fh_stats stats_now(void) {
  fh_stats stats = {.size = sizeof stats};
  require(fh_stats_get(&stats) == FH_OK);
  return stats;
}

void hear(void *context, fh_log_level level, const char *message) {
  struct heard *heard = context;
  require(level >= FH_LOG_ERROR && level <= FH_LOG_INFO);
  pthread_mutex_lock(&heard->lock);
  int n = snprintf(heard->text + heard->length, sizeof heard->text - heard->length, "%s\n", message);
  if (n > 0) heard->length += (size_t)n;
  if (heard->length >= sizeof heard->text) heard->length = sizeof heard->text - 1;
  pthread_mutex_unlock(&heard->lock);
}

/* ---- children ----
 *
 * The child learns by its environment which function to run, as a distance from one that both know: the two are the same
 * program, but may be loaded at different addresses. */

static const char child_variable[] = "FREEHOLD_TEST_CHILD";

static void origin(void) {}

__attribute__((constructor)) static void run_as_child(void) {
  const char *distance = getenv(child_variable);
  if (!distance) return;
  const struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  void (*body)(void) = (void (*)(void))((uintptr_t)origin + (uintptr_t)strtoull(distance, NULL, 16));
  unsetenv(child_variable);
  body();
  exit(0);
}

static void read_all(int from, char *text, size_t room) {
  size_t length = 0;
  ssize_t n = 1;
  while (n && length + 1 < room) {
    n = read(from, text + length, room - 1 - length);
    if (n < 0) {
      require(errno == EINTR);
      continue;
    }
    length += (size_t)n;
  }
  text[length] = 0;
}

void child_run(void (*body)(void), struct outcome *outcome) {
  char distance[32];
  snprintf(distance, sizeof distance, "%llx", (unsigned long long)((uintptr_t)body - (uintptr_t)origin));
  int pipe_ends[2];
  require(!pipe2(pipe_ends, O_CLOEXEC));
  pid_t child = fork();
  require(child >= 0);
  if (child == 0) {
    setenv(child_variable, distance, 1);
    dup2(pipe_ends[1], STDERR_FILENO);
    execl("/proc/self/exe", "child", (char *)NULL);
    _exit(127);
  }
  close(pipe_ends[1]);
  read_all(pipe_ends[0], outcome->text, sizeof outcome->text);
  close(pipe_ends[0]);
  int status;
  while (waitpid(child, &status, 0) < 0) require(errno == EINTR);
  outcome->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  outcome->status = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
}

void expect_trap(void (*body)(void), ...) {
  struct outcome outcome;
  child_run(body, &outcome);
  if (outcome.signal != SIGABRT) fail_msg("no trap: signal %d, status %d: %s", outcome.signal, outcome.status, outcome.text);
  va_list wanted;
  va_start(wanted, body);
  for (const char *part = va_arg(wanted, const char *); part; part = va_arg(wanted, const char *))
    if (!strstr(outcome.text, part)) fail_msg("\"%s\" is missing in: %s", part, outcome.text);
  va_end(wanted);
}

void expect_fine(void (*body)(void)) {
  struct outcome outcome;
  child_run(body, &outcome);
  if (outcome.signal || outcome.status) fail_msg("signal %d, status %d: %s", outcome.signal, outcome.status, outcome.text);
}
