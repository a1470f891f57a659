#!/usr/bin/env python3
"""test_corpus -- every case of the flow-export corpus decodes to what the corpus says, and to what other decoders make
of it. Where we differ on purpose or another decoder is wrong, differences.tsv has a row that says who is right and why;
a difference without its row fails, and so does a row without its difference.

    test_corpus.py [--differences]    print the differences found, to renew the rows, instead of testing them

Exits 77 when the corpus is not there.
"""
import collections
import os
import sys
import unittest

import corpus
import oracle_golden
import oracle_nfdump
import oracle_tshark

DIFFERENCES = corpus.Differences()
SEEN = collections.defaultdict(collections.Counter)  # what was compared, by oracle
PASSED = collections.defaultdict(collections.Counter)
NOT_READ = collections.Counter()


def is_sflow(case):
    return "sflow5" in case["versions"]


def compare_counts(case, d, seen):
    """The counts and sums of cases.jsonl, from the corpus's own reference decoder."""
    records = [r for r in d.records if not r.late]
    ours = {"packets": len({p["f"] for p in d.packets}), "records": len(records),
            "templates": sum(not t["options"] for t in d.definitions),
            "options_templates": sum(t["options"] for t in d.definitions),
            "no_template": d.totals["sets_late"] + d.totals["sets_expired"] + d.totals["sets_overflowed"],
            "withdrawals": d.totals["withdrawn"] + d.totals["withdrawals_ignored"]}
    out = set()
    for name, n in ours.items():
        seen["counts"] += 1
        if n != case["counts"].get(name, 0):
            out.add(f"{n} {name}, not {case['counts'].get(name, 0)}")
    for name, expected in case["sums"].items():
        fixed = name in ("octets", "packets")  # of NetFlow v1, v5 and v7, whose template has id 0
        ie = {"octets": 1, "packets": 2}[name] if fixed else int(name[2:])
        mine = sum(v for r in records if not r.options and (r.template == 0) == fixed for v in r.all(ie))
        seen["sums"] += 1
        if mine != expected:
            out.add(f"sum of element {ie}: {mine}, not {expected}")
    late = sum(r.late for r in d.records)
    if late:
        out.add(f"{late} records more once their template came")
    return out


def oracles(case):
    """(kind, name, comparison) of everything that the corpus has for a case."""
    yield "counts", "cases.jsonl", lambda d, seen: compare_counts(case, d, seen)
    kinds = [(".tshark.jsonl", "tshark", lambda n, d, s: oracle_tshark.compare(case["case"], n, d, s)),
             (".nfdump.jsonl", "nfdump", lambda n, d, s: oracle_nfdump.compare(case["case"], n, d, s)),
             (".logstash.json", "logstash", oracle_golden.logstash), (".golden.json", "beats", oracle_golden.beats),
             ("-flow.json", "netgauze", oracle_golden.netgauze), (".snap", "netflow_parser", oracle_golden.snap),
             ("adapter_netflow9_1.json", "opennms", oracle_golden.opennms), (".txt", "ipfixcol", oracle_golden.ipfixcol)]
    for name in case["oracles"] + case["golden"]:
        if "_output-flow-" in name:
            yield "pmacct", name, lambda d, s, n=name: oracle_golden.pmacct(n, d, s)
            continue
        for end, kind, compare in kinds:
            if name.endswith(end):
                yield kind, name, lambda d, s, n=name, c=compare: c(n, d, s)
                break
        else:
            NOT_READ[name] += 1


