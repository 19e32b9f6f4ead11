/* SPDX-License-Identifier: MIT */
/* What every scenario of fh-stress stands on: workers, their generators, the ledger, and things to make.
 *
 * A scenario is one function, its `turn`: what a worker does over and over until the time is up. The common part starts
 * the runtime and the workers, makes them collect, sleep, leave and come back between turns, and draws the balance in
 * the end: every thing that was made must have been destroyed, once.
 *
 *   sum over ledgers of made = sum of destroyed, sum of balance = 0                                [ledger.even]
 *   both sums, with the others = objects_made and objects_destroyed of fh_stats                    [ledger.stats]
 *
 * The balance is what makes "once" out of "as often": each thing has a random number, added when it is made and
 * subtracted when it is destroyed. One that is destroyed twice in place of another leaves a remainder.
 *
 * All that a worker decides comes from its own generator, which the seed, the scenario's name and the worker's index
 * determine. Which worker comes first is for the system to say: a seed replays the decisions, not the schedule. */
#ifndef STRESS_STRESS_H
#define STRESS_STRESS_H

#include <freehold/freehold.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
  THREADS_MAX = 1024,
  SLOTS = 64, /* shared by all workers of a run */
  HOARD = 16, /* references that a worker holds from turn to turn */
};

/* ---- the ledger ---- */

/* One for each worker, so that entries do not contend. Whoever runs a `dealloc` enters it where it is at home, and the threads
 * that a worker starts use its ledger. All accesses are relaxed: an order would hide races from ThreadSanitizer. */
struct ledger {
  _Alignas(64) atomic_uint_fast64_t made;
  atomic_uint_fast64_t destroyed;
  atomic_uint_fast64_t balance;
  atomic_uint_fast64_t others; /* objects that are no things, which are gone when the balance is drawn */
};

/* ---- runs and workers ---- */

struct run;

struct worker {
  struct run *run;
  unsigned index;     /* from 0; the main thread's is run->threads */
  uint64_t random;    /* the state of its generator */
  uint64_t turn;      /* how many it has begun */
  void *hoard[HOARD]; /* each NULL or a reference that it owns */
  struct ledger *ledger;
};

struct scenario {
  const char *name;
  const char *attacks; /* one line for --list */
  unsigned threads;    /* how many, unless the command line says */
  /* Workers are not attached, and between turns nothing happens to them: the turn sees to all that. */
  bool bare;
  /* The scenario starts and ends the runtime, perhaps many times; what it made it has destroyed in the end. */
  bool own_runtime;
  void (*choose)(struct worker *main, fh_options *options); /* optional: options of fh_init */
  void (*prepare)(struct worker *main);                     /* optional: attached, before the workers start */
  void (*turn)(struct worker *w);
  void (*finish)(struct worker *main); /* optional: attached, after they ended */
};

struct run {
  const struct scenario *scenario;
  unsigned threads;
  uint64_t seed;
  double seconds;
  fh_design design;
  fh_fork fork;  /* of the scenario fork */
  bool is_child; /* a fork of the process that runs: no thread may be started here (ThreadSanitizer) */
  atomic_bool over;
  pthread_barrier_t start;
  fh_type *type[8]; /* by kind */
  fh_slot slot[SLOTS];
  struct worker main;
  struct worker worker[THREADS_MAX];
  struct ledger ledger[THREADS_MAX + 1];
};

/* The calling thread's worker; NULL in a thread that is none. */
extern __thread struct worker *me;

/* True when the time is up. A long turn looks now and then. */
static inline bool is_over(const struct run *run) { return atomic_load_explicit(&run->over, memory_order_relaxed); }

/* A worker beside those of the run, for a thread that `parent` starts: its generator is drawn from the parent's. */
void worker_init_from(struct worker *w, struct worker *parent);

/* ---- decisions ---- */

uint64_t draw(struct worker *w);              /* 64 random bits */
unsigned below(struct worker *w, unsigned n); /* 0 .. n - 1 */
static inline bool one_in(struct worker *w, unsigned n) { return below(w, n) == 0; }

