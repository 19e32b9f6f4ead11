/* SPDX-License-Identifier: MIT */
/* Weak maps and sets: their types, the objects, entries, blocks, and the tables, which may not find the memory to grow and then must
 * do without; and the lists of what is there. Deaths need none. */
#include "user.h"

struct link {
  fh_object fh;
  struct link *next;
};
static const fh_ref link_refs[] = {FH_FIELD(struct link, next), FH_END};
static const fh_type_spec link_spec = {.name = "link", .size = sizeof(struct link), .refs = link_refs};

/* Not tracked, before it is a key. */
static const fh_type_spec leaf_spec = {.name = "leaf", .size = sizeof(fh_object)};

enum { NODES = 40, LEAVES = 4 };

static fh_weak_keys *keys;
static fh_weak_values *values;
static fh_weak_set *members;
static struct link *node[NODES];

/* ---- calls that may fail ---- */

enum call { MAKE_KEYS, MAKE_VALUES, MAKE_SET, SET_KEY, SET_VALUE, SET_DEFAULT, ADD, LIST_KEYS, LIST_VALUES, LIST_SET };

static size_t listed;
static void count_pair(void *context, void *key, void *value) { listed += !context && key == value; }
static void count_bytes(void *context, const void *key, size_t size, void *value) {
  listed += !context && size == sizeof(uint32_t) && key && value;
}
static void count_member(void *context, void *object) { listed += !context && object; }

static fh_status make(void *map) { return map ? FH_OK : FH_ENOMEM; }

static fh_status give_default(uint32_t word, struct link *value) {
  struct link *there = fh_weak_values_set_default(values, &word, sizeof word, value);
  if (!there) return FH_ENOMEM;
  demand(there == value);
  fh_release(there);
  return FH_OK;
}

static fh_status call_once(enum call call, unsigned i) {
  uint32_t word = i;
  switch (call) {
    case MAKE_KEYS: return make(keys = fh_weak_keys_new());
    case MAKE_VALUES: return make(values = fh_weak_values_new());
    case MAKE_SET: return make(members = fh_weak_set_new());
    case SET_KEY: return fh_weak_keys_set(keys, node[i], node[i]);
    case SET_VALUE: return fh_weak_values_set(values, &word, sizeof word, node[i]);
    case SET_DEFAULT: return give_default(word, node[i]);
    case ADD: return fh_weak_set_add(members, node[i]);
    case LIST_KEYS: return fh_weak_keys_each(keys, count_pair, NULL);
    case LIST_VALUES: return fh_weak_values_each(values, count_bytes, NULL);
    default: return fh_weak_set_each(members, count_member, NULL);
  }
}

static size_t count_all(void) {
  return (keys ? fh_weak_keys_count(keys) : 0) + (values ? fh_weak_values_count(values) : 0) + (members ? fh_weak_set_count(members) : 0);
}

/* A refusal leaves maps and objects as they were; but what was to be put in is published. */
static bool user_call(enum call call, unsigned i) {
  for (;;) {
    if (node[i]) fh_publish(node[i]);
    struct sight before = user_look();
    size_t entries = count_all();
    uint64_t refcount = node[i] ? fh_refcount(node[i]) : 0;
    listed = 0;
    fh_status status = call_once(call, i);
    if (status == FH_OK) return true;
    demand(status == FH_ENOMEM && count_all() == entries && listed == 0);
    demand(!node[i] || fh_refcount(node[i]) == refcount);
    if (!user_tries_again(&before)) return false;
  }
}

/* ---- the program ---- */

/* The last ones are leaves. */
static bool fill(fh_type *type, fh_type *leaf) {
  for (unsigned i = 0; i < NODES; i++) {
    node[i] = user_new(i < NODES - LEAVES ? type : leaf);
    if (!node[i] || !user_call(SET_KEY, i)) return false;
    if (!user_call(i % 2 ? SET_VALUE : SET_DEFAULT, i) || !user_call(ADD, i)) return false;
  }
  return true;
}

static bool list(void) {
  for (enum call call = LIST_KEYS; call <= LIST_SET; call++) {
    if (!user_call(call, 0)) return false;
    demand(listed == NODES);
  }
  return true;
}

/* Each is its own value in the one map: only a collection frees it. */
static void lose_all(void) {
  for (unsigned i = 0; i < NODES; i++)
    if (node[i]) fh_drop(&node[i]);
  user_collect();
  fh_safepoint();
  demand(count_all() == 0);
}

static bool make_maps(void) { return user_call(MAKE_KEYS, 0) && user_call(MAKE_VALUES, 0) && user_call(MAKE_SET, 0); }

static bool work(void) {
  fh_type *type = NULL, *leaf = NULL;
  if (!user_type(&link_spec, &type) || !user_type(&leaf_spec, &leaf)) return false;
  bool went_well = make_maps() && fill(type, leaf) && list();
  user_check_heap();
  lose_all();
  if (keys) fh_drop(&keys);
  if (values) fh_drop(&values);
  if (members) fh_drop(&members);
  user_check_heap();
  return went_well;
}

int main(void) { return user_run(work); }
