#!/usr/bin/env python3
"""`weir decode`: inputs, outputs, messages and exit status."""
import json
import os
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(os.environ.get("WEIR_ROOT", Path(__file__).resolve().parents[2]))
WEIR = os.environ.get("WEIR", str(ROOT / "build/weir"))
CORPUS = Path(os.environ.get("WEIR_CORPUS", ROOT / "../shared/corpus"))

EXPORT = 1700000000  # 2023-11-14T22:13:20Z


def run(*args, data=b"", ok=0):
    done = subprocess.run([WEIR, "decode", *map(str, args)], input=data, capture_output=True, check=False)
    if done.returncode != ok:
        raise AssertionError(f"exit {done.returncode}, not {ok}: {args}\n{done.stderr.decode()}")
    return done.stdout.decode(), done.stderr.decode()


def no_constant(name):
    raise ValueError(f"{name} is no JSON")


def unique(pairs):
    keys = [k for k, _ in pairs]
    if len(keys) != len(set(keys)):
        raise ValueError(f"repeated key in {keys}")
    return dict(pairs)


def records(text):
    """The lines of JSON, read strictly."""
    return [json.loads(line, parse_constant=no_constant, object_pairs_hook=unique) for line in text.splitlines()]


def pcap(payloads, source=0xC0000201, port=50000):
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 101)]
    for i, payload in enumerate(payloads):
        udp = struct.pack("!HHHH", port, 2055, 8 + len(payload), 0) + payload
        ip = struct.pack("!BBHHHBBHII", 0x45, 0, 20 + len(udp), i & 0xFFFF, 0, 64, 17, 0, source, 0x7F000001)
        out.append(struct.pack("<IIII", EXPORT + i, 250000, len(ip) + len(udp), len(ip) + len(udp)) + ip + udp)
    return b"".join(out)


def one_set(number, body):
    return struct.pack("!HH", number, 4 + len(body)) + body


def ipfix(sequence, *sets):
    body = b"".join(sets)
    return struct.pack("!HHIII", 10, 16 + len(body), EXPORT, sequence, 7) + body


def v9(sequence, *sets, source_id=7):
    return struct.pack("!HHIIII", 9, len(sets), 100000, EXPORT, sequence, source_id) + b"".join(sets)


def template(number, *fields):
    """fields: (id, length) or (id, length, enterprise number)"""
    out = struct.pack("!HH", number, len(fields))
    for field in fields:
        if len(field) == 3:
            out += struct.pack("!HHI", field[0] | 0x8000, field[1], field[2])
        else:
            out += struct.pack("!HH", *field)
    return out


V5 = (struct.pack("!HHIIIIBBH", 5, 1, 100000, EXPORT, 500000000, 42, 1, 2, 0x4064) +
      struct.pack("!IIIHHIIIIHHxBBBHHBBxx", 0x0A000001, 0xC0000201, 0xC00002FE, 3, 4, 17, 4711, 90000, 95000, 1024, 443,
                  27, 6, 16, 64500, 64501, 24, 16))
V9_TEMPLATE = v9(1, one_set(0, template(256, (8, 4), (12, 4), (1, 4), (4, 1), (6, 1), (7, 2))))
V9_DATA = v9(2, one_set(256, struct.pack("!IIIBBH", 0xC0000201, 0xC0000202, 1500, 6, 18, 53)))


