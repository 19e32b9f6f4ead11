#!/bin/bash
# SPDX-License-Identifier: MIT
# A library built with dynamic thread-local storage works where that of initial-exec is refused: as part of a plugin, in a process
# that has no static thread-local storage left. And fh_init finds out a program that was told the other thing than its library.
#
# Usage: tls.sh BUILD-FOLDER C-COMPILER SOURCE-FOLDER initial-exec|dynamic mimalloc|malloc
#
# The fourth argument says what the build in BUILD-FOLDER has. The other library is built here.
here=$(cd "$(dirname "$0")" && pwd)
source "$here/outside.sh"
compiler=$2
source=$3
this=$4
allocator=$5
other=$([[ $this == dynamic ]] && echo initial-exec || echo dynamic)
cc=("$compiler" -std=c17 -Wall -Wextra -Werror)

# ---- both libraries, installed, and what uses them ----

# use_build BUILD MODEL: installs it, and builds a plugin and programs; two of them are told what is true of the other library.
use_build() {
  local to=$work/$2 mistake=-DFH_TLS_DYNAMIC
  [[ $2 == initial-exec ]] || mistake=-UFH_TLS_DYNAMIC
  install_build "$1" "$to/prefix"
  use_installation "$to/prefix"
  pc_flags
  build_project "$here/tls" "$to/cmake" "$to/prefix" "$compiler"
  mkdir "$to/pc"
  quietly "${cc[@]}" -shared -fPIC "$here/plugin/plugin.c" -o "$to/pc/plugin.so" "${pc_shared[@]}"
  quietly "${cc[@]}" "$here/tls/init.c" -o "$to/pc/init_shared" "${pc_shared[@]}"
  quietly "${cc[@]}" "$here/tls/init.c" -o "$to/pc/init_static" "${pc_static[@]}"
  quietly "${cc[@]}" "$here/tls/init.c" -o "$to/mistaken_shared" "${pc_shared[@]}" "$mistake"
  quietly "${cc[@]}" "$here/tls/init.c" -o "$to/mistaken_static" "${pc_static[@]}" "$mistake"
}

quietly cmake -G Ninja -S "$source" -B "$work/build" -DCMAKE_C_COMPILER="$compiler" -DFREEHOLD_TLS="$other" \
  -DFREEHOLD_ALLOCATOR="$allocator" -DFREEHOLD_TESTS=OFF -DFREEHOLD_EXAMPLES=OFF -DFREEHOLD_BENCH=OFF
quietly cmake --build "$work/build" -j 2
use_build "$1" "$this"
use_build "$work/build" "$other"

must_say() {
  local said
  said=$("$2")
  [[ $said == "$1" ]] || { echo "$2 says $said, not $1" >&2; return 1; }
}

echo "== fh_init"
for model in dynamic initial-exec; do
  for form in shared static; do
    must_say FH_OK "$work/$model/cmake/init_$form"
    must_say FH_OK "$work/$model/pc/init_$form"
    must_say FH_EVERSION "$work/$model/mistaken_$form"
  done
done

# ---- a process without static thread-local storage ----

quietly "${cc[@]}" "$here/tls/host.c" -pthread -o "$work/host"
eaters=()
for bytes in 16384 8192 4096 2048 1024 512 256 128 64 32 16 8; do
  eaters+=("$work/eater_$bytes.so")
  quietly "${cc[@]}" -shared -fPIC "-DEATER_BYTES=$bytes" "$here/tls/eater.c" -o "${eaters[-1]}"
done
eaters+=("$work/eater_more.so")
cp "$work/eater_8.so" "$work/eater_more.so"

# mimalloc has a few bytes of initial-exec storage itself, so it has to be there before.
first=
[[ $allocator == malloc ]] || first=$(ldd "$library/libfreehold.so" | awk '/libmimalloc/ { print $3 }')

for by in cmake pc; do
  echo "== initial-exec, $by: must be refused"
  code=0
  "$work/host" "$work/initial-exec/$by/plugin.so" "$first" "${eaters[@]}" 2>"$work/said" || code=$?
  cat "$work/said"
  [[ $code == 2 ]]
  grep -q "static TLS" "$work/said"
  echo "== dynamic, $by"
  "$work/host" "$work/dynamic/$by/plugin.so" "$first" "${eaters[@]}"
done
