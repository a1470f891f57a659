#!/usr/bin/env python3
"""The tests of weir query, of an archive and of what was delivered of it into ClickHouse, compared octet by octet:

Suite      test_query.py itself: each of its command lines is run on both, and its own checks hold for the server's answer
Language   the filters of tests/unit/test_query_filter.c, and their opposites; -s, -A, -O and a condition for every field, with values
           that the flows have; all tokens; windows of time; numbers up to 2^64, both families of addresses, fields that are missing

What may differ is EXCEPTIONS, and docs/clickhouse.md, "What differs".

Each sixth command line of Language is run, on one of the archives, and none on a current engine; with WEIR_EVERY_LINE set, each on all
of them (five minutes, and more of a current engine)."""
import concurrent.futures
import difflib
import ipaddress
import itertools
import json
import os
import re
import shlex
import struct
import tempfile
import unittest

import clickhouse
import packets as P
import test_query
import test_query_clickhouse as Q

ROOT = os.environ.get("WEIR_ROOT", os.path.join(os.path.dirname(__file__), "../.."))
ENGINES = [clickhouse.Server, clickhouse.Current]
EVERY_LINE = bool(os.environ.get("WEIR_EVERY_LINE"))

# What is refused, with the words of docs/clickhouse.md.
EXCEPTIONS = [r"count: rows of the table have no number",
              r"(in_if_name|out_if_name|vrf_in_name|vrf_out_name|app_name): such names come from options records",
              r".*: this regular expression means something else there",
              r"\w+: parts of (an address' text; name a prefix|its text; write = and a prefix)",
              r"\w+: networks and lists as alternatives",
              r"\w+: (an address|a network|a fraction) compared with a (number|text)",
              r"\w+: the table has it as text, which is compared with a number"]


def setUpModule():
    if all(e.missing for e in ENGINES):
        raise unittest.SkipTest(ENGINES[0].missing)


# ---- captures ----

