/* SPDX-License-Identifier: MIT */
#include "run.h"

#include "progress.h"

#include <stdio.h>
#include <string.h>

/* ---- loading ---- */

static bool load_into_root(const struct input *input, unsigned threads, struct loaded *loaded) {
  struct graph *graph = graph_load(input, threads, &graph_root, loaded);
  if (!graph) return false;
  FH_AUTO struct graph *old = fh_slot_swap(&graph_root, graph);
  return true;
}

static void note_graph(struct run *run) {
  FH_AUTO struct graph *graph = fh_slot_load(&graph_root);
  run->graph = (struct graph_counts){.stanzas = graph->stanzas,
                                     .packages = graph->packages,
                                     .defined = graph->defined,
                                     .virtual_packages = graph->virtual_packages,
                                     .relations = graph->relations,
                                     .edges = graph->edges,
                                     .texts = graph->texts,
                                     .objects = graph_objects_of(graph)};
  fh_stats stats = {.size = sizeof stats};
  if (fh_stats_get(&stats) != FH_OK) return;
  run->graph_bytes = stats.live_bytes;
  run->object_bytes = stats.object_bytes;
  run->buffer_bytes = stats.buffer_bytes;
}

/* A limit in percent is one of what the first load took. */
static bool set_limit(const struct options *options, struct run *run) {
  run->limit = options->limit_is_percent ? run->graph_bytes * options->limit / 100 : options->limit;
  return !options->limit_is_percent || fh_limits_set(0, run->limit) == FH_OK;
}

/* The first load, whose problems are shown. */
static enum run_result load_first(const struct options *options, const struct input *input, struct run *run) {
  progress("loading %s", input->name);
  bool loaded = load_into_root(input, options->loaders, &run->loaded);
  problems_print(&run->loaded.problems, input->name);
  if (!loaded) return RUN_NO_MEMORY;
  note_graph(run);
  if (!run->graph.stanzas) return RUN_NOTHING_LOADED;
  return set_limit(options, run) ? RUN_DONE : RUN_NO_MEMORY;
}

static bool measure_load(const struct input *input, unsigned threads, struct load_time *time, unsigned round) {
  struct loaded loaded;
  bool fine = load_into_root(input, threads, &loaded);
  time->parse[round] = loaded.parse_seconds;
  time->seconds[round] = loaded.parse_seconds + loaded.link_seconds;
  problems_finish(&loaded.problems);
  return fine;
}

/* Rounds are interleaved, so that a busy moment of the machine does not hit one number of threads alone. The graph before
 * is collected after each load, and not while the next one is timed. */
static bool measure_loads(const struct options *options, const struct input *input, struct run *run) {
  for (unsigned round = 0; round < options->rounds; round++)
    for (unsigned threads = 1; threads <= options->loaders; threads++) {
      unsigned collections = 0;
      progress("measured load, round %u of %u, %u of %u threads", round + 1, options->rounds, threads, options->loaders);
      if (!measure_load(input, threads, &run->load_time[threads - 1], round)) return false;
      collect_down_to(run->graph.objects, &collections);
    }
  return true;
}

/* ---- a run ---- */

static void check_swaps(struct run *run) {
  run->swaps_came_back = graph_objects_live() == run->graph.objects;
  for (unsigned i = 0; i < run->served.swaps; i++) run->swaps_came_back &= run->served.swap[i].came_back;
}

static void conclude(struct run *run) {
  check_swaps(run);
  run->stats.size = sizeof run->stats;
  if (fh_stats_get(&run->stats) != FH_OK) run->stats = (fh_stats){0};
  progress("checking the heap");
  run->heap_is_right = fh_check_heap() == FH_OK;
}

static enum run_result work_main(const struct options *options, const struct input *input, struct run *run) {
  enum run_result result = load_first(options, input, run);
  if (result != RUN_DONE) return result;
  if (!measure_loads(options, input, run)) return RUN_NO_MEMORY;
  progress("%u readers ask for %.0f s", options->readers, options->seconds);
  if (!serve(options, input, options->seconds, options->swaps, &run->served)) return RUN_NO_MEMORY;
  conclude(run);
  return RUN_DONE;
}

static enum run_result work_counted(const struct options *options, const struct input *input, struct run *run) {
  progress("the run that counts paths");
  if (!load_into_root(input, options->loaders, &run->loaded)) return RUN_NO_MEMORY;
  note_graph(run);
  if (!set_limit(options, run)) return RUN_NO_MEMORY;
  if (!serve(options, input, options->counted_seconds, 1, &run->served)) return RUN_NO_MEMORY;
  conclude(run);
  return RUN_DONE;
}

typedef enum run_result run_work(const struct options *, const struct input *, struct run *);

/* Nobody reads any more. */
static void abandon_root(void) {
  FH_AUTO struct graph *graph = fh_slot_swap(&graph_root, NULL);
  if (graph) graph_break(graph);
}

static enum run_result work_attached(run_work *work, const struct options *options, const struct input *input, struct run *run) {
  FH_ATTACHED(status, "main");
  if (status != FH_OK || graph_types_init() != FH_OK || fh_root_add(&graph_root) != FH_OK) return RUN_NO_MEMORY;
  enum run_result result = work(options, input, run);
  if (result == RUN_NO_MEMORY) abandon_root();
  return result;
}

/* The root slot is the runtime's to clear at its end. */
static enum run_result run_with(uint32_t flags, run_work *work, const struct options *options, const struct input *input,
                                struct run *run) {
  fh_options runtime = options->collector;
  runtime.flags |= flags;
  runtime.design = options->design;
  if (!options->limit_is_percent) runtime.hard_limit = options->limit;
  fh_status status = fh_init(&runtime);
  if (status != FH_OK) {
    fprintf(stderr, "depgraph: the runtime does not start: %s\n", fh_status_name(status));
    return RUN_NO_MEMORY;
  }
  enum run_result result = work_attached(work, options, input, run);
  status = fh_shutdown(10000, &run->leaked);
  if (status == FH_OK) return result;
  fprintf(stderr, "depgraph: the runtime does not end: %s\n", fh_status_name(status));
  run->leaked = UINT64_MAX;
  return result;
}

enum run_result run_main(const struct options *options, const struct input *input, struct run *run) {
  return run_with(0, work_main, options, input, run);
}

enum run_result run_counted(const struct options *options, const struct input *input, struct run *run) {
  return run_with(FH_OPTION_COUNT_PATHS, work_counted, options, input, run);
}
