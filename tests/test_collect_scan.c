/* SPDX-License-Identifier: MIT */
/* Trial deletion, against a plain search from the roots.
 *
 * Claims: after subtract, refs is the number of references from outside [scan.refs]; after mark, what is not marked is exactly
 * what the roots do not reach, whatever the graph: loops, multiple edges, items, buffers, slots, untracked holders, immortal
 * objects, private and published ones; the tally is what a look at the garbage adds up to, whoever works [scan.tally]; tombstones
 * become free entries in passing; a kept object keeps what it reaches.
 * Real: the whole runtime; the world is stopped by the test. Seeds are printed with every failure. */
#include "support/inside.h"

#include <string.h>

#include "collect/closed.h"
#include "object/cells.h"
#include "ref/merge.h"
#include "sync/stop.h"

/* ---- vertices: two fields, a slot, items ---- */

enum { MOST = 300, ITEMS = 3 };

struct vertex {
  fh_object fh;
  size_t count;
  struct vertex *left, *right;
  fh_slot slot;
  size_t id;
};
static const fh_ref vertex_refs[] = {
    FH_FIELD(struct vertex, left), FH_FIELD(struct vertex, right), FH_SLOT(struct vertex, slot), FH_END};
static const fh_ref vertex_items[] = {{0, FH__REF_FIELD, 1}, FH_END};

/* The graph as the oracle sees it. */
static struct vertex *vertex[MOST];
static size_t vertices;
static bool dead[MOST], marked[MOST];

static void vertex_dealloc(void *object) { dead[((struct vertex *)object)->id] = true; }
static const fh_type_spec vertex_spec = {.name = "vertex",
                                         .size = sizeof(struct vertex),
                                         .item_size = sizeof(void *),
                                         .count_at = offsetof(struct vertex, count),
                                         .refs = vertex_refs,
                                         .item_refs = vertex_items,
                                         .dealloc = vertex_dealloc};

/* An untracked object that refers to a tracked one: a root, as far as the collector can see. */
struct holder {
  fh_object fh;
  struct vertex *held;
};
static const fh_ref holder_refs[] = {FH_FIELD(struct holder, held), FH_END};
static const fh_type_spec holder_spec = {
    .name = "holder", .size = sizeof(struct holder), .refs = holder_refs, .flags = FH_ACYCLIC};

static struct vertex **items_of(struct vertex *v) { return (struct vertex **)(void *)(v + 1); }

static uint64_t chance;

static void add_edge(struct vertex *from, struct vertex *to) {
  switch (below(&chance, 4)) {
    case 0: fh_set(from, left, to); break;
    case 1: fh_set(from, right, to); break;
    case 2: fh_slot_store(&from->slot, to); break;
    default: fh_field_set(from, &items_of(from)[below(&chance, ITEMS)], to);
  }
}

/* ---- roots ---- */

struct root {
  struct vertex *held;    /* a counted reference of the test's own */
  struct holder *holder;  /* or an untracked object's */
};
static struct root roots[MOST];
static size_t root_count;

static void build(uint64_t seed) {
  chance = random_from(seed);
  vertices = 1 + below(&chance, MOST);
  memset(dead, 0, sizeof dead);
  root_count = 0;
  for (size_t i = 0; i < vertices; i++) {
    vertex[i] = fh_new_items(type_of_spec(&vertex_spec), ITEMS);
    vertex[i]->id = i;
  }
  size_t edges = below(&chance, vertices * 3 + 1);
  for (size_t i = 0; i < edges; i++) add_edge(vertex[below(&chance, vertices)], vertex[below(&chance, vertices)]);
  for (size_t i = 0; i < vertices; i++) {
    size_t lot = below(&chance, 20);
    if (lot == 0) {
      roots[root_count++].held = fh_retain(vertex[i]);
    } else if (lot == 1) {
      struct holder *holder = new_of_spec(&holder_spec);
      fh_set(holder, held, vertex[i]);
      roots[root_count++] = (struct root){.holder = holder};
    } else if (lot == 2) {
      fh_publish(vertex[i]);
    }
  }
  for (size_t i = 0; i < vertices; i++) fh_release(vertex[i]); /* what nobody refers to dies here, by its count */
}

