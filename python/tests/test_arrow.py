#!/usr/bin/env python3
"""Batches, captures and archives as rows of Python and as Arrow data.

What needs pyarrow, duckdb, pandas or polars is skipped without them; what compares with the program weir takes the one of
the package, or what the environment variable WEIR names.
"""
import contextlib
import ctypes
import gc
import gzip
import importlib.util
import json
import os
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from datetime import datetime, timedelta, timezone

import netflow
import packets as make
from netflow import _program

try:
    import pyarrow as pa
except ImportError:
    pa = None

UTC = timezone.utc
WEIR = os.environ.get("WEIR") or _program.find()
FLOW = ["src_addr", "dst_addr", "bytes", "packets", "src_port", "dst_port", "proto", "tcp_flags"]

with_arrow = unittest.skipUnless(pa, "pyarrow is not installed")
with_weir = unittest.skipUnless(WEIR, "the package has no program weir, and WEIR names none")


def with_module(name):
    return unittest.skipUnless(pa and importlib.util.find_spec(name), f"{name} and pyarrow are not installed")


def memory():
    """Octets of this process that are in memory."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def flow(n):
    """What FLOW is of record n."""
    v = make.values(n)
    return (f"10.0.{n >> 8}.{n & 255}", "192.0.2.1", *v[2:])


def pcap(payloads, seconds=make.EXPORT_S + 1):
    """A capture with these UDP payloads from 192.0.2.1:2055, a millisecond after each other."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)]
    for n, payload in enumerate(payloads):
        udp = struct.pack("!HHHH", 2055, 2055, 8 + len(payload), 0) + payload
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes([192, 0, 2, 1]),
                         bytes([192, 0, 2, 254])) + udp
        out.append(struct.pack("<IIII", seconds + n // 1000, n % 1000 * 1000, len(ip), len(ip)) + ip)
    return b"".join(out)


def batch_of(*numbers, columns=FLOW):
    decoder = netflow.Decoder(columns=columns)
    decoder.feed(make.v9_template())
    if numbers:
        decoder.feed(make.v9_data(numbers))
    return decoder.batch()


# ---- the structures of the C interface, to look at them from outside ----

class CArray(ctypes.Structure):
    pass


CArray._fields_ = [("length", ctypes.c_int64), ("null_count", ctypes.c_int64), ("offset", ctypes.c_int64),
                   ("n_buffers", ctypes.c_int64), ("n_children", ctypes.c_int64),
                   ("buffers", ctypes.POINTER(ctypes.c_void_p)), ("children", ctypes.POINTER(ctypes.POINTER(CArray))),
                   ("dictionary", ctypes.POINTER(CArray)),
                   ("release", ctypes.CFUNCTYPE(None, ctypes.POINTER(CArray))), ("private_data", ctypes.c_void_p)]


class CStream(ctypes.Structure):
    pass


CStream._fields_ = [("get_schema", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(CStream), ctypes.c_void_p)),
                    ("get_next", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(CStream), ctypes.POINTER(CArray))),
                    ("get_last_error", ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.POINTER(CStream))),
                    ("release", ctypes.CFUNCTYPE(None, ctypes.POINTER(CStream))), ("private_data", ctypes.c_void_p)]

capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
capsule_pointer.restype = ctypes.c_void_p
capsule_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


def c_array(capsule):
    return CArray.from_address(capsule_pointer(capsule, b"arrow_array"))


def buffers(array):
    """Addresses of all buffers of an array and what it is made of, None where there is none."""
    mine = [array.buffers[i] for i in range(array.n_buffers)]
    for i in range(array.n_children):
        mine += buffers(array.children[i].contents)
    return mine + (buffers(array.dictionary.contents) if array.dictionary else [])


def arrow_buffers(array):
    """The same of an array of pyarrow."""
    if isinstance(array, pa.DictionaryArray):
        return arrow_buffers(array.indices) + arrow_buffers(array.dictionary)
    return [b.address if b is not None else None for b in array.buffers()]


class Given:
    """What has been taken from a producer already, given to a consumer."""

    def __init__(self, pair):
        self.pair = pair

    def __arrow_c_array__(self, requested_schema=None):
        return self.pair


