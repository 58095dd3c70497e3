#!/usr/bin/env python3
"""Counts what deploy/test.sh ran, over all builds, and says why each skipped test was skipped.

usage: summarise_tests.py [--shared FOLDER] RESULTS...

RESULTS is one folder a build, named after it, with ctest.xml (ctest --output-junit) and gtest/*.xml
(one file a GoogleTest program, written by GTEST_OUTPUT). A program that has a GoogleTest file counts
by its cases; a Python program by what it printed (see ratchet_python_test in
deploy/cmake/Options.cmake); anything else as one test. A program that ended badly without a failed
case (a crash, a sanitizer's report at exit, a timeout) counts as one failed test.

The last line reads exactly `N passed, N failed, N skipped`. The exit status is 1 when a test failed,
when nothing ran, or when --shared names a folder that is there and a test was skipped for another
reason than those of ALLOWED_SKIPS.
"""

import argparse
import os
import re
import sys
import xml.etree.ElementTree as ET

COUNTS = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$")
# A case with a docstring takes two lines; the outcome stands at the end of the second.
UNITTEST = re.compile(r"^(.*?) \.\.\. (ok|FAIL|ERROR|expected failure|skipped ['\"](.*)['\"])$")
SKIP_LINE = re.compile(r"^SKIP ([^:]+): (.+)$")
ALLOWED_SKIPS = (
    "no GPU",
    "no cgroup memory controller",
    "no network namespaces",
    "no right to mount",
)


class Tally:
    """Outcome of one program or of many: how many passed, which failed, which were skipped why."""

    def __init__(self):
        self.passed = 0
        self.failed = []  # names
        self.skipped = []  # (name, reason)

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def counts(self):
        return f"{self.passed} passed, {len(self.failed)} failed, {len(self.skipped)} skipped"


def read_gtest(path):
    """Tally of one GoogleTest XML file; names are Suite.Case."""
    tally = Tally()
    for case in ET.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        skipped = case.find("skipped")
        if case.find("failure") is not None:
            tally.failed.append(name)
        elif skipped is not None:
            # The message is `file:line`, a newline, and the reason that the test gave.
            lines = [line for line in (skipped.get("message") or "").splitlines() if line.strip()]
            tally.skipped.append((name, lines[-1].strip() if lines else "no reason given"))
        elif case.get("status") != "run":
            tally.skipped.append((name, "disabled in its source"))
        else:
            tally.passed += 1
    return tally


def read_output(name, output):
    """Tally of a Python program from its output, or None when it does not say."""
    tally = Tally()
    reasons = []
    counts = None
    for line in output.splitlines():
        case = UNITTEST.match(line.strip())
        if case and case.group(2) in ("FAIL", "ERROR"):
            tally.failed.append(case.group(1))
        elif case and case.group(3) is not None:
            tally.skipped.append((case.group(1), case.group(3)))
        elif case:
            tally.passed += 1
        elif SKIP_LINE.match(line.strip()):
            reasons.append(SKIP_LINE.match(line.strip()).groups())
        elif COUNTS.match(line.strip()):
            counts = [int(number) for number in COUNTS.match(line.strip()).groups()]
    if counts:
        tally.passed = counts[0]
        tally.failed = [f"{name} case {i + 1}" for i in range(counts[1])]
        tally.skipped = reasons[: counts[2]]
        tally.skipped += [(name, "no reason given")] * (counts[2] - len(tally.skipped))
        return tally
    tally.skipped += reasons
    return tally if tally.passed or tally.failed or tally.skipped else None


def read_program(case, gtest_folder):
    """Tally of one ctest entry."""
    name = case.get("name")
    output = case.findtext("system-out") or ""
    files = [
        os.path.join(gtest_folder, file)
        for file in (sorted(os.listdir(gtest_folder)) if os.path.isdir(gtest_folder) else [])
        if re.fullmatch(re.escape(name) + r"(_\d+)?\.xml", file)
    ]
    tally = Tally()
    for file in files:
        try:
            tally.add(read_gtest(file))
        except ET.ParseError:
            tally.failed.append("(its result file is damaged)")
    if not files:
        tally = read_output(name, output) or Tally()
    good = case.get("status") == "run" and case.find("failure") is None
    asked_to_skip = case.find("skipped") is not None and case.get("status") != "fail"
    if good and not files and not (tally.passed or tally.failed or tally.skipped):
        tally.passed = 1
    elif not good and asked_to_skip and "SKIP" in (case.find("skipped").get("message") or ""):
        tally.skipped = tally.skipped or [(name, "no reason given")]
    elif not good and not tally.failed:
        reason = case.find("failure")
        detail = reason.get("message") if reason is not None else "it did not run"
        tally.failed.append(f"(the program as a whole: {detail or 'it ended badly'})")
    named = Tally()
    named.passed = tally.passed
    named.failed = [f"{name} {item}" for item in tally.failed]
    named.skipped = [(f"{name} {item}" if item != name else name, why) for item, why in tally.skipped]
    return named


def read_build(folder):
    """Tally of one build and the seconds that its tests took."""
    tally = Tally()
    root = ET.parse(os.path.join(folder, "ctest.xml")).getroot()
    for case in root.iter("testcase"):
        tally.add(read_program(case, os.path.join(folder, "gtest")))
    return tally, float(root.get("time") or 0)


def main():
    parser = argparse.ArgumentParser(usage="summarise_tests.py [--shared FOLDER] RESULTS...")
    parser.add_argument("--shared", default="")
    parser.add_argument("results", nargs="+")
    arguments = parser.parse_args()
    total = Tally()
    print("\nTests by build:")
    for folder in arguments.results:
        build = os.path.basename(os.path.normpath(folder))
        try:
            tally, seconds = read_build(folder)
        except (OSError, ET.ParseError):
            tally, seconds = Tally(), 0.0
            tally.failed.append("(its tests did not run: see the build's messages above)")
        print(f"  {build:<8} {tally.counts()}  ({seconds:.0f} s)")
        tally.failed = [f"{build}: {name}" for name in tally.failed]
        tally.skipped = [(f"{build}: {name}", why) for name, why in tally.skipped]
        total.add(tally)
    for reason in sorted({why for _, why in total.skipped}):
        names = [name for name, why in total.skipped if why == reason]
        print(f"\nSkipped, {reason} ({len(names)}):")
        print("".join(f"  {name}\n" for name in names), end="")
    if total.failed:
        print("\nFailed:")
        print("".join(f"  {name}\n" for name in total.failed), end="")
    odd = [name for name, why in total.skipped if not why.startswith(ALLOWED_SKIPS)]
    wrong_skip = bool(odd) and os.path.isdir(arguments.shared)
    if wrong_skip:
        print(
            f"\nSKIPPED WITHOUT LEAVE: {len(odd)} of the skipped tests, with {arguments.shared} present."
            f" There only {' and '.join(ALLOWED_SKIPS)} are reasons to skip; this counts as a failure of the whole."
        )
    print(f"\n{total.counts()}")
    return 1 if total.failed or wrong_skip or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
