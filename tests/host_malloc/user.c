/* SPDX-License-Identifier: MIT */
#include "check.h"

#include <stdio.h>

#include <freehold/freehold.h>

struct thing {
  fh_object fh;
  int value;
};

static const fh_type_spec thing_spec = {.name = "thing", .size = sizeof(struct thing)};

static bool make_one(void) {
  FH_ATTACHED(status, "host");
  fh_type *type = NULL;
  if (status || fh_type_register(&thing_spec, &type)) return false;
  FH_AUTO struct thing *thing = fh_new(type);
  if (!thing) return false;
  if (is_in_mimalloc(thing) != EXPECT_MIMALLOC) {
    fprintf(stderr, "an object lies %s mimalloc's memory\n", EXPECT_MIMALLOC ? "outside of" : "in");
    return false;
  }
  return true;
}

bool use_freehold(void) {
  uint64_t leaked = 0;
  printf("Freehold %s\n", fh_version());
  if (fh_init(NULL)) return false;
  bool made = make_one();
  return !fh_shutdown(0, &leaked) && !leaked && made;
}
