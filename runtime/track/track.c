/* SPDX-License-Identifier: MIT */
#include "track/track.h"

#include <string.h>
#include <sys/mman.h>

#include "base/trap.h"
#include "memory/backend.h"

struct fh__track_shared fh__track = {.lock = FH__MUTEX(FH__RANK_TRACK), .due = UINT64_MAX};

struct fh__chunk fh__no_chunk = {.base = FH__NO_CHUNK_BASE, .bump = FH__CHUNK_ENTRIES, .next = &fh__no_chunk};

const char *const fh__generation_name[FH__GENERATIONS] = {"young", "middle", "old"};

void fh__track_init(struct fh__track_local *track, uint32_t owner) {
  track->owner = owner;
  track->current = &fh__no_chunk;
  track->aged = NULL;
}

/* ---- scratch ---- */

void *fh__track_reserve(size_t bytes) {
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? NULL : memory;
}

void fh__track_unreserve(void *memory, size_t bytes) {
  if (memory) munmap(memory, bytes);
}

static void free_scratch(struct fh__scratch *scratch) {
  fh__track_unreserve(scratch->refs, scratch->entries * sizeof *scratch->refs);
  fh__track_unreserve(scratch->stack, scratch->entries * sizeof *scratch->stack);
  *scratch = (struct fh__scratch){.refs = NULL};
}

/* Nobody uses it: whoever makes a chunk runs, so the world is not stopped. Doubles, so that chunks come cheaply. */
static bool grow_scratch_locked(uint32_t chunks) {
  size_t entries = (size_t)chunks * FH__CHUNK_ENTRIES;
  struct fh__scratch *old = &fh__track.scratch, grown = {.entries = old->entries ? old->entries : 16 * FH__CHUNK_ENTRIES};
  if (entries <= old->entries) return true;
  while (grown.entries < entries) grown.entries *= 2;
  grown.refs = fh__track_reserve(grown.entries * sizeof *grown.refs);
  grown.stack = fh__track_reserve(grown.entries * sizeof *grown.stack);
  if (!grown.refs || !grown.stack) {
    free_scratch(&grown);
    return false;
  }
  free_scratch(old);
  *old = grown;
  return true;
}

/* ---- the directory ---- */

static uint32_t free_number_locked(void) {
  while (fh__track.vacant < fh__track.limit && fh__track_chunk(fh__track.vacant)) fh__track.vacant++;
  return fh__track.vacant;
}

/* Numbers are dense, lowest first: the collector's side arrays are indexed by slot. */
static bool register_chunk_locked(struct fh__chunk *chunk) {
  uint32_t number = free_number_locked();
  if (number / FH__TRACK_PAGE >= FH__TRACK_PAGES || !grow_scratch_locked(number + 1)) return false;
  struct fh__track_page *page = fh__track.page[number / FH__TRACK_PAGE];
  if (!page) {
    page = fh__backend_alloc_zeroed(sizeof *page);
    if (!page) return false;
    FH__STORE_(&fh__track.page[number / FH__TRACK_PAGE], page, RELEASE); /* partner: fh__track_chunk */
  }
  chunk->base = number * FH__CHUNK_ENTRIES;
  fh__track.generation[number] = FH__YOUNG;
  FH__STORE_(&page->chunk[number % FH__TRACK_PAGE], chunk, RELEASE); /* partner: fh__track_chunk */
  if (number == fh__track.limit) FH__STORE_(&fh__track.limit, number + 1, RELAXED);
  return true;
}

static struct fh__chunk *make_chunk(struct fh__track_local *track) {
  struct fh__chunk *chunk = fh__backend_alloc_zeroed(sizeof *chunk);
  if (!chunk) return NULL;
  chunk->owner = track->owner;
  fh__mutex_lock(&fh__track.lock);
  bool registered = register_chunk_locked(chunk);
  fh__mutex_unlock(&fh__track.lock);
  if (!registered) {
    fh__backend_free(chunk);
    return NULL;
  }
  if (chunk->base == 0) chunk->entries[0] = FH__TRACK_NOBODY;
  fh__chunk_reset(chunk);
  return chunk;
}

/* ---- opening a chunk for newborns ---- */

/* Takes the tombstones that strangers left into the free list. Only the chunk's mutator, or in a stopped world. */
static void collect_tombs(struct fh__chunk *chunk) {
  if (!FH__LOAD(&chunk->tombs, RELAXED)) return; /* a tombstone that has no mark yet is taken at another turn */
  FH__STORE_(&chunk->tombs, 0, SEQ_CST); /* first: what is left from now on marks it again [track.tombs] */
  for (uint32_t at = 0; at < chunk->bump; at++)
    if (FH__LOAD(&chunk->entries[at], SEQ_CST) == FH__TRACK_TOMB) fh__track_recycle(chunk, at); /* [track.recycle] */
}

/* How many entries newborns can have. */
static uint32_t room_in(const struct fh__chunk *chunk) { return FH__CHUNK_ENTRIES - chunk->bump + chunk->holes; }

