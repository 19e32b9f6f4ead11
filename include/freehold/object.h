/* SPDX-License-Identifier: MIT */
/* Objects: the header, counting, fields.
 *
 * The first member of an object's struct is its header, `fh_object`. An object is *private* while only the mutator that
 * made it can reach it, and *published* once any thread may. Its count is *biased*: the mutator that made it (its
 * *owner*) counts in one word without atomic instructions, everybody else in another.
 *
 *   true count = local + count(shared)                                                              [ref.sum]
 *
 * Nothing here is a safepoint. */
#ifndef FREEHOLD_OBJECT_H
#define FREEHOLD_OBJECT_H

#include <freehold/runtime.h>
#include <freehold/type.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The header, 16 bytes. Its members are the runtime's; a program never touches them.
 *
 * slot    index of the object's entry in the collector's chunks; 0: not tracked. Written by the owner while private, with
 *         the world stopped, or by whoever brought the count to zero.
 * type    index in the type table. Written once, at birth.
 * lock    one-byte mutex (lock.h).
 * flags   FINALIZED and others. Written by the owner while private, afterwards atomically or with the world stopped.
 * bias    the owner's word: owner's id (16 bits), candidate mark (1 bit), local count less one (15 bits). Written by the owner,
 *         or by who claimed the owner, or with the world stopped; read by anybody, with acquire.
 * shared  everybody else's count (25 bits, signed) above 7 state bits, of which PRIVATE goes with publication. Atomic once
 *         the object is published. */
typedef struct fh_object {
  uint32_t fh__slot;
  uint16_t fh__type;
  uint8_t fh__lock;
  uint8_t fh__flags;
  uint32_t fh__bias;
  uint32_t fh__shared;
} fh_object;

/* The bias word. Its lowest 15 bits hold the owner's references less one: an owned object has at least one. The mark stands
 * right above, and is set in every newborn and in every thread's stamp, so `bias ^ stamp` of the owner's own marked object is
 * that number; and one unsigned comparison of the new value tests the owner, the mark, overflow and the last reference. */
#define FH__BIAS_LOCAL_MAX 0x7fffu
#define FH__BIAS_MARK 0x8000u
#define FH__BIAS_OWNER_SHIFT 16
#define FH__BIAS_IMMORTAL 0x0000ffffu /* owner nobody, all bits below set: the inline paths return at once */

FH_API FH__DIRECT void fh__retain_slow(fh_object *object);
FH_API FH__DIRECT void fh__release_slow(fh_object *object);

/* The probability keeps the immortal case in line, right behind the owner's (docs/refcount.md, "Immortal"). */
static inline void fh__retain(fh_object *object) {
  uint32_t bias = __atomic_load_n(&object->fh__bias, __ATOMIC_RELAXED) + 1;
  if (__builtin_expect_with_probability((bias ^ fh__tls.stamp) < FH__BIAS_LOCAL_MAX, 1, 0.8))
    __atomic_store_n(&object->fh__bias, bias, __ATOMIC_RELAXED);
  else if (__builtin_expect(bias != FH__BIAS_IMMORTAL + 1, 0))
    fh__retain_slow(object);
}

static inline void fh__release(fh_object *object) {
  uint32_t bias = __atomic_load_n(&object->fh__bias, __ATOMIC_RELAXED) - 1;
  if (__builtin_expect_with_probability((bias ^ fh__tls.stamp) < FH__BIAS_LOCAL_MAX, 1, 0.8))
    __atomic_store_n(&object->fh__bias, bias, __ATOMIC_RELAXED);
  else if (__builtin_expect(bias != FH__BIAS_IMMORTAL - 1, 0))
    fh__release_slow(object);
}

/* ---- making ---- */

/* Makes an object of a type without items.
 *
 * Shape:   a registered type.
 * Owns:    returns an owned reference to a zeroed, private object; NULL if there is no memory, and then nothing changed.
 * Threads: an attached thread, which becomes the owner.
 * Runs:    no application code, no safepoint; may ask for a collection at the next one.
 * Errors:  NULL. Traps: not attached; a type that is not registered (checked builds).
 * Source:  docs/heap.md. */
