/* SPDX-License-Identifier: MIT */
/* Living at a limit: a program that holds a graph, loads a new one, and drops the old one, as examples/depgraph does when it
 * reloads. Without a limit both graphs are there for a moment; under 1.2 times the size of one they are not, so the load is refused
 * memory half-way, asks for some (fh_reclaim), and lets the old graph go before the new one is whole.
 *
 * A record has a name, a text of its own, and four edges to random records; so nearly all records are in one cycle, and only a collection
 * frees a graph. A reload ends when the old graph is gone, on either side. */
#include "bench.h"

enum { RECORDS = 50000, EDGES = 4, NAME_BYTES = 24, LIMIT_PERCENT = 120 };

struct name {
  fh_object fh;
  size_t size;
  char bytes[];
};
struct edge {
  struct record *to;
};
struct record {
  fh_object fh;
  struct name *name;
  size_t edge_count;
  struct edge edges[];
};
struct catalog {
  fh_object fh;
  struct record **records; /* in a buffer of its own */
  size_t count;
};

static void visit_catalog(void *object, fh_visitor *visitor) {
  struct catalog *catalog = object;
  for (size_t i = 0; i < catalog->count; i++) fh_visit(visitor, &catalog->records[i]);
}
static void free_catalog(void *object) { fh_free(((struct catalog *)object)->records); }

static const fh_ref edge_refs[] = {FH_FIELD(struct edge, to), FH_END};
static const fh_ref record_refs[] = {FH_FIELD(struct record, name), FH_END};
static const fh_type_spec name_spec = {.name = "bench.name",
                                       .size = sizeof(struct name),
                                       .item_size = 1,
                                       .count_at = offsetof(struct name, size),
                                       .flags = FH_ACYCLIC | FH_IMMUTABLE};
static const fh_type_spec record_spec = {.name = "bench.record",
                                         .size = sizeof(struct record),
                                         .item_size = sizeof(struct edge),
                                         .count_at = offsetof(struct record, edge_count),
                                         .refs = record_refs,
                                         .item_refs = edge_refs};
static const fh_type_spec catalog_spec = {
    .name = "bench.catalog", .size = sizeof(struct catalog), .traverse = visit_catalog, .dealloc = free_catalog};

struct reloading {
  fh_type *name, *record, *catalog;
  struct catalog *now; /* NULL while it gave way to the next one */
  uint64_t random;
  size_t limit;       /* 1.2 times what one catalog takes */
  uint64_t gave_way;
};

/* ---- making room ---- */

/* After a refusal: what is garbage goes, and if that is not enough, the old catalog. */
static void make_room(struct reloading *reloading) {
  if (fh_reclaim() == FH_OK) return;
  if (!reloading->now) die("a catalog does not fit into 1.2 times its size");
  fh_drop(&reloading->now);
  reloading->gave_way++;
  expect(fh_reclaim() == FH_OK, "there is room when the old catalog is gone");
}

static void *make_items(struct reloading *reloading, fh_type *type, size_t count) {
  void *made;
  while (!(made = fh_new_items(type, count))) make_room(reloading);
  return made;
}

/* ---- loading ---- */

static struct name *make_name(struct reloading *reloading, size_t i) {
  struct name *name = make_items(reloading, reloading->name, NAME_BYTES);
  snprintf(name->bytes, NAME_BYTES, "record-%zu", i);
  return name;
}

static struct record *make_record(struct reloading *reloading, size_t i) {
  struct record *record = make_items(reloading, reloading->record, EDGES);
  fh_give(record, name, make_name(reloading, i));
  return record;
}

static struct record *any_record(struct reloading *reloading, const struct catalog *catalog) {
  reloading->random = reloading->random * 6364136223846793005u + 1442695040888963407u;
  return catalog->records[(reloading->random >> 33) % catalog->count];
}

static struct catalog *load(struct reloading *reloading) {
  struct catalog *catalog;
  void *records;
  while (!(catalog = fh_new(reloading->catalog))) make_room(reloading);
  while (!(records = fh_alloc(RECORDS * sizeof *catalog->records))) make_room(reloading);
  catalog->records = records;
  for (size_t i = 0; i < RECORDS; i++) {
    struct record *record = make_record(reloading, i);
    catalog->records[i] = NULL;
    catalog->count = i + 1;
    fh_field_give(catalog, &catalog->records[i], record);
    fh_safepoint();
  }
  for (size_t i = 0; i < RECORDS; i++)
    for (size_t k = 0; k < EDGES; k++) fh_set(catalog->records[i], edges[k].to, any_record(reloading, catalog));
  return catalog;
}

