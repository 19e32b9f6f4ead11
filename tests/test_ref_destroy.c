/* SPDX-License-Identifier: MIT */
/* Death: destruction, deferred destruction, finalizers, and types whose destruction waits for a grace period.
 *
 * Claims: destruction is iterative and needs neither stack nor memory; dealloc runs inside the release, with the fields
 * already NULL; what has none goes the same way however it hangs together; private memory is free at once, published memory after a grace period; deaths under a claim wait for a
 * safepoint; a finalizer runs at a safepoint, once in an object's life, in the order of death, with the fields intact, and
 * may resurrect; it may make more work, which waits for the next safepoint; without memory for its tracking it waits. */
#include "support/exhaust.h"

#include "mutator/mutator.h"
#include "ref/destroy.h"

/* ---- an object that notes what happens to it ---- */

struct witness {
  fh_object fh;
  struct witness *next;
  int id;
};
enum { EVENTS = 64 };
static int finalized[EVENTS], dead[EVENTS];
static int finalized_count, dead_count;
static struct witness *saved;      /* the finalizer of a witness with a negative id puts it here */
static int releases_in_finalizer;  /* how many more to make and drop there */
static fh_type *witness_type(void);

static struct witness *witness_new(int id) {
  struct witness *w = fh_new(witness_type());
  require(w);
  w->id = id;
  return w;
}

static void witness_finalize(void *object) {
  struct witness *w = object;
  require(finalized_count < EVENTS);
  finalized[finalized_count++] = w->id;
  require(fh_refcount(w) >= 1);
  if (w->id < 0) saved = fh_retain(w);
  if (releases_in_finalizer) {
    releases_in_finalizer--;
    fh_release(witness_new(1000 + releases_in_finalizer));
    fh_safepoint(); /* runs no further finalizer: it would nest */
    require(finalized[finalized_count - 1] == w->id);
  }
}

static void witness_dealloc(void *object) {
  struct witness *w = object;
  require(!w->next); /* cleared before */
  require(fh__self()->no_safepoint);
  dead[dead_count++ % EVENTS] = w->id;
}

static const fh_ref witness_refs[] = {FH_FIELD(struct witness, next), FH_END};
static const fh_type_spec witness_spec = {
    .name = "witness", .size = sizeof(struct witness), .refs = witness_refs, .finalize = witness_finalize, .dealloc = witness_dealloc};

static fh_type *witness_type(void) { return type_of_spec(&witness_spec); }

static int setup(void **state) {
  finalized_count = dead_count = releases_in_finalizer = 0;
  saved = NULL;
  return runtime_setup(state);
}
#define with_witnesses(test) cmocka_unit_test_setup_teardown(test, setup, runtime_teardown)

/* ---- destruction ---- */

static void release_in_thread(int index, void *argument) { fh_release(node_chain(scaled(1000000))); }

static void a_deep_structure_needs_no_stack(void **state) {
  fh_release(node_chain(scaled(1000000)));
  assert_true(deaths() == scaled(1000000));
  run_threads(2, release_in_thread, NULL);
  assert_true(deaths() == 3 * scaled(1000000));
  struct node *published = node_chain(scaled(1000000));
  fh_publish(published);
  fh_release(published);
  assert_true(deaths() == 4 * scaled(1000000));
}

static struct node *tree(int depth) {
  struct node *n = node_new((uint64_t)depth);
  if (!depth) return n;
  fh_give(n, left, tree(depth - 1));
  fh_give(n, right, tree(depth - 1));
  return n;
}

static void a_tree_dies_whole(void **state) {
  fh_release(tree(12));
  assert_true(deaths() == (2u << 12) - 1);
}

static void shared_children_outlive_their_parents(void **state) {
  struct node *child = node_new(1), *a = node_new(2), *b = node_new(3);
  fh_set(a, left, child);
  fh_set(b, right, child);
  fh_release(child);
  fh_release(a);
  assert_true(deaths() == 1 && node_is_whole(child) && fh_refcount(child) == 1);
  fh_release(b);
  assert_true(deaths() == 3);
}

/* ---- plain objects: nothing of the application's runs, so they may go a shorter way ---- */

