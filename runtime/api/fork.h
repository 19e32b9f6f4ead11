/* SPDX-License-Identifier: MIT */
#ifndef FH_API_FORK_H
#define FH_API_FORK_H

#include <stdbool.h>

/* From the first fh_init on, forks are noticed. */
void fh__fork_watch(void);

/* The lock of init and shutdown (api/runtime.c), around a fork. */
void fh__runtime_lock(void);
void fh__runtime_unlock(void);
/* In the child, the lock held: settles what another thread was doing in fh_shutdown. False: it had begun to take the runtime apart,
 * and there is nothing left to go on with. */
bool fh__runtime_survives_fork(bool forker_is_bound);

#endif
