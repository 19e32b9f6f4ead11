/* SPDX-License-Identifier: MIT */
/* The bench: figures, comparisons within one run, crews of threads, fresh processes.
 *
 * A figure is a name, a unit, what it should reach, and a function that fills in one value a round. Machines drift by
 * more than what the figures tell apart, so whatever can be a ratio is one: both sides alternate inside each round, and
 * the median of the rounds' ratios counts. */
#ifndef FREEHOLD_BENCH_H
#define FREEHOLD_BENCH_H

#include <freehold/freehold.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/types.h>

enum { ROUNDS_MAX = 101, ROUNDS_DEFAULT = 9, CREW_MAX = 1024, COUNT_OBJECTS = 256 };

/* ---- figures ---- */

struct result {
  unsigned rounds; /* how many are wanted; a costly figure lowers it */
  unsigned filled; /* none: the figure cannot be measured here, and `beside` says why */
  double value[ROUNDS_MAX];
  char beside[96];   /* what is printed behind the figure, without a meaning for programs */
  bool unfit;        /* what the figure asks for did not come about, so it is missed whatever its value */
  double ours;       /* of a comparison: the median of our side, ns an operation */
  uint64_t immortal; /* objects that the figure made immortal: they may still be there when the runtime ends */
};

enum reach { REPORTED, AT_MOST, AT_LEAST, EXACTLY };

struct figure {
  const char *name;
  const char *unit;
  enum reach reach;
  double limit;
  void (*measure)(struct result *result); /* on an attached thread of a runtime that nobody else uses */
};

/* One array a family, ended by a figure without a name. */
extern const struct figure count_figures[], object_figures[], handoff_figures[];
extern const struct figure mutator_figures[], stop_figures[], gc_figures[], limit_figures[];
extern const struct figure design_figures[], fork_figures[], instruction_figures[];
extern const struct figure churn_figures[], gcbench_figures[];

void result_add(struct result *result, double value);
void result_limit_rounds(struct result *result, unsigned most);

/* ---- small things ---- */

/* Says what is wrong and ends the process: a figure that was measured on broken ground is worth nothing. */
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn, cold));
void expect(bool holds, const char *what);

uint64_t now_ns(void);
double median_of(const double *value, size_t n);
double quantile_of(const double *value, size_t n, double share);
void *must_allocate(size_t bytes); /* touched, so that it does not grow the resident size later */
fh_type *must_register(const fh_type_spec *spec);
void must_attach(const char *name);
double resident_mb(void);

/* The compiler must assume that all memory changed here; no instruction is made of it. */
#define COMPILER_BARRIER() __asm__ volatile("" ::: "memory")

/* Work that no compiler can shorten and that touches no memory. */
static inline void compute(uint64_t *number, unsigned steps) {
  for (unsigned i = 0; i < steps; i++) {
    *number = *number * 6364136223846793005u + 1442695040888963407u;
    __asm__ volatile("" : "+r"(*number));
  }
}

/* One turn of a wait of an attached thread for another thread: lets stops through, and now and then the other thread. */
void wait_turn(unsigned *turns);

/* ---- comparisons ---- */

/* Does `n` units of work and returns the time they took, in ns. */
typedef uint64_t (*side_function)(void *context, uint64_t n);

struct comparison {
  side_function ours;
  side_function theirs;
  void *context;
  double operations; /* in one unit, for the text beside the figure */
  uint64_t fixed;    /* units in one slice; 0: as many as take a slice's time */
};

/* Fills in one ratio of ours to theirs a round. */
void compare(struct result *result, const struct comparison *comparison);

extern unsigned long_seconds; /* --seconds: how long limit.slowdown lives at its limit */

/* ---- crews: threads that start together ---- */

extern bool pin_crews; /* --pin: each thread on a processor of its own, for machines on which others work, too */

typedef void (*crew_body)(unsigned index, void *context, uint64_t n);

struct crew_member {
  struct crew *crew;
  unsigned index;
  pthread_t thread;
  uint64_t begun_ns;
  uint64_t ended_ns;
  uint64_t processor_ns; /* of its own, in between */
};

struct crew {
  unsigned count;
  crew_body body;
  void *context;
  uint64_t n;
  atomic_uint arrived; /* attached */
  atomic_bool go;
  atomic_uint ready; /* saw `go`, and run */
  pthread_mutex_t lock; /* guards `finished` */
  pthread_cond_t ended;
  unsigned finished;
  struct crew_member member[CREW_MAX];
};

