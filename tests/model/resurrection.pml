/* SPDX-License-Identifier: MIT */
/* Finalizers of garbage: two mutators that collect, finalizers that resurrect, and a third thread that takes what they show.
 *
 * What it models. Three published, merged objects with finalizers: X and Y refer to each other, Z refers to itself. A slot has a
 * reference to X, and a thread has one to Z. There is a weak reference to X. The thread gives up what it has, takes what it finds in
 * the slot or by weak references, makes weak references, and links two objects. Two mutators collect, at any time, also while the
 * finalizers of the other one's garbage run. A finalizer may put its own object or its neighbour into the slot. Where the code has a
 * list that waits in the queue, and another thread that finishes it, here its finalizers begin late.
 *
 *   model                     code
 *   sort                      fh__scan_subtract(), fh__scan_mark(), fh__garbage_sort(): hold(), lose_weak(), cross_one()
 *   finalize                  run_finalizers(), fh__ref_finalize()                       collect/garbage.c, ref/destroy.c
 *   look                      look_again(): rescue_referenced(), cross_others(), lose_new_weak()
 *   let_go                    let_go_of_rescued()
 *   clear, destroy            clear_all(), destroy_all()
 *   release                   fh_release(), fh__ref_die()                                ref/count.c, ref/destroy.c
 *   get                       fh_weak_get()                                              ref/weak.c
 *   inside                    who is online and not at a safepoint: stops wait for them
 *
 * What it leaves out. Memory is sequentially consistent, as Spin's is. Counts and references by the same release move in one step;
 * merge_claim.pml has what stands behind that, weak_upgrade.pml what stands behind weak references, grace periods among it. Private
 * garbage is finished by its owner alone, with the same steps.
 *
 * Properties.
 *   [garbage.held]    garbage is in one list, and no collection finds it again
 *   [garbage.flag]    in the second look garbage is rescued only if somebody outside of the list refers to it
 *   [final.once]      a finalizer runs once in an object's life
 *   [final.intact]    it finds its object's references as they were, and what they lead to alive; and so does whoever has an object
 *   [ref.once]        an object is destroyed once, and not while anything refers to it
 *   [ref.sum]         in the end each count is the number of references
 *   [weak.cleared]    no weak reference leads to garbage when the world runs again after it was found, or looked at again
 *   [end]             nobody waits for ever
 *
 * Seeded faults.
 *   FAULT_NO_HOLD              [garbage.held] [ref.once] [ref.sum] a list has no count of its own in its objects
 *   FAULT_HOLD_COUNTS          [garbage.flag]                     the second look takes the list's count for a reference
 *   FAULT_HOLD_KEPT            [ref.sum]                          the list keeps its count of what was rescued
 *   FAULT_NO_SECOND_LOOK       [ref.once] [final.intact]          garbage is cleared after the finalizers without another look
 *   FAULT_LOOK_RUNNING         [ref.once] [final.intact]          the second look does not stop the world
 *   FAULT_RESCUE_ALONE         [ref.once] [final.intact]          what a rescued object reaches is not rescued
 *   FAULT_FINALIZED_FORGOTTEN  [final.once]                       what is rescued is taken for never finalized
 *   FAULT_FINALIZE_BY_LIST     [final.once]                       a list runs all its finalizers: nobody looks whether one ran
 *   FAULT_CLEAR_AFTER_RESUME   [weak.cleared]                     weak references to garbage are cleared when the world runs again
 *   FAULT_CLEAR_ONCE           [weak.cleared]                     the second stop leaves weak references that were made meanwhile
 *   FAULT_NO_CROSS             [ref.once] [ref.sum]               references from later garbage into a list are not marked
 *   FAULT_NO_LATE_CROSS        [ref.once] [ref.sum]               ... nor those that came after both were sorted
 *
 * Sizes.
 *   quick  -DCOLLECTS=2 -DDEEDS=3
 *   all    -DCOLLECTS=2 -DDEEDS=5
 *   faults -DCOLLECTS=2 -DDEEDS=4
 */

#define X 0
#define Y 1
#define Z 2
#define NONE 3
#define READER 4 /* in `inside`; the collectors are 1 and 2 */

/* The objects. */
byte count[3];
bool edge[9]; /* edge[3 * from + to] */
bool finalized[3];
bool garbage[3];
bool cross[3];
bool dead[3];
bool reused[3]; /* its memory is something else now */
bool target[3]; /* there is a weak reference, and it leads here */
byte list[3];   /* whose */

/* References beside those of objects. */
byte slot = X;
byte mine = Z; /* the reader's */

/* What the properties need and the code does not have. */
byte ran[3];
bool made_late[3]; /* it waits in a list, and a weak reference was made meanwhile: that leads there until the second stop */
byte inside = 0;
byte finished = 0;
#ifdef FAULT_LOOK_RUNNING
bool stays[3];
#endif

/* Scratch of a stop: zero outside. */
byte a, b, turn;
short refs[3];
bool alive[3];

#define refers(from, to) edge[3 * (from) + (to)]
#define is_referred_to(to) (slot == (to) || mine == (to) || \
  (!dead[X] && refers(X, to)) || (!dead[Y] && refers(Y, to)) || (!dead[Z] && refers(Z, to)))

