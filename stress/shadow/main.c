/* SPDX-License-Identifier: MIT */
/* The command line of fh-shadow, its threads, and what is said when the heap and the graph disagree. */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shadow.h"

enum {
  OPERATIONS_DEFAULT = 100000,
  CHECK_EVERY = 2000, /* operations of a thread between two checkpoints, if it is not alone */
  GC_THRESHOLD = 512,
  GIL_SWITCH_US = 200,
  PATIENCE_SECONDS = 600,
};

struct choice choice = {.operations = OPERATIONS_DEFAULT, .threads = 1, .candidates = true};
__thread struct worker *me;
struct world worlds[THREADS_MOST + 1];
static struct worker workers[THREADS_MOST];
static bool *skipped; /* by operation, while a failure is made smaller */

/* ---- decisions ---- */

/* SplitMix64: Steele, Lea and Flood, Fast splittable pseudorandom number generators, 2014. */
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

uint64_t draw(struct worker *w) { return w->random = mix(w->random); }

unsigned below(struct worker *w, unsigned n) { return (unsigned)(((draw(w) >> 32) * n) >> 32); }

/* ---- what is said ---- */

static const char *yes(bool condition) { return condition ? "on" : "off"; }

static void say_what_replays(FILE *to) {
  fprintf(to, "fh-shadow: to replay: fh-shadow --seed %llu --operations %llu --threads %u --design %s --collect %s --candidates %s\n",
          (unsigned long long)choice.seed, (unsigned long long)choice.operations, choice.threads, fh_design_name(choice.design),
          choice.mixed ? "mixed" : "full", yes(choice.candidates));
}

static void say_where(FILE *to) {
  if (me) fprintf(to, "fh-shadow: thread %u, operation %llu: ", me->index, (unsigned long long)me->operation);
}

void fail(const struct node *node, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  say_where(stderr);
  if (node) fprintf(stderr, "%s #%llu of world %td: ", kind_name(node->kind), (unsigned long long)node->id, node->world - worlds);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  if (node) node_explain(node);
  abort();
}

