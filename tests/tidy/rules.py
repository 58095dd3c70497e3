"""The project's rules that no compiler knows. Each rule is a function from (path, text) to a list of
findings, sentences that say what is wrong and what to do; rules over the whole tree take the list of
files. rules_test.py runs them over the tree and, so that a rule cannot fall silent, over a sample that
breaks it."""

import os
import re

import project_files as pf

# Who may include whom (ARCHITECTURE.md). Nothing includes tests, bench or deploy.
ROOMS = {
    "proto": {"proto"},
    "kernels": {"kernels"},
    "trainer": {"trainer", "kernels", "proto"},
    "agent": {"agent", "proto"},
    "controlplane": {"controlplane", "proto"},
    "bench": {"bench", "kernels", "trainer", "controlplane", "proto"},
    "tests": {"tests", "proto", "kernels", "trainer", "agent", "controlplane"},
}
# Inside the trainer, commands flow down: what prepares and stores knows neither the loop nor the
# commands, and the loop does not know the commands.
TRAINER_ABOVE = {"train": {"cli"}, "cli": set(), "gpu": {"cli"}}
TRAINER_DEFAULT_ABOVE = {"train", "cli"}
# Folders whose files may name LibTorch.
TORCH_FOLDERS = ("trainer/ops/", "trainer/model/", "trainer/train/", "trainer/gpu/", "tests/", "bench/")
TORCH_HEADER = re.compile(r"^(ATen|torch|c10|caffe2|c10d)/")
# The torch half of trainer/model and trainer/train is compiled with LibTorch; what these folders
# of torch-free code include must not bring it in.
TORCH_FREE = ("proto/", "kernels/", "trainer/hf/", "trainer/data/", "trainer/checkpoint/",
              "trainer/telemetry/", "trainer/cli/")  # fmt: skip
MAX_LINES = 700
MAX_COLUMNS = 100
MAX_SCRIPT_COLUMNS = 120
COLUMN_SUFFIXES = (".cc", ".h", ".cu", ".cuh", ".py", ".sh", ".cmake", ".rs", "CMakeLists.txt")
SKIP_REASONS = ("no GPU", "shared inputs absent", "no cgroup memory controller")

# What most files include, and the names that ask for each. Files of a library are compiled together
# and tests have a precompiled header (deploy/cmake/Options.cmake), so no compiler tells when one
# forgets an include.
OFTEN_INCLUDED = {
    "algorithm": r"std::(?:sort|stable_sort|min|max|clamp|minmax|find(?:_if|_if_not|_first_of)?|any_of|all_of"
                 r"|none_of|count(?:_if)?|copy(?:_n|_if|_backward)?|fill(?:_n)?|transform|remove(?:_if)?"
                 r"|unique|reverse|rotate|(?:lower|upper)_bound|equal|equal_range|binary_search|mismatch"
                 r"|partition(?:_point)?|nth_element|(?:min|max|minmax)_element|shuffle|merge|replace"
                 r"|set_(?:difference|intersection|union)|includes|for_each|adjacent_find|is_sorted"
                 r"|generate|iter_swap|ranges::(?!subrange|view|views|size|begin|end|data|empty)\w+)\b",
    "chrono": r"std::chrono\b",
    "filesystem": r"std::filesystem\b",
    "functional": r"std::(?:function|bind|bind_front|reference_wrapper|ref|cref|invoke|not_fn|mem_fn)\b",
    "map": r"std::(?:multi)?map\b",
    "memory": r"std::(?:unique_ptr|shared_ptr|weak_ptr|make_unique|make_shared|enable_shared_from_this)\b",
    "optional": r"std::(?:optional|nullopt|make_optional)\b",
    "set": r"std::(?:multi)?set\b",
    "string": r"std::(?:string|to_string|sto(?:i|l|ll|ul|ull|f|d)|getline)\b",
    "variant": r"std::(?:variant|visit|get_if|holds_alternative|monostate)\b",
    "vector": r"std::vector\b",
    "nlohmann/json.hpp": r"\bnlohmann::(?:ordered_)?json(?:::|\()|(?<![\w:])json::(?:parse|array|object)\b",
    "CLI/CLI.hpp": r"\bCLI::(?:App|ParseError|IsMember|Range|Option)\b(?!;|\*|&)",
    "boost/asio/any_io_executor.hpp": r"\basio::any_io_executor\b",
    "boost/asio/as_tuple.hpp": r"\basio::as_tuple\b",
    "boost/asio/awaitable.hpp": r"\basio::awaitable\b",
    "boost/asio/co_spawn.hpp": r"\basio::co_spawn\b",
    "boost/asio/detached.hpp": r"\basio::detached\b",
    "boost/asio/io_context.hpp": r"\basio::io_context\b",
    "boost/asio/ip/tcp.hpp": r"\basio::ip::tcp\b",
    "boost/asio/post.hpp": r"\basio::post\b",
    "boost/asio/steady_timer.hpp": r"\basio::steady_timer\b",
    "boost/asio/thread_pool.hpp": r"\basio::thread_pool\b",
    "boost/asio/use_awaitable.hpp": r"\basio::use_awaitable(?:_t)?\b",
    "gtest/gtest.h": r"^(?:TEST|TEST_F|TEST_P)\(",
}

