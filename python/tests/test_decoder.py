#!/usr/bin/env python3
"""netflow.Decoder: packets in, rows out; what it keeps of exporters; its use by several threads."""
import gc
import os
import pathlib
import random
import struct
import sys
import tempfile
import threading
import time
import unittest
from datetime import datetime, timedelta, timezone

import netflow
import netflow.utils
import packets as make

FLOW = ["src_addr", "dst_addr", "bytes", "packets", "src_port", "dst_port", "proto", "tcp_flags"]
UTC = timezone.utc
NOW = make.EXPORT_S + 1


def flow(n):
    """What FLOW is of record n."""
    v = make.values(n)
    return (f"10.0.{n >> 8}.{n & 255}", "192.0.2.1", *v[2:])


def memory():
    """Octets of this process that are in memory."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


class Values(unittest.TestCase):
    def setUp(self):
        self.decoder = netflow.Decoder(columns=FLOW)

    def rows(self):
        return self.decoder.batch().tuples()

    def test_netflow_9(self):
        self.decoder.feed(make.v9_template())
        self.decoder.feed(make.v9_data(range(20)))
        self.assertEqual(self.rows(), [flow(n) for n in range(20)])

    def test_ipfix(self):
        self.decoder.feed(make.ipfix_template())
        self.decoder.feed(make.ipfix_data(range(300, 320)))
        self.assertEqual(self.rows(), [flow(n) for n in range(300, 320)])

    def test_netflow_5(self):
        self.decoder.feed(make.v5(*(make.v5_flow(n)[0] for n in range(3))))
        self.assertEqual([row[0] for row in self.rows()], ["10.0.0.0", "10.0.0.1", "10.0.0.2"])

    def test_netflow_1(self):
        decoder = netflow.Decoder(columns=["next_hop", "in_if", "bytes", "tos", "sequence", "src_as"])
        decoder.feed(make.v1(make.v1_flow(7)[0]))
        self.assertEqual(decoder.batch().tuples(), [("192.0.2.254", 3, 740, 16, None, None)])

    def test_columns_without_names(self):
        decoder = netflow.Decoder()
        client = ("198.51.100.7", 4711)
        decoder.feed(make.v9_template(), client=client, received=NOW)
        decoder.feed(make.v9_data([4]), client=client, received=NOW)
        batch = decoder.batch()
        self.assertEqual(len(batch), 1)
        [row] = batch.dicts()
        self.assertEqual(tuple(row), batch.columns)
        self.assertEqual((row["exporter"], row["exporter_port"]), client)
        self.assertEqual(tuple(row[name] for name in FLOW), flow(4))
        self.assertNotIn(None, row.values())
        self.assertNotIn("dst_as", row)

    def test_a_batch_is_empty_afterwards(self):
        self.decoder.feed(make.v9_template())
        self.decoder.feed(make.v9_data([1, 2]))
        self.assertEqual(self.decoder.rows, 2)
        first = self.decoder.batch()
        self.assertEqual(self.decoder.rows, 0)
        self.assertEqual(len(self.decoder.batch()), 0)
        self.assertEqual(len(first), 2)
        self.assertEqual(self.decoder.batch().tuples(), [])
        self.assertEqual(self.decoder.batch().dicts(), [])
        self.assertEqual(self.decoder.lost, 0)

    def test_unknown_column(self):
        with self.assertRaisesRegex(ValueError, "src_adr"):
            netflow.Decoder(columns=["bytes", "src_adr"])
        with self.assertRaises(TypeError):
            netflow.Decoder(columns="bytes")
        with self.assertRaises(TypeError):
            netflow.Decoder(columns=[b"bytes"])
        with self.assertRaises(ValueError):
            netflow.Decoder(columns=["by\0tes"])
        with self.assertRaises(TypeError):
            netflow.Decoder(column=["bytes"])

    def test_late_data_comes_with_its_template(self):
        self.decoder.feed(make.v9_data([1, 2]), received=NOW)
        self.assertEqual(self.rows(), [])
        self.assertEqual(self.decoder.counters["waiting"], 1)
        self.decoder.feed(make.v9_template(), received=NOW + 3)
        self.assertEqual(self.rows(), [flow(1), flow(2)])
        self.assertEqual(self.decoder.counters["waiting"], 0)

    def test_unknown_elements_are_not_lost(self):
        decoder = netflow.Decoder()
        decoder.feed(make.ipfix_template(fields=((8, 4), (77, 3, 4242), (82, 8))))
        decoder.feed(make.ipfix(make.a_set(256, bytes([10, 0, 0, 1]), b"\1\2\3", b"eth0\0\0\0\0")))
        [row] = decoder.batch().dicts()
        self.assertEqual(row["e4242_77"], b"\1\2\3")
        self.assertEqual(row["interfaceName"] if "interfaceName" in row else row["in_if_name"], "eth0")


class Arguments(unittest.TestCase):
    def one(self, columns, *args, **kwargs):
        decoder = netflow.Decoder(columns=columns)
        decoder.feed(make.v5(make.v5_flow(1)[0]), *args, **kwargs)
        [row] = decoder.batch().tuples()
        return row

    def test_client(self):
        for client, want in ((("198.51.100.7", 4711), ("198.51.100.7", 4711)),
                             (("2001:db8::7", 4711, 0, 0), ("2001:db8::7", 4711)),
                             (("fe80::1%eth0", 1, 0, 3), ("fe80::1", 1)),
                             (("::ffff:192.0.2.9", 7, 0, 0), ("192.0.2.9", 7))):
            with self.subTest(client):
                self.assertEqual(self.one(["exporter", "exporter_port"], client), want)
        self.assertEqual(self.one(["exporter"], "198.51.100.8"), ("198.51.100.8",))
        self.assertEqual(self.one(["exporter"], client=None), (None,))

    def test_wrong_client(self):
        for client, error in (("router", ValueError), (("192.0.2.1", 65536), ValueError), (("192.0.2.1", -1), ValueError),
                              (("192.0.2.1",), ValueError), (("192.0.2.1", "2055"), TypeError), (7, TypeError),
                              ((7, 7), TypeError), ("1" * 300, ValueError), (("192.0.2.1", 1 << 70), OverflowError),
                              ("", ValueError), ("%", ValueError), ("\0", ValueError), ("192.0.2.1\0", ValueError)):
            with self.subTest(client), self.assertRaises(error):
                self.one(["exporter"], client)

    def test_received(self):
        exact = datetime(2023, 11, 14, 22, 13, 21, 123457, tzinfo=UTC)
        for received in (exact, exact.timestamp(), exact.astimezone(timezone(timedelta(hours=5)))):
            with self.subTest(received):
                self.assertEqual(self.one(["received"], received=received), (exact,))
        self.assertEqual(self.one(["received"], received=NOW), (datetime.fromtimestamp(NOW, UTC),))
        before = datetime.now(UTC)
        [now] = self.one(["received"])
        self.assertLessEqual(before - timedelta(microseconds=1), now)
        self.assertLessEqual(now, datetime.now(UTC))

    def test_every_microsecond_of_a_float(self):
        for us in (0, 1, 2, 499999, 729000, 999998, 999999):
            want = datetime(2020, 4, 1, 3, 26, 5, us, tzinfo=UTC)
            self.assertEqual(self.one(["received"], received=want.timestamp()), (want,))

    def test_wrong_received(self):
        for received, error in ((-1, ValueError), (-0.5, ValueError), (float("nan"), ValueError), (1e300, ValueError),
                                (float("inf"), ValueError), (5_000_000_000, ValueError), (1 << 80, OverflowError),
                                ("now", TypeError), (b"", TypeError)):
            with self.subTest(received), self.assertRaises(error):
                self.one(["received"], received=received)

    def test_data(self):
        octets = make.v5(make.v5_flow(1)[0])
        for data in (octets, bytearray(octets), memoryview(octets), memoryview(b"x" + octets)[1:]):
            decoder = netflow.Decoder(columns=FLOW)
            decoder.feed(data)
            self.assertEqual(decoder.rows, 1, type(data))
        for data in ("00", 5, None, [0, 5]):
            with self.subTest(data), self.assertRaises(TypeError):
                netflow.Decoder().feed(data)

    def test_options_of_the_decoder(self):
        for more in ({"scope": "host"}, {"transport": "tcp4"}, {"limits": {"max_exporter": 1}},
                     {"limits": {"max_exporters": -1}}, {"limits": {"waiting_s": 1 << 32}}):
            with self.subTest(more), self.assertRaises(ValueError):
                netflow.Decoder(**more)
        with self.assertRaises(OSError):
            netflow.Decoder(elements=["/nonexistent/elements.tsv"])

    def test_cannot_be_made_empty(self):
        with self.assertRaises(TypeError):
            netflow.Batch()
        with self.assertRaises(TypeError):
            object.__new__(netflow.Batch)


class FeedMany(unittest.TestCase):
    def setUp(self):
        self.decoder = netflow.Decoder(columns=FLOW, strict=False)

    def test_items(self):
        n = self.decoder.feed_many([make.v9_template(), make.v9_data([1]), (make.v9_data([2]), ("192.0.2.1", 2055)),
                                    (make.v9_data([3]), "192.0.2.1", NOW), bytearray(make.v9_data([4]))])
        self.assertEqual(n, 5)
        self.assertEqual(self.decoder.batch().tuples(), [flow(n) for n in (1, 2, 3, 4)])
        self.assertEqual(self.decoder.feed_many([]), 0)

    def test_many_chunks(self):
        n = self.decoder.feed_many(make.v9_data([k % 65536]) if k else make.v9_template() for k in range(5001))
        self.assertEqual(n, 5001)
        self.assertEqual(self.decoder.batch().tuples(), [flow(k) for k in range(1, 5001)])

    def test_client_and_time_of_all(self):
        decoder = netflow.Decoder(columns=["exporter", "received"])
        decoder.feed_many([make.v5(make.v5_flow(1)[0])] * 2, ("198.51.100.1", 1), NOW)
        want = ("198.51.100.1", datetime.fromtimestamp(NOW, UTC))
        self.assertEqual(decoder.batch().tuples(), [want, want])

    def test_what_came_before_an_error_is_decoded(self):
        def source():
            yield make.v9_template()
            yield make.v9_data([1])
            raise KeyError("mine")

        with self.assertRaisesRegex(KeyError, "mine"):
            self.decoder.feed_many(source())
        self.assertEqual(self.decoder.batch().tuples(), [flow(1)])
        with self.assertRaises(TypeError):
            self.decoder.feed_many([make.v9_data([2]), "no packet"])
        self.assertEqual(self.decoder.batch().tuples(), [flow(2)])
        for wrong in ((), (b"",), (b"", None, None, None)):
            with self.assertRaises(ValueError):
                self.decoder.feed_many([wrong])
        with self.assertRaises(TypeError):
            self.decoder.feed_many(7)

    def test_an_iterable_that_feeds_itself(self):
        def source():
            for n in range(3):
                self.decoder.feed(make.v9_data([n]))
                yield make.v9_data([n + 10])

        self.decoder.feed(make.v9_template())
        self.assertEqual(self.decoder.feed_many(source()), 3)
        self.assertEqual(sorted(self.decoder.batch().tuples()), sorted(flow(n) for n in (0, 1, 2, 10, 11, 12)))

    def test_strict_stops(self):
        decoder = netflow.Decoder(columns=FLOW, strict=True)
        with self.assertRaises(netflow.utils.MalformedPacket):
            decoder.feed_many([make.v9_template(), make.v9_data([1]), b"\0\5\0", make.v9_data([2])])
        self.assertEqual(decoder.batch().tuples(), [flow(1)])
        self.assertEqual(decoder.counters["packets"], 3)


class Malformed(unittest.TestCase):
    BAD = {"unknown-version": b"\0\6" + bytes(30), "short-header": b"\0\5\0",
           "message-length": make.ipfix_template(length=12), "record-count": make.v5(count=30)}

    def test_counted(self):
        decoder = netflow.Decoder()
        for data in self.BAD.values():
            decoder.feed(data)
        counters = decoder.counters
        self.assertEqual({k: v for k, v in counters["rejected"].items() if v}, dict.fromkeys(self.BAD, 1))
        self.assertEqual(counters["packets"], 4)
        self.assertEqual(counters["decoded"], 0)

    def test_strict(self):
        for reason, data in self.BAD.items():
            decoder = netflow.Decoder(strict=True)
            with self.subTest(reason):
                with self.assertRaises(netflow.utils.MalformedPacket) as caught:
                    decoder.feed(data)
                self.assertIsInstance(caught.exception, ValueError)
                self.assertIsInstance(caught.exception, struct.error)
                self.assertGreater(len(str(caught.exception)), 10)
                self.assertEqual(decoder.counters["rejected"][reason], 1)

    def test_strict_about_a_part(self):
        packet = make.v9(make.a_set(0, make.template(256, *make.FIELDS)), make.a_set(256, make.record(1)),
                         struct.pack("!HH", 256, 500))
        decoder = netflow.Decoder(columns=FLOW, strict=True)
        with self.assertRaises(netflow.utils.MalformedPacket):
            decoder.feed(packet)
        self.assertEqual(decoder.batch().tuples(), [flow(1)])
        self.assertEqual(decoder.counters["faults"]["set-bounds"], 1)
        decoder.feed(make.v9_data([2]))  # nothing of it sticks
        relaxed = netflow.Decoder(columns=FLOW)
        relaxed.feed(packet)
        self.assertEqual(relaxed.batch().tuples(), [flow(1)])

    def test_every_cut(self):
        whole = make.ipfix(make.a_set(2, make.template(256, *make.FIELDS)), make.a_set(256, make.record(1)))
        for end in range(len(whole)):
            decoder = netflow.Decoder(strict=True)
            with self.assertRaises(netflow.utils.MalformedPacket):
                decoder.feed(whole[:end])

    def test_whatever_comes(self):
        """Packets with some octets changed, cut or put together: rows or counters, and nothing else."""
        rnd = random.Random(5)
        seeds = [make.v9_template(), make.v9_data(range(9)), make.ipfix_template(), make.ipfix_data(range(9)),
                 make.ipfix(make.a_set(3, make.ipfix_options(300, [(149, 4)], [(34, 4)])), make.a_set(300, bytes(16))),
                 make.ipfix_template(257, ((8, 4), (82, 65535), (291, 65535), (150, 4), (95, 4))),
                 make.ipfix(make.a_set(257, bytes(4), b"\4eth0\3\1\2\3", bytes(8))),
                 make.v5(make.v5_flow(1)[0]), make.v1(make.v1_flow(1)[0])]
        decoder = netflow.Decoder(options=True, limits={"max_exporters": 8, "max_waiting_octets": 1 << 16})
        decoder.feed_many(seeds)
        for n in range(20000):
            data = bytearray(rnd.choice(seeds))
            for _ in range(rnd.choice((0, 1, 1, 2, 8))):
                data[rnd.randrange(2, len(data))] = rnd.choice((0, 1, 255, rnd.randrange(256)))
            if rnd.random() < 0.2:
                del data[rnd.randrange(len(data)):]
            decoder.feed(data, ("192.0.2.1", rnd.randrange(3)), NOW + n / 100)
            if n % 500 == 0:
                for batch in decoder.batch(), decoder.options_batch():
                    self.assertEqual([tuple(row.values()) for row in batch.dicts()], batch.tuples())
        decoder.exporters()
        decoder.finish()
        c = decoder.counters
        self.assertEqual(c["waiting"], 0)
        self.assertEqual(c["packets"], c["decoded"] + c["expired"] + sum(c["rejected"].values()))
        self.assertEqual(c["records"], c["flows"] + c["options"] + c["records_rejected"])


class State(unittest.TestCase):
    def test_counters(self):
        decoder = netflow.Decoder()
        decoder.feed(make.v9_template())
        decoder.feed(make.v9_data([1, 2, 3], sequence=2))
        decoder.feed(make.v9_data([4], set_id=300, sequence=5))
        c = decoder.counters
        self.assertEqual((c["packets"], c["decoded"], c["waiting"], c["flows"]), (3, 2, 1, 3))
        self.assertEqual(c["records"], c["flows"] + c["options"] + c["records_rejected"])
        self.assertEqual(c["packets"], c["decoded"] + c["waiting"] + c["expired"] + sum(c["rejected"].values()))
        decoder.finish()
        self.assertEqual((decoder.counters["waiting"], decoder.counters["expired"]), (0, 1))

    def test_exporters(self):
        decoder = netflow.Decoder()
        self.assertEqual(decoder.exporters(), [])
        decoder.feed(make.v9_template(source=1), ("192.0.2.1", 5), NOW)
        decoder.feed(make.v9_template(source=2), ("192.0.2.1", 5), NOW + 1)
        decoder.feed(make.ipfix_template(), ("2001:db8::1", 5), NOW + 2)
        exporters = {e.address: e for e in decoder.exporters()}
        self.assertEqual(sorted(exporters), ["192.0.2.1", "2001:db8::1"])
        one = exporters["192.0.2.1"]
        self.assertEqual((one.scope, one.quirks), ("address", ()))
        self.assertEqual(one.first, datetime.fromtimestamp(NOW, UTC))
        self.assertEqual(one.last, datetime.fromtimestamp(NOW + 1, UTC))
        self.assertEqual(one.counters["packets"], 2)
        self.assertEqual({s.domain: s.version for s in one.streams}, {1: 9, 2: 9})
        [stream] = exporters["2001:db8::1"].streams
        self.assertEqual((stream.version, stream.domain, stream.port), (10, 7, 5))
        self.assertEqual(stream.clock_skew, timedelta(seconds=-3))
        self.assertEqual(set(stream.exported.values()), {None})
        [template] = stream.templates
        self.assertEqual((template.id, template.options, template.variable, template.port), (256, False, False, 5))
        self.assertEqual(template.learnt, datetime.fromtimestamp(NOW + 2, UTC))
        self.assertEqual([(f.name, f.length) for f in template.fields], list(zip(make.IPFIX_NAMES, [4, 4, 4, 4, 2, 2, 1, 1])))
        self.assertEqual(decoder.exporters(templates=False)[0].streams[0].templates, ())

    def test_scope_fields_of_a_template(self):
        decoder = netflow.Decoder()
        decoder.feed(make.ipfix(make.a_set(3, make.ipfix_options(300, [(149, 4)], [(34, 4)]))))
        [template] = decoder.exporters()[0].streams[0].templates
        self.assertTrue(template.options)
        self.assertEqual([(f.name, f.scope) for f in template.fields],
                         [("observationDomainId", True), ("samplingInterval", False)])

    def test_exporters_do_not_share_templates(self):
        decoder = netflow.Decoder(columns=FLOW)
        decoder.feed(make.v9_template(), "192.0.2.1")
        decoder.feed(make.v9_data([1]), "192.0.2.2")
        self.assertEqual(decoder.rows, 0)
        decoder.feed(make.v9_data([1]), ("192.0.2.1", 99))
        self.assertEqual(decoder.rows, 1)

    def test_scope(self):
        for how in ("at the start", "of one exporter"):
            with self.subTest(how):
                decoder = netflow.Decoder(scope="port" if how == "at the start" else "address")
                if how != "at the start":
                    decoder.set_scope("192.0.2.1", "port")
                decoder.feed(make.v9_template(), ("192.0.2.1", 1))
                decoder.feed(make.v9_data([1]), ("192.0.2.1", 2))
                self.assertEqual(decoder.rows, 0)
                self.assertEqual(decoder.exporters()[0].scope, "port")
        with self.assertRaises(ValueError):
            decoder.set_scope("192.0.2.1", "both")

    def test_sampling(self):
        decoder = netflow.Decoder(columns=["sampling_rate", "sampling_source"])
        decoder.set_sampling("192.0.2.1", 512)
        decoder.feed(make.v9_template())
        decoder.feed(make.v9_data([1]))
        self.assertEqual(decoder.batch().tuples(), [(512.0, "configured")])
        [exporter] = decoder.exporters()
        self.assertEqual((exporter.streams[0].sampling_rate, exporter.streams[0].sampling_origin), (512.0, "configured"))
        for rate in (-1, float("nan"), float("inf")):
            with self.assertRaises(ValueError):
                decoder.set_sampling("192.0.2.1", rate)
        with self.assertRaises(ValueError):
            decoder.set_sampling("somewhere", 1)

    def test_quirks(self):
        decoder = netflow.Decoder(columns=["first"])
        decoder.set_quirks("192.0.2.1", ["record-time-broken"])
        decoder.feed(make.v5(make.v5_flow(1)[0]))
        self.assertEqual(decoder.exporters()[0].quirks, ("record-time-broken",))
        self.assertEqual(decoder.counters["quirky"], 1)
        decoder.set_quirks("192.0.2.1", ())
        decoder.feed(make.v5(make.v5_flow(1)[0]))
        first = decoder.batch().column("first")
        self.assertEqual(first[0], datetime.fromtimestamp(make.EXPORT_S, UTC).replace(microsecond=0))
        self.assertLess(first[1], first[0])
        with self.assertRaisesRegex(ValueError, "uptime-seconds"):
            decoder.set_quirks("192.0.2.1", ["uptime"])

    def test_save_and_load(self):
        before = netflow.Decoder()
        before.feed(make.v9_template(), received=NOW)
        state = before.save()
        self.assertIsInstance(state, bytes)
        after = netflow.Decoder(columns=FLOW)
        after.load(state)
        after.feed(make.v9_data([1], sequence=2), received=NOW + 1)
        self.assertEqual(after.batch().tuples(), [flow(1)])
        with self.assertRaisesRegex(ValueError, "packet"):
            after.load(state)
        for damaged in (b"", state[:-1], state[:20] + b"\xff" + state[21:]):
            with self.assertRaises(ValueError):
                netflow.Decoder().load(damaged)
        with self.assertRaises(TypeError):
            netflow.Decoder().load("state")
        other = netflow.Decoder()
        other.load(bytearray(state))
        self.assertEqual(len(other.exporters()), 1)

    def test_time_passes(self):
        decoder = netflow.Decoder(limits={"waiting_s": 10, "template_life_s": 60})
        decoder.feed(make.v9_data([1], set_id=300), received=NOW)
        decoder.feed(make.v9_template(), received=NOW)
        decoder.tick(NOW + 5)
        self.assertEqual(decoder.counters["waiting"], 1)
        decoder.tick(datetime.fromtimestamp(NOW + 11, UTC))
        self.assertEqual((decoder.counters["waiting"], decoder.counters["expired"]), (0, 1))
        self.assertEqual(decoder.counters["templates"], 1)
        decoder.tick(now=NOW + 61.5)
        self.assertEqual((decoder.counters["templates"], decoder.counters["templates_expired"]), (0, 1))

    def test_limits(self):
        decoder = netflow.Decoder(limits={"max_exporters": 2})
        for n in range(4):
            decoder.feed(make.v9_template(), f"192.0.2.{n}", NOW)
        self.assertEqual(len(decoder.exporters()), 2)
        self.assertEqual(decoder.counters["rejected"]["state-limit"], 2)
        with self.assertRaisesRegex(ValueError, "room"):
            decoder.set_sampling("192.0.2.99", 5)

    def test_options_records(self):
        packets = [make.ipfix(make.a_set(3, make.ipfix_options(300, [(149, 4)], [(34, 4)]))),
                   make.ipfix(make.a_set(300, struct.pack("!II", 7, 100)))]
        decoder = netflow.Decoder(options=True)
        decoder.feed_many(packets)
        self.assertEqual((decoder.rows, decoder.options_rows), (0, 1))
        [row] = decoder.options_batch().dicts()
        self.assertIn(100, row.values())
        self.assertEqual(decoder.options_rows, 0)
        plain = netflow.Decoder()
        plain.feed_many(packets)
        self.assertEqual(plain.options_rows, 0)
        with self.assertRaisesRegex(ValueError, "options=True"):
            plain.options_batch()

    def test_withdrawal_over_a_connection(self):
        withdrawal = make.ipfix(make.a_set(2, struct.pack("!HH", 256, 0)))
        for transport, left in (("udp", 1), ("stream", 0), ("file", 0)):
            with self.subTest(transport):
                decoder = netflow.Decoder(transport=transport)
                decoder.feed_many([make.ipfix_template(), withdrawal])
                self.assertEqual(decoder.counters["templates"], left)

    def test_elements(self):
        with tempfile.TemporaryDirectory() as d:
            path = pathlib.Path(d) / "mine.tsv"
            path.write_text("pen\tid\tname\tabstract_data_type\n4242\t77\tmyCounter\tunsigned32\n")
            decoder = netflow.Decoder(elements=[path])
            decoder.feed(make.ipfix_template(fields=((8, 4), (77, 4, 4242))))
            decoder.feed(make.ipfix(make.a_set(256, bytes([10, 0, 0, 1, 0, 0, 1, 0]))))
            self.assertEqual(decoder.batch().column("myCounter"), [256])
            named = netflow.Decoder(elements=[path], columns=["bytes", "myCounter"])
            named.load(decoder.save())
            named.feed(make.ipfix(make.a_set(256, bytes([10, 0, 0, 1, 0, 0, 1, 1]))))
            self.assertEqual(named.batch().tuples(), [(None, 257)])
            path.write_text("nothing of the kind\n")
            with self.assertRaises(ValueError):
                netflow.Decoder(elements=[path])


class Threads(unittest.TestCase):
    def test_many_threads_one_decoder(self):
        decoder = netflow.Decoder(columns=["exporter", "src_addr"])
        rows, failures, lock = [], [], threading.Lock()
        stop = threading.Event()

        def feed(k):
            try:
                client = f"192.0.2.{k}"
                decoder.feed(make.v9_template(), client)
                for n in range(200):
                    decoder.feed(make.v9_data([n], sequence=n + 2), client)
                decoder.feed_many((make.v9_data([n], sequence=n + 2), client) for n in range(200, 600))
            except Exception as e:
                failures.append(e)

        def take():
            try:
                while not stop.is_set():
                    with lock:
                        rows.extend(decoder.batch().tuples())
                    decoder.exporters()
                    decoder.counters
                    decoder.rows
                    decoder.save()
            except Exception as e:
                failures.append(e)

        feeders = [threading.Thread(target=feed, args=(k,)) for k in range(4)]
        takers = [threading.Thread(target=take) for _ in range(2)]
        for t in feeders + takers:
            t.start()
        for t in feeders:
            t.join()
        stop.set()
        for t in takers:
            t.join()
        rows += decoder.batch().tuples()
        self.assertEqual(failures, [])
        self.assertEqual(sorted(rows), sorted((f"192.0.2.{k}", flow(n)[0]) for k in range(4) for n in range(600)))

    def test_other_threads_run_while_it_decodes(self):
        """With a switch interval of hours a thread gets the GIL only when another one gives it away by itself."""
        decoder = netflow.Decoder(columns=FLOW)
        decoder.feed(make.v9_template())
        packets = [make.v9_data(range(28))] * 2000
        ran, stop = [0], threading.Event()

        def other():
            while not stop.is_set():
                ran[0] += 1
                time.sleep(0)

        before = sys.getswitchinterval()
        thread = threading.Thread(target=other)
        thread.start()
        sys.setswitchinterval(3600)
        try:
            for _ in range(50):
                seen = ran[0]
                decoder.feed_many(packets)
                progressed = ran[0] - seen
                decoder.batch()
                if progressed:
                    break
        finally:
            sys.setswitchinterval(before)
            stop.set()
            thread.join()
        self.assertGreater(progressed, 0)


class Memory(unittest.TestCase):
    def test_nothing_is_left_behind(self):
        packets = [make.v9_template(), make.v9_data(range(20)), make.ipfix_template(), make.ipfix_data(range(20))]

        def once():
            decoder = netflow.Decoder(options=True, strict=True)
            decoder.feed_many((p, ("192.0.2.1", 1), NOW) for p in packets)
            batch = decoder.batch()
            batch.dicts(), batch.tuples(), batch.column("bytes"), batch.columns, batch.fields
            other = netflow.Decoder()
            other.load(decoder.save())
            decoder.exporters(), decoder.counters, decoder.rows
            decoder.options_batch()
            batch.__arrow_c_array__(), batch.__arrow_c_schema__()
            for wrong in (lambda: decoder.feed(b"\0\5"), lambda: decoder.feed_many([b"", 7]),
                          lambda: decoder.feed(packets[0], "nowhere"), lambda: batch.dicts(["none"]),
                          lambda: batch.tuples(7), lambda: batch.dicts(times="year"),
                          lambda: netflow.Decoder(columns=["none"]), lambda: decoder.load(b"x"),
                          lambda: decoder.feed_many(1 / 0 for _ in "x"), lambda: decoder.feed(packets[0], received="x"),
                          lambda: netflow.Decoder(elements=["/nonexistent"]), lambda: netflow.Batch()):
                try:
                    wrong()
                except (ValueError, KeyError, TypeError, OSError, ZeroDivisionError):
                    pass
                else:
                    raise AssertionError("nothing was raised")

        for _ in range(100):
            once()
        gc.collect()
        blocks, octets = sys.getallocatedblocks(), memory()
        for _ in range(1000):
            once()
        gc.collect()
        self.assertLess(sys.getallocatedblocks() - blocks, 900)
        self.assertLess(memory() - octets, 4 << 20)

    def test_rows_outlive_the_decoder(self):
        decoder = netflow.Decoder(columns=FLOW)
        decoder.feed(make.v9_template())
        decoder.feed(make.v9_data([1, 2]))
        batch = decoder.batch()
        del decoder
        self.assertEqual(batch.tuples(), [flow(1), flow(2)])


if __name__ == "__main__":
    unittest.main()
