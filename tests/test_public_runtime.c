/* SPDX-License-Identifier: MIT */
/* The runtime's life, through the public interface: fh_init, fh_shutdown, fh_is_stopping, fh_status_name, fh_version.
 *
 * Claims: options are checked before anything changes, and the first one's hold; inits are counted; a shutdown refuses while
 * a mutator is bound, in a blocking region too, and leaves everything usable; it finalises, collects, clears roots, counts what
 * is left by type (untracked types as well) and frees it without dealloc; afterwards nothing is left of a round.
 * Nothing is faked. */
#include <dirent.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "support/support.h"

/* ---- words ---- */

static void every_status_has_its_name(void **state) {
  static const char *const names[] = {"FH_OK",        "FH_ENOMEM", "FH_ELIMIT",    "FH_EINVAL", "FH_EVERSION",
                                      "FH_ESHUTDOWN", "FH_EBUSY",  "FH_ENOTFOUND", "FH_EEXIST", "FH_ERANGE",
                                      "FH_EAGAIN",    "FH_ETIMEOUT", "FH_ESHARED"};
  for (int i = FH_OK; i <= FH_ESHARED; i++) assert_string_equal(fh_status_name((fh_status)i), names[i]);
  assert_string_equal(fh_status_name((fh_status)(FH_ESHARED + 1)), "FH_?");
  assert_string_equal(fh_status_name((fh_status)-1), "FH_?");
  assert_int_equal(FH_OK, 0);
}

static void the_version_says_numbers_and_build(void **state) {
  char wanted[32];
  snprintf(wanted, sizeof wanted, "%d.%d.%d (", FH_VERSION_MAJOR, FH_VERSION_MINOR, FH_VERSION_PATCH);
  assert_memory_equal(fh_version(), wanted, strlen(wanted));
  const char *build = fh_version() + strlen(wanted);
  assert_true(!strcmp(build, "release)") || !strcmp(build, "checked)") || !strcmp(build, "torture)"));
}

/* ---- init ---- */

static void nothing_runs(void) {
  fh_stats stats = {.size = sizeof stats};
  fh_type *type = NULL;
  static fh_slot root;
  uint64_t leaked = 77;
  assert_int_equal(fh_attach("nobody"), FH_ESHUTDOWN);
  assert_int_equal(fh_stats_get(&stats), FH_ESHUTDOWN);
  assert_int_equal(fh_type_register(&node_spec, &type), FH_ESHUTDOWN);
  assert_int_equal(fh_root_add(&root), FH_ESHUTDOWN);
  assert_int_equal(fh_shutdown(0, &leaked), FH_ESHUTDOWN);
  assert_true(leaked == 77);
  assert_null(type);
  assert_false(fh_is_attached());
  assert_false(fh_is_stopping());
}

static void start_and_stop(const fh_options *options) {
  uint64_t leaked = 77;
  assert_int_equal(fh_init(options), FH_OK);
  assert_false(fh_is_attached());
  assert_int_equal(fh_attach("main"), FH_OK);
  fh_release(node_new(1));
  fh_detach();
  assert_int_equal(fh_shutdown(0, &leaked), FH_OK);
  assert_true(leaked == 0);
}

static void init_takes_no_options_and_zeroed_ones(void **state) {
  fh_options zeroed = {0};
  nothing_runs();
  start_and_stop(NULL);
  start_and_stop(&zeroed);
  zeroed.size = sizeof zeroed;
  start_and_stop(&zeroed);
  nothing_runs();
}

static void init_refuses_options_out_of_range(void **state) {
  const fh_options wrong[] = {
      {.flags = FH_OPTION_NO_CANDIDATES << 1}, {.flags = 1u << 31},     {.gc_threshold = (1u << 31) + 1},       {.gc_percent = 10001},
      {.design = 3}, {.fork = 3}, {.gil_switch_us = 1000001},  {.gc_threshold = UINT32_MAX}, {.limbo_batch = ((size_t)1 << 30) + 1}, {.limbo_batch = SIZE_MAX}, {.gc_workers = 33},
      {.gc_overhead = 101}, {.gc_pause_us = 1000001}, {.gc_overhead = UINT32_MAX},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    assert_int_equal(fh_init(&wrong[i]), FH_EINVAL);
    nothing_runs();
  }
  assert_int_equal(fh_init(&(fh_options){.size = sizeof(fh_options) + 8}), FH_EVERSION);
  assert_int_equal(fh_init(&(fh_options){.size = 1}), FH_EVERSION);
  nothing_runs();
}

