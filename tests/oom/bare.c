/* SPDX-License-Identifier: MIT */
/* What threads that are not attached leave behind: references that fh_release_later must not lose, and buffers. */
#include "user.h"

struct parcel {
  fh_object fh;
  void *buffer;
};
static void parcel_dealloc(void *object) { fh_free(((struct parcel *)object)->buffer); }
static const fh_type_spec parcel_spec = {
    .name = "parcel", .size = sizeof(struct parcel), .flags = FH_PUBLISHED, .dealloc = parcel_dealloc};

enum { PARCELS = 10 };

struct load {
  size_t count;
  struct parcel *parcel[PARCELS];
  void *buffer[PARCELS];
};

static bool fill(fh_type *type, struct load *load) {
  while (load->count < PARCELS) {
    FH_AUTO struct parcel *parcel = user_new(type);
    if (!parcel || !(parcel->buffer = user_alloc(40))) return false;
    void *buffer = user_alloc(60);
    if (!buffer) return false;
    load->buffer[load->count] = buffer;
    load->parcel[load->count++] = FH_MOVE(parcel);
  }
  return true;
}

static void unload(void *argument) {
  struct load *load = argument;
  for (size_t i = 0; i < load->count; i++) {
    fh_release_later(load->parcel[i]);
    fh_free(load->buffer[i]);
  }
}

/* By a thread that never attached, or by this one in a blocking region. */
static bool carry(fh_type *type, bool by_another) {
  struct load load = {.count = 0};
  bool went_well = fill(type, &load);
  if (by_another) {
    struct companion companion;
    companion_start_bare(&companion, unload, &load);
    companion_join(&companion);
  } else {
    FH_BLOCKING();
    unload(&load);
  }
  fh_settle();
  demand(fh_type_live(type) == 0);
  return went_well;
}

static bool work(void) {
  fh_type *type = NULL;
  return user_type(&parcel_spec, &type) && carry(type, true) && carry(type, false);
}

int main(void) { return user_run(work); }