class Rows(unittest.TestCase):
    def test_shapes(self):
        batch = batch_of(1, 2, 3)
        self.assertEqual(len(batch), 3)
        self.assertEqual(batch.columns, tuple(FLOW))
        self.assertEqual(dict(batch.fields)["bytes"], "uint64")
        self.assertEqual(dict(batch.fields)["src_addr"], "string")
        self.assertEqual(batch.tuples(), [flow(1), flow(2), flow(3)])
        self.assertEqual(batch.dicts(), [dict(zip(FLOW, flow(n))) for n in (1, 2, 3)])
        self.assertEqual(batch.column("packets"), [2, 3, 4])
        self.assertEqual(repr(batch), "<netflow.Batch: 3 rows, 8 columns>")

    def test_columns(self):
        batch = batch_of(1)
        self.assertEqual(batch.tuples(["bytes", "src_addr", "bytes"]), [(140, "10.0.0.1", 140)])
        self.assertEqual(batch.dicts(("proto",)), [{"proto": 6}])
        self.assertEqual(list(batch.dicts(["proto", "bytes"])[0]), ["proto", "bytes"])
        self.assertEqual(batch.tuples(iter(["proto"])), [(6,)])
        self.assertEqual(batch.tuples([]), [()])
        for columns, error in ((["none"], KeyError), ("bytes", TypeError), ([1], TypeError), (7, TypeError),
                               (["by\0tes"], ValueError)):
            with self.subTest(columns):
                self.assertRaises(error, batch.tuples, columns)
                self.assertRaises(error, batch.dicts, columns)
        self.assertRaises(KeyError, batch.column, "none")

    def test_no_rows_no_columns(self):
        batch = batch_of()
        self.assertEqual((len(batch), batch.tuples(), batch.dicts(), batch.column("bytes")), (0, [], [], []))
        self.assertEqual(batch_of(1, 2, columns=[]).tuples(), [(), ()])
        self.assertEqual(batch_of(1, 2, columns=[]).dicts(), [{}, {}])

    def test_nulls(self):
        batch = batch_of(1, columns=["bytes", "src_as"])
        self.assertIsNone(batch.tuples()[0][1])
        self.assertIn("src_as", batch.dicts()[0])
        self.assertEqual(batch.dicts(nulls=False), [{"bytes": 140}])

    def test_times(self):
        decoder = netflow.Decoder(columns=["received", "first"])
        decoder.feed(make.v5(make.v5_flow(1)[0]), received=make.EXPORT_S + 0.25)
        batch = decoder.batch()
        [[received, first]] = batch.tuples()
        self.assertEqual(received, datetime(2023, 11, 14, 22, 13, 20, 250000, tzinfo=UTC))
        self.assertIs(received.tzinfo, UTC)
        self.assertEqual(batch.tuples(times="int"), [(make.EXPORT_S * 10**6 + 250000, int(first.timestamp() * 10**6))])
        self.assertEqual(batch.column("received", times="int"), [make.EXPORT_S * 10**6 + 250000])
        self.assertEqual(batch.dicts(["received"], times="int"), [{"received": make.EXPORT_S * 10**6 + 250000}])
        for wrong in (lambda: batch.dicts(times="us"), lambda: batch.tuples(times=""), lambda: batch.column("first", times="x")):
            self.assertRaises(ValueError, wrong)

    def test_equal_texts_are_one_object(self):
        a, b = batch_of(1, 2).column("dst_addr")
        self.assertIs(a, b)


@with_arrow
class EveryType(unittest.TestCase):
    """Arrays that pyarrow made, read without it."""

    def check(self, table_column, times="datetime"):
        array = pa.record_batch({"a": table_column})
        self.assertEqual(netflow.Batch.from_arrow(array).column("a", times=times), table_column.to_pylist())
        for start in range(len(table_column) + 1):
            part = array.slice(start, 3)
            want = part.column(0).to_pylist()
            batch = netflow.Batch.from_arrow(part)
            self.assertEqual(batch.column("a"), want, (table_column.type, start))
            self.assertEqual(batch.tuples(), [(v,) for v in want])
            self.assertEqual(batch.dicts(), [{"a": v} for v in want])

    def test_values(self):
        for kind, values in (
                (pa.int8(), [-128, None, 127, 0]), (pa.uint8(), [255, 0, None, 1]), (pa.int16(), [-32768, None, 32767, 5]),
                (pa.uint16(), [65535, None, 0, 7]), (pa.int32(), [-2**31, None, 2**31 - 1, 4]),
                (pa.uint32(), [2**32 - 1, None, 0, 4]), (pa.int64(), [-2**63, None, 2**63 - 1, 4]),
                (pa.uint64(), [2**64 - 1, None, 0, 4]), (pa.float32(), [0.5, None, -1.25, 3.0]),
                (pa.float64(), [0.1, None, float("inf"), -0.0]), (pa.bool_(), [True, None, False] * 7),
                (pa.string(), ["", None, "Straße", "x" * 300]), (pa.large_string(), ["", None, "ü", "y"]),
                (pa.binary(), [b"", None, b"\0\xff", b"z"]), (pa.large_binary(), [b"", None, b"\xff", b"z"]),
                (pa.binary(3), [b"abc", None, b"\0\1\2", b"xyz"]), (pa.null(), [None] * 5),
                (pa.list_(pa.uint32()), [[1, 2], None, [], [3, None, 5], [6]]),
                (pa.large_list(pa.string()), [["a"], None, [], ["b", None]]),
                (pa.list_(pa.list_(pa.int8())), [[[1], []], None, [], [None, [2, 3]]]),
                (pa.struct([("x", pa.int32()), ("y", pa.string())]), [{"x": 1, "y": "a"}, None, {"x": None, "y": "b"}]),
                (pa.timestamp("us", "UTC"), [datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC), None] * 2),
                (pa.timestamp("us"), [datetime(1969, 12, 31, 23, 59, 59, 1), None]),
                (pa.timestamp("ms", "UTC"), [datetime(1900, 3, 1, tzinfo=UTC), None]),
                (pa.timestamp("s", "UTC"), [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)])):
            with self.subTest(kind):
                self.check(pa.array(values, kind))

    def test_dictionaries(self):
        for index in (pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()):
            with self.subTest(index):
                self.check(pa.DictionaryArray.from_arrays(pa.array([2, None, 0, 1, 3, 2], index),
                                                          pa.array(["a", "b", None, "d"])))
        self.check(pa.ListArray.from_arrays(pa.array([0, 2, 2, 3]), pa.DictionaryArray.from_arrays(
            pa.array([1, 0, 1], pa.uint32()), pa.array(["x", "y"]))))

    def test_every_day_of_two_thousand_years(self):
        days = [datetime(1, 1, 1, tzinfo=UTC) + timedelta(days=d, microseconds=d) for d in range(0, 3652058, 37)]
        array = pa.array(days, pa.timestamp("us", "UTC"))
        self.assertEqual(netflow.Batch.from_arrow(pa.record_batch({"a": array})).column("a"), days)

    def test_times_beyond_a_datetime(self):
        us = [253402300799999999, 253402300800000000, -62135596800000000, -62135596800000001, 2**63 - 1, -2**63]
        column = netflow.Batch.from_arrow(pa.record_batch({"a": pa.array(us, pa.timestamp("us", "UTC"))})).column("a")
        self.assertEqual(column, [datetime(9999, 12, 31, 23, 59, 59, 999999, UTC), us[1], datetime(1, 1, 1, tzinfo=UTC), *us[3:]])
        big = netflow.Batch.from_arrow(pa.record_batch({"a": pa.array([2**62], pa.timestamp("s", "UTC"))}))
        self.assertEqual(big.column("a"), [2**62])

    def test_nanoseconds(self):
        batch = netflow.Batch.from_arrow(pa.record_batch({"a": pa.array([1_001, -1, None], pa.timestamp("ns", "UTC"))}))
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        self.assertEqual(batch.column("a"), [epoch + timedelta(microseconds=1), epoch - timedelta(microseconds=1), None])
        self.assertEqual(batch.column("a", times="int"), [1001, -1, None])

    def test_text_that_is_none(self):
        bad = pa.StringArray.from_buffers(1, pa.py_buffer(struct.pack("<ii", 0, 2)), pa.py_buffer(b"\xffa"))
        self.assertEqual(netflow.Batch.from_arrow(pa.record_batch({"a": bad})).column("a"), ["\udcffa"])

    def test_index_beyond_its_dictionary(self):
        for at in (2, 2**31 - 1, -1):
            bad = pa.DictionaryArray.from_arrays(pa.array([at], pa.int32()), pa.array(["a", "b"]), safe=False)
            with self.assertRaisesRegex(ValueError, "dictionary"):
                netflow.Batch.from_arrow(pa.record_batch({"a": bad})).column("a")

    def test_type_without_a_form(self):
        batch = netflow.Batch.from_arrow(pa.record_batch({"a": pa.array([1], pa.date32()), "b": pa.array([2])}))
        self.assertRaisesRegex(TypeError, "tdD", batch.dicts)
        self.assertEqual(batch.dicts(["b"]), [{"b": 2}])
        nested = pa.int8()
        for _ in range(40):
            nested = pa.list_(nested)
        deep = netflow.Batch.from_arrow(pa.record_batch({"a": pa.array([None], nested)}))
        self.assertRaises(TypeError, deep.dicts)

    def test_not_a_table(self):
        self.assertRaises(ValueError, netflow.Batch.from_arrow, pa.array([1, 2]))
        self.assertRaises(AttributeError, netflow.Batch.from_arrow, [1, 2])
        self.assertRaises(TypeError, netflow.Batch.from_arrow, Given(7))
        self.assertRaises(ValueError, netflow.Batch.from_arrow, Given((7, 7)))
        used = pa.record_batch({"a": [1]}).__arrow_c_array__()
        netflow.Batch.from_arrow(Given(used))
        self.assertRaises(ValueError, netflow.Batch.from_arrow, Given(used))


