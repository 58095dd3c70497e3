"""deploy/summarise_tests.py counts cases, names skips with their reasons and fails when it must."""

import os
import subprocess
import sys
import tempfile
import unittest

import project_files as pf

SCRIPT = os.path.join(pf.ROOT, "deploy", "summarise_tests.py")
GTEST = """<testsuites><testsuite name="A">
<testcase name="Adds" classname="A" status="run" result="completed"/>
{case}
</testsuite></testsuites>"""
FAILED = '<testcase name="Two" classname="A" status="run"><failure message="x"/></testcase>'
SKIPPED = '<testcase name="Two" classname="A" status="run"><skipped message="a.cc:3&#x0A;{why}"/></testcase>'


class Summary(unittest.TestCase):
    def summarise(self, ctest, gtest=None, shared=None):
        """Exit status and output for one build with these results."""
        with tempfile.TemporaryDirectory() as folder:
            build = os.path.join(folder, "release")
            os.makedirs(os.path.join(build, "gtest"))
            with open(os.path.join(build, "ctest.xml"), "w", encoding="utf-8") as file:
                file.write(f'<testsuite time="3">{ctest}</testsuite>')
            if gtest:
                with open(os.path.join(build, "gtest", "a_test.xml"), "w", encoding="utf-8") as file:
                    file.write(gtest)
            command = [sys.executable, SCRIPT, "--shared", folder if shared else folder + "/none", build]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            return done.returncode, done.stdout

    def test_counts_cases_not_programs(self):
        status, out = self.summarise(
            '<testcase name="a_test" status="run"/><testcase name="b" status="run"/>',
            GTEST.format(case=SKIPPED.format(why="no GPU")),
        )
        self.assertEqual(out.splitlines()[-1], "2 passed, 0 failed, 1 skipped")
        self.assertIn("Skipped, no GPU (1):", out)
        self.assertEqual(status, 0)

    def test_failed_case_fails_the_whole(self):
        status, out = self.summarise(
            '<testcase name="a_test" status="fail"><failure message=""/></testcase>',
            GTEST.format(case=FAILED),
        )
        self.assertEqual(out.splitlines()[-1], "1 passed, 1 failed, 0 skipped")
        self.assertEqual(status, 1)

    def test_crash_counts_though_all_cases_passed(self):
        status, out = self.summarise(
            '<testcase name="a_test" status="fail"><failure message="SEGFAULT"/></testcase>',
            GTEST.format(case=""),
        )
        self.assertEqual(out.splitlines()[-1], "1 passed, 1 failed, 0 skipped")
        self.assertIn("SEGFAULT", out)
        self.assertEqual(status, 1)

    def test_other_skip_fails_only_with_shared(self):
        case = GTEST.format(case=SKIPPED.format(why="shared inputs absent"))
        entry = '<testcase name="a_test" status="run"/>'
        self.assertEqual(self.summarise(entry, case)[0], 0)
        status, out = self.summarise(entry, case, shared=True)
        self.assertEqual(status, 1)
        self.assertIn("SKIPPED WITHOUT LEAVE", out)

    def test_python_programs_count_by_their_cases(self):
        text = (
            "test_a (m.T.test_a) ... ok\ntest_b (m.T.test_b) ... skipped 'no GPU'\n"
            "test_c (m.T.test_c)\nWhat it does. ... ok\n"
        )
        status, out = self.summarise(
            f'<testcase name="p" status="run"><system-out>{text}</system-out></testcase>'
        )
        self.assertEqual(out.splitlines()[-1], "2 passed, 0 failed, 1 skipped")
        self.assertEqual(status, 0)

    def test_test_that_did_not_run_is_a_failure(self):
        status, out = self.summarise(
            '<testcase name="a_test" status="notrun"><skipped message="Unable to find executable"/></testcase>'
            '<testcase name="b" status="run"/>'
        )
        self.assertEqual(out.splitlines()[-1], "1 passed, 1 failed, 0 skipped")
        self.assertEqual(status, 1)

    def test_nothing_run_is_a_failure(self):
        self.assertEqual(self.summarise("")[0], 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
