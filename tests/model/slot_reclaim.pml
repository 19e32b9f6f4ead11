/* SPDX-License-Identifier: MIT */
/* Loads of a slot, against stores, death, finalizers that resurrect, and memory that is used again.
 *
 * What it models. One slot and one block of memory. At first the block holds a published object that the slot and its
 * owner refer to. A writer empties the slot; a stranger and the owner load from it, and the stranger may store back what
 * it got. The object has a finalizer that may put it into the slot again. When it is destroyed and its grace period is
 * over, the owner makes a new object in the same block, at the same address, and stores that.
 *
 *   model                     code
 *   load                      fh_slot_load(): read, try to retain, read again                      ref/slot.c
 *   empty_slot, store         fh_slot_swap() and fh_slot_store()
 *   try_retain                fh__try_retain(), try_as() with the owner's way past its loop        ref/count.c
 *   owned, ..., queued        the two count words of the header                                    object/header.h
 *   die, finalize             fh__ref_die(), fh__ref_run_finalizers(): revive(), finalize_one()    ref/destroy.c
 *   make_again                fh_new() on a block that came out of limbo                           object/limbo.c
 *   inside, delaying          a grace period: who is inside a load or a release, and for whom of them it waits
 *
 * What it leaves out. Memory is sequentially consistent, as Spin's is. The owner stays attached and drains its queue
 * itself; detaching and claims are in merge_claim.pml. A finalizer runs at once where the code waits for the next
 * safepoint of the thread. Compare-and-swap loops are one step, as there.
 *
 * Properties.
 *   [slot.live]       a load does not return an object whose finalizer runs, unless the finalizer has let it out; what a
 *                     slot holds is not dead
 *   [grace.memory]    between its first read and its try a load does not see the block change hands
 *   [ref.once]        an object is destroyed once, with its last reference; its finalizer runs once
 *   [ref.pinned]      what the drain finds was queued
 *   [end]             nobody waits for ever
 *
 * Seeded faults.
 *   FAULT_NO_SECOND_LOOK        [slot.live]                a load does not look at the slot again
 *   FAULT_NO_GRACE              [grace.memory] [ref.once]  the block is used again as soon as the object is destroyed
 *   FAULT_TRY_ADDS_ONE          [ref.once]                 try_retain adds one and does not look whether the object is dead
 *   FAULT_FINALIZE_UNHELD       [ref.once]                 the finalizer runs while the count is zero
 *   FAULT_FINALIZE_TWICE        [ref.once]                 nobody notes that the finalizer has run
 *
 * Sizes.
 *   quick  -DLOADS=2 -DWRITES=2
 *   all    -DLOADS=2 -DWRITES=3
 *   faults -DLOADS=1 -DWRITES=2
 */

#define OWNER 1
#define READER 2
#define WRITER 4

/* The slot: empty, or the address of the only block. */
bool slot = true;

/* The object in the block. Its first references are the slot's and its owner's, both counted in local. */
bool owned = true;
byte local_count = 2;
short count = 0;
bool merged = false;
bool queued = false;
bool finalized = false;

bool in_queue = false; /* the owner's queue */

/* What the properties need and the code does not have. */
byte incarnation = 0;
byte holders = 2;
bool dead = false;    /* it is being destroyed */
bool retired = false; /* its memory is in limbo */
bool alone = false;   /* its finalizer runs and has not let it out */
byte finalizers = 0;  /* that began, in this incarnation */
byte inside = 0;
byte delaying = 0;
byte finished = 0;

#ifdef FAULT_NO_GRACE
#define reusable retired
#else
#define reusable (retired && delaying == 0)
#endif

inline enter(me) { inside = inside | me }

inline leave(me) {
  inside = inside & (7 - me);
  delaying = delaying & (7 - me)
}

/* ---- death ---- */

inline destroy() {
  atomic {
    assert(!dead);        /* [ref.once] */
    assert(holders == 0); /* [ref.once] */
    assert(!slot);        /* [slot.live] */
    dead = true;
    retired = true;
    delaying = inside
  }
}

/* The count is zero: the finalizer first, once, under a reference of its own, and that is then released as any other. The
 * object is merged, and nobody else can raise the count from zero. */
inline die() {
  if
#ifdef FAULT_FINALIZE_TWICE
  :: finalizers < 3 ->
#else
  :: !finalized ->
#endif
     atomic {
       assert(!dead); /* [ref.once] */
       finalized = true;
       finalizers++;
       assert(finalizers == 1); /* [ref.once] */
       alone = true;
#ifndef FAULT_FINALIZE_UNHELD
       count++;
       holders++
#endif
     };
     if
     :: true
     :: atomic { !slot -> slot = true; count++; holders++; alone = false } /* resurrects */
     fi;
#ifndef FAULT_FINALIZE_UNHELD
     atomic {
       alone = false;
       holders--;
       count--;
       last = (count == 0)
     };
#else
     atomic {
       alone = false;
       last = (count == 0)
     };
#endif
     if
     :: last -> last = false; destroy()
     :: else
     fi
  :: else -> destroy()
  fi
}

/* ---- counting ---- */

inline retain() {
  atomic {
    assert(!dead); /* [ref.once] */
    count++;
    holders++
  }
}

