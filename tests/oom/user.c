/* SPDX-License-Identifier: MIT */
#include "user.h"

#include <string.h>
#include <unistd.h>

/* Of fail_nth.so; NULL where that is not preloaded. */
extern bool fail_nth_is_near(void) __attribute__((weak));

bool user_is_alone = true;

void user_complain(const char *file, int line, const char *condition) {
  fprintf(stderr, "%s:%d: demanded: %s\n", file, line, condition);
  _exit(FOUND_WRONG);
}

static bool gives_up(void) {
  const char *user = getenv("OOM_USER");
  return user && !strcmp(user, "gives-up");
}

/* ---- before and after ---- */

static fh_stats stats_of_now(void) {
  fh_stats stats = {.size = sizeof stats};
  demand(fh_stats_get(&stats) == FH_OK);
  return stats;
}

struct sight user_look(void) {
  struct sight sight = {.was_taken = user_is_alone && (!fail_nth_is_near || fail_nth_is_near())};
  if (sight.was_taken) sight.stats = stats_of_now();
  return sight;
}

void user_check_heap(void) {
  fh_status status = fh_check_heap();
  demand(status == FH_OK || status == FH_ENOMEM);
}

static void demand_unchanged(const fh_stats *before) {
  fh_stats now = stats_of_now();
  demand(now.live_bytes == before->live_bytes);
  demand(now.object_bytes == before->object_bytes);
  demand(now.buffer_bytes == before->buffer_bytes);
  demand(now.limbo_bytes == before->limbo_bytes);
  demand(now.objects_live == before->objects_live);
  demand(now.objects_made == before->objects_made);
  demand(now.objects_destroyed == before->objects_destroyed);
  demand(now.objects_tracked == before->objects_tracked);
  demand(now.attached == before->attached);
}

bool user_tries_again(const struct sight *before) {
  if (before->was_taken) demand_unchanged(&before->stats);
  if (fh_is_attached()) user_check_heap();
  return !gives_up();
}

/* ---- the calls that can fail ---- */

/* A status that says that there was no memory may come from nothing else. */
static bool worked(fh_status status) {
  demand(status == FH_OK || status == FH_ENOMEM);
  return status == FH_OK;
}

bool user_init(const fh_options *options) {
  while (!worked(fh_init(options)))
    if (gives_up()) return false;
  return true;
}

bool user_attach(const char *name) {
  for (;;) {
    struct sight before = user_look();
    if (worked(fh_attach(name))) return true;
    demand(!fh_is_attached());
    if (!user_tries_again(&before)) return false;
  }
}

bool user_type(const fh_type_spec *spec, fh_type **type_out) {
  fh_type *const nothing = *type_out;
  for (;;) {
    struct sight before = user_look();
    if (worked(fh_type_register(spec, type_out))) return true;
    demand(*type_out == nothing);
    if (!user_tries_again(&before)) return false;
  }
}

void *user_new(fh_type *type) {
  for (;;) {
    struct sight before = user_look();
    uint64_t live = fh_type_live(type);
    void *object = fh_new(type);
    if (object) return object;
    demand(!user_is_alone || fh_type_live(type) == live);
    if (!user_tries_again(&before)) return NULL;
  }
}

void *user_new_items(fh_type *type, size_t count) {
  for (;;) {
    struct sight before = user_look();
    uint64_t live = fh_type_live(type);
    void *object = fh_new_items(type, count);
    if (object) return object;
    demand(!user_is_alone || fh_type_live(type) == live);
    if (!user_tries_again(&before)) return NULL;
  }
}

void *user_alloc(size_t n) {
  for (;;) {
    struct sight before = user_look();
    void *block = fh_alloc(n);
    if (block) return block;
    if (!user_tries_again(&before)) return NULL;
  }
}

void *user_realloc(void *block, size_t n) {
  for (;;) {
    struct sight before = user_look();
    void *moved = fh_realloc(block, n);
    if (moved) return moved;
    if (!user_tries_again(&before)) return NULL;
  }
}

bool user_root_add(fh_slot *slot) {
  for (;;) {
    struct sight before = user_look();
    if (worked(fh_root_add(slot))) return true;
    if (!user_tries_again(&before)) return false;
  }
}

size_t user_collect_generation(int generation) {
  for (;;) {
    uint64_t failed = stats_of_now().collections_failed;
    size_t found = fh_collect(generation);
    if (found || stats_of_now().collections_failed == failed) return found;
    user_check_heap(); /* this collection found no memory, or that of another thread did not */
  }
}

size_t user_collect(void) { return user_collect_generation(2); }

/* ---- from the beginning to the end ---- */

void user_shutdown(void) {
  enum { LONG_ENOUGH_MS = 10000 };
  uint64_t leaked = 0;
  demand(fh_shutdown(LONG_ENOUGH_MS, &leaked) == FH_OK);
  demand(leaked == 0);
}

int user_status(bool went_well) {
  demand(went_well || gives_up());
  if (!went_well) fprintf(stderr, "no memory\n");
  return went_well ? WENT_WELL : GAVE_UP;
}

static bool run_attached(bool (*work)(void)) {
  if (!user_attach("main")) return false;
  bool went_well = work();
  user_check_heap();
  fh_detach();
  return went_well;
}

int user_run(bool (*work)(void)) {
  if (!user_init(NULL)) return user_status(false);
  bool went_well = run_attached(work);
  user_shutdown();
  return user_status(went_well);
}
