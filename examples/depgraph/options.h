/* SPDX-License-Identifier: MIT */
/* What the command line says. */
#ifndef DEPGRAPH_OPTIONS_H
#define DEPGRAPH_OPTIONS_H

#include <freehold/runtime.h>
#include <stdbool.h>
#include <stdint.h>

enum { THREADS_MAX = 64, SWAPS_MAX = 1000, ROUNDS_MAX = 9 };

struct options {
  unsigned loaders; /* threads that load; the load is measured with 1 to so many */
  unsigned readers;
  unsigned swaps;
  unsigned rounds;  /* measured loads with each number of threads */
  double seconds;   /* how long readers ask, at least */
  double counted_seconds; /* the same in the run that counts every path */
  fh_design design; /* how references are counted */
  fh_options collector; /* what --gc says of it; the rest is zero */
  uint64_t limit;   /* of memory: bytes, or percent of what the first load took; 0: none */
  bool limit_is_percent;
  const char *file; /* NULL: the packages that this system knows; "-": standard input */
};

enum options_result { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_WRONG };

/* Fills in `options`; says on standard error what is wrong. */
enum options_result options_read(struct options *options, int argc, char **argv);
void options_help(void);

#endif
