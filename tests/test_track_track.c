/* SPDX-License-Identifier: MIT */
/* Tracking chunks.
 *
 * Claims: entry and slot name each other [track.entry]; slot 0 belongs to nobody; an entry that a stranger gave up is used
 * again only after its mutator has read the tombstone [track.recycle]; free entries are counted [track.holes] and tombstones
 * marked [track.tombs]; a producer whose objects die elsewhere opens no more chunks than it has live objects for, and reuses
 * its own; chunks without live objects go in a stop, their numbers are given
 * out again, lowest first; opening counts towards the next collection. Real: the tracking alone; objects are headers. */
#include "support/exhaust.h"

#include <sched.h>
#include <string.h>

#include "track/track.h"

static int finish_track(void **state) {
  fh__track_finish_shared();
  return 0;
}

static fh_object *make(struct fh__track_local *track) {
  fh_object *object = fh__backend_alloc_zeroed(sizeof *object);
  bool due = false;
  require(object);
  if (!fh__track_add(track, object)) require(fh__track_add_slow(track, object, &due));
  return object;
}

static uint64_t entry_of(const fh_object *object) {
  struct fh__chunk *chunk = fh__track_chunk_of(object->fh__slot);
  return chunk->entries[object->fh__slot - chunk->base];
}

static bool is_tracked(const fh_object *object) { /* [track.entry] */
  return object->fh__slot && fh__entry_object(entry_of(object)) == object;
}

static size_t count_chunks(const struct fh__track_local *track) {
  size_t count = 0;
  struct fh__chunk *chunk = track->current;
  if (chunk == &fh__no_chunk) return 0;
  do count++;
  while ((chunk = chunk->next) != track->current);
  for (chunk = track->aged; chunk; chunk = chunk->next) count++;
  return count;
}

static void forget_and_free(struct fh__track_local *track, fh_object *object) {
  fh__track_remove(track, object);
  require(object->fh__slot == 0);
  fh__backend_free(object);
}

/* ---- entries ---- */

static void entry_and_slot_name_each_other(void **state) {
  enum { MANY = 3 * FH__CHUNK_ENTRIES };
  struct fh__track_local track;
  static fh_object *object[MANY];
  fh__track_init(&track, 1);
  assert_int_equal(count_chunks(&track), 0);
  for (int i = 0; i < MANY; i++) object[i] = make(&track);
  for (int i = 0; i < MANY; i++) {
    assert_true(is_tracked(object[i]));
    assert_int_equal(fh__track_chunk_of(object[i]->fh__slot)->owner, 1);
  }
  assert_int_equal(count_chunks(&track), 4); /* entry 0 is nobody's */
  for (int i = 0; i < MANY; i++) forget_and_free(&track, object[i]);
  fh__track_finish(&track);
  assert_int_equal(count_chunks(&track), 0);
}

static void removing_what_is_not_tracked_is_nothing(void **state) {
  struct fh__track_local track;
  fh_object object = {0};
  fh__track_init(&track, 1);
  fh__track_remove(&track, &object);
  assert_int_equal(object.fh__slot, 0);
}

static void the_owner_fills_its_newest_hole_first(void **state) {
  struct fh__track_local track;
  fh_object *object[4];
  fh__track_init(&track, 1);
  for (int i = 0; i < 4; i++) object[i] = make(&track);
  uint32_t first = object[1]->fh__slot, second = object[2]->fh__slot;
  forget_and_free(&track, object[1]);
  forget_and_free(&track, object[2]);
  object[1] = make(&track);
  object[2] = make(&track);
  assert_int_equal(object[1]->fh__slot, second);
  assert_int_equal(object[2]->fh__slot, first);
  for (int i = 0; i < 4; i++) forget_and_free(&track, object[i]);
  fh__track_finish(&track);
}

static void a_strangers_hole_is_not_filled_before_its_tombstone_is_read(void **state) {
  struct fh__track_local owner, stranger;
  fh__track_init(&owner, 1);
  fh__track_init(&stranger, 2);
  fh_object *dead = make(&owner);
  uint32_t slot = dead->fh__slot;
  struct fh__chunk *chunk = fh__track_chunk_of(slot);
  forget_and_free(&stranger, dead);
  assert_int_equal(chunk->entries[slot - chunk->base], FH__TRACK_TOMB);
  assert_int_equal(chunk->free, 0);
  fh_object *next = make(&owner);
  assert_int_not_equal(next->fh__slot, slot); /* [track.recycle] */
  forget_and_free(&owner, next);
  fh__track_finish(&owner);
}

