#!/usr/bin/env python3
"""test_numbering -- what the sequence numbers of every stream of the corpus count, and what they say of loss, is what
numberings.tsv has, in which every row was looked at: streams of three packets and more, and those whose numbers say anything.

    test_numbering.py --write       make the table anew, to be compared with the one before

Exits 77 when the corpus is not there.
"""
import sys
import unittest

import corpus

TABLE = corpus.HERE / "numberings.tsv"
COUNTS = ["packets", "lost", "duplicated", "out_of_order", "resets", "unsure"]
COLUMNS = ["capture", "exporter", "version", "domain", "numbering", *COUNTS]
SIGNED = 1 << 64


def count(n):
    """A counter, which may be below 0 when what was lost before came late."""
    return n - SIGNED if n >> 63 else n


def rows():
    for case in corpus.cases():
        if "sflow5" in case["versions"]:
            continue
        name = case.get("pcap") or case["files"][0]
        for s in corpus.dump("--scope", "address", corpus.path(name)).streams:
            counts = [count(s[c]) for c in COUNTS]
            if s["version"] != 1 and (counts[0] >= 3 or any(counts[1:])):
                yield "\t".join(map(str, [name, s["exporter"], s["version"], s["domain"], s["numbering"], *counts]))


class Numbering(unittest.TestCase):
    maxDiff = None

    def test_every_stream(self):
        self.assertEqual("\n".join(["\t".join(COLUMNS), *rows()]), TABLE.read_text(encoding="utf-8").rstrip("\n"))

    def test_nobody_loses_by_numbering(self):
        """Exporters that number otherwise and of which all packets are there."""
        with open(TABLE, encoding="utf-8") as f:
            found = {}
            for line in f.read().splitlines()[1:]:
                cells = line.split("\t")
                if cells[4] != "standard":
                    found[cells[0]] = cells[4:]
        self.assertEqual(found["generated/softflowd_ipfix_milli6.pcap"], ["flows-after", "4", "0", "0", "0", "0", "0"])


if __name__ == "__main__":
    if not corpus.present():
        print(f"skipped: no corpus at {corpus.CORPUS} (WEIR_CORPUS names another place)")
        sys.exit(77)
    if sys.argv[1:] == ["--write"]:
        TABLE.write_text("\n".join(["\t".join(COLUMNS), *rows()]) + "\n", encoding="utf-8")
        sys.exit(0)
    unittest.main()