struct plain {
  fh_object fh;
  struct plain *left;
  void *right; /* of any type */
};
static const fh_ref plain_refs[] = {FH_FIELD(struct plain, left), FH_FIELD(struct plain, right), FH_END};
static const fh_type_spec plain_spec = {.name = "plain", .size = sizeof(struct plain), .refs = plain_refs};
static const fh_type_spec untracked_spec = {.name = "untracked", .size = sizeof(struct plain), .refs = plain_refs, .flags = FH_ACYCLIC};
static const fh_ref single_refs[] = {FH_FIELD(struct plain, left), FH_END};
static const fh_type_spec single_spec = {.name = "single", .size = 160, .refs = single_refs};
static const fh_type_spec *const plain_specs[] = {&plain_spec, &untracked_spec, &single_spec};

/* Plain types take turns. */
static struct plain *plain_new(size_t turn) {
  struct plain *plain = new_of_spec(plain_specs[turn % 3]);
  require(plain && !plain->left && !plain->right);
  return plain;
}
static struct plain *one_plain(struct plain *left, void *right) {
  struct plain *plain = plain_new(0);
  fh_give(plain, left, left);
  fh_give(plain, right, right);
  return plain;
}
static uint64_t plain_live(void) {
  uint64_t live = 0;
  for (size_t i = 0; i < 3; i++) {
    fh_type *type = type_of_spec(plain_specs[i]);
    live += fh_type_live(type);
  }
  return live;
}

static struct plain *plain_tree(int depth, size_t turn) {
  struct plain *plain = plain_new(turn);
  if (!depth) return plain;
  fh_give(plain, left, plain_tree(depth - 1, turn + 1));
  if (turn % 3 != 2) fh_give(plain, right, plain_tree(depth - 1, turn + 2));
  return plain;
}

static void plain_objects_die_with_all_they_hold(void **state) {
  fh_stats before = stats_now();
  fh_release(plain_tree(12, 0));
  assert_true(plain_live() == 0);
  struct plain *list = NULL;
  for (size_t i = 0; i < scaled(500000); i++) {
    struct plain *next = plain_new(i);
    fh_give(next, left, list);
    list = next;
  }
  fh_release(list);
  assert_true(plain_live() == 0);
  list = NULL;
  for (size_t i = 0; i < scaled(500000); i++) list = one_plain(NULL, list);
  fh_release(list);
  uint64_t died = stats_now().objects_destroyed;
  for (size_t i = 0; i < 100; i++) fh_release(plain_new(i)); /* they hold nothing */
  if (!born_published()) assert_true(stats_now().objects_destroyed == died + 100);
  assert_true(plain_live() == 0);
  fh_settle();
  fh_stats after = stats_now();
  assert_true(after.live_bytes == before.live_bytes);
  assert_true(after.objects_made - before.objects_made == after.objects_destroyed - before.objects_destroyed);
  if (!born_published()) assert_true(after.private_deaths - before.private_deaths == after.objects_made - before.objects_made);
  assert_int_equal(fh_check_heap(), FH_OK);
}

/* More of them than a release keeps in mind at a time. */
static void many_may_wait_while_another_branch_dies(void **state) {
  struct plain *spine = NULL;
  for (size_t i = 0; i < 1000; i++) spine = one_plain(spine, plain_tree(2, 0));
  fh_stats before = stats_now();
  uint64_t live = plain_live();
  fh_release(spine);
  assert_true(plain_live() == 0);
  fh_stats after = stats_now();
  assert_true(after.objects_destroyed - before.objects_destroyed == live);
  fh_settle();
  assert_int_equal(fh_check_heap(), FH_OK);
}

/* ... and the entries of all of them are free afterwards, also if the chunk stays because something lives in it. */
static void what_waited_leaves_its_entry_as_well(void **state) {
  struct plain *spine = NULL, *kept = one_plain(NULL, NULL);
  for (size_t i = 0; i < 60; i++) spine = one_plain(spine, one_plain(one_plain(NULL, NULL), NULL));
  fh_release(spine);
  assert_int_equal(fh_check_heap(), FH_OK);
  fh_release(kept);
}

/* The local count is used up, the other half of the sum is not. */
static void what_spilled_keeps_a_plain_object(void **state) {
  only_private();
  enum { MANY = 3 * FH__SPILL_AT + 7 };
  struct plain *plain = one_plain(NULL, NULL);
  for (int i = 0; i < MANY; i++) fh_retain(plain);
  for (uint64_t i = MANY; i; i--) {
    fh_release(plain);
    if (fh_refcount(plain) != i) fail_msg("%llu of %llu", (unsigned long long)fh_refcount(plain), (unsigned long long)i);
  }
  plain->fh.fh__shared += FH__ONE; /* as if one of two had spilled */
  fh_release(one_plain(NULL, plain));
  assert_true(plain_live() == 1 && fh_refcount(plain) == 1 && !fh_is_published(plain));
  fh_release(plain);
  assert_true(plain_live() == 0);
}

