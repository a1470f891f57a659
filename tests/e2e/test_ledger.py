#!/usr/bin/env python3
"""The loss ledger of a running collector: what it says was received, lost, repeated and thrown away is what happened, to
the packet, under load and with everything going wrong that can."""
import glob
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import tempfile
import threading
import time
import unittest

import ledger as L
import packets as P
from collector import DEADLINE_S, WEIR, Collector, CollectorTest

FORMATS = ("v5", "v9", "ipfix")


class Case(CollectorTest):
    def setUp(self):
        super().setUp()
        self.archive = self.path("archive")

    def collector(self, *args, **more):
        return Collector("--archive", self.archive, *args, **more)


class Injected(Case):
    """`weir gen` loses, repeats and reorders packets on purpose and says how many."""

    def run_through(self, form, workers, *args):
        self.archive = self.path(f"{form}-{workers}")
        with self.collector("--workers", workers) as c:
            t = L.gen(c.ports[0], "-F", form, "-n", "12k", "-e", "4", "-r", "300k", "--template-every", "25", *args)
            c.decoded(t["packets"])
            s = c.stop()
        self.assertEqual((s["receive"]["kernel_drops"], s["receive"]["dropped"], s["receive"]["misdirected"]), (0, 0, 0))
        sums = L.check_laws(self, self.archive)
        self.assertEqual(sorted(sums), sorted(t["of"]))
        for address, e in t["of"].items():
            got = sums[address]
            with self.subTest(form=form, exporter=address):
                self.assertEqual(got["packets"], e["packets"])
                self.assertEqual(got["octets"], e["octets"])
                self.assertEqual(got["flows"], e["flows"] + e["twice_flows"])
                self.assertEqual(got["sequence_lost"], e["lost_units"])
                self.assertEqual(got["duplicates"], e["twice_packets"])
                self.assertEqual((got["waiting"], got["expired"], got["packets_rejected"], got["records_rejected"]),
                                 (0, 0, 0, 0))
        return t, sums

    def test_loss(self):
        for form, workers in zip(FORMATS, (1, 2, 3)):
            t, sums = self.run_through(form, workers, "--drop", "3/50")
            self.assertGreater(t["lost_flows"], 500)
            by = {r["exporter"]: r for r in L.streams_of(self.archive).values()}
            c = L.completeness(self.archive)
            self.assertTrue(c["known"])
            self.assertFalse(c["complete"])
            self.assertEqual((c["flows"], c["down_us"], c["unsure_gaps"]), (t["flows"], 0, 0))
            losses = {}
            for loss in c["losses"]:
                self.assertEqual(loss["cause"], "sequence")
                losses[loss["exporter"]] = losses.get(loss["exporter"], 0) + loss["flows"]
            self.assertEqual(sorted(losses), sorted(t["of"]))
            self.assertEqual(c["exporters_with_loss"], 4)
            self.assertEqual(c["estimated"], form != "v5")
            for address, e in t["of"].items():
                about = e["lost_flows"]
                if form == "v5":
                    self.assertEqual((losses[address], by[address]["lost_flows"]), (about, about))
                else:
                    self.assertAlmostEqual(losses[address], about, delta=about / 5)
                    self.assertAlmostEqual(by[address]["lost_flows"], about, delta=about / 5)
            self.assertAlmostEqual(c["share"], t["flows"] / (t["flows"] + sum(losses.values())), places=9)
            one = sorted(t["of"])[1]
            c = L.completeness(self.archive, "router", "ip", one)
            self.assertEqual({loss["exporter"] for loss in c["losses"]}, {one})
            self.assertEqual(c["flows"], sums[one]["flows"])

    def test_repeated_and_overtaken_is_not_lost(self):
        for form, workers in zip(FORMATS, (2, 3, 1)):
            t, sums = self.run_through(form, workers, "--duplicate", "2/20", "--reorder", "16")
            self.assertGreater(t["twice_packets"], 20)
            self.assertGreater(t["overtaken_packets"], 20)
            # A packet that came late and twice is one of each.
            self.assertGreaterEqual(sum(s["out_of_order"] for s in sums.values()), t["overtaken_packets"] // 2)
            c = L.completeness(self.archive)
            self.assertEqual((c["complete"], c["share"], c["losses"]), (True, 1, []))

    def test_all_at_once(self):
        for form in FORMATS:
            self.run_through(form, 2, "--drop", "1/10", "--duplicate", "1/9", "--reorder", "7")


class Conservation(Case):
    """Every packet and every flow is in exactly one sum, whatever the packets are."""

    def traffic(self, rng):
        """[(address, port, payload)] of eight exporters: all protocols, damaged packets, data before their templates."""
        out = []
        for k in range(8):
            address = f"127.0.{rng.randrange(2, 200)}.{k + 1}"
            ports = [20000 + rng.randrange(20000) for _ in range(2)]
            mine, sequence = [], 0
            for i in range(120):
                numbers = range(i * 5, i * 5 + rng.randrange(1, 6))
                form = rng.choice((P.v1(numbers), P.v5(numbers, sequence=i * 5), P.v9_data(numbers, sequence=i),
                                   P.v9_data(numbers, sequence=i, source=8), P.ipfix_data(numbers, sequence=sequence)))
                sequence += len(numbers)
                kind = rng.random()
                if kind < 0.15:  # cut short
                    form = form[:rng.randrange(len(form))]
                elif kind < 0.35:  # spoilt
                    at = rng.randrange(len(form))
                    form = form[:at] + bytes([rng.randrange(256)]) + form[at + 1:]
                elif kind < 0.4:
                    form = rng.randbytes(rng.randrange(200))
                mine.append((address, rng.choice(ports), form))
            for template in (P.v9_template(), P.ipfix_template()):  # source 8 never gets one
                mine.insert(rng.randrange(len(mine)), (address, ports[0], template))
            out.append(mine)
        mixed = []
        while any(out):
            mixed.append(rng.choice([mine for mine in out if mine]).pop(0))
        return mixed

    def test_whatever_comes(self):
        for seed, workers in ((1, 1), (2, 3), (3, 3)):
            with self.subTest(seed=seed, workers=workers):
                traffic = self.traffic(random.Random(seed))
                self.archive = self.path(f"archive-{seed}")
                sent, socks = {}, {}
                with self.collector("--workers", workers) as c:
                    for address, port, payload in traffic:
                        if (address, port) not in socks:
                            socks[address, port] = L.exporter_socket(address, port)
                        c.send(payload, sock=socks[address, port])
                        sent[address] = sent.get(address, 0) + 1
                    s = c.decoded(len(traffic))
                    self.assertGreater(s["decode"]["waiting"], 10)
                    s = c.stop()
                for sock in socks.values():
                    sock.close()
                sums = L.check_laws(self, self.archive)
                self.assertEqual({e: r["packets"] for e, r in sums.items()}, sent)
                for name in ("decoded", "expired", "records", "flows", "options", "records_rejected"):
                    if name != "records":
                        self.assertEqual(sum(r[name] for r in sums.values()), s["decode"][name], name)
                self.assertEqual(sum(r["packets_rejected"] for r in sums.values()), sum(s["decode"]["rejected"].values()))
                self.assertGreater(sum(r["packets_rejected"] for r in sums.values()), 50)
                self.assertGreater(sum(r["expired"] for r in sums.values()), 50)
                self.assertEqual(sum(r["waiting"] for r in sums.values()), 0)
                self.assertGreater(sum(L.stored(self.archive).values()), 500)
                own = L.collector_of(self.archive)
                self.assertEqual((own["packets"], own["workers"]), (len(traffic), workers))
                self.assertFalse(L.completeness(self.archive)["complete"])

    def test_refused_packets_are_told_of_but_nothing_is_missing(self):
        with self.collector("--workers", "2", "--allow", "127.0.7.0/24") as c:
            for address in ("127.0.7.1", "127.0.8.1", "127.0.8.2"):
                with L.exporter_socket(address) as sock:
                    c.send(*[P.v5(range(3), sequence=3 * i) for i in range(10)], sock=sock)
            c.until("all there", lambda s: s["receive"]["datagrams"] == 30)
            c.decoded(10)
            c.stop()
        sums = L.exporters_of(self.archive)
        self.assertEqual({e: (r["packets"], r["packets_refused"], r["flows"]) for e, r in sums.items()},
                         {"127.0.7.1": (10, 0, 30), "127.0.8.1": (0, 10, 0), "127.0.8.2": (0, 10, 0)})
        c = L.completeness(self.archive)
        self.assertEqual((c["share"], c["packets"]["refused"]), (1, 20))
        self.assertIn("refused", L.findings(self.archive))


class Overload(Case):
    def test_every_packet_is_somewhere(self):
        """More than a queue of 256 KiB and a tiny receive buffer can take: nobody knows how much is lost, but all of it is
        counted, memory stays what it was, and afterwards all is well."""
        with self.collector("--workers", "2", "--queue", "256K", "--receive-buffer", "16K", "--flush", "50ms") as c:
            sent, peaks = 0, []
            for _ in range(6):
                t = L.gen(c.ports[0], "-9", "-n", "200k", "--cycle", "50k", "-e", "6", "--pps", "0")
                sent += t["packets"]
                s = c.until("all there", lambda s: s["receive"]["datagrams"] + s["receive"]["kernel_drops"] == sent
                            and s["receive"]["queued"] == 0)
                peaks.append(peak_kib(c.process.pid))
            lost = s["receive"]["kernel_drops"], s["receive"]["dropped"]
            self.assertGreater(sum(lost), 100)
            taken = s["decode"]["packets"]
            t = L.gen(c.ports[0], "-9", "-n", "3k", "-r", "6k", "-e", "6")
            sent += t["packets"]
            s = c.until("the gentle ones, too", lambda s: s["decode"]["packets"] >= taken + t["packets"])
            self.assertEqual((s["receive"]["kernel_drops"], s["receive"]["dropped"]), lost)
            self.assertEqual(s["receive"]["misdirected"], 0)
            s = c.stop()
        # Rows that are no row group yet are in memory, 131,072 of them at most: it grows until there are so many.
        # What batches of 50 ms need is found in the first half; what is held for each packet would double it.
        self.assertLess(peaks[-1], 2 * peaks[2] + 20_000, peaks)
        sums, own = L.check_laws(self, self.archive), L.collector_of(self.archive)
        self.assertEqual((own["kernel_drops"], own["packets_dropped"]), lost)
        self.assertEqual(own["packets"] + own["kernel_drops"] + own["packets_dropped"], sent)
        self.assertEqual(sum(r["packets"] for r in sums.values()), own["packets"])
        self.assertEqual(sum(r["packets_dropped"] for r in sums.values()), own["packets_dropped"])
        self.assertFalse(L.completeness(self.archive)["complete"])
        said = L.findings(self.archive)
        if lost[0]:
            self.assertIn(f"dropped {lost[0]:,} packet", said["receive-buffer"][0]["sentence"])
            self.assertIn("--receive-buffer", said["receive-buffer"][0]["remedy"])
        if lost[1]:
            self.assertIn(f"{lost[1]:,} packet", said["queue-full"][0]["sentence"])
            self.assertIn("--queue", said["queue-full"][0]["remedy"])


def peak_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM:"))


class SmallDisk:
    """A directory that fills up: a file system of a few MiB where one may be mounted, else a limit on the size of files."""

    def __init__(self, test, path):
        self.path = path
        os.mkdir(path)
        self.mounted = os.geteuid() == 0 and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1536k", "none", path], capture_output=True, check=False).returncode == 0
        if self.mounted:
            test.addCleanup(subprocess.run, ["umount", "-l", path], check=False)

    def limit(self):
        """In the collector, before it begins."""
        if not self.mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))

    def grow(self, pid=None):
        if self.mounted:
            subprocess.run(["mount", "-o", "remount,size=512m", self.path], check=True)
        elif pid:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


