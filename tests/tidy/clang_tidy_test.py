#!/usr/bin/env python3
"""Runs clang-tidy over every .cc that the build compiles; fails when it finds anything.

usage: clang_tidy_test.py BUILD_FOLDER [--jobs N] [PATTERN...]

A verdict is kept in BUILD_FOLDER/../tidy under a hash of all that it depends on (the file, the own
headers that it includes by any number of steps, its flags, .clang-tidy, the versions of clang-tidy
and LibTorch), so that only what changed is read again. PATTERNs choose files by a part of their path.

Files that include LibTorch get the shorter list LIBTORCH_CHECKS and a precompiled header: every
check walks through all declarations of a file, and LibTorch brings a million of them.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import shlex
import subprocess
import sys
import time

import project_files as pf

TIDY = "clang-tidy-19"
CLANG = "clang++-19"
LIBTORCH_CHECKS = (
    "-*,readability-function-size,cppcoreguidelines-avoid-non-const-global-variables,"
    "cppcoreguidelines-avoid-capturing-lambda-coroutines,bugprone-use-after-move,"
    "bugprone-dangling-handle,bugprone-unused-return-value,performance-for-range-copy"
)
TORCH_PCH = "trainer/ops/torch_pch.h"


def run(command):
    return subprocess.run(command, cwd=pf.ROOT, capture_output=True, text=True, check=False)


def flags_of(entry):
    """Include folders and definitions of a compile command; the rest is GCC's own."""
    words = entry["arguments"] if "arguments" in entry else shlex.split(entry["command"])
    flags = ["-std=c++20"]
    index = 0
    while index < len(words):
        if words[index] in ("-isystem", "-I"):
            flags += words[index : index + 2]
            index += 1
        elif words[index].startswith(("-I", "-D")):
            flags.append(words[index])
        index += 1
    return flags


def uses_torch(flags):
    return any(flag.endswith("torch/include") for flag in flags)


def translation_units(build):
    """{path: flags} of the .cc files of ours that the build compiles."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        entries = json.load(file)
    units = {}
    for entry in entries:
        path = os.path.relpath(os.path.join(entry["directory"], entry["file"]), pf.ROOT)
        if path.endswith(".cc") and not path.startswith(("..", "build/", ".toolchain/")):
            units.setdefault(path, flags_of(entry))
    return units


def includes_torch(path):
    texts = [pf.read(path)] + [pf.read(header) for header in pf.own_includes_of(path)]
    return any(
        not is_own and target.startswith(("ATen/", "torch/", "c10/"))
        for text in texts
        for is_own, target in pf.includes(text)
    )


def configurations(path):
    """The .clang-tidy files that hold for a path."""
    folder = os.path.dirname(path)
    while True:
        candidate = os.path.join(folder, ".clang-tidy")
        if os.path.isfile(os.path.join(pf.ROOT, candidate)):
            yield candidate
        if not folder:
            return
        folder = os.path.dirname(folder)


def key_of(path, flags, version):
    """Hash of all that a verdict on this file depends on."""
    digest = hashlib.sha256()
    for text in (version, " ".join(flags), LIBTORCH_CHECKS, pf.read("tests/tidy/clang_tidy_test.py")):
        digest.update(text.encode() + b"\0")
    for file in [path, *sorted(pf.own_includes_of(path)), *configurations(path)]:
        digest.update(file.encode() + b"\0" + pf.read(file).encode() + b"\0")
    return digest.hexdigest()


def torch_header(flags, folder, version):
    """Path of LibTorch's headers precompiled by clang, made when it is not there; None if it fails."""
    name = hashlib.sha256(f"{version} {flags} {pf.read(TORCH_PCH)}".encode()).hexdigest()[:16]
    path = os.path.join(folder, f"torch-{name}.pch")
    if not os.path.exists(path):
        partial = f"{path}.{os.getpid()}"
        made = run([CLANG, "-w", "-x", "c++-header", *flags, TORCH_PCH, "-o", partial])
        if made.returncode != 0:
            return None
        os.replace(partial, path)
    return path


def check(path, flags, header):
    """clang-tidy's findings in one file, or an empty text."""
    command = [TIDY, "--quiet"]
    if includes_torch(path):
        command.append(f"--checks={LIBTORCH_CHECKS}")
        if header:
            flags = [*flags, "-include-pch", header]
    result = run([*command, path, "--", *flags])
    if result.returncode == 0:
        return ""
    return result.stdout.strip() or result.stderr.strip() or f"{path}: clang-tidy failed"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("patterns", nargs="*")
    arguments = parser.parse_args()
    began = time.time()
    cache = os.path.join(os.path.abspath(arguments.build), "..", "tidy")
    os.makedirs(cache, exist_ok=True)
    version = run([TIDY, "--version"]).stdout
    units = translation_units(arguments.build)
    if arguments.patterns:
        units = {path: flags for path, flags in units.items()
                 if any(pattern in path for pattern in arguments.patterns)}  # fmt: skip
    keys = {path: key_of(path, flags, version) for path, flags in units.items()}
    todo = [path for path in units if not os.path.exists(os.path.join(cache, keys[path]))]
    headers = {}
    for path in todo:
        if includes_torch(path):
            flags = [flag for flag in units[path] if not flag.startswith("-DRATCHET")]
            headers.setdefault(tuple(flags), None)
            headers[tuple(flags)] = headers[tuple(flags)] or torch_header(flags, cache, version)

    def judge(path):
        flags = [flag for flag in units[path] if not flag.startswith("-DRATCHET")]
        findings = check(path, units[path], headers.get(tuple(flags)))
        with open(os.path.join(cache, f"{keys[path]}.{os.getpid()}"), "w", encoding="utf-8") as file:
            file.write(findings)
        os.replace(file.name, os.path.join(cache, keys[path]))

    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(judge, todo))
    bad = 0
    for path in sorted(units):
        with open(os.path.join(cache, keys[path]), encoding="utf-8") as file:
            findings = file.read()
        if findings:
            bad += 1
            print(f"\n== {path}\n{findings}")
    print(
        f"\nclang-tidy: {len(units)} files, {len(todo)} read now, {bad} with findings, "
        f"{time.time() - began:.0f} s"
    )
    return 1 if bad or not units else 0


if __name__ == "__main__":
    sys.exit(main())
