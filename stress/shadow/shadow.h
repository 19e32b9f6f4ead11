/* SPDX-License-Identifier: MIT */
/* The shadow model: random programs, each operation of which is done twice, to the heap and to a plain graph beside it. The graph
 * knows what is reachable, what must have died at once by its count, and what a collection must find; `dealloc`, finalizers and weak
 * callbacks report to it, and it objects. Deaths of plain objects are not reported; it counts those that live. docs/stress.md, "The
 * shadow model", says what it demands.
 *
 * A *world* is one such graph with the references that the program holds. Each thread has a world of its own, whose objects stay
 * private as long as they may; in runs of several threads one more world belongs to all of them, and everything in it is published.
 * Nothing refers from one world into another.
 *
 *   [shadow.lock]   a world changes, in the graph and in the heap, under its lock, and nobody reaches a safepoint who holds a lock.
 *                   So whoever takes it finds both agree, but for what is dying on its own; and who waits for it, on line, waits
 *                   for somebody who waits for nobody
 *   [shadow.first]  the graph changes first: `dealloc` finds its object already expected to die */
#ifndef STRESS_SHADOW_SHADOW_H
#define STRESS_SHADOW_SHADOW_H

#include <freehold/freehold.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
  CELLS = 8,      /* references in one object, at most */
  ROOTS = 64,     /* places of a world where the program holds references */
  POOL = 256,     /* nodes that are allocated at a time */
  LIVE_MOST = 400, /* more nodes than that in a world are not made on purpose */
  LATER_MOST = 64,
  THREADS_MOST = 64,
};

/* ---- the graph ---- */

enum kind {
  PAIR,       /* fields */
  LINE,       /* items */
  BOX,        /* slots */
  BAG,        /* cells in a buffer, shown by traverse */
  GRACE,      /* fields; dies after a grace period once it is published */
  FIXED,      /* items that are written at birth only; FH_IMMUTABLE */
  PUBLIC,     /* fields; published from birth */
  FINAL,      /* fields and a finalizer */
  FINAL_BOX,  /* slots and a finalizer */
  LEAF,       /* no references */
  FINAL_LEAF, /* no references, but a finalizer */
  GRACE_LEAF,
  SHEAF,      /* fields, which refer to leaves only; FH_ACYCLIC */
  PLAIN,      /* from here on the runtime frees them without a word */
  PLAIN_LEAF = PLAIN,
  PLAIN_ONE,  /* one field */
  PLAIN_TWO,
  PLAIN_BOX,  /* two slots */
  PLAIN_WIDE, /* two fields far from each other: too large for a pool */
  PLAIN_SHEAF, /* two fields, which refer to leaves only; FH_ACYCLIC */
  WEAK,       /* a weak reference */
  KINDS
};
enum { PLAINS = WEAK - PLAIN }; /* how many of these there are */

enum state {
  FREE,       /* in the pool */
  ALIVE,      /* by its count; it may be garbage */
  DYING,      /* its count is zero; its finalizer has not run */
  FINALIZING, /* its finalizer runs, after its count was zero: the runtime holds one reference */
  LIMBO,      /* its count is zero; it waits for a grace period, or in a list of garbage, fields and all */
  GONE,       /* plain, and its count is zero: it is freed in its own time, or is already */
  DOOMED,     /* its count is zero: dealloc must run now */
  DEAD        /* dealloc ran; garbage that is being destroyed may still be said to refer to it */
};

enum behaviour { NOTHING, RISE, RAISE_CHILD, REFER_WEAKLY, ALLOCATE, JOIN, CUT, BEHAVIOURS };

struct world;

struct node {
  struct world *world;
  void *object;
  uint64_t id;
  enum kind kind;
  enum state state;
  enum behaviour behaviour;
  unsigned count; /* references: cells, roots, later ones, the runtime's own */
  unsigned cells;
  struct node *cell[CELLS];
  size_t at; /* in world->node */
  unsigned mark;
  unsigned loose; /* references from plain nodes that may have been freed */
  int generation;
  uint64_t since;     /* the operation at which its count became zero */
  bool published;     /* must be, at least */
  bool finalized;
  bool exact;         /* it died by its count, and no other thread may delay that */
  bool late;          /* it may have died in a list of garbage */
  bool garbage;       /* a collection under way must find it */
  bool found;         /* was unreachable when a finalizer or a callback ran: perhaps a collection has found it */
  bool old;           /* was dead or garbage at the beginning of a checkpoint, and nobody raised it since */
  unsigned callbacks; /* that must run before its finalizer */
  struct node *weak;  /* the weak references that lead to it */

