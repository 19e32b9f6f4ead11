/* SPDX-License-Identifier: MIT */
/* The stop of a fork, against threads that attach, detach, claim, lock, start a runtime, are born, and fork themselves.
 *
 * What it models. Thread 0 forks: it is attached, or in a blocking region, or has no mutator at all. Thread 1 sleeps and wakes, takes
 * the runtime's lock as fh_init does, and waits for an object's lock while it holds another's. Thread 2 pushes an entry into the
 * queue of thread 1 and merges in its place if that sleeps, holds the lock of an object, and may fork, too. A fourth is born
 * meanwhile. At the moment of each fork the model looks at what the child would find, and at what fh_fork_child would make of it; the
 * child itself needs no steps, because it has one thread. Then the parent goes on.
 *
 *   model                     code
 *   lock_stop, stop_all       fh_fork_prepare(): fh__mutator_lock_stop(), fh__stop_begin(), lock_everything()     api/fork.c
 *   look_at_child             bury_the_lost(), fh__lost_bury(), fh__locks_of_lost()                api/fork.c, mutator/lost.c, api/lock.c
 *   resume                    resume(), fh__stop_end(), look_at_queues()
 *   born                      fh__mutator_born() in make_mutator()                                 api/attach.c
 *   noted                     locking[], held[] and the critical sections of a mutator             mutator/mutator.h, api/lock.c
 *   unbind                    fh__registry_unbind() after the last detach                          sync/registry.c
 *   inbox_waits               fh__relief_ask(): whoever comes next looks at the queues             ref/relief.c
 *   the rest                  as in stop_attach.pml
 *
 * What it leaves out. Memory is sequentially consistent, and waits are conditions, as in stop_attach.pml. The locks of the registry, of
 * the chunks, of the roots, of the statistics and of the types are one lock, the registry's, because nobody waits for anything while
 * holding one of them. What the lists of a lost mutator hold, and the runtime's end, are left to the tests.
 *
 * Properties.
 *   [fork.still]      in the child every mutator but the survivor's is STOPPED, nothing is CLAIMED, nobody merges
 *   [fork.locks]      in the child the forking thread holds the runtime's locks, and an object's lock is the survivor's, or free
 *   [fork.lost]       in the child a mutator is bound to the survivor, or unbound, in the list of the unbound, and not WANTED
 *   [stop.born]       in the child a mutator that is registered is whole
 *   [state.right]     who leaves a state holds it
 *   [queue.drained]   when all has come to rest, no queue holds anything, or somebody was asked to look
 *   [end]             every fork comes about, and every thread comes to its end: nobody waits for ever
 *
 * Seeded faults.
 *   FAULT_RUNTIME_LOCK_FIRST    [end]  -DSTARTS=1
 *                               the forking thread takes the runtime's lock before it stops the world
 *   FAULT_CLAIM_NOT_AWAITED     [fork.still]  -DPUSHES=1
 *                               the stop does not wait for claims
 *   FAULT_SECOND_WAITS_ONLINE   [end]  -DFORKER=1 -DSECOND=1
 *                               a second forking thread waits for the stop lock without leaving
 *   FAULT_BORN_OUTSIDE          [stop.born]  -DBIRTHS=1
 *                               a mutator is registered under the stop lock, but made whole after it
 *   FAULT_REGISTER_UNLOCKED     [stop.born] [fork.still] [end]  -DBIRTHS=1
 *                               a mutator is registered without the stop lock
 *   FAULT_WANTED_STAYS          [fork.lost]  -DPUSHES=1
 *                               the child leaves WANTED on a lost mutator
 *   FAULT_REGISTRY_UNLOCKED     [fork.locks] [fork.lost]
 *                               the forking thread does not take the registry's lock
 *   FAULT_NOTED_LATE            [fork.locks]  -DSLEEPS=0 -DLOCKS=1
 *                               who waits for an object's lock leaves before it notes the one that it holds meanwhile
 *   FAULT_LOCKS_OF_LOST_STAY    [fork.locks]  -DSLEEPS=0 -DLOCKS=1
 *                               the child does not free what the lost held
 *   FAULT_NOBODY_ASKED          [queue.drained]  -DPUSHES=1
 *                               a forking thread that is not attached does not ask anybody to look at the queues
 *
 * Sizes. FORKER: 0 without a mutator, 1 attached, 2 in a blocking region. The rest: how often each is done.
 *   quick  -DFORKER=0 -DSLEEPS=1 -DSTARTS=1 -DLOCKS=0 -DPUSHES=1 -DSECOND=0 -DBIRTHS=0
 *   quick  -DFORKER=1 -DSLEEPS=1 -DSTARTS=0 -DLOCKS=0 -DPUSHES=1 -DSECOND=1 -DBIRTHS=0
 *   quick  -DFORKER=2 -DSLEEPS=0 -DSTARTS=0 -DLOCKS=1 -DPUSHES=0 -DSECOND=1 -DBIRTHS=0
 *   quick  -DFORKER=1 -DSLEEPS=0 -DSTARTS=1 -DLOCKS=0 -DPUSHES=0 -DSECOND=0 -DBIRTHS=1
 *   all    -DFORKER=0 -DSLEEPS=1 -DSTARTS=1 -DLOCKS=1 -DPUSHES=1 -DSECOND=1 -DBIRTHS=0
 *   all    -DFORKER=2 -DSLEEPS=1 -DSTARTS=0 -DLOCKS=0 -DPUSHES=1 -DSECOND=0 -DBIRTHS=1
 *   faults -DFORKER=0 -DSLEEPS=1 -DSTARTS=0 -DLOCKS=0 -DPUSHES=0 -DSECOND=0 -DBIRTHS=0
 */

