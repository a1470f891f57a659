#!/usr/bin/env python3
"""test_flow -- every capture of the corpus through the normaliser, by its two ways: the rows are the same, and each field
of each record is found again in its row. What vendors send stands in the columns that are made for it.

Exits 77 when the corpus is not there.
"""
import os
import re
import subprocess
import sys
import unittest

import corpus

CHECK = os.environ["WEIR_FLOW_CHECK"]

# Case, then columns that have values there.
VENDORS = {
    "logstash-netflow/netflow-9-cisco-asa":
        "nat_src_addr nat_dst_addr nat_src_port fw_event fw_ext_event acl_in acl_out flow_id user_name event_time icmp_type",
    "logstash-netflow/netflow-9-palo-alto-pan-os-with-app-id": "app_name user_name fw_event flow_id",
    "logstash-netflow/netflow-9-nprobe-dpi-l7": "app_id app_name",
    "logstash-netflow/netflow-9-cisco-nbar-options-template-260": "app_id app_name app_description",
    "logstash-netflow/ipfix-mikrotik-routeros-6-39-2": "nat_src_addr nat_dst_addr icmp_type",
    "logstash-netflow/ipfix-nokia-bras": "service_in service_out nat_subscriber flow_id",
    "logstash-netflow/ipfix-vmware-virtual-distributed-switch": "layer2_segment end_reason",
    "logstash-netflow/ipfix-viptela-with-vpn-id": "vrf_in end_reason tos",
    "logstash-netflow/ipfix-procera": "http_url app_name user_name src_addr",
    "logstash-netflow/netflow-9-cisco-wlc": "ssid sta_mac app_id",
    "logstash-netflow/netflow-9-huawei-netstream": "vlan bgp_next_hop",
    "akvorado/nat": "nat_event nat_src_addr nat_src_port event_time vrf_in",
    "graylog/cisco-asa-netflowv9": "bytes_rev nat_src_addr acl_in",
    "pmacct/101-nfv9-cisco-cust-primitives-traffic-00": "mpls_labels mpls_exp mpls_eos mpls_top_addr sampler_id flow_label",
    "pmacct/100-ipfixv10-cisco-traffic-00": "mpls_labels customer_vlan fragment_id end_reason",
    "pmacct/500-ipfixv10-bgp-cisco-srv6-traffic-00": "vrf_id vrf_name if_index if_name if_description sampler_name sampling_rate",
    "netflow-parser/it-parses-ipfix-enterprise-bit-template-and-data":
        "http_host app_id connection_id biflow_direction bytes_rev packets_rev",
    "ipfixcol/04-odid256-512": "http_host http_url src_mac",
    "generated/ipfixprobe-tls": "tls_sni bytes_rev ttl",
}


def files():
    for case in corpus.cases():
        if "sflow5" not in case["versions"]:
            yield case, corpus.path(case.get("pcap") or case["files"][0])


def columns(path):
    """What flow_check -v says of a file: column -> (values, the first one)."""
    out = subprocess.run([CHECK, "-v", path], check=True, stdout=subprocess.PIPE).stdout.decode("utf-8", "replace")
    return {m[1]: (int(m[2]), m[3]) for m in re.finditer(r"^  \+?(\w+)\[\w+\] (\d+): ?(.*)$", out, re.M)}


class Flow(unittest.TestCase):
    def test_every_capture(self):
        paths = [path for _, path in files()]
        run = subprocess.run([CHECK, *paths], stdout=subprocess.PIPE, check=False)
        text = run.stdout.decode("utf-8", "replace")
        self.assertEqual(run.returncode, 0, text[-4000:])
        n_files, records, options, fields, errors = map(int, re.search(
            r"(\d+) files, (\d+) records, (\d+) options, (\d+) fields, (\d+) errors", text).groups())
        self.assertEqual((n_files, errors), (len(paths), 0))
        # cases.jsonl counts options too, and records that we do not take (differences.tsv has each of them).
        self.assertGreater(records + options, 0.99 * sum(case["counts"].get("records", 0) for case, _ in files()))
        self.assertGreater(fields, 10 * records)

    def test_vendors(self):
        found = {case["case"]: path for case, path in files()}
        for case, names in VENDORS.items():
            with self.subTest(case):
                self.assertIn(case, found)
                have = columns(found[case])
                self.assertEqual([n for n in names.split() if n not in have], [])


if __name__ == "__main__":
    if not corpus.present():
        print(f"skipped: no corpus at {corpus.CORPUS} (WEIR_CORPUS names another place)")
        sys.exit(77)
    unittest.main()
