/* SPDX-License-Identifier: MIT */
#include "users.h"

#include <freehold/freehold.h>

struct box {
  fh_object fh;
  struct box *next;
  void *kept;
};

struct shelf {
  fh_object fh;
  struct box *first;
};

static const fh_ref box_refs[] = {FH_FIELD(struct box, next), FH_FIELD(struct box, kept), FH_END};
static const fh_type_spec box_spec = {.name = "box of the keeper", .size = sizeof(struct box), .refs = box_refs};
static const fh_ref shelf_refs[] = {FH_FIELD(struct shelf, first), FH_END};
static const fh_type_spec shelf_spec = {.name = "shelf of the keeper", .size = sizeof(struct shelf), .refs = shelf_refs};
static fh_type *box_type, *shelf_type;

bool keeper_open(void) {
  fh_status status = fh_init(NULL);
  if (status && status != FH_EEXIST) return false;
  return !fh_type_register(&box_spec, &box_type) && !fh_type_register(&shelf_spec, &shelf_type);
}

void *keeper_shelf(void) {
  if (fh_attach("keeper")) return NULL;
  struct shelf *shelf = fh_new(shelf_type);
  if (!shelf) fh_detach();
  return shelf;
}

bool keeper_put(void *into, void *thing) {
  struct shelf *shelf = into;
  FH_AUTO struct box *box = fh_new(box_type);
  if (box) {
    fh_set(box, kept, thing);
    fh_set(box, next, shelf->first);
    fh_set(shelf, first, box);
  }
  fh_release(thing);
  return box != NULL;
}

void keeper_drop(void *shelf) {
  fh_release(shelf);
  fh_detach();
}

bool keeper_close(uint64_t *leaked) { return fh_shutdown(1000, leaked) == FH_OK; }
