/* SPDX-License-Identifier: MIT */
#include "graph.h"

/* ---- types ---- */

static const fh_ref package_refs[] = {FH_FIELD(struct package, name), FH_END};
static const fh_ref version_refs[] = {FH_FIELD(struct version, text), FH_FIELD(struct version, package), FH_END};
static const fh_ref version_item_refs[] = {FH_FIELD(struct version_item, relation), FH_END};
static const fh_ref relation_refs[] = {FH_FIELD(struct relation, source), FH_END};
static const fh_ref alternative_refs[] = {FH_FIELD(struct alternative, target), FH_FIELD(struct alternative, version), FH_END};
static const fh_ref graph_refs[] = {FH_FIELD(struct graph, shards), FH_SLOT(struct graph, longest), FH_END};
static const fh_ref answer_item_refs[] = {FH_FIELD(struct answer_item, package), FH_END};

static void visit_cells(struct cells *cells, fh_visitor *visitor) {
  for (uint32_t i = 0; i < cells->count; i++) fh_visit(visitor, &cells->at[i]);
}

static void traverse_package(void *object, fh_visitor *visitor) {
  struct package *package = object;
  visit_cells(&package->versions, visitor);
  visit_cells(&package->mentions, visitor);
}

static void dealloc_package(void *object) {
  struct package *package = object;
  fh_free(package->versions.at);
  fh_free(package->mentions.at);
}

static void traverse_shard(void *object, fh_visitor *visitor) {
  struct shard *shard = object;
  for (uint32_t i = 0; i < shard->room; i++) fh_visit(visitor, &shard->table[i]);
}

static void dealloc_shard(void *object) { fh_free(((struct shard *)object)->table); }

enum { TYPE_TEXT, TYPE_PACKAGE, TYPE_VERSION, TYPE_RELATION, TYPE_SHARD, TYPE_GRAPH, TYPE_ANSWER, TYPES };

static const fh_type_spec specs[TYPES] = {
    [TYPE_TEXT] = {.name = "text",
                   .size = sizeof(struct text),
                   .item_size = 1,
                   .count_at = offsetof(struct text, size),
                   .flags = FH_ACYCLIC | FH_IMMUTABLE},
    [TYPE_PACKAGE] = {.name = "package",
                      .size = sizeof(struct package),
                      .refs = package_refs,
                      .traverse = traverse_package,
                      .dealloc = dealloc_package},
    [TYPE_VERSION] = {.name = "version",
                      .size = sizeof(struct version),
                      .item_size = sizeof(struct version_item),
                      .count_at = offsetof(struct version, relation_count),
                      .refs = version_refs,
                      .item_refs = version_item_refs},
    [TYPE_RELATION] = {.name = "relation",
                       .size = sizeof(struct relation),
                       .item_size = sizeof(struct alternative),
                       .count_at = offsetof(struct relation, alternative_count),
                       .refs = relation_refs,
                       .item_refs = alternative_refs},
    [TYPE_SHARD] = {.name = "shard", .size = sizeof(struct shard), .traverse = traverse_shard, .dealloc = dealloc_shard},
    [TYPE_GRAPH] = {.name = "graph", .size = sizeof(struct graph), .refs = graph_refs},
    [TYPE_ANSWER] = {.name = "answer",
                     .size = sizeof(struct answer),
                     .item_size = sizeof(struct answer_item),
                     .count_at = offsetof(struct answer, count),
                     .flags = FH_IMMUTABLE,
                     .item_refs = answer_item_refs},
};

/* Written before any other thread is started. */
static fh_type *types[TYPES];

fh_status graph_types_init(void) {
  fh_status status = FH_OK;
  for (int i = 0; i < TYPES && status == FH_OK; i++) status = fh_type_register(&specs[i], &types[i]);
  return status;
}

uint64_t graph_objects_live(void) {
  uint64_t live = 0;
  for (int i = 0; i < TYPES; i++)
    if (i != TYPE_ANSWER) live += fh_type_live(types[i]);
  return live;
}

uint64_t graph_objects_of(const struct graph *graph) {
  return graph->texts + graph->packages + graph->stanzas + graph->relations + SHARDS + 1;
}

/* ---- cells ---- */

bool cells_reserve(struct cells *cells) {
  if (cells->count < cells->room) return true;
  uint32_t room = cells->room ? 2 * cells->room : 2;
  void **grown = fh_realloc(cells->at, room * sizeof *grown);
  if (!grown) return false;
  cells->at = grown;
  cells->room = room;
  return true;
}

/* A fresh cell is empty before the holder shows it. */
static void **cells_open(struct cells *cells) {
  void **cell = &cells->at[cells->count++];
  *cell = NULL;
  return cell;
}

void cells_give(void *holder, struct cells *cells, void *owned) { fh_field_give(holder, cells_open(cells), owned); }

void cells_set(void *holder, struct cells *cells, void *value) { fh_field_set(holder, cells_open(cells), value); }

/* ---- makers ---- */

struct text *text_new(struct span span) {
  struct text *text = fh_new_items(types[TYPE_TEXT], span.length + 1);
  if (text) memcpy(text->bytes, span.at, span.length);
  return text;
}

