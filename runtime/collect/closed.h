/* SPDX-License-Identifier: MIT */
/* Garbage of the plain kind, which is most of it: of types with two references at most, without finalizer, dealloc or weak references,
 * with no reference to anything that lives. Nothing has to be counted down, cleared or told, so its memory is all there is to free.
 *
 *   [garbage.closed]  all that the garbage refers to is garbage: the counts of all of it, which come from within it [scan.refs], are as
 *                     many as its references
 *
 * Such garbage is not held by its list. Its entries are free in the stop; nobody can reach it, no collection sees it again, and whoever
 * has the list frees it. */
#ifndef FH_COLLECT_CLOSED_H
#define FH_COLLECT_CLOSED_H

#include "collect/garbage.h"

/* Stopped. True: all garbage of the scan is of that kind and belongs to `me`, and is in its hands now. Else nothing happened. */
bool fh__garbage_take_closed(struct fh__mutator *me, struct fh__scan *scan);
/* The garbage's part of a scan that has a tally [scan.tally]: all of it is of that kind if both are 0. */
struct fh__tally fh__garbage_tally(const struct fh__scan *scan);
/* Frees a list of it. */
void fh__garbage_free_closed(struct fh__mutator *me, const struct fh__garbage *list);

#endif
