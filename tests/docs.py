#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Keeps docs/ and README.md true where a program can tell.

- Each page, and each title in it, that a comment cites is there: (docs/refcount.md, "Immortal").
- Each relative link leads to a file, and each #anchor to a title.
- Each name in backticks that looks like one of ours is found somewhere in the source, and so is each invariant in brackets.
- Each invariant that the runtime names is explained in docs/.
- Each function of runtime/ with an ordered atomic access is named in docs/memory-order.md.

Usage: docs.py ROOT           looks at the tree
       docs.py --self-test    feeds itself bad trees and fails unless each is found out
"""

import os
import re
import sys
import tempfile

SOURCE_FOLDERS = ["include", "runtime", "tests", "stress", "bench", "examples", "cmake", "scripts"]
COMMENTED = (".h", ".c", ".pml")
OF_OTHERS = {"mi_malloc", "mi_heap_new", "_LGPL_SOURCE"}  # names that are not in our source, and need not be

CITED = re.compile(r'docs/([a-z-]+\.md)(?:, "([^"]+)")?')
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
TITLE = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"`([A-Za-z_][A-Za-z0-9_]*_[A-Za-z0-9_]*)`|\b(FAULT_[A-Z_]+)\b")
PATH = re.compile(r"`((?:include|runtime|tests|stress|bench|examples|docs|scripts|cmake)/[A-Za-z0-9_./-]*)`")
INVARIANT = re.compile(r"\[([a-z]+\.[a-z]+)\](?!\()")
ORDERED = re.compile(r"\bFH__(?:LOAD|STORE_|SWAP|ADD|SUB|OR|AND|CAS)\(.*\b(?:SEQ_CST|ACQUIRE|RELEASE|ACQ_REL)\)")
FUNCTION = re.compile(r"(\w+)\(")
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def files_under(root, folder, endings=None):
    for at, folders, names in os.walk(os.path.join(root, folder)):
        folders.sort()
        for name in sorted(names):
            if endings is None or name.endswith(endings):
                yield os.path.join(at, name)


def pages_of(root):
    """The text of each page, by its path from the root."""
    paths = [os.path.join(root, "README.md"), *files_under(root, "docs", ".md")]
    return {os.path.relpath(path, root): read(path) for path in paths if os.path.exists(path)}


def anchor_of(title):
    """As forges make it: lower case, punctuation gone, spaces to hyphens."""
    return re.sub(r"[^\w\- ]", "", title.replace("`", "").lower()).replace(" ", "-")


def titles_of(text):
    return TITLE.findall(FENCE.sub("", text))


def check_citations(root, pages):
    for folder in ("include", "runtime", "tests", "stress", "bench", "examples"):
        for path in files_under(root, folder, COMMENTED):
            # A citation may be broken over two lines of a comment.
            text = re.sub(r"\s*\n\s*\*\s*", " ", read(path))
            for page, title in CITED.findall(text):
                name = os.path.relpath(path, root)
                if "docs/" + page not in pages:
                    yield f"{name}: cites docs/{page}, which is not there"
                elif title and title not in titles_of(pages["docs/" + page]):
                    yield f'{name}: cites "{title}" of docs/{page}, which has no such title'


def check_links(root, pages):
    for name, text in pages.items():
        for target in LINK.findall(FENCE.sub("", text)):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            path = os.path.normpath(os.path.join(os.path.dirname(name), file)) if file else name
            if not os.path.exists(os.path.join(root, path)):
                yield f"{name}: links to {target}, which is not there"
            elif anchor and anchor not in map(anchor_of, titles_of(pages.get(path, ""))):
                yield f"{name}: links to {target}, where no title makes that anchor"


def check_names(root, pages):
    source = " ".join(read(path) for folder in SOURCE_FOLDERS for path in files_under(root, folder, COMMENTED + (".py", ".cmake", ".txt")))
    stems = {os.path.splitext(os.path.basename(path))[0] for path in files_under(root, "tests")}
    top = " ".join(read(os.path.join(root, name)) for name in ("CMakeLists.txt",) if os.path.exists(os.path.join(root, name)))
    known = set(re.findall(r"\w+", source + " " + top)) | stems | OF_OTHERS
    for name, text in pages.items():
        for in_backticks, fault in NAME.findall(FENCE.sub("", text)):
            if (in_backticks or fault) not in known:
                yield f"{name}: names {in_backticks or fault}, which is nowhere in the source"
        for path in PATH.findall(text):
            if not os.path.exists(os.path.join(root, path)):
                yield f"{name}: names {path}, which is not there"


def check_invariants(root, pages):
    stated = {found for path in files_under(root, "runtime", COMMENTED) for found in INVARIANT.findall(read(path))}
    modelled = {found for path in files_under(root, "tests", COMMENTED) for found in INVARIANT.findall(read(path))}
    cited = {found for name, text in pages.items() for found in INVARIANT.findall(text)}
    yield from (f"docs/: cites [{name}], which the source does not state" for name in sorted(cited - stated - modelled))
    yield from (f"docs/: says nothing of [{name}], which the runtime states" for name in sorted(stated - cited))


def ordered_functions(text):
    """The names of the functions that have an ordered access in them."""
    text = COMMENT.sub(lambda comment: "\n" * comment.group().count("\n"), text)
    function = None
    for line in text.split("\n"):
        if re.match(r"[A-Za-z_].*\{", line) and not line.startswith(("struct", "enum", "typedef", "extern")):
            names = [name for name in FUNCTION.findall(line) if name not in ("__attribute__", "format", "tls_model")]
            function = names[0] if names else function
        if ORDERED.search(line) and not line.startswith("#"):
            yield function


def check_orders(root, pages):
    page = pages.get("docs/memory-order.md", "")
    for path in files_under(root, "runtime", COMMENTED):
        for function in sorted({name or "?" for name in ordered_functions(read(path))}):
            if f"`{function}`" not in page:
                yield f"{os.path.relpath(path, root)}: {function} has an ordered access that docs/memory-order.md does not name"


def complaints(root):
    pages = pages_of(root)
    for check in (check_citations, check_links, check_names, check_invariants, check_orders):
        yield from check(root, pages)


# ---- the self-test ----

GOOD = {
    "README.md": "[page](docs/page.md#a-title) and [itself](#top)\n# Top\n",
    "docs/page.md": "# A title\n`fh_thing` keeps [ref.sum]; see `runtime/ref/a.c`.\n",
    "docs/memory-order.md": "`load_it` and `fh_thing`\n",
    "include/freehold/a.h": "/* Source:  docs/page.md, \"A title\". */\nvoid fh_thing(void);\n",
    "runtime/ref/a.c": "/* [ref.sum] */\nstatic int load_it(int *p) {\n  return FH__LOAD(p, ACQUIRE);\n}\n",
}
BAD = [
    ("docs/page.md", "# Another title\n`fh_thing` keeps [ref.sum]\n", "cites \"A title\""),
    ("README.md", "[page](docs/pages.md)\n", "links to docs/pages.md"),
    ("README.md", "[page](docs/page.md#the-title)\n", "no title makes that anchor"),
    ("docs/page.md", "# A title\n`fh_thong` keeps [ref.sum]\n", "names fh_thong"),
    ("docs/page.md", "# A title\n`runtime/ref/b.c` keeps [ref.sum]\n", "names runtime/ref/b.c"),
    ("docs/page.md", "# A title\n[ref.sum] [ref.some]\n", "cites [ref.some]"),
    ("docs/page.md", "# A title\n", "says nothing of [ref.sum]"),
    ("docs/memory-order.md", "nothing\n", "load_it has an ordered access"),
]


def write_tree(root, tree):
    for name, text in tree.items():
        os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
        with open(os.path.join(root, name), "w", encoding="utf-8") as file:
            file.write(text)


def found_in(tree):
    with tempfile.TemporaryDirectory() as root:
        write_tree(root, tree)
        return list(complaints(root))


def self_test():
    for complaint in found_in(GOOD):
        yield f"complains of a good tree: {complaint}"
    for name, text, expected in BAD:
        if not any(expected in complaint for complaint in found_in({**GOOD, name: text})):
            yield f"does not notice: {expected}"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = list(self_test() if sys.argv[1] == "--self-test" else complaints(sys.argv[1]))
    for complaint in found:
        print(complaint)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
