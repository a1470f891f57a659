"""netflow.analyzer: its classes and functions, and its command line, which is `weir analyze`."""
import argparse
import contextlib
import gzip
import io
import ipaddress
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import packets as p
from netflow import _program, analyzer, parse_packet
from netflow.analyzer import (IP_PROTOCOLS, Connection, Pair, fallback, human_duration, human_size, printv,
                              resolve_hostname)


def v9(src="192.0.2.1", dst="192.0.2.2", octets=5000, packets=10, sport=443, dport=50000, first=1000, last=4500, **more):
    six = ":" in src
    return {"IPV6_SRC_ADDR" if six else "IPV4_SRC_ADDR": src, "IPV6_DST_ADDR" if six else "IPV4_DST_ADDR": dst,
            "LAST_SWITCHED": last, "FIRST_SWITCHED": first, "IN_BYTES": octets, "IN_PKTS": packets,
            "L4_SRC_PORT": sport, "L4_DST_PORT": dport, "PROTOCOL": 6, **more}


def pair(**more):
    """Both ways; the first has more octets."""
    return [v9(**more), v9(more.get("dst", "192.0.2.2"), more.get("src", "192.0.2.1"), 400, 5, 50000, 443)]


def entry(ts, *flows, version=9):
    return json.dumps({ts: {"client": ["127.0.0.1", 2055], "header": {
        "version": version, "count": len(flows), "uptime": 5_000_000, "timestamp": 1_600_000_000, "sequence": 1,
        "source_id": 0}, "flows": flows}})