@with_arrow
class ZeroCopy(unittest.TestCase):
    def test_a_batch_to_pyarrow(self):
        batch = batch_of(*range(20))
        pair = batch.__arrow_c_array__()
        want = buffers(c_array(pair[1]))
        before = pa.total_allocated_bytes()
        taken = pa.record_batch(Given(pair))
        self.assertEqual(sum((arrow_buffers(c) for c in taken.columns), []), want[1:])
        self.assertEqual(pa.total_allocated_bytes(), before)
        self.assertGreater(len([b for b in want if b]), len(FLOW))
        again = batch.arrow()
        self.assertIsInstance(again, pa.RecordBatch)
        again.validate(full=True)
        self.assertEqual(sum((arrow_buffers(c) for c in again.columns), []), want[1:])
        self.assertEqual([tuple(row.values()) for row in again.to_pylist()], batch.tuples())

    def test_from_pyarrow(self):
        array = pa.array(range(1000), pa.uint64())
        batch = netflow.Batch.from_arrow(pa.record_batch({"a": array}))
        _, capsule = batch.__arrow_c_array__()
        self.assertEqual(buffers(c_array(capsule))[2], array.buffers()[1].address)

    def test_a_stream_to_pyarrow(self):
        with tempfile.TemporaryDirectory() as d:
            path = pathlib.Path(d) / "a.pcap"
            path.write_bytes(pcap([make.v9_template()] + [make.v9_data(range(20))] * 500))
            before = pa.total_allocated_bytes()
            batches = list(netflow.open_capture(path, FLOW, batch_rows=1000).arrow())
            self.assertEqual(pa.total_allocated_bytes(), before)
            self.assertEqual(sum(len(b) for b in batches), 10000)
            for b in batches:
                b.validate(full=True)

    def test_order_of_release(self):
        """Whoever holds a part holds what it lies in, whatever else is gone."""
        decoder = netflow.Decoder(columns=FLOW)
        decoder.feed(make.v9_template())
        decoder.feed(make.v9_data(range(25)))
        batch = decoder.batch()
        pair, unused = batch.__arrow_c_array__(), batch.__arrow_c_array__()
        taken = batch.arrow()
        column, address = taken.column(2), taken.column(0)
        del decoder, batch, taken, unused
        gc.collect()
        self.assertEqual(column.to_pylist(), [flow(n)[2] for n in range(25)])
        self.assertEqual(address.to_pylist(), [flow(n)[0] for n in range(25)])
        del column, address
        self.assertEqual(pa.record_batch(Given(pair)).column(7).to_pylist(), [flow(n)[7] for n in range(25)])
        self.assertIsNone(ctypes.cast(c_array(pair[1]).release, ctypes.c_void_p).value)

    def test_children_that_are_moved_out(self):
        batch = batch_of(1, 2)
        _, capsule = batch.__arrow_c_array__()
        whole = c_array(capsule)
        child = CArray()
        ctypes.pointer(child)[0] = whole.children[2].contents
        whole.children[2].contents.release = type(whole.release)()
        del batch
        whole.release(ctypes.byref(whole))
        values = ctypes.cast(child.buffers[1], ctypes.POINTER(ctypes.c_uint64))
        self.assertEqual(values[child.offset:child.offset + 2], [140, 240])
        child.release(ctypes.byref(child))
        self.assertFalse(child.release)


