/* SPDX-License-Identifier: MIT */
/* Makes pairs of calls and nothing else, so that the difference between two runs of different length is what the pairs cost.
 * It is linked once with the usual library and once with one for biased counting alone.
 *
 * Usage: fh-pairs pair|make THOUSANDS
 *   pair  fh_retain and fh_release of an object of the caller's
 *   make  fh_new and the last fh_release, a thousand objects at a time */
#include <freehold/freehold.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THOUSAND = 1000, UNROLLED = 20 };

struct node {
  fh_object fh;
  struct node *a;
  struct node *b;
};
static const fh_ref node_refs[] = {FH_FIELD(struct node, a), FH_FIELD(struct node, b), FH_END};
static const fh_type_spec node_spec = {.name = "node", .size = sizeof(struct node), .refs = node_refs};

/* Unrolled, so that the loop's own instructions do not make the two libraries look more alike than they are. */
static void count_thousand(struct node *one) {
  for (unsigned i = 0; i < THOUSAND; i += UNROLLED) {
#pragma GCC unroll 20
    for (unsigned k = 0; k < UNROLLED; k++) {
      fh_retain(one);
      __asm__ volatile("" ::: "memory");
      fh_release(one);
    }
  }
}

static void make_thousand(fh_type *type, struct node **row) {
  for (unsigned i = 0; i < THOUSAND; i++)
    if (!(row[i] = fh_new(type))) exit(2);
  for (unsigned i = 0; i < THOUSAND; i++) fh_release(row[i]);
}

static void run(fh_type *type, bool makes, unsigned long thousands) {
  static struct node *row[THOUSAND];
  struct node *one = fh_new(type);
  if (!one) exit(2);
  for (unsigned long i = 0; i < thousands; i++) {
    if (makes)
      make_thousand(type, row);
    else
      count_thousand(one);
  }
  fh_release(one);
}

int main(int argc, char **argv) {
  fh_type *type = NULL;
  uint64_t leaked = 0;
  if (argc != 3) {
    fputs("usage: fh-pairs pair|make THOUSANDS\n", stderr);
    return 2;
  }
  if (fh_init(NULL) != FH_OK || fh_attach("main") != FH_OK || fh_type_register(&node_spec, &type) != FH_OK) return 2;
  run(type, !strcmp(argv[1], "make"), strtoul(argv[2], NULL, 10));
  fh_detach();
  return fh_shutdown(0, &leaked) == FH_OK && leaked == 0 ? 0 : 1;
}
