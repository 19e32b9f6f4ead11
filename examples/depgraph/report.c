/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- words and numbers ---- */

static void heading(const char *text) { printf("\n%s\n", text); }

static double mib(uint64_t bytes) { return (double)bytes / (1024 * 1024); }

/* 1234567 as 1,234,567, in one of a few buffers in turn. */
static const char *grouped(uint64_t number) {
  static char buffers[8][32];
  static unsigned turn;
  char digits[24], *text = buffers[turn++ % 8];
  int n = snprintf(digits, sizeof digits, "%" PRIu64, number), out = 0;
  for (int i = 0; i < n; i++) {
    if (i && (n - i) % 3 == 0) text[out++] = ',';
    text[out++] = digits[i];
  }
  text[out] = '\0';
  return text;
}

static void line(const char *what, uint64_t number) { printf("  %-44s %16s\n", what, grouped(number)); }

static double median(const double *values, unsigned n) {
  double sorted[ROUNDS_MAX];
  for (unsigned i = 0; i < n; i++) {
    unsigned j = i;
    for (; j && sorted[j - 1] > values[i]; j--) sorted[j] = sorted[j - 1];
    sorted[j] = values[i];
  }
  return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

/* ---- the parts ---- */

static void report_input(const struct input *input, const struct run *run) {
  heading("Input");
  printf("  %s: %.1f MiB, %s lines, %s stanzas, %s skipped as malformed\n", input->name, mib(input->size),
         grouped(run->loaded.lines), grouped(run->loaded.stanzas), grouped(run->loaded.skipped));
}

static void report_graph(const struct run *run) {
  const struct graph_counts *graph = &run->graph;
  heading("Graph");
  line("names", graph->packages);
  line("  packages, which have a stanza", graph->defined);
  line("  virtual packages, which others provide", graph->virtual_packages);
  line("  only mentioned", graph->packages - graph->defined - graph->virtual_packages);
  line("stanzas (a version each)", graph->stanzas);
  line("relations", graph->relations);
  line("edges (alternatives), each in both directions", graph->edges);
  line("objects", graph->objects);
  printf("  %-44s %12.1f MiB (objects %.1f, buffers %.1f)\n", "memory", mib(run->graph_bytes), mib(run->object_bytes),
         mib(run->buffer_bytes));
}

static void report_loads(const struct options *options, const struct run *run) {
  heading("Load time by threads");
  printf("  %7s %10s %10s %10s %9s   median of %u\n", "threads", "all", "parse", "link", "speed-up", options->rounds);
  double alone = median(run->load_time[0].seconds, options->rounds);
  for (unsigned i = 0; i < options->loaders; i++) {
    const struct load_time *time = &run->load_time[i];
    double all = median(time->seconds, options->rounds), parse = median(time->parse, options->rounds);
    printf("  %7u %8.1fms %8.1fms %8.1fms %9.2f\n", i + 1, all * 1e3, parse * 1e3, (all - parse) * 1e3, alone / all);
  }
}

static void report_queries(const struct served *served) {
  static const char *const names[QUERIES] = {
      [QUERY_DEPENDENCIES] = "dependencies",
      [QUERY_REVERSE] = "reverse dependencies",
      [QUERY_PATH] = "shortest path",
      [QUERY_CYCLE] = "a cycle that a package is in",
  };
  heading("Queries");
  printf("  %u readers for %.1f s, the kinds in turn, while the graph was swapped\n", served->readers, served->seconds);
  printf("  %-30s %12s %12s %12s %16s\n", "kind", "asked", "found", "mean", "a second");
  uint64_t all = 0;
  for (int i = 0; i < QUERIES; i++) {
    const struct query_count *count = &served->count[i];
    double mean = count->asked ? count->seconds / (double)count->asked : 0;
    printf("  %-30s %12s %12s %10.2fus %16s\n", names[i], grouped(count->asked), grouped(count->answered), mean * 1e6,
           grouped(mean > 0 ? (uint64_t)(served->readers / mean) : 0));
    all += count->asked;
  }
  printf("  all kinds together: %s a second; checks that failed: %s\n",
         grouped(served->seconds > 0 ? (uint64_t)((double)all / served->seconds) : 0), grouped(served->wrong));
  if (served->longest[0]) printf("  the longest shortest path: %s\n", served->longest);
}

static void report_duration(const char *what, const fh_histogram *histogram) {
  printf("  %-30s %8s %10.3fms %10.3fms %10.3fms\n", what, grouped(histogram->count),
         (double)fh_histogram_quantile(histogram, 0.5) * 1e-6, (double)fh_histogram_quantile(histogram, 0.99) * 1e-6,
         (double)histogram->max_ns * 1e-6);
}

static void report_generations(const fh_stats *stats) {
  static const char *const names[] = {"young", "middle", "old"};
  for (int i = 0; i < 3; i++) {
    const fh_generation_stats *generation = &stats->generation[i];
    printf("    %-6s %6s, looked at %11s objects, found %10s, destroyed %10s\n", names[i], grouped(generation->collections),
           grouped(generation->scanned), grouped(generation->found), grouped(generation->collected));
  }
}

static void report_pauses(const fh_stats *stats) {
  static const char *const names[] = {"  of young collections", "  of middle ones", "  of old ones"};
  for (int i = 0; i < 3; i++) report_duration(names[i], &stats->generation[i].pause);
}

static void report_collections(const fh_stats *stats) {
  heading("Collections");
  printf("  %s collections looked at %s objects and destroyed %s in cycles; %s found no memory\n",
         grouped(stats->collections), grouped(stats->scanned), grouped(stats->collected), grouped(stats->collections_failed));
  report_generations(stats);
  printf("  %s old ones started from what had changed; stopped threads took part in %s passes\n", grouped(stats->from_candidates),
         grouped(stats->helped));
  printf("  %-30s %8s %12s %12s %12s\n", "", "count", "median", "p99", "max");
  report_duration("time to stop", &stats->time_to_stop);
  report_duration("pause (the world stands still)", &stats->time_stopped);
  report_pauses(stats);
  report_duration("whole collection", &stats->gc_total);
  printf("  medians and p99 are exact within a factor of 2\n");
}

static void report_memory(const char *when, const struct memory *memory) {
  printf(" %9.1f %9.1f%s", mib(memory->live), mib(memory->resident), when);
}

static void report_swaps(const struct served *served) {
  heading("Swaps (MiB: live in Freehold, resident in the process)");
  printf("  %4s %9s %19s %19s %19s %12s\n", "", "reload", "before", "old and new", "after", "collecting");
  printf("  %4s %9s", "", "");
  for (int i = 0; i < 3; i++) printf(" %9s %9s", "live", "resident");
  printf("\n");
  for (unsigned i = 0; i < served->swaps; i++) {
    const struct swap *swap = &served->swap[i];
    printf("  %4u %7.0fms", i + 1, swap->load_seconds * 1e3);
    report_memory("", &swap->before);
    report_memory("", &swap->both);
    report_memory("", &swap->after);
    printf(" %6.1fms, %u%s\n", swap->collect_seconds * 1e3, swap->collections, swap->came_back ? "" : "  DID NOT COME BACK");
  }
}

static void report_limit(const struct run *run) {
  if (!run->limit) return;
  unsigned gave_way = 0;
  for (unsigned i = 0; i < run->served.swaps; i++) gave_way += run->served.swap[i].gave_way;
  heading("Limit");
  printf("  %-44s %12.1f MiB\n", "limit of memory", mib(run->limit));
  line("allocations that it refused", run->stats.refused);
  line("emergency collections", run->stats.emergencies);
  line("reloads", run->served.swaps);
  line("  that the old graph had to give way to", gave_way);
  line("questions answered with \"being reloaded\"", run->served.reloading);
  line("questions without memory for their answer", run->served.refused);
}

/* The owner's inline path is counted only by a run that takes it out of line, which is not the run that was timed. */
static void report_paths(const fh_stats *main, const fh_stats *counted) {
  const struct {
    const char *what;
    size_t offset;
    bool only_counted;
  } paths[] = {
      {"retained by the owner, no atomic instruction", offsetof(fh_stats, owner_retains), true},
      {"released by the owner, no atomic instruction", offsetof(fh_stats, owner_releases), true},
      {"retained by a stranger, one", offsetof(fh_stats, stranger_retains), false},
      {"released by a stranger, one", offsetof(fh_stats, stranger_releases), false},
      {"immortal, no write", offsetof(fh_stats, immortal_skips), true},
      {"local count spilled", offsetof(fh_stats, spills), false},
      {"  and was taken back", offsetof(fh_stats, take_backs), false},
      {"merged by the owner's last release", offsetof(fh_stats, merges), false},
      {"queued to the owner", offsetof(fh_stats, queued), false},
      {"  merged from the queue by the owner", offsetof(fh_stats, drained), false},
      {"  merged in place of a sleeping owner", offsetof(fh_stats, claimed), false},
      {"published", offsetof(fh_stats, published), false},
      {"private deaths, freed at once", offsetof(fh_stats, private_deaths), false},
      {"published deaths, after a grace period", offsetof(fh_stats, published_deaths), false},
      {"grace periods", offsetof(fh_stats, grace_periods), false},
      {"mutators adopted from threads that ended", offsetof(fh_stats, adoptions), false},
  };
  heading("Paths of the count operations");
  printf("  A second, shorter run (one load, one swap, queries) counts every operation out of line; it is not timed.\n");
  printf("  %-46s %16s %16s\n", "", "run above", "counting run");
  for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
    uint64_t in_main, in_counted;
    memcpy(&in_main, (const char *)main + paths[i].offset, sizeof in_main);
    memcpy(&in_counted, (const char *)counted + paths[i].offset, sizeof in_counted);
    printf("  %-46s %16s %16s\n", paths[i].what, paths[i].only_counted ? "(inline)" : grouped(in_main), grouped(in_counted));
  }
}

