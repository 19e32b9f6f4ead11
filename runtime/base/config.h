/* SPDX-License-Identifier: MIT */
/* The constants that size the runtime, in one table. Torture builds make them hostile: every rare path becomes a common one. */
#ifndef FH_BASE_CONFIG_H
#define FH_BASE_CONFIG_H

#if defined(FH_BUILD_TORTURE)
#define FH__TORTURE 1
#define FH__CHECKED 1
#define FH__BUILD_NAME "torture"
#elif defined(FH_BUILD_CHECKED)
#define FH__TORTURE 0
#define FH__CHECKED 1
#define FH__BUILD_NAME "checked"
#else
#define FH__TORTURE 0
#define FH__CHECKED 0
#define FH__BUILD_NAME "release"
#endif

/* A library for biased counting alone, to measure what the choice costs. */
#if defined(FH_BUILD_BIASED_ONLY)
#define FH__SWITCHABLE 0
#else
#define FH__SWITCHABLE 1
#endif

#define FH__PICK(usual, torture) (FH__TORTURE ? (torture) : (usual))

enum {
  FH__CHUNK_ENTRIES = FH__PICK(1024, 8),       /* tracking entries in a chunk; a power of two */
  FH__CHUNK_REUSE = FH__CHUNK_ENTRIES / 4,     /* a chunk with this many holes takes newborns again */
  FH__SPILL_AT = FH__PICK(0x7fff, 4),          /* the local count that moves half of itself to the shared one */
  FH__SEGMENT_ITEMS = FH__PICK(30, 2),         /* objects in a segment of a merge queue */
  FH__SEGMENT_RESERVE = FH__PICK(4, 1),        /* segments that a mutator keeps for pushes that find no memory */
  FH__CLAIM_ITEMS = FH__PICK(256, 2),          /* objects merged under one claim */
  FH__CREDIT_BYTES = FH__PICK(65536, 256),     /* bytes that a mutator draws from the global account at a time */
  FH__POOL_MOST = 65536,                       /* blocks of dead objects that a running mutator keeps for newborns */
  FH__POOL_ASLEEP = 256,                       /* ... that a mutator keeps while it is off line */
  FH__LIMBO_BATCH = FH__PICK(262144, 64),      /* default of fh_options.limbo_batch */
  FH__HEAP_DEBT = FH__PICK(4 << 20, 1024),     /* bytes freed for a sleeper before its heap is tidied in its place */
  FH__GC_THRESHOLD = FH__PICK(65536, 64),      /* default of fh_options.gc_threshold */
  FH__GC_OVERHEAD = 25,                        /* default of fh_options.gc_overhead */
  FH__WATCHDOG_MS = 5000,                      /* default of fh_options.watchdog_ms */
  FH__WEAK_SHARDS = FH__PICK(64, 2),           /* locks of the table of weakly referenced objects */
  FH__GIL_SWITCH_US = FH__PICK(5000, 50),      /* default of fh_options.gil_switch_us */
  FH__MIDDLE_EVERY = FH__PICK(10, 2),          /* young collections before one that takes the middle generation as well */
  FH__FEW_DIED = 16,                           /* of what a young collection saw less than one in so many */
  FH__LINEAR_EVERY = FH__PICK(8, 2),           /* old collections, of which one goes by no marks */
  FH__REACH_SHARE = 8,                         /* candidates may reach one in so many living objects, or all are looked at */
  FH__CLOSE_NS = 1000000,                      /* a stop that begins so soon after another one's end may starve somebody */
  FH__QUARANTINE = 256,                        /* freed objects that a checked build keeps poisoned, a mutator */
  FH__PREFETCH = 16,                           /* depth of the collector's prefetch queues */
  FH__LOCKS_BY_HAND = 64,                      /* object locks that a thread may hold outside critical sections */
  FH__MODE_DEPTH = 64,                         /* alternations of fh_attach and fh_blocking_begin */
  FH__NAME_BYTES = 32
};

#endif
