/* SPDX-License-Identifier: MIT */
/* Claims: a program that links the library, shared or static, keeps its own malloc, although mimalloc, which exports one as
 * well, comes into the process with it. Everything here is real. */
#include <dlfcn.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <freehold/freehold.h>

static int look_for_mimalloc(struct dl_phdr_info *info, size_t size, void *found) {
  (void)size;
  if (info->dlpi_name && strstr(info->dlpi_name, "libmimalloc")) *(bool *)found = true;
  return 0;
}

/* True if the program's own use of `name` ends in a library of Freehold's. */
static bool is_taken_over(const char *name) {
  void *function = dlsym(RTLD_DEFAULT, name);
  Dl_info info;
  if (!function || !dladdr(function, &info)) {
    fprintf(stderr, "%s is defined nowhere\n", name);
    return true;
  }
  printf("%-16s %s\n", name, info.dli_fname);
  return strstr(info.dli_fname, "mimalloc") || strstr(info.dli_fname, "freehold");
}

int main(void) {
  static const char *const names[] = {"malloc", "calloc", "realloc", "free", "posix_memalign", "aligned_alloc"};
  int failures = 0;

  printf("Freehold %s\n", fh_version());
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (is_taken_over(names[i])) {
      fprintf(stderr, "%s is not the host's any more\n", names[i]);
      failures++;
    }

  /* Without mimalloc in the process the test above would prove nothing. */
  bool loaded = false;
  dl_iterate_phdr(look_for_mimalloc, &loaded);
  if (loaded != EXPECT_MIMALLOC) {
    fprintf(stderr, "mimalloc is %s\n", loaded ? "loaded, and should not be" : "not loaded, and should be");
    failures++;
  }

  /* What malloc returns must not lie in mimalloc's memory either, whoever the names above lead to. */
  bool (*is_in_mimalloc)(const void *) = NULL;
  *(void **)&is_in_mimalloc = dlsym(RTLD_DEFAULT, "mi_is_in_heap_region");
  void *block = malloc(100);
  if (is_in_mimalloc && is_in_mimalloc(block)) {
    fprintf(stderr, "malloc returned a block of mimalloc's\n");
    failures++;
  }
  free(block);
  return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
