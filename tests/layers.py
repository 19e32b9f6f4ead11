#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Keeps the layers of runtime/ apart.

A folder of runtime/ is a layer. A file includes its own folder, lower folders and <freehold/...> only, and the layer shows
in the line: #include "ref/queue.h". Two of the libraries below are each behind one door. The public headers include
nothing but each other and the few headers that every C implementation has.

Includes can be got around by declaring a function oneself, so the object files are looked at as well: no file may need a
symbol that a higher layer defines.

Usage: layers.py ROOT [OBJECT...]    looks at the tree, and at the object files if they are given
       layers.py --self-test         feeds itself bad trees and fails unless each is found out
"""

import os
import re
import subprocess
import sys
import tempfile

LAYERS = ["base", "memory", "object", "sync", "track", "mutator", "ref", "collect", "api"]
DOORS = {"mimalloc": "memory", "urcu": "sync"}
PUBLIC_MAY_INCLUDE = {"stdarg.h", "stdbool.h", "stddef.h", "stdint.h", "limits.h"}

COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
INCLUDE = re.compile(r'^\s*#\s*(?:include|include_next|import)\s*([<"])([^>"]*)[>"]', re.MULTILINE)
ANY_INCLUDE = re.compile(r"^\s*#\s*(?:include|include_next|import)\b(.*)$", re.MULTILINE)


def includes_of(path):
    """Yields (line number, quote, included name) of each include that is not in a comment."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    # A comment becomes as many line ends as it had, so that the line numbers stay right.
    text = COMMENT.sub(lambda comment: "\n" * comment.group().count("\n"), text)
    for match in ANY_INCLUDE.finditer(text):
        line = text.count("\n", 0, match.start(1)) + 1
        named = INCLUDE.match(match.group())
        if named:
            yield line, named.group(1), named.group(2)
        else:
            yield line, "", match.group(1).strip()


def complaint_about_runtime(root, layer, quote, name):
    """Says what is wrong with one include of a file of a layer, or returns None."""
    first = name.split("/")[0]
    if quote == "":
        return f"includes {name}: a macro hides what is included"
    if ".." in name.split("/"):
        return f'includes "{name}": a path upwards hides the layer'
    door = next((DOORS[library] for library in DOORS if first == library or first.startswith((library + ".", library + "-"))), None)
    if door is not None:
        return None if layer == door else f"includes {name}, which only runtime/{door}/ may"
    if first == "freehold":
        return None if quote == "<" else f'includes "{name}": public headers are included as <{name}>'
    if quote == "<":
        if first in LAYERS:
            return f'includes <{name}>: the runtime\'s own headers are included as "{name}"'
        return None
    if "/" not in name:
        return f'includes "{name}" without its layer'
    if first not in LAYERS:
        return f'includes "{name}": {first} is not a layer'
    if LAYERS.index(first) > LAYERS.index(layer):
        return f'includes "{name}": {first} lies above {layer}'
    if not os.path.exists(os.path.join(root, "runtime", name)):
        return f'includes "{name}", which does not exist'
    return None


def check_runtime(root):
    complaints = []
    files = 0
    for folder, _, names in os.walk(os.path.join(root, "runtime")):
        for name in sorted(names):
            path = os.path.join(folder, name)
            shown = os.path.relpath(path, root)
            if not name.endswith((".c", ".h", ".inc")):
                continue
            parts = shown.split(os.sep)
            if len(parts) != 3 or parts[1] not in LAYERS:
                complaints.append(f"{shown}: lies in no layer ({', '.join(LAYERS)})")
                continue
            files += 1
            for line, quote, included in includes_of(path):
                complaint = complaint_about_runtime(root, parts[1], quote, included)
                if complaint:
                    complaints.append(f"{shown}:{line}: {complaint}")
    if not files:
        complaints.append("runtime/: there are no sources")
    return complaints, files


def check_public(root):
    complaints = []
    folder = os.path.join(root, "include", "freehold")
    names = sorted(os.listdir(folder))
    for name in names:
        for line, quote, included in includes_of(os.path.join(folder, name)):
            own = quote == "<" and included.startswith("freehold/") and included[len("freehold/"):] in names
            if not own and not (quote == "<" and included in PUBLIC_MAY_INCLUDE):
                complaints.append(f"include/freehold/{name}:{line}: a public header may not include {included}")
    return complaints, len(names)


def layer_of_object(path):
    parts = path.split(os.sep)
    return next((part for previous, part in zip(parts, parts[1:]) if previous == "runtime" and part in LAYERS), None)


def symbols_of(path):
    """Returns the names that an object file defines for others, and those that it needs."""
    lines = subprocess.run(["nm", "-g", path], check=True, capture_output=True, text=True).stdout.splitlines()
    defined, needed = set(), set()
    for line in lines:
        *_, kind, name = line.split()
        (needed if kind in "Uvw" else defined).add(name)
    return defined, needed


