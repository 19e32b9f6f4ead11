# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# shellcheck disable=SC2034  # who reads this file uses the variables
# What the scripts of this folder share; each reads it first.
set -euo pipefail

# A file that is named as an argument is meant from where the script was called; the script itself works at the root.
called_from=$PWD
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
jobs=$(nproc)

say() { printf '%s\n' "$*"; }

fail() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# Runs a command with its output in a file; shows the end of it if the command fails.
# logged LOG COMMAND...
logged() {
  local log=$1 status=0
  shift
  mkdir -p "$(dirname "$log")"
  "$@" >>"$log" 2>&1 || status=$?
  if ((status != 0)); then
    tail -n 60 "$log" >&2
    say "failed ($status): $*; all of the output is in ${log#"$root"/}" >&2
  fi
  return "$status"
}

# Configures and builds a preset without a word, or with the reason why that failed.
# build PRESET [CMAKE-OPTION...] [-- TARGET...]
build() {
  local preset=$1 options=() log=$root/build/$1.log
  shift
  while (($# > 0)) && [[ $1 != -- ]]; do
    options+=("$1")
    shift
  done
  (($# == 0)) || shift
  mkdir -p build
  : >"$log"
  logged "$log" cmake --preset "$preset" "${options[@]}" || return
  logged "$log" cmake --build --preset "$preset" -j "$jobs" ${1:+--target "$@"}
}

# The sanitizers of gcc 12 and clang 14 know fixed places of the address space, which newer kernels may give to others:
# their programs run without address randomisation there. Sets `prefix`.
# choose_prefix PRESET
choose_prefix() {
  prefix=()
  [[ $1 == tsan* || $1 == asan ]] || return 0
  (($(cat /proc/sys/vm/mmap_rnd_bits 2>/dev/null || echo 0) > 28)) || return 0
  if setarch -R true 2>/dev/null; then
    prefix=(setarch -R)
  else
    say "note: if programs fail with \"unexpected memory mapping\": sysctl vm.mmap_rnd_bits=28"
  fi
}