FH_API FH_MUST_USE void *fh_new(fh_type *type);

/* Makes an object with `count` items behind its fixed part, and sets the member at count_at.
 *
 * Shape:   a type with item_size; size + count * item_size must be below 2^47, or the result is NULL.
 * Owns:    as fh_new.
 * Threads: as fh_new.
 * Runs:    as fh_new.
 * Errors:  NULL. Traps: the type has no items (checked builds).
 * Source:  docs/heap.md. */
FH_API FH_MUST_USE void *fh_new_items(fh_type *type, size_t count);

/* The type of an object.
 *
 * Shape:   not NULL.
 * Owns:    borrowed: lives as long as the runtime or until fh_type_unregister.
 * Threads: whoever may read the object.
 * Runs:    nothing.
 * Errors:  none.
 * Source:  docs/architecture.md, "Types". */
FH_API fh_type *fh_type_of(const void *object);

/* ---- counting ---- */

/* Takes one more reference: T *fh_retain(T *).
 *
 * Shape:   not NULL; the caller owns, or borrows under a guard, a reference.
 * Owns:    returns the same pointer, owned.
 * Threads: an attached thread. The owner pays no atomic instruction, a stranger one, an immortal object no write.
 * Runs:    nothing.
 * Errors:  none: it cannot fail; a count that would overflow makes the object immortal and says so in fh_stats. Traps: a
 *          private object of another thread, not attached; a freed object (checked builds).
 * Source:  docs/refcount.md. */
#define FH__RETAIN(object, id)                                 \
  (__extension__({                                             \
    __typeof__(object) FH__JOIN(fh__retained_, id) = (object); \
    fh__retain((fh_object *)FH__JOIN(fh__retained_, id));      \
    FH__JOIN(fh__retained_, id);                               \
  }))
#define fh_retain(object) FH__RETAIN(object, __COUNTER__)

/* Gives up one reference; with the last one the object dies.
 *
 * Shape:   not NULL.
 * Owns:    takes the caller's reference.
 * Threads: an attached thread; costs as fh_retain. If the owner is detached, merges in its place.
 * Runs:    dealloc of everything that dies, iteratively, with bounded stack. Finalizers wait for this thread's next
 *          safepoint. Never blocks on application code, is no safepoint.
 * Errors:  Traps: not attached; a private object of another thread; more releases than references, a freed object
 *          (checked builds).
 * Source:  docs/refcount.md. */
static inline void fh_release(void *object) { fh__release((fh_object *)object); }

/* Releases what a variable or a cell holds, if anything, and sets it to NULL. `cell` is the address of a pointer.
 *
 * Shape:   not NULL; the pointer in it may be. For variables of the caller, not for fields of shared objects.
 * Owns:    takes the reference in the cell.
 * Threads: as fh_release.
 * Runs:    as fh_release.
 * Errors:  as fh_release.
 * Source:  docs/refcount.md. */
static inline void fh_drop(void *cell) {
  void *object;
  __builtin_memcpy(&object, cell, sizeof object);
  if (!object) return;
  void *none = NULL;
  __builtin_memcpy(cell, &none, sizeof none);
  fh_release(object);
}

/* FH_AUTO T *v = ...;  releases v at the end of its block, if it is not NULL then. */
#define FH_AUTO __attribute__((cleanup(fh_drop), unused))

/* FH_MOVE(v) hands out the reference in v and sets v to NULL: return FH_MOVE(v); */
#define FH__MOVE(v, id)                            \
  (__extension__({                                 \
    __typeof__(v) FH__JOIN(fh__moved_, id) = (v);  \
    (v) = NULL;                                    \
    FH__JOIN(fh__moved_, id);                      \
  }))
#define FH_MOVE(v) FH__MOVE(v, __COUNTER__)

