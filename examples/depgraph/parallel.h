/* SPDX-License-Identifier: MIT */
/* Threads for a piece of work. */
#ifndef DEPGRAPH_PARALLEL_H
#define DEPGRAPH_PARALLEL_H

/* Runs `work` on so many new threads, and waits until all are done; if the system gives fewer threads, those do it, and
 * if it gives none the caller does. The caller is attached, and waits in a blocking region, so nobody has to wait for it;
 * `work` attaches by itself and takes its share from what `argument` says. */
void parallel_run(unsigned threads, void *(*work)(void *), void *argument);

#endif
