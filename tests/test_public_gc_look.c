/* SPDX-License-Identifier: MIT */
/* Looking into the heap: fh_gc_objects, fh_gc_referrers, fh_gc_referents, fh_gc_is_finalized; garbage that is kept: fh_gc_debug_set,
 * fh_gc_saved, fh_gc_saved_clear; a line for each collection.
 *
 * Claims: exactly what is asked for is shown, alive during the call, whatever other threads do; what was private to another mutator is
 * published with all that it reaches, one's own is not; garbage that somebody is about to destroy is not shown; kept garbage is
 * whole, published, weakly reachable, its finalizers have not run, and it becomes ordinary garbage when it is let go; a shutdown
 * lets go of it. */
#include <string.h>

#include "support/support.h"

/* What a visitor was shown. */
struct shown {
  size_t count;
  size_t most; /* it has enough then; 0: never */
  uint64_t ids;
  struct node *last;
};
static bool look(void *context, void *object) {
  struct shown *shown = context;
  shown->last = object;
  shown->ids += shown->last->id;
  shown->count++;
  require(node_is_whole(object));
  return shown->count != shown->most;
}

static size_t count_objects(int generation, const fh_type *type) {
  struct shown shown = {0};
  require(fh_gc_objects(generation, type, look, &shown) == FH_OK);
  return shown.count;
}

/* ---- objects ---- */

static void objects_are_shown_by_generation(void **state) {
  struct node *ring = node_ring(1000);
  assert_int_equal((int)count_objects(-1, NULL), 1000);
  assert_int_equal((int)count_objects(0, NULL), 1000);
  fh_gc_freeze();
  struct node *young = node_new(1);
  assert_int_equal((int)count_objects(3, NULL), 1000);
  assert_int_equal((int)count_objects(0, NULL), 1);
  assert_int_equal((int)count_objects(2, NULL), 0);
  fh_gc_unfreeze();
  assert_int_equal((int)count_objects(2, NULL), 1000);
  assert_int_equal((int)count_objects(-1, NULL), 1001);
  fh_release(young);
  fh_release(ring);
  fh_collect(2);
  assert_int_equal((int)count_objects(-1, NULL), 0);
}

static const fh_ref other_refs[] = {FH_FIELD(struct node, left), FH_END};
static const fh_type_spec other_spec = {.name = "other", .size = sizeof(struct node), .refs = other_refs};

static void types_are_told_apart(void **state) {
  fh_type *type = type_of_spec(&other_spec);
  struct node *ring = node_ring(10), *other = fh_new(type);
  assert_non_null(other);
  other->check = ~other->id;
  fh_set(other, left, ring);
  assert_int_equal((int)count_objects(-1, NULL), 11);
  assert_int_equal((int)count_objects(-1, type), 1);
  assert_int_equal((int)count_objects(-1, node_type()), 10);
  struct shown shown = {0};
  void *const target = ring;
  assert_int_equal(fh_gc_referrers(&target, 1, type, look, &shown), FH_OK);
  assert_true(shown.count == 1 && shown.last == other);
  shown = (struct shown){0};
  assert_int_equal(fh_gc_referents(other, type, look, &shown), FH_OK);
  assert_true(shown.count == 0);
  fh_release(other);
  fh_release(ring);
}

static void a_visitor_may_have_enough(void **state) {
  struct node *ring = node_ring(100);
  struct shown shown = {.most = 7};
  assert_int_equal(fh_gc_objects(-1, NULL, look, &shown), FH_OK);
  assert_true(shown.count == 7);
  assert_true(fh_refcount(ring) == 2); /* all references were given up */
  fh_release(ring);
  assert_int_equal((int)fh_collect(2), 100);
}

/* A visitor may do what it likes with what it is shown: here it takes the heap apart, and collects. */
static bool take_apart(void *context, void *object) {
  struct node *n = object;
  fh_set(n, left, NULL);
  fh_collect(2);
  require(node_is_whole(n));
  return true;
}

static void what_is_shown_lives_during_the_call(void **state) {
  fh_release(node_ring(scaled(200) + 3));
  assert_int_equal(fh_gc_objects(-1, NULL, take_apart, NULL), FH_OK);
  assert_int_equal((int)fh_type_live(node_type()), 0);
}

