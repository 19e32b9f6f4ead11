/* SPDX-License-Identifier: MIT */
/* Torture builds: every atomic instruction of the runtime opens a race window, in front of which the thread may give its processor
 * away, and now and then it sleeps. Who does so where is drawn from a seed: FREEHOLD_TORTURE_SEED in the environment, or the clock;
 * a trap and fh_dump say which it was. Each thread draws by its number in the order of their first windows; what the system's
 * scheduler makes of it is its own affair.
 *
 * And every n-th safepoint of a mutator collects: FREEHOLD_TORTURE_COLLECT, 0 for none. */
#ifndef FH_BASE_TORTURE_H
#define FH_BASE_TORTURE_H

#include <stdint.h>

#include "base/config.h"

void fh__torture_window(void);
/* Reads the environment; at each init. */
void fh__torture_start(void);
uint64_t fh__torture_seed(void);
/* At every n-th of the calls that count with `counter`: which time that is, from 1 on. Else 0. */
uint32_t fh__torture_turn(uint32_t *counter);

#if FH__TORTURE
#define FH__WINDOW() fh__torture_window()
#else
#define FH__WINDOW() ((void)0)
#endif

#endif
