#!/usr/bin/env python3
"""test_captures -- what weir decode makes of our own recordings, against the traffic behind them: the flows of traffic.py
are known to the octet, so this knows the right answers without any decoder."""
import collections
import datetime
import json
import os
import pathlib
import subprocess
import unittest

import traffic

CAPTURES = pathlib.Path(__file__).resolve().parent / "captures"


def decode(name, *options):
    p = subprocess.run([os.environ["WEIR"], "decode", *options, str(CAPTURES / f"{name}.hex")],
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if p.returncode or p.stderr:
        raise AssertionError(f"weir decode {name}.hex: exit {p.returncode}: {p.stderr.decode()}")
    records = [json.loads(line) for line in p.stdout.splitlines()]
    return [r for r in records if r["kind"] == "flow"], [r for r in records if r["kind"] == "options"]


def key(src, dst, proto, sport, dport):
    """Without ports for ICMP, where exporters put type and code into one of them or into neither."""
    return (src, dst, proto) + ((0, 0) if proto == 1 else (sport, dport))


def sums(flows):
    """(packets, octets) of each conversation and direction; the reverse direction of a biflow counts by itself."""
    out = collections.Counter()
    for r in flows:
        f = r["fields"]
        src = f.get("sourceIPv4Address") or f["sourceIPv6Address"]
        dst = f.get("destinationIPv4Address") or f["destinationIPv6Address"]
        proto, sport, dport = (f.get(n, 0) for n in ("protocolIdentifier", "sourceTransportPort",
                                                     "destinationTransportPort"))
        k, back = key(src, dst, proto, sport, dport), key(dst, src, proto, dport, sport)
        out[k, "packets"] += f["packetDeltaCount"]
        out[k, "octets"] += f["octetDeltaCount"]
        if f.get("reversePacketDeltaCount"):
            out[back, "packets"] += f["reversePacketDeltaCount"]
            out[back, "octets"] += f["reverseOctetDeltaCount"]
    return out


def known(flows):
    out = collections.Counter()
    for f in flows:
        k = key(f.src, f.dst, f.proto, f.sport, f.dport)
        out[k, "packets"] += traffic.packets(f)
        out[k, "octets"] += traffic.octets(f)
    return out


def conversation(src, dst, proto, sport, dport):
    """Both directions; of ICMP one, since exporters take request and answer for different flows."""
    one = key(src, dst, proto, sport, dport)
    return frozenset((one,) if proto == 1 else (one, key(dst, src, proto, dport, sport)))


V4 = [f for f in traffic.FLOWS if ":" not in f.src]


def time_ms(text):
    t = datetime.datetime.fromisoformat(text.rstrip("Z")).replace(tzinfo=datetime.timezone.utc)
    return round(t.timestamp() * 1000)


class Recorded(unittest.TestCase):
    maxDiff = None

    def test_counters(self):
        """Every packet and octet of every conversation, in each format."""
        for name, flows in (("softflowd-v1", V4), ("softflowd-v5", V4), ("softflowd-v9", traffic.FLOWS),
                            ("softflowd-v9-uptime-wrapped", traffic.FLOWS), ("softflowd-ipfix", traffic.FLOWS),
                            ("softflowd-ipfix-biflow", traffic.FLOWS), ("softflowd-ipfix-ether", traffic.FLOWS),
                            ("pmacctd-v5", V4), ("pmacctd-v9", traffic.FLOWS), ("pmacctd-ipfix", traffic.FLOWS)):
            with self.subTest(name):
                self.assertEqual(known(flows), sums(decode(name)[0]))

    def test_loopback(self):
        """fprobe: UDP over loopback, 28 octets of headers before each payload."""
        expected = collections.Counter()
        for src, sport, dst, dport, octets, n in traffic.LOOPBACK:
            expected[key(src, dst, 17, sport, dport), "packets"] += n
            expected[key(src, dst, 17, sport, dport), "octets"] += n * (octets + 28)
        for name in ("fprobe-v5", "fprobe-v7"):
            with self.subTest(name):
                self.assertEqual(expected, sums(decode(name)[0]))

    def test_times(self):
        """First and last of each conversation: softflowd tells those of both directions together, pmacctd too."""
        span = {}
        for f in traffic.FLOWS:
            both = conversation(f.src, f.dst, f.proto, f.sport, f.dport)
            first, last = traffic.START * 1000 + round(f.times[0] * 1000), traffic.START * 1000 + round(f.times[-1] * 1000)
            old = span.get(both, (first, last))
            span[both] = min(first, old[0]), max(last, old[1])
        for name in ("softflowd-v5", "softflowd-ipfix", "softflowd-ipfix-biflow", "softflowd-ipfix-ether", "pmacctd-v9",
                     "pmacctd-ipfix"):
            with self.subTest(name):
                for r in decode(name)[0]:
                    f = r["fields"]
                    src = f.get("sourceIPv4Address") or f["sourceIPv6Address"]
                    dst = f.get("destinationIPv4Address") or f["destinationIPv6Address"]
                    ports = f.get("sourceTransportPort", 0), f.get("destinationTransportPort", 0)
                    proto = f.get("protocolIdentifier", 0)
                    if proto == 1 and "reversePacketDeltaCount" in f:
                        continue  # softflowd -b makes a biflow of each and turns the addresses of one round
                    self.assertEqual(span[conversation(src, dst, proto, *ports)],
                                     (time_ms(r["first"]), time_ms(r["last"])), f"{src} to {dst}")

    def test_times_v9(self):
        """The header of NetFlow v9 has whole seconds: softflowd's is half a second behind, and all times with it."""
        for r in decode("softflowd-v9")[0]:
            f = r["fields"]
            self.assertEqual(time_ms(r["first"]), 1000 * traffic.START + f["flowStartSysUpTime"] - 500)
            self.assertEqual(time_ms(r["last"]), 1000 * traffic.START + f["flowEndSysUpTime"] - 500)

    def test_sampled(self):
        """One packet in two: the rate is said in options and stands beside every record, counters are as sent."""
        flows, options = decode("softflowd-v9-sampled")
        self.assertEqual([2], [o["fields"]["samplingInterval"] for o in options])
        self.assertEqual({(2, "options")}, {(r["sampling"]["rate"], r["sampling"]["origin"]) for r in flows})
        sent, all_of_it = sums(flows), known(traffic.FLOWS)
        for k, n in sent.items():
            self.assertLessEqual(n, all_of_it[k])
        total = sum(len(f.sizes) for f in traffic.FLOWS)
        self.assertEqual(total // 2, sum(n for (_, what), n in sent.items() if what == "packets"))

    def test_layer_2(self):
        """MAC addresses and VLAN of softflowd -T ether."""
        flows, _ = decode("softflowd-ipfix-ether")
        for r in flows:
            f = r["fields"]
            src = f.get("sourceIPv4Address") or f["sourceIPv6Address"]
            flow = next(x for x in traffic.FLOWS if x.src == src)
            self.assertEqual(flow.vlan, f["vlanId"])
            self.assertIn(f["sourceMacAddress"].replace(":", ""), traffic.MACS.values())

    def test_tos(self):
        """Only the DNS question has a type of service. (pmacctd's nfprobe says 0 unless told to keep it apart.)"""
        for name in ("softflowd-v1", "softflowd-v5", "softflowd-v9", "softflowd-ipfix"):
            with self.subTest(name):
                tos = {r["fields"].get("sourceIPv4Address"): r["fields"]["ipClassOfService"]
                       for r in decode(name)[0] if r["fields"].get("destinationTransportPort") == 53}
                self.assertEqual({"192.0.2.11": 0xb8}, tos)

    def test_wrapped_uptime(self):
        """Flows of 2023 told with a sysUptime that starts in another year: the values wrap, the spans stay."""
        spans = sorted(time_ms(r["last"]) - time_ms(r["first"]) for r in decode("softflowd-v9-uptime-wrapped")[0])
        expected = sorted(time_ms(r["last"]) - time_ms(r["first"]) for r in decode("softflowd-v9")[0])
        self.assertEqual(expected, spans)
        for r in decode("softflowd-v9-uptime-wrapped")[0]:
            self.assertLessEqual(time_ms(r["last"]), time_ms(r["export_time"]))


if __name__ == "__main__":
    unittest.main(verbosity=1)
