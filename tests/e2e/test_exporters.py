#!/usr/bin/env python3
"""`weir exporters`: what each exporter sent and what of it is missing, from captures whose losses are known and from a
running collector."""
import csv
import glob
import io
import json
import os
import re
import signal
import socket
import subprocess
import time
import unittest

import packets as P
from collector import DEADLINE_S, WEIR, Collector, CollectorTest
from ledger import exporter_socket

START = 1_700_000_000 // 60 * 60  # 2023-11-14T22:13:00Z


def weir(*args, status=0, cwd=None):
    r = subprocess.run([WEIR, *map(str, args)], capture_output=True, text=True, timeout=DEADLINE_S, check=False, cwd=cwd,
                       env={**os.environ, "TZ": "UTC", "LC_ALL": "C.UTF-8"})
    if r.returncode != status:
        raise AssertionError(f"weir {args}: exit status {r.returncode}: {r.stderr}{r.stdout[:400]}")
    return r


def frames():
    """Ten minutes of four exporters: (seconds, address, payload).

    192.0.2.1  v5     30 flows a minute, of minute 5 twenty are missing
    192.0.2.2  IPFIX  two domains, nothing missing
    192.0.2.3  v9     4 packets of 10 flows a minute; two packets of minute 7 are missing; one came twice
    192.0.2.4  v9     no template at all
    192.0.2.5  v1     which has no sequence numbers"""
    out = []
    v5 = v9 = 0
    for minute in range(10):
        at = minute * 60 + 10
        if minute == 5:
            v5 += 20
        for k in range(3):
            out.append((at + k, "192.0.2.1", P.v5(range(10), sequence=v5)))
            v5 += 10
        for domain in (9, 10):
            if minute == 0:
                out.append((at, "192.0.2.2", P.ipfix_template(domain=domain)))
            out.append((at + 1, "192.0.2.2", P.ipfix_data(range(7), sequence=7 * minute, domain=domain)))
        if minute == 0:
            out.append((at, "192.0.2.3", P.v9_template(sequence=v9)))
            v9 += 1
        if minute == 7:
            v9 += 2
        for k in range(4):
            payload = P.v9_data(range(10), sequence=v9)
            out.append((at + 2 + k, "192.0.2.3", payload))
            if minute == 3 and k == 3:
                out.append((at + 2 + k, "192.0.2.3", payload))
            v9 += 1
        out.append((at, "192.0.2.4", P.v9_data(range(5), sequence=minute)))
        out.append((at, "192.0.2.5", P.v1(range(6))))
    return out


def capture(path):
    with open(path, "wb") as f:
        f.write(P.pcap([((START + s) * 1_000_000, P.ethernet_udp(src, 9999, "192.0.2.100", 2055, payload))
                        for s, src, payload in sorted(frames(), key=lambda x: x[0])]))


