#!/usr/bin/env python3
"""weir ship into ClickHouse: Debian's server (of 2018) and, where Python has chdb, a current engine; and what a server may answer
that is none of either. Rows are those of `weir gen`, which says what it made, and made-up ones of ship_driver."""
import collections
import contextlib
import csv
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from urllib.parse import quote

import clickhouse
from collector import DEADLINE_S, WEIR

DRIVER = os.environ["WEIR_SHIP_DRIVER"]
FLOWS = 20000
FORMATS = ["v5", "v9", "ipfix"]
folder = None


def setUpModule():
    global folder
    folder = tempfile.TemporaryDirectory(prefix="weir-ship-clickhouse-")
    for form in FORMATS:
        weir("gen", "-F", form, "-n", FLOWS, "-e", "3", "--sampling", "100", "-w", path(form + ".pcap"), "--csv", path(form + ".csv"),
             "--truth", path(form + ".json"))
        weir("collect", "--read", path(form + ".pcap"), "--archive", path(form))


def tearDownModule():
    folder.cleanup()


def path(name):
    return os.path.join(folder.name, name)


def weir(*args, status=0):
    r = subprocess.run([WEIR, *map(str, args)], capture_output=True, text=True, check=False, timeout=DEADLINE_S * 3)
    if r.returncode != status:
        raise AssertionError(f"{args}: exit status {r.returncode}: {r.stdout}{r.stderr}")
    return r


def totals(form):
    """What `weir gen` says that it made."""
    with open(path(form + ".json"), encoding="ascii") as f:
        return json.load(f)


def truth(form):
    with open(path(form + ".csv"), encoding="ascii", newline="") as f:
        return list(csv.DictReader(f))


@contextlib.contextmanager
def running(*args):
    """weir ship, which goes on until it is told to end; in any case it ends with the block."""
    with subprocess.Popen([WEIR, "ship", *args], stderr=subprocess.PIPE, text=True) as p:
        try:
            yield p
        finally:
            if p.poll() is None:
                p.kill()


class Case(unittest.TestCase):
    n = 0

    def cursor(self):
        """A name that no delivery before had."""
        Case.n += 1
        return f"cursor-{Case.n}"

    def ship(self, archive, url, *args, status=0):
        return weir("ship", "-a", archive, "--once", "--name", self.cursor(), *args, url, status=status).stderr

    def drive(self, url, *args, fails=None):
        r = subprocess.run([DRIVER, url, *map(str, args)], capture_output=True, text=True, check=False, timeout=DEADLINE_S * 2)
        if fails is None:
            self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
            return r.stdout
        self.assertEqual(r.returncode, 1, r.stdout + r.stderr)
        self.assertRegex(r.stdout, fails)
        return r.stdout


def sums(rows):
    """What FLOW_SUMS gives for these rows of ship_driver."""
    rows = list(rows)
    return [str(x) for x in [len(rows), sum(r * 3 for r in rows), sum(rows), len(set(rows)), sum(r % 2 for r in rows),
                             sum(r % 100 for r in rows if r % 2 == 0), sum(r % 3 for r in rows),
                             sum(r % 200 + k for r in rows for k in range(r % 3))]]


FLOW_SUMS = ("SELECT count(), sum(bytes), sum(row), uniqExact(row), countIf(sampling_rate IS NULL), toUInt64(sum(sampling_rate)), "
             "sum(length(mpls_labels)), sum(arraySum(mpls_labels)) FROM ")


