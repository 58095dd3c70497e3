"""The files of the project, for the checks of tests/tidy: what git tracks or would track."""

import os
import re
import subprocess

ROOT = os.environ.get("RATCHET_SOURCE_DIR") or os.path.abspath(
    os.path.join(os.path.dirname(__file__), "..", "..")
)
SOURCES = (".cc", ".cu")
HEADERS = (".h", ".cuh")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def all_files():
    """Paths relative to the root, in order; files that git ignores are not among them."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "-z"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    return sorted(path for path in set(listed) if path and os.path.isfile(os.path.join(ROOT, path)))


def with_suffix(suffixes):
    return [path for path in all_files() if path.endswith(suffixes)]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as file:
        return file.read()


def includes(text):
    """(is_own, path) of each #include: own ones are quoted and relative to the root."""
    return [(kind == '"', path) for kind, path in INCLUDE.findall(text)]


def room(path):
    """proto, kernels, trainer, ...: the first folder."""
    return path.split("/", 1)[0]


def own_includes_of(path, seen=None):
    """All own files that a file includes, by any number of steps; the file itself is not among them."""
    seen = set() if seen is None else seen
    for is_own, target in includes(read(path)):
        if is_own and target not in seen and os.path.isfile(os.path.join(ROOT, target)):
            seen.add(target)
            own_includes_of(target, seen)
    return seen
