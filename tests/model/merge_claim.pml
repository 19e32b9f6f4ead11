/* SPDX-License-Identifier: MIT */
/* Counts, the owner's queue, and merging on behalf of a sleeping owner.
 *
 * What it models. One published object with its two count words, its owner, strangers that retain and release it, a
 * reader that upgrades a weak reference to it, and the grace period after which its memory goes away. The owner attaches
 * and detaches (blocking regions) while it and the strangers use the object; in the end it is detached for good, or stays
 * attached and only polls.
 *
 *   model                     code
 *   owned, local_count        `bias` of the header: owner id and local count, one plain store    object/header.h
 *   count, merged, queued     `shared` of the header, atomic: signed count and state bits
 *   retain, release           a stranger's, and the owner's of a merged object                   ref/count.c, ref/merge.c
 *   owner_release             owner_release(), fh__merge_last()
 *   try_retain                fh__try_retain(): its loop, and the owner's way past it
 *   drain_one                 fh__queue_pop(), merge_queued()                                    ref/merge.c
 *   claim, tell_owner         fh__merge_claim(), the end of fh__merge_hand_over()
 *   in_queue, others          the owner's queue: the entry of this object, entries of others     sync/queue.c
 *   state, wanted             the state word of the owner's mutator, with the WANTED bit         sync/state.c
 *   attach, detach            fh__state_attach(); fh__state_detach() and the merge between its attempts
 *   merge_raised              MERGE in the owner's attention word
 *   weak                      where an upgrade finds the pointer: a weak reference, a slot
 *   inside, delaying          a grace period: who is inside an operation, and who of them it waits for
 *
 * What it leaves out. Memory is sequentially consistent, as Spin's is: the orders of the accesses are argued in
 * docs/memory-order.md and raced in tests. A compare-and-swap loop is one guarded atomic step, since the attempts that
 * fail change nothing. A wait is a condition on the word that the code sleeps on. The queue has no order, which is more
 * than any order. A claimer drains one entry and unclaims, the smallest limit. A thread delays the grace period only where
 * the protocol relies on that (between crossing zero and the second step, between reading a weak pointer and trying it),
 * and memory goes as soon as nobody delays it; the code keeps it longer. The owner of the model may take counts back and
 * may as well merge; the code takes back for private objects only. Finalizers are in slot_reclaim.pml, stops and a push
 * without memory in stop_attach.pml. Immortal and hot objects are left out.
 *
 * Properties.
 *   [ref.once]        destroyed exactly once, when nobody holds a reference, and not touched by a holder afterwards
 *   [ref.sum]         after a merge the shared count is the true one, and not below zero
 *   [ref.merged]      what dies is merged: no owner, nothing in local, so that the destroyer is alone with both words
 *   [ref.pinned]      while QUEUED is set only the drain destroys, and the drain finds what was queued, once
 *   [ref.final]       where one try_retain was refused, none succeeds later
 *   [queue.known]     whoever set QUEUED knows in whose queue the entry belongs
 *   [queue.drained]   when all has come to rest, nothing waits in the queue, whether the owner sleeps or polls
 *   [bias.exclusive]  the bias word has one writer: the attached owner, or who claimed it
 *   [grace.memory]    nobody touches the memory after it was reclaimed
 *   [end]             nobody waits for ever
 *
 * Seeded faults.
 *   FAULT_NO_PIN                [ref.pinned] [ref.once]     a release destroys a merged object although it is queued
 *   FAULT_NO_GRACE              [grace.memory]
 *                               memory goes at death; a crosser or an upgrade still looks at it
 *   FAULT_LATE_ZERO             [ref.merged]                MERGED is set before the bias word is zeroed
 *   FAULT_NO_LOOK_AFTER_UNCLAIM [queue.drained]  -DRETAINS=0 -DOTHERS=1 -DUPGRADES=0
 *                               an entry that was pushed during a claim stays
 *   FAULT_NO_LOOK_AFTER_DETACH  [queue.drained]             an entry that was pushed before the edge to DETACHED stays
 *   FAULT_NO_LOOK_AFTER_ATTACH  [queue.drained]  -DSLEEPS=1 -DUPGRADES=0
 *                               an entry whose pusher saw WANTED or CLAIMED stays
 *   FAULT_CLAIM_WHEN_ATTACHED   [bias.exclusive] [ref.pinned]  -DRETAINS=0 -DSLEEPS=1 -DUPGRADES=0
 *                               the claim does not ask that the owner is detached
 *   FAULT_TRY_CHECK_THEN_ADD    [ref.once] [ref.final]      try_retain looks and adds in two steps
 *   FAULT_QUEUE_BLINDLY         [ref.pinned]                the crosser does not look for MERGED and QUEUED again
 *   FAULT_OWNER_READ_LATE       [queue.known]               the crosser reads the owner after it has set QUEUED
 *   FAULT_TAKE_BACK_UNPINS      [ref.pinned] [ref.once]  -DRETAINS=2 -DUPGRADES=0
 *                               the owner takes back although QUEUED is set, and clears it
 *
 * Sizes.
 *   quick  -DRETAINS=1 -DSLEEPS=1 -DUPGRADES=1 -DOWNER_UPGRADES=0 -DOTHERS=0 -DSPILLS=0
 *   quick  -DRETAINS=3 -DSLEEPS=0 -DUPGRADES=0 -DOWNER_UPGRADES=0 -DOTHERS=0 -DSPILLS=0
 *   all    -DRETAINS=2 -DSLEEPS=0 -DUPGRADES=1 -DOWNER_UPGRADES=0 -DOTHERS=0 -DSPILLS=0
 *   quick  -DRETAINS=0 -DSLEEPS=1 -DUPGRADES=0 -DOWNER_UPGRADES=0 -DOTHERS=1 -DSPILLS=0
 *   quick  -DRETAINS=0 -DSLEEPS=1 -DUPGRADES=1 -DOWNER_UPGRADES=1 -DOTHERS=0 -DSPILLS=1
 *   quick  -DRETAINS=0 -DSLEEPS=0 -DUPGRADES=2 -DOWNER_UPGRADES=1 -DOTHERS=0 -DSPILLS=0 -DVARIANT_REFUSE_PINNED
 *   quick  -DRETAINS=2 -DSLEEPS=0 -DUPGRADES=0 -DOWNER_UPGRADES=0 -DOTHERS=0 -DSPILLS=0 -DVARIANT_TAKE_BACK_QUEUED
 *   all    -DRETAINS=3 -DSLEEPS=1 -DUPGRADES=0 -DOWNER_UPGRADES=0 -DOTHERS=0 -DSPILLS=0
 *   all    -DRETAINS=3 -DSLEEPS=0 -DUPGRADES=1 -DOWNER_UPGRADES=0 -DOTHERS=0 -DSPILLS=0
 *   faults -DRETAINS=1 -DSLEEPS=0 -DUPGRADES=1 -DOWNER_UPGRADES=0 -DOTHERS=0 -DSPILLS=0
 */

