#!/usr/bin/env python3
"""`weir gen`: what it writes and sends is what it says it does, flow by flow, and what it loses is lost exactly."""
import collections
import csv
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from collector import DEADLINE_S, WEIR, Collector  # noqa: E402

FORMATS = ("v5", "v9", "ipfix")
COUNTS = ("packets", "octets", "template_packets", "flows", "ipv6_flows", "flow_packets", "flow_octets", "lost_packets",
          "lost_flows", "lost_units", "twice_packets", "twice_flows", "overtaken_packets")


def weir(*args, data=b"", status=0):
    done = subprocess.run([WEIR, *map(str, args)], input=data, capture_output=True, check=False, timeout=DEADLINE_S * 4)
    if done.returncode != status:
        raise AssertionError(f"exit status {done.returncode}, not {status}: {args}: {done.stderr.decode()}")
    return done


def gen(*args, status=0):
    return weir("gen", *args, status=status)


def ms(time_text):
    """Milliseconds of 2026-01-01T00:00:00.123Z, as an exact integer."""
    whole, _, fraction = time_text.rstrip("Z").partition(".")
    seconds = int(time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))) - time.timezone
    return seconds * 1000 + int((fraction + "000")[:3])


def key(row):
    """What every protocol says of a flow, of a line of CSV."""
    return (row["exporter"], int(row["start_ms"]), int(row["end_ms"]), row["src"], row["dst"], *(int(row[name]) for name in (
        "proto", "sport", "dport", "packets", "bytes", "tcp_flags", "tos", "in_if", "out_if", "src_as", "dst_as",
        "src_mask", "dst_mask")), row["next_hop"])


def key_of_record(r):
    f = r["fields"]
    six = "sourceIPv6Address" in f
    def number(name):
        return f[name]
    return (r["exporter"].rsplit(":", 1)[0], ms(r["first"]), ms(r["last"]),
            f["sourceIPv6Address" if six else "sourceIPv4Address"],
            f["destinationIPv6Address" if six else "destinationIPv4Address"],
            *(number(name) for name in (
                "protocolIdentifier", "sourceTransportPort", "destinationTransportPort", "packetDeltaCount",
                "octetDeltaCount", "tcpControlBits", "ipClassOfService", "ingressInterface", "egressInterface",
                "bgpSourceAsNumber", "bgpDestinationAsNumber",
                "sourceIPv6PrefixLength" if six else "sourceIPv4PrefixLength",
                "destinationIPv6PrefixLength" if six else "destinationIPv4PrefixLength")),
            f["ipNextHopIPv6Address" if six else "ipNextHopIPv4Address"])


def counters(stderr):
    """The totals of `weir decode --stats`."""
    lines = stderr.decode().split("\ntotal\n")[1].splitlines()
    return collections.defaultdict(int, {name: int(value) for name, value in (line.split() for line in lines)})


def payloads(data):
    """(exporter, payload) of a --payload file."""
    at = 0
    while at < len(data):
        length, exporter = struct.unpack_from("<II", data, at)
        yield exporter, data[at + 8:at + 8 + length]
        at += 8 + length


def sequence_of(payload, form):
    return struct.unpack_from("!I", payload, 16 if form == "v5" else 12)[0]


class GenTest(unittest.TestCase):
    def setUp(self):
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.dir = held.name

    def path(self, name):
        return os.path.join(self.dir, name)

    def truth(self, name="truth.json"):
        with open(self.path(name), encoding="ascii") as f:
            return json.load(f)


