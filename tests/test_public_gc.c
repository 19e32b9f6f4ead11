/* SPDX-License-Identifier: MIT */
/* Collections, through the public interface: fh_collect, fh_gc_enable, _disable, _is_enabled, fh_gc_is_tracked, fh_check_heap.
 *
 * Claims: exactly what is not reachable from a count of the outside is found, whether it is private to this mutator, to one
 * that runs, to one that sleeps or is gone, or published; what lives stays untouched; it starts by itself when enough entries
 * were opened, unless it is off; private garbage of a running mutator is destroyed by that mutator at its safepoint; the checker
 * finds a heap that was tampered with. A random graph is compared with a model that marks it by hand. */
#include <string.h>

#include "support/support.h"

/* ---- one mutator ---- */

static void rings_and_loops_are_collected(void **state) {
  const size_t lengths[] = {1, 2, 3, 10, 1000, scaled(100000)};
  for (int published = 0; published < 2; published++)
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
      for (int generation = 0; generation < 3; generation++) {
        struct node *ring = node_ring(lengths[i]);
        if (published) fh_publish(ring);
        if (generation == 2) assert_int_equal((int)fh_collect(2), 0); /* a smaller one would make it too old for the next */
        assert_true(fh_refcount(ring) == 2);
        fh_release(ring);
        assert_int_equal((int)fh_collect(generation), lengths[i]);
        assert_int_equal((int)fh_type_live(node_type()), 0);
      }
}

static void a_loop_on_both_fields_is_collected(void **state) {
  struct node *n = node_new(1);
  fh_set(n, left, n);
  fh_give(n, right, n);
  assert_int_equal((int)fh_collect(2), 1);
}

static void garbage_takes_down_what_hangs_on_it(void **state) {
  struct node *ring = node_ring(3), *tail = node_new(9), *shared = node_new(10);
  fh_give(tail, left, fh_retain(shared));
  fh_give(ring, right, tail);
  fh_release(ring);
  assert_int_equal((int)fh_collect(2), 4);
  assert_true(fh_refcount(shared) == 1 && node_is_whole(shared));
  fh_release(shared);
}

static void what_is_held_anywhere_keeps_its_cycle(void **state) {
  struct node *a = node_ring(5), *b = node_ring(5);
  fh_set(b, right, a); /* b keeps a */
  fh_release(a);
  assert_int_equal((int)fh_collect(2), 0);
  fh_set(a, right, b); /* and a keeps b, but nothing keeps the two */
  fh_release(b);
  assert_int_equal((int)fh_collect(2), 10);
}

static const fh_ref leaf_refs[] = {FH_FIELD(struct node, left), FH_FIELD(struct node, right), FH_END};
static const fh_type_spec holder_spec = {
    .name = "holder", .size = sizeof(struct node), .refs = leaf_refs, .flags = FH_ACYCLIC};

static void a_reference_from_an_untracked_object_counts_as_from_outside(void **state) {
  struct node *holder = new_of_spec(&holder_spec), *ring = node_ring(4);
  fh_give(holder, left, ring);
  assert_int_equal((int)fh_collect(2), 0);
  fh_release(holder);
  assert_int_equal((int)fh_collect(2), 4);
}

/* A random graph, some of it held from outside, against marking by hand. */
static void mark(struct node *n, bool *reached) {
  static struct node *stack[4000];
  size_t depth = 0;
  if (!reached[n->id]) stack[depth++] = n;
  reached[n->id] = true;
  while (depth) {
    struct node *at = stack[--depth];
    struct node *children[2] = {at->left, at->right};
    for (int i = 0; i < 2; i++)
      if (children[i] && !reached[children[i]->id]) {
        reached[children[i]->id] = true;
        stack[depth++] = children[i];
      }
  }
}

