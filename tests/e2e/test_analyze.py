#!/usr/bin/env python3
"""`weir analyze`: the text of netflow.analyzer (golden files, and side by side on random input when that package is
installed), what it cannot read, damaged files, bounded memory, names, and the same from an archive.

WEIR_NETFLOW_PY names a Python interpreter that can import netflow 0.12.2; without it this one is tried.
"""
import gzip
import json
import os
import random
import shlex
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

ROOT = Path(os.environ.get("WEIR_ROOT", Path(__file__).resolve().parents[2]))
WEIR = os.environ.get("WEIR", str(ROOT / "build/weir"))
GOLDEN = ROOT / "tests/golden/analyze"
ENV = {**os.environ, "TZ": "UTC"}


def run(*args, data=b"", ok=0, env=None):
    done = subprocess.run([WEIR, "analyze", *map(str, args)], input=data, capture_output=True, check=False,
                          env={**ENV, **(env or {})}, timeout=120)
    if done.returncode != ok:
        raise AssertionError(f"exit {done.returncode}, not {ok}: {args}\n{done.stderr.decode()}")
    return done.stdout.decode(), done.stderr.decode()


def analyze(lines, *args, ok=0):
    return run("-n", "-p", 0, *args, data="".join(line + "\n" for line in lines).encode(), ok=ok)


def connections(lines, *args, ok=0):
    """The connections as JSON, and what was said."""
    out, said = analyze(lines, "-o", "json", *args, ok=ok)
    return [json.loads(line) for line in out.splitlines()], said


def entry(ts, *flows, version=9, client="192.0.2.1", **header):
    base = {1: {"uptime": 5000000, "timestamp": 1600000000, "timestamp_nano": 0},
            9: {"uptime": 5000000, "timestamp": 1600000000, "sequence": 1, "source_id": 0},
            10: {"length": 100, "export_uptime": 1600000000, "sequence_number": 1, "obervation_domain_id": 0}}
    head = {"version": version, "count": len(flows), **base[version if version in base else 1], **header}
    return json.dumps({ts: {"client": [client, 2055], "header": head, "flows": list(flows)}})


def v9(src, dst, first=1000, last=2000, octets=5000, packets=50, sport=50000, dport=443, proto=6, **more):
    six = ":" in src
    return {"IPV6_SRC_ADDR" if six else "IPV4_SRC_ADDR": src, "IPV6_DST_ADDR" if six else "IPV4_DST_ADDR": dst,
            "LAST_SWITCHED": last, "FIRST_SWITCHED": first, "IN_BYTES": octets, "IN_PKTS": packets,
            "L4_SRC_PORT": sport, "L4_DST_PORT": dport, "PROTOCOL": proto, **more}


def v5(src, dst, first=1000, last=2000, octets=5000, packets=50, sport=50000, dport=443, proto=6):
    return {"IPV4_SRC_ADDR": src, "IPV4_DST_ADDR": dst, "NEXT_HOP": 0, "INPUT": 0, "OUTPUT": 0, "IN_PACKETS": packets,
            "IN_OCTETS": octets, "FIRST_SWITCHED": first, "LAST_SWITCHED": last, "SRC_PORT": sport, "DST_PORT": dport,
            "TCP_FLAGS": 0, "PROTO": proto, "TOS": 0}


def ipfix(src, dst, octets=5000, packets=50, sport=50000, dport=443, proto=6, **times):
    return {"sourceIPv4Address": src, "destinationIPv4Address": dst, "octetDeltaCount": octets,
            "packetDeltaCount": packets, "sourceTransportPort": sport, "destinationTransportPort": dport,
            "protocolIdentifier": proto, **times}


A4, B4 = 0x0a000001, 0x0a000002  # 10.0.0.1 and 10.0.0.2 as Python writes addresses of v5 and IPFIX
A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"


def back(flow_of, src, dst, **more):
    """Both ways of a connection; the second has fewer octets."""
    return [flow_of(src, dst, **more), flow_of(dst, src, **{**more, "octets": 10, "sport": more.get("dport", 443),
                                                           "dport": more.get("sport", 50000)})]


class Golden(unittest.TestCase):
    def test_golden(self):
        rows = [line.split(None, 2) for line in (GOLDEN / "TESTLIST").read_text().splitlines()
                if line and not line.startswith("#")]
        self.assertGreater(len(rows), 15)
        for name, source, options in rows:
            raw = (GOLDEN / f"{source}.jsonl").read_bytes()
            want = (GOLDEN / f"{name}.txt").read_text()
            args = shlex.split(options)
            members = b"".join(gzip.compress(line) for line in raw.splitlines(keepends=True))
            for form, data in (("gzip", gzip.compress(raw)), ("a member a line", members), ("plain", raw)):
                with self.subTest(name=name, form=form), tempfile.NamedTemporaryFile() as file:
                    self.assertEqual(run(*args, data=data)[0], want)
                    file.write(data)
                    file.flush()
                    self.assertEqual(run(*args, "-f", file.name)[0], want)


