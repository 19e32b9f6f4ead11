/* SPDX-License-Identifier: MIT */
#ifndef FH_REF_SLOT_H
#define FH_REF_SLOT_H

/* At shutdown, by the last mutator: clears every registered root and forgets them. */
void fh__roots_clear(void);
/* Around a fork: nobody is in the midst of a change. */
void fh__roots_lock(void);
void fh__roots_unlock(void);
/* After it: empties and forgets those that no mutator was there to clear. */
void fh__roots_finish(void);

#endif
