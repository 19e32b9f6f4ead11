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
       "  --design D    how references are counted: biased (the default), atomic or gil\n"
       "  --gc LIST     tunes the collector: threshold=N, percent=N, workers=N, overhead=PERCENT, pause=MICROSECONDS,\n"
       "                candidates=on or off; several with commas between them\n"
       "  --limit L     limits memory to L bytes, or with L% to so many percent of what the first load took; a reload that\n"
       "                does not fit beside the old graph drops that first, from 120% or so on it fits\n"
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

static bool read_design(const char *text, fh_design *design) {
  for (*design = FH_DESIGN_BIASED; *design <= FH_DESIGN_GIL; ++*design)
    if (text && !strcmp(text, fh_design_name(*design))) return true;
  fprintf(stderr, "depgraph: --design wants biased, atomic or gil%s%s\n", text ? ", not " : "", text ? text : "");
  return false;
}

/* One word of --gc: name=value. */
static bool read_tuning(char *word, fh_options *collector) {
  const struct {
    const char *name;
    uint32_t *place;
  } numbers[] = {{"threshold", &collector->gc_threshold}, {"percent", &collector->gc_percent},   {"workers", &collector->gc_workers},
                 {"overhead", &collector->gc_overhead},   {"pause", &collector->gc_pause_us}};
  char *value = strchr(word, '=');
  if (!value) return false;
  *value++ = '\0';
  if (!strcmp(word, "candidates")) {
    if (!strcmp(value, "off")) collector->flags |= FH_OPTION_NO_CANDIDATES;
    return !strcmp(value, "on") || !strcmp(value, "off");
  }
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    char *end;
    unsigned long number = strtoul(value, &end, 10);
    if (strcmp(word, numbers[i].name) || end == value || *end || number > UINT32_MAX) continue;
    *numbers[i].place = (uint32_t)number;
    return true;
  }
  return false;
}

static bool read_collector(const char *text, fh_options *collector) {
  char words[256];
  bool right = text && strlen(text) < sizeof words;
  if (right) strcpy(words, text);
  char *rest = words;
  for (char *word; right && (word = strsep(&rest, ","));) right = read_tuning(word, collector);
  if (!right) fprintf(stderr, "depgraph: --gc wants words as in threshold=16384,workers=2%s%s; --help shows them\n", text ? ", not " : "", text ? text : "");
  return right;
}

static bool read_limit(const char *text, struct options *options) {
  char *end = NULL;
  errno = 0;
  unsigned long long limit = text ? strtoull(text, &end, 10) : 0;
  options->limit_is_percent = end && *end == '%';
  uint64_t most = options->limit_is_percent ? 100000 : (uint64_t)1 << 47;
  options->limit = limit;
  if (end && end != text && text[0] != '-' && !end[options->limit_is_percent] && !errno && limit && limit <= most) return true;
  fprintf(stderr, "depgraph: --limit wants a number of bytes, or percent as in 120%%%s%s\n", text ? ", not " : "", text ? text : "");
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
  if (is_option(word, "--limit")) return read_limit(value, options);
  if (is_option(word, "--gc")) return read_collector(value, &options->collector);
  if (is_option(word, "--design")) return read_design(value, &options->design);
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