/* Many objects may refer to one that is immortal. */
static void what_is_immortal_stays(void **state) {
  struct plain *immortal = one_plain(NULL, NULL), *list = NULL;
  fh_make_immortal(immortal);
  for (int i = 0; i < 1000; i++) {
    list = one_plain(list, NULL);
    fh_set(list, right, immortal);
  }
  fh_release(list);
  assert_true(plain_live() == 1 && fh_refcount(immortal) == UINT64_MAX);
  assert_int_equal(fh_check_heap(), FH_OK);
}

/* Stores in line, up to the most that the owner's word holds. */
static void stores_count_up_to_the_spill(void **state) {
  only_private();
  enum { MANY = FH__SPILL_AT + FH__BIAS_LOCAL_MAX + 10 };
  struct plain *value = one_plain(NULL, NULL), *list = NULL;
  for (uint64_t i = 1; i <= MANY; i++) {
    struct plain *holder = one_plain(list, NULL);
    fh_set(holder, right, value);
    list = holder;
    if (fh_refcount(value) != 1 + i) fail_msg("%llu after %llu stores", (unsigned long long)fh_refcount(value), (unsigned long long)i);
  }
  assert_int_equal(fh_check_heap(), FH_OK);
  fh_release(list);
  assert_true(plain_live() == 1 && fh_refcount(value) == 1);
  fh_release(value);
}

/* A reference that moves into a field of an object that is none makes a candidate. */
static void what_is_given_is_a_candidate_again(void **state) {
  only_private();
  struct plain *holder = one_plain(NULL, NULL), *value = one_plain(NULL, NULL);
  uint32_t number = value->fh.fh__slot / FH__CHUNK_ENTRIES;
  holder->fh.fh__bias &= ~FH__BIAS_MARK; /* as an old collection leaves them */
  value->fh.fh__bias &= ~FH__BIAS_MARK;
  fh__track.touched[number] = 0;
  fh_give(holder, left, value);
  assert_true(value->fh.fh__bias & FH__BIAS_MARK);
  assert_true(fh__track.touched[number]);
  fh_release(holder);
}

/* A collection that starts from candidates sees whether the chunk is empty. */
static void a_death_in_another_chunk_touches_it(void **state) {
  only_private();
  if (is_checked()) skip(); /* they take the long way */
  enum { MANY = 2 * FH__CHUNK_ENTRIES };
  struct plain *spine = NULL, *first = one_plain(NULL, NULL), *second = one_plain(NULL, NULL);
  for (int i = 0; i < MANY; i++) spine = one_plain(spine, NULL);
  uint32_t number = first->fh.fh__slot / FH__CHUNK_ENTRIES;
  assert_true(second->fh.fh__slot / FH__CHUNK_ENTRIES == number && fh__self()->track.current != fh__track_chunk(number));
  fh__track.touched[number] = 0;
  fh_release(first);
  assert_true(fh__track.touched[number]);
  fh__track.touched[number] = 0;
  fh_release(one_plain(second, NULL));
  assert_true(fh__track.touched[number]);
  fh_release(spine);
}

/* The first entry of the next chunk is the nearest that is not in the current one. */
static void an_entry_right_behind_the_current_chunk_is_not_in_it(void **state) {
  only_private();
  enum { MANY = 3 * FH__CHUNK_ENTRIES };
  static struct plain *plain[MANY];
  for (int i = 0; i < MANY; i++) plain[i] = one_plain(NULL, NULL);
  struct fh__track_local *track = &fh__self()->track;
  for (int i = 0; i < MANY; i++) {
    uint32_t slot = plain[i]->fh.fh__slot;
    if (i && slot % FH__CHUNK_ENTRIES == 0 && track->owner == fh__track_chunk_of(slot - 1)->owner)
      track->current = fh__track_chunk_of(slot - 1); /* the ring turns */
    fh_release(plain[i]);
  }
  assert_true(plain_live() == 0);
  assert_int_equal(fh_check_heap(), FH_OK);
}

