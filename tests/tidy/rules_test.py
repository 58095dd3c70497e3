"""Runs tests/tidy/rules.py over the tree, and each rule of one file over a sample that breaks it."""

import unittest

import project_files as pf
import rules

TEXT_SUFFIXES = (".cc", ".h", ".cu", ".cuh", ".py", ".sh", ".cmake", ".rs", ".md", ".txt", ".toml",
                 ".json", ".yml", "Makefile", ".ci/run", ".in")  # fmt: skip

BROKEN = {
    rules.include_rules: ("proto/ids.cc", '#include "trainer/ops/rope_op.h"\n'),
    rules.json_stays_in_sources: ("proto/ids.h", "#pragma once\n#include <nlohmann/json.hpp>\n"),
    rules.torch_stays_in_its_folders: ("proto/ids.cc", "#include <ATen/ATen.h>\n"),
    rules.includes_what_it_names: ("kernels/reference/tolerance.h", "std::optional<int> x;\n"),
    rules.sizes: ("proto/ids.cc", "// " + "x" * 100 + "\n"),
    rules.banned_words: ("proto/ids.cc", "// TODO\n"),
    rules.no_places: ("proto/ids.cc", "// see /root/notes\n"),
    rules.header_habits: ("proto/ids.h", "using namespace std;\n"),
    rules.test_habits: ("tests/proto/ids_test.cc", "TEST(Ids, are_unique) { GTEST_SKIP(); }\n"),
    rules.own_header_first: ("proto/result.cc", "#include <string>\n"),
    rules.no_braces_in_awaits: ("proto/net/url.cc", "co_await send({.status = 200});\n"),
}


class Rules(unittest.TestCase):
    pass


def over_files(rule):
    def test(self):
        found = []
        for path in pf.with_suffix(TEXT_SUFFIXES):
            found += rule(path, pf.read(path))
        if found:
            self.fail("\n" + "\n".join(found))

    return test


def over_tree(rule):
    def test(self):
        found = rule(pf.all_files())
        if found:
            self.fail("\n" + "\n".join(found))

    return test


def finds_its_sample(rule):
    def test(self):
        self.assertNotEqual(rule(*BROKEN[rule]), [], f"{rule.__name__} misses its sample")

    return test


for one in rules.FILE_RULES:
    setattr(Rules, f"test_{one.__name__}", over_files(one))
    setattr(Rules, f"test_{one.__name__}_finds_its_sample", finds_its_sample(one))
for one in rules.TREE_RULES:
    setattr(Rules, f"test_{one.__name__}", over_tree(one))


if __name__ == "__main__":
    unittest.main(verbosity=2)
