/* SPDX-License-Identifier: MIT */
/* The command line of the bench: which figures to measure, one line each, and a JSON object at the end. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIGURES_MAX = 64, SHUTDOWN_MS = 10000, SECONDS_MAX = 100000 };
unsigned long_seconds = 5;

struct choice {
  const char *json; /* a file, or NULL */
  unsigned rounds;
  bool list;
  unsigned names;
  char **name;
};

static const struct figure *const families[] = {count_figures,   object_figures, handoff_figures,
                                                mutator_figures, stop_figures,   gc_figures,
                                                churn_figures,   gcbench_figures, limit_figures,
                                                instruction_figures, design_figures, fork_figures};

static const char usage_text[] =
    "usage: fh-bench [--json FILE] [--rounds N] [--seconds N] [--pin] [--list] [NAME...]\n"
    "  NAME      a figure, or the beginning of names: count, gc.full; none: all\n"
    "  --json    also writes {\"name\": median, ...} to FILE\n"
    "  --rounds  interleaved rounds a figure, 1 to 101; default 9\n"
    "  --seconds how long limit.slowdown lives at its limit, 1 to 100000; default 5\n"
    "  --pin     two threads that are measured together get a processor each\n"
    "  --list    only prints the names and what they should reach\n";

/* ---- what is wanted ---- */

static unsigned collect_figures(const struct figure **out) {
  unsigned n = 0;
  for (size_t f = 0; f < sizeof families / sizeof *families; f++)
    for (const struct figure *figure = families[f]; figure->name; figure++) {
      expect(n < FIGURES_MAX, "all figures have a place");
      out[n++] = figure;
    }
  return n;
}

static bool starts_with(const char *text, const char *beginning) {
  return strncmp(text, beginning, strlen(beginning)) == 0;
}

static bool is_wanted(const struct choice *choice, const struct figure *figure) {
  if (choice->names == 0) return true;
  for (unsigned i = 0; i < choice->names; i++)
    if (starts_with(figure->name, choice->name[i])) return true;
  return false;
}

static void refuse_unknown_names(const struct choice *choice, const struct figure *const *figure, unsigned n) {
  for (unsigned i = 0; i < choice->names; i++) {
    bool known = false;
    for (unsigned f = 0; f < n; f++) known |= starts_with(figure[f]->name, choice->name[i]);
    if (!known) die("no figure begins with \"%s\"; --list shows them all", choice->name[i]);
  }
}

static const char *option_value(int argc, char **argv, int *i) {
  if (*i + 1 >= argc) die("%s wants a value\n%s", argv[*i], usage_text);
  return argv[++*i];
}

static unsigned parse_number(const char *option, const char *text, long most) {
  char *end = NULL;
  const long number = strtol(text, &end, 10);
  if (end == text || *end || number < 1 || number > most) die("%s wants 1 to %ld, not \"%s\"", option, most, text);
  return (unsigned)number;
}

/* Names may stand before, between and behind the options; they are gathered at the front of argv. */
static struct choice parse(int argc, char **argv) {
  struct choice choice = {.rounds = ROUNDS_DEFAULT, .name = argv};
  for (int i = 1; i < argc; i++) {
    if (!starts_with(argv[i], "-"))
      choice.name[choice.names++] = argv[i];
    else if (!strcmp(argv[i], "--json"))
      choice.json = option_value(argc, argv, &i);
    else if (!strcmp(argv[i], "--rounds"))
      choice.rounds = parse_number("--rounds", option_value(argc, argv, &i), ROUNDS_MAX);
    else if (!strcmp(argv[i], "--seconds"))
      long_seconds = parse_number("--seconds", option_value(argc, argv, &i), SECONDS_MAX);
    else if (!strcmp(argv[i], "--pin"))
      pin_crews = true;
    else if (!strcmp(argv[i], "--list"))
      choice.list = true;
    else if (!strcmp(argv[i], "--child"))
      exit(be_child(option_value(argc, argv, &i)));
    else if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
      exit(fputs(usage_text, stdout) < 0);
    else
      die("unknown option %s\n%s", argv[i], usage_text);
  }
  return choice;
}

/* ---- one figure ---- */