def check_objects(paths):
    complaints = []
    home = {}
    symbols = {}
    for path in paths:
        if layer_of_object(path):
            symbols[path] = symbols_of(path)
            for name in symbols[path][0]:
                home[name] = path
    for path, (_, needed) in symbols.items():
        layer = layer_of_object(path)
        for name in sorted(needed & home.keys()):
            other = layer_of_object(home[name])
            if LAYERS.index(other) > LAYERS.index(layer):
                complaints.append(f"runtime/{layer}/{os.path.basename(path)}: needs {name}, which is defined above, in {other}")
    return complaints, len(symbols)


def run(root, objects):
    complaints = []
    for (found, count), what in (
        (check_runtime(root), "files of runtime/"),
        (check_public(root), "public headers"),
        (check_objects(objects), "object files"),
    ):
        complaints += found
        print(f"{count} {what}: {len(found)} complaints")
    for complaint in complaints:
        print(complaint)
    return complaints


GOOD_TREE = {
    "include/freehold/base.h": "#include <stddef.h>\n",
    "include/freehold/object.h": "#include <freehold/base.h>\n",
    "runtime/memory/heap.c": '#include <mimalloc.h>\n#include "memory/heap.h"\n',
    "runtime/memory/heap.h": "#include <freehold/base.h>\n",
    "runtime/sync/grace.c": '#include <urcu-qsbr.h>\n#include <urcu/wfcqueue.h>\n#include "memory/heap.h"\n',
    "runtime/ref/queue.h": "/* a comment may say\n#include \"collect/stop.h\"\n*/\n",
    "runtime/collect/stop.h": '#include "ref/queue.h"\n#include <pthread.h>\n',
}
BAD_FILES = {
    "upward": ("runtime/ref/bad.c", '#include "collect/stop.h"\n'),
    "upward, with spaces": ("runtime/ref/bad.c", ' #  include "collect/stop.h"\n'),
    "upward, in angle brackets": ("runtime/ref/bad.c", "#include <collect/stop.h>\n"),
    "upward, by a path": ("runtime/ref/bad.c", '#include "ref/../collect/stop.h"\n'),
    "hidden in a macro": ("runtime/ref/bad.c", "#include STOP_HEADER\n"),
    "no layer in the line": ("runtime/ref/bad.c", '#include "queue.h"\n'),
    "no such layer": ("runtime/ref/bad.c", '#include "tests/hook.h"\n'),
    "no such file": ("runtime/ref/bad.c", '#include "ref/absent.h"\n'),
    "mimalloc past its door": ("runtime/ref/bad.c", "#include <mimalloc.h>\n"),
    "urcu past its door": ("runtime/memory/bad.c", "#include <urcu/wfcqueue.h>\n"),
    "another flavour of urcu past its door": ("runtime/memory/bad.c", "#include <urcu-qsbr.h>\n"),
    "public header in quotes": ("runtime/ref/bad.c", '#include "freehold/base.h"\n'),
    "a file outside the layers": ("runtime/extra/bad.c", ""),
    "a file below a layer": ("runtime/ref/deep/bad.c", ""),
    "a public header that needs the system": ("include/freehold/bad.h", "#include <pthread.h>\n"),
    "a public header that needs the inside": ("include/freehold/bad.h", '#include "ref/queue.h"\n'),
}


def write_tree(root, files):
    for name, text in files.items():
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def compile_object(root, layer, text):
    source = os.path.join(root, "runtime", layer, "symbols.c")
    write_tree(root, {os.path.relpath(source, root): text})
    subprocess.run(["cc", "-c", source, "-o", source + ".o"], check=True)
    return source + ".o"


def self_test():
    failures = []

    def expect(what, complaints, wanted):
        print(f"{what}: {complaints or 'no complaint'}")
        if len(complaints) != wanted:
            failures.append(what)

    with tempfile.TemporaryDirectory() as root:
        write_tree(root, GOOD_TREE)
        expect("a good tree", check_runtime(root)[0] + check_public(root)[0], 0)
    for what, (name, text) in BAD_FILES.items():
        with tempfile.TemporaryDirectory() as root:
            write_tree(root, {**GOOD_TREE, name: text})
            expect(what, check_runtime(root)[0] + check_public(root)[0], 1)
    with tempfile.TemporaryDirectory() as root:
        low = compile_object(root, "ref", "void fh__stop(void); void fh__drain(void) { fh__stop(); }")
        high = compile_object(root, "collect", "void fh__drain(void); void fh__stop(void) { fh__drain(); }")
        expect("a symbol from above", check_objects([low, high])[0], 1)
        expect("a symbol from below", check_objects([high])[0], 0)
    for what in failures:
        print(f"not found out, or found out wrongly: {what}", file=sys.stderr)
    return failures


def main(arguments):
    if arguments == ["--self-test"]:
        return bool(self_test())
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    return bool(run(arguments[0], arguments[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