# What may not be written, and what to write instead.
BANNED = [
    (r"\b(TODO|FIXME|XXX|HACK)\b", "an open end: settle it or open an issue"),
    (r"\bstd::rand\b|\bsrand\s*\(|(?<![\w:])rand\s*\(\s*\)", "hidden state: use a seeded generator"),
    (r"\bstrtok\s*\(|\bsprintf\s*\(|\bstrcpy\s*\(|\bgets\s*\(", "no bounds: use std::string"),
    (r"\bato[ifl]\s*\(", "loses errors: use std::from_chars"),
    (r"#\s*include\s*<torch/torch\.h>", "14 s a file: use ATen/..., c10/..., torch/csrc/..."),
    (r"#\s*include\s*<bits/", "GCC's private headers: include the standard one"),
    (r"\bNOLINT\b(?!\()", "name the check and say why: NOLINT(check): reason"),
]  # fmt: skip
PLACES = re.compile(r"/root/|/home/\w")
CODE = (".cc", ".h", ".cu", ".cuh", ".rs", ".py", ".sh")


def include_rules(path, text):
    """Rooms include only what ARCHITECTURE.md allows."""
    own = pf.room(path)
    found = []
    for is_own, target in pf.includes(text):
        other = pf.room(target)
        if not is_own or own not in ROOMS:
            continue
        if "/" not in target or other not in ROOMS:
            found.append(f'{path}: "{target}" is not relative to the root: write room/file.h')
        elif other not in ROOMS[own]:
            found.append(f"{path}: {own} may not include {other} ({target}): see ARCHITECTURE.md")
        elif path.startswith("trainer/") and path.count("/") >= 2:
            above = TRAINER_ABOVE.get(path.split("/")[1], TRAINER_DEFAULT_ABOVE)
            if other == "trainer" and target.split("/")[1] in above:
                found.append(f"{path}: {target} lies above this room: pass what is needed as a value")
    return found


def json_stays_in_sources(path, text):
    """nlohmann/json costs seconds a file: only .cc files include it, and private headers with `json`
    in their name (json_headers_are_private); other headers have json_fwd.hpp."""
    if not path.endswith(pf.HEADERS) or "json" in os.path.basename(path):
        return []
    return [
        f"{path}: <{target}> in a header: include <nlohmann/json_fwd.hpp> or move it to the .cc"
        for is_own, target in pf.includes(text)
        if target.startswith("nlohmann/") and target != "nlohmann/json_fwd.hpp"
    ]


def torch_stays_in_its_folders(path, text):
    """LibTorch is named only in the folders that are built with it."""
    if path.startswith(TORCH_FOLDERS):
        return []
    return [
        f"{path}: <{target}>: LibTorch belongs to {', '.join(TORCH_FOLDERS[:3])}"
        for is_own, target in pf.includes(text)
        if not is_own and TORCH_HEADER.match(target)
    ]