/* ---- death by count ---- */

inline release(object) {
  atomic {
    assert(!dead[object] && count[object] > 0); /* [ref.once] */
    count[object]--;
    if
    :: count[object] == 0 ->
       assert(!is_referred_to(object)); /* [ref.once] */
       dead[object] = true;
       reused[object] = !target[object]; /* else it waits for a grace period, which is another model's */
       target[object] = false
    :: else
    fi
  }
}

/* ---- stops ---- */

/* Sets alive[] for all that something outside refers to, by refs[], and for what that reaches. */
inline spread() {
  for (turn : 0 .. 2) {
    for (a : 0 .. 2) {
      for (b : 0 .. 2) {
        if
        :: alive[a] && !dead[a] && refers(a, b) -> alive[b] = true
        :: else
        fi
      }
    }
  }
}

inline forget_scratch() {
  for (a : 0 .. 2) {
    refs[a] = 0;
    alive[a] = false
  };
  a = 0;
  b = 0;
  turn = 0
}

inline sort(me) {
  d_step {
    for (a : 0 .. 2) {
      refs[a] = refs[a] + count[a];
      for (b : 0 .. 2) {
        if
        :: !dead[a] && refers(a, b) -> refs[b]--
        :: else
        fi
      }
    };
    for (a : 0 .. 2) { alive[a] = (!dead[a] && refs[a] > 0) };
    spread();
    for (a : 0 .. 2) {
      if
      :: !dead[a] && !alive[a] ->
         assert(list[a] == 0); /* [garbage.held] */
         list[a] = me;
         garbage[a] = true;
#ifndef FAULT_NO_HOLD
         count[a]++;
#endif
         codes = (codes || !finalized[a]);
#ifdef FAULT_FINALIZE_BY_LIST
         codes = true;
#endif
         some = true;
#ifndef FAULT_CLEAR_AFTER_RESUME
         target[a] = false
#endif
      :: else
      fi
    };
#ifndef FAULT_NO_CROSS
    for (a : 0 .. 2) {
      for (b : 0 .. 2) {
        if
        :: list[a] == me && refers(a, b) && garbage[b] && list[b] != me -> cross[b] = true
        :: else
        fi
      }
    };
#endif
    forget_scratch()
  }
}

inline rescue(me) {
  for (a : 0 .. 2) {
    if
    :: alive[a] && garbage[a] ->
       garbage[a] = false;
       cross[a] = false;
#ifdef FAULT_FINALIZED_FORGOTTEN
       finalized[a] = false
#endif
    :: else
    fi
  }
}

/* Who refers to it from outside of the list? */
#define from_outside(me, from, to) (!dead[from] && refers(from, to) && (list[from] != me || !garbage[from]))
#define is_wanted(me, to) (slot == (to) || mine == (to) || from_outside(me, X, to) || from_outside(me, Y, to) || from_outside(me, Z, to))

inline tell(me) {
  for (a : 0 .. 2) {
    if
    :: list[a] == me ->
       refs[a] = refs[a] + count[a];
#ifndef FAULT_HOLD_COUNTS
       refs[a]--;
#endif
       for (b : 0 .. 2) {
         if
         :: refers(a, b) && garbage[b] -> refs[b]--
         :: else
         fi
       }
    :: else
    fi
  };
  for (a : 0 .. 2) {
    alive[a] = (list[a] == me && garbage[a] && refs[a] > 0);
    if
    :: alive[a] -> assert(is_wanted(me, a)) /* [garbage.flag] */
    :: else
    fi
  };
#ifndef FAULT_RESCUE_ALONE
  spread();
#endif
}

inline look(me) {
  tell(me);
  rescue(me);
#ifndef FAULT_NO_LATE_CROSS
  for (a : 0 .. 2) {
    for (b : 0 .. 2) {
      if
      :: list[a] == me && garbage[a] && refers(a, b) && garbage[b] && list[b] != me -> cross[b] = true
      :: else
      fi
    }
  };
#endif
#ifndef FAULT_CLEAR_ONCE
  for (a : 0 .. 2) {
    if
    :: list[a] == me && garbage[a] -> target[a] = false
    :: else
    fi
  };
#endif
  forget_scratch()
}

/* ---- the reader ---- */

inline get(which) {
  atomic {
    target[which] && mine == NONE ->
    inside = inside | READER
  };
  atomic {
    assert(!reused[which]); /* [weak.cleared] */
    if
    :: count[which] > 0 && target[which] ->
       assert(!garbage[which] || list[which] == 0 || made_late[which]); /* [weak.cleared] */
       count[which]++;
       mine = which
    :: else
    fi;
    inside = inside - READER
  }
}

