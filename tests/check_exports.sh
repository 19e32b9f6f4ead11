#!/bin/bash
# SPDX-License-Identifier: MIT
# The shared library exports exactly what the public headers declare, has its SONAME, and can never be unloaded.
#
# Usage: check_exports.sh LIBRARY INCLUDE-FOLDER
set -euo pipefail

library=$1
include=$2

exported=$(nm -D --defined-only "$library" | awk '{ print $3 }' | sort)
declared=$(sed -nE '/^ *FH_API/ s/.*\b(fh_[a-z0-9_]*)(\(.*| FH__TLS_MODEL;|;)$/\1/p' "$include"/freehold/*.h | sort)

if ! difference=$(diff <(echo "$declared") <(echo "$exported")); then
  echo "declared with FH_API (<) and exported (>) differ:" >&2
  echo "$difference" >&2
  exit 1
fi
echo "$(wc -l <<<"$exported") symbols are declared and exported"

dynamic=$(readelf -dW "$library")
for expected in 'soname: \[libfreehold\.so\.[0-9]+\]' '\bNODELETE\b' '\b(BIND_NOW|NOW)\b'; do
  grep -qE "$expected" <<<"$dynamic" || { echo "not in the dynamic section: $expected" >&2; exit 1; }
done
