#!/bin/bash
# SPDX-License-Identifier: MIT
# Every public header compiles alone, twice in one file, as C17 and as C++17, by every compiler that is there.
#
# Usage: check_headers.sh INCLUDE-FOLDER
set -euo pipefail

include=$1
failures=0

# check COMPILER LANGUAGE STANDARD HEADER
check() {
  printf '#include <freehold/%s>\n#include <freehold/%s>\n' "$4" "$4" |
    "$1" -x "$2" -std="$3" -D_DEFAULT_SOURCE -Wall -Wextra -Wpedantic -Wshadow -Werror -fsyntax-only -I"$include" - ||
    { echo "$4 fails as $3 by $1" >&2; failures=$((failures + 1)); }
}

for header in "$include"/freehold/*.h; do
  for compiler in gcc clang; do
    command -v "$compiler" >/dev/null && check "$compiler" c c17 "${header##*/}"
  done
  for compiler in g++ clang++; do
    command -v "$compiler" >/dev/null && check "$compiler" c++ c++17 "${header##*/}"
  done
done

for compiler in gcc clang g++ clang++; do
  command -v "$compiler" >/dev/null || echo "$compiler is not installed: left out"
done
exit $((failures > 0))