#define MUTATORS 4
#define NOBODY 9 /* of locks: who holds them */

mtype = { DETACHED, ATTACHED, STOPPED, CLAIMED };

mtype state[MUTATORS] = DETACHED;
bool wanted[MUTATORS] = false;
bool stop_raised[MUTATORS] = false;
byte queue[MUTATORS] = 0;
bool bound[MUTATORS] = false;
bool listed[MUTATORS] = false; /* among the unbound */
bool born[MUTATORS] = false;
byte registered = 3; /* 0 is there even if its thread has none: it is unbound then */
bool merging = false;
bool inbox_waits = false;

byte stop_lock = NOBODY;
byte runtime_lock = NOBODY;
byte registry_lock = NOBODY;
byte epoch = 0;
byte arrivals = 0;

byte first = NOBODY;  /* the lock of one object: thread 1 holds it while it waits for the second */
byte second = NOBODY; /* the lock of another: thread 2 holds it for a while */
bool noted_first[MUTATORS] = false;
bool noted_second[MUTATORS] = false;

byte finished = 0;

/* Threads that have nothing to do are left out. */
#define SLEEPER (SLEEPS + STARTS + LOCKS + PUSHES > 0)
#define PUSHER (PUSHES + SECOND + LOCKS > 0)

#define odd(e) ((e) % 2 == 1)
#define take(lock, who) atomic { lock == NOBODY -> lock = who }

inline arrive(m) {
  if
  :: stop_raised[m] -> arrivals++
  :: else
  fi
}

/* ---- moves of a thread ---- */

inline claim(m) {
  do
  :: queue[m] > 0 ->
     if
     :: atomic { state[m] == DETACHED && !wanted[m] -> state[m] = CLAIMED; merging = true }
     :: else -> break
     fi;
     queue[m] = 0;
     atomic {
       assert(state[m] == CLAIMED); /* [state.right] */
       merging = false;
       state[m] = DETACHED
     };
     arrive(m)
  :: else -> break
  od
}

inline push(m) {
  queue[m]++;
  if
  :: state[m] == DETACHED && !wanted[m] -> claim(m)
  :: else /* attached, it looks when it detaches; unclaim, resume and attach look */
  fi
}

inline detach(m) {
  atomic {
    assert(state[m] == ATTACHED); /* [state.right] */
    state[m] = DETACHED
  };
  do
  :: queue[m] > 0 ->
     if
     :: atomic { state[m] == DETACHED -> state[m] = ATTACHED };
        atomic { queue[m] = 0; state[m] = DETACHED }
     :: else -> break
     fi
  :: else -> break
  od;
  arrive(m)
}

inline attach(m) {
  do
  :: atomic { state[m] == DETACHED -> state[m] = ATTACHED; wanted[m] = false };
     if
     :: atomic { inbox_waits -> inbox_waits = false }; look_at_others(m)
     :: else
     fi;
     if
     :: atomic { stop_raised[m] && odd(epoch) -> seen_epoch = epoch }; wait_parked(m)
     :: else -> break
     fi
  :: atomic { state[m] == CLAIMED && !wanted[m] -> wanted[m] = true }
  :: atomic { state[m] == STOPPED -> seen_epoch = epoch };
     if
     :: atomic { odd(seen_epoch) && epoch != seen_epoch -> seen_epoch = 0 }
     :: atomic { !odd(seen_epoch) && (state[m] != STOPPED || odd(epoch)) -> seen_epoch = 0 }
     fi
  od
}

inline wait_parked(m) {
  atomic {
    assert(state[m] == ATTACHED); /* [state.right] */
    state[m] = STOPPED
  };
  arrive(m);
  atomic { epoch != seen_epoch -> seen_epoch = 0 }
}