static void random_graph(uint64_t seed) {
  enum { NODES = 2000 };
  static struct node *nodes[NODES];
  static bool reached[NODES];
  for (uint64_t i = 0; i < NODES; i++) nodes[i] = node_new(i);
  for (size_t i = 0; i < NODES * 3 / 2; i++) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    struct node *from = nodes[(seed >> 33) % NODES], *to = nodes[(seed >> 44) % NODES];
    if (seed & 1 << 20)
      fh_set(from, left, to);
    else
      fh_set(from, right, to);
    if (i % 50 == 0) fh_publish(nodes[(seed >> 20) % NODES]);
  }
  memset(reached, 0, sizeof reached);
  int held = 0;
  for (int i = 0; i < NODES; i += 40) mark(nodes[i], reached);
  for (int i = 0; i < NODES; i++) held += reached[i];
  for (int i = 0; i < NODES; i++)
    if (i % 40) fh_release(nodes[i]); /* some die here, by their counts */
  fh_collect(2);
  fh_settle();
  assert_int_equal((int)fh_type_live(node_type()), held);
  assert_int_equal((int)atomic_load(&node_deaths), NODES - held);
  for (int i = 0; i < NODES; i++)
    if (reached[i]) require(node_is_whole(nodes[i]) && nodes[i]->id == (uint64_t)i);
  assert_int_equal(fh_check_heap(), FH_OK);
  for (int i = 0; i < NODES; i += 40) fh_release(nodes[i]);
  fh_settle();
  assert_int_equal((int)fh_type_live(node_type()), 0);
}

static void random_graphs_lose_exactly_what_is_unreachable(void **state) {
  for (uint64_t seed = 1; seed <= 3 + scaled(40); seed++) {
    atomic_store(&node_deaths, 0);
    random_graph(seed);
  }
}

/* ---- other mutators ---- */

static struct gate gate = GATE;
static struct node *theirs;

static void make_garbage_and_run(void *argument) {
  fh_release(node_ring(10));
  theirs = node_ring(5);
  gate_open(&gate, 1);
  gate_await_running(&gate, 2);
  require(node_is_whole(theirs) && fh_refcount(theirs) == 2);
  fh_release(theirs);
}

static void make_garbage_and_sleep(void *argument) {
  fh_release(node_ring(10));
  theirs = node_ring(5);
  gate_open(&gate, 1);
  gate_await(&gate, 2);
  require(node_is_whole(theirs) && fh_refcount(theirs) == 2);
  fh_release(theirs);
}

static void garbage_private_to(void (*body)(void *)) {
  atomic_store(&gate.value, 0);
  uint64_t before = stats_now().collected;
  struct companion companion;
  companion_start(&companion, body, NULL);
  gate_await(&gate, 1);
  fh_collect(2); /* or one that was due before it: in torture builds that is so at many safepoints */
  while (fh_type_live(node_type()) != 5) fh_housekeep(); /* a running one destroys its own, at its next safepoint */
  assert_int_equal(fh_check_heap(), FH_OK);
  gate_open(&gate, 2);
  companion_join(&companion);
  fh_collect(2);
  assert_int_equal((int)fh_type_live(node_type()), 0);
  assert_int_equal((int)(stats_now().collected - before), 15);
}

static void garbage_private_to_a_running_mutator_is_collected(void **state) { garbage_private_to(make_garbage_and_run); }
static void garbage_private_to_a_sleeper_is_collected(void **state) { garbage_private_to(make_garbage_and_sleep); }

/* Rings that remember which thread destroyed them. */
static _Atomic(pthread_t) destroyer;
static pthread_t owner_thread;
static void remember_thread(void *object) { atomic_store(&destroyer, pthread_self()); }
static const fh_ref homing_refs[] = {FH_FIELD(struct node, left), FH_END};
static const fh_type_spec homing_spec = {
    .name = "homing", .size = sizeof(struct node), .refs = homing_refs, .dealloc = remember_thread};

static void lose_homing_ring(void *argument) {
  owner_thread = pthread_self();
  struct node *n = new_of_spec(&homing_spec);
  fh_give(n, left, n);
  if (argument) fh_blocking_begin();
  gate_open(&gate, 1);
  if (argument)
    gate_await(&gate, 2);
  else
    gate_await_running(&gate, 2);
  if (argument) fh_blocking_end();
}

static void private_garbage_is_destroyed_by(bool sleeping, bool by_owner) {
  bool biased = test_design() == FH_DESIGN_BIASED;
  if (!biased) by_owner = false;          /* it is not private to anybody: whoever collects destroys it */
  bool surely = biased || !is_torture();  /* that this thread collects it, and not the owner at a safepoint of its own */
  atomic_store(&gate.value, 0);
  struct companion owner;
  companion_start(&owner, lose_homing_ring, sleeping ? &gate : NULL);
  gate_await(&gate, 1);
  fh_type *type = type_of_spec(&homing_spec);
  require(fh_collect(2) == 1 || !surely);
  while (fh_type_live(type)) fh_safepoint();
  require(!surely || pthread_equal(atomic_load(&destroyer), by_owner ? owner_thread : pthread_self()));
  gate_open(&gate, 2);
  companion_join(&owner);
}

