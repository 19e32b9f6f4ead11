/* SPDX-License-Identifier: MIT */
#ifndef TESTS_HOST_MALLOC_CHECK_H
#define TESTS_HOST_MALLOC_CHECK_H

#include <stdbool.h>

/* True if `block` lies in memory of mimalloc's; false also where mimalloc is not in the process. */
bool is_in_mimalloc(const void *block);

/* True if malloc and its family are the host's own, as seen from whoever calls this. Says on standard error what is not. */
bool malloc_is_the_hosts(void);

/* A user of Freehold in one call: starts it, makes an object, and ends it. True if all went well and the object lies in
 * mimalloc's memory where it should: without that, the check above would prove nothing. */
bool use_freehold(void);

#endif
