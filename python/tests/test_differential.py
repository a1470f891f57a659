#!/usr/bin/env python3
"""This package against netflow 0.12.2, packet by packet: header dicts, flow dicts and their order, counts, options,
templates, texts, exceptions. What differs must be a row of KNOWN below, which names its heading in COMPATIBILITY.md.

The packets: the hex dumps in the published tests of 0.12.2 and every capture of the corpus, both read in place and
skipped when they are not there; traffic of `weir gen`; own_cases(). 0.12.2 runs in another interpreter: the one that
WEIR_PYTHON_OLD names ("none": there is none), else one with `pip install netflow==0.12.2` made here, else there are its recorded results for own
packets (recorded/own.jsonl; `test_differential.py --record` renews them).

`test_differential.py --all` also prints how often each row was needed.
"""
import collections
import functools
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

import captures
import packets as make
import walk
from netflow import _program

HERE = pathlib.Path(__file__).resolve().parent
RECORDED = HERE / "recorded" / "own.jsonl"
WEIR = os.environ.get("WEIR") or _program.find()
STREAM_S = 60  # for all packets of a stream; a packet has less (worker.py)


# Running both.

@functools.lru_cache(maxsize=None)
def old_python():
    """An interpreter that has netflow 0.12.2, or None."""
    given = os.environ.get("WEIR_PYTHON_OLD")
    if given:
        return given if given != "none" else None
    where = tempfile.TemporaryDirectory(prefix="netflow-0.12.2-")
    unittest.addModuleCleanup(where.cleanup)
    python = os.path.join(where.name, "bin", "python")
    try:
        for command in ([sys.executable, "-m", "venv", where.name],
                        [python, "-m", "pip", "install", "--quiet", "--retries", "0", "--timeout", "15",
                         "netflow==0.12.2"]):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)
    except (OSError, subprocess.SubprocessError):
        return None
    return python


class Package:
    """A worker.py that runs under an interpreter."""

    def __init__(self, python, ours):
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" or ours}
        self.process = subprocess.Popen([python, "-B", str(HERE / "worker.py")], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, cwd=HERE, env=environment)
        hello = json.loads(self.process.stdout.readline())
        if hello["ours"] != ours:
            self.close()
            raise RuntimeError(f"{python}: the package netflow is {hello['file']}, not the one to be compared")

    def run(self, payloads):
        """What it makes of these packets, with templates of their own."""
        self.process.stdin.write("reset\n")
        out = []
        for payload in payloads:  # one by one, so that no pipe fills
            self.process.stdin.write(payload.hex() + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError(f"worker died with {self.process.wait()} on {payload.hex()}")
            out.append(json.loads(line))
        return out

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=STREAM_S)


# Comparing.

class Difference(collections.namedtuple("Difference", "kind old new")):
    """kind: error, header, class, repr, count, names, values, order, options, new, table. Of errors old and new are the
    names of the class and its bases, None for no error."""

    def __str__(self):
        return f"{self.kind}:\n    0.12.2 {str(self.old)[:600]}\n    ours   {str(self.new)[:600]}"


def table_of(result, before):
    """The templates after a packet, in one spelling: of v9 what 0.12.2 does not know is type 0."""
    if "table" not in result:
        return before
    out = {"netflow": {}, "ipfix": dict(result["table"]["ipfix"])}
    for number, template in result["table"]["netflow"].items():
        if isinstance(template, list):
            template = [[f[0] if walk.old_knows_v9(f[0]) else 0, f[1], f[2]] for f in template]
        out["netflow"][number] = template
    return out


