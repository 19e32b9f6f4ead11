/* SPDX-License-Identifier: MIT */
#ifndef FH_API_WEAK_H
#define FH_API_WEAK_H

/* At shutdown, with the other types. */
void fh__weak_forget_type(void);

#endif
