/* SPDX-License-Identifier: MIT */
/* fields: money and things move between accounts under the accounts' locks. If a lock lets two in, ThreadSanitizer sees it, and
 * without it the sum of all balances does. */
#include "scenarios.h"

enum { ACCOUNTS = 6, ACCOUNT = KINDS };

struct account {
  struct thing thing;
  struct thing *deposit;
  uint64_t balance; /* wraps: only the sum is of interest, and that stays zero */
};

static const fh_ref account_refs[] = {FH_FIELD(struct account, deposit), FH_END};
static const fh_type_spec account_spec = {
    .name = "account", .size = sizeof(struct account), .flags = FH_LOCKED, .refs = account_refs, .dealloc = thing_bury};

static struct account *accounts[ACCOUNTS]; /* owned by the run */

static void prepare(struct worker *main) {
  fh_type *type = NULL;
  check(fh_type_register(&account_spec, &type) == FH_OK);
  for (int i = 0; i < ACCOUNTS; i++) {
    accounts[i] = thing_enter(main, fh_new(type), ACCOUNT);
    check(accounts[i]);
    fh_publish(accounts[i]);
  }
}

static void move_money(struct worker *w, struct account *from, struct account *to) {
  const uint64_t amount = draw(w);
  FH_CRITICAL2(from, to);
  from->balance -= amount;
  to->balance += amount;
}

/* The inner section may give the outer one's lock up while it waits, so nothing is carried over from before it. */
static void move_money_nested(struct worker *w, struct account *from, struct account *to) {
  const uint64_t amount = draw(w);
  FH_CRITICAL(from);
  if (to != from) {
    FH_CRITICAL(to);
    to->balance += amount;
  } else {
    to->balance += amount;
  }
  from->balance -= amount;
}

static void exchange_deposits(struct account *a, struct account *b) {
  FH_CRITICAL2(a, b);
  struct thing *from_a = fh_take(a, deposit);
  fh_give(a, deposit, fh_take(b, deposit));
  fh_give(b, deposit, from_a);
}

/* The thing may refer to an account, so that accounts are in cycles. */
static void deposit(struct worker *w, struct account *account) {
  FH_AUTO struct thing *thing = thing_any(w);
  if (!thing) return;
  if (one_in(w, 4)) thing_link(w, thing, &account->thing);
  fh_lock(account);
  fh_set(account, deposit, thing);
  fh_unlock(account);
}

static void withdraw(struct worker *w, struct account *account) {
  struct thing *thing = NULL;
  {
    FH_CRITICAL(account);
    thing = one_in(w, 2)               ? fh_take(account, deposit)
            : fh_get(account, deposit) ? fh_retain(fh_get(account, deposit))
                                       : NULL;
  }
  if (thing) hoard_put(w, thing_whole(thing));
}

static void turn(struct worker *w) {
  struct account *a = accounts[below(w, ACCOUNTS)], *b = accounts[below(w, ACCOUNTS)];
  switch (below(w, 6)) {
    case 0:
    case 1:
      move_money(w, a, b);
      return;
    case 2:
      move_money_nested(w, a, b);
      return;
    case 3:
      exchange_deposits(a, b);
      return;
    case 4:
      deposit(w, a);
      return;
    default:
      withdraw(w, a);
      return;
  }
}

static void finish(struct worker *main) {
  (void)main;
  uint64_t sum = 0;
  for (int i = 0; i < ACCOUNTS; i++) {
    sum += accounts[i]->balance;
    fh_release(accounts[i]);
  }
  check(sum == 0);
}

const struct scenario scenario_fields = {
    .name = "fields",
    .attacks = "fields and sums moved between objects under their locks, nested, by hand and in pairs",
    .threads = 4,
    .prepare = prepare,
    .turn = turn,
    .finish = finish,
};
