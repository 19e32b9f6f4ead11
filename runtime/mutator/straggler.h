/* SPDX-License-Identifier: MIT */
#ifndef FH_MUTATOR_STRAGGLER_H
#define FH_MUTATOR_STRAGGLER_H

#include "mutator/mutator.h"
#include "sync/watchdog.h"

/* Sets the watchdog up, at init. */
void fh__straggler_start(const fh_options *options);

#endif