/* ---- the checks ---- */

static bool check(const char *what, bool right) {
  printf("  %-66s %s\n", what, right ? "yes" : "NO");
  return right;
}

static bool report_checks(const struct run *run, const struct run *counted) {
  heading("Checks");
  bool right = check("every answer agreed with the graph, in both directions", !run->served.wrong && !counted->served.wrong);
  right &= check("after each swap the objects of exactly one graph were alive", run->swaps_came_back && counted->swaps_came_back);
  right &= check("the heap's invariants hold (fh_check_heap)", run->heap_is_right && counted->heap_is_right);
  right &= check("the runtime ended with 0 objects leaked, both times", run->leaked == 0 && counted->leaked == 0);
  right &= check("the counting run loaded the same graph",
                 memcmp(&run->graph, &counted->graph, sizeof run->graph) == 0);
  return right;
}

bool report(const struct options *options, const struct input *input, const struct run *run, const struct run *counted) {
  printf("depgraph: dependencies of Debian packages on Freehold %s, the %s design\n", fh_version(), fh_design_name(options->design));
  report_input(input, run);
  report_graph(run);
  report_loads(options, run);
  report_queries(&run->served);
  report_collections(&run->stats);
  report_swaps(&run->served);
  report_limit(run);
  report_paths(&run->stats, &counted->stats);
  return report_checks(run, counted);
}
