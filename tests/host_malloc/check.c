/* SPDX-License-Identifier: MIT */
#include "check.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool is_in_mimalloc(const void *block) {
  bool (*is_in_heap)(const void *) = NULL;
  /* Looked up by the library's name, because a library that was loaded for a plugin alone is not seen otherwise. */
  void *mimalloc = dlopen("libmimalloc.so.2", RTLD_NOLOAD | RTLD_LAZY);
  if (!mimalloc) return false;
  *(void **)&is_in_heap = dlsym(mimalloc, "mi_is_in_heap_region");
  bool is_in = is_in_heap && is_in_heap(block);
  dlclose(mimalloc);
  return is_in;
}

/* True if the process's use of `name` ends in a library of Freehold's. */
static bool is_taken_over(const char *name) {
  void *function = dlsym(RTLD_DEFAULT, name);
  Dl_info info;
  if (!function || !dladdr(function, &info)) {
    fprintf(stderr, "%s is defined nowhere\n", name);
    return true;
  }
  const char *slash = strrchr(info.dli_fname, '/'), *file = slash ? slash + 1 : info.dli_fname;
  if (!strstr(file, "libmimalloc") && !strstr(file, "libfreehold")) return false;
  fprintf(stderr, "%s is in %s\n", name, info.dli_fname);
  return true;
}

static bool is_mimallocs(const char *call, void *block) {
  bool is_in = is_in_mimalloc(block);
  if (is_in) fprintf(stderr, "%s returned a block of mimalloc's\n", call);
  free(block);
  return is_in;
}

bool malloc_is_the_hosts(void) {
  static const char *const names[] = {"malloc", "calloc", "realloc", "free", "posix_memalign", "aligned_alloc"};
  int taken = 0;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) taken += is_taken_over(names[i]);

  /* Wherever the names lead: what the program gets when it calls them, and when the C library calls them for it. Below and
   * above the sizes for which allocators ask the system for pages of their own. */
  taken += is_mimallocs("malloc", malloc(100));
  taken += is_mimallocs("malloc", malloc((size_t)8 << 20));
  taken += is_mimallocs("calloc", calloc(10, 10));
  taken += is_mimallocs("realloc", realloc(malloc(10), 1000));
  taken += is_mimallocs("aligned_alloc", aligned_alloc(64, 128));
  taken += is_mimallocs("strdup", strdup("some text"));
  return taken == 0;
}
