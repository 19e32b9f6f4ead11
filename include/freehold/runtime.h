/* SPDX-License-Identifier: MIT */
/* The runtime's life, and how threads take part in it.
 *
 * A thread that uses objects is a *mutator*: it attaches, works, reaches safepoints now and then, and detaches. A
 * *safepoint* is a moment at which a mutator holds no uncounted pointer and can be stopped. Before a mutator blocks for
 * long (a system call, a lock of the host) it enters a *blocking region*, so that nobody waits for it.
 *
 * What runs at a safepoint, and nowhere else: the thread may be stopped, finalizers of objects whose last reference
 * this mutator dropped, and collections. Calls that are safepoints say so under `Runs:`. */
#ifndef FREEHOLD_RUNTIME_H
#define FREEHOLD_RUNTIME_H

#include <freehold/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- options ---- */

typedef enum fh_log_level { FH_LOG_ERROR = 1, FH_LOG_WARNING, FH_LOG_INFO } fh_log_level;

/* Hears what the runtime has to say. Called on the thread that found it, perhaps with internal locks held: it must not
 * call Freehold. `message` is one or more lines without the last newline, valid during the call. */
typedef void (*fh_log_function)(void *context, fh_log_level level, const char *message);

enum {
  FH_OPTION_GC_OFF = 1u << 0,       /* no automatic collections; fh_collect still works */
  FH_OPTION_COUNT_PATHS = 1u << 1,  /* every count operation goes out of line and is counted in fh_stats; slower */
  FH_OPTION_SHARED_HEAP = 1u << 2,  /* the host itself calls mi_malloc on attached threads: nobody may tidy the heap
                                     * of a thread that blocks, so memory freed by others stays there until it wakes */
  FH_OPTION_QUIET = 1u << 3,        /* fh_shutdown does not log leaks, it only returns their number */
  FH_OPTION_NO_CANDIDATES = 1u << 4 /* old collections always look at everything, not only at what changed objects reach */
};

/* How references are counted. One set of programs runs under each, unchanged.
 *
 * | design | counts                                                  | who may run                                    |
 * |--------|---------------------------------------------------------|------------------------------------------------|
 * | biased | the maker's without atomic instructions, others' atomic | everybody                                      |
 * | atomic | everybody's atomic; objects are published from birth    | everybody                                      |
 * | gil    | without atomic instructions, by whoever holds one lock  | the holder; handed over at safepoints          | */
typedef enum fh_design { FH_DESIGN_BIASED = 0, FH_DESIGN_ATOMIC, FH_DESIGN_GIL } fh_design;

/* What fork() means. */
typedef enum fh_fork {
  FH_FORK_FOLLOW = 0, /* each fork stops the world for a moment; the child has one mutator and a consistent heap */
  FH_FORK_MANUAL,     /* only a fork between fh_fork_prepare and fh_fork_parent or fh_fork_child does; after others, as FORBID */
  FH_FORK_FORBID      /* the child must not use the runtime: fh_attach says FH_ESHUTDOWN; fork costs nothing */
} fh_fork;

typedef enum fh_memory_event {
  FH_MEMORY_EASED = 0, /* live bytes are below the soft limit again */
  FH_MEMORY_SOFT,      /* live bytes rose above the soft limit: collections become eager */
  FH_MEMORY_HARD       /* an allocation was refused; an emergency collection follows */
} fh_memory_event;

/* Is told that a limit was crossed, at a safepoint of the mutator that noticed, with no lock held: it may call whatever may be
 * called there (drop a cache, shed load), but does not nest. */
typedef void (*fh_memory_function)(void *context, fh_memory_event event);

/* Who runs finalizers of types, weak callbacks, and finalizers from outside (finalize.h). */
typedef enum fh_finalizers {
  FH_FINALIZERS_SAFEPOINT = 0, /* the mutator that dropped the last reference, or that collected, at its safepoints */
  FH_FINALIZERS_QUEUE          /* they wait until a thread of the application calls fh_finalizers_run */
} fh_finalizers;

/* Is told that finalizers wait, when the queue was empty before: to wake the thread that runs them. Called at a safepoint of the
 * mutator that put the first one in, with no lock held, on any thread; it must not call Freehold. The queue may be empty again by
 * then. */
typedef void (*fh_finalizers_function)(void *context);

