/* SPDX-License-Identifier: MIT */
/* All mutators by id, and the unbound ones, which a new thread adopts. Mutators are never freed while the runtime runs, so
 * an id found in an object's bias word always leads to a mutator. */
#ifndef FH_SYNC_REGISTRY_H
#define FH_SYNC_REGISTRY_H

#include "object/header.h"
#include "sync/mutex.h"
#include "sync/state.h"

struct fh__registry {
  struct fh__mutex lock;
  uint32_t count;     /* atomic: ids 1..count are there */
  uint32_t bound;     /* atomic: threads that are attached or in blocking regions */
  uint32_t holds;     /* reasons why it must not be closed, other than bound threads; registry's lock */
  bool alive;         /* false: the mutators are gone, or not there yet; registry's lock */
  bool open;          /* false: nobody may be bound but by the shutdown */
  uint32_t free_head; /* id of the first unbound mutator, 0: none */
  uint64_t adoptions; /* atomic */
  struct fh__sync_local *table[FH__MUTATORS_MAX + 1];
};

extern struct fh__registry fh__registry;

/* Binds an unbound mutator, or returns NULL: there is none, or the registry is closed. */
struct fh__sync_local *fh__registry_adopt(void);
/* Adds a new mutator, bound. The caller holds the stop lock: nobody is born into a stop. */
typedef enum fh__registry_answer { FH__REGISTRY_FITS, FH__REGISTRY_FULL, FH__REGISTRY_CLOSED } fh__registry_answer;
fh__registry_answer fh__registry_add(struct fh__sync_local *sync);
/* Holding keeps it from being closed. False: it is closed; nobody holds. */
bool fh__registry_hold(void);
bool fh__registry_unhold(void);
/* Opens it at init; closes it at shutdown, if nobody is bound or holds. From then on no thread can come in. */
void fh__registry_set_open(void);
bool fh__registry_close(void);
/* After closing: binds the unbound mutator `id`. */
struct fh__sync_local *fh__registry_adopt_closed(uint32_t id);
/* The mutator, already DETACHED, loses its thread. */
void fh__registry_unbind_locked(struct fh__sync_local *sync); /* the lock is held */
void fh__registry_unbind(struct fh__sync_local *sync);

static inline uint32_t fh__registry_count(void) { return FH__LOAD(&fh__registry.count, SEQ_CST); } /* partner: add */
static inline struct fh__sync_local *fh__registry_get(uint32_t id) { return fh__registry.table[id]; }

/* for (FH__EACH_MUTATOR(sync)) { ... } */
#define FH__EACH_MUTATOR(sync)                                                                         \
  struct { uint32_t id, count; } fh__i = {1, fh__registry_count()};   \
  fh__i.id <= fh__i.count && ((sync) = fh__registry.table[fh__i.id], 1);                               \
  fh__i.id++

#endif
