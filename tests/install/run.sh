#!/bin/bash
# SPDX-License-Identifier: MIT
# Installs a build into a fresh place, moves it, and builds a program outside against it: by CMake's find_package and by
# pkg-config, with the shared and with the static library.
#
# Usage: run.sh BUILD-FOLDER C-COMPILER
set -euo pipefail

build=$1
compiler=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "== install"
cmake --install "$build" --prefix "$work/first" >"$work/log" || { cat "$work/log"; exit 1; }
mv "$work/first" "$work/prefix"
library=$(dirname "$(find "$work/prefix" -name libfreehold.so)")
export PKG_CONFIG_PATH=$library/pkgconfig

echo "== find_package"
cmake -G Ninja -S "$here" -B "$work/cmake" -DCMAKE_C_COMPILER="$compiler" -DCMAKE_PREFIX_PATH="$work/prefix" >"$work/log" ||
  { cat "$work/log"; exit 1; }
cmake --build "$work/cmake" >"$work/log" || { cat "$work/log"; exit 1; }
"$work/cmake/with_shared"
"$work/cmake/with_static"

echo "== pkg-config"
read -ra flags < <(pkg-config --cflags --libs freehold)
"$compiler" -Wall -Werror "$here/main.c" -o "$work/with_shared" "${flags[@]}" -Wl,-rpath,"$library"
"$work/with_shared"

# Both libraries lie in one folder, where -lfreehold means the shared one: the static one is named by its file.
read -ra flags < <(pkg-config --static --cflags --libs freehold)
"$compiler" -Wall -Werror "$here/main.c" -o "$work/with_static" "${flags[@]/#-lfreehold/-l:libfreehold.a}"
"$work/with_static"
if ldd "$work/with_static" | grep -q libfreehold; then
  echo "the static program needs the shared library" >&2
  exit 1
fi