class FullDisk(Case):
    ARGS = ("--flush", "50ms", "--queue", "512K", "--output-queue", "1M", "--workers", "2")

    def fill(self, c):
        """Until flows are given up; how many flows each exporter has sent, 30 in a packet."""
        socks = {a: L.exporter_socket(a) for a in ("127.0.5.1", "127.0.5.2", "127.0.5.3", "127.0.5.4")}
        sent, n = dict.fromkeys(socks, 0), 0
        rng = random.Random(5)
        while not (s := c.stats())["output"]["records_lost"]:
            self.assertLess(n, 3_000_000)
            for address, sock in socks.items():
                for _ in range(20):
                    body = rng.randbytes(30 * 48)  # which no compression makes small
                    head = struct.pack("!HHIIIIBBH", 5, 30, 100_000, P.EXPORT_S, 0, sent[address], 0, 0, 0)
                    c.send(head + body, sock=sock)
                    sent[address] += 30
                    n += 30
            c.until("taken", lambda s: s["receive"]["datagrams"] + s["receive"]["kernel_drops"] >= n // 30)
        self.assertTrue(s["output"]["failing"])
        for sock in socks.values():
            sock.close()
        return sent

    def check(self, sent, s):
        sums, rows = L.check_laws(self, self.archive), L.stored(self.archive)
        own = L.collector_of(self.archive)
        self.assertEqual(sum(r["flows_lost"] for r in sums.values()), s["output"]["records_lost"])
        self.assertEqual(own["flows_lost"], s["output"]["records_lost"])
        self.assertEqual(s["receive"]["kernel_drops"], 0)
        for address, n in sent.items():
            e = sums[address]
            self.assertEqual(rows.get(address, 0) + e["flows_lost"] + 30 * e["packets_dropped"], n, (address, e))
            self.assertLessEqual(e["sequence_lost"], 30 * e["packets_dropped"], (address, e))
        losers = {e for e, r in sums.items() if r["flows_lost"]}
        self.assertTrue(losers)
        c = L.completeness(self.archive)
        self.assertEqual({x["exporter"] for x in c["losses"] if x["cause"] == "output"}, losers)
        said = L.findings(self.archive)
        self.assertEqual(len(said["output-lost"]), 1)
        self.assertIn(f"{own['flows_lost']:,} flows", said["output-lost"][0]["sentence"])
        self.assertIn("df", said["output-lost"][0]["remedy"])

    def test_room_again_while_it_runs(self):
        disk = SmallDisk(self, self.path("disk"))
        self.archive = os.path.join(disk.path, "archive")
        with self.collector(*self.ARGS, preexec=disk.limit) as c:
            sent = self.fill(c)
            disk.grow(c.process.pid)
            c.until("writing", lambda s: not s["output"]["failing"] and not s["output"]["packets_queued"])
            c.wait_for(f" {self.archive} can be written again; lost [0-9]+ packets")
            s = c.stop()
        self.check(sent, s)

    def test_stopped_while_full(self):
        disk = SmallDisk(self, self.path("disk"))
        self.archive = os.path.join(disk.path, "archive")
        with self.collector(*self.ARGS, preexec=disk.limit) as c:
            sent = self.fill(c)
            s = c.stop(status=1)
        self.assertGreater(s["output"]["records_lost"], 0)
        disk.grow()
        with self.collector("--workers", "1") as c:
            again = c.stop()
        self.assertEqual(again["output"]["records_lost"], 0)
        self.check(sent, s)


class NothingStopsReceiving(Case):
    def test_rotation_statistics_queries_and_a_flood(self):
        with self.collector("--workers", "2", "--rotate", "1s", "--flush", "100ms") as c:
            stop = threading.Event()
            told = {"queries": 0, "templates": 0}

            def ask():
                while not stop.is_set():
                    out = subprocess.run([WEIR, "query", "-R", self.archive, "-q", "-s", "srcip/bytes", "-o", "null"],
                                         capture_output=True, check=False, timeout=DEADLINE_S)
                    told["queries"] += out.returncode == 0

            def flood():
                n, at = 0, time.monotonic()
                with L.exporter_socket("127.0.9.9") as sock:
                    while not stop.is_set():
                        sets = b"".join(P.template_set(0, 256 + (n + k) % 4000, P.FIELDS[:1 + (n + k) % 7]) for k in range(20))
                        c.send(P.v9(sets, count=20, sequence=told["templates"], source=n // 4000), sock=sock)
                        told["templates"] += 1
                        n += 20
                        # About 2000 packets a second: the sender itself must not be starved.
                        stop.wait(max(0, at + told["templates"] / 2000 - time.monotonic()))

            helpers = [threading.Thread(target=ask), threading.Thread(target=flood)]
            for h in helpers:
                h.start()
            try:
                with L.Sender(c.ports[0], "--ipfix", "-e", "4", "-r", "20k", "-t", "4s") as sender:
                    while sender.sends():
                        s = c.stats()
                    t = sender.end()
            finally:
                stop.set()
                for h in helpers:
                    h.join()
            s = c.decoded(t["packets"] + told["templates"])
            self.assertGreater(told["queries"], 3)
            self.assertGreater(told["templates"], 1000)
            self.assertEqual((s["receive"]["dropped"], s["receive"]["kernel_drops"]), (0, 0))
            s = c.stop()
        self.assertEqual(s["output"]["records_lost"], 0)
        sums, rows = L.check_laws(self, self.archive), L.stored(self.archive)
        self.assertEqual(rows, {e: r["flows"] for e, r in t["of"].items()})
        self.assertEqual({sums[e]["sequence_lost"] for e in t["of"]}, {0})
        self.assertGreaterEqual(len([f for f in os.listdir(self.archive) if f == "flows"]), 1)


def said(archive, *args):
    """The line of a query about its completeness."""
    out = L.weir("query", "-R", archive, "--utc", "-o", "null", *args).stdout
    return re.search(r"^Completeness: (.*)$", out, re.M)[1]


class Books(Case):
    """Flows that somebody took away, and pages that are missing in the ledger: no answer is called complete then."""

    START = P.EXPORT_S - 8000  # 2023-11-14T20:00:00Z
    MINUTES = 150
    A, B = "192.0.2.1", "192.0.2.2"  # 60 and 30 flows a minute; B none from 21:30 on

    @classmethod
    def setUpClass(cls):
        cls.holder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.holder.cleanup)
        cls.whole = os.path.join(cls.holder.name, "archive")
        name = os.path.join(cls.holder.name, "a.pcap")
        with open(name, "wb") as f:
            f.write(P.pcap([frame for t in range(0, cls.MINUTES * 60, 10) for frame in cls.frames(t)]))
        L.weir("collect", "--read", name, "--archive", cls.whole)

    @classmethod
    def frames(cls, t):
        """What comes in the second t."""
        us = (cls.START + t) * 1_000_000
        yield us, P.ethernet_udp(cls.A, 9000, "198.51.100.1", 2055, P.v5(range(10), sequence=t))
        if t % 20 == 0 and t < 90 * 60:
            yield us, P.ethernet_udp(cls.B, 9000, "198.51.100.1", 2055, P.v5(range(10), sequence=t // 2))

    FLOWS = 150 * 60 + 90 * 30

    def setUp(self):
        super().setUp()
        shutil.copytree(self.whole, self.archive)

    def files(self, table, hour, n=None):
        found = sorted(glob.glob(os.path.join(self.archive, table, "date=2023-11-14", f"hour={hour}", "*.p*")))
        return found if n is None else found[n]

    def test_nothing_is_said_of_what_is_whole(self):
        self.assertEqual(said(self.archive), "complete")
        for args in (["-t", "2023-11-14T20:07:30Z-2023-11-14T21:02:10Z"], ["-t", "2023-11-14T21:03Z-2023-11-14T21:04Z"],
                     [f"exporter ip {self.A}"], [f"exporter ip {self.B} and src port 1024"], ["-c", "3"], ["-s", "srcip"],
                     ["-r", self.archive]):
            self.assertEqual(said(self.archive, *args), "complete", args)
        for name in (f"{self.archive}/20231114T2105", f"{self.archive}/20231114T2055:20231114T2110"):
            self.assertEqual(said(name), "complete", name)
        for path in (self.files("flows", 20, 3), os.path.dirname(self.files("flows", 21, 0))):
            out = L.weir("query", "-r", path, "--utc", "-o", "null").stdout
            self.assertIn("\nCompleteness: complete\n", out)
        L.weir("archive", "compact", "--archive", self.archive)
        self.assertEqual(len(self.files("flows", 20)), 1)
        self.assertEqual(said(self.archive), "complete")
        self.assertEqual(said(self.archive, "-t", "2023-11-14T20:07:30Z-2023-11-14T21:02:10Z"), "complete")

    def test_no_ledger(self):
        shutil.rmtree(os.path.join(self.archive, "ledger"))
        self.assertEqual(said(self.archive), "not known: no ledger beside these files")

    def test_a_page_is_missing(self):
        os.remove(self.files("ledger", 21, 0))
        self.assertEqual(said(self.archive), "complete as far as known "
                         "(4,500 flows 21:00-22:00 that the ledger does not count)")
        c = L.completeness(self.archive)
        self.assertEqual((c["complete"], c["uncounted_flows"], c["flows"], c["down_us"]), (False, 4500, self.FLOWS - 4500, 0))

    def test_the_first_and_the_last_page(self):
        os.remove(self.files("ledger", 20, 0))
        self.assertEqual(said(self.archive), "complete as far as known (no ledger before 21:00)")
        os.remove(self.files("ledger", 22, 0))
        self.assertEqual(said(self.archive), "complete as far as known (no ledger before 21:00; no ledger after 22:00)")

    def test_a_page_of_another_hour(self):
        shutil.copy(self.files("ledger", 20, 0), self.files("ledger", 21, 0))
        text = said(self.archive)
        self.assertIn("counted, but not in the archive", text)
        self.assertIn("that the ledger does not count", text)
        self.assertLess(L.completeness(self.archive)["share"], 0.7)

    def test_a_file_is_gone(self):
        os.remove(self.files("flows", 20, 6))  # 20:30
        lost = "lost 450 flows 20:30-20:35: counted, but not in the archive"
        self.assertEqual(said(self.archive), f"96.1 % ({lost})")
        c = L.completeness(self.archive)
        self.assertEqual((c["complete"], c["flows"], c["lost"], c["estimated"]), (False, self.FLOWS - 450, 450, False))
        self.assertEqual(c["losses"], [{"cause": "archive", "from": "2023-11-14T20:30:00Z", "to": "2023-11-14T20:35:00Z",
                                        "flows": 450, "packets": 0, "estimated": False, "maybe": False}])
        # Several archives, each by its own ledger; one of them twice.
        out = L.weir("query", "-r", self.archive, "-r", self.whole, "-r", self.archive, "--utc", "-o", "null").stdout
        self.assertIn(f"Completeness: 98.0 % ({lost})\n", out)
        # Nobody knows whose they were.
        self.assertEqual(said(self.archive, f"exporter ip {self.B}"),
                         "complete as far as known (maybe lost 150 flows 20:30-20:35: counted, but not in the archive)")
        self.assertEqual(said(self.archive, "-t", "2023-11-14T20:10Z-2023-11-14T20:20Z"), "complete")
        self.assertIn(lost, said(self.archive, "-t", "2023-11-14T20:10Z-2023-11-14T20:30Z"))
        self.assertEqual(said(f"{self.archive}/20231114T2035"), "complete")
        self.assertEqual(said(f"{self.archive}/20231114T2015:20231114T2025"), "complete")
        self.assertIn(lost, said(f"{self.archive}/20231114T2025:20231114T2035"))
        L.weir("archive", "compact", "--archive", self.archive)
        self.assertIn("lost 450 flows 20:00-21:00: counted, but not in the archive", said(self.archive))

    def test_a_file_whose_exporter_is_known(self):
        os.remove(self.files("flows", 21, 9))  # 21:45, A alone
        lost = "lost 300 flows 21:45-21:50: counted, but not in the archive"
        self.assertEqual(said(self.archive, f"exporter ip {self.A}"), f"96.6 % ({lost})")
        self.assertEqual(said(self.archive, f"exporter ip {self.B}"), "complete")

    def test_an_hour_is_gone(self):
        shutil.rmtree(os.path.dirname(self.files("flows", 20, 0)))
        self.assertEqual(said(self.archive), "53.8 % (lost 5,400 flows 20:00-21:00: counted, but not in the archive)")

    def test_all_flows_are_gone(self):
        shutil.rmtree(os.path.join(self.archive, "flows"))
        self.assertEqual(said(self.archive), "0.0 % (lost 11,700 flows 20:00-22:30: counted, but not in the archive)")
        os.mkdir(os.path.join(self.archive, "flows"))
        self.assertEqual(L.completeness(self.archive)["share"], 0)

    def test_all_at_once(self):
        os.remove(self.files("ledger", 20, 0))
        os.remove(self.files("flows", 22, 3))
        name = self.files("flows", 21, 6)
        shutil.copy(name, name.replace("20231114T", "copy-of-20231114T"))
        self.assertEqual(said(self.archive), "95.2 % (lost 300 flows 22:15-22:20: counted, but not in the archive; 300 flows "
                         "21:30-21:35 that the ledger does not count; no ledger before 21:00)")
        c = L.completeness(self.archive)
        self.assertEqual((c["uncounted_flows"], c["uncounted_from"], c["uncounted_to"], c["first"]),
                         (5700, "2023-11-14T20:00:00Z", "2023-11-14T21:35:00Z", "2023-11-14T21:00:00Z"))

    def test_a_file_that_stands_there_twice(self):
        name = self.files("flows", 20, 6)
        shutil.copy(name, name.replace("20231114T", "copy-of-20231114T"))
        self.assertEqual(said(self.archive),
                         "complete as far as known (450 flows 20:30-20:35 that the ledger does not count)")

    def test_what_has_expired_is_not_missed(self):
        age = int((time.time() - (self.START + 3700)) // 3600)
        L.weir("archive", "expire", "--archive", self.archive, "--keep", f"{age}h")
        self.assertEqual((len(self.files("flows", 20)), len(self.files("ledger", 20))), (0, 0))
        self.assertEqual(said(self.archive), "complete")


class LiveBooks(Case):
    def test_no_false_alarm(self):
        """Asked again and again while it collects, through many slots."""
        with self.collector("--workers", "2", "--rotate", "1s", "--flush", "50ms") as c:
            with L.Sender(c.ports[0], "--ipfix", "-e", "4", "-r", "20k", "-t", "5s") as sender:
                c.until("something is there", lambda s: s["output"]["packets_written"] > 100)
                answers = [said(self.archive) for _ in range(20)]
                answers += [said(self.archive, *args) for args in (["--last", "2s"], ["-c", "5"], ["exporter ip 127.0.1.1"])]
                sender.end()
            self.assertEqual(set(answers), {"complete"})
            c.stop()
        self.assertEqual(said(self.archive), "complete")
        L.weir("archive", "compact", "--archive", self.archive)
        self.assertEqual(said(self.archive), "complete")

    def killed(self, *args):
        """An archive as a killed collector leaves it: 100 packets of 30 flows."""
        with self.collector(*args) as c:
            with L.exporter_socket("127.0.3.1") as sock:
                c.send(*[P.v5(range(30), sequence=30 * i) for i in range(100)], sock=sock)
                c.written(100)
            c.kill()

    def test_late_templates(self):
        """Flows that waited are stored and counted when they are decoded, in whichever slot that is."""
        with self.collector("--rotate", "1s", "--flush", "50ms") as c:
            for i in range(4):
                c.send(P.v9_data(range(5), sequence=1, source=i))
                time_of = time.time()
                c.until("the next second", lambda s, t=time_of: time.time() >= int(t) + 1)
                c.send(P.v9_template(sequence=0, source=i))
            c.until("written", lambda s: s["decode"]["flows"] == 20)
            c.stop()
        c = L.completeness(self.archive)
        self.assertEqual((c["uncounted_flows"], [x for x in c["losses"] if x["cause"] == "archive"]), (0, []))

    def test_a_torn_journal(self):
        self.killed()
        self.assertEqual(said(self.archive), "complete")
        journal = glob.glob(os.path.join(self.archive, "flows", "*", "*", "*.journal"))
        self.assertEqual(len(journal), 1)
        os.truncate(journal[0], os.path.getsize(journal[0]) - 1)
        for _ in range(2):
            rows = L.stored(self.archive).get("127.0.3.1", 0)
            c = L.completeness(self.archive)
            self.assertLess(rows, 3000)
            self.assertEqual((c["complete"], c["lost"], c["flows"]), (False, 3000 - rows, rows))
            self.assertIn(f"lost {3000 - rows:,} flows", said(self.archive))
            with self.collector() as c:  # which finishes the file as it is
                c.stop()

    def test_all_copies_of_the_checkpoint_are_damaged(self):
        self.killed()
        for name in glob.glob(os.path.join(self.archive, "weir.checkpoint-*")):
            with open(name, "r+b") as f:
                f.seek(30)
                f.write(b"damaged")
        self.assertRegex(said(self.archive), "^not known: no ledger")
        with self.collector() as c:  # other flows of the same minute, or of the next one
            with L.exporter_socket("127.0.3.2") as sock:
                c.send(P.v5(range(30)), sock=sock)
                c.written(1)
            c.stop()
        c = L.completeness(self.archive)
        self.assertEqual((c["known"], c["complete"], c["uncounted_flows"]), (True, False, 3000))
        self.assertNotRegex(said(self.archive), "^complete( \\(|$)")

    def test_only_a_checkpoint_is_left(self):
        with self.collector() as c:
            with L.exporter_socket("127.0.3.2") as sock:
                c.send(*[P.v5(range(30), sequence=30 * i) for i in range(10)], sock=sock)
                c.written(10)
            c.stop()
        self.killed()
        shutil.rmtree(os.path.join(self.archive, "ledger"))
        c = L.completeness(self.archive)
        self.assertEqual((c["known"], c["complete"], c["flows"], c["uncounted_flows"]), (True, False, 3000, 300))


class NoRoom(Case):
    def test_whose_loss_it_is(self):
        with self.collector("--workers", "1", "--max-exporters", "2", "--idle", "1h") as c:
            for k in (1, 2, 3):
                with L.exporter_socket(f"127.0.6.{k}") as sock:
                    c.send(*[P.v5(range(10), sequence=10 * i) for i in range(5)], sock=sock)
                c.decoded(5 * k)
            c.stop()
        self.assertRegex(said(self.archive), r"^about 66.6 % \(lost about 50 flows [0-9:-]*: no room for their exporter or stream\)$")
        c = L.completeness(self.archive)
        self.assertEqual((c["packets"]["no_room"], c["packets"]["rejected"], c["lost"]), (5, 0, 50))
        self.assertEqual([x["cause"] for x in c["losses"]], ["no_room"])
        # Whose they were nobody noted.
        for k in (1, 3):
            one = f"exporter ip 127.0.6.{k}"
            self.assertRegex(said(self.archive, one), r"^complete as far as known \(maybe lost about 50 flows [0-9:-]*: no room for")
            c = L.completeness(self.archive, one)
            self.assertEqual((c["complete"], c["share"], c["lost"], c["maybe_lost"]), (False, 1, 0, 50))
            self.assertTrue(c["losses"][0]["maybe"])


class Steering(Case):
    def test_an_exporter_is_its_address(self):
        """Templates come from one port, data from another."""
        with self.collector("--workers", "4") as c:
            senders = 60
            for round_ in range(2):
                for k in range(senders):
                    address = f"127.0.{10 + k // 8}.{1 + k % 8 * 31}"
                    with L.exporter_socket(address) as sock:
                        if round_ == 0:
                            c.send(P.v9_template(), P.ipfix_template(), sock=sock)
                        else:
                            c.send(P.v9_data(range(5), sequence=1), P.ipfix_data(range(7)), sock=sock)
            s = c.decoded(4 * senders)
            self.assertEqual((s["receive"]["misdirected"], s["decode"]["waiting"], s["receive"]["workers"]), (0, 0, 4))
            self.assertEqual(s["decode"]["flows"], 12 * senders)
            # Each has some; the exporters of a socket are those of its worker.
            self.assertTrue(all(k["datagrams"] for k in s["receive"]["sockets"]), s["receive"]["sockets"])
            c.stop()
        sums = L.check_laws(self, self.archive)
        self.assertEqual(len(sums), senders)
        self.assertEqual({(r["flows"], r["sequence_lost"], r["expired"]) for r in sums.values()}, {(12, 0, 0)})

    def test_a_port_belongs_to_one_collector(self):
        with self.collector("--workers", "3") as c:
            for workers in ("1", "3"):
                with Collector("--archive", self.path("other"), "--workers", workers, "--listen",
                               f"127.0.0.1:{c.ports[0]}", host=None, ready=False) as other:
                    other.wait_for(f"127.0.0.1:{c.ports[0]}.*in use.*(other collector|--port)")
                    other.end(1)
            with L.exporter_socket("127.0.3.3") as sock:
                c.send(*[P.v5(range(9), sequence=9 * i) for i in range(50)], sock=sock)
            c.decoded(50)
            c.stop()
        self.assertEqual(L.stored(self.archive), {"127.0.3.3": 450})


if __name__ == "__main__":
    unittest.main()
