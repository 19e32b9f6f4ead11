/* SPDX-License-Identifier: MIT */
/* fh_dump: for crash handlers and stuck programs. Nothing but loads and write(2): no lock, no memory, no formatting function of
 * the C library, which may be what crashed. Words that others change meanwhile are read one by one, with relaxed loads. */
#include <freehold/freehold.h>

#include <errno.h>
#include <unistd.h>

#include "base/sanitize.h"
#include "collect/collect.h"
#include "mutator/pressure.h"
#include "ref/pending.h"
#include "sync/stop.h"

/* ---- words ---- */

struct out {
  int fd;
  size_t length;
  char text[512];
};

static void flush(struct out *out) {
  size_t from = 0;
  while (from < out->length) {
    ssize_t written = write(out->fd, out->text + from, out->length - from);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) break;
    from += (size_t)written;
  }
  out->length = 0;
}

static FH__UNWATCHED void put(struct out *out, const char *text) {
  for (; *text; text++) {
    if (out->length == sizeof out->text) flush(out);
    out->text[out->length++] = *text;
  }
}

static void put_number(struct out *out, uint64_t number) {
  char digits[21];
  char *at = digits + sizeof digits - 1;
  *at = 0;
  do *--at = (char)('0' + number % 10);
  while (number /= 10);
  put(out, at);
}

static void put_signed(struct out *out, int64_t number) {
  if (number < 0) put(out, "-");
  put_number(out, number < 0 ? -(uint64_t)number : (uint64_t)number);
}

/* " name number", or ", name number" */
static void put_named(struct out *out, const char *name, uint64_t number) {
  if (name[0] != ',') put(out, " ");
  put(out, name);
  put(out, " ");
  put_number(out, number);
}

static void put_limit(struct out *out, const char *name, int64_t limit) {
  put(out, " ");
  put(out, name);
  put(out, " ");
  if (limit == INT64_MAX)
    put(out, "none");
  else
    put_signed(out, limit);
}

/* ---- the runtime ---- */

static const char *phase_name(uint32_t phase) {
  static const char *const names[] = {"down", "running", "ending", "barred (after a fork)"};
  return phase < sizeof names / sizeof *names ? names[phase] : "?";
}

static void dump_runtime(struct out *out) {
  put(out, "freehold ");
  put(out, fh_version());
  put(out, ", design ");
  put(out, fh_design_name(fh_design_get()));
  put(out, ", allocator ");
  put(out, fh__backend_name());
  put(out, ", ");
  put(out, phase_name(FH__LOAD(&fh__shared.phase, RELAXED)));
  if (FH__TORTURE) put_named(out, ", seed", fh__torture_seed());
  put(out, "\n");
}

static void dump_world(struct out *out) {
  uint32_t epoch = FH__LOAD(&fh__stop.epoch, RELAXED);
  put(out, epoch & 1 ? "world: stopped or being stopped," : "world: runs,");
  put_named(out, "stops", FH__LOAD(&fh__stop.count, RELAXED));
  put(out, FH__LOAD(&fh__stop.lock.word, RELAXED) ? ", stop lock held" : ", stop lock free");
  if (fh__gil.on) {
    const struct fh__sync_local *holder = FH__LOAD(&fh__gil.holder, RELAXED);
    put_named(out, ", gil holder", holder ? holder->id : 0);
    put_named(out, "waiting", FH__LOAD(&fh__gil.waiting, RELAXED));
  }
  put(out, "\ngrace:");
  put_named(out, "asked", FH__LOAD(&fh__grace.epoch, RELAXED));
  put_named(out, "passed", FH__LOAD(&fh__grace.completed, RELAXED));
  put(out, "\n");
}

