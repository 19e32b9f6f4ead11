# SPDX-License-Identifier: MIT
# Compiler flags and definitions. Every choice that depends on an option of the build is made here.
#
# Sets: FREEHOLD_DEFINITIONS         definitions of the library and of the tests of its inside
#       FREEHOLD_PUBLIC_DEFINITIONS  definitions of the library and of everybody who uses it
#       FREEHOLD_LIBRARY_OPTIONS     compile options of the library alone
#       FREEHOLD_WARNINGS            warnings of our own code; freehold_warnings is a target that gives them to who links it

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

set(FREEHOLD_DEFINITIONS _GNU_SOURCE)
if(FREEHOLD_ALLOCATOR STREQUAL "malloc")
  list(APPEND FREEHOLD_DEFINITIONS FH_ALLOCATOR_MALLOC=1)
endif()
if(FREEHOLD_BUILD MATCHES "^(checked|torture)$")
  list(APPEND FREEHOLD_DEFINITIONS FH_BUILD_CHECKED=1)
endif()
if(FREEHOLD_BUILD STREQUAL "torture")
  list(APPEND FREEHOLD_DEFINITIONS FH_BUILD_TORTURE=1)
endif()

# The inline paths of the public headers reach the same words as the library does. fh_init compares what both were told.
set(FREEHOLD_PUBLIC_DEFINITIONS "")
if(FREEHOLD_TLS STREQUAL "dynamic")
  list(APPEND FREEHOLD_PUBLIC_DEFINITIONS FH_TLS_DYNAMIC=1)
endif()

# A build type of CMake's, if one is given, decides about optimisation itself.
if(NOT CMAKE_BUILD_TYPE)
  if(FREEHOLD_COVERAGE)
    add_compile_options(-O1 -g)
  else()
    add_compile_options(-O2 -g)
  endif()
endif()

# Cells of objects are read and written as void pointers whatever their type, hence no type-based aliasing. no-plt: the
# allocator is called through the address table, without a stub in between.
set(FREEHOLD_LIBRARY_OPTIONS -fno-semantic-interposition -fno-strict-aliasing -fno-plt)
# initial-exec: one access instead of a call; the little thread-local storage that the library has fits into the surplus
# that the C library keeps for libraries loaded at run time, unless others have used that up.
if(FREEHOLD_TLS STREQUAL "initial-exec")
  list(APPEND FREEHOLD_LIBRARY_OPTIONS -ftls-model=initial-exec)
endif()
if(FREEHOLD_BUILD STREQUAL "release")
  list(APPEND FREEHOLD_LIBRARY_OPTIONS -fno-stack-protector)
else()
  list(APPEND FREEHOLD_LIBRARY_OPTIONS -fstack-protector-strong)
endif()
if(NOT FREEHOLD_BUILD STREQUAL "release" OR NOT FREEHOLD_SANITIZE STREQUAL "none")
  add_compile_options(-fno-omit-frame-pointer)
endif()

# The sanitizers must be in every program and library of the build, hence not per target.
if(FREEHOLD_SANITIZE STREQUAL "thread")
  add_compile_options(-fsanitize=thread)
  add_link_options(-fsanitize=thread)
elseif(FREEHOLD_SANITIZE STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all)
  add_link_options(-fsanitize=address,undefined)
endif()

if(FREEHOLD_COVERAGE)
  # Several threads count the same lines. A process that aborts, or leaves by _exit, writes its counts before it goes:
  # traps are tested in such processes.
  add_compile_options(--coverage -fprofile-update=atomic)
  add_link_options(--coverage LINKER:--wrap=abort LINKER:--wrap=_exit)
  add_library(freehold_coverage OBJECT cmake/coverage_exit.c)
  set_target_properties(freehold_coverage PROPERTIES POSITION_INDEPENDENT_CODE ON)
  link_libraries(freehold_coverage)
endif()

set(FREEHOLD_WARNINGS
    -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wvla -Wpointer-arith
    -Wwrite-strings -Wundef -Wformat=2)
if(FREEHOLD_WERROR)
  list(APPEND FREEHOLD_WARNINGS -Werror)
endif()
add_library(freehold_warnings INTERFACE)
target_compile_options(freehold_warnings INTERFACE ${FREEHOLD_WARNINGS})
