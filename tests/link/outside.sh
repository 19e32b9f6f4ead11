# SPDX-License-Identifier: MIT
# For scripts that build projects outside of the tree against an installation. Sourced by them; it makes $work, a folder that is
# gone when the script ends.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Runs a command, and shows what it said only if it failed.
quietly() {
  "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; echo "failed: $*" >&2; return 1; }
}

# install_build BUILD PREFIX: installs elsewhere first and moves it, because an installation may be moved.
install_build() {
  quietly cmake --install "$1" --prefix "$work/unmoved"
  mkdir -p "$(dirname "$2")"
  mv "$work/unmoved" "$2"
}

# From here on pkg-config and `library` mean this installation.
use_installation() {
  library=$(dirname "$(find "$1" -name libfreehold.so)")
  export PKG_CONFIG_PATH=$library/pkgconfig
}

# build_project SOURCE TARGET PREFIX COMPILER [OPTION...]: by CMake, which finds the installation in PREFIX.
build_project() {
  quietly cmake -G Ninja -S "$1" -B "$2" -DCMAKE_PREFIX_PATH="$3" -DCMAKE_C_COMPILER="$4" "${@:5}"
  quietly cmake --build "$2"
}

# Arrays of arguments, as pkg-config prints them. Both libraries lie in one folder, where -lfreehold means the shared one: the
# static one is named by its file.
pc_flags() {
  read -ra pc_shared < <(pkg-config --cflags --libs freehold)
  pc_shared+=("-Wl,-rpath,$library")
  read -ra pc_static < <(pkg-config --static --cflags --libs freehold)
  pc_static=("${pc_static[@]/#-lfreehold/-l:libfreehold.a}")
}

# needs FILE LIBRARY. All is read before it is searched: a reader that leaves early would make the pipe fail.
needs() {
  local dynamic
  dynamic=$(readelf -dW "$1")
  grep -q "NEEDED.*$2" <<<"$dynamic"
}
must_need() { needs "$1" "$2" || { echo "$1 does not need $2" >&2; return 1; }; }
must_not_need() { ! needs "$1" "$2" || { echo "$1 needs $2" >&2; return 1; }; }
