/* SPDX-License-Identifier: MIT */
/* The checker: every finding it can make, made on purpose.
 *
 * Claims: a sound heap is FH_OK; each broken invariant is FH_EINVAL and named in the log, and after the repair the heap is
 * sound again; looking changes nothing. Real: the whole runtime; one word is corrupted at a time. */
#include "support/exhaust.h"

#include <string.h>

#include "collect/check.h"
#include "mutator/mutator.h"

static struct heard heard = HEARD;

static int setup(void **state) {
  runtime_start(&(fh_options){.log = hear, .log_context = &heard});
  return 0;
}

/* The corruption is in place: the checker must name it. */
static void expect_finding(const char *invariant, const char *what) {
  heard.length = 0;
  heard.text[0] = 0;
  fh_status status = fh_check_heap();
  char text[sizeof heard.text];
  memcpy(text, heard.text, sizeof text);
  if (status != FH_EINVAL || !strstr(text, invariant) || !strstr(text, what))
    fail_msg("%s: wanted %s %s, heard: %s", fh_status_name(status), invariant, what, text);
}

static void expect_sound(void) {
  heard.length = 0;
  heard.text[0] = 0;
  fh_status status = fh_check_heap();
  if (status || heard.length) fail_msg("%s: %s", fh_status_name(status), heard.text);
}

/* Corrupts one 32-bit word for the time of a check. */
static void break_word(uint32_t *word, uint32_t value, const char *invariant, const char *what) {
  uint32_t right = *word;
  *word = value;
  expect_finding(invariant, what);
  *word = right;
  expect_sound();
}

/* ---- words ---- */

static void words_that_do_not_fit(void **state) {
  only_private();
  struct node *n = node_new(1), *p = node_new(2);
  uint32_t *bias = &n->fh.fh__bias, *shared = &n->fh.fh__shared;
  fh_publish(p);
  expect_sound();
  break_word(&p->fh.fh__bias, fh__stamp_of(77), "[ref.owner]", "owner 77 does not exist");
  break_word(&p->fh.fh__shared, FH__MERGED + FH__ONE, "[ref.merged]", "merged, but owner 1 local 1");
  break_word(&p->fh.fh__bias, FH__BIAS_MARK, "[ref.owner]", "not merged, owner 0 local 0");
  break_word(shared, FH__PRIVATE | FH__QUEUED, "[ref.private]", "private with state bits");
  break_word(shared, (FH__PRIVATE | FH__MERGED) + FH__ONE, "[ref.private]", "private with state bits");
  break_word(shared, FH__PRIVATE - FH__ONE, "[ref.sum]", "count 0");
  uint32_t right = *shared;
  *bias = FH__BIAS_MARK; /* nobody's, and nothing left */
  *shared = FH__MERGED;
  expect_finding("[ref.dead]", "dead and tracked");
  *bias = fh__bias_with(fh__self()->stamp, 1);
  *shared = right;
  expect_sound();
  fh_release(n);
  fh_release(p);
}

static void be(void *unused) {}

static void a_private_object_in_anothers_chunk(void **state) {
  only_biased();
  struct companion companion;
  companion_start(&companion, be, NULL); /* so that mutator 2 exists */
  companion_join(&companion);
  struct node *n = node_new(1);
  break_word(&n->fh.fh__bias, fh__stamp_of(2), "[ref.private]", "private to 2 in a chunk of 1");
  fh_release(n);
}

static void immortal_words_are_not_looked_at(void **state) {
  struct node *n = node_new(1);
  uint32_t bias = n->fh.fh__bias, shared = n->fh.fh__shared;
  n->fh.fh__bias = FH__BIAS_IMMORTAL;
  n->fh.fh__shared = FH__IMMORTAL | FH__MERGED;
  expect_sound();
  n->fh.fh__bias = bias;
  n->fh.fh__shared = shared;
  fh_release(n);
}

/* ---- references ---- */

