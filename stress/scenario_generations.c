/* SPDX-License-Identifier: MIT */
/* generations: old things and young ones refer to each other while every generation is collected, by all threads, and by itself
 * at thresholds that change. The ledger tells whether a partial collection took what an older thing kept. */
#include "scenarios.h"

enum { OLD = SLOTS / 2, FIGURES = 3 };

static const uint64_t figures[FIGURES][3] = {{64, 1, 1}, {1024, 3, 100}, {8192, 10, 10000}};

static void change_thresholds(struct worker *w) {
  uint64_t now[3];
  check(fh_gc_thresholds_set(figures[below(w, FIGURES)]) == FH_OK);
  fh_gc_thresholds_get(now); /* another worker may have set them meanwhile, each by itself */
  for (int i = 0; i < 3; i++) check(now[i] == figures[0][i] || now[i] == figures[1][i] || now[i] == figures[2][i]);
}

static void look_at_generation(struct thing *thing) {
  int generation = fh_gc_generation(thing);
  check(fh_gc_is_tracked(thing) ? generation >= -1 && generation <= 2 : generation == -1);
}

/* The first half of the slots is left alone for long: what is there grows old. */
static struct thing *old_one(struct worker *w) { return thing_whole(fh_slot_load(&w->run->slot[below(w, OLD)])); }

static void lay_up(struct worker *w) {
  FH_AUTO struct thing *thing = thing_any(w);
  if (thing) fh_slot_store(&w->run->slot[below(w, OLD)], thing);
}

/* Rings through an old thing: garbage as soon as that is, and of both ages. */
static void link_ages(struct worker *w) {
  FH_AUTO struct thing *old = old_one(w), *young = thing_any(w), *other = old_one(w);
  if (!old || !young) return;
  look_at_generation(old);
  look_at_generation(young);
  thing_link(w, young, old);
  thing_link(w, old, young);
  if (other && one_in(w, 4)) thing_link(w, old, other);
}

static void turn(struct worker *w) {
  if (one_in(w, 64)) lay_up(w);
  link_ages(w);
  for (unsigned i = below(w, 8); i; i--) {
    FH_AUTO struct thing *ring = thing_any(w);
    if (ring) thing_link(w, ring, ring);
  }
  if (one_in(w, 256)) change_thresholds(w);
  if (one_in(w, 64)) fh_collect((int)below(w, 3));
}

/* Each generation's figures are a part of the whole. */
static void finish(struct worker *main) {
  (void)main;
  fh_stats stats = {.size = sizeof stats};
  uint64_t collections = 0, scanned = 0;
  check(fh_stats_get(&stats) == FH_OK);
  for (int i = 0; i < 3; i++) {
    collections += stats.generation[i].collections;
    scanned += stats.generation[i].scanned;
    check(stats.generation[i].found <= stats.generation[i].scanned);
  }
  check(collections == stats.collections && scanned == stats.scanned);
}

const struct scenario scenario_generations = {
    .name = "generations",
    .attacks = "old and young things that refer to each other, each generation collected, thresholds that change",
    .threads = 4,
    .turn = turn,
    .finish = finish,
};
