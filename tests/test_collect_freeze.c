/* SPDX-License-Identifier: MIT */
/* Frozen chunks, as the collector sees them.
 *
 * Claims: a scan of any generation leaves the side arrays of frozen objects alone, counts nothing from them and follows nothing into
 * them; the checker proves them like others; frozen chunks stay in their mutator's list of aged ones, newborns open a new one, and
 * no collection ages, drops or rejuvenates them; unfreezing asks the next old collection to ignore marks. Real: the whole
 * runtime; the world is stopped by the test. */
#include "support/inside.h"

#include <string.h>

#include "collect/collect.h"
#include "collect/scan.h"
#include "ref/merge.h"
#include "sync/stop.h"

static struct heard heard = HEARD;

static int setup(void **state) {
  runtime_start(&(fh_options){.log = hear, .log_context = &heard, .flags = FH_OPTION_GC_OFF});
  return 0;
}

static void scan_stopped(uint32_t generation, const struct node *frozen, const struct node *young) {
  struct fh__scan scan;
  stop_world();
  fh__scan_begin(&scan, generation);
  fh__scan_subtract(&scan);
  require(scan.objects == 1);
  require(scan.refs[frozen->fh.fh__slot] == 0);
  require(scan.refs[young->fh.fh__slot] == 1);
  fh__scan_mark(&scan);
  require(scan.refs[frozen->fh.fh__slot] == 0 && scan.refs[frozen->left->fh.fh__slot] == 0);
  require(scan.refs[young->fh.fh__slot] == FH__SCAN_MARKED);
  fh__scan_end(&scan);
  resume_world();
}

static void a_scan_leaves_frozen_objects_alone(void **state) {
  struct node *frozen = node_new(1), *child = node_new(2);
  fh_give(frozen, left, child);
  fh_gc_freeze();
  struct node *young = node_new(3);
  fh_set(young, left, frozen);
  for (uint32_t generation = 0; generation < FH__GENERATIONS; generation++) scan_stopped(generation, frozen, young);
  fh_release(young);
  fh_release(frozen);
}

static void the_checker_proves_them(void **state) {
  struct node *frozen = node_new(1), *young;
  fh_gc_freeze();
  young = node_new(2);
  fh_set(young, left, frozen);
  assert_int_equal(fh_check_heap(), FH_OK);
  young->right = frozen; /* not counted */
  fh_release(frozen);
  heard.length = 0;
  assert_int_equal(fh_check_heap(), FH_EINVAL);
  assert_non_null(strstr(heard.text, "[scan.refs]"));
  young->right = NULL;
  assert_int_equal(fh_check_heap(), FH_OK);
  fh_release(young);
}

static size_t count_aged(uint32_t generation) {
  size_t count = 0;
  for (const struct fh__chunk *chunk = fh__self()->track.aged; chunk; chunk = chunk->next) count += fh__chunk_generation(chunk) == generation;
  return count;
}

static void their_chunks_stay_where_they_are(void **state) {
  enum { MANY = 3 * FH__CHUNK_ENTRIES };
  static struct node *n[MANY];
  for (int i = 0; i < MANY; i++) n[i] = node_new((uint64_t)i);
  assert_int_equal(fh_gc_freeze(), FH_OK);
  assert_true(fh__self()->track.current == &fh__no_chunk);
  size_t chunks = count_aged(FH__FROZEN);
  assert_true(chunks >= 3 && fh__track.frozen == chunks);
  for (int i = 0; i < MANY; i++) fh_release(n[i]);
  struct node *young = node_new(1);
  assert_true(fh__self()->track.current != &fh__no_chunk);
  for (int generation = 0; generation < 3; generation++) fh_collect(generation);
  assert_true(count_aged(FH__FROZEN) == chunks && fh__track_count_frozen() == 0); /* though they are empty */
  fh__collector.ignore_marks = false;
  assert_int_equal(fh_gc_unfreeze(), FH_OK);
  assert_true(fh__collector.ignore_marks);
  assert_true(fh__track.frozen == 0 && count_aged(FH__FROZEN) == 0 && count_aged(FH__OLD) >= chunks);
  fh_collect(2);
  assert_true(count_aged(FH__OLD) <= 1);
  fh_release(young);
}

#define frozen_test(test) cmocka_unit_test_setup_teardown(test, setup, runtime_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      frozen_test(a_scan_leaves_frozen_objects_alone),
      frozen_test(the_checker_proves_them),
      frozen_test(their_chunks_stay_where_they_are),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
