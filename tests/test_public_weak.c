/* SPDX-License-Identifier: MIT */
/* Weak references, as a user of the library sees them.
 *
 * Claims: a weak reference leads to its target while that lives, from any thread, and does not keep it; it leads to nothing from the
 * target's death on, or from the stop that found it to be garbage, before any finalizer runs; what a finalizer resurrects has lost
 * its weak references and may get new ones; types can refuse; a callback runs once, at a safepoint and never in the release, unless
 * its weak reference died first. */
#include "support/support.h"

#include <string.h>

static bool leads_to(fh_weak *weak, const void *target) {
  FH_AUTO void *found = fh_weak_get(weak);
  return found == target;
}

/* ---- one thread ---- */

static void it_leads_to_what_lives_and_keeps_nothing(void **state) {
  struct node *n = node_new(1);
  FH_AUTO fh_weak *weak = weak_to(n);
  assert_true(fh_refcount(n) == 1);
  struct node *found = fh_weak_get(weak);
  assert_ptr_equal(found, n);
  assert_true(fh_refcount(n) == 2);
  fh_release(found);
  fh_release(n);
  assert_true(deaths() == 1);
  assert_true(is_lost(weak) && is_lost(weak));
  fh_settle();
  assert_true(is_lost(weak));
}

static void what_was_got_is_owned(void **state) {
  struct node *n = node_new(1);
  FH_AUTO fh_weak *weak = weak_to(n);
  struct node *found = fh_weak_get(weak);
  fh_release(n);
  assert_true(node_is_whole(found) && leads_to(weak, found));
  fh_release(found);
  assert_true(deaths() == 1 && is_lost(weak));
}

static void both_are_published(void **state) {
  struct node *n = node_new(1);
  fh_give(n, left, node_new(2));
  FH_AUTO fh_weak *weak = weak_to(n);
  assert_true(fh_is_published(n) && fh_is_published(fh_get(n, left)) && fh_is_published(weak));
  fh_release(n);
}

static void an_object_has_many(void **state) {
  enum { MANY = 1000 };
  static fh_weak *weak[MANY];
  struct node *n = node_new(1);
  for (int i = 0; i < MANY; i++) weak[i] = weak_to(n);
  for (int i = 0; i < MANY; i += 2) fh_drop(&weak[i]);
  for (int i = 1; i < MANY; i += 2) assert_true(leads_to(weak[i], n));
  assert_int_equal(fh_check_heap(), FH_OK);
  fh_release(n);
  for (int i = 1; i < MANY; i += 2) assert_true(is_lost(weak[i]));
  for (int i = 1; i < MANY; i += 2) fh_release(weak[i]);
}

static void who_is_weakly_referenced_is_not_unique(void **state) {
  struct node *n = node_new(1);
  assert_true(fh_is_unique(n));
  fh_weak *first = weak_to(n), *second = weak_to(n);
  fh_release(first);
  assert_false(fh_is_unique(n));
  fh_release(second);
  assert_true(fh_is_unique(n)); /* with the last of them the object is what it was */
  fh_weak *third = weak_to(n);
  assert_true(leads_to(third, n) && !fh_is_unique(n));
  fh_release(n);
  assert_true(is_lost(third));
  fh_release(third);
}

struct holder {
  fh_object fh;
  fh_weak *weak;
  fh_slot slot;
};
static const fh_ref holder_refs[] = {FH_FIELD(struct holder, weak), FH_SLOT(struct holder, slot), FH_END};
static const fh_type_spec holder_spec = {.name = "holder", .size = sizeof(struct holder), .refs = holder_refs};

static void fields_and_slots_hold_weak_references(void **state) {
  struct holder *holder = new_of_spec(&holder_spec);
  struct node *n = node_new(1);
  fh_give(holder, weak, weak_to(n));
  FH_AUTO fh_weak *other = weak_to(n);
  fh_slot_store(&holder->slot, other);
  fh_drop(&other);
  fh_publish(holder);
  fh_weak *loaded = fh_slot_load(&holder->slot);
  assert_true(leads_to(fh_get(holder, weak), n) && leads_to(loaded, n));
  fh_release(n);
  assert_true(is_lost(fh_get(holder, weak)) && is_lost(loaded));
  fh_release(loaded);
  fh_release(holder);
}