class Captures(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.holder = tempfile.TemporaryDirectory()
        cls.dir = pathlib.Path(cls.holder.name)
        cls.path = cls.dir / "a.pcap"
        cls.packets = [make.v9_data([0])] + [make.v9_template()] + [make.v9_data([n, n + 1]) for n in range(1, 999, 2)]
        cls.path.write_bytes(pcap(cls.packets))
        cls.want = [flow(n) for n in range(999)]

    @classmethod
    def tearDownClass(cls):
        cls.holder.cleanup()

    def test_batches(self):
        batches = list(netflow.open_capture(self.path, FLOW, batch_rows=100))
        self.assertEqual(sum((b.tuples() for b in batches), []), self.want)
        self.assertGreater(len(batches), 8)
        self.assertEqual(batches[0].columns, tuple(FLOW))

    def test_rows(self):
        capture = netflow.open_capture(str(self.path), FLOW)
        for _ in range(2):  # each time from the start
            self.assertEqual(list(capture.tuples()), self.want)
            self.assertEqual(list(capture.dicts(["bytes"])), [{"bytes": row[2]} for row in self.want])
        self.assertEqual(capture.columns, tuple(FLOW))
        self.assertEqual(repr(capture), f"<netflow.Capture {str(self.path)!r}>")

    def test_two_readers_at_once(self):
        capture = netflow.open_capture(self.path, FLOW, batch_rows=50)
        pairs = list(zip(capture.tuples(), capture.tuples()))
        self.assertEqual(pairs, [(row, row) for row in self.want])

    def test_all_columns(self):
        capture = netflow.open_capture(self.path)
        self.assertGreater(len(capture.columns), 100)
        self.assertIn(("first", "timestamp[us, tz=UTC]"), capture.fields)
        row = next(iter(capture.dicts()))
        self.assertEqual(tuple(row), capture.columns)
        self.assertEqual(row["exporter"], "192.0.2.1")

    def test_same_as_a_decoder(self):
        columns = [c for c in netflow.open_capture(self.path).columns]
        decoder = netflow.Decoder(columns=columns)
        for n, data in enumerate(self.packets):
            decoder.feed(data, ("192.0.2.1", 2055), make.EXPORT_S + 1 + n / 1000)
        self.assertEqual(list(netflow.open_capture(self.path).tuples()), decoder.batch().tuples())

    def test_counters(self):
        capture = netflow.open_capture(self.path)
        self.assertEqual(capture.counters["packets"], 0)
        self.assertEqual(sum(map(len, capture)), 999)
        counters = capture.counters
        self.assertEqual((counters["packets"], counters["damaged"], counters["lost"]), (len(self.packets), 0, 0))
        self.assertEqual(counters["decoder"]["flows"], 999)

    def test_gzip(self):
        path = self.dir / "a.pcap.gz"
        path.write_bytes(gzip.compress(self.path.read_bytes()))
        self.assertEqual(list(netflow.open_capture(path, FLOW).tuples()), self.want)

    def test_damaged(self):
        path = self.dir / "cut.pcap"
        path.write_bytes(self.path.read_bytes()[:-3])
        capture = netflow.open_capture(path, FLOW)
        self.assertEqual(list(capture.tuples()), self.want[:-2])
        self.assertEqual(capture.counters["damaged"], 1)

    def test_options_records(self):
        path = self.dir / "options.pcap"
        path.write_bytes(pcap([make.ipfix(make.a_set(3, make.ipfix_options(300, [(149, 4)], [(34, 4)]))),
                               make.ipfix(make.a_set(300, struct.pack("!II", 7, 100)))]))
        self.assertEqual(list(netflow.open_capture(path).tuples()), [])
        [row] = netflow.open_capture(path, options=True).dicts(nulls=False)
        self.assertEqual(row["exporter"], "192.0.2.1")

    def test_options(self):
        self.assertEqual(list(netflow.open_capture(self.path, FLOW, port=9).tuples()), [])
        for more, error in (({"port": 65536}, ValueError), ({"batch_rows": 0}, ValueError), ({"scope": "x"}, ValueError),
                            ({"columns": "bytes"}, TypeError), ({"columns": ["none"]}, ValueError),
                            ({"limits": {"x": 1}}, ValueError)):
            with self.subTest(more), self.assertRaises(error):
                netflow.open_capture(self.path, **more)
        limits = {"waiting_s": 0, "max_waiting_octets": 1}
        self.assertEqual(list(netflow.open_capture(self.path, FLOW, limits=limits).tuples()), self.want[1:])

    def test_files_that_cannot_be_read(self):
        with self.assertRaises(FileNotFoundError) as caught:
            netflow.open_capture(self.dir / "none.pcap")
        self.assertEqual(os.fspath(caught.exception.filename), str(self.dir / "none.pcap"))
        with self.assertRaises(OSError):
            netflow.open_capture(self.dir)

    def test_close(self):
        with netflow.open_capture(self.path, FLOW, batch_rows=10) as capture:
            rows = iter(capture)
            next(rows)
        for use in (lambda: next(rows), lambda: iter(capture), lambda: capture.fields, lambda: list(capture.tuples()),
                    lambda: capture.counters, lambda: capture.__arrow_c_schema__(), lambda: capture.__arrow_c_stream__()):
            self.assertRaises(ValueError, use)
        capture.close()

    def test_files_are_closed(self):
        count = len(os.listdir("/proc/self/fd"))
        capture = netflow.open_capture(self.path)
        rows = iter(capture)
        next(rows)
        self.assertGreater(len(os.listdir("/proc/self/fd")), count)
        del rows, capture
        self.assertEqual(len(os.listdir("/proc/self/fd")), count)

    def test_standard_input_is_read_once(self):
        script = ("import netflow\nc = netflow.open_capture('-', ['bytes'])\nprint(sum(1 for _ in c.tuples()))\n"
                  "try:\n    iter(c)\nexcept ValueError as e:\n    print(e)\n")
        done = subprocess.run([sys.executable, "-c", script], input=self.path.read_bytes(), capture_output=True, check=True)
        self.assertEqual(done.stdout.decode().splitlines(), ["999", "standard input can be read once only"])

    def test_pipe_that_is_being_written(self):
        """What has been written is read, though the writer goes on."""
        script = ("import netflow, os, sys\n"
                  "end = os.open(sys.argv[1], os.O_RDWR)\n"  # a writer that does not go away
                  "os.write(end, sys.stdin.buffer.read())\n"
                  "print([row for _, batch in zip(range(2), netflow.open_capture(sys.argv[1], ['bytes'], batch_rows=1))\n"
                  "       for row in batch.tuples()])\n")
        messages = [make.ipfix_template(), make.ipfix_data([1]), make.ipfix_data([2])]
        for name, octets in ("pcap", pcap(messages)), ("ipfix", b"".join(messages)):
            with self.subTest(name=name):
                os.mkfifo(self.dir / name)
                done = subprocess.run([sys.executable, "-c", script, self.dir / name], input=octets, timeout=20,
                                      capture_output=True, check=True)
                self.assertEqual(done.stdout.decode(), f"{[(make.values(n)[2],) for n in (1, 2)]}\n")

    def test_streams_of_an_interface(self):
        """Each capsule has all rows, also when others live, were dropped unread or half read."""
        capture = netflow.open_capture(self.path, FLOW, batch_rows=100)

        def read(capsule, most=1 << 30):
            stream = CStream.from_address(capsule_pointer(capsule, b"arrow_array_stream"))
            rows = 0
            for _ in range(most):
                array = CArray()
                self.assertEqual(stream.get_next(ctypes.byref(stream), ctypes.byref(array)), 0)
                if not array.release:
                    break
                rows += array.length
                array.release(ctypes.byref(array))
            return rows

        capture.__arrow_c_schema__()
        dropped = capture.__arrow_c_stream__()
        del dropped
        first, second = capture.__arrow_c_stream__(), capture.__arrow_c_stream__(None)
        self.assertGreater(read(first, 2), 100)
        self.assertEqual(read(second), 999)
        self.assertEqual(read(capture.__arrow_c_stream__()), 999)
        last = capture.__arrow_c_stream__()
        del capture
        self.assertEqual(read(last), 999)
        self.assertEqual(read(last), 0)

    def test_other_threads_run_while_it_reads(self):
        """With a switch interval of hours a thread gets the GIL only when another one gives it away by itself."""
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
            for _ in range(200):
                rows = iter(netflow.open_capture(self.path))
                seen = ran[0]
                next(rows)
                progressed = ran[0] - seen
                if progressed:
                    break
        finally:
            sys.setswitchinterval(before)
            stop.set()
            thread.join()
        self.assertGreater(progressed, 0)

    def test_threads_share_an_iterator(self):
        rows, taken, lock = iter(netflow.open_capture(self.path, FLOW, batch_rows=10)), [], threading.Lock()

        def take():
            for batch in rows:
                with lock:
                    taken.extend(batch.tuples())

        threads = [threading.Thread(target=take) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(sorted(taken), sorted(self.want))

    @with_arrow
    def test_reader(self):
        capture = netflow.open_capture(self.path, FLOW, batch_rows=100)
        reader = capture.arrow()
        self.assertIsInstance(reader, pa.RecordBatchReader)
        table = reader.read_all()
        self.assertEqual([tuple(row.values()) for row in table.to_pylist()], self.want)
        self.assertEqual(capture.table(), table)
        self.assertEqual(pa.schema(capture).names, FLOW)
        reader = netflow.open_capture(self.path, FLOW).arrow()
        self.assertEqual(reader.read_all().num_rows, 999)

    @with_arrow
    def test_types_are_named_as_pyarrow_names_them(self):
        def name(kind):
            return name(kind.value_type) if pa.types.is_dictionary(kind) else (
                f"list<{name(kind.value_type)}>" if pa.types.is_list(kind) else str(kind))

        capture = netflow.open_capture(self.path)
        self.assertEqual(capture.fields, [(f.name, name(f.type)) for f in pa.schema(capture)])

    @with_arrow
    def test_all_columns_in_pyarrow(self):
        capture = netflow.open_capture(self.path)
        table = capture.table()
        table.validate(full=True)
        self.assertEqual(table.to_pylist(), list(capture.dicts()))

    @with_module("duckdb")
    def test_duckdb(self):
        import duckdb
        capture = netflow.open_capture(self.path, FLOW, batch_rows=100)
        for _ in range(2):
            [[n, total]] = duckdb.sql("select count(*), sum(bytes) from capture").fetchall()
            self.assertEqual((n, total), (999, sum(row[2] for row in self.want)))
        [[n]] = duckdb.sql("select count(*) from capture a join capture b using (src_addr)").fetchall()
        self.assertEqual(n, 999)

    @with_module("pandas")
    def test_pandas(self):
        import pandas
        frame = netflow.open_capture(self.path, FLOW).table().to_pandas()
        self.assertEqual(int(frame["bytes"].sum()), sum(row[2] for row in self.want))
        if hasattr(pandas.DataFrame, "from_arrow"):
            frame = pandas.DataFrame.from_arrow(netflow.open_capture(self.path, FLOW))
            self.assertEqual(len(frame), 999)

    @with_module("polars")
    def test_polars(self):
        import polars
        frame = polars.DataFrame(netflow.open_capture(self.path, FLOW, batch_rows=100))
        self.assertEqual(frame["bytes"].sum(), sum(row[2] for row in self.want))

    def test_nothing_is_left_behind(self):
        def once():
            capture = netflow.open_capture(self.path, FLOW, batch_rows=300)
            rows = iter(capture)
            next(rows).tuples()
            for _ in capture.dicts(["bytes"]):
                pass
            capture.__arrow_c_schema__(), capture.__arrow_c_stream__(), capture.fields, capture.counters
            capture.__arrow_c_stream__()
            if pa:
                capture.arrow().read_next_batch()
                netflow.Batch.from_arrow(next(iter(capture)).arrow())
            for wrong in (lambda: netflow.open_capture("/nonexistent"), lambda: netflow.open_capture(self.path, ["none"]),
                          lambda: netflow.open_capture(self.dir), lambda: next(rows).column("none")):
                try:
                    wrong()
                except (ValueError, KeyError, OSError):
                    pass
                else:
                    raise AssertionError("nothing was raised")

        for _ in range(50):
            once()
        gc.collect()
        blocks, octets = sys.getallocatedblocks(), memory()
        for _ in range(1000):
            once()
        gc.collect()
        self.assertLess(sys.getallocatedblocks() - blocks, 900)
        self.assertLess(memory() - octets, 8 << 20)


@with_weir
class Archives(unittest.TestCase):
    """Against what the program says of the same archive."""

    COLUMNS = ["src_addr", "dst_addr", "src_port", "dst_port", "proto", "bytes", "packets", "first", "last", "exporter",
               "sampling_rate"]

    @classmethod
    def setUpClass(cls):
        cls.holder = tempfile.TemporaryDirectory()
        cls.dir = pathlib.Path(cls.holder.name)
        cls.pcap, cls.path = cls.dir / "a.pcap", cls.dir / "archive"
        cls.run_weir("gen", "-n", "5000", "-e", "3", "--seconds", "600", "--sampling", "100", "--drop", "1/50", "-w", cls.pcap)
        cls.run_weir("collect", "--read", cls.pcap, "--archive", cls.path)
        cls.archive = netflow.open_archive(cls.path)

    @classmethod
    def tearDownClass(cls):
        cls.holder.cleanup()

    @staticmethod
    def run_weir(*args):
        return subprocess.run([WEIR, *map(str, args)], check=True, capture_output=True, text=True,
                              env={**os.environ, "TZ": "UTC"})

    def ndjson(self, *args, columns=COLUMNS):
        """Rows as the program writes them, with times as datetime, and the sampling rate that counters still need, which is
        what stands in Arrow: 1 beside those that were multiplied."""
        out = self.run_weir("query", "-R", self.path, "--summary", "none", "-o", "ndjson:" + ",".join(columns), *args).stdout
        rows = [json.loads(line) for line in out.splitlines()]
        for row in rows:
            for name in ("first", "last", "received"):
                if row.get(name):
                    row[name] = datetime.strptime(row[name], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
            if row.get("sampling_rate") and "--raw" not in args:
                row["sampling_rate"] = min(row["sampling_rate"], 1)
        return rows

    def assert_same_rows(self, got, want):
        """Like assertEqual, which takes minutes to say where thousands of rows differ."""
        self.assertEqual(len(got), len(want))
        for number, (one, other) in enumerate(zip(got, want)):
            if one != other:
                self.fail(f"row {number}:\n{one}\nis not\n{other}")

    @staticmethod
    def in_order(rows):
        return sorted(rows, key=lambda row: [str(v) for v in (row.values() if isinstance(row, dict) else row)])

    def test_fields(self):
        fields = self.archive.fields()
        self.assertIn(("src_addr", "string"), fields)
        self.assertIn(("first", "timestamp[us, tz=UTC]"), fields)
        listed = [line.split()[0] for line in self.run_weir("fields").stdout.splitlines()[1:] if line.strip()]
        self.assertLess({f.name for f in fields}, set(listed))

    def test_every_flow(self):
        got = list(self.archive.query(columns=self.COLUMNS).dicts())
        self.assertGreater(len(got), 4000)
        self.assertEqual(list(got[0]), self.COLUMNS)
        self.assert_same_rows(self.in_order(got), self.in_order(self.ndjson()))
        raw = list(self.archive.query(columns=self.COLUMNS, raw=True).dicts())
        self.assert_same_rows(self.in_order(raw), self.in_order(self.ndjson("--raw")))
        self.assertEqual({row["sampling_rate"] for row in raw}, {100})

    def test_raw_counters_are_those_of_the_capture(self):
        columns = [c for c in self.COLUMNS if c != "sampling_rate"]
        want = self.in_order(netflow.open_capture(self.pcap, columns).tuples())
        raw = self.archive.query(columns=columns, raw=True)
        self.assert_same_rows(self.in_order(raw.tuples()), want)
        scaled = sum(row[0] for row in self.archive.query(columns="bytes").tuples())
        self.assertEqual(scaled, 100 * sum(row[columns.index("bytes")] for row in want))

    def test_filter_order_limit(self):
        got = list(self.archive.query("proto tcp and bytes > 1k", order="bytes", columns=self.COLUMNS, limit=50).dicts())
        self.assert_same_rows(got, self.ndjson("-O", "bytes", "-n", "50", "proto tcp and bytes > 1k"))
        self.assertEqual(len(got), 50)
        rising = [row[0] for row in self.archive.query(order="bytes:a", columns=["bytes"]).tuples()]
        self.assertEqual(rising, sorted(rising))
        self.assertEqual(list(self.archive.query("proto 250").tuples()), [])

    def test_groups(self):
        got = list(self.archive.query(by=["proto", "dst_port"], order="bytes", limit=20).dicts())
        want = self.ndjson("-A", "proto,dst_port", "-O", "bytes", "-n", "20",
                           columns=["proto", "dst_port", "first", "last", "n_flows", "packets", "bytes"])
        for row in want:
            row["flows"] = row.pop("n_flows")
        self.assert_same_rows([{k: row[k] for k in want[0]} for row in got], want)
        self.assertEqual(list(self.archive.query(by="proto,dst_port", order="bytes", limit=20).dicts()), got)

    def test_window(self):
        rows = self.ndjson(columns=["first", "last"])
        begin, end = sorted(row["first"] for row in rows)[1000:3001:2000]
        count = sum(row["last"] >= begin and row["first"] <= end for row in rows)
        utc = f"{begin:%Y-%m-%dT%H:%M:%S.%f}Z-{end:%Y-%m-%dT%H:%M:%S.%f}Z"
        shifted = begin.astimezone(timezone(timedelta(hours=9))), end.astimezone()
        for window in (utc, (begin, end), shifted, (begin.astimezone().replace(tzinfo=None), end),
                       (utc.split("Z-")[0] + "Z", end)):
            with self.subTest(window):
                self.assertEqual(sum(map(len, self.archive.query(window=window, columns="first"))), count)
        self.assertEqual(sum(map(len, self.archive.query(window=(end, None), columns="first"))),
                         sum(row["last"] >= end for row in rows))
        self.assertEqual(sum(map(len, self.archive.query(window=(None, None), columns="first"))), len(rows))

    def test_summary(self):
        result = self.archive.query("proto tcp", columns=["bytes"])
        self.assertRaises(ValueError, lambda: result.summary)
        rows = iter(result)
        next(rows)
        n = sum(len(batch) for batch in result)
        done = self.run_weir("query", "-R", self.path, "-o", "ndjson:bytes", "--summary", "json", "proto tcp")
        want, got = json.loads(done.stderr)["summary"], result.summary
        for varies in ("elapsed_ns", "octets_read"):
            want.pop(varies), got.pop(varies)
        self.assertEqual(got, want)
        self.assertEqual(got["flows"], n)
        self.assertFalse(got["completeness"]["complete"])
        self.assertLess(got["completeness"]["share"], 1)
        self.assertEqual(len(result.columns), 1)
        self.assertEqual(result.summary["flows"], n)  # looking at columns has asked nothing

    def test_wrong_questions(self):
        with self.assertRaises(ValueError) as caught:
            self.archive.query("proto tcp and src prt 80")
        self.assertRegex(str(caught.exception), "prt")
        for question in ({"filter": "bytes >"}, {"columns": ["none"]}, {"by": ["none"]}, {"order": "none"},
                         {"window": "yesterday"}, {"limit": -1}, {"threads": -1}, {"memory": -1}, {"filter": "a\0b"}):
            with self.subTest(question), self.assertRaises(ValueError):
                self.archive.query(**question)
        for question in ({"filter": 7}, {"columns": [7]}, {"window": 5}):
            with self.subTest(question), self.assertRaises(TypeError):
                self.archive.query(**question)

    def test_nothing_to_read(self):
        for path in (self.dir / "none", [self.path, self.dir / "none"]):
            with self.assertRaises(FileNotFoundError):
                netflow.open_archive(path)
        self.assertRaises(ValueError, netflow.open_archive, [])
        gone = self.dir / "gone"
        gone.mkdir()
        with self.assertRaises((FileNotFoundError, ValueError)):
            list(netflow.open_archive(gone).query())

    def test_parts(self):
        parts = sorted((self.path / "flows").rglob("*.parquet"))
        counts = [sum(map(len, netflow.open_archive(part).query(columns="bytes"))) for part in parts]
        self.assertEqual(sum(counts), len(self.ndjson()))
        self.assertEqual(sum(map(len, netflow.open_archive([*parts[:1], str(self.pcap.parent / "archive")]).query(
            columns="bytes"))), sum(counts) + counts[0])

    def test_a_question_may_be_asked_again(self):
        result = self.archive.query(columns=["bytes"], order="bytes")
        first = list(result.tuples())
        next(result.tuples())
        self.assertEqual(list(result.tuples()), first)
        self.assertEqual(list(zip(result.tuples(), result.tuples())), [(row, row) for row in first])
        with self.archive.query(columns=["bytes"]) as other:
            rows = iter(other)
            next(rows)
        self.assertRaises(ValueError, next, rows)
        self.assertRaises(ValueError, iter, other)
        self.assertRaises(ValueError, lambda: other.summary)

    def test_rows_outlive_the_archive(self):
        archive = netflow.open_archive(self.path)
        rows = archive.query(columns=["bytes"]).tuples()
        first = next(rows)
        del archive
        gc.collect()
        self.assertEqual(len([first, *rows]), len(self.ndjson(columns=["bytes"])))

    @with_arrow
    def test_arrow(self):
        result = self.archive.query("proto udp", columns=self.COLUMNS)
        before = pa.total_allocated_bytes()
        reader = result.arrow()
        batches = list(reader)
        self.assertEqual(pa.total_allocated_bytes(), before)
        for batch in batches:
            batch.validate(full=True)
        del reader
        table = pa.Table.from_batches(batches)
        del batches
        self.assertEqual(result.summary["flows"], table.num_rows)
        self.assert_same_rows(self.in_order(table.to_pylist()), self.in_order(self.ndjson("proto udp")))
        reader = self.archive.query(columns=["bytes"], order="bytes").arrow()
        largest = reader.read_next_batch()["bytes"][0].as_py()
        self.assertEqual(largest, max(row["bytes"] for row in self.ndjson(columns=["bytes"])))
        del reader

    @with_arrow
    def test_every_column_in_pyarrow(self):
        result = self.archive.query()
        table = result.table()
        table.validate(full=True)
        self.assert_same_rows(self.in_order(table.to_pylist()), self.in_order(result.dicts()))

    @with_module("duckdb")
    def test_duckdb(self):
        import duckdb
        result = self.archive.query("proto tcp")
        for _ in range(2):
            got = duckdb.sql("select dst_port, sum(bytes) b from result group by all order by b desc, dst_port limit 5").fetchall()
            sums = {}
            for row in self.ndjson("proto tcp"):
                sums[row["dst_port"]] = sums.get(row["dst_port"], 0) + row["bytes"]
            self.assertEqual(got, sorted(sums.items(), key=lambda item: (-item[1], item[0]))[:5])

    def test_nothing_is_left_behind(self):
        def once():
            result = self.archive.query("proto tcp", columns=["bytes", "src_addr", "first"], threads=2)
            for batch in result:
                batch.tuples()
            result.summary, result.fields
            next(result.dicts())
            result.__arrow_c_stream__(), result.__arrow_c_stream__()
            if pa:
                result.arrow().read_next_batch()
            self.archive.query(by="proto").close()
            for wrong in (lambda: self.archive.query("pro to"), lambda: self.archive.query(columns=["none"]),
                          lambda: netflow.open_archive("/nonexistent"), lambda: self.archive.query().summary):
                try:
                    wrong()
                except (ValueError, OSError):
                    pass
                else:
                    raise AssertionError("nothing was raised")

        for _ in range(30):
            once()
        octets, files, threads = memory(), len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
        for _ in range(4):  # caches of the interpreter may take more at any time, but not each time
            gc.collect()
            blocks = sys.getallocatedblocks()
            for _ in range(150):
                once()
            gc.collect()
            kept = sys.getallocatedblocks() - blocks
            if kept < 100:
                break
        self.assertLess(kept, 100)
        self.assertLess(memory() - octets, 12 << 20)
        self.assertEqual(len(os.listdir("/proc/self/fd")), files)
        self.assertLessEqual(len(os.listdir("/proc/self/task")), threads)


class Interrupts(unittest.TestCase):
    """SIGINT ends a wait within a second."""

    # Each says "begun" just before the call that waits: for a FIFO that nobody writes to, for one that has no more, for an
    # answer whose first row needs all others.
    PROGRAM = """
import netflow, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start programs in the background without it
what, path = sys.argv[1:]
def begun():
    os.write(1, b"begun\\n")
try:
    if what == "open":
        begun()
        netflow.open_capture(path)
    elif what == "next":
        rows = iter(netflow.open_capture(path))
        begun()
        next(rows)
    elif what == "query":
        archive = netflow.open_archive(path)
        begun()
        while True:
            next(iter(archive.query(by="src_addr,dst_addr,src_port,dst_port", order="bytes")))
    elif what == "feed_many":
        decoder, packets = netflow.Decoder(), [bytes(20)] * 1_000_000
        begun()
        while True:
            decoder.feed_many(packets)
except KeyboardInterrupt:
    print("interrupted")
    if what == "next":
        try:
            next(rows)
        except ValueError as error:
            print(error)
"""

    def interrupted(self, what, path, meanwhile=contextlib.nullcontext):
        process = subprocess.Popen([sys.executable, "-B", "-c", self.PROGRAM, what, str(path)], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        try:
            with meanwhile():
                self.assertEqual(process.stdout.readline(), "begun\n")
                self.wait_for_threads(process.pid)
                began = time.monotonic()
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=20)
                took = time.monotonic() - began
        finally:
            process.kill()
            process.communicate()
        self.assertEqual((process.returncode, err), (0, ""))
        self.assertLess(took, 1)
        return out

    @staticmethod
    def wait_for_threads(pid):
        """Until the process has begun to wait, which it does beside another thread; a second at most."""
        until = time.monotonic() + 1
        while len(os.listdir(f"/proc/{pid}/task")) < 2 and time.monotonic() < until:
            time.sleep(0.01)

    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.dir = pathlib.Path(holder.name)
        self.fifo = self.dir / "fifo"
        os.mkfifo(self.fifo)

    def test_opening(self):
        self.assertEqual(self.interrupted("open", self.fifo), "interrupted\n")

    def test_reading(self):
        def write():
            pipe = open(self.fifo, "wb", buffering=0)
            pipe.write(pcap([make.v9_template(), *[make.v9_data(range(20))] * 1000]))  # more than is looked at in opening
            return pipe

        self.assertEqual(self.interrupted("next", self.fifo, write), "interrupted\nthe rows are closed\n")

    def test_feeding(self):
        self.assertEqual(self.interrupted("feed_many", "-"), "interrupted\n")

    @with_weir
    def test_asking(self):
        capture, archive = self.dir / "a.pcap", self.dir / "archive"
        Archives.run_weir("gen", "-n", "200k", "-e", "3", "-w", capture)
        Archives.run_weir("collect", "--read", capture, "--archive", archive)
        self.assertEqual(self.interrupted("query", archive), "interrupted\n")


if __name__ == "__main__":
    unittest.main()
