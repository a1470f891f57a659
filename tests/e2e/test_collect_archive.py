"""weir collect into an archive, as its users meet it: what was sent can be asked for at once, whatever happens to the
collector."""
import glob
import json
import os
import random
import resource
import signal
import subprocess
import time
import unittest

import packets as P
from collector import DEADLINE_S, WEIR, Collector, CollectorTest

COLUMNS = "src_addr,dst_addr,src_port,dst_port,proto,packets,bytes"


def query(archive, *args, status=0):
    r = subprocess.run([WEIR, "query", "-R", archive, "-q", *args], capture_output=True, text=True, timeout=DEADLINE_S,
                       check=False)
    if r.returncode != status:
        raise AssertionError(f"weir query {args}: exit status {r.returncode}: {r.stderr}")
    return r.stdout


def rows(archive, *args):
    """Every flow as the tuple that packets.flow makes, in order of arrival."""
    lines = query(archive, "-o", "ndjson:" + COLUMNS, *args).splitlines()
    return [tuple(json.loads(line)[name] for name in COLUMNS.split(",")) for line in lines]


def files(archive, pattern="*"):
    return sorted(glob.glob(os.path.join(archive, "**", pattern), recursive=True))


class Archive(CollectorTest):
    def setUp(self):
        super().setUp()
        self.archive = self.path("archive")

    def collector(self, *args, **more):
        return Collector("--archive", self.archive, *args, **more)

    def seen(self, n):
        """Ask until n flows are there; flows become visible within about a second."""
        end = time.monotonic() + DEADLINE_S
        while True:
            got = rows(self.archive) if files(self.archive, "*.journal") + files(self.archive, "*.parquet") else []
            if len(got) >= n or time.monotonic() > end:
                return got

    def test_every_protocol_while_it_is_collected_and_afterwards(self):
        sent = []
        with self.collector() as c:
            c.send(P.v1([1, 2]), P.v5([3, 4, 5]), P.v9_template(), P.v9_data([6, 7]), P.ipfix_template(),
                   P.ipfix_data([8, 9, 10]))
            sent = [P.flow(n) for n in range(1, 11)]
            self.assertEqual(self.seen(10), sent)
            self.assertEqual(len(files(self.archive, "*.part")), 1)
            s = c.stop()
        self.assertEqual(s["output"]["records_written"], 10)
        self.assertEqual(files(self.archive, "*.part") + files(self.archive, "*.journal"), [])
        self.assertEqual(rows(self.archive), sent)

    def test_filters_and_top_talkers(self):
        with self.collector() as c:
            c.send(*[P.v5(range(i, i + 30), sequence=i) for i in range(0, 3000, 30)])
            c.decoded(100)
            c.stop()
        sent = [P.flow(n) for n in range(3000)]
        self.assertEqual(rows(self.archive, "packets > 990"), [f for f in sent if f[5] > 990])
        self.assertEqual(rows(self.archive, "src", "ip", "10.0.3.7"), [f for f in sent if f[0] == "10.0.3.7"])
        sums = {}
        for f in sent:
            sums[f[0]] = sums.get(f[0], 0) + f[6]
        top = [json.loads(line) for line in query(self.archive, "-s", "srcip/bytes", "-n", "5", "-o", "ndjson").splitlines()]
        self.assertEqual([t["bytes"] for t in top], sorted(sums.values(), reverse=True)[:5])

    def test_options_have_a_table_of_their_own(self):
        with self.collector() as c:
            options = P.struct.pack("!HHHHHHHHH", 257, 4, 8, 1, 4, 34, 4, 35, 1)
            c.send(P.v9(P.struct.pack("!HH", 1, 4 + len(options) + 2) + options + bytes(2), count=1))
            body = P.struct.pack("!IIB", 0, 1000, 2)
            c.send(P.v9(P.struct.pack("!HH", 257, 4 + len(body) + 3) + body + bytes(3), count=1, sequence=1))
            c.send(P.v9_template(sequence=2), P.v9_data([1], sequence=3))
            c.decoded(4)
            s = c.stop()
        self.assertEqual((s["decode"]["options"], s["decode"]["flows"]), (1, 1))
        self.assertEqual(len(files(self.archive, "*.parquet")), 1)
        self.assertEqual(len(files(os.path.join(self.archive, "options"), "*.pq")), 1)
        row = json.loads(query(self.archive, "-o", "ndjson:bytes,sampling_rate,sampling_source"))
        self.assertEqual(row["sampling_rate"], 1000)
        self.assertEqual(row["sampling_source"], "options")
        self.assertEqual(row["bytes"], P.flow(1)[6] * 1000)
        raw = json.loads(query(self.archive, "--raw", "-o", "ndjson:bytes"))
        self.assertEqual(raw["bytes"], P.flow(1)[6])

    def test_killed_at_any_moment(self):
        """What was reported as written is there once and in order, whenever the collector was killed."""
        rng = random.Random(7)
        sent, sure = 0, 0
        for _ in range(12):
            with self.collector("--flush", "1ms") as c:
                stop_at = rng.randrange(1, 200)
                written = 0
                for i in range(stop_at):
                    c.send(P.v5([sent], sequence=sent))
                    sent += 1
                    if i == stop_at // 2:
                        written = c.stats()["output"]["records_written"]
                c.kill()
                got = [f[2] - 1024 for f in rows(self.archive)]
                self.assertEqual(len(set(got)), len(got))
                self.assertGreaterEqual(len(got), sure + written)
                sure = len(got)
        with self.collector() as c:
            c.stop()
        got = [f[2] - 1024 for f in rows(self.archive)]
        self.assertEqual(got, sorted(set(got)))
        self.assertEqual(len(got), sure)
        self.assertEqual(files(self.archive, "*.part") + files(self.archive, "*.journal"), [])
        r = subprocess.run([WEIR, "archive", "verify", self.archive], capture_output=True, text=True, check=False)
        self.assertEqual(r.returncode, 0, r.stdout + r.stderr)

    def test_rotation(self):
        with self.collector("--rotate", "1s") as c:
            for i in range(3):
                c.send(P.v5([i], sequence=i))
                self.assertEqual(len(self.seen(i + 1)), i + 1)
                end = time.monotonic() + DEADLINE_S
                while files(self.archive, "*.part") and time.monotonic() < end:
                    c.stats()
            self.assertEqual(len(files(self.archive, "*.parquet")), 3)
            c.stop()
        self.assertEqual(len(self.seen(3)), 3)

    def test_one_collector_an_archive(self):
        with self.collector() as c:
            with self.collector(ready=False) as other:
                said = other.wait_for("archive")
                self.assertRegex(said, f"{c.process.pid}")
                other.end(1)
            c.stop()

    def test_full_disk(self):
        """Writing stops, everything is kept and counted; it goes on when there is room."""
        limit = 200_000

        def small():
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

        with self.collector("--flush", "1ms", preexec=small) as c:
            n = 0
            while not c.stats()["output"]["failing"]:
                self.assertLess(n, 400_000)
                c.send(*[P.v5(range(n + i * 30, n + i * 30 + 30), sequence=n + i * 30) for i in range(20)])
                n += 600
                c.decoded(n // 30)
            stored = len(rows(self.archive))
            self.assertGreater(stored, 0)
            for path in files(self.archive, "*.part") + files(self.archive, "*.journal"):
                self.assertLessEqual(os.path.getsize(path), limit)
            resource.prlimit(c.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            s = c.until("all written", lambda s: s["output"]["records_written"] == n)
            self.assertEqual(s["output"]["records_lost"], 0)
            c.stop()
        self.assertEqual([f[2] for f in rows(self.archive)], [P.flow(i)[2] for i in range(n)])

    def test_capture(self):
        capture = self.path("a.pcap")
        with open(capture, "wb") as f:
            f.write(P.pcap([(i * 100_000_000, P.ethernet_udp("192.0.2.9", 5000, "192.0.2.10", 2055, P.v5([i], sequence=i)))
                            for i in range(100)]))
        r = subprocess.run([WEIR, "collect", "-r", capture, "-a", self.archive], capture_output=True, text=True,
                           timeout=DEADLINE_S, check=False)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertEqual(rows(self.archive), [P.flow(i) for i in range(100)])
        # 100 s between two packets, files of 5 minutes, by the capture's clock.
        self.assertEqual(len(files(self.archive, "*.parquet")), 34)
        self.assertTrue(os.path.isdir(os.path.join(self.archive, "flows/date=1970-01-01/hour=02")))

    def test_wrong_usage(self):
        for args in (("--rotate", "7m"), ("-o", "x.gz", "--archive", "y"), ("-o", "x.gz", "--keep", "1d"), ("--sync", "often")):
            r = subprocess.run([WEIR, "collect", *args], capture_output=True, text=True, check=False, cwd=self.dir,
                               timeout=DEADLINE_S)
            self.assertEqual((r.returncode, r.stdout), (2, ""), (args, r.stderr))
            self.assertIn(args[-2], r.stderr)
        self.assertEqual(os.listdir(self.dir), [])

    def test_stopping_is_quick_and_complete(self):
        with self.collector("--flush", "1h") as c:
            c.send(P.v5([1]))
            c.decoded(1)
            s = c.stop(signal.SIGINT)
        self.assertEqual(s["output"]["records_written"], 1)
        self.assertEqual(rows(self.archive), [P.flow(1)])


if __name__ == "__main__":
    unittest.main()