def torch_free_files(files):
    """What torch-free rooms include brings LibTorch in by no way."""
    found = []
    for path in files:
        if not path.startswith(TORCH_FREE) or not path.endswith(pf.HEADERS + pf.SOURCES):
            continue
        for header in sorted(pf.own_includes_of(path)):
            if header.startswith(("trainer/model/", "trainer/ops/", "trainer/train/")) and any(
                not is_own and TORCH_HEADER.match(target)
                for is_own, target in pf.includes(pf.read(header))
            ):
                found.append(f"{path}: includes {header}, which brings LibTorch in")
    return found


def json_headers_are_private(files):
    """A header with `json` in its name is included by .cc files only, so that its cost stays there."""
    return [
        f"{path}: {target} brings nlohmann/json: include it in the .cc"
        for path in files
        if path.endswith(pf.HEADERS)
        for is_own, target in pf.includes(pf.read(path))
        if is_own and "json" in os.path.basename(target) and target in files
        and "nlohmann/json.hpp" in pf.read(target)
    ]


def includes_what_it_names(path, text):
    """Files that are compiled together see each other's includes; each has what it names all the same."""
    if not path.endswith(pf.HEADERS + (".cc",)) or pf.room(path) == "bench":
        return []
    code = re.sub(r"//[^\n]*", "", text)
    wanted = {header: re.search(names, code, re.MULTILINE) for header, names in OFTEN_INCLUDED.items()}
    seen = {target for is_own, target in pf.includes(text) if not is_own}
    for header in pf.own_includes_of(path):
        seen.update(target for is_own, target in pf.includes(pf.read(header)) if not is_own)
    return [
        f"{path}: '{match.group(0)}' without <{header}>: a neighbour that is compiled with it may hide that"
        for header, match in wanted.items()
        if match and header not in seen
    ]


def sizes(path, text):
    """Files stay readable, lines fit a page."""
    found = []
    if path.endswith(COLUMN_SUFFIXES):
        lines = text.splitlines()
        if len(lines) > MAX_LINES:
            found.append(f"{path}: {len(lines)} lines, {MAX_LINES} are allowed: split it by subject")
        # clang-format breaks C++ at its limit and leaves long literals alone.
        limit = MAX_COLUMNS if path.endswith(pf.SOURCES + pf.HEADERS) else MAX_SCRIPT_COLUMNS
        found += [
            f"{path}:{number}: {len(line)} columns, {limit} are allowed"
            for number, line in enumerate(lines, 1)
            if len(line) > (MAX_SCRIPT_COLUMNS if '"' in line else limit)
        ]
    return found


def banned_words(path, text):
    """Tokens that have a better replacement."""
    if not path.endswith(CODE) or path.startswith("tests/tidy/"):
        return []
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, instead in BANNED:
            match = re.search(pattern, line)
            if match:
                found.append(f"{path}:{number}: '{match.group(0)}': {instead}")
    return found


def no_places(path, text):
    """No path of one machine and no registry's host stands in a file."""
    if path.startswith("tests/tidy/") or path.endswith("Cargo.lock"):
        return []
    return [
        f"{path}:{number}: '{match.group(0)}': name no machine's path and no registry's host"
        for number, line in enumerate(text.splitlines(), 1)
        for match in [PLACES.search(line)]
        if match
    ]


def header_habits(path, text):
    """Headers open with #pragma once and open no namespace for others."""
    if not path.endswith(pf.HEADERS):
        return []
    found = []
    if "#pragma once" not in text:
        found.append(f"{path}: lacks #pragma once")
    if re.search(r"^\s*using namespace", text, re.MULTILINE):
        found.append(f"{path}: 'using namespace' in a header: name what is used")
    return found