def compare(old, new, version, which=None):
    """The differences of two results of one packet, their tables aside.

    which: of IPFIX, whether each record of the packet is one of options, as far as that can be told: 0.12.2 has those
    among the flows.
    """
    if "error" in old or "error" in new:
        was, now = old.get("error"), new.get("error")
        if not (was and now and was[0] in now):  # else the same class, or one below it
            yield Difference("error", was, now)
        return
    for kind in ("header", "class", "repr", "new"):
        a, b = old.get(kind), new.get(kind)
        if a != b or (kind == "header" and list(a) != list(b)):
            yield Difference(kind, a, b)
    flows = old["flows"]
    if version == 10:
        options = [[*scopes, *data] for scopes, data in new["options"]]
        if which and any(which) and len(which) == len(flows):
            yield from compare_records([f for f, option in zip(flows, which) if option], options, version)
            flows = [f for f, option in zip(flows, which) if not option]
        elif options:
            yield Difference("options", None, options)
    elif version == 9 and old["options"] != new["options"]:
        yield Difference("options", old["options"], new["options"])
    yield from compare_records(flows, new["flows"], version)
    if version == 9 and old.get("flow_repr") != new.get("flow_repr") and flows == new["flows"]:
        yield Difference("repr", old.get("flow_repr"), new.get("flow_repr"))


def compare_records(olds, news, version):
    if len(olds) != len(news):
        yield Difference("count", len(olds), len(news))
    for a, b in zip(olds, news):
        if a == b:
            continue
        left, right = dict(map(freeze, a)), dict(map(freeze, b))
        if set(left) != set(right):
            yield Difference("names", sorted(set(left) - set(right)), sorted(set(right) - set(left)))
        changed = [k for k in left if k in right and left[k] != right[k]]
        if changed:
            yield Difference("values", {k: left[k] for k in changed}, {k: right[k] for k in changed})
        if version != 10:  # there 0.12.2 has them out of a set, in another order each time
            order = [k for k in left if k in right], [k for k in right if k in left]
            if order[0] != order[1]:
                yield Difference("order", *order)


def freeze(pair):
    return pair[0], json.dumps(pair[1])


# What is known to differ. `has`: any of these words of walk.py is said of the packet; `kinds`: what may then differ;
# `test`, when given, is asked about the difference.

Row = collections.namedtuple("Row", "heading has kinds test")
MALFORMED = "MalformedPacket"
RECORDS = "count names values order options"  # kinds of a record that is read in another way
KNOWN = []


def known(heading, has, kinds, test=None):
    KNOWN.append(Row(heading, frozenset(has.split()), frozenset(kinds.split()), test))


def reads(d):
    """We read what 0.12.2 does not."""
    return d.kind != "error" or d.new is None


def refuses(d):
    """We say that it is malformed."""
    return d.kind != "error" or any(name.endswith(MALFORMED) for name in d.new or ())


def only_unknown(d):
    """0.12.2 has all of them under one key."""
    return d.old == ["UNKNOWN_FIELD_TYPE"] and len(d.new) >= 1


known("Fields that 0.12.2 has no name for", "v9-unknown-field", "names", only_unknown)
known("Fields that 0.12.2 has no name for", "unknown-element enterprise", "error", reads)
known("Enterprise elements are not IANA's elements of the same number", "enterprise", "names values")
known("Fields of variable length", "variable", "error", reads)
known("Two exporters with the same template number", "shared-id", "error new table " + RECORDS)
known("Padding in NetFlow v9", "v9-padding", "error " + RECORDS, reads)
known("Padding in NetFlow v9", "template-padding", "table new repr error", reads)
known("Padding in NetFlow v9", "tail", "error", reads)
known("Padding that is not zero", "padding-not-zero", "error", reads)
known("Padding in NetFlow v9", "v9-option-padding", "error options table", reads)
known("Repeated elements", "repeated", "values")
known("Options of NetFlow v9 with fields that nobody knows", "repeated", "options table error")
known("Options of NetFlow v9 with fields that nobody knows", "v9-unknown-option", "error", reads)
known("Withdrawn templates", "withdrawal", "error new table", reads)
known("IPFIX data before their template in one message", "late", "error table", reads)
known("IPFIX data before their template in one message", "learns-later", "table")
known("NetFlow v7", "v7", "error", reads)
known("Lengths of numbers", "odd-length", "error values", reads)
known("Lengths of numbers", "v9-odd-address huge-integer", RECORDS)
known("Fields of variable length", "variable", "error", refuses)
known("Malformed packets", "cut tail bad-template template-padding", "error table", refuses)
known("Sets and templates without length", "short-set bad-template", "error table", refuses)
known("Sets with a reserved number", "reserved-set", "error table", refuses)