class FromACapture(CollectorTest):
    def setUp(self):
        super().setUp()
        self.archive = self.path("archive")
        capture(self.path("a.pcap"))
        weir("collect", "--read", self.path("a.pcap"), "--archive", self.archive, status=1)  # some has no template

    def exporters(self, *args):
        got = json.loads(weir("exporters", "-R", self.archive, "-o", "json", *args).stdout)
        return got["collector"], {e["exporter"]: e for e in got["exporters"]}

    def test_everybody(self):
        collector, of = self.exporters()
        self.assertEqual(sorted(of), [f"192.0.2.{n}" for n in range(1, 6)])
        self.assertEqual((collector["first"], collector["last"]),
                         ("2023-11-14T22:13:00.000000Z", "2023-11-14T22:23:00.000000Z"))
        self.assertEqual(collector["packets"], len(frames()))
        self.assertEqual(collector["kernel_drops"], 0)
        v5 = of["192.0.2.1"]
        self.assertEqual((v5["versions"], v5["flows"], v5["packets"]), ([5], 300, 30))
        self.assertEqual((v5["lost_flows"], v5["estimated"], v5["share"]), (20, False, 0.9375))
        self.assertEqual(v5["first"], "2023-11-14T22:13:10.000000Z")
        self.assertEqual(v5["last"], "2023-11-14T22:22:12.000000Z")
        self.assertAlmostEqual(v5["flows_per_second"], 0.5)
        self.assertAlmostEqual(v5["packets_per_second"], 0.05)
        ipfix = of["192.0.2.2"]
        self.assertEqual((ipfix["versions"], ipfix["flows"], ipfix["lost_flows"]), ([10], 140, 0))
        self.assertEqual((ipfix["domains"], ipfix["domain"], ipfix["templates"]), (2, None, 2))
        self.assertEqual(ipfix["share"], 1)
        v9 = of["192.0.2.3"]
        self.assertEqual(v9["sequence_lost"], 2)
        self.assertEqual(v9["estimated"], True)
        self.assertAlmostEqual(v9["lost_flows"], 20)
        self.assertEqual(v9["duplicates"], 1)
        late = of["192.0.2.4"]
        self.assertEqual((late["flows"], late["templates"]), (0, 0))
        self.assertEqual(late["waiting"] + late["expired"], 10)
        v1 = of["192.0.2.5"]
        self.assertEqual((v1["flows"], v1["lost_flows"], v1["share"]), (60, None, None))

    def test_order_and_rows(self):
        def addresses(*args):
            out = weir("exporters", "-R", self.archive, "-o", "csv", *args).stdout
            return [row["exporter"] for row in csv.DictReader(io.StringIO(out))]
        self.assertEqual(addresses("-s", "address"), [f"192.0.2.{n}" for n in range(1, 6)])
        self.assertEqual(addresses("-n", "2"), ["192.0.2.3", "192.0.2.1"])
        loss = addresses("-s", "loss")
        self.assertEqual(loss[0], "192.0.2.4")
        self.assertEqual(loss[1], "192.0.2.1")
        self.assertEqual(addresses("-s", "last")[0], "192.0.2.3")

    def test_domains(self):
        out = weir("exporters", "-R", self.archive, "-o", "csv", "--by", "domain", "-s", "address").stdout
        got = [(r["exporter"], r["domain"], r["versions"], r["flows"]) for r in csv.DictReader(io.StringIO(out))]
        self.assertIn(("192.0.2.2", "9", "10", "70"), got)
        self.assertIn(("192.0.2.2", "10", "10", "70"), got)
        self.assertEqual(len(got), 6)

    def test_window(self):
        _, of = self.exporters("-t", "2023-11-14T22:13:00Z-2023-11-14T22:14:59Z")
        self.assertEqual((of["192.0.2.1"]["flows"], of["192.0.2.1"]["lost_flows"]), (60, 0))
        _, of = self.exporters("-t", "2023-11-14T22:18:00Z-2023-11-14T22:18:59Z")
        self.assertEqual((of["192.0.2.1"]["flows"], of["192.0.2.1"]["lost_flows"]), (30, 20))
        r = weir("exporters", "-R", self.archive, "-t", "2023-11-15", status=1)
        self.assertIn("no ledger of that time", r.stderr)

    def test_table(self):
        lines = weir("exporters", "-R", self.archive).stdout.splitlines()
        self.assertEqual(lines[0].split("  ")[0], "EXPORTER")
        self.assertIn("LOST FLOWS", lines[0])
        by = {line.split()[0]: line for line in lines if line.startswith("192.")}
        self.assertIn(" 6.25 % 20 ", by["192.0.2.1"])
        self.assertIn(" about 20 ", by["192.0.2.3"])
        self.assertIn(" unknown ", by["192.0.2.5"])
        self.assertIn(" 2 of them ", by["192.0.2.2"])
        self.assertIn("templates", by["192.0.2.4"])  # a warning
        self.assertNotIn("\x1b", "".join(lines))
        self.assertNotIn("DROPPED", lines[0])  # nobody has any
        self.assertRegex(lines[-1], f"^Collector: .*packets {len(frames())}, dropped by the kernel 0, by the queue 0, refused 0; ")
        widths = {line.index("2023-11-14 22:13:1") for line in by.values()}
        self.assertEqual(len(widths), 1)

    def test_names(self):
        """Nobody has names for these addresses: they stay."""
        env = {"LOCALDOMAIN": ".", "RES_OPTIONS": "timeout:1 attempts:1"}
        r = subprocess.run([WEIR, "exporters", "-R", self.archive, "--resolve"], capture_output=True, text=True,
                           timeout=DEADLINE_S, check=False, env={**os.environ, **env})
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertEqual(len([line for line in r.stdout.splitlines() if line.startswith("EXPORTER")]), 1)

    def test_damaged(self):
        files = glob.glob(os.path.join(self.archive, "ledger", "**", "*.pq"), recursive=True)
        self.assertTrue(files)
        with open(os.path.join(os.path.dirname(files[0]), "20231114T220000Z-w7-000009.pq"), "wb") as f:
            f.write(b"PAR1 this is none PAR1")
        r = weir("exporters", "-R", self.archive, status=1)
        self.assertIn("w7-000009.pq", r.stderr)
        self.assertIn("192.0.2.1 ", r.stdout)

    def test_wrong_usage(self):
        for args in (["archive"], ["-o", "xml"], ["--by", "port"], ["-t", "yesterday"], ["-s", "name"]):
            r = weir("exporters", *args, status=2, cwd=self.dir)
            self.assertTrue(r.stderr.startswith("weir exporters: "), r.stderr)
        r = weir("exporters", status=1, cwd="/")
        self.assertIn("-R names another archive", r.stderr)
        r = weir("exporters", "-R", os.path.join(self.archive, "flows"), status=1)
        self.assertIn("no ledger", r.stderr)

    def test_examples_of_the_manual(self):
        text = weir("help", "--man", "exporters").stdout
        commands = [line.split("#")[0].strip() for line in text.splitlines() if line.startswith("weir exporters")]
        self.assertGreaterEqual(len(commands), 3)
        for command in commands:
            r = subprocess.run(command.replace("\\-", "-"), shell=True, capture_output=True, text=True, cwd=self.dir,
                               timeout=DEADLINE_S, check=False,
                               env={**os.environ, "PATH": os.path.dirname(WEIR) + ":" + os.environ["PATH"]})
            old = "-t -1h" in command.replace("\\-", "-")  # the capture is older than that
            self.assertEqual(r.returncode, 1 if old else 0, (command, r.stderr))


