/* SPDX-License-Identifier: MIT */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const size_t largest_input = (size_t)1 << 30;

static bool fail(const struct input *input, const char *why) {
  fprintf(stderr, "depgraph: %s: %s\n", input->name, why);
  return false;
}

static bool make_room(struct input *input, size_t *room) {
  if (input->size < *room) return true;
  if (*room >= largest_input) return fail(input, "more than 1 GiB of input");
  size_t more = *room ? 2 * *room : (size_t)1 << 16;
  char *grown = realloc(input->bytes, more);
  if (!grown) return fail(input, "out of memory");
  input->bytes = grown;
  *room = more;
  return true;
}

static bool read_descriptor(struct input *input, int fd) {
  size_t room = 0;
  for (;;) {
    if (!make_room(input, &room)) return false;
    ssize_t n = read(fd, input->bytes + input->size, room - input->size);
    if (n == 0) return true;
    if (n < 0 && errno != EINTR) return fail(input, errno == EISDIR ? "is a directory" : strerror(errno));
    if (n > 0) input->size += (size_t)n;
  }
}

static bool read_file(struct input *input) {
  int fd = open(input->name, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail(input, strerror(errno));
  bool read = read_descriptor(input, fd);
  close(fd);
  return read;
}

/* True if there is an apt-cache and it prints something. */
static bool read_apt_cache(struct input *input) {
  input->name = "apt-cache dumpavail";
  FILE *pipe = popen("exec apt-cache dumpavail 2>/dev/null", "r");
  if (!pipe) return false;
  bool read = read_descriptor(input, fileno(pipe));
  int status = pclose(pipe);
  return read && status == 0 && input->size > 0;
}

static bool read_system(struct input *input) {
  if (read_apt_cache(input)) return true;
  input_finish(input);
  input->name = "/var/lib/dpkg/status";
  if (access(input->name, R_OK) == 0) {
    fprintf(stderr, "depgraph: `apt-cache dumpavail` prints nothing; reading %s\n", input->name);
    return read_file(input);
  }
  fprintf(stderr, "depgraph: `apt-cache dumpavail` prints nothing and there is no %s; name a file of stanzas\n", input->name);
  return false;
}

static bool read_any(struct input *input, const char *file) {
  *input = (struct input){.name = file};
  if (!file) return read_system(input);
  if (strcmp(file, "-") != 0) return read_file(input);
  input->name = "(standard input)";
  return read_descriptor(input, STDIN_FILENO);
}

bool input_read(struct input *input, const char *file) {
  bool read = read_any(input, file) && (input->size || fail(input, "empty: there is nothing to load"));
  if (!read) input_finish(input);
  return read;
}

void input_finish(struct input *input) {
  free(input->bytes);
  *input = (struct input){0};
}

size_t resident_bytes(void) {
  unsigned long total = 0, resident = 0;
  FILE *file = fopen("/proc/self/statm", "re");
  if (!file) return 0;
  int fields = fscanf(file, "%lu %lu", &total, &resident);
  fclose(file);
  return fields == 2 ? resident * (size_t)sysconf(_SC_PAGESIZE) : 0;
}