void trace(const char *format, ...) {
  if (!choice.trace) return;
  va_list arguments;
  va_start(arguments, format);
  flockfile(stderr);
  say_where(stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  funlockfile(stderr);
  va_end(arguments);
}

/* Of a demand that was not met, a trap of the library's, a crash, or the alarm of a run that hangs. The process ends here: that
 * standard output is not safe in a signal handler can cost no more than the message. */
static void on_end(int signal_number) {
  signal(signal_number, SIG_DFL);
  if (signal_number == SIGALRM) fprintf(stderr, "fh-shadow: the time is over by far: it hangs\n");
  if (signal_number != SIGABRT) say_where(stderr);
  fputc('\n', stderr);
  say_what_replays(stderr);
  raise(signal_number == SIGALRM ? SIGABRT : signal_number);
}

static void watch_for_the_end(void) {
  signal(SIGABRT, on_end);
  signal(SIGALRM, on_end);
  signal(SIGSEGV, on_end);
  signal(SIGBUS, on_end);
}

/* ---- threads ---- */

static void begin_operation(struct worker *w) {
  w->random = mix(choice.seed ^ mix(w->operation + ((uint64_t)w->index << 40)));
}

static bool is_over(const struct worker *w) { return w->operation >= w->operations; }

/* What one thread does before it ends, attached; the next one goes on. */
static void *work_attached(void *argument) {
  struct worker *w = me = argument;
  demand(fh_attach("shadow") == FH_OK, NULL, "fh_attach");
  w->leaving = w->moves = false;
  while (!is_over(w) && !w->moves) {
    begin_operation(w);
    if (!is_alone() && w->operation % CHECK_EVERY == CHECK_EVERY - 1) checkpoint(w);
    if (!skipped || !skipped[w->operation]) turn(w);
    w->operation++;
  }
  if (is_over(w) && !w->moves) wind_up(w);
  if (w->operation % 2) fh_detach(); /* otherwise the end of the thread does it */
  return NULL;
}

static void *work(void *argument) {
  struct worker *w = argument;
  do {
    pthread_t thread;
    if (pthread_create(&thread, NULL, work_attached, w) || pthread_join(thread, NULL)) abort();
  } while (w->moves);
  return NULL;
}

/* ---- a run ---- */

static void hear(void *context, fh_log_level level, const char *message) {
  (void)context;
  if (level == FH_LOG_ERROR) fprintf(stderr, "%s\n", message);
}

static void start(void) {
  fh_options options = {.design = choice.design, .gc_threshold = GC_THRESHOLD, .gil_switch_us = GIL_SWITCH_US, .log = hear};
  if (!choice.mixed) options.flags |= FH_OPTION_GC_OFF;
  if (!choice.candidates) options.flags |= FH_OPTION_NO_CANDIDATES;
  fh_status status = fh_init(&options);
  demand(status == FH_OK, NULL, "fh_init: %s", fh_status_name(status));
  things_register();
}

static void run(void) {
  pthread_t thread[THREADS_MOST];
  uint64_t leaked = 0;
  struct worker last = {.index = THREADS_MOST + 1}; /* a late callback may have allocated: shutting down collects that */
  start();
  for (unsigned i = 0; i < worlds_count(); i++) world_init(&worlds[i], i < choice.threads ? i : THREADS_MOST);
  for (unsigned i = 0; i < choice.threads; i++)
    workers[i] = (struct worker){.index = i, .operations = choice.operations / choice.threads};
  for (unsigned i = 0; i < choice.threads; i++)
    if (pthread_create(&thread[i], NULL, work, &workers[i])) abort();
  for (unsigned i = 0; i < choice.threads; i++) pthread_join(thread[i], NULL);
  me = &last;
  demand(fh_shutdown(1000, &leaked) == FH_OK && !leaked, NULL, "%llu objects leaked", (unsigned long long)leaked);
  me = NULL;
  for (unsigned i = 0; i < worlds_count(); i++) world_finish(&worlds[i]);
}

static void follow_seed(void) {
  char text[24];
  snprintf(text, sizeof text, "%llu", (unsigned long long)choice.seed);
  if (setenv("FREEHOLD_TORTURE_SEED", text, 0)) abort();
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* ---- making a failure smaller ----
 *
 * Each operation draws from the seed and its own number, so that the others stay what they are when some are left out. Each attempt
 * is a process of its own. A program of several threads fails when it likes, so there is no point. */

static bool fails(uint64_t operations, bool shown) {
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    int nowhere = open("/dev/null", O_WRONLY);
    if (!shown && (nowhere < 0 || dup2(nowhere, STDERR_FILENO) < 0)) _exit(0);
    choice.operations = operations;
    choice.trace = shown;
    alarm(60);
    run();
    _exit(0);
  }
  int status = 0;
  return child > 0 && waitpid(child, &status, 0) == child && status != 0;
}

static uint64_t shortest(void) {
  uint64_t fine = 0, bad = choice.operations;
  while (bad - fine > 1) {
    uint64_t middle = fine + (bad - fine) / 2;
    if (fails(middle, false))
      bad = middle;
    else
      fine = middle;
  }
  return bad;
}

static void set_skipped(uint64_t from, uint64_t to, const bool *values) {
  for (uint64_t i = from; i < to; i++) skipped[i] = values ? values[i - from] : true;
}

static void leave_out(uint64_t operations) {
  bool *before = calloc(operations, sizeof *before);
  if (!before) abort();
  for (uint64_t block = operations / 2; block; block /= 2)
    for (uint64_t from = 0; from < operations; from += block) {
      uint64_t to = from + block < operations ? from + block : operations;
      memcpy(before, skipped + from, (to - from) * sizeof *before);
      if (!memchr(before, false, to - from)) continue;
      set_skipped(from, to, NULL);
      if (!fails(operations, false)) set_skipped(from, to, before);
    }
  free(before);
}

static int shrink(void) {
  if (choice.threads > 1) {
    fprintf(stderr, "fh-shadow: --shrink wants one thread\n");
    return 2;
  }
  skipped = calloc(choice.operations, sizeof *skipped);
  if (!skipped) abort();
  if (!fails(choice.operations, false)) {
    printf("it does not fail\n");
    return 0;
  }
  uint64_t operations = shortest(), left = 0;
  leave_out(operations);
  for (uint64_t i = 0; i < operations; i++) left += !skipped[i];
  printf("%llu operations are left of %llu:\n", (unsigned long long)left, (unsigned long long)choice.operations);
  fails(operations, true);
  free(skipped);
  return 1;
}

/* ---- what is wanted ---- */

static const char usage_text[] =
    "usage: fh-shadow [--seed N] [--operations N] [--threads N] [--design biased|atomic|gil] [--collect full|mixed]\n"
    "                 [--candidates on|off] [--time SECONDS] [--trace] [--shrink]\n"
    "  --operations  of all threads together, default 100000\n"
    "  --collect     full: only where the program says so, and everything; mixed: any generation, and automatic ones, default full\n"
    "  --candidates  off: old collections look at everything, default on\n"
    "  --time        goes on with the next seeds until the time is over\n"
    "  --trace       prints each operation\n"
    "  --shrink      leaves out operations as long as it fails, and prints what is left\n";

_Noreturn static void refuse(const char *what) {
  fprintf(stderr, "fh-shadow: what is \"%s\"?\n%s", what, usage_text);
  exit(2);
}

static uint64_t number(const char *text, uint64_t least, uint64_t most) {
  char *end = NULL;
  const unsigned long long value = strtoull(text, &end, 0);
  if (end == text || *end || *text == '-' || value < least || value > most) refuse(text);
  return value;
}

static bool one_of(const char *text, const char *is_true, const char *is_false) {
  if (strcmp(text, is_true) != 0 && strcmp(text, is_false) != 0) refuse(text);
  return !strcmp(text, is_true);
}

static fh_design design_of(const char *text) {
  for (fh_design design = FH_DESIGN_BIASED; design <= FH_DESIGN_GIL; design++)
    if (!strcmp(text, fh_design_name(design))) return design;
  refuse(text);
}

static void take_value(const char *option, const char *value) {
  if (!strcmp(option, "--seed"))
    choice.seed = number(value, 0, UINT64_MAX);
  else if (!strcmp(option, "--operations"))
    choice.operations = number(value, 1, (uint64_t)1 << 40);
  else if (!strcmp(option, "--threads"))
    choice.threads = (unsigned)number(value, 1, THREADS_MOST);
  else if (!strcmp(option, "--design"))
    choice.design = design_of(value);
  else if (!strcmp(option, "--collect"))
    choice.mixed = one_of(value, "mixed", "full");
  else if (!strcmp(option, "--candidates"))
    choice.candidates = one_of(value, "on", "off");
  else if (!strcmp(option, "--time"))
    choice.seconds = (double)number(value, 1, 1000000);
  else
    refuse(option);
}

static void parse(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "--trace"))
      choice.trace = true;
    else if (!strcmp(argv[i], "--shrink"))
      choice.shrink = true;
    else if (i + 1 < argc)
      take_value(argv[i], argv[i + 1]), i++;
    else
      refuse(argv[i]);
  }
}

int main(int argc, char **argv) {
  uint32_t seed = 0; /* short enough to be read aloud */
  if (getrandom(&seed, sizeof seed, 0) != sizeof seed) abort();
  choice.seed = seed;
  parse(argc, argv);
  follow_seed();
  if (choice.shrink) return shrink();
  watch_for_the_end();
  double began = now();
  uint64_t operations = 0;
  do {
    printf("seed %llu, %llu operations, %u threads, design %s, collect %s, candidates %s\n", (unsigned long long)choice.seed,
           (unsigned long long)choice.operations, choice.threads, fh_design_name(choice.design), choice.mixed ? "mixed" : "full",
           yes(choice.candidates));
    fflush(stdout);
    alarm(PATIENCE_SECONDS);
    run();
    operations += choice.operations;
    choice.seed++;
  } while (now() - began < choice.seconds);
  printf("%llu operations in %.1f s: the heap and its shadow agree\n", (unsigned long long)operations, now() - began);
  return 0;
}
