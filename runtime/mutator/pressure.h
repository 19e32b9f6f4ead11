/* SPDX-License-Identifier: MIT */
/* Memory pressure: what happens when the account meets its limits.
 *
 *              above soft                      refused
 *   EASED --------------------> SOFT ----------------------> HARD
 *     ^---- at or below soft ----+ <--- room was made --------+
 *
 * Whoever moves `level` up, by compare-and-swap, has the event told at its next safepoint. */
#ifndef FH_MUTATOR_PRESSURE_H
#define FH_MUTATOR_PRESSURE_H

#include "mutator/mutator.h"

struct fh__pressure {
  uint32_t level;       /* atomic: enum fh_memory_event */
  uint32_t emergency;   /* atomic: an allocation was refused since the last collection */
  uint64_t refused;     /* atomic */
  uint64_t emergencies; /* atomic */
  uint64_t rest_until;  /* atomic, ns: no emergency collection before */
};
extern struct fh__pressure fh__pressure;

/* Covers a credit that `bytes` overdrew, or says no and asks for help. */
bool fh__pressure_draw(struct fh__mutator *me, size_t bytes);
/* At a safepoint, LIMIT was raised: gives up the credit, runs the application's callback. */
void fh__pressure_tell(struct fh__mutator *me);
/* After memory was given back: lowers the level, and has it told. */
void fh__pressure_ease(struct fh__mutator *me);
/* A limit was crossed, and the pressure has not eased. */
static inline bool fh__pressure_is_on(void) { return FH__LOAD(&fh__pressure.level, RELAXED) != FH_MEMORY_EASED; }
/* True if an emergency collection is due. Such collections take at most half of the time: the next one rests for as long as the
 * last one took. */
bool fh__pressure_is_emergency(void);
/* An emergency collection was asked for, and may have to rest. */
bool fh__pressure_wants_collection(void);
/* Stopped: the collection that is under way answers all refusals until now. Under pressure nobody holds credit any more. */
void fh__pressure_collect_stopped(void);
/* A collection has taken so long until now. */
void fh__pressure_note_collection(uint64_t began_ns, uint64_t now_ns);
/* `entries` that usually make a collection due, less under pressure. */
uint64_t fh__pressure_scale(uint64_t entries);

/* Sets the limits, in bytes; 0: none; FH_LIMIT_CGROUP as `hard`. */
fh_status fh__pressure_limits(size_t soft, size_t hard, int64_t *soft_out, int64_t *hard_out);

#endif