class Live(CollectorTest):
    def test_what_is_lost_on_the_way_and_who_is_refused(self):
        archive = self.path("archive")
        lost, sent = [3, 4, 9], 20
        with Collector("--archive", archive, "--allow", "127.0.0.1", host="127.0.0.1") as c:
            c.send(*[P.v5(range(5), sequence=5 * k) for k in range(sent) if k not in lost])
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.bind(("127.0.0.2", 0))
                c.send(P.v5(range(5)), P.v5(range(5)), sock=s)
            c.until("all is in", lambda s: s["decode"]["packets"] >= sent - len(lost) and s["receive"]["refused"] >= 2)
            c.stop(signal.SIGTERM)
        got = json.loads(weir("exporters", "-R", archive, "-o", "json").stdout)
        collector, of = got["collector"], {e["exporter"]: e for e in got["exporters"]}
        self.assertEqual(collector["packets_refused"], 2)
        self.assertGreaterEqual(collector["workers"], 1)
        self.assertGreater(collector["listened_us"], 0)
        self.assertGreater(collector["receive_buffer"], 0)
        self.assertEqual(of["127.0.0.1"]["flows"], 5 * (sent - len(lost)))
        self.assertEqual(of["127.0.0.1"]["lost_flows"], 5 * len(lost))
        self.assertEqual(of["127.0.0.1"]["estimated"], False)
        self.assertEqual(of["127.0.0.2"]["packets_refused"], 2)
        r = weir("query", "-R", archive, "-o", "null", "exporter ip 127.0.0.1")
        self.assertRegex(r.stdout, r"Completeness: 85\.0 % \(exporter 127\.0\.0\.1 lost 15 flows .*: sequence gap\)")
        r = weir("query", "-R", archive, "-o", "null", "exporter ip 127.0.0.2")
        self.assertRegex(r.stdout, r"Completeness: complete \(2 packets refused\)")

    def exporters(self, archive, status=0):
        got = json.loads(weir("exporters", "-R", archive, "-o", "json", status=status).stdout)
        return got["collector"], {e["exporter"]: e for e in got["exporters"]}

    def until_known(self, archive, packets):
        """The account of the minute that goes on is on the disk with the flows."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            r = subprocess.run([WEIR, "exporters", "-R", archive, "-o", "json"], capture_output=True, text=True,
                               timeout=DEADLINE_S, check=False)
            got = json.loads(r.stdout)
            if got["collector"]["packets"] >= packets:
                return
        raise AssertionError(f"no account of {packets} packets: {r}")

    def check_all(self, archive, packets, flows):
        """What every command says of it, whatever the minute it is."""
        collector, of = self.exporters(archive)
        self.assertEqual((collector["packets"], collector["flows"]), (packets, flows))
        self.assertEqual(sum(e["flows"] for e in of.values()), flows)
        self.assertEqual([e["lost_flows"] for e in of.values()], [0] * len(of))
        clocks = {"collector-clock", "clock-off", "clock-stands-still"}  # those of made-up packets are
        self.assertEqual({f["id"] for f in json.loads(weir("doctor", "-R", archive, "-o", "json", status=1).stdout)
                          ["findings"]} - clocks, set())
        r = weir("query", "-R", archive, "-o", "null")
        self.assertRegex(r.stdout, "Completeness: complete\n")
        self.assertIn(f"total flows: {flows},", r.stdout)
        return collector, of

    def test_gaps_while_it_collects(self):
        """A gap is lost from the packet behind it on, and no more so when what is missing comes late after all."""
        archive = self.path("archive")
        kinds = {5: lambda k: P.v5(range(5), sequence=5 * k), 9: lambda k: P.v9_data(range(5), sequence=k + 1),
                 10: lambda k: P.ipfix_data(range(5), sequence=5 * k)}

        def until(lost):
            end = time.monotonic() + DEADLINE_S
            while time.monotonic() < end:
                _, of = self.exporters(archive)
                if [of[f"127.0.0.{v}"]["sequence_lost"] for v in kinds] == lost:  # flows, packets, records
                    return
            raise AssertionError(f"not lost: {lost}: {of}")

        with Collector("--archive", archive, "--workers", "1", host="127.0.0.1") as c:
            socks = {v: exporter_socket(f"127.0.0.{v}") for v in kinds}
            for s in socks.values():
                self.addCleanup(s.close)
            c.send(P.v9_template(sequence=0), sock=socks[9])
            c.send(P.ipfix_template(), sock=socks[10])
            for v, make in kinds.items():
                c.send(*(make(k) for k in range(10) if k not in (4, 9)), sock=socks[v])
            self.until_known(archive, 26)
            until([5, 1, 5])  # the last packet of each is missed by nobody yet
            for v, make in kinds.items():
                c.send(make(10), sock=socks[v])
            until([10, 2, 10])
            for v, make in kinds.items():
                c.send(make(4), sock=socks[v])
            until([5, 1, 5])
            c.stop(signal.SIGTERM)
        until([5, 1, 5])

    def test_started_again_within_a_minute(self):
        """Nobody listens for longer than has passed, and what was heard was listened to."""
        archive = self.path("archive")
        for workers in ("2", "1"):
            with Collector("--archive", archive, "--workers", workers, host="127.0.0.1") as c:
                c.send(P.v5(range(5), sequence=5 * (workers == "1")))
                c.decoded(1)
                c.stop(signal.SIGTERM)
            collector, of = self.exporters(archive)
            self.assertLessEqual(collector["first"], of["127.0.0.1"]["first"])
            self.assertGreaterEqual(collector["last"], of["127.0.0.1"]["last"])
        spans = re.search(r"listened (\d+) s of (\d+) s with 2 workers", weir("exporters", "-R", archive).stdout)
        self.assertLessEqual(int(spans[1]), int(spans[2]))

    def test_the_first_seconds(self):
        """Whoever has just begun to collect sees who sends, also after a kill without a restart."""
        archive = self.path("archive")
        began = time.monotonic()
        with Collector("--archive", archive, "--workers", "2", host="127.0.0.1") as c:
            socks = [exporter_socket(f"127.0.0.{n}") for n in range(1, 5)]
            for s in socks:
                self.addCleanup(s.close)
                c.send(P.v9_data(range(3), sequence=0), sock=s)  # waits for its template
            self.until_known(archive, 4)
            _, of = self.exporters(archive)
            self.assertEqual([(e["waiting"], e["expired"], e["lost_flows"]) for e in of.values()], [(1, 0, 0)] * 4)
            for s in socks:
                c.send(P.v9_template(sequence=1), P.v9_data(range(7), sequence=2), sock=s)
            self.until_known(archive, 12)
            collector, of = self.check_all(archive, 12, 40)
            took = time.monotonic() - began
            for e in of.values():  # by the time that it was there, not by a whole minute
                self.assertGreaterEqual(e["flows_per_second"], 10 / max(took, 1) * 0.9)
            self.assertLessEqual(collector["listened_us"], 2 * took * 1e6)
            c.kill()
            self.check_all(archive, 12, 40)
        with Collector("--archive", archive, "--workers", "2", host="127.0.0.1") as c:
            for s in socks:
                c.send(P.v9_template(sequence=3), P.v9_data(range(7), sequence=4), sock=s)
            self.until_known(archive, 20)
            self.check_all(archive, 20, 68)
            c.stop(signal.SIGTERM)
        self.check_all(archive, 20, 68)
        with Collector("--archive", archive, "--workers", "1", host="127.0.0.1") as c:
            self.check_all(archive, 20, 68)
            c.kill()
        self.check_all(archive, 20, 68)


if __name__ == "__main__":
    unittest.main()
