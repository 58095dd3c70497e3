"""Rows of ratchet-bench: what was measured, how it stands to its ceiling and to an earlier run.

A row is a dict: name, dtype, shape; p10_ms, median_ms, p90_ms, repeats; of what the operation must do
`bytes` (memory-bound) or `flops`; `ceiling`, what the machine reached of these a second in the same run;
`tokens` a step and `peak_mib` where there are any. A document holds the rows of one run and says where
and when it was. Nothing here measures or prints.
"""

SCHEMA = "bench/1"
KEY = ("name", "dtype", "shape")
WHERE = ("cpu", "gpu")
NUMBERS = ("p10_ms", "median_ms", "p90_ms")


class BadDocument(Exception):
    """A file that is no result of ratchet-bench; the message says what is wrong."""


def check_document(document, name):
    """Returns it, or raises BadDocument."""
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise BadDocument(f"'{name}' is no result of ratchet-bench: its schema is not '{SCHEMA}'.")
    rows = document.get("rows")
    if not isinstance(rows, list):
        raise BadDocument(f"'{name}' has no list of rows.")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in KEY):
            raise BadDocument(f"Row {number} of '{name}' has no name, dtype and shape.")
        values = [row.get(key) for key in NUMBERS]
        if not all(isinstance(value, (int, float)) and value > 0 for value in values):
            raise BadDocument(f"Row {number} of '{name}' has no times: {values}.")
        if values != sorted(values):
            raise BadDocument(f"Row {number} of '{name}' has times out of order: {values}.")
    return document


def key_of(row):
    return tuple(row[key] for key in KEY)


def kernel_rows(table):
    """Rows of what a kernel's benchmark printed (bench/support/kernel_bench.h)."""
    lines = table.strip().splitlines()
    header = lines[0].split("\t") if lines else []
    rows = []
    for line in lines[1:]:
        cell = dict(zip(header, line.split("\t")))
        rows.append({
            "name": cell["op"], "dtype": cell["dtype"], "shape": cell["shape"],
            **{number: float(cell[number]) for number in NUMBERS}, "repeats": int(cell["repeats"]),
            "bytes": int(cell["floor_bytes"]), "ceiling": float(cell["copy_GB_per_s"]) * 1e9,
        })
    return rows


def rate(row):
    """What it did a second, in the unit of its ceiling; None when nothing is counted."""
    work = row.get("bytes") or row.get("flops")
    return work / (row["median_ms"] / 1e3) if work else None


def share(row):
    """Of the ceiling; None without one."""
    return rate(row) / row["ceiling"] if rate(row) and row.get("ceiling") else None


def verdict(before, after):
    """'slower' or 'faster' only where the spreads (10th to 90th percentile) do not touch."""
    if before is None:
        return "new"
    if after is None:
        return "gone"
    if after["p10_ms"] > before["p90_ms"]:
        return "slower"
    if after["p90_ms"] < before["p10_ms"]:
        return "faster"
    return "same"


def compare(before, after):
    """One entry a key of either document, in the order of `after`, then what is gone."""
    old = {key_of(row): row for row in before["rows"]}
    new = {key_of(row): row for row in after["rows"]}
    entries = []
    for key in [*new, *(key for key in old if key not in new)]:
        was, now = old.get(key), new.get(key)
        entries.append({
            **dict(zip(KEY, key)),
            "before_ms": was and was["median_ms"], "after_ms": now and now["median_ms"],
            "ratio": now["median_ms"] / was["median_ms"] if was and now else None,
            "verdict": verdict(was, now),
        })
    return entries


def other_machine(before, after):
    """Why the two cannot be compared, or nothing."""
    for key in WHERE:
        if before.get(key) != after.get(key):
            return f"one ran on {key} '{before.get(key)}', the other on '{after.get(key)}'"
    return ""