/* A private text for the field of a private object. False: no memory. */
static bool give_text(void *holder, struct text **field, struct span span) {
  struct text *text = text_new(span);
  if (!text) return false;
  fh_field_give(holder, field, text);
  return true;
}

static struct relation *relation_new(const struct draft *draft, const struct draft_relation *of) {
  FH_AUTO struct relation *relation = fh_new_items(types[TYPE_RELATION], of->alternative_count);
  if (!relation) return NULL;
  relation->kind = (uint8_t)of->kind;
  for (size_t i = 0; i < of->alternative_count; i++) {
    const struct draft_alternative *from = &draft->alternatives[of->first_alternative + i];
    struct alternative *to = &relation->alternatives[i];
    to->operator = (uint8_t)from->operator;
    if (from->operator != OPERATOR_ANY && !give_text(relation, &to->version, from->version)) return NULL;
  }
  return FH_MOVE(relation);
}

static bool fill_version(struct version *version, const struct draft *draft) {
  if (draft->version.length && !give_text(version, &version->text, draft->version)) return false;
  for (size_t i = 0; i < draft->relation_count; i++) {
    struct relation *relation = relation_new(draft, &draft->relations[i]);
    if (!relation) return false;
    fh_set(relation, source, version);
    fh_give(version, relations[i].relation, relation);
  }
  return true;
}

struct version *version_new(const struct draft *draft) {
  FH_AUTO struct version *version = fh_new_items(types[TYPE_VERSION], draft->relation_count);
  if (!version) return NULL;
  if (fill_version(version, draft)) return FH_MOVE(version);
  version_break(version);
  return NULL;
}

void version_break(struct version *version) {
  fh_clear(version, package);
  for (size_t i = 0; i < version->relation_count; i++) {
    struct relation *relation = version->relations[i].relation;
    if (!relation) continue;
    fh_clear(relation, source);
    for (size_t j = 0; j < relation->alternative_count; j++) fh_clear(relation, alternatives[j].target);
  }
}

void shard_break(struct shard *shard) {
  for (uint32_t i = 0; i < shard->room; i++) {
    struct package *package = shard->table[i];
    for (uint32_t j = 0; package && j < package->versions.count; j++) version_break(package_version(package, j));
  }
}

void graph_break(struct graph *graph) {
  for (int i = 0; i < SHARDS; i++) shard_break(graph->shards[i]);
}

struct graph *graph_new(void) { return fh_new(types[TYPE_GRAPH]); }

struct shard *shard_new(uint32_t index) {
  struct shard *shard = fh_new(types[TYPE_SHARD]);
  if (shard) shard->index = index;
  return shard;
}

struct answer *answer_new(struct package *const *packages, size_t count) {
  struct answer *answer = fh_new_items(types[TYPE_ANSWER], count);
  for (size_t i = 0; answer && i < count; i++) fh_set(answer, items[i].package, packages[i]);
  return answer;
}

/* ---- names ---- */

/* FNV-1a, stirred at the end, because the shard is chosen by the upper bits and the place in the table by the lower. */
uint64_t name_hash(struct span name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t i = 0; i < name.length; i++) hash = (hash ^ (unsigned char)name.at[i]) * 0x100000001b3u;
  return (hash ^ (hash >> 29)) * 0xbf58476d1ce4e5b9u;
}

/* The place where the name is, or would be. The table has at least one empty place. */
static struct package **find_place(struct package **table, uint32_t room, struct span name, uint64_t hash) {
  for (uint32_t i = (uint32_t)hash & (room - 1);; i = (i + 1) & (room - 1)) {
    struct package *package = table[i];
    if (!package) return &table[i];
    if (package->hash == hash && span_is(name, package->name->bytes)) return &table[i];
  }
}

/* The references move from one buffer to the other as they are: no safepoint comes in between, so nobody can look. */
static bool shard_grow(struct shard *shard) {
  uint32_t room = shard->room ? 2 * shard->room : 16;
  struct package **table = fh_alloc_zeroed(room * sizeof *table);
  if (!table) return false;
  for (uint32_t i = 0; i < shard->room; i++) {
    struct package *package = shard->table[i];
    if (!package) continue;
    struct span name = {package->name->bytes, package->name->size - 1};
    *find_place(table, room, name, package->hash) = package;
  }
  fh_free(shard->table);
  shard->table = table;
  shard->room = room;
  return true;
}

/* Shards count their packages apart; the ids of all shards are interleaved. */
static struct package *package_new(const struct shard *shard, struct span name, uint64_t hash) {
  FH_AUTO struct package *package = fh_new(types[TYPE_PACKAGE]);
  if (!package || !give_text(package, &package->name, name)) return NULL;
  package->hash = hash;
  package->id = shard->count * SHARDS + shard->index;
  return FH_MOVE(package);
}

struct package *shard_intern(struct shard *shard, struct span name, uint64_t hash) {
  if (4 * (shard->count + 1) > 3 * shard->room && !shard_grow(shard)) return NULL;
  struct package **place = find_place(shard->table, shard->room, name, hash);
  if (*place) return *place;
  struct package *package = package_new(shard, name, hash);
  if (!package) return NULL;
  fh_field_give(shard, place, package);
  shard->count++;
  return package;
}
