#!/usr/bin/env python3
"""A collector that is killed and started again, also with another number of workers: what is in the archive is in the
ledger, what is not is lost in the ledger, and templates, sampling and sequence numbers go on."""
import collections
import glob
import json
import os
import re
import shutil
import struct
import time
import unittest

import ledger as L
import packets as P
from collector import DEADLINE_S, Collector, CollectorTest


class Restart(CollectorTest):
    def setUp(self):
        super().setUp()
        self.archive = self.path("archive")
        self.port = L.free_port()

    def saved_templates(self):
        """How many templates the next collector would find."""
        copy = self.path("copy")
        os.makedirs(copy, exist_ok=True)
        for name in glob.glob(os.path.join(self.archive, "weir.state*")):
            if re.search(r"state(\.w\d+)?$", name):
                shutil.copy(name, copy)
        with open(os.path.join(copy, "nothing.pcap"), "wb") as f:
            f.write(P.pcap([]))
        said = L.weir("collect", "--read", os.path.join(copy, "nothing.pcap"), "--state", os.path.join(copy, "weir.state"),
                      "-o", os.path.join(copy, "out")).stderr
        shutil.rmtree(copy)
        found = re.search(r"took up (\d+) templates", said)
        return int(found[1]) if found else 0

    def until_saved(self, n):
        end = time.monotonic() + DEADLINE_S
        while self.saved_templates() != n:
            self.assertLess(time.monotonic(), end, "the state was not saved")

    def collector(self, workers, *args):
        return Collector("--archive", self.archive, "--workers", workers, "--listen", f"127.0.0.1:{self.port}",
                         "--flush", "20ms", *args, host=None)


RATE = 40_000


