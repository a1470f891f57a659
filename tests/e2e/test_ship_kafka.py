#!/usr/bin/env python3
"""weir ship to Kafka: every flow arrives, also when the broker or weir ship is killed in the middle, and a consumer that looks
at weir-id has each once."""
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from collections import Counter

import kafka
from collector import DEADLINE_S, WEIR

DRIVER = os.environ["WEIR_ARCHIVE_DRIVER"]
HOUR = 3600
START = int(time.time()) // HOUR * HOUR - 30 * HOUR
PARTITIONS = 3


def varint(data, at):
    value = shift = 0
    while True:
        octet = data[at]
        at += 1
        value |= (octet & 127) << shift
        shift += 7
        if octet < 128:
            return value, at


def flowmessages(data):
    """Messages with their length in front, one behind the other: dictionaries of number and value."""
    at = 0
    while at < len(data):
        size, at = varint(data, at)
        end = at + size
        fields = {}
        while at < end:
            tag, at = varint(data, at)
            value, at = varint(data, at)
            if tag & 7 == 2:
                fields[tag >> 3] = data[at:at + value]
                at += value
            else:
                assert tag & 7 == 0, tag
                fields[tag >> 3] = value
        assert at == end
        yield fields


def once(messages):
    """As docs/kafka.md tells a consumer: of each file and partition only what is above the highest row that came before."""
    highest, out = {}, []
    for partition, key, row, value in messages:
        file, rows = row.rsplit(":", 1)
        last = int(rows.split("-")[-1])
        if last > highest.get((file, partition), -1):
            highest[file, partition] = last
            out.append((partition, key, row, value))
    return out


