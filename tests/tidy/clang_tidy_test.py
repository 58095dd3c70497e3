#!/usr/bin/env python3
"""Runs clang-tidy over every .cc that the build compiles; fails when it finds anything.

usage: clang_tidy_test.py BUILD_FOLDER [--jobs N] [PATTERN...]

Most of clang-tidy's time goes into the headers that a file includes, so files of one folder are read
together, as one file that includes them, where they compile like that (two helpers of one name do
not); the compiler alone says so in a tenth of the time. A clean verdict is kept in BUILD_FOLDER/../tidy under a hash
of all that it depends on (the file, the own headers that it includes by any number of steps, its
flags, .clang-tidy, this script, the version of clang-tidy), so that only what changed is read again.
PATTERNS choose files by a part of their path.

Files that include LibTorch get the shorter list LIBTORCH_CHECKS: every check walks through all
declarations of a file, and LibTorch brings a million of them.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import time

import project_files as pf

TIDY = "clang-tidy-19"
CLANG = "clang++-19"
SCRIPT = "tests/tidy/clang_tidy_test.py"
LIBTORCH_CHECKS = (
    "-*,readability-function-size,cppcoreguidelines-avoid-non-const-global-variables,"
    "cppcoreguidelines-avoid-capturing-lambda-coroutines,bugprone-use-after-move,"
    "bugprone-dangling-handle,bugprone-unused-return-value,performance-for-range-copy"
)
TOGETHER = 10  # Files read as one: more saves little, and one finding makes all of them read again.


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
    """{path: flags} of the .cc files of ours that the build compiles, alone or several together."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        entries = json.load(file)
    units = {}
    for entry in entries:
        path = os.path.join(entry["directory"], entry["file"])
        if "/Unity/unity_" in path:
            with open(path, encoding="utf-8") as file:
                paths = re.findall(r'^#include "(.*\.cc)"$', file.read(), re.MULTILINE)
        else:
            paths = [path]
        for path in (os.path.relpath(path, pf.ROOT) for path in paths):
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


def key_of(path, flags, version):
    """Hash of all that a verdict on this file depends on."""
    digest = hashlib.sha256()
    for text in (version, " ".join(flags), pf.read(".clang-tidy"), pf.read(SCRIPT)):
        digest.update(text.encode() + b"\0")
    for file in [path, *sorted(pf.own_includes_of(path))]:
        digest.update(file.encode() + b"\0" + pf.read(file).encode() + b"\0")
    return digest.hexdigest()


class Tidy:
    """Reads files and remembers the clean ones."""

    def __init__(self, cache, units, version):
        self.cache = cache
        self.units = units
        self.keys = {path: key_of(path, flags, version) for path, flags in units.items()}
        self.findings = []

    def is_clean(self, path):
        return os.path.exists(os.path.join(self.cache, self.keys[path]))

    def batches(self):
        """Lists of files to be read together: same folder, same flags, not yet known as clean."""
        groups = {}
        for path in sorted(self.units):
            if not self.is_clean(path):
                group = (os.path.dirname(path), includes_torch(path), tuple(self.units[path]))
                groups.setdefault(group, []).append(path)
        for paths in groups.values():
            for start in range(0, len(paths), TOGETHER):
                yield paths[start : start + TOGETHER]

    def read(self, paths):
        """Reads a batch; keeps what is clean and collects the findings of the rest."""
        together = os.path.join(self.cache, f"together_{self.keys[paths[0]][:16]}_{len(paths)}.cc")
        with open(together, "w", encoding="utf-8") as file:
            file.writelines(f'#include "{os.path.join(pf.ROOT, path)}"\n' for path in paths)
        flags = self.units[paths[0]]
        if len(paths) > 1 and run([CLANG, "-w", "-fsyntax-only", *flags, together]).returncode:
            os.remove(together)
            self.read(paths[: len(paths) // 2])
            self.read(paths[len(paths) // 2 :])
            return
        command = [TIDY, "--quiet", f"--config-file={os.path.join(pf.ROOT, '.clang-tidy')}"]
        if includes_torch(paths[0]):
            command.append(f"--checks={LIBTORCH_CHECKS}")
        result = run([*command, together, "--", *flags])
        os.remove(together)
        if result.returncode == 0:
            for path in paths:
                with open(os.path.join(self.cache, self.keys[path]), "w", encoding="utf-8"):
                    pass
        else:
            self.findings.append(result.stdout.strip() or result.stderr.strip())
            print(self.findings[-1] + "\n", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("patterns", nargs="*")
    arguments = parser.parse_args()
    began = time.time()
    cache = os.path.normpath(os.path.join(os.path.abspath(arguments.build), "..", "tidy"))
    os.makedirs(cache, exist_ok=True)
    units = {
        path: flags
        for path, flags in translation_units(arguments.build).items()
        if not arguments.patterns or any(pattern in path for pattern in arguments.patterns)
    }
    tidy = Tidy(cache, units, run([TIDY, "--version"]).stdout)
    batches = list(tidy.batches())
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(tidy.read, batches))
    print(
        f"clang-tidy: {len(units)} files, {sum(map(len, batches))} of them read now, findings in "
        f"{sum(not tidy.is_clean(path) for path in units)} or their headers, "
        f"{time.time() - began:.0f} s"
    )
    return 1 if tidy.findings or not units else 0


if __name__ == "__main__":
    sys.exit(main())
