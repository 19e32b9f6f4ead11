#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Feeds depgraph with input that is broken in every way that we could think of, and looks at its exit status, at what it
# says, and that it never crashes or leaks.
#
# usage: depgraph_input.sh PATH_TO_DEPGRAPH
set -u

if [ $# -ne 1 ] || [ ! -x "$1" ]; then
  echo "usage: $0 PATH_TO_DEPGRAPH" >&2
  exit 2
fi
depgraph=$(realpath "$1")
fixture=$(realpath "$(dirname "$0")")/data/packages.small
timeout=$(command -v timeout) || exit 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 2
passed=0 failed=0

good='Package: good
Version: 1.0
Depends: other (>= 1:2~rc1), this | that:any

Package: other
Version: 2
Provides: this (= 2)
Depends: good
'

say() { # RESULT NAME
  echo "$1: $2"
  if [ "$1" = ok ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

run() { # ARGUMENT...: leaves status, out and err
  "$timeout" 120 "$depgraph" --small --seconds 0.02 --swaps 1 --loaders 2 --readers 2 "$@" >out 2>err
  status=$?
}

# NAME STATUS PATTERN ARGUMENT...: the pattern stands somewhere in standard error; "" wants nothing to be said there.
expect() {
  local name=$1 want=$2 pattern=$3
  shift 3
  run "$@" </dev/null
  judge "$name" "$want" "$pattern"
}

judge() { # NAME STATUS PATTERN
  local why=
  [ "$status" = "$2" ] || why="exit status $status instead of $2"
  if [ -z "$3" ]; then
    [ ! -s err ] || why="$why; it complained"
  else
    grep -qE -- "$3" err || why="$why; no \"$3\" in what it said"
  fi
  if grep -qE 'Sanitizer|leaked' err; then why="$why; a leak or a sanitizer's report"; fi
  if [ "$2" = 0 ] && grep -q ' NO$' out; then why="$why; a check failed"; fi
  if [ -z "$why" ]; then
    say ok "$1"
  else
    say FAILED "$1: ${why#; }"
    head -c 1000 err | sed 's/^/    /'
  fi
}

# A bad stanza between good ones: it is reported with its line and skipped, and the others are loaded.
skips() { # NAME LINE PATTERN STANZA
  printf '%s\n%b\n\n%s' "$good" "$4" "$good" >bad.txt
  expect "$1" 0 "^bad\.txt:$2: $3.*skipped" bad.txt
  if ! grep -q ' 5 stanzas, 1 skipped' out; then say FAILED "$1: the good stanzas around it"; fi
}

# ---- good ----

printf '%s' "$good" >good.txt
expect "two good stanzas" 0 "" good.txt
run - <good.txt
judge "two good stanzas on standard input" 0 ""
expect "the fixture" 0 "" "$fixture"
sed 's/$/\r/' good.txt >crlf.txt
expect "lines that end in CR and LF" 0 "" crlf.txt
{ printf '\n\n \n'; sed 's/^$/ \n\n\t/' good.txt; printf '\n\n\n'; } >blank.txt
expect "many empty lines" 0 "" blank.txt
printf 'Package: a\nVersion: 1\nDepends: b,\n c (= 1),\n d\n' >folded.txt
expect "a relation field over several lines, with a comma at its end" 0 "" folded.txt
printf 'Package: a\nDepends:\nSuggests: a\n' >self.txt
expect "an empty field, no version, a package that mentions itself" 0 "" self.txt

# ---- stanzas that are reported and skipped ----

skips "a line without a colon" 12 'line without a colon: "nonsense"' 'Package: x\nVersion: 1\nnonsense\nDepends: good'
skips "an empty field name" 11 'not a field name' 'Package: x\n: value'
skips "a field name with a blank" 11 'not a field name: "Bad name"' 'Package: x\nBad name: value'
skips "a continuation line at the beginning" 10 'continuation line' ' continued\nPackage: x'
skips "a field given twice" 11 'field given twice: "Package"' 'Package: x\nPackage: y'
skips "no Package field" 10 'no Package field' 'Version: 1\nDepends: good'
skips "an empty package name" 10 'bad package name' 'Package:\nVersion: 1'
skips "a package name with a slash" 10 'bad package name: "a/b"' 'Package: a/b\nVersion: 1'
skips "a package name of 300 bytes" 10 'bad package name' "Package: $(printf 'a%.0s' {1..300})"
skips "an empty version" 11 'bad version' 'Package: x\nVersion: '
skips "a version with a blank" 11 'bad version: "1 2"' 'Package: x\nVersion: 1 2'
skips "a bad name in a relation" 11 'bad name in a relation: "b!"' 'Package: x\nDepends: a, b!, c'
skips "a parenthesis that is not closed" 11 'unbalanced parenthesis: "\(>= 1"' 'Package: x\nDepends: a (>= 1, b'
skips "a parenthesis that is not opened" 11 'unbalanced parenthesis' 'Package: x\nDepends: a) | b'
skips "a parenthesis too many" 11 'unbalanced parenthesis' 'Package: x\nDepends: a (>= 1)), b'
skips "a bracket that is not closed" 11 'unbalanced parenthesis' 'Package: x\nDepends: a [amd64, b'
skips "an operator that does not exist" 11 'bad operator.*"=> 1\)"' 'Package: x\nDepends: a (=> 1)'
skips "no operator" 11 'bad operator' 'Package: x\nDepends: a (1)'
skips "a constraint without a version" 11 'bad version in a version constraint' 'Package: x\nDepends: a (>= )'
skips "a bad version in a constraint" 11 'bad version in a version constraint' 'Package: x\nDepends: a (>= 1_2)'
skips "an empty alternative" 11 'empty alternative' 'Package: x\nDepends: a | , b'
skips "an empty relation" 11 'empty alternative' 'Package: x\nDepends: a, , b'
skips "two names without a comma" 11 'relation that cannot be understood' 'Package: x\nDepends: a b'
skips "a mistake in a continuation line" 13 'empty alternative' 'Package: x\nDepends: a,\n b,\n | c'
skips "a NUL byte" 11 'NUL byte' 'Package: x\nDescription: a\0b'
skips "a NUL byte in a name" 10 'NUL byte' 'Package: x\0y'
skips "bytes that are no ASCII" 10 'bad package name: "\?\?"' 'Package: \xff\xfe'
skips "too many alternatives" 11 'too many alternatives' "Package: x\nDepends: a$(printf '|a%.0s' {1..5000})"

yes 'nonsense' | head -100 | sed 's/$/\n/' >many.txt
printf '%s' "$good" >>many.txt
expect "a hundred of one kind: twenty are shown" 0 '^many\.txt: 80 more: line without a colon' many.txt
shown=$(grep -c '^many.txt:[0-9]' err)
if [ "$shown" = 20 ]; then say ok "exactly twenty are shown"; else say FAILED "$shown are shown instead of 20"; fi

# Enough for several parts: lines are counted across them.
{ cat "$fixture"; printf 'nonsense\n\n'; cat "$fixture"; } >late.txt
expect "line numbers behind the first part" 0 "^late\.txt:$(($(wc -l <"$fixture") + 1)): line without a colon" late.txt

# ---- damaged files ----

head -c 100000 "$fixture" >truncated.txt
expect "a truncated file" 0 '^truncated\.txt:[0-9]+: the input ends in the middle of a line' truncated.txt
{ cat good.txt; printf '\nPackage: long\nDescription: '; head -c 100000000 /dev/zero | tr '\0' x; printf '\n\n'; cat good.txt; } >long.txt
expect "a line of 100 MB" 0 '^long\.txt:11: line of more than 1 MiB' long.txt
head -c 100000000 /dev/zero | tr '\0' x >only_long.txt
expect "nothing but a line of 100 MB" 2 'nothing to load' only_long.txt
rm -f long.txt only_long.txt
head -c 1000000 /dev/zero >zero.txt
expect "nothing but NUL bytes" 2 'nothing to load' zero.txt
head -c 1000000 /dev/urandom >random.txt
expect "random bytes" 2 'nothing to load' random.txt

# ---- nothing to load ----

: >empty.txt
expect "an empty file" 2 '^depgraph: empty\.txt: empty' empty.txt
run - </dev/null
judge "empty standard input" 2 'standard input.*empty'
printf '\n\n\n' >newlines.txt
expect "nothing but empty lines" 2 'nothing to load' newlines.txt
printf 'nonsense\n' >bad_only.txt
expect "nothing but a bad stanza" 2 'nothing to load' bad_only.txt
mkdir directory
expect "a directory" 2 '^depgraph: directory: is a directory' directory
run - <directory
judge "a directory as standard input" 2 'is a directory'
expect "a file that is not there" 2 '^depgraph: missing\.txt: No such file' missing.txt
if [ "$(id -u)" != 0 ]; then
  cp good.txt secret.txt && chmod 0 secret.txt
  expect "a file that may not be read" 2 'Permission denied' secret.txt
fi

# ---- no apt-cache ----

PATH='' run
if [ -r /var/lib/dpkg/status ]; then
  judge "no apt-cache: the packages that are installed" 0 'reading /var/lib/dpkg/status'
else
  judge "no apt-cache and nothing installed" 2 'name a file of stanzas'
fi

# ---- options ----

expect "an option that does not exist" 2 'there is no option --fast' --fast
expect "an option without its number" 2 '--readers wants a number' good.txt --readers
expect "a number out of range" 2 '--loaders wants a number from 1' --loaders 0 good.txt
expect "a number with letters behind it" 2 '--swaps wants a number.*not 3x' --swaps 3x good.txt
expect "half a thread" 2 'wants a whole number' --loaders 1.5 good.txt
expect "numbers behind an equals sign" 0 "" --loaders=1 --readers=2 --seconds=0 good.txt
expect "a design that there is not" 2 '--design wants biased, atomic or gil, not eager' --design eager good.txt
expect "a design left out" 2 '--design wants' good.txt --design
expect "a design behind an equals sign" 0 "" --design=gil good.txt
expect "a tuned collector" 0 "" --gc threshold=2000,percent=50,workers=1,candidates=off good.txt
expect "a setting that there is not" 2 '--gc wants words' --gc speed=9 good.txt
expect "a setting without a number" 2 '--gc wants words' --gc threshold= good.txt
expect "a wrong number behind an equals sign" 2 '--swaps wants a number.*not x' --swaps=x good.txt
expect "two files" 2 'one FILE' good.txt good.txt
expect "the help" 0 "" --help

# ---- out of memory ----

# A sanitizer's shadow does not fit under a limit at all, and some builds need more than others before they start.
starts_within() { (ulimit -c 0 -v "$1" && exec "$depgraph" --help) >/dev/null 2>&1; }
if starts_within 400000 2>/dev/null; then
  for copies in 1 3 6 9 12; do
    for _ in $(seq $((copies * 40))); do cat "$fixture"; done >big.txt
    (ulimit -v $((300000 + copies * 10000)) && exec "$timeout" 120 "$depgraph" --small --seconds 0.02 --swaps 1 big.txt) >out 2>err
    status=$?
    if [ $status = 0 ]; then
      judge "$copies times 6 MB within a limit: enough" 0 ""
    else
      judge "$copies times 6 MB within a limit: too little" 2 'out of memory'
    fi
  done
else
  echo "skipped: out of memory (this build does not start under a limit)"
fi

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
