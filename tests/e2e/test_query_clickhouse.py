#!/usr/bin/env python3
"""weir query --from clickhouse://: the same command lines of an archive and of what was delivered of it into Debian's server (or a
current engine, where Python has chdb) print the same, octet by octet."""
import http.server
import itertools
import json
import os
import re
import shlex
import signal
import struct
import subprocess
import tempfile
import threading
import unittest
import urllib.parse

import clickhouse
import packets as P
from collector import DEADLINE_S, WEIR

CORPUS = os.environ.get("WEIR_CORPUS", os.path.join(os.path.dirname(__file__), "../../../shared/corpus"))
FLOWS = 3000
folder = None

# Of records, groups and statistics; of any archive.
COMMANDS = """
-o null --summary json
-c 7 -o long
-c 7 -o raw -q
-n 9 -o csv
-n 9 -o csv-long -q
-n 9 -o extended -q
-n 5 -o biline -q
-n 5 -o nsel -q
-n 5 -o nat -q
-q -o csv
-q -o ndjson
-n 20 -o json
-n 20 -o raw
-O bytes -n 9 -q
-O tstart -n 9 -q
-O tend:d -n 9 -q
-O duration -n 9 -q
-O bps -n 9 -q -o extended
-O pps -n 9 -q -o extended
-O bpp -n 9 -q -o extended
-O src_addr -n 30 -q
-O src_addr:d -n 30 -q
-O dst_port:d -n 30 -q
-O src_mask -n 30 -q
-m -n 9 -q
-O obytes -n 9 -q
-s srcip/bytes
-s dstip/packets -n 5
-s ip/flows
-s ip:p/bytes
-s port/bytes
-s port:p/packets
-s srcport:p
-s dstport/bps
-s dstport/pps
-s dstport/bpp
-s proto/bytes
-s proto:p
-s flags -n 0
-s tos -n 0
-s srctos -n 0
-s dsttos -n 0
-s as/bytes
-s srcas -n 0
-s dstas/pps
-s prevas
-s nextas
-s if/packets
-s inif -n 0
-s outif -n 0
-s mask -n 0
-s srcmask -n 0
-s srcnet/bytes -n 0
-s dstnet/bytes -n 0
-s router
-s nhip
-s nhbip
-s vlan -n 0
-s mac -n 0
-s insrcmac -n 0
-s odid
-s dir -n 0
-s event
-s nat
-s natip
-s mpls1
-s mpls2
-s ethertype
-s minttl
-s maxttl
-s record/bytes
-s record/tstart -n 4
-s record/duration -n 4 -o csv
-s srcip/bytes/packets/flows -n 3
-s srcip/bytes:a -n 3
-s srcip -s dstport -n 3
-s srcip/tstart -n 4
-s srcip/tend -n 4
-s srcip/duration -n 4
-s end_reason -n 0
-s direction -n 0
-s app_id -n 0
-s protocol_version -n 0
-s sampling_source -n 0
-s sampler_id -n 0
-s srcip/bytes -n 4 -o csv
-s srcip/bytes -n 4 -o json
-s srcip/bytes -n 4 -o ndjson
-s dstport/flows -n 5 'proto tcp'
-s srcgeo
-b -O bytes -n 9
-b -n 9
-b -O obytes -n 9 -o extended
-b -n 9 -o json
-b -O packets -n 9 -o csv:proto,icmp_type,icmp_code,src_addr,src_port,dst_addr,dst_port,bytes,out_bytes,packets,out_packets,flows,all_bytes
-b -P 'out_bytes > 0' -o biline
-B -O bytes -n 9
-B -n 0 -q
-B -O src_addr -n 20 -o csv:proto,src_addr,src_port,dst_addr,dst_port,icmp_type,icmp_code,src_as,dst_as,in_if,out_if,src_mask
-B -O in_if -n 9
-A srcip,dstport -O bytes -n 9
-A srcip4/24,dstport -O bytes -n 9
-A srcip4/13 -O bytes -n 9
-A srcip6/48 -O bytes -n 9
-A dstip4/9,dstip6/37 -O packets -n 9
-A srcnet,dstnet -n 9
-A srcnet -O bytes -n 9
-A proto -q
-A proto,tcp_flags
-A srcip -O tstart -n 5
-A srcip -O duration -n 5
-A srcip -O flows -n 5 -o csv
-A srcip,dstip -O bps -n 5 -o json
-A proto -P 'bytes > 1k'
-A proto -P 'not bytes > 100k'
-A proto -P 'packets > 100 and bps > 10'
-A srcip -P 'flows > 2 or duration > 1000' -O bytes
-s srcip/bytes -P 'bytes > 1m'
-s ip -P 'not packets < 100'
-a -O bytes -n 9
-a -n 9 -o json
-a -n 9 -o csv
-a -n 9 -o raw
-a -O dst_as -n 9
-s srcip/dst_port -n 5
-s srcip/dst_addr -n 5
-A proto -O src_addr
-A proto -O next_hop
--every 1m
--every 10s -A proto
--every 5m -A srcip -O bytes -n 9
--every 1h -o csv
--every 1ms -n 5
--every 7s -o ndjson -n 5
-o chart --every 10s
-o chart --by bps
-I
-g
-g --every 7s
-I 'proto tcp'
--raw -s srcip/bytes
--raw -O bytes -n 5
--raw -I
-n 5 -o csv:src_addr,dst_addr,bytes,sampling_rate,first,last,received,duration,bps,pps,bpp
-n 5 -o json:src_addr,mpls_labels,exporter,domain,tcp_flags,next_hop
-n 5 -o ndjson:ip_family,src_net,dst_net,all_bytes,out_bytes,n_flows,mpls_label,src_country,src_as_number
-n 0 -q -o 'fmt:%ts %te %td %pr %sap %dap %pkt %byt %fl %flg %tos %bps %pps %bpp %sas %das %in %out %smk %dmk %ra %eng %sn %dn'
-n 5 -q -6 -o long
-n 5 -q -N -o long
-o null 'proto tcp'
-o null 'not proto tcp'
-o null 'src as 0'
-o null 'not src as 0'
-o null 'src_as != 0'
-o null 'not src_as != 0'
-o null 'bytes > 10k'
-o null 'not bytes > 10k'
-o null 'bytes < 1000 and packets > 1'
-o null 'packets = 1 or packets in [2, 5-9, 1000-100000]'
-o null 'port 80 or port 443'
-o null 'port in [53 80 443 1000-2000]'
-o null 'src port > 1024 and dst port < 1024'
-o null 'not src port in [53 80-90]'
-o null 'port != 80'
-o null 'src ip 10.0.0.1'
-o null 'ip in [10.0.0.0/8 192.168.0.0/16]'
-o null 'net 10.0.0.0/8'
-o null 'src net 128.0.0.0/1'
-o null 'net 0.0.0.0/0'
-o null 'net ::/0'
-o null 'not net ::/0'
-o null 'net 2001:db8::/32'
-o null 'net ::ffff:0:0/90'
-o null 'src_addr = 10.1.0.0/17'
-o null 'src_addr in [10.0.0.0/9, fe80::/10]'
-o null 'not src_addr = 10.0.0.0/8'
-o null 'src_addr != 10.0.0.0/8'
-o null 'ipv4'
-o null 'ipv6'
-o null 'not ipv6'
-o null 'flags S'
-o null 'flags SA and not flags F'
-o null 'not flags R'
-o null 'flags = 18'
-o null 'tcp_flags has SA'
-o null 'not tcp_flags has SA'
-o null 'tcp_flags = 0x12'
-o null 'tos 0'
-o null 'tos > 8'
-o null 'duration > 1000'
-o null 'not duration > 1000'
-o null 'duration = 0'
-o null 'bps > 10k'
-o null 'pps > 10'
-o null 'bpp > 500'
-o null 'not bpp > 500'
-o null 'flows > 0'
-o null 'if 1'
-o null 'in if > 2 or out if in [1-3]'
-o null 'in and out if > 0'
-o null 'as > 100'
-o null 'mask 24'
-o null 'vlan > 0'
-o null 'mac 00:00:5e:00:53:01'
-o null 'icmp type 8'
-o null 'icmp type 8 or icmp code 0'
-o null 'next ip 10.0.0.1 or router ip 127.0.1.1'
-o null 'exporter ip 127.0.0.0/8'
-o null 'mpls label1 > 16'
-o null 'mpls any > 16'
-o null 'mpls eos 1'
-o null 'mpls_labels in [16-1048575]'
-o null 'not mpls_labels in [16-1048575]'
-o null 'mpls_labels present'
-o null 'src_as present'
-o null 'not src_as present'
-o null 'src_mac present and not vlan present'
-o null 'first seen > 2000-01-01'
-o null 'not last seen < 2020-01-01'
-o null 'first > 2023-11-14T22:12:30Z'
-o null 'received < 2100-01-01 and first in [2000-01-01..2100-01-01]'
-o null 'src_port = field dst_port'
-o null 'src_port >= field dst_port'
-o null 'not src_port <= field dst_port'
-o null 'src_addr = field dst_addr'
-o null 'bytes >= field packets'
-o null 'src_mac = "00:00:5e:00:53:01" or src_mac contains "5e"'
-o null 'sampling_source ~ "^o|^h"'
-o null 'sampling_source !~ "^o|^h"'
-o null 'not sampling_source ~ "[[:alpha:]]{3,}n[st]?"'
-o null 'sampling_source in ["header", options, "x'"'"'y\\\\"]'
-o null 'sampling_source = "HEADER" nocase'
-o null 'sampling_source contains "EAD" nocase'
-o null 'not sampling_source contains ""'
-o null 'sampling_rate > 1.5'
-o null 'sampling_rate = 100 or sampling_rate in [2-50]'
-o null 'protocol_version in [5, 9, 10]'
-o null 'src_net = 10.0.0.0/8'
-o null 'src_net in [10.1.2.0/24, "2001:db8::/32", 10.0.0.0/08, x]'
-o null 'ip_family = 4'
-o null 'not ip_family = 4'
-o null 'all_bytes > 5000 and out_bytes = 0'
-o null 'n_flows = 1'
-o null 'fwdstat drop or not fwdstat forw'
-o null 'flowdir ingress or flowdir egress'
-o null 'end_reason = idle or not end_reason present'
-o null 'nat event add or asa event denied'
-o null 'observation domain id 0 or engine id 1'
-o null 'app_id = 0x0d000001 or app_id = 13..1'
-o null 'any'
-o null 'not any'
-o null 'geo DE'
-o null '(src port 80 or not (dst port 443 and not (proto udp or not flags A))) and not bytes = 7'
-c 10 -s srcip/bytes 'proto tcp'
-c 10 -o null 'proto udp'
-n 3 -c 10 -O bytes -q
-t 2023-11-14T22:12:30Z-2023-11-14T22:13:00Z -o null
-t 2023-11-14T22:13:00Z- -s proto/bytes
-t -2023-11-14T22:12:30Z -n 4 -o line
""".strip().splitlines()