class Protocols(unittest.TestCase):
    """What netflow.analyzer fails on or leaves out."""

    def one(self, lines, *args):
        found, said = connections(lines, *args)
        self.assertEqual(said, "")
        self.assertEqual(len(found), 1, found)
        return found[0]

    def test_v1_v5_v7(self):
        for version in 1, 5, 7:
            with self.subTest(version=version):
                c = self.one([entry(1600000001.5, *back(v5, A4, B4), version=version)])
                self.assertEqual(c, {
                    "first": "2020-09-13T11:03:21.000Z", "service": "https", "size": 5000, "duration_ms": 1000,
                    "packets": 100, "src": A, "dest": B, "src_host": A, "dest_host": B, "src_port": 50000,
                    "dest_port": 443, "protocol": 6})

    def test_sysuptime_wrap(self):
        # The header's uptime wrapped after the flow began: 1000 ms before it.
        c = self.one([entry(1600000001.5, *back(v5, A4, B4, first=2**32 - 500, last=200), version=5, uptime=500)])
        self.assertEqual((c["first"], c["duration_ms"]), ("2020-09-13T12:26:39.000Z", 700))
        # The exporter read its clock twice: 5 ms after it, not 49 days before.
        c = self.one([entry(1600000001.5, *back(v5, A4, B4, first=505, last=505), version=5, uptime=500)])
        self.assertEqual(c["first"], "2020-09-13T12:26:40.005Z")

    def test_ipfix_times(self):
        ntp = 1600000000 + 2208988800
        half = 1 << 31
        for times, first, duration in (
                ({"flowStartMilliseconds": 1600000000250, "flowEndMilliseconds": 1600000001250}, "40.250Z", 1000),
                ({"flowStartSeconds": 1600000000, "flowEndSeconds": 1600000002}, "40.000Z", 2000),
                ({"flowStartMicroseconds": [ntp, half], "flowEndMicroseconds": [ntp + 1, 0]}, "40.500Z", 500),
                ({"flowStartNanoseconds": [ntp, half], "flowEndNanoseconds": [ntp, half]}, "40.500Z", 0),
                ({"flowStartNanoseconds": ntp << 32 | half, "flowEndNanoseconds": (ntp + 1) << 32}, "40.500Z", 500),
                ({"flowStartDeltaMicroseconds": 500000, "flowEndDeltaMicroseconds": 250000}, "39.500Z", 250),
                ({"flowStartMilliseconds": 1600000000250, "flowDurationMilliseconds": 7}, "40.250Z", 7),
                ({"flowEndMilliseconds": 1600000000250, "flowDurationMilliseconds": 50}, "40.200Z", 50),
                ({"flowStartSysUpTime": 1000, "flowEndSysUpTime": 4000}, "41.500Z", 3000),
                ({"flowStartSysUpTime": 250, "flowEndSysUpTime": 300, "systemInitTimeMilliseconds": 1600000000000},
                 "40.250Z", 50),
                ({}, "41.500Z", 0)):
            with self.subTest(times=times):
                c = self.one([entry(1600000001.5, *back(ipfix, A4, B4, **times), version=10)])
                self.assertEqual((c["first"], c["duration_ms"]), ("2020-09-13T12:26:" + first, duration))

    def test_ntp_era(self):
        c = self.one([entry(2100000000.5, *back(ipfix, A4, B4, flowStartMicroseconds=[5, 1 << 31]), version=10)])
        self.assertEqual(c["first"], "2036-02-07T06:28:21.500Z")

    def test_ipfix_ipv6_as_numbers(self):
        big = 0x20010db8 << 96 | 1
        flows = [{"sourceIPv6Address": a, "destinationIPv6Address": b, "octetTotalCount": n, "packetTotalCount": 1,
                  "flowStartSeconds": 1600000000} for a, b, n in ((big, 1, 7), (1, big, 8))]
        c = self.one([entry(1600000000.5, *flows, version=10)])
        self.assertEqual((c["src"], c["dest"], c["size"], c["packets"]), ("::1", "2001:db8::1", 8, 2))

    def test_both_families(self):
        # A merged template: the unused family is zero. netflow.analyzer takes IPv4 in v9 whatever it is.
        def both(src, dst, n):
            return {"sourceIPv4Address": 0, "destinationIPv4Address": 0, "sourceIPv6Address": src,
                    "destinationIPv6Address": dst, "octetDeltaCount": n, "flowStartSeconds": 1600000000}
        self.assertEqual(self.one([entry(1.5, both(5, 6, 9), both(6, 5, 1), version=10)])["src"], "::5")
        flows = [v9("::5", "::6", IPV4_SRC_ADDR="0.0.0.0", IPV4_DST_ADDR="0.0.0.0", IP_PROTOCOL_VERSION=6),
                 v9("::6", "::5", IPV4_SRC_ADDR="0.0.0.0", IPV4_DST_ADDR="0.0.0.0", IP_PROTOCOL_VERSION=6,
                    sport=443, dport=50000, octets=6)]
        self.assertEqual(self.one([entry(1.5, *flows)])["src"], "0.0.0.0")
        self.assertEqual(self.one([entry(1.5, *flows)], "--pair", "5tuple")["src"], "::5")

    def test_biflow(self):
        flow = ipfix(A4, B4, octets=10, packets=1, flowStartMilliseconds=1600000000000,
                     reverseOctetDeltaCount=70, reversePacketDeltaCount=3)
        c = self.one([entry(1600000001.5, flow, version=10)])
        self.assertEqual((c["src"], c["size"], c["packets"], c["src_port"]), (B, 70, 4, 443))
        # A firewall's v9 has only such counts.
        asa = v9(A, B, NF_F_FWD_FLOW_DELTA_BYTES=900, NF_F_REV_FLOW_DELTA_BYTES=70)
        for name in "IN_BYTES", "IN_PKTS":
            del asa[name]
        c = self.one([entry(1600000001.5, asa)])
        self.assertEqual((c["src"], c["size"]), (A, 900))

    def test_icmp_has_no_ports(self):
        flows = [v5(A4, B4, sport=0, dport=2048, proto=1), v5(B4, A4, sport=0, dport=0, proto=1, octets=1)]
        self.assertEqual(self.one([entry(1.5, *flows, version=5)])["protocol"], 1)

    def test_options_and_counters_are_left_out(self):
        flows = [{"samplingPacketInterval": 1}, *back(ipfix, A4, B4), {"sourceIPv4Address": A4}, {}]
        found, said = connections([entry(1.5, *flows, version=10)], "-v")
        self.assertEqual(len(found), 1)
        self.assertIn("3 records without a pair of addresses", said)

    def test_exporters_and_versions_do_not_mix(self):
        # Equal numbers, unrelated clocks. Pure v9 does pair across exporters, as netflow.analyzer has it.
        there, home = v5(A4, B4), v5(B4, A4, sport=443, dport=50000)
        found, _ = connections([entry(1.5, there, version=5), entry(2.5, home, version=5, client="192.0.2.2")])
        self.assertEqual(found, [])
        found, _ = connections([entry(1.5, v9(A, B)), entry(2.5, home, version=5)])
        self.assertEqual(found, [])
        found, _ = connections([entry(1.5, v9(A, B)), entry(2.5, v9(B, A), client="192.0.2.2")])
        self.assertEqual(len(found), 1)

    def test_names_twice_and_in_another_order(self):
        line = ('{"1600000001.5": {"flows": [%s, %s], "client": ["192.0.2.1", 1], "header": {"count": 2, "version": 9}}}'
                % (json.dumps(v9(A, B))[:-1] + ', "IN_BYTES": 77}', json.dumps(v9(B, A, octets=5))))
        self.assertEqual(self.one([line])["size"], 77)
        self.assertEqual(self.one([line.replace(": ", ":").replace(", ", " , ")])["size"], 77)

    def test_odd_values_do_not_spoil_a_line(self):
        flow = v9(A, B, X=None, Y=True, Z=[1, {"a": "\u00e9\\\""}], L4_DST_PORT="x", PROTOCOL=-1, TCP_FLAGS=1.5e300)
        line = entry(1.5, flow, v9(B, A, octets=1)).replace("1.5e+300", "NaN")
        self.assertEqual(self.one([line])["protocol"], 0)

    def test_counts_beyond_64_bits(self):
        c = self.one([entry(1.5, v9(A, B, octets=2**70, packets=2**64 - 1), v9(B, A, packets=2**64 - 1))])
        self.assertEqual((c["size"], c["packets"]), (2**64 - 1, 2**65 - 2))


