#!/usr/bin/env python3
"""weir archive: ls, info, verify, compact, expire, repair, on an archive of a few hours."""
import json
import os
import re
import signal
import subprocess
import tempfile
import time
import unittest

WEIR = os.environ["WEIR"]
DRIVER = os.environ["WEIR_ARCHIVE_DRIVER"]
HOUR = 3600
START = int(time.time()) // HOUR * HOUR - 30 * HOUR


class Archive(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.dir = os.path.join(self.folder.name, "archive")

    def fill(self, rows=150000, start=START, ledger=False):
        r = subprocess.run([DRIVER, "fill-ledger" if ledger else "fill", self.dir, str(rows), str(start)],
                           capture_output=True, text=True, check=True)
        flows, n_ledger = map(int, r.stdout.split())
        return (flows, n_ledger) if ledger else flows

    def weir(self, *args, status=0):
        r = subprocess.run([WEIR, "archive", *args], capture_output=True, text=True, cwd=self.folder.name, check=False)
        self.assertEqual(r.returncode, status, r.stdout + r.stderr)
        return r

    def lines(self, *args, status=0):
        return [json.loads(line) for line in self.weir(*args, "--json", status=status).stdout.splitlines()]

    def files(self, suffix):
        return [os.path.join(d, f) for d, _, names in os.walk(self.dir) for f in names if f.endswith(suffix)]

    def test_hours_and_days_are_listed(self):
        rows = self.fill()
        hours = self.lines("ls", self.dir)
        self.assertEqual([h["hour"] for h in hours],
                         [time.strftime("%Y-%m-%dT%H:00:00Z", time.gmtime(START + i * HOUR)) for i in range(len(hours))])
        self.assertEqual(len(hours), 3)
        self.assertEqual(sum(h["rows"] for h in hours), rows)
        self.assertEqual(sum(h["files"] for h in hours), len(self.files(".parquet")))
        self.assertEqual(sum(h["octets"] for h in hours), sum(map(os.path.getsize, self.files(".parquet"))))
        for h in hours:
            self.assertTrue(h["hour"] <= h["first_received"] <= h["last_received"] < h["hour"][:14] + "60")
            self.assertEqual((h["table"], h["open"], h["compacted"]), ("flows", 0, 0))
        text = self.weir("ls").stdout.splitlines()  # ./archive
        self.assertEqual(len(text), 4)
        self.assertRegex(text[1], rf"^{hours[0]['hour'][:10]} \d\d:00  flows +\d+ +{hours[0]['rows']} ")
        days = self.lines("info", "-a", self.dir)
        self.assertEqual(sum(d["rows"] for d in days), rows)
        self.assertLessEqual(len(days), 2)
        self.assertRegex(self.weir("info", self.dir).stdout, rf"(?m)^total +flows +\d+ +{rows} ")

    def test_damage_is_found(self):
        self.fill()
        self.assertRegex(self.weir("verify", self.dir).stdout, r"^\d+ files, \d+ rows: sound\n$")
        victim = sorted(self.files(".parquet"))[3]
        with open(victim, "r+b") as f:
            f.seek(os.path.getsize(victim) // 2)
            octet = f.read(1)
            f.seek(-1, os.SEEK_CUR)
            f.write(bytes([octet[0] ^ 1]))
        r = self.weir("verify", self.dir, status=1)
        self.assertIn(os.path.basename(victim)[:20], r.stdout)
        self.assertIn("1 of ", r.stderr)
        bad = [line for line in self.lines("verify", self.dir, status=1) if not line["sound"]]
        self.assertEqual([b["path"] for b in bad], [victim])
        self.assertTrue(bad[0]["error"])
        with open(victim, "r+b") as f:
            f.truncate(100)
        self.assertIn(os.path.basename(victim)[:20], self.weir("verify", self.dir, status=1).stdout)
        self.assertIn(os.path.basename(victim)[:20], self.weir("ls", self.dir, status=1).stderr)

    def test_compaction_by_hand(self):
        rows = self.fill()
        before = len(self.files(".parquet"))
        r = self.weir("compact", self.dir, "--older-than", "40h")
        self.assertRegex(r.stdout, "^0 hours compacted")
        r = self.weir("compact", self.dir)
        self.assertRegex(r.stdout, rf"^3 hours compacted: {before} files of \S+ -> 3 of \S+, {rows} rows")
        self.assertEqual(len(re.findall(r"hour=\d\d: \S+ -> \S+", r.stderr)), 3)
        self.assertEqual(sum(h["rows"] for h in self.lines("ls", self.dir)), rows)
        self.assertEqual([h["compacted"] for h in self.lines("ls", self.dir)], [1, 1, 1])
        self.weir("verify", self.dir)
        self.assertRegex(self.weir("compact", self.dir).stdout, "^0 hours compacted")

    def test_old_hours_expire(self):
        self.fill()
        hours = self.lines("ls", self.dir)
        r = self.weir("expire", self.dir, "--keep", "29h", "-n")
        self.assertIn("would be removed", r.stdout)
        self.assertEqual(self.lines("ls", self.dir), hours)
        self.weir("expire", self.dir, "--keep", f"{int(time.time()) - START - HOUR - 1}s")
        self.assertEqual(self.lines("ls", self.dir), hours[1:])
        self.weir("expire", self.dir, "--max-size", str(hours[2]["octets"] + 1000))
        self.assertEqual(self.lines("ls", self.dir), hours[2:])
        self.weir("expire", self.dir, "--keep", "1h")
        self.assertIn("is empty", self.weir("ls", self.dir).stderr)
        self.assertEqual(os.listdir(os.path.join(self.dir, "flows")), [])

    def test_repair_beside_and_without_a_writer(self):
        self.fill(1000)
        self.assertIn("nothing to repair", self.weir("repair", self.dir).stdout)
        writer = subprocess.Popen([DRIVER, "write", self.dir, "2000000", "0", "0", "0", "3"], stdout=subprocess.PIPE)
        writer.stdout.readline()
        r = self.weir("repair", self.dir, status=1)
        self.assertIn(f"process {writer.pid} writes the archive {self.dir}", r.stderr)
        opened = [h for h in self.lines("ls", self.dir) if h["open"]]
        self.assertTrue(opened)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        self.assertTrue(self.files(".journal"))
        self.assertRegex(self.weir("repair", self.dir).stderr, r"recovered \d+ rows")
        self.assertEqual(self.files(".journal") + self.files(".part"), [])
        with open(os.path.join(os.path.dirname(self.files(".parquet")[0]), "20200101T000000Z-w0-000001.part"), "w") as f:
            f.write("nothing that can be read")
        self.assertIn("its journal is missing", self.weir("repair", self.dir).stderr)
        self.assertEqual(len(self.files(".part")), 1)
        self.weir("repair", self.dir, "--move-damaged")
        self.assertEqual(os.listdir(os.path.join(self.dir, "damaged")), ["20200101T000000Z-w0-000001.part"])

    def test_the_ledger_goes_with_its_flows(self):
        flows, ledger = self.fill(ledger=True)
        lines = self.lines("ls", self.dir)
        hours = [h for h in lines if h["table"] == "flows"]
        self.assertEqual([h["hour"] for h in lines if h["table"] == "ledger"], [h["hour"] for h in hours])
        self.assertEqual([sum(h["rows"] for h in lines if h["table"] == t) for t in ("flows", "ledger")], [flows, ledger])
        self.assertRegex(self.weir("info", self.dir).stdout, rf"(?m)^total +ledger +\d+ +{ledger} ")
        self.assertRegex(self.weir("verify", self.dir).stdout, rf", {flows + ledger} rows: sound")
        self.assertTrue(all("/flows/" in f for f in self.files(".parquet")))
        r = subprocess.run([WEIR, "query", "-r", self.folder.name, "-I"], capture_output=True, text=True, check=True)
        self.assertRegex(r.stdout, rf"(?m)^Flows: {flows}$")
        self.assertEqual(r.stderr, "")
        self.assertRegex(self.weir("compact", self.dir).stdout, rf"^{2 * len(hours)} hours compacted: .* {flows + ledger} rows")
        self.assertEqual(len(self.files(".pq")), len(hours))
        size = {}
        for line in self.lines("ls", self.dir):
            size[line["hour"]] = size.get(line["hour"], 0) + line["octets"]
        sizes = [size[hour] for hour in sorted(size)]
        self.weir("expire", self.dir, "--max-size", str(sum(sizes) - 1))  # the ledger's oldest file would be enough
        self.assertEqual({h["hour"] for h in self.lines("ls", self.dir)}, {h["hour"] for h in hours[1:]})
        self.assertEqual(len(self.lines("ls", self.dir)), 2 * (len(hours) - 1))

    def test_what_cannot_be_read_is_named(self):
        self.fill(1000)
        hour = os.path.dirname(self.files(".parquet")[0])
        for journal in (None, b"", b"junk", b"weirjrnl", b"junk" * 100):
            path = os.path.join(hour, "20200101T000000Z-w0-000001.part")
            with open(path, "w") as f:
                f.write("PAR1 and rows")
            if journal is not None:
                with open(path[:-4] + "journal", "wb") as f:
                    f.write(journal)
            self.assertIn("20200101T000000Z", self.weir("verify", self.dir, status=1).stdout)
            r = subprocess.run([WEIR, "query", "-r", self.dir, "-n", "1"], capture_output=True, text=True, check=False)
            self.assertEqual(r.returncode, 1, r.stderr)
            self.assertIn("20200101T000000Z", r.stderr)

    def test_wrong_usage(self):
        for args in ((), ("show",), ("ls", "a", "b"), ("ls", "a", "-a", "b"), ("ls", "--keep", "1d"), ("expire",),
                     ("compact", "--level", "23"), ("verify", "--dry-run")):
            r = self.weir(*args, status=2)
            self.assertEqual(r.stdout, "")
            self.assertIn("weir archive", r.stderr)
        for action in ("ls", "info", "verify", "compact", "repair"):
            self.assertIn("nowhere", self.weir(action, "nowhere", status=1).stderr)
        self.assertIn("nowhere", self.weir("expire", "nowhere", "--keep", "1d", status=1).stderr)


if __name__ == "__main__":
    unittest.main()
