#!/usr/bin/env python3
"""test_doctor -- weir doctor as its users run it: over captures, over the ledger of an archive, as words and as JSON."""
import csv
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import packets
from collector import DEADLINE_S, Collector, CollectorTest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
WEIR = os.environ.get("WEIR") or str(ROOT / "build/weir")
CORPUS = pathlib.Path(os.environ.get("WEIR_CORPUS") or ROOT.parent / "shared" / "corpus")
sys.path.insert(0, str(ROOT / "tests/golden"))
import quirks  # noqa: E402

START_S = 1_795_381_200  # 2026-11-22T21:00:00Z


def run(*args, cwd=None):
    p = subprocess.run([WEIR, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd,
                       check=False)
    return p.returncode, p.stdout, p.stderr


def findings(*args):
    """Exit status and {id: finding}."""
    status, out, err = run("doctor", "-o", "json", *args)
    if err:
        raise AssertionError(err)
    said = json.loads(out)["findings"]
    return status, {f["id"]: f for f in said}


class Exporter:
    """One that sends a packet of `flows` flows every few seconds for some minutes; tests change what it does."""

    def __init__(self, version=9, addr="192.0.2.1", minutes=10, every_s=10, flows=5, port=50000):
        self.version, self.addr, self.port, self.flows = version, addr, port, flows
        self.times = [START_S + s for s in range(0, minutes * 60, every_s)]
        self.template_every = 6  # packets
        self.skew = 0
        self.lost = lambda i: False
        self.sequence = 0
        self.unit = {5: lambda n: n, 9: lambda n: 1, 10: lambda n: n}[version]
        self.template = packets.TEMPLATE

    def payload(self, i, at):
        numbers = range(i * self.flows, (i + 1) * self.flows)
        clock, up = at + self.skew, (at - START_S) * 1000 + 5_000_000
        body, count = b"", self.flows
        if self.version == 5:
            records = b"".join(packets.v5_record(n)[:24] + struct.pack("!II", up - 9000, up - 1000)
                               + packets.v5_record(n)[32:] for n in numbers)
            return struct.pack("!HHIIIIBBH", 5, count, up, clock, 0, self.sequence, 0, 0, 0) + records
        if self.template_every and i % self.template_every == 0:
            body = packets.template_set(0 if self.version == 9 else 2, template=self.template)
            count += 1
        body += packets.data_set(numbers, template=self.template)
        if self.version == 9:
            return struct.pack("!HHIIII", 9, count, up, clock, self.sequence, 7) + body
        return struct.pack("!HHIII", 10, 16 + len(body), clock, self.sequence, 9) + body

    def frames(self):
        for i, at in enumerate(self.times):
            payload = self.payload(i, at)
            self.sequence += self.unit(self.flows)
            if not self.lost(i):
                yield at * 1_000_000 + 200_000, packets.ethernet_udp(self.addr, self.port, "192.0.2.99", 2055, payload)


class Doctor(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.dir = pathlib.Path(self.folder.name)

    def capture(self, *exporters, name="a.pcap", extra=()):
        path = self.dir / name
        frames = [f for e in exporters for f in e.frames()]
        path.write_bytes(packets.pcap(sorted(frames + list(extra), key=lambda f: f[0])))
        return path

    def only(self, path, *args):
        status, found = findings("-r", path, *args)
        self.assertEqual(1, len(found), found)
        (finding,) = found.values()
        self.assertEqual(int(finding["severity"] != "info"), status)
        return finding

    def test_healthy(self):
        """Exporters of all versions over more than an hour, side by side."""
        path = self.capture(*(Exporter(v, f"192.0.2.{n}", minutes=70) for n, v in enumerate((5, 9, 10), 1)))
        self.assertEqual((0, {}), findings("-r", path))
        status, out, err = run("doctor", "-r", path)
        self.assertEqual((0, ""), (status, err))
        self.assertRegex(out, r"^no complaints: 3 exporters, 3 streams, 1260 packets, 6300 flows in 70 minutes, "
                              r"2026-11-22 21:00 to 22:10 UTC\n$")

    def test_own_captures(self):
        """What real exporters sent, and by-hand messages: nothing worse than an element that nobody knows."""
        for path in sorted((ROOT / "tests/golden/captures").glob("*.hex")):
            with self.subTest(path.stem):
                status, found = findings("-r", path)
                self.assertEqual(0, status)
                self.assertLessEqual(set(found), {"elements-unknown"})

    def test_templates(self):
        e = Exporter()
        e.template_every = 0
        self.assertEqual("no-templates", self.only(self.capture(e))["id"])
        e = Exporter(minutes=130)
        e.template_every = 6 * 100
        found = self.only(self.capture(e))
        self.assertEqual(("template-refresh-slow", "warning"), (found["id"], found["severity"]))
        e = Exporter(minutes=70)
        e.template_every = 10_000
        self.assertEqual("template-never-repeated", self.only(self.capture(e))["id"])

    def test_conflict(self):
        """Two processes, one address and domain, one template id, two definitions."""
        class Other(Exporter):
            def payload(self, i, at):
                up = (at - START_S) * 1000 + 5_000_000
                body = packets.template_set(0, fields=((packets.SRC, 4), (packets.OCTETS, 4)))
                body += struct.pack("!HHII", packets.TEMPLATE, 12, 1, 2)
                return struct.pack("!HHIIII", 9, 2, up, at, self.sequence, 7) + body

        one, other = Exporter(), Other(port=50001)
        one.template_every = 1
        path = self.capture(one, other)
        found = self.only(path)
        self.assertEqual(("template-conflict", "error"), (found["id"], found["severity"]))
        self.assertIn("--exporter-scope 192.0.2.1=port", found["remedy"])
        self.assertEqual((0, {}), findings("--scope", "port", "-r", path))

    def test_clock(self):
        for skew, finding, words in ((120, "clock-off", "2 min ahead"), (-3 * 3600, "clock-time-zone", "3 h behind"),
                                     (-START_S + 600, "clock-1970", "1970-01-01")):
            with self.subTest(finding):
                e = Exporter()
                e.skew = skew
                found = self.only(self.capture(e))
                self.assertEqual(finding, found["id"])
                self.assertIn(words, found["sentence"])
        exporters = [Exporter(addr=f"192.0.2.{n}") for n in (1, 2, 3)]
        for e in exporters:
            e.skew = 60
        found = self.only(self.capture(*exporters))
        self.assertEqual(("collector-clock", "collector", None), (found["id"], found["about"], found["exporter"]))
        self.assertIn("behind theirs", found["sentence"])

    def test_loss(self):
        """Every twentieth packet is missing; one gap; and neither."""
        for version in (5, 9, 10):
            with self.subTest(version):
                e = Exporter(version, minutes=30)
                e.lost = lambda i: i % 20 == 7 and i > 10
                found = self.only(self.capture(e))
                gone = sum(e.lost(i) for i in range(len(e.times)))
                unit = 1 if version == 9 else 5
                self.assertEqual(gone * unit, found["numbers"]["lost"])
                self.assertEqual(180 * unit, found["numbers"]["due"])
                self.assertEqual("error", found["severity"])
                e = Exporter(version, minutes=30)
                e.lost = lambda i: i == 33
                found = self.only(self.capture(e))
                self.assertEqual("loss-bursts", found["id"])
                self.assertIn("2026-11-22 21:05 UTC", found["sentence"])

    def test_duplicates(self):
        """A mirror port: every packet twice."""
        e = Exporter()
        frames = list(e.frames())
        path = self.dir / "twice.pcap"
        path.write_bytes(packets.pcap([f for f in frames for _ in (1, 2)]))
        found = self.only(path)
        self.assertEqual(("duplicates", "error"), (found["id"], found["severity"]))
        self.assertEqual(60, found["numbers"]["duplicates"])

    def test_sequence_unit(self):
        """What the decoder cannot tell from loss: the same few flows in each packet. And numbers that mean nothing."""
        class Wild(Exporter):
            def payload(self, i, at):
                self.sequence = i * 2_000_000_011 % 2**32
                return super().payload(i, at)

        for e, words in ((Exporter(9), "count records instead of packets"),
                         (Wild(9), "count something else instead of packets"),
                         (Wild(10), "count something else instead of the records")):
            with self.subTest(words):
                e.unit = lambda n: n
                found = self.only(self.capture(e))
                self.assertEqual("sequence-unit", found["id"])
                self.assertIn(words, found["sentence"])

    def test_sequence_unit_found(self):
        """What the decoder finds out by itself is no finding; loss is told in what is counted."""
        for version, flows in ((10, 5), (5, 5), (9, 12)):
            with self.subTest(version):
                e = Exporter(version, flows=flows)
                e.unit = lambda n, v=version: n if v == 9 else 1
                self.assertEqual((0, {}), findings("-r", self.capture(e)))
                e = Exporter(version, flows=flows)
                e.unit = lambda n, v=version: n if v == 9 else 1
                e.lost = lambda i: i % 10 == 9 and i < 55
                found = self.only(self.capture(e))
                self.assertEqual("loss-steady", found["id"])
                unit, n = ("flow", 60) if version == 9 else ("packet", 5)
                self.assertIn(f"{n} {unit}s of ", found["sentence"])

    def test_after_itself(self):
        """IPFIX messages of different size whose number counts their own records."""
        class After(Exporter):
            def payload(self, i, at):
                self.flows = (7, 23, 11, 16, 3)[i % 5]
                self.sequence += self.flows
                self.unit = lambda n: 0
                return super().payload(i, at)

        self.assertEqual((0, {}), findings("-r", self.capture(After(10))))

    def test_reordering(self):
        e = Exporter()
        frames = list(e.frames())
        for i in range(2, len(frames) - 1, 6):
            (t, a), (u, b) = frames[i], frames[i + 1]
            frames[i], frames[i + 1] = (t, b), (u, a)
        path = self.dir / "order.pcap"
        path.write_bytes(packets.pcap(frames))
        found = self.only(path)
        self.assertEqual(("reordering", "warning"), (found["id"], found["severity"]))

    def test_restarts(self):
        class Restarting(Exporter):
            def payload(self, i, at):
                whole = bytearray(super().payload(i, at))
                whole[4:8] = struct.pack("!I", (at - START_S) % 150 * 1000 + 1000)
                whole[12:16] = struct.pack("!I", i % 15)
                return bytes(whole)

        e = Restarting()
        e.template_every = 1
        self.assertEqual("restarts", self.only(self.capture(e))["id"])

    def test_strangers(self):
        """sFlow on the same port, one stray packet and many."""
        for n, severity in ((3, "info"), (30, "warning")):
            stray = [((START_S + 30 + i) * 1_000_000,
                      packets.ethernet_udp("198.51.100.7", 6343, "192.0.2.99", 2055, struct.pack("!IIII", 5, 1, 2, 3)))
                     for i in range(n)]
            status, found = findings("-p", 2055, "-r", self.capture(Exporter(), extra=stray))
            self.assertEqual(["not-an-export"], list(found))
            self.assertEqual((int(n == 30), severity), (status, found["not-an-export"]["severity"]))
            self.assertEqual("198.51.100.7", found["not-an-export"]["exporter"])

    def test_silent(self):
        one, other = Exporter(minutes=30), Exporter(addr="192.0.2.2", minutes=45)
        found = self.only(self.capture(one, other))
        self.assertEqual(("silent", "192.0.2.1"), (found["id"], found["exporter"]))
        self.assertIn("15 min, since 2026-11-22 21:30 UTC", found["sentence"])

    def test_quirks(self):
        """Each row's capture shows what the row says; a decoder quirk is the remedy."""
        with open(ROOT / "registry/quirks.tsv", encoding="utf-8", newline="") as f:
            rows = list(csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE))
        self.assertGreater(len(rows), 4)
        for row in rows:
            with self.subTest(row["name"]):
                self.assertTrue(row["capture"])
                own = row["capture"].startswith("tests/")
                if not own and not (CORPUS / "cases.jsonl").is_file():
                    print(f"{row['name']}: skipped, there is no corpus at {CORPUS}", file=sys.stderr)
                    continue
                path = (ROOT if own else CORPUS) / row["capture"]
                _, found = findings("-r", path)
                if not row["finding"]:  # the decoder finds it out by itself: nothing is wrong
                    self.assertEqual({}, found)
                    continue
                self.assertIn(row["finding"], found)
                if not row["bit"]:
                    continue
                about = found[row["finding"]]
                self.assertIn(f"--quirk {about['exporter']}={row['name']}", about["remedy"])
                _, found = findings("-r", path, "--quirk", f"{about['exporter']}={row['name']}")
                self.assertNotIn(row["finding"], found)

    def test_quirk_captures(self):
        """They are what their generator writes."""
        for name, how in quirks.CAPTURES.items():
            self.assertEqual(quirks.capture(**how), (ROOT / f"tests/golden/quirks/{name}.pcap").read_bytes(), name)
        self.assertEqual((0, {}), findings("-r", ROOT / "tests/golden/quirks/sound.pcap"))

    def test_corpus(self):
        """Captures of others: what must be found in some, and all of them end with a verdict."""
        if not (CORPUS / "cases.jsonl").is_file():
            self.skipTest(f"there is no corpus at {CORPUS}")
        expected = {
            "ipfixcol/only-data-no-templates": {"no-templates"},
            "ipfixcol/missing-template-258": {"template-missing"},
            "akvorado/nfv5": {"clock-time-zone"},
            "graylog/netflow9": {"sequence-unit"},
            "python-netflow/invalid": {"not-an-export"},
            "dpkt/buf-nf5-header": {"malformed-count"},
            "vermont/incorrect-message-length": {"malformed-length"},
            "graylog/netflow5": set(),
            "graylog/pmacctd-netflow5": set(),
            "graylog/cisco-asa-netflowv9": set(),
            "ipfixcol/01-odid0": {"sampling-zero"},  # samplingInterval 0 in every record
            "generated/softflowd-v9-full6": set(),
            "generated/pmacctd-ipfix": set(),
            "generated/fprobe-v7": set(),
        }
        with open(CORPUS / "cases.jsonl", encoding="utf-8") as f:
            cases = [json.loads(line) for line in f]
        self.assertLessEqual(set(expected), {c["case"] for c in cases})
        for case in cases:
            if not case.get("pcap") or case["case"].split("/")[0] not in {c.split("/")[0] for c in expected}:
                continue
            if any(v.startswith("sflow") for v in case["versions"]):
                continue
            with self.subTest(case["case"]):
                status, found = findings("-r", CORPUS / case["pcap"])
                self.assertEqual(int(any(f["severity"] != "info" for f in found.values())), status)
                if case["case"] in expected:
                    self.assertEqual(expected[case["case"]], set(found))

    def test_archive(self):
        """By the ledger of an archive as by the capture that was read into it."""
        bad, good = Exporter(9, minutes=20), Exporter(10, "192.0.2.7", minutes=20)
        bad.skew = 3600
        bad.lost = lambda i: i in (50, 51)
        path, archive = self.capture(bad, good), self.dir / "archive"
        status, _, err = run("collect", "-r", path, "-a", archive, "--stats-interval", "0")
        self.assertEqual(0, status, err)
        _, by_capture = findings("-r", path)
        status, by_ledger = findings("-R", archive)
        self.assertEqual(1, status)
        self.assertEqual({"clock-time-zone", "loss-bursts"}, set(by_ledger))
        self.assertEqual(by_capture, by_ledger)
        # one exporter, a window
        self.assertEqual((0, {}), findings("-R", archive, "192.0.2.7"))
        status, found = findings("-R", archive, "-t", "2026-11-22T21:00Z-2026-11-22T21:05Z", "192.0.2.1")
        self.assertEqual({"clock-time-zone"}, set(found))
        # exporters that nobody has heard of
        status, out, err = run("doctor", "-R", archive, "192.0.2.8")
        self.assertEqual((1, ""), (status, out))
        self.assertIn(f"exporter 192.0.2.8 is not in the ledger of {archive}, 2026-11-22 21:00 to 21:20 UTC "
                      "(weir exporters lists who is)", err)
        status, out, err = run("doctor", "-R", archive, "192.0.2.7", "2001:db8::8", "192.0.2.8")
        self.assertEqual(1, status)
        self.assertIn("no complaints: 1 exporter, ", out)
        self.assertEqual(["2001:db8::8", "192.0.2.8"], re.findall(r"exporter (\S+) is not in", err))
        self.assertNotIn("192.0.2.7", err)
        status, out, err = run("doctor", "-o", "json", "-R", archive, "192.0.2.7", "192.0.2.8")
        self.assertEqual((1, ["192.0.2.8"], []), (status, json.loads(out)["looked"]["unknown"], json.loads(out)["findings"]))
        status, out, err = run("doctor", "-R", archive, "-t", "2026-11-22T21:10Z-2026-11-22T21:14Z", "192.0.2.8")
        self.assertIn("at that time, 2026-11-22 21:10 to 21:15 UTC", err)
        status, out, err = run("doctor", "-R", archive, "-t", "2026-11-20-2026-11-21", "192.0.2.7")
        self.assertEqual((1, ""), (status, out))
        self.assertIn("no ledger for that time", err)
        status, out, err = run("doctor", "-r", path, "192.0.2.8")
        self.assertEqual((1, ""), (status, out))
        self.assertIn(f"nothing of exporter 192.0.2.8 is in {path}, 2026-11-22 21:00 to 21:20 UTC", err)
        # ./archive is the default
        status, out, _ = run("doctor", cwd=self.dir)
        self.assertEqual(1, status)
        self.assertIn("exporter 192.0.2.1\n  error    ", out)
        self.assertIn("\n           remedy: ", out)
        self.assertIn("(clock-time-zone, NetFlow v9, domain 7, 2026-11-22 21:00 to 21:20 UTC)", out)
        self.assertTrue(all(len(line) <= 100 for line in out.splitlines()[:-1]), out)
        self.assertNotIn("\033", out)

    def test_refused(self):
        """Senders that --allow does not name are in the ledger."""
        path, archive = self.capture(Exporter(minutes=2)), self.dir / "archive"
        status, _, err = run("collect", "-r", path, "-a", archive, "--allow", "198.51.100.0/24", "--stats-interval", "0")
        self.assertEqual(0, status, err)
        status, found = findings("-R", archive)
        self.assertEqual((0, ["refused"]), (status, list(found)))
        self.assertIn("--allow 192.0.2.1", found["refused"]["remedy"])

    def test_options_are_real(self):
        """Every option that a remedy names is one of the command it names."""
        known = {c: set(re.findall(r"--[a-z][a-z-]+", run(c, "--help")[1])) for c in ("collect", "decode")}
        with open(ROOT / "registry/findings.tsv", encoding="utf-8", newline="") as f:
            rows = list(csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE))
        for row in rows:
            for option in re.findall(r"--[a-z][a-z-]+", row["remedy"] + " " + row["meaning"]):
                self.assertIn(option, known["decode"] if "weir decode" in row["remedy"] else known["collect"], row["id"])

    def test_thresholds_are_used(self):
        code = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "src/ledger").glob("*.c"))
        with open(ROOT / "registry/thresholds.tsv", encoding="utf-8", newline="") as f:
            for row in csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE):
                self.assertRegex(code, rf"\bLIMIT_{row['name']}\b")

    def test_usage(self):
        for args, words in ((("router.pcap",), "an exporter's address is needed (-r names a capture)"),
                            (("-r", "a", "-R", "b"), "either captures or archives"),
                            (("-o", "xml"), "xml"), (("-t", "yesterday"), "yesterday"),
                            (("-r", "a", "--quirk", "192.0.2.1=nonsense"), "uptime-seconds")):
            with self.subTest(args):
                status, out, err = run("doctor", *args)
                self.assertEqual((2, ""), (status, out))
                self.assertIn(words, err)
        status, out, err = run("doctor", "-R", self.dir / "none")
        self.assertEqual((1, ""), (status, out))
        self.assertIn("No such file", err)
        (self.dir / "empty").mkdir()
        status, out, err = run("doctor", "-R", self.dir / "empty")
        self.assertEqual((1, ""), (status, out))
        self.assertIn("no ledger in", err)
        status, out, err = run("doctor", "-o", "json", "-R", self.dir / "empty")
        self.assertEqual((1, None), (status, json.loads(out)["looked"]["from"]))
        status, out, err = run("doctor", "-R", WEIR)
        self.assertEqual((1, ""), (status, out))
        self.assertIn("is no archive, which is a directory", err)
        status, out, err = run("doctor", "-r", self.dir)
        self.assertEqual((1, ""), (status, out))
        self.assertIn("is a directory, no capture (-R names an archive)", err)
        status, out, err = run("doctor", "-r", self.dir / "none.pcap")
        self.assertEqual((1, ""), (status, out))
        self.assertIn("none.pcap", err)

    def test_what_is_no_capture(self):
        """Text, an image, nothing at all: said, and the status of whatever could not be read."""
        junk = self.dir / "junk"
        for octets in (b"root:x:0:0:root:/root:/bin/bash\n" * 9, b"\x89PNG\r\n\x1a\n" + bytes(900), b"\5", bytes(99)):
            junk.write_bytes(octets)
            status, out, err = run("doctor", "-r", junk)
            self.assertEqual((1, ""), (status, out))
            self.assertIn(f"{junk}: neither a capture (pcap, pcapng) nor an IPFIX file, nor is ", err)
        junk.write_bytes(b"")
        status, out, err = run("doctor", "-r", junk)
        self.assertEqual((1, ""), (status, out))
        self.assertNotEqual("", err)
        # beside one that is: that one is looked at
        good = self.capture(Exporter())
        junk.write_bytes(b"no capture")
        status, out, err = run("doctor", "-r", good, junk)
        self.assertEqual(1, status)
        self.assertIn("no complaints: 1 exporter, ", out)
        self.assertIn(f"{junk}: neither", err)
        # a payload without anything around it is an input
        payload = self.dir / "payload"
        payload.write_bytes(packets.v5(range(5)))
        status, out, err = run("doctor", "-r", payload)
        self.assertEqual("", err)
        self.assertIn("no complaints: 1 exporter, 1 stream, 1 packet, 5 flows", out)

    def test_several_captures(self):
        """UDP captures share templates, in the order given; operands behind -r are captures too."""
        e = Exporter(minutes=6)
        frames = list(e.frames())
        for name, part in (("1.pcap", frames[:18]), ("2.pcap", frames[18:])):
            (self.dir / name).write_bytes(packets.pcap(part))
        self.assertEqual((0, {}), findings("-r", self.dir / "1.pcap", self.dir / "2.pcap"))
        self.assertEqual((0, {}), findings("-r", self.dir / "1.pcap", "-r", self.dir / "2.pcap", "192.0.2.1"))