static void references_that_do_not_fit(void **state) {
  only_private();
  static _Alignas(16) char nothing[64];
  struct node *holder = node_new(1), *child = node_new(2);
  holder->left = (struct node *)(void *)nothing;
  expect_finding("[ref.sum]", "which is no object");
  holder->left = NULL;
  fh_publish(holder);
  holder->left = child; /* past the barrier */
  expect_finding("[ref.published]", "published, refers to private");
  fh_publish(child);
  expect_sound(); /* one reference, and one count: the test gave its own away */
  holder->right = child;
  expect_finding("[scan.refs]", "1 more references than counted");
  holder->right = NULL;
  expect_sound();
  fh_release(holder);
}

/* ---- chunks ---- */

static void entries_that_do_not_fit(void **state) {
  static const fh_type_spec plain_spec = {.name = "untracked", .size = 32};
  fh_type *plain = type_of_spec(&plain_spec);
  struct node *n = node_new(1), *hole = node_new(2), *more = node_new(3);
  struct fh__chunk *chunk = fh__track_chunk_of(n->fh.fh__slot);
  uint32_t at = n->fh.fh__slot - chunk->base;
  break_word(&n->fh.fh__slot, n->fh.fh__slot + 1, "[track.entry]", "slot");
  uint16_t type = n->fh.fh__type;
  n->fh.fh__type = 0;
  expect_finding("[track.entry]", "holds no object");
  n->fh.fh__type = 4711;
  expect_finding("[track.entry]", "holds no object");
  n->fh.fh__type = plain->index;
  if (!born_published()) expect_finding("[track.entry]", "of untracked type untracked"); /* else it may have been a key */
  n->fh.fh__type = type;
  expect_sound();
  fh_release(hole);
  fh_release(more);
  uint32_t first = chunk->free - 1;
  assert_int_not_equal(chunk->free, 0);
  break_word(&chunk->free, at + 1, "[track.entry]", "is broken at");
  break_word(&chunk->free, 0, "[track.entry]", "free entries in a list of");
  uint64_t entry = chunk->entries[first];
  chunk->entries[first] = 1; /* the list ends too early */
  expect_finding("[track.entry]", "free entries in a list of");
  chunk->entries[first] = entry;
  expect_sound();
  break_word(&chunk->holes, chunk->holes + 1, "[track.holes]", "counted as");
  struct fh__track_local other;
  fh__track_init(&other, fh__self()->sync.id + 1);
  fh__track_remove(&other, &n->fh); /* as a stranger would */
  break_word(&chunk->tombs, 0, "[track.tombs]", "1 tombstones, not marked");
  require(fh__track_add(&fh__self()->track, &n->fh));
  fh_release(n);
}

/* ---- queues and limbo ---- */

/* A node of mutator 2, whose thread has gone, in its queue: pushed under a claim, which left the work undone. */
static struct node *handed_over;
static void make_published(void *unused) {
  handed_over = node_new(9);
  fh_publish(handed_over);
}

static struct node *queued_node(void) {
  struct companion companion;
  companion_start(&companion, make_published, NULL);
  companion_join(&companion);
  struct fh__sync_local *owner = fh__registry_get(2);
  require(fh__state_claim(owner));
  fh_release(handed_over);
  fh__state_unclaim(owner);
  require(!fh__queue_is_empty(&owner->queue));
  return handed_over;
}

static void queues_that_do_not_fit(void **state) {
  only_biased();
  struct node *n = queued_node();
  uint32_t *owners_state = &fh__registry_get(2)->state;
  *owners_state = FH__DETACHED | FH__WANTED; /* keeps those out who would drain the queue after the look */
  expect_sound();                            /* what is queued may count 0 for now */
  break_word(&n->fh.fh__shared, n->fh.fh__shared & ~(uint32_t)FH__QUEUED, "[ref.queued]", "in a queue without QUEUED");
  break_word(&n->fh.fh__bias, fh__self()->stamp, "[ref.queued]", "of 1 in the queue of 2");
  *owners_state = FH__DETACHED;
  expect_sound();
  assert_true(fh__queue_is_empty(&fh__registry_get(2)->queue)); /* drained after the look */
  fh_safepoint();
  assert_true(atomic_load(&node_deaths) == 1);
  n = node_new(1);
  fh_publish(n);
  break_word(&n->fh.fh__shared, FH__QUEUED, "[ref.queued]", "1 objects are QUEUED, 0 are in queues");
  fh_release(n);
}

