/* SPDX-License-Identifier: MIT */
/* Loading has two phases, and every object is written by one thread at a time, without a common table or lock.
 *
 *   parse   The input is cut at stanza boundaries into parts. Whoever takes a part makes its versions, relations and
 *           texts, privately, and then publishes them. Each name that occurs is written down in the list of the shard
 *           that its hash belongs to, beside the object that waits for it.
 *   link    Whoever takes a shard goes through that shard's lists of all parts, makes the shard's packages and ties the
 *           waiting objects to them.
 *
 * The packages of a shard are written by the thread that links the shard, and by nobody else: that is their guard. The
 * alternatives of one relation may belong to different shards, so relations and versions are written in a critical
 * section. Between the phases all threads are joined: that orders the lists. The threads of the second phase adopt the
 * mutators that those of the first left behind. */
#include "load.h"

#include "clock.h"
#include "parallel.h"

#include <stdlib.h>

/* A name in the input, and the object in which the package of that name is missing. */
struct mention {
  const char *name;
  uint64_t hash;
  void *object; /* an owned version that the name is defined by, or a relation, kept alive by its version */
  uint16_t name_length;
  uint16_t alternative; /* of the relation; DEFINES: the object is a version */
};
enum { DEFINES = 0xffff };
_Static_assert((int)ALTERNATIVES_MAX < (int)DEFINES, "an alternative's number is never DEFINES");

struct mentions {
  struct mention *at;
  size_t count, room;
};

struct part {
  struct span text;
  bool is_last;
  uint64_t lines, stanzas, skipped, relations, edges, texts;
  struct problems problems;
  struct mentions of_shard[SHARDS];
};

struct shard_part {
  struct shard *shard; /* owned, published */
  uint64_t packages, defined, virtual_packages;
};

struct load {
  struct part *parts;
  size_t part_count;
  struct shard_part shards[SHARDS];
  size_t next;    /* the next part or shard to be taken; atomic */
  bool no_memory; /* somebody found none, so all stop; atomic */
  struct room room;
};

/* ---- sharing the work ---- */

static bool take_next(struct load *load, size_t count, size_t *taken) {
  if (__atomic_load_n(&load->no_memory, __ATOMIC_RELAXED)) return false;
  *taken = __atomic_fetch_add(&load->next, 1, __ATOMIC_RELAXED);
  return *taken < count;
}

static void no_memory(struct load *load) { __atomic_store_n(&load->no_memory, true, __ATOMIC_RELAXED); }

/* After a refusal: true if it is worth another try. */
static bool make_room(struct load *load, double *since) {
  return !__atomic_load_n(&load->no_memory, __ATOMIC_RELAXED) && room_make(&load->room, since);
}

static void run_phase(struct load *load, unsigned threads, void *(*worker)(void *)) {
  load->next = 0;
  parallel_run(threads, worker, load);
}

/* ---- parse ---- */

static bool add_mention(struct part *part, struct span name, void *object, size_t alternative) {
  uint64_t hash = name_hash(name);
  struct mentions *mentions = &part->of_shard[hash_shard(hash)];
  if (mentions->count == mentions->room) {
    size_t room = mentions->room ? 2 * mentions->room : 64;
    struct mention *grown = realloc(mentions->at, room * sizeof *grown);
    if (!grown) return false;
    mentions->at = grown;
    mentions->room = room;
  }
  mentions->at[mentions->count++] = (struct mention){.name = name.at,
                                                     .hash = hash,
                                                     .object = object,
                                                     .name_length = (uint16_t)name.length,
                                                     .alternative = (uint16_t)alternative};
  return true;
}

static bool add_relation_mentions(struct part *part, const struct draft *draft, struct version *version, size_t i) {
  const struct draft_relation *relation = &draft->relations[i];
  for (size_t j = 0; j < relation->alternative_count; j++) {
    const struct draft_alternative *alternative = &draft->alternatives[relation->first_alternative + j];
    part->edges++;
    part->texts += alternative->operator != OPERATOR_ANY;
    if (!add_mention(part, alternative->name, version->relations[i].relation, j)) return false;
  }
  return true;
}

static struct version *make_version(struct load *load, const struct draft *draft) {
  struct version *version;
  double since = 0;
  while (!(version = version_new(draft)) && make_room(load, &since)) {
  }
  return version;
}

/* Makes a version of the draft and gives it to the part's list. */
static struct version *add_version(struct load *load, struct part *part, const struct draft *draft) {
  FH_AUTO struct version *version = make_version(load, draft);
  if (!version) return NULL;
  fh_publish(version);
  if (add_mention(part, draft->package, version, DEFINES)) return FH_MOVE(version);
  version_break(version);
  return NULL;
}