def explain(d, has):
    for row in KNOWN:
        if d.kind in row.kinds and row.has & has and (row.test is None or row.test(d)):
            return row
    return None


def check_stream(payloads, olds, news, used=None):
    """The differences that no row explains: [(index, what is in the packet, difference)].

    Templates that 0.12.2 has missed for a reason that a row explains make it misread, or refuse, packets that come after.
    """
    stream, found = walk.Stream(), []
    empty = {"netflow": {}, "ipfix": {}}
    old_table, new_table, apart = empty, empty, {}
    for index, (payload, old, new) in enumerate(zip(payloads, olds, news)):
        version = payload[1] if len(payload) > 1 else 0
        kind = "netflow" if version == 9 else "ipfix"
        has = set(stream.look(payload))
        if version == 10 and "error" in old and "unknown-template" in has:
            has.add("learns-later")
        stale = [apart[kind, str(number)] for number in sorted(stream.ids) if (kind, str(number)) in apart]
        failed = None
        for d in compare(old, new, version, stream.records):
            row = explain(d, has) or (stale[0] if stale and d.kind not in ("header", "class", "repr") else None)
            if d.kind == "error":
                failed = row
            if row is None:
                found.append((index, has, d))
            elif used is not None:
                used[row.heading, d.kind] += 1
        old_table, new_table = table_of(old, old_table), table_of(new, new_table)
        for part in ("netflow", "ipfix"):
            for number in set(old_table[part]) | set(new_table[part]):
                a, b = old_table[part].get(number), new_table[part].get(number)
                if a == b:
                    apart.pop((part, number), None)
                elif (part, number) not in apart:
                    d = Difference("table", {number: a}, {number: b})
                    row = failed or explain(d, has)
                    if row is None:
                        found.append((index, has, d))
                    else:
                        apart[part, number] = row
    return found


def report(name, payloads, found):
    out = [f"{name}: {len(found)} differences that COMPATIBILITY.md does not know"]
    for index, has, d in found[:4]:
        out.append(f"  packet {index} ({len(payloads[index])} octets: {payloads[index][:60].hex()}...) "
                   f"{' '.join(sorted(has))}\n  {d}")
    return "\n".join(out)


# Packets.