static const char *describe_reach(const struct figure *figure, char *text, size_t n) {
  static const char *const sign[] = {[AT_MOST] = "<=", [AT_LEAST] = ">=", [EXACTLY] = "="};
  if (figure->reach == REPORTED)
    snprintf(text, n, "reported");
  else
    snprintf(text, n, "%s %g", sign[figure->reach], figure->limit);
  return text;
}

static const char *judge(const struct figure *figure, double median, bool unfit) {
  bool met = true;
  if (figure->reach == REPORTED) return "";
  if (figure->reach == AT_MOST) met = median <= figure->limit;
  if (figure->reach == AT_LEAST) met = median >= figure->limit;
  if (figure->reach == EXACTLY) met = !(median < figure->limit) && !(median > figure->limit);
  return met && !unfit ? "met" : "MISSED";
}

static void run_in_fresh_runtime(const struct figure *figure, struct result *result) {
  const fh_options options = {.flags = FH_OPTION_QUIET};
  uint64_t leaked = 0;
  fh_status status = fh_init(&options);
  if (status != FH_OK) die("fh_init: %s", fh_status_name(status));
  must_attach("bench");
  figure->measure(result);
  fh_detach();
  status = fh_shutdown(SHUTDOWN_MS, &leaked);
  if (status != FH_OK) die("fh_shutdown after %s: %s", figure->name, fh_status_name(status));
  if (leaked > result->immortal) die("%s leaked %llu objects", figure->name, (unsigned long long)leaked);
}

/* False if the figure cannot be measured here. */
static bool measure_and_print(const struct figure *figure, unsigned rounds, double *median_out) {
  struct result result = {.rounds = rounds};
  char reach[32];
  run_in_fresh_runtime(figure, &result);
  if (result.filled == 0) {
    printf("%-30s left out: %s\n", figure->name, result.beside);
    return false;
  }
  const double median = median_of(result.value, result.filled);
  printf("%-30s %9.4g %-4s %8.4g .. %-8.4g  %-8s %-6s %s\n", figure->name, median, figure->unit,
         quantile_of(result.value, result.filled, 0), quantile_of(result.value, result.filled, 1),
         describe_reach(figure, reach, sizeof reach), judge(figure, median, result.unfit), result.beside);
  fflush(stdout);
  *median_out = median;
  return true;
}

/* ---- all of them ---- */

/* Two busy threads want two processors for themselves. */
static void warn_if_busy(void) {
  double load = 0;
  const long processors = sysconf(_SC_NPROCESSORS_ONLN);
  if (processors < 2) fprintf(stderr, "fh-bench: one processor: figures of two threads mean nothing here\n");
  if (getloadavg(&load, 1) == 1 && load > 0.5 * (double)processors)
    fprintf(stderr, "fh-bench: the load average is %.1f on %ld processors: expect noise\n", load, processors);
}

static void write_json(const char *path, const struct figure *const *figure, const double *median, unsigned n) {
  FILE *file = fopen(path, "w");
  if (!file) die("cannot write %s", path);
  for (unsigned i = 0; i < n; i++) fprintf(file, "%s\"%s\": %.6g", i ? ",\n  " : "{\n  ", figure[i]->name, median[i]);
  fputs("\n}\n", file);
  if (fclose(file)) die("cannot write %s", path);
}

int main(int argc, char **argv) {
  const struct figure *figure[FIGURES_MAX], *measured[FIGURES_MAX];
  double median[FIGURES_MAX];
  char reach[32];
  unsigned done = 0;
  const struct choice choice = parse(argc, argv);
  const unsigned n = collect_figures(figure);
  refuse_unknown_names(&choice, figure, n);
  if (!choice.list) {
    warn_if_busy();
    printf("%-30s %9s %-4s %8s .. %-8s  %-8s\n", "figure", "median", "unit", "least", "most", "reach");
  }
  for (unsigned i = 0; i < n; i++) {
    if (!is_wanted(&choice, figure[i])) continue;
    if (choice.list) {
      printf("%-30s %-4s %s\n", figure[i]->name, figure[i]->unit, describe_reach(figure[i], reach, sizeof reach));
      continue;
    }
    measured[done] = figure[i];
    done += measure_and_print(figure[i], choice.rounds, &median[done]);
  }
  if (choice.json && done) write_json(choice.json, measured, median, done);
  return 0;
}
