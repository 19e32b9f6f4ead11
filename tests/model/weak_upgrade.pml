/* SPDX-License-Identifier: MIT */
/* Weak references: reading one against the death of its target, by count and as garbage, with finalizers that resurrect and that
 * make new weak references, and with memory that is used again.
 *
 * What it models. One published, merged object in one block of memory. Two readers hold weak references to it from the
 * beginning, which lead to the control block A. A holder gives up its reference to the object; before that it may make a weak
 * reference of its own, in which it looks afterwards. That leads to A while the table has A, else to a new control block.
 * The object dies by its count, or it refers to itself and a collector finds it. It has a finalizer, which may resurrect it,
 * and may make a weak reference that the readers get to see. In the end its memory is used for something else.
 *
 *   model                     code
 *   get                       fh_weak_get(): read the target, try to retain, read the target again      ref/weak.c
 *   make_weak                 fh_weak_new(): fh__weak_join(), then the bit                              api/weak.c
 *   leave                     fh__weak_dealloc(), forget()                                             ref/weak.c
 *   clear                     fh__weak_clear()
 *   die                       fh__ref_die(): lose_weak(), then the finalizer, destroy()                 ref/destroy.c
 *   collector                 fh__garbage_sort(), fh__garbage_finish(), look_again()                    collect/sort.c, garbage.c
 *   inside, delaying          who is in the middle of a call, for whom stops and grace periods wait
 *
 * What it leaves out. Memory is sequentially consistent, as Spin's is. What stands under a shard's lock is one step; the one
 * reader of a control block that takes no lock, get, reads one word of it at a time. Owners and merging are in
 * slot_reclaim.pml and merge_claim.pml. A finalizer runs at once where the code waits for the next safepoint.
 *
 * Properties.
 *   [weak.live]      get through A does not return the object once its finalizer has begun, and when that begins nobody holds
 *                    what get through A returned; nothing returns a dead object
 *   [weak.block]     who reads a control block finds it there
 *   [weak.cleared]   no control block leads to memory that was handed on
 *   [weak.bit]       the bit is not taken away while the table has a control block of the object; so what is destroyed has none
 *   [grace.memory]   between its first read and its try, get does not see the memory change hands
 *   [ref.once]       an object is destroyed once, and not while somebody has a reference
 *   [end]            nobody waits for ever
 *
 * Seeded faults.
 *   FAULT_TRY_CHECK_THEN_ADD    [ref.once] [weak.live]        try_retain looks first and adds afterwards
 *   FAULT_NO_SECOND_LOOK        [weak.live]                   get does not look at the control block again
 *   FAULT_CLEAR_AFTER_FINALIZER [weak.live]                   a death by count clears the control block after the finalizer
 *   FAULT_CLEAR_AFTER_RESUME    [weak.live]                   the collector clears it when the world runs again
 *   FAULT_CLEAR_ONCE            [weak.bit]                    the second stop leaves weak references that the finalizer made
 *   FAULT_BLOCK_WITH_TARGET     [weak.block]                  the control block is freed when its target is lost
 *   FAULT_BIT_UNLOCKED          [weak.bit]                    the last weak reference takes the bit away outside of the lock
 *   FAULT_NO_GRACE              [grace.memory] [weak.cleared] the memory is used again as soon as the object is destroyed
 *
 * Sizes.
 *   quick  -DGETS=1
 *   all    -DGETS=2
 *   faults -DGETS=1
 */

#define HOLDER 1
#define READER1 2
#define READER2 4
#define HEIR 8

/* The object. */
short count = 1; /* the holder's; as garbage also its own */
bool ring = false;
bool marked = true;
bool finalized = false;
bool dead = false;
bool kept = false; /* the finalizer has put a reference where the heir finds it */

/* The control blocks: A (0), and what is made once that is no longer in the table. */
bool target[3];
byte weak_count[3];
bool gone[3];
byte blocks = 1;
bool shown = false; /* the finalizer's weak reference can be seen; it has a count of its own in its control block */
byte shown_in = 0;

/* What the properties need and the code does not have. */
bool retired = false;
bool reused = false;
byte holding_a = 0; /* who holds what get through A returned */
byte setting = 0;   /* who has joined a control block and not yet set the bit */
byte inside = 0;
byte delaying = 0;
byte finished = 0;

inline enter(me) { inside = inside | me }

inline finish_call(me) {
  inside = inside & (15 - me);
  delaying = delaying & (15 - me)
}

/* ---- weak references come, and lose their target ---- */

/* Afterwards the new weak reference leads to `into`. The caller has a reference to the object. */
inline make_weak(into) {
  atomic {
    assert(!dead); /* [ref.once] */
    if
    :: target[0] -> into = 0
    :: target[1] -> into = 1
    :: target[2] -> into = 2
    :: else -> into = blocks; target[into] = true; blocks++
    fi;
    weak_count[into]++;
    setting++
  };
  atomic {
    marked = true;
    setting--
  }
}

inline clear() {
  atomic {
    if
    :: marked ->
       if
       :: target[0] -> target[0] = false
#ifdef FAULT_BLOCK_WITH_TARGET
          ; gone[0] = true
#endif
       :: else
       fi;
       target[1] = false;
       target[2] = false;
       marked = false
    :: else
    fi
  }
}

/* ---- death ---- */

inline destroy(at_once) {
  atomic {
    assert(!dead);      /* [ref.once] */
    assert(count == 0); /* [ref.once] */
    assert(!(target[0] || target[1] || target[2])); /* [weak.bit] */
    dead = true;
    retired = true;
    if
    :: at_once -> delaying = 0
    :: else -> delaying = inside
    fi
  }
}