#define STRANGERS 2

/* One bit for each thread, for the grace period. */
#define STRANGER_0 1
#define STRANGER_1 2
#define OWNER 4
#define UPGRADER 8

mtype = { DETACHED, ATTACHED, CLAIMED };

/* The object's header. At the start the owner and each stranger hold a reference, all of them counted in local. */
bool owned = true;
byte local_count = 1 + STRANGERS;
short count = 0;
bool merged = false;
bool queued = false;
bool weak = true;

/* The owner's mutator. */
mtype state = ATTACHED;
bool wanted = false;
bool merge_raised = false;
bool in_queue = false;
byte others = 0;

/* References that strangers gave to the owner, which it has still to release; and whether it still takes any. */
byte handed_back = 0;
bool listening = true;

/* What the properties need and the code does not have. */
byte holders = 1 + STRANGERS; /* references that somebody holds */
byte destroyed = 0;
bool retired = false;
bool refused = false;   /* a try_retain has failed */
bool bias_busy = false; /* a claimer is between its load and its store of the bias word */
byte finished = 0;      /* threads that came to their end */
byte inside = 0;
byte delaying = 0;

#ifdef FAULT_NO_GRACE
#define reclaimed retired
#else
#define reclaimed (retired && delaying == 0)
#endif

/* VARIANT_REFUSE_PINNED: what is merged, zero and queued is as dead, because nobody is left who could raise the count. */
#ifdef VARIANT_REFUSE_PINNED
#define try_may_refuse true
#else
#define try_may_refuse !queued
#endif

