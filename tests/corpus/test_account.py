#!/usr/bin/env python3
"""test_account -- every capture of the corpus through decoder and account: the ledger's rows add up to what was counted, also
over restarts and for damaged packets, and what is taken out of a capture is what they say is missing.

Exits 77 when the corpus is not there.
"""
import os
import re
import subprocess
import sys
import unittest

import corpus

CHECK = os.environ["WEIR_ACCOUNT_CHECK"]


class Account(unittest.TestCase):
    def test_every_capture(self):
        paths = [corpus.path(case.get("pcap") or case["files"][0]) for case in corpus.cases()
                 if "sflow5" not in case["versions"]]
        run = subprocess.run([CHECK, *paths], stdout=subprocess.PIPE, check=False)
        text = run.stdout.decode("utf-8", "replace")
        self.assertEqual(run.returncode, 0, text[-4000:])
        files, thinned, units, errors = map(int, re.search(
            r"(\d+) files, (\d+) of them with (\d+) units taken out, (\d+) errors", text).groups())
        self.assertEqual((files, errors), (len(paths), 0))
        self.assertGreater(thinned, 10)
        self.assertGreater(units, 100)


if __name__ == "__main__":
    if not corpus.present():
        print(f"skipped: no corpus at {corpus.CORPUS} (WEIR_CORPUS names another place)")
        sys.exit(77)
    unittest.main()