def own_cases():
    """(name, packets) made here; also what tells apart where both are right."""
    v9_plain, ipfix_plain = make.a_set(0, make.template(256, *make.FIELDS)), make.a_set(
        2, make.template(256, *make.FIELDS))
    yield "v1", [make.v1(*(make.v1_flow(n)[0] for n in range(24))), make.v1(), make.v1(make.v1_flow(1)[0], count=2),
                 make.v1(b"\xff" * 48)]
    yield "v5", [make.v5(*(make.v5_flow(n)[0] for n in range(30))), make.v5(), make.v5(make.v5_flow(1)[0], count=2),
                 make.v5(b"\xff" * 48), make.v5(make.v5_flow(1)[0]) + b"more"]
    yield "v9", [make.v9_template(), *(make.v9_data(range(n, n + 12)) for n in range(0, 60, 12)),
                 make.v9_template(), make.v9_template(257, make.FIELDS6),
                 make.v9(make.aligned(257, *map(make.record6, range(5))), make.aligned(256, make.record(3)))]
    yield "ipfix", [make.ipfix_template(), *(make.ipfix_data(range(n, n + 12)) for n in range(0, 60, 12)),
                    make.ipfix_template(), make.ipfix_template(257, make.FIELDS6),
                    make.ipfix(make.a_set(257, *map(make.record6, range(5))), make.a_set(256, make.record(3)))]
    yield "versions", [struct.pack("!H", n) + bytes(40) for n in (0, 2, 3, 4, 6, 7, 8, 11, 255, 65535)]
    yield "v9 before its template", [
        make.v9_data([1]), make.v9(make.aligned(256, make.record(1)), v9_plain),
        make.v9(make.aligned(300, make.record(1)), v9_plain), make.v9_data([2]),
        make.v9(make.aligned(301, make.record(4)), make.aligned(256, make.record(5)),
                make.a_set(0, make.template(301, *make.FIELDS)))]
    yield "ipfix before its template", [
        make.ipfix_data([1]), make.ipfix(ipfix_plain, make.a_set(300, make.record(1))), make.ipfix_data([2]),
        make.ipfix(make.a_set(301, make.record(4)), make.a_set(2, make.template(301, *make.FIELDS))),
        make.ipfix(make.a_set(301, make.record(4)))]
    options = make.a_set(1, make.v9_options(257, [(1, 4), (2, 2)], [(34, 4), (35, 1), (41, 1)]))
    yield "v9 options", [
        make.v9(options), make.v9(make.a_set(257, bytes(range(12)), bytes(range(12, 24)))),
        make.v9(make.a_set(258, bytes(8)), make.a_set(1, make.v9_options(258, [(1, 4)], [(34, 4)]), pad=2)),
        make.v9(make.a_set(1, make.v9_options(259, [(9, 4)], [(459, 4), (303, 4), (48, 1), (50, 3)])),
                make.a_set(259, bytes(range(16))))]
    yield "ipfix options", [
        make.ipfix(make.a_set(3, make.ipfix_options(257, [(149, 4)], [(34, 4)])), ipfix_plain),
        make.ipfix(make.a_set(257, struct.pack("!II", 7, 50)), make.a_set(256, make.record(1)))]
    wide = ((1, 8), (8, 4), (56, 6), (70, 3), (82, 12), (94, 24), (89, 1), (148, 4), (323, 8), (33002, 2), (40000, 20),
            (56701, 32), (61, 1), (15, 4), (18, 4), (62, 16), (63, 16))
    size = sum(f[1] for f in wide)
    yield "v9 values", [make.v9(make.a_set(0, make.template(256, *wide)),
                                make.aligned(256, bytes(range(size)), bytes(255 - n for n in range(size)))),
                        make.v9(make.a_set(0, make.template(256, (8, 4), (1, 4), (8, 4))),
                                make.aligned(256, bytes(range(12))))]
    types = ((1, 8), (2, 4), (4, 1), (7, 2), (8, 4), (27, 16), (56, 6), (82, 6), (83, 5), (95, 4), (104, 20), (150, 4),
             (152, 8), (154, 8), (156, 8), (276, 1), (311, 4), (320, 8), (434, 4), (442, 4))
    size = sum(f[1] for f in types)
    yield "ipfix values", [make.ipfix(make.a_set(2, make.template(256, *types)),
                                      make.a_set(256, bytes(range(size)), bytes(255 - n for n in range(size))))]
    yield "padding", [make.ipfix(ipfix_plain, make.a_set(256, make.record(1), pad=3), make.a_set(256, pad=0)),
                      make.ipfix(make.a_set(2, make.template(257, *make.FIELDS), pad=2), make.a_set(257, make.record(1))),
                      make.ipfix(make.a_set(257, make.record(1), b"\1")),
                      make.v9(v9_plain, make.a_set(256, make.record(1), pad=2), make.a_set(256, make.record(1)))]
    yield "v9 unknown fields", [make.v9(make.a_set(0, make.template(256, (8, 4), (65, 4), (461, 4), (2000, 2))),
                                        make.aligned(256, bytes(range(14))))]
    yield "v9 odd padding", [make.v9(make.a_set(0, make.template(256, (1, 4), (2, 4))), make.a_set(256, bytes(8), pad=4),
                                     v9_plain),
                             make.v9(make.a_set(0, make.template(257, (4, 1), (5, 1))), make.a_set(257, bytes(8)))]
    yield "ipfix withdrawal", [make.ipfix(make.a_set(2, make.template(256, (8, 4)), make.template(257, (8, 4)))),
                               make.ipfix(make.a_set(2, make.template(256))), make.ipfix(make.a_set(256, bytes(4))),
                               make.ipfix(make.a_set(257, bytes(4)))]
    yield "ipfix elements", [make.ipfix(make.a_set(2, make.template(256, *fields)), make.a_set(256, *body))
                             for fields, body in (
                                 (((8, 4), (1, 8, 29305)), [bytes(12)]), (((8, 4), (8, 4, 65000)), [bytes(range(8))]),
                                 (((8, 4), (30000, 2)), [bytes(6)]), (((8, 4), (494, 2)), [bytes(6)]),
                                 (((82, 65535), (1, 4)), [b"\3abc", bytes(4)]), (((1, 3),), [b"\1\2\3"]),
                                 (((8, 4), (8, 4)), [bytes(range(8))]), (((291, 4),), [bytes(4)]),
                                 (((291, 7),), [bytes(7)]), (((4, 2),), [b"\1\2"]), (((320, 1),), [b"\1"]))]
    yield "two domains", [make.v9_template(source=1), make.v9_template(fields=make.FIELDS[:2], source=2),
                          make.v9_data([1], source=1), make.ipfix_template(domain=1),
                          make.ipfix_template(fields=make.FIELDS[:2], domain=2), make.ipfix_data([1], domain=1)]
    whole = make.v9(v9_plain, options, make.aligned(256, make.record(1)))
    yield "v9 cut", [whole[:n] for n in range(2, len(whole))]
    whole = make.ipfix(ipfix_plain, make.a_set(3, make.ipfix_options(257, [(149, 4)], [(34, 4)])),
                       make.a_set(256, make.record(1)))
    yield "ipfix cut", [whole[:n] for n in range(2, len(whole))]
    yield "ipfix cut, length right", [whole[:2] + struct.pack("!H", n) + whole[4:n] for n in range(16, len(whole))]
    yield "short sets", [head(struct.pack("!HH", number, n), bytes(20)) for head in (make.v9, make.ipfix)
                         for number in (0, 1, 2, 3, 100, 256) for n in range(4)]
    yield "reserved sets", [head(make.a_set(number, bytes(8))) for head in (make.v9, make.ipfix)
                            for number in (0, 1, 2, 3, 4, 100, 255)]
    yield "several messages", [make.ipfix_template() + make.ipfix_data([1]), make.ipfix_data([1]) + make.ipfix_data([2])]