/* VARIANT_TAKE_BACK_QUEUED: to take back from a queued object is right, too, as long as the pin stays. */
#ifdef VARIANT_TAKE_BACK_QUEUED
#define may_take_back (count > 0)
#else
#define may_take_back (count > 0 && !queued)
#endif

#define queue_empty (!in_queue && others == 0)

inline touch() {
  assert(!reclaimed) /* [grace.memory] */
}

inline enter(me) { inside = inside | me }

inline leave(me) {
  inside = inside & (15 - me);
  delaying = delaying & (15 - me)
}

/* The attached owner writes its word. */
inline write_bias() {
  assert(state == ATTACHED); /* [bias.exclusive] */
  assert(!bias_busy)         /* [bias.exclusive] */
}

/* The destroyer was told by the step that made the count zero. Weak references are cleared first, the memory is retired
 * last, and from there on it waits for those who are inside an operation at that moment. */
inline destroy() {
  atomic {
    assert(destroyed == 0);                       /* [ref.once] */
    assert(holders == 0);                         /* [ref.once] */
    assert(merged && !owned && local_count == 0); /* [ref.merged] */
    touch();
    destroyed++;
    weak = false;
    delaying = inside;
    retired = true
  }
}

/* ---- the queue ---- */

/* Merges one entry. The caller is the attached owner or has claimed it. Between the load of local and the merging step
 * the local count is in the drainer's hands only. */
inline drain_one() {
  if
  :: in_queue ->
     atomic {
       in_queue = false;
       assert(!bias_busy);               /* [bias.exclusive] */
       assert(queued && destroyed == 0); /* [ref.pinned] */
       touch();
       bias_busy = true;
       moved = local_count
     };
#ifndef FAULT_LATE_ZERO
     atomic {
       owned = false;
       local_count = 0;
       bias_busy = false
     };
#endif
     atomic {
       touch();
       merged = true;
       count = count + moved;
       queued = false;
       last = (count == 0);
       moved = 0;
       assert(count >= 0) /* [ref.sum] */
     };
#ifdef FAULT_LATE_ZERO
     atomic {
       owned = false;
       local_count = 0;
       bias_busy = false
     };
#endif
     if
     :: last -> last = false; destroy()
     :: else
     fi
  :: others > 0 -> others--
  :: else
  fi
}

inline drain_all() {
  do
  :: !queue_empty -> drain_one()
  :: else -> break
  od
}

/* Merging on behalf of a sleeper. Every edge back to DETACHED is followed by a look at the queue, unless the owner has
 * said that it is coming: then it looks. */
inline claim() {
  do
  :: !queue_empty ->
     if
#ifdef FAULT_CLAIM_WHEN_ATTACHED
     :: atomic { state != CLAIMED && !wanted -> state = CLAIMED }
#else
     :: atomic { state == DETACHED && !wanted -> state = CLAIMED }
#endif
     :: else -> break
     fi;
     drain_one();
     atomic {
       state = DETACHED;
       leave_to_owner = wanted
     };
#ifdef FAULT_NO_LOOK_AFTER_UNCLAIM
     leave_to_owner = true;
#endif
     if
     :: leave_to_owner -> leave_to_owner = false; break
     :: else
     fi
  :: else -> break
  od
}

