/* SPDX-License-Identifier: MIT */
/* Garbage that is kept to be looked at. While fh_gc_debug_set says so, what a collection finds is not destroyed: in the stop it is
 * published, with what it reaches, and held by a list here, so that later collections find it alive. Nothing else happens to it:
 * weak references lead to it, finalizers do not run. When the lists are let go, it is ordinary garbage again.
 *
 *   [saved.held]  an object in a list has one count of the list's, and is published */
#ifndef FH_COLLECT_SAVED_H
#define FH_COLLECT_SAVED_H

#include "collect/found.h"
#include "collect/scan.h"

/* Stopped: saves the unmarked objects. Returns their number, or SIZE_MAX if there was no memory for the list: nothing changed. */
size_t fh__saved_sort(struct fh__mutator *me, struct fh__scan *scan, size_t count);
/* Adds them all to what was found. */
void fh__saved_find(struct fh__found *found);
/* Gives them up; returns how many. */
size_t fh__saved_clear(void);

/* At the end of the runtime: frees the lists of what has leaked. */
void fh__saved_finish(void);

#endif
