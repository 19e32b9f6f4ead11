/* SPDX-License-Identifier: MIT */
/* Objects of every kind, and buffers: small, large, with items, with storage of their own that grows and is retired. */
#include "user.h"

#include <string.h>

/* ---- the types ---- */

struct list {
  fh_object fh;
  struct list *next;
  struct text *text;
};
static const fh_ref list_refs[] = {FH_FIELD(struct list, next), FH_FIELD(struct list, text), FH_END};
static const fh_type_spec list_spec = {.name = "list", .size = sizeof(struct list), .refs = list_refs};

struct text {
  fh_object fh;
  size_t length;
};
static const fh_type_spec text_spec = {.name = "text",
                                       .size = sizeof(struct text),
                                       .item_size = 1,
                                       .count_at = offsetof(struct text, length),
                                       .flags = FH_ACYCLIC};

struct table {
  fh_object fh;
  fh_slot newest;
  struct list *row[30];
};
static const fh_ref table_refs[] = {FH_SLOT(struct table, newest), FH_FIELD(struct table, row), FH_END};
static const fh_type_spec table_spec = {.name = "table", .size = sizeof(struct table), .refs = table_refs};

struct tree {
  fh_object fh;
  size_t children;
  /* children pointers to trees follow */
};
static const fh_ref tree_refs[] = {{0, FH__REF_FIELD, 1}, FH_END};
static const fh_type_spec tree_spec = {.name = "tree",
                                       .size = sizeof(struct tree),
                                       .item_size = sizeof(struct tree *),
                                       .count_at = offsetof(struct tree, children),
                                       .item_refs = tree_refs};
#define tree_child(tree) ((struct tree **)(void *)((tree) + 1))

/* A list that grows: its storage is a buffer, which readers may still look at when it is replaced. */
struct growing {
  fh_object fh;
  size_t count, room;
  struct list **item;
};
static void growing_traverse(void *object, fh_visitor *visitor) {
  struct growing *growing = object;
  for (size_t i = 0; i < growing->count; i++) fh_visit(visitor, &growing->item[i]);
}
static void growing_dealloc(void *object) { fh_free(((struct growing *)object)->item); }
static const fh_type_spec growing_spec = {
    .name = "growing", .size = sizeof(struct growing), .traverse = growing_traverse, .dealloc = growing_dealloc};

static fh_type *list_type, *text_type, *table_type, *tree_type, *growing_type;

static bool make_types(void) {
  return user_type(&list_spec, &list_type) && user_type(&text_spec, &text_type) &&
         user_type(&table_spec, &table_type) && user_type(&tree_spec, &tree_type) &&
         user_type(&growing_spec, &growing_type);
}

/* ---- making them ---- */

static struct text *make_text(const char *characters) {
  size_t length = strlen(characters);
  struct text *text = user_new_items(text_type, length);
  if (!text) return NULL;
  demand(text->length == length);
  memcpy(text + 1, characters, length);
  return text;
}

/* An entry in front of a list, whose fields are as they were if that fails. */
static struct list *make_list(struct list *next, const char *characters) {
  FH_AUTO struct list *list = user_new(list_type);
  if (!list) return NULL;
  demand(!list->next && !list->text);
  FH_AUTO struct text *text = make_text(characters);
  demand(!list->next && !list->text && fh_refcount(list) == 1);
  if (!text) return NULL;
  fh_set(list, text, text);
  if (next) fh_set(list, next, next);
  return FH_MOVE(list);
}

static bool work_on_table(void) {
  enum { ROWS = 5 };
  FH_AUTO struct table *table = user_new(table_type);
  if (!table) return false;
  fh_publish(table);
  for (int i = 0; i < ROWS; i++) {
    FH_AUTO struct list *newest = fh_slot_load(&table->newest);
    FH_AUTO struct list *list = make_list(newest, "a row of the table");
    if (!list) return false;
    FH_CRITICAL(table);
    fh_set(table, row[i], list);
    fh_slot_store(&table->newest, list);
  }
  return true;
}

static struct tree *make_tree(unsigned depth) {
  enum { CHILDREN = 2 };
  FH_AUTO struct tree *tree = user_new_items(tree_type, CHILDREN);
  for (unsigned i = 0; tree && depth && i < CHILDREN; i++) {
    demand(tree->children == CHILDREN && !tree_child(tree)[i]);
    FH_AUTO struct tree *child = make_tree(depth - 1);
    if (!child) return NULL;
    tree_child(tree)[i] = FH_MOVE(child);
  }
  return FH_MOVE(tree);
}

static bool work_on_tree(void) {
  FH_AUTO struct tree *tree = make_tree(3);
  return tree != NULL;
}

/* ---- growing ---- */

/* Grows in place or elsewhere, as nobody else looks. */
static bool grow_private(struct growing *growing) {
  size_t room = growing->room ? 2 * growing->room : 2;
  struct list **item = user_realloc(growing->item, room * sizeof *item);
  if (!item) return false;
  growing->item = item;
  growing->room = room;
  return true;
}

/* Others may be reading the old storage. */
static bool grow_published(struct growing *growing) {
  struct list **item = user_alloc(2 * growing->room * sizeof *item);
  if (!item) return false;
  memcpy(item, growing->item, growing->count * sizeof *item);
  fh_retire(growing->item);
  growing->item = item;
  growing->room *= 2;
  return true;
}

static bool fill(struct growing *growing, size_t count, bool (*grow)(struct growing *)) {
  while (growing->count < count) {
    size_t had = growing->count;
    if (growing->count == growing->room && !grow(growing)) {
      demand(growing->count == had && growing->room == had);
      return false;
    }
    FH_AUTO struct list *list = make_list(had ? growing->item[had - 1] : NULL, "an item");
    if (!list) return false;
    if (fh_is_published(growing)) fh_publish(list);
    growing->item[growing->count++] = FH_MOVE(list);
  }
  return true;
}

static bool work_on_growing(void) {
  FH_AUTO struct growing *growing = user_new(growing_type);
  if (!growing || !fill(growing, 10, grow_private)) return false;
  fh_publish(growing);
  if (!fill(growing, 20, grow_published)) return false;
  fh_housekeep();
  return true;
}

/* A smaller block is never refused: without memory for it the larger one serves. */
static bool shrink_a_buffer(void) {
  char *block = user_alloc(10000);
  if (!block) return false;
  block[0] = 'a';
  block = fh_realloc(block, 10);
  demand(block && block[0] == 'a');
  fh_free(block);
  return true;
}

static bool work(void) {
  if (!make_types()) return false;
  bool went_well = work_on_table() && work_on_tree() && work_on_growing() && shrink_a_buffer();
  void *block = fh_alloc_zeroed(100);
  fh_free(block);
  fh_settle();
  demand(fh_type_live(list_type) == 0 && fh_type_live(tree_type) == 0 && fh_type_live(growing_type) == 0);
  return went_well;
}

int main(void) { return user_run(work); }
