#!/usr/bin/env python3
"""What may happen between an archive and a destination: the network cut, stalled, deaf; weir ship killed; its cursor damaged;
no room for the cursor. Afterwards every flow has arrived, and after de-duplication once: counts and sums are those of `weir gen`."""
import glob
import json
import os
import resource
import signal
import subprocess
import tempfile
import threading
import time
import unittest

import clickhouse
from collector import DEADLINE_S, WEIR
from cut import Cut

ROWS = 200000


def weir(*args, status=0):
    r = subprocess.run([WEIR, *map(str, args)], capture_output=True, text=True, check=False, timeout=DEADLINE_S * 3)
    if r.returncode != status:
        raise AssertionError(f"{args}: exit status {r.returncode}: {r.stdout}{r.stderr}")
    return r.stdout


def no_signal():
    """What goes beyond a limit of file sizes is then an error, as a full disk is, and no signal."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


class Base(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        held = tempfile.TemporaryDirectory(prefix="weir-ship-faults-")
        cls.addClassCleanup(held.cleanup)
        cls.folder = held.name
        cls.capture = os.path.join(held.name, "flows.pcap")
        truth = os.path.join(held.name, "truth.json")
        weir("gen", "-n", ROWS, "-e", "3", "-w", cls.capture, "--truth", truth)
        with open(truth, encoding="ascii") as f:
            cls.truth = json.load(f)

    def setUp(self):
        held = tempfile.TemporaryDirectory(dir=self.folder)
        self.addCleanup(held.cleanup)
        self.archive = os.path.join(held.name, "archive")
        weir("collect", "--read", self.capture, "--archive", self.archive)
        self.process, self.said = None, []

    def run_ship(self, *args, **more):
        """Its words go through a pipe: what has no room for files has room for them."""
        p = subprocess.Popen([WEIR, "ship", "-a", self.archive, *args], stderr=subprocess.PIPE, preexec_fn=no_signal, **more)
        reader = threading.Thread(target=lambda: self.said.extend(p.stderr), daemon=True)
        reader.start()
        self.process = p
        self.addCleanup(lambda: (p.poll() is None and (p.kill(), p.wait()), reader.join(), p.stderr.close()))

    def log(self):
        return b"".join(self.said).decode()

    def cursor(self):
        return glob.glob(os.path.join(self.archive, "ship", "*.cursor"))[0]

    def damage(self):
        with open(self.cursor(), "r+b") as f:
            f.seek(os.path.getsize(self.cursor()) // 2)
            octet = f.read(1)[0]
            f.seek(-1, os.SEEK_CUR)
            f.write(bytes([octet ^ 1]))

    def no_room(self, yes):
        """For what the running process writes into files."""
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (0 if yes else hard, hard))

    def until(self, what, ready):
        end = time.monotonic() + 2 * DEADLINE_S
        while not ready():
            self.assertLess(time.monotonic(), end, what)
            time.sleep(0.02)  # between two looks; nothing depends on its length


@unittest.skipIf(clickhouse.Server.missing, clickhouse.Server.missing)
class Database(Base):
    """ClickHouse behind a network that fails."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = clickhouse.Server()
        cls.addClassCleanup(cls.server.stop)
        cls.server.start()

    def setUp(self):
        super().setUp()
        self.net = Cut(self.server.port)
        self.addCleanup(self.net.close)
        self.db = self.id().rsplit(".", 1)[-1]

    def start(self, *settings):
        args = [a for s in ("rows=5000", "timeout=1", "compress=none", *settings) for a in ("--set", s)]
        self.run_ship("--create", "--report", "0", *args, f"clickhouse://127.0.0.1:{self.net.port}/{self.db}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.process.wait(DEADLINE_S), 0)

    def count(self):
        if not self.server.exists(self.db, "flows"):
            return 0
        return int(self.server.value(f"SELECT count() FROM {self.db}.flows"))

    def more(self, rows=10000):
        """So many more have arrived, and there are some left."""
        n = min(self.count() + rows, ROWS)
        self.until(f"{n} rows", lambda: self.count() >= n)

    def all_once(self, repeated=False):
        self.until("all rows", lambda: int(self.server.value(f"SELECT uniqExact(file, row) FROM {self.db}.flows")) >= ROWS)
        self.until("its cursor", lambda: json.loads(weir("ship", "-a", self.archive, "--status", "--json"))["rows_waiting"] == 0)
        self.stop()
        want = [[str(self.truth[k]) for k in ("flows", "flow_packets", "flow_octets")]]
        self.assertEqual(want[0][0], str(ROWS))
        rows = f"{self.db}.flows" if not repeated else \
            f"(SELECT file, row, any(packets) AS packets, any(bytes) AS bytes FROM {self.db}.flows GROUP BY file, row)"
        self.assertEqual(self.server.rows(f"SELECT count(), sum(packets), sum(bytes) FROM {rows}"), want, self.log())

    def test_network_cut(self):
        self.start()
        for octets in (300000, 1000000, 2500000):  # an INSERT has about a million
            self.more()
            self.net.cut_after(octets)
            self.until("a cut", lambda: self.net.mode == "cut")
            self.net.pass_on()
        self.all_once()
        self.assertGreaterEqual(self.net.broken(), 3)

    def test_network_stalled(self):
        self.start()
        self.more()
        self.net.stall()
        self.until("it is given up", lambda: "does not answer in time" in self.log())
        self.net.pass_on()
        self.all_once()

    def test_answers_lost(self):
        """The server has stored what it could not acknowledge: it is not there twice."""
        self.start()
        for n in (1, 2):
            self.more()
            before = self.net.broken()
            self.net.lose_answers()
            self.until("an answer was lost", lambda b=before, n=n: self.net.broken() >= b + n)
            self.net.pass_on()
        self.all_once()

    def test_cursor_damaged_on_the_way(self):
        self.start()
        for _ in range(3):
            self.more()
            self.until("two cursors", lambda: os.path.exists(self.cursor() + ".old"))
            self.kill()
            self.damage()
            self.start()
        self.all_once()
        self.assertIn("the newest cursor is damaged", self.log())

    def test_cursor_damaged_and_nothing_asked(self):
        """A table that is not asked what it has gets rows again: file and row tell which."""
        self.start("check=no")
        self.more()
        self.until("two cursors", lambda: os.path.exists(self.cursor() + ".old"))
        self.kill()
        self.damage()
        self.start("check=no")
        self.all_once(repeated=True)

    def test_no_room_for_the_cursor(self):
        self.start()
        self.more()
        self.no_room(True)
        self.until("it is said", lambda: "cannot be noted" in self.log())
        noted = os.stat(self.cursor())
        self.more(30000)  # delivery goes on
        self.assertEqual(os.stat(self.cursor()).st_mtime_ns, noted.st_mtime_ns)
        self.kill()  # all that was not noted is to be delivered again
        self.start()
        self.more()
        self.no_room(True)
        self.until("it is said again", lambda: self.log().count("cannot be noted") >= 2)
        self.no_room(False)
        self.all_once()


class Lines(Base):
    """What cannot be asked what it has: at least once, and once when lines that came twice are dropped."""

    def start(self, *args):
        self.run_ship("--name", "lines", *args, "file:-", stdout=subprocess.PIPE)
        self.addCleanup(self.process.stdout.close)

    def read(self, n):
        lines = [self.process.stdout.readline() for _ in range(n)]
        return [line for line in lines if line.endswith(b"\n")]

    def test_no_room_for_the_cursor(self):
        self.start()
        got = self.read(ROWS // 4)
        self.no_room(True)
        noted = os.stat(self.cursor()).st_mtime_ns
        got += self.read(ROWS - len(got))
        self.until("it is said", lambda: "cannot be noted" in self.log())
        self.process.kill()
        self.assertEqual(os.stat(self.cursor()).st_mtime_ns, noted)
        got += [line for line in self.process.stdout if line.endswith(b"\n")]
        self.start("--once")
        again = [line for line in self.process.stdout if line.endswith(b"\n")]
        self.assertEqual(self.process.wait(DEADLINE_S), 0)
        self.assertGreaterEqual(len(got) + len(again), ROWS)
        rows = [json.loads(line) for line in set(got + again)]
        self.assertEqual([len(rows), sum(r["in_packets"] for r in rows), sum(r["in_bytes"] for r in rows)],
                         [self.truth[k] for k in ("flows", "flow_packets", "flow_octets")])


if __name__ == "__main__":
    unittest.main()
