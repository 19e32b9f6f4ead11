/* SPDX-License-Identifier: MIT */
#include "users.h"

#include <freehold/freehold.h>

struct thing {
  fh_object fh;
  void *bound;
  int number;
};

static int64_t alive;

static void thing_dealloc(void *object) {
  (void)object;
  __atomic_sub_fetch(&alive, 1, __ATOMIC_RELAXED);
}

static const fh_ref thing_refs[] = {FH_FIELD(struct thing, bound), FH_END};
static const fh_type_spec thing_spec = {
    .name = "thing of the maker", .size = sizeof(struct thing), .refs = thing_refs, .dealloc = thing_dealloc};
static fh_type *thing_type;

bool maker_open(void) {
  fh_status status = fh_init(NULL);
  return (!status || status == FH_EEXIST) && !fh_type_register(&thing_spec, &thing_type);
}

void *maker_make(int number) {
  FH_ATTACHED(status, "maker"); /* nests, where the caller takes part already */
  struct thing *thing = status ? NULL : fh_new(thing_type);
  if (!thing) return NULL;
  __atomic_add_fetch(&alive, 1, __ATOMIC_RELAXED);
  thing->number = number;
  fh_publish(thing);
  return thing;
}

void maker_bind(void *thing, void *to) {
  FH_CRITICAL(thing);
  fh_set((struct thing *)thing, bound, to);
}

int64_t maker_alive(void) { return __atomic_load_n(&alive, __ATOMIC_RELAXED); }

bool maker_close(void) { return fh_shutdown(1000, NULL) == FH_OK; }