static void mark_from(struct vertex *v) {
  static struct vertex *stack[MOST];
  size_t depth = 0;
  if (!marked[v->id]) stack[depth++] = v;
  marked[v->id] = true;
  while (depth) {
    struct vertex *from = stack[--depth], *to[3 + ITEMS] = {from->left, from->right, from->slot.fh__value};
    memcpy(to + 3, items_of(from), ITEMS * sizeof *to);
    for (int i = 0; i < 3 + ITEMS; i++)
      if (to[i] && !marked[to[i]->id]) {
        marked[to[i]->id] = true;
        stack[depth++] = to[i];
      }
  }
}

static size_t count_garbage(void) {
  size_t garbage = 0;
  memset(marked, 0, sizeof marked);
  for (size_t i = 0; i < root_count; i++) mark_from(roots[i].holder ? roots[i].holder->held : roots[i].held);
  for (size_t i = 0; i < vertices; i++) garbage += !dead[i] && !marked[i];
  return garbage;
}

static void drop_roots(void) {
  for (size_t i = 0; i < root_count; i++) {
    if (roots[i].holder)
      fh_release(roots[i].holder);
    else
      fh_release(roots[i].held);
    roots[i] = (struct root){NULL, NULL};
  }
}

/* ---- the scan ---- */

struct found {
  size_t count;
  bool wrong;
};

static void count_them(void *context, fh_object *object) { ((struct found *)context)->count++; }

static void note_unmarked(void *context, fh_object *object) {
  struct found *found = context;
  const struct vertex *v = (const struct vertex *)(const void *)object;
  found->count++;
  found->wrong |= dead[v->id] || marked[v->id];
}

static void what_is_not_marked_is_what_no_root_reaches(void **state) {
  for (uint64_t seed = 1; seed <= 200; seed++) {
    build(seed);
    size_t garbage = count_garbage();
    struct fh__scan scan;
    struct found found = {0, false};
    stop_and_merge();
    fh__scan_begin(&scan, FH__OLD);
    fh__scan_subtract(&scan);
    fh__scan_mark(&scan);
    fh__scan_unmarked(&scan, note_unmarked, &found);
    size_t objects = scan.objects;
    fh__scan_end(&scan);
    resume_world();
    size_t live = 0;
    for (size_t i = 0; i < vertices; i++) live += !dead[i];
    if (found.wrong || found.count != garbage || objects != live)
      fail_msg("seed %d: %zu found, %zu garbage%s; %zu scanned, %zu live", (int)seed, found.count, garbage,
               found.wrong ? ", and not the same" : "", objects, live);
    assert_int_equal(fh_collect(2), garbage);
    for (size_t i = 0; i < vertices; i++)
      if (dead[i] == marked[i]) fail_msg("seed %d: vertex %zu is %s", (int)seed, i, dead[i] ? "dead" : "alive");
    assert_int_equal(fh_check_heap(), FH_OK);
    drop_roots();
    assert_true(fh_collect(2) <= live - garbage);
    for (size_t i = 0; i < vertices; i++) assert_true(dead[i]);
  }
}

/* ---- with a crew ---- */

static struct gate helpers_ready, helpers_leave;

static void poll_until_let_go(void *unused) {
  gate_open(&helpers_ready, 1);
  gate_await_running(&helpers_leave, 1);
}

/* A heap of several chunks, in which garbage and what lives refer to each other in any way. */
enum { WIDE = 6 * 1024 };
static struct node *wide[WIDE];

/* As nodes begin, but plain; the second has no other field than the first. */
static const fh_ref twin_refs[] = {FH_FIELD(struct node, left), FH_FIELD(struct node, right), FH_END};
static const fh_type_spec twin_spec = {.name = "twin", .size = sizeof(struct node), .refs = twin_refs};
static const fh_ref single_refs[] = {FH_FIELD(struct node, left), FH_END};
static const fh_type_spec single_spec = {.name = "single", .size = sizeof(struct node), .refs = single_refs};

