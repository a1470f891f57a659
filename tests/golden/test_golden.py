#!/usr/bin/env python3
"""test_golden -- weir decode prints what it printed when somebody last looked: see TESTLIST."""
import difflib
import os
import unittest

import golden


class Golden(unittest.TestCase):
    def test_list(self):
        tests = golden.tests()
        self.assertGreater(len(tests), 10)
        for name, source, expected, options in tests:
            with self.subTest(name):
                found = golden.run(os.environ["WEIR"], source, options)
                wanted = expected.read_text(encoding="utf-8")
                if found != wanted:
                    lines = difflib.unified_diff(wanted.splitlines(), found.splitlines(), str(expected.name), "found",
                                                 lineterm="", n=0)
                    self.fail("\n".join(list(lines)[:40]) + f"\nright? then: tools/update-golden {name}")

    def test_no_stray_files(self):
        """Every file of captures/ is used: one that is not would only seem to test something."""
        used = {p for _, source, expected, _ in golden.tests() for p in (source, expected)}
        self.assertEqual([], sorted(p.name for p in (golden.HERE / "captures").iterdir() if p not in used))

    def test_names_are_unique(self):
        names = [name for name, *_ in golden.tests()]
        self.assertEqual(len(names), len(set(names)))


if __name__ == "__main__":
    unittest.main(verbosity=1)
