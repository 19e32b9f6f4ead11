/* SPDX-License-Identifier: MIT */
/* The report on standard output. */
#ifndef DEPGRAPH_REPORT_H
#define DEPGRAPH_REPORT_H

#include "run.h"

/* Prints all of it; false: one of the checks that it ends with failed. */
bool report(const struct options *options, const struct input *input, const struct run *run, const struct run *counted);

#endif