class FiveTuple(unittest.TestCase):
    def found(self, *lines, slack=None):
        extra = () if slack is None else ("--slack", slack)
        return connections(lines, "--pair", "5tuple", *extra)[0]

    def ms(self, src, dst, first, last, **more):
        return ipfix(src, dst, flowStartMilliseconds=first, flowEndMilliseconds=last, **more)

    def test_starts_need_not_be_equal(self):
        there = self.ms(A4, B4, 1600000000000, 1600000005000)
        for first, last, slack, pairs in ((1600000000007, 1600000004000, None, 1),
                                          (1600000005999, 1600000006500, None, 1),
                                          (1600000006001, 1600000006500, None, 0),
                                          (1600000006001, 1600000006500, "2s", 1),
                                          (1599999990000, 1599999999000, None, 1),
                                          (1599999990000, 1599999998999, None, 0),
                                          (1599999990000, 1599999999999, "0ms", 0),
                                          (1599999990000, 1600000000000, "0ms", 1)):
            with self.subTest(first=first, last=last, slack=slack):
                home = self.ms(B4, A4, first, last, sport=443, dport=50000)
                lines = [entry(1600000010.5, there, version=10), entry(1600000011.5, home, version=10)]
                self.assertEqual(len(self.found(*lines, slack=slack)), pairs)
                self.assertEqual(len(self.found(*reversed(lines), slack=slack)), pairs)

    def test_ports_and_protocol_count(self):
        first, last = 1600000000000, 1600000001000
        there = self.ms(A4, B4, first, last)
        for more, pairs in (({}, 1), ({"sport": 444}, 0), ({"dport": 50001}, 0), ({"proto": 17}, 0)):
            home = self.ms(B4, A4, first, last, **{"sport": 443, "dport": 50000, **more})
            with self.subTest(more=more):
                self.assertEqual(len(self.found(entry(1.5, there, home, version=10))), pairs)

    def test_nearest_start_of_the_same_exporter(self):
        t = 1600000000000
        there = [entry(1.5, self.ms(A4, B4, t, t + 9000, octets=100), version=10),
                 entry(2.5, self.ms(A4, B4, t + 3000, t + 9000, octets=200), version=10),
                 entry(3.5, self.ms(A4, B4, t + 5000, t + 9000, octets=300), version=10, client="192.0.2.9")]
        home = entry(4.5, self.ms(B4, A4, t + 4900, t + 9000, octets=1, sport=443, dport=50000), version=10)
        self.assertEqual([c["size"] for c in self.found(*there, home)], [200])
        self.assertEqual([c["size"] for c in self.found(there[0], there[2], home)], [100])
        self.assertEqual([c["size"] for c in self.found(there[2], home)], [300])  # asymmetric routing

    def test_uptimes_become_times(self):
        # Two v9 exporters whose uptimes differ by an hour.
        lines = [entry(1600000000.5, v9(A, B, first=1000, last=2000), uptime=5000),
                 entry(1600000000.6, v9(B, A, first=3601000, last=3602000, sport=443, dport=50000), uptime=3605000,
                       client="192.0.2.2")]
        self.assertEqual(len(self.found(*lines)), 1)
        self.assertEqual(connections(lines)[0], [])

    def test_without_times_the_arrival_counts(self):
        there, home = ipfix(A4, B4), ipfix(B4, A4, sport=443, dport=50000)
        self.assertEqual(len(self.found(entry(1.5, there, version=10), entry(2.4, home, version=10))), 1)
        self.assertEqual(len(self.found(entry(1.5, there, version=10), entry(3.5, home, version=10))), 0)

    def test_many_of_one_tuple(self):
        # Each looks at a few candidates only; this would take minutes otherwise.
        t = 1600000000000
        lines = [entry(1600000000.5 + i, *[self.ms(A4, B4, t + 10000 * (i * 500 + k), t + 10000 * (i * 500 + k))
                                           for k in range(500)], version=10) for i in range(200)]
        self.assertEqual(self.found(*lines), [])


