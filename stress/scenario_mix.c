/* SPDX-License-Identifier: MIT */
/* mix and many: everything at once. Each turn is a turn of one of the other scenarios, by a weighted choice, and all of them work
 * on the same slots: what one publishes another walks, a third changes, and a fourth drops while its owner sleeps. */
#include "scenarios.h"

static const struct part {
  const struct scenario *scenario;
  unsigned weight;
} parts[] = {
    {&scenario_counts, 40},     {&scenario_slots, 40},   {&scenario_handoff, 10},
    {&scenario_fields, 40},     {&scenario_publish, 20}, {&scenario_cycles, 20},
    {&scenario_finalizers, 10}, {&scenario_sleepers, 2}, {&scenario_churn, 1},
};
enum { PARTS = sizeof parts / sizeof *parts };

static const struct scenario *choose_part(struct worker *w) {
  unsigned sum = 0;
  for (int i = 0; i < PARTS; i++) sum += parts[i].weight;
  unsigned at = below(w, sum);
  const struct part *part = parts;
  while (at >= part->weight) at -= part++->weight;
  return part->scenario;
}

static void turn(struct worker *w) {
  const struct scenario *part = choose_part(w);
  if (!part->bare) {
    part->turn(w);
  } else if (!w->run->is_child) {
    FH_BLOCKING();
    part->turn(w);
  }
}

static void choose(struct worker *main, fh_options *options) {
  options->finalizers = one_in(main, 4) ? FH_FINALIZERS_QUEUE : FH_FINALIZERS_SAFEPOINT;
}

static void prepare(struct worker *main) {
  for (int i = 0; i < PARTS; i++)
    if (parts[i].scenario->prepare) parts[i].scenario->prepare(main);
}

static void finish(struct worker *main) {
  for (int i = 0; i < PARTS; i++)
    if (parts[i].scenario->finish) parts[i].scenario->finish(main);
}

const struct scenario scenario_mix = {
    .name = "mix",
    .attacks = "turns of all the others at once, on the same slots",
    .threads = 6,
    .choose = choose,
    .prepare = prepare,
    .turn = turn,
    .finish = finish,
};

const struct scenario scenario_many = {
    .name = "many",
    .attacks = "the same by 256 mutators",
    .threads = 256,
    .choose = choose,
    .prepare = prepare,
    .turn = turn,
    .finish = finish,
};
