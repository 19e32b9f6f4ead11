/* SPDX-License-Identifier: MIT */
/* Coverage builds only: abort and _exit write the counters first, which otherwise only exit does. The linker puts these in
 * place of the real ones (--wrap), so neither the library nor its tests know of it. */
#include <stdlib.h>
#include <unistd.h>

void __gcov_dump(void);
_Noreturn void __real_abort(void);
_Noreturn void __real__exit(int status);
_Noreturn void __wrap_abort(void);
_Noreturn void __wrap__exit(int status);

void __wrap_abort(void) {
  __gcov_dump();
  __real_abort();
}

void __wrap__exit(int status) {
  __gcov_dump();
  __real__exit(status);
}
