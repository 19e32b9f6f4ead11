/* SPDX-License-Identifier: MIT */
/* Lets the n-th allocation of libfreehold.so fail, for every n. Preloaded into a program, it stands in front of the allocators
 * and of mmap, and counts the calls whose return address lies in the library; the program's own allocations and those of
 * the C library always succeed.
 *
 * With FAIL_NTH_REPORT it is a server: before main it forks, once for each n, and each child goes on into the program with
 * its own allocation marked. So the program is loaded once, and a run costs what its work costs. With FAIL_NTH it forks nothing
 * and marks the one allocation, for a debugger.
 *
 *   FAIL_NTH_REPORT=FILE  run for all n, and write down what came of it
 *   FAIL_NTH_BURST=K      the K allocations from the n-th on fail (default 1)
 *   FAIL_NTH_FIRST=N, FAIL_NTH_LAST=N, FAIL_NTH_STRIDE=K
 *                         only n = FIRST, FIRST + K ... LAST (default: 1, the last that there is, 1)
 *   FAIL_NTH_CLEAN=S      a program that fails for want of memory says so and ends with status S (default 1)
 *   FAIL_NTH_SECONDS=S    a run that takes longer hangs (default 60)
 *   FAIL_NTH=N            this n alone
 *
 * It also balances the library's books: every block that the library took and nobody gave back is left over at the end of
 * the program, and left over means leaked. The report has a line for each of these:
 *
 *   runs R failures F     R runs ended, in F of them the marked allocation was reached
 *   site ADDRESS HITS     the call that returns to ADDRESS, an offset in the library, failed so often
 *   bad N WORDS           something is wrong with the run for N (0: nothing was to fail in it); what it wrote to standard
 *                         error follows, each line behind "| " */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define CALLER ((uintptr_t)__builtin_return_address(0))

/* The C library's own names of its allocator: asking for them by dlsym would allocate. */
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t count, size_t n);
extern void *__libc_realloc(void *block, size_t n);
extern void *__libc_memalign(size_t alignment, size_t n);
extern void __libc_free(void *block);

/* ---- what a run leaves behind, shared with the server ---- */

enum { SITES = 256, LEFT_SHOWN = 8 };

struct site {
  uintptr_t address; /* offset in the library */
  uint64_t hits;
};

struct outcome {
  uint64_t calls;
  uint64_t failures;
  uint64_t left; /* blocks that the library took and nobody gave back */
  uintptr_t left_by[LEFT_SHOWN];
  bool ended; /* it came to the end of the program */
  struct site failed[SITES];
};

static struct outcome alone;
static struct outcome *outcome = &alone;

static uintptr_t library_begin, library_end;
static uint64_t first_failure; /* 0: none */
static uint64_t burst = 1;

static bool is_library(uintptr_t address) { return address - library_begin < library_end - library_begin; }

static void add_hits(struct site *sites, uintptr_t address, uint64_t hits) {
  for (struct site *site = sites; site < sites + SITES; site++) {
    uintptr_t none = 0;
    if (__atomic_load_n(&site->address, __ATOMIC_RELAXED) == address ||
        __atomic_compare_exchange_n(&site->address, &none, address, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED) ||
        none == address) {
      __atomic_fetch_add(&site->hits, hits, __ATOMIC_RELAXED);
      return;
    }
  }
  abort(); /* more sites than there is room for: the tables must grow */
}

/* Counts a call; true if it has to fail. */
static bool must_fail(uintptr_t caller) {
  if (!is_library(caller)) return false;
  uint64_t call = __atomic_add_fetch(&outcome->calls, 1, __ATOMIC_RELAXED);
  if (!first_failure || call < first_failure || call - first_failure >= burst) return false;
  __atomic_fetch_add(&outcome->failures, 1, __ATOMIC_RELAXED);
  add_hits(outcome->failed, caller - library_begin, 1);
  errno = ENOMEM;
  return true;
}

/* For programs: false if none of the next few allocations fails, and a close look at the state before them is wasted. */
EXPORT bool fail_nth_is_near(void);
bool fail_nth_is_near(void) {
  enum { FEW = 16 };
  uint64_t calls = __atomic_load_n(&outcome->calls, __ATOMIC_RELAXED);
  return first_failure && calls + FEW >= first_failure && calls < first_failure + burst;
}

/* ---- the books: which blocks the library has, and which call took each ---- */

enum { BOOK_BITS = 15, BOOK_PLACES = 1 << BOOK_BITS };

struct entry {
  uintptr_t block;
  uintptr_t caller;
};

static struct entry book[BOOK_PLACES]; /* open addressing; a block that goes lets those behind it move up */
static uint64_t entries;
static bool book_lock;

static void lock_book(void) {
  while (__atomic_test_and_set(&book_lock, __ATOMIC_ACQUIRE)) sched_yield();
}
static void unlock_book(void) { __atomic_clear(&book_lock, __ATOMIC_RELEASE); }

static uint32_t home_of(uintptr_t block) { return (uint32_t)((block >> 4) * 0x9e3779b97f4a7c15u >> (64 - BOOK_BITS)); }
static uint32_t next_place(uint32_t at) { return (at + 1) % BOOK_PLACES; }