inline park(m) {
  if
  :: atomic { odd(epoch) -> seen_epoch = epoch }; wait_parked(m); attach(m)
  :: else
  fi
}

inline look_at_others(m) {
  do
  :: atomic { n < registered && (n == m || queue[n] == 0) -> n++ }
  :: n < registered && n != m && queue[n] > 0 -> claim(n); n++
  :: atomic { n >= registered -> n = 0; break }
  od
}

/* The thread leaves for good: two steps under the registry's lock. */
inline unbind(m) {
  atomic { registry_lock == NOBODY -> registry_lock = m; bound[m] = false };
  atomic { listed[m] = true; registry_lock = NOBODY }
}

/* ---- the fork ---- */

#define has_mutator(m, a) ((a) != 0)
#define is_attached(m, a) ((a) == 1)

/* Of an attached thread. */
inline lock_stop(m) {
  if
  :: take(stop_lock, m)
  :: else ->
#ifndef FAULT_SECOND_WAITS_ONLINE
     detach(m);
#endif
     take(stop_lock, m);
#ifndef FAULT_SECOND_WAITS_ONLINE
     attach(m)
#endif
  fi
}

inline take_detached(m, how) {
  do
  :: atomic { i >= registered -> i = 0; break }
  :: atomic { i < registered && i == m && is_attached(m, how) -> i++ }
  :: atomic {
       i < registered && !(i == m && is_attached(m, how)) ->
       if
       :: state[i] == DETACHED -> state[i] = STOPPED
#ifdef FAULT_CLAIM_NOT_AWAITED
       :: state[i] == ATTACHED -> missing++
       :: state[i] == CLAIMED
#else
       :: state[i] == ATTACHED || state[i] == CLAIMED -> missing++
#endif
       :: state[i] == STOPPED
       fi;
       i++
     }
  od
}

inline raise_all(m, how, value) {
  atomic {
    i = 0;
    do
    :: i < registered -> stop_raised[i] = value && !(i == m && is_attached(m, how)); i++
    :: else -> i = 0; break
    od
  }
}

/* The stop lock is the caller's. */
inline stop_all(m, how) {
  epoch++;
  raise_all(m, how, true);
  do
  :: arrivals = 0;
     take_detached(m, how);
     if
     :: missing == 0 -> break
     :: atomic { missing > 0 && arrivals >= missing -> missing = 0 }
     fi
  od;
#ifndef FAULT_RUNTIME_LOCK_FIRST
  take(runtime_lock, m);
#endif
#ifndef FAULT_REGISTRY_UNLOCKED
  take(registry_lock, m)
#endif
}

/* Of a lock that the child finds held by `who`: freed if a lost mutator noted it, and the survivor does not hold it. */
#ifdef FAULT_LOCKS_OF_LOST_STAY
#define is_freed(who, noted) false
#else
#define is_freed(who, noted) (noted)
#endif

#ifdef FAULT_WANTED_STAYS
#define wanted_in_child(n) wanted[n]
#else
#define wanted_in_child(n) false
#endif

inline look_at_child(m, how) {
  atomic {
    assert(!merging);                                                /* [fork.still] */
    assert(stop_lock == m && runtime_lock == m);                     /* [fork.locks] */
    assert(registry_lock == m || registry_lock == NOBODY);           /* [fork.locks] */
    assert(first == NOBODY || first == m || is_freed(first, noted_first[first]));     /* [fork.locks] */
    assert(second == NOBODY || second == m || is_freed(second, noted_second[second])); /* [fork.locks] */
    i = 0;
    do
    :: i >= registered -> i = 0; break
    :: i < registered ->
       if
       :: i == m && is_attached(m, how) -> assert(state[i] == ATTACHED) /* [fork.still] */
       :: else -> assert(state[i] == STOPPED)                           /* [fork.still] */
       fi;
       assert(born[i]); /* [stop.born] */
       if
       :: i == m && has_mutator(m, how) -> assert(bound[i] && !listed[i])        /* [fork.lost] */
       :: else ->
          assert(bound[i] == !listed[i]); /* [fork.lost] */
          assert(!wanted_in_child(i))     /* [fork.lost] */
       fi;
       i++
    od
  }
}

inline resume(m, how) {
#ifndef FAULT_REGISTRY_UNLOCKED
  registry_lock = NOBODY;
#endif
  runtime_lock = NOBODY;
  raise_all(m, how, false);
  epoch++;
  do
  :: atomic { i >= registered -> i = 0; break }
  :: atomic {
       i < registered ->
       if
       :: i == m && is_attached(m, how)
       :: else ->
          assert(state[i] == STOPPED); /* [fork.still] */
          state[i] = DETACHED
       fi;
       i++
     }
  od;
  stop_lock = NOBODY;
  if
  :: is_attached(m, how) -> look_at_others(m)
#ifndef FAULT_NOBODY_ASKED
  :: else -> inbox_waits = true
#else
  :: else
#endif
  fi
}