/* Looks at the two oldest chunks of the ring for one with room. Two, so that opening stays cheap whatever the heap's size; the
 * ring turns, so every chunk's turn comes. */
static struct fh__chunk *find_reusable(struct fh__track_local *track) {
  struct fh__chunk *current = track->current;
  for (int i = 0; current != &fh__no_chunk && i < 2; i++) {
    struct fh__chunk *oldest = current->next;
    collect_tombs(oldest);
    if (room_in(oldest) >= FH__CHUNK_REUSE) return oldest;
    current = oldest; /* the ring turns: this one is now the newest */
    track->current = oldest;
  }
  return NULL;
}

static struct fh__chunk *open_chunk(struct fh__track_local *track) {
  struct fh__chunk *chunk = find_reusable(track);
  if (chunk) return chunk;
  chunk = make_chunk(track);
  if (!chunk) return NULL;
  chunk->next = chunk;
  if (track->current != &fh__no_chunk) {
    chunk->next = track->current->next;
    track->current->next = chunk;
  }
  return chunk;
}

FH__COLD bool fh__track_add_slow(struct fh__track_local *track, fh_object *object, bool *due_out) {
  struct fh__chunk *before = track->current;
  struct fh__chunk *chunk = open_chunk(track);
  if (!chunk) {
    track->current = before;
    return false;
  }
  track->current = chunk;
  uint64_t entries = room_in(chunk);
  /* Relaxed: a trigger, ordered with nothing. It counts entries, not objects that survived. */
  uint64_t opened = FH__ADD(&fh__track.opened, entries, RELAXED) + entries;
  *due_out = opened >= FH__LOAD(&fh__track.due, RELAXED);
  return fh__track_add(track, object);
}

FH__COLD void fh__track_forget_remote(struct fh__chunk *chunk, uint32_t slot) {
  /* The index is not used after this; partner: who reads the tombstone [track.recycle]. */
  FH__STORE_(&chunk->entries[slot - chunk->base], (uint64_t)FH__TRACK_TOMB, SEQ_CST);
  /* Afterwards; partner: collect_tombs [track.tombs]. */
  if (!FH__LOAD(&chunk->tombs, SEQ_CST)) FH__STORE_(&chunk->tombs, 1, SEQ_CST);
}

/* ---- in a stopped world ---- */

static void drop_chunk(struct fh__chunk *chunk) {
  uint32_t number = chunk->base / FH__CHUNK_ENTRIES;
  FH__STORE_(&fh__track.page[number / FH__TRACK_PAGE]->chunk[number % FH__TRACK_PAGE], NULL, RELAXED);
  if (number < fh__track.vacant) fh__track.vacant = number;
  fh__backend_free(chunk);
}

static void lower_limit(void) {
  uint32_t limit = fh__track.limit;
  while (limit && !fh__track_chunk(limit - 1)) limit--;
  FH__STORE_(&fh__track.limit, limit, RELAXED);
}

static void set_generation(const struct fh__chunk *chunk, uint32_t generation) {
  fh__track.generation[chunk->base / FH__CHUNK_ENTRIES] = (uint8_t)generation;
}

/* Moves a chunk up, after a collection of `generation`; returns how many objects became old by that. Only an old collection settles what
 * it sees: what becomes old by another one is there to be looked at. */
static uint64_t age_chunk(const struct fh__chunk *chunk, uint32_t generation, uint32_t to) {
  bool becomes_old = to == FH__OLD && fh__chunk_generation(chunk) != FH__OLD;
  set_generation(chunk, to);
  if (generation < FH__OLD) fh__track_touch(chunk->base);
  return becomes_old ? fh__chunk_survivors(chunk) : 0;
}

/* A chunk of which little is left takes newborns again, and its survivors are young once more: else chunks would stay for the sake of
 * a few objects that outlive the others. */
static bool rejuvenates(const struct fh__track_local *track, const struct fh__chunk *chunk, uint32_t generation) {
  uint32_t few = generation == FH__OLD ? FH__CHUNK_ENTRIES / 4 : 1;
  return fh__chunk_survivors(chunk) < few && track->current != &fh__no_chunk;
}

static void rejuvenate(struct fh__track_local *track, struct fh__chunk *chunk) {
  set_generation(chunk, FH__YOUNG);
  chunk->next = track->current->next; /* the oldest of the ring: looked at next */
  track->current->next = chunk;
}

/* Nothing is in it, nor will anybody ask for what was: garbage that waits to be finished may. */
static bool is_empty(const struct fh__chunk *chunk) { return chunk->live == 0 || fh__chunk_is_unused(chunk); }

static uint64_t age_aged(struct fh__track_local *track, uint32_t generation, uint32_t to) {
  uint64_t became_old = 0;
  struct fh__chunk **link = &track->aged, *chunk;
  while ((chunk = *link)) {
    bool collected = fh__chunk_generation(chunk) <= generation;
    bool stays = !collected || (!is_empty(chunk) && !rejuvenates(track, chunk, generation));
    if (stays) {
      if (collected) became_old += age_chunk(chunk, generation, to);
      link = &chunk->next;
      continue;
    }
    *link = chunk->next;
    if (is_empty(chunk))
      drop_chunk(chunk);
    else
      rejuvenate(track, chunk);
  }
  return became_old;
}