inline finalize() {
  atomic {
    finalized = true;
    assert(holding_a == 0) /* [weak.live] */
  };
  if
  :: true
  :: make_weak(shown_in); shown = true
  fi;
  if
  :: true
  :: atomic { count++; kept = true }
  fi
}

/* The count is zero. */
inline die() {
  if
  :: !finalized ->
#ifndef FAULT_CLEAR_AFTER_FINALIZER
     clear();
#endif
     count++;
     finalize();
#ifdef FAULT_CLEAR_AFTER_FINALIZER
     clear();
#endif
     atomic {
       assert(!dead && count > 0); /* [ref.once] */
       count--;
       last = (count == 0)
     };
     if
     :: last -> last = false; clear(); destroy(false)
     :: else
     fi
  :: else -> clear(); destroy(false)
  fi
}

inline release() {
  atomic {
    assert(!dead && count > 0); /* [ref.once] */
    count--;
    last = (count == 0)
  };
  if
  :: last -> last = false; die()
  :: else
  fi
}

/* ---- weak references go, and are read ---- */

/* `which` loses a weak reference; the last one frees the control block. */
inline leave(me) {
#ifdef FAULT_BIT_UNLOCKED
  atomic {
    weak_count[which]--;
    last = (weak_count[which] == 0 && target[which]);
    if
    :: last -> target[which] = false; enter(me)
    :: else
    fi;
    gone[which] = (weak_count[which] == 0)
  };
  if
  :: last -> atomic { last = false; marked = false; finish_call(me);
       assert(setting > 0 || !(target[0] || target[1] || target[2])) } /* [weak.bit] */
  :: else
  fi
#else
  atomic {
    weak_count[which]--;
    if
    :: weak_count[which] == 0 ->
       if
       :: target[which] -> target[which] = false; marked = false
       :: else
       fi;
       gone[which] = true
    :: else
    fi
  }
#endif
}

/* Afterwards `got` says whether it returned the object, with a reference. */
inline get(me) {
  atomic {
    assert(!gone[which]); /* [weak.block] */
    enter(me);
    found = target[which];
    assert(!found || !reused) /* [weak.cleared] */
  };
  if
  :: found ->
#ifdef FAULT_TRY_CHECK_THEN_ADD
     atomic { assert(!reused); got = (count > 0) }; /* [grace.memory] */
     if
     :: got -> count++
     :: else
     fi;
#else
     atomic {
       assert(!reused); /* [grace.memory] */
       got = (count > 0);
       if
       :: got -> count++
       :: else
       fi
     };
#endif
     if
     :: got ->
        atomic {
          assert(!gone[which]); /* [weak.block] */
#ifndef FAULT_NO_SECOND_LOOK
          found = target[which];
#endif
          if
          :: found -> assert(!dead && (which > 0 || !finalized)); holding_a = holding_a + (which == 0) /* [weak.live] */
          :: else
          fi
        };
        if
        :: !found -> got = false; release()
        :: else
        fi
     :: else
     fi
  :: else
  fi;
  atomic {
    found = false;
    finish_call(me)
  }
}

inline give_back() {
  atomic {
    got = false;
    holding_a = holding_a - (which == 0)
  };
  release()
}

/* ---- threads ---- */

proctype reader(byte me) {
  bool last, got, found;
  byte which = 0;
  byte gets = 0;
  do
  :: gets < GETS ->
     gets++;
     get(me);
     if
     :: got -> give_back()
     :: else
     fi
  :: break
  od;
  leave(me);
  if
  :: atomic { shown && me == READER1 -> shown = false; which = shown_in }; /* the finalizer's weak reference is this one's now */
     get(me);
     if
     :: got -> give_back()
     :: else
     fi;
     leave(me)
  :: true
  fi;
  finished++
}

proctype holder() {
  bool last, got, found, weak;
  byte which = 0;
  if
  :: true
  :: make_weak(which); weak = true
  fi;
  release();
  if
  :: weak ->
     get(HOLDER);
     if
     :: got -> give_back()
     :: else
     fi;
     leave(HOLDER)
  :: else
  fi;
  finished++
}

/* Drops what the finalizer resurrected. */
proctype heir() {
  bool last;
  do
  :: atomic { kept -> kept = false }; release()
  :: !kept && finished == 3 -> break
  od;
  finished++
}

/* Stops wait until nobody is in the middle of a call. */
proctype collector() {
  bool last;
  if
  :: ring ->
     do
     :: atomic { inside == 0 && count == 1 && ring ->
          count++; /* the list's */
          ring = false;
#ifndef FAULT_CLEAR_AFTER_RESUME
          clear()
#endif
        };
#ifdef FAULT_CLEAR_AFTER_RESUME
        clear();
#endif
        finalize();
        atomic { inside == 0 ->
          if
          :: count == 2 ->
#ifndef FAULT_CLEAR_ONCE
             clear();
#endif
             count = 0
          :: else
          fi
        };
        if
        :: count == 0 -> destroy(true); break
        :: else -> release(); release(); break /* the list's, and the object's own: whoever holds it clears that, sooner or later */
        fi
     :: finished == 4 && count != 1 -> break
     od
  :: else
  fi
}

/* Its memory becomes something else. */
proctype system() {
#ifdef FAULT_NO_GRACE
  if
  :: atomic { retired -> reused = true }
  :: finished == 4
  fi
#else
  if
  :: atomic { retired && delaying == 0 -> reused = true }
  :: finished == 4
  fi
#endif
}

init {
  atomic {
    target[0] = true;
    weak_count[0] = 2;
    if
    :: true
    :: ring = true; count = 2
    fi;
    run holder();
    run reader(READER1);
    run reader(READER2);
    run heir();
    run collector();
    run system()
  };
  atomic {
    _nr_pr == 1 ->
    assert(dead || kept || count > 0) /* [ref.once] */
  }
}