static void what_cannot_be_is_refused(void **state) {
  struct node *n = node_new(1);
  struct shown shown = {0};
  void *const target = n;
  assert_int_equal(fh_gc_objects(4, NULL, look, &shown), FH_EINVAL);
  assert_int_equal(fh_gc_objects(-2, NULL, look, &shown), FH_EINVAL);
  {
    FH_NO_SAFEPOINT();
    assert_int_equal(fh_gc_objects(-1, NULL, look, &shown), FH_EAGAIN);
    assert_int_equal(fh_gc_referrers(&target, 1, NULL, look, &shown), FH_EAGAIN);
    assert_int_equal(fh_gc_referents(n, NULL, look, &shown), FH_EAGAIN);
    assert_int_equal(fh_gc_saved(NULL, look, &shown), FH_EAGAIN);
  }
  assert_int_equal(fh_gc_referrers(NULL, 0, NULL, look, &shown), FH_OK);
  assert_int_equal(fh_gc_debug_set(4), FH_EINVAL);
  assert_true(fh_gc_debug_get() == 0 && shown.count == 0);
  fh_release(n);
}

/* ---- edges ---- */

static void referrers_and_referents_are_shown(void **state) {
  struct node *n[6];
  for (int i = 0; i < 6; i++) n[i] = node_new((uint64_t)1 << i);
  fh_set(n[0], left, n[1]);
  fh_set(n[0], right, n[1]);
  fh_set(n[2], left, n[1]);
  fh_set(n[2], right, n[3]);
  fh_set(n[4], left, n[4]);
  struct shown shown = {0};
  void *target[4] = {n[1], n[3], n[4], n[5]};
  assert_int_equal(fh_gc_referrers(target, 1, NULL, look, &shown), FH_OK);
  assert_true(shown.count == 2 && shown.ids == 1 + 4);
  shown = (struct shown){0};
  assert_int_equal(fh_gc_referrers(target, 4, NULL, look, &shown), FH_OK);
  assert_true(shown.count == 3 && shown.ids == 1 + 4 + 16); /* each once */
  shown = (struct shown){0};
  assert_int_equal(fh_gc_referrers(&target[3], 1, NULL, look, &shown), FH_OK);
  assert_true(shown.count == 0);
  assert_int_equal(fh_gc_referents(n[0], NULL, look, &shown), FH_OK);
  assert_true(shown.count == 2 && shown.last == n[1]); /* each reference */
  shown = (struct shown){0};
  assert_int_equal(fh_gc_referents(n[2], NULL, look, &shown), FH_OK);
  assert_true(shown.count == 2 && shown.ids == 2 + 8);
  assert_int_equal(fh_gc_referents(n[5], NULL, look, &shown), FH_OK);
  assert_true(shown.count == 2);
  for (int i = 0; i < 6; i++) fh_release(n[i]);
  fh_collect(2);
}

/* ---- other mutators ---- */

static struct gate gate = GATE;
static struct node *theirs;

static void make_and_wait(void *waits_running) {
  theirs = node_ring(10);
  gate_open(&gate, 1);
  if (waits_running)
    gate_await_running(&gate, 2);
  else
    gate_await(&gate, 2);
  require(node_is_whole(theirs));
  fh_release(theirs);
}

static bool retain_one(void *context, void *object) {
  require(fh_is_published(object) || test_design() == FH_DESIGN_GIL); /* where every mutator owns everything */
  *(struct node **)context = fh_retain((struct node *)object);
  return false;
}

static void what_is_private_to_others_is_published(void **state) {
  for (int running = 0; running < 2; running++) {
    atomic_store(&gate.value, 0);
    struct companion companion;
    struct node *kept = NULL, *own = node_new(77);
    companion_start(&companion, make_and_wait, running ? &gate : NULL);
    gate_await(&gate, 1);
    void *const target = theirs;
    assert_int_equal(fh_gc_referrers(&target, 1, NULL, retain_one, &kept), FH_OK);
    assert_true(kept && kept->left == theirs);
    assert_int_equal(fh_check_heap(), FH_OK); /* [ref.published]: with all that it reaches */
    assert_true(fh_is_published(own) == born_published()); /* nobody needs it */
    gate_open(&gate, 2);
    companion_join(&companion);
    assert_int_equal((int)fh_collect(2), 0);
    fh_release(kept);
    fh_release(own);
    assert_int_equal((int)fh_collect(2), 10);
  }
}

/* Garbage whose finalizer waits on its own mutator: it is about to be destroyed, and is not shown. */
static struct gate in_finalizer = GATE, leave_finalizer = GATE;
static void wait_in_finalizer(void *object) {
  gate_open(&in_finalizer, 1);
  gate_await(&leave_finalizer, 1);
}
static const fh_type_spec slow_spec = {.name = "slow", .size = sizeof(struct node), .refs = other_refs, .finalize = wait_in_finalizer};

static void drop_slow(void *type) {
  struct node *n = fh_new(type);
  require(n);
  n->check = ~n->id;
  fh_set(n, left, n);
  fh_release(n);
  fh_collect(2);
}

