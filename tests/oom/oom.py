#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Lets every allocation of the library fail once, in every program here, and says what came of it.

Usage: oom.py [--quick] [--jobs N] BUILD...
       oom.py --self-test BUILD

BUILD is a build folder. fail_nth.c, preloaded, runs a program once for each n and lets its n-th allocation by the library fail;
user.h has the two users as whom each program runs. With --quick the one who tries again meets one failure, and the one who
gives up two in a row; without it each meets 1, 2, 4 and 25, the other designs have their turn, and examples/depgraph runs
for longer.

The sites are the calls of an allocator in the machine code of libfreehold.so, so a call that was inlined in several places
is several sites. A site that never failed is a finding: then a program is missing.
"""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
NO_PROGRAMS = {"fail_nth", "user", "careless"}
USERS = {"tries-again": 1, "gives-up": 2}  # user.h; and how many failures in a row each meets in a quick run
GAVE_UP = 2  # user.h
CANNOT_RUN = 2  # examples/depgraph
BURSTS = (1, 2, 4, 25)
MORE_DESIGNS = ("atomic", "gil")
STANZAS = 5  # of a dependency graph

# What fail_nth.c stands in front of, and what else gives memory and would have to be added to it.
ALLOCATORS = {"malloc", "calloc", "realloc", "aligned_alloc", "mmap", "mi_malloc", "mi_zalloc", "mi_malloc_small", "mi_realloc"}
OTHER_ALLOCATORS = re.compile(
    r"^(strn?dup|v?asprintf|reallocarray|posix_memalign|memalign|p?valloc|getline|getdelim|open_memstream|mremap|mmap64|sbrk"
    r"|mi_.*(alloc|dup|new|mmap).*)$"
)
HARMLESS = {"mi_free"}


class Run:
    """One program with one setting, for all n of a range."""

    def __init__(self, name, command, clean, user="", design="biased", burst=1, first=1, last=None, stride=1, seconds=60):
        self.name, self.command = name, command
        self.environment = {
            "FAIL_NTH_CLEAN": str(clean),
            "FAIL_NTH_BURST": str(burst),
            "FAIL_NTH_FIRST": str(first),
            "FAIL_NTH_STRIDE": str(stride),
            "FAIL_NTH_SECONDS": str(seconds),
            "OOM_USER": user,
            "FREEHOLD_TEST_DESIGN": design,
        }
        if last:
            self.environment["FAIL_NTH_LAST"] = str(last)

    def describe(self):
        """How it is called; not how it is served."""
        names = ("FAIL_NTH_BURST", "OOM_USER", "FREEHOLD_TEST_DESIGN")
        settings = (f"{name}={self.environment[name]}" for name in names if self.environment[name])
        return " ".join([*settings, *map(str, self.command)])


class Result:
    def __init__(self, report):
        self.runs = self.failures = 0
        self.hits, self.bad, self.ended = {}, [], False
        for line in report.splitlines():
            word, _, rest = line.partition(" ")
            if word == "runs":
                runs, _, failures = rest.split()
                self.runs, self.failures, self.ended = int(runs), int(failures), True
            elif word == "site":
                address, hits = rest.split()
                self.hits[int(address, 16)] = int(hits)
            elif word == "bad":
                self.bad.append([rest])
            elif word == "|":
                self.bad[-1].append(rest)

    def count(self, pattern):
        return sum(1 for bad in self.bad if re.search(pattern, "\n".join(bad)))


def execute(build, run):
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        environment = dict(os.environ, **run.environment, LD_PRELOAD=str(shim_of(build)), FAIL_NTH_REPORT=str(report))
        subprocess.run(run.command, env=environment, check=False, stdin=subprocess.DEVNULL)
        return Result(report.read_text(errors="replace") if report.exists() else "")


# ---- what there is ----


def library_of(build):
    return build / "libfreehold.so"


def shim_of(build):
    return build / "tests" / "oom" / "libfail_nth.so"


def make_graph(build):
    """A dependency graph of a few stanzas, so that a program that loads it ends soon."""
    text = (HERE.parent / "data" / "packages.small").read_text(encoding="utf-8")
    graph = build / "tests" / "oom" / "packages.tiny"
    graph.write_text("\n\n".join(text.split("\n\n")[:STANZAS]) + "\n\n", encoding="utf-8")
    return graph


def own_runs(build, quick):
    for source in sorted(HERE.glob("*.c")):
        name = source.stem
        if name in NO_PROGRAMS:
            continue
        for user, quick_burst in USERS.items():
            command = [build / "tests" / "oom" / name]
            for burst in (quick_burst,) if quick else BURSTS:
                yield Run(name, command, GAVE_UP, user, burst=burst)
            for design in () if quick else MORE_DESIGNS:
                yield Run(name, command, GAVE_UP, user, design=design)


def example_runs(build, quick):
    examples = build / "examples"
    if (examples / "hello").exists():
        for burst in (1,) if quick else BURSTS:
            yield Run("hello", [examples / "hello"], 1, burst=burst)
    if (examples / "depgraph").exists():
        options = ["--small", "--seconds", "0", "--swaps", "1", "--loaders", "2", "--readers", "1"]
        command = [examples / "depgraph", *options, make_graph(build)]
        # Most of a run is waiting, so several go on beside each other, each with its part of the first allocations.
        most, parts = (800, 2) if quick else (1600, 4)
        stride = 71 if quick else 1
        for part in range(parts):
            first = part * most // parts + 1
            yield Run("depgraph", command, CANNOT_RUN, first=first, last=first + most // parts - 1, stride=stride)


# ---- the sites ----


def lines_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def check_imports(library):
    """Every allocator that the library uses must be one of those that can be made to fail."""
    imports = {line.split()[-1].split("@")[0] for line in lines_of("nm", "-D", "--undefined-only", library)}
    return sorted(name for name in imports - ALLOCATORS - HARMLESS if OTHER_ALLOCATORS.match(name))


class Disassembly:
    """Reads a library's machine code, one instruction after the other, for the calls in it."""

    INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+(?:bnd\s+|notrack\s+)?(\w+)\s*(.*)$")
    NAMED = re.compile(r"<([\w.]+)(?:@[^>]*)?>$")
    REGISTER = re.compile(r"(%r\w+)$")

    def __init__(self):
        self.calls = []  # (address, what is called, where that returns to)
        self.jumps = []  # (address, what is jumped to, the function that ends so)
        self.function = self.call = None
        self.held = {}  # registers that hold the address of a function from the address table

    def read(self, line):
        if heading := re.match(r"^[0-9a-f]+ <(.+)>:$", line):
            self.function, self.held = heading[1], {}
        elif instruction := self.INSTRUCTION.match(line):
            self.step(int(instruction[1], 16), instruction[2], instruction[3])

    def step(self, address, name, operands):
        if self.call:
            self.calls.append((*self.call, address))
            self.call = None
        target = self.target_of(operands)
        if name.startswith("call"):
            self.call = (address, target)
        elif name.startswith("jmp"):
            self.jumps.append((address, target, self.function))
        elif name.startswith(("mov", "lea")):
            self.hold(operands)

    def target_of(self, operands):
        if operands.startswith("*%"):
            return self.held.get(operands[1:])
        named = self.NAMED.search(operands)
        return named and named[1]

    def hold(self, operands):
        named, register = self.NAMED.search(operands), self.REGISTER.search(operands.partition("#")[0].strip())
        if register and named:
            self.held[register[1]] = named[1]
        elif register:
            self.held.pop(register[1], None)