static void limbo_that_does_not_fit(void **state) {
  struct fh__mutator *me = fh__self();
  struct node *n = node_new(1);
  fh_publish(n);
  fh_release(n);
  assert_ptr_equal(me->limbo.open.objects.first, n);
  break_word(&n->fh.fh__shared, FH__MERGED + FH__ONE, "[ref.dead]", "in limbo with shared");
  break_word(&n->fh.fh__shared, 0, "[ref.dead]", "in limbo with shared");
  fh__limbo_seal(&me->limbo, UINT64_MAX - 1);
  break_word(&n->fh.fh__shared, FH__MERGED | FH__QUEUED, "[ref.dead]", "in limbo with shared");
  me->limbo.sealed.stamp = 1;
}

/* ---- sums ---- */

static void sums_that_do_not_fit(void **state) {
  struct fh__mutator *me = fh__self();
  struct companion companion;
  companion_start(&companion, be, NULL);
  companion_join(&companion);
  struct fh__mutator *gone = fh__mutator_by_id(2);
  struct node *n = node_new(1);
  expect_sound();
  fh__account.drawn++;
  expect_finding("[account.parts]", "differ by 1");
  fh__account.drawn--;
  me->account.buffers += 5;
  expect_finding("[account.parts]", "differ by -5");
  me->account.buffers -= 5;
  gone->account.credit += 16;
  fh__account.drawn += 16;
  expect_finding("[account.sum]", "unbound mutator 2 holds credit");
  gone->account.credit -= 16;
  fh__account.drawn -= 16;
  fh__census_add(&me->census, fh_type_of(n), -2);
  expect_finding("[census.sum]", "-1 instances of node");
  fh__census_add(&me->census, fh_type_of(n), 2);
  expect_sound();
  fh_release(n);
}

/* ---- looking ---- */

static void looking_changes_nothing(void **state) {
  struct node *a = node_new(1), *b = node_new(2);
  fh_set(a, left, b);
  fh_set(b, left, a);
  fh_release(b);
  fh_publish(a);
  fh_object before[2] = {a->fh, b->fh};
  fh_stats stats = stats_now();
  for (int i = 0; i < 3; i++) expect_sound();
  assert_memory_equal(&before[0], &a->fh, sizeof a->fh);
  assert_memory_equal(&before[1], &b->fh, sizeof b->fh);
  assert_true(stats_now().collections == stats.collections && stats_now().stops == stats.stops + 3);
  FH_NO_SAFEPOINT();
  assert_int_equal(fh_check_heap(), FH_EAGAIN);
  fh_clear(b, left);
  fh_release(a);
}

static void check_without_memory(void) {
  runtime_start(NULL);
  exhaust_system();
  require(fh_check_heap() == FH_OK);
  refill_memory(&(struct exhausted){NULL, NULL});
  require(fh_check_heap() == FH_OK);
}

static void without_memory_it_looks_all_the_same(void **state) {
  if (!can_exhaust_memory()) skip();
  expect_fine(check_without_memory);
}

#define with_log(test) cmocka_unit_test_setup_teardown(test, setup, runtime_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      with_log(words_that_do_not_fit),
      with_log(a_private_object_in_anothers_chunk),
      with_log(immortal_words_are_not_looked_at),
      with_log(references_that_do_not_fit),
      with_log(entries_that_do_not_fit),
      with_log(queues_that_do_not_fit),
      with_log(limbo_that_does_not_fit),
      with_log(sums_that_do_not_fit),
      with_log(looking_changes_nothing),
      cmocka_unit_test(without_memory_it_looks_all_the_same),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
