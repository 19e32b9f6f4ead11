/* SPDX-License-Identifier: MIT */
/* The smallest program that shows what Freehold is for: a ring of objects, which counts alone would never free. */
#include <freehold/freehold.h>
#include <inttypes.h>
#include <stdio.h>

struct node {
  fh_object fh; /* the header comes first */
  struct node *next;
  int id;
};
static const fh_ref node_refs[] = {FH_FIELD(struct node, next), FH_END};
static const fh_type_spec node_spec = {.name = "node", .size = sizeof(struct node), .refs = node_refs};

/* Makes a and b, each of which holds the other. When their variables go out of scope the two are garbage. */
static fh_status make_ring(fh_type *node_type) {
  FH_AUTO struct node *a = fh_new(node_type);
  FH_AUTO struct node *b = fh_new(node_type);
  if (!a || !b) return FH_ENOMEM;
  a->id = 1;
  b->id = 2;
  fh_set(a, next, b);
  fh_set(b, next, a);
  printf("node %d -> node %d -> node %d\n", a->id, fh_get(a, next)->id, fh_get(b, next)->id);
  return FH_OK;
}

static fh_status work(void) {
  FH_ATTACHED(status, "hello"); /* this thread takes part until the end of the block */
  fh_type *node_type = NULL;
  if (status || fh_type_register(&node_spec, &node_type) || make_ring(node_type)) return FH_ENOMEM;
  printf("unreachable, and still there: %" PRIu64 "\n", fh_type_live(node_type));
  size_t found = fh_collect(2);
  printf("the collector found %zu, which leaves %" PRIu64 "\n", found, fh_type_live(node_type));
  fh_stats stats = {.size = sizeof stats};
  if (fh_stats_get(&stats) == FH_OK) printf("made %" PRIu64 ", alive %" PRIu64 "\n", stats.objects_made, stats.objects_live);
  return FH_OK;
}

/* What failed, if anything did, is told by a status; the runtime ends in any case. */
int main(void) {
  fh_status status = fh_init(NULL);
  uint64_t leaked = 0;
  if (status == FH_OK) {
    status = work();
    fh_status ended = fh_shutdown(1000, &leaked);
    if (status == FH_OK) status = ended;
  }
  if (status) {
    fprintf(stderr, "hello: %s\n", fh_status_name(status));
    return 1;
  }
  printf("leaked: %" PRIu64 "\n", leaked);
  return leaked != 0;
}