class OnBoth:
    """Tests of both engines; SQL that tells them apart is in properties."""
    engine = None
    n = 0

    @classmethod
    def setUpClass(cls):
        cls.server = cls.engine()
        try:
            cls.server.start()
        except BaseException:
            cls.server.stop()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def db(self):
        OnBoth.n += 1
        return f"net{OnBoth.n}"

    def test_traffic_arrives_as_it_was_made(self):
        for form in FORMATS:
            with self.subTest(form=form):
                db = self.db()
                said = self.ship(path(form), self.server.url(db), "--create", "--set", "rollup=yes")
                self.assertIn("table flows made", said)
                want = collections.Counter(
                    (r["exporter"], r["src"], r["dst"], r["proto"], r["sport"], r["dport"], r["packets"], r["bytes"], r["start_ms"],
                     r["end_ms"], r["in_if"], r["src_as"]) for r in truth(form))
                got = collections.Counter(map(tuple, self.server.rows(
                    f"SELECT {self.address('exporter')}, {self.address('src_addr')}, {self.address('dst_addr')}, proto, src_port, "
                    f"dst_port, packets, bytes, {self.ms('first')}, {self.ms('last')}, in_if, src_as FROM {db}.flows")))
                self.assertEqual(sum(got.values()), FLOWS)
                self.assertEqual(got - want, collections.Counter())
                # The same totals as the query's, scaled by the sampling rate.
                ours = json.loads(weir("query", "-r", path(form), "-o", "json", "-A", "proto", "-n", "0", "-O", "proto").stdout)
                theirs = self.server.rows(f"SELECT proto, count(), toUInt64(sum(bytes * sampling_rate)) FROM {db}.flows GROUP BY proto "
                                          "ORDER BY proto")
                self.assertEqual(sorted((r["proto"], r["in_bytes"]) for r in ours), sorted((int(p), int(b)) for p, n, b in theirs))
                # Rollups have the same sums, the ledger the same flows.
                made = totals(form)
                for ending in ["_1m", "_1h"]:
                    self.assertEqual(self.server.rows(f"SELECT sum(n_flows), sum(n_packets), sum(n_bytes) FROM {db}.flows{ending}"),
                                     [[str(made["flows"]), str(made["flow_packets"]), str(made["flow_octets"])]])
                self.assertEqual(self.server.value(f"SELECT sum(flows) FROM {db}.ledger"), str(FLOWS))
                self.assertEqual(self.server.value(f"SELECT uniqExact(file, row) FROM {db}.flows"), str(FLOWS))
                # Nothing comes twice though it is delivered again.
                self.ship(path(form), self.server.url(db))
                self.assertEqual(self.server.rows(f"SELECT count(), sum(row) FROM {db}.flows"),
                                 self.server.rows(f"SELECT uniqExact(file, row), sum(row) FROM {db}.flows"))
                self.assertEqual(self.server.value(f"SELECT count() FROM {db}.flows"), str(FLOWS))

    def test_filter(self):
        """What passes has its own row numbers, so that a delivery cut otherwise knows them."""
        db, args = self.db(), ("--filter", "dst port 443")
        want = sum(r["dport"] == "443" for r in truth("v9"))
        self.ship(path("v9"), self.server.url(db), "--create", *args)
        self.assertEqual(self.server.rows(f"SELECT count(), uniqExact(row), min(dst_port), max(dst_port) FROM {db}.flows"),
                         [[str(want), str(want), "443", "443"]])
        self.ship(path("v9"), self.server.url(db))
        self.assertEqual(self.server.rows(f"SELECT count(), uniqExact(row), sum(bytes) FROM {db}.flows"),
                         [[str(FLOWS), str(FLOWS), str(totals("v9")["flow_octets"])]])

    def test_rows_that_come_again_are_there_once(self):
        db = self.db()
        url = self.server.url(db)
        self.drive(url, "create", "to=30000", "cut=7000")
        self.assertEqual(self.server.rows(FLOW_SUMS + db + ".flows"), [sums(range(30000))])
        self.drive(url, "from=12345", "to=40000", "cut=999")
        self.assertEqual(self.server.rows(FLOW_SUMS + db + ".flows"), [sums(range(40000))])
        # Every 7th of another file, then all of it.
        self.drive(url, "file=b", "to=20000", "cut=6000", "every=7")
        self.assertEqual(self.server.rows(FLOW_SUMS + db + ".flows WHERE file LIKE '%/b'"), [sums(range(0, 20000, 7))])
        self.drive(url, "file=b", "to=20000", "cut=5000")
        self.assertEqual(self.server.rows(FLOW_SUMS + db + ".flows WHERE file LIKE '%/b'"), [sums(range(20000))])
        # Another archive's file of the same name is another file.
        self.drive(url, "file=b", "to=100", "set=source=elsewhere")
        self.assertEqual(self.server.value(f"SELECT count() FROM {db}.flows WHERE file = 'elsewhere/b'"), "100")

    def test_replacing_counts_right_after_final(self):
        db = self.db()
        for _ in range(2):
            self.drive(self.server.url(db), "create", "to=5000", "set=engine=replacing", "set=check=no")
        self.assertEqual(self.server.rows(FLOW_SUMS + db + ".flows FINAL"), [sums(range(5000))])

    def test_compression(self):
        for pack in ["lz4", "zstd", "none"]:
            with self.subTest(pack=pack):
                db = self.db()
                self.drive(self.server.url(db), "create", "to=50000", "set=compress=" + pack)
                self.assertEqual(self.server.rows(FLOW_SUMS + db + ".flows"), [sums(range(50000))])

    def test_names_are_no_sql(self):
        """Names of database, table, columns and files that would end theirs and begin another statement."""
        odd = ["a`; DROP TABLE default.canary; --", "it's \\ a \"name\"", "höhe 高さ", "a\nb", "x' OR '1'='1"]
        self.server.ask("CREATE TABLE IF NOT EXISTS default.canary (x UInt8) ENGINE = Memory")
        for i, name in enumerate(odd):
            with self.subTest(name=name):
                db = self.db() + name
                args = [f"set=table={name}", f"set=ledger={name}2", f"file={name}", f"extra={name}:u64"]
                for _ in range(2):
                    self.drive(self.server.url(quote(db, safe="")), "create", "to=500", "set=rollup=yes", *args)
                self.drive(self.server.url(quote(db, safe="")), "create", "to=50", "table=ledger", *args[:3])
                tick = name.replace("\\", "\\\\").replace("`", "\\`")
                whole = f"`{db[:-len(name)]}{tick}`.`{tick}`"
                self.assertEqual(self.server.rows(f"SELECT count(), uniqExact(row), sum(`{tick}`), uniqExact(file) FROM {whole}"),
                                 [["500", "500", str(sum(range(500))), "1"]])
                self.assertEqual(self.server.value(f"SELECT count() FROM {whole[:-1]}2`"), "50")
                self.assertEqual(self.server.value("SELECT count() FROM default.canary"), "0")

    def test_extra_columns_are_added(self):
        db = self.db()
        url = self.server.url(db)
        self.drive(url, "create", "to=100")
        said = self.drive(url, "from=100", "to=200", "extra=vendorThing:u64", "extra=other:text", "extra=list:u64list", "extra=when:time",
                          "extra=yes:bool", "extra=less:s64", "extra=file:u64", "extra=row:u64")
        self.assertIn("8 columns added", said)
        self.assertEqual(self.server.rows(f"SELECT countIf(vendorThing IS NULL), sum(vendorThing), sum(element_file), sum(element_row), "
                                          f"countIf(other = ''), sum(length(list)), sum(less) FROM {db}.flows"),
                         [["100", str(sum(range(100, 200))), str(sum(range(100, 200))), str(sum(range(100, 200))),
                           str(sum(r % 3 == 2 for r in range(100, 200))), str(sum(r % 3 for r in range(100, 200))),
                           str(sum(range(100, 200)))]])

    def test_columns_of_others(self):
        """A table that its owner made: other types, columns we know nothing of, columns that are missing."""
        db = self.db()
        url = self.server.url(db)
        self.server.ask(f"CREATE DATABASE {db}")
        self.server.ask(f"CREATE TABLE {db}.flows (received DateTime, bytes UInt64, packets Nullable(UInt8), src_port Float64, "
                        "src_addr String, comment String DEFAULT 'mine', twice UInt64 MATERIALIZED bytes * 2, sampling_rate Float32, "
                        "file String, row UInt32) ENGINE = MergeTree ORDER BY received")
        said = self.drive(url, "to=1000", "set=missing=skip", "extra=x:u64", "extra=twice:u64")
        self.assertIn("column x is not delivered", said)
        self.assertIn("column twice is not delivered", said)
        self.assertEqual(self.server.rows(f"SELECT count(), sum(bytes), sum(packets), any(comment), sum(twice), sum(src_port), "
                                          f"countIf(sampling_rate = 0), toUInt32(min(received)) FROM {db}.flows"),
                         [["1000", "1498500", "5500", "mine", "2997000", "499500", "510", "1795300000"]])
        # A value that does not fit, and a type that is not ours.
        self.drive(url, "from=1000", "to=2000", "set=missing=skip", "extra=comment:u64",
                   fails=r"failed 3: clickhouse: column comment is String and cannot take whole numbers")
        self.server.ask(f"ALTER TABLE {db}.flows ADD COLUMN proto Enum8('tcp' = 6, 'udp' = 17)")
        self.drive(url, "from=1000", "to=2000", "set=missing=skip", fails=r"failed 3: .*proto.*Enum8.*does not write")
        self.server.ask(f"ALTER TABLE {db}.flows DROP COLUMN proto")
        self.server.ask(f"ALTER TABLE {db}.flows ADD COLUMN in_if UInt8")
        self.server.ask(f"ALTER TABLE {db}.flows ADD COLUMN n UInt8")
        self.drive(url, "from=1000", "to=2000", "set=missing=skip", "extra=n:u64", fails=r"failed 3: .*column n is UInt8.*number as large")
        self.assertEqual(self.server.value(f"SELECT count() FROM {db}.flows"), "1000")

    def test_no_table(self):
        self.drive(self.server.url("nowhere"), fails=r"failed 3: .*no table nowhere\.flows; --create makes it")
        self.assertIn("has no table", self.ship(path("v5"), self.server.url("nowhere"), status=1))