static bool take_stanza(struct load *load, struct part *part, const struct draft *draft) {
  struct version *version = add_version(load, part, draft);
  if (!version) return false;
  part->texts += draft->version.length > 0;
  part->relations += draft->relation_count;
  for (size_t i = 0; i < draft->relation_count; i++)
    if (!add_relation_mentions(part, draft, version, i)) return false;
  return true;
}

static bool parse_part(struct load *load, struct part *part) {
  struct parser parser;
  parser_init(&parser, part->text, part->is_last);
  enum parsed parsed;
  while ((parsed = parser_next(&parser)) == PARSED_STANZA && take_stanza(load, part, &parser.draft)) fh_safepoint();
  part->lines = parser.line;
  part->stanzas = parser.stanzas;
  part->skipped = parser.skipped;
  part->problems = parser.problems;
  parser.problems = (struct problems){0};
  parser_finish(&parser);
  return parsed == PARSED_END;
}

static void *parse_worker(void *argument) {
  struct load *load = argument;
  size_t i;
  FH_ATTACHED(status, "parser");
  if (status != FH_OK) no_memory(load);
  while (take_next(load, load->part_count, &i))
    if (!parse_part(load, &load->parts[i])) no_memory(load);
  return NULL;
}

/* ---- link ---- */

static bool link_version(struct package *package, struct mention *mention) {
  struct version *version = mention->object;
  if (!cells_reserve(&package->versions)) return false;
  FH_CRITICAL(version);
  fh_set(version, package, package);
  mention->object = NULL;
  cells_give(package, &package->versions, version);
  return true;
}

static bool link_alternative(struct package *package, const struct mention *mention) {
  struct relation *relation = mention->object;
  if (!cells_reserve(&package->mentions)) return false;
  FH_CRITICAL(relation);
  struct alternative *alternative = &relation->alternatives[mention->alternative];
  alternative->back = package->mentions.count;
  cells_set(package, &package->mentions, relation);
  fh_set(relation, alternatives[mention->alternative].target, package);
  return true;
}

/* False: no memory, and what is there is whole: the mention can be linked again. */
static bool try_link_mention(struct shard *shard, struct mention *mention) {
  struct span name = {mention->name, mention->name_length};
  struct package *package = shard_intern(shard, name, mention->hash);
  if (!package) return false;
  return mention->alternative == DEFINES ? link_version(package, mention) : link_alternative(package, mention);
}

static bool link_mention(struct load *load, struct shard *shard, struct mention *mention) {
  double since = 0;
  while (!try_link_mention(shard, mention))
    if (!make_room(load, &since)) return false;
  return true;
}

static bool is_provided(const struct package *package) {
  for (uint32_t i = 0; i < package->mentions.count; i++)
    if (package_mention(package, i)->kind == FIELD_PROVIDES) return true;
  return false;
}

static void count_packages(struct shard_part *part) {
  const struct shard *shard = part->shard;
  part->packages = shard->count;
  for (uint32_t i = 0; i < shard->room; i++) {
    const struct package *package = shard->table[i];
    if (!package) continue;
    part->defined += package->versions.count > 0;
    part->virtual_packages += package->versions.count == 0 && is_provided(package);
  }
}

static struct shard *make_shard(struct load *load, uint32_t index) {
  struct shard *shard;
  double since = 0;
  while (!(shard = shard_new(index)) && make_room(load, &since)) {
  }
  return shard;
}

/* The shard is handed to the main thread in any case, so it is published in any case. */
static bool link_shard(struct load *load, uint32_t index) {
  struct shard *shard = load->shards[index].shard = make_shard(load, index);
  bool linked = shard != NULL;
  for (size_t i = 0; linked && i < load->part_count; i++) {
    struct mentions *mentions = &load->parts[i].of_shard[index];
    for (size_t j = 0; linked && j < mentions->count; j++) {
      linked = link_mention(load, shard, &mentions->at[j]);
      fh_safepoint();
    }
  }
  if (!shard) return false;
  count_packages(&load->shards[index]);
  fh_publish(shard);
  return linked;
}

static void *link_worker(void *argument) {
  struct load *load = argument;
  size_t i;
  FH_ATTACHED(status, "linker");
  if (status != FH_OK) no_memory(load);
  while (take_next(load, SHARDS, &i))
    if (!link_shard(load, (uint32_t)i)) no_memory(load);
  return NULL;
}

