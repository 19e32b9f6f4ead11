/* SPDX-License-Identifier: MIT */
#include "plugin.h"

#include <freehold/freehold.h>

struct node {
  fh_object fh;
  struct node *next;
  char *buffer;
};

/* Code of the plugin that the runtime calls: it must never be called after the plugin is gone. */
static void node_dealloc(void *object) { fh_free(((struct node *)object)->buffer); }

static const fh_ref node_refs[] = {FH_FIELD(struct node, next), FH_END};
static const fh_type_spec node_spec = {
    .name = "plugin node", .size = sizeof(struct node), .refs = node_refs, .dealloc = node_dealloc};
static fh_type *node_type;

static enum started start(void) {
  fh_status status = fh_init(NULL);
  if (status && status != FH_EEXIST) return START_FAILED;
  if (fh_type_register(&node_spec, &node_type)) return START_FAILED;
  return status ? STARTED_ANEW : STARTED_FIRST;
}

static struct node *make_node(struct node *next) {
  FH_AUTO struct node *node = fh_new(node_type);
  if (!node || !(node->buffer = fh_alloc(32))) return NULL;
  if (next) fh_set(node, next, next);
  return FH_MOVE(node);
}

static bool make_chain_and_ring(void) {
  FH_AUTO struct node *chain = NULL;
  for (int i = 0; i < 1000; i++) {
    struct node *longer = make_node(chain);
    if (!longer) return false;
    fh_drop(&chain);
    chain = longer;
  }
  FH_AUTO struct node *last = make_node(NULL);
  FH_AUTO struct node *first = make_node(last);
  if (!first) return false;
  fh_set(last, next, first);
  return true;
}

static bool work(void) {
  FH_ATTACHED(status, "plugin");
  if (status) return false;
  bool made = make_chain_and_ring();
  fh_safepoint();
  fh_collect(2);
  return made;
}

/* A thread that waits outside of Freehold's calls says so, or it would hold up every stop. */
static bool enter(void) {
  if (fh_attach("plugin, for good")) return false;
  bool made = make_chain_and_ring();
  fh_blocking_begin();
  return made;
}

static bool forget(void) {
  FH_ATTACHED(status, "plugin, leaving");
  if (status) return false;
  fh_settle(); /* memory of instances may wait for a grace period */
  return fh_type_unregister(node_type) == FH_OK;
}

static bool end(void) {
  uint64_t leaked = 0;
  return fh_shutdown(1000, &leaked) == FH_OK && leaked == 0;
}

extern const struct plugin plugin;
__attribute__((visibility("default"))) const struct plugin plugin = {start, work, enter, forget, end};