/* Starts attached threads that wait for crew_go. The caller is attached. */
void crew_start(struct crew *crew, unsigned count, crew_body body, void *context, uint64_t n);
/* Lets them run; returns at once. */
void crew_go(struct crew *crew);
/* Waits in a blocking region until all have detached; returns the ns from the first beginning to the last end. */
uint64_t crew_finish(struct crew *crew);
/* All three; the members begin when the caller already is in its blocking region. */
uint64_t crew_run(unsigned count, crew_body body, void *context, uint64_t n);

/* ---- other processes ---- */

/* Options under which full collections look at everything each time, with so many workers. */
#define LINEAR(workers) {.flags = FH_OPTION_NO_CANDIDATES, .gc_workers = (workers)}

/* A program whose output, or what it says about errors, is read. */
struct program {
  pid_t pid;
  FILE *from;
};

/* Looks `file` up as the shell does; false if it is not there. `captured`: STDOUT_FILENO or STDERR_FILENO. */
bool program_start(struct program *program, const char *file, char *const *arguments, int captured);
/* Waits for its end; dies if that was not a good one. */
void program_end(struct program *program, const char *name);

/* This program again, in a fresh process, with a runtime of its own that nobody is attached to yet. */
struct child {
  const char *name;
  void (*run)(double *values, unsigned count);
  fh_options options;
  bool without_runtime;
};
/* Ended by one without a name. */
extern const struct child bench_children[];
extern const struct child libgc_children[]; /* libgc_NAME does what NAME does; none where libgc is not installed */

/* Runs a child of that name in a process of its own and reads the numbers that it found. */
void run_child(const char *name, double *values, unsigned count);
/* Fills in one ratio a round of what two children say with their first number, which has that unit. */
void compare_children(struct result *result, const char *ours, const char *theirs, const char *unit);
/* The same of a child and of the one that does it with libgc; or says that there is none. */
void compare_with_libgc(struct result *result, const char *ours, const char *unit);
bool has_libgc(struct result *result);
/* The other end: runs the child and writes its numbers. */
int be_child(const char *name);

void child_blocked_owner(double *values, unsigned count);
void child_churn(double *values, unsigned count);
void child_pair(double *values, unsigned count);
void child_make(double *values, unsigned count);
void child_fork_server(double *values, unsigned count);
void child_fork_server_plain(double *values, unsigned count);
void child_fork_busy(double *values, unsigned count);
void child_fork_busy_plain(double *values, unsigned count);
void child_full(double *values, unsigned count);
void child_full_beside(double *values, unsigned count);
void child_pairs(double *values, unsigned count);
void child_pairs_beside_live(double *values, unsigned count);
void child_gcbench(double *values, unsigned count);

/* ---- the objects that several families use ---- */

/* Tracked, 32 bytes, two fields. */
struct node {
  fh_object fh;
  struct node *a;
  struct node *b;
};
/* Tracked, 48 bytes, two fields and a number. */
struct parcel {
  fh_object fh;
  struct node *a;
  struct node *b;
  uint64_t serial;
  uint64_t unused;
};
extern const fh_type_spec node_spec, parcel_spec;
_Static_assert(sizeof(struct node) == 32 && sizeof(struct parcel) == 48, "the figures say 32 and 48 bytes");

struct node *must_make(fh_type *type);
/* Two nodes that refer to each other, and nothing to them. */
void drop_pair(fh_type *type);

/* ---- a million objects that live ----
 *
 * The graph is random with out-degree 2 and reachable from a thousand roots: every other object is put into a random
 * free field of an earlier one, and the fields that are then left point anywhere. */

enum { LIVE = 1000000, ROOTS = 1000, CHURN_PAIRS = 5000000 };

/* The numbers of an object's children. */
struct edges {
  uint32_t to[2];
};
/* Of all objects; the same ones each time. The caller frees them with mi_free. */
struct edges *must_draw_edges(void);

struct live {
  struct node *root[ROOTS];
};
/* Makes nodes with these edges; those behind the roots live by their fields alone. No automatic collection may run. */
void live_init(struct live *live, const struct edges *edges);
/* Drops and collects them: no node is left. */
void live_finish(struct live *live);

#endif
