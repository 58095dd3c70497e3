#!/usr/bin/env python3
"""Fails when a C++ or CUDA file of ours is not as clang-format would write it."""

import subprocess
import sys

import project_files as pf

files = pf.with_suffix(pf.SOURCES + pf.HEADERS)
result = subprocess.run(
    ["clang-format-19", "--dry-run", "--Werror", *files],
    cwd=pf.ROOT,
    capture_output=True,
    text=True,
    check=False,
)
if result.returncode != 0:
    bad = sorted({line.split(":", 1)[0] for line in result.stderr.splitlines() if ": error:" in line})
    print(f"{len(bad)} of {len(files)} files differ; run: clang-format-19 -i {' '.join(bad)}")
    sys.exit(1)
print(f"{len(files)} files are formatted.")
