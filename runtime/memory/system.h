/* SPDX-License-Identifier: MIT */
/* What the system says about this process's memory. */
#ifndef FH_MEMORY_SYSTEM_H
#define FH_MEMORY_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>

/* Resident bytes, or 0 if the system does not say. */
size_t fh__system_resident(void);

/* The smallest memory limit of the cgroups that the process is in, 0 if there is none. `membership` is /proc/self/cgroup,
 * `mount` the place where the hierarchies are mounted; both are arguments so that a test can give others. */
size_t fh__system_cgroup_limit(const char *membership, const char *mount);

/* How many processors the process may keep busy: those that it may run on, or what the cgroups' quotas come to, if that is less.
 * At least 1. */
unsigned fh__system_processors(const char *membership, const char *mount);

#endif
