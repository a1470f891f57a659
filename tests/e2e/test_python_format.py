#!/usr/bin/env python3
"""`weir decode --format python` against the Python collector `netflow` 0.12.2.

Recorded    packets written here and what netflow 0.12.2 makes of them (tests/golden/python/*.json): always checked.
            test_python_format.py --record renews the files when that package can be imported.
Differential  every packet of the corpus through both, when the package and the corpus are there.
"""
import collections
import contextlib
import importlib.util
import io
import json
import os
import struct
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(os.environ.get("WEIR_ROOT", Path(__file__).resolve().parents[2]))
WEIR = os.environ.get("WEIR", str(ROOT / "build/weir"))
CORPUS = Path(os.environ.get("WEIR_CORPUS", ROOT / "../shared/corpus"))
GOLDEN = ROOT / "tests/golden/python"
CLIENT = ["127.0.0.1", 1337]

try:
    from netflow.ipfix import IPFIXTemplateNotRecognized
    from netflow.utils import UnknownExportVersion, parse_packet
    from netflow.v9 import V9TemplateNotRecognized
except ImportError:
    parse_packet = None


def pcap(payloads):
    """A capture of these payloads as UDP from CLIENT; packet i arrives at second i + 1."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 101)]
    for i, payload in enumerate(payloads):
        udp = struct.pack("!HHHH", CLIENT[1], 2055, 8 + len(payload), 0) + payload
        ip = struct.pack("!BBHHHBBHII", 0x45, 0, 20 + len(udp), i & 0xFFFF, 0, 64, 17, 0, 0x7F000001, 0x7F000001)
        out.append(struct.pack("<IIII", i + 1, 0, len(ip) + len(udp), len(ip) + len(udp)) + ip + udp)
    return b"".join(out)


def weir_lines(payloads):
    """{index of the packet: [entries]} as `weir decode --format python` writes them, and its messages."""
    done = subprocess.run([WEIR, "decode", "--format", "python", "-p", "2055", "-"], input=pcap(payloads),
                          capture_output=True, check=False)
    lines = collections.defaultdict(list)
    for line in done.stdout.decode().splitlines():
        (ts, entry), = json.loads(line).items()
        lines[int(float(ts)) - 1].append(entry)
    return lines, done.stderr.decode()


def python_entries(payloads):
    """{index: entry} as the collector of netflow 0.12.2 writes it; packets on which it fails are left out."""
    templates = {"netflow": {}, "ipfix": {}}
    queue, retry, entries = collections.deque(enumerate(payloads)), [], {}
    while queue:
        index, payload = queue.popleft()
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                export = parse_packet(payload, templates)
        except UnknownExportVersion:
            continue
        except (V9TemplateNotRecognized, IPFIXTemplateNotRecognized):
            retry.append((index, payload))
            continue
        except Exception:  # whatever it raises ends the Python collector
            continue
        if export.header.version in (9, 10) and export.contains_new_templates and retry:
            queue.extend(retry)
            retry = []
        entry = {"client": CLIENT, "header": export.header.to_dict(), "flows": [f.data for f in export.flows]}
        if export.header.version == 10:  # from a set, in another order each time
            entry["flows"] = [dict(sorted(flow.items())) for flow in entry["flows"]]
        entries[index] = json.loads(json.dumps(entry))
    return entries


# Our own packets.

def v9(sequence, *flowsets, count=1):
    return struct.pack("!HHIIII", 9, count, 100000, 1700000000, sequence, 7) + b"".join(flowsets)


def ipfix(sequence, *sets):
    body = b"".join(sets)
    return struct.pack("!HHIII", 10, 16 + len(body), 1700000000, sequence, 7) + body


def flowset(number, body):
    body += bytes(-len(body) % 4)
    return struct.pack("!HH", number, 4 + len(body)) + body


def tightset(number, body):
    return struct.pack("!HH", number, 4 + len(body)) + body


def template(number, *fields):
    return struct.pack("!HH", number, len(fields)) + b"".join(struct.pack("!HH", *f) for f in fields)


def own_cases():
    record = struct.pack("!IIIHHIIIIHH", 0x0A000001, 0xC0000201, 0xC00002FE, 3, 4, 17, 4711, 90000, 95000, 1024, 443)
    v1_record = record + struct.pack("!xxBBB7x", 6, 16, 27)
    v5_record = record + struct.pack("!xBBBHHBBxx", 27, 6, 16, 64500, 64501, 24, 16)
    yield "v1", "all fields of a v1 record", [
        struct.pack("!HHIII", 1, 2, 100000, 1700000000, 5) + v1_record + v1_record]
    yield "v5", "all fields of a v5 record and header", [
        struct.pack("!HHIIIIBBH", 5, 2, 100000, 1700000000, 5, 42, 1, 2, 0x4064) + v5_record + v5_record]
    wide = template(260, (8, 4), (12, 4), (15, 4), (27, 16), (28, 16), (62, 16), (63, 16), (1, 8), (2, 4), (7, 2),
                    (4, 1), (56, 6), (70, 3), (82, 12), (94, 24), (50, 4), (89, 1), (98, 1), (225, 4), (323, 8),
                    (148, 4), (33002, 2), (40000, 20), (56701, 32), (61, 1))
    data = (bytes([192, 0, 2, 1, 198, 51, 100, 2, 0, 0, 0, 0]) + bytes.fromhex("20010db8" + "00" * 11 + "01") +
            bytes.fromhex("fe80" + "00" * 6 + "0000000000010000") + bytes(16) +
            bytes.fromhex("0" * 20 + "ffffc0000201") + struct.pack("!QIHB", 2**63 + 5, 4294967295, 53, 17) +
            bytes.fromhex("00005e005301" "010203") + b"eth0".ljust(12, b"\0") + b"web traffic \xc3\xa9".ljust(24, b"\0") +
            struct.pack("!IBBIQIH", 1000, 64, 46, 0xCB007109, 1700000000123, 99, 1007) + b"someone".ljust(20, b"\0") +
            b"\xff" * 32 + b"\1")
    yield "v9-fields", "addresses as text, all else integers of any length, odd names", [
        v9(1, flowset(0, wide), flowset(260, data + data)), v9(2, flowset(260, data))]
    small = template(256, (8, 4), (12, 4), (1, 4), (7, 2), (11, 2))
    rec = struct.pack("!IIIHH", 0xC0000201, 0xC0000202, 1500, 1, 2)
    options = struct.pack("!HHHHHHH", 257, 4, 4, 1, 4, 34, 4)
    yield "v9-order", "data before its template, in one packet and over packets; options data; template alone", [
        v9(1, flowset(256, rec)), v9(2, flowset(256, rec + rec), flowset(0, small)), v9(3, flowset(0, small)),
        v9(4, flowset(1, options)), v9(5, flowset(257, struct.pack("!II", 1, 100)), flowset(256, rec)),
        v9(6, flowset(257, struct.pack("!II", 1, 100)))]
    yield "v9-repeated", "a field that occurs twice: the place of the first, the value of the last", [
        v9(1, flowset(0, template(256, (8, 4), (1, 4), (8, 4), (1, 4))),
           flowset(256, struct.pack("!IIII", 0x0A000001, 1, 0x0A000002, 2)))]
    many = template(300, (8, 4), (27, 16), (56, 6), (1, 8), (2, 4), (4, 1), (152, 8), (154, 8), (157, 8), (150, 4),
                    (276, 1), (320, 8), (311, 4), (82, 6), (83, 5), (95, 4), (104, 20), (434, 4), (438, 2),
                    (97, 2), (313, 3), (484, 4))
    record = (bytes([192, 0, 2, 1]) + bytes.fromhex("20010db8" + "00" * 11 + "01") + bytes.fromhex("00005e005301") +
              struct.pack("!QIBQ", 2**64 - 1, 7, 6, 1700000000123) + bytes.fromhex("e9000000" "80000000") +
              bytes.fromhex("e9000001" "00000001") + struct.pack("!IB", 1700000000, 2) +
              struct.pack("!d", -0.1) + struct.pack("!f", 2.5) + b"eth0\0\0" + b"\xff'\"\n\\" +
              bytes([3, 0, 1, 187]) + bytes(range(1, 21)) + struct.pack("!ih", -5, -2) + b"\1\2" + b"\1\2\3" +
              bytes([3, 0, 8, 0]))
    yield "ipfix-types", "each data type as Python reads it", [ipfix(1, tightset(2, many), tightset(300, record))]
    opts = struct.pack("!HHH", 301, 3, 1) + struct.pack("!HHHHHH", 149, 4, 41, 8, 34, 4)
    small = template(302, (8, 4), (1, 8))
    rec = struct.pack("!IQ", 0xC0000201, 1)
    yield "ipfix-order", "options data among the flows; template in the same and a later message", [
        ipfix(1, tightset(3, opts), tightset(2, small), tightset(301, struct.pack("!IQI", 7, 1000, 64)),
              tightset(302, rec + rec)),
        ipfix(4, tightset(302, rec)), ipfix(5, tightset(2, template(303, (8, 4))))]
    late = template(304, (8, 4), (7, 2), (11, 2))
    yield "ipfix-late", "a packet that waits for a template of a later message keeps its time", [
        ipfix(1, tightset(304, struct.pack("!IHH", 0xC0000201, 53, 1024))), ipfix(2, tightset(2, late))]


def record():
    if not parse_packet:
        sys.exit("test_python_format: --record needs the Python package netflow 0.12.2")
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name, what, packets in own_cases():
        entries = python_entries(packets)
        text = json.dumps({"what": what, "packets": [p.hex() for p in packets],
                           "entries": {str(i): entries[i] for i in sorted(entries)}}, indent=1)
        (GOLDEN / f"{name}.json").write_text(text + "\n", encoding="utf-8")


class Recorded(unittest.TestCase):
    def test_files_and_packets_agree(self):
        cases = {name: [p.hex() for p in packets] for name, _, packets in own_cases()}
        files = {f.stem: json.loads(f.read_text(encoding="utf-8"))["packets"] for f in GOLDEN.glob("*.json")}
        self.assertEqual(cases, files, "run test_python_format.py --record")

    def test_entries(self):
        for file in sorted(GOLDEN.glob("*.json")):
            with self.subTest(file.stem):
                case = json.loads(file.read_text(encoding="utf-8"))
                ours, messages = weir_lines([bytes.fromhex(p) for p in case["packets"]])
                self.assertEqual(sorted(ours), sorted(int(i) for i in case["entries"]), messages)
                for index, want in case["entries"].items():
                    self.assertEqual(len(ours[int(index)]), 1)
                    got = ours[int(index)][0]
                    if got["header"]["version"] == 10:  # there Python keeps the fields in a set: no order
                        self.assertEqual(got, want)
                    else:
                        self.assertEqual(json.dumps(got), json.dumps(want))

    def test_the_line_itself(self):
        """Separators, escapes and order are those of json.dumps of the collector's dict."""
        for file in sorted(GOLDEN.glob("*.json")):
            packets = [bytes.fromhex(p) for p in json.loads(file.read_text(encoding="utf-8"))["packets"]]
            done = subprocess.run([WEIR, "decode", "--format", "python", "-p", "2055", "-"], input=pcap(packets),
                                  capture_output=True, check=False)
            for line in done.stdout.decode("ascii").splitlines():
                (ts, entry), = json.loads(line).items()
                self.assertEqual(line, json.dumps({float(ts): entry}))
                self.assertEqual(list(entry), ["client", "header", "flows"])

    def test_arrival_time(self):
        packet = own_cases().__next__()[2][0]
        capture = bytearray(pcap([packet]))
        for seconds, micros in (1585735165, 729372), (1700000000, 123456), (1, 0), (2147483647, 999999):
            struct.pack_into("<II", capture, 24, seconds, micros)
            done = subprocess.run([WEIR, "decode", "-F", "python", "-"], input=capture, capture_output=True, check=True)
            want = '{"%s": {"client": ["127.0.0.1", 1337], ' % repr(float(f"{seconds}.{micros:06}"))
            self.assertTrue(done.stdout.decode().startswith(want), (want, done.stdout[:60]))


