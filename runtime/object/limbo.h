/* SPDX-License-Identifier: MIT */
/* Limbo: memory that a lock-free reader may still look at, waiting for a grace period. Two batches a mutator: the open one
 * takes what dies, the sealed one waits for its stamp. When the sealed one is ripe, it is freed and the open one is sealed;
 * so everything waits for at most two grace periods, and nothing here needs memory: dead objects and retired buffers are
 * linked through themselves.
 *
 * Written by the mutator, by who has claimed it, or in a stopped world. `stamp` is read by others, as a hint. */
#ifndef FH_OBJECT_LIMBO_H
#define FH_OBJECT_LIMBO_H

#include "object/dead.h"
#include "object/type.h"

struct fh__limbo_batch {
  struct fh__dead_list objects;
  void *buffers;
  size_t bytes;
  size_t dead;    /* of them, what only the account still counts: all but FH_GRACE objects, which live on until it is ripe */
  uint64_t stamp; /* the grace period that makes it ripe; 0: not sealed */
};

struct fh__limbo_local {
  struct fh__limbo_batch open;
  struct fh__limbo_batch sealed;
  size_t bytes;   /* both; relaxed for readers of statistics */
  size_t dead;    /* both */
  uint64_t asked_ns;    /* when the sealed one's grace period was asked for; for the watchdog */
  uint64_t reported_ns; /* how long that had lasted when it was reported last */
  size_t look_at; /* bytes in the open batch at which its mutator looks after the sealed one again */
};

/* True each time that another `step` bytes have come in: then the mutator looks whether it can seal or free. A wake-up for a
 * ripe batch may be lost while mutators come and go; this look bounds what that costs. */
static inline bool fh__limbo_wants_a_look(struct fh__limbo_local *limbo, size_t step) {
  if (!limbo->look_at) limbo->look_at = step;
  if (FH__LIKELY(limbo->open.bytes < limbo->look_at)) return false;
  limbo->look_at = limbo->open.bytes + step;
  return true;
}

static inline void fh__limbo_count(struct fh__limbo_local *limbo, size_t bytes, size_t dead) {
  limbo->open.bytes += bytes;
  limbo->open.dead += dead;
  FH__BUMP(&limbo->bytes, bytes);
  FH__BUMP(&limbo->dead, dead);
}

/* `dead` is 0 for an object that still has to be destroyed, else `bytes`. */
static inline void fh__limbo_add_object(struct fh__limbo_local *limbo, fh_object *object, size_t bytes, size_t dead) {
  fh__dead_push(&limbo->open.objects, object);
  fh__limbo_count(limbo, bytes, dead);
}

static inline void fh__limbo_add_buffer(struct fh__limbo_local *limbo, void *buffer, size_t bytes) {
  *fh__buffer_link(buffer) = limbo->open.buffers;
  limbo->open.buffers = buffer;
  fh__limbo_count(limbo, bytes, bytes);
}

static inline bool fh__limbo_batch_is_empty(const struct fh__limbo_batch *batch) {
  return !batch->objects.first && !batch->buffers;
}

static inline bool fh__limbo_is_empty(const struct fh__limbo_local *limbo) {
  return fh__limbo_batch_is_empty(&limbo->open) && fh__limbo_batch_is_empty(&limbo->sealed);
}

/* The open batch becomes the sealed one, which must be empty. */
static inline void fh__limbo_seal(struct fh__limbo_local *limbo, uint64_t stamp) {
  struct fh__limbo_batch sealed = limbo->open;
  limbo->open = (struct fh__limbo_batch){0};
  limbo->sealed.objects = sealed.objects;
  limbo->sealed.buffers = sealed.buffers;
  limbo->sealed.bytes = sealed.bytes;
  limbo->sealed.dead = sealed.dead;
  FH__STORE_(&limbo->sealed.stamp, stamp, RELAXED);
  limbo->look_at = 0;
}

/* Takes the sealed batch out, for freeing. */
static inline struct fh__limbo_batch fh__limbo_take_sealed(struct fh__limbo_local *limbo) {
  struct fh__limbo_batch batch = limbo->sealed;
  limbo->sealed.objects.first = NULL;
  limbo->sealed.buffers = NULL;
  limbo->sealed.bytes = limbo->sealed.dead = 0;
  FH__STORE_(&limbo->sealed.stamp, 0, RELAXED);
  FH__BUMP(&limbo->bytes, -batch.bytes);
  FH__BUMP(&limbo->dead, -batch.dead);
  return batch;
}

#endif