static void init_takes_the_ends_of_each_range(void **state) {
  start_and_stop(&(fh_options){.gc_threshold = 1, .gc_percent = 1, .gc_workers = 1, .gc_overhead = 1, .gc_pause_us = 1, .limbo_batch = 1});
  start_and_stop(&(fh_options){.gc_threshold = 1u << 31, .gc_percent = 10000, .gc_workers = 32, .gc_overhead = 100, .gc_pause_us = 1000000, .limbo_batch = (size_t)1 << 30});
  start_and_stop(&(fh_options){
      .flags = FH_OPTION_GC_OFF | FH_OPTION_COUNT_PATHS | FH_OPTION_SHARED_HEAP | FH_OPTION_QUIET | FH_OPTION_NO_CANDIDATES});
}

static void another_abi_is_refused(void **state) {
  assert_int_equal(fh__init(NULL, sizeof(fh_options), FH_ABI + 1), FH_EVERSION);
  assert_int_equal(fh__init(NULL, sizeof(fh_options), 0), FH_EVERSION);
  assert_int_equal(fh__init(NULL, sizeof(fh_options) - 8, FH_ABI), FH_EVERSION);
  nothing_runs();
}

static void inits_are_counted_and_the_first_options_hold(void **state) {
  uint64_t leaked = 77;
  assert_int_equal(fh_init(&(fh_options){.flags = FH_OPTION_GC_OFF}), FH_OK);
  assert_int_equal(fh_init(NULL), FH_EEXIST);
  assert_int_equal(fh_init(&(fh_options){.gc_percent = 10001}), FH_EINVAL); /* not counted */
  assert_int_equal(fh_init(&(fh_options){0}), FH_EEXIST);
  assert_false(fh_gc_is_enabled());
  assert_int_equal(fh_attach("main"), FH_OK);
  assert_int_equal(fh_shutdown(0, NULL), FH_OK); /* others use it on, so the caller may be attached */
  fh_release(node_new(1));
  fh_detach();
  assert_int_equal(fh_shutdown(0, NULL), FH_OK);
  assert_int_equal(fh_attach("main"), FH_OK);
  fh_detach();
  assert_int_equal(fh_shutdown(0, &leaked), FH_OK);
  assert_true(leaked == 0);
  nothing_runs();
}

/* Each thread is one more embedder. Whoever comes while the last one ends waits and tries again. */
static void embed(int index, void *argument) {
  for (size_t i = 0; i < scaled(2000); i++) {
    fh_status status;
    while ((status = fh_init(NULL)) == FH_ESHUTDOWN) sched_yield();
    require(status == FH_OK || status == FH_EEXIST);
    require(fh_attach("embedder") == FH_OK);
    struct node *n = node_new(i);
    fh_set(n, left, n);
    fh_release(n);
    fh_detach();
    uint64_t leaked = 77;
    require(fh_shutdown(10000, &leaked) == FH_OK);
    require(leaked == 0);
  }
}

static void embedders_come_and_go_at_once(void **state) {
  run_bare_threads(4, embed, NULL);
  nothing_runs();
}

/* ---- shutdown refuses ---- */

static void shutdown_refuses_an_attached_caller(void **state) {
  assert_int_equal(fh_init(NULL), FH_OK);
  assert_int_equal(fh_attach("main"), FH_OK);
  uint64_t leaked = 77;
  assert_int_equal(fh_shutdown(0, &leaked), FH_EBUSY);
  assert_int_equal(fh_shutdown(1000000, &leaked), FH_EBUSY); /* it would wait for itself */
  fh_blocking_begin();
  assert_int_equal(fh_shutdown(1000000, &leaked), FH_EBUSY);
  fh_blocking_end();
  assert_true(leaked == 77);
  assert_false(fh_is_stopping());
  fh_release(node_new(1));
  fh_detach();
  assert_int_equal(fh_shutdown(0, NULL), FH_OK);
}

static struct gate gate = GATE;

static void stay_attached(void *argument) {
  gate_open(&gate, 1);
  gate_await_running(&gate, 2);
}

static void stay_blocking(void *argument) {
  FH_BLOCKING();
  gate_open(&gate, 1);
  gate_await(&gate, 2);
}

static uint64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void refuse_while(void (*stay)(void *)) {
  struct companion companion;
  atomic_store(&gate.value, 0);
  assert_int_equal(fh_init(NULL), FH_OK);
  companion_start(&companion, stay, NULL);
  gate_await(&gate, 1);
  uint64_t leaked = 77;
  assert_int_equal(fh_shutdown(0, &leaked), FH_EBUSY);
  uint64_t began = now_ms();
  assert_int_equal(fh_shutdown(20, &leaked), FH_EBUSY);
  assert_true(now_ms() - began >= 19);
  assert_true(leaked == 77);
  assert_false(fh_is_stopping());
  assert_int_equal(fh_attach("main"), FH_OK); /* usable as before */
  fh_release(node_new(1));
  fh_detach();
  gate_open(&gate, 2);
  companion_join(&companion);
  assert_int_equal(fh_shutdown(0, &leaked), FH_OK);
  assert_true(leaked == 0);
}

