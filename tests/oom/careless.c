/* SPDX-License-Identifier: MIT */
/* A user who gets it wrong, in a way that an argument names. It shows that the driver sees what it is there to see. */
#include <freehold/freehold.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct thing {
  fh_object fh;
  uint64_t value;
};
static const fh_type_spec thing_spec = {.name = "thing", .size = sizeof(struct thing)};

static const char *how = "";
static bool misbehaves(const char *this_way) { return !strcmp(how, this_way); }

/* Fails for want of memory, as one should: with everything given back, and not without a word. */
static int give_up(void) {
  uint64_t leaked = 0;
  if (!misbehaves("is-silent")) fprintf(stderr, "careless: no memory\n");
  if (misbehaves("leaks")) return 1;
  if (fh_is_attached()) fh_detach();
  return fh_shutdown(1000, &leaked) == FH_OK ? 1 : 3;
}

int main(int argc, char **argv) {
  uint64_t leaked = 0;
  fh_type *type = NULL;
  if (argc > 1) how = argv[1];
  if (fh_init(NULL) != FH_OK) return 1;
  if (fh_attach("careless") != FH_OK || fh_type_register(&thing_spec, &type) != FH_OK) return give_up();
  struct thing *thing = fh_new(type);
  if (!thing && misbehaves("hangs")) pause();
  if (!thing && !misbehaves("crashes")) return give_up();
  thing->value = 1;
  fh_release(thing);
  fh_detach();
  return fh_shutdown(1000, &leaked) == FH_OK ? 0 : 3;
}