/* What somebody waits for that does not come. */
typedef enum fh_wait {
  FH_WAIT_STOP = 1, /* the world is to stand still, and this mutator neither reaches a safepoint nor blocks in a region */
  FH_WAIT_GRACE,    /* memory is to be freed, and this mutator may still look at it */
  FH_WAIT_MERGE     /* objects of this mutator were released by others, and it does not look after them */
} fh_wait;

/* A mutator that holds others up. The strings are valid during the call. */
typedef struct fh_straggler {
  fh_wait wait;
  uint32_t mutator;    /* its number, as in fh_dump */
  int32_t thread;      /* its thread's number in the kernel */
  const char *name;    /* as given to fh_attach */
  const char *state;   /* "attached", "attached, in dealloc", ... */
  const char *where;   /* "running", or the system call that it waits in and what looks like its callers; may be empty */
  uint64_t waited_ns;
} fh_straggler;

/* Hears of stragglers: when something has waited for fh_options.watchdog_ms, and again each time that this has doubled. Called by the
 * thread that waits, or that passed by, perhaps with internal locks held: it must not call Freehold. */
typedef void (*fh_straggler_function)(void *context, const fh_straggler *straggler);

/* As fh_options.watchdog_ms: nobody is reported. */
#define FH_WATCHDOG_OFF UINT32_MAX

/* As fh_options.hard_limit: four fifths of what the container may use (its cgroup's limit, or the smallest above it). */
#define FH_LIMIT_CGROUP SIZE_MAX

/* Options of fh_init. A zeroed struct is valid and means the defaults.
 *
 * | field              | unit    | range           | if zero          | meaning                                          |
 * |--------------------|---------|-----------------|------------------|--------------------------------------------------|
 * | size               | bytes   | 0, sizeof       | sizeof           | lets the struct grow                             |
 * | flags              | bits    | FH_OPTION_*     | none             |                                                  |
 * | design             |         | fh_design       | biased           | how references are counted                       |
 * | fork               |         | fh_fork         | follow           | what fork() means                                |
 * | gc_threshold       | entries | 1..2^31         | 65,536           | tracked entries opened before a collection is due|
 * | gc_percent         | percent | 1..10,000       | 100              | growth of what is old before all is collected    |
 * | gc_overhead        | percent | 1..100          | 25               | goal: time that old collections take; 100: none  |
 * | gc_pause_us        | us      | 1..1,000,000    | no goal          | goal: how long a young collection stops the world|
 * | gil_switch_us      | us      | 1..1,000,000    | 5,000            | gil: how long a holder runs while others wait    |
 * | gc_workers         | threads | 1..32           | the processors   | how many threads that it stopped may help a collection|
 * | watchdog_ms        | ms      | 1..3,600,000,OFF| 5,000            | how long waits may last before stragglers are named|
 * | straggler          |         | function        | a warning, by log| hears of stragglers                              |
 * | straggler_context  |         | any             | NULL             | first argument of straggler                      |
 * | finalizers         |         | fh_finalizers   | safepoint        | who runs finalizers                              |
 * | limbo_batch        | bytes   | 1..2^30         | 262,144          | a grace period is asked for when so much waits   |
 * | soft_limit         | bytes   | any             | 3/4 of the hard  | above it collections become eager                |
 * | hard_limit         | bytes   | any             | no limit         | above it allocation returns NULL; FH_LIMIT_CGROUP|
 * | memory             |         | function        | none             | is told when a limit is crossed                  |
 * | memory_context     |         | any             | NULL             | first argument of memory                         |
 * | finalizers_notify  |         | function        | none             | is told when finalizers begin to wait            |
 * | finalizers_context |         | any             | NULL             | first argument of finalizers_notify              |
 * | log                |         | function        | standard error   | where messages go                                |
 * | log_context        |         | any             | NULL             | first argument of log                            | */
typedef struct fh_options {
  size_t size;
  uint32_t flags;
  uint32_t design;
  uint32_t fork;
  uint32_t gc_threshold;
  uint32_t gc_percent;
  uint32_t gc_overhead;
  uint32_t gc_pause_us;
  uint32_t gil_switch_us;
  uint32_t watchdog_ms;
  uint32_t gc_workers;
  uint32_t finalizers;
  uint32_t reserved;
  fh_straggler_function straggler;
  void *straggler_context;
  size_t limbo_batch;
  size_t soft_limit;
  size_t hard_limit;
  fh_memory_function memory;
  void *memory_context;
  fh_finalizers_function finalizers_notify;
  void *finalizers_context;
  fh_log_function log;
  void *log_context;
} fh_options;

