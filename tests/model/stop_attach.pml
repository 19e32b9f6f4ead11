/* SPDX-License-Identifier: MIT */
/* Stopping the world, against attach, detach, claims, births and a second requester.
 *
 * What it models. Two threads with a mutator each, and a third that is born meanwhile: it registers a new mutator, or
 * adopts one that has no thread. Each of them stops the world, pushes entries into the queues of others and merges in
 * place of those that sleep, detaches and attaches, and polls, in any order; then it detaches for good and leaves its
 * mutator behind.
 *
 *   model                     code
 *   state, wanted             the state word of a mutator, with the WANTED bit                     sync/state.h
 *   stop_raised, merge_raised STOP and MERGE in its attention word
 *   attach, detach            fh__state_attach(); fh__state_detach() with the merge between its attempts
 *   park                      fh__state_park(), at a safepoint that sees STOP
 *   arrive                    fh__stop_arrive()                                                    sync/stop.c
 *   lock_stop                 fh__mutator_lock_stop()                                              mutator/mutator.c
 *   begin_stop, end_stop      fh__stop_begin(), take_detached(), fh__stop_end(), fh__merge_after_resume()
 *   claim, push               fh__merge_claim(), fh__merge_hand_over()                             ref/merge.c
 *   merge_at_rest             push_without_memory(), fh__state_claim_resting()
 *   newborn                   fh__registry_add() under the stop lock, fh__registry_adopt()         sync/registry.c
 *   queue                     how many entries a mutator's queue holds; the owner takes them all in one step
 *
 * What it leaves out. Memory is sequentially consistent, as Spin's is. A wait is a condition on the word that the code
 * sleeps on, so wake-ups cannot be lost here; the futexes' values see to that in the code. `arrivals` counts from the
 * requester's last look instead of from the beginning, because only differences matter. The starving hint, what happens
 * in a stopped world, what is merged, and the way out of two pushers without memory that wait for each other are left
 * out; counts are in merge_claim.pml. No thread is made to make progress: that a requester is not put off again and again
 * rests on every thread coming to a safepoint.
 *
 * Properties.
 *   [stop.still]      in a stopped world every mutator but the requester's is STOPPED, and nobody works or merges
 *   [state.right]     who works or leaves a state holds it
 *   [state.bound]     no mutator has two threads
 *   [claim.progress]  a claim drains something, unless there is nothing or the owner wants to come in
 *   [queue.drained]   when all has come to rest, no queue holds anything
 *   [end]             every stop comes about and ends, and every thread comes to its end: nobody waits for ever
 *
 * Seeded faults.
 *   FAULT_STATES_FIRST          [end]
 *                               resume resets the states before STOP falls and the epoch is even
 *   FAULT_RESET_BY_STORE        [stop.still] [state.right]   resume stores DETACHED into every state, its own too
 *   FAULT_UNLOCK_EARLY          [stop.still]  -DSECOND=1,0,0,0 -DTHIRD=0,0,0,0
 *                               the stop lock is released before the states are reset
 *   FAULT_REGISTER_UNLOCKED     [end] [stop.still]  -DTHIRD=0,0,0,0  a mutator is born without the stop lock
 *   FAULT_DETACH_BLIND          [end]                        detach does not look at STOP: the requester waits for it
 *   FAULT_UNCLAIM_BLIND         [end]                        unclaim does not look at STOP: the same
 *   FAULT_WAIT_ON_EVEN          [end]                        an attach that finds STOPPED sleeps on an even epoch, too
 *   FAULT_ADOPT_BOUND           [state.bound]                a newcomer adopts any mutator that is DETACHED
 *   FAULT_NO_LOOK_AFTER_RESUME  [queue.drained]              resume does not look at the queues of the sleepers
 *   FAULT_NO_LOOK_AFTER_UNCLAIM [queue.drained]              unclaim does not look at the queue
 *   FAULT_CLAIM_ENDS_FOR_STOP   [claim.progress]             a claim ends for a stop before it has drained anything
 *   FAULT_REST_IN_RESUME        [stop.still] [state.right]   -DSECOND=0,1,0,1
 *                               claims a STOPPED mutator while it is being resumed
 *   FAULT_NO_LOOK_AFTER_REST    [queue.drained]              -DSECOND=0,1,0,1
 *                               such a claim ends without a look at the queue
 *
 * Sizes. For each thread: how often it stops the world, pushes, sleeps, and pushes without memory.
 *   quick  -DFIRST=1,0,0,0 -DSECOND=1,1,0,0 -DTHIRD=0,0,0,0
 *   quick  -DFIRST=1,0,0,0 -DSECOND=1,0,0,0 -DTHIRD=0,1,0,0
 *   quick  -DFIRST=1,0,0,0 -DSECOND=0,0,1,0 -DTHIRD=0,1,0,0
 *   quick  -DFIRST=1,0,0,0 -DSECOND=0,0,0,1 -DTHIRD=0,1,0,0
 *   all    -DFIRST=1,1,0,0 -DSECOND=0,0,1,0 -DTHIRD=0,1,0,0
 *   all    -DFIRST=1,0,0,0 -DSECOND=0,1,0,1 -DTHIRD=0,1,0,0
 *   all    -DFIRST=1,0,0,0 -DSECOND=1,0,1,0 -DTHIRD=0,1,0,0
 *   faults -DFIRST=1,0,0,0 -DSECOND=0,1,1,0 -DTHIRD=0,1,0,0
 */