# Of "told": what exporters say in options records alone.
NAMED = """
-s inam
-s onam/bytes -n 0
-s ivrfnam -s evrfnam -n 0
-s app_name/packets -n 0
-A in_if_name
-A in_if_name,app_name -O bytes
-A srcip -O in_if_name -n 20
-A exporter -o csv:exporter,in_if_name,vrf_out_name,bytes
-O app_name -n 30 -q
-O out_if_name:d -n 30 -q
-q -o csv:exporter,in_if_name,out_if_name,vrf_in_name,vrf_out_name,app_name,sampling_rate,sampling_source,bytes
-q -o ndjson
-n 50 -o json
-n 50 -o raw
-n 50 -q -o 'fmt:%inam %onam %ivrfnam %evrfnam %nbar %byt %bps'
-o null 'app_name = ssh'
-o null 'not app_name = ssh'
-o null 'in_if_name ~ "^up"'
-o null 'in_if_name = "it'"'"'s é" or out_if_name contains "UP" nocase'
-o null 'in_if_name present and not vrf_in_name present'
-o null 'in_if_name = field out_if_name or vrf_in_name in [red, green]'
-A sampling_rate,sampling_source,exporter -O bytes
-A sampling_rate --raw
-o null 'sampling_rate present'
-o null 'sampling_rate = 1'
-o null 'not sampling_rate > 500'
-o null --summary json
-o null --raw --summary json
-n 5 -o json:bytes,sampling_rate --raw --summary json
-s srcip/bytes -n 5
-b -O bytes -n 9 -o csv:src_addr,dst_addr,in_if_name,out_if_name,bytes,out_bytes
-B -O bytes -n 9 -o csv:src_addr,dst_addr,in_if_name,out_if_name,bytes,out_bytes
--every 10s -A app_name
-P 'bytes > 1m' -A vrf_in_name
""".strip().splitlines()

