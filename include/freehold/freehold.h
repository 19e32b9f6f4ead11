/* SPDX-License-Identifier: MIT */
/* Freehold: a free-threaded memory runtime for C. This header includes all the others. */
#ifndef FREEHOLD_FREEHOLD_H
#define FREEHOLD_FREEHOLD_H

#include <freehold/base.h>
#include <freehold/finalize.h>
#include <freehold/gc.h>
#include <freehold/lock.h>
#include <freehold/memory.h>
#include <freehold/object.h>
#include <freehold/runtime.h>
#include <freehold/slot.h>
#include <freehold/stats.h>
#include <freehold/type.h>
#include <freehold/weak.h>
#include <freehold/weakmap.h>

#endif