inline stop_and_fork(m, how) {
  stop_all(m, how);
  look_at_child(m, how);
  resume(m, how)
}

/* ---- threads ---- */

proctype forker() {
  byte i, n, missing, seen_epoch;
#if FORKER == 1
  attach(0);
#endif
#ifdef FAULT_RUNTIME_LOCK_FIRST
  take(runtime_lock, 0);
#endif
#if FORKER == 1
  lock_stop(0);
#else
  take(stop_lock, 0);
#endif
  stop_and_fork(0, FORKER);
#if FORKER == 2
  attach(0); /* leaves its region */
#endif
#if FORKER != 0
  detach(0);
  unbind(0);
#endif
  finished++
}

/* Waits for the second object's lock with the first one's in its hands. */
inline lock_two(m) {
  take(first, m);
  if
  :: take(second, m)
  :: else ->
#ifdef FAULT_NOTED_LATE
     detach(m);
     atomic { noted_first[m] = true; noted_second[m] = true };
#else
     atomic { noted_first[m] = true; noted_second[m] = true };
     detach(m);
#endif
     take(second, m);
     attach(m);
     atomic { noted_first[m] = false; noted_second[m] = false }
  fi;
  second = NOBODY;
  first = NOBODY
}

proctype sleeper() {
  byte i, n, seen_epoch;
  byte sleeps = SLEEPS, starts = STARTS, locks = LOCKS;
  attach(1);
  do
  :: stop_raised[1] -> park(1)
#if SLEEPS
  :: sleeps > 0 -> sleeps--; detach(1); attach(1)
#endif
#if STARTS
  :: starts > 0 -> starts--; take(runtime_lock, 1); take(registry_lock, 1); registry_lock = NOBODY; runtime_lock = NOBODY
#endif
#if LOCKS
  :: locks > 0 -> locks--; lock_two(1)
#endif
  :: break
  od;
  detach(1);
  unbind(1);
  finished++
}

proctype pusher() {
  byte i, n, missing, seen_epoch;
  byte pushes = PUSHES, forks = SECOND, locks = LOCKS;
  attach(2);
  do
  :: stop_raised[2] -> park(2)
#if PUSHES
  :: pushes > 0 -> pushes--; push(1)
#endif
#if SECOND
  :: forks > 0 -> forks--; lock_stop(2); stop_and_fork(2, 1)
#endif
#if LOCKS
  :: atomic { locks > 0 && second == NOBODY -> second = 2; noted_second[2] = true; locks-- }
  :: atomic { second == 2 -> noted_second[2] = false; second = NOBODY }
#endif
  :: second != 2 -> break
  od;
  detach(2);
  unbind(2);
  finished++
}

proctype newborn() {
  byte i, n, seen_epoch;
#ifndef FAULT_REGISTER_UNLOCKED
  take(stop_lock, 3);
#endif
  take(registry_lock, 3);
  bound[3] = true;
  registered = 4;
  registry_lock = NOBODY;
#ifndef FAULT_BORN_OUTSIDE
  born[3] = true;
#endif
#ifndef FAULT_REGISTER_UNLOCKED
  stop_lock = NOBODY;
#endif
#ifdef FAULT_BORN_OUTSIDE
  born[3] = true;
#endif
  attach(3);
  detach(3);
  unbind(3);
  finished++
}

init {
  atomic {
    born[0] = true;
    born[1] = true;
    born[2] = true;
    bound[0] = FORKER != 0;
    listed[0] = FORKER == 0;
    bound[1] = SLEEPER;
    listed[1] = !SLEEPER;
    bound[2] = PUSHER;
    listed[2] = !PUSHER;
    run forker();
    if
    :: SLEEPER -> run sleeper()
    :: else
    fi;
    if
    :: PUSHER -> run pusher()
    :: else
    fi;
    if
    :: BIRTHS == 1 -> run newborn()
    :: else
    fi
  };
  atomic {
    finished == 1 + SLEEPER + PUSHER + BIRTHS ->
    assert(inbox_waits || queue[0] + queue[1] + queue[2] + queue[3] == 0); /* [queue.drained] */
    assert(stop_lock == NOBODY && runtime_lock == NOBODY && registry_lock == NOBODY); /* [state.right] */
    assert(first == NOBODY && second == NOBODY)                                         /* [state.right] */
  }
}