class KilledUnderLoad(Restart):
    def run_through(self, form, kills):
        """One sender that never stops; collectors with these numbers of workers, all but the last one killed. Returns truth, the
        ledger and the flows in the archive.

        A kill may fall between the two writes of one flush, flows and then their account: what has no account is counted as lost
        although it is there. That is some microseconds in each flush; when it happens, it is done again."""
        for attempt in range(3):
            self.archive, self.port = self.path(f"archive-{attempt}"), L.free_port()
            t = self.kill_again_and_again(form, kills)
            if attempt < 2 and self.torn(len(kills) - 1):
                continue
            sums = L.check_laws(self, self.archive)
            self.assertEqual(sorted(sums), sorted(t["of"]))
            self.assertEqual({(r["waiting"], r["expired"], r["packets_rejected"], r["duplicates"], r["out_of_order"])
                              for r in sums.values()}, {(0, 0, 0, 0, 0)})
            for (_, _, version), r in L.streams_of(self.archive).items():
                self.assertEqual((version, r["restarts"]), ({"v5": 5, "v9": 9, "ipfix": 10}[form], 0))
            c = L.completeness(self.archive)
            self.assertEqual((c["uncounted_flows"], {x["cause"] for x in c["losses"]} - {"sequence", "down"}), (0, set()))
            return t, sums, L.stored(self.archive)

    def torn(self, kills):
        """Whether flows are stored that have no account: of one flush of some workers for each kill at most."""
        rows = L.stored(self.archive)
        more = {e: rows.get(e, 0) - s["flows"] for e, s in L.exporters_of(self.archive).items()}
        self.assertEqual(L.completeness(self.archive)["uncounted_flows"], sum(more.values()))
        self.assertGreaterEqual(min(more.values()), 0, more)
        self.assertLess(sum(more.values()), kills * RATE // 5, more)
        return any(more.values())

    def kill_again_and_again(self, form, kills):
        c = self.collector(kills[0])
        try:
            with L.Sender(self.port, "-F", form, "-e", "5", "-r", RATE, "-t", "3s") as sender:
                s = c.until("everybody there", lambda s: len(s["exporters"]) == 5)
                self.until_saved(s["decode"]["templates"])
                for i, workers in enumerate(kills[1:]):
                    # Killed in the middle of whatever it does then.
                    c.until("some written", lambda s: s["output"]["packets_written"] > 100 + 37 * i)
                    self.assertTrue(sender.sends())
                    c.kill()
                    c.__exit__()
                    c = self.collector(workers)
                t = sender.end()
            last = c.until("all decoded", lambda s: not s["receive"]["queued"])
            self.assertEqual((last["receive"]["kernel_drops"], last["receive"]["dropped"]), (0, 0))
            s = c.stop()
        finally:
            c.__exit__()
        self.assertEqual(s["receive"]["misdirected"], 0)
        self.assertEqual(s["output"]["records_lost"], 0)
        # What workers that are no more left behind is gone.
        self.assertEqual(len(glob.glob(os.path.join(self.archive, "weir.checkpoint-w*.a"))), int(kills[-1]))
        self.assertEqual(len(glob.glob(os.path.join(self.archive, "weir.state*"))), int(kills[-1]) + 1)  # and its lock
        return t

    def test_v5_counts_flows(self):
        t, sums, rows = self.run_through("v5", "1321")
        self.assertLess(sum(rows.values()), t["flows"])
        self.assertEqual({a: r["sequence_lost"] for a, r in sums.items()},
                         {a: e["flows"] - rows[a] for a, e in t["of"].items()})
        c = L.completeness(self.archive)
        self.assertEqual((c["lost"], c["flows"], c["estimated"]), (t["flows"] - sum(rows.values()), sum(rows.values()), False))
        self.assertAlmostEqual(c["share"], sum(rows.values()) / t["flows"], places=9)

    def test_ipfix_counts_records(self):
        t, sums, rows = self.run_through("ipfix", "132")
        self.assertLess(sum(rows.values()), t["flows"])
        # A template packet of weir gen has one options record.
        self.assertEqual({a: r["sequence_lost"] for a, r in sums.items()},
                         {a: e["flows"] + e["template_packets"] - rows[a] - sums[a]["options"] for a, e in t["of"].items()})

    def test_v9_counts_packets(self):
        t, sums, _ = self.run_through("v9", "2312")
        self.assertEqual({a: r["sequence_lost"] for a, r in sums.items()},
                         {a: e["packets"] - sums[a]["packets"] for a, e in t["of"].items()})


def options_template(sequence):
    body = struct.pack("!HHHHHHHHH", 257, 4, 8, 1, 4, 34, 4, 35, 1)
    return P.v9(struct.pack("!HH", 1, 4 + len(body) + 2) + body + bytes(2), count=1, sequence=sequence)


def sampling(sequence, rate):
    body = struct.pack("!IIB", 0, rate, 2)
    return P.v9(struct.pack("!HH", 257, 4 + len(body) + 3) + body + bytes(3), count=1, sequence=sequence)


ADDRESSES = [f"127.0.4.{k}" for k in range(1, 25)]


class WarmRestart(Restart):
    def setUp(self):
        super().setUp()
        self.socks = [L.exporter_socket(address) for address in ADDRESSES]
        for sock in self.socks:
            self.addCleanup(sock.close)

    def send(self, c, payloads):
        """From each address its payloads, always from the same port."""
        for sock in self.socks:
            c.send(*payloads, port=self.port, sock=sock)

    def test_templates_come_once(self):
        """Killed within a second after they were learnt; then again and again with data alone, among other numbers of workers."""
        sent = 0
        with self.collector("1") as c:
            self.send(c, [P.v9_template(), options_template(1), sampling(2, 1000), P.ipfix_template()])
            at = time.monotonic()
            c.decoded(4 * len(ADDRESSES))
            self.until_saved(3 * len(ADDRESSES))
            c.kill()
            self.assertLess(time.monotonic() - at, 5)  # a second, on a machine that has nothing else to do
        for i, workers in enumerate("32141"):
            with self.collector(workers) as c:
                self.send(c, [P.v9_data(range(i * 5, i * 5 + 5), sequence=3 + i), P.ipfix_data(range(7), sequence=7 * i)])
                sent += 2 * len(ADDRESSES)
                s = c.written(2 * len(ADDRESSES))
                self.assertEqual((s["decode"]["waiting"], s["decode"]["expired"], s["decode"]["templates_learnt"]), (0, 0, 0))
                self.assertEqual(s["decode"]["flows"], 12 * len(ADDRESSES))
                if i < 4:
                    c.kill()
                else:
                    c.stop()
        sums = L.check_laws(self, self.archive)
        self.assertEqual(set(sums), set(ADDRESSES))
        for r in sums.values():
            self.assertEqual((r["flows"], r["waiting"], r["expired"], r["sequence_lost"], r["duplicates"], r["out_of_order"]),
                             (60, 0, 0, 0, 0, 0))
        for (address, domain, version), r in L.streams_of(self.archive).items():
            self.assertEqual((r["restarts"], r["lost_flows"]), (0, 0), (address, domain))
            if version == 9:
                self.assertEqual((r["sampling_rate"], r["sampling_source"]), (1000, "options"))
        c = L.completeness(self.archive)
        self.assertEqual((c["share"], c["losses"], c["unsure_gaps"]), (1, [], 0))
        lines = L.weir("query", "-R", self.archive, "-q", "-o", "ndjson:protocol_version,sampling_rate").stdout.splitlines()
        self.assertEqual(collections.Counter((r["protocol_version"], r["sampling_rate"]) for r in map(json.loads, lines)),
                         {(9, 1000): 25 * len(ADDRESSES), (10, None): 35 * len(ADDRESSES)})

    def test_what_died_undelivered_is_lost_and_not_forgotten(self):
        """Templates are saved at once, flows each second: those that were decoded and not stored are missing."""
        def data(first, n):
            """Packets first to first + n, each of 5 flows."""
            return [payload for i in range(first, first + n)
                    for payload in (P.v9_data(range(5), sequence=1 + i), P.ipfix_data(range(5), sequence=5 * i))]

        with self.collector("2") as c:
            self.send(c, [P.v9_template(), P.ipfix_template(), *data(0, 10)])
            c.written(20 * len(ADDRESSES))
            self.until_saved(2 * len(ADDRESSES))
            c.kill()
        with self.collector("2", "--flush", "1h") as c:
            self.send(c, [*data(10, 3), P.v9(P.template_set(0, 300), count=1, sequence=14), P.ipfix(P.template_set(2, 300), sequence=65)])
            c.decoded(8 * len(ADDRESSES))
            self.until_saved(4 * len(ADDRESSES))
            c.kill()
        with self.collector("3") as c:
            self.send(c, [payload for i in range(10) for payload in (P.v9_data(range(5), sequence=15 + i),
                                                                     P.ipfix_data(range(5), sequence=65 + 5 * i))])
            c.written(20 * len(ADDRESSES))
            c.stop()
        L.check_laws(self, self.archive)
        for (_, _, version), r in L.streams_of(self.archive).items():
            self.assertEqual((r["flows"], r["sequence_lost"], r["expired"], r["restarts"]), (100, 4 if version == 9 else 15, 0, 0))

    def test_what_waited_for_its_template_is_told_of(self):
        """It cannot outlive the process; the ledger says that it waited in vain."""
        with self.collector("2") as c:
            self.send(c, [P.v9_data(range(5), sequence=i) for i in range(3)] + [P.v5(range(4))])
            c.until("seen and written", lambda s: s["decode"]["waiting"] == 3 * len(ADDRESSES)
                    and s["output"]["packets_written"] == len(ADDRESSES))
            c.kill()
        with self.collector("3") as c:
            c.stop()
        sums = L.check_laws(self, self.archive)
        self.assertEqual(set(sums), set(ADDRESSES))
        self.assertEqual({(r["packets"], r["waiting"], r["expired"], r["flows"]) for r in sums.values()}, {(4, 0, 3, 4)})

    def test_killed_before_anything_came(self):
        """The account of workers that are no more is taken once, however often the next ones are killed."""
        with self.collector("4") as c:
            self.send(c, [P.v5(range(6), sequence=6 * i) for i in range(5)])
            c.written(5 * len(ADDRESSES))
            c.kill()
        for workers in "1213":
            with self.collector(workers) as c:
                c.kill()
        with self.collector("2") as c:
            self.send(c, [P.v5(range(6), sequence=30)])
            c.written(len(ADDRESSES))
            c.stop()
        sums = L.check_laws(self, self.archive)
        self.assertEqual({(r["packets"], r["flows"], r["sequence_lost"]) for r in sums.values()}, {(6, 36, 0)})


class OldCheckpoint(Restart):
    """A checkpoint of long ago that stands there again: of what the ledger has, nothing counts twice, and of what only the lost
    one had, every answer says that it is not known."""

    def setUp(self):
        super().setUp()
        self.sent = 0

    def collect(self, c, n):
        """n packets of 30 flows, whose numbers go on."""
        with L.exporter_socket("127.0.4.1") as sock:
            c.send(*[P.v5(range(30), sequence=30 * (self.sent + i)) for i in range(n)], port=self.port, sock=sock)
        self.sent += n
        c.written(n)

    def checkpoints(self):
        out = {}
        for name in glob.glob(os.path.join(self.archive, "weir.checkpoint-*")):
            with open(name, "rb") as f:
                out[name] = f.read()
        return out

    def put_back(self, old):
        for name in self.checkpoints():
            os.remove(name)
        for name, octets in old.items():
            with open(name, "wb") as f:
                f.write(octets)

    def test_of_a_collector_that_was_stopped(self):
        with self.collector("2") as c:
            self.collect(c, 10)
            old = self.checkpoints()
            self.assertIn(10 * 30, {r["flows"] for r in L.exporters_of(self.archive).values()})
            c.send(P.v9_data(range(5), sequence=1), port=self.port)  # it waits in vain
            self.collect(c, 10)
            c.until("all there", lambda s: s["decode"]["waiting"] == 1)
            c.stop()
        self.put_back(old)
        with self.collector("1") as c:
            self.collect(c, 5)
            c.stop()
        sums = L.check_laws(self, self.archive)
        r = sums["127.0.4.1"]
        self.assertEqual((r["packets"], r["flows"], r["sequence_lost"]), (25, 750, 0))
        c = L.completeness(self.archive, "exporter ip 127.0.4.1")
        self.assertEqual((c["flows"], c["lost"], c["uncounted_flows"]), (750, 0, 0))

    def test_of_a_collector_that_was_killed(self):
        with self.collector("2") as c:
            self.collect(c, 10)
            old = self.checkpoints()
            self.collect(c, 10)
            c.stop()
        with self.collector("2") as c:
            self.collect(c, 5)
            c.kill()
        self.put_back(old)
        with self.collector("2") as c:
            self.assertRegex("".join(c.said), "weir.checkpoint-w[01] is older than the ledger")
            self.collect(c, 5)
            c.kill()
        for _ in range(2):  # as the checkpoint has it, and as the next collector files it
            r = L.exporters_of(self.archive)["127.0.4.1"]
            self.assertEqual((r["packets"], r["flows"], r["sequence_lost"], L.stored(self.archive)["127.0.4.1"]), (25, 750, 0, 900))
            c = L.completeness(self.archive)
            self.assertEqual((c["complete"], c["flows"], c["lost"], c["uncounted_flows"]), (False, 750, 0, 150))
            with self.collector("2") as c:
                c.stop()


if __name__ == "__main__":
    unittest.main()