#define MUTATORS 3

mtype = { DETACHED, ATTACHED, STOPPED, CLAIMED };

mtype state[MUTATORS] = DETACHED;
bool wanted[MUTATORS] = false;
bool stop_raised[MUTATORS] = false;
bool merge_raised[MUTATORS] = false;
byte queue[MUTATORS] = 0; /* entries */
byte bound[MUTATORS] = 0; /* threads that think it theirs */
byte registered = 2;

bool stop_lock = false;
byte epoch = 0; /* odd while the world is stopped or being stopped */
byte arrivals = 0;

bool still = false; /* what a requester believes */
byte finished = 0;

#define odd(e) ((e) % 2 == 1)

/* Whoever works, or merges, does so outside of a stopped world. */
inline work() {
  assert(!still) /* [stop.still] */
}

/* The second half of "move the state, then look at STOP". */
inline arrive(m) {
  if
  :: stop_raised[m] -> arrivals++
  :: else
  fi
}

/* ---- claims ---- */

/* Drains one entry or more, none if the owner wants to come in meanwhile; then lets go and looks again. To end early for a
 * stop as well, without an entry drained, would claim again at once: the claimer would go round until the requester hits
 * upon the moment between two claims. */
inline claim(m) {
  do
  :: queue[m] > 0 ->
     if
     :: atomic { state[m] == DETACHED && !wanted[m] -> state[m] = CLAIMED }
     :: else -> break
     fi;
     do
     :: atomic { queue[m] > 0 -> work(); queue[m]--; served = true }
     :: atomic { queue[m] == 0 || wanted[m] -> served = true; break }
     :: served -> break
#ifdef FAULT_CLAIM_ENDS_FOR_STOP
     :: stop_raised[m] -> break
#endif
     od;
     atomic {
       assert(state[m] == CLAIMED); /* [state.right] */
       assert(served);              /* [claim.progress] */
       served = false;
       state[m] = DETACHED
     };
#ifndef FAULT_UNCLAIM_BLIND
     arrive(m);
#endif
#ifdef FAULT_NO_LOOK_AFTER_UNCLAIM
     break
#endif
  :: else -> break
  od
}

/* After the push the state tells who looks at the queue. */
inline push(m) {
  atomic {
    work();
    queue[m]++
  };
  if
  :: state[m] == ATTACHED -> merge_raised[m] = true
  :: state[m] == DETACHED && !wanted[m] -> claim(m)
  :: else /* unclaim, resume and attach look at it */
  fi
}

