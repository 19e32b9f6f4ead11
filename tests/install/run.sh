#!/bin/bash
# SPDX-License-Identifier: MIT
# Installs a build, and builds a C and a C++ program outside of the tree against it: by CMake's find_package and by pkg-config, with
# the shared and with the static library.
#
# Usage: run.sh BUILD-FOLDER C-COMPILER
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../link/outside.sh"
build=$1
compiler=$2

echo "== install"
install_build "$build" "$work/prefix"
use_installation "$work/prefix"
pc_flags
if readelf -SW "$library/libfreehold.a" | grep -E '\.(preinit_array|init_array|fini_array|ctors|dtors)\b'; then
  echo "something of the library would run when it is loaded or unloaded" >&2
  exit 1
fi

cxx_compilers=()
for name in g++ clang++; do
  if path=$(command -v "$name"); then cxx_compilers+=("$path"); else echo "$name is not installed: left out"; fi
done

# run_both FOLDER: the programs with the shared and with the static library.
run_both() {
  must_need "$1/with_shared" libfreehold
  must_not_need "$1/with_static" libfreehold
  "$1/with_shared"
  "$1/with_static"
}

echo "== find_package, C"
build_project "$here" "$work/c" "$work/prefix" "$compiler"
run_both "$work/c"

for cxx in ${cxx_compilers[@]+"${cxx_compilers[@]}"}; do
  echo "== find_package, C++ by ${cxx##*/}"
  build_project "$here" "$work/cmake-${cxx##*/}" "$work/prefix" "$compiler" -DOUTSIDE_LANGUAGE=CXX -DCMAKE_CXX_COMPILER="$cxx"
  run_both "$work/cmake-${cxx##*/}"
done

# by_pkg_config COMPILER OPTION... SOURCE
by_pkg_config() {
  local to="$work/pc-${1##*/}"
  mkdir -p "$to"
  quietly "$@" -Wall -Wextra -Werror -o "$to/with_shared" "${pc_shared[@]}"
  quietly "$@" -Wall -Wextra -Werror -o "$to/with_static" "${pc_static[@]}"
  run_both "$to"
}

echo "== pkg-config, C"
by_pkg_config "$compiler" -std=c17 "$here/main.c"
echo "== pkg-config, C, not position-independent"
by_pkg_config "$compiler" -no-pie -fno-pie -std=c17 "$here/main.c"
# mimalloc is packaged as a shared library alone.
if ! [[ ${pc_static[*]} =~ mimalloc ]]; then
  echo "== pkg-config, C, no shared library at all"
  quietly "$compiler" -std=c17 -Wall -Wextra -Werror -static "$here/main.c" -o "$work/all_static" "${pc_static[@]}"
  "$work/all_static"
fi

for cxx in ${cxx_compilers[@]+"${cxx_compilers[@]}"}; do
  echo "== pkg-config, C++ by ${cxx##*/}"
  by_pkg_config "$cxx" -std=c++17 "$here/main.cpp"
done