class Files(GenTest):
    def test_csv_is_what_the_packets_hold(self):
        for form in FORMATS:
            with self.subTest(form):
                gen("-F", form, "-n", "3k", "-e", "3", "--sampling", "100", "-w", self.path("a.pcap"), "--csv",
                    self.path("a.csv"), "--truth", self.path("truth.json"), "--rate", "1000", "-s", "7")
                truth = self.truth()
                with open(self.path("a.csv"), encoding="ascii") as f:
                    rows = list(csv.DictReader(f))
                done = weir("decode", "--stats", self.path("a.pcap"))
                records = [json.loads(line) for line in done.stdout.splitlines()]
                flows = [r for r in records if r["kind"] == "flow"]
                self.assertEqual(collections.Counter(map(key, rows)), collections.Counter(map(key_of_record, flows)))
                self.assertEqual(len(rows), 3000)
                self.assertEqual(len({row["exporter"] for row in rows}), 3)
                named = [r["fields"] for r in flows if "applicationName" in r["fields"]]
                translated = [r["fields"] for r in flows if "postNATSourceIPv4Address" in r["fields"]]
                self.assertEqual(len(named), sum(row["app"] != "" for row in rows))
                self.assertEqual(collections.Counter(f["applicationName"] for f in named),
                                 collections.Counter(row["app"] for row in rows if row["app"]))
                self.assertEqual(
                    collections.Counter((f["postNATSourceIPv4Address"], f["postNATDestinationIPv4Address"],
                                         f["postNAPTSourceTransportPort"], f["postNAPTDestinationTransportPort"])
                                        for f in translated),
                    collections.Counter((row["nat_src"], row["nat_dst"], int(row["nat_sport"]), int(row["nat_dport"]))
                                        for row in rows if row["nat_src"]))
                self.assertEqual(bool(named and translated), form == "ipfix")
                # The truth adds up, in total and over the exporters, and is what the decoder counts.
                c = counters(done.stderr)
                self.assertEqual(truth["flows"], c["flows"])
                self.assertEqual(truth["packets"], c["packets"])
                self.assertEqual(truth["octets"], c["octets"])
                self.assertEqual(truth["template_packets"], c["options"])
                self.assertEqual(truth["flow_packets"], sum(int(row["packets"]) for row in rows))
                self.assertEqual(truth["flow_octets"], sum(int(row["bytes"]) for row in rows))
                self.assertEqual(truth["ipv6_flows"], sum(":" in row["src"] for row in rows))
                self.assertEqual(truth["ipv6_flows"] > 0, form != "v5")
                self.assertEqual(c["sequence_lost"] + c["sequence_duplicated"] + c["sequence_out_of_order"], 0)
                self.assertEqual(c["conflicts"] + c["values_bad"] + c["elements_unknown"], 0)
                for name in COUNTS:
                    self.assertEqual(truth[name], sum(e[name] for e in truth["exporters"]), name)
                if form != "v5":  # which has it in each header
                    self.assertEqual(done.stderr.count(b"sampling 1 in 100 (options)"), 3)

    def test_the_same_octets_each_time(self):
        for form in FORMATS:
            first, second, other = ((gen("-F", form, "-n", "2k", "--payload", "-", "--seed", seed).stdout)
                                    for seed in ("5", "5", "6"))
            self.assertEqual(first, second)
            self.assertNotEqual(first, other)

    def test_collect_reads_a_pipe(self):
        made = gen("--ipfix", "-n", "5k", "-w", "-", "--truth", self.path("truth.json")).stdout
        weir("collect", "--read", "-", "-a", self.path("archive"), data=made)
        words = weir("query", "-R", self.path("archive"), "-N", "-o", "null").stdout.decode()
        truth = self.truth()
        self.assertIn(f"total flows: {truth['flows']}, total bytes: {truth['flow_octets']}, total packets: "
                      f"{truth['flow_packets']}", words)

    def test_limits_of_a_packet(self):
        for form, most in (("v5", 30), ("v9", 9), ("ipfix", 9)):
            limit = ["--max-payload", "1472"] if form == "v5" else ["--flows-per-packet", "9"]
            data = gen("-F", form, "-n", "2k", "--payload", "-", "--rate", "1M", *limit).stdout
            counts = [struct.unpack_from("!H", p, 2)[0] for _, p in payloads(data)]
            if form != "ipfix":  # where the field is the length
                self.assertEqual(max(counts), most)
        for form, size, most in (("v5", 1400, 28), ("v5", 8972, 30), ("v5", None, 30), ("v9", 1400, 25), ("v9", 8972, 162)):
            payload = ["--max-payload", size] if size else []
            limits = [*payload, "--flows-per-packet", most]
            data = gen("-F", form, "-n", "4k", "-e", "2", "--ipv6", "0", "--payload", "-", "--rate", "1M", *limits).stdout
            self.assertEqual(max(struct.unpack_from("!H", p, 2)[0] for _, p in payloads(data)), most)
            self.assertIn(f"at most {most}", gen("-F", form, "--payload", "-", *payload, "--flows-per-packet", most + 1,
                                                 status=2).stderr.decode())
        for size in (512, 1000, 8972):
            data = gen("-n", "3k", "--payload", "-", "--rate", "1M", "--max-payload", size).stdout
            sizes = [len(p) for _, p in payloads(data)]
            self.assertLessEqual(max(sizes), size)
            self.assertGreater(max(sizes), size - 120)  # a record is at most 100 octets

    def test_when_templates_come(self):
        data = gen("-n", "4k", "--payload", "-", "-e", "2", "--template-every", "10").stdout
        since = {}
        for exporter, p in payloads(data):
            if struct.unpack_from("!H", p, 20)[0] == 0:
                self.assertEqual(since.get(exporter, 10), 10)
                since[exporter] = 0
            else:
                since[exporter] += 1
                self.assertLessEqual(since[exporter], 10)
        data = gen("-n", "30k", "-r", "1k", "--payload", "-", "-e", "1", "--template-every", "10s").stdout
        times = [struct.unpack_from("!I", p, 8)[0] for _, p in payloads(data) if struct.unpack_from("!H", p, 20)[0] == 0]
        self.assertEqual([b - a for a, b in zip(times, times[1:])], [10, 10])

    def test_start_and_span(self):
        for text, seconds in (("2025-03-01T00:00Z", 1740787200), ("@1700000000", 1700000000)):
            data = gen("-t", "3s", "-r", "500", "--start", text, "--payload", "-", "--truth", self.path("truth.json")).stdout
            times = [struct.unpack_from("!I", p, 8)[0] for _, p in payloads(data)]
            self.assertEqual((min(times), max(times)), (seconds, seconds + 3 - 1))
            self.assertEqual(self.truth()["flows"], 1500)

    def test_many_exporters_have_their_own_address(self):
        gen("-e", "600", "-n", "20k", "--hosts", "50k/1k", "--csv", self.path("a.csv"), "--truth", self.path("truth.json"))
        addresses = [e["address"] for e in self.truth()["exporters"]]
        self.assertEqual(len(set(addresses)), len(addresses))
        self.assertGreater(len(addresses), 590)
        self.assertTrue(all(a.startswith("127.0.") for a in addresses))
        with open(self.path("a.csv"), encoding="ascii") as f:
            self.assertEqual({row["exporter"] for row in csv.DictReader(f)}, set(addresses))