  /* of a weak reference */
  struct node *target; /* NULL: lost */
  struct node *next; /* also of the plain that are buried together */
  struct node *was; /* its target before the loss, if that still has the id */
  uint64_t was_id;
  bool calls;       /* has a callback */
  bool called;
  bool due;         /* its target is lost: the callback must come, and the runtime holds a reference for that */
  bool optional;    /* the callback may come: it died together with its target, as garbage */
  uint64_t maybe;   /* the first doubt of its world since which it may be lost, or 0: its target was unreachable for a while */
  unsigned newborn; /* made in a finalizer or a callback of this thread since its last turn or collection, counted from 1 */
  bool meanwhile;   /* its target had been found by a collection, perhaps, whose finalizers had not all run */
};

struct root {
  struct node *node;
  unsigned count;
};

struct world {
  pthread_mutex_t lock; /* recursive: dealloc runs inside of operations */
  unsigned owner;       /* the thread that may touch what is private in it; THREADS_MOST: none */
  struct node **node;   /* all that are not DEAD */
  size_t nodes;
  size_t room;
  struct root root[ROOTS];
  struct node *later[LATER_MOST]; /* of fh_release_later, as long as it may not have happened */
  unsigned laters;
  uint64_t next_id;
  unsigned epoch;       /* of marks */
  uint64_t version;     /* of what is reachable */
  uint64_t marked;      /* the version that the marks belong to */
  unsigned dying, limbo, doomed, doomed_exactly, due;
  uint64_t doubt;       /* how often finalizers and callbacks began, before which a collection may have found what was unreachable */
  bool doubts;          /* some node may have been found */
  bool has_old;         /* a checkpoint goes on */
  bool flushing;        /* later releases happen, before or after what is ripe in limbo dies */
  bool without_limbo;   /* marks do not begin at what is in limbo */
  bool from_dead;       /* marks begin at what has no references as well */
  bool late;            /* garbage is being destroyed: what dies of it does so in its own time */
  bool disturbed;       /* something was dropped after a collection's second look, perhaps */
  bool silent;          /* something plain died in this turn: of what died with it, it is not said in which order */
  unsigned plain[PLAINS]; /* nodes of these kinds, and */
  unsigned gone[PLAINS];  /* how many of them are GONE */
  uint64_t reports;     /* of callbacks, finalizers and deallocs that ran */
  uint64_t collected;   /* tracked nodes of `garbage` that died */
  struct node **stack;  /* work: marks, dying */
  struct node *free;
  struct pool *pools;
};

void world_init(struct world *world, unsigned owner);
void world_finish(struct world *world);
void world_lock(struct world *world);
void world_unlock(struct world *world);

bool kind_is_tracked(enum kind kind);
bool kind_is_leaf(enum kind kind); /* may be referred to by acyclic objects */
bool kind_finalizes(enum kind kind);
bool kind_has_grace(enum kind kind);
bool kind_is_plain(enum kind kind); /* nobody says when it dies */
const char *kind_name(enum kind kind);

