/* SPDX-License-Identifier: MIT */
/* So many types that the table of specs grows, among them types that go and come again. */
#include "user.h"

#include <string.h>

struct thing {
  fh_object fh;
  size_t count;
  struct thing *near, *far;
};
static const fh_ref thing_refs[] = {FH_FIELD(struct thing, near), FH_FIELD(struct thing, far), FH_END};
static const fh_ref item_refs[] = {{0, FH__REF_FIELD, 1}, FH_END};

enum { TYPES = 40 }; /* the table grows when the 33rd comes */
static char name[TYPES][16];
static fh_type_spec spec[TYPES];
static fh_type *type[TYPES];

static void write_specs(void) {
  for (int i = 0; i < TYPES; i++) {
    snprintf(name[i], sizeof name[i], "thing %d", i);
    spec[i] = (fh_type_spec){.name = name[i], .size = sizeof(struct thing), .refs = thing_refs};
    if (i % 2) continue;
    spec[i].item_size = sizeof(struct thing *);
    spec[i].item_refs = item_refs;
    spec[i].count_at = offsetof(struct thing, count);
  }
}

static bool make_one(int i) {
  FH_AUTO struct thing *thing = i % 2 ? user_new(type[i]) : user_new_items(type[i], 3);
  if (!thing) return false;
  demand(fh_type_of(thing) == type[i] && fh_type_live(type[i]) == 1);
  return true;
}

/* What was registered before a failure is still there, under the same address. */
static void demand_types(int count) {
  for (int i = 0; i < count; i++) {
    demand(!strcmp(fh_type_name(type[i]), name[i]));
    fh_type *again = NULL;
    fh_status status = fh_type_register(&spec[i], &again); /* may grow the table */
    demand(status == FH_ENOMEM ? !again : status == FH_OK && again == type[i]);
  }
}

static bool work(void) {
  write_specs();
  bool went_well = true;
  int made = 0;
  while (went_well && made < TYPES) {
    went_well = user_type(&spec[made], &type[made]);
    made += went_well;
    went_well = went_well && make_one(made - 1);
  }
  demand_types(made);
  for (int i = 0; i < made; i += 5) {
    fh_housekeep();
    demand(fh_type_unregister(type[i]) == FH_OK);
    type[i] = NULL;
    if (!user_type(&spec[i], &type[i])) return false;
  }
  return went_well;
}

int main(void) { return user_run(work); }
