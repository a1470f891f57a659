#!/usr/bin/env python3
"""weir query --from clickhouse://: the same command lines of an archive and of what was delivered of it into Debian's server (or a
current engine, where Python has chdb) print the same, octet by octet."""
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest

import clickhouse
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
-o null 'src_net = 10.0.0.0/8 or src_net contains "x"'
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

UNAVAILABLE = {  # command line: what it says
    "-b": "-b and -B",
    "-B": "-b and -B",
    "-n 3 -o csv:count": "count",
    "-o null 'count 5'": "count",
    "-s inam": "in_if_name",
    "-A in_if_name": "in_if_name",
    "-O app_name -n 3": "app_name",
    "-o csv:app_name": "app_name",
    "-o null 'app_name = ssh'": "app_name",
    r"-o null 'sampling_source ~ \"a\bc\"'": "regular expression",
}


def path(name):
    return os.path.join(folder.name, name)


def weir(*args, status=0):
    r = subprocess.run([WEIR, *map(str, args)], capture_output=True, text=True, check=False, timeout=DEADLINE_S * 3,
                       env={**os.environ, "TZ": "UTC"})
    if status is not None and r.returncode != status:
        raise AssertionError(f"{args}: exit status {r.returncode}: {r.stdout}{r.stderr}")
    return r


def archives():
    """Name: captures."""
    made = {}
    for form in ["v5", "v9", "ipfix"]:
        weir("gen", "-F", form, "-n", FLOWS, "-e", "3", "--sampling", "100", "-w", path(form + ".pcap"))
        made[form] = [path(form + ".pcap")]
    captures = [os.path.join(d, f) for d, _, names in os.walk(CORPUS) for f in sorted(names)
                if f.endswith((".pcap", ".pcapng")) and os.path.getsize(os.path.join(d, f)) < 1 << 20]
    if captures:
        made["corpus"] = sorted(captures)
    for name, files in made.items():
        for file in files:
            weir("collect", "--read", file, "--archive", path(name), status=None)
        # What options records say of rates and names is not delivered.
        shutil.rmtree(os.path.join(path(name), "options"), ignore_errors=True)
    return list(made)


def setUpModule():
    global folder, ARCHIVES
    folder = tempfile.TemporaryDirectory(prefix="weir-query-clickhouse-")
    ARCHIVES = archives()


def tearDownModule():
    folder.cleanup()


def comparable(text):
    """Without what tells where and how fast."""
    text = re.sub(r", Blocks skipped: .*", "", text)
    text = re.sub(r"^(Completeness|Files|Sys|Server|Groups beyond).*\n", "", text, flags=re.M)
    return re.sub(r'"(records_read|records_skipped|files|row_groups\w*|octets_\w+|elapsed_ns|completeness)":(\d+|\{.*?\}),?', "", text)


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

    def same(self, name, args):
        want = weir("query", "-R", path(name), *args, status=None)
        got = weir("query", "--from", self.server.url(name), *args, status=None)
        if comparable(want.stdout) != comparable(got.stdout) or want.returncode != got.returncode:
            self.fail(f"{name}: {shlex.join(args)}:\n--- archive ({want.returncode})\n{want.stdout[:1500]}{want.stderr[:500]}"
                      f"--- ClickHouse ({got.returncode})\n{got.stdout[:1500]}{got.stderr[:700]}")

    def test_same_answers(self):
        for name in ARCHIVES:
            for line in COMMANDS:
                with self.subTest(archive=name, command=line):
                    self.same(name, shlex.split(line))


@unittest.skipIf(clickhouse.Server.missing, clickhouse.Server.missing)
class Debian(Same, unittest.TestCase):
    engine = clickhouse.Server


if __name__ == "__main__":
    unittest.main()
