/* SPDX-License-Identifier: MIT */
#include "memory/system.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
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

/* A resource that cgroups limit: how its controller is called in version 1, and how a group says its limit in either. 0: it sets none. */
struct resource {
  const char *controller;
  size_t (*version1)(const char *folder);
  size_t (*version2)(const char *folder);
};

static bool read_in(const char *folder, const char *name, char *text, size_t room) {
  char path[2 * PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return read_file(path, text, room);
}

/* Version 1 says "no limit" with a huge number, version 2 with the word max. */
static size_t read_number(const char *folder, const char *name) {
  char text[64];
  if (!read_in(folder, name, text, sizeof text)) return 0;
  unsigned long long number = strtoull(text, NULL, 10);
  return number < (unsigned long long)1 << 60 ? (size_t)number : 0;
}

static size_t memory1(const char *folder) { return read_number(folder, "memory.limit_in_bytes"); }
static size_t memory2(const char *folder) { return read_number(folder, "memory.max"); }

/* So much time of processors in each period; in whole ones. */
static size_t share(unsigned long long quota, unsigned long long period) {
  return period ? (size_t)((quota + period - 1) / period) : 0;
}
static size_t processors1(const char *folder) { /* -1, which is no limit, reads as a huge number */
  return share(read_number(folder, "cpu.cfs_quota_us"), read_number(folder, "cpu.cfs_period_us"));
}
static size_t processors2(const char *folder) {
  char text[64];
  unsigned long long quota, period;
  bool limited = read_in(folder, "cpu.max", text, sizeof text) && sscanf(text, "%llu %llu", &quota, &period) == 2;
  return limited ? share(quota, period) : 0;
}

static size_t smaller(size_t a, size_t b) { return !a || (b && b < a) ? b : a; }

/* From the process's own group up to the root of the mount: each may set a limit. */
static size_t limit_upwards(const char *mount, char *group, size_t (*limit_of)(const char *folder)) {
  size_t limit = 0;
  for (;;) {
    char folder[2 * PATH_MAX];
    snprintf(folder, sizeof folder, "%s%s", mount, group);
    limit = smaller(limit, limit_of(folder));
    char *slash = strrchr(group, '/');
    if (!slash) return limit;
    *slash = 0;
  }
}

static bool lists(const char *controllers, const char *controller) {
  size_t length = strcspn(controllers, ":");
  for (const char *word = controllers; word < controllers + length; word += strcspn(word, ",:") + 1)
    if (strcspn(word, ",:") == strlen(controller) && !strncmp(word, controller, strlen(controller))) return true;
  return false;
}

/* A line is "number:controllers:/group"; version 2 has no controllers there. */
static size_t limit_of_line(char *line, const char *mount, const struct resource *resource) {
  char *controllers = strchr(line, ':');
  char *group = controllers ? strchr(controllers + 1, ':') : NULL;
  if (!group) return 0;
  group++;
  group[strcspn(group, "\n")] = 0;
  if (controllers[1] == ':') return limit_upwards(mount, group, resource->version2);
  if (!lists(controllers + 1, resource->controller)) return 0;
  char below[PATH_MAX];
  snprintf(below, sizeof below, "%s/%s", mount, resource->controller);
  return limit_upwards(below, group, resource->version1);
}

static size_t limit_of(const char *membership, const char *mount, const struct resource *resource) {
  FILE *file = fopen(membership, "re");
  if (!file) return 0;
  size_t limit = 0;
  char line[PATH_MAX];
  while (fgets(line, sizeof line, file)) limit = smaller(limit, limit_of_line(line, mount, resource));
  fclose(file);
  return limit;
}

size_t fh__system_cgroup_limit(const char *membership, const char *mount) {
  return limit_of(membership, mount, &(struct resource){"memory", memory1, memory2});
}

unsigned fh__system_processors(const char *membership, const char *mount) {
  cpu_set_t may;
  size_t processors = sched_getaffinity(0, sizeof may, &may) == 0 ? (size_t)CPU_COUNT(&may) : 1;
  return (unsigned)smaller(processors, limit_of(membership, mount, &(struct resource){"cpu", processors1, processors2}));
}