/* A weak back reference makes no cycle: counts alone free it. */
static void a_weak_back_reference_is_no_cycle(void **state) {
  fh_type *type = type_of_spec(&holder_spec);
  struct holder *parent = fh_new(type), *child = fh_new(type);
  fh_give(child, weak, weak_to(parent));
  fh_slot_store(&parent->slot, child);
  fh_release(child);
  assert_true(leads_to(fh_get(child, weak), parent));
  fh_release(parent);
  assert_int_equal((int)fh_type_live(type), 0);
}

static void the_immortal_is_never_lost(void **state) {
  struct node *n = node_new(1);
  FH_AUTO fh_weak *weak = weak_to(n);
  fh_make_immortal(n);
  fh_release(n);
  fh_collect(2);
  assert_true(leads_to(weak, n) && node_is_whole(n));
  fh_weak *late = weak_to(n);
  assert_true(leads_to(late, n));
  fh_release(late);
}

/* ---- who refuses ---- */

static void refer_to_the_proud(void) {
  runtime_start(NULL);
  (void)!fh_weak_new(proud_new());
}

static void refer_to_a_weak_reference(void) {
  runtime_start(NULL);
  (void)!fh_weak_new(weak_to(node_new(1)));
}

static void types_may_refuse(void **state) {
  if (is_checked()) {
    expect_trap(refer_to_the_proud, "fh_weak_new", "FH_NO_WEAK", "proud", NULL);
    expect_trap(refer_to_a_weak_reference, "FH_NO_WEAK", "fh_weak", NULL);
    return;
  }
  FH_AUTO fh_object *proud = proud_new();
  assert_null(fh_weak_new(proud));
  FH_AUTO struct node *n = node_new(1);
  FH_AUTO fh_weak *weak = weak_to(n);
  assert_null(fh_weak_new(weak));
}

static void read_detached(void) {
  runtime_start(NULL);
  fh_weak *weak = weak_to(node_new(1));
  fh_detach();
  (void)!fh_weak_get(weak);
}

static void read_freed(void) {
  runtime_start(NULL);
  fh_weak *weak = weak_to(node_new(1));
  fh_release(weak);
  (void)!fh_weak_get(weak);
}

static void misuse_traps(void **state) {
  expect_trap(read_detached, "fh_weak_get", "not attached", NULL);
  if (is_checked()) expect_trap(read_freed, "fh_weak_get", "freed", NULL);
}

/* ---- finalizers ---- */

enum deed { NOTHING, RISE, REFER, RISE_AND_REFER };
struct phoenix {
  fh_object fh;
  struct phoenix *next;
  fh_weak *before; /* borrowed from the test: weak references to this very object */
  enum deed deed;
};
static struct phoenix *risen;
static fh_weak *referred;
static int finalized;

static void phoenix_finalize(void *object) {
  struct phoenix *p = object;
  finalized++;
  if (p->before) require(is_lost(p->before)); /* a finalizer is not found by it, not even by itself */
  if (p->deed == RISE || p->deed == RISE_AND_REFER) risen = fh_retain(p);
  if (p->deed == REFER || p->deed == RISE_AND_REFER) {
    referred = weak_to(p);
    require(leads_to(referred, p)); /* the runtime holds it now */
  }
}

static const fh_ref phoenix_refs[] = {FH_FIELD(struct phoenix, next), FH_END};
static const fh_type_spec phoenix_spec = {
    .name = "phoenix", .size = sizeof(struct phoenix), .refs = phoenix_refs, .finalize = phoenix_finalize};

static struct phoenix *phoenix_new(enum deed deed) {
  struct phoenix *p = new_of_spec(&phoenix_spec);
  p->deed = deed;
  return p;
}

static uint64_t phoenixes(void) {
  fh_type *type = type_of_spec(&phoenix_spec);
  return fh_type_live(type);
}

static int setup(void **state) {
  risen = NULL;
  referred = NULL;
  finalized = 0;
  return runtime_setup(state);
}
#define with_phoenixes(test) cmocka_unit_test_setup_teardown(test, setup, runtime_teardown)