proctype reader() {
  byte deeds = 0, old;
  do
  :: deeds < DEEDS ->
     deeds++;
     if
     :: get(X)
     :: get(Y)
     :: get(Z)
     :: atomic { mine == NONE && slot != NONE -> mine = slot; count[mine]++ }
     :: atomic { mine != NONE ->
          assert(!dead[mine]);                                                       /* [ref.once] */
          assert(mine == Z -> refers(Z, Z) : (mine == X -> refers(X, Y) : refers(Y, X))); /* [final.intact] */
          target[mine] = true;
          made_late[mine] = garbage[mine]
        }
     :: atomic { mine != NONE && slot != NONE && mine != slot && !refers(mine, slot) -> edge[3 * mine + slot] = true; count[slot]++ }
     :: atomic { slot != NONE -> old = slot; slot = NONE; release(old); old = 0 }
     :: atomic { mine != NONE -> old = mine; mine = NONE; release(old); old = 0 }
     :: else
     fi
  :: break
  od;
  finished++
}

/* ---- those who collect ---- */

/* Shows an object in the slot, which is not yet taken. */
inline expose(object) {
  atomic {
    assert(!dead[object]); /* [final.intact] */
    old = slot;
    slot = object;
    count[object]++;
    if
    :: old != NONE -> release(old)
    :: else
    fi;
    old = 0
  }
}

inline finalize(object) {
  atomic {
    finalized[object] = true;
    ran[object]++;
    assert(ran[object] == 1); /* [final.once] */
    assert(object == Z -> refers(Z, Z) && !dead[Z] : refers(object, 1 - object) && !dead[1 - object]) /* [final.intact] */
  };
  if
  :: true
  :: expose(object)
  :: object != Z -> expose(1 - object)
  fi
}

#ifdef FAULT_FINALIZE_BY_LIST
#define wants_finalizer(object) true
#else
#define wants_finalizer(object) !finalized[object]
#endif

inline clear(me) {
  for (o : 0 .. 2) {
    for (p : 0 .. 2) {
      if
      :: list[o] == me && refers(o, p) ->
         atomic {
           edge[3 * o + p] = false;
           both = (garbage[p] && !cross[p])
         };
         if
         :: both
         :: else -> release(p)
         fi;
         both = false
      :: else
      fi
    }
  }
}

inline destroy(me) {
  for (o : 0 .. 2) {
    if
    :: list[o] == me && cross[o] -> atomic { list[o] = 0; release(o) }
    :: list[o] == me && !cross[o] ->
       atomic {
         assert(!dead[o]);           /* [ref.once] */
         assert(!is_referred_to(o)); /* [ref.once] */
         assert(!target[o]);         /* [weak.cleared] */
         dead[o] = true;
         reused[o] = true;
         list[o] = 0;
         count[o] = 0
       }
    :: else
    fi
  }
}

inline let_go(me) {
  for (o : 0 .. 2) {
    if
    :: list[o] == me && !garbage[o] ->
       list[o] = 0;
#ifndef FAULT_HOLD_KEPT
       release(o)
#endif
    :: else
    fi
  }
}

proctype collector(byte me) {
  byte collects = 0, old, o, p;
  bool codes, some, both;
  do
  :: collects < COLLECTS ->
     collects++;
     atomic {
       inside == 0 ->
       sort(me);
       if
       :: some && !codes -> inside = inside | me /* it goes on without a safepoint */
       :: else
       fi
     };
#ifdef FAULT_CLEAR_AFTER_RESUME
     for (o : 0 .. 2) {
       if
       :: list[o] == me -> target[o] = false
       :: else
       fi
     };
#endif
     if
     :: codes ->
        for (o : 0 .. 2) {
          if
          :: list[o] == me && wants_finalizer(o) -> finalize(o)
          :: else
          fi
        };
#ifdef FAULT_NO_SECOND_LOOK
        atomic { inside == 0 -> inside = inside | me };
#else
#ifdef FAULT_LOOK_RUNNING
        atomic { tell(me); for (a : 0 .. 2) { stays[a] = alive[a] }; forget_scratch() };
        atomic {
          inside == 0 ->
          for (a : 0 .. 2) { alive[a] = stays[a]; stays[a] = false };
          rescue(me);
          forget_scratch();
          inside = inside | me
        };
#else
        atomic { inside == 0 -> d_step { look(me) }; inside = inside | me };
#endif
#endif
        let_go(me)
     :: else
     fi;
     if
     :: some ->
        clear(me);
        destroy(me);
        inside = inside - me
     :: else
     fi;
     atomic {
       codes = false;
       some = false;
       o = 0;
       p = 0
     }
  :: break
  od;
  finished++
}

#define references(to) ((slot == (to)) + (mine == (to)) + (!dead[X] && refers(X, to)) + (!dead[Y] && refers(Y, to)) + (!dead[Z] && refers(Z, to)))
#define sums_up(object) (dead[object] || count[object] == references(object))

init {
  atomic {
    edge[3 * X + Y] = true;
    edge[3 * Y + X] = true;
    edge[3 * Z + Z] = true;
    count[X] = 2;
    count[Y] = 1;
    count[Z] = 2;
    target[X] = true;
    run reader();
    run collector(1);
    run collector(2)
  };
  atomic {
    _nr_pr == 1 ->
    assert(finished == 3);                              /* [end] */
    assert(sums_up(X) && sums_up(Y) && sums_up(Z)) /* [ref.sum] */
  }
}
