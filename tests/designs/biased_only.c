/* SPDX-License-Identifier: MIT */
/* Linked with a library for biased counting alone: it runs that, and refuses the rest. */
#include <freehold/freehold.h>
#include <stdio.h>

static int failures;

#define expect(condition) \
  ((condition) ? (void)0 : (void)(failures++, fprintf(stderr, "%s:%d: expected: %s\n", __FILE__, __LINE__, #condition)))

static const fh_type_spec spec = {.name = "thing", .size = 32};

static void count_one(void) {
  FH_ATTACHED(status, "main");
  expect(status == FH_OK);
  fh_type *type;
  expect(fh_type_register(&spec, &type) == FH_OK);
  void *thing = fh_new(type);
  expect(thing && !fh_is_published(thing));
  fh_retain(thing);
  expect(fh_refcount(thing) == 2);
  fh_publish(thing);
  fh_release(thing);
  fh_release(thing);
  fh_settle();
  expect(fh_type_live(type) == 0);
}

int main(void) {
  expect(fh_init(&(fh_options){.design = FH_DESIGN_ATOMIC}) == FH_EINVAL);
  expect(fh_init(&(fh_options){.design = FH_DESIGN_GIL}) == FH_EINVAL);
  expect(fh_init(&(fh_options){.design = FH_DESIGN_BIASED}) == FH_OK);
  expect(fh_design_get() == FH_DESIGN_BIASED);
  count_one();
  uint64_t leaked = 1;
  expect(fh_shutdown(1000, &leaked) == FH_OK);
  expect(leaked == 0);
  return failures != 0;
}
