/* SPDX-License-Identifier: MIT */
#include "parallel.h"

#include "options.h"

#include <freehold/freehold.h>
#include <pthread.h>

void parallel_run(unsigned threads, void *(*work)(void *), void *argument) {
  pthread_t running[THREADS_MAX];
  unsigned started = 0;
  FH_BLOCKING();
  while (started < threads && pthread_create(&running[started], NULL, work, argument) == 0) started++;
  if (started == 0) work(argument);
  while (started) pthread_join(running[--started], NULL);
}