static void garbage_on_its_way_is_not_shown(void **state) {
  fh_type *type = type_of_spec(&slow_spec);
  atomic_store(&in_finalizer.value, 0);
  atomic_store(&leave_finalizer.value, 0);
  struct companion companion;
  companion_start(&companion, drop_slow, type);
  gate_await(&in_finalizer, 1);
  assert_true(fh_type_live(type) == 1);
  assert_int_equal((int)count_objects(-1, NULL), 0);
  gate_open(&leave_finalizer, 1);
  companion_join(&companion);
  assert_true(fh_type_live(type) == 0);
}

static struct node *common;
static atomic_int done;

static void change_or_look(int index, void *unused) {
  if (index < 2) {
    for (size_t i = 0; i < scaled(300) + 10; i++) {
      struct shown shown = {0};
      void *const target = common;
      require(fh_gc_objects(-1, node_type(), look, &shown) == FH_OK && shown.count > 0);
      require(fh_gc_referrers(&target, 1, node_type(), look, &shown) == FH_OK);
      require(fh_gc_referents(common, node_type(), look, &shown) == FH_OK);
    }
    atomic_fetch_add(&done, 1);
    return;
  }
  while (atomic_load(&done) < 2) {
    struct node *ring = node_ring(4);
    fh_set(ring, right, common);
    if (index % 2) {
      FH_CRITICAL(common);
      fh_set(common, left, ring);
    }
    fh_release(ring);
    fh_collect(index == 3 ? 2 : 0);
    fh_safepoint();
  }
}

static void looking_races_with_everything(void **state) {
  atomic_store(&done, 0);
  common = node_new(1);
  fh_publish(common);
  run_threads(4, change_or_look, NULL);
  fh_release(common);
  fh_settle();
  assert_int_equal((int)fh_type_live(node_type()), 0);
}

/* ---- kept garbage ---- */

static unsigned finalized;
static void count_finalizer(void *object) { finalized++; }
static const fh_type_spec mortal_spec = {.name = "mortal", .size = sizeof(struct node), .refs = other_refs, .finalize = count_finalizer};

static size_t count_saved(const fh_type *type) {
  struct shown shown = {0};
  require(fh_gc_saved(type, look, &shown) == FH_OK);
  return shown.count;
}

static void garbage_is_kept(void **state) {
  fh_type *type = type_of_spec(&mortal_spec);
  struct node *mortal = fh_new(type), *ring = node_ring(5);
  assert_non_null(mortal);
  mortal->check = ~mortal->id;
  finalized = 0;
  fh_set(mortal, left, ring);
  fh_set(ring, right, mortal);
  fh_weak *weak = fh_weak_new(mortal);
  assert_non_null(weak);
  fh_release(mortal);
  fh_release(ring);
  assert_int_equal(fh_gc_debug_set(FH_GC_SAVE), FH_OK);
  assert_true(fh_gc_debug_get() == FH_GC_SAVE);
  assert_int_equal((int)fh_collect(2), 6);
  assert_int_equal((int)fh_collect(2), 0); /* once */
  assert_int_equal((int)count_saved(NULL), 6);
  assert_int_equal((int)count_saved(type), 1);
  struct node *found = fh_weak_get(weak);
  assert_true(found == mortal && finalized == 0 && !fh_gc_is_finalized(found));
  fh_release(found);
  assert_int_equal(fh_check_heap(), FH_OK);
  assert_true(stats_now().generation[2].saved == 6 && stats_now().collected == 0);
  assert_int_equal((int)fh_gc_saved_clear(), 6);
  assert_int_equal((int)count_saved(NULL), 0);
  assert_int_equal((int)fh_collect(2), 6); /* kept again */
  assert_int_equal(fh_gc_debug_set(0), FH_OK);
  assert_int_equal((int)fh_gc_saved_clear(), 6);
  assert_int_equal((int)fh_collect(2), 6);
  assert_true(finalized == 1 && fh_type_live(type) == 0 && stats_now().collected == 6);
  found = fh_weak_get(weak);
  assert_null(found);
  fh_release(weak);
}

static bool retain_all(void *context, void *object) {
  struct node ***next = context;
  *(*next)++ = fh_retain((struct node *)object);
  return true;
}

static void what_was_kept_may_be_taken_over(void **state) {
  struct node *taken[3], **next = taken;
  fh_release(node_ring(3));
  fh_gc_debug_set(FH_GC_SAVE);
  fh_collect(2);
  fh_gc_debug_set(0);
  assert_int_equal(fh_gc_saved(NULL, retain_all, &next), FH_OK);
  assert_int_equal((int)fh_gc_saved_clear(), 3);
  assert_int_equal((int)fh_collect(2), 0);
  for (int i = 0; i < 3; i++) {
    assert_true(node_is_whole(taken[i]) && fh_is_published(taken[i]));
    fh_release(taken[i]);
  }
  assert_int_equal((int)fh_collect(2), 3);
}

