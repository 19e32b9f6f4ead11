/* SPDX-License-Identifier: MIT */
/* Where another thread of this process is, without a signal and without stopping it: what the kernel says of it, and what looks like
 * return addresses on its stack. For reports only: it may move on while it is looked at. */
#ifndef FH_BASE_WHERE_H
#define FH_BASE_WHERE_H

#include <stddef.h>
#include <stdint.h>

/* The calling thread's number in the kernel. */
int32_t fh__thread_number(void);

/* Writes a description into `text`: "running", or the system call that it waits in and up to `most` functions, innermost first,
 * one a line. An empty text if the kernel says nothing. */
void fh__thread_where(int32_t thread, int most, char *text, size_t room);

#endif
