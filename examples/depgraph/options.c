/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void options_help(void) {
  puts("usage: depgraph [OPTION]... [FILE]\n"
       "\n"
       "Loads the dependency graph of Debian packages into Freehold objects, answers queries from several threads while it\n"
       "reloads and swaps the graph, and reports what that cost.\n"
       "\n"
       "FILE holds stanzas as `apt-cache dumpavail` prints them; - is standard input. Without FILE: what `apt-cache\n"
       "dumpavail` prints, or /var/lib/dpkg/status if it prints nothing.\n"
       "\n"
       "  --loaders N   loader threads; loading is measured with 1 to N (default: processors, at most 8)\n"
       "  --readers N   threads that ask (default: processors, at least 2, at most 8)\n"
       "  --swaps N     how often the graph is reloaded and swapped (default 4)\n"
       "  --seconds S   how long the readers ask, at least (default 8)\n"
       "  --small       a short run: one measured load for each number of loaders, 2 swaps, 0.2 seconds\n"
       "  --help        this text\n"
       "\n"
       "Exit status: 0 all is well; 1 a check failed; 2 nothing to load, no memory, or a wrong option.");
}

static unsigned processors(unsigned least) {
  long n = sysconf(_SC_NPROCESSORS_ONLN);
  unsigned some = n > 8 ? 8 : (unsigned)(n < 1 ? 1 : n);
  return some < least ? least : some;
}

static bool read_number(const char *option, const char *text, double least, double most, double *number) {
  char *end = NULL;
  errno = 0;
  double read = text ? strtod(text, &end) : 0;
  if (text && end != text && *end == '\0' && errno == 0 && read >= least && read <= most) {
    *number = read;
    return true;
  }
  fprintf(stderr, "depgraph: %s wants a number from %g to %g%s%s\n", option, least, most, text ? ", not " : "", text ? text : "");
  return false;
}

static bool read_count(const char *option, const char *text, unsigned least, unsigned most, unsigned *count) {
  double number = 0;
  if (!read_number(option, text, least, most, &number)) return false;
  *count = (unsigned)number;
  if (number == *count) return true;
  fprintf(stderr, "depgraph: %s wants a whole number\n", option);
  return false;
}

static void make_small(struct options *options) {
  options->rounds = 1;
  options->swaps = 2;
  options->seconds = options->counted_seconds = 0.2;
}

/* True if the word is the option, alone or with its value behind "=". */
static bool is_option(const char *word, const char *option) {
  size_t n = strlen(option);
  return strncmp(word, option, n) == 0 && (word[n] == '\0' || word[n] == '=');
}

/* Reads an option that has a value. */
static bool read_valued(struct options *options, const char *word, const char *value) {
  if (is_option(word, "--loaders")) return read_count("--loaders", value, 1, THREADS_MAX, &options->loaders);
  if (is_option(word, "--readers")) return read_count("--readers", value, 1, THREADS_MAX, &options->readers);
  if (is_option(word, "--swaps")) return read_count("--swaps", value, 0, SWAPS_MAX, &options->swaps);
  if (is_option(word, "--seconds")) return read_number("--seconds", value, 0, 86400, &options->seconds);
  fprintf(stderr, "depgraph: there is no option %s; --help shows those that there are\n", word);
  return false;
}

static bool set_file(struct options *options, const char *file) {
  if (options->file) fprintf(stderr, "depgraph: one FILE, not both %s and %s\n", options->file, file);
  bool first = !options->file;
  options->file = file;
  return first;
}

enum options_result options_read(struct options *options, int argc, char **argv) {
  *options = (struct options){.loaders = processors(1), .readers = processors(2), .swaps = 4, .rounds = 3, .seconds = 8,
                              .counted_seconds = 1};
  for (int i = 1; i < argc; i++)
    if (!strcmp(argv[i], "--small")) make_small(options);
  for (int i = 1; i < argc; i++) {
    const char *word = argv[i], *equals = strchr(word, '=');
    if (!strcmp(word, "--help") || !strcmp(word, "-h")) return OPTIONS_HELP;
    if (!strcmp(word, "--small")) continue;
    if (word[0] != '-' || word[1] == '\0') {
      if (!set_file(options, word)) return OPTIONS_WRONG;
    } else if (!read_valued(options, word, equals ? equals + 1 : argv[i + 1] ? argv[++i] : NULL))
      return OPTIONS_WRONG;
  }
  return OPTIONS_RUN;
}