def generated(form, folder):
    """Payloads of `weir gen`."""
    path = os.path.join(folder, form)
    subprocess.run([WEIR, "gen", "-q", "-F", form, "-n", "3k", "-e", "3", "--template-every", "20", "--sampling", "100",
                    "--payload", path], check=True, stdout=subprocess.DEVNULL, timeout=STREAM_S)
    data, off, out = pathlib.Path(path).read_bytes(), 0, []
    while off < len(data):
        size, _exporter = struct.unpack_from("<II", data, off)
        out.append(data[off + 8:off + 8 + size])
        off += 8 + size
    return out


# Tests.

class Differential(unittest.TestCase):
    used = collections.Counter()
    old = new = None

    @classmethod
    def setUpClass(cls):
        cls.new = Package(sys.executable, ours=True)
        python = old_python()
        cls.old = Package(python, ours=False) if python else None

    @classmethod
    def tearDownClass(cls):
        for package in (cls.old, cls.new):
            if package:
                package.close()

    def check(self, name, payloads, olds=None):
        olds = olds or self.old.run(payloads)
        found = check_stream(payloads, olds, self.new.run(payloads), self.used)
        if found:
            self.fail(report(name, payloads, found))

    def need_old(self):
        if not self.old:
            self.skipTest("netflow 0.12.2 is not there and could not be installed; WEIR_PYTHON_OLD names an "
                          "interpreter that has it")

    def test_own(self):
        self.need_old()
        for name, payloads in own_cases():
            with self.subTest(name=name):
                self.check(name, payloads)

    def test_recorded(self):
        with open(RECORDED, encoding="utf-8") as f:
            lines = [json.loads(line) for line in f]
        self.assertEqual([line["name"] for line in lines], [name for name, _ in own_cases()],
                         "recorded results are not of these packets: test_differential.py --record")
        for line, (name, payloads) in zip(lines, own_cases()):
            with self.subTest(name=name):
                self.assertEqual(line["packets"], [p.hex() for p in payloads])
                self.check(name, payloads, line["results"])

    def test_published_packets(self):
        self.need_old()
        payloads = captures.dumps()
        if not payloads:
            self.skipTest(f"{captures.DUMPS} is not there")
        self.assertGreater(len(payloads), 10)
        self.check("packets of the tests of 0.12.2", payloads)
        for payload in payloads:
            self.check("one packet of the tests of 0.12.2", [payload])

    def test_corpus(self):
        self.need_old()
        files = list(captures.corpus())
        if not files:
            self.skipTest(f"no corpus in {captures.CORPUS} (WEIR_CORPUS names another folder)")
        self.assertGreater(len(files), 300)
        for name, payloads in files:
            with self.subTest(name=name):
                self.check(name, payloads)

    def test_generated(self):
        self.need_old()
        if not WEIR:
            self.skipTest("no weir program (WEIR names one)")
        with tempfile.TemporaryDirectory() as folder:
            for form in ("v5", "v9", "ipfix"):
                payloads = generated(form, folder)
                with self.subTest(form=form):
                    self.assertGreater(len(payloads), 50)
                    self.check(f"weir gen {form}", payloads)

    def test_a_difference_is_found(self):
        payloads = next(p for name, p in own_cases() if name == "v9")
        news = self.new.run(payloads)
        self.assertEqual(check_stream(payloads, news, news), [])
        for change in (lambda r: r.update(error=["builtins.ValueError"]), lambda r: r["flows"].pop(),
                       lambda r: r["flows"][0].reverse(), lambda r: r["flows"][0][0].__setitem__(1, "192.0.2.99"),
                       lambda r: r["flows"][0].pop(), lambda r: r["header"].update(count=99),
                       lambda r: r.update(new=True), lambda r: r.update(repr=""), lambda r: r["options"].append([[], []]),
                       lambda r: r.update(flow_repr=""),
                       lambda r: r.update(table={"netflow": {"256": None}, "ipfix": {}})):
            olds = json.loads(json.dumps(news))
            change(olds[2])
            self.assertNotEqual(check_stream(payloads, olds, news), [])

    def test_rows_have_their_headings(self):
        text = (HERE.parent / "COMPATIBILITY.md").read_text(encoding="utf-8")
        headings = {line.lstrip("#").strip() for line in text.splitlines() if line.startswith("#")}
        for row in KNOWN:
            self.assertIn(row.heading, headings)


def record():
    """Write what 0.12.2 makes of own_cases()."""
    old = Package(old_python(), ours=False)
    RECORDED.parent.mkdir(exist_ok=True)
    with open(RECORDED, "w", encoding="utf-8") as f:
        for name, payloads in own_cases():
            f.write(json.dumps({"name": name, "packets": [p.hex() for p in payloads], "results": old.run(payloads)},
                               separators=(",", ":"), sort_keys=False) + "\n")
    old.close()


if __name__ == "__main__":
    if sys.argv[1:] == ["--record"]:
        record()
    elif sys.argv[1:] == ["--all"]:
        unittest.main(argv=sys.argv[:1], exit=False)
        for (heading, kind), n in sorted(Differential.used.items(), key=lambda item: -item[1]):
            print(f"{n:6} {kind:8} {heading}")
    else:
        unittest.main()
