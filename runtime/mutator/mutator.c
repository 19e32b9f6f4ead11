/* SPDX-License-Identifier: MIT */
#include "mutator/mutator.h"

#include <string.h>

#include "base/trap.h"
#include "sync/stop.h"

enum { POISON = 0xdb };

struct fh__mutator fh__nobody = {
    .sync = {.attention = FH__ATTEND_NEVER, .state = FH__DETACHED, .id = FH__NOBODY},
    .stamp = FH__NOBODY_STAMP};

__thread struct fh__tls fh__tls FH__TLS_MODEL = {FH__NOBODY_STAMP, 0, &fh__nobody.sync.attention};
__thread struct fh__thread fh__thread FH__TLS_MODEL;

struct fh__shared fh__shared;

/* ---- life ---- */

struct fh__mutator *fh__mutator_create(void) {
  struct fh__mutator *mutator = fh__backend_alloc_zeroed(sizeof *mutator);
  if (mutator) fh__track_init(&mutator->track, 0);
  return mutator;
}

void fh__mutator_born(struct fh__mutator *mutator) {
  /* biased: each owns what it makes. gil: all own everything, in turn. atomic: nobody owns anything. */
  mutator->stamp = fh__stamp_of(fh__design_is(FH_DESIGN_GIL) ? FH__GIL_OWNER : mutator->sync.id);
  mutator->birth_stamp = fh__design_is(FH_DESIGN_ATOMIC) ? FH__BIAS_MARK : mutator->stamp;
  mutator->track.owner = mutator->sync.id;
}

void fh__mutator_destroy(struct fh__mutator *mutator) {
  fh__pool_trim(&mutator->pool, 0);
  fh__quarantine_flush(mutator);
  fh__backend_free(mutator->quarantine);
  fh__producer_finish(&mutator->producer);
  fh__census_finish(&mutator->census);
  fh__track_finish(&mutator->track);
  fh__backend_free(mutator);
}

/* ---- moves ---- */

void fh__mutator_lock_stop(struct fh__mutator *me, void (*merge)(struct fh__mutator *)) {
  if (fh__mutex_try_lock(&fh__stop.lock)) return;
  me->returning = true;
  fh__mutator_go_offline(me, merge);
  fh__stop_arrive(&me->sync);
  fh__mutex_lock(&fh__stop.lock);
  /* Only the holder of the stop lock can stop this mutator, so nothing but a claim can delay it now. */
  fh__mutator_go_online(me);
  me->returning = false;
}

int64_t fh__mutator_count_live(const fh_type *type) {
  int64_t live = FH__LOAD(&type->stray, RELAXED);
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) live += fh__census_read(&fh__mutator_of(sync)->census, type->index);
  return live;
}

/* ---- memory of destroyed objects ---- */

void fh__mutator_free_block(struct fh__mutator *me, void *block, size_t bytes) {
  if (!FH__CHECKED) {
    fh__backend_free(block);
    return;
  }
  if (!me->quarantine) me->quarantine = fh__backend_alloc_zeroed(sizeof *me->quarantine);
  memset(block, POISON, bytes);
  if (!me->quarantine) {
    fh__backend_free(block);
    return;
  }
  void **place = &me->quarantine->block[me->quarantine->at++ % FH__QUARANTINE];
  fh__backend_free(*place);
  *place = block;
}

void fh__quarantine_flush(struct fh__mutator *me) {
  if (!me->quarantine) return;
  for (int i = 0; i < FH__QUARANTINE; i++) {
    fh__backend_free(me->quarantine->block[i]);
    me->quarantine->block[i] = NULL;
  }
}

void fh__mutator_tidy(struct fh__mutator *me) {
  fh__pool_trim(&me->pool, 0);
  fh__backend_tidy();
}

/* ---- contracts ---- */

static bool looks_freed(const fh_object *object) {
  return object->fh__type == (uint16_t)(POISON << 8 | POISON) || fh__has_flag(object, FH__FLAG_DEAD);
}

static const char *type_name_of(const fh_object *object) {
  if (looks_freed(object)) return "a freed object";
  fh_type *type = fh__types[object->fh__type];
  return type ? type->name : "not an object";
}

static struct fh__name mutator_name(uint32_t id) {
  if (id == 0) return (struct fh__name){"nobody (merged or immortal)"};
  if (id == FH__NOBODY) return (struct fh__name){"(not attached)"};
  if (id > fh__registry_count()) return (struct fh__name){"?"};
  struct fh__name name = fh__state_name_of(fh__registry_get(id));
  return name.text[0] ? name : (struct fh__name){"unnamed"};
}

void fh__misuse(const char *call, const void *address, const char *what) {
  const fh_object *object = address;
  struct fh__mutator *me = fh__self();
  if (!object)
    fh__trap("freehold: %s: %s\n  thread: mutator %u \"%s\"", call, what, me->sync.id, mutator_name(me->sync.id).text);
  uint32_t owner = fh__owner_of(FH__LOAD(&object->fh__bias, RELAXED));
  uint32_t shared = FH__LOAD(&object->fh__shared, RELAXED);
  fh__trap("freehold: %s: %s\n  object: %p, type: %s, %s\n  owner: mutator %u \"%s\"; local %u, shared %d, state bits 0x%x\n"
           "  thread: mutator %u \"%s\"",
           call, what, address, type_name_of(object), fh__is_published(object) ? "published" : "private", owner,
           mutator_name(owner).text, fh__local_of(FH__LOAD(&object->fh__bias, RELAXED)), fh__count_of(shared), shared & FH__STATE_BITS,
           me->sync.id, mutator_name(me->sync.id).text);
}

void fh__check_object(const char *call, const void *address) {
  const fh_object *object = address;
  if (!object) fh__misuse(call, NULL, "the object is NULL");
  if ((uintptr_t)object & 15) fh__trap("freehold: %s: %p is not the address of an object", call, address);
  if (looks_freed(object)) fh__misuse(call, object, "use of a freed object");
  if (!object->fh__type || !fh__types[object->fh__type]) fh__misuse(call, object, "this is not an object");
}