struct node *node_make(struct world *world, enum kind kind, unsigned cells); /* one reference */
struct node *weak_make(struct node *target, bool calls);
void node_retain(struct node *node);
void node_release(struct node *node);
void node_link(struct node *holder, unsigned cell, struct node *value); /* NULL: unlinks */
void node_publish(struct node *node);
void node_died(struct node *node);   /* dealloc runs: checks that it may */
void node_begin_finalizer(struct node *node);
void node_end_finalizer(struct node *node);
void weak_called(struct node *weak);
void weak_call_ended(struct node *weak);
void weak_read(struct node *weak, const void *found);
bool is_reachable(struct node *node);
void node_explain(const struct node *node); /* on standard error: what it is, and what refers to it */
bool weak_waits(const struct node *weak); /* its callback must come, if it lives that long */
bool weak_may_be_lost(const struct node *weak); /* and its callback be due, because its target died with something plain */
void world_note_old(struct world *world); /* sets `old` of what must be gone after two collections */
void world_check_old(struct world *world);
/* Plain nodes that are gone are taken out of the graph: all that are unreachable; or those of them of which the function says it. */
void world_bury(struct world *world, bool (*is_gone)(const struct node *node));
/* Of how many objects of a plain kind it is certain that they live, and how many may; added to what is there. */
void world_count_plain(struct world *world, uint64_t least[PLAINS], uint64_t most[PLAINS]);
void world_forget_found(struct world *world);
void world_flush_later(struct world *world);
/* Marks what lives if all objects of older generations than this one do; sets `garbage` of the others. How many of them are tracked. */
void world_count_loose(struct world *world); /* sets `loose` */
size_t world_expect(struct world *world, int generation);

/* ---- objects ---- */

struct thing {
  fh_object fh;
  struct node *node;
  uint64_t check; /* ~id while it lives */
};

void things_register(void);
fh_type *thing_type(enum kind kind);
struct node *thing_make(struct world *world, enum kind kind, unsigned cells);
struct node *weak_thing_make(struct node *target, bool calls);
void **thing_cell(const struct node *node, unsigned cell);
bool thing_has_slots(enum kind kind);
void thing_check(const struct node *node);  /* its fields are what the graph says */
void thing_store(struct node *holder, unsigned cell, struct node *value);

/* Puts one owned reference into a root; what is there is dropped. The second does nothing if there is no place, and says so. */
void root_put(struct world *world, struct node *node, unsigned place);
bool root_try(struct world *world, struct node *node);
void root_drop(struct world *world, unsigned place, unsigned count);

/* ---- the run ---- */

struct choice {
  uint64_t seed;
  uint64_t operations; /* of all threads together */
  unsigned threads;
  fh_design design;
  bool mixed;
  bool candidates;
  bool trace;
  bool shrink;
  double seconds; /* 0: once */
};

struct worker {
  unsigned index;
  uint64_t random;     /* of the operation */
  uint64_t operation;  /* which it is at */
  const char *doing;
  bool leaving;        /* detaches: another thread may be its mutator next */
  unsigned depth;      /* finalizers and callbacks that run on it */
  unsigned checkpoints;
  unsigned newborns;   /* weak references that those made during this turn */
  bool settles;        /* in a call that collects several times */
  bool moves;          /* its thread ends, and another one goes on */
  uint64_t operations; /* how many it has */
};

extern struct choice choice;
extern __thread struct worker *me; /* NULL on a thread that is none */
extern struct world worlds[THREADS_MOST + 1];

static inline unsigned worlds_count(void) { return choice.threads > 1 ? choice.threads + 1 : 1; }
static inline struct world *world_shared(void) { return &worlds[choice.threads]; }
static inline bool is_alone(void) { return choice.threads == 1; }
/* What is not the calling thread's alone has to be published. */
static inline bool is_home(const struct world *world) { return me && world->owner == me->index && !me->leaving; }

uint64_t mix(uint64_t x);
uint64_t draw(struct worker *worker);
unsigned below(struct worker *worker, unsigned n);
static inline bool one_in(struct worker *worker, unsigned n) { return below(worker, n) == 0; }

void worker_grow_up(struct worker *worker); /* before each collection that the program asks for, and after each turn */
void turn(struct worker *worker);
void turn_end(struct world *world); /* unlocks, after a look whether all died that had to */
void checkpoint(struct worker *worker);
void check_plain(void); /* as many objects of plain kinds live as may, and must; nothing in any world is under way */
void check_plain_died(const struct world *world); /* alone: no more of them live than are in the graph */
void collect_and_check(struct worker *worker, int generation);
void wind_up(struct worker *worker); /* drops everything, until nothing lives */

/* Everybody has come here; waits in a blocking region, or on line with safepoints. */
void meet(struct worker *worker);

_Noreturn void fail(const struct node *node, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define demand(condition, node, ...) ((condition) ? (void)0 : fail(node, __VA_ARGS__))
void trace(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
