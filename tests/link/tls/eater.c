/* SPDX-License-Identifier: MIT */
/* A library that takes EATER_BYTES of what the C library has in reserve for thread-local storage of libraries loaded at run time. */

long *eater(void);

static __thread long taken[EATER_BYTES / sizeof(long)] __attribute__((tls_model("initial-exec")));

long *eater(void) { return taken; }