static void enter(void *block, uintptr_t caller) {
  if (!block || !is_library(caller)) return;
  lock_book();
  if (++entries == BOOK_PLACES) abort(); /* the book must grow */
  uint32_t at = home_of((uintptr_t)block);
  while (book[at].block) at = next_place(at);
  book[at] = (struct entry){(uintptr_t)block, caller - library_begin};
  unlock_book();
}

/* Closes the gap: every entry must be found from its home without a hole on the way. */
static void close_gap(uint32_t gap) {
  for (uint32_t at = next_place(gap); book[at].block; at = next_place(at)) {
    uint32_t home = home_of(book[at].block);
    bool stays = gap < at ? home > gap && home <= at : home > gap || home <= at;
    if (stays) continue;
    book[gap] = book[at];
    gap = at;
  }
  book[gap] = (struct entry){0, 0};
}

/* True if the block was the library's. */
static bool strike(const void *block, uintptr_t *caller_out) {
  if (!block) return false;
  lock_book();
  uint32_t at = home_of((uintptr_t)block);
  while (book[at].block && book[at].block != (uintptr_t)block) at = next_place(at);
  bool found = book[at].block != 0;
  if (found) {
    if (caller_out) *caller_out = book[at].caller + library_begin;
    close_gap(at);
    entries--;
  }
  unlock_book();
  return found;
}

static void close_books(void) {
  outcome->left = entries;
  size_t shown = 0;
  for (size_t i = 0; i < BOOK_PLACES && shown < LEFT_SHOWN; i++)
    if (book[i].block) outcome->left_by[shown++] = book[i].caller;
  outcome->ended = true;
}

/* ---- the allocators ---- */

static void *entered(void *block, uintptr_t caller) {
  enter(block, caller);
  return block;
}

EXPORT void *malloc(size_t n) { return must_fail(CALLER) ? NULL : entered(__libc_malloc(n), CALLER); }
EXPORT void *calloc(size_t count, size_t n) {
  return must_fail(CALLER) ? NULL : entered(__libc_calloc(count, n), CALLER);
}
EXPORT void *aligned_alloc(size_t alignment, size_t n) {
  return must_fail(CALLER) ? NULL : entered(__libc_memalign(alignment, n), CALLER);
}

EXPORT void free(void *block) {
  int saved = errno;
  strike(block, NULL);
  __libc_free(block);
  errno = saved;
}

/* The old block leaves the book before it goes, because another thread may be given its address at once. */
static void *reallocate(void *(*resize)(void *, size_t), void *block, size_t n, uintptr_t caller) {
  if (must_fail(caller)) return NULL;
  uintptr_t taker = 0;
  bool was_ours = strike(block, &taker);
  void *moved = resize(block, n);
  if (moved)
    enter(moved, caller);
  else if (was_ours && n)
    enter(block, taker);
  return moved;
}

EXPORT void *realloc(void *block, size_t n) { return reallocate(__libc_realloc, block, n, CALLER); }

/* mimalloc's, where there is one. Found on first use: the library that calls them is linked with it. */
static void *find(void **place, const char *name) {
  void *function = __atomic_load_n(place, __ATOMIC_RELAXED);
  if (!function) {
    function = dlsym(RTLD_NEXT, name);
    if (!function) abort();
    __atomic_store_n(place, function, __ATOMIC_RELAXED);
  }
  return function;
}