/* In a ring with itself only a collection finds it. */
static void die(struct phoenix *p, bool as_garbage) {
  if (as_garbage) {
    FH_CRITICAL(p);
    fh_set(p, next, p);
  }
  fh_release(p);
  if (as_garbage) fh_collect(2);
}

static void lose_before_the_finalizer(bool as_garbage) {
  struct phoenix *p = phoenix_new(NOTHING);
  FH_AUTO fh_weak *weak = weak_to(p);
  p->before = weak;
  die(p, as_garbage);
  assert_true(is_lost(weak));
  if (!as_garbage) assert_int_equal(finalized, 0); /* lost with the release itself; the finalizer waits */
  fh_settle();
  assert_int_equal(finalized, 1);
  assert_true(phoenixes() == 0);
}

static void it_is_lost_before_the_finalizer_runs(void **state) {
  lose_before_the_finalizer(false);
  finalized = 0;
  lose_before_the_finalizer(true);
}

static void rise_without_it(bool as_garbage) {
  struct phoenix *p = phoenix_new(RISE_AND_REFER);
  FH_AUTO fh_weak *old = weak_to(p);
  p->before = old;
  die(p, as_garbage);
  fh_safepoint();
  assert_ptr_equal(risen, p);
  assert_true(is_lost(old));         /* for good */
  assert_true(leads_to(referred, p)); /* made by the finalizer, which resurrected it */
  FH_AUTO fh_weak *later = weak_to(p);
  assert_true(leads_to(later, p));
  assert_int_equal(fh_check_heap(), FH_OK);
  {
    FH_CRITICAL(p);
    fh_clear(p, next);
  }
  fh_release(p); /* its second death */
  assert_true(is_lost(later) && is_lost(referred));
  fh_drop(&referred);
  fh_settle();
  assert_true(phoenixes() == 0 && finalized == 1);
}

static void the_resurrected_has_lost_its_weak_references(void **state) {
  rise_without_it(false);
  finalized = 0;
  rise_without_it(true);
}

static void refer_while_dying(bool as_garbage) {
  die(phoenix_new(REFER), as_garbage);
  fh_safepoint();
  assert_int_equal(finalized, 1);
  assert_true(is_lost(referred)); /* it did not rise */
  fh_drop(&referred);
  fh_settle();
  assert_true(phoenixes() == 0);
}

static void one_that_a_finalizer_makes_is_lost_with_the_object(void **state) {
  refer_while_dying(false);
  finalized = 0;
  refer_while_dying(true);
}

static void it_leads_to_nothing_once_garbage_is_found(void **state) {
  enum { RING = 100 };
  static fh_weak *weak[RING];
  struct node *first = node_new(0), *last = first;
  weak[0] = weak_to(first);
  for (uint64_t i = 1; i < RING; i++) {
    struct node *n = node_new(i);
    weak[i] = weak_to(n);
    FH_CRITICAL(last);
    fh_give(last, left, n);
    last = n;
  }
  {
    FH_CRITICAL(last);
    fh_set(last, left, first);
  }
  assert_int_equal((int)fh_collect(2), 0);
  for (int i = 0; i < RING; i++) assert_true(!is_lost(weak[i]));
  fh_release(first);
  for (int i = 0; i < RING; i++) assert_true(!is_lost(weak[i])); /* nobody knows yet */
  assert_int_equal((int)fh_collect(2), RING);
  for (int i = 0; i < RING; i++) {
    assert_true(is_lost(weak[i]));
    fh_release(weak[i]);
  }
}

/* One that was got in time keeps all of it. */
static void what_is_got_from_a_ring_keeps_the_ring(void **state) {
  struct node *a = node_new(1), *b = node_new(2);
  fh_set(a, left, b);
  fh_set(b, left, a);
  FH_AUTO fh_weak *weak = weak_to(a);
  fh_release(a);
  fh_release(b);
  struct node *found = fh_weak_get(weak);
  assert_int_equal((int)fh_collect(2), 0);
  assert_true(node_is_whole(found) && node_is_whole(fh_get(found, left)));
  fh_release(found);
  assert_int_equal((int)fh_collect(2), 2);
  assert_true(is_lost(weak));
}

/* ---- callbacks ---- */