# Of captures of all kinds of exporters: extra columns, whose types a table does not tell; minutes that were stored years late.
NOT_OF_CORPUS = {"-q -o ndjson", "-t -2023-11-14T22:12:30Z -n 4 -o line"}

UNAVAILABLE = {  # command line: what it says
    "-n 3 -o csv:count": "count",
    "-o null 'count 5'": "count",
    "-o null 'src_net contains 1'": "src_net",
    "-o null 'src_addr contains 1'": "src_addr",
    r"""-o null 'sampling_source ~ "a\bc"'""": "regular expression",
}


def path(name):
    return os.path.join(folder.name, name)


def weir(*args, status=0):
    r = subprocess.run([WEIR, *map(str, args)], capture_output=True, text=True, errors="replace", check=False, timeout=DEADLINE_S * 3,
                       env={**os.environ, "TZ": "UTC"})
    if status is not None and r.returncode != status:
        raise AssertionError(f"{args}: exit status {r.returncode}: {r.stdout}{r.stderr}")
    return r


def records(number, form, rows):
    body = b"".join(struct.pack(form, *r) for r in rows)
    return struct.pack("!HH", number, 4 + len(body)) + body


def told():
    """Captures of exporters whose options records come late: flows before any of them; what they say, flows, what they say now, and flows.
    One of them samples, one says that it does not, one says nothing."""
    fields = [(8, 4), (12, 4), (4, 1), (10, 4), (14, 4), (234, 4), (235, 4), (95, 4), (1, 8), (2, 8), (152, 8), (153, 8)]
    options = [(257, (10, 4), (82, 16)), (258, (234, 4), (236, 16)), (259, (95, 4), (96, 16)), (260, (149, 4), (34, 4))]
    templates = [P.template_set(2, 256, fields)] + [struct.pack("!HHHHHHHHH", 3, 18, number, 2, 1, *scope, *what) for number, scope, what in options]
    exporters = {"192.0.2.9": [(b"eth1", 1000), (b"uplink", 500)], "192.0.2.10": [(b"eth1", 1), (b"up", 1)], "192.0.2.11": []}
    files, seconds = [], itertools.count(1_700_000_000)

    def say(exporter, sequence, *sets):
        payload = P.ipfix(*sets, sequence=sequence)
        return next(seconds) * 1_000_000, P.ethernet_udp(exporter, 9999, "192.0.2.100", 2055, payload)

    def flows(k):
        """40 from 10.0.k.i."""
        return records(256, "!IIBIIIIIQQQQ", [
            (0x0a000000 + 256 * k + i, 0xc0000200 + i % 5, 6 + 11 * (i % 2), 1 + i % 4, 1 + i % 5, i % 3, i % 4, 0x0d000001 + i % 3, 64 * (i + 1), i + 1,
             1_700_000_000_000 + 1000 * i, 1_700_000_000_000 + 1500 * i) for i in range(40)])

    def what(interface, rate):
        """Seven names and a rate."""
        return [records(257, "!I16s", [(1, interface), (2, "it's é".encode()), (3, b"a b/c")]), records(258, "!I16s", [(1, b"red"), (2, b"blue")]),
                records(259, "!I16s", [(0x0d000001, b"ssh"), (0x0d000002, b"web")]), records(260, "!II", [(9, rate)])]

    frames = [f for e in exporters for f in (say(e, 0, *templates), say(e, 0, flows(0)))]
    files.append(frames)
    frames = [say(e, 40, *templates) for e in exporters]
    for e, said in exporters.items():
        n = 40
        for k in (1, 2):
            if said:
                frames.append(say(e, n, *what(*said[k - 1])))
                n += 8
            frames.append(say(e, n, flows(k)))
            n += 40
    files.append(frames)
    for name, frames in zip("ab", files):
        with open(path(f"told-{name}.pcap"), "wb") as f:
            f.write(P.pcap(frames))
    return [path("told-a.pcap"), path("told-b.pcap")]