/* In the gil design all own everything, but each has its own chunks. */
enum { OTHERS = 700 };
static struct plain *others[OTHERS];
static void make_others(void *unused) {
  for (int i = 0; i < OTHERS; i++) others[i] = one_plain(NULL, NULL);
}

static void entries_in_chunks_of_others_are_left_to_them(void **state) {
  if (test_design() != FH_DESIGN_GIL) skip();
  struct companion companion;
  struct plain *list = NULL, *kept = one_plain(NULL, NULL);
  companion_start(&companion, make_others, NULL);
  companion_join(&companion);
  for (int i = 0; i < OTHERS; i++) { /* some of theirs, and some of ours */
    struct plain *plain = i % 3 ? others[i] : one_plain(NULL, others[i]);
    fh_give(plain, left, list);
    list = plain;
  }
  struct fh__chunk *theirs = fh__track_chunk_of(list->left->fh.fh__slot);
  assert_true(theirs->owner != fh__self()->track.owner);
  theirs->tombs = 0;
  fh_release(list);
  assert_true(theirs->tombs);
  assert_true(plain_live() == 1);
  assert_int_equal(fh_check_heap(), FH_OK);
  fh_release(kept);
}

static void what_plain_objects_hold_may_live_or_die_in_its_own_way(void **state) {
  fh_stats before = stats_now();
  struct plain *twice = one_plain(NULL, NULL), *kept = one_plain(NULL, NULL), *published = one_plain(NULL, NULL);
  fh_publish(published);
  struct plain *top = one_plain(one_plain(fh_retain(twice), twice), one_plain(fh_retain(kept), fh_retain(published)));
  struct witness *witness = witness_new(7);
  top = one_plain(top, one_plain(NULL, node_new(3)));
  top = one_plain(top, witness);
  top = one_plain(NULL, one_plain(top, node_new(4)));
  fh_release(top);
  assert_true(deaths() == 2); /* inside the release */
  assert_true(finalized_count == 0 && dead_count == 0);
  assert_true(plain_live() == 2 && fh_refcount(kept) == 1 && fh_refcount(published) == 1);
  fh_safepoint();
  assert_true(finalized_count == 1 && dead_count == 1 && dead[0] == 7);
  fh_release(kept);
  fh_release(published);
  assert_true(plain_live() == 0);
  fh_settle();
  assert_true(stats_now().live_bytes == before.live_bytes);
  assert_int_equal(fh_check_heap(), FH_OK);
}

/* What has a dealloc waits until all plain ones are gone: the application sees none that is half dead. */
static uint64_t plain_live_at_dealloc;
static void look_at_plain(void *object) { plain_live_at_dealloc = plain_live(); }

static void a_dealloc_sees_none_of_the_plain_ones(void **state) {
  static const fh_type_spec spec = {.name = "watcher", .size = sizeof(fh_object), .dealloc = look_at_plain};
  only_private();
  if (is_checked()) skip(); /* one after the other there */
  plain_live_at_dealloc = 77;
  fh_release(one_plain(one_plain(one_plain(NULL, NULL), one_plain(NULL, NULL)), new_of_spec(&spec)));
  assert_int_equal(plain_live_at_dealloc, 0);
  assert_true(plain_live() == 0);
}

/* A dealloc that gives plain objects up, inside the destruction of another object, and under many of them. */
struct cupboard {
  fh_object fh;
  struct plain *hidden; /* no reference that the runtime knows */
  bool *emptied;
};
static void cupboard_dealloc(void *object) {
  struct cupboard *cupboard = object;
  fh_release(cupboard->hidden);
  *cupboard->emptied = true;
}

static void a_dealloc_may_release_plain_objects(void **state) {
  static const fh_type_spec spec = {.name = "cupboard", .size = sizeof(struct cupboard), .dealloc = cupboard_dealloc};
  enum { MANY = 40 };
  fh_type *type = type_of_spec(&spec);
  bool emptied[MANY] = {false};
  struct plain *top = NULL;
  for (int i = 0; i < MANY; i++) {
    struct cupboard *cupboard = fh_new(type);
    cupboard->hidden = one_plain(plain_tree(3, 0), one_plain(NULL, node_new(5)));
    cupboard->emptied = &emptied[i];
    top = one_plain(top, one_plain(plain_tree(1, 0), cupboard));
  }
  fh_release(top);
  for (int i = 0; i < MANY; i++) assert_true(emptied[i]);
  assert_true(plain_live() == 0 && deaths() == MANY);
  fh_settle();
  assert_int_equal(fh_check_heap(), FH_OK);
}

