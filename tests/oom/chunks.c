/* SPDX-License-Identifier: MIT */
/* So many objects that the collector's chunks fill: the next one is an allocation, and a page of the directory is another. */
#include "user.h"

struct link {
  fh_object fh;
  struct link *next;
};
static const fh_ref link_refs[] = {FH_FIELD(struct link, next), FH_END};
static const fh_type_spec link_spec = {.name = "link", .size = sizeof(struct link), .refs = link_refs};

static uint64_t length_of(const struct link *link) {
  uint64_t length = 0;
  for (; link; link = fh_get(link, next)) length++;
  return length;
}

static bool work(void) {
  fh_type *type = NULL;
  if (!user_type(&link_spec, &type)) return false;
  const uint64_t count = is_torture() ? 40 : 1100; /* more than a chunk holds */
  bool went_well = true;
  FH_AUTO struct link *first = NULL;
  for (uint64_t i = 0; went_well && i < count; i++) {
    struct link *link = user_new(type);
    went_well = link != NULL;
    if (!link) break;
    if (first) fh_give(link, next, FH_MOVE(first));
    first = link;
  }
  demand(length_of(first) == fh_type_live(type));
  user_collect();
  demand(length_of(first) == fh_type_live(type));
  return went_well;
}

int main(void) { return user_run(work); }
