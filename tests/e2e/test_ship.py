#!/usr/bin/env python3
"""weir ship into files and commands: every row once, over restarts, beside a collector, compaction and expiry."""
import fcntl
import glob
import json
import os
import re
import signal
import socket
import struct
import subprocess
import tempfile
import time
import unittest
from collections import Counter

from collector import DEADLINE_S, WEIR, Collector

DRIVER = os.environ["WEIR_ARCHIVE_DRIVER"]
HOUR = 3600
START = int(time.time()) // HOUR * HOUR - 30 * HOUR


def ipfix(domain, *sets):
    """A message; sets are (id, *16-bit words or octets)."""
    body = b""
    for number, *parts in sets:
        octets = b"".join(p if isinstance(p, bytes) else struct.pack("!H", p) for p in parts)
        body += struct.pack("!HH", number, 4 + len(octets)) + octets
    return struct.pack("!HHIII", 10, 16 + len(body), int(time.time()), 0, domain) + body


# src_addr, dst_addr, in_if, out_if, bytes, packets
FLOW_TEMPLATE = (2, 256, 6, 8, 4, 12, 4, 10, 4, 14, 4, 1, 8, 2, 8)
# Of an interface (scope): its name; of the domain: 1 packet of so many is looked at.
NAME_TEMPLATE = (3, 257, 2, 1, 10, 4, 82, 8)
RATE_TEMPLATE = (3, 258, 2, 1, 149, 4, 34, 4)


def flows(n):
    """From interface 1 to 2, with 64 octets each."""
    return (256, b"".join(struct.pack("!IIIIQQ", 0xC0000201, 0xC6336401 + i, 1, 2, 64, 1) for i in range(n)))


def names(**of):
    return (257, b"".join(struct.pack("!I8s", int(i[1:]), name.encode()) for i, name in of.items()))