/* ---- memory, and death put off ---- */

static void private_memory_is_free_at_once_and_published_later(void **state) {
  struct fh__mutator *me = fh__self();
  fh_release(node_new(1));
  assert_int_equal(fh__limbo_is_empty(&me->limbo), !born_published());
  fh_settle();
  struct node *n = node_new(2);
  fh_publish(n);
  fh_release(n);
  assert_true(deaths() == 2);
  assert_ptr_equal(me->limbo.open.objects.first, n);
  assert_true(fh__is_dead_count(n->fh.fh__shared)); /* [ref.dead], for late readers */
  assert_false(fh_try_retain(n));
  assert_ptr_equal(fh_type_of(n), node_type());
  fh_stats stats = stats_now();
  assert_true(stats.private_deaths == (born_published() ? 0 : 1) && stats.published_deaths == (born_published() ? 2 : 1) && stats.limbo_bytes >= sizeof *n);
  fh_settle();
  assert_true(fh__limbo_is_empty(&me->limbo));
}

static void deferred_deaths_wait_for_the_safepoint(void **state) {
  struct fh__mutator *me = fh__self();
  struct node *n = node_new(1);
  fh_publish(n);
  n->fh.fh__bias = FH__BIAS_MARK; /* as a merge leaves it */
  n->fh.fh__shared = FH__MERGED;
  fh__ref_die_later(me, &n->fh);
  assert_true(me->sync.attention & FH__ATTEND_DESTROY);
  assert_true(deaths() == 0 && n->fh.fh__shared == FH__MERGED);
  fh_safepoint();
  assert_true(deaths() == 1);
}

/* ---- types that wait for the grace period ---- */

static atomic_int graces;
static void grace_dealloc(void *object) { atomic_fetch_add(&graces, 1); }
struct grace {
  fh_object fh;
  struct node *node;
};
static const fh_ref grace_refs[] = {FH_FIELD(struct grace, node), FH_END};
static const fh_type_spec grace_spec = {
    .name = "grace", .size = sizeof(struct grace), .refs = grace_refs, .flags = FH_GRACE, .dealloc = grace_dealloc};

static void a_grace_type_is_cleared_after_the_period_only(void **state) {
  fh_type *type = type_of_spec(&grace_spec);
  atomic_store(&graces, 0);
  struct grace *g = fh_new(type);
  fh_give(g, node, node_new(5));
  struct grace *private = fh_new(type);
  fh_release(private); /* private: nobody can be looking */
  if (born_published()) fh_settle();
  assert_int_equal(atomic_load(&graces), 1);
  fh_publish(g);
  fh_release(g);
  assert_int_equal(atomic_load(&graces), 1);
  assert_true(deaths() == 0 && node_is_whole(fh_get(g, node))); /* a reader may still follow it */
  assert_true(fh_type_live(type) == 1);
  fh_settle();
  assert_int_equal(atomic_load(&graces), 2);
  assert_true(deaths() == 1 && fh_type_live(type) == 0);
}

/* ---- finalizers ---- */

static void finalizers_run_at_the_safepoint_in_the_order_of_death(void **state) {
  for (int i = 0; i < 5; i++) fh_release(witness_new(i));
  assert_int_equal(finalized_count, 0);
  assert_int_equal(dead_count, 0);
  fh_safepoint();
  assert_int_equal(finalized_count, 5);
  assert_int_equal(dead_count, 5);
  for (int i = 0; i < 5; i++) assert_int_equal(finalized[i], i);
}

static void a_finalizer_sees_its_fields(void **state) {
  struct witness *w = witness_new(1);
  fh_give(w, next, witness_new(2));
  fh_release(w);
  fh_safepoint(); /* 1 is finalized and destroyed, and 2 dies with it */
  fh_safepoint();
  assert_int_equal(finalized_count, 2);
  assert_int_equal(finalized[0], 1);
  assert_int_equal(dead_count, 2);
}

