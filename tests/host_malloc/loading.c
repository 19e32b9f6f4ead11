/* SPDX-License-Identifier: MIT */
/* Claims: a program that loads a plugin which links the library keeps its own malloc, whether the plugin's names stay its own or
 * become everybody's; and so does the plugin. Everything here is real.
 *
 * Usage: loading PLUGIN local|global */
#include "check.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool (*find(void *plugin, const char *name))(void) {
  bool (*function)(void) = NULL;
  *(void **)&function = dlsym(plugin, name);
  if (!function) fprintf(stderr, "%s\n", dlerror());
  return function;
}

int main(int argc, char **argv) {
  if (argc != 3) return EXIT_FAILURE;
  int scope = strcmp(argv[2], "global") == 0 ? RTLD_GLOBAL : RTLD_LOCAL;
  void *before = malloc(100); /* is freed when mimalloc is there: by the malloc it came from */
  void *plugin = dlopen(argv[1], RTLD_NOW | scope);
  if (!plugin) {
    fprintf(stderr, "%s\n", dlerror());
    return EXIT_FAILURE;
  }
  bool (*use)(void) = find(plugin, "use_freehold"), (*plugins_is_the_hosts)(void) = find(plugin, "malloc_is_the_hosts");
  bool passed = use && plugins_is_the_hosts && use() && plugins_is_the_hosts() && malloc_is_the_hosts();
  free(before);
  return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}
