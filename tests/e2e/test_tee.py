#!/usr/bin/env python3
"""weir collect --tee: datagrams go on to other collectors as they came, and nothing about that harms the collector itself."""
import os
import select
import socket
import subprocess
import unittest

import packets as P
from collector import DEADLINE_S, WEIR, Collector, CollectorTest


def may_be_raw():
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW).close()
    except OSError:
        return False
    return True


class Target:
    """Where datagrams are passed on to."""

    def __init__(self, host="127.0.0.1"):
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind((host, 0))
        self.port = self.socket.getsockname()[1]
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def take(self, n):
        """n datagrams and their senders."""
        out = []
        while len(out) < n:
            if not select.select([self.socket], [], [], DEADLINE_S)[0]:
                raise AssertionError(f"{len(out)} of {n} datagrams arrived in {DEADLINE_S} s")
            data, sender = self.socket.recvfrom(65536)
            out.append((data, sender[:2]))
        return out

    def close(self):
        self.socket.close()


def sender_at(host):
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((host, 0))
    return s


def datagrams():
    return [P.v5([1, 2, 3]), P.v9_template(), P.v9_data(range(4, 9), sequence=1), P.ipfix_template(), P.ipfix_data(range(9, 14)),
            b"no export at all"]


class Tee(CollectorTest):
    def target(self, host="127.0.0.1"):
        t = Target(host)
        self.addCleanup(t.close)
        return t

    def laws(self, s):
        t = s["tee"]
        self.assertEqual(t["datagrams"], t["dropped"] + t["queued"] + t["done"])
        self.assertEqual(t["datagrams"], s["receive"]["datagrams"] - s["receive"]["refused"])
        for one in t["targets"]:
            self.assertEqual(one["sent"] + one["failed"], t["done"], one)
        return t

    def test_own_source(self):
        first, second = self.target(), self.target()
        sent = datagrams()
        with Collector("-o", self.path("a.gz"), "--tee", first.address, "--tee", f"localhost:{second.port}",
                       "--tee-source", "own") as c:
            with sender_at("127.0.0.2") as s:
                c.send(*sent, sock=s)
            for target in first, second:
                got = target.take(len(sent))
                self.assertEqual([data for data, _ in got], sent)
                self.assertEqual({host for _, (host, _) in got}, {"127.0.0.1"})
            c.decoded(len(sent))
            tee = self.laws(c.stop())
        self.assertEqual([(t["source"], t["sent"], t["failed"]) for t in tee["targets"]], 2 * [("own", len(sent), 0)])
        self.assertEqual([t["address"] for t in tee["targets"]], [first.address, second.address])

    @unittest.skipUnless(may_be_raw(), "needs CAP_NET_RAW")
    def test_exporters_source(self):
        """The collector behind sees the exporters' own addresses and ports; large datagrams arrive whole."""
        target = self.target()
        sent = datagrams() + [P.v5([1]) + bytes(40000)]
        with Collector("-o", self.path("a.gz"), "--tee", target.address) as c:
            for host in "127.0.0.2", "127.0.0.3":
                with sender_at(host) as s:
                    c.send(*sent, sock=s)
                    got = target.take(len(sent))
                    self.assertEqual([data for data, _ in got], sent)
                    self.assertEqual({sender for _, sender in got}, {s.getsockname()})
            tee = self.laws(c.stop())
        self.assertEqual([(t["source"], t["sent"]) for t in tee["targets"]], [("exporter", 2 * len(sent))])

    @unittest.skipUnless(may_be_raw() and socket.has_ipv6, "needs CAP_NET_RAW and IPv6")
    def test_exporters_source_ipv6(self):
        target, other = self.target("::1"), self.target()
        sent = datagrams()
        with Collector("-o", self.path("a.gz"), "--tee", target.address, "--tee", other.address, "--tee-source", "exporter",
                       host="::1") as c:
            with sender_at("::1") as s:
                c.send(*sent, sock=s, host="::1")
                got = target.take(len(sent))
                self.assertEqual([data for data, _ in got], sent)
                self.assertEqual({sender for _, sender in got}, {s.getsockname()[:2]})
            # To a target of the other family they come from this machine.
            self.assertEqual([data for data, _ in other.take(len(sent))], sent)
            self.laws(c.stop())

    def test_a_collector_behind(self):
        """Two collectors have the same flows."""
        with Collector("-a", self.path("b")) as behind, \
                Collector("-a", self.path("a"), "--workers", "3", "--tee", f"127.0.0.1:{behind.ports[0]}") as c:
            r = subprocess.run([WEIR, "gen", "-q", "--ipfix", "-n", "20000", "-r", "40k", "-e", "8", f"127.0.0.1:{c.ports[0]}"],
                               check=False)
            self.assertEqual(r.returncode, 0)
            n = c.until("20000 flows", lambda s: s["decode"]["flows"] >= 20000)["decode"]
            behind.until("20000 flows", lambda s: s["decode"]["flows"] >= 20000)
            tee = self.laws(c.stop())
            self.assertEqual((tee["dropped"], tee["targets"][0]["failed"]), (0, 0))
            self.assertEqual(behind.stop()["decode"]["flows"], n["flows"])

    def test_nobody_there(self):
        """A target that refuses is said, and harms nobody."""
        gone, target = self.target(), self.target()
        gone.close()
        sent = 50 * datagrams()
        with Collector("-o", self.path("a.gz"), "--tee", gone.address, "--tee", target.address, "--tee-source", "own") as c:
            for i in range(0, len(sent), 6):
                c.send(*sent[i:i + 6])
                self.assertEqual([data for data, _ in target.take(6)], sent[i:i + 6])
            s = c.decoded(len(sent))
            self.assertEqual((s["receive"]["dropped"], s["receive"]["kernel_drops"]), (0, 0))
            said = c.wait_for("passing on to")
            self.assertIn(gone.address, said)
            self.assertIn("refused", said)
            s = c.stop()
        tee = self.laws(s)
        self.assertEqual([t["failed"] for t in tee["targets"]][1], 0)
        self.assertGreater(tee["targets"][0]["refused"], 0)
        self.assertEqual(s["decode"]["packets"], len(sent))

    def test_strangers_are_not_passed_on(self):
        target = self.target()
        with Collector("-o", self.path("a.gz"), "--allow", "127.0.0.2", "--tee", target.address, "--tee-source", "own") as c:
            with sender_at("127.0.0.3") as stranger, sender_at("127.0.0.2") as s:
                c.send(b"stranger", sock=stranger)
                c.send(P.v5([1]), sock=s)
            self.assertEqual([data for data, _ in target.take(1)], [P.v5([1])])
            c.until("both received", lambda s: s["receive"]["datagrams"] == 2)
            tee = self.laws(c.stop())
        self.assertEqual(tee["datagrams"], 1)

    def collect(self, *args, status):
        r = subprocess.run([WEIR, "collect", "--no-state", "-o", self.path("a.gz"), *args], capture_output=True, text=True,
                           check=False, timeout=DEADLINE_S)
        self.assertEqual(r.returncode, status, r.stderr)
        return r.stderr

    def test_usage_and_loops(self):
        for args in (("--tee", "nowhere"), ("--tee", "127.0.0.1:0"), ("--tee", "127.0.0.1:70000"), ("--tee", "::1:2055"),
                     ("--tee", "[::1]"), ("--tee-source", "own"), ("--tee", "127.0.0.1:1", "--read", "x.pcap"),
                     ("--tee", "127.0.0.1:1", "--tee-source", "nobody")):
            with self.subTest(args):
                self.assertIn("tee", self.collect(*args, status=2))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        for listen, target in (("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("0.0.0.0", "127.0.0.5")):
            with self.subTest(listen):
                said = self.collect("--listen", f"{listen}:{port}", "--tee", f"{target}:{port}", status=1)
                self.assertIn("listens there", said)

    @unittest.skipUnless(os.geteuid() == 0 and may_be_raw(), "needs root, to be without it")
    def test_without_the_right_to(self):
        """Without CAP_NET_RAW: said once, and from this machine; asked for in words, it does not start."""
        def drop():
            """No capability in this process, nor in what it starts."""
            os.chmod(self.dir, 0o777)
            os.setgid(65534)
            os.setuid(65534)
        target = self.target()
        try:
            c = Collector("-o", self.path("b.gz"), "--no-state", "--tee", target.address, preexec=drop, ready=False)
        except PermissionError:
            self.skipTest("only root may run the program where it is")
        with c:
            c.wait_for("from this machine's address.*CAP_NET_RAW")
            ready = c.wait_for("listening on")
            c.ports = [int(ready.split(":")[-1].split(",")[0])]
            c.send(P.v5([1]))
            [(data, (host, _))] = target.take(1)
            self.assertEqual((data, host), (P.v5([1]), "127.0.0.1"))
            self.assertEqual(self.laws(c.stop())["targets"][0]["source"], "own")
        r = subprocess.run([WEIR, "collect", "--host", "127.0.0.1", "-p", "0", "--no-state", "-o", self.path("c.gz"), "--tee",
                            target.address, "--tee-source", "exporter"], capture_output=True, text=True, check=False,
                           preexec_fn=drop, timeout=DEADLINE_S)
        self.assertEqual(r.returncode, 1, r.stderr)
        self.assertIn("CAP_NET_RAW", r.stderr)


if __name__ == "__main__":
    unittest.main()
