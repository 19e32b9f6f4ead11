/* SPDX-License-Identifier: MIT */
#ifndef FH_REF_SLOT_H
#define FH_REF_SLOT_H

/* At shutdown, by the last mutator: clears every registered root and forgets them. */
void fh__roots_clear(void);

#endif