/* After a push: the state tells who will look at the queue. For CLAIMED and WANTED it is whoever leaves that state. */
inline tell_owner() {
  atomic {
    owner_is_up = (state == ATTACHED);
    owner_sleeps = (state == DETACHED && !wanted)
  };
  if
  :: owner_is_up -> owner_is_up = false; merge_raised = true
  :: owner_sleeps -> owner_sleeps = false; claim()
  :: else
  fi
}

/* ---- counting by strangers, and by the owner once the object is merged ---- */

inline retain() {
  atomic {
    assert(destroyed == 0); /* [ref.once] */
    touch();
    count++;
    holders++
  }
}

/* One fetch-and-subtract, and for whoever crosses zero a second step, without a reference, on the grace period alone. The
 * owner's id was loaded before (it only ever goes to zero, so the model may load it in the same step): afterwards a merge
 * may have zeroed it. Whoever finds it zeroed does not come to push, because the count of an object that is being merged
 * cannot cross zero before MERGED or QUEUED is seen. */
inline release(me) {
  atomic {
    assert(destroyed == 0); /* [ref.once] */
    touch();
    owner_known = owned;
    holders--;
    crossed = (!merged && count == 0);
    count--;
#ifdef FAULT_NO_PIN
    last = (merged && count == 0);
#else
    last = (merged && !queued && count == 0);
#endif
    if
    :: crossed -> enter(me)
    :: else
    fi
  };
  if
  :: last -> last = false; destroy()
  :: crossed ->
     atomic {
       touch();
       crossed = false;
#ifdef FAULT_QUEUE_BLINDLY
       push_it = true;
#else
       push_it = (!merged && !queued);
#endif
       if
       :: push_it -> queued = true
       :: else
       fi;
       leave(me)
     };
     if
     :: push_it ->
        push_it = false;
        atomic {
#ifdef FAULT_OWNER_READ_LATE
          owner_known = owned;
#endif
          assert(owner_known); /* [queue.known] */
          assert(!in_queue);   /* [ref.pinned] */
          in_queue = true
        };
        tell_owner()
     :: else
     fi
  :: else
  fi;
  owner_known = false
}

/* Fails exactly on (MERGED, 0, not QUEUED). */
inline try_retain(me) {
#ifdef FAULT_TRY_CHECK_THEN_ADD
  got = !(merged && count == 0 && !queued);
#endif
  atomic {
#ifndef FAULT_TRY_CHECK_THEN_ADD
    got = !(merged && count == 0 && try_may_refuse);
#endif
    if
    :: got ->
       assert(destroyed == 0); /* [ref.once] */
       assert(!refused);       /* [ref.final] */
       touch();
       count++;
       holders++
    :: else -> touch(); refused = true
    fi;
    leave(me)
  }
}

/* ---- counting by the owner ---- */

/* The last local count either takes back what strangers have counted, or merges: owner zeroed first, then MERGED. */
inline owner_release() {
  if
  :: owned && local_count > 1 ->
     atomic {
       write_bias();
       touch();
       local_count--;
       holders--
     }
  :: owned && local_count == 1 ->
     if
#ifdef FAULT_TAKE_BACK_UNPINS
     :: atomic { count > 0 -> touch(); moved = count; count = 0; queued = false };
#else
     :: atomic { may_take_back -> touch(); moved = count; count = 0 };
#endif
        atomic {
          write_bias();
          local_count = moved;
          moved = 0;
          holders--
        }
     :: true ->
        atomic {
          write_bias();
          touch();
#ifndef FAULT_LATE_ZERO
          owned = false;
#endif
          local_count = 0;
          holders--
        };
        atomic {
          touch();
          merged = true;
          last = (count == 0 && !queued);
          assert(count >= 0) /* [ref.sum] */
        };
#ifdef FAULT_LATE_ZERO
        owned = false;
#endif
        if
        :: last -> last = false; destroy()
        :: else
        fi
     fi
  :: !owned -> release(OWNER)
  fi
}