@unittest.skipIf(clickhouse.Server.missing, clickhouse.Server.missing)
class Debian(OnBoth, Case):
    """Version 18.16: FixedString(16), Int64 microseconds, no codecs, no TTL."""
    engine = clickhouse.Server

    def address(self, column):
        return f"replaceRegexpOne(IPv6NumToString(assumeNotNull({column})), '^::ffff:([0-9.]+)$', '\\\\1')"

    def ms(self, column):
        return f"intDiv({column}, 1000)"

    def test_times_can_be_read(self):
        db = self.db()
        self.drive(self.server.url(db), "create", "to=1")
        self.assertEqual(self.server.value(f"SELECT toUInt32(received_time) FROM {db}.flows"), "1795300000")

    def test_ttl_needs_a_newer_server(self):
        self.drive(self.server.url(self.db()), "create", "set=ttl=90d", fails="failed 3: .*ttl= needs a server of 21.8 or later, this is 18.16")

    def test_who_may(self):
        db = self.db()
        self.drive(self.server.url(db), "create", "to=10")
        for user, password, fails in [("nobody", "", "user and password"), ("writer", "wrong", "user and password"),
                                      ("reader", "x", "only read"), ("small", "x", r"failed 4: .*error 241")]:
            with self.subTest(user=user):
                out = self.drive(self.server.url(db), "from=10", "to=30000", "set=user=" + user, "set=password=" + password, fails=fails)
                self.assertIn("failed 4" if user == "small" else "failed 3", out)
                self.assertNotIn("wrong", out)
        with open(path("password"), "w", encoding="ascii") as f:
            f.write("se'cret\nnot this\n")
        self.drive(self.server.url(db), "from=10", "to=20", "set=user=writer", "set=password_file=" + path("password"))
        self.drive(self.server.url(db, user="writer:se%27cret@"), "from=20", "to=30")
        self.assertEqual(self.server.value(f"SELECT count() FROM {db}.flows"), "30")

    def test_killed_and_restarted_in_the_middle(self):
        """The server dies while INSERTs are under way, and comes back with the same data: every flow is there once."""
        db, rows = self.db(), 400000
        server = clickhouse.Server()
        self.addCleanup(server.stop)
        server.start()
        archive = path("long")
        weir("gen", "-n", rows, "-e", "2", "-w", path("long.pcap"), "--truth", path("long.json"))
        weir("collect", "--read", path("long.pcap"), "--archive", archive)
        with running("-a", archive, "--create", "--name", self.cursor(), "--set", "rows=20000", server.url(db)) as p:
            for i in range(3):
                self.until(lambda: server.exists(db, "flows") and
                           int(server.value(f"SELECT count() FROM {db}.flows")) >= (i + 1) * 40000)
                server.kill()
                server.start()
            self.until(lambda: int(server.value(f"SELECT count() FROM {db}.flows")) >= rows and
                       server.exists(db, "ledger") and int(server.value(f"SELECT ifNull(sum(flows), 0) FROM {db}.ledger")) >= rows)
            p.send_signal(signal.SIGTERM)
            said = p.communicate(timeout=DEADLINE_S)[1]
        want = totals("long")
        self.assertEqual(p.returncode, 0, said)
        self.assertEqual(server.rows(f"SELECT count(), sum(packets), sum(bytes), uniqExact(file, row) FROM {db}.flows"),
                         [[str(x) for x in [rows, want["flow_packets"], want["flow_octets"], rows]]], said)
        self.assertRegex(said, "no connection|failed|closed")

    def until(self, ready):
        end = time.monotonic() + DEADLINE_S * 2
        while not ready():
            if time.monotonic() > end:
                self.fail("it does not come about")

    def test_stalled(self):
        """A server that stands still: a stop is heard at once, and what it had taken in comes once."""
        db = self.db()
        self.drive(self.server.url(db), "create", "to=10")
        self.server.pause()
        try:
            self.drive(self.server.url(db), "from=10", "to=3000000", "set=timeout=1", fails=r"failed 4: .*does not answer in time")
        finally:
            self.server.go_on()
        self.drive(self.server.url(db), "from=10", "to=1000")
        self.assertEqual(self.server.rows(FLOW_SUMS + db + ".flows"), [sums(range(1000))])

    @unittest.skipUnless(shutil.which("openssl"), "openssl is not installed")
    def test_tls(self):
        server = clickhouse.Server(tls=True)
        self.addCleanup(server.stop)
        server.start()
        url = f"clickhouses://localhost:{server.tls_port}/net"
        self.drive(url, "create", "to=10", fails=r"failed 3: .*certificate of localhost port \d+ is not trusted.*ca=FILE")
        self.drive(url, "create", "to=10", "set=ca=" + server.dir + "/server.crt")
        self.drive(url, "from=10", "to=20", "set=verify=no")
        # A port without TLS: an answer that is none, or none at all if the greeting happens to hold no end of a line.
        self.drive(f"clickhouses://localhost:{server.port}/net", "to=10", fails="failed 4: .*(no TLS|does not answer in time)")
        self.assertEqual(server.value("SELECT count() FROM net.flows"), "20")


