/* SPDX-License-Identifier: MIT */
/* Statistics. Counters are kept per mutator and added up here, so reading them costs the others nothing. */
#ifndef FREEHOLD_STATS_H
#define FREEHOLD_STATS_H

#include <freehold/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A histogram of durations: bucket i counts those of at least 2^i and less than 2^(i+1) nanoseconds. */
typedef struct fh_histogram {
  uint64_t count;
  uint64_t total_ns;
  uint64_t max_ns;
  uint64_t bucket[40];
} fh_histogram;

/* A duration, in ns, that at least `share` of those in the histogram do not exceed.
 *
 * Shape:   share from 0 to 1 (0.5: the median). Exact within a factor of 2; 0 for an empty histogram.
 * Owns:    nothing.
 * Threads: any thread; the histogram is the caller's copy.
 * Runs:    nothing.
 * Errors:  none.
 * Source:  docs/safepoint.md. */
FH_API uint64_t fh_histogram_quantile(const fh_histogram *histogram, double share);

/* Of one generation: of the collections that took it and the younger ones. */
typedef struct fh_generation_stats {
  uint64_t collections;
  uint64_t scanned; /* objects looked at */
  uint64_t found;   /* garbage, finalizers' resurrections included */
  uint64_t collected;     /* of that, destroyed so far: what other mutators have yet to finish is missing */
  uint64_t resurrected;   /* of that, alive again by finalizers */
  uint64_t uncollectable; /* garbage that could not be freed for want of memory; a later collection may count it again */
  uint64_t saved;         /* of `found`, kept by FH_GC_SAVE */
  uint64_t failed;        /* collections that found no memory */
  fh_histogram time_to_stop; /* these three: of each collection, failed ones too */
  fh_histogram pause;        /* the world stood still; a second look is in fh_stats.time_stopped only */
  fh_histogram total;        /* from the request to the end of finalizers and destruction */
} fh_generation_stats;

typedef struct fh_stats {
  size_t size; /* sizeof(fh_stats), set by the caller: lets the struct grow */

  /* memory, in bytes */
  uint64_t live_bytes;   /* objects and buffers that are allocated, limbo not included */
  uint64_t peak_bytes;   /* the largest live_bytes that was noticed (credit granularity: 64 KiB a mutator) */
  uint64_t object_bytes; /* of live_bytes, objects */
  uint64_t buffer_bytes; /* of live_bytes, buffers */
  uint64_t limbo_bytes;  /* dead, waiting for a grace period; FH_GRACE objects are in live_bytes, too, until then */

  uint64_t soft_limit;   /* 0: none */
  uint64_t hard_limit;   /* 0: none; live_bytes and limbo_bytes together stay below it */
  uint64_t refused;      /* allocations that the hard limit refused */
  uint64_t emergencies;  /* collections that this asked for */

  /* objects */
  uint64_t objects_live;
  uint64_t objects_made;
  uint64_t objects_destroyed;
  uint64_t objects_tracked; /* entries in use in the tracking chunks */
  uint64_t objects_immortal;

  /* count operations that left the inline path */
  uint64_t owner_retains;    /* by the owner; all of them only with FH_OPTION_COUNT_PATHS or in checked builds */
  uint64_t owner_releases;
  uint64_t stranger_retains; /* one atomic instruction */
  uint64_t stranger_releases;
  uint64_t immortal_skips;   /* of immortal objects, where the bias word did not say so in line */
  uint64_t spills;           /* the local count overflowed into the shared one */
  uint64_t take_backs;       /* ... and came back */
  uint64_t merges;           /* by the owner's last release */
  uint64_t queued;           /* pushed to the owner's queue */
  uint64_t drained;          /* merged from a queue by the owner */
  uint64_t claimed;          /* merged from a queue in place of a detached owner */
  uint64_t private_deaths;   /* freed at once, no atomic instruction */
  uint64_t published_deaths; /* by count; what the collector destroys is in `collected` */
  uint64_t published;        /* objects published */
  uint64_t overflows;        /* counts that overflowed and became immortal */

  /* finalizers */
  uint64_t finalized;
  uint64_t resurrected;

  /* mutators, stops, grace periods */
  uint64_t mutators;  /* ever made */
  uint64_t attached;  /* have a thread now */
  uint64_t adoptions; /* of a mutator that an earlier thread left */
  uint64_t stops;
  uint64_t grace_periods;
  uint64_t claims;
  uint64_t gil_switches; /* gil design: handovers because others had waited long enough */
  uint64_t forks;        /* that this process came out of as the child, or was stopped for as the parent */
  uint64_t stranded;     /* tracked private objects that only threads lost in a fork could reach, when that was counted */
  fh_histogram time_to_stop; /* from the request until everybody stands still */
  fh_histogram time_stopped; /* from then until they may run again */

  /* collections */
  uint64_t collections;
  uint64_t collections_failed; /* no memory for the lists of what was found */
  uint64_t collected;          /* objects found to be garbage and destroyed */
  uint64_t scanned;            /* objects looked at, all collections together */
  uint64_t from_candidates;    /* old collections that looked only at what changed objects reach */
  uint64_t helped;             /* passes of collections that a stopped thread took part in, for each such thread */
  fh_generation_stats generation[3]; /* young, middle, old */
  uint64_t young_due;          /* entries opened that make a collection due: the threshold; less for the goal, more if nothing is found */
  uint64_t old_due;            /* objects that have to become old: by the percentage, or more by the goal for the overhead */
  fh_histogram gc_total;       /* a whole collection: stop, work, resume, finalizers, destruction */
} fh_stats;

/* Fills in `stats`.
 *
 * Shape:   not NULL; stats->size set to sizeof(fh_stats).
 * Owns:    the caller's struct.
 * Threads: any thread while the runtime runs. Exact when nobody else works.
 * Runs:    takes the registry's lock.
 * Errors:  FH_EVERSION: size is not one that this library knows. FH_ESHUTDOWN.
 * Source:  docs/heap.md, "Accounting". */
FH_API FH_MUST_USE fh_status fh_stats_get(fh_stats *stats);

/* Sets peak_bytes to the present live_bytes.
 *
 * Shape:   no arguments.
 * Owns:    nothing.
 * Threads: any thread.
 * Runs:    nothing.
 * Errors:  none.
 * Source:  docs/heap.md, "Accounting". */
FH_API void fh_stats_reset_peak(void);

#ifdef __cplusplus
}
#endif
#endif
