/* SPDX-License-Identifier: MIT */
/* The account of live bytes.
 *
 * Claims: whatever is taken and returned, and however the credit moves, live = drawn - credits [account.sum], and the parts
 * are what was taken less what was returned [account.parts]; the credit is drawn in steps, bounded above, and none is left
 * after settling; a peak is never below what was drawn; draws are granted exactly up to the hard limit, and near it little more is
 * drawn than is needed [account.limit]. Real: the account alone, with locals of its own. */
#include "support/support.h"

#include "memory/account.h"

static int reset(void **state) {
  fh__account_start(INT64_MAX, INT64_MAX);
  return 0;
}

static bool take(struct fh__account_local *local, size_t bytes) {
  return fh__account_spend(local, bytes) || fh__account_draw(local);
}

static bool take_part(struct fh__account_local *local, int64_t *part, size_t bytes) {
  return fh__account_spend_part(local, part, bytes) || fh__account_draw(local);
}

static int64_t live_with(const struct fh__account_local *local) { return fh__account.drawn - local->credit; }

static void taking_draws_a_credit(void **state) {
  struct fh__account_local local = {0};
  assert_true(take(&local, 100));
  assert_int_equal(live_with(&local), 100);
  assert_int_equal(local.credit, FH__CREDIT_BYTES);
  assert_true(take(&local, FH__CREDIT_BYTES)); /* out of the credit: nothing is drawn */
  assert_int_equal(local.credit, 0);
  assert_int_equal(fh__account.drawn, 100 + FH__CREDIT_BYTES);
  assert_true(take(&local, 1));
  assert_int_equal(local.credit, FH__CREDIT_BYTES);
  assert_int_equal(live_with(&local), 101 + FH__CREDIT_BYTES);
}

static void a_large_credit_is_given_back(void **state) {
  struct fh__account_local local = {0};
  size_t much = 10 * FH__CREDIT_BYTES;
  assert_true(take(&local, much));
  for (size_t left = much; left; left -= FH__CREDIT_BYTES) {
    fh__account_return(&local, FH__CREDIT_BYTES);
    assert_true(local.credit <= 2 * FH__CREDIT_BYTES);
    assert_int_equal(live_with(&local), left - FH__CREDIT_BYTES);
  }
}

static void settling_leaves_no_credit_and_moves_nothing(void **state) {
  struct fh__account_local local = {0};
  assert_true(take(&local, 1000));
  fh__account_settle(&local);
  assert_int_equal(local.credit, 0);
  assert_int_equal(fh__account.drawn, 1000);
  fh__account_return(&local, 1000);
  assert_int_equal(live_with(&local), 0);
  fh__account_settle(&local);
  assert_int_equal(fh__account.drawn, 0);
}

static void parts_add_up(void **state) {
  struct fh__account_local maker = {0}, taker = {0};
  assert_true(take_part(&maker, &maker.items, 300));
  assert_true(take_part(&maker, &maker.buffers, 50));
  fh__account_return_part(&taker, &taker.items, 300); /* dies elsewhere: the part there is negative */
  assert_int_equal(maker.items + taker.items, 0);
  assert_int_equal(maker.buffers, 50);
  assert_int_equal(fh__account.drawn - maker.credit - taker.credit, 50);
}

static void the_peak_only_rises(void **state) {
  struct fh__account_local local = {0};
  assert_true(take(&local, 5 * FH__CREDIT_BYTES));
  int64_t peak = fh__account.peak;
  assert_true(peak >= 5 * FH__CREDIT_BYTES);
  fh__account_return(&local, 5 * FH__CREDIT_BYTES);
  assert_int_equal(fh__account.peak, peak);
  assert_true(take(&local, 20 * FH__CREDIT_BYTES));
  assert_true(fh__account.peak >= 20 * FH__CREDIT_BYTES);
}

/* ---- near the hard limit ---- */

enum { HARD = 64 * FH__CREDIT_BYTES };

static int reset_with_limit(void **state) {
  fh__account_start(HARD / 2, HARD);
  return 0;
}

static void the_limit_is_met_exactly(void **state) {
  struct fh__account_local local = {0};
  assert_true(take(&local, HARD));
  assert_int_equal(fh__account.drawn, HARD);
  assert_int_equal(local.credit, 0);
  assert_false(take(&local, 1));
  assert_int_equal(local.credit, -1); /* the caller's to return */
  fh__account_return(&local, 1);
  assert_int_equal(fh__account.drawn, HARD);
  assert_int_equal(local.credit, 0);
  fh__account_return(&local, 100);
  assert_true(take(&local, 100));
  assert_false(take(&local, 1));
  fh__account_return(&local, 1);
}

static void a_refused_draw_changes_nothing(void **state) {
  struct fh__account_local local = {0};
  assert_true(take(&local, 1000));
  int64_t credit = local.credit, drawn = fh__account.drawn, peak = fh__account.peak;
  assert_false(take(&local, HARD));
  fh__account_return(&local, HARD);
  assert_true(local.credit == credit && fh__account.drawn == drawn && fh__account.peak == peak);
}