static void build_wide(void) {
  for (int i = 0; i < WIDE; i++) wide[i] = i % 2 ? node_new((uint64_t)i) : new_of_spec(i % 4 ? &twin_spec : &single_spec);
  for (int i = 0; i < WIDE; i++) {
    fh_set(wide[i], left, wide[below(&chance, WIDE)]);
    if (i % 4 && below(&chance, 3)) fh_set(wide[i], right, wide[below(&chance, WIDE)]);
    if (below(&chance, 8) == 0) fh_publish(wide[i]);
  }
  for (int i = 3; i < WIDE; i++) fh_release(wide[i]); /* three stay roots */
}

/* [scan.tally], by a look at the garbage. */
struct looked {
  const struct fh__scan *scan;
  int64_t outgoing, others;
};
static void look_at_it(void *context, fh_object *object) {
  struct looked *looked = context;
  const fh_type *type = fh__type_of(object);
  if (type->paired) looked->outgoing += fh__near_count(fh__cells_near(type, object));
  looked->outgoing -= fh__true_count(object);
  looked->others += !type->paired + !fh__scan_may_free(object, looked->scan->stamp);
}

static size_t count_found_in(uint32_t workers, uint32_t generation) {
  struct fh__scan scan;
  struct found found = {0, false};
  struct looked looked = {&scan, 0, 0};
  stop_and_merge();
  fh__scan_begin(&scan, generation);
  scan.crew = workers;
  fh__scan_subtract(&scan);
  fh__scan_mark(&scan);
  fh__scan_unmarked(&scan, count_them, &found);
  if (generation < FH__OLD) {
    fh__scan_unmarked(&scan, look_at_it, &looked);
    struct fh__tally tally = fh__garbage_tally(&scan);
    require(scan.tallied && tally.outgoing == looked.outgoing && tally.others == looked.others);
  } else {
    require(!scan.tallied);
  }
  fh__scan_end(&scan);
  resume_world();
  return found.count;
}

/* All of it is young, so both ways find the same. */
static size_t count_found(uint32_t workers) {
  size_t found = count_found_in(workers, FH__OLD);
  require(count_found_in(workers, FH__YOUNG) == found);
  return found;
}

static void several_workers_find_what_one_finds(void **state) {
  enum { HELPERS = 3 };
  struct companion helper[HELPERS];
  helpers_leave = (struct gate)GATE;
  for (int i = 0; i < HELPERS; i++) {
    helpers_ready = (struct gate)GATE;
    companion_start(&helper[i], poll_until_let_go, NULL);
    gate_await(&helpers_ready, 1);
  }
  for (uint64_t seed = 1; seed <= scaled(20); seed++) {
    chance = random_from(seed);
    build_wide();
    size_t alone = count_found(1);
    for (uint32_t workers = 2; workers <= HELPERS + 1; workers++)
      for (int again = 0; again < 3; again++) {
        size_t found = count_found(workers);
        if (found != alone) fail_msg("seed %d: %zu found by %u workers, %zu by one", (int)seed, found, workers, alone);
      }
    for (int i = 0; i < 3; i++) fh_release(wide[i]);
    fh_settle();
    assert_int_equal(fh_type_live(node_type()), 0);
  }
  gate_open(&helpers_leave, 1);
  for (int i = 0; i < HELPERS; i++) companion_join(&helper[i]);
}

static void refs_is_what_comes_from_outside(void **state) {
  struct node *a = node_new(1), *b = node_new(2);
  fh_set(a, left, b);
  fh_set(a, right, b);
  fh_set(b, left, a);
  fh_retain(a);
  struct fh__scan scan;
  stop_and_merge();
  fh__scan_begin(&scan, FH__OLD);
  fh__scan_subtract(&scan);
  int32_t refs_a = scan.refs[a->fh.fh__slot], refs_b = scan.refs[b->fh.fh__slot];
  fh__scan_end(&scan);
  resume_world();
  assert_int_equal(refs_a, 2);
  assert_int_equal(refs_b, 1);
  fh_clear(b, left);
  fh_release(b);
  fh_release(a);
  fh_release(a);
}