/* A releaser that found no memory to queue an object merges it in place of an owner that rests, even one that a stop has
 * taken, if that stop still waits for the releaser: the epoch is odd, and stays so until the releaser parks. An even epoch
 * means that the requester is resuming, and the state is the requester's. */
inline merge_at_rest(m) {
  if
  :: atomic { state[m] == DETACHED -> at_rest = DETACHED }
  :: atomic { state[m] == STOPPED -> at_rest = STOPPED }
  :: else -> at_rest = CLAIMED
  fi;
#ifndef FAULT_REST_IN_RESUME
  if
  :: at_rest == STOPPED && !odd(epoch) -> at_rest = CLAIMED
  :: else
  fi;
#endif
  if
  :: atomic { at_rest != CLAIMED && state[m] == at_rest -> state[m] = CLAIMED };
     work();
     atomic {
       assert(state[m] == CLAIMED); /* [state.right] */
       state[m] = at_rest
     };
     arrive(m);
#ifndef FAULT_NO_LOOK_AFTER_REST
     if
     :: at_rest == DETACHED -> claim(m)
     :: else
     fi
#endif
  :: else
  fi;
  at_rest = 0
}

/* ---- a thread's own moves ---- */

inline detach(m) {
  atomic {
    assert(state[m] == ATTACHED); /* [state.right] */
    state[m] = DETACHED
  };
  do
  :: queue[m] > 0 ->
     if
     :: atomic { state[m] == DETACHED -> state[m] = ATTACHED };
        atomic {
          work();
          queue[m] = 0
        };
        state[m] = DETACHED
     :: else -> break /* claimed or stopped: whoever holds it looks again */
     fi
  :: else -> break
  od;
#ifndef FAULT_DETACH_BLIND
  arrive(m)
#endif
}

/* Waits through claims and stops; polls when it is in, and parks if another stop is on. */
inline attach(m) {
  do
  :: atomic { state[m] == DETACHED -> state[m] = ATTACHED; wanted[m] = false };
     if
     :: queue[m] > 0 -> merge_raised[m] = true
     :: else
     fi;
     if
     :: stop_raised[m] ->
        seen_epoch = epoch;
        if
        :: odd(seen_epoch) -> wait_parked(m)
        :: else -> break
        fi
     :: else -> break
     fi
  :: atomic { state[m] == CLAIMED && !wanted[m] -> wanted[m] = true }
  :: state[m] == STOPPED ->
     seen_epoch = epoch;
     if
#ifdef FAULT_WAIT_ON_EVEN
     :: epoch != seen_epoch
#else
     :: odd(seen_epoch) && epoch != seen_epoch
     :: !odd(seen_epoch) && (state[m] != STOPPED || odd(epoch)) /* the requester is resetting the states */
#endif
     fi
  od;
  seen_epoch = 0
}

inline wait_parked(m) {
  atomic {
    assert(state[m] == ATTACHED); /* [state.right] */
    state[m] = STOPPED
  };
  arrive(m);
  epoch != seen_epoch
}

/* A safepoint that saw STOP. */
inline park(m) {
  seen_epoch = epoch;
  if
  :: odd(seen_epoch) -> wait_parked(m); attach(m)
  :: else
  fi
}

/* ---- the requester ---- */

/* While it waits for the lock it is detached, so that whoever holds it can stop this mutator, too. */
inline lock_stop(m) {
  if
  :: atomic { !stop_lock -> stop_lock = true }
  :: else ->
     detach(m);
     atomic { !stop_lock -> stop_lock = true };
     attach(m)
  fi
}

#define for_others(m, act) \
  i = 0; \
  do \
  :: i < registered && i != m -> act; i++ \
  :: i == m -> i++ \
  :: i >= registered && i != m -> i = 0; break \
  od

inline take_detached(n) {
  if
  :: atomic { state[n] == DETACHED -> state[n] = STOPPED }
  :: atomic { state[n] == ATTACHED || state[n] == CLAIMED -> missing++ }
  :: state[n] == STOPPED
  fi
}

