/* SPDX-License-Identifier: MIT */
/* Types: what the runtime must know of a struct to count, trace and destroy it. */
#ifndef FREEHOLD_TYPE_H
#define FREEHOLD_TYPE_H

#include <freehold/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fh_type fh_type;

/* One reference, or an array of them, inside a struct. Made by FH_FIELD and FH_SLOT, ended by FH_END. */
typedef struct fh_ref {
  uint32_t offset;
  uint16_t kind;
  uint16_t count;
} fh_ref;

enum { FH__REF_END = 0, FH__REF_FIELD = 1, FH__REF_SLOT = 2 };

/* A field (guarded by whoever guards the object) or an array of fields; `m` is a pointer, or an array of pointers. */
#define FH_FIELD(S, m) \
  { (uint32_t)offsetof(S, m), FH__REF_FIELD, (uint16_t)(sizeof(((S *)0)->m) / sizeof(void *)) }
/* A slot (atomic, slot.h) or an array of slots; `m` is an fh_slot, or an array of them. */
#define FH_SLOT(S, m) \
  { (uint32_t)offsetof(S, m), FH__REF_SLOT, (uint16_t)(sizeof(((S *)0)->m) / sizeof(void *)) }
#define FH_END \
  { 0, FH__REF_END, 0 }

/* Walks an object's cells: what `traverse` is handed. */
typedef struct fh_visitor fh_visitor;
struct fh_visitor {
  void (*visit)(fh_visitor *visitor, void *cell);
};

/* Shows one cell to the visitor. `cell` is the ADDRESS of a reference (not the reference): the runtime may clear it. */
static inline void fh_visit(fh_visitor *visitor, void *cell) { visitor->visit(visitor, cell); }

enum {
  FH_ACYCLIC = 1u << 0,   /* instances never take part in a cycle: not tracked, never collected, freed by count alone */
  FH_IMMUTABLE = 1u << 1, /* fields are written before publication only */
  FH_GRACE = 1u << 2,     /* a published instance is cleared and deallocated only after a grace period */
  FH_PUBLISHED = 1u << 3, /* instances are published from birth */
  FH_NO_WEAK = 1u << 4,   /* no weak references to instances */
  FH_LOCKED = 1u << 5     /* checked builds: fields of published instances are written under the object's lock only */
};

/* What a type is. Zeroed fields mean "none".
 *
 * | field      | meaning                                                                                                  |
 * |------------|----------------------------------------------------------------------------------------------------------|
 * | name       | for messages and statistics; required                                                                    |
 * | size       | sizeof the struct, header included; 16..2^30                                                             |
 * | item_size  | size of one item of a variable tail that begins at `size`; 0: no tail                                    |
 * | count_at   | offset of a size_t member that fh_new_items sets to the number of items; required with item_refs         |
 * | flags      | FH_ACYCLIC ... above                                                                                     |
 * | refs       | the struct's references, ended by FH_END; an array or NULL                                               |
 * | item_refs  | the references in one item, offsets from the item's start                                                |
 * | traverse   | shows the ADDRESS of every further cell (in buffers the object owns), each once. Pure: no Freehold calls |
 * |            | but fh_visit, no locks; may run on any thread while the world is stopped                                 |
 * | finalize   | runs once in an object's life, at a safepoint, fields intact, may resurrect                              |
 * | dealloc    | runs inside the last release, fields already NULL; frees buffers; must not resurrect, block, or reach a  |
 * |            | safepoint                                                                                                |
 * | hash,equal | pure; for containers                                                                                     |
 * | describe   | pure; writes at most n bytes of text, returns the length                                                 | */
typedef struct fh_type_spec {
  const char *name;
  size_t size;
  size_t item_size;
  size_t count_at;
  uint32_t flags;
  const fh_ref *refs;
  const fh_ref *item_refs;
  void (*traverse)(void *object, fh_visitor *visitor);
  void (*finalize)(void *object);
  void (*dealloc)(void *object);
  uint64_t (*hash)(const void *object, uint64_t seed);
  bool (*equal)(const void *a, const void *b);
  size_t (*describe)(const void *object, char *text, size_t n);
} fh_type_spec;

/* Makes a type, or finds the one that the same spec made.
 *
 * Shape:   the same spec is the same address with the same contents.
 * Owns:    the contents are copied; the spec's address is remembered as its identity, so it must not be reused for
 *          another type while the runtime lives. The type belongs to the runtime.
 * Threads: any thread while the runtime runs, any number at once.
 * Runs:    takes the type table's lock; no application code.
 * Errors:  FH_EINVAL: no name, a size or an offset out of range, item_refs without item_size and count_at, a reference
 *          that overlaps the header or another one (a checked build traps with the field's number). FH_EEXIST: a type
 *          was made of this address and its contents changed since (a checked build traps). FH_ELIMIT: 65,535 types.
 *          FH_ENOMEM. FH_ESHUTDOWN.
 * Source:  docs/architecture.md, "Types". */
FH_API FH_MUST_USE fh_status fh_type_register(const fh_type_spec *spec, fh_type **type_out);

/* Removes a type of which no instance lives.
 *
 * Shape:   a type of this runtime.
 * Owns:    on FH_OK the type is gone; its spec may be registered again.
 * Threads: an attached thread; nobody may be making instances of it.
 * Runs:    a safepoint (stops the world to count exactly).
 * Errors:  FH_EBUSY: instances live, or their memory waits for a grace period.
 * Source:  docs/architecture.md, "Types". */
FH_API FH_MUST_USE fh_status fh_type_unregister(fh_type *type);

/* The name from the spec.
 *
 * Shape:   a type of this runtime.
 * Owns:    borrowed while the type lives.
 * Threads: any thread.
 * Runs:    nothing.
 * Errors:  none.
 * Source:  docs/architecture.md, "Types". */
FH_API const char *fh_type_name(const fh_type *type);

/* How many instances live: made and not yet destroyed.
 *
 * Shape:   a type of this runtime. Exact if nobody makes or destroys instances meanwhile.
 * Owns:    nothing.
 * Threads: any thread. Instances are counted per mutator, so nobody contends.
 * Runs:    nothing.
 * Errors:  none.
 * Source:  docs/heap.md, "Accounting". */
FH_API uint64_t fh_type_live(const fh_type *type);

#ifdef __cplusplus
}
#endif
#endif