static void a_running_mutator_destroys_its_own_garbage(void **state) { private_garbage_is_destroyed_by(false, true); }
static void a_sleepers_garbage_is_destroyed_in_its_place(void **state) { private_garbage_is_destroyed_by(true, false); }

static struct node *common;

/* Private rings that refer to published garbage, and published rings made by several. */
static void mix_garbage(int index, void *argument) {
  for (size_t i = 0; i < scaled(4000); i++) {
    struct node *public_ring = node_ring(4), *private_ring = node_ring(3);
    fh_publish(public_ring);
    fh_give(private_ring, right, fh_retain(public_ring));
    {
      FH_CRITICAL(common);
      fh_set(common, left, public_ring);
    }
    fh_release(public_ring);
    fh_release(private_ring);
    if (index == 0 && i % 50 == 0) fh_collect(2);
    fh_safepoint();
  }
}

static void private_and_published_garbage_is_collected_together(void **state) {
  common = node_new(1);
  fh_publish(common);
  run_threads(4, mix_garbage, NULL);
  fh_release(common);
  fh_settle();
  assert_int_equal((int)fh_type_live(node_type()), 0);
  assert_true(atomic_load(&node_deaths) == 1 + 4 * 7 * scaled(4000));
}

static void collect_much(int index, void *argument) {
  for (size_t i = 0; i < scaled(2000) + 10; i++) {
    fh_release(node_ring(3));
    fh_collect(2);
    require(fh_type_live(node_type()) <= 4 * 6);
  }
}

static void several_threads_collect_at_once(void **state) {
  run_threads(4, collect_much, NULL);
  fh_settle();
  assert_int_equal((int)fh_type_live(node_type()), 0);
}

static void check_or_work(int index, void *argument) {
  if (index == 0) {
    for (size_t i = 0; i < scaled(400) + 10; i++) require(fh_check_heap() == FH_OK);
    gate_open(&gate, 1);
    return;
  }
  while (atomic_load(&gate.value) < 1) {
    struct node *ring = node_ring(3);
    if (index == 1) {
      fh_publish(ring);
      fh_release_later(ring);
    } else {
      fh_release(ring);
    }
    fh_retire(fh_alloc(10));
    if (index == 2) fh_collect(2);
    fh_safepoint();
  }
}

static void the_heap_is_in_order_at_every_stop(void **state) {
  atomic_store(&gate.value, 0);
  run_threads(4, check_or_work, NULL);
}

/* ---- by itself ---- */

static void run_with(const fh_options *options, void (*body)(void)) {
  runtime_start(options);
  body();
  runtime_stop();
}

static uint64_t rings_until_collected(uint64_t most) {
  uint64_t before = stats_now().collections;
  for (uint64_t i = 1; i <= most; i++) {
    fh_release(node_ring(2));
    fh_safepoint();
    if (stats_now().collections > before) return i;
  }
  return most + 1;
}

static void make_rings_until_it_collects(void) { require(rings_until_collected(5000) <= 5000); }
static void make_rings_in_vain(void) {
  require(!fh_gc_is_enabled());
  require(rings_until_collected(5000) > 5000);
  require(fh_type_live(node_type()) == 10000);
  require(fh_collect(2) == 10000); /* by hand it works all the same */
  fh_gc_enable();
  require(fh_gc_is_enabled());
  require(rings_until_collected(5000) <= 5000);
  fh_gc_disable();
  require(!fh_gc_is_enabled());
  fh_collect(2);
  require(rings_until_collected(5000) > 5000);
}

static void collections_start_by_themselves(void **state) {
  run_with(&(fh_options){.gc_threshold = 2000}, make_rings_until_it_collects);
}

static void collections_do_not_start_while_they_are_off(void **state) {
  run_with(&(fh_options){.gc_threshold = 2000, .flags = FH_OPTION_GC_OFF}, make_rings_in_vain);
}

static void make_rings_at_once(int index, void *argument) {
  for (size_t i = 0; i < scaled(100000) + 5000; i++) {
    fh_release(node_ring(2));
    fh_safepoint();
  }
}

/* Garbage never heaps up beyond the threshold and what was there before, by more than a chunk a mutator. */
static void make_many_rings(void) {
  uint64_t before = stats_now().collections;
  run_threads(4, make_rings_at_once, NULL);
  require(stats_now().collections >= before + 2);
  require(fh_type_live(node_type()) <= 4000 + 4 * 2048);
}

static void automatic_collections_keep_up_with_four_threads(void **state) {
  run_with(&(fh_options){.gc_threshold = 4000}, make_many_rings);
}

