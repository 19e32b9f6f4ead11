/* SPDX-License-Identifier: MIT */
#include "base/trap.h"

#include "base/torture.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
  fh_log_function log;
  void *context;
} sink;

void fh__log_to(fh_log_function log, void *context) {
  sink.log = log;
  sink.context = context;
}

static void say(fh_log_level level, const char *message) {
  if (sink.log) {
    sink.log(sink.context, level, message);
    return;
  }
  /* One write, so that lines of several threads do not mix. */
  char line[1100];
  int n = snprintf(line, sizeof line, "%s\n", message);
  if (n < 0) return;
  size_t length = (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
  ssize_t written = write(STDERR_FILENO, line, length);
  (void)written;
}

void fh__log(fh_log_level level, const char *format, ...) {
  char message[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  say(level, message);
}

void fh__trap(const char *format, ...) {
  char message[1024];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  if (FH__TORTURE && length >= 0 && (size_t)length < sizeof message)
    snprintf(message + length, sizeof message - (size_t)length, "\n  FREEHOLD_TORTURE_SEED=%llu", (unsigned long long)fh__torture_seed());
  say(FH_LOG_ERROR, message);
  abort();
}