static void drop_and_wait(void *waits_running) {
  fh_release(node_ring(10));
  gate_open(&gate, 1);
  if (waits_running)
    gate_await_running(&gate, 2);
  else
    gate_await(&gate, 2);
}

static void garbage_of_others_is_kept_and_published(void **state) {
  fh_gc_debug_set(FH_GC_SAVE);
  for (int running = 0; running < 2; running++) {
    atomic_store(&gate.value, 0);
    struct companion companion;
    companion_start(&companion, drop_and_wait, running ? &gate : NULL);
    gate_await(&gate, 1);
    assert_int_equal((int)fh_collect(2), 10);
    struct node *one = NULL;
    assert_int_equal(fh_gc_saved(NULL, retain_one, &one), FH_OK); /* requires that it is published */
    fh_release(one);
    assert_int_equal(fh_check_heap(), FH_OK);
    assert_int_equal((int)fh_gc_saved_clear(), 10);
    fh_gc_debug_set(0);
    assert_int_equal((int)fh_collect(2), 10); /* by this thread: it is published */
    assert_int_equal((int)fh_type_live(node_type()), 0);
    fh_gc_debug_set(FH_GC_SAVE);
    gate_open(&gate, 2);
    companion_join(&companion);
  }
  fh_gc_debug_set(0);
}

static void keep_or_clear(int index, void *unused) {
  for (size_t i = 0; i < scaled(400) + 10; i++) {
    fh_release(node_ring(3));
    if (index == 0) (void)fh_gc_debug_set(i % 2 ? FH_GC_SAVE : 0);
    if (index == 1) fh_collect((int)(i % 3));
    if (index == 2) (void)count_saved(NULL);
    if (index == 3) (void)fh_gc_saved_clear();
    fh_safepoint();
  }
}

static void keeping_races_with_clearing(void **state) {
  run_threads(4, keep_or_clear, NULL);
  fh_gc_debug_set(0);
  fh_gc_saved_clear();
  fh_settle();
  assert_int_equal((int)fh_type_live(node_type()), 0);
}

static void a_shutdown_lets_go(void **state) {
  uint64_t leaked = 1;
  assert_int_equal(fh_init(NULL), FH_OK);
  assert_int_equal(fh_attach("main"), FH_OK);
  fh_release(node_ring(10));
  fh_gc_debug_set(FH_GC_SAVE);
  assert_int_equal((int)fh_collect(2), 10);
  fh_detach();
  assert_int_equal(fh_shutdown(1000, &leaked), FH_OK);
  assert_true(leaked == 0);
}

/* ---- a line for each collection ---- */

static void collections_are_logged(void **state) {
  static struct heard heard = HEARD;
  runtime_start(&(fh_options){.log = hear, .log_context = &heard, .flags = FH_OPTION_GC_OFF});
  fh_release(node_ring(10));
  fh_collect(2);
  assert_true(heard.length == 0);
  assert_int_equal(fh_gc_debug_set(FH_GC_LOG), FH_OK);
  fh_release(node_ring(5));
  fh_collect(0);
  fh_collect(2);
  assert_int_equal(fh_gc_debug_set(0), FH_OK);
  assert_non_null(strstr(heard.text, "freehold: young collection: looked at 5, found 5, saved 0"));
  assert_non_null(strstr(heard.text, "freehold: old collection: looked at 0, found 0"));
  runtime_stop();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime_gc_off(objects_are_shown_by_generation),
      with_runtime_gc_off(types_are_told_apart),
      with_runtime_gc_off(a_visitor_may_have_enough),
      with_runtime_gc_off(what_is_shown_lives_during_the_call),
      with_runtime_gc_off(what_cannot_be_is_refused),
      with_runtime_gc_off(referrers_and_referents_are_shown),
      with_runtime_gc_off(what_is_private_to_others_is_published),
      with_runtime_gc_off(garbage_on_its_way_is_not_shown),
      with_runtime_gc_off(looking_races_with_everything),
      with_runtime_gc_off(garbage_is_kept),
      with_runtime_gc_off(what_was_kept_may_be_taken_over),
      with_runtime_gc_off(garbage_of_others_is_kept_and_published),
      with_runtime_gc_off(keeping_races_with_clearing),
      cmocka_unit_test(a_shutdown_lets_go),
      cmocka_unit_test(collections_are_logged),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
