/* SPDX-License-Identifier: MIT */
/* Tracking entries: a stranger's tombstone against the mutator that uses entries again.
 *
 * What it models. A chunk of three entries. Two hold published objects, which two strangers bring to zero and untrack. The
 * chunk's mutator meanwhile makes objects in entries that are free, and the collector moves entries in a stop. The mutator takes
 * tombstones for free only when it collects them, and looks for them only when the chunk is marked.
 *
 *   model                     code
 *   entry                     the entries of a chunk                                               track/track.h
 *   place                     the slot word of each object's header
 *   untrack                   fh__track_remove(), fh__track_forget_remote()                        track/track.c
 *   marked                    the chunk's word `tombs`
 *   collect                   collect_tombs()                                                      track/track.c
 *   make                      fh__track_add(): takes a free entry
 *   move_stopped              a collection that compacts a chunk, with everybody at a safepoint
 *
 * What it leaves out. Memory is sequentially consistent, as Spin's is; the accesses to the mark, and those to tombstones that go
 * with them, are so in the code. A stop is a step that waits until no stranger is
 * between its load of the slot word and its store of the tombstone, because there is no safepoint between the two.
 *
 * Properties.
 *   [track.entry]     slot(object) = i  <=>  entry i = object, for every live object, when all has come to rest; and no
 *                     entry holds a dead one
 *   [track.tombs]     when all has come to rest, a chunk that holds a tombstone is marked
 *   [end]             nobody waits for ever
 *
 * Seeded faults.
 *   FAULT_MOVE_UNSTOPPED        [track.entry]  the mutator moves a published object's entry while others run
 *   FAULT_RECYCLE_DEAD          [track.entry]  an entry is used again once its object is dead, before the tombstone is there
 *   FAULT_MARK_FIRST            [track.tombs]  a stranger looks at the mark before it leaves its tombstone
 *   FAULT_LOOK_FIRST            [track.tombs]  the mutator looks for tombstones before it takes the mark away
 *
 * Sizes.
 *   quick  -DNEWBORNS=2
 *   faults -DNEWBORNS=2
 */

#define ENTRIES 3
#define NOTHING 0
#define TOMB 9

/* Objects 1 and 2 are published, the others are newborns. */
byte entry[ENTRIES];
byte place[5];
bool dead[5];
byte untracking = 0; /* strangers between the load of the slot word and the tombstone */
bool marked = false;
byte finished = 0;

/* A stranger has brought object n to zero. */
proctype stranger(byte n) {
  byte at;
  bool seen;
  dead[n] = true;
  atomic {
    untracking++;
    at = place[n]
  };
#ifdef FAULT_MARK_FIRST
  seen = marked;
  entry[at] = TOMB;
#else
  entry[at] = TOMB;
  seen = marked;
#endif
  if
  :: !seen -> marked = true
  :: else
  fi;
  atomic {
    untracking--;
    finished++
  }
}

#ifdef FAULT_RECYCLE_DEAD
#define is_free(e) (entry[e] == NOTHING || (entry[e] != TOMB && dead[entry[e]]))
#else
#define is_free(e) (entry[e] == NOTHING)
#endif

inline take_tomb(e) {
  atomic {
    if
    :: entry[e] == TOMB -> entry[e] = NOTHING
    :: else
    fi
  }
}

inline collect() {
#ifndef FAULT_LOOK_FIRST
  marked = false;
#endif
  take_tomb(0);
  take_tomb(1);
  take_tomb(2);
#ifdef FAULT_LOOK_FIRST
  marked = false
#endif
}

#define pick_free(e) \
  if \
  :: is_free(0) -> e = 0 \
  :: is_free(1) -> e = 1 \
  :: is_free(2) -> e = 2 \
  fi

/* Only the chunk's mutator fills entries, so what it found free stays free. */
inline make(n) {
  atomic { pick_free(to) };
  entry[to] = n;
  place[n] = to
}

inline move_stopped(n) {
  atomic {
    untracking == 0 ->
    if
    :: entry[place[n]] == n ->
       pick_free(to);
       entry[place[n]] = NOTHING;
       entry[to] = n;
       place[n] = to
    :: else
    fi
  }
}

inline move_unstopped(n) {
  from = place[n];
  if
  :: entry[from] == n ->
     atomic { pick_free(to) };
     entry[to] = n;
     place[n] = to;
     entry[from] = NOTHING
  :: else
  fi
}

proctype mutator() {
  byte to, from;
  byte made = 0, moves = 0;
  do
  :: made < NEWBORNS && (is_free(0) || is_free(1) || is_free(2)) -> made++; make(2 + made)
#ifdef FAULT_MOVE_UNSTOPPED
  :: moves < 1 && (is_free(0) || is_free(1) || is_free(2)) -> moves++; move_unstopped(1)
#else
  :: moves < 1 && (is_free(0) || is_free(1) || is_free(2)) -> moves++; move_stopped(1)
#endif
  :: marked -> collect()
  :: made == NEWBORNS -> break
  od;
  finished++
}

#define tracked(n) (entry[place[n]] == n)
#define tombs (entry[0] == TOMB || entry[1] == TOMB || entry[2] == TOMB)
#define holds_no(n) (entry[0] != n && entry[1] != n && entry[2] != n)

init {
  atomic {
    entry[0] = 1;
    place[1] = 0;
    entry[1] = 2;
    place[2] = 1;
    run mutator();
    run stranger(1);
    run stranger(2)
  };
  atomic {
    finished == 3 ->
    assert(tracked(3) && tracked(4));    /* [track.entry] */
    assert(holds_no(1) && holds_no(2));  /* [track.entry] */
    assert(!tombs || marked)             /* [track.tombs] */
  }
}