class Mishaps(GenTest):
    def test_the_decoder_sees_exactly_them(self):
        cases = (("drop", ["--drop", "1/2"]), ("drop", ["--drop", "3/20"]), ("twice", ["--duplicate", "2/9"]),
                 ("overtaken", ["--reorder", "7"]), ("all", ["--drop", "2/11", "--duplicate", "1/13", "--reorder", "5"]))
        for form in FORMATS:
            for what, options in cases:
                with self.subTest(form=form, options=options):
                    made = gen("-F", form, "-n", "8k", "-e", "3", "-w", "-", "--csv", self.path("a.csv"), "--truth",
                               self.path("truth.json"), "--template-every", "40", *options)
                    truth = self.truth()
                    c = counters(weir("decode", "--stats", "-", data=made.stdout).stderr)
                    self.assertEqual(c["packets"], truth["packets"])
                    self.assertEqual(c["sequence_lost"], truth["lost_units"])
                    self.assertEqual(c["sequence_duplicated"], truth["twice_packets"])
                    self.assertEqual(c["sequence_out_of_order"], truth["overtaken_packets"])
                    self.assertEqual(c["flows"], truth["flows"] + truth["twice_flows"])
                    self.assertEqual(truth["flows"] + truth["lost_flows"], 8000)
                    with open(self.path("a.csv"), "rb") as f:
                        self.assertEqual(f.read().count(b"\n") - 1, truth["flows"])
                    for name, wanted in (("lost", ("drop", "all")), ("twice", ("twice", "all")),
                                         ("overtaken", ("overtaken", "all"))):
                        self.assertEqual(truth[f"{name}_packets"] > 0, what in wanted, name)
                    self.assertIn(b"as asked for", made.stderr)

    def test_share_of_what_is_lost(self):
        gen("-5", "-n", "300k", "-e", "1", "--drop", "1/10", "--truth", self.path("truth.json"))
        truth = self.truth()
        self.assertAlmostEqual(truth["lost_flows"] / 300000, 0.1, delta=0.002)


class Socket:
    """A place to send to: takes what comes, from whom."""

    def __init__(self, host="127.0.0.1"):
        self.s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.s.bind((host, 0))
        self.s.settimeout(DEADLINE_S)
        self.to = f"[{host}]:{self.s.getsockname()[1]}" if ":" in host else f"{host}:{self.s.getsockname()[1]}"

    def take(self, n):
        return [self.s.recvfrom(65535) for _ in range(n)]

    def nothing_more(self):
        self.s.setblocking(False)
        try:
            return self.s.recv(1) is None
        except BlockingIOError:
            return True

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.s.close()