enum { CALLS = 64 };
static int called[CALLS], calls;
static pthread_t caller;
static void note_call(fh_weak *weak, void *context) {
  require(calls < CALLS && is_lost(weak));
  caller = pthread_self();
  called[calls++] = *(int *)context;
}

static int id_of[CALLS];
static fh_weak *calling(void *target, int id) {
  id_of[id] = id;
  fh_weak *weak = fh_weak_new_callback(target, note_call, &id_of[id]);
  require(weak);
  return weak;
}

static int setup_calls(void **state) {
  calls = 0;
  return setup(state);
}
#define with_calls(test) cmocka_unit_test_setup_teardown(test, setup_calls, runtime_teardown)

static void a_callback_runs_once_at_the_safepoint(void **state) {
  struct node *n = node_new(1);
  FH_AUTO fh_weak *weak = calling(n, 7);
  fh_safepoint();
  assert_int_equal(calls, 0);
  fh_release(n);
  assert_int_equal(calls, 0); /* not in the release */
  fh_safepoint();
  assert_true(calls == 1 && called[0] == 7);
  fh_settle();
  assert_int_equal(calls, 1);
}

static void the_newest_is_called_first(void **state) {
  struct node *a = node_new(1), *b = node_new(2);
  fh_weak *weak[4] = {calling(a, 0), calling(a, 1), calling(b, 2), weak_to(a)};
  fh_release(b);
  fh_release(a);
  fh_safepoint();
  assert_int_equal(calls, 3);
  assert_true(called[0] == 2 && called[1] == 1 && called[2] == 0); /* in the order of death, then the newest first */
  for (int i = 0; i < 4; i++) fh_release(weak[i]);
}

static void who_died_before_is_not_called(void **state) {
  struct node *n = node_new(1);
  fh_weak *weak[4];
  for (int i = 0; i < 4; i++) weak[i] = calling(n, i);
  fh_release(weak[0]); /* the last in the list, one in its midst, and its first */
  fh_release(weak[2]);
  fh_release(weak[3]);
  fh_release(n);
  fh_safepoint();
  assert_true(calls == 1 && called[0] == 1);
  fh_release(weak[1]);
}

/* It was alive when its target died; the runtime keeps it for its call. */
static void who_dies_between_is_called(void **state) {
  struct node *n = node_new(1);
  fh_weak *weak = calling(n, 5);
  fh_release(n);
  fh_release(weak);
  fh_safepoint();
  assert_true(calls == 1 && called[0] == 5);
}

static int finalized_at_call;
static void note_order(fh_weak *weak, void *context) { finalized_at_call = finalized; }

static void callbacks_come_before_finalizers(void **state) {
  for (int as_garbage = 0; as_garbage < 2; as_garbage++) {
    finalized = 0;
    finalized_at_call = -1;
    struct phoenix *p = phoenix_new(NOTHING);
    FH_AUTO fh_weak *weak = fh_weak_new_callback(p, note_order, NULL);
    assert_non_null(weak);
    die(p, as_garbage);
    fh_safepoint();
    assert_int_equal(finalized_at_call, 0);
    assert_int_equal(finalized, 1);
  }
}

/* Each callback loses another target that has one, until there is none. */
static struct node *next_to_lose;
static void lose_another(fh_weak *weak, void *context) {
  struct node *lost = next_to_lose;
  fh_release(weak); /* the reference of whoever made it */
  calls++;
  if (!lost) return;
  next_to_lose = node_new(1);
  require(fh_weak_new_callback(next_to_lose, lose_another, NULL));
  fh_release(lost);
}

static void callbacks_that_lose_more_hold_up_no_finalizer(void **state) {
  struct node *first = node_new(1);
  next_to_lose = node_new(1);
  assert_non_null(fh_weak_new_callback(first, lose_another, NULL));
  assert_non_null(fh_weak_new_callback(next_to_lose, lose_another, NULL));
  fh_release(first);
  for (int round = 1; round <= 4; round++) {
    int before = calls;
    fh_release(phoenix_new(NOTHING));
    fh_safepoint();
    assert_int_equal(finalized, round);
    assert_true(calls > before && calls <= before + 2); /* one for each time that the safepoint goes round */
  }
  struct phoenix *p = phoenix_new(NOTHING); /* killed by a callback, with one of its own that has to come first */
  FH_AUTO fh_weak *weak = fh_weak_new_callback(p, note_order, NULL);
  assert_non_null(weak);
  finalized_at_call = -1;
  fh_field_set(next_to_lose, &next_to_lose->left, p);
  fh_release(p);
  while (finalized_at_call < 0) fh_safepoint();
  fh_safepoint();
  assert_true(finalized_at_call == 4 && finalized == 5);
  struct node *last = next_to_lose;
  next_to_lose = NULL;
  fh_release(last);
  fh_settle();
}