FH_API FH_MUST_USE fh_status fh__init(const fh_options *options, size_t size, uint32_t abi);

/* Starts the runtime, or counts one more user of it. Does not attach the caller.
 *
 * Shape:   `options` NULL or zeroed: defaults (the table above). An embedder that may be one of several in a process
 *          treats FH_EEXIST as success: the first one's options hold, and each init wants its own fh_shutdown.
 * Owns:    the options are copied; log_context must outlive the runtime.
 * Threads: any thread. Concurrent calls are ordered.
 * Runs:    takes the runtime's lock; no application code.
 * Errors:  FH_EEXIST: it runs already and counted this caller. FH_EVERSION: the library's ABI differs from the header's.
 *          FH_EINVAL: an option is out of range, or the library was built without that design. FH_ENOTFOUND:
 *          FH_LIMIT_CGROUP where no cgroup limits memory. FH_ESHUTDOWN: a shutdown is under way. In all but FH_OK and
 *          FH_EEXIST nothing changed.
 * Source:  docs/architecture.md, "Life". */
static inline FH_MUST_USE fh_status fh_init(const fh_options *options) {
  return fh__init(options, sizeof(fh_options), FH_ABI);
}

/* Ends one user's use of the runtime; the last one's call finalises, collects, reports leaks and frees everything.
 *
 * Shape:   `wait_ms`: how long to wait for mutators to detach; 0 does not wait. `leaked_out` may be NULL; it receives the
 *          number of objects that were still alive at the end, those of untracked types included, immortal ones not.
 * Owns:    the references in registered roots are released. Leaked objects of tracked types are
 *          freed without dealloc; those of untracked types (FH_ACYCLIC, or without references) cannot be found, and stay.
 * Threads: a detached caller. Threads in blocking regions count as attached; so does each fh_hold.
 * Runs:    may block; finalizers, dealloc, collections. Until the call returns, fh_attach says FH_ESHUTDOWN.
 * Errors:  FH_EBUSY: mutators are still attached (or the caller is), or somebody holds; the runtime stays usable.
 *          FH_ESHUTDOWN: it does not run. Leaks are logged by type, unless FH_OPTION_QUIET.
 * Source:  docs/architecture.md, "Life". */
FH_API FH_MUST_USE fh_status fh_shutdown(uint32_t wait_ms, uint64_t *leaked_out);

/* True while the runtime is being shut down, so that loops can end.
 *
 * Shape:   no arguments.
 * Owns:    nothing.
 * Threads: any thread.
 * Runs:    nothing.
 * Errors:  none.
 * Source:  docs/architecture.md, "Life". */
FH_API bool fh_is_stopping(void);

/* Keeps the runtime from being shut down while something outside of it needs it: a queue that holds references, a
 * callback that is registered with another library.
 *
 * Shape:   counted: one fh_unhold for each fh_hold that said FH_OK.
 * Owns:    nothing.
 * Threads: any thread, attached or not; the two need not be called by the same one.
 * Runs:    takes the registry's lock; fh_shutdown waits, or answers FH_EBUSY.
 * Errors:  fh_hold: FH_ESHUTDOWN: the runtime does not run, or is ending. fh_unhold traps where nobody holds.
 * Source:  docs/embedding.md, "Shutting down". */
FH_API FH_MUST_USE fh_status fh_hold(void);
FH_API void fh_unhold(void);

/* The design that runs, and its name.
 *
 * Shape:   fh_design_name: any value; one that is no design gives "?".
 * Owns:    a constant string.
 * Threads: any thread, while the runtime runs; the name at any time.
 * Runs:    nothing.
 * Errors:  none.
 * Source:  docs/designs.md. */
FH_API fh_design fh_design_get(void);
FH_API const char *fh_design_name(fh_design design);

/* Writes what the runtime knows of itself to a file descriptor, in words: version, design, memory and limits, the world's
 * state, each mutator with its state and what it was asked for, each type with its living instances. For crash handlers
 * and stuck programs.
 *
 * Shape:   an open descriptor.
 * Owns:    nothing.
 * Threads: any thread, in any state; what others change meanwhile may be seen half changed.
 * Runs:    nothing but write(2): takes no lock, allocates nothing, is async-signal-safe.
 * Errors:  none; what cannot be written is lost.
 * Source:  docs/embedding.md, "When something goes wrong". */