/* ---- checks ---- */

/* Usable on any thread: says where and in which turn, what replays it, what the runtime looks like, and aborts. */
#define check(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))
_Noreturn void check_failed(const char *file, int line, const char *condition);

/* ---- things ----
 *
 * Every object that fh-stress makes begins with a thing, so whoever finds one in a slot can tell what it is, and can
 * check it. The kinds differ in what they ask of the runtime. */

enum kind {
  LEAF,    /* refers to nothing; not tracked */
  GRACE,   /* as a leaf, of a type with FH_GRACE */
  PAIR,    /* two fields, guarded by its lock once it is published; FH_LOCKED */
  PAGE,    /* any number of fields, written before publication only; FH_IMMUTABLE */
  BOX,     /* two slots */
  BAG,     /* cells in a buffer that it owns, guarded by its lock */
  PHOENIX, /* a field, a slot, and a finalizer that does what finalizers may (scenario_finalizers.c) */
  KINDS
};

struct thing {
  fh_object fh;
  uint64_t id;
  uint64_t check; /* ~id while it lives, id when it is dead */
  uint32_t kind;
  uint32_t finalized; /* how often */
};

struct pair {
  struct thing thing;
  struct thing *left;
  struct thing *right;
};

struct page {
  struct thing thing;
  size_t count;
  struct thing *line[];
};

struct box {
  struct thing thing;
  fh_slot slot[2];
};

struct bag {
  struct thing thing;
  uint32_t count;
  struct thing **cell;
};

struct phoenix {
  struct thing thing;
  struct thing *field;
  fh_slot slot;
};

void phoenix_finalize(void *object);

void things_register(struct run *run);

/* The only ways to make something. NULL if there is no memory. Owned by the caller, private (atomic design: published). */
void *thing_new(struct worker *w, enum kind kind); /* a PAGE without lines, a BAG of a few cells */
struct page *page_new(struct worker *w, size_t lines);
struct thing *thing_any(struct worker *w); /* of a random kind */

/* A pair and a pair or a phoenix, which refer to each other: both are the caller's. NULL, and nothing in `other_out`, if there is no
 * memory. */
struct thing *thing_ring(struct worker *w, struct thing **other_out);

/* Enters an object that a scenario made of a type of its own, which begins with a thing; its dealloc ends with thing_bury.
 * Passes NULL through. */
void *thing_enter(struct worker *w, void *object, uint32_t kind);
void thing_bury(void *object);

/* It lives and was not written over. Traps if not; returns its argument, which may be NULL. */
void *thing_whole(void *object);

/* A reference to a random child, owned by the caller, or NULL. Whatever guards the child is taken. */
struct thing *thing_child(struct worker *w, struct thing *parent);

/* Makes `value` (or NULL) a random child of `holder`, if its kind takes one now. */
void thing_link(struct worker *w, struct thing *holder, struct thing *value);

/* ---- where references are kept ---- */

static inline fh_slot *any_slot(struct worker *w) { return &w->run->slot[below(w, SLOTS)]; }

/* Something from the hoard, borrowed until the worker drops it, or NULL. */
static inline struct thing *hoard_any(struct worker *w) { return thing_whole(w->hoard[below(w, HOARD)]); }
void hoard_put(struct worker *w, void *reference); /* takes the reference; drops another one, if there is no room */
void hoard_drop(struct worker *w);                 /* drops all of them */
void slots_clear(struct run *run);

/* ---- the balance ---- */

/* Proves the heap, and that fh_stats agrees with the ledgers: attached, and while no other worker makes or destroys. Returns
 * how many of these checks failed; each says so on standard error. */
unsigned accounts_are_wrong(struct run *run);

/* How many things live, by the ledgers; exact while no other worker makes or destroys. */
uint64_t things_alive(const struct run *run);

/* How often, or how much, given what a release build can afford: sanitizers and torture builds are slower. */
size_t scaled(size_t most);

#endif