static uint64_t deaths_at_call;
static void note_deaths(fh_weak *weak, void *context) {
  calls++;
  deaths_at_call = deaths();
}

static void garbage_calls_before_it_is_destroyed(void **state) {
  struct node *a = node_new(1), *b = node_new(2);
  fh_set(a, left, b);
  fh_set(b, left, a);
  FH_AUTO fh_weak *weak = fh_weak_new_callback(a, note_deaths, NULL);
  assert_non_null(weak);
  fh_release(a);
  fh_release(b);
  fh_settle();
  assert_true(calls == 1 && deaths_at_call == 0 && deaths() == 2);
}

/* The weak reference is a part of the garbage: it was alive when the garbage was found. */
static void a_weak_reference_in_the_garbage_is_called(void **state) {
  struct holder *h = new_of_spec(&holder_spec);
  fh_slot_store(&h->slot, h);
  fh_give(h, weak, calling(h, 9));
  fh_release(h);
  assert_int_equal((int)fh_collect(2), 1);
  assert_true(calls == 1 && called[0] == 9);
}

/* It does what finalizers may do: allocate, release with further deaths, collect, block. */
static void work_hard(fh_weak *weak, void *context) {
  struct node **left = context;
  calls++;
  struct node *n = *left;
  *left = NULL;
  if (n) fh_release(n);
  struct node *a = node_new(1);
  {
    FH_CRITICAL(a);
    fh_set(a, left, a);
  }
  fh_release(a);
  fh_collect(2);
  int before = calls;
  fh_safepoint();
  require(calls == before); /* no further callback nests in it */
  FH_BLOCKING();
}

static void callbacks_may_do_much(void **state) {
  enum { CALLED = 10 };
  static struct node *n[CALLED + 1];
  static fh_weak *weak[CALLED];
  for (int i = 0; i < CALLED; i++) n[i] = node_new((uint64_t)i);
  for (int i = 0; i < CALLED; i++) { /* the death of one makes the callback release the next */
    weak[i] = fh_weak_new_callback(n[i], work_hard, &n[i + 1]);
    assert_non_null(weak[i]);
  }
  fh_release(n[0]);
  for (int turns = 0; calls < CALLED; turns++) {
    require(turns < 2 * CALLED); /* each safepoint gets on */
    fh_safepoint();
  }
  for (int i = 0; i < CALLED; i++) fh_release(weak[i]);
  fh_settle();
  assert_int_equal(calls, CALLED);
}

static void drop_in_thread(void *argument) {
  fh_release(argument);
  fh_safepoint();
}

static void who_gives_up_the_last_reference_calls(void **state) {
  struct node *n = node_new(1);
  FH_AUTO fh_weak *weak = calling(n, 1);
  fh_retain(n); /* one for each thread */
  struct companion companion;
  companion_start(&companion, drop_in_thread, n);
  companion_join(&companion);
  fh_safepoint();
  assert_int_equal(calls, 0);
  fh_release(n);
  fh_safepoint();
  assert_int_equal(calls, 1);
  assert_true(pthread_equal(caller, pthread_self()));
}

enum { CHAIN = 10 };
static struct node *chain[CHAIN + 1];
static fh_weak *chain_weak[CHAIN];

/* The call for the death of one gives up the next. */
static void release_next(fh_weak *weak, void *context) {
  struct node **next = context;
  calls++;
  caller = pthread_self();
  if (*next) fh_drop(next);
}

static void leave_with_a_chain(void *argument) {
  for (int i = 0; i < CHAIN; i++) chain[i] = node_new((uint64_t)i);
  for (int i = 0; i < CHAIN; i++) {
    chain_weak[i] = fh_weak_new_callback(chain[i], release_next, &chain[i + 1]);
    require(chain_weak[i]);
  }
  fh_drop(&chain[0]); /* no safepoint behind it but the detach */
}

