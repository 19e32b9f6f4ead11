/* SPDX-License-Identifier: MIT */
#ifndef FH_MUTATOR_STRAGGLER_H
#define FH_MUTATOR_STRAGGLER_H

#include "mutator/mutator.h"
#include "sync/watchdog.h"

/* Sets the watchdog up, at init. */
void fh__straggler_start(const fh_options *options);

/* What a mutator is doing, as far as its flags tell, after its state: "attached, in dealloc". For reports: they are read while they
 * may change. */
void fh__straggler_state(const struct fh__mutator *mutator, char *text, size_t room);

#endif