/* At rest [track.holes] [track.tombs]. Returns the tombstones. */
static uint32_t check_chunk(const struct fh__chunk *chunk) {
  uint32_t holes = 0, tombs = 0;
  for (uint32_t next = chunk->free; next; next = (uint32_t)(chunk->entries[next - 1] >> 2)) holes++;
  for (uint32_t at = 0; at < chunk->bump; at++) tombs += chunk->entries[at] == FH__TRACK_TOMB;
  require(chunk->holes == holes);
  require(!tombs || chunk->tombs);
  return tombs;
}

static void holes_are_counted_and_tombstones_marked(void **state) {
  enum { MANY = FH__CHUNK_ENTRIES - 1, HALF = MANY / 2 };
  struct fh__track_local owner, stranger;
  static fh_object *object[MANY + 1];
  bool due = false;
  fh__track_init(&owner, 1);
  fh__track_init(&stranger, 2);
  for (int i = 0; i < MANY; i++) object[i] = make(&owner);
  struct fh__chunk *chunk = owner.current;
  for (int i = 0; i < HALF; i++) forget_and_free(&stranger, object[i]);
  assert_int_equal(check_chunk(chunk), HALF);
  assert_true(chunk->tombs && !chunk->holes);
  object[MANY] = fh__backend_alloc_zeroed(sizeof(fh_object));
  require(!fh__track_add(&owner, object[MANY]) && fh__track_add_slow(&owner, object[MANY], &due));
  assert_int_equal(check_chunk(chunk), 0);
  assert_true(!chunk->tombs && chunk->holes == HALF - 1 && owner.current == chunk);
  for (int i = HALF; i <= MANY; i++) forget_and_free(i & 1 ? &stranger : &owner, object[i]);
  assert_true(check_chunk(chunk) && chunk->tombs);
  assert_int_equal(chunk->holes + check_chunk(chunk), MANY);
  fh__track_finish(&owner);
  fh__track_finish(&stranger);
}

/* ---- chunks ---- */

/* Objects that are made here and die elsewhere, `alive` at a time, oldest first. */
static size_t chunks_after_a_pipeline(size_t alive, size_t turns) {
  struct fh__track_local producer, consumer;
  fh_object **ring = calloc(alive, sizeof *ring);
  fh__track_init(&producer, 1);
  fh__track_init(&consumer, 2);
  for (size_t i = 0; i < turns; i++) {
    if (ring[i % alive]) forget_and_free(&consumer, ring[i % alive]);
    ring[i % alive] = make(&producer);
  }
  size_t chunks = count_chunks(&producer);
  for (size_t i = 0; i < alive; i++) forget_and_free(&consumer, ring[i]);
  free(ring);
  fh__track_finish(&producer);
  fh__track_finish(&consumer);
  fh__track_finish_shared();
  return chunks;
}

static void a_producer_whose_objects_die_elsewhere_does_not_grow(void **state) {
  enum { CHUNK = FH__CHUNK_ENTRIES };
  assert_true(chunks_after_a_pipeline(1, 50 * CHUNK) <= 3);
  assert_true(chunks_after_a_pipeline(CHUNK / 2, 50 * CHUNK) <= 4);
  assert_true(chunks_after_a_pipeline(4 * CHUNK, 50 * CHUNK) <= 12);
}

static void opening_counts_towards_the_next_collection(void **state) {
  struct fh__track_local track;
  fh__track_init(&track, 1);
  fh__track.opened = 0;
  fh__track.due = 2 * FH__CHUNK_ENTRIES;
  static fh_object object[3 * FH__CHUNK_ENTRIES];
  bool due = false;
  size_t opened = 0;
  for (size_t i = 0; i < 3 * FH__CHUNK_ENTRIES; i++) {
    if (fh__track_add(&track, &object[i])) continue;
    due = false;
    assert_true(fh__track_add_slow(&track, &object[i], &due));
    opened += opened ? FH__CHUNK_ENTRIES : FH__CHUNK_ENTRIES - 1;
    assert_int_equal(fh__track.opened, opened);
    assert_int_equal(due, opened >= fh__track.due);
  }
  assert_true(due);
  for (size_t i = 0; i < 3 * FH__CHUNK_ENTRIES; i++) fh__track_remove(&track, &object[i]);
  fh__track_finish(&track);
}

