#!/usr/bin/env python3
"""weir ship into a cluster: three ClickHouse servers, one shard with two replicas and one with one, and ZooKeeper, all on loopback and
started here. What arrives, over which shard, is what `weir gen` says that it made, whatever comes twice and whoever is killed."""
import json
import os
import signal
import subprocess
import tempfile
import time
import unittest

import clickhouse
from collector import DEADLINE_S, WEIR

DRIVER = os.environ["WEIR_SHIP_DRIVER"]
REPLICATED = ["set=cluster=flows", "set=engine=replicated"]


@unittest.skipIf(clickhouse.Cluster.missing, clickhouse.Cluster.missing)
class Cluster(unittest.TestCase):
    n = 0

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="weir-ship-cluster-")
        cls.cluster = clickhouse.Cluster([2, 1])
        try:
            cls.cluster.start()
        except BaseException:
            cls.tearDownClass()
            raise
        cls.first, cls.twin, cls.other = cls.cluster.servers

    @classmethod
    def tearDownClass(cls):
        cls.cluster.stop()
        cls.folder.cleanup()

    def setUp(self):
        Cluster.n += 1
        self.db = f"net{Cluster.n}"

    def drive(self, server, *args, fails=None):
        r = subprocess.run([DRIVER, server.url(self.db), *map(str, args)], capture_output=True, text=True, check=False,
                           timeout=DEADLINE_S * 2)
        self.assertEqual(r.returncode, 1 if fails else 0, r.stdout + r.stderr)
        if fails:
            self.assertRegex(r.stdout, fails)
        return r.stdout

    def until(self, ready, text="it does not come about"):
        end = time.monotonic() + DEADLINE_S
        while not ready():
            if time.monotonic() > end:
                self.fail(text)
            time.sleep(0.02)

    def on_all(self, sql, want, among=None):
        """Replicas fetch from each other after the INSERT was acknowledged."""
        for i, server in enumerate(among or self.cluster.servers):
            self.until(lambda s=server: s.rows(sql) == want, f"{sql} on server {i}: {server.rows(sql)}, not {want}")

    def count(self, rows):
        """These rows of ship_driver, each once, through each server; the octets, too."""
        self.on_all(f"SELECT count(), uniqExact(file, row), sum(bytes) FROM {self.db}.flows",
                    [[str(len(rows)), str(len(rows)), str(sum(r * 3 for r in rows))]])

    def test_spread_over_the_shards(self):
        rows = 200000
        self.drive(self.other, "create", f"to={rows}", "cut=7000", "set=rows=50000", "set=rollup=yes", *REPLICATED)
        self.drive(self.other, "create", "to=30", "table=ledger", *REPLICATED)
        self.count(range(rows))
        local = [int(s.value(f"SELECT count() FROM {self.db}.flows_local")) for s in self.cluster.servers]
        self.assertEqual([local[0], local[0] + local[2]], [local[1], rows])  # replicas have the same
        self.assertTrue(all(local), local)
        # Runs of 65536 rows stand together.
        runs = f"SELECT uniqExact(intDiv(row, 65536)) FROM {self.db}.flows_local"
        self.assertEqual(int(self.first.value(runs)) + int(self.other.value(runs)), 4)
        self.on_all(f"SELECT count() FROM {self.db}.ledger", [["30"]])
        total = [[str(rows), str(sum(r * 3 for r in range(rows)))]]
        for ending in ["_1m", "_1h"]:
            self.on_all(f"SELECT sum(n_flows), sum(n_bytes) FROM {self.db}.flows{ending}", total)
        engines = dict(self.twin.rows(f"SELECT name, engine FROM system.tables WHERE database = '{self.db}'"))
        self.assertEqual({k: v for k, v in engines.items() if "inner" not in k}, {
            "flows": "Distributed", "flows_local": "ReplicatedMergeTree", "ledger": "Distributed", "ledger_local": "ReplicatedMergeTree",
            "flows_1m": "Distributed", "flows_1m_local": "ReplicatedSummingMergeTree", "flows_1m_view": "MaterializedView",
            "flows_1h": "Distributed", "flows_1h_local": "ReplicatedSummingMergeTree", "flows_1h_view": "MaterializedView"})

    def test_twice_is_once(self):
        """Through another server, cut elsewhere: the table is asked. Not asked: the same blocks are known again by the shards; other
        blocks are not, and are what engine=replicated-replacing is for."""
        self.drive(self.other, "create", "to=100000", "cut=7000", *REPLICATED)
        self.drive(self.first, "from=1234", "to=110000", "cut=999", *REPLICATED)
        self.count(range(110000))
        for server in [self.other, self.first]:
            self.drive(server, "from=110000", "to=120000", "set=check=no", *REPLICATED)
        self.count(range(120000))
        self.db += "b"
        for server, cut in [(self.other, 7000), (self.first, 999)]:
            self.drive(server, "create", "to=20000", f"cut={cut}", f"set=rows={cut}", "set=check=no", "set=cluster=flows",
                       "set=engine=replicated-replacing")
        self.on_all(f"SELECT count(), uniqExact(row), sum(bytes) FROM {self.db}.flows FINAL",
                    [["20000", "20000", str(sum(r * 3 for r in range(20000)))]])

    def test_columns_are_added_everywhere(self):
        self.drive(self.other, "create", "to=70000", *REPLICATED)
        made = [s.value(f"SELECT engine_full FROM system.tables WHERE database = '{self.db}' AND name = 'flows'")
                for s in self.cluster.servers]
        said = self.drive(self.other, "from=70000", "to=140000", "extra=seen:u64", "extra=it's:text", *REPLICATED)
        self.assertIn("2 columns added", said)
        self.assertNotIn("error", said)
        self.count(range(140000))
        self.on_all(f"SELECT sum(seen), countIf(`it's` = '') FROM {self.db}.flows",
                    [[str(sum(range(70000, 140000))), str(sum(r % 3 == 2 for r in range(70000, 140000)))]])
        # The tables over all shards are what they were, and there are no others.
        self.assertEqual(made, [s.value(f"SELECT engine_full FROM system.tables WHERE database = '{self.db}' AND name = 'flows'")
                                for s in self.cluster.servers])
        self.on_all(f"SELECT name FROM system.tables WHERE database = '{self.db}' ORDER BY name", [["flows"], ["flows_local"]])
        # Half of it was done before, and one of the columns is new.
        self.first.ask(f"ALTER TABLE {self.db}.flows_local ON CLUSTER flows ADD COLUMN half Nullable(UInt64)")
        self.drive(self.other, "from=140000", "to=150000", "extra=half:u64", "extra=whole:u64", *REPLICATED)
        self.count(range(150000))
        self.on_all(f"SELECT sum(half), sum(whole) FROM {self.db}.flows", [[str(sum(range(140000, 150000)))] * 2])
        # Without the cluster's name nothing can be added.
        self.drive(self.other, "from=150000", "to=150010", "extra=more:u64", fails="failed 3: .*set cluster=NAME")

    def test_killed_in_the_middle(self):
        """A replica, the only server of a shard, and the server that is delivered to, while INSERTs are under way."""
        rows, archive = 300000, os.path.join(self.folder.name, "long")
        for args in [("gen", "-n", rows, "-e", "2", "-w", archive + ".pcap", "--truth", archive + ".json"),
                     ("collect", "--read", archive + ".pcap", "--archive", archive)]:
            subprocess.run([WEIR, *map(str, args)], check=True, capture_output=True, timeout=DEADLINE_S)
        with open(archive + ".json", encoding="ascii") as f:
            truth = json.load(f)
        command = [WEIR, "ship", "-a", archive, "--create", "--set", "rows=20000", "--set", "cluster=flows", "--set",
                   "engine=replicated-replacing", self.first.url(self.db)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as p:
            try:
                said = self.kill_each(p, rows)
            finally:
                if p.poll() is None:
                    p.kill()
        self.assertEqual(p.returncode, 0, said)
        self.on_all(f"SELECT count(), uniqExact(file, row), sum(packets), sum(bytes) FROM {self.db}.flows FINAL",
                    [[str(x) for x in [rows, rows, truth["flow_packets"], truth["flow_octets"]]]])
        self.on_all(f"SELECT sum(flows) FROM {self.db}.ledger FINAL", [[str(rows)]])

    def kill_each(self, p, rows):
        def arrived():
            try:
                return int(self.first.value(f"SELECT uniqExact(file, row) FROM {self.db}.flows"))
            except AssertionError:  # no table yet, or a shard is away
                return 0

        def ledger():
            try:
                return int(self.first.value(f"SELECT ifNull(sum(flows), 0) FROM {self.db}.ledger FINAL"))
            except AssertionError:
                return 0

        for server, least in [(self.twin, 40000), (self.other, 110000), (self.first, 180000)]:
            self.until(lambda n=least: arrived() >= n)
            server.kill()
            server.start()
        self.until(lambda: arrived() >= rows and ledger() >= rows)
        p.send_signal(signal.SIGTERM)
        return p.communicate(timeout=DEADLINE_S)[1]


if __name__ == "__main__":
    unittest.main(verbosity=2)