static void reload(struct reloading *reloading) {
  struct catalog *next = load(reloading);
  if (reloading->now) fh_release(reloading->now);
  reloading->now = next;
  fh_collect(2);
  expect(fh_type_live(reloading->record) == RECORDS, "one catalog is left");
}

/* ---- both sides ---- */

static uint64_t reload_under(struct reloading *reloading, size_t limit, uint64_t n) {
  expect(fh_limits_set(0, limit) == FH_OK, "the limit can be set");
  const uint64_t begun = now_ns();
  for (uint64_t turn = 0; turn < n; turn++) reload(reloading);
  const uint64_t spent = now_ns() - begun;
  expect(fh_limits_set(0, 0) == FH_OK, "the limit can be lifted");
  return spent;
}

static uint64_t unlimited_side(void *context, uint64_t n) { return reload_under(context, 0, n); }

static uint64_t limited_side(void *context, uint64_t n) {
  struct reloading *reloading = context;
  const uint64_t before = reloading->gave_way;
  const uint64_t spent = reload_under(reloading, reloading->limit, n);
  expect(reloading->gave_way == before + n, "under the limit every reload has to give way");
  return spent;
}

static uint64_t live_bytes(void) {
  fh_stats stats = {.size = sizeof stats};
  expect(fh_stats_get(&stats) == FH_OK, "there are statistics");
  return stats.live_bytes;
}

static void load_first(struct reloading *reloading) {
  *reloading = (struct reloading){.name = must_register(&name_spec),
                                  .record = must_register(&record_spec),
                                  .catalog = must_register(&catalog_spec),
                                  .random = 1};
  reload(reloading);
  reloading->limit = (size_t)live_bytes() / 100 * LIMIT_PERCENT;
}

static void drop_last(struct reloading *reloading) {
  fh_drop(&reloading->now);
  fh_collect(2);
}

/* The ratio of the times without and with the limit is that of the throughputs with and without it. */
static void measure_throughput(struct result *result) {
  struct reloading reloading;
  const struct comparison comparison = {
      .ours = unlimited_side, .theirs = limited_side, .context = &reloading, .operations = RECORDS, .fixed = 1};
  load_first(&reloading);
  compare(result, &comparison);
  drop_last(&reloading);
}

/* ---- for a long time ---- */

enum { PARTS = 10 };

/* How many reloads an hour of this part of the time would see. */
static double live_at_limit(struct reloading *reloading, double seconds) {
  const uint64_t begun = now_ns();
  uint64_t reloads = 0, spent;
  do {
    reload(reloading);
    reloads++;
    spent = now_ns() - begun;
  } while ((double)spent < 1e9 * seconds);
  return 3600e9 * (double)reloads / (double)spent;
}

static void measure_slowdown(struct result *result) {
  struct reloading reloading;
  double an_hour[PARTS], resident[PARTS];
  load_first(&reloading);
  expect(fh_limits_set(0, reloading.limit) == FH_OK, "the limit can be set");
  for (unsigned i = 0; i < PARTS; i++) {
    an_hour[i] = live_at_limit(&reloading, long_seconds / (double)PARTS);
    resident[i] = resident_mb();
  }
  expect(fh_limits_set(0, 0) == FH_OK, "the limit can be lifted");
  result_add(result, an_hour[0] / an_hour[PARTS - 1]);
  snprintf(result->beside, sizeof result->beside, "%u s; first %.0f reloads an hour, last %.0f; %.0f MB, %.0f", long_seconds, an_hour[0],
           an_hour[PARTS - 1], resident[0], resident[PARTS - 1]);
  drop_last(&reloading);
}

const struct figure limit_figures[] = {
    {"limit.throughput_at_limit", "x", AT_LEAST, 0.5, measure_throughput},
    {"limit.slowdown", "x", AT_MOST, 1.1, measure_slowdown},
    {NULL, NULL, REPORTED, 0, NULL},
};
