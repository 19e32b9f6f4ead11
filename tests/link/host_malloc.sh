#!/bin/bash
# SPDX-License-Identifier: MIT
# The host's malloc stays the host's in each form in which an installation can be used; and the check of it can tell.
#
# Usage: host_malloc.sh BUILD-FOLDER C-COMPILER mimalloc|malloc
here=$(cd "$(dirname "$0")" && pwd)
source "$here/outside.sh"
compiler=$2
allocator=$3
sources=$here/../host_malloc
expect=$([[ $allocator == mimalloc ]] && echo 1 || echo 0)

install_build "$1" "$work/prefix"
use_installation "$work/prefix"
pc_flags

# run_all FOLDER: each program of a build.
run_all() {
  must_need "$1/with_shared" libfreehold
  must_not_need "$1/with_static" libfreehold
  must_need "$1/plugin.so" libfreehold
  must_not_need "$1/loading" libfreehold
  echo "-- shared" && "$1/with_shared"
  echo "-- static" && "$1/with_static"
  echo "-- plugin" && "$1/loading" "$1/plugin.so" local
  echo "-- plugin, everybody's" && "$1/loading" "$1/plugin.so" global
}

echo "== find_package"
build_project "$sources" "$work/cmake" "$work/prefix" "$compiler" -DEXPECT_MIMALLOC="$expect"
run_all "$work/cmake"

echo "== pkg-config"
cc=("$compiler" -std=c17 -Wall -Wextra -Werror -D_GNU_SOURCE "-DEXPECT_MIMALLOC=$expect")
linked=("$sources/linked.c" "$sources/check.c" "$sources/user.c")
mkdir "$work/pc"
quietly "${cc[@]}" "${linked[@]}" -o "$work/pc/with_shared" "${pc_shared[@]}"
quietly "${cc[@]}" "${linked[@]}" -o "$work/pc/with_static" "${pc_static[@]}"
quietly "${cc[@]}" "$sources/loading.c" "$sources/check.c" -o "$work/pc/loading"
quietly "${cc[@]}" -shared -fPIC "$sources/check.c" "$sources/user.c" -o "$work/pc/plugin.so" "${pc_shared[@]}"
run_all "$work/pc"

if [[ $allocator == mimalloc ]]; then
  echo "== a program that names mimalloc before the C library must be found out"
  quietly "${cc[@]}" "${linked[@]}" -o "$work/pc/taken_over" -lmimalloc "${pc_shared[@]}"
  if "$work/pc/taken_over" 2>"$work/said"; then
    echo "it was not" >&2
    exit 1
  fi
  grep -q "malloc is in .*libmimalloc" "$work/said"
  grep -q "malloc returned a block of mimalloc's" "$work/said"
  cat "$work/said"
fi
