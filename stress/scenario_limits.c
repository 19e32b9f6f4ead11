/* SPDX-License-Identifier: MIT */
/* limits: memory is used up all the time. Each turn allocates until it is refused, looks whether everything is as it was,
 * makes room, and goes on. One of the workers moves the limit meanwhile. */
#include "scenarios.h"

#include <string.h>

enum {
  LIMIT = 2 << 20,
  LIMIT_MOST = 2 * LIMIT,
  SLACK = 256 << 10, /* a mutator; fh_stats adds up while others work */
  BLOCK = 4096,
};

/* Drops what can be dropped: the program's cache. */
static void on_memory(void *context, fh_memory_event event) {
  struct run *run = context;
  if (event == FH_MEMORY_HARD) slots_clear(run);
}

static void choose(struct worker *main, fh_options *options) {
  options->hard_limit = LIMIT;
  options->memory = on_memory;
  options->memory_context = main->run;
}

/* ---- using it up ---- */

/* A list of things of all sizes, until one is refused. If that never happens, there is no limit. */
static struct thing *use_up(struct worker *w) {
  struct thing *head = NULL;
  for (size_t bytes = 0;; check(bytes < LIMIT_MOST)) {
    struct page *page = page_new(w, 1 + below(w, one_in(w, 16) ? BLOCK : 16));
    if (!page) return head;
    bytes += page->count * sizeof *page->line;
    for (size_t i = 1; i < page->count && i < 4; i++) {
      struct thing *thing = thing_any(w);
      if (thing) fh_give(page, line[i], thing);
    }
    if (head) fh_give(page, line[0], head);
    head = &page->thing;
    if (one_in(w, 64)) fh_slot_store(any_slot(w), head);
    if (one_in(w, 16)) fh_safepoint();
  }
}

static void *fill(void *block, size_t n) { return memset(block, (int)(n & 0xff), n); }

static bool is_filled(const unsigned char *block, size_t n, size_t as) {
  for (size_t i = 0; i < n; i++)
    if (block[i] != (unsigned char)as) return false;
  return true;
}

/* A block grows until it cannot: what is refused leaves it as it was. */
static void grow_a_block(struct worker *w) {
  size_t n = 1 + below(w, BLOCK);
  unsigned char *block = fh_alloc(n);
  if (!block) return;
  fill(block, n);
  for (int i = 0; i < 12; i++) {
    unsigned char *bigger = fh_realloc(block, 2 * n);
    check(is_filled(bigger ? bigger : block, n, n));
    if (!bigger) break;
    block = bigger;
    n = 2 * n;
    fill(block, n);
  }
  if (one_in(w, 2))
    fh_retire(block);
  else
    fh_free(block);
}

/* ---- making room ---- */

static void look_at_the_limit(const struct run *run) {
  fh_stats stats = {.size = sizeof stats};
  check(fh_stats_get(&stats) == FH_OK);
  check(stats.live_bytes + stats.limbo_bytes <= LIMIT_MOST + (uint64_t)run->threads * SLACK);
}

static void make_room(struct worker *w) {
  if (one_in(w, 4)) hoard_drop(w);
  if (one_in(w, 4)) slots_clear(w->run);
  const fh_status status = fh_reclaim();
  check(status == FH_OK || status == FH_ELIMIT);
  if (one_in(w, 32)) fh_purge(0);
}

static void turn(struct worker *w) {
  FH_AUTO struct thing *all = use_up(w);
  grow_a_block(w);
  look_at_the_limit(w->run);
  if (one_in(w, 4)) make_room(w); /* while it still holds everything */
  fh_drop(&all);
  make_room(w);
  if (w->index == 0) check(fh_limits_set(0, LIMIT + below(w, LIMIT)) == FH_OK);
}

const struct scenario scenario_limits = {
    .name = "limits",
    .attacks = "a hard limit that is reached all the time: refused, reclaimed, and on",
    .threads = 4,
    .choose = choose,
    .turn = turn,
};