static void near_the_limit_little_lies_idle(void **state) {
  struct fh__account_local local = {0};
  int64_t taken = 0;
  while (take(&local, 16)) {
    taken += 16;
    int64_t room = HARD - fh__account.drawn;
    assert_true(local.credit <= FH__CREDIT_BYTES);
    assert_true(fh__account.drawn - taken == local.credit && room >= 0);
    if (room < 16) assert_true(local.credit < 32);
  }
  fh__account_return(&local, 16);
  assert_int_equal(taken, HARD);
}

static void above_the_soft_limit_no_large_credit_stays(void **state) {
  struct fh__account_local local = {0};
  assert_true(take(&local, HARD * 3 / 4));
  assert_true(fh__account_is_tight());
  fh__account_return(&local, 2 * FH__CREDIT_BYTES + 1);
  assert_int_equal(local.credit, 0);
  fh__account_return(&local, HARD / 2);
  assert_false(fh__account_is_tight());
}

static void a_lowered_limit_grants_nothing_until_there_is_room(void **state) {
  struct fh__account_local local = {0};
  assert_true(take(&local, HARD));
  fh__account.hard = HARD / 2;
  fh__account_return(&local, HARD / 4);
  fh__account_settle(&local);
  assert_false(take(&local, 1));
  fh__account_return(&local, 1);
  fh__account_return(&local, HARD / 4 + 1);
  fh__account_settle(&local);
  assert_true(take(&local, 1));
  assert_int_equal(fh__account.drawn, HARD / 2);
}

enum { THREADS = 4 };
static struct fh__account_local locals[THREADS];

static void take_and_return(int index, void *argument) {
  struct fh__account_local *local = &locals[index];
  size_t held = 0;
  unsigned random = (unsigned)index + 1;
  for (size_t i = scaled(200000); i; i--) {
    random = random * 1664525 + 1013904223;
    size_t bytes = (random >> 8) % (FH__CREDIT_BYTES / 2);
    if (random >> 31 && held >= bytes) {
      fh__account_return(local, bytes);
      held -= bytes;
    } else {
      require(take(local, bytes));
      held += bytes;
    }
    if (i % 1000 == 0) fh__account_settle(local);
  }
  fh__account_return(local, held);
}

static void the_sum_survives_traffic(void **state) {
  run_bare_threads(THREADS, take_and_return, NULL);
  int64_t credit = 0;
  for (int i = 0; i < THREADS; i++) credit += locals[i].credit;
  assert_int_equal(fh__account.drawn - credit, 0);
}

static void take_at_the_limit(int index, void *argument) {
  struct fh__account_local *local = &locals[index];
  size_t held = 0;
  unsigned random = (unsigned)index + 1;
  for (size_t i = scaled(200000); i; i--) {
    random = random * 1664525 + 1013904223;
    size_t bytes = (random >> 8) % (4 * FH__CREDIT_BYTES);
    if (random >> 31 && held >= bytes) {
      fh__account_return(local, bytes);
      held -= bytes;
    } else if (take(local, bytes)) {
      held += bytes;
    } else {
      fh__account_return(local, bytes);
    }
    require(local->credit >= 0);
    require(FH__LOAD(&fh__account.drawn, RELAXED) <= HARD);
  }
  fh__account_return(local, held);
  fh__account_settle(local);
}

static void traffic_stays_below_the_limit(void **state) {
  for (int i = 0; i < THREADS; i++) locals[i] = (struct fh__account_local){0};
  run_bare_threads(THREADS, take_at_the_limit, NULL);
  assert_int_equal(fh__account.drawn, 0);
  assert_in_range(fh__account.peak, HARD / 2, HARD);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(taking_draws_a_credit, reset),
      cmocka_unit_test_setup(a_large_credit_is_given_back, reset),
      cmocka_unit_test_setup(settling_leaves_no_credit_and_moves_nothing, reset),
      cmocka_unit_test_setup(parts_add_up, reset),
      cmocka_unit_test_setup(the_peak_only_rises, reset),
      cmocka_unit_test_setup(the_limit_is_met_exactly, reset_with_limit),
      cmocka_unit_test_setup(a_refused_draw_changes_nothing, reset_with_limit),
      cmocka_unit_test_setup(near_the_limit_little_lies_idle, reset_with_limit),
      cmocka_unit_test_setup(above_the_soft_limit_no_large_credit_stays, reset_with_limit),
      cmocka_unit_test_setup(a_lowered_limit_grants_nothing_until_there_is_room, reset_with_limit),
      cmocka_unit_test_setup(the_sum_survives_traffic, reset),
      cmocka_unit_test_setup(traffic_stays_below_the_limit, reset_with_limit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