class Oracles(unittest.TestCase):
    """One test a kind of oracle; a subtest a case."""

    def run_kind(self, wanted):
        n = 0
        for case in corpus.cases():
            if is_sflow(case):
                continue
            for kind, name, compare in oracles(case):
                if kind != wanted:
                    continue
                label = kind if kind != "pmacct" else "pmacct " + name[-12:-5]
                with self.subTest(case=case["case"], oracle=label):
                    n += 1
                    found = compare(corpus.decode(case["case"]), SEEN[kind])
                    expected = DIFFERENCES.expected(case["case"], label)
                    new, gone = sorted(found - expected), sorted(expected - found)
                    self.assertFalse(new or gone, "\n  not in differences.tsv: " + "\n    ".join([""] + new) +
                                     "\n  in differences.tsv, but not found: " + "\n    ".join([""] + gone))
                    PASSED[kind]["as described" if found else "equal"] += 1
        self.assertGreater(n, 0, f"no oracle of kind {wanted}")

    def test_counts(self):
        self.run_kind("counts")

    def test_tshark(self):
        self.run_kind("tshark")

    def test_nfdump(self):
        self.run_kind("nfdump")

    def test_logstash(self):
        self.run_kind("logstash")

    def test_beats(self):
        self.run_kind("beats")

    def test_netgauze(self):
        self.run_kind("netgauze")

    def test_pmacct(self):
        self.run_kind("pmacct")

    def test_netflow_parser(self):
        self.run_kind("netflow_parser")

    def test_opennms(self):
        self.run_kind("opennms")

    def test_ipfixcol(self):
        self.run_kind("ipfixcol")

    def test_rows_of_unknown_cases(self):
        """A row about a case or an oracle that does not exist would never be looked at."""
        known = {(c["case"], k if k != "pmacct" else "pmacct " + n[-12:-5])
                 for c in corpus.cases() if not is_sflow(c) for k, n, _ in oracles(c)}
        self.assertEqual([], sorted(set(DIFFERENCES.rows) - known))


class Decoding(unittest.TestCase):
    """What no oracle says."""

    def test_accounting(self):
        """Every packet and record is accounted for, and every record is as long as its fields."""
        for case in corpus.cases():
            with self.subTest(case=case["case"]):
                t = corpus.decode(case["case"]).totals
                self.assertEqual(t["packets"],
                                 t["decoded"] + t["waiting"] + t["expired"] + sum(t["rejected"].values()))
                self.assertEqual(t["records"], t["flows"] + t["options"] + t["records_rejected"])
                self.assertEqual(0, t["waiting"] + t["sets_waiting"] + t["octets_waiting"], "nothing waits at the end")

    def test_sflow_is_refused(self):
        """sFlow is not decoded: its ports are passed over, and datagrams that are pointed out are of unknown version."""
        n = 0
        for case in corpus.cases():
            if not is_sflow(case):
                continue
            with self.subTest(case=case["case"]):
                n += 1
                port = str(corpus.lines(next(o for o in case["oracles"] if o.endswith("tshark.jsonl")))[0]["dst"])
                d = corpus.decode(case["case"])
                self.assertEqual([], d.packets)
                self.assertEqual(0, d.capture["broken"] + d.capture["cut"])
                d = corpus.dump("--port", port.rsplit(":", 1)[1], corpus.path(case["pcap"]))
                self.assertEqual({"unknown-version": case["counts"]["packets"]}, d.totals["rejected"])
                self.assertEqual([], d.records)
        NOT_READ["cases of sFlow, which is not decoded yet: their packets are counted as no export"] = n

    def test_files_alone(self):
        """The payload files of a case and the capture made of them decode to the same records."""
        n = 0
        for case in corpus.cases():
            if is_sflow(case) or any(f.endswith((".pcap", ".pcapng", ".cap")) for f in case["files"]):
                continue
            if not all(corpus.path(f).is_file() for f in case["files"]):
                continue
            with self.subTest(case=case["case"]):
                d = corpus.decode(case["case"])
                form = "ipfix" if case["files"][0].endswith(".ipfix") else "raw"
                alone = corpus.dump("--input", form, *[corpus.path(f) for f in case["files"]])
                n += 1
                if form == "ipfix" and alone.input:
                    continue  # a file whose message length is wrong has no messages
                self.assertEqual([[f for f in r.fields] for r in d.records],
                                 [[f for f in r.fields] for r in alone.records])
        self.assertGreater(n, 50)

    def test_scope_of_templates(self):
        """Templates per address, as most collectors keep them: as many records, unless the corpus notes otherwise."""
        for case in corpus.cases():
            if is_sflow(case):
                continue
            with self.subTest(case=case["case"]):
                noted = [n for n in case["notes"] if "refhost" in n or "per source address" in n]
                port, address = corpus.decode(case["case"]), corpus.decode(case["case"], "--scope", "address")
                if not noted:
                    self.assertEqual(len(port.records), len(address.records))

    def test_quirk_skip_bad_templates(self):
        """A template that is cut short spoils the message (RFC 7011 section 9.1) unless its exporter is known to send
        such ones: then the other sets are read."""
        name = "ipfixcol/enterprise-from-nfv9"
        strict = corpus.decode(name)
        self.assertEqual(1, len(strict.rejected))
        self.assertEqual([], strict.records)
        case = next(c for c in corpus.cases() if c["case"] == name)
        lenient = corpus.decode(name, "--scope", "port", "--quirk", "skip-bad-templates")
        self.assertEqual([], lenient.rejected)
        self.assertEqual(case["counts"]["records"], len(lenient.records))
        self.assertEqual({"template-malformed": 1}, lenient.totals["faults"])
        self.assertEqual(case["sums"], {f"ie{ie}": sum(v for r in lenient.flows() for v in r.all(ie))
                                        for ie in (int(k[2:]) for k in case["sums"])})

    def test_lists(self):
        """Structured data (RFC 6313), which no oracle opens: the octets of every list are read a second time here."""
        n = 0
        for name in ("generated/ipfixprobe-bstats-phists-basiclist", "generated/ipfixprobe-pstats-basiclist",
                     "logstash-netflow/bench-yaf-bench", "pmacct/500-ipfixv10-bgp-cisco-srv6-traffic-00"):
            with self.subTest(case=name):
                for r in corpus.decode(name).records:
                    for f in r.fields:
                        if f.id == 291 and f.pen == 0:
                            n += 1
                            self.assertEqual(basic_list(bytes.fromhex(f.hex)),
                                             (f.value["semantic"], [i[0][3] for i in f.value["items"]]),
                                             f"frame {r.frame}")
                            self.assertEqual("end", f.value["end"])
        self.assertGreater(n, 100)