/* The owner's try_retain. With a local count the object cannot be dead, even where the sum is zero: only the drain, which
 * the owner itself keeps out, can merge it. */
inline owner_try_retain() {
  if
  :: owned && local_count >= 1 ->
     atomic {
       write_bias();
       touch();
       assert(destroyed == 0); /* [ref.once] */
       assert(!refused);       /* [ref.final] */
       local_count++;
       holders++;
       got = true;
       leave(OWNER)
     }
  :: else -> try_retain(OWNER)
  fi
}

/* ---- the owner's states ---- */

inline detach() {
  drain_all();
  state = DETACHED;
#ifndef FAULT_NO_LOOK_AFTER_DETACH
  do
  :: !queue_empty ->
     if
     :: atomic { state == DETACHED -> state = ATTACHED };
        drain_all();
        state = DETACHED
     :: else -> break /* claimed: the claimer looks again */
     fi
  :: else -> break
  od
#endif
}

inline attach() {
  do
  :: atomic { state == DETACHED -> state = ATTACHED; wanted = false; break }
  :: atomic { state == CLAIMED && !wanted -> wanted = true }
  od;
#ifndef FAULT_NO_LOOK_AFTER_ATTACH
  if
  :: !queue_empty -> merge_raised = true
  :: else
  fi
#endif
}

/* The owner ends detached for good, or attached and polling until there is nothing that it was told to do. */
proctype owner() {
  bool crossed, last, push_it, owner_known, got, leave_to_owner, owner_is_up, owner_sleeps;
  byte moved;
  byte sleeps = 0, upgrades = 0, spills = 0;
  bool mine = true;
  do
  :: mine -> mine = false; owner_release()
  :: handed_back > 0 -> handed_back--; owner_release()
  :: atomic { upgrades < OWNER_UPGRADES && weak -> upgrades++; enter(OWNER) };
     owner_try_retain();
     if
     :: got -> got = false; owner_release()
     :: else
     fi
  :: atomic { spills < SPILLS && owned && local_count > 1 -> spills++; touch(); count = count + local_count / 2 };
     atomic { write_bias(); local_count = local_count - local_count / 2 }
  :: merge_raised -> merge_raised = false; drain_all()
  :: sleeps < SLEEPS -> sleeps++; detach(); attach()
  :: atomic { !mine && handed_back == 0 -> listening = false }; detach(); break
  :: atomic { !mine && handed_back == 0 && !merge_raised && finished == STRANGERS + 1 -> break }
  od;
  finished++
}

proctype stranger(byte me) {
  bool crossed, last, push_it, owner_known, leave_to_owner, owner_is_up, owner_sleeps;
  byte moved;
  byte held = 1, retains = 0, pushes = 0;
  do
  :: held > 0 && retains < RETAINS -> retains++; retain(); held++
  :: held > 0 -> held--; release(me)
  :: atomic { held > 0 && listening -> held--; handed_back++ }
  :: atomic { pushes < OTHERS -> pushes++; others++ }; tell_owner()
  :: held == 0 -> break
  od;
  finished++
}

proctype upgrader() {
  bool crossed, last, push_it, owner_known, got, leave_to_owner, owner_is_up, owner_sleeps;
  byte moved;
  byte upgrades = 0;
  do
  :: atomic { upgrades < UPGRADES && weak -> upgrades++; enter(UPGRADER) };
     try_retain(UPGRADER);
     if
     :: got -> got = false; release(UPGRADER)
     :: else
     fi
  :: break
  od;
  finished++
}

init {
  atomic {
    run owner();
    run stranger(STRANGER_0);
    run stranger(STRANGER_1);
    run upgrader()
  };
  /* The owner's last word is either that it is detached, or that it is attached and was told of nothing to do. */
  atomic {
    (finished == STRANGERS + 2) ->
    assert(queue_empty);    /* [queue.drained] */
    assert(destroyed == 1)  /* [ref.once] */
  }
}