/* Gives up one reference from anywhere: a thread that never attached, a blocking region, a signal-free callback.
 *
 * Shape:   not NULL; published.
 * Owns:    takes the caller's reference.
 * Threads: any thread, attached or not.
 * Runs:    nothing; the release happens at a later safepoint of some mutator. Allocates 16 bytes; if there are none, it
 *          yields and tries again, because the reference must not be lost.
 * Errors:  Traps: a private object; the runtime does not run (checked builds).
 * Source:  docs/refcount.md, "Later". */
FH_API void fh_release_later(void *object);

/* Takes a reference to a published object that the caller does not own but saw since its last safepoint, if it still
 * lives. A caller then looks again where it found the pointer, and gives the reference back if that has changed.
 *
 * Shape:   not NULL; read from a place that kept it alive at some moment since the caller's last safepoint.
 * Owns:    true: the caller owns one reference.
 * Threads: an attached thread; lock-free.
 * Runs:    nothing.
 * Errors:  false: it is dead.
 * Source:  docs/refcount.md, "Reading without owning". */
FH_API bool fh_try_retain(void *object);

/* True if the caller's reference is certainly the only one, and no other can appear while the caller does nothing.
 *
 * Shape:   not NULL; the caller owns a reference.
 * Owns:    nothing.
 * Threads: an attached thread.
 * Runs:    nothing.
 * Errors:  false may also mean "cannot tell without a merge", and is said of published objects that readers may look at
 *          without a count (FH_GRACE; FH_IMMUTABLE without references).
 * Source:  docs/refcount.md, "Unique". */
FH_API bool fh_is_unique(const void *object);

/* True if any thread may reach the object.
 *
 * Shape:   not NULL.
 * Owns:    nothing.
 * Threads: whoever may reach the object; once true it stays true.
 * Runs:    nothing.
 * Errors:  none.
 * Source:  docs/refcount.md, "Publication". */
FH_API bool fh_is_published(const void *object);

/* The true count, for diagnosis.
 *
 * Shape:   not NULL. Exact for the owner's private objects and while nobody else counts; immortal objects say UINT64_MAX.
 * Owns:    nothing.
 * Threads: whoever owns or borrows a reference.
 * Runs:    nothing.
 * Errors:  none. Not for decisions: fh_is_unique is.
 * Source:  docs/refcount.md, "Unique". */
FH_API uint64_t fh_refcount(const void *object);

/* Publishes an object and all that it reaches: from now on any thread may reach them. Stores into published objects and
 * slots do it by themselves; call it before handing a pointer over by other means (a queue of the host).
 *
 * Shape:   not NULL. Each object is published once in its life.
 * Owns:    nothing.
 * Threads: the owner, for a private object; anybody for a published one (nothing happens).
 * Runs:    no application code but `traverse`. Never fails, needs no memory.
 * Errors:  Traps: a private object of another thread.
 * Source:  docs/refcount.md, "Publication". */
FH_API void fh_publish(void *object);

/* Makes an object live until the runtime ends: retain and release no longer write to it. Publishes it.
 *
 * Shape:   not NULL; the caller owns or borrows a reference.
 * Owns:    nothing; existing references may still be released, or not.
 * Threads: the owner if it is private, else anybody.
 * Runs:    as fh_publish.
 * Errors:  as fh_publish.
 * Source:  docs/refcount.md, "Immortal". */
FH_API void fh_make_immortal(void *object);

/* ---- fields ----
 *
 * A field of a private object is its owner's. A field of a published object is for whoever holds its guard: FH_CRITICAL
 * (lock.h) or a lock of the host. A field of an immutable object may be read by anybody.
 *
 * Calls on the same field:    get   set/give/take/clear
 *   get                        -           X                    X: needs the guard; -: needs nothing
 *   set/give/take/clear        X           X */

/* Store into a cell of `holder`: a field, or a cell in a buffer that it owns and shows in `traverse`.
 * set retains `value` (may be NULL), give consumes the caller's reference, take returns the cell's (owned) and leaves NULL.
 *
 * Shape:   holder not NULL; `cell` is the address of a reference that the holder's type declares.
 * Owns:    as said; the old value of set and give is released last.
 * Threads: who may write the field (above). If the holder is published, a private `value` is published first.
 * Runs:    as fh_release (the old value's dealloc). Never fails.
 * Errors:  Traps: a private holder of another thread; FH_LOCKED type without the lock (checked builds).
 * Source:  docs/refcount.md, "Fields". */
