/* SPDX-License-Identifier: MIT */
/* The command line of fh-stress: which scenarios to run, for how long, and a table of what they did and of zeros. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "run.h"
#include "scenarios.h"

enum { SECONDS_DEFAULT = 5 };

struct choice {
  uint64_t seed;
  double seconds;
  unsigned threads; /* 0: as many as each scenario likes */
  fh_design design;
  bool list;
  unsigned names;
  char **name;
};

#define SCENARIO_ENTRY(name) &scenario_##name,
static const struct scenario *const scenarios[] = {SCENARIOS(SCENARIO_ENTRY)};
enum { SCENARIOS_COUNT = sizeof scenarios / sizeof *scenarios };

static const char usage_text[] =
    "usage: fh-stress [--minutes M] [--seconds S] [--seed S] [--threads N] [--design biased|atomic|gil] [--list] [SCENARIO...]\n"
    "  SCENARIO   which to run, each once; none: all\n"
    "  --minutes  how long each of them runs\n"
    "  --seconds  the same in seconds, default 5; 0.5 is half a second\n"
    "  --seed     what their random decisions come from; default: another one each time\n"
    "  --threads  how many threads each has, 1 to 1024; default: as each one likes, see --list\n"
    "  --design   how references are counted; default: biased\n"
    "  --list     only prints the scenarios\n";

/* ---- what is wanted ---- */

_Noreturn static void refuse(const char *what, const char *value) {
  fprintf(stderr, "fh-stress: %s: \"%s\"\n%s", what, value, usage_text);
  exit(2);
}

static const char *option_value(int argc, char **argv, int *i) {
  if (*i + 1 >= argc) refuse("a value is missing", argv[*i]);
  return argv[++*i];
}

static double parse_time(const char *text) {
  char *end = NULL;
  const double time = strtod(text, &end);
  if (end == text || *end || !(time > 0 && time < 1e6)) refuse("not a time", text);
  return time;
}

static uint64_t parse_number(const char *text, uint64_t least, uint64_t most) {
  char *end = NULL;
  const unsigned long long number = strtoull(text, &end, 0);
  if (end == text || *end || *text == '-' || number < least || number > most) refuse("out of range", text);
  return number;
}

static fh_design parse_design(const char *text) {
  for (fh_design design = FH_DESIGN_BIASED; design <= FH_DESIGN_GIL; design++)
    if (!strcmp(text, fh_design_name(design))) return design;
  refuse("not a design", text);
}

static uint64_t any_seed(void) {
  uint32_t seed = 0; /* short enough to be read aloud */
  if (getrandom(&seed, sizeof seed, 0) != sizeof seed) refuse("no random seed; give one with", "--seed");
  return seed;
}

/* Names may stand before, between and behind the options; they are gathered at the front of argv. */
static struct choice parse(int argc, char **argv) {
  struct choice choice = {.seconds = SECONDS_DEFAULT, .seed = any_seed(), .name = argv};
  for (int i = 1; i < argc; i++) {
    if (argv[i][0] != '-')
      choice.name[choice.names++] = argv[i];
    else if (!strcmp(argv[i], "--minutes"))
      choice.seconds = 60 * parse_time(option_value(argc, argv, &i));
    else if (!strcmp(argv[i], "--seconds"))
      choice.seconds = parse_time(option_value(argc, argv, &i));
    else if (!strcmp(argv[i], "--seed"))
      choice.seed = parse_number(option_value(argc, argv, &i), 0, UINT64_MAX);
    else if (!strcmp(argv[i], "--threads"))
      choice.threads = (unsigned)parse_number(option_value(argc, argv, &i), 1, THREADS_MAX);
    else if (!strcmp(argv[i], "--design"))
      choice.design = parse_design(option_value(argc, argv, &i));
    else if (!strcmp(argv[i], "--list"))
      choice.list = true;
    else if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
      exit(fputs(usage_text, stdout) < 0);
    else
      refuse("unknown option", argv[i]);
  }
  return choice;
}

static bool is_wanted(const struct choice *choice, const struct scenario *scenario) {
  for (unsigned i = 0; i < choice->names; i++)
    if (!strcmp(choice->name[i], scenario->name)) return true;
  return choice->names == 0;
}

static void refuse_unknown_names(const struct choice *choice) {
  for (unsigned i = 0; i < choice->names; i++) {
    bool known = false;
    for (int s = 0; s < SCENARIOS_COUNT; s++) known |= !strcmp(choice->name[i], scenarios[s]->name);
    if (!known) refuse("no such scenario", choice->name[i]);
  }
}

/* ---- the table ---- */

static void print_list(void) {
  printf("%-11s %7s  %s\n", "scenario", "threads", "attacks");
  for (int i = 0; i < SCENARIOS_COUNT; i++)
    printf("%-11s %7u  %s\n", scenarios[i]->name, scenarios[i]->threads, scenarios[i]->attacks);
}

/* Returns true if all is zero that must be. The name is printed first: it is the last word of a program that ends here. */
static bool run_and_print(const struct choice *choice, const struct scenario *scenario) {
  static struct run run;
  run.scenario = scenario;
  run.threads = choice->threads ? choice->threads : scenario->threads;
  run.seed = choice->seed;
  run.seconds = choice->seconds;
  run.design = choice->design;
  printf("%-11s", scenario->name);
  fflush(stdout);
  const struct result result = run_scenario(&run);
  char races[16] = "-";
  if (result.races >= 0) snprintf(races, sizeof races, "%d", result.races);
  printf(" %7u %11llu %12llu %12llu %7.1f %7lld %6llu %6u %6s\n", run.threads, (unsigned long long)result.operations,
         (unsigned long long)result.made, (unsigned long long)result.destroyed, result.seconds,
         (long long)result.losses, (unsigned long long)result.leaks, result.wrong, races);
  fflush(stdout);
  return !result.losses && !result.leaks && !result.wrong && result.races <= 0;
}

/* In a torture build the library yields in its race windows; one seed is to replay those as well, unless it has one already. */
static void follow_seed(uint64_t seed) {
  char text[24];
  snprintf(text, sizeof text, "%llu", (unsigned long long)seed);
  if (setenv("FREEHOLD_TORTURE_SEED", text, 0)) refuse("no memory for the environment", text);
}

int main(int argc, char **argv) {
  const struct choice choice = parse(argc, argv);
  bool clean = true;
  refuse_unknown_names(&choice);
  if (choice.list) {
    print_list();
    return 0;
  }
  follow_seed(choice.seed);
  watch_for_the_end();
  printf("seed %llu, Freehold %s, design %s, %g s each\n\n", (unsigned long long)choice.seed, fh_version(),
         fh_design_name(choice.design), choice.seconds);
  printf("%-11s %7s %11s %12s %12s %7s %7s %6s %6s %6s\n", "scenario", "threads", "operations", "made", "destroyed",
         "seconds", "losses", "leaks", "wrong", "races");
  for (int i = 0; i < SCENARIOS_COUNT; i++)
    if (is_wanted(&choice, scenarios[i])) clean &= run_and_print(&choice, scenarios[i]);
  printf("\n%s\n", clean ? "all zero" : "NOT ALL ZERO");
  return clean ? 0 : 1;
}