def archives():
    """Name: captures."""
    made = {}
    for form in ["v5", "v9", "ipfix"]:
        weir("gen", "-F", form, "-n", FLOWS, "-e", "3", "--sampling", "100", "-w", path(form + ".pcap"))
        made[form] = [path(form + ".pcap")]
    made["told"] = told()
    captures = [os.path.join(d, f) for d, _, names in os.walk(CORPUS) for f in sorted(names)
                if f.endswith((".pcap", ".pcapng")) and os.path.getsize(os.path.join(d, f)) < 1 << 20]
    if captures:
        made["corpus"] = sorted(captures)
    for name, files in made.items():
        for file in files:
            weir("collect", "--read", file, "--archive", path(name), status=None)
    return list(made)


def setUpModule():
    global folder, ARCHIVES
    folder = tempfile.TemporaryDirectory(prefix="weir-query-clickhouse-")
    ARCHIVES = archives()


def tearDownModule():
    folder.cleanup()


def comparable(text, args=()):
    """Without what tells where and how fast."""
    text = re.sub(r", Blocks skipped: .*", "", text)
    text = re.sub(r"^Total flows processed: \d+", "", text, flags=re.M) if "-c" in args else text
    # Extra columns of octets are texts there.
    text = re.sub(r"^.*dataLinkFrameSection.*$", "", text, flags=re.M)
    text = re.sub(r"^(Files|Sys|Server|Groups beyond).*\n", "", text, flags=re.M)
    return re.sub(r'"(records_read|records_skipped|files|row_groups\w*|octets_\w+|elapsed_ns)":\d+,?|,"server":"[^"]*"', "", text)


