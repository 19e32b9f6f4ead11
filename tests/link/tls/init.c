/* SPDX-License-Identifier: MIT */
/* Says what fh_init answers. */
#include <stdio.h>

#include <freehold/freehold.h>

int main(void) { return puts(fh_status_name(fh_init(NULL))) < 0; }