class Kafka(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        held = tempfile.TemporaryDirectory()
        cls.addClassCleanup(held.cleanup)
        cls.broker = kafka.broker(held.name)
        cls.addClassCleanup(cls.broker.close)
        print(f"broker: {cls.broker.what}", file=sys.stderr)

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.archive = os.path.join(self.folder.name, "archive")
        self.topic = self.id().rsplit(".", 1)[-1]
        self.scale = 1 if self.broker.real else 8  # the mock cluster keeps no more than 5 MB of a partition

    def url(self):
        return f"kafka://{self.broker.servers}/{self.topic}"

    def ready(self, *settings):
        """Options that make the topic: the mock cluster knows no CreateTopics."""
        if not self.broker.real:
            self.broker.topic(self.topic, PARTITIONS)
            return settings
        return ("--create", "-s", f"partitions={PARTITIONS}", "-s", "retention=1h", *settings)

    def weir(self, *args, status=0):
        r = subprocess.run([WEIR, *map(str, args)], capture_output=True, text=True, cwd=self.folder.name, check=False,
                           timeout=120)
        self.assertEqual(r.returncode, status, r.stdout + r.stderr)
        return r

    def ship(self, *args, status=0):
        return self.weir("ship", "-a", self.archive, "--once", *args, self.url(), status=status)

    def ship_on(self, *args):
        p = subprocess.Popen([WEIR, "ship", "-a", self.archive, *args, self.url()], stderr=subprocess.PIPE, text=True,
                             preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN))  # no room is an error then
        self.addCleanup(p.stderr.close)
        self.addCleanup(lambda: p.poll() is None and (p.kill(), p.wait()))
        return p

    def fill(self, rows, start=START):
        r = subprocess.run([DRIVER, "fill", self.archive, str(rows), str(start)], capture_output=True, text=True, check=True)
        return int(r.stdout.split()[0])

    def query(self, *args):
        lines = self.weir("query", "-r", self.archive, "-o", "ndjson", "--raw", *args).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def read(self):
        return kafka.read(self.broker.servers, self.topic)

    def until(self, what, condition):
        end = time.monotonic() + 3 * DEADLINE_S
        while not condition():
            self.assertLess(time.monotonic(), end, what)
            time.sleep(0.05)  # between two looks; nothing depends on its length

    def waiting(self):
        """Rows that are not delivered; without a cursor all."""
        lines = self.weir("ship", "-a", self.archive, "--status", "--json").stdout.splitlines()
        return json.loads(lines[0])["rows_waiting"] if lines else 1 << 60

    def same(self, messages, rows):
        """The flows of the messages are those of the query, in everything that is looked at here."""
        got = Counter((f.get(9, 0), f.get(10, 0), f.get(20, 0), f.get(21, 0), f.get(22, 0))
                      for m in messages for f in flowmessages(m[3]))
        want = Counter(tuple(r.get(n) or 0 for n in ("in_bytes", "in_packets", "proto", "src_port", "dst_port")) for r in rows)
        self.assertEqual(sum(got.values()), sum(want.values()))
        self.assertEqual(got, want)

    def test_all_flows_once(self):
        rows = self.fill(60000)
        self.ship(*self.ready())
        messages = self.read()
        self.assertEqual(len(messages), rows)
        self.assertEqual(len({m[2] for m in messages}), rows)
        self.assertEqual(len(once(messages)), rows)
        flows = self.query()
        self.same(messages, flows)
        self.assertEqual({m[1].decode() for m in messages}, {f["ip4_router"] for f in flows})
        partitions = {}
        for partition, key, _, _ in messages:
            partitions.setdefault(key, set()).add(partition)
        self.assertEqual({len(p) for p in partitions.values()}, {1})
        self.ship()
        self.assertEqual(len(self.read()), rows)

    def test_many_in_a_message(self):
        rows = self.fill(30000)
        self.ship(*self.ready("-s", "per-message=50", "-s", "key=none", "-s", "compression=zstd"))
        messages = self.read()
        self.assertLess(len(messages), rows / 40)
        self.same(messages, self.query())

    def test_json(self):
        self.fill(2000)
        self.ship(*self.ready("-f", "json", "-s", "ids=none"))
        got = Counter(json.dumps(json.loads(m[3]), sort_keys=True) for m in self.read())
        want = Counter(json.dumps({k: v for k, v in f.items() if k != "cnt"}, sort_keys=True) for f in self.query())
        self.assertEqual(got, want)

    def test_filter_keeps_row_numbers(self):
        self.fill(20000)
        self.ship(*self.ready("--filter", "src port < 20000"))
        some = self.read()
        self.same(some, self.query("src port < 20000"))
        ids = {m[2]: m[3] for m in some}
        self.assertEqual(len(ids), len(some))
        self.topic += "-all"
        self.ship(*self.ready())
        everything = {m[2]: m[3] for m in self.read()}
        for row, value in ids.items():
            self.assertEqual(everything[row], value)

    def test_no_topic(self):
        if not self.broker.real:
            self.skipTest("the mock cluster makes every topic")
        self.fill(1000)
        self.assertIn("--create", self.ship(status=1).stderr)
        self.assertIn("replication", self.ship("--create", "-s", "replication=5", status=1).stderr)
        self.assertIn("No such configuration property", self.ship("-s", "colour=red", status=2).stderr)

    def test_broker_killed_and_stalled(self):
        total, batch = self.fill(100000 // self.scale), 0
        p = self.ship_on(*self.ready("-s", "memory=8", "-s", "delivery.timeout.ms=2000", "-s", "compression=zstd"))
        for how, back in ((self.broker.kill, self.broker.start), (self.broker.pause, self.broker.resume)) * 2:
            self.until("something is delivered", lambda: self.waiting() < total)
            how()
            batch += 1
            self.fill(30000 // self.scale, START + batch * HOUR)  # while it is away
            if how == self.broker.pause:  # until it is given up
                self.assertIn("nothing acknowledged", self.line(p, "nothing acknowledged"))
            back()
            self.until("all is delivered", lambda: self.waiting() == 0)
        p.send_signal(signal.SIGTERM)
        self.assertEqual(p.wait(DEADLINE_S), 0)
        messages = self.read()
        self.same(once(messages), self.query())

    def line(self, p, text):
        while True:
            line = p.stderr.readline()
            self.assertTrue(line, f"no {text!r}")
            if text in line:
                return line

    def test_ship_killed(self):
        rows = self.fill(300000 // self.scale)
        settings = self.ready("-s", "linger.ms=5", "-s", "compression=zstd")
        left = 1 << 60
        for _ in range(3):
            p = self.ship_on(*settings)
            self.until("something is delivered", lambda n=left: not n or self.waiting() < n or p.poll() is not None)
            p.kill()
            p.wait()
            left = self.waiting()
        self.ship(*settings)
        messages = self.read()
        self.assertGreaterEqual(len(messages), rows)
        self.same(once(messages), self.query())

    def test_cursor_damaged_and_no_room_for_it(self):
        """What is forgotten comes again, and the ids tell."""
        rows = self.fill(300000 // self.scale)
        settings = self.ready("-s", "linger.ms=5", "-s", "compression=zstd", "-s", "memory=8")
        cursor = os.path.join(self.archive, "ship", "here.cursor")
        for spoilt in (True, False):
            p = self.ship_on("--name", "here", *settings)
            self.until("two cursors", lambda: os.path.exists(cursor + ".old") or p.poll() is not None)
            resource.prlimit(p.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            self.fill(20000 // self.scale, START + (2 + spoilt) * HOUR)
            self.line(p, "cannot be noted")
            p.kill()
            p.wait()
            if spoilt:
                with open(cursor, "r+b") as f:
                    f.truncate(os.path.getsize(cursor) // 2)
        self.ship("--name", "here", *settings)
        messages = self.read()
        self.assertGreater(len(messages), rows)
        self.same(once(messages), self.query())


if __name__ == "__main__":
    unittest.main()