class Functions(unittest.TestCase):
    def test_human_size(self):
        for size, text in ((0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1536, "1.50K"), (1 << 20, "1.00M"),
                           (5 << 30, "5.00G"), (3 << 40, "3072.00G")):
            self.assertEqual(human_size(size), text)

    def test_human_duration(self):
        for seconds, text in ((0, "0 sec"), (59, "59 sec"), (60, "01:00 min"), (187, "03:07 min"), (3600, "60:00 min"),
                              (3601, "1:00.01 hours"), (7509, "2:05.09 hours"), (90061, "25:01.01 hours")):
            self.assertEqual(human_duration(seconds), text)

    def test_fallback(self):
        self.assertEqual(fallback({"b": 1, "c": 2}, ["a", "b", "c"]), 1)
        self.assertEqual(fallback({"a": None}, ["a"]), None)
        with self.assertRaisesRegex(KeyError, "a, b"):
            fallback({}, ["a", "b"])

    def test_protocols(self):
        self.assertEqual(IP_PROTOCOLS, {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6"})

    def test_pair(self):
        self.assertEqual(Pair._fields, ("src", "dest"))
        self.assertEqual(Pair(1, 2), Pair(src=1, dest=2))

    def test_printv(self):
        for verbose, text in ((False, ""), (True, "one 2\n")):
            said = io.StringIO()
            with mock.patch.object(analyzer.args, "verbose", verbose), contextlib.redirect_stdout(said):
                printv("{} {two}", "one", two=2)
            self.assertEqual(said.getvalue(), text)

    def test_resolve_hostname(self):
        analyzer._name_of.cache_clear()
        self.addCleanup(analyzer._name_of.cache_clear)
        with mock.patch("socket.getfqdn", return_value="host.example") as ask:
            with mock.patch.object(analyzer.args, "no_dns", True):
                self.assertEqual(resolve_hostname("192.0.2.1"), "192.0.2.1")
            ask.assert_not_called()
            self.assertEqual([resolve_hostname("192.0.2.1") for _ in range(3)], ["host.example"] * 3)
            ask.assert_called_once_with("192.0.2.1")

    def test_settings_may_be_replaced(self):
        """As programs did that used the functions of 0.12.2."""
        settings = argparse.Namespace(no_dns=True, verbose=False)
        with mock.patch.object(analyzer, "args", settings):
            self.assertEqual(resolve_hostname("192.0.2.9"), "192.0.2.9")


class Connections(unittest.TestCase):
    def test_v9(self):
        for flows in pair(), pair()[::-1]:
            c = Connection(*flows)
            self.assertEqual((c.src, c.dest), (ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("192.0.2.2")))
            self.assertEqual((c.src_flow, c.dest_flow), tuple(pair()))
            self.assertEqual((c.size, c.human_size, c.duration, c.human_duration), (5000, "4.88K", 3500, "3 sec"))
            self.assertEqual((c.src_port, c.total_packets, c.service), (443, 15, "https"))
            self.assertEqual(c.dest_port, 443)  # where the other flow goes to
            self.assertEqual(repr(c), "<Connection from 192.0.2.1 to 192.0.2.2, size 4.88K>")
            with mock.patch.object(analyzer.args, "no_dns", True):
                self.assertEqual(c.hostnames, Pair("192.0.2.1", "192.0.2.2"))

    def test_equal_sizes(self):
        first, second = v9(octets=7), v9("192.0.2.2", "192.0.2.1", 7)
        self.assertIs(Connection(first, second).src_flow, first)

    def test_ipv6(self):
        c = Connection(*pair(src="2001:db8::1", dst="2001:db8::2"))
        self.assertEqual(c.src, ipaddress.ip_address("2001:db8::1"))
        ips = Connection.get_ips({"sourceIPv6Address": 1, "destinationIPv6Address": 2})
        self.assertEqual(ips, (ipaddress.IPv6Address("::1"), ipaddress.IPv6Address("::2")))

    def test_ip_version(self):
        with self.assertRaises(KeyError):
            Connection.get_ips({"IP_PROTOCOL_VERSION": 4, "IPV6_SRC_ADDR": "::1", "IPV6_DST_ADDR": "::2"})

    def test_v1_and_v5(self):
        for packet in (p.v5(p.v5_flow(1)[0], p.v5_flow(2)[0]), p.v1(p.v1_flow(1)[0], p.v1_flow(2)[0])):
            one, two = (flow.data for flow in parse_packet(packet).flows)
            c = Connection(one, two)
            self.assertEqual((str(c.src), str(c.dest), c.size, c.total_packets), ("10.0.0.2", "192.0.2.1", 240, 5))
            self.assertEqual(c.duration, 5000)

    def test_ipfix(self):
        templates = {}
        fields = (*p.FIELDS, (152, 8), (153, 8))
        parse_packet(p.ipfix_template(fields=fields), templates)
        one, two = (flow.data for flow in parse_packet(p.ipfix(p.a_set(256, *(
            p.record(n) + struct.pack("!QQ", 1_000, 61_500) for n in range(2)))), templates).flows)
        c = Connection(one, two)
        self.assertEqual((str(c.src), c.size, c.total_packets, c.duration), ("10.0.0.1", 140, 3, 60_500))
        self.assertEqual(c.human_duration, "01:00 min")

    def test_clock_runs_over(self):
        c = Connection(*pair(first=2**32 - 1000, last=500))
        self.assertEqual(c.duration, 1500)

    def test_service(self):
        names = {22: "ssh"}

        def by_port(port):
            if port in names:
                return names[port]
            raise OSError("port/proto not found")
        with mock.patch("socket.getservbyport", by_port):
            self.assertEqual(Connection(v9(sport=22, dport=1), v9(octets=1, dport=2)).service, "ssh")
            self.assertEqual(Connection(v9(sport=2, dport=1), v9(octets=1, dport=22)).service, "ssh")
            self.assertEqual(Connection(v9(sport=2, dport=1), v9(octets=1, dport=3)).service, "(2 3)")

    def test_two_flows(self):
        for flows in ((None, v9()), (v9(), {}), (None, None)):
            with self.assertRaisesRegex(Exception, "two flows"):
                Connection(*flows)
        with self.assertRaises(KeyError):
            Connection({"a": 1}, {"a": 1})


class CommandLine(unittest.TestCase):
    def run_it(self, *args, data=b"", env=None):
        done = subprocess.run([sys.executable, "-m", "netflow.analyzer", *map(str, args)], input=data, capture_output=True,
                              check=False, timeout=60, env={**os.environ, "TZ": "UTC", **(env or {})})
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def lines(self, *args, data):
        status, out, said = self.run_it("-n", *args, data=data)
        self.assertEqual((status, said), (0, ""))
        return out.splitlines()

    def test_what_a_collector_received(self):
        fields = ((8, 4), (12, 4), (21, 4), (22, 4), (1, 4), (2, 4), (7, 2), (11, 2), (4, 1))
        templates, text = {}, ""
        for n, datagram in enumerate([p.v9_template(fields=fields), *(p.v9(p.aligned(256, *(
                struct.pack("!IIIIIIHHB", 10 + way, 11 - way, 9000, 1000 * m + k, 500, 5, 1000 + way, 1001 - way, 6)
                for k in range(6) for way in range(2))), count=12) for m in range(3))]):
            packet = parse_packet(datagram, templates)
            text += json.dumps({1.6e9 + n: {"client": ("127.0.0.1", 1), "header": packet.header.to_dict(),
                                            "flows": [flow.data for flow in packet.flows]}}) + "\n"
        for form in gzip.compress(text.encode()), text.encode(), b"".join(
                gzip.compress(line.encode() + b"\n") for line in text.splitlines()):
            status, out, said = self.run_it("-p", 0, data=form)  # with names
            self.assertEqual((status, said), (0, ""))
            self.assertEqual(len(out.splitlines()), 2 + 18)  # all flows find their counterpart

    def test_text(self):
        data = gzip.compress(entry(1600000000.5, *pair()).encode())
        head, rule, line = self.lines("-p", 0, data=data)
        self.assertTrue(head.startswith("Timestamp "))
        self.assertEqual(rule, "-" * 100)
        self.assertEqual(line, "2020-09-13 12:26.40 | HTTPS          | 4.88K    | 3 sec     |      15 | "
                               "Between 192.0.2.1 (192.0.2.1) and 192.0.2.2 (192.0.2.2)")

    def test_options(self):
        lone = v9("192.0.2.9", "192.0.2.1", packets=70)
        data = gzip.compress((entry(1.5, *pair()) + "\n" + entry(2.5, *pair(src="192.0.2.7"), lone) + "\n").encode())
        self.assertEqual(len(self.lines(data=data)), 4)
        for more in ("-p", 16), ("--packets", 16), ("--packets=16",), ("-p16",), ("--pack", 16):
            out = self.lines(*more, data=data)
            self.assertEqual(out, ["2 connections skipped, because they had less than 16 packets "
                                   "(this value can be set with the -p flag)."])
        self.assertEqual(len(self.lines("--match-host", "192.0.2.7", data=data)), 3)
        self.assertEqual(len(self.lines("--match-host", "", data=data)), 4)
        self.assertEqual(len(self.lines("-p", -5, data=data)), 4)
        for more in "-v", "--verbose":
            self.assertIn("From 192.0.2.9:443", "\n".join(self.lines(more, data=data)))

    def test_file(self):
        with tempfile.TemporaryDirectory() as place:
            for name in "flows.gz", "-", "-n":
                Path(place, name).write_bytes(gzip.compress(entry(1.5, *pair()).encode()))
                with contextlib.chdir(place) if hasattr(contextlib, "chdir") else self.inside(place):
                    self.assertEqual(len(self.lines(f"--file={name}", data=b"")), 3)
            self.assertEqual(len(self.lines("-f", Path(place, "flows.gz"), data=b"")), 3)

    @contextlib.contextmanager
    def inside(self, place):
        before = os.getcwd()
        os.chdir(place)
        try:
            yield
        finally:
            os.chdir(before)

    def test_other_options_of_weir(self):
        data = gzip.compress(entry(1.5, *pair()).encode())
        (line,) = self.lines("-o", "json", "--pair", "5tuple", data=data)
        self.assertEqual(json.loads(line)["src"], "192.0.2.1")

    def test_errors(self):
        for args, status, words in ((("-f", "/nonexistent"), 1, "File /nonexistent does not exist!"),
                                    (("--match-host", "x.y"), 1, "IP address 'x.y' is neither IPv4 nor IPv6"),
                                    (("-p", "x"), 2, "invalid int value: 'x'"),
                                    (("--bogus",), 2, "--bogus")):
            found, out, said = self.run_it(*args)
            self.assertEqual((found, out), (status, ""))
            self.assertIn(words, said)

    def test_help(self):
        status, out, said = self.run_it("-h")
        self.assertEqual((status, said), (0, ""))
        for option in "-f", "--file", "-p", "--packets", "-v", "--verbose", "--match-host", "-n", "--no-dns":
            self.assertIn(option, out)

    def test_no_input(self):
        self.assertEqual(self.run_it(), (0, "", ""))

    def test_reader_that_goes_away(self):
        """The program ends by SIGPIPE as others do, not with an error."""
        data = "".join(entry(n + 0.5, *pair(first=n, last=n)) + "\n" for n in range(3000)).encode()
        read, write = os.pipe()
        with open(write, "wb") as out:
            os.close(read)
            done = subprocess.run([sys.executable, "-m", "netflow.analyzer", "-n", "-p", "0"], input=data, stdout=out,
                                  stderr=subprocess.PIPE, check=False, timeout=60)
        self.assertEqual(done.returncode, -signal.SIGPIPE, done.stderr)


class Program(unittest.TestCase):
    def test_weir(self):
        done = subprocess.run([sys.executable, "-m", "netflow", "analyze", "--help"], capture_output=True, text=True,
                              check=True)
        self.assertIn("weir analyze", done.stdout)

    def test_in_path(self):
        with tempfile.TemporaryDirectory() as place:
            there = Path(place, "weir")
            there.write_text("#!/bin/sh\n")
            there.chmod(0o755)
            with mock.patch.dict(os.environ, PATH=place), mock.patch.object(_program, "BUNDLED", "/nonexistent"):
                self.assertEqual(_program.find(), str(there))
            with mock.patch.object(_program, "BUNDLED", str(there)):
                self.assertEqual(_program.find(), str(there))

    def test_nowhere(self):
        with mock.patch.dict(os.environ, PATH="/nonexistent"), mock.patch.object(_program, "BUNDLED", "/nonexistent"):
            with self.assertRaisesRegex(SystemExit, "neither in the package .* nor in [$]PATH"):
                _program.run([])


if __name__ == "__main__":
    unittest.main()