class Files(unittest.TestCase):
    def good(self, n, start=0):
        return [entry(1600000000.5 + i, *back(v9, A, B, first=1000 + i)) for i in range(start, start + n)]

    def test_malformed_lines_are_named(self):
        good = self.good(2)
        bad = [  # line, what is said of it
            ("{", "a string was expected at character 2"),
            ("[]", "no JSON object at character 1"),
            ("{}", "no timestamp at character 3"),
            ('{"x": {}}', "the name of the entry is no timestamp at character 2"),
            ('{"nan": {}}', "the name of the entry is no timestamp"),
            ('{"1e300": {}}', "the name of the entry is no timestamp"),
            ('{"0x10": {}}', "the name of the entry is no timestamp"),
            ('{"1.5": []}', "the value of the timestamp is no object"),
            ('{"1.5": {}}', 'there is no "header"'),
            ('{"1.5": {"header": {"version": 9}}}', 'there are no "flows"'),
            ('{"1.5": {"flows": []}}', 'there is no "header"'),
            ('{"1.5": {"header": {}, "flows": []}}', '"header" has no "version"'),
            ('{"1.5": {"header": {"version": 9}, "flows": {}}}', '"flows" is no list'),
            ('{"1.5": {"header": {"version": 9}, "flows": [1]}}', "a flow is no object"),
            ('{"1.5": {"flows": [1], "header": {"version": 9}}}', "a flow is no object"),
            (good[0] + "x", "something stands behind the value"),
            (good[0][:-1] + ', "2.5": {}}', "more than one timestamp"),
            (good[0][:-1], "the line ends too early"),
            (good[0].replace("5000,", "05000,"), "a number may not start with 0"),
            (good[0].replace("5000,", "5000.,"), "a digit was expected"),
            (good[0].replace("5000,", '"\\x",'), "no such escape"),
            (good[0].replace("5000,", '"\\u12x4",'), "\\u needs four hexadecimal digits"),
            (good[0].replace("5000,", '"a\tb",'), "control character"),
            (good[0].replace("5000,", "[" * 100 + "]" * 100 + ","), "nested too deeply"),
        ]
        for line, why in bad:
            with self.subTest(line=line[:60]):
                found, said = connections([good[0], line, good[1]], ok=1)
                self.assertEqual(len(found), 2)
                self.assertIn(f"standard input: line 2: {why}", said)
                self.assertEqual(said.count("\n"), 1)
        data = "\n".join([good[0], '{"\udcff": 1}', good[1]]).encode("utf-8", "surrogateescape")
        self.assertIn("line 2: ill-formed UTF-8", run("-n", data=data, ok=1)[1])

    def test_every_cut_of_a_line(self):
        line = self.good(1)[0]
        lines = [line[:n] for n in range(1, len(line))]
        found, said = connections([*lines, line], ok=1)
        self.assertEqual(len(found), 1)
        self.assertIn(f"{len(lines)} malformed lines skipped", said)
        self.assertLess(said.count("\n"), 110)

    def test_blank_lines_and_no_input(self):
        self.assertEqual(len(connections(["", self.good(1)[0], " \r", ""])[0]), 1)
        self.assertEqual(run("-n"), ("", ""))
        self.assertEqual(run("-n", data=gzip.compress(b"")), ("", ""))

    def test_long_lines(self):
        good = self.good(2)
        long = good[0].replace("5000,", "5000," + " " * 300000, 1)
        found, said = connections([long, good[1]])
        self.assertEqual((len(found), said), (2, ""))
        found, said = connections([long, good[1]], "--max-line", "100k", ok=1)
        self.assertEqual(len(found), 1)
        self.assertIn("line 1: longer than --max-line", said)
        self.assertEqual(len(connections([good[0]], "--max-line", len(good[0]))[0]), 1)
        connections([good[0]], "--max-line", len(good[0]) - 1, ok=1)

    def members(self, lines):
        return [gzip.compress((line + "\n").encode()) for line in lines]

    def both_ways(self, data, *args, ok=0):
        """From a pipe and from a file: the same result."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            out, said = run("-n", "-o", "json", "-f", file.name, *args, ok=ok)
            piped = run("-n", "-o", "json", *args, data=data, ok=ok)
            self.assertEqual(piped[0], out)
            self.assertEqual(piped[1].replace("standard input", file.name), said)
        return out.count("\n"), said

    def test_every_cut_of_a_growing_file(self):
        data = b"".join(self.members(self.good(3)))
        sizes = [len(m) for m in self.members(self.good(3))]
        for cut in range(2, len(data), 7):
            whole = sum(sum(sizes[:i + 1]) <= cut for i in range(3))
            at_member = cut in (sizes[0], sizes[0] + sizes[1])
            with self.subTest(cut=cut):
                out, said = run("-n", "-o", "json", data=data[:cut])
                self.assertIn(out.count("\n"), (whole, whole + 1))  # only a checksum may be missing
                self.assertEqual("has no end" in said, not at_member)

    def test_cut_inside_one_long_member(self):
        data = gzip.compress("".join(line + "\n" for line in self.good(5000)).encode())
        n, said = self.both_ways(data[:len(data) // 2])
        self.assertGreater(n, 1000)
        self.assertEqual(said.count("\n"), 1)
        self.assertIn("the last gzip member has no end", said)

    def test_collector_killed_and_started_again(self):
        m = self.members(self.good(30))
        for cut in (1, 5, 11, 60, len(m[9]) // 2, len(m[9]) - 5):
            with self.subTest(cut=cut):
                data = b"".join(m[:9]) + m[9][:cut] + b"".join(m[10:])
                n, said = self.both_ways(data, ok=1)
                self.assertIn(n, (29, 30))
                at = sum(map(len, m[:9]))
                self.assertIn(f"damaged at octet {at}", said)

    def test_rubbish_and_padding_between_members(self):
        m = self.members(self.good(4))
        self.assertEqual(self.both_ways((b"\0" * 1000).join(m) + b"\0" * 5), (4, ""))
        n, said = self.both_ways(b"".join(m[:2]) + b"rubbish\x1f\x8b" * 40000 + b"".join(m[2:]), ok=1)
        self.assertEqual(n, 4)
        self.assertIn("damaged at octet", said)

    def test_flipped_bits(self):
        rng = random.Random(5)
        m = self.members(self.good(12))
        for _ in range(60):
            data = bytearray(b"".join(m))
            data[rng.randrange(2, len(data))] ^= 1 << rng.randrange(8)
            with tempfile.NamedTemporaryFile() as file:
                file.write(data)
                file.flush()
                done = subprocess.run([WEIR, "analyze", "-n", "-o", "json", "-f", file.name], capture_output=True,
                                      check=False, timeout=60)
            # A header's time, name or system may change unnoticed; what is lost is lost with a message.
            self.assertIn(done.returncode, (0, 1))
            if done.returncode == 0:
                self.assertIn(done.stdout.count(b"\n"), (11, 12))
            self.assertGreaterEqual(done.stdout.count(b"\n"), 10, done.stderr)

    def test_same_timestamp(self):
        flows = back(v9, A, B, first=1), back(v9, A, C, first=2)
        lines = [entry(7.5, *flows[0]), entry(7.5, *flows[1])]
        found, said = connections(lines)
        self.assertEqual([c["dest"] for c in found], [C])
        self.assertIn("1 NetFlow v9 packets have the timestamp of a later one", said)
        found, said = connections(lines, "--keep-same-time")
        self.assertEqual(([c["dest"] for c in found], said), ([B, C], ""))
        # What netflow.analyzer does not read is not bound to its dictionary.
        lines = [entry(7.5, *back(v5, A4, b), version=5) for b in (B4, B4 + 1)]
        self.assertEqual(connections(lines)[1], "")
        self.assertEqual(len(connections(lines)[0]), 2)

    def test_several_files_are_one(self):
        """Halves of a connection in two files; named with -f, as operands, in any order."""
        there, back_again = back(v9, A, B)
        with tempfile.TemporaryDirectory() as folder:
            first, second = Path(folder, "1.gz"), Path(folder, "2.jsonl")
            first.write_bytes(gzip.compress((entry(1.5, there) + "\n").encode()))
            second.write_text(entry(2.5, back_again) + "\n", encoding="utf-8")
            one, _ = analyze([entry(1.5, there), entry(2.5, back_again)])
            self.assertIn(B, one)
            for names in ((first, second), (second, first), ("-f", second, first)):
                self.assertEqual(run("-n", "-p", 0, *names), (one, ""))

    def test_messages(self):
        out, said = run("-n", "--match-host", "10.0.0.256", ok=1)
        self.assertEqual((out, said), ("", "weir analyze: IP address '10.0.0.256' is neither IPv4 nor IPv6\n"))
        out, said = run("-n", "-f", "no-such-file.gz", ok=1)
        self.assertEqual((out, said), ("", "weir analyze: File no-such-file.gz does not exist!\n"))
        self.assertIn("cannot read", run("-n", "-f", tempfile.gettempdir(), ok=1)[1])
        self.assertEqual(run("-n", "no-such-file.gz", ok=1)[1], said)
        run("--pair", "x", ok=2)
        with open("/dev/full", "wb") as full:
            done = subprocess.run([WEIR, "analyze", "-n"], input=self.good(1)[0].encode(), stdout=full,
                                  stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"No space left on device", done.stderr)

    def test_match_host_is_an_address_not_a_text(self):
        flows = [v9("2001:db8::1", "2001:db8::2"), v9("2001:db8::2", "2001:db8::1"), *back(v9, A, B)]
        found, _ = connections([entry(1.5, *flows)], "--match-host", "2001:DB8:0::1")
        self.assertEqual([c["src"] for c in found], ["2001:db8::2"])


class Memory(unittest.TestCase):
    def peak(self, path, *args):
        """Peak memory in KiB when the first connections come out (then all input is read and the runs are being
        merged), and the text. What wait4 says afterwards would include the memory of this process."""
        with subprocess.Popen([WEIR, "analyze", "-n", "-p", "0", "-f", path, *args], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=ENV) as child:
            text = child.stdout.read(1)
            status = Path(f"/proc/{child.pid}/status").read_text()
            text += child.stdout.read()
            self.assertEqual((child.stderr.read(), child.wait()), (b"", 0))
        return int(status.split("VmHWM:")[1].split()[0]), text.decode()

    def test_bounded_and_still_in_order(self):
        # 120,000 flows, 10 MB of records, in random order, in 1 MiB.
        rng = random.Random(3)
        lines, first = [], 0
        for i in range(5000):
            flows = []
            for _ in range(12):
                first += 1
                flows += back(v9, A, "10.1.%d.%d" % (rng.randrange(256), rng.randrange(256)), first=first)
            lines.append(entry(1600000000 + i / 8, *flows))
        rng.shuffle(lines)
        with tempfile.TemporaryDirectory() as tmp:
            path = os.path.join(tmp, "flows.gz")
            with gzip.open(path, "wt", compresslevel=1) as file:
                file.writelines(line + "\n" for line in lines)
            wide, wide_text = self.peak(path)
            tight, text = self.peak(path, "--memory", "1M")
            self.assertEqual(text, wide_text)
            self.assertEqual(text.count("\n"), 60002)
            stamps = [line[:19] for line in text.splitlines()[2:]]
            self.assertEqual(stamps, sorted(stamps))
            if b"__asan_init" not in Path(WEIR).read_bytes():  # which keeps freed memory
                self.assertLess(tight + 6 * 1024, wide)

    def test_waiting_flows_are_bounded(self):
        lines = [entry(1600000000 + i, *[v9(A, "10.2.%d.%d" % (i, k), first=i * 250 + k) for k in range(250)])
                 for i in range(200)]
        lines.append(entry(1600000900, v9("10.2.0.1", A, first=1), v9("10.2.199.1", A, first=199 * 250 + 1)))
        found, said = connections(lines, "--memory", "1M")
        self.assertEqual([c["src"] for c in found], ["10.2.199.1"])
        self.assertRegex(said, r"\d+ flows without counterpart were given up to stay within --memory")
        self.assertEqual(len(connections(lines)[0]), 2)

    def test_no_room_for_the_temporary_file(self):
        lines = [entry(1600000000 + i, *[v9(A, B, first=k) for k in range(1000)]) for i in range(20)]
        data = "\n".join(lines).encode()
        _, said = run("-n", "--memory", "1M", data=data, env={"TMPDIR": "/nonexistent"}, ok=1)
        self.assertIn("cannot make a temporary file in /nonexistent", said)
        self.assertIn("set TMPDIR", said)


class NameServer:
    """A DNS server on loopback: answers when `hold` questions are open (so lookups must overlap), with
    h-<last octet>.example for even addresses, no such name for odd ones."""

    def __init__(self, hold=1, answer=True, name=None):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.where = "127.0.0.1:%d" % self.sock.getsockname()[1]
        self.hold, self.answer, self.name = hold, answer, name
        self.asked = []
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        held = {}
        while True:
            try:
                query, peer = self.sock.recvfrom(4096)
            except OSError:
                return
            if query == b"stop":
                return
            labels, at = [], 12
            while query[at]:
                labels.append(query[at + 1:at + 1 + query[at]])
                at += 1 + query[at]
            name = b".".join(labels).decode()
            if name not in self.asked:
                self.asked.append(name)
            held[name] = (query[:at + 5], peer, int(labels[0]) if labels[0].isdigit() else 0)
            if len(self.asked) >= self.hold and self.answer:
                for question, to, n in held.values():
                    self.reply(question, to, n)
                held.clear()

    def reply(self, question, to, n):
        if n % 2:
            self.sock.sendto(question[:2] + b"\x81\x83\0\1\0\0\0\0\0\0" + question[12:], to)
            return
        name = self.name or [b"h-%d" % n, b"example"]
        data = b"".join(bytes([len(label)]) + label for label in name) + b"\0"
        self.sock.sendto(question[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question[12:] + b"\xc0\x0c\0\x0c\0\1" +
                         struct.pack("!IH", 60, len(data)) + data, to)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"stop", ("127.0.0.1", int(self.where.split(":")[1])))
        self.thread.join()
        self.sock.close()


class Names(unittest.TestCase):
    def lines(self, n):
        return [entry(1600000000.5 + i, *back(v9, "198.51.100.250", "198.51.100.%d" % (i % 200), first=1 + i))
                for i in range(n)]

    def run_names(self, server, n, *args):
        data = "".join(line + "\n" for line in self.lines(n)).encode()
        return run("--dns-server", server.where, *args, data=data)

    def test_names_are_asked_at_once_and_only_once(self):
        with NameServer(hold=41) as server:
            out, said = self.run_names(server, 120, "-o", "json", "--dns-timeout", "60s")
            self.assertEqual(said, "")
            hosts = [json.loads(line) for line in out.splitlines()]
            self.assertEqual(len(server.asked), 121)
        self.assertEqual([c["dest_host"] for c in hosts[:4]],
                         ["h-0.example", "198.51.100.1", "h-2.example", "198.51.100.3"])
        self.assertEqual({c["src_host"] for c in hosts}, {"h-250.example"})

    def test_text(self):
        with NameServer() as server:
            out, _ = self.run_names(server, 2)
            self.assertIn("| Between h-250.example (198.51.100.250) and h-0.example (198.51.100.0)\n", out)
            self.assertIn("| Between h-250.example (198.51.100.250) and 198.51.100.1 (198.51.100.1)\n", out)
            data = entry(1.5, v9("198.51.100.2", "198.51.100.3", packets=50)).encode()
            out, _ = run("-v", "--dns-server", server.where, data=data)
            self.assertIn("From h-2.example (198.51.100.2):50000 to 198.51.100.3:443 with proto TCP and size 4.88K "
                          "(50 packets)\n", out)

    def test_no_dns_asks_nothing(self):
        with NameServer() as server:
            self.run_names(server, 2, "-n")
            self.assertEqual(server.asked, [])

    def test_a_silent_server_costs_the_time_limit(self):
        with NameServer(answer=False) as server:
            out, _ = self.run_names(server, 5, "--dns-timeout", "150ms")
            self.assertIn("Between 198.51.100.250 (198.51.100.250) and 198.51.100.0 (198.51.100.0)", out)
            self.assertEqual(len(server.asked), 6)

    def test_no_server_answers(self):
        lines = [entry(1600000000.5 + i, *back(v9, "198.18.%d.1" % i, "198.19.%d.3" % i, first=1 + i))
                 for i in range(250)]
        lines += [entry(1600000900.5 + i, *back(v9, "198.18.%d.5" % i, "198.19.%d.7" % i, first=1000 + i))
                  for i in range(250)]
        with NameServer(answer=False) as server:
            data = "".join(line + "\n" for line in lines).encode()
            out, said = run("--dns-server", server.where, "--dns-timeout", "150ms", data=data)
            self.assertEqual(out.count("\n"), 502)
            self.assertIn("no name server answers", said)
            self.assertLess(len(server.asked), 512)  # of 1000: 256 without an answer, up to 255 on their way

    def test_hostile_names(self):
        for name in ([b"\x1b[2J", b"example"], [b"a b"], [b"\xff"]):
            with self.subTest(name=name), NameServer(name=name) as server:
                out, _ = self.run_names(server, 1)
                self.assertNotIn("\x1b", out)
                self.assertRegex(out, r"Between [!-~]+ \(198.51.100.250\) and [!-~]+ \(198.51.100.0\)\n$")

    def test_bad_server(self):
        out, said = run("--dns-server", "nonsense", data=self.lines(1)[0].encode(), ok=2)
        self.assertEqual(out, "")
        self.assertIn("--dns-server: 'nonsense' is no address of a name server", said)


def reference():
    """An interpreter with the package, or None."""
    for python in filter(None, (os.environ.get("WEIR_NETFLOW_PY"), sys.executable)):
        done = subprocess.run([python, "-c", "import importlib.metadata as m; print(m.version('netflow'))"],
                              capture_output=True, text=True, check=False)
        if done.stdout.strip() == "0.12.2":
            return python
    return None


class SideBySide(unittest.TestCase):
    def random_lines(self, rng):
        hosts = [A, B, C, "2001:db8::1", "2001:db8::2", "::1", "fe80::1:0:0:1"][:rng.randrange(2, 8)]
        four = [h for h in hosts if ":" not in h]
        six = [h for h in hosts if ":" in h] or ["::5"]
        firsts = [rng.choice([rng.randrange(10), rng.randrange(2**32), 2**32 - 1]) for _ in range(4)]
        lines = []
        for _ in range(rng.randrange(1, 30)):
            flows = []
            for _ in range(rng.randrange(0, 12)):
                family = rng.choice([four, four, six])
                first = rng.choice(firsts)
                octets = rng.choice([0, 1023, 1024, rng.randrange(10**4), rng.randrange(10**7), rng.randrange(2**40)])
                flow = v9(rng.choice(family), rng.choice(family), first=first,
                          last=rng.choice([first, first + rng.randrange(10**5), first + rng.randrange(10**8),
                                           rng.randrange(2**32)]) % 2**32,
                          octets=octets, packets=rng.choice([0, 4, 5, 6, 9, 10, rng.randrange(10**9)]),
                          sport=rng.choice([0, 22, 53, 80, 443, rng.randrange(65536)]),
                          dport=rng.choice([0, 22, 53, 80, 443, rng.randrange(65536)]),
                          proto=rng.choice([1, 6, 17, 58, rng.randrange(256)]), FLOW_SAMPLER_ID=rng.randrange(99))
                items = list(flow.items())
                rng.shuffle(items)
                flows.append(dict(items))
            ts = rng.choice([rng.randrange(20) / 2, 1600000000 + rng.random() * 5, 1.6e9 + rng.randrange(10**6) / 1e6,
                             1600000000.0 + rng.randrange(3) + 0.9999995, rng.random() * 2e9])
            lines.append(entry(ts, *flows))
        return lines

    def test_same_text(self):
        python = reference()
        if not python:
            self.skipTest("the Python package netflow 0.12.2 is not installed (WEIR_NETFLOW_PY names an interpreter "
                          "that has it)")
        seed = int(os.environ.get("WEIR_SEED", "11"))
        for i in range(int(os.environ.get("WEIR_ROUNDS", "25"))):
            rng = random.Random(seed * 1000003 + i)
            data = gzip.compress(("\n".join(self.random_lines(rng)) + "\n").encode())
            args = ["-n", *rng.choice([[], ["-p", "0"], ["-p", "1000"]]), *rng.choice([[], ["-v"]]),
                    *rng.choice([[], [], ["--match-host", A], ["--match-host", "2001:db8::1"]])]
            env = {**ENV, "TZ": rng.choice(["UTC", "Europe/Berlin", "America/St_Johns"])}
            theirs = subprocess.run([python, "-m", "netflow.analyzer", *args], input=data, capture_output=True,
                                    check=False, env=env)
            self.assertEqual((theirs.returncode, theirs.stderr), (0, b""))
            with self.subTest(seed=seed, round=i, args=args):
                self.assertEqual(run(*args, data=data, env=env)[0], theirs.stdout.decode())


def weir(*args, ok=0):
    done = subprocess.run([WEIR, *map(str, args)], capture_output=True, check=False, env=ENV, timeout=120)
    if done.returncode != ok:
        raise AssertionError(f"exit {done.returncode}, not {ok}: {args}\n{done.stderr.decode()}")
    return done


def pcap(packets):
    """A capture of UDP datagrams [(seconds, payload)] from 192.0.2.9:50000 to 192.0.2.10:2055."""
    out = struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 101)  # raw IP
    for when, payload in packets:
        udp = struct.pack("!HHHH", 50000, 2055, 8 + len(payload), 0) + payload
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes((192, 0, 2, 9)),
                         bytes((192, 0, 2, 10))) + udp
        out += struct.pack("<IIII", int(when), round(when % 1 * 1e6), len(ip), len(ip)) + ip
    return out


class Archive(unittest.TestCase):
    """-R gives what the JSON lines of the same traffic give."""

    def setUp(self):
        self.tmp = tempfile.TemporaryDirectory()
        self.addCleanup(self.tmp.cleanup)
        self.lines, self.archive = (Path(self.tmp.name, name) for name in ("lines.gz", "archive"))

    def collect(self, capture):
        weir("collect", "-r", capture, "-o", self.lines, "--no-state")
        weir("collect", "-r", capture, "--archive", self.archive, "--no-state", "--no-compact")

    def traffic(self, rng):
        """Both ways of connections in NetFlow v9 packets of one to thirty flows, half an hour long."""
        fields = ((8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 4), (2, 4), (22, 4), (21, 4))
        template = struct.pack("!HHHH", 0, 8 + 4 * len(fields), 256, len(fields))
        template += b"".join(struct.pack("!HH", *field) for field in fields)
        packets, hosts = [], [bytes((10, 0, 0, n)) for n in range(1, 9)]
        for number in range(60):
            uptime, when = 5000000 + number * 30000, 1600000000 + number * 30
            records = []
            for _ in range(rng.randrange(1, 16)):
                a, b = rng.sample(hosts, 2)
                sport, dport = rng.randrange(1024, 65536), rng.choice([22, 53, 80, 443])
                proto = rng.choice([6, 6, 17, 1])
                first = uptime - rng.randrange(25000)
                last = first + rng.randrange(5000)
                for src, dst, ports in ((a, b, (sport, dport)), (b, a, (dport, sport)))[:rng.choice([1, 2, 2])]:
                    n = rng.randrange(1, 40)
                    records.append(src + dst + struct.pack("!HHBIIII", *ports, proto, n * rng.randrange(40, 1500), n,
                                                           first, last))
            rng.shuffle(records)
            body = b"".join(records)
            body += bytes(-len(body) % 4)
            data = struct.pack("!HH", 256, 4 + len(body)) + body
            head = struct.pack("!HHIIII", 9, len(records) + 1, uptime, when, number, 1)
            packets.append((when + number / 128, head + template + data))
        path = Path(self.tmp.name, "capture.pcap")
        path.write_bytes(pcap(packets))
        return path

    def same(self, *more):
        """The output of both, which is the same."""
        ours = run("-n", "-R", self.archive, *more)[0]
        self.assertEqual(ours, run("-n", "-f", self.lines, *more)[0])
        return ours

    FORMS = ((), ("-v",), ("-p", 0, "-v"), ("-o", "json", "-p", 0), ("--pair", "5tuple", "-p", 0),
             ("--match-host", "10.0.0.3", "-p", 0), ("--match-host", "10.0.0.77", "-v"), ("--memory", "1M", "-p", 0, "-v"))

    def test_same_as_lines(self):
        for seed in range(5):
            with self.subTest(seed=seed):
                self.collect(self.traffic(random.Random(seed)))
                for form in self.FORMS:
                    with self.subTest(form=form):
                        self.same(*form)
                self.assertGreater(len(self.same("-p", 0).splitlines()), 100)
                weir("archive", "compact", self.archive)  # sorts rows by address
                for form in self.FORMS:
                    with self.subTest(compacted=form):
                        self.same(*form)
            subprocess.run(["rm", "-rf", self.archive, self.lines], check=True)

    def test_captures(self):
        """What real exporters sent, each with its own ways to say times and counters."""
        for name in ("softflowd-v1", "softflowd-v5", "softflowd-v9", "softflowd-v9-sampled", "softflowd-ipfix",
                     "softflowd-ipfix-biflow", "softflowd-ipfix-ether", "pmacctd-v5", "pmacctd-v9", "pmacctd-ipfix",
                     "fprobe-v5", "fprobe-v7"):
            with self.subTest(name):
                self.collect(ROOT / "tests/golden/captures" / (name + ".hex"))
                for form in (("-p", 0, "-v"), ("-p", 0, "-o", "json"), ("-p", 0, "--pair", "5tuple")):
                    self.same(*form)
                subprocess.run(["rm", "-rf", self.archive, self.lines], check=True)

    def test_filter_and_window(self):
        self.collect(self.traffic(random.Random(1)))
        everything = [json.loads(line) for line in self.same("-p", 0, "-o", "json").splitlines()]

        def asked(*more):
            return [json.loads(line) for line in run("-n", "-p", 0, "-o", "json", "-R", self.archive, *more)[0].splitlines()]
        web = [c for c in everything if 443 in (c["src_port"], c["dest_port"])]
        self.assertTrue(0 < len(web) < len(everything))
        self.assertEqual(asked("--filter", "port 443"), web)
        self.assertEqual(asked("--filter", "port 443", "--match-host", "10.0.0.3"),
                         [c for c in web if "10.0.0.3" in (c["src"], c["dest"])])
        self.assertEqual(asked("--filter", "port 80", "--match-host", "10.0.0.77"), [])
        half = asked("-t", "2020-09-13T12:40:00Z-2020-09-13T12:50:00Z")
        self.assertTrue(0 < len(half) < len(everything))
        self.assertTrue(all("2020-09-13T12:39:5" < c["first"] < "2020-09-13T12:50:00.001Z" for c in half))
        self.assertEqual(asked("-t", "2030-01-01T00:00:00Z-2030-01-02T00:00:00Z"), [])

    def test_one_file_and_a_directory(self):
        self.collect(self.traffic(random.Random(2)))
        whole = run("-n", "-p", 0, "-R", self.archive)[0]
        self.assertEqual(run("-n", "-p", 0, "-R", self.archive / "flows")[0], whole)
        files = sorted(self.archive.glob("flows/*/*/*.parquet"))
        self.assertGreater(len(files), 1)
        part = run("-n", "-p", 0, "-R", files[0])[0]
        self.assertTrue(2 < len(part.splitlines()) < len(whole.splitlines()))

    def test_a_damaged_file_is_told_and_passed_over(self):
        self.collect(self.traffic(random.Random(3)))
        files = sorted(self.archive.glob("flows/*/*/*.parquet"))
        data = files[0].read_bytes()
        files[0].write_bytes(data[:-9])
        out, said = run("-n", "-p", 0, "-R", self.archive, ok=1)
        self.assertIn(files[0].name, said)
        self.assertGreater(len(out.splitlines()), 2)

    def test_wrong_usage(self):
        for args, words in ((("-f", "x"), "not both"), (("x",), "not both"), (("--filter", "port"), "--filter"),
                            (("-t", "yesterday"), "--time-window")):
            self.assertIn(words, run("-R", self.tmp.name, *args, ok=2)[1])
        self.assertIn("needs --read", run("--filter", "port 80", ok=2)[1])
        self.assertIn("needs --read", run("-t", "-1h", ok=2)[1])
        self.assertIn("nowhere", run("-R", "/nowhere", ok=1)[1])
        self.assertTrue(run("-R", self.tmp.name, ok=1)[1])  # nothing there


if __name__ == "__main__":
    unittest.main()
