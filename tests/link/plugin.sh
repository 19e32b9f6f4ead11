#!/bin/bash
# SPDX-License-Identifier: MIT
# A host that does not know Freehold opens and closes a plugin that uses it.
#
# Usage: plugin.sh BUILD-FOLDER C-COMPILER
here=$(cd "$(dirname "$0")" && pwd)
source "$here/outside.sh"
compiler=$2

install_build "$1" "$work/prefix"
use_installation "$work/prefix"
pc_flags

# run_host FOLDER
run_host() {
  must_need "$1/plugin.so" libfreehold
  must_not_need "$1/host" libfreehold
  "$1/host" "$1/plugin.so"
}

echo "== find_package"
build_project "$here/plugin" "$work/cmake" "$work/prefix" "$compiler"
run_host "$work/cmake"

echo "== pkg-config"
mkdir "$work/pc"
quietly "$compiler" -std=c17 -Wall -Wextra -Werror "$here/plugin/host.c" -pthread -o "$work/pc/host"
quietly "$compiler" -std=c17 -Wall -Wextra -Werror -shared -fPIC "$here/plugin/plugin.c" -o "$work/pc/plugin.so" "${pc_shared[@]}"
run_host "$work/pc"
