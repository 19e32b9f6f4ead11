/* SPDX-License-Identifier: MIT */
/* The door to the allocator: the one place that knows whose memory it is. Two backends have the same face, chosen when
 * the library is built: mimalloc with each thread's default heap (the product), plain malloc (full sight for
 * AddressSanitizer, LeakSanitizer and valgrind, and a second opinion).
 *
 *   fh__backend_alloc(n)          not zeroed, aligned to 16, NULL if there is no memory
 *   fh__backend_alloc_zeroed(n)
 *   fh__backend_alloc_small(n)    not zeroed; n is 16, 32, 48 or 64
 *   fh__backend_realloc(p, n)     as realloc
 *   fh__backend_free(p)           any thread
 *   fh__backend_usable(p)         bytes that the block really has
 *   fh__backend_good_size(n)      what a block of n bytes costs; it has at least so many
 *   fh__backend_heap()            the calling thread's heap, or NULL: dies with the thread
 *   fh__backend_heap_tidy(h)      gives back what others freed into h; its thread must surely not be inside the allocator
 *   fh__backend_tidy()            the same for the calling thread
 *   fh__backend_thread_done()     the calling thread ends: its heap is left to others now, and not at some later moment */
#ifndef FH_MEMORY_BACKEND_H
#define FH_MEMORY_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/sanitize.h"

#if defined(FH_ALLOCATOR_MALLOC)
#include "memory/backend_malloc.h"
#else
#include "memory/backend_mimalloc.h"
#endif

void fh__backend_heap_tidy(fh__heap *heap);

/* True if the host's own malloc is this backend, too: then nobody but its thread may touch a thread's heap. */
bool fh__backend_is_hosts(void);

/* The backend's name, for fh_version and reports. */
const char *fh__backend_name(void);

/* Room at the end of every buffer for the link of a list of retired buffers, so that retiring needs no memory. */
enum { FH__BUFFER_LINK = sizeof(void *) };

static inline void **fh__buffer_link(void *block) {
  return (void **)(void *)((char *)block + fh__backend_usable(block) - FH__BUFFER_LINK);
}

#endif