/* ---- the whole ---- */

/* The place behind the next empty line, which no stanza contains. */
static const char *find_cut(const char *at, const char *end) {
  const char *gap = memmem(at, (size_t)(end - at), "\n\n", 2);
  return gap ? gap + 2 : end;
}

/* Cuts the input into several parts a thread, because they take different times. */
static bool cut_parts(struct load *load, const struct input *input, unsigned threads) {
  size_t few = input->size / 4096 + 1, wanted = few < 4 * threads ? few : 4 * threads;
  load->parts = calloc(wanted, sizeof *load->parts);
  if (!load->parts) return false;
  const char *at = input->bytes, *end = input->bytes + input->size;
  for (size_t i = 1; at < end; i++) {
    const char *from = input->bytes + input->size / wanted * i;
    const char *cut = i < wanted ? find_cut(from > at ? from : at, end) : end;
    load->parts[load->part_count++] = (struct part){.text = {at, (size_t)(cut - at)}, .is_last = cut == end};
    at = cut;
  }
  return true;
}

static void add_up(const struct load *load, struct loaded *loaded) {
  for (size_t i = 0; i < load->part_count; i++) {
    const struct part *part = &load->parts[i];
    problems_append(&loaded->problems, &part->problems, loaded->lines);
    loaded->lines += part->lines;
    loaded->stanzas += part->stanzas;
    loaded->skipped += part->skipped;
  }
}

static void count_graph(struct graph *graph, const struct load *load) {
  for (size_t i = 0; i < load->part_count; i++) {
    const struct part *part = &load->parts[i];
    graph->stanzas += part->stanzas - part->skipped;
    graph->relations += part->relations;
    graph->edges += part->edges;
    graph->texts += part->texts;
  }
  for (int i = 0; i < SHARDS; i++) {
    const struct shard_part *part = &load->shards[i];
    graph->packages += part->packages;
    graph->defined += part->defined;
    graph->virtual_packages += part->virtual_packages;
    if (graph->id_limit < part->packages * SHARDS) graph->id_limit = (uint32_t)(part->packages * SHARDS);
  }
  graph->texts += graph->packages;
}

/* Whoever could not make a shard has said so in no_memory. */
static struct graph *join_shards(struct load *load) {
  struct graph *graph = NULL;
  double since = 0;
  while (!load->no_memory && !(graph = graph_new()) && make_room(load, &since)) {
  }
  if (!graph) return NULL;
  count_graph(graph, load);
  for (int i = 0; i < SHARDS; i++) fh_give(graph, shards[i], FH_MOVE(load->shards[i].shard));
  return graph;
}

/* What no graph has taken, because there was no memory for it. */
static void break_up(struct load *load) {
  for (int i = 0; i < SHARDS; i++)
    if (load->shards[i].shard) shard_break(load->shards[i].shard);
  for (int i = 0; i < SHARDS; i++) fh_drop(&load->shards[i].shard);
}

/* A version that waits for its package was never linked. */
static void drop_waiting(struct mentions *mentions) {
  for (size_t i = 0; i < mentions->count; i++) {
    struct mention *mention = &mentions->at[i];
    if (mention->alternative != DEFINES || !mention->object) continue;
    version_break(mention->object);
    fh_drop(&mention->object);
  }
}

static void finish(struct load *load) {
  break_up(load);
  for (size_t i = 0; i < load->part_count; i++) {
    struct part *part = &load->parts[i];
    for (int j = 0; j < SHARDS; j++) {
      drop_waiting(&part->of_shard[j]);
      free(part->of_shard[j].at);
    }
    problems_finish(&part->problems);
  }
  free(load->parts);
}

struct graph *graph_load(const struct input *input, unsigned threads, fh_slot *old, struct loaded *loaded) {
  struct load load = {0};
  FH_AUTO struct graph *may_give_way = fh_slot_load(old);
  if (may_give_way) load.room.old = old;
  fh_drop(&may_give_way);
  *loaded = (struct loaded){0};
  double start = now_seconds();
  if (!cut_parts(&load, input, threads)) return NULL;
  run_phase(&load, threads, parse_worker);
  double parsed = now_seconds();
  add_up(&load, loaded);
  run_phase(&load, threads, link_worker);
  struct graph *graph = join_shards(&load);
  finish(&load);
  loaded->gave_way = load.room.gave_way;
  loaded->parse_seconds = parsed - start;
  loaded->link_seconds = now_seconds() - parsed;
  return graph;
}