class Ship(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.archive = os.path.join(self.folder.name, "archive")
        self.out = os.path.join(self.folder.name, "out.ndjson")

    def weir(self, *args, status=0):
        r = subprocess.run([WEIR, *map(str, args)], capture_output=True, text=True, cwd=self.folder.name, check=False)
        self.assertEqual(r.returncode, status, r.stdout + r.stderr)
        return r

    def ship(self, *args, status=0, to=None):
        return self.weir("ship", "-a", self.archive, *args, *([to] if to != "" else []), status=status) if to is not None \
            else self.weir("ship", "-a", self.archive, *args, f"file:{self.out}", status=status)

    def fill(self, rows=150000, start=START):
        r = subprocess.run([DRIVER, "fill", self.archive, str(rows), str(start)], capture_output=True, text=True, check=True)
        return int(r.stdout.split()[0])

    def lines(self, path=None):
        with open(path or self.out, encoding="utf-8") as f:
            return f.read().splitlines()

    def query(self, *args):
        """Rows as the query shows them, but for their number."""
        text = self.weir("query", "-r", self.archive, "-o", "ndjson", "--raw", "--utc", *args).stdout
        return [re.sub(r'"cnt":\d+,', "", line, count=1) for line in text.splitlines()]

    def same(self, got, want):
        """The same lines, as often."""
        got, want = Counter(got), Counter(want)
        for what, lines in (("missing", want - got), ("too many", got - want)):
            if lines:
                self.fail(f"{sum(lines.values())} lines {what}, such as {next(iter(lines))}")

    def cursors(self):
        return glob.glob(os.path.join(self.archive, "ship", "*.cursor"))

    def test_all_rows_once(self):
        rows = self.fill()
        self.ship("--once")
        self.assertEqual(len(self.lines()), rows)
        self.same(self.lines(), self.query())
        self.ship("--once")
        self.assertEqual(len(self.lines()), rows)
        [status] = [json.loads(s) for s in self.ship("--status", "--json", to="").stdout.splitlines()]
        self.assertEqual((status["rows_waiting"], status["running"]), (0, False))
        # More rows, in an hour before those that are done.
        more = self.fill(20000, START - 5 * HOUR)
        [status] = [json.loads(s) for s in self.ship("--status", "--json", to="").stdout.splitlines()]
        self.assertEqual(status["rows_waiting"], more)
        self.assertIn(f"{more} rows of ", self.ship("--status", to="").stdout)
        self.ship("--once")
        self.assertEqual(len(self.lines()), rows + more)

    def status(self, **of):
        """Of the only destination, or of the one that `of` names."""
        every = {s["name"]: s for s in map(json.loads, self.ship("--status", "--json", to="").stdout.splitlines())}
        return every[of["name"]] if of else next(iter(every.values()))

    def metrics(self, text):
        """{(metric, name): value}; every line is in the form that node_exporter takes."""
        values, typed = {}, {}
        for line in text.splitlines():
            if m := re.fullmatch(r"# TYPE (weir_ship_\w+) (gauge|counter)", line):
                self.assertNotIn(m[1], typed)
                typed[m[1]] = m[2]
            elif not re.fullmatch(r"# HELP weir_ship_\w+ [^\\]+", line):
                m = re.fullmatch(r'(weir_ship_\w+)\{name="([^"]*)",destination="((?:[^"\\]|\\.)*)"\} (\d+(?:\.\d+)?)', line)
                self.assertTrue(m, line)
                self.assertIn(m[1], typed)
                self.assertEqual(m[1].endswith("_total"), typed[m[1]] == "counter")
                self.assertNotIn((m[1], m[2]), values)
                values[m[1][len("weir_ship_"):], m[2]] = float(m[4])
        return values

    def test_lag(self):
        rows = self.fill()
        begun = int(time.time())
        self.ship("--once", "--name", "done")
        self.ship("--once", "--name", "away", "--hold", "1G", to='command:echo "\\"; exit 1', status=1)
        sizes = sum(os.path.getsize(f) for f in self.files())
        for name, waiting in (("done", 0), ("away", rows)):
            s = self.status(name=name)
            self.assertEqual((s["rows_waiting"], s["files_waiting"], s["octets_waiting"], s["hold"]),
                             (waiting, len(self.files()) if waiting else 0, sizes if waiting else 0, (1 << 30) if waiting else 0))
            self.assertEqual((s["running"], s["cursor_damaged"], s["damaged_files"]), (False, False, 0))
            self.assertGreaterEqual(s["cursor_written"], begun)
            if waiting:  # the driver's rows begin at START
                self.assertAlmostEqual(s["lag_s"], time.time() - START, delta=60)
            else:
                self.assertEqual(s["lag_s"], 0)
        got = self.metrics(self.ship("--status", "--metrics", "-", to="").stdout)
        self.assertEqual((got["waiting_rows", "done"], got["waiting_rows", "away"]), (0, rows))
        self.assertEqual((got["hold_bytes", "away"], got["waiting_bytes", "away"], got["running", "away"]), (1 << 30, sizes, 0))
        self.assertNotIn(("delivered_rows_total", "away"), got)
        # Into a file, by those who deliver: their own destinations.
        path = os.path.join(self.folder.name, "weir.prom")
        more = self.fill(20000, START + 5 * HOUR)
        self.ship("--once", "--name", "done", "--metrics", path)
        with open(path, encoding="utf-8") as f:
            got = self.metrics(f.read())
        self.assertEqual({name for _, name in got}, {"done"})
        self.assertEqual([got[k, "done"] for k in ("delivered_rows_total", "waiting_rows", "lag_seconds", "running", "away")],
                         [more, 0, 0, 0, 0])
        self.assertEqual([n for n in os.listdir(self.folder.name) if "weir.prom" in n], ["weir.prom"])
        # One that nobody can read is said, the other one is there.
        for suffix in ("", ".old"):
            with open(os.path.join(self.archive, "ship", "away.cursor" + suffix), "wb") as f:
                f.write(b"weir-cursor 1\n")
        bad = self.ship("--status", "--json", to="", status=1)
        self.assertIn("away", bad.stderr)
        self.assertEqual([json.loads(s)["name"] for s in bad.stdout.splitlines()], ["done"])
        self.assertIn("weir.prom", self.ship("--status", "--metrics", "/nowhere/weir.prom", to="", status=1).stderr)

    def test_lag_of_a_file_that_is_half_done(self):
        """It is that of the first row that waits, not of the file."""
        with Collector("-a", self.archive, "--flush", "100ms") as c:
            shipper = self.start()
            self.gen(c.ports[0], 1000, 1)
            self.until_lines(1000)
            shipper.send_signal(signal.SIGTERM)
            self.assertEqual(shipper.wait(DEADLINE_S), 0)
            done = time.time()
            while self.status()["rows_waiting"] == 0:
                self.gen(c.ports[0], 1000, 2)
            self.assertLessEqual(self.status()["lag_s"], time.time() - done)
            shipper = self.start("--metrics", os.path.join(self.folder.name, "m"))
            self.until_lines(2000)
            shipper.send_signal(signal.SIGTERM)
            self.assertEqual(shipper.wait(DEADLINE_S), 0)
            c.stop()

    def test_lag_in_the_accounting_of_a_collector(self):
        rows = self.fill(3000)
        self.ship("--once", "--name", "done")
        self.ship("--once", "--name", "away", to="command:exit 1", status=1)
        with Collector("-a", self.archive, "--no-compact") as c:
            s = c.until("it has looked", lambda s: "delivery" in s)
            got = {d["name"]: (d["rows_waiting"], d["lag_s"] > 0, d["destination"]) for d in s["delivery"]}
            self.assertEqual(got, {"done": (0, False, f"file:{self.out}"), "away": (rows, True, "command:exit 1")})
            c.stop()
        with Collector("-a", self.archive, "--no-compact", "--stats-format", "text") as c:
            end = time.monotonic() + DEADLINE_S
            while not any("delivery to" in line for line in c.said) and time.monotonic() < end:
                c.process.send_signal(signal.SIGUSR1)
                c.wait_for("stats: output records")
            c.stop()
        self.assertRegex("".join(c.said), f"stats: delivery to away: not running; {rows} rows of \\d+ files wait")

    def test_filter(self):
        self.fill(50000)
        want = len(self.query("src port < 1024"))
        self.ship("--once", "--filter", "src port < 1024")
        self.assertEqual(len(self.lines()), want)
        bad = self.ship("--once", "--filter", "src prot 3", status=2)
        self.assertIn("filter", bad.stderr)

    def test_begin_now(self):
        self.fill(20000)
        self.ship("--once", "--begin", "now")
        self.assertEqual(len(self.lines()) if os.path.exists(self.out) else 0, 0)
        more = self.fill(1000, START + 5 * HOUR)
        self.ship("--once")
        self.assertEqual(len(self.lines()), more)

    def test_command_and_stdout(self):
        rows = self.fill(20000)
        self.ship("--once", to=f"command:cat > {self.out}")
        self.assertEqual(len(self.lines()), rows)
        self.assertEqual(len(self.ship("--once", to="file:-").stdout.splitlines()), rows)
        # One that takes nothing, one that is not there: the cursor stays where it is.
        failed = self.ship("--once", to="command:exit 3", status=1)
        self.assertIn("exit 3", failed.stderr)
        self.ship("--once", "--name", "full", to="file:/dev/full", status=1)
        waiting = {s["name"]: s["rows_waiting"]
                   for s in map(json.loads, self.ship("--status", "--json", to="").stdout.splitlines())}
        self.assertEqual(waiting["full"], rows)

    def test_half_a_line_is_cut(self):
        rows = self.fill(3000)
        with open(self.out, "w", encoding="utf-8") as f:
            f.write('{"before":1}\n{"cut of')
        self.ship("--once")
        self.assertEqual(len(self.lines()), rows + 1)
        for line in self.lines():
            json.loads(line)

    def test_cursor_damaged(self):
        rows = self.fill(3000)
        self.ship("--once")
        more = self.fill(1000, START + 5 * HOUR)
        self.ship("--once")
        [path] = self.cursors()
        with open(path, "r+b") as f:
            f.seek(40)
            f.write(b"#")
        said = self.ship("--once").stderr  # the one before it: what came since comes again
        self.assertIn("damaged", said)
        self.assertGreaterEqual(len(self.lines()), rows + more)
        self.assertEqual(set(self.lines()), set(self.lines()[:rows + more]))
        for p in (path, path + ".old"):
            with open(p, "wb") as f:
                f.write(b"weir-cursor 1\n")
        said = self.ship("--once", status=1).stderr
        self.assertIn("--forget", said)
        name = os.path.basename(path)[:-len(".cursor")]
        self.ship("--forget", name, to="")
        self.ship("--once")
        self.assertEqual(self.cursors(), [path])

    def test_damaged_file(self):
        """What cannot be read is said, and everything else comes."""
        rows = self.fill()
        path = self.files()[0]
        with open(path, "r+b") as f:
            f.truncate(os.path.getsize(path) // 2)
        said = self.ship("--once", status=1).stderr
        self.assertIn(os.path.basename(path), said)
        self.assertIn("1 files cannot be read", said)
        n = len(self.lines())
        self.assertLess(n, rows)
        self.assertGreater(n, rows // 2)
        self.ship("--once", status=1)
        self.assertEqual(len(self.lines()), n)

    def test_wrong_usage(self):
        self.fill(1000)
        for args, word in (((), "destination"), (("nowhere:x",), "nowhere"), (("--set", "x", "file:y"), "--set"),
                           (("--set", "x=1", "file:y"), "'x'"), (("file:",), "file:"), (("--name", "a/b", "file:y"), "--name"),
                           (("-f", "xml", "file:y"), "xml"), (("-f", "flowmessage", "file:y"), "flowmessage")):
            self.assertIn(word, self.weir("ship", "-a", self.archive, *args, status=2).stderr)
        self.weir("ship", "-a", os.path.join(self.folder.name, "none"), "file:y", status=1)
        self.assertIn("ship", self.weir("ship", "--help").stdout)
        self.assertIn("file", self.weir("ship", "--formats").stdout)
        self.ship("--once", "--name", "a")
        self.assertIn("--forget a", self.ship("--once", "--name", "a", to="file:other", status=2).stderr)

    def test_compaction_waits(self):
        rows = self.fill()
        self.ship("--once", "--name", "done")
        half = os.path.join(self.folder.name, "half.ndjson")
        self.ship("--once", "--name", "half", to=f"file:{half}")
        before = self.files()
        more = self.fill(50000)  # some of the same hours again
        new = set(self.files()) - set(before)
        self.weir("archive", "compact", self.archive)
        self.assertLessEqual(new, set(self.files()))
        self.ship("--once", "--name", "done")
        self.weir("archive", "compact", self.archive)
        self.assertLessEqual(new, set(self.files()))
        self.ship("--once", "--name", "half", to=f"file:{half}")
        self.weir("archive", "compact", self.archive)
        self.assertTrue(all("-c0-" in f for f in self.files()))
        for name, path in (("done", self.out), ("half", half)):  # nothing comes again
            self.ship("--once", "--name", name, to=f"file:{path}")
            self.assertEqual(len(self.lines(path)), rows + more)
        self.assertFalse(new & set(self.files()))
        # One that begins now gets what compaction made.
        late = os.path.join(self.folder.name, "late.ndjson")
        self.ship("--once", "--name", "late", to=f"file:{late}")
        self.same(self.lines(late), self.lines())

    def test_new_one_waits_for_compaction(self):
        rows = self.fill(3000)
        with open(os.path.join(self.archive, "compact.lock"), "w", encoding="ascii") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            p = subprocess.Popen([WEIR, "ship", "-a", self.archive, "--once", f"file:{self.out}"], stderr=subprocess.PIPE, text=True)
            self.addCleanup(p.stderr.close)
            self.addCleanup(p.wait)
            self.addCleanup(p.kill)
            self.assertIn("waits for the end of a compaction", p.stderr.readline())
            self.assertEqual(self.cursors(), [])
        self.assertEqual(p.wait(DEADLINE_S), 0)
        self.assertEqual(len(self.lines()), rows)

    def files(self):
        return sorted(glob.glob(os.path.join(self.archive, "flows", "*", "*", "*.parquet")))

    def test_hold(self):
        self.fill()
        self.ship("--once", "--name", "free", "--begin", "now")
        self.ship("--once", "--name", "held", "--begin", "now", "--hold", "1G", to="file:held")
        before = self.files()
        self.fill(50000)
        new = set(self.files()) - set(before)
        said = self.weir("archive", "expire", self.archive, "--max-size", "1").stderr
        self.assertIn("held for 'held'", said)
        self.assertLessEqual(new, set(self.files()))
        self.ship("--once", "--name", "held", "--hold", "1", to="file:held")
        self.fill(50000)
        said = self.weir("archive", "expire", self.archive, "--max-size", "1").stderr
        self.assertIn("'free' has not got all of it", said)
        self.assertIn("'held' has not got all of it", said)
        self.assertEqual(self.files(), [])

    def start(self, *args):
        p = subprocess.Popen([WEIR, "ship", "-a", self.archive, *args, f"file:{self.out}"], stderr=subprocess.PIPE, text=True)
        self.addCleanup(p.stderr.close)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        self.assertIn("delivers", p.stderr.readline())
        return p

    def until_lines(self, n):
        end = time.monotonic() + DEADLINE_S
        while True:
            have = 0
            if os.path.exists(self.out):
                with open(self.out, "rb") as f:
                    have = f.read().count(b"\n")
            if have >= n:
                return have
            self.assertLess(time.monotonic(), end, f"{have} of {n} lines after {DEADLINE_S} s")
            time.sleep(0.05)  # a deadline's poll, nothing depends on its length

    def gen(self, port, n, seed):
        self.weir("gen", "-n", n, "-r", "20k", "-q", "--seed", seed, f"127.0.0.1:{port}")

    def test_behind_a_collector(self):
        """Rows follow while they are collected; a shipper that is killed goes on where it was."""
        with Collector("-a", self.archive, "--flush", "200ms") as c:
            shipper = self.start()
            self.gen(c.ports[0], 5000, 1)
            self.until_lines(5000)
            self.assertIn("another process", self.ship("--once", status=1).stderr)
            [status] = [json.loads(s) for s in self.ship("--status", "--json", to="").stdout.splitlines()]
            self.assertTrue(status["running"])
            gen = subprocess.Popen([WEIR, "gen", "-n", "40000", "-r", "20k", "-q", "--seed", "2", f"127.0.0.1:{c.ports[0]}"])
            for at in (10000, 20000, 30000):
                self.until_lines(at)
                shipper.kill()
                shipper.wait()
                shipper = self.start()
            self.assertEqual(gen.wait(), 0)
            self.until_lines(45000)
            stats = c.stop()
        shipper.send_signal(signal.SIGTERM)
        self.assertEqual(shipper.wait(DEADLINE_S), 0)
        self.ship("--once")
        want, got = self.query(), self.lines()
        self.assertEqual(len(want), 45000, stats)
        self.same(set(got), set(want))  # some may have come twice

    def test_names_and_rates_of_options(self):
        """A row says what the query says: names and rates of options records that came before it, or until it is delivered."""
        with Collector("-a", self.archive, "--flush", "100ms") as c:
            shipper = self.start()
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.addCleanup(sock.close)
            c.send(ipfix(7, FLOW_TEMPLATE, NAME_TEMPLATE, RATE_TEMPLATE, flows(5)), sock=sock)
            self.until_lines(5)
            for row in map(json.loads, self.lines()):
                self.assertEqual([row.get(k) for k in ("in_if_name", "out_if_name", "sampling_rate")], [None] * 3)
            c.send(ipfix(7, names(i1="eth1")), sock=sock)
            c.send(ipfix(7, flows(5)), sock=sock)
            self.until_lines(10)
            for row in map(json.loads, self.lines()[5:]):
                self.assertEqual([row.get(k) for k in ("in_if_name", "out_if_name")], ["eth1", None])
            c.send(ipfix(7, names(i1="uplink", i2="eth2"), (258, struct.pack("!II", 7, 1000))), sock=sock)
            c.send(ipfix(7, flows(5)), sock=sock)
            self.until_lines(15)
            for row in map(json.loads, self.lines()[10:]):
                self.assertEqual([row.get(k) for k in ("in_if_name", "out_if_name", "sampling_rate")], ["uplink", "eth2", 1000])
            c.stop()
        shipper.send_signal(signal.SIGTERM)
        self.assertEqual(shipper.wait(DEADLINE_S), 0)
        # With all that is known now.
        late = os.path.join(self.folder.name, "late.ndjson")
        self.ship("--once", "--name", "late", to=f"file:{late}")
        self.same(self.lines(late), self.query())
        rows = [json.loads(line) for line in self.lines(late)]
        self.assertEqual([(r["in_if_name"], r["out_if_name"], r["sampling_rate"]) for r in rows], [("uplink", "eth2", 1000)] * 15)
        self.assertEqual({r["in_bytes"] for r in rows}, {64})  # as received, not multiplied


if __name__ == "__main__":
    unittest.main()