def basic_list(octets):
    """RFC 6313 section 4.5.1: semantic, field specifier, items: (semantic, [hex of each item])."""
    at, size = 5, int.from_bytes(octets[3:5], "big")
    if octets[1] & 0x80:
        at += 4
    items = []
    while at < len(octets):
        n = size
        if size == 65535:
            n, at = octets[at], at + 1
            if n == 255:
                n, at = int.from_bytes(octets[at:at + 2], "big"), at + 2
        items.append(octets[at:at + n].hex())
        at += n
    return octets[0], items


def print_differences():
    for case in corpus.cases():
        if not is_sflow(case):
            for kind, name, compare in oracles(case):
                label = kind if kind != "pmacct" else "pmacct " + name[-12:-5]
                for line in sorted(compare(corpus.decode(case["case"]), collections.Counter())):
                    print(f"{case['case']}\t{label}\t{line}")


def summary():
    for kind in sorted(PASSED):
        passed = ", ".join(f"{n} {what}" for what, n in sorted(PASSED[kind].items()))
        compared = ", ".join(f"{n} {what}" for what, n in sorted(SEEN[kind].items()))
        print(f"{kind}: {passed}; compared: {compared}")
    for what, n in sorted(NOT_READ.items()):
        print(f"not compared: {n} {what}")


if __name__ == "__main__":
    if not corpus.present():
        print(f"skipped: no corpus at {corpus.CORPUS} (WEIR_CORPUS names another folder)")
        sys.exit(77)
    if sys.argv[1:] == ["--differences"]:
        print_differences()
        sys.exit(0)
    program = unittest.main(exit=False, verbosity=1)
    summary()
    sys.stdout.flush()
    sys.exit(0 if program.result.wasSuccessful() else 1)