/* As in merge_claim.pml, for an owner that is never away: it will look into its queue. */
inline release(me) {
  atomic {
    assert(!dead); /* [ref.once] */
    holders--;
    crossed = (!merged && count == 0);
    count--;
    last = (merged && !queued && count == 0);
    seen = incarnation;
    if
    :: crossed -> enter(me)
    :: else
    fi
  };
  if
  :: last -> last = false; die()
  :: crossed ->
     atomic {
       assert(seen == incarnation); /* [grace.memory] */
       crossed = false;
       if
       :: !merged && !queued -> queued = true; in_queue = true
       :: else
       fi;
       leave(me)
     }
  :: else
  fi;
  seen = 0
}

inline owner_release() {
  if
  :: owned && local_count > 1 -> atomic { local_count--; holders-- }
  :: owned && local_count == 1 ->
     atomic {
       owned = false;
       local_count = 0;
       holders--
     };
     atomic {
       merged = true;
       last = (count == 0 && !queued)
     };
     if
     :: last -> last = false; die()
     :: else
     fi
  :: !owned -> release(OWNER)
  fi
}

inline drain() {
  atomic {
    in_queue = false;
    assert(queued && !dead) /* [ref.pinned] */
  };
  atomic {
    count = count + local_count;
    owned = false;
    local_count = 0;
    merged = true;
    queued = false;
    last = (count == 0)
  };
  if
  :: last -> last = false; die()
  :: else
  fi
}

/* Fails exactly on (MERGED, 0, not QUEUED). The thread was inside since it saw the address. */
inline try_retain(me) {
  atomic {
    assert(seen == incarnation); /* [grace.memory] */
#ifdef FAULT_TRY_ADDS_ONE
    got = true;
#else
    got = !(merged && count == 0 && !queued);
#endif
    if
    :: got ->
       assert(!dead); /* [ref.once] */
       count++;
       holders++
    :: else
    fi;
    leave(me)
  }
}

/* The owner's try: while it owns the object nobody can have merged it, so it lives. */
inline try_as(me) {
  if
  :: me == OWNER && owned ->
     atomic {
       assert(seen == incarnation && !dead); /* [grace.memory] */
       local_count++;
       holders++;
       got = true;
       leave(OWNER)
     }
  :: else -> try_retain(me)
  fi
}

inline release_as(me) {
  if
  :: me == OWNER -> owner_release()
  :: else -> release(me)
  fi
}

/* ---- the slot ---- */

/* Afterwards `got` says whether it returned the object. */
inline load(me) {
  do
  :: atomic { slot -> seen = incarnation; enter(me) };
     try_as(me);
     if
     :: got ->
#ifdef FAULT_NO_SECOND_LOOK
        break
#else
        if
        :: atomic { slot -> assert(seen == incarnation); break } /* [grace.memory] */
        :: else -> got = false; release_as(me) /* it left the slot: look what is there now */
        fi
#endif
     :: else
     fi
  :: !slot -> break
  od;
  atomic {
    assert(!got || (!dead && !alone)); /* [slot.live] */
    seen = 0
  }
}

inline empty_slot(me) {
  atomic {
    had = slot;
    slot = false
  };
  if
  :: had -> had = false; release(me)
  :: else
  fi
}

/* Stores the object that the caller has a reference to. */
inline store(me) {
  retain();
  atomic {
    had = slot;
    slot = true
  };
  if
  :: had -> had = false; release(me)
  :: else
  fi
}

/* A new object in the same memory, with a reference for the slot. */
inline make_again() {
  atomic {
    assert(holders == 0 && !slot); /* [ref.once] */
    incarnation++;
    owned = true;
    local_count = 1;
    count = 0;
    merged = false;
    queued = false;
    finalized = false;
    finalizers = 0;
    dead = false;
    retired = false;
    holders = 1
  };
  slot = true
}

/* ---- threads ---- */

proctype owner() {
  bool crossed, last, got;
  byte seen;
  byte loads = 0;
  bool mine = true;
  do
  :: mine -> mine = false; owner_release()
  :: loads < LOADS ->
     loads++;
     load(OWNER);
     if
     :: got -> got = false; owner_release()
     :: else
     fi
  :: in_queue -> drain()
  :: atomic { incarnation == 0 && reusable -> skip }; make_again()
  :: !mine && !in_queue && finished == 2 -> break
  od;
  finished++
}

proctype reader() {
  bool crossed, last, got, had;
  byte seen;
  byte loads = 0;
  do
  :: loads < LOADS ->
     loads++;
     load(READER);
     if
     :: got ->
        got = false;
        if
        :: true
        :: store(READER)
        fi;
        release(READER)
     :: else
     fi
  :: break
  od;
  finished++
}

proctype writer() {
  bool crossed, last, had;
  byte seen;
  byte writes = 0;
  do
  :: writes < WRITES -> writes++; empty_slot(WRITER)
  :: break
  od;
  finished++
}

init {
  atomic {
    run owner();
    run reader();
    run writer()
  };
  atomic {
    finished == 3 ->
    assert(dead == (holders == 0)); /* [ref.once] */
    assert(slot || dead)            /* [ref.once] */
  }
}
