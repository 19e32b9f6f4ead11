/* SPDX-License-Identifier: MIT */
/* The crew that marks: threads that a stop idles join the collecting mutator, share objects by shelves, and leave.
 *
 * What it models. A requester and two helpers mark a graph of objects: two roots refer to all others. Each worker has objects to
 * scan; of two or more it may put one onto its shelf, if that is empty; with none it steals, from its own shelf first; with nothing to
 * steal it says so, and waits until something is offered or nobody has anything. A helper may join at any time while somebody is
 * at work. When all have left, the requester takes the scan's memory away.
 *
 *   model                     code
 *   open, join, leave         fh__crew_run(), fh__crew_help(), leave()                                 sync/crew.c
 *   work_off                  mark_stack()                                                             collect/mark.c
 *   offer, steal              fh__shelf_offer(), fh__shelf_steal()                                     collect/shelf.h
 *   mark_with_others          mark_with_others(), wait_for_offer(), have_something(), have_nothing()   collect/mark.c
 *
 * What it leaves out. Memory is sequentially consistent, as Spin's is. An object's claim, an atomic exchange, is one step with those of its
 * siblings: they do not depend on each other. A shelf holds one object instead of 256.
 *
 * Properties.
 *   [scan.once]      an object is scanned once
 *   [scan.all]       when the run is over, all that the roots reach was scanned
 *   [scan.shelf]     who has taken a shelf finds an object there
 *   [crew.run]       while somebody is inside, the scan is there
 *   [end]            nobody waits for ever
 *
 * Seeded faults.
 *   FAULT_KEEP_SHELF    [scan.all]                          a worker says that it has nothing while its own shelf is full
 *   FAULT_JOIN_CLOSED   [crew.run]                          joining does not look whether anybody is at work
 *   FAULT_NO_WAIT       [crew.run]                          the requester does not wait for the others
 *   FAULT_NO_CLAIM      [scan.once]                         two workers may both take an object to scan
 *   FAULT_TAKE_BLIND    [scan.once] [scan.shelf]            a shelf is emptied without saying first that it is being taken
 *
 * Sizes.
 *   quick  -DOBJECTS=4
 *   all    -DOBJECTS=5
 *   faults -DOBJECTS=4
 */

#define WORKERS 3

byte scanned[OBJECTS];
bool marked[OBJECTS];
byte shelf[WORKERS];    /* 0: EMPTY; else 1 + the object there, FULL; TAKING below */
bool taking[WORKERS];
byte at_work = 0;       /* the crew's word */
byte marking = 0;
byte roots = 0; /* taken, of two */
bool context = false;   /* the scan is there */
bool over = false;

inline scan(o) {
  /* marks and collects the children of o: the fan */
  atomic {
    assert(context); /* [crew.run] */
    scanned[o]++;
    assert(scanned[o] == 1); /* [scan.once] */
    if
    :: o < 2 -> c = 2; do :: c < OBJECTS ->
#ifdef FAULT_NO_CLAIM
         if :: !has[c] -> has[c] = true; depth++ :: else fi;
#else
         if :: !marked[c] -> marked[c] = true; has[c] = true; depth++ :: else fi;
#endif
         c++ :: else -> break od
    :: else
    fi
  }
}

inline work_off() {
  do
  :: depth == 0 -> break
  :: depth > 1 && shelf[me] == 0 && !taking[me] -> /* offer the oldest */
     atomic { c = 0; do :: !has[c] -> c++ :: else -> break od; has[c] = false; depth--; shelf[me] = c + 1 }
  :: depth > 0 ->
     atomic { c = 0; do :: !has[c] -> c++ :: else -> break od; o = c; has[c] = false; depth-- }
     scan(o)
  od
}

/* Tries each shelf, its own first. */
inline steal() {
  got = false; v = 0;
  do
  :: v < WORKERS && !got ->
     w = (me + v) % WORKERS;
#ifdef FAULT_TAKE_BLIND
     if
     :: shelf[w] != 0 ->
        assert(shelf[w] != 0); /* [scan.shelf] */
        o = shelf[w] - 1; has[o] = true; depth++; got = true; shelf[w] = 0
     :: else
     fi;
#else
     atomic { if :: shelf[w] != 0 && !taking[w] -> taking[w] = true; got = true :: else fi }
     if :: got -> atomic { o = shelf[w] - 1; has[o] = true; depth++ } atomic { shelf[w] = 0; taking[w] = false } :: else fi;
#endif
     v++
  :: else -> break
  od
}

inline offered() { any = false; atomic { v = 0; do :: v < WORKERS -> if :: shelf[v] != 0 && !taking[v] -> any = true :: else fi; v++ :: else -> break od } }

inline mark_with_others() {
  skip;
  roots_left:
  atomic { got = roots < 2; if :: got -> marked[roots] = true; has[roots] = true; depth++; roots++ :: else fi }
  work_off();
  if :: got -> goto roots_left :: else fi;
  again:
#ifdef FAULT_KEEP_SHELF
  got = false;
#else
  steal();
#endif
  if
  :: got -> work_off(); goto again
  :: else
  fi;
  atomic { marking--; if :: marking == 0 -> goto out :: else fi }
  wait:
  if
  :: marking == 0 -> goto out
  :: else ->
     offered();
     if
     :: any ->
        marking++;
        steal();
        if :: got -> work_off(); goto again :: else fi;
        atomic { marking--; if :: marking == 0 -> goto out :: else fi }
        goto wait
     :: else -> goto wait
     fi
  fi;
  out: skip
}

proctype requester() {
  bool has[OBJECTS], got, any; byte depth = 0, c, o, v, w, me = 0;
  context = true; marking = 1;
  at_work = 1; /* open */
  mark_with_others();
  at_work--;
#ifndef FAULT_NO_WAIT
  (at_work == 0);
#endif
  c = 0;
  do
  :: c < OBJECTS ->
     assert(scanned[c] == 1); /* [scan.all] */
     c++
  :: else -> break
  od;
  context = false;
  over = true
}

proctype helper(byte me) {
  bool has[OBJECTS], got, any; byte depth = 0, c, o, v, w;
  if
#ifdef FAULT_JOIN_CLOSED
  :: at_work++
#else
  :: atomic { at_work > 0 -> at_work++ }
#endif
  :: over -> goto done
  fi;
  assert(context); /* [crew.run] */
  marking++;
  mark_with_others();
  assert(context); /* [crew.run] */
  at_work--;
  done: skip
}

init { atomic { run requester(); run helper(1); run helper(2) } }