@unittest.skipIf(clickhouse.Current.missing, clickhouse.Current.missing)
class Current(OnBoth, Case):
    """IPv6, DateTime64, LowCardinality, codecs, indexes, TTL. Archives are read by the engine itself, as Parquet."""
    engine = clickhouse.Current

    def address(self, column):
        return f"replaceRegexpOne(toString({column}), '^::ffff:([0-9.]+)$', '\\\\1')"

    def ms(self, column):
        return f"toUnixTimestamp64Milli({column})"

    def test_every_column_equals_the_archive(self):
        """Column by column, nulls and all: the archive's Parquet against the table."""
        lists = {"mpls_labels", "mpls_exp"}
        for form in FORMATS:
            with self.subTest(form=form):
                db = self.db()
                self.ship(path(form), self.server.url(db), "--create", "--set", "columns=all", "--set", "ttl=50y")
                files = f"file('{path(form)}/flows/**/*.parquet')"
                names = [r[0] for r in self.server.rows(f"DESCRIBE TABLE {files}") if r[0] not in {"date", "hour"}]  # of its directories
                self.assertGreater(len(names), 100)
                table = dict(r[:2] for r in self.server.rows(f"DESCRIBE TABLE {db}.flows"))
                self.assertEqual(set(names) - set(table), set())
                there = 0
                for name in names:
                    plain = f"toUnixTimestamp64Micro({name})" if "DateTime64" in table[name] else f"toString({name})"
                    ours, theirs = self.address(name) if "IPv6" in table[name] else plain, plain
                    what = "SELECT count({0}), sum(cityHash64(ifNull(toString({0}), 'null'))) FROM "
                    got = self.server.rows(what.format(ours) + f"{db}.flows")
                    want = self.server.rows(what.format(theirs) + files)
                    self.assertEqual(got, want, name)
                    there += got[0][0] != "0" and name not in lists
                self.assertGreater(there, 20)

    def test_ttl_and_columns(self):
        db = self.db()
        self.drive(self.server.url(db), "create", "to=10", "set=ttl=90d", "set=columns=all")
        made = self.server.ask(f"SHOW CREATE TABLE {db}.flows")
        for words in ["toIntervalSecond(7776000)", "`src_addr` Nullable(IPv6)", "`tls_sni` LowCardinality(Nullable(String))",
                      "CODEC(T64, ZSTD(1))", "bloom_filter"]:
            self.assertIn(words, made)
        self.drive(self.server.url(db + "b"), "create", "to=10", "set=columns=used")
        self.assertNotIn("tls_sni", self.server.ask(f"SHOW CREATE TABLE {db}b.flows"))