FH_API void fh_dump(int fd);

/* ---- mutators ---- */

/* Makes the calling thread a mutator.
 *
 * Shape:   `name`: for messages; NULL or cut to 31 bytes. Calls nest: only the first attaches and only its fh_detach
 *          detaches. Inside a blocking region it leaves the region until its fh_detach.
 * Owns:    the name is copied. The mutator outlives the thread and is adopted by a later one.
 * Threads: any thread. A thread that ends while attached is detached by itself.
 * Runs:    waits while the world is stopped. A safepoint when it did not nest.
 * Errors:  FH_ESHUTDOWN: the runtime does not run, or is ending. FH_ELIMIT: 65,534 mutators. FH_ENOMEM.
 * Source:  docs/safepoint.md. */
FH_API FH_MUST_USE fh_status fh_attach(const char *name);

/* Undoes one fh_attach; the last one leaves the runtime.
 *
 * Shape:   no arguments.
 * Owns:    references that the thread still holds stay counted: release or hand them over first.
 * Threads: an attached thread.
 * Runs:    a safepoint: finalizers, weak callbacks and collections may run, the thread may be stopped.
 * Errors:  none. Traps: not attached; detached while holding an object's lock; called in dealloc.
 * Source:  docs/safepoint.md. */
FH_API void fh_detach(void);

/* True if the calling thread is attached and not in a blocking region.
 *
 * Shape:   no arguments.
 * Owns:    nothing.
 * Threads: any thread.
 * Runs:    nothing.
 * Errors:  none.
 * Source:  docs/safepoint.md. */
FH_API bool fh_is_attached(void);

/* Enters a blocking region: until fh_blocking_end nobody waits for this thread, and others merge counts in its place.
 *
 * Shape:   nests.
 * Owns:    references stay as they are. Inside, only fh_release_later, fh_free, fh_attach, fh_blocking_begin and _end
 *          may be called, and no field of a shared object may be touched.
 * Threads: an attached thread. Costs about two atomic operations for begin and end together.
 * Runs:    begin and end are safepoints. Critical sections are given up in between and taken again.
 * Errors:  none. Traps: not attached; called in dealloc or under FH_NO_SAFEPOINT (checked builds).
 * Source:  docs/safepoint.md, "Blocking regions". */
FH_API void fh_blocking_begin(void);
/* Leaves the blocking region that the innermost fh_blocking_begin entered.
 *
 * Shape:   one for each fh_blocking_begin.
 * Owns:    as fh_blocking_begin; the critical section that was given up is taken again.
 * Threads: the thread that began it; waits while the world is stopped.
 * Runs:    a safepoint, if it leaves the outermost region.
 * Errors:  FH_ESHUTDOWN: somebody waits to shut the runtime down; the thread is attached all the same, and should finish
 *          what it does and detach. Traps: the thread is in no blocking region.
 * Source:  docs/safepoint.md, "Blocking regions". */
FH_API fh_status fh_blocking_end(void);

/* What of a thread the inline paths see. `stamp` is the owner's half of a bias word (object.h); `attention` points to
 * the word in which others ask this mutator for something; it is never NULL and never zero for a thread that is not
 * attached. Written by the thread itself only. */
struct fh__tls {
  uint32_t stamp;
  uint32_t unused;
  uint32_t *attention;
};
FH_API extern __thread struct fh__tls fh__tls FH__TLS_MODEL;
FH_API void fh__safepoint_slow(void);

/* Lets the runtime stop this thread if it wants to, and runs what waits for it.
 *
 * Shape:   no arguments. One load and one branch when nothing waits.
 * Owns:    nothing: uncounted pointers (borrowed fields, peeked values) are invalid afterwards.
 * Threads: an attached thread. Long computations call it now and then (every 100 microseconds is fine).
 * Runs:    a safepoint: may wait for a stop, run finalizers, destroy, collect.
 * Errors:  none. Traps: not attached (checked builds). In dealloc and under FH_NO_SAFEPOINT it does nothing.
 * Source:  docs/safepoint.md. */
