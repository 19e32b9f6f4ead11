/* SPDX-License-Identifier: MIT */
#include "memory/system.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Reads a small file into `text`, as a string; false if there is none. */
static bool read_file(const char *path, char *text, size_t room) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  ssize_t length = read(file, text, room - 1);
  close(file);
  text[length > 0 ? length : 0] = 0;
  return length > 0;
}

size_t fh__system_resident(void) {
  char text[128];
  unsigned long total, resident;
  if (!read_file("/proc/self/statm", text, sizeof text) || sscanf(text, "%lu %lu", &total, &resident) != 2) return 0;
  return resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* ---- cgroups ---- */

/* Version 1 says "no limit" with a huge number, version 2 with the word max. */
static size_t read_limit(const char *path) {
  char text[64];
  if (!read_file(path, text, sizeof text)) return 0;
  unsigned long long limit = strtoull(text, NULL, 10);
  return limit < (unsigned long long)1 << 60 ? (size_t)limit : 0;
}

static size_t smaller(size_t a, size_t b) { return !a || (b && b < a) ? b : a; }

/* From the process's own group up to the root of the mount: each may set a limit. */
static size_t limit_upwards(const char *mount, char *group, const char *file) {
  size_t limit = 0;
  for (;;) {
    char path[2 * PATH_MAX];
    snprintf(path, sizeof path, "%s%s/%s", mount, group, file);
    limit = smaller(limit, read_limit(path));
    char *slash = strrchr(group, '/');
    if (!slash) return limit;
    *slash = 0;
  }
}

static bool lists_memory(const char *controllers) {
  size_t length = strcspn(controllers, ":");
  for (const char *word = controllers; word < controllers + length; word += strcspn(word, ",:") + 1)
    if (strcspn(word, ",:") == 6 && !strncmp(word, "memory", 6)) return true;
  return false;
}

/* A line is "number:controllers:/group"; version 2 has no controllers there. */
static size_t limit_of_line(char *line, const char *mount) {
  char *controllers = strchr(line, ':');
  char *group = controllers ? strchr(controllers + 1, ':') : NULL;
  if (!group) return 0;
  group++;
  group[strcspn(group, "\n")] = 0;
  if (controllers[1] == ':') return limit_upwards(mount, group, "memory.max");
  if (!lists_memory(controllers + 1)) return 0;
  char below[PATH_MAX];
  snprintf(below, sizeof below, "%s/memory", mount);
  return limit_upwards(below, group, "memory.limit_in_bytes");
}

size_t fh__system_cgroup_limit(const char *membership, const char *mount) {
  FILE *file = fopen(membership, "re");
  if (!file) return 0;
  size_t limit = 0;
  char line[PATH_MAX];
  while (fgets(line, sizeof line, file)) limit = smaller(limit, limit_of_line(line, mount));
  fclose(file);
  return limit;
}