static void dump_memory(struct out *out) {
  put(out, "memory: drawn ");
  put_signed(out, FH__LOAD(&fh__account.drawn, RELAXED));
  put(out, " peak ");
  put_signed(out, FH__LOAD(&fh__account.peak, RELAXED));
  put_limit(out, "soft", FH__LOAD(&fh__account.soft, RELAXED));
  put_limit(out, "hard", FH__LOAD(&fh__account.hard, RELAXED));
  put_named(out, "refused", FH__LOAD(&fh__pressure.refused, RELAXED));
  put(out, "\ncollections:");
  for (int i = 0; i < FH__GENERATIONS; i++) put_named(out, fh__generation_name[i], FH__LOAD(&fh__collector.collections[i], RELAXED));
  put_named(out, "failed", FH__LOAD(&fh__collector.failed, RELAXED));
  put_named(out, "opened", FH__LOAD(&fh__track.opened, RELAXED));
  put_named(out, "due", FH__LOAD(&fh__track.due, RELAXED));
  put(out, FH__LOAD(&fh__shared.gc_enabled, RELAXED) ? " enabled" : " disabled");
  if (fh__pending_is_on()) put_named(out, ", finalizers wait", fh__pending_count());
  put(out, "\n");
}

/* ---- mutators ---- */

static void dump_attention(struct out *out, uint32_t bits) {
  static const char *const names[] = {"stop", "merge", "grace", "limbo", "destroy", "finalize", "garbage", "collect", "inbox", "gil", "limit", "purge"};
  for (uint32_t i = 0; i < sizeof names / sizeof *names; i++)
    if (bits & 1u << i) {
      put(out, " ");
      put(out, names[i]);
    }
}

static FH__UNWATCHED void dump_doing(struct out *out, const struct fh__mutator *mutator) {
  if (mutator->weak_called)
    put(out, ", in a weak callback");
  else if (mutator->finalizing || mutator->finalizing_garbage)
    put(out, ", in a finalizer");
  if (mutator->gc_callback) put(out, ", in a callback of collections");
  if (mutator->in_dealloc) put(out, ", in dealloc");
  if (mutator->collecting) put(out, ", collecting");
  if (mutator->telling) put(out, ", in the memory callback");
  if (mutator->no_safepoint) put(out, ", no safepoint may be");
  if (mutator->returning) put(out, ", waiting for a lock");
  if (mutator->held_count) put_named(out, ", object locks", mutator->held_count);
  if (mutator->critical) put(out, ", in a critical section");
  if (mutator->lost) put(out, ", lost in a fork");
}

static FH__UNWATCHED void dump_mutator(struct out *out, const struct fh__mutator *mutator) {
  const struct fh__sync_local *sync = &mutator->sync;
  uint32_t state = FH__LOAD(&sync->state, RELAXED);
  put(out, "mutator ");
  put_number(out, sync->id);
  put(out, " \"");
  put(out, fh__state_name_of(sync).text);
  put(out, "\": ");
  put(out, fh__state_name(state));
  if (state & FH__WANTED) put(out, ", wanted");
  if (!FH__LOAD(&sync->bound, RELAXED)) put(out, ", no thread");
  if (mutator->modes.top & 1) put(out, ", blocking");
  dump_doing(out, mutator);
  put_named(out, ", limbo", FH__LOAD(&mutator->limbo.bytes, RELAXED));
  if (!fh__queue_is_empty(&sync->queue)) put(out, ", queue not empty");
  uint32_t bits = FH__LOAD(&sync->attention, RELAXED);
  if (bits) put(out, ", asked to");
  dump_attention(out, bits);
  if (mutator == fh__thread.mutator) put(out, " <- this thread"); /* also while it is off line for a moment */
  put(out, "\n");
}

/* ---- types ---- */

static void dump_type(struct out *out, const fh_type *type) {
  int64_t live = fh__mutator_count_live(type);
  if (!live) return;
  put(out, "type ");
  put(out, type->name);
  put(out, ": ");
  put_signed(out, live);
  put(out, " alive, each ");
  put_number(out, type->usable);
  put(out, type->item_size ? " bytes and items\n" : " bytes\n");
}

void fh_dump(int fd) {
  struct out out = {.fd = fd};
  int error = errno;
  dump_runtime(&out);
  if (fh__is_up()) {
    dump_world(&out);
    dump_memory(&out);
    struct fh__sync_local *sync;
    for (FH__EACH_MUTATOR(sync))
      if (sync) dump_mutator(&out, fh__mutator_of(sync));
    for (uint32_t index = 1; index <= FH__TYPES_MAX; index++) {
      const fh_type *type = FH__LOAD(&fh__types[index], ACQUIRE); /* partner: registration */
      if (type) dump_type(&out, type);
    }
  }
  flush(&out);
  errno = error;
}