class Live(GenTest):
    def check(self, taken, form):
        """Each exporter's sequence numbers, from the first to the last; headers tell the present time."""
        now = time.time()
        following = {}
        flows = 0
        for payload, source in taken:
            count, clock = struct.unpack_from("!H", payload, 2)[0], struct.unpack_from("!I", payload, 8)[0]
            template = form == "v9" and struct.unpack_from("!H", payload, 20)[0] < 256
            self.assertLess(abs(now - clock), DEADLINE_S)
            number = sequence_of(payload, form)
            self.assertEqual(number, following.get(source, 0))
            following[source] = number + (1 if form == "v9" else count)
            flows += 0 if template else count
        return flows, following

    def test_repeated_cycles(self):
        """Three turns of a cycle of packets: numbers go on, times move on, no flow is ever sent with an old time."""
        for form in ("v5", "v9"):
            for more in ([], ["--gso"]):
                with Socket() as s:
                    gen(s.to, "-F", form, "-n", "900", "--cycle", "300", "--rate", "20k", "-e", "2", "--ipv6", "0",
                        "--truth", self.path("truth.json"), *more)
                    truth = self.truth()
                    taken = s.take(truth["packets"])
                    self.assertTrue(s.nothing_more())
                flows, following = self.check(taken, form)
                self.assertEqual(flows, truth["flows"])
                self.assertEqual(flows, 900)
                self.assertEqual({host for host, _ in following}, {"127.0.1.1", "127.0.1.2"})
                self.assertEqual({(e["address"], e["port"]) for e in truth["exporters"]}, set(following))
                self.assertEqual(truth["refused"] + truth["failed_packets"], 0)
                for payload, _ in taken:
                    if form == "v9" and struct.unpack_from("!H", payload, 20)[0] < 256:
                        continue
                    uptime = struct.unpack_from("!I", payload, 4)[0]
                    at, stride, first = (24, 48, 24) if form == "v5" else (24, 55, 28)
                    for i in range(struct.unpack_from("!H", payload, 2)[0]):
                        a, b = struct.unpack_from("!II", payload, at + i * stride + first)
                        self.assertTrue(0 <= b - a <= 60000 and 0 < uptime - b < 30000, (a, b, uptime))

    def test_each_flow_anew_as_csv_says(self):
        for form in FORMATS:
            with Collector("-a", self.path(form), host="127.0.0.1") as c:
                gen(f"127.0.0.1:{c.ports[0]}", "-F", form, "-n", "600", "-r", "30k", "--csv", self.path("a.csv"), "--truth",
                    self.path("truth.json"))
                truth = self.truth()
                c.decoded(truth["packets"])
                stats = c.stop()
            self.assertEqual(stats["decode"]["flows"], 600)
            self.assertEqual(stats["decode"]["sequence_lost"], 0)
            self.assertEqual({e["exporter"] for e in stats["exporters"]}, {e["address"] for e in truth["exporters"]})
            words = weir("query", "-R", self.path(form), "-q", "-N", "-6", "-o", "csv:%ts,%te,%sa,%da,%sp,%dp,%pkt,%byt").stdout
            stored = collections.Counter(tuple(row) for row in csv.reader(io.StringIO(words.decode())))
            with open(self.path("a.csv"), encoding="ascii") as f:
                rows = list(csv.DictReader(f))
            self.assertEqual(sum(stored.values()), len(rows))
            self.assertEqual(collections.Counter((r["src"], r["dst"], r["packets"], r["bytes"]) for r in rows),
                             collections.Counter((k[2], k[3], k[6], k[7]) for k in stored.elements()))
            now = time.time() * 1000
            self.assertTrue(all(now - 200000 < int(r["start_ms"]) <= int(r["end_ms"]) < now for r in rows))

    def test_over_ipv6_exporters_have_ports(self):
        try:
            s = Socket("::1")
        except OSError:
            self.skipTest("no IPv6 on this machine")
        with s:
            gen(s.to, "-n", "300", "-e", "3", "-r", "30k", "--truth", self.path("truth.json"))
            truth = self.truth()
            taken = s.take(truth["packets"])
        self.assertEqual({source[:2] for _, source in taken}, {("::1", e["port"]) for e in truth["exporters"]})
        self.assertEqual(len(truth["exporters"]), 3)

    def test_interrupted(self):
        with Socket() as s:
            child = subprocess.Popen([WEIR, "gen", s.to, "-r", "2k", "--truth", self.path("truth.json")],
                                     stderr=subprocess.PIPE, text=True)
            s.take(3)
            child.send_signal(signal.SIGTERM)
            words = child.communicate(timeout=DEADLINE_S)[1]
            self.assertEqual(child.returncode, 0, words)
            self.assertIn("flows/s", words)
            self.assertGreaterEqual(self.truth()["packets"], 3)

    def test_rate_and_time_are_kept(self):
        with Socket() as s:
            gen(s.to, "-r", "3k", "-t", "500ms", "--truth", self.path("truth.json"))
        truth = self.truth()
        self.assertGreater(truth["flows"], 500)
        self.assertLess(truth["flows"], 1700)  # 1500, and a packet of each exporter
        with Socket() as s:
            gen(s.to, "--pps", "200", "-t", "500ms", "--truth", self.path("truth.json"))
        self.assertLess(self.truth()["packets"], 110)

    def test_nobody_listens(self):
        with Socket() as s:
            to = s.to
        words = gen(to, "-n", "2k", "-r", "100k").stderr.decode()
        self.assertIn(f"{to}: nobody listened there", words)


