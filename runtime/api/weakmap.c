/* SPDX-License-Identifier: MIT */
/* The public side of weak maps and sets: their types, the checks, publication, and the calls of the application's functions. What
 * they do is in ref/weakmap.c. */
#include "api/weak.h"
#include "base/trap.h"
#include "ref/publish.h"
#include "ref/weakmap.h"

/* ---- types ---- */

enum kind { KEYS, VALUES, SET, KINDS };

static const fh_type_spec specs[KINDS] = {
    [KEYS] = {.name = "fh_weak_keys",
              .size = sizeof(struct fh_weak_keys),
              .flags = FH_PUBLISHED,
              .traverse = fh__weakmap_traverse,
              .dealloc = fh__weakmap_dealloc},
    [VALUES] = {.name = "fh_weak_values", .size = sizeof(struct fh_weak_values), .flags = FH_PUBLISHED | FH_ACYCLIC, .dealloc = fh__weakmap_dealloc},
    [SET] = {.name = "fh_weak_set", .size = sizeof(struct fh_weak_set), .flags = FH_PUBLISHED | FH_ACYCLIC, .dealloc = fh__weakmap_dealloc},
};

static fh_type *types[KINDS]; /* atomic: of the runtime that runs; registered by the first of each kind */

static fh_type *map_type(enum kind kind) {
  fh_type *type = FH__LOAD(&types[kind], ACQUIRE); /* partner: the release below */
  if (FH__LIKELY(type != NULL) && FH__LIKELY(fh__types[type->index] == type)) return type; /* not unregistered */
  if (fh__type_register(&specs[kind], &type)) return NULL;
  if (kind == KEYS) FH__STORE_(&type->ephemerons, fh__weakmap_ephemerons, RELAXED); /* before there is an instance */
  FH__STORE_(&types[kind], type, RELEASE); /* whoever comes at the same time stores the same */
  return type;
}

void fh__weakmap_forget_types(void) {
  for (enum kind kind = 0; kind < KINDS; kind++) FH__STORE_(&types[kind], NULL, RELAXED);
}

static void *make(const char *call, enum kind kind) {
  (void)fh__self_or_trap(call, NULL);
  fh_type *type = map_type(kind);
  struct fh__weakmap *map = type ? fh_new(type) : NULL;
  if (map) fh__weakmap_init(map);
  return map;
}

fh_weak_keys *fh_weak_keys_new(void) { return make("fh_weak_keys_new", KEYS); }
fh_weak_values *fh_weak_values_new(void) { return make("fh_weak_values_new", VALUES); }
fh_weak_set *fh_weak_set_new(void) { return make("fh_weak_set_new", SET); }

/* ---- checks ---- */

static struct fh__mutator *enter(const char *call, enum kind kind, struct fh__weakmap *map) {
  struct fh__mutator *me = fh__self_or_trap(call, map);
  if (FH__CHECKED) {
    fh__check_object(call, map);
    if (fh__type_of(&map->head.fh)->spec != &specs[kind]) fh__misuse(call, map, "it is of another type");
  }
  return me;
}

static void publish(struct fh__mutator *me, const char *call, fh_object *object) {
  if (FH__CHECKED) fh__check_object(call, object);
  fh__publish(me, object, call);
}

/* Calls `each` for the items of a moment. */
typedef void visit_function(void *each, void *context, const struct fh__weakmap_item *item);

static fh_status visit_all(struct fh__mutator *me, struct fh__weakmap *map, visit_function *visit, void *each, void *context) {
  struct fh__weakmap_snapshot *snapshot = fh__weakmap_look(me, map);
  if (!snapshot) return FH_ENOMEM;
  for (size_t i = 0; i < snapshot->count; i++)
    if (!snapshot->item[i].lost) visit(each, context, &snapshot->item[i]);
  fh__weakmap_forget(snapshot);
  return FH_OK;
}

/* ---- weak keys ---- */

fh_status fh_weak_keys_set(fh_weak_keys *keys, void *key, void *value) {
  struct fh__mutator *me = enter("fh_weak_keys_set", KEYS, &keys->map);
  if (!fh__weak_is_allowed("fh_weak_keys_set", key)) return FH_EINVAL;
  publish(me, "fh_weak_keys_set", key);
  publish(me, "fh_weak_keys_set", value);
  return fh__weakmap_set(&keys->map, key, value);
}

void *fh_weak_keys_get(fh_weak_keys *keys, const void *key) {
  (void)enter("fh_weak_keys_get", KEYS, &keys->map);
  return fh__weakmap_value_of(&keys->map, key);
}

void *fh_weak_keys_take(fh_weak_keys *keys, const void *key) {
  (void)enter("fh_weak_keys_take", KEYS, &keys->map);
  fh_object *value = NULL;
  return fh__weakmap_take(&keys->map, key, &value) ? value : NULL;
}

