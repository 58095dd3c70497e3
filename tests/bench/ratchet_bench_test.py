#!/usr/bin/env python3
"""bench/ratchet-bench: what it calls slower, what it refuses, and one real step of the trainer."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(os.environ.get("RATCHET_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
PROGRAMS = pathlib.Path(os.environ["RATCHET_BINARY_DIR"]) / "bin"
sys.path.insert(0, str(ROOT / "bench" / "support"))

import bench_rows  # noqa: E402

KERNEL_TABLE = (
    "op\tdtype\tshape\tp10_ms\tmedian_ms\tp90_ms\tfloor_bytes\tGB_per_s\tcopy_GB_per_s\tof_copy\trepeats\n"
    "rope_forward\tbf16\tT8 q1\t0.9\t1.0\t1.1\t2000000000\t2000.0\t4000.0\t0.500\t100\n"
)


def row(median, spread=0.1, **more):
    return {"name": "step", "dtype": "fp32", "shape": "a", "p10_ms": median - spread,
            "median_ms": median, "p90_ms": median + spread, "repeats": 9} | more


def document(*rows, **more):
    return {"schema": "bench/1", "cpu": "A", "gpu": "", "rows": list(rows)} | more


class Verdicts(unittest.TestCase):
    def test_only_spreads_that_do_not_touch_differ(self):
        for before, after, want in ((10.0, 10.1, "same"), (10.0, 10.2, "same"), (10.0, 10.3, "slower"),
                                    (10.3, 10.0, "faster"), (10.0, 10.0, "same")):
            self.assertEqual(bench_rows.verdict(row(before), row(after)), want, (before, after))

    def test_a_wide_spread_hides_a_small_change(self):
        self.assertEqual(bench_rows.verdict(row(10.0, spread=2.0), row(11.0)), "same")

    def test_new_and_gone_rows_are_named(self):
        entries = bench_rows.compare(document(row(1.0), row(2.0, shape="b")),
                                     document(row(1.0), row(3.0, shape="c")))
        self.assertEqual([(e["shape"], e["verdict"]) for e in entries],
                         [("a", "same"), ("c", "new"), ("b", "gone")])
        self.assertEqual(entries[0]["ratio"], 1.0)

    def test_shares_of_the_ceiling(self):
        (kernel,) = bench_rows.kernel_rows(KERNEL_TABLE)
        self.assertEqual(bench_rows.key_of(kernel), ("rope_forward", "bf16", "T8 q1"))
        self.assertAlmostEqual(bench_rows.share(kernel), 0.5)
        self.assertAlmostEqual(bench_rows.share(row(1000.0, flops=3e9, ceiling=6e9)), 0.5)
        self.assertIsNone(bench_rows.share(row(1.0)))


class Bench(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ratchet-bench-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def bench(self, *arguments):
        done = subprocess.run([sys.executable, ROOT / "bench" / "ratchet-bench", *map(str, arguments)],
                              capture_output=True, text=True, check=False, timeout=600)
        self.assertNotIn("Traceback", done.stderr)
        return done

    def file(self, name, content):
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    def test_compare_fails_on_what_is_slower(self):
        before = self.file("before.json", document(row(10.0)))
        same = self.bench("compare", before, before)
        self.assertEqual((same.returncode, "same" in same.stdout), (0, True), same.stderr)
        slow = self.bench("compare", before, self.file("after.json", document(row(20.0))), "--json")
        self.assertEqual(slow.returncode, 1, slow.stderr)
        (entry,) = json.loads(slow.stdout)["comparison"]
        self.assertEqual((entry["verdict"], entry["ratio"]), ("slower", 2.0))

    def test_what_cannot_be_used_is_told(self):
        good = self.file("good.json", document(row(10.0)))
        for other, words in (
            (self.folder / "absent.json", "cannot be read"),
            (self.file("text.json", "{"), "is no JSON"),
            (self.file("list.json", []), "is no result of ratchet-bench"),
            (self.file("rows.json", document() | {"rows": 3}), "no list of rows"),
            (self.file("names.json", document({"name": 1})), "no name, dtype and shape"),
            (self.file("times.json", document(row(10.0) | {"p10_ms": None})), "no times"),
            (self.file("order.json", document(row(10.0) | {"p10_ms": 11.0})), "out of order"),
            (self.file("other.json", document(row(10.0), cpu="B")), "cannot be compared"),
        ):
            done = self.bench("compare", good, other)
            self.assertEqual(done.returncode, 2, done.stdout)
            self.assertIn(words, done.stderr)
        unknown = self.bench("run", "swigl")
        self.assertEqual(unknown.returncode, 2)
        self.assertIn("Known: rmsnorm", unknown.stderr)

    def test_a_step_of_the_trainer(self):
        saved = self.folder / "step.json"
        done = self.bench("run", "step", "--shape", "2layers", "--repeats", 2, "--programs", PROGRAMS,
                          "--save", saved)
        self.assertEqual(done.returncode, 0, done.stderr)
        (measured,) = bench_rows.check_document(json.loads(saved.read_text()), saved)["rows"]
        self.assertEqual((measured["tokens"], measured["repeats"]), (256, 2))
        self.assertGreater(measured["peak_mib"], 10)
        # Two layers of 8 M weights and the tied head of 25 M: 4 FLOPs a weight and token, and a little.
        self.assertAlmostEqual(measured["flops"] / (4 * 256 * 38e6), 1.0, delta=0.15)
        self.assertGreater(measured["ceiling"], 1e8)

    def test_a_program_that_is_missing_is_told(self):
        done = self.bench("run", "step", "--shape", "2layers", "--programs", self.folder)
        self.assertEqual(done.returncode, 1)
        self.assertIn("failed: step llama_100m/2layers", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "--verbose"])
