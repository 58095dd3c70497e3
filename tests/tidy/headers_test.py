#!/usr/bin/env python3
"""Compiles each header that no .cc of the same stem includes first, alone: it must stand on its own.

usage: headers_test.py BUILD_FOLDER

Headers with a .cc are proven by the build, as rules.own_header_first makes the .cc include them first.
"""

import concurrent.futures
import os
import subprocess
import sys

import clang_tidy_test as tidy
import project_files as pf

ROOMS = ("proto/", "trainer/", "agent/", "controlplane/", "tests/")


def compile_alone(header, flags):
    # The define is what ratchet_test() gives every test.
    source = f'-DRATCHET_SOURCE_DIR="{pf.ROOT}"'
    return subprocess.run(
        [tidy.CLANG, "-fsyntax-only", "-w", "-x", "c++", "-include", header, *flags, source, "-I.",
         "/dev/null"],
        cwd=pf.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def main():
    units = tidy.translation_units(sys.argv[1])
    plain = next(flags for flags in units.values() if not tidy.uses_torch(flags))
    torch = next((flags for flags in units.values() if tidy.uses_torch(flags)), None)
    todo = []
    for header in pf.with_suffix((".h",)):
        if header.startswith(ROOMS) and not os.path.exists(os.path.join(pf.ROOT, header[:-2] + ".cc")):
            if not tidy.includes_torch(header):
                todo.append((header, plain))
            elif torch:
                todo.append((header, torch))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda item: compile_alone(*item), todo))
    bad = [(item[0], result.stderr) for item, result in zip(todo, results) if result.returncode]
    for header, errors in bad:
        print(f"{header} does not compile on its own:\n{errors}")
    print(f"{len(todo)} headers, {len(bad)} with findings.")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