class Json(unittest.TestCase):
    def test_v5_to_the_letter(self):
        out, _ = run("--from", "192.0.2.9:2055", V5.hex())
        self.assertEqual(out, (
            '{"exporter":"192.0.2.9:2055","received":"2023-11-14T22:13:20.500Z","version":5,"sequence":42,"domain":258,'
            '"template":0,"export_time":"2023-11-14T22:13:20.500Z","uptime_ms":100000,"kind":"flow",'
            '"first":"2023-11-14T22:13:10.500Z","last":"2023-11-14T22:13:15.500Z",'
            '"sampling":{"rate":100,"algorithm":1,"origin":"header"},"fields":{'
            '"sourceIPv4Address":"10.0.0.1","destinationIPv4Address":"192.0.2.1","ipNextHopIPv4Address":"192.0.2.254",'
            '"ingressInterface":3,"egressInterface":4,"packetDeltaCount":17,"octetDeltaCount":4711,'
            '"flowStartSysUpTime":90000,"flowEndSysUpTime":95000,"sourceTransportPort":1024,'
            '"destinationTransportPort":443,"tcpControlBits":27,"protocolIdentifier":6,"ipClassOfService":16,'
            '"bgpSourceAsNumber":64500,"bgpDestinationAsNumber":64501,"sourceIPv4PrefixLength":24,'
            '"destinationIPv4PrefixLength":16}}\n'))

    def test_types(self):
        fields = [(27, 16), (56, 6), (1, 8), (1, 3), (434, 2), (276, 1), (320, 8), (311, 4), (152, 8), (150, 4),
                  (154, 8), (156, 8), (82, 65535), (83, 65535), (95, 4), (210, 3), (4242, 2), (99, 5, 64999), (8, 5)]
        data = (bytes.fromhex("20010db8" + "00" * 11 + "01" + "00005e005301") + struct.pack("!Q", 2**64 - 1) +
                b"\1\0\0" + struct.pack("!hB", -2, 1) + struct.pack("!df", float("nan"), 2.5) +
                struct.pack("!QI", 1700000000123, EXPORT) + struct.pack("!II", EXPORT + 2208988800, 1 << 31) +
                struct.pack("!II", EXPORT + 2208988800, 1 << 30) + b"\x05e\"\n\xc3\xa9" + b"\x02\xffa" +
                bytes([3, 0, 1, 187]) + bytes(3) + b"\1\2" + b"abcde" + b"12345")
        out, _ = run(ipfix(1, one_set(2, template(256, *fields)), one_set(256, data)).hex())
        got = records(out)
        self.assertEqual(len(got), 1)
        self.assertEqual(got[0]["exporter"], None)
        self.assertEqual(got[0]["fields"], {
            "sourceIPv6Address": "2001:db8::1", "sourceMacAddress": "00:00:5e:00:53:01",
            "octetDeltaCount": [2**64 - 1, 65536], "mibObjectValueInteger": -2, "dataRecordsReliability": True,
            "absoluteError": "NaN", "samplingProbability": 2.5,
            "flowStartMilliseconds": "2023-11-14T22:13:20.123Z", "flowStartSeconds": "2023-11-14T22:13:20Z",
            "flowStartMicroseconds": "2023-11-14T22:13:20.500000Z",
            "flowStartNanoseconds": "2023-11-14T22:13:20.250000000Z",
            "interfaceName": "e\"\né", "interfaceDescription": "ff61", "applicationId": "030001bb",
            "e0id4242": "0102", "e64999id99": "6162636465", "sourceIPv4Address": "3132333435"})
        self.assertEqual(list(got[0]), ["exporter", "received", "version", "sequence", "domain", "template",
                                        "export_time", "kind", "first", "last", "fields"])
        self.assertEqual(list(got[0]["fields"])[2], "octetDeltaCount")  # at the place of the first one

    def test_lists(self):
        inner = template(300, (8, 4), (7, 2))
        fields = [(291, 65535), (292, 65535), (293, 65535), (292, 65535), (291, 65535)]
        basic = struct.pack("!BHH", 3, 7, 2) + struct.pack("!HHH", 53, 80, 443)
        sub = struct.pack("!BH", 4, 300) + struct.pack("!IH", 0xC0000201, 1) + struct.pack("!IH", 0xC0000202, 2)
        multi = b"\xff" + struct.pack("!HHIH", 300, 10, 0xC0000203, 3)
        unknown = struct.pack("!BH", 3, 999) + b"xyz"
        broken = struct.pack("!BHH", 3, 7, 2) + b"\0\1\0"
        data = b"".join(bytes([len(x)]) + x for x in (basic, sub, multi, unknown, broken))
        out, _ = run(ipfix(1, one_set(2, inner + template(256, *fields)), one_set(256, data)).hex())
        got = records(out)[0]["fields"]
        self.assertEqual(got["basicList"][0],
                         {"semantic": "allOf", "element": "sourceTransportPort", "items": [53, 80, 443]})
        self.assertEqual(got["basicList"][1], {
            "semantic": "allOf", "element": "sourceTransportPort", "items": [1], "octets": broken.hex(),
            "error": "list cut short"})
        self.assertEqual(got["subTemplateList"], [
            {"semantic": "ordered", "items": [
                {"sourceIPv4Address": "192.0.2.1", "sourceTransportPort": 1},
                {"sourceIPv4Address": "192.0.2.2", "sourceTransportPort": 2}]},
            {"semantic": "allOf", "octets": unknown.hex(), "error": "template unknown"}])
        self.assertEqual(got["subTemplateMultiList"], {
            "semantic": "undefined", "items": [{"sourceIPv4Address": "192.0.2.3", "sourceTransportPort": 3}]})

    def test_options_and_sampling_from_them(self):
        options = struct.pack("!HHHHHHH", 257, 4, 4, 2, 4, 34, 4)
        packets = [v9(1, one_set(1, options + b"\0\0")), v9(2, one_set(257, struct.pack("!II", 3, 100)))]
        out, _ = run("-", data=pcap(packets))
        got = records(out)[0]
        self.assertEqual(got["kind"], "options")
        self.assertEqual(got["scope"], {"scopeInterface": 3})
        self.assertEqual(got["fields"], {"samplingInterval": 100})
        self.assertNotIn("first", got)

    def test_many_fields_in_linear_time(self):
        n = 8000
        fields = [(4242 + i // 2, 1) for i in range(n)]
        message = ipfix(1, one_set(2, template(256, *fields)), one_set(256, bytes(i & 255 for i in range(n)) * 3))
        out, _ = run("-i", "hex", "-", data=message.hex().encode())
        got = records(out)
        self.assertEqual(len(got), 3)
        self.assertEqual(len(got[0]["fields"]), n // 2)
        self.assertEqual(got[2]["fields"]["e0id4243"], ["02", "03"])

    @unittest.skipUnless((CORPUS / "cases.jsonl").exists(), f"no corpus at {CORPUS}")
    def test_corpus_is_always_valid(self):
        seen = 0
        for line in (CORPUS / "cases.jsonl").read_text(encoding="utf-8").splitlines():
            case = json.loads(line)
            for form in ("json", "python"):
                done = subprocess.run([WEIR, "decode", "-F", form, *(CORPUS / f for f in case["files"])],
                                      capture_output=True, check=False)
                self.assertIn(done.returncode, (0, 1), case["case"])
                with self.subTest(case["case"]):
                    seen += len(records(done.stdout.decode("utf-8")))
        self.assertGreater(seen, 1000)


class Inputs(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)

    def file(self, name, data):
        path = Path(self.dir.name) / name
        path.write_bytes(data)
        return path

    def test_forms(self):
        want = records(run("-x", V5.hex())[0])[0]["fields"]
        for what, args, data in [
                ("hex on stdin", ["-"], V5.hex().encode()),
                ("hex with spaces and lines", ["-i", "hex"], ("# v5\n" + V5.hex(" ") + "\n").encode()),
                ("raw on stdin", ["-i", "raw", "-"], V5),
                ("raw file", [self.file("v5.bin", V5)], b""),
                ("capture", [self.file("v5.pcap", pcap([V5]))], b""),
                ("hex operand with spaces", [V5.hex(" ")], b"")]:
            with self.subTest(what):
                got = records(run(*args, data=data)[0])
                self.assertEqual([r["fields"] for r in got], [want])

    def test_payload_files_share_templates(self):
        out, _ = run(self.file("t.dat", V9_TEMPLATE), self.file("d.dat", V9_DATA))
        self.assertEqual(records(out)[0]["fields"]["octetDeltaCount"], 1500)
        out, _ = run(self.file("d.dat", V9_DATA), self.file("t.dat", V9_TEMPLATE))  # data waits
        self.assertEqual(len(records(out)), 1)

    def test_ipfix_files_are_sessions(self):
        first = self.file("a.ipfix", ipfix(1, one_set(2, template(256, (8, 4))), one_set(256, b"\xc0\0\2\1")))
        second = self.file("b.ipfix", ipfix(2, one_set(256, b"\xc0\0\2\2")))
        out, err = run("-i", "ipfix", first, second, ok=1)
        self.assertEqual(len(records(out)), 1)
        self.assertIn("no template came", err)
        self.assertIn("b.ipfix", err)
        out, _ = run("-i", "ipfix", "--one-session", first, second)
        self.assertEqual([r["fields"]["sourceIPv4Address"] for r in records(out)], ["192.0.2.1", "192.0.2.2"])

    def test_port(self):
        capture = self.file("x.pcap", pcap([V5]))
        self.assertEqual(len(records(run("-p", 2055, capture)[0])), 1)
        self.assertEqual(run("-p", 9995, capture)[0], "")

    def test_settings(self):
        got = records(run("--sampling", "192.0.2.1=512", "-", data=pcap([V5]))[0])[0]
        self.assertEqual(got["sampling"], {"rate": 512, "origin": "configured"})
        table = self.file("my.tsv", b"pen\tid\tname\tabstract_data_type\n64999\t1\tmyName\tstring\n")
        message = ipfix(1, one_set(2, template(256, (1, 3, 64999))), one_set(256, b"abc"))
        self.assertEqual(records(run(message.hex())[0])[0]["fields"], {"e64999id1": "616263"})
        self.assertEqual(records(run("--elements", table, message.hex())[0])[0]["fields"], {"myName": "abc"})
        packets = [V9_TEMPLATE, V9_DATA]
        two = pcap(packets[:1]) + pcap([b"", packets[1]], port=50001)[24 + 16 + 28:]
        self.assertEqual(len(records(run("-", data=two)[0])), 1)
        self.assertEqual(len(records(run("--scope", "port", "-", data=two, ok=1)[0])), 0)
        for quirk in ("uptime-seconds", "uptime-seconds,record-time-broken"):
            run("--quirk", f"192.0.2.1={quirk}", "-", data=pcap([V5]))


class Outputs(unittest.TestCase):
    def test_text(self):
        out, _ = run("-F", "text", "--templates", "-", data=pcap([V9_TEMPLATE, V9_DATA]))
        self.assertIn("template 256 learnt from 192.0.2.1:50000, NetFlow v9, domain 7, sequence 1: 6 fields, 16 octets", out)
        self.assertRegex(out, r"1 +0 +8 +4 +ipv4Address +sourceIPv4Address \(IPV4_SRC_ADDR\)")
        self.assertIn("flow from 192.0.2.1:50000, NetFlow v9, domain 7, sequence 2, template 256, ", out)
        self.assertRegex(out, r"\n  octetDeltaCount +1500 octets\n")
        self.assertRegex(out, r"\n  protocolIdentifier +6 TCP\n")
        self.assertRegex(out, r"\n  tcpControlBits +0x12 SYN ACK\n")
        columns = {line.index(line.split()[1], 2 + len(line.split()[0])) for line in out.splitlines()
                   if line.startswith("  ") and not line.startswith("   ")}
        self.assertEqual(len(columns), 1, "values are not aligned")

    def test_text_is_safe_for_a_terminal(self):
        message = ipfix(1, one_set(2, template(256, (82, 8))), one_set(256, b"\x1b[2J\xc2\x9bab"))
        out, _ = run("-F", "text", message.hex())
        self.assertIn("\\u001b[2J\\u009bab", out)

    def test_templates_as_json(self):
        out, _ = run("--templates", "-", data=pcap([V9_TEMPLATE, V9_TEMPLATE, V9_DATA]))
        got = records(out)
        self.assertEqual([r["kind"] for r in got], ["template", "flow"])  # the repetition is no news
        self.assertEqual(got[0]["event"], "learnt")
        self.assertEqual(got[0]["template"], 256)
        self.assertEqual(got[0]["fields"][0], {"pen": 0, "id": 8, "name": "sourceIPv4Address",
                                               "v9_name": "IPV4_SRC_ADDR", "type": "ipv4Address", "length": 4})

    def test_stats(self):
        out, err = run("--stats", "-", data=pcap([V9_TEMPLATE, V9_DATA, V5]))
        self.assertEqual(len(records(out)), 2)
        total = err[err.index("total\n"):]
        self.assertRegex(total, r"\n  packets +3\n")
        self.assertRegex(total, r"\n  flows +2\n")
        self.assertRegex(total, r"\n  templates_learnt +1\n")
        self.assertIn("exporter 192.0.2.1 port 50000 version 9 domain 7\n", err)
        self.assertIn("3 frames, 3 packets", err)

    def test_python_client_of_ipv6(self):
        out, _ = run("-F", "python", "--from", "[2001:db8::1]:2055", V5.hex())
        (entry,) = json.loads(out).values()
        self.assertEqual(entry["client"], ["2001:db8::1", 2055, 0, 0])

    def test_python_v7_and_what_python_cannot(self):
        v7 = (struct.pack("!HHIIIII", 7, 1, 100000, EXPORT, 5, 42, 0) +
              struct.pack("!IIIHHIIIIHHBBBBHHBBHI", 1, 2, 3, 3, 4, 17, 4711, 90000, 95000, 1024, 443, 5, 27, 6, 16, 64500,
                          64501, 24, 16, 9, 0xC00002FD))
        (entry,) = json.loads(run("-F", "python", v7.hex())[0]).values()
        self.assertEqual(list(entry["flows"][0])[-10:], ["TCP_FLAGS", "PROTO", "TOS", "SRC_AS", "DST_AS", "SRC_MASK",
                                                        "DST_MASK", "FLAGS_1", "FLAGS_2", "ROUTER_SC"])
        self.assertEqual([entry["flows"][0][k] for k in ("FLAGS_1", "FLAGS_2", "ROUTER_SC")], [5, 9, 0xC00002FD])
        fields = [(8, 4), (40001, 4), (225, 4), (136, 1), (243, 2), (147, 8), (5000, 2), (95, 300)]
        packet = v9(1, one_set(0, template(256, *fields)), one_set(256, struct.pack(
            "!IIIBH8s2s300s", 0xC0000201, 0x0A000001, 0x0A000002, 3, 100, b"guest", b"\xab\xcd", b"\1" * 300)))
        (entry,) = json.loads(run("-F", "python", packet.hex())[0]).values()
        flow = entry["flows"][0]
        self.assertEqual(flow["IPV4_SRC_ADDR"], "192.0.2.1")
        self.assertEqual(flow["flowEndReason"], 3)
        self.assertEqual(flow["dot1qVlanId"], 100)
        self.assertEqual(flow["wlanSSID"], "guest")
        self.assertEqual(flow["e0id5000"], "abcd")
        self.assertEqual(flow["APPLICATION_TAG"], "01" * 300)
        self.assertNotIn("UNKNOWN_FIELD_TYPE", flow)
        long = ipfix(1, one_set(2, template(256, (95, 65535), (96, 65535), (3, 4, 29305), (1, 200))), one_set(
            256, b"\x03\1\2\3" + b"\x02hi" + b"\0\0\0\7" + b"\xff" * 200))
        (entry,) = json.loads(run("-F", "python", long.hex())[0]).values()
        self.assertEqual(entry["flows"], [{"applicationId": 0x010203, "applicationName": "hi",
                                           "reverseDeltaFlowCount": 7, "octetDeltaCount": 2**1600 - 1}])

    def test_closed_pipe_is_quiet(self):
        many = pcap([V5] * 20000)
        with subprocess.Popen([WEIR, "decode", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as p:
            p.stdout.close()
            try:
                p.stdin.write(many)
                p.stdin.close()
            except BrokenPipeError:
                pass
            self.assertEqual(p.stderr.read(), b"")
            self.assertEqual(p.wait(), 0)

    def test_full_disk_is_told(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        with open("/dev/full", "wb") as full:
            done = subprocess.run([WEIR, "decode", V5.hex()], stdout=full, stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"cannot write to standard output: No space left on device", done.stderr)


class Wrong(unittest.TestCase):
    def test_rest_is_decoded_after_a_bad_packet(self):
        out, err = run("-p", 2055, "-", data=pcap([V5, V5[:20], V5]), ok=1)
        self.assertEqual(len(records(out)), 2)
        self.assertIn("weir decode: standard input: packet 2 at offset 140: ", err)
        self.assertEqual(len(err.splitlines()), 1, err)

    def test_part_of_a_packet(self):
        bad = v9(1, one_set(0, template(256, (8, 4))), one_set(256, b"\xc0\0\2\1"), struct.pack("!HH", 300, 2))
        out, err = run("-", data=pcap([bad]), ok=1)
        self.assertEqual(len(records(out)), 1)
        self.assertIn("packet 1 at offset 24: ", err)
        self.assertIn("set-bounds", err)

    def test_template_that_never_comes(self):
        out, err = run("-", data=pcap([V9_DATA]), ok=1)
        self.assertEqual(out, "")
        self.assertIn("1 data set of 1 packet could not be decoded", err)
        out, _ = run("-F", "python", "-", data=pcap([V9_DATA]), ok=1)
        (entry,) = json.loads(out).values()
        self.assertEqual(entry["flows"], [])

    def test_files_that_hold_no_packets_are_named(self):
        for data, text in [(b'{"1.5": {}}\n' * 9000, "weir analyze"), (b"{}", "weir analyze"),
                           (b"\xfd7zXZ\0\0", "xz -dc"), (b"\x28\xb5\x2f\xfd\0\0", "zstd -dc")]:
            with self.subTest(text):
                self.assertIn(text, run(data=data, ok=1)[1])
        out, err = run("-p", 1, data=pcap([ipfix(0)]))
        self.assertEqual(out, "")
        self.assertIn("no export packet in 1 frame (without --port", err)

    def test_names_cannot_command_the_terminal(self):
        _, err = run("/\x1b[31m\n\u009bx", ok=1)
        self.assertIn("cannot open /?[31m???x: ", err)
        self.assertEqual(err.count("\n"), 1)

    def test_elements_file_is_named(self):
        with tempfile.NamedTemporaryFile(suffix=".tsv") as f:
            f.write(b"hello\n")
            f.flush()
            self.assertIn(f"{f.name}: line 1: no column", run("--elements", f.name, "-x", "00", ok=1)[1])

    def test_missing_file(self):
        _, err = run("/no/such/file", V5.hex(), ok=1)
        self.assertIn("/no/such/file", err)
        self.assertIn("No such file", err)

    def test_usage(self):
        for args, word in [(["--format", "xml", "-"], "xml"), (["--from", "nobody", "00"], "nobody"),
                           (["--quirk", "192.0.2.1=no-such", "00"], "no-such"),
                           (["--sampling", "192.0.2.1=0", "00"], "192.0.2.1=0"),
                           (["--templates", "-F", "python", "00"], "templates"), (["--no-such"], "no-such")]:
            with self.subTest(args):
                out, err = run(*args, ok=2)
                self.assertEqual(out, "")
                self.assertIn(word, err)

    def test_every_cut_of_a_packet(self):
        whole = ipfix(1, one_set(2, template(256, (8, 4), (82, 65535))), one_set(256, b"\xc0\0\2\1\3abc"))
        for n in range(len(whole)):
            for form in ("json", "python", "text"):
                done = subprocess.run([WEIR, "decode", "-F", form, "-i", "raw", "-"], input=whole[:n],
                                      capture_output=True, check=False)
                self.assertEqual(done.returncode, 1, n)


if __name__ == "__main__":
    unittest.main()
