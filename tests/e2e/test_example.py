#!/usr/bin/env python3
"""docs/example.c and docs/example_arrow.c, compiled against libweir and libweir-archive as a user would: payload files,
captures and archives in, lines out."""
import json
import os
import struct
import subprocess
import tempfile
import unittest

EXAMPLE = os.environ["WEIR_EXAMPLE"]
EXAMPLE_ARROW = os.environ["WEIR_EXAMPLE_ARROW"]
WEIR = os.environ["WEIR"]


def v9(templates, body):
    sets = b""
    if templates:
        t = struct.pack("!HH", 256, 6) + b"".join(
            struct.pack("!HH", *f) for f in [(8, 4), (12, 4), (1, 4), (2, 4), (22, 4), (21, 4)])
        sets += struct.pack("!HH", 0, 4 + len(t)) + t
    if body:
        sets += struct.pack("!HH", 256, 4 + len(body)) + body
    return struct.pack("!HHIIII", 9, 1, 100000, 1700000000, 1, 0) + sets


class Example(unittest.TestCase):
    def run_on(self, *packets):
        with tempfile.TemporaryDirectory() as folder:
            names = []
            for i, packet in enumerate(packets):
                names.append(os.path.join(folder, f"{i}.bin"))
                with open(names[-1], "wb") as f:
                    f.write(packet)
            return subprocess.run([EXAMPLE, *names], capture_output=True, text=True, timeout=60, check=False)

    def test_flow(self):
        body = bytes([192, 0, 2, 7, 198, 51, 100, 9]) + struct.pack("!IIII", 4200, 3, 90000, 91500)
        want = "192.0.2.7 -> 198.51.100.9: 4200 octets in 3 packets, 1.500 s\n"
        for what, packets in [("template first", [v9(True, b""), v9(False, body)]),
                              ("data first", [v9(False, body), v9(True, b"")]),
                              ("one packet", [v9(True, body)])]:
            with self.subTest(what):
                r = self.run_on(*packets)
                self.assertEqual((r.returncode, r.stdout), (0, want), r.stderr)
                self.assertIn("1 flows; 0 packets still wait", r.stderr)

    def test_waiting(self):
        r = self.run_on(v9(False, bytes(24)))
        self.assertEqual((r.returncode, r.stdout), (0, ""))
        self.assertIn("0 flows; 1 packets still wait", r.stderr)

    def test_bad_input(self):
        r = self.run_on(b"\x00\x09\x00", b"")
        self.assertEqual((r.returncode, r.stdout), (1, ""))
        self.assertEqual(len(r.stderr.splitlines()), 3)

    def test_missing_file(self):
        r = subprocess.run([EXAMPLE, "/nowhere/at/all"], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(r.returncode, 1)
        self.assertIn("/nowhere/at/all", r.stderr)


class ExampleArrow(unittest.TestCase):
    """A capture and an archive made of it have the same flows."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.capture = os.path.join(cls.folder.name, "g.pcap")
        cls.archive = os.path.join(cls.folder.name, "archive")
        subprocess.run([WEIR, "gen", "--ipfix", "-n", "3000", "-e", "2", "-w", cls.capture], capture_output=True,
                       timeout=60, check=True)
        subprocess.run([WEIR, "collect", "-r", cls.capture, "-a", cls.archive], capture_output=True, timeout=60,
                       check=True)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def run_on(self, *arguments):
        return subprocess.run([EXAMPLE_ARROW, *arguments], capture_output=True, text=True, timeout=60, check=False)

    def query(self, *arguments):
        r = subprocess.run([WEIR, "query", "-r", self.archive, *arguments], capture_output=True, text=True, timeout=60,
                           check=True)
        return [json.loads(line) for line in r.stdout.splitlines()]

    def test_archive(self):
        r = self.run_on(self.archive, "proto tcp")
        self.assertEqual(r.returncode, 0, r.stderr)
        rows = self.query("-A", "src_addr", "-O", "bytes", "-n", "10", "-o", "ndjson:src_addr,n_flows,bytes", "proto tcp")
        self.assertEqual(len(rows), 10)
        self.assertEqual(r.stdout, "".join(f"{row['src_addr']} {row['n_flows']} {row['bytes']}\n" for row in rows))
        summary = json.loads(r.stderr)["summary"]
        self.assertTrue(summary["completeness"]["complete"], summary)

    def test_capture(self):
        r = self.run_on(self.capture)
        self.assertEqual(r.returncode, 0, r.stderr)
        rows = self.query("-A", "exporter", "-o", "ndjson:exporter,n_flows,bytes")
        self.assertEqual(len(rows), 2)
        self.assertEqual(sorted(r.stdout.splitlines()),
                         sorted(f"{row['exporter']} {row['n_flows']} {row['bytes']}" for row in rows))

    def test_failures(self):
        r = self.run_on(self.archive, "prto tcp")
        self.assertEqual((r.returncode, r.stdout), (1, ""))
        self.assertIn("line 1, column 1", r.stderr)
        r = self.run_on("/nowhere/at/all")
        self.assertEqual((r.returncode, r.stdout), (1, ""))
        self.assertIn("/nowhere/at/all", r.stderr)
        self.assertEqual(self.run_on().returncode, 2)


if __name__ == "__main__":
    unittest.main()
