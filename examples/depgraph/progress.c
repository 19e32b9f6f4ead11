/* SPDX-License-Identifier: MIT */
#include "progress.h"

#include "clock.h"

#include <stdarg.h>
#include <stdio.h>

static double begin;

void progress_begin(void) { begin = now_seconds(); }

void progress(const char *format, ...) {
  double seconds = now_seconds() - begin;
  if (seconds < 2) return;
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "depgraph: %5.1f s  ", seconds);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
}
