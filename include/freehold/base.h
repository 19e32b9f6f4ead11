/* SPDX-License-Identifier: MIT */
/* Words that every other header uses: visibility, versions, status codes. */
#ifndef FREEHOLD_BASE_H
#define FREEHOLD_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if !defined(__GNUC__)
#error "Freehold needs gcc or clang: it uses the __atomic builtins, cleanup and typeof"
#endif

#define FH_VERSION_MAJOR 0
#define FH_VERSION_MINOR 1
#define FH_VERSION_PATCH 0

/* The layout that the inline paths below rely on. It changes when a program that was compiled against an older header
 * could no longer run with a newer library; fh_init compares the two. */
#define FH__LAYOUT 1u

/* How the inline paths reach the words of a thread is part of that too: FH_TLS_DYNAMIC is defined for the library and its
 * users alike, or for neither (docs/linking.md, "Thread-local storage"). */
#ifdef FH_TLS_DYNAMIC
#define FH__TLS_MODEL
#define FH_ABI (FH__LAYOUT | 0x10000u)
#else
#define FH__TLS_MODEL __attribute__((tls_model("initial-exec")))
#define FH_ABI FH__LAYOUT
#endif

#define FH_API __attribute__((visibility("default")))
/* Called through the address table and not through a stub: for the few calls that inline paths fall back to. */
#if __has_attribute(noplt)
#define FH__DIRECT __attribute__((noplt))
#else
#define FH__DIRECT
#endif
#define FH_MUST_USE __attribute__((warn_unused_result))

/* What a call that can fail says. FH_OK is 0; nothing else is. A call that fails changed nothing, unless it says so. */
typedef enum fh_status {
  FH_OK = 0,
  FH_ENOMEM,    /* the system gave no memory */
  FH_ELIMIT,    /* a limit of Freehold is reached: mutators, types, a memory limit */
  FH_EINVAL,    /* an argument is out of its range */
  FH_EVERSION,  /* the header and the library do not fit together */
  FH_ESHUTDOWN, /* the runtime is not running: not yet initialised, or shut down */
  FH_EBUSY,     /* somebody still uses it */
  FH_ENOTFOUND, /* there is no such thing */
  FH_EEXIST,    /* it is there already */
  FH_ERANGE,    /* a number does not fit */
  FH_EAGAIN,    /* not now; the same call may work later */
  FH_ETIMEOUT,  /* the time is over */
  FH_ESHARED    /* referenced from outside of what was to be handed over */
} fh_status;

/* The name of a status, as it is written in this header.
 *
 * Shape:   any value; one that is no status gives "FH_?".
 * Owns:    a constant string.
 * Threads: any thread, attached or not.
 * Runs:    nothing else; async-signal-safe.
 * Errors:  none.
 * Source:  this header. */
FH_API const char *fh_status_name(fh_status status);

/* The version of the library that runs, as "major.minor.patch (build)"; the build is release, checked or torture.
 *
 * Shape:   no arguments.
 * Owns:    a constant string.
 * Threads: any thread, attached or not.
 * Runs:    nothing else.
 * Errors:  none.
 * Source:  this header. */
FH_API const char *fh_version(void);

/* Two tokens made one, after expansion: for names of hidden guard variables. */
#define FH__JOIN2(a, b) a##b
#define FH__JOIN(a, b) FH__JOIN2(a, b)

#ifdef __cplusplus
}
#endif
#endif