static void shutdown_refuses_while_another_is_attached(void **state) { refuse_while(stay_attached); }
static void shutdown_refuses_while_another_blocks(void **state) { refuse_while(stay_blocking); }

static fh_status newcomers_status;

static void attach_late(void *argument) {
  newcomers_status = fh_attach("late");
  if (newcomers_status == FH_OK) fh_detach();
}

static void leave_when_it_stops(void *argument) {
  gate_open(&gate, 1);
  while (!fh_is_stopping()) fh_safepoint();
  require(fh_attach(NULL) == FH_OK); /* nests: this thread is in already */
  fh_detach();
  struct companion newcomer;
  companion_start_bare(&newcomer, attach_late, NULL);
  companion_join(&newcomer);
  require(fh_init(NULL) == FH_ESHUTDOWN);
  fh_release(node_new(1));
}

static void shutdown_waits_for_the_last_and_lets_nobody_in(void **state) {
  struct companion companion;
  atomic_store(&gate.value, 0);
  assert_int_equal(fh_init(NULL), FH_OK);
  companion_start(&companion, leave_when_it_stops, NULL);
  gate_await(&gate, 1);
  uint64_t leaked = 77;
  assert_int_equal(fh_shutdown(60000, &leaked), FH_OK);
  companion_join(&companion);
  assert_int_equal(newcomers_status, FH_ESHUTDOWN);
  assert_true(leaked == 0);
  nothing_runs();
}

/* ---- shutdown finishes ---- */

static int plain_deaths;
static void plain_dealloc(void *object) { plain_deaths++; }
static const fh_type_spec plain_spec = {.name = "plain", .size = sizeof(fh_object), .dealloc = plain_dealloc};

/* Leaked on purpose; kept in sight of LeakSanitizer. */
static void *kept[16];
static int kept_count;

static void leak_three_nodes_and_two_plain(fh_options *options, uint64_t *leaked_out) {
  plain_deaths = 0;
  atomic_store(&node_deaths, 0);
  assert_int_equal(fh_init(options), FH_OK);
  assert_int_equal(fh_attach("main"), FH_OK);
  fh_type *plain = type_of_spec(&plain_spec);
  struct node *first = node_new(1);
  fh_give(first, left, node_new(2));
  fh_give(first, right, node_new(3));
  kept[kept_count++] = first;
  for (int i = 0; i < 2; i++) assert_non_null(kept[kept_count++] = fh_new(plain));
  fh_release(node_new(4));
  fh_detach();
  assert_int_equal(fh_shutdown(0, leaked_out), FH_OK);
  assert_int_equal(plain_deaths, 0); /* leaked objects are freed without dealloc */
  assert_int_equal(atomic_load(&node_deaths), 1);
}

static void leaks_are_counted_and_named_by_type(void **state) {
  static struct heard heard = HEARD;
  fh_options options = {.log = hear, .log_context = &heard};
  uint64_t leaked = 0;
  leak_three_nodes_and_two_plain(&options, &leaked);
  assert_true(leaked == 5);
  assert_non_null(strstr(heard.text, "3 of type node"));
  assert_non_null(strstr(heard.text, "2 of type plain"));
}

static void leaks_are_not_logged_if_quiet(void **state) {
  static struct heard heard = HEARD;
  fh_options options = {.log = hear, .log_context = &heard, .flags = FH_OPTION_QUIET};
  uint64_t leaked = 0;
  leak_three_nodes_and_two_plain(&options, &leaked);
  assert_true(leaked == 5);
  assert_string_equal(heard.text, "");
  leak_three_nodes_and_two_plain(&options, NULL);
}

static void leak_to_standard_error(void) {
  require(fh_init(NULL) == FH_OK);
  require(fh_attach("main") == FH_OK);
  kept[0] = node_new(1);
  fh_detach();
  require(fh_shutdown(0, NULL) == FH_OK);
}

static void messages_go_to_standard_error_by_default(void **state) {
  struct outcome outcome;
  child_run(leak_to_standard_error, &outcome);
  assert_int_equal(outcome.signal, 0);
  assert_non_null(strstr(outcome.text, "1 of type node\n"));
}