inline begin_stop(m) {
  epoch++;
  for_others(m, stop_raised[i] = true);
  do
  :: arrivals = 0;
     for_others(m, take_detached(i));
     if
     :: missing == 0 -> break
     :: else -> atomic { arrivals >= missing -> missing = 0 }
     fi
  od
}

inline look_around(m) {
  for_others(m, assert(state[i] == STOPPED)) /* [stop.still] */
}

inline reset_state(n) {
#ifdef FAULT_RESET_BY_STORE
  state[n] = DETACHED
#else
  atomic {
    assert(state[n] == STOPPED); /* [stop.still] */
    state[n] = DETACHED
  }
#endif
}

/* STOP falls in one step, because nobody acts on it meanwhile: those who are stopped wait for the epoch. The look at the
 * queues of those who sleep needs no lock: if another stop is on by now, its requester looks, too. */
inline end_stop(m) {
#ifdef FAULT_STATES_FIRST
  for_others(m, reset_state(i));
#endif
  atomic { for_others(m, stop_raised[i] = false) };
  epoch++;
#ifdef FAULT_UNLOCK_EARLY
  stop_lock = false;
#endif
#ifdef FAULT_RESET_BY_STORE
  state[m] = DETACHED;
#endif
#ifndef FAULT_STATES_FIRST
  for_others(m, reset_state(i));
#endif
#ifndef FAULT_UNLOCK_EARLY
  stop_lock = false;
#endif
#ifndef FAULT_NO_LOOK_AFTER_RESUME
  for_others(m, claim(i))
#endif
}

inline stop_the_world(m) {
  lock_stop(m);
  begin_stop(m);
  atomic {
    look_around(m);
    still = true
  };
  atomic {
    look_around(m);
    still = false
  };
  end_stop(m)
}

/* ---- threads ---- */

inline pick_other(m) {
  if
  :: m != 0 -> other = 0
  :: m != 1 -> other = 1
  :: m != 2 && registered == 3 -> other = 2
  fi
}

inline live(m) {
  do
  :: stop_raised[m] -> park(m)
  :: merge_raised[m] ->
     merge_raised[m] = false;
     atomic {
       work();
       assert(state[m] == ATTACHED); /* [state.right] */
       queue[m] = 0
     }
  :: stops > 0 -> stops--; stop_the_world(m)
  :: pushes > 0 -> pushes--; pick_other(m); push(other); other = 0
  :: rests > 0 -> rests--; pick_other(m); merge_at_rest(other); other = 0
  :: sleeps > 0 -> sleeps--; detach(m); attach(m)
  :: break
  od;
  detach(m);
  bound[m]--;
  finished++
}

proctype thread(byte me; byte stops; byte pushes; byte sleeps; byte rests) {
  byte i, other, missing, seen_epoch;
  bool served;
  mtype at_rest;
  attach(me);
  live(me)
}

proctype newborn(byte stops; byte pushes; byte sleeps; byte rests) {
  byte i, other, missing, seen_epoch;
  bool served;
  byte me;
  mtype at_rest;
  if
#ifdef FAULT_ADOPT_BOUND
  :: atomic { state[0] == DETACHED -> me = 0; bound[me]++ }
#else
  :: atomic { bound[0] == 0 -> me = 0; bound[me]++ }
#endif
  :: true ->
#ifndef FAULT_REGISTER_UNLOCKED
     atomic { !stop_lock -> stop_lock = true };
#endif
     me = 2;
     bound[me]++;
     registered = 3;
#ifndef FAULT_REGISTER_UNLOCKED
     stop_lock = false
#endif
  fi;
  assert(bound[me] == 1); /* [state.bound] */
  attach(me);
  live(me)
}

init {
  atomic {
    bound[0] = 1;
    bound[1] = 1;
    run thread(0, FIRST);
    run thread(1, SECOND);
    run newborn(THIRD)
  };
  atomic {
    finished == 3 ->
    assert(queue[0] == 0 && queue[1] == 0 && queue[2] == 0);                          /* [queue.drained] */
    assert(state[0] == DETACHED && state[1] == DETACHED && state[2] == DETACHED)         /* [state.right] */
  }
}
