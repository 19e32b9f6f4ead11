/* SPDX-License-Identifier: MIT */
#include "support/fibre.h"

#include <sys/mman.h>
#include <ucontext.h>

#include "support/sanitizers.h"
#include "support/support.h"

/* ---- what the sanitizers must be told ---- */

/* Of one side of a switch: the fibre, or the thread that it runs in. */
struct side {
  ucontext_t context;
  void *sanitizer;    /* ThreadSanitizer: its fibre; AddressSanitizer: the frames that it keeps aside */
  const void *bottom; /* AddressSanitizer: the stack */
  size_t size;
};

#if UNDER_TSAN
#include <sanitizer/tsan_interface.h>
static void side_init(struct side *side) { side->sanitizer = __tsan_create_fiber(0); }
static void side_finish(struct side *side) { __tsan_destroy_fiber(side->sanitizer); }
static void side_enter(struct side *side) { side->sanitizer = __tsan_get_current_fiber(); }
static void before_switch(struct side *from, struct side *to, bool last) { __tsan_switch_to_fiber(to->sanitizer, 0); }
static void after_switch(struct side *self, struct side *from) {}
#elif UNDER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
static void side_init(struct side *side) {}
static void side_finish(struct side *side) { __asan_unpoison_memory_region(side->bottom, side->size); }
static void side_enter(struct side *side) {}
static void before_switch(struct side *from, struct side *to, bool last) {
  __sanitizer_start_switch_fiber(last ? NULL : &from->sanitizer, to->bottom, to->size);
}
static void after_switch(struct side *self, struct side *from) {
  __sanitizer_finish_switch_fiber(self->sanitizer, &from->bottom, &from->size);
}
#else
static void side_init(struct side *side) {}
static void side_finish(struct side *side) {}
static void side_enter(struct side *side) {}
static void before_switch(struct side *from, struct side *to, bool last) {}
static void after_switch(struct side *self, struct side *from) {}
#endif

/* ---- fibres ---- */

enum { STACK_BYTES = 256 * 1024 };

struct fibre {
  struct side self, *caller; /* the caller's is on the stack of fibre_resume */
  void *stack;
  void (*body)(struct fibre *, void *);
  void *argument;
  bool ended;
};

__attribute__((noinline)) static void switch_sides(struct side *from, struct side *to) {
  before_switch(from, to, false);
  require(!swapcontext(&from->context, &to->context));
}

/* makecontext passes ints, so the pointer comes in two halves. */
static void begin(unsigned high, unsigned low) {
  struct fibre *fibre = (struct fibre *)(((uintptr_t)high << 32) | low);
  after_switch(&fibre->self, fibre->caller);
  fibre->body(fibre, fibre->argument);
  fibre->ended = true;
  before_switch(&fibre->self, fibre->caller, true);
  setcontext(&fibre->caller->context);
}

struct fibre *fibre_new(void (*body)(struct fibre *, void *), void *argument) {
  struct fibre *fibre = calloc(1, sizeof *fibre);
  require(fibre);
  *fibre = (struct fibre){.body = body, .argument = argument};
  fibre->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  require(fibre->stack != MAP_FAILED && !getcontext(&fibre->self.context));
  fibre->self.context.uc_stack.ss_sp = fibre->stack;
  fibre->self.context.uc_stack.ss_size = STACK_BYTES;
  fibre->self.bottom = fibre->stack;
  fibre->self.size = STACK_BYTES;
  makecontext(&fibre->self.context, (void (*)(void))begin, 2, (unsigned)((uintptr_t)fibre >> 32), (unsigned)(uintptr_t)fibre);
  side_init(&fibre->self);
  return fibre;
}

void fibre_free(struct fibre *fibre) {
  require(fibre->ended);
  side_finish(&fibre->self);
  munmap(fibre->stack, STACK_BYTES);
  free(fibre);
}

bool fibre_resume(struct fibre *fibre) {
  struct side caller = {.sanitizer = NULL};
  require(!fibre->ended);
  side_enter(&caller);
  fibre->caller = &caller;
  switch_sides(&caller, &fibre->self);
  after_switch(&caller, &fibre->self);
  return !fibre->ended;
}

void fibre_yield(struct fibre *fibre) {
  switch_sides(&fibre->self, fibre->caller);
  after_switch(&fibre->self, fibre->caller);
}
