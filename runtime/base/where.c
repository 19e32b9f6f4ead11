/* SPDX-License-Identifier: MIT */
#include "base/where.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

int32_t fh__thread_number(void) { return (int32_t)syscall(SYS_gettid); }

/* ---- what the kernel says: "running", or "number arguments... stack-pointer program-counter" ---- */

struct place {
  long call; /* -1: it waits, but not in a system call */
  uintptr_t stack, counter;
};

static bool read_place(int32_t thread, struct place *place, char *text, size_t room) {
  char path[64], line[512];
  snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)thread);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  ssize_t length = read(file, line, sizeof line - 1);
  close(file);
  if (length <= 0) return false;
  line[length] = 0;
  if (!strncmp(line, "running", 7)) {
    snprintf(text, room, "running");
    return false;
  }
  unsigned long stack, counter;
  int fields = sscanf(line, "%ld %*x %*x %*x %*x %*x %*x %lx %lx", &place->call, &stack, &counter);
  if (fields == 1) fields = sscanf(line, "%ld %lx %lx", &place->call, &stack, &counter);
  if (fields != 3) return false;
  place->stack = stack;
  place->counter = counter;
  return true;
}

/* ---- which words of its stack are return addresses ---- */

struct code {
  uintptr_t address;
  bool found;
};

enum { CALL_BYTES = 7 }; /* the longest call instruction that is looked for in front of an address */

static int find_code(struct dl_phdr_info *object, size_t size, void *context) {
  (void)size;
  struct code *code = context;
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
    uintptr_t offset = code->address - (object->dlpi_addr + segment->p_vaddr);
    if (segment->p_type == PT_LOAD && segment->p_flags & PF_X && offset >= CALL_BYTES && offset < segment->p_memsz) code->found = true;
  }
  return code->found;
}

static bool is_code(uintptr_t address) {
  struct code code = {address, false};
  dl_iterate_phdr(find_code, &code);
  return code.found;
}

/* True if a call instruction ends right before the address. On processors where that cannot be told cheaply, every code address
 * will do. */
static bool follows_call(uintptr_t address) {
#if defined(__x86_64__)
  const uint8_t *code = (const uint8_t *)address;
  if (code[-5] == 0xe8) return true;                                  /* call relative */
  for (int back = 2; back <= CALL_BYTES; back++)                               /* call through a register or memory */
    if (code[-back] == 0xff && (code[1 - back] >> 3 & 7) == 2) return true;
  return false;
#else
  (void)address;
  return true;
#endif
}

/* Copies words of a stack that may be gone by now: the kernel says so instead of a fault. */
static size_t copy_stack(uintptr_t from, uintptr_t *words, size_t count) {
  struct iovec here = {words, count * sizeof *words};
  struct iovec there = {(void *)from, count * sizeof *words};
  ssize_t copied = process_vm_readv(getpid(), &here, 1, &there, 1, 0);
  return copied > 0 ? (size_t)copied / sizeof *words : 0;
}

/* ---- words ---- */

static int put_function(uintptr_t address, char *text, size_t room) {
  Dl_info info;
  if (!dladdr((void *)address, &info) || !info.dli_fname) return snprintf(text, room, "\n    %p", (void *)address);
  if (info.dli_sname)
    return snprintf(text, room, "\n    %s+0x%lx (%s)", info.dli_sname, (unsigned long)(address - (uintptr_t)info.dli_saddr), info.dli_fname);
  return snprintf(text, room, "\n    %s+0x%lx", info.dli_fname, (unsigned long)(address - (uintptr_t)info.dli_fbase));
}

void fh__thread_where(int32_t thread, int most, char *text, size_t room) {
  enum { WORDS = 512 };
  struct place place;
  text[0] = 0;
  if (!read_place(thread, &place, text, room)) return;
  int length = snprintf(text, room, "waiting in system call %ld", place.call);
  length += put_function(place.counter, text + length, room - (size_t)length);
  uintptr_t words[WORDS];
  size_t count = copy_stack(place.stack, words, WORDS);
  for (size_t i = 0; i < count && most > 0 && (size_t)length < room; i++) {
    if (!is_code(words[i]) || !follows_call(words[i])) continue;
    length += put_function(words[i], text + length, room - (size_t)length);
    most--;
  }
}