static void what_waits_is_called_at_detach(void **state) {
  struct companion companion;
  companion_start(&companion, leave_with_a_chain, NULL);
  companion_join(&companion);
  assert_int_equal(calls, CHAIN);
  assert_false(pthread_equal(caller, pthread_self()));
  for (int i = 0; i < CHAIN; i++) fh_release(chain_weak[i]);
}

static void end_the_thread(fh_weak *weak, void *context) {
  calls++;
  if (calls == 2) pthread_exit(NULL);
}

static void leave_in_a_callback(void *argument) {
  fh_weak **weak = argument;
  struct node *n = node_new(1);
  for (int i = 0; i < 4; i++) {
    weak[i] = fh_weak_new_callback(n, end_the_thread, NULL);
    require(weak[i]);
  }
  fh_release(n);
  fh_safepoint();
  require(!"a thread goes on that has ended");
}

static void a_callback_may_end_its_thread(void **state) {
  fh_weak *weak[4] = {0};
  struct companion companion;
  companion_start(&companion, leave_in_a_callback, weak);
  companion_join(&companion);
  assert_int_equal(calls, 4); /* the rest at the thread's exit */
  for (int i = 0; i < 4; i++) fh_release(weak[i]);
}

/* ---- leaks ---- */

static void leak(void) {
  struct heard heard = HEARD;
  require(fh_init(&(fh_options){.log = hear, .log_context = &heard}) == FH_OK);
  require(fh_attach("leaker") == FH_OK);
  struct node *kept = node_new(1);
  fh_weak *weak = weak_to(kept), *other = weak_to(kept);
  fh_detach();
  uint64_t leaked = 0;
  require(fh_shutdown(1000, &leaked) == FH_OK && leaked == 3);
  require(strstr(heard.text, "2 of type fh_weak"));
  require(fh_init(NULL) == FH_OK && fh_attach("again") == FH_OK); /* from nothing */
  struct node *n = node_new(2);
  fh_weak *again = weak_to(n);
  require(leads_to(again, n));
  fh_release(again);
  fh_release(n);
  fh_detach();
  require(fh_shutdown(1000, &leaked) == FH_OK && leaked == 0);
  require(weak && other); /* they stay: objects that are not tracked cannot be found at the end */
}

static void what_leaks_is_reported(void **state) {
  if (memory_is_measurable()) expect_fine(leak); /* the sanitizers report it, too */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(it_leads_to_what_lives_and_keeps_nothing),
      with_runtime(what_was_got_is_owned),
      with_runtime(both_are_published),
      with_runtime(an_object_has_many),
      with_runtime(who_is_weakly_referenced_is_not_unique),
      with_runtime(fields_and_slots_hold_weak_references),
      with_runtime(a_weak_back_reference_is_no_cycle),
      with_runtime(the_immortal_is_never_lost),
      with_runtime(types_may_refuse),
      cmocka_unit_test(misuse_traps),
      with_phoenixes(it_is_lost_before_the_finalizer_runs),
      with_phoenixes(the_resurrected_has_lost_its_weak_references),
      with_phoenixes(one_that_a_finalizer_makes_is_lost_with_the_object),
      with_runtime(it_leads_to_nothing_once_garbage_is_found),
      with_runtime(what_is_got_from_a_ring_keeps_the_ring),
      with_calls(a_callback_runs_once_at_the_safepoint),
      with_calls(the_newest_is_called_first),
      with_calls(who_died_before_is_not_called),
      with_calls(who_dies_between_is_called),
      with_calls(callbacks_come_before_finalizers),
      with_calls(callbacks_that_lose_more_hold_up_no_finalizer),
      with_calls(garbage_calls_before_it_is_destroyed),
      with_calls(a_weak_reference_in_the_garbage_is_called),
      with_calls(callbacks_may_do_much),
      with_calls(who_gives_up_the_last_reference_calls),
      with_calls(what_waits_is_called_at_detach),
      with_calls(a_callback_may_end_its_thread),
      cmocka_unit_test(what_leaks_is_reported),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