static int final_calls;
static void finalize_last(void *object) { final_calls++; }
struct final {
  fh_object fh;
  struct final *peer;
};
static const fh_ref final_refs[] = {FH_FIELD(struct final, peer), FH_END};
static const fh_type_spec final_spec = {
    .name = "final", .size = sizeof(struct final), .refs = final_refs, .finalize = finalize_last};

static void shutdown_clears_roots_finalises_and_collects(void **state) {
  static fh_slot root;
  final_calls = 0;
  assert_int_equal(fh_init(&(fh_options){.flags = FH_OPTION_GC_OFF}), FH_OK);
  assert_int_equal(fh_attach("main"), FH_OK);
  fh_type *type = type_of_spec(&final_spec);
  struct final *ring = fh_new(type);
  assert_non_null(ring);
  fh_set(ring, peer, ring);
  assert_int_equal(fh_root_add(&root), FH_OK);
  fh_slot_store(&root, ring);
  fh_release(ring);
  struct final *garbage = fh_new(type); /* a private ring, reachable by nobody */
  assert_non_null(garbage);
  fh_give(garbage, peer, garbage);
  fh_detach();
  uint64_t leaked = 77;
  assert_int_equal(fh_shutdown(0, &leaked), FH_OK);
  assert_true(leaked == 0);
  assert_int_equal(final_calls, 2);
  assert_null(root.fh__value);
}

/* ---- nothing grows ---- */

static size_t open_files(void) {
  size_t count = 0;
  DIR *directory = opendir("/proc/self/fd");
  assert_non_null(directory);
  while (readdir(directory)) count++;
  closedir(directory);
  return count;
}

static void work_a_little(int index, void *argument) {
  enum { OBJECTS = 100 };
  for (uint64_t i = 0; i < OBJECTS; i++) {
    struct node *n = node_new(i);
    fh_set(n, left, n);
    fh_release(n);
    fh_retire(fh_alloc(100));
  }
}

static void one_round(size_t leaks) {
  fh_options options = {.flags = FH_OPTION_QUIET};
  uint64_t leaked = 77;
  assert_int_equal(fh_init(&options), FH_OK);
  assert_int_equal(fh_attach("main"), FH_OK);
  static fh_slot root;
  assert_int_equal(fh_root_add(&root), FH_OK);
  work_a_little(0, NULL);
  run_threads(2, work_a_little, NULL);
  for (size_t i = 0; i < leaks; i++) assert_non_null(node_new(i));
  fh_detach();
  assert_int_equal(fh_shutdown(10000, &leaked), FH_OK);
  assert_true(leaked == leaks);
}

static void rounds_leave_nothing(size_t leaks) {
  enum { MUCH = 8 << 20 };
  size_t rounds = scaled(1000);
  for (size_t i = 0; i < rounds / 10; i++) one_round(leaks);
  size_t files = open_files(), bytes = resident_bytes();
  for (size_t i = 0; i < rounds; i++) one_round(leaks);
  assert_int_equal(open_files(), files);
  if (memory_is_measurable() && resident_bytes() > bytes + MUCH)
    fail_msg("resident size grew from %zu to %zu bytes in %zu rounds", bytes, resident_bytes(), rounds);
}

static void a_thousand_rounds_leave_nothing(void **state) { rounds_leave_nothing(0); }
static void rounds_that_leak_leave_nothing_either(void **state) { rounds_leave_nothing(1000); }

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_status_has_its_name),
      cmocka_unit_test(the_version_says_numbers_and_build),
      cmocka_unit_test(init_takes_no_options_and_zeroed_ones),
      cmocka_unit_test(init_refuses_options_out_of_range),
      cmocka_unit_test(init_takes_the_ends_of_each_range),
      cmocka_unit_test(another_abi_is_refused),
      cmocka_unit_test(inits_are_counted_and_the_first_options_hold),
      cmocka_unit_test(embedders_come_and_go_at_once),
      cmocka_unit_test(shutdown_refuses_an_attached_caller),
      cmocka_unit_test(shutdown_refuses_while_another_is_attached),
      cmocka_unit_test(shutdown_refuses_while_another_blocks),
      cmocka_unit_test(shutdown_waits_for_the_last_and_lets_nobody_in),
      cmocka_unit_test(leaks_are_counted_and_named_by_type),
      cmocka_unit_test(leaks_are_not_logged_if_quiet),
      cmocka_unit_test(messages_go_to_standard_error_by_default),
      cmocka_unit_test(shutdown_clears_roots_finalises_and_collects),
      cmocka_unit_test(a_thousand_rounds_leave_nothing),
      cmocka_unit_test(rounds_that_leak_leave_nothing_either),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
