/* SPDX-License-Identifier: MIT */
/* Waiting for a 32-bit word to change. The only door to the kernel's wait queues. */
#ifndef FH_BASE_FUTEX_H
#define FH_BASE_FUTEX_H

#include <stdint.h>

/* Sleeps while *word == value, until woken, or timeout_ns have passed (0: for ever). May return early for no reason. */
void fh__futex_wait(uint32_t *word, uint32_t value, uint64_t timeout_ns);
void fh__futex_wake(uint32_t *word, int threads);

#endif