static uint64_t age(struct fh__track_local *track, uint32_t generation) {
  return fh__track_age_stopped(track, generation, generation < FH__OLD ? generation + 1 : FH__OLD, 0);
}

/* What the collector does in a stop: count, then trim. */
static void count_live(struct fh__track_local *track) {
  struct fh__chunk *chunk = track->current;
  do {
    chunk->live = 0;
    for (uint32_t at = 0; at < chunk->bump; at++) chunk->live += fh__entry_is_object(chunk->entries[at]);
  } while ((chunk = chunk->next) != track->current);
  for (chunk = track->aged; chunk; chunk = chunk->next) {
    chunk->live = 0;
    for (uint32_t at = 0; at < chunk->bump; at++) chunk->live += fh__entry_is_object(chunk->entries[at]);
  }
}

/* Chunk 0 has one entry less: slot 0 means "not tracked". */
static void chunks_age_whole(void **state) {
  enum { MANY = 2 * FH__CHUNK_ENTRIES - 1 + 1 }; /* two full chunks, and one object in the current one */
  struct fh__track_local track;
  static fh_object *object[MANY];
  fh__track_init(&track, 1);
  for (int i = 0; i < MANY; i++) object[i] = make(&track);
  count_live(&track);
  assert_true(age(&track, FH__YOUNG) == 0);
  assert_int_equal(fh__track_generation_of(object[0]->fh__slot), FH__MIDDLE);
  assert_int_equal(fh__track_generation_of(object[MANY - 1]->fh__slot), FH__YOUNG); /* newborns go there */
  assert_true(age(&track, FH__YOUNG) == 0); /* a young collection looks at no other */
  assert_int_equal(fh__track_generation_of(object[0]->fh__slot), FH__MIDDLE);
  assert_true(age(&track, FH__MIDDLE) == MANY - 1);
  assert_int_equal(fh__track_generation_of(object[0]->fh__slot), FH__OLD);
  assert_true(age(&track, FH__OLD) == 0); /* old already */
  forget_and_free(&track, object[0]);                       /* a hole in an aged chunk */
  object[0] = make(&track);
  assert_int_equal(fh__track_generation_of(object[0]->fh__slot), FH__YOUNG); /* is not filled */
  for (int i = 0; i < MANY; i++) forget_and_free(&track, object[i]);
  count_live(&track);
  (void)age(&track, FH__MIDDLE);
  assert_int_equal(count_chunks(&track), 3); /* the old ones are not looked at */
  (void)age(&track, FH__OLD);
  assert_int_equal(count_chunks(&track), 1);
  fh__track_finish(&track);
}

static void a_sparse_old_chunk_takes_newborns_again(void **state) {
  enum { FULL = FH__CHUNK_ENTRIES - 1, MANY = FULL + 1 };
  struct fh__track_local track;
  static fh_object *object[MANY];
  fh__track_init(&track, 1);
  for (int i = 0; i < MANY; i++) object[i] = make(&track);
  count_live(&track);
  (void)age(&track, FH__OLD);
  assert_int_equal(fh__track_generation_of(object[0]->fh__slot), FH__OLD);
  for (int i = 1; i < FULL; i++) forget_and_free(&track, object[i]); /* one is left */
  count_live(&track);
  (void)age(&track, FH__MIDDLE);
  assert_int_equal(fh__track_generation_of(object[0]->fh__slot), FH__OLD);
  (void)age(&track, FH__OLD);
  assert_int_equal(fh__track_generation_of(object[0]->fh__slot), FH__YOUNG);
  assert_true(is_tracked(object[0]));
  for (int i = 1; i < MANY - 1; i++) object[i] = make(&track); /* the current chunk's rest, and then its holes */
  assert_int_equal(count_chunks(&track), 2);
  for (int i = 0; i < MANY; i++) forget_and_free(&track, object[i]);
  fh__track_finish(&track);
}