def find_sites(library):
    """Maps each call of an allocator to the addresses at which it may return. A call at the end of a function, which is a
    jump, returns where the function would."""
    code = Disassembly()
    for line in lines_of("objdump", "-d", "--no-show-raw-insn", library):
        code.read(line)
    sites = {address: {back} for address, target, back in code.calls if target in ALLOCATORS}
    for address, target, function in code.jumps:
        if target in ALLOCATORS and function != f"{target}@plt":
            sites[address] = {back for _, called, back in code.calls if called == function}
    return sites


def place_of(library, address):
    """The innermost place in the source that is not the door to the allocator."""
    lines = lines_of("addr2line", "-f", "-i", "-e", library, hex(address))
    places = [(function, where.split(" ")[0]) for function, where in zip(lines[::2], lines[1::2])]
    outside = [place for place in places if "/memory/backend" not in place[1]] or places
    function, where = outside[0]
    return f"{function} ({where.partition('/runtime/')[2] or where})"


# ---- the report ----


class Totals:
    def __init__(self):
        self.programs, self.failures, self.sites, self.failed_sites = set(), 0, 0, 0
        self.crashes = self.hangs = self.leaks = self.others = 0

    def add(self, run, result):
        self.programs.add(run.name)
        self.failures += result.failures
        crashes, hangs = result.count(r"^\d+ crash"), result.count(r"^\d+ hang")
        leaks = result.count(r"^\d+ exit status .*, [1-9]\d* left|freehold: leak:")
        self.crashes += crashes
        self.hangs += hangs
        self.leaks += leaks
        self.others += len(result.bad) - crashes - hangs - leaks + (not result.ended)

    def is_clean(self):
        wrong = self.crashes or self.hangs or self.leaks or self.others
        return not wrong and 0 < self.sites == self.failed_sites

    def __str__(self):
        also = "".join(f", {n} {what}" for n, what in ((self.hangs, "hangs"), (self.others, "other findings")) if n)
        return (
            f"{len(self.programs)} programs, {self.failures} failures injected, {self.failed_sites} of {self.sites} sites"
            f" failed at least once, {self.crashes} crashes, {self.leaks} leaks{also}"
        )