/* A chunk of the ring in which nothing lives on: the next newborns want as many as the last ones used. What was not used since the
 * last collection is too many. */
static bool stays_for_newborns(const struct fh__chunk *chunk, uint32_t *keep) {
  bool waits = !is_empty(chunk), used = chunk->live != 0 || !fh__chunk_is_unused(chunk);
  if (waits) return true;
  if (!used || *keep == 0) return false;
  --*keep;
  return true;
}

static uint64_t age_young(struct fh__track_local *track, uint32_t generation, uint32_t to, uint32_t keep) {
  uint64_t became_old = 0;
  struct fh__chunk *before = track->current, *chunk;
  while ((chunk = before->next) != track->current) {
    bool survives = fh__chunk_survivors(chunk) != 0;
    if (!survives && stays_for_newborns(chunk, &keep)) {
      if (is_empty(chunk)) fh__chunk_reset(chunk);
      before = chunk;
      continue;
    }
    before->next = chunk->next;
    if (survives) {
      became_old += age_chunk(chunk, generation, to);
      chunk->next = track->aged;
      track->aged = chunk;
    } else {
      drop_chunk(chunk);
    }
  }
  return became_old;
}

uint64_t fh__track_age_stopped(struct fh__track_local *track, uint32_t generation, uint32_t to, uint32_t keep) {
  uint64_t became_old = age_young(track, generation, to, keep); /* first: some of the aged ones join the ring */
  if (generation > FH__YOUNG) became_old += age_aged(track, generation, to);
  lower_limit();
  return became_old;
}

/* ---- frozen chunks ---- */

static struct fh__chunk *take_from_ring(struct fh__track_local *track) {
  struct fh__chunk *last = track->current, *chunk = last->next;
  if (chunk == &fh__no_chunk) return NULL;
  last->next = chunk->next;
  if (chunk == last) track->current = &fh__no_chunk;
  return chunk;
}

void fh__track_freeze_stopped(struct fh__track_local *track) {
  struct fh__chunk *chunk;
  while ((chunk = take_from_ring(track))) {
    chunk->next = track->aged;
    track->aged = chunk;
  }
  for (chunk = track->aged; chunk; chunk = chunk->next) {
    fh__track.frozen += fh__chunk_generation(chunk) != FH__FROZEN;
    set_generation(chunk, FH__FROZEN);
  }
}

static uint64_t count_objects(const struct fh__chunk *chunk) {
  uint64_t count = 0;
  for (uint32_t at = 0; at < chunk->bump; at++) count += fh__entry_is_object(FH__LOAD(&chunk->entries[at], RELAXED));
  return count;
}

uint64_t fh__track_unfreeze_stopped(struct fh__track_local *track) {
  uint64_t count = 0;
  for (struct fh__chunk *chunk = track->aged; chunk; chunk = chunk->next) {
    if (fh__chunk_generation(chunk) != FH__FROZEN) continue;
    fh__track.frozen--;
    set_generation(chunk, FH__OLD);
    chunk->live = (uint32_t)count_objects(chunk); /* no collection has counted them */
    chunk->garbage = 0;
    count += chunk->live;
  }
  return count;
}

uint64_t fh__track_count_frozen(void) {
  uint64_t count = 0;
  for (uint32_t number = 0; number < FH__LOAD(&fh__track.limit, RELAXED); number++) {
    const struct fh__chunk *chunk = fh__track_chunk(number); /* before its generation, which a new chunk is given first */
    if (chunk && fh__chunk_generation(chunk) == FH__FROZEN) count += count_objects(chunk);
  }
  return count;
}

/* ---- the end ---- */

/* What still lives when the runtime ends has leaked; its memory goes, without any of the application's code. */
static void free_leaked(const struct fh__chunk *chunk) {
  for (uint32_t at = 0; at < chunk->bump; at++)
    if (fh__entry_is_object(chunk->entries[at])) fh__backend_free(fh__entry_object(chunk->entries[at]));
}

static void finish_chunk(struct fh__chunk *chunk) {
  free_leaked(chunk);
  drop_chunk(chunk);
}

void fh__track_finish(struct fh__track_local *track) {
  struct fh__chunk *chunk;
  while ((chunk = track->aged)) {
    track->aged = chunk->next;
    finish_chunk(chunk);
  }
  chunk = track->current;
  while (chunk != &fh__no_chunk) {
    struct fh__chunk *next = chunk->next;
    finish_chunk(chunk);
    chunk = next == track->current ? &fh__no_chunk : next;
  }
  track->current = &fh__no_chunk;
}

void fh__track_finish_shared(void) {
  for (int i = 0; i < FH__TRACK_PAGES; i++) {
    fh__backend_free(fh__track.page[i]);
    fh__track.page[i] = NULL;
  }
  fh__track.limit = fh__track.vacant = 0;
  free_scratch(&fh__track.scratch);
  fh__track.opened = 0;
  fh__track.frozen = 0;
  fh__track.due = UINT64_MAX;
}
