#!/usr/bin/env python3
"""weir ship to another collector as IPFIX, over UDP and TCP: the archive that it keeps answers as the first one does."""
import json
import os
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import unittest

from collector import DEADLINE_S, WEIR, Collector

# What the other archive has of its own: who sent it the flows, and when.
OWN = {"cnt", "received", "ip4_router", "exporter_port", "protocol_version", "sequence", "template_id", "sampling_source"}
FLOWS = 60000


def without(record, names):
    return json.dumps({k: v for k, v in record.items() if k not in names}, sort_keys=True)


class Receiver:
    """Reads messages from the connections of a TCP port, and counts records by sequence numbers and by template."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.sessions = []  # of each: [messages]
        self.close_after = None  # octets of the first session
        self.changed = threading.Condition()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            connection, _ = self.socket.accept()
            with self.changed:
                self.sessions.append([])
            with connection, connection.makefile("rb") as f:
                taken = 0
                while len(head := f.read(16)) == 16:
                    version, length, _, sequence, domain = struct.unpack(">HHIII", head)
                    assert version == 10
                    body = f.read(length - 16)
                    taken += length
                    with self.changed:
                        self.sessions[-1].append((sequence, domain, body))
                        self.changed.notify_all()
                    if len(self.sessions) == 1 and self.close_after is not None and taken >= self.close_after:
                        break

    def records(self, session):
        """Data records, with templates read from the session alone."""
        templates, expected, n = {}, {}, 0
        for sequence, domain, body in session:
            assert expected.setdefault(domain, 0) == sequence, "sequence numbers do not count records of the session"
            at = 0
            while at < len(body):
                set_id, length = struct.unpack_from(">HH", body, at)
                part = body[at + 4:at + length]
                at += length
                if set_id == 2:
                    while part:
                        template, count = struct.unpack_from(">HH", part)
                        part = part[4:]
                        fields = []
                        for _ in range(count):
                            element, octets = struct.unpack_from(">HH", part)
                            fields.append(octets)
                            part = part[8 if element & 0x8000 else 4:]
                        assert (domain, template) not in templates, "a template comes once a session"
                        templates[domain, template] = fields
                    continue
                here = 0
                while part:
                    for octets in templates[domain, set_id]:
                        if octets == 65535:
                            octets = part[0] + 1 if part[0] < 255 else struct.unpack_from(">H", part, 1)[0] + 3
                        part = part[octets:]
                    here += 1
                n += here
                expected[domain] += here
        return n


class ShipIpfix(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.a, self.b = (os.path.join(self.folder.name, name) for name in "ab")

    def weir(self, *args, status=0):
        r = subprocess.run([WEIR, *map(str, args)], capture_output=True, text=True, cwd=self.folder.name, check=False,
                           timeout=4 * DEADLINE_S)
        self.assertEqual(r.returncode, status, r.stdout + r.stderr)
        return r

    def fill(self, version, flows=FLOWS, *more):
        capture = os.path.join(self.folder.name, f"{version}.pcap")
        self.weir("gen", "-F", version, "-n", flows, "-e", "3", "-w", capture, *more)
        self.weir("collect", "--read", capture, "--archive", self.a, "--stats-interval", "0")

    def rows(self, archive):
        text = self.weir("query", "-r", archive, "-o", "ndjson", "--raw", "--utc").stdout
        return [json.loads(line) for line in text.splitlines()]

    def sums(self, archive):
        out = self.weir("query", "-r", archive, "-s", "proto/bytes", "-n", "0", "-o", "ndjson").stdout
        return sorted(out.splitlines())

    def same(self):
        a, b = self.rows(self.a), self.rows(self.b)
        own = OWN | (set().union(*b) - set().union(*a))
        got, want = (sorted(without(r, own) for r in rows) for rows in (b, a))
        for x, y in zip(got, want):
            self.assertEqual(x, y)
        self.assertEqual(len(a), len(b))
        self.assertEqual({r["ip4_router"] for r in a}, {r["exporterIPv4Address"] for r in b})
        self.assertEqual(self.sums(self.a), self.sums(self.b))

    def collect(self, flows, *ship):
        with Collector("--archive", self.b) as collector:
            self.weir("ship", "-a", self.a, "--once", *ship, f"ipfix://127.0.0.1:{collector.ports[0]}")
            collector.until("all rows received", lambda s: s["decode"]["flows"] >= flows)
            return collector.stop()

    def test_udp(self):
        for version in ("v5", "v9", "ipfix"):
            with self.subTest(version):
                self.a, self.b = (os.path.join(self.folder.name, version + name) for name in "ab")
                self.fill(version)
                self.collect(FLOWS)
                self.same()

    def test_sampling_and_settings(self):
        self.fill("v9", 20000, "--sampling", "100")
        self.collect(20000, "--set", "message=600", "--set", "rate=50000")
        self.same()
        self.assertEqual({r.get("sampling_rate") for r in self.rows(self.b)}, {100})

    def test_refused_waits(self):
        """Nobody listens: the flows stay in the archive."""
        self.fill("ipfix", 5000)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        failed = self.weir("ship", "-a", self.a, "--once", f"ipfix://127.0.0.1:{port}", status=1)
        self.assertIn("refused", failed.stderr)
        status = json.loads(self.weir("ship", "-a", self.a, "--status", "--json").stdout)
        self.assertEqual(status["rows_waiting"], 5000)

    def test_tcp(self):
        self.fill("ipfix")
        receiver = Receiver()
        self.weir("ship", "-a", self.a, "--once", f"ipfix+tcp://127.0.0.1:{receiver.port}")
        [session] = receiver.sessions
        with receiver.changed:
            self.assertTrue(receiver.changed.wait_for(lambda: receiver.records(session) == FLOWS, DEADLINE_S))

    def test_tcp_reconnects(self):
        """A session that the collector ends is begun again with its templates, and all flows come."""
        self.fill("ipfix")
        receiver = Receiver()
        receiver.close_after = 100000
        with subprocess.Popen([WEIR, "ship", "-a", self.a, "--report", "0", f"ipfix+tcp://127.0.0.1:{receiver.port}"],
                              stderr=subprocess.PIPE, text=True) as ship:
            try:
                with receiver.changed:
                    self.assertTrue(receiver.changed.wait_for(lambda: len(receiver.sessions) > 1, DEADLINE_S))
                    # What the first session's kernel acknowledged and nobody read is what TCP cannot tell.
                    self.assertTrue(receiver.changed.wait_for(lambda: receiver.records(receiver.sessions[-1]) > 0, DEADLINE_S))
            finally:
                ship.send_signal(signal.SIGTERM)
                said = ship.communicate(timeout=DEADLINE_S)[1]
        self.assertIn("what is not delivered waits in the archive", said)

    def test_usage(self):
        for args, word in ((("--set", "message=100", "ipfix://h"), "message"), (("--set", "refresh=1", "ipfix+tcp://h"), "refresh"),
                           (("ipfix://h/path",), "HOST:PORT"), (("ipfix://h:99999",), "port"), (("-f", "json", "ipfix://h"), "format")):
            with self.subTest(args):
                os.makedirs(self.a, exist_ok=True)
                self.assertIn(word, self.weir("ship", "-a", self.a, *args, status=2).stderr)


if __name__ == "__main__":
    unittest.main()