static void empty_chunks_go_and_their_numbers_are_used_again(void **state) {
  enum { CHUNKS = 6, MANY = CHUNKS * FH__CHUNK_ENTRIES - 1 };
  struct fh__track_local track;
  static fh_object *object[MANY];
  fh__track_init(&track, 1);
  (void)age(&track, FH__OLD); /* nothing there: nothing happens */
  for (int i = 0; i < MANY; i++) object[i] = make(&track);
  assert_int_equal(fh__track.limit, CHUNKS);
  for (int i = 0; i < MANY; i++) { /* chunks 1, 2 and 4 become empty */
    uint32_t number = object[i]->fh__slot / FH__CHUNK_ENTRIES;
    if (number != 1 && number != 2 && number != 4) continue;
    forget_and_free(&track, object[i]);
    object[i] = NULL;
  }
  count_live(&track);
  (void)age(&track, FH__OLD);
  assert_int_equal(count_chunks(&track), CHUNKS - 3);
  assert_null(fh__track_chunk(1));
  assert_null(fh__track_chunk(4));
  for (int i = 0; i < MANY; i++)
    if (object[i]) assert_true(is_tracked(object[i]));
  assert_int_equal(fh__track.limit, CHUNKS);
  struct fh__track_local other;
  fh__track_init(&other, 2);
  fh_object *fresh = make(&other);
  assert_int_equal(fresh->fh__slot / FH__CHUNK_ENTRIES, 1); /* the lowest */
  forget_and_free(&other, fresh);
  fh__track_finish(&other);
  for (int i = 0; i < MANY; i++)
    if (object[i]) forget_and_free(&track, object[i]);
  count_live(&track);
  (void)age(&track, FH__OLD);
  assert_int_equal(count_chunks(&track), 1); /* the current one stays */
  assert_int_equal(fh__track.limit, track.current->base / FH__CHUNK_ENTRIES + 1);
  fh__track_finish(&track);
}

static void what_leaked_is_freed_at_the_end(void **state) {
  struct fh__track_local track;
  fh__track_init(&track, 1);
  for (int i = 0; i < 2 * FH__CHUNK_ENTRIES; i++) make(&track); /* a leak, if anything is left of them */
  fh__track_finish(&track);
}

/* ---- no memory ---- */

static void track_without_memory(void) {
  static struct fh__track_local track;
  static struct exhausted exhausted;
  static fh_object *object[FH__CHUNK_ENTRIES];
  fh__track_init(&track, 1);
  fh_object extra = {0};
  bool due = false;
  exhaust_memory(&exhausted);
  require(!fh__track_add(&track, &extra) && !fh__track_add_slow(&track, &extra, &due)); /* not even a first one */
  require(track.current == &fh__no_chunk && fh__track.limit == 0 && !extra.fh__slot);
  refill_memory(&exhausted);
  for (int i = 0; i < FH__CHUNK_ENTRIES - 1; i++) object[i] = make(&track);
  struct fh__chunk *full = track.current;
  exhaust_memory(&exhausted);
  require(!fh__track_add(&track, &extra) && !fh__track_add_slow(&track, &extra, &due));
  require(track.current == full && !due && fh__track.limit == 1 && !extra.fh__slot);
  for (int i = 0; i < FH__CHUNK_REUSE; i++) fh__track_forget_remote(full, object[i]->fh__slot);
  require(fh__track_add_slow(&track, &extra, &due)); /* holes are as good as memory */
  require(is_tracked(&extra) && track.current == full);
  refill_memory(&exhausted);
}

static void without_memory_nothing_changes(void **state) {
  if (!can_exhaust_memory()) skip();
  expect_fine(track_without_memory);
}

/* ---- strangers and the owner at once ---- */

struct pipe {
  fh_object *slot[64]; /* atomic */
  atomic_bool over;
};

static void make_or_bury(int index, void *argument) {
  struct pipe *pipe = argument;
  struct fh__track_local track;
  fh__track_init(&track, (uint32_t)index + 1);
  if (index == 0) {
    for (size_t i = 0; i < scaled(400000); i++) {
      fh_object *object = make(&track);
      require(is_tracked(object));
      fh_object *old = __atomic_exchange_n(&pipe->slot[i % 64], object, __ATOMIC_ACQ_REL);
      if (old) forget_and_free(&track, old);
    }
    atomic_store(&pipe->over, true);
    return;
  }
  for (size_t i = 0; !atomic_load(&pipe->over); i++) {
    fh_object *object = __atomic_exchange_n(&pipe->slot[i % 64], NULL, __ATOMIC_ACQ_REL);
    if (!object) continue;
    require(is_tracked(object)); /* nobody wrote into its entry but its maker */
    forget_and_free(&track, object);
  }
}