def test_habits(path, text):
    """GoogleTest names without underscores; skips give a reason that CI knows."""
    if not path.startswith("tests/") or not path.endswith(pf.SOURCES):
        return []
    found = []
    for match in re.finditer(r"\bTEST(?:_[FP])?\(\s*(\w+),\s*(\w+)\s*\)", text):
        if "_" in match.group(1) + match.group(2):
            found.append(f"{path}: {match.group(0)}: GoogleTest names carry no underscore")
    for match in re.finditer(r"GTEST_SKIP\(\)\s*(?:<<\s*\"([^\"]*)\")?", text):
        if not (match.group(1) or "").startswith(SKIP_REASONS):
            found.append(f"{path}: GTEST_SKIP: the reason must be one of {SKIP_REASONS}")
    return found


def kernel_siblings(files):
    """kernels/x.cu has its header, reference, test and benchmark under the same stem."""
    known = set(files)
    found = []
    for path in files:
        if re.fullmatch(r"kernels/\w+\.cu", path):
            stem = os.path.basename(path)[:-3]
            for sibling in (
                f"kernels/{stem}.h",
                f"kernels/reference/{stem}_ref.h",
                f"tests/kernels/{stem}_test.cu",
                f"bench/kernels/{stem}_bench.cu",
            ):
                if sibling not in known:
                    found.append(f"{path}: its sibling {sibling} is missing")
    return found


def rooms_have_readmes(files):
    """Each room has a README of one screen."""
    rooms = {pf.room(path) for path in files if "/" in path and pf.room(path) in (*ROOMS, "deploy")}
    known = set(files)
    return [f"{room}/README.md is missing" for room in sorted(rooms) if f"{room}/README.md" not in known]


def no_orphans(files):
    """Each source of ours is named in a CMake file, or found there by a pattern."""
    cmake = {path: pf.read(path) for path in files if path.endswith(("CMakeLists.txt", ".cmake"))}
    found = []
    for path in files:
        if not path.endswith(pf.SOURCES) or pf.room(path) not in ROOMS or path.endswith("_fuzz.cc"):
            continue
        folder, name = os.path.split(path)
        named = re.compile(rf"(?<![\w.]){re.escape(name)}(?![\w.])")
        by_path = f"{os.path.basename(folder)}/{name}"
        if not any(
            by_path in text or (folder.startswith(os.path.dirname(place)) and named.search(text))
            for place, text in cmake.items()
        ):
            found.append(f"{path}: no CMake file names it: add it to a target or remove it")
    return found


def own_header_first(path, text):
    """x.cc includes x.h first, so that the build proves x.h to stand on its own."""
    if not path.endswith(pf.SOURCES):
        return []
    header = re.sub(r"\.(cc|cu)$", ".h", path)
    if not os.path.isfile(os.path.join(pf.ROOT, header)):
        return []
    named = pf.includes(text)
    if named and named[0] == (True, header):
        return []
    return [f'{path}: its first include must be "{header}"']


def no_braces_in_awaits(path, text):
    """GCC 12 destroys an aggregate's braced temporary twice when it stands in a co_await expression."""
    if not path.endswith(pf.SOURCES + pf.HEADERS):
        return []
    # Texts and comments hold braces of their own; they make room of the same size.
    blank = re.sub(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*', lambda match: " " * len(match.group(0)), text)
    found = []
    for match in re.finditer(r"\bco_await\b", blank):
        depth = 0
        inside = 0  # of a lambda's body
        for at in range(match.end(), len(blank)):
            char = blank[at]
            if inside or (char == "{" and depth > 0 and blank[:at].rstrip().endswith((")", "]"))):
                inside += (char == "{") - (char == "}")
                continue
            depth += (char == "(") - (char == ")")
            if depth < 0 or char == ";" or (char == "{" and depth == 0):
                break
            if char == "{":
                number = blank.count("\n", 0, match.start()) + 1
                found.append(f"{path}:{number}: a braced temporary in co_await: give it a name first")
                break
    return found


FILE_RULES = [include_rules, json_stays_in_sources, torch_stays_in_its_folders, includes_what_it_names,
              sizes, banned_words, no_places, header_habits, test_habits, own_header_first,
              no_braces_in_awaits]  # fmt: skip
TREE_RULES = [torch_free_files, json_headers_are_private, kernel_siblings, rooms_have_readmes, no_orphans]
