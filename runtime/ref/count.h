/* SPDX-License-Identifier: MIT */
#ifndef FH_REF_COUNT_H
#define FH_REF_COUNT_H

#include "mutator/mutator.h"

/* One more reference, unless the object is dead: (MERGED, 0, not QUEUED). The caller then looks at its source again. */
bool fh__try_retain(struct fh__mutator *me, fh_object *object);

#endif