def translate(library, text):
    """Replaces the addresses in a finding by places in the source."""
    known = re.compile(r"(taken-by|failed):([0-9a-f]+)")
    return known.sub(lambda match: f"\n    {match[1]}: {place_of(library, int(match[2], 16) - 1)}", text)


def print_findings(build, run, result):
    library, shown = library_of(build), 3
    if not result.ended:
        print(f"  did not end, or is not there: {run.describe()}")
    for first, *said in result.bad[:shown]:
        number, _, what = first.partition(" ")
        print(f"  n = {number}: {translate(library, what)}")
        for line in said[:20]:
            print(f"    | {line}")
        print(f"    again: LD_PRELOAD={shim_of(build)} FAIL_NTH={number} {run.describe()}")
    if len(result.bad) > shown:
        print(f"  and {len(result.bad) - shown} more")


def print_programs(results):
    names = {}
    for run, result in results:
        line = names.setdefault(run.name, [0, 0, 0])
        for i, n in enumerate((result.runs, result.failures, len(result.bad) + (not result.ended))):
            line[i] += n
    print(f"  {'program':<12} {'runs':>7} {'failures':>9} {'findings':>9}")
    for name, (runs, failures, findings) in names.items():
        print(f"  {name:<12} {runs:>7} {failures:>9} {findings:>9}")


def print_sites(library, hits, totals):
    sites = find_sites(library)
    totals.sites += len(sites)
    print(f"  {'failed':>9}  site")
    for site, returns in sites.items():
        count = sum(hits.get(address, 0) for address in returns)
        totals.failed_sites += count > 0
        print(f"  {count or 'NEVER':>9}  {place_of(library, site)}")
    for address in hits.keys() - set().union(*sites.values()):
        print(f"  {hits[address]:>9}  {place_of(library, address - 1)}: A CALL THAT THE MACHINE CODE DID NOT SHOW")
        totals.others += 1


def examine(build, runs, jobs, totals):
    library = library_of(build)
    print(f"== {build}")
    for name in check_imports(library):
        print(f"  the library calls {name}, which tests/oom/fail_nth.c does not let fail")
        totals.others += 1
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        results = list(zip(runs, pool.map(lambda run: execute(build, run), runs)))
    hits = {}
    for run, result in results:
        totals.add(run, result)
        for address, count in result.hits.items():
            hits[address] = hits.get(address, 0) + count
    print_programs(results)
    print_sites(library, hits, totals)
    for run, result in results:
        if result.bad or not result.ended:
            print(f"-- {run.name}")
            print_findings(build, run, result)


# ---- the driver's own test ----


def self_test(build):
    """A careless user must be found out, and a site that no program reaches."""
    program = build / "tests" / "oom" / "careless"
    wrong = 0
    for how, counter in (("crashes", "crashes"), ("hangs", "hangs"), ("leaks", "leaks"), ("is-silent", "others")):
        totals = Totals()
        print(f"a careless user that {how.replace('-', ' ')}:")
        examine(build, [Run("careless", [program, how], 1, seconds=2)], 1, totals)
        if not getattr(totals, counter):
            wrong += 1
            print("  NOT FOUND OUT")
        if totals.failed_sites == totals.sites:
            wrong += 1
            print("  all sites failed, which cannot be")
    print(f"{wrong} careless users were not found out")
    return wrong == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("build", nargs="+", type=Path)
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    builds = [build.resolve() for build in options.build]
    if options.self_test:
        return 0 if self_test(builds[0]) else 1
    totals = Totals()
    for build in builds:
        examine(build, [*example_runs(build, options.quick), *own_runs(build, options.quick)], options.jobs, totals)
    print(totals)
    return 0 if totals.is_clean() else 1


if __name__ == "__main__":
    sys.exit(main())