#define MIMALLOC_TAKES(name)                                            \
  EXPORT void *name(size_t n);                                          \
  void *name(size_t n) {                                                \
    static void *real;                                                  \
    if (must_fail(CALLER)) return NULL;                                 \
    return entered(((void *(*)(size_t))find(&real, #name))(n), CALLER); \
  }
MIMALLOC_TAKES(mi_malloc)
MIMALLOC_TAKES(mi_zalloc)
MIMALLOC_TAKES(mi_malloc_small)

EXPORT void *mi_realloc(void *block, size_t n);
void *mi_realloc(void *block, size_t n) {
  static void *real;
  return reallocate((void *(*)(void *, size_t))find(&real, "mi_realloc"), block, n, CALLER);
}

EXPORT void mi_free(void *block);
void mi_free(void *block) {
  static void *real;
  strike(block, NULL);
  ((void (*)(void *))find(&real, "mi_free"))(block);
}

EXPORT void *mmap(void *address, size_t n, int protection, int flags, int file, off_t offset) {
  if (must_fail(CALLER)) return MAP_FAILED;
  void *memory = (void *)syscall(SYS_mmap, address, n, protection, flags, file, offset);
  return memory == MAP_FAILED ? memory : entered(memory, CALLER);
}

EXPORT int munmap(void *address, size_t n) {
  strike(address, NULL);
  return (int)syscall(SYS_munmap, address, n);
}

/* ---- the server ---- */

static struct outcome total; /* of all runs: failures, and what failed */
static uint64_t runs;
static int report;
static int nowhere;
static int words; /* what a run writes to standard error */

static uint64_t number_from(const char *variable, uint64_t otherwise) {
  const char *text = getenv(variable);
  return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

__attribute__((format(printf, 1, 2))) static void write_report(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vdprintf(report, format, arguments);
  va_end(arguments);
}

/* Copies what the run said, each line behind a mark. */
static void write_words(void) {
  static char text[16384];
  ssize_t n = pread(words, text, sizeof text - 1, 0);
  text[n < 0 ? 0 : n] = '\0';
  for (char *next = text, *line; (line = strsep(&next, "\n"));)
    if (*line) write_report("| %s\n", line);
}

static void describe_status(int status, char *text, size_t room) {
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
    snprintf(text, room, "hang");
  else if (WIFSIGNALED(status))
    snprintf(text, room, "crash by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
  else
    snprintf(text, room, "exit status %d", WEXITSTATUS(status));
}

static void write_bad(uint64_t n, int status) {
  char text[128];
  describe_status(status, text, sizeof text);
  write_report("bad %llu %s, %llu left", (unsigned long long)n, text, (unsigned long long)outcome->left);
  for (uint64_t i = 0; i < outcome->left && i < LEFT_SHOWN; i++)
    write_report(" taken-by:%lx", (unsigned long)outcome->left_by[i]);
  for (int i = 0; i < SITES && outcome->failed[i].address; i++)
    write_report(" failed:%lx", (unsigned long)outcome->failed[i].address);
  write_report("\n");
  write_words();
}

/* A program that found no memory may fail, if it says so. */
static bool is_fine(int status) {
  if (!WIFEXITED(status) || !outcome->ended || outcome->left) return false;
  if (WEXITSTATUS(status) == 0) return true;
  return outcome->failures && WEXITSTATUS(status) == (int)number_from("FAIL_NTH_CLEAN", 1) &&
         lseek(words, 0, SEEK_END) > 0;
}

static void be_the_run(uint64_t n) {
  first_failure = n;
  if (dup2(nowhere, STDOUT_FILENO) < 0 || dup2(words, STDERR_FILENO) < 0) _exit(127);
  alarm((unsigned)number_from("FAIL_NTH_SECONDS", 60));
}

/* True in the child, which goes on into the program. False in the server, when the run is over. */
static bool run(uint64_t n) {
  memset(outcome, 0, sizeof *outcome);
  if (ftruncate(words, 0) || lseek(words, 0, SEEK_SET)) abort();
  pid_t child = fork();
  if (child < 0) abort();
  if (child == 0) {
    be_the_run(n);
    return true;
  }
  int status;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) abort();
  runs++;
  total.failures += outcome->failures;
  for (int i = 0; i < SITES && outcome->failed[i].address; i++)
    add_hits(total.failed, outcome->failed[i].address, outcome->failed[i].hits);
  if (!is_fine(status)) write_bad(n, status);
  return false;
}

static bool open_files(const char *path) {
  report = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
  nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  words = memfd_create("words", MFD_CLOEXEC);
  return report >= 0 && nowhere >= 0 && words >= 0;
}

static bool share_outcome(void) {
  void *memory = mmap(NULL, sizeof *outcome, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  outcome = memory;
  return true;
}

/* Returns in the children only. A run in which nothing was left to fail is the last. */
static void serve(const char *path) {
  if (!open_files(path) || !share_outcome()) abort();
  uint64_t first = number_from("FAIL_NTH_FIRST", 1), last = number_from("FAIL_NTH_LAST", UINT64_MAX);
  uint64_t stride = number_from("FAIL_NTH_STRIDE", 1);
  if (run(0)) return;
  outcome->failures = 1;
  for (uint64_t n = first; n <= last && outcome->failures; n += stride)
    if (run(n)) return;
  write_report("runs %llu failures %llu\n", (unsigned long long)runs, (unsigned long long)total.failures);
  for (int i = 0; i < SITES && total.failed[i].address; i++)
    write_report("site %lx %llu\n", (unsigned long)total.failed[i].address, (unsigned long long)total.failed[i].hits);
  _exit(0);
}

static int find_library(struct dl_phdr_info *info, size_t size, void *unused) {
  (void)size;
  (void)unused;
  if (!info->dlpi_name || !strstr(info->dlpi_name, "/libfreehold.so")) return 0;
  library_begin = info->dlpi_addr;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *part = &info->dlpi_phdr[i];
    uintptr_t end = info->dlpi_addr + part->p_vaddr + part->p_memsz;
    if (part->p_type == PT_LOAD && end > library_end) library_end = end;
  }
  return 1;
}

__attribute__((constructor)) static void begin(void) {
  dl_iterate_phdr(find_library, NULL);
  burst = number_from("FAIL_NTH_BURST", 1);
  first_failure = number_from("FAIL_NTH", 0);
  const char *path = getenv("FAIL_NTH_REPORT");
  if (path && library_end) serve(path);
}

__attribute__((destructor)) static void end(void) {
  close_books();
  if (outcome != &alone || !getenv("FAIL_NTH")) return;
  fprintf(stderr, "fail_nth: %llu allocations by the library, %llu failed, %llu left\n",
          (unsigned long long)outcome->calls, (unsigned long long)outcome->failures, (unsigned long long)outcome->left);
}
