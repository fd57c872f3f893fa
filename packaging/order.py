#!/usr/bin/env python3
"""Prints a linker script that lays the functions side by side that BINARY has passed through.

packaging/order.py BINARY TRACE...

Each TRACE is one of valgrind's callgrind, of a run of BINARY, with names as the linker has them. Instead of names
that begin alike there is their beginning, as far as few others begin so.
"""

import os
import re
import subprocess
import sys
from collections import Counter

# Most that is laid there besides, by a beginning that others have too: a quarter of what belongs there.
ALONG = 0.25

# Where they lie.
SECTION = ".text.ordered"

HEAD = f"""\
/* Made by scripts/order: the functions that a pull passes through, to be laid side by side. */
SECTIONS
{{
  {SECTION} : {{
"""
END = """\
  }
}
INSERT BEFORE .text;
"""


def lasting(name):
    """What of a mangled name is the same in every build: hashes, of the function or of a crate, are not."""
    name = re.sub(r"17h[0-9a-f]{16}E.*$", "17h", name)
    return re.sub(r"Cs[0-9A-Za-z]{8,13}_", "Cs*_", name)


def passed(binary, traces):
    """The functions of `binary` in `traces`."""
    names = set()
    for trace in traces:
        is_ours = False
        with open(trace, encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("ob="):
                    is_ours = line[3:].strip() == binary
                elif is_ours and line.startswith("fn="):
                    # A recursion has a number behind it.
                    names.add(lasting(re.sub(r"'\d+$", "", line[3:].strip())))
    return names


def sizes(binary):
    """How many bytes each function of `binary` takes."""
    listed = subprocess.run(["nm", "-S", "--defined-only", binary], check=True, stdout=subprocess.PIPE, text=True)
    found = Counter()
    for line in listed.stdout.splitlines():
        _, size, kind, name = (line.split(" ", 3) + [""] * 4)[:4]
        if kind in ("t", "T", "w", "W"):
            found[lasting(name)] += int(size, 16)
    return found


def patterns(bytes_of, wanted):
    """Patterns for the sections of the functions that are `wanted`."""
    names = sorted(bytes_of)

    def of(names, known):
        """Those for `names`, which all have their first `known` characters from each other."""
        inside = sum(bytes_of[name] for name in names if name in wanted)
        if inside == 0:
            return
        if sum(bytes_of[name] for name in names) - inside <= ALONG * inside:
            yield names[0][:known] + "*"
            return
        alike = len(os.path.commonprefix([names[0], names[-1]]))
        children = {}
        for name in names:
            children.setdefault(name[alike : alike + 1], []).append(name)
        for first, child in children.items():
            if first:
                yield from of(child, alike + 1)
            elif child[0] in wanted:
                yield child[0]

    return of(names, 0)


def main():
    binary, traces = sys.argv[1], sys.argv[2:]
    bytes_of = sizes(binary)
    sections = subprocess.run(["readelf", "-SW", binary], check=True, stdout=subprocess.PIPE, text=True)
    if SECTION in sections.stdout:
        sys.exit(f"order: {binary} is laid out already, and valgrind knows no names there: set PULLCTL_UNORDERED")
    wanted = passed(binary, traces) & set(bytes_of)
    if not wanted:
        sys.exit(f"order: no trace is of {binary}, or it has no symbols")
    sys.stdout.write(HEAD)
    for pattern in patterns(bytes_of, wanted):
        print(f"    *(.text*.{pattern})")
    sys.stdout.write(END)
    amount = sum(bytes_of[name] for name in wanted)
    print(f"order: {len(wanted)} functions, {amount} of {sum(bytes_of.values())} bytes", file=sys.stderr)


main()
