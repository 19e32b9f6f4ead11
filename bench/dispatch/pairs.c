/* SPDX-License-Identifier: MIT */
/* Makes pairs of calls and nothing else, so that the difference between two runs of different length is what the pairs cost.
 * It is linked once with the usual library and once with one for biased counting alone.
 *
 * Usage: fh-pairs pair|make|rows|rows-gc-off THOUSANDS
 *   pair         fh_retain and fh_release of an object of the caller's
 *   make         fh_new and the last fh_release, a thousand objects at a time
 *   rows         the same, but four thousand at a time, and a safepoint after each fh_new: collections are due now and then
 *   rows-gc-off  the same, without automatic collections */
#include <freehold/freehold.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THOUSAND = 1000, ROW = 4 * THOUSAND, UNROLLED = 20 };

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

static struct node *row[ROW];

static void make_thousand(fh_type *type) {
  for (unsigned i = 0; i < THOUSAND; i++)
    if (!(row[i] = fh_new(type))) exit(2);
  for (unsigned i = 0; i < THOUSAND; i++) fh_release(row[i]);
}

static void make_row(fh_type *type) {
  for (unsigned i = 0; i < ROW; i++) {
    if (!(row[i] = fh_new(type))) exit(2);
    fh_safepoint();
  }
  for (unsigned i = 0; i < ROW; i++) fh_release(row[i]);
}

static void run(fh_type *type, const char *what, unsigned long thousands) {
  struct node *one = fh_new(type);
  if (!one) exit(2);
  for (unsigned long i = 0; i < thousands; i++) {
    if (!strcmp(what, "pair"))
      count_thousand(one);
    else if (!strcmp(what, "make"))
      make_thousand(type);
    else if (i % (ROW / THOUSAND) == 0)
      make_row(type);
  }
  fh_release(one);
}

int main(int argc, char **argv) {
  fh_options options = {.flags = 0};
  fh_type *type = NULL;
  uint64_t leaked = 0;
  if (argc != 3) {
    fputs("usage: fh-pairs pair|make|rows|rows-gc-off THOUSANDS\n", stderr);
    return 2;
  }
  if (!strcmp(argv[1], "rows-gc-off")) options.flags = FH_OPTION_GC_OFF;
  if (fh_init(&options) != FH_OK || fh_attach("main") != FH_OK || fh_type_register(&node_spec, &type) != FH_OK) return 2;
  run(type, argv[1], strtoul(argv[2], NULL, 10));
  fh_detach();
  return fh_shutdown(0, &leaked) == FH_OK && leaked == 0 ? 0 : 1;
}
