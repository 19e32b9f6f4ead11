/* SPDX-License-Identifier: MIT */
/* Claims: a plugin that uses Freehold can be closed and opened again, at the same address or at another, whether it shut Freehold
 * down or not. Threads that used it may end before it goes, or when it is gone: the library stays. Everything here is real.
 *
 * Usage: host PLUGIN */
#define _GNU_SOURCE
#include "plugin.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define CHECK(what)                                                   \
  do {                                                                \
    if (!(what)) {                                                    \
      fprintf(stderr, "host.c:%d: not true: %s\n", __LINE__, #what); \
      exit(EXIT_FAILURE);                                             \
    }                                                                 \
  } while (0)

/* ---- the plugin ---- */

static const char *path;
static void *handle;
static const struct plugin *plugin;

static void open_plugin(void) {
  handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!handle) fprintf(stderr, "%s\n", dlerror());
  CHECK(handle);
  plugin = dlsym(handle, PLUGIN_NAME);
  CHECK(plugin);
  printf("the plugin lies at %p\n", (const void *)plugin);
}

static bool is_loaded(const char *name) {
  void *found = dlopen(name, RTLD_NOW | RTLD_NOLOAD);
  if (found) dlclose(found);
  return found;
}

/* Leaves nothing of the plugin, and all of the library. */
static void close_plugin(void) {
  CHECK(dlclose(handle) == 0);
  plugin = NULL;
  CHECK(!is_loaded(path));
  CHECK(is_loaded("libfreehold.so.0"));
}

/* ---- threads that outlive it ---- */

enum { THREADS = 2 };

/* Each thread does its task, tells, and ends when it is told to. */
struct crew {
  pthread_t threads[THREADS];
  bool (*task)(void);
  pthread_barrier_t done, go;
  bool passed[THREADS];
};
struct member {
  struct crew *crew;
  int index;
};

static void *take_part(void *argument) {
  struct member *member = argument;
  struct crew *crew = member->crew;
  crew->passed[member->index] = crew->task();
  free(member);
  pthread_barrier_wait(&crew->done);
  pthread_barrier_wait(&crew->go);
  return NULL;
}

static void crew_begin(struct crew *crew, bool (*task)(void)) {
  crew->task = task;
  CHECK(!pthread_barrier_init(&crew->done, NULL, THREADS + 1) && !pthread_barrier_init(&crew->go, NULL, THREADS + 1));
  for (int i = 0; i < THREADS; i++) {
    struct member *member = malloc(sizeof *member);
    CHECK(member);
    *member = (struct member){crew, i};
    CHECK(!pthread_create(&crew->threads[i], NULL, take_part, member));
  }
  pthread_barrier_wait(&crew->done);
  for (int i = 0; i < THREADS; i++) CHECK(crew->passed[i]);
}

static void crew_end(struct crew *crew) {
  pthread_barrier_wait(&crew->go);
  for (int i = 0; i < THREADS; i++) CHECK(!pthread_join(crew->threads[i], NULL));
  pthread_barrier_destroy(&crew->done);
  pthread_barrier_destroy(&crew->go);
}

static void *forget(void *unused) {
  (void)unused;
  CHECK(plugin->forget());
  return NULL;
}

/* ---- what hosts do ---- */

/* No thread is left that took part, so no thread's destructors keep the library: it stays by itself, and the runtime in it. Comes
 * first, because the main thread must not have taken part either. */
static void close_after_all_threads(void) {
  struct crew crew;
  pthread_t thread;
  open_plugin();
  CHECK(plugin->start() == STARTED_FIRST);
  crew_begin(&crew, plugin->work);
  crew_end(&crew);
  CHECK(!pthread_create(&thread, NULL, forget, NULL) && !pthread_join(thread, NULL));
  close_plugin();
  open_plugin();
  CHECK(plugin->start() == STARTED_ANEW);
  CHECK(plugin->end() && plugin->end());
  close_plugin();
}

static void close_after_shutdown(void) {
  struct crew crew;
  open_plugin();
  CHECK(plugin->start() == STARTED_FIRST);
  crew_begin(&crew, plugin->work);
  CHECK(plugin->work());
  CHECK(plugin->end());
  close_plugin();
  crew_end(&crew);
}

/* The threads still take part when the plugin goes, and Freehold runs on without it. */
static void close_while_it_runs(void) {
  struct crew crew;
  open_plugin();
  CHECK(plugin->start() == STARTED_FIRST);
  crew_begin(&crew, plugin->enter);
  CHECK(plugin->work());
  CHECK(plugin->forget());
  close_plugin();
  crew_end(&crew);
}

/* Nobody but the plugin before counted as a user, so both uses are ended here. */
static void open_while_it_runs(void) {
  struct crew crew;
  open_plugin();
  CHECK(plugin->start() == STARTED_ANEW);
  crew_begin(&crew, plugin->work);
  CHECK(plugin->end());
  CHECK(plugin->work());
  crew_end(&crew);
  CHECK(plugin->end());
  CHECK(!plugin->work());
  close_plugin();
}

/* Its old place is taken meanwhile: the types' identities lie at other addresses. */
static void open_elsewhere(void) {
  enum { PAGE = 4096 };
  open_plugin();
  CHECK(plugin->start() == STARTED_FIRST);
  CHECK(plugin->work());
  CHECK(plugin->forget());
  const void *before = plugin;
  close_plugin();

  void *page = (void *)((uintptr_t)before & ~(uintptr_t)(PAGE - 1));
  CHECK(mmap(page, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == page);
  open_plugin();
  CHECK(plugin != before);
  CHECK(plugin->start() == STARTED_ANEW);
  CHECK(plugin->work());
  CHECK(plugin->end() && plugin->end());
  close_plugin();
  CHECK(munmap(page, PAGE) == 0);
}

int main(int argc, char **argv) {
  if (argc != 2) return EXIT_FAILURE;
  path = argv[1];
  CHECK(!is_loaded("libfreehold.so.0"));
  close_after_all_threads();
  for (int round = 0; round < 3; round++) {
    close_after_shutdown();
    close_while_it_runs();
    open_while_it_runs();
    open_elsewhere();
  }
  puts("works");
  return EXIT_SUCCESS;
}