static void tombstones_race_with_the_owner(void **state) {
  struct pipe pipe = {.over = false};
  run_bare_threads(3, make_or_bury, &pipe);
  for (int i = 0; i < 64; i++) fh__backend_free(pipe.slot[i]);
  for (uint32_t n = 0; n < fh__track.limit; n++) {
    check_chunk(fh__track_chunk(n));
    fh__backend_free(fh__track_chunk(n));
  }
}

/* Each turn a stranger leaves two tombstones: the first one's mark makes the owner look, the second comes while it looks, or about
 * then. Both are at the chunk's beginning, so most of the look comes after them. */
struct duel {
  struct fh__track_local owner;
  fh_object *first, *second;
  size_t turns;
  atomic_size_t marked, left, looked; /* turns */
};

static void await_turn(atomic_size_t *turns, size_t turn) {
  for (int i = 0; atomic_load(turns) < turn; i++)
    if (i < 1000)
      fh__cpu_pause();
    else
      sched_yield();
}

static fh_object *make_slowly(struct fh__track_local *track) {
  fh_object *object = fh__backend_alloc_zeroed(sizeof *object);
  bool due = false;
  require(object && fh__track_add_slow(track, object, &due));
  return object;
}

static void look_or_leave(int index, void *argument) {
  struct duel *duel = argument;
  struct fh__track_local stranger;
  fh__track_init(&stranger, 2);
  for (size_t turn = 1; turn <= duel->turns; turn++) {
    if (index == 0) {
      await_turn(&duel->marked, turn);
      fh_object *first = make_slowly(&duel->owner);
      await_turn(&duel->left, turn);
      check_chunk(duel->owner.current); /* the second is taken in, or marked */
      duel->first = first;
      duel->second = make_slowly(&duel->owner);
      require(check_chunk(duel->owner.current) == 0);
      atomic_store(&duel->looked, turn);
    } else {
      forget_and_free(&stranger, duel->first);
      atomic_store(&duel->marked, turn);
      for (size_t i = turn % 64; i; i--) fh__cpu_pause();
      forget_and_free(&stranger, duel->second);
      atomic_store(&duel->left, turn);
      await_turn(&duel->looked, turn);
    }
  }
}

static void no_tombstone_is_lost_to_the_mark(void **state) {
  enum { MANY = FH__CHUNK_ENTRIES - 1 };
  struct duel duel = {.turns = scaled(8000)};
  static fh_object *object[MANY];
  fh__track_init(&duel.owner, 1);
  for (int i = 0; i < MANY; i++) object[i] = make(&duel.owner);
  for (int i = 2; i < 2 + FH__CHUNK_REUSE; i++) forget_and_free(&duel.owner, object[i]); /* there is room in it at each look */
  duel.first = object[0];
  duel.second = object[1];
  run_bare_threads(2, look_or_leave, &duel);
  assert_int_equal(count_chunks(&duel.owner), 1);
  fh__track_finish(&duel.owner);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(entry_and_slot_name_each_other, finish_track),
      cmocka_unit_test_teardown(removing_what_is_not_tracked_is_nothing, finish_track),
      cmocka_unit_test_teardown(the_owner_fills_its_newest_hole_first, finish_track),
      cmocka_unit_test_teardown(a_strangers_hole_is_not_filled_before_its_tombstone_is_read, finish_track),
      cmocka_unit_test_teardown(holes_are_counted_and_tombstones_marked, finish_track),
      cmocka_unit_test_teardown(a_producer_whose_objects_die_elsewhere_does_not_grow, finish_track),
      cmocka_unit_test_teardown(opening_counts_towards_the_next_collection, finish_track),
      cmocka_unit_test_teardown(chunks_age_whole, finish_track),
      cmocka_unit_test_teardown(a_sparse_old_chunk_takes_newborns_again, finish_track),
      cmocka_unit_test_teardown(empty_chunks_go_and_their_numbers_are_used_again, finish_track),
      cmocka_unit_test_teardown(what_leaked_is_freed_at_the_end, finish_track),
      cmocka_unit_test_teardown(without_memory_nothing_changes, finish_track),
      cmocka_unit_test_teardown(tombstones_race_with_the_owner, finish_track),
      cmocka_unit_test_teardown(no_tombstone_is_lost_to_the_mark, finish_track),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
