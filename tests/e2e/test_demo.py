#!/usr/bin/env python3
"""tools/demo, what ./run --demo shows: its packets are right, and the answers come out."""
import os
import re
import socket
import subprocess
import sys
import tempfile
import unittest

ROOT = os.environ["WEIR_ROOT"]
WEIR = os.environ["WEIR"]


def free_port():
    """A UDP port that nobody has just now, on every address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("", 0))
        return s.getsockname()[1]


class Demo(unittest.TestCase):
    def test_answers_are_shown(self):
        with tempfile.TemporaryDirectory() as folder:
            r = subprocess.run([sys.executable, os.path.join(ROOT, "tools/demo"), "--weir", WEIR, "--archive", folder,
                                "--to", f"127.0.0.1:{free_port()}", "--seconds", "1", "--rate", "800",
                                "--stats-format", "text"],
                               capture_output=True, text=True, timeout=120, check=False, cwd=folder)
            self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
            # Five senders, five flows, and a bar or more.
            shown = re.findall(r"^.*(?:192\.0\.2|198\.51\.100|203\.0\.113|2001:db8:)[.:].*$", r.stdout, re.M)
            self.assertEqual(len(shown), 10, r.stdout)
            self.assertRegex(r.stdout, r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +[\d.]+.*[█#]")
            # The last accounting: all decoded, all records flows, nothing waits, nothing is rejected.
            packets = re.findall(r"stats: packets (\d+) = decoded (\d+) \+ waiting 0 \+ expired 0 \+ rejected 0", r.stderr)
            self.assertTrue(packets, r.stderr)
            self.assertEqual(packets[-1][0], packets[-1][1])
            self.assertGreater(int(packets[-1][0]), 20)
            records = re.findall(r"stats: records (\d+) = flows (\d+) \+ options 0 \+ rejected 0", r.stderr)
            self.assertEqual(records[-1][0], records[-1][1])
            self.assertEqual(int(records[-1][0]), 800)
            self.assertNotRegex(r.stderr, r"faults|sequence_lost|values_bad|elements_unknown")
            for router in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
                self.assertIn(f"exporter {router}", r.stderr)


if __name__ == "__main__":
    unittest.main()