class Wrong(GenTest):
    def test_usage(self):
        for args, words in (
                ((), "nowhere to"),
                (("127.0.0.1:1", "127.0.0.1:2"), "one destination"),
                (("--pcap", "-", "--csv", "-"), "standard output takes one"),
                (("--pcap", "x", "-5", "-9"), "exclude each other"),
                (("--pcap", "x", "--rate", "0"), "--rate 0"),
                (("--pcap", "x", "--pps", "5"), "--pps"),
                (("127.0.0.1:9", "--pps", "5", "--rate", "5"), "exclude"),
                (("127.0.0.1:9", "--start", "2025"), "present time"),
                (("--pcap", "x", "--start", "yesterday"), "--start yesterday"),
                (("--pcap", "x", "--start", "1970"), "1970-02"),
                (("--pcap", "x", "--start", "@99999999999"), "@"),
                (("--pcap", "x", "-n", "12x"), "'12x' is not a number"),
                (("--pcap", "x", "-e", "0"), "1 to 60000"),
                (("--pcap", "x", "--max-payload", "100"), "512 to 8972"),
                (("--pcap", "x", "--hosts", "5"), "INTERNAL/EXTERNAL"),
                (("--pcap", "x", "--hosts", "0/5"), "INTERNAL/EXTERNAL"),
                (("--pcap", "x", "--ipv6", "2"), "--ipv6 2"),
                (("--pcap", "x", "--ipv6", "half"), "--ipv6 half"),
                (("--pcap", "x", "--drop", "5"), "--drop 5"),
                (("--pcap", "x", "--drop", "5/5"), "K < N"),
                (("--pcap", "x", "--duplicate", "0/5"), "K < N"),
                (("--pcap", "x", "--reorder", "1"), "at least 2"),
                (("--pcap", "x", "--template-every", "soon"), "--template-every soon"),
                (("--pcap", "x", "--template-every", "0"), "--template-every 0"),
                (("-5", "--pcap", "x", "--sampling", "20000"), "1 to 16383"),
                (("-5", "--pcap", "x", "--flows-per-packet", "31"), "a packet of NetFlow v5 has at most 30"),
                (("-5", "--pcap", "x", "--flows-per-packet", "30", "--max-payload", "512"), "at most 10 in --max-payload 512"),
                (("-9", "--pcap", "x", "--flows-per-packet", "26"), "v9 has at most 25 in --max-payload 1400"),
                (("--ipfix", "--pcap", "x", "--flows-per-packet", "20"), "ipfix has at most 19 in --max-payload 1400"),
                (("--pcap", "x", "--flows-per-packet", "1G"), "at most 25"),
                (("--format", "sflow", "--pcap", "x"), "not one of v5, v9, ipfix")):
            with self.subTest(args):
                done = gen(*args, status=2)
                self.assertIn(words, done.stderr.decode())
                self.assertEqual(done.stdout, b"")

    def test_what_cannot_be_done(self):
        for args, words in ((("127.0.0.1",), "is not a destination"), (("127.0.0.1:x",), "is not a port"),
                            (("::1:2055",), "is not a destination"),
                            (("--pcap", "/nowhere/x.pcap", "-n", "5"), "/nowhere/x.pcap"),
                            (("--truth", "/nowhere/t.json", "-n", "5"), "/nowhere/t.json"),
                            (("--pcap", "/dev/full", "-n", "5"), "/dev/full")):
            with self.subTest(args):
                self.assertIn(words, gen(*args, status=1).stderr.decode())


if __name__ == "__main__":
    unittest.main()
