/* SPDX-License-Identifier: MIT */
#include "serve.h"

#include "clock.h"
#include "load.h"
#include "progress.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

fh_slot graph_root;

/* ---- readers ---- */

/* A reader's counts are its own until it is joined. */
struct reader {
  pthread_t thread;
  const bool *stop; /* atomic */
  bool limited;     /* memory has a limit: a question that it refuses is asked again later */
  uint64_t reloading, refused;
  struct query_count count[QUERIES];
  struct search search;
  bool failed;
};

static void wait_ms(long ms) {
  FH_BLOCKING();
  sleep_ms(ms);
}

/* A graph is held for one question at most, so that an old one is garbage soon after the swap. */
static bool ask(struct reader *reader, enum query query) {
  FH_AUTO struct graph *graph = fh_slot_load(&graph_root);
  if (!graph) { /* it gave way to the next one: "being reloaded" */
    reader->reloading++;
    wait_ms(1);
    return true;
  }
  double start = now_seconds();
  enum answered answered = query_ask(&reader->search, graph, query);
  struct query_count *count = &reader->count[query];
  count->seconds += now_seconds() - start;
  count->asked++;
  count->answered += answered == ANSWERED;
  if (answered != ANSWERED_NO_MEMORY) return true;
  reader->refused++;
  if (reader->limited) wait_ms(1); /* at once it would only be refused again */
  return reader->limited;
}

static void *read_graph(void *argument) {
  struct reader *reader = argument;
  FH_ATTACHED(status, "reader");
  reader->failed = status != FH_OK;
  for (unsigned i = 0; !reader->failed && !__atomic_load_n(reader->stop, __ATOMIC_RELAXED); i++) {
    reader->failed = !ask(reader, (enum query)(i % QUERIES));
    fh_safepoint();
  }
  return NULL;
}

static unsigned start_readers(struct reader *readers, const struct options *options, const bool *stop) {
  unsigned started = 0;
  for (; started < options->readers; started++) {
    struct reader *reader = &readers[started];
    search_init(&reader->search, started + 1);
    reader->stop = stop;
    reader->limited = options->limit > 0;
    if (pthread_create(&reader->thread, NULL, read_graph, reader) != 0) break;
  }
  return started;
}

/* Waits for the readers and adds up what they counted. */
static bool join_readers(struct reader *readers, unsigned started, struct served *served) {
  bool failed = false;
  FH_BLOCKING();
  for (unsigned i = 0; i < started; i++) {
    struct reader *reader = &readers[i];
    pthread_join(reader->thread, NULL);
    failed |= reader->failed;
    served->wrong += reader->search.wrong;
    served->reloading += reader->reloading;
    served->refused += reader->refused;
    for (int query = 0; query < QUERIES; query++) {
      served->count[query].asked += reader->count[query].asked;
      served->count[query].answered += reader->count[query].answered;
      served->count[query].seconds += reader->count[query].seconds;
    }
    search_finish(&reader->search);
  }
  return !failed;
}

/* ---- the writer ---- */

static struct memory measure(void) {
  fh_stats stats = {.size = sizeof stats};
  if (fh_stats_get(&stats) != FH_OK) return (struct memory){0};
  return (struct memory){.live = stats.live_bytes, .resident = resident_bytes()};
}

/* A reader may hold the old graph for the rest of its question, and mutators destroy what is theirs at their own
 * safepoints, so one collection need not be enough. */
bool collect_down_to(uint64_t objects, unsigned *collections) {
  double deadline = now_seconds() + 10;
  do {
    fh_collect(2);
    ++*collections;
    if (graph_objects_live() == objects) return true;
    wait_ms(1);
    fh_housekeep();
  } while (graph_objects_live() != objects && now_seconds() < deadline);
  return graph_objects_live() == objects;
}

static bool swap_graph(const struct options *options, const struct input *input, struct swap *swap) {
  struct loaded loaded;
  *swap = (struct swap){.before = measure()};
  double start = now_seconds();
  struct graph *graph = graph_load(input, options->loaders, &graph_root, &loaded);
  problems_finish(&loaded.problems);
  if (!graph) return false;
  uint64_t objects = graph_objects_of(graph);
  double loaded_at = now_seconds();
  swap->load_seconds = loaded_at - start;
  swap->both = measure();
  swap->gave_way = loaded.gave_way;
  struct graph *old = fh_slot_swap(&graph_root, graph);
  if (old) fh_release(old);
  swap->came_back = collect_down_to(objects, &swap->collections);
  swap->collect_seconds = now_seconds() - loaded_at;
  swap->after = measure();
  return true;
}

/* Spreads the swaps over the time that there is. */
static bool swap_all(const struct options *options, const struct input *input, double seconds, unsigned swaps,
                     struct served *served) {
  double start = now_seconds();
  for (unsigned i = 0; i < swaps; i++) {
    progress("swap %u of %u", i + 1, swaps);
    while (now_seconds() - start < seconds * i / swaps) wait_ms(5);
    if (!swap_graph(options, input, &served->swap[served->swaps])) return false;
    served->swaps++;
  }
  while (now_seconds() - start < seconds) wait_ms(5);
  return true;
}

/* ---- the whole ---- */

static void describe_longest(char *text, size_t room) {
  FH_AUTO struct graph *graph = fh_slot_load(&graph_root);
  text[0] = '\0';
  if (!graph) return; /* it gave way to one that did not fit either */
  FH_AUTO struct answer *longest = fh_slot_load(&graph->longest);
  size_t used = 0;
  for (size_t i = 0; longest && i < longest->count && used < room; i++)
    used += (size_t)snprintf(text + used, room - used, "%s%s", i ? " > " : "", longest->items[i].package->name->bytes);
}

bool serve(const struct options *options, const struct input *input, double seconds, unsigned swaps, struct served *served) {
  bool stop = false;
  memset(served, 0, sizeof *served);
  struct reader *readers = calloc(options->readers, sizeof *readers);
  if (!readers) return false;
  double start = now_seconds();
  served->readers = start_readers(readers, options, &stop);
  bool fine = swap_all(options, input, seconds, swaps, served);
  __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
  fine &= join_readers(readers, served->readers, served);
  served->seconds = now_seconds() - start;
  describe_longest(served->longest, sizeof served->longest);
  free(readers);
  return fine && served->readers > 0;
}