VALUES = [0, 1, 2**31, 2**32 - 1, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 8000, 2**64 - 2, 2**64 - 1]
ADDRESSES = ["0.0.0.0", "10.0.0.1", "10.0.0.2", "127.255.255.255", "128.0.0.0", "255.255.255.255", "::", "::1", "::fffe:ffff:ffff",
             "::1:0:0:0", "2001:db8::1", "2001:db8:8000::", "fe80::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]


def extremes(path):
    """Flows of both families whose counters, rates, masks and times reach their ends; some say next to nothing."""
    counters = [(1, 8), (2, 8), (34, 4), (152, 8), (153, 8)]
    forms = {256: [(8, 4), (12, 4), (9, 1), (13, 1), (7, 2), (11, 2), (4, 1), (6, 1)] + counters,
             257: [(27, 16), (28, 16), (29, 1), (30, 1), (7, 2), (11, 2), (4, 1), (6, 1)] + counters,
             258: [(1, 8)], 259: [(8, 4), (27, 16), (2, 8)]}
    sets = [P.template_set(2, n, fields) for n, fields in forms.items()]
    start = 1_700_000_000_000
    for i, (src, dst) in enumerate(itertools.product(ADDRESSES, ADDRESSES)):
        a, b = ipaddress.ip_address(src), ipaddress.ip_address(dst)
        if a.version != b.version:
            continue
        values = VALUES[i % len(VALUES)], VALUES[i * 7 % len(VALUES)]
        rate = [0, 1, 2, 1000, 2**32 - 1][i % 5]
        times = start + i * 137, start + i * 137 + [0, 1, 8000, 86_400_000, -5][i % 5]
        body = (a.packed + b.packed + struct.pack("!BBHHBB", [0, 8, 24, 32][i % 4] * (1 if a.version == 4 else 4), i % 32,
                                                  [0, 53, 443, 65535][i % 4], [443, 0, 65535, 80][i % 4], [1, 6, 17, 58, 255][i % 5], i % 256)
                + struct.pack("!QQIQQ", *values, rate, *times))
        sets.append(struct.pack("!HH", 256 if a.version == 4 else 257, 4 + len(body)) + body)
    for i, v in enumerate(VALUES):
        sets.append(struct.pack("!HHQ", 258, 12, v))
        body = ipaddress.ip_address(ADDRESSES[i % 6]).packed + ipaddress.ip_address(ADDRESSES[6 + i % 8]).packed + struct.pack("!Q", v)
        sets.append(struct.pack("!HH", 259, 4 + len(body)) + body)
    frames = []
    for k in range(0, len(sets), 8):
        payload = P.ipfix(*sets[k:k + 8], sequence=max(k - len(forms), 0))
        frames.append(((1_700_000_000 + k) * 1_000_000, P.ethernet_udp("192.0.2.9", 9999, "192.0.2.100", 2055, payload)))
    with open(path, "wb") as f:
        f.write(P.pcap(frames))


def archives():
    """Paths by name: extremes, flows whose names and rates come in options records, flows of a generator, captures of all kinds of exporters."""
    folder = Q.folder.name
    made = {"extremes": [os.path.join(folder, "extremes.pcap")], "told": Q.told(), "made": []}
    extremes(made["extremes"][0])
    for form in ["v5", "v9", "ipfix"]:
        made["made"].append(os.path.join(folder, form + ".pcap"))
        Q.weir("gen", "-F", form, "-n", 1000, "-e", "2", "--sampling", "100", "-w", made["made"][-1])
    captures = [os.path.join(d, f) for d, _, names in os.walk(Q.CORPUS) for f in sorted(names)
                if f.endswith((".pcap", ".pcapng")) and os.path.getsize(os.path.join(d, f)) < 1 << 20]
    if captures:
        made["captures"] = sorted(captures)
    for name, files in made.items():
        for file in files:
            Q.weir("collect", "--read", file, "--archive", Q.path(name), status=None)
    return list(made)


# ---- command lines ----

def difference(want, got, args):
    """What of two answers is not the same, or nothing."""
    a, b = ([*Q.comparable(r.stdout, args).splitlines(), f"exit status {r.returncode}", *Q.comparable(r.stderr).splitlines()]
            for r in (want, got))
    a, b = ([re.sub(r"[.]\d+[.]part:", ".part:", line) for line in k] for k in (a, b))  # a process id
    lines = difflib.unified_diff(a, b, "archive", "ClickHouse", n=1, lineterm="") if a != b else []
    return "\n".join(line[:300] for line in itertools.islice(lines, 30))


def literal(text):
    """The value of one C string, of its parts."""
    return "".join(json.loads(f'"{p}"') for p in re.findall(r'"((?:[^"\\]|\\.)*)"', text))


def filters():
    """What the test of the language takes as a filter."""
    with open(os.path.join(ROOT, "tests/unit/test_query_filter.c"), encoding="utf-8") as f:
        table = f.read().split("} good[] = {", 1)[1].split("\n};", 1)[0]
    found = [literal(m) for m in re.findall(r'^    \{((?:"(?:[^"\\]|\\.)*"\s*)+),', table, re.M)]
    return [t for t in dict.fromkeys(found) if "@include" not in t and "www.example" not in t]


def documented(head):
    """The words of a table of docs/query.md."""
    with open(os.path.join(ROOT, "docs/query.md"), encoding="utf-8") as f:
        table = f.read().split(head, 1)[1].split("\n\n", 1)[0]
    return [line.split("|")[1:3] for line in table.splitlines()[2:]]


def statistics():
    words = []
    for kind, names in documented("| `-s` | names |"):
        if kind.strip() not in ("whole flows", "anything else"):
            words += re.sub(r"\(.*?\)|\bto\b", "", names).replace(",", " ").split()
    return list(dict.fromkeys(words + [f"mpls{n}" for n in range(1, 11)]))


def orders():
    words = []
    for names, _ in documented("| order of `-O` and `-s` | |"):
        words += re.sub(r"[(),]", " ", names).split() if "any field" not in names else []
    return words


def fields():
    return json.loads(Q.weir("fields", "--json").stdout)


SHOWN = "csv:proto,n_flows,packets,bytes"


class Language:
    """On all archives; what only the archive has to say is asked once for all engines."""
    engine = None
    share = 6  # of the lines, each on one archive
    known = {}

    @classmethod
    def setUpClass(cls):
        if Q.folder is None:
            Q.folder = tempfile.TemporaryDirectory(prefix="weir-query-both-")
            unittest.addModuleCleanup(Q.folder.cleanup)
            Language.names = archives()
        cls.server = cls.engine()
        try:
            cls.server.start()
            for name in cls.names:
                Q.weir("ship", "-a", Q.path(name), "--once", "--name", cls.engine.__name__, "--create", cls.server.url(name))
        except BaseException:
            cls.server.stop()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def both(self, name, args, again=True):
        """None, "refused", or how they differ."""
        key = name, tuple(args)
        if key not in self.known:
            self.known[key] = Q.weir("query", "-R", Q.path(name), *args, status=None)
        want, got = self.known[key], Q.weir("query", "--from", self.server.url(name), *args, status=None)
        refused = re.search(r"not available with --from: (.*)", got.stderr)
        if refused and got.returncode == 2 and not got.stdout and any(re.match(e, refused[1]) for e in EXCEPTIONS):
            return "refused"
        text = difference(want, got, args)
        if text and again and ("--last" in args or "-t" in args):  # a window that ends now: not the same minute, perhaps
            del self.known[key]
            return self.both(name, args, again=False)
        return f"{name}: {shlex.join(args)}:\n{text}" if text else None

    def all_same(self, lines, names=None, most_refused=0.1):
        names = names or self.names
        work = [(name, args) for name in names for args in lines] if EVERY_LINE else \
            [(names[i % len(names)], args) for i, args in enumerate(lines[::self.share])]
        self.assertTrue(work)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            results = list(pool.map(lambda w: self.both(*w), work))
        bad = [r for r in results if r and r != "refused"]
        self.assertFalse(bad, f"{len(bad)} of {len(work)}:\n" + "\n".join(bad[:8]))
        refused = [w for w, r in zip(work, results) if r == "refused"]
        self.assertLessEqual(len(refused), most_refused * len(work) + 2, refused)

    def test_filters(self):
        texts = filters()
        self.assertGreater(len(texts), 200)
        self.all_same([["-q", "-A", "proto", "-o", SHOWN, t] for t in texts])
        self.all_same([["-q", "-A", "proto", "-o", SHOWN, f"not ({t}\n)"] for t in texts if t.strip()], self.names[:2] + self.names[3:])

    def test_statistics(self):
        words = statistics()
        self.assertGreater(len(words), 70)
        some = [words[i:i + 6] for i in range(0, len(words), 6)]
        self.all_same([[k for w in part for k in ("-s", f"{w}{how}")] + ["-n", n] + more for part in some
                       for how, n, more in (("/bytes", "7", []), (":p/packets/flows", "4", []), ("/bps", "0", ["-N", "not proto udp"]))])

    def test_orders(self):
        words = orders()
        self.assertGreater(len(words), 20)
        self.all_same([line for w in words for line in (["-q", "-n", "25", "-o", "extended", "-O", w],
                                                        ["-q", "-n", "25", "-A", "srcip,proto", "-O", w + ":a"],
                                                        ["-n", "9", "-s", f"ip/{w}", "-s", f"dstport:p/{w}:d"],
                                                        ["-q", "-n", "9", "-b", "-O", w], ["-q", "-n", "9", "-B", "-O", w],
                                                        ["-q", "-n", "9", "--every", "30s", "-A", "proto", "-O", w])])

    def test_fields(self):
        """Each as key, order, column and condition."""
        lines, refused = [], []
        for f in fields():
            name = f["name"]
            args = [["-q", "-A", name, "-O", "bytes", "-o", f"csv:{name},n_flows,packets,bytes", "-n", "50"],
                    ["-q", "-O", name, "-o", f"csv:{name},bytes,src_addr", "-n", "50"],
                    ["-q", "-O", f"{name}:d", "-o", f"ndjson:{name},first", "-n", "50"],
                    ["-q", "-A", "proto", "-o", f"csv:proto,{name}", "-n", "50"],
                    ["-q", "-A", "proto", "-o", SHOWN, f'"{name}" present'],
                    ["-q", "-A", "proto", "-o", SHOWN, f'not "{name}" present']]
            (refused if name == "count" else lines).extend(args)
        self.all_same(lines, self.names[-1:] + ["extremes", "told"])
        self.all_same(refused, self.names[-1:], most_refused=1)

    def test_conditions_with_values_of_the_flows(self):
        quote = {"text": True, "mac": True, "json": True}
        lines = {name: [] for name in self.names}
        for f in fields():
            name = f["name"]
            if name in ("count", "extra"):
                continue
            for archive in self.names:
                r = Q.weir("query", "-R", Q.path(archive), "-q", "-A", name, "-O", "flows", "-n", "4", "-o", f"ndjson:{name}", status=None)
                values = [json.loads(line).get(name) for line in r.stdout.splitlines()]
                values = [v for v in values if v is not None and not isinstance(v, (list, dict)) and "'" not in str(v)]
                if f["type"] == "octets":
                    values = [v if str(v).startswith("0x") else f"0x{v}" for v in values if re.fullmatch("(0x)?([0-9a-fA-F]{2})+", str(v))]
                values = [f"'{v}'" if quote.get(f["type"]) else str(v).lower() if isinstance(v, bool) else str(v) for v in values]
                if not values:
                    continue
                column = f'"{name}"'
                texts = [f"{column} = {values[0]} or {column} = {values[-1]}", f"not {column} = {values[0]}", f"{column} != {values[-1]}",
                         f"not {column} in [{' '.join(values)}]"]
                if f["type"] in ("u8", "u16", "u32", "u64", "f64", "time"):
                    texts += [f"{column} > {values[0]} or {column} <= {values[-1]}", f"not {column} >= {values[0]}"]
                lines[archive] += [["-q", "-A", "proto", "-o", SHOWN, t] for t in texts]
        for name, some in lines.items():
            self.assertGreater(len(some), 40, name)
            self.all_same(some, [name])

    def test_tokens(self):
        tokens = sorted({t for f in fields() for t in f["tokens"].split()} - {"%cnt"})
        self.assertGreater(len(tokens), 80)
        some = [tokens[i:i + 12] for i in range(0, len(tokens), 12)]
        self.all_same([["-q", "-n", "40", "-o", "fmt:" + " | ".join(part)] for part in some])

    def test_windows(self):
        begin = "2023-11-14T22:13"
        forms = [f"{begin}:20Z-{begin}:40Z", f"{begin}:20.5Z-", f"-{begin}:30Z", f"{begin}Z", "2023/11/14.22:13:20-2023/11/14.22:13:50",
                 "2023/11/14", "-2023/11/14.22", "2100-01-01-", "-1970-01-01", "1960-01-01-1975-01-01", "-1h", "-2h--1h", "-2h-now",
                 "-100000d", "2023-11-14T22:13:20+01:00-2023-11-14T22:14:20+01:00"]
        lines = [line for w in forms for line in (["-t", w, "-o", "null"], ["-t", w, "-s", "srcip/bytes", "-n", "3", "proto tcp"])]
        self.all_same(lines, ["made", "extremes"])
        # Their ledger has minutes of other years than its files, which only the server finds.
        self.all_same([["-q", *line] for line in lines], self.names[-1:])
        self.all_same([["--last", "1h", "-o", "null"], ["--last", "10000d", "-o", "null"]])

    def test_numbers_at_their_ends(self):
        keys = ["proto", "srcip4/0", "srcip4/1,srcip6/1", "srcip4/31,srcip6/127", "srcnet", "dstnet", "srcip,dstip", "ip_family", "src_port,bytes"]
        formats = ["csv:first,last,duration,bytes,packets,bps,pps,bpp,all_bytes,all_packets,out_bytes,all_bps,sampling_rate"]
        lines = [more + ["-q", "-o", f] for f in formats for more in ([], ["--raw"], ["-a"], ["-a", "--raw"], ["-b"], ["-B"])]
        lines += [["-A", k, *more] for k in keys for more in ([], ["--raw"], ["-O", "bps"], ["-P", "bytes > 9223372036854775807"])]
        lines += [["-o", "null", *more, t] for more in ([], ["--raw"]) for n in VALUES
                  for t in (f"bytes = {n}", f"bytes >= {n}", f"not packets < {n}", f"bytes in [{n} 5-9]", f"bps > {n}", f"bytes has {n}",
                            f"all_bytes <= {n}", "bytes > field packets")]
        lines += [["-o", "null", t] for a in ADDRESSES for t in (f"ip {a}", f"not src ip {a}", f"src_addr in [{a}/{7} {a}]",
                                                                f"not dst_addr in [{a}/{1}, 2001:db8::/33]")]
        lines += [["--every", e, *more] for e in ("1ms", "8s", "1h", "400d") for more in ([], ["-A", "proto"], ["--raw", "-o", "chart"])]
        lines += [["-I"], ["-g"], ["--raw", "-I"], ["-c", "50", "-O", "bytes"], ["-c", "17", "-s", "ip/bytes"]]
        self.all_same(lines, ["extremes"])


# ---- the suite of the archive ----

FILES_ALONE = {  # tests of what only files have
    "test_names_of_files", "test_files_by_path", "test_files_that_cannot_be_read", "test_ledger_that_cannot_be_read", "test_no_archive"}


class Suite:
    """test_query.py: whoever runs a query there gets the server's answer, which must be the archive's."""
    engine = None

    def test_whole_suite(self):
        server, plain = self.engine(), test_query.run
        shipped, said, refused, n = {}, [], [], 0

        def deliver(archive):
            if archive not in shipped:
                shipped[archive] = f"suite{len(shipped)}"
                Q.weir("ship", "-a", archive, "--once", "--name", "suite", "--create", server.url(shipped[archive]))
            return server.url(shipped[archive])

        def run(*args, status=0, **more):
            nonlocal n
            words = [str(a) for a in args]
            at = next((i for i, w in enumerate(words) if w in ("-R", "-r") and i == 2 and os.path.isdir(os.path.join(words[3], "flows"))), 0)
            to = words[words.index("-w") + 1] if "-w" in words else ""
            here = words[:2] != [test_query.WEIR, "query"] or not at or current in FILES_ALONE
            if not here and os.path.exists(to) and not os.path.isfile(to) and not os.path.isdir(to):  # a pipe has one writer
                return plain(*words[:2], "--from", deliver(words[3]), *words[4:], status=status, **more)
            want = plain(*args, status=status, **more)
            if here:
                return want
            got = plain(*words[:2], "--from", deliver(words[3]), *words[4:], status=None, **more)
            n += 1
            why = re.search(r"not available with --from: (.*)", got.stderr)
            if why and any(re.match(e, why[1]) for e in EXCEPTIONS):
                refused.append(words)
                return want
            text = difference(want, got, words)
            if text:
                said.append(f"{current}: {shlex.join(words[4:])}:\n{text}")
            return got

        current = ""

        class Result(unittest.TestResult):
            def startTest(self, test):
                nonlocal current
                current = test.id().rsplit(".", 1)[1]
                super().startTest(test)

        server.start()
        result = Result()
        test_query.run = run
        try:
            suite = unittest.TestSuite(unittest.defaultTestLoader.loadTestsFromTestCase(c) for c in (test_query.GroundTruth, test_query.Completeness, test_query.Command))
            test_query.setUpModule()
            try:
                suite.run(result)
            finally:
                test_query.tearDownModule()
        finally:
            test_query.run = plain
            server.stop()
        self.assertFalse(said, f"{len(said)} of {n}:\n" + "\n".join(said[:12]))
        self.assertFalse(result.failures + result.errors, "\n".join(t for _, t in result.failures + result.errors))
        self.assertGreater(n, 120)
        self.assertLess(len(refused), 3, refused)


@unittest.skipIf(clickhouse.Server.missing, clickhouse.Server.missing)
class DebianSuite(Suite, unittest.TestCase):
    engine = clickhouse.Server


@unittest.skipIf(clickhouse.Current.missing, clickhouse.Current.missing)
@unittest.skipUnless(EVERY_LINE, "minutes of a current engine: with WEIR_EVERY_LINE=1")
class CurrentSuite(Suite, unittest.TestCase):
    engine = clickhouse.Current


@unittest.skipIf(clickhouse.Server.missing, clickhouse.Server.missing)
class DebianLanguage(Language, unittest.TestCase):
    engine = clickhouse.Server


@unittest.skipIf(clickhouse.Current.missing, clickhouse.Current.missing)
@unittest.skipUnless(EVERY_LINE, "minutes of a current engine: with WEIR_EVERY_LINE=1")
class CurrentLanguage(Language, unittest.TestCase):
    engine = clickhouse.Current


if __name__ == "__main__":
    unittest.main()
