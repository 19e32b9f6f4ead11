/* SPDX-License-Identifier: MIT */
/* A host in which the reserve of static thread-local storage is used up before it opens a plugin that uses Freehold.
 *
 * Usage: host PLUGIN FIRST EATER...
 *
 * FIRST is a library to load before (none, if empty). Eaters are loaded from the largest to the smallest; a refused one is left
 * out, and the last one must be refused. Exits with 0 if the plugin works, and with 2 if the dynamic loader refuses it. */
#define _GNU_SOURCE
#include "../plugin/plugin.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { REFUSED = 2 };

#define CHECK(what)                                                   \
  do {                                                                \
    if (!(what)) {                                                    \
      fprintf(stderr, "host.c:%d: not true: %s\n", __LINE__, #what); \
      exit(EXIT_FAILURE);                                             \
    }                                                                 \
  } while (0)

static const struct plugin *plugin;
static pthread_barrier_t opened;

/* Is there before the plugin is: its share of the plugin's storage cannot have been set aside when it began. */
static void *work_when_opened(void *unused) {
  (void)unused;
  pthread_barrier_wait(&opened);
  CHECK(plugin->work());
  return NULL;
}

static void *work_now(void *unused) {
  (void)unused;
  CHECK(plugin->work());
  return NULL;
}

static void use_up_reserve(char **eaters, int count) {
  int taken = 0;
  bool refused = false;
  for (int i = 0; i < count; i++) {
    refused = !dlopen(eaters[i], RTLD_NOW);
    taken += !refused;
  }
  printf("%d of %d eaters were let in\n", taken, count);
  CHECK(taken > 0 && refused);
}

int main(int argc, char **argv) {
  CHECK(argc > 3);
  pthread_t early, late;
  CHECK(!pthread_barrier_init(&opened, NULL, 2));
  CHECK(!pthread_create(&early, NULL, work_when_opened, NULL));

  CHECK(!argv[2][0] || dlopen(argv[2], RTLD_NOW));
  use_up_reserve(argv + 3, argc - 3);
  void *handle = dlopen(argv[1], RTLD_NOW);
  if (!handle) {
    fprintf(stderr, "%s\n", dlerror());
    return REFUSED;
  }
  plugin = dlsym(handle, PLUGIN_NAME);
  CHECK(plugin && plugin->start() == STARTED_FIRST);
  pthread_barrier_wait(&opened);
  CHECK(!pthread_create(&late, NULL, work_now, NULL));
  CHECK(plugin->work());
  CHECK(!pthread_join(early, NULL) && !pthread_join(late, NULL));
  CHECK(plugin->end());
  puts("works");
  return EXIT_SUCCESS;
}