class Differential(unittest.TestCase):
    # Cases in which the two differ, each with what differs; docs/python-format.md has the list of reasons.
    KNOWN = {
        "akvorado/ipfixprobe": "enterprise elements: Python ignores the enterprise number",
        "netflow-parser/it-parses-v9-template-and-data-packet": "Python reads one record beyond its flow set",
        "netflow-parser/parse-ipfix-with-v9-style-template": "octets behind the message: the datagram is rejected",
        "pmacct/500-ipfixv10-bgp-cisco-srv6-traffic-00": "repeated element: Python keeps whichever its set gives last",
    }

    @staticmethod
    def agree(ours, theirs):
        """The same entry, but for v9 fields that Python merges into UNKNOWN_FIELD_TYPE."""
        if ours["header"] != theirs["header"] or len(ours["flows"]) != len(theirs["flows"]):
            return False
        for a, b in zip(ours["flows"], theirs["flows"]):
            if "UNKNOWN_FIELD_TYPE" in b:
                b = {k: v for k, v in b.items() if k != "UNKNOWN_FIELD_TYPE"}
                a = {k: v for k, v in a.items() if k in b}
            if a != b:
                return False
        return ours["client"] == theirs["client"]

    @unittest.skipUnless(parse_packet, "the Python package netflow 0.12.2 is not installed")
    def test_recorded_packets(self):
        for name, _, packets in own_cases():
            with self.subTest(name):
                ours, messages = weir_lines(packets)
                theirs = python_entries(packets)
                self.assertEqual(sorted(ours), sorted(theirs), messages)
                for index, entry in theirs.items():
                    self.assertEqual(ours[index], [entry])

    @unittest.skipUnless(parse_packet, "the Python package netflow 0.12.2 is not installed")
    @unittest.skipUnless((CORPUS / "cases.jsonl").exists(), f"no corpus at {CORPUS}")
    def test_corpus(self):
        spec = importlib.util.spec_from_file_location("flowcorpus", CORPUS / "tools/flowcorpus.py")
        flowcorpus = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(flowcorpus)
        compared, differ = 0, set()
        for line in (CORPUS / "cases.jsonl").read_text(encoding="utf-8").splitlines():
            case = json.loads(line)
            if not set(case["versions"]) <= {"1", "5", "9", "10", "ipfix"}:
                continue
            # one `load` a file: its own way to join names knows only the current folder
            payloads = [p.data for name in case["files"] for p in flowcorpus.load(str(CORPUS / name))]
            theirs = python_entries(payloads)
            ours, messages = weir_lines(payloads)
            for index, entry in theirs.items():
                compared += 1
                # Of several IPFIX messages in one datagram Python sees the first; we write a line for each.
                if ours[index] and self.agree(ours[index][0], entry):
                    continue
                differ.add(case["case"])
                if case["case"] not in self.KNOWN:
                    self.fail(f"{case['case']} packet {index}: {ours[index]} but Python has {entry}\n{messages}")
        self.assertGreater(compared, 400)
        self.assertEqual(differ, set(self.KNOWN))


if __name__ == "__main__":
    if "--record" in sys.argv:
        record()
    else:
        unittest.main(verbosity=2)  # says what was skipped and why
