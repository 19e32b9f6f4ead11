/* SPDX-License-Identifier: MIT */
/* What the runtime says, and how it ends a program that broke a contract. */
#ifndef FH_BASE_TRAP_H
#define FH_BASE_TRAP_H

#include <freehold/runtime.h>

/* Where messages go; NULL: standard error. Written while the runtime starts. */
void fh__log_to(fh_log_function log, void *context);
void fh__log(fh_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Logs the message as an error and aborts. For broken contracts and broken invariants, never for full memory. */
_Noreturn void fh__trap(const char *format, ...) __attribute__((format(printf, 1, 2), cold));

#define FH__STRINGIFY2(x) #x
#define FH__STRINGIFY(x) FH__STRINGIFY2(x)
/* An invariant of the runtime itself, named as in the docs; tested in checked builds. */
#define FH__ASSERT(condition, invariant)                                                                       \
  do {                                                                                                         \
    if (FH__CHECKED && __builtin_expect(!(condition), 0))                                                      \
      fh__trap("freehold: invariant [%s] broken: %s (%s:%d)", invariant, #condition, __FILE__, __LINE__);      \
  } while (0)

#endif
