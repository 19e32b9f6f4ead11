/* SPDX-License-Identifier: MIT */
/* Fibres on ucontext, for tests: a stack of its own that runs in whichever thread resumes it.
 *
 * The compiler may keep the address of a thread-local variable in a register across a call. After a yield a fibre may be in
 * another thread, where such an address is wrong. So everything that touches thread-local storage, which the inline paths of
 * fh_retain, fh_release and fh_safepoint do, belongs in functions that are not inlined and that do not yield. */
#ifndef TESTS_FIBRE_H
#define TESTS_FIBRE_H

#include <stdbool.h>
#include <stddef.h>

struct fibre;

/* body(fibre, argument) runs at the first resume. */
struct fibre *fibre_new(void (*body)(struct fibre *, void *), void *argument);
/* It has ended. */
void fibre_free(struct fibre *fibre);

/* Runs it in the calling thread until it yields or ends. False: it has ended. Two threads that resume the same fibre one after
 * the other order that themselves. */
bool fibre_resume(struct fibre *fibre);
/* Inside of it: back to whoever resumed it. Returns in whichever thread resumes it next. */
void fibre_yield(struct fibre *fibre);

#define FIBRE_STEP __attribute__((noinline)) /* a function that touches thread-local storage, and does not yield */

#endif