class Same:
    engine = None

    @classmethod
    def setUpClass(cls):
        cls.server = cls.engine()
        try:
            cls.server.start()
            for name in ARCHIVES:
                weir("ship", "-a", path(name), "--once", "--name", cls.engine.__name__, "--create", cls.server.url(name))
        except BaseException:
            cls.server.stop()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def ask(self, name, *args, status=0, more=""):
        return weir("query", "--from", self.server.url(name, more), *args, status=status)

    def same(self, name, args):
        want = weir("query", "-R", path(name), *args, status=None)
        got = self.ask(name, *args, status=None)
        if (comparable(want.stdout, args), comparable(want.stderr), want.returncode) != \
                (comparable(got.stdout, args), comparable(got.stderr), got.returncode):
            self.fail(f"{name}: {shlex.join(args)}:\n--- archive ({want.returncode})\n{want.stdout[:1500]}{want.stderr[:500]}"
                      f"--- ClickHouse ({got.returncode})\n{got.stdout[:1500]}{got.stderr[:700]}")

    def test_same_answers(self):
        """Each of one archive; with WEIR_EVERY_LINE set, of all."""
        for i, name in enumerate(ARCHIVES):
            for k, line in enumerate(COMMANDS):
                if name == "corpus" and line in NOT_OF_CORPUS:
                    continue
                if os.environ.get("WEIR_EVERY_LINE") or k % len(ARCHIVES) == i:
                    with self.subTest(archive=name, command=line):
                        self.same(name, shlex.split(line))

    def test_names_and_rates_of_options(self):
        """What was known of a row when it was delivered stands in it."""
        for line in NAMED:
            with self.subTest(command=line):
                self.same("told", shlex.split(line))

    def test_options_that_come_late(self):
        """Rows that were delivered before are as they were sent, where an archive has what is known now; all others are the same."""
        archive, url = path(f"late-{self.engine.__name__}"), self.server.url("late")
        for capture in (path("told-a.pcap"), path("told-b.pcap")):
            weir("collect", "--read", capture, "--archive", archive)
            weir("ship", "-a", archive, "--once", "--name", "late", "--create", url)
        of_options = ["in_if_name", "out_if_name", "vrf_in_name", "vrf_out_name", "app_name", "sampling_rate"]
        show = "ndjson:" + ",".join(["exporter", "src_addr", "bytes", "first", *of_options])
        want, got = (sorted((json.loads(line) for line in weir("query", *of, "-q", "-o", show).stdout.splitlines()),
                            key=lambda r: (r["exporter"], r["src_addr"])) for of in (("-R", archive), ("--from", url)))
        self.assertEqual((len(want), len(got)), (360, 360))
        late = [(w, g) for w, g in zip(want, got) if w != g]
        self.assertEqual(len(late), 80)
        for w, g in late:
            self.assertTrue(g["src_addr"].startswith("10.0.0."), g)
            self.assertEqual([g[k] for k in of_options], [None] * 6)
            self.assertEqual(w["sampling_rate"], {"192.0.2.9": 500, "192.0.2.10": 1}[w["exporter"]])
            self.assertEqual(w["bytes"], g["bytes"] * w["sampling_rate"])
        self.assertEqual({w["in_if_name"] for w, _ in late}, {"uplink", "up", "it's é", "a b/c", None})
        unknown = [re.search(r"(\d+) flows of unknown rate", weir("query", *of, "-o", "null").stdout)[1] for of in (("-R", archive), ("--from", url))]
        self.assertEqual(unknown, ["120", "200"])

    def test_bounds_of_windows(self):
        """To the microsecond, by a window and by a filter."""
        for name in ("v9", "told"):
            rows = weir("query", "-R", path(name), "-q", "-O", "tstart", "-o", "ndjson:first,last").stdout.splitlines()
            for text in json.loads(rows[len(rows) // 3]).values():
                at, us = text[:20], int(text[20:26])
                near = [f"{at}{k:06}Z" for k in (us - 1, us, us + 1) if 0 <= k < 10**6]
                for t in near:
                    for args in (["-t", f"{t}-"], ["-t", f"-{t}"], ["-t", f"{t}-{t}"], [f"first >= {t}"], [f"not last < {t}"],
                                 [f"first in [{near[0]}..{t}]"], [f"first > {t} or last = {t}"]):
                        self.same(name, ["-q", "-A", "proto", "-o", "csv:proto,n_flows", *args])

    def test_what_is_not_available(self):
        for line, why in UNAVAILABLE.items():
            with self.subTest(command=line):
                r = self.ask("v9", *shlex.split(line), status=2)
                self.assertRegex(r.stderr, "not available with --from: .*" + re.escape(why))
                self.assertEqual(r.stdout, "")

    def test_explain(self):
        """Prints what is asked, and that is a statement which the server takes; nothing else is printed."""
        for args in (["-s", "srcip/bytes"], ["-c", "5"], ["-A", "srcip4/24", "-P", "bytes > 1"], ["-I"], ["-b"]):
            sql = self.ask("v9", "--explain", *args).stdout
            statements = [s for s in sql.split(";\n") if s.strip()]
            self.assertGreaterEqual(len(statements), 1)
            for s in statements:
                self.assertTrue(s.startswith("SELECT toUInt8(1)"), s)
                self.server.ask(s)
        r = weir("query", "-R", path("v9"), "--explain", status=2)
        self.assertIn("--from", r.stderr)

    def test_parquet(self):
        """Results as files, with the columns' types."""
        for args in (["-n", "50"], ["-s", "srcip/bytes"], ["-A", "proto,dstport"]):
            files = [path(f"{k}.parquet") for k in "ab"]
            weir("query", "-R", path("v9"), *args, "-w", files[0])
            self.ask("v9", *args, "-w", files[1])
            if args[0] == "-n":
                got = [weir("query", "-r", f, "-o", "ndjson", "-q").stdout for f in files]
                self.assertEqual(*got)
            self.assertLess(100, os.path.getsize(files[1]))

    def test_nothing_of_a_users_becomes_sql(self):
        """Texts and names with all that could end them: the answer is that of the archive, and the table stays."""
        for evil in ["'", "\\", "\\'", "') OR 1 = 1 --", "'; DROP TABLE v9.flows; --", "`", "{x:String}", "a\tb\nc"]:
            quote = '"' if '"' not in evil else "'"
            for line in (f"sampling_source = {quote}{evil}{quote}", f"sampling_source contains {quote}{evil}{quote}",
                         f"not sampling_source in [{quote}{evil}{quote}, x]"):
                self.same("v9", ["-o", "null", line])
            r = self.ask("v9", "-s", f'"{evil}"', status=2)
            self.assertRegex(r.stderr, "is no field|is none of|cannot|wrong|unknown|not")
            r = weir("query", "--from", self.server.url("v9", f"?table={quoted(evil)}"), "-o", "null", status=1)
            self.assertIn("has no table", r.stderr)
        self.assertTrue(self.server.exists("v9", "flows"))

    def test_columns_of_exporters(self):
        """Names that elements have, and whatever a table has besides."""
        self.server.ask("CREATE TABLE IF NOT EXISTS v5.more AS v5.flows ENGINE = MergeTree ORDER BY tuple()"
                        if self.engine is not clickhouse.Server else
                        "CREATE TABLE IF NOT EXISTS v5.more AS v5.flows ENGINE = Memory")
        self.server.ask("INSERT INTO v5.more SELECT * FROM v5.flows LIMIT 10")
        if self.engine is clickhouse.Server:  # Memory has no ALTER there
            return
        self.server.ask(r"ALTER TABLE v5.more ADD COLUMN `odd\`name` String DEFAULT 'x'")
        got = self.ask("v5", "-s", '"odd`name"', "-o", "csv", more="?table=more")
        self.assertIn("x", got.stdout)

    def test_completeness(self):
        """What the server lost is said, with the minutes."""
        line = next(k for k in self.ask("v9", "-o", "null").stdout.splitlines() if k.startswith("Completeness: "))
        want = next(k for k in weir("query", "-R", path("v9"), "-o", "null").stdout.splitlines() if k.startswith("Completeness: "))
        self.assertEqual(line, want)
        self.server.ask("CREATE TABLE IF NOT EXISTS v9.less AS v9.flows ENGINE = Memory")
        self.server.ask("INSERT INTO v9.less SELECT * FROM v9.flows WHERE row % 10 != 0")
        got = self.ask("v9", "-o", "null", more="?table=less").stdout
        self.assertRegex(got, "Completeness: .*lost 300 flows .*counted, but not in the archive")
        got = self.ask("v9", "-o", "null", more="?ledger=none").stdout
        self.assertIn("Completeness: not known: ", got)
        got = self.ask("v9", "-o", "null", more="?ledger=nothing").stdout
        self.assertRegex(got, "Completeness: not known: .*nothing")

    def test_extra_columns_are_found(self):
        r = self.ask("v9", "-s", "foo", status=2)
        self.assertIn("'foo' is no field", r.stderr)

    def test_wrong_usage(self):
        for args in (["-R", path("v9")], ["-r", path("v9")], ["-G", "/none"]):
            r = self.ask("v9", *args, status=2)
            self.assertIn("--from", r.stderr)

    def test_what_goes_wrong(self):
        for url, why in ((self.server.url("nowhere"), "has no table nowhere.flows"),
                         ("clickhouse://127.0.0.1:1/net", "no connection"),
                         ("http://127.0.0.1/net", "clickhouse://host"),
                         (self.server.url("v9", "?no=thing"), "no setting")):
            r = weir("query", "--from", url, "-o", "null", status=1)
            self.assertIn(why, r.stderr)
            self.assertEqual(r.stdout, "")


def quoted(text):
    return urllib.parse.quote(text, safe="")


@unittest.skipIf(clickhouse.Server.missing, clickhouse.Server.missing)
class Debian(Same, unittest.TestCase):
    engine = clickhouse.Server

    def test_users(self):
        """Who may only read asks as well; a wrong password and a lack of memory are said."""
        self.same_as("reader:x@", 0)
        r = weir("query", "--from", self.server.url("v9", user="writer:wrong@"), "-o", "null", status=1)
        self.assertIn("are user and password right?", r.stderr)
        r = weir("query", "--from", self.server.url("v9", user="small:x@"), "-s", "record/bytes", status=1)
        self.assertIn("Memory limit", r.stderr)

    def same_as(self, user, status):
        want = weir("query", "-R", path("v9"), "-s", "srcip/bytes")
        got = weir("query", "--from", self.server.url("v9", user=user), "-s", "srcip/bytes", status=status)
        self.assertEqual(comparable(want.stdout), comparable(got.stdout))

    def test_interrupted(self):
        """While the server does not answer."""
        p = subprocess.Popen([WEIR, "query", "--from", self.server.url("v9"), "-s", "srcip"], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        self.server.pause()
        try:
            p.send_signal(signal.SIGINT)
            self.assertIn(p.wait(DEADLINE_S), (130, -signal.SIGINT))
        finally:
            self.server.go_on()
            p.stdout.close()
            p.stderr.close()


@unittest.skipIf(clickhouse.Current.missing, clickhouse.Current.missing)
@unittest.skipUnless(os.environ.get("WEIR_EVERY_LINE"), "minutes of a current engine: with WEIR_EVERY_LINE=1")
class Current(Same, unittest.TestCase):
    engine = clickhouse.Current

    def test_indexes_of_times(self):
        """A window is looked for in the indexes of first and last, and nothing is lost by it; a table without them answers the same."""
        window = ["-t", "2023-11-14T22:13:20Z-2023-11-14T22:13:22Z"]
        for name in ARCHIVES if os.environ.get("WEIR_EVERY_LINE") else ["v9"]:
            sql = self.ask(name, "--explain", "-q", *window, "-s", "proto").stdout.split(";\n")
            plan = self.server.ask("EXPLAIN indexes = 1 " + next(s for s in sql[::-1] if s.strip()))
            self.assertIn("first_minmax", plan)
            self.assertIn("last_minmax", plan)
            for table, more in (("small", ""), ("bare", "DROP INDEX first_minmax, DROP INDEX last_minmax")):
                self.server.ask(f"CREATE TABLE {name}.{table} AS {name}.flows ENGINE = MergeTree ORDER BY "
                                "(toStartOfFiveMinutes(received), exporter, received) SETTINGS index_granularity = 16")
                if more:
                    self.server.ask(f"ALTER TABLE {name}.{table} {more}")
                self.server.ask(f"INSERT INTO {name}.{table} SELECT * FROM {name}.flows")
                for args in (window, ["-t", "2023-11-14T22:13:00.5Z-2023-11-14T22:13:20.000001Z"], ["-t", "-2023-11-14T22:12:31Z"],
                             ["-t", "1970-01-01-2200-01-01"], ["--last", "1h"], ["first > 2023-11-14T22:13:10Z"],
                             ["not (last > 2023-11-14T22:13:10Z and received > 1970-01-01)"], ["received >= 1970-01-01T00:00:00Z and received < 2200-01-01"],
                             ["received > 2000-01-01"], ["first in [2000-01-01..2023-11-14T22:13:01Z]"]):
                    args = ["-q", "-A", "proto", "-o", "csv:proto,n_flows,bytes,first,last", *args]
                    want, got = weir("query", "-R", path(name), *args), self.ask(name, *args, more=f"?table={table}")
                    self.assertEqual(got.stdout, want.stdout, f"{name}.{table}: {args}")


def texts(*values):
    return b"".join(bytes([len(v)]) + v for v in values)


class Fake(http.server.BaseHTTPRequestHandler):
    """A server that answers what the test says: to the questions of each start, and to those of a query."""
    protocol_version = "HTTP/1.1"
    COLUMNS = (texts(b"src_port", b"Nullable(UInt16)", b"", b"bytes", b"Nullable(UInt64)", b"", b"mpls_labels", b"Array(UInt32)", b"",
                     b"http_host", b"Nullable(String)", b"", b"src_addr", b"Nullable(FixedString(16))", b""))
    said = {}     # what a statement has in it: octets, or a function that gets the handler
    asked = []

    def do_POST(self):
        sql = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append(sql)
        usual = {b"version()": texts(b"18.16.1"), b"system.columns": self.COLUMNS, b"system.tables": texts(b"MergeTree"),
                 b"system.settings": b"readonly\t0\n"}
        mark = next((k for k in usual if k in sql), b"")
        out = self.said.get(mark, usual.get(mark, b""))
        if callable(out):
            self.close_connection = True
            try:
                out(self)
            except OSError:
                pass  # it hangs up on what is too much
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)

    def log_message(self, *args):
        pass


class FakeServer(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        pass  # a client that hung up


def replies(status, *chunks, headers=(), length=None, forever=None):
    """An answer: chunks, then `forever` again and again, or until length says."""
    def answer(handler):
        handler.send_response(status)
        for name, value in headers:
            handler.send_header(name, value)
        if length is not None:
            handler.send_header("Content-Length", str(length))
        handler.send_header("Connection", "close")
        handler.end_headers()
        for c in chunks:
            handler.wfile.write(c)
        while forever:
            handler.wfile.write(forever)
        handler.wfile.flush()
    return answer


class Answers(unittest.TestCase):
    """What a server may answer that is no row."""
    PASSWORD = "s3cr3t"
    MOST_KB = 400_000 if b"__asan_init" not in open(WEIR, "rb").read() else 2_000_000

    @classmethod
    def setUpClass(cls):
        cls.server = FakeServer(("127.0.0.1", 0), Fake)
        cls.thread = threading.Thread(target=cls.server.serve_forever)
        cls.thread.start()

    @classmethod
    def tearDownClass(cls):
        cls.server.shutdown()
        cls.thread.join()
        cls.server.server_close()

    def setUp(self):
        Fake.said = {}
        Fake.asked = []

    def url(self, more=""):
        return f"clickhouse://me:{self.PASSWORD}@127.0.0.1:{self.server.server_port}/net{more}"

    def ask(self, *args, more="", status=0):
        """With what it printed and how much memory it took; never the password."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            p = subprocess.Popen([WEIR, "query", "--from", self.url(more), *args], stdout=out, stderr=err)
            _, code, used = os.wait4(p.pid, 0)
            p.returncode = os.waitstatus_to_exitcode(code)
            said = []
            for f in (out, err):
                f.seek(0)
                said.append(f.read().decode("utf-8", "replace"))
        self.assertEqual(p.returncode, status, said[1][:500])
        self.assertNotIn(self.PASSWORD, said[0] + said[1])
        self.assertLess(used.ru_maxrss, self.MOST_KB)
        return said

    def refused(self, why, *args, more="", status=1):
        out, err = self.ask(*(args or ["-o", "csv:src_port"]), more=more, status=status)
        self.assertRegex(err, why)
        self.assertNotRegex(err, "[\x00-\x08\x0b-\x1f\x7f]")
        return out

    ROW = b"\1" + b"\0" + (80).to_bytes(8, "little")

    def test_rows(self):
        for n in (0, 1, 3, 4095, 4096, 4097, 9000):
            Fake.said = {b"": self.ROW * n}
            out, _ = self.ask("-o", "csv:src_port")
            self.assertEqual(out.splitlines(), ["src_port"] + ["80"] * n)

    def test_answers_that_break_off(self):
        for rows, why in ((self.ROW + self.ROW[:5], "in the middle of a row"),
                          (self.ROW + b"Code: 241, e.displayText() = DB::Exception: Memory limit exceeded", "Memory limit"),
                          (self.ROW + b"\r\n__exception__\r\nabc\r\nCode: 241. DB::Exception: Memory limit exceeded", "Memory limit"),
                          (self.ROW + b"\xff" * 100, "status 500"), (b"<html>" + b"x" * 100000, "clickhouse"),
                          (b"\0" * 7, "clickhouse"), (b"\x1b[31m\a", "clickhouse"), (b"\1", "in the middle of a row"),
                          (replies(200, self.ROW * 5, length=1000), "clickhouse: the connection to"),
                          (replies(200, length=1000), "clickhouse: the connection to"),
                          (lambda handler: None, "clickhouse: the connection to")):
            Fake.said = {b"": rows}
            self.refused(why)

    def test_answers_without_an_end(self):
        """Neither memory nor time without bounds."""
        for rows, args, why in ((replies(200, forever=self.ROW * 1000), ["-o", "csv:src_port", "-n", "5"], "more rows than were asked for"),
                                (replies(200, forever=b"x" * 8192), [], "cannot be read"),
                                (replies(200, b"\1\0" + b"\xff" * 7 + b"\x7f", forever=b"y" * 65536), ["-o", "csv:http_host"], "cannot be read"),
                                (replies(200, b"\1" + b"\xff" * 7 + b"\x7f", forever=b"\0" * 65536), ["-o", "csv:mpls_labels"], "cannot be read"),
                                (replies(200, b"\1\0" + b"\xff" * 12, forever=b"\xff" * 65536), ["-o", "csv:http_host"], "cannot be read")):
            Fake.said = {b"": rows}
            self.refused(why, *args)

    def test_much_of_everything(self):
        """Long texts and lists, which go on as they come."""
        host = b"h" * 200_000
        wide = b"\1\0" + bytes([0xc0, 0x9a, 0x0c]) + host
        Fake.said = {b"": wide * 300}
        out, _ = self.ask("-o", "csv:http_host")
        self.assertEqual(len(out.splitlines()), 301)
        items = 100_000
        labels = b"\1" + bytes([0xa0, 0x8d, 0x06]) + (16).to_bytes(8, "little") * items
        Fake.said = {b"": labels * 60}
        out, _ = self.ask("-o", "csv:mpls_labels")
        self.assertEqual(len(out.splitlines()), 61)

    def test_other_kinds_of_answers(self):
        for status, headers, why in ((302, [("Location", "http://127.0.0.1:1/")], "HTTP status 302"), (401, [], "user and password"),
                                     (404, [], "HTTP status 404"), (503, [], "HTTP status 503"), (204, [], "HTTP status 204"),
                                     (206, [], "HTTP status 206")):
            for mark in (b"version()", b"system.columns", b"system.settings", b""):
                Fake.said = {mark: replies(status, headers=headers, length=0)}
                self.refused(why)

    def test_a_redirect_is_not_followed(self):
        Fake.said = {b"": replies(307, headers=[("Location", f"http://127.0.0.1:{self.server.server_port}/")], length=0)}
        self.refused("HTTP status 307")
        self.assertEqual(len(Fake.asked), 5)

    def test_what_is_no_clickhouse(self):
        """Of the questions at the start."""
        many = b"".join(texts(b"c%d" % n, b"String", b"") for n in range(70_000))
        for mark, out, why in ((b"version()", b"", "not ClickHouse"), (b"version()", b"\xff" * 50, "not ClickHouse"),
                               (b"version()", texts(b"nginx"), "no version"), (b"version()", b"<html>", "not ClickHouse|no version"),
                               (b"system.columns", b"", "has no table"), (b"system.columns", b"\x09src", "cannot be read"),
                               (b"system.columns", b"\xff" * 9, "cannot be read"), (b"system.columns", many, "cannot be read"),
                               (b"version()", replies(200, forever=b"x" * 65536), "longer than"),
                               (b"system.columns", replies(200, forever=b"x" * 65536), "longer than"),
                               (b"system.settings", replies(200, forever=b"x" * 65536), "too long")):
            Fake.said = {mark: out}
            self.refused(why)
        Fake.said = {b"system.settings": b"\0\xff\t\n\n", b"system.tables": b"\xff\xff"}
        self.ask("-o", "csv:src_port")

    def test_types_that_are_others(self):
        """A table of somebody's own: what cannot be worked with is said."""
        Fake.said = {b"system.columns": texts(b"src_port", b"String", b"", b"bytes", b"Decimal(18, 2)", b"", b"src_addr", b"String", b"",
                                              b"first", b"String", b"", b"x", b"Tuple(UInt8, String)", b"")}
        self.refused("not available with --from: bytes: .*type that cannot be used", "-o", "csv:bytes", status=2)
        self.refused("not available with --from: src_addr: .*neither", "-o", "csv:src_addr", status=2)
        self.refused("not available with --from: src_port: .*text", "-o", "csv:src_port", "src_port = 5", status=2)
        self.refused("'x' is no field", "x = 5", "-o", "csv:src_port", status=2)

    def test_patience(self):
        """No longer than timeout= says; without it until somebody interrupts, who need not wait."""
        event = threading.Event()
        Fake.said = {b"": lambda handler: event.wait(DEADLINE_S)}
        try:
            self.refused("does not answer in time", more="?timeout=1")
            for held in (lambda handler: event.wait(DEADLINE_S),
                         lambda handler: (replies(200, self.ROW * 5000, length=10**9)(handler), event.wait(DEADLINE_S))):
                Fake.said = {b"": held}
                Fake.asked = []
                p = subprocess.Popen([WEIR, "query", "--from", self.url(), "-o", "csv:src_port"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                while not any(b"FROM `net`" in sql for sql in Fake.asked):
                    self.assertIsNone(p.poll())
                    threading.Event().wait(0.01)
                p.send_signal(signal.SIGINT)
                _, err = p.communicate(timeout=DEADLINE_S)
                self.assertEqual((p.returncode, err), (130, b""))
        finally:
            event.set()

    def test_addresses_that_are_none(self):
        """Nothing of them becomes a part of a request, and the password is not told."""
        for url, why in ((f"http://me:{self.PASSWORD}@127.0.0.1/net", "clickhouse://host"), (f"me:{self.PASSWORD}@127.0.0.1", "clickhouse://host"),
                         (f"clickhouse:/me:{self.PASSWORD}@127.0.0.1/net", "no address of the form"),
                         (f"clickhouse://me:{self.PASSWORD}@[127.0.0.1/net", "cannot be read"),
                         (f"clickhouse://me:{self.PASSWORD}@127.0.0.1%2fx/net", "cannot be read"),
                         (f"clickhouse://me:{self.PASSWORD}@127.0.0.1:80%0d%0aX/net", "cannot be read"),
                         (f"clickhouse://me:{self.PASSWORD}@127.0.0.1%0d%0aHost:x/net", "cannot be read"),
                         (f"clickhouse://me:{self.PASSWORD}%0d%0aX-Y:%20z@127.0.0.1/net", "control character"),
                         (f"clickhouse://me%0a:{self.PASSWORD}@127.0.0.1/net", "control character"),
                         (f"clickhouse://127.0.0.1/net?password={self.PASSWORD}&x", "name=value"),
                         (f"clickhouse://127.0.0.1/net?password={self.PASSWORD}&password_file=/none", "not both"),
                         ("clickhouse://127.0.0.1/net?timeout=0", "timeout=0 is not")):
            with self.subTest(url=url):
                r = weir("query", "--from", url, "-o", "null", status=1)
                self.assertIn(why, r.stderr)
                self.assertNotIn(self.PASSWORD, r.stderr + r.stdout)

    def test_explain_has_no_password(self):
        out, _ = self.ask("--explain", "-s", "srcport/bytes", "src port 80")
        self.assertIn("GROUP BY", out)
        self.assertFalse([sql for sql in Fake.asked if b"FROM `net`" in sql])

    def test_who_may_not_set_readonly(self):
        """A user with readonly=1 may set nothing, one with 2 all but that."""
        targets = []

        class Watching(Fake):
            def do_POST(handler):  # pylint: disable=no-self-argument
                targets.append(handler.path)
                super().do_POST()

        self.server.RequestHandlerClass = Watching
        try:
            for value, want in ((b"0", "readonly=2&"), (b"1", None), (b"2", "")):
                Fake.said = {b"system.settings": b"readonly\t" + value + b"\n"}
                self.ask("-o", "csv:src_port")
                self.assertEqual("readonly" in targets[-1], want == "readonly=2&", targets[-1])
                self.assertEqual("max_query_size" in targets[-1], want is not None)
        finally:
            self.server.RequestHandlerClass = Fake


if __name__ == "__main__":
    unittest.main()
