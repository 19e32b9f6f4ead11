/* SPDX-License-Identifier: MIT */
/* Lines on standard error for somebody who waits. A short run prints none. */
#ifndef DEPGRAPH_PROGRESS_H
#define DEPGRAPH_PROGRESS_H

/* Says what is done now, once the program has run for two seconds. Called by the main thread. */
__attribute__((format(printf, 1, 2))) void progress(const char *format, ...);
/* The program's clock begins here. */
void progress_begin(void);

#endif