class Answers(Case):
    """What may answer at the other end. Each answer is status, body and whether the connection breaks after it."""

    def serve(self, *answers, engine=b"MergeTree", refuses=None):
        """A server that gives these answers to INSERTs, the last one again and again; to questions the right ones, but for those
        with the words that it refuses."""
        asked, questions, third = [], [], threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                sql = self.rfile.read(int(self.headers["Content-Length"]))
                status, body, breaks = 200, b"", False
                if sql.startswith(b"INSERT"):
                    asked.append(sql)
                    if len(asked) == 3:
                        third.set()
                    status, body, breaks = answers[min(len(asked), len(answers)) - 1]
                else:
                    questions.append(sql.decode())
                if refuses and refuses in sql:
                    status, body = 403, b"Code: 497. DB::Exception: Not enough privileges"
                elif b"version()" in sql:
                    body = b"\x0724.8.99"
                elif b"system.columns" in sql:
                    body = b"".join(bytes([len(x)]) + x for name, t in [(b"bytes", b"UInt64"), (b"file", b"String"), (b"row", b"UInt64")]
                                    for x in [name, t, b""])
                elif b"system.tables" in sql:
                    body = bytes([len(engine)]) + engine
                elif b"processes" in sql:
                    body = bytes(8)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body) + breaks))
                self.end_headers()
                self.wfile.write(body)
                if breaks:
                    self.close_connection = True

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.asked, self.questions, self.third = asked, questions, third
        return f"clickhouse://127.0.0.1:{server.server_port}/net"

    def test_refusals_and_failures(self):
        """Status 4 (try again soon) or 3 (something must be done), and words that say which."""
        said = "Code: {}. DB::Exception: {} (NAME) (version 24.8.99 (official build))\n"
        for what, answer, status, words in [
                ("too many parts", (500, said.format(252, "Too many parts (300)"), False), 4, "error 252: Too many parts"),
                ("memory", (500, said.format(241, "Memory limit exceeded"), False), 4, "error 241"),
                ("unknown error", (500, said.format(99999, "what?"), False), 4, "what?"),
                ("exception after 200", (200, said.format(241, "Memory limit"), False), 4, "error 241"),
                ("no such table", (404, said.format(60, "Unknown table"), False), 3, "--create"),
                ("denied", (403, said.format(497, "Not enough privileges"), False), 3, "GRANT"),
                ("a proxy's words", (502, "<html>bad gateway\x1b[31m</html>", False), 4, r"HTTP status 502: <html>bad gateway \[31m"),
                ("no ClickHouse", (404, "not found", False), 3, "HTTP status 404"),
                ("unauthorized", (401, "", False), 3, "user and password"),
                ("slow down", (429, "", False), 4, "429"),
                ("a very long answer", (500, "x" * 10000000, False), 4, "HTTP status 500"),
                ("control characters", (500, said.format(241, "a\x00\x07\nb"), False), 4, "a b"),
                ("half an answer", (200, "", True), 4, "connection to 127.0.0.1 port"),
        ]:
            with self.subTest(what=what):
                status_, body, breaks = answer
                url = self.serve((status_, body.encode(), breaks))
                out = self.drive(url, "to=10", "set=check=no", "set=missing=skip", fails=f"failed {status}: .*{words}")
                last = out.splitlines()[-1]
                self.assertLessEqual(len(last), 200)
                self.assertTrue(last.isprintable(), last)

    def test_a_failure_in_between_is_made_good(self):
        url = self.serve((200, b"", False), (500, b"Code: 252. DB::Exception: Too many parts", False), (200, b"", False))
        archive = path("v5")
        with running("-a", archive, "--name", self.cursor(), "--set", "rows=1000", "--set", "missing=skip", "--set", "ledger=none",
                     url) as p:
            for line in p.stderr:
                if "error 252" in line:
                    break
            self.third.wait(DEADLINE_S)
            p.send_signal(signal.SIGTERM)
            p.communicate(timeout=DEADLINE_S)
        self.assertEqual(p.returncode, 0)
        self.assertGreaterEqual(len(self.asked), 3)

    def test_replicas_are_asked_one_by_one(self):
        """Of a Distributed table of a cluster, which asks one replica of each shard, that may lag."""
        every = "clusterAllReplicas('it\\'s', "
        for refuses in [None, b"clusterAllReplicas"]:
            with self.subTest(refuses=refuses):
                url = self.serve((200, b"", False), engine=b"Distributed", refuses=refuses)
                said = self.drive(url, "to=10", "set=missing=skip", "set=cluster=it's")
                rows = [q for q in self.questions if "toUInt64(row)" in q]
                self.assertEqual(["FROM `net`.`flows` WHERE" in rows[0], every + "`net`, `flows_local`) WHERE" in rows[1], len(rows)],
                                 [True, True, 2])
                running = [q for q in self.questions if "processes" in q]
                self.assertIn(every + "`system`, `processes`) WHERE position(initial_query_id, 'weir/net.flows/", running[0])
                self.assertEqual("FROM system.processes WHERE position(query_id, " in running[-1], refuses is not None)
                self.assertEqual("cannot be asked one by one" in said, refuses is not None)

    def test_nobody_there(self):
        with socket.create_server(("127.0.0.1", 0)) as s:
            port = s.getsockname()[1]
        self.drive(f"clickhouse://127.0.0.1:{port}/net", fails=rf"failed 4: clickhouse: no connection to 127.0.0.1 port {port}: .*HTTP port")
        self.drive("clickhouse://host.invalid/net", fails="failed 4: clickhouse: the host name host.invalid cannot be resolved")

    def test_no_clickhouse(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"<html>hello</html>")

            def log_message(self, *args):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.drive(f"clickhouse://127.0.0.1:{server.server_port}/net", fails="failed [35]: .*ClickHouse")

    def test_stop_is_heard(self):
        """Of a server that takes the connection and says nothing: the end comes within the time that is given to finish."""
        with socket.create_server(("127.0.0.1", 0)) as s:
            with running("-a", path("v5"), "--name", self.cursor(), f"clickhouse://127.0.0.1:{s.getsockname()[1]}/net") as p:
                s.settimeout(DEADLINE_S)
                with s.accept()[0]:
                    began = time.monotonic()
                    p.send_signal(signal.SIGTERM)
                    p.communicate(timeout=DEADLINE_S)
                    self.assertLess(time.monotonic() - began, 5)
                self.assertEqual(p.returncode, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