/* The more lives, the rarer: all of a heap of L live objects is not looked at before its share of new ones has become old. */
static void keep_much_and_make_little(void) {
  const uint64_t live = is_torture() ? 1000 : 40000;
  struct node *list = NULL;
  for (uint64_t i = 0; i < live; i++) {
    struct node *n = node_new(i);
    fh_give(n, left, list);
    list = n;
  }
  fh_collect(2);
  fh_stats before = stats_now();
  for (uint64_t i = 0; i < live; i++) { /* garbage does not become old */
    fh_release(node_ring(2));
    fh_safepoint();
  }
  fh_stats between = stats_now();
  if (!is_torture()) require(between.generation[2].collections == before.generation[2].collections); /* it collects of its own accord */
  require(between.generation[0].collections > before.generation[0].collections);
  for (uint64_t i = 0; i < 2 * live; i++) { /* these do */
    struct node *n = node_new(i);
    fh_give(n, left, list);
    list = n;
    fh_safepoint();
  }
  require(stats_now().generation[2].collections > before.generation[2].collections);
  fh_release(list);
}

static void the_share_of_the_living_puts_collections_off(void **state) {
  run_with(&(fh_options){.gc_threshold = 1, .gc_percent = 100, .gc_overhead = 100}, keep_much_and_make_little);
}

/* ---- the checker ---- */

static struct heard heard = HEARD;

static void check_tampered(void (*tamper)(struct node *)) {
  require(fh_init(&(fh_options){.log = hear, .log_context = &heard}) == FH_OK);
  require(fh_attach("main") == FH_OK);
  struct node *holder = node_new(1), *n = node_new(2);
  fh_give(holder, left, n);
  require(fh_check_heap() == FH_OK && heard.length == 0);
  tamper(holder);
  require(fh_check_heap() == FH_EINVAL);
  require(strstr(heard.text, "check"));
}

static void refer_without_counting(struct node *holder) { holder->right = holder->left; }
static void refer_to_nonsense(struct node *holder) {
  static struct node nonsense;
  holder->right = &nonsense;
}
static void change_the_slot(struct node *holder) { holder->fh.fh__slot++; }
static void set_the_queued_bit(struct node *holder) { holder->fh.fh__shared |= 2; }

static void tamper_with_count(void) { check_tampered(refer_without_counting); }
static void tamper_with_field(void) { check_tampered(refer_to_nonsense); }
static void tamper_with_slot(void) { check_tampered(change_the_slot); }
static void tamper_with_queued(void) { check_tampered(set_the_queued_bit); }

/* A published object that refers to a private one: stored behind the barrier's back. */
static void tamper_with_publication(void) {
  require(fh_init(&(fh_options){.log = hear, .log_context = &heard}) == FH_OK);
  require(fh_attach("main") == FH_OK);
  struct node *holder = node_new(1);
  fh_publish(holder);
  holder->left = node_new(2);
  require(fh_check_heap() == FH_EINVAL);
  require(strstr(heard.text, "published"));
}

static void the_checker_finds_what_was_tampered_with(void **state) {
  expect_fine(tamper_with_slot);
  expect_fine(tamper_with_queued);
  if (!born_published()) expect_fine(tamper_with_publication); /* there is nothing private to refer to */
  expect_fine(tamper_with_count);
  expect_fine(tamper_with_field);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(rings_and_loops_are_collected),
      with_runtime(a_loop_on_both_fields_is_collected),
      with_runtime(garbage_takes_down_what_hangs_on_it),
      with_runtime(what_is_held_anywhere_keeps_its_cycle),
      with_runtime(a_reference_from_an_untracked_object_counts_as_from_outside),
      with_runtime(random_graphs_lose_exactly_what_is_unreachable),
      with_runtime(garbage_private_to_a_running_mutator_is_collected),
      with_runtime(garbage_private_to_a_sleeper_is_collected),
      with_runtime(a_running_mutator_destroys_its_own_garbage),
      with_runtime(a_sleepers_garbage_is_destroyed_in_its_place),
      with_runtime(private_and_published_garbage_is_collected_together),
      with_runtime(several_threads_collect_at_once),
      with_runtime(the_heap_is_in_order_at_every_stop),
      cmocka_unit_test(collections_start_by_themselves),
      cmocka_unit_test(collections_do_not_start_while_they_are_off),
      cmocka_unit_test(automatic_collections_keep_up_with_four_threads),
      cmocka_unit_test(the_share_of_the_living_puts_collections_off),
      cmocka_unit_test(the_checker_finds_what_was_tampered_with),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
