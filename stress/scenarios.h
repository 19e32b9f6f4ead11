/* SPDX-License-Identifier: MIT */
/* The table of scenarios, in the order in which they run. Each is defined as `scenario_NAME` in a file of its own or with
 * its relatives. */
#ifndef STRESS_SCENARIOS_H
#define STRESS_SCENARIOS_H

#include "stress.h"

#define SCENARIOS(SCENARIO) \
  SCENARIO(counts)          \
  SCENARIO(slots)           \
  SCENARIO(handoff)         \
  SCENARIO(churn)           \
  SCENARIO(sleepers)        \
  SCENARIO(publish)         \
  SCENARIO(fields)          \
  SCENARIO(cycles)          \
  SCENARIO(deep)            \
  SCENARIO(finalizers)      \
  SCENARIO(weak)            \
  SCENARIO(maps)            \
  SCENARIO(queue)           \
  SCENARIO(generations)     \
  SCENARIO(stragglers)      \
  SCENARIO(limits)          \
  SCENARIO(fork)            \
  SCENARIO(rounds)          \
  SCENARIO(mix)             \
  SCENARIO(many)

#define SCENARIO_DECLARE(name) extern const struct scenario scenario_##name;
SCENARIOS(SCENARIO_DECLARE)

#endif
