/* SPDX-License-Identifier: MIT */
/* depgraph: the dependency graph of a Debian archive, shared by threads that load, ask and swap it. */
#include "progress.h"
#include "report.h"

#include <inttypes.h>
#include <stdio.h>

enum { EXIT_WELL, EXIT_CHECK_FAILED, EXIT_CANNOT_RUN };

static int explain(enum run_result result, const struct input *input) {
  if (result == RUN_NOTHING_LOADED)
    fprintf(stderr, "depgraph: %s: no stanza of a package in it: there is nothing to load\n", input->name);
  else
    fprintf(stderr, "depgraph: out of memory or threads\n");
  return EXIT_CANNOT_RUN;
}

/* What could not run must not leak either. */
static int explain_all(enum run_result result, const struct input *input, const struct run *run) {
  int status = explain(result, input);
  if (run->leaked == 0) return status;
  fprintf(stderr, "depgraph: %" PRIu64 " objects leaked\n", run->leaked);
  return EXIT_CHECK_FAILED;
}

static int run_all(const struct options *options, const struct input *input) {
  static struct run run, counted;
  enum run_result result = run_main(options, input, &run);
  problems_finish(&run.loaded.problems);
  if (result != RUN_DONE) return explain_all(result, input, &run);
  result = run_counted(options, input, &counted);
  problems_finish(&counted.loaded.problems);
  if (result != RUN_DONE) return explain_all(result, input, &counted);
  return report(options, input, &run, &counted) ? EXIT_WELL : EXIT_CHECK_FAILED;
}

int main(int argc, char **argv) {
  struct options options;
  struct input input;
  enum options_result wish = options_read(&options, argc, argv);
  if (wish == OPTIONS_HELP) options_help();
  if (wish != OPTIONS_RUN) return wish == OPTIONS_HELP ? EXIT_WELL : EXIT_CANNOT_RUN;
  progress_begin();
  if (!input_read(&input, options.file)) return EXIT_CANNOT_RUN;
  int status = run_all(&options, &input);
  input_finish(&input);
  return status;
}