size_t fh_weak_keys_count(const fh_weak_keys *keys) { return fh__weakmap_count(&keys->map); }

void fh_weak_keys_clear(fh_weak_keys *keys) { fh__weakmap_clear(enter("fh_weak_keys_clear", KEYS, &keys->map), &keys->map); }

struct pair_call {
  void (*each)(void *context, void *key, void *value);
};
static void visit_pair(void *each, void *context, const struct fh__weakmap_item *item) {
  ((struct pair_call *)each)->each(context, item->object, item->value);
}

fh_status fh_weak_keys_each(fh_weak_keys *keys, void (*each)(void *context, void *key, void *value), void *context) {
  struct pair_call call = {each};
  return visit_all(enter("fh_weak_keys_each", KEYS, &keys->map), &keys->map, visit_pair, &call, context);
}

/* ---- weak values ---- */

/* What is there afterwards, owned. */
static void *put(const char *call, fh_weak_values *values, struct fh__weakmap_key key, void *value, bool keep) {
  struct fh__mutator *me = enter(call, VALUES, &values->map);
  if (!fh__weak_is_allowed(call, value)) return NULL;
  publish(me, call, value);
  return fh__weakmap_put(me, &values->map, key, value, keep);
}

fh_status fh_weak_values_set(fh_weak_values *values, const void *key, size_t size, void *value) {
  void *there = put("fh_weak_values_set", values, (struct fh__weakmap_key){key, size}, value, false);
  if (!there) return fh__type_of(value)->flags & FH_NO_WEAK ? FH_EINVAL : FH_ENOMEM;
  fh_release(there);
  return FH_OK;
}

void *fh_weak_values_set_default(fh_weak_values *values, const void *key, size_t size, void *value) {
  return put("fh_weak_values_set_default", values, (struct fh__weakmap_key){key, size}, value, true);
}

void *fh_weak_values_get(fh_weak_values *values, const void *key, size_t size) {
  struct fh__mutator *me = enter("fh_weak_values_get", VALUES, &values->map);
  return fh__weakmap_find(me, &values->map, (struct fh__weakmap_key){key, size});
}

bool fh_weak_values_remove(fh_weak_values *values, const void *key, size_t size) {
  (void)enter("fh_weak_values_remove", VALUES, &values->map);
  return fh__weakmap_remove(&values->map, (struct fh__weakmap_key){key, size});
}

size_t fh_weak_values_count(const fh_weak_values *values) { return fh__weakmap_count(&values->map); }

void fh_weak_values_clear(fh_weak_values *values) {
  fh__weakmap_clear(enter("fh_weak_values_clear", VALUES, &values->map), &values->map);
}

struct bytes_call {
  void (*each)(void *context, const void *key, size_t size, void *value);
};
static void visit_bytes(void *each, void *context, const struct fh__weakmap_item *item) {
  ((struct bytes_call *)each)->each(context, item->bytes, item->size, item->object);
}

fh_status fh_weak_values_each(fh_weak_values *values, void (*each)(void *context, const void *key, size_t size, void *value),
                              void *context) {
  struct bytes_call call = {each};
  return visit_all(enter("fh_weak_values_each", VALUES, &values->map), &values->map, visit_bytes, &call, context);
}

/* ---- weak sets ---- */

fh_status fh_weak_set_add(fh_weak_set *set, void *object) {
  struct fh__mutator *me = enter("fh_weak_set_add", SET, &set->map);
  if (!fh__weak_is_allowed("fh_weak_set_add", object)) return FH_EINVAL;
  publish(me, "fh_weak_set_add", object);
  return fh__weakmap_add(&set->map, object);
}

bool fh_weak_set_contains(fh_weak_set *set, const void *object) {
  (void)enter("fh_weak_set_contains", SET, &set->map);
  return fh__weakmap_has(&set->map, object);
}

bool fh_weak_set_remove(fh_weak_set *set, const void *object) {
  (void)enter("fh_weak_set_remove", SET, &set->map);
  fh_object *value = NULL;
  return fh__weakmap_take(&set->map, object, &value);
}

size_t fh_weak_set_count(const fh_weak_set *set) { return fh__weakmap_count(&set->map); }

void fh_weak_set_clear(fh_weak_set *set) { fh__weakmap_clear(enter("fh_weak_set_clear", SET, &set->map), &set->map); }

struct object_call {
  void (*each)(void *context, void *object);
};
static void visit_object(void *each, void *context, const struct fh__weakmap_item *item) {
  ((struct object_call *)each)->each(context, item->object);
}

fh_status fh_weak_set_each(fh_weak_set *set, void (*each)(void *context, void *object), void *context) {
  struct object_call call = {each};
  return visit_all(enter("fh_weak_set_each", SET, &set->map), &set->map, visit_object, &call, context);
}