static void resurrect(bool publish) {
  struct witness *w = witness_new(-7);
  if (publish) fh_publish(w);
  fh_release(w);
  fh_safepoint();
  assert_ptr_equal(saved, w);
  assert_int_equal(finalized_count, 1);
  assert_int_equal(dead_count, 0);
  assert_true(fh_refcount(w) == 1);
  assert_int_equal(fh_is_published(w), publish || born_published());
  assert_int_not_equal(w->fh.fh__slot, 0); /* tracked again */
  assert_int_equal(fh_check_heap(), FH_OK);
  fh_release(w); /* its second death: no finalizer any more */
  fh_safepoint();
  assert_int_equal(finalized_count, 1);
  assert_int_equal(dead_count, 1);
  assert_true(stats_now().resurrected == 1);
}

static void the_resurrected_die_without_a_finalizer(void **state) { resurrect(false); }
static void the_published_are_resurrected_too(void **state) { resurrect(true); }

static void finalizers_make_work_for_the_next_safepoint(void **state) {
  releases_in_finalizer = 10;
  fh_release(witness_new(1));
  for (int turns = 0; finalized_count < 11; turns++) {
    require(turns < 11); /* each safepoint gets on */
    fh_safepoint();
  }
  assert_int_equal(dead_count, 11);
  assert_null(fh__self()->finalizable.first);
}

static void a_leaving_thread_finishes_its_finalizers(void *unused) { fh_release(witness_new(3)); }

static void what_waits_is_finished_at_detach(void **state) {
  struct companion companion;
  companion_start(&companion, a_leaving_thread_finishes_its_finalizers, NULL);
  companion_join(&companion);
  assert_int_equal(finalized_count, 1);
  assert_int_equal(dead_count, 1);
}

/* ---- no memory ---- */

static void finalize_without_memory(void) {
  static struct exhausted exhausted;
  runtime_start(&(fh_options){.flags = FH_OPTION_GC_OFF});
  struct witness *w = witness_new(1), *second = witness_new(2);
  fh_release(w);
  fh_release(second);
  struct fh__chunk *chunk = fh__self()->track.current;
  struct node *filler[FH__CHUNK_ENTRIES];
  size_t fillers = 0;
  while (chunk->free || chunk->bump < FH__CHUNK_ENTRIES) { /* their entries are taken */
    filler[fillers] = node_new(fillers);
    fillers++;
  }
  exhaust_memory(&exhausted);
  fh_safepoint();
  require(finalized_count == 0 && dead_count == 0); /* they stay dead, and wait */
  refill_memory(&exhausted);
  fh_safepoint();
  require(finalized_count == 2 && dead_count == 2 && finalized[0] == 1 && finalized[1] == 2);
  while (fillers) fh_release(filler[--fillers]);
  runtime_stop();
}

static void without_memory_a_finalizer_waits(void **state) {
  if (!can_exhaust_memory()) skip();
  expect_fine(finalize_without_memory);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(a_deep_structure_needs_no_stack),
      with_runtime(a_tree_dies_whole),
      with_runtime(shared_children_outlive_their_parents),
      with_runtime(plain_objects_die_with_all_they_hold),
      with_runtime(many_may_wait_while_another_branch_dies),
      with_witnesses(what_waited_leaves_its_entry_as_well),
      with_runtime_gc_off(what_spilled_keeps_a_plain_object),
      with_runtime_gc_off(what_is_immortal_stays),
      with_runtime_gc_off(stores_count_up_to_the_spill),
      with_runtime_gc_off(what_is_given_is_a_candidate_again),
      with_runtime_gc_off(a_death_in_another_chunk_touches_it),
      with_runtime_gc_off(an_entry_right_behind_the_current_chunk_is_not_in_it),
      with_runtime_gc_off(entries_in_chunks_of_others_are_left_to_them),
      with_witnesses(what_plain_objects_hold_may_live_or_die_in_its_own_way),
      with_runtime(a_dealloc_sees_none_of_the_plain_ones),
      with_runtime(a_dealloc_may_release_plain_objects),
      with_runtime(private_memory_is_free_at_once_and_published_later),
      with_runtime(deferred_deaths_wait_for_the_safepoint),
      with_runtime(a_grace_type_is_cleared_after_the_period_only),
      with_witnesses(finalizers_run_at_the_safepoint_in_the_order_of_death),
      with_witnesses(a_finalizer_sees_its_fields),
      with_witnesses(the_resurrected_die_without_a_finalizer),
      with_witnesses(the_published_are_resurrected_too),
      with_witnesses(finalizers_make_work_for_the_next_safepoint),
      with_witnesses(what_waits_is_finished_at_detach),
      cmocka_unit_test(without_memory_a_finalizer_waits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
