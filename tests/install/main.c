/* SPDX-License-Identifier: MIT */
/* A user's program in small: a cycle is made, dropped and collected. */
#include <freehold/freehold.h>
#include <stdio.h>

struct node {
  fh_object fh;
  struct node *next;
};

static const fh_ref node_refs[] = {FH_FIELD(struct node, next), FH_END};
static const fh_type_spec node_spec = {.name = "node", .size = sizeof(struct node), .refs = node_refs};

static int make_ring(void) {
  fh_type *type;
  if (fh_type_register(&node_spec, &type) != FH_OK) return 1;
  FH_AUTO struct node *a = fh_new(type);
  FH_AUTO struct node *b = fh_new(type);
  if (!a || !b) return 1;
  fh_set(a, next, b);
  fh_set(b, next, a);
  return 0;
}

int main(void) {
  uint64_t leaked = 0;
  if (fh_init(NULL) != FH_OK || fh_attach("main") != FH_OK) return 1;
  int failed = make_ring();
  fh_collect(2);
  fh_detach();
  if (fh_shutdown(0, &leaked) != FH_OK || leaked != 0) failed = 1;
  printf("Freehold %s: %s\n", fh_version(), failed ? "failed" : "works");
  return failed;
}
