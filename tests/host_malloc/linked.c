/* SPDX-License-Identifier: MIT */
/* Claims: a program that links the library, shared or static, keeps its own malloc, although mimalloc, which exports one as
 * well, comes into the process with it. Everything here is real. */
#include "check.h"

#include <stdlib.h>

int main(void) { return use_freehold() && malloc_is_the_hosts() ? EXIT_SUCCESS : EXIT_FAILURE; }
