/* SPDX-License-Identifier: MIT */
/* Threads that come at once, each of which needs a mutator of its own, and others that adopt what those left. Some come last
 * before the runtime ends, which must not depend on memory that even those did not find. */
#include "user.h"

struct token {
  fh_object fh;
  struct token *next;
};
static const fh_ref token_refs[] = {FH_FIELD(struct token, next), FH_END};
static const fh_type_spec token_spec = {.name = "token", .size = sizeof(struct token), .refs = token_refs};

enum { FEW = 3, MORE = 5 };

static struct gate arrived;
static atomic_int here;
static int expected;
static fh_type *type;
static atomic_bool everybody_well = true;

/* Leaves a ring as garbage. */
static bool make_ring(void) {
  FH_AUTO struct token *a = user_new(type);
  FH_AUTO struct token *b = a ? user_new(type) : NULL;
  if (!b) return false;
  fh_set(a, next, b);
  fh_set(b, next, a);
  return true;
}

static bool take_part(void) {
  if (!make_ring()) return false;
  void *buffer = user_alloc(1000);
  fh_retire(buffer);
  fh_safepoint();
  return buffer != NULL;
}

static void come_and_go(void *unused) {
  (void)unused;
  bool came = user_attach("guest");
  gate_open(&arrived, atomic_fetch_add(&here, 1) + 1);
  gate_await(&arrived, expected); /* all of them are there at once */
  if (!came || !take_part()) atomic_store(&everybody_well, false);
  if (came) fh_detach();
}

static void receive(int guests) {
  struct companion companion[MORE];
  arrived = (struct gate)GATE;
  atomic_store(&here, 0);
  expected = guests;
  for (int i = 0; i < guests; i++) companion_start_bare(&companion[i], come_and_go, NULL);
  for (int i = 0; i < guests; i++) companion_join(&companion[i]);
}

static bool work(void) {
  if (!user_type(&token_spec, &type)) return false;
  user_is_alone = false;
  receive(FEW);
  fh_settle();
  demand(fh_type_live(type) == 0);
  if (!make_ring()) return false;
  receive(MORE);
  return atomic_load(&everybody_well);
}

int main(void) { return user_run(work); }