FH_API void fh_field_set(void *holder, void *cell, void *value);
FH_API void fh_field_give(void *holder, void *cell, void *value);
FH_API void *fh_field_take(void *holder, void *cell);

/* In line: an empty field of a private object that is marked (as its owner's stamp is) takes a reference; set, only to another object of
 * the same owner. Everything else goes out of line, also if stamps are withheld. */
#define FH__PRIVATE_BIT 0x40u
static inline bool fh__field_is_free(const fh_object *holder, const void *cell) {
  void *old; /* read by nobody else */
  if (!__builtin_expect((__atomic_load_n(&holder->fh__bias, __ATOMIC_RELAXED) ^ fh__tls.stamp) <= FH__BIAS_LOCAL_MAX, 1) ||
      !__builtin_expect(__atomic_load_n(&holder->fh__shared, __ATOMIC_RELAXED) & FH__PRIVATE_BIT, 1))
    return false;
  __builtin_memcpy(&old, cell, sizeof old);
  return __builtin_expect(!old, 1) != 0;
}
static inline void fh__field_give(void *holder, void *cell, void *value) {
  if (fh__field_is_free((const fh_object *)holder, cell))
    __builtin_memcpy(cell, &value, sizeof value);
  else
    fh_field_give(holder, cell, value);
}
/* The owner's count of the value grows by one, and stays below its most. */
static inline bool fh__field_fill(const void *holder, void *cell, void *value) {
  fh_object *object = (fh_object *)value;
  if (!object) return false;
  uint32_t bias = __atomic_load_n(&object->fh__bias, __ATOMIC_RELAXED) + 1;
  if (!__builtin_expect((bias ^ fh__tls.stamp) < FH__BIAS_LOCAL_MAX, 1)) return false;
  if (!fh__field_is_free((const fh_object *)holder, cell)) return false;
  __atomic_store_n(&object->fh__bias, bias, __ATOMIC_RELAXED);
  __builtin_memcpy(cell, &value, sizeof value);
  return true;
}
static inline void fh__field_set(void *holder, void *cell, void *value) {
  if (!fh__field_fill(holder, cell, value)) fh_field_set(holder, cell, value);
}

/* fh_get(h, m): the field, borrowed until the guard ends, the field is written, or any safepoint.
 * fh_set(h, m, v), fh_give(h, m, v), fh_take(h, m), fh_clear(h, m): fh_field_* with the member's type checked. */
#define fh_get(h, m) ((h)->m)
#define fh_set(h, m, v) FH__STORE(fh__field_set, h, m, v, __COUNTER__)
#define fh_give(h, m, v) FH__STORE(fh__field_give, h, m, v, __COUNTER__)
#define fh_take(h, m) FH__TAKE(h, m, __COUNTER__)
#define fh_clear(h, m) FH__STORE(fh_field_set, h, m, NULL, __COUNTER__)

#define FH__STORE(store, h, m, v, id)                                                    \
  (__extension__({                                                                       \
    __typeof__(h) FH__JOIN(fh__holder_, id) = (h);                                       \
    __typeof__(FH__JOIN(fh__holder_, id)->m) FH__JOIN(fh__value_, id) = (v);             \
    store(FH__JOIN(fh__holder_, id), &FH__JOIN(fh__holder_, id)->m,                      \
          (void *)FH__JOIN(fh__value_, id));                                             \
  }))
#define FH__TAKE(h, m, id)                                                               \
  (__extension__({                                                                       \
    __typeof__(h) FH__JOIN(fh__holder_, id) = (h);                                       \
    (__typeof__(FH__JOIN(fh__holder_, id)->m))fh_field_take(FH__JOIN(fh__holder_, id),   \
                                                           &FH__JOIN(fh__holder_, id)->m); \
  }))

#ifdef __cplusplus
}
#endif
#endif
