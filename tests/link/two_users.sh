#!/bin/bash
# SPDX-License-Identifier: MIT
# Two libraries in one process that both use Freehold.
#
# Usage: two_users.sh BUILD-FOLDER C-COMPILER
here=$(cd "$(dirname "$0")" && pwd)
source "$here/outside.sh"
compiler=$2

install_build "$1" "$work/prefix"
use_installation "$work/prefix"
pc_flags

# run_both FOLDER
run_both() {
  must_need "$1/libmaker.so" libfreehold
  must_need "$1/libkeeper.so" libfreehold
  must_not_need "$1/both" libfreehold
  "$1/both"
}

echo "== find_package"
build_project "$here/two_users" "$work/cmake" "$work/prefix" "$compiler"
run_both "$work/cmake"

echo "== pkg-config"
mkdir "$work/pc"
cc=("$compiler" -std=c17 -Wall -Wextra -Werror)
for name in maker keeper; do
  quietly "${cc[@]}" -shared -fPIC "$here/two_users/$name.c" -o "$work/pc/lib$name.so" "${pc_shared[@]}"
done
quietly "${cc[@]}" "$here/two_users/main.c" -pthread -o "$work/pc/both" -L "$work/pc" -lmaker -lkeeper "-Wl,-rpath,$work/pc"
run_both "$work/pc"