static void an_immortal_object_stays_with_all_that_it_reaches(void **state) {
  struct node *a = node_new(1), *b = node_new(2);
  fh_set(a, left, b);
  fh_set(b, left, b); /* nothing else keeps it */
  fh_release(b);
  fh_make_immortal(a);
  assert_int_equal(fh_collect(2), 0);
  assert_true(node_is_whole(b));
  a->fh.fh__shared = FH__MERGED + FH__ONE; /* mortal again, for the tear-down */
  a->fh.fh__bias = FH__BIAS_MARK;
  FH__SUB(&fh_type_of(a)->immortals, 1, RELAXED);
  fh_release(a);
  assert_int_equal(fh_collect(2), 1);
}

static void tombstones_become_free_entries(void **state) {
  struct node *n = node_new(1);
  struct fh__chunk *chunk = fh__track_chunk_of(n->fh.fh__slot);
  uint32_t at = n->fh.fh__slot - chunk->base;
  struct fh__track_local other;
  fh__track_init(&other, fh__self()->sync.id + 1);
  fh__track_remove(&other, &n->fh); /* as a stranger would */
  assert_int_equal(chunk->entries[at], FH__TRACK_TOMB);
  fh_collect(2);
  assert_int_equal(chunk->entries[at] & 3, 1);
  assert_int_equal(chunk->free, at + 1);
  struct node *next = node_new(2);
  assert_int_equal(next->fh.fh__slot, chunk->base + at);
  fh_release(next);
  require(fh__track_add(&fh__self()->track, &n->fh));
  fh_release(n);
}

static void count_unmarked(void *context, fh_object *object) { ++*(size_t *)context; }

static void a_kept_object_keeps_what_it_reaches(void **state) {
  struct node *ring[6];
  for (int i = 0; i < 6; i++) ring[i] = node_new((uint64_t)i);
  for (int i = 0; i < 3; i++) fh_set(ring[i], left, ring[(i + 1) % 3]);         /* 0 -> 1 -> 2 -> 0 */
  for (int i = 3; i < 6; i++) fh_set(ring[i], left, ring[3 + (i + 1) % 3]);     /* another ring, */
  fh_set(ring[3], right, ring[0]);                                              /* which refers to the first */
  for (int i = 0; i < 6; i++) fh_release(ring[i]);
  struct fh__scan scan;
  size_t found[3] = {0};
  stop_and_merge();
  fh__scan_begin(&scan, FH__OLD);
  fh__scan_subtract(&scan);
  fh__scan_mark(&scan);
  fh__scan_unmarked(&scan, count_unmarked, &found[0]);
  fh__scan_keep(&scan, &ring[1]->fh);
  fh__scan_unmarked(&scan, count_unmarked, &found[1]);
  fh__scan_keep(&scan, &ring[4]->fh);
  fh__scan_unmarked(&scan, count_unmarked, &found[2]);
  fh__scan_end(&scan);
  resume_world();
  assert_int_equal(found[0], 6);
  assert_int_equal(found[1], 3);
  assert_int_equal(found[2], 0);
  assert_int_equal(fh_collect(2), 6); /* the runtime's own scan kept nothing */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime_gc_off(what_is_not_marked_is_what_no_root_reaches),
      with_runtime_gc_off(several_workers_find_what_one_finds),
      with_runtime_gc_off(refs_is_what_comes_from_outside),
      with_runtime_gc_off(an_immortal_object_stays_with_all_that_it_reaches),
      with_runtime_gc_off(tombstones_become_free_entries),
      with_runtime_gc_off(a_kept_object_keeps_what_it_reaches),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
