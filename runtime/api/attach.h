/* SPDX-License-Identifier: MIT */
#ifndef FH_API_ATTACH_H
#define FH_API_ATTACH_H

#include "mutator/mutator.h"

/* Attaches the thread that shuts the runtime down as the unbound mutator `id`, when nobody else can attach any more. */
void fh__bind_for_shutdown(uint32_t id);
/* The last detach of a thread: finishes its work, and leaves the mutator to whoever adopts it. */
void fh__unbind(struct fh__mutator *me);

#endif