static inline void fh_safepoint(void) {
  if (__builtin_expect(__atomic_load_n(fh__tls.attention, __ATOMIC_RELAXED) != 0, 0)) fh__safepoint_slow();
}

/* Does now what would otherwise wait: merges counts, frees ripe memory, destroys what others left.
 *
 * Shape:   no arguments.
 * Owns:    as fh_safepoint.
 * Threads: an attached thread; worth calling by a thread that is idle.
 * Runs:    a safepoint.
 * Errors:  none.
 * Source:  docs/safepoint.md. */
FH_API void fh_housekeep(void);

/* For tests and tools: merges, finalises, waits for grace periods and collects until nothing changes any more.
 *
 * Shape:   no arguments.
 * Owns:    as fh_safepoint.
 * Threads: an attached thread. Other mutators should be idle, detached or reach safepoints, or it does not return soon.
 * Runs:    several safepoints, each with a full collection.
 * Errors:  none.
 * Source:  docs/safepoint.md. */
FH_API void fh_settle(void);

/* ---- fork ----
 *
 * With FH_FORK_FOLLOW (the default) the three run by themselves around each fork() and need not be called.
 *
 * The child has the calling thread and no other: if that was attached, it is the child's one mutator. What the other
 * threads referred to from their stacks is stranded: it lives on until the runtime ends (fh_stats.stranded). */

/* Stops all mutators until fh_fork_parent or fh_fork_child, so that the child will find a consistent heap.
 *
 * Shape:   fh_fork_prepare(); pid = fork(); then fh_fork_child() in the child, else fh_fork_parent(), also if fork failed.
 * Owns:    peeked and borrowed pointers stay valid in parent and child, unless another thread had stopped the world.
 * Threads: any thread, attached or not. Whoever holds a lock of the host that mutators take while attached may wait for ever.
 * Runs:    nothing of the application. Waits like a safepoint if the world is being stopped.
 * Errors:  none; nothing happens while the runtime does not run. Traps: in dealloc, under FH_NO_SAFEPOINT (checked builds).
 * Source:  docs/embedding.md, "fork". */
FH_API void fh_fork_prepare(void);
FH_API void fh_fork_parent(void);
FH_API void fh_fork_child(void);

/* The pair behind FH_NO_SAFEPOINT: while the depth is above zero, safepoints do nothing and blocking traps (checked
 * builds) or keeps the thread online (release builds). */
FH_API void fh__no_safepoint_begin(void);
FH_API void fh__no_safepoint_end(void);

/* ---- guards: each lasts to the end of the enclosing block ---- */

static inline void fh__guard_detach(const fh_status *status) {
  if (*status == FH_OK) fh_detach();
}
static inline void fh__guard_blocking_end(const char *unused) {
  (void)unused;
  (void)fh_blocking_end();
}
static inline void fh__guard_safepoint_end(const char *unused) {
  (void)unused;
  fh__no_safepoint_end();
}
struct fh__deferred {
  void (*run)(void *);
  void *argument;
};
static inline void fh__guard_deferred(struct fh__deferred *deferred) { deferred->run(deferred->argument); }

/* Declares `status`, attaches, and detaches at the end of the block if it attached: FH_ATTACHED(s, "name"); if (s) ... */
#define FH_ATTACHED(status, name) \
  __attribute__((cleanup(fh__guard_detach), unused)) const fh_status status = fh_attach(name)

/* The rest of the block is a blocking region. */
#define FH_BLOCKING()                                                                                          \
  __attribute__((cleanup(fh__guard_blocking_end), unused)) const char FH__JOIN(fh__blocking_, __COUNTER__) = \
      (fh_blocking_begin(), (char)0)

/* No safepoint happens in the rest of the block: uncounted pointers stay valid. Keep it short, never block in it. */
#define FH_NO_SAFEPOINT()                                                                                           \
  __attribute__((cleanup(fh__guard_safepoint_end), unused)) const char FH__JOIN(fh__no_safepoint_, __COUNTER__) = \
      (fh__no_safepoint_begin(), (char)0)

/* fn(arg) runs at the end of the block; `fn` takes a void pointer. */
#define FH_DEFER(fn, arg) \
  __attribute__((cleanup(fh__guard_deferred), unused)) struct fh__deferred FH__JOIN(fh__deferred_, __COUNTER__) = {(fn), (arg)}

#ifdef __cplusplus
}
#endif
#endif