class Checkpoints(CollectorTest):
    """The two files in which a worker keeps what it has counted of the minute."""

    def setUp(self):
        super().setUp()
        self.archive = pathlib.Path(self.path("archive"))
        self.files = [self.archive / f"weir.checkpoint-w0.{copy}" for copy in "ab"]

    def collect(self, **more):
        return Collector("--archive", self.archive, "--workers", "1", **more)

    def said(self, c, pattern):
        """Before it was ready."""
        self.assertTrue(any(re.search(pattern, line) for line in c.said), c.said)

    def stored(self, c, n):
        """Until n packets are counted on the disk."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            out = run("exporters", "-R", self.archive, "-o", "json")[1]
            if out and json.loads(out)["collector"]["packets"] >= n:
                return
        raise AssertionError(f"not counted: {n} packets: {c.said}")

    def killed(self, n=1):
        """An archive with both copies, the newer one first."""
        with self.collect() as c:
            for i in range(n):
                c.send(packets.v5(range(5), sequence=5 * i))
                self.stored(c, i + 1)
            c.kill()
        serial = [struct.unpack_from("!Q", f.read_bytes(), 8)[0] for f in self.files]
        self.assertEqual(1, abs(serial[0] - serial[1]))
        return sorted(self.files, key=lambda f: -serial[self.files.index(f)])

    def damaged(self, *args):
        """Exit status and findings about checkpoints; others depend on what time it is."""
        status, out, err = run("doctor", "-o", "json", "-R", self.archive, *args)
        self.assertEqual("", err)
        return status, {f["id"]: f for f in json.loads(out)["findings"] if f["id"].startswith("checkpoint")}

    def test_one_copy_is_damaged(self):
        newer, older = self.killed()
        self.assertEqual({}, self.damaged()[1])
        for f in (newer, older):
            whole = f.read_bytes()
            for bad in (whole[:40] + bytes([whole[40] ^ 1]) + whole[41:], whole[:60], bytes(len(whole)), None):
                f.unlink()
                if bad is not None:
                    f.write_bytes(bad)
                status, found = self.damaged()
                self.assertEqual((1, ["checkpoint-damaged"]), (status, list(found)))
                finding = found["checkpoint-damaged"]
                self.assertEqual(("warning", "collector"), (finding["severity"], finding["about"]))
                self.assertIn(f"1 file of the checkpoint damaged ({f.name})", finding["sentence"])
                self.assertIn("about a second", finding["sentence"])
                f.touch()
            if f == older:  # else what was counted is in the damaged one
                self.assertIn("Collector: checkpoint damaged", run("exporters", "-R", self.archive)[1])
            f.write_bytes(whole)
        self.assertEqual({}, self.damaged()[1])
        newer.write_bytes(newer.read_bytes()[:50])
        with self.collect() as c:
            self.said(c, rf"{newer.name} is damaged, took up the other copy: about a second of counts")
            c.stop()
        self.assertEqual({}, self.damaged()[1])  # it is written anew

    def test_no_copy_is_whole(self):
        for f in self.killed():
            f.write_bytes(b"nothing of ours, and long enough to hold a head and a tail of a checkpoint")
        status, found = self.damaged()
        self.assertEqual((1, ["checkpoint-lost"]), (status, list(found)))
        self.assertEqual(("error", 2), (found["checkpoint-lost"]["severity"], found["checkpoint-lost"]["numbers"]["files"]))
        with self.collect() as c:
            self.said(c, "weir.checkpoint-w0 is of no use: ")
            c.stop()
        self.assertEqual({}, self.damaged()[1])

    def answer(self, *args):
        """What a query says of its completeness, in words and as JSON."""
        words = run("query", "-R", self.archive, "-s", "srcip", *args)[1]
        said = "".join(run("query", "-R", self.archive, "-o", "null", "--summary", "json", *args)[1:])
        return (next(line for line in words.splitlines() if line.startswith("Completeness: "))[len("Completeness: "):],
                json.loads(said.splitlines()[-1])["summary"]["completeness"])

    def test_answers_speak_of_damage_that_matters(self):
        newer, older = self.killed(2)
        self.assertNotIn("damaged", self.answer()[0])
        whole = newer.read_bytes()
        for which, bad, said in ((older, b"torn", None), (newer, b"torn", "up to a second of counts [-0-9:]* may be missing"),
                                 (newer, None, "up to a second of counts [-0-9:]* may be missing")):
            with self.subTest(which=which, bad=bad):
                kept, when = which.read_bytes(), which.stat()
                which.unlink()
                if bad:
                    which.write_bytes(bad)
                    os.utime(which, ns=(when.st_atime_ns, when.st_mtime_ns))
                words, c = self.answer()
                if said:
                    self.assertRegex(words, rf"^complete as far as known \(.*{said}: checkpoint damaged")
                    self.assertLessEqual(c["damaged_from"], c["damaged_to"])
                else:
                    self.assertNotIn("damaged", words)
                self.assertEqual((c["complete"], c["damaged_checkpoints"]), (c["complete"] and not said, 1 if said else 0))
                # Of other times it is nothing to say.
                self.assertNotIn("damaged_from", self.answer("-t", "2020/01/01-2020/01/02")[1])
                which.write_bytes(kept)
                os.utime(which, ns=(when.st_atime_ns, when.st_mtime_ns))
        # A collector that ends has stored all of it.
        with self.collect() as c:
            c.send(packets.v5(range(5), sequence=10))
            self.stored(c, 3)
            c.stop()
        for f in self.files:
            when = f.stat()
            f.write_bytes(whole[:50])
            os.utime(f, ns=(when.st_atime_ns, when.st_mtime_ns))
        self.assertNotIn("damaged", self.answer()[0])
        # One that was killed has not.
        for f in self.files:
            f.unlink()
        with self.collect() as c:
            c.send(packets.v5(range(5), sequence=15))
            self.stored(c, 4)
            c.kill()
        for f in self.files:
            f.write_bytes(whole[:50])
            os.utime(f, (time.time() + 5, time.time() + 5))
        words, c = self.answer()
        self.assertRegex(words, r"counts of [-0-9:]* cannot be read: checkpoint damaged")
        self.assertEqual((c["complete"], c["damaged_checkpoints"]), (False, 1))

    def test_a_directory_in_place_of_a_copy(self):
        """The collector starts, shouts, goes on with the other copy, and with both as soon as it can."""
        for blocked in ([1], [0, 1]):
            with self.subTest(blocked):
                self.archive = pathlib.Path(self.path(f"archive{blocked}"))
                self.files = [self.archive / f"weir.checkpoint-w0.{copy}" for copy in "ab"]
                self.archive.mkdir()
                for i in blocked:
                    self.files[i].mkdir()
                with self.collect() as c:
                    self.said(c, rf"the checkpoint cannot be written: .*\.{'ab'[blocked[-1]]}: Is a directory")
                    c.send(*(packets.v5(range(5), sequence=5 * n) for n in range(4)))
                    s = c.until("stored", lambda s: s["output"]["records_written"] == 20)
                    self.assertGreater(s["output"]["checkpoints_failed"], 0)
                    if len(blocked) == 1:
                        self.stored(c, 4)
                    self.assertEqual(["checkpoint-damaged" if len(blocked) == 1 else "checkpoint-lost"], list(self.damaged()[1]))
                    for i in blocked:
                        self.files[i].rmdir()
                    c.send(packets.v5(range(5), sequence=20))
                    self.stored(c, 5)
                    c.wait_for("the checkpoint can be written again")
                    c.kill()
                self.assertEqual({}, self.damaged()[1])
                out = run("query", "-R", self.archive, "-o", "null")[1]
                self.assertIn("total flows: 25,", out)
                self.assertIn("Completeness: complete\n", out)

    def test_a_file_in_place_of_a_table(self):
        """Nothing could be stored: said at once, with what to do."""
        for name in ("ledger", "flows"):
            self.archive = pathlib.Path(self.path(f"archive-{name}"))
            self.archive.mkdir()
            (self.archive / name).touch()
            with self.collect(ready=False) as c:
                c.end(status=1)
            self.assertIn(f"{self.archive / name}: Not a directory (a file stands in its way: move that away)", c.said[-1])


if __name__ == "__main__":
    unittest.main()
