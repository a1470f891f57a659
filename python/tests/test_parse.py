#!/usr/bin/env python3
"""parse_packet and its objects: what users of the package netflow 0.12.2 rely on, and where this one does more.

Every test without @better holds for netflow 0.12.2 too (run this file with an interpreter that has it); a test with
@better is about a difference that COMPATIBILITY.md explains, and is skipped there.
"""
import collections
import copy
import gc
import importlib.util
import ipaddress
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import threading
import tracemalloc
import unittest
import weakref

import netflow
import netflow.ipfix
import netflow.utils
import netflow.v1
import netflow.v5
import netflow.v9
import packets as make
from netflow import parse_packet
from netflow.ipfix import (IPFIXDataRecord, IPFIXDataTypes, IPFIXExportPacket, IPFIXFieldTypes, IPFIXHeader,
                           IPFIXOptionsTemplateRecord, IPFIXSet, IPFIXSetHeader, IPFIXTemplateNotRecognized,
                           IPFIXTemplateRecord, TemplateField, TemplateFieldEnterprise)
from netflow.utils import UnknownExportVersion, get_export_version
from netflow.v1 import V1DataFlow, V1ExportPacket, V1Header
from netflow.v5 import V5DataFlow, V5ExportPacket, V5Header
from netflow.v9 import (V9_FIELD_TYPES, V9_SCOPE_TYPES, V9DataFlowSet, V9DataRecord, V9ExportPacket, V9Header,
                        V9OptionsDataFlowset, V9OptionsDataRecord, V9OptionsTemplateFlowSet, V9OptionsTemplateRecord,
                        V9TemplateField, V9TemplateFlowSet, V9TemplateNotRecognized, V9TemplateRecord)

OURS = importlib.util.find_spec("netflow._weir") is not None
better = unittest.skipUnless(OURS, "differs from netflow 0.12.2 on purpose: COMPATIBILITY.md")

V9_PLAIN = make.a_set(0, make.template(256, *make.FIELDS))
IPFIX_PLAIN = make.a_set(2, make.template(256, *make.FIELDS))


def fresh():
    """The templates that a caller keeps."""
    return {"netflow": {}, "ipfix": {}}


def v9_dict(n):
    """The .data of record n of FIELDS in NetFlow v9: addresses are text."""
    data = dict(zip(make.V9_NAMES, make.values(n)))
    for key in ("IPV4_SRC_ADDR", "IPV4_DST_ADDR"):
        data[key] = str(ipaddress.ip_address(data[key]))
    return data


def ipfix_dict(n):
    """The .data of record n of FIELDS in IPFIX: addresses are numbers."""
    return dict(zip(make.IPFIX_NAMES, make.values(n)))


class Input(unittest.TestCase):
    """What may be passed as a packet."""

    def setUp(self):
        self.raw = make.v5(*(make.v5_flow(n)[0] for n in range(3)))

    def check(self, data):
        packet = parse_packet(data)
        self.assertEqual([f.data for f in packet.flows], [make.v5_flow(n)[1] for n in range(3)])

    def test_octets(self):
        self.check(self.raw)

    def test_hex_text(self):
        self.check(self.raw.hex())
        self.check(self.raw.hex().upper())

    def test_hex_text_with_spaces(self):
        self.check(self.raw.hex(" "))

    def test_hex_octets(self):
        self.check(self.raw.hex().encode())

    def test_bytearray(self):
        self.check(bytearray(self.raw))

    def test_memoryview(self):
        self.check(memoryview(self.raw))

    def test_bytearray_of_v9_and_ipfix(self):
        templates = fresh()
        for wrap in bytes, bytearray, memoryview:
            parse_packet(wrap(make.v9_template()), templates)
            parse_packet(wrap(make.ipfix_template()), templates)
            self.assertEqual(parse_packet(wrap(make.v9_data([1, 200])), templates).flows[1].data, v9_dict(200))
            self.assertEqual(parse_packet(wrap(make.ipfix_data([1, 200])), templates).flows[1].data, ipfix_dict(200))

    def test_caller_may_change_the_buffer_afterwards(self):
        buffer = bytearray(self.raw)
        packet = parse_packet(buffer)
        buffer[:] = bytes(len(buffer))
        self.assertEqual(packet.flows[2].data, make.v5_flow(2)[1])
        self.assertEqual(packet.header.count, 3)

    def test_no_hex(self):
        with self.assertRaises(ValueError):
            parse_packet("0005zz")
        with self.assertRaises(ValueError):
            parse_packet("00050")

    def test_wrong_type(self):
        for data in (None, 5, 1.5, ["0005"], object()):
            with self.subTest(data=data), self.assertRaises(TypeError):
                parse_packet(data)

    def test_keyword(self):
        self.assertEqual(len(parse_packet(data=self.raw, templates=None).flows), 3)
        self.assertEqual(len(parse_packet(self.raw, templates=fresh()).flows), 3)

    def test_too_short_for_a_version(self):
        for data in (b"", b"\xff", ""):
            with self.subTest(data=data), self.assertRaises(struct.error):
                parse_packet(data)

    def test_version(self):
        self.assertEqual(get_export_version(self.raw), 5)
        self.assertEqual(get_export_version(make.v1()), 1)
        self.assertEqual(get_export_version(make.ipfix()), 10)

    def test_parse_packet_is_one_function(self):
        self.assertIs(netflow.parse_packet, netflow.utils.parse_packet)
        self.assertTrue(parse_packet.__doc__)

    @better
    def test_octets_that_are_utf8(self):
        record = struct.pack("!IIIHHIIIIHHxBBBHHBB2x", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)
        data = struct.pack("!HHIIIIBBH", 5, 1, 1, 1, 1, 1, 1, 1, 1) + record
        data.decode()
        self.assertEqual(parse_packet(data).flows[0].DST_MASK, 18)


class UnknownVersion(unittest.TestCase):
    def test_raises(self):
        for version in (0, 2, 3, 4, 6, 8, 11, 0xFFFF):
            with self.subTest(version=version):
                data = struct.pack("!H", version) + b"\xff" * 30
                with self.assertRaises(UnknownExportVersion) as caught:
                    parse_packet(data, fresh())
                self.assertEqual(caught.exception.version, version)
                self.assertEqual(caught.exception.data, data)
                self.assertIn("Unknown NetFlow version %d" % version, str(caught.exception))

    def test_only_ff(self):
        with self.assertRaises(UnknownExportVersion) as caught:
            parse_packet("F" * 42)
        self.assertEqual(caught.exception.version, 0xFFFF)
        self.assertEqual(caught.exception.data, b"\xff" * 21)

    def test_message_stays_short(self):
        with self.assertRaises(UnknownExportVersion) as caught:
            parse_packet(b"\xff" * 1400)
        self.assertLess(len(str(caught.exception)), 100)

    def test_own(self):
        error = UnknownExportVersion(b"\0\6", 6)
        self.assertEqual((error.data, error.version), (b"\0\6", 6))
        self.assertIsInstance(error, Exception)


class Legacy(unittest.TestCase):
    """Versions 1 and 5: a fixed record."""

    def setUp(self):
        self.v1 = make.v1(make.v1_flow(0)[0], make.v1_flow(1)[0])
        self.v5 = make.v5(*(make.v5_flow(n)[0] for n in range(3)))

    def test_v1(self):
        packet = parse_packet(self.v1)
        self.assertIsInstance(packet, V1ExportPacket)
        self.assertEqual([f.data for f in packet.flows], [make.v1_flow(n)[1] for n in (0, 1)])
        self.assertEqual(tuple(packet.flows[0].data), make.V1_FIELDS)
        self.assertEqual(packet.header.to_dict(), {"version": 1, "count": 2, "uptime": make.UPTIME_MS,
                                                   "timestamp": make.EXPORT_S, "timestamp_nano": 5})
        self.assertEqual(list(packet.header.to_dict()), ["version", "count", "uptime", "timestamp", "timestamp_nano"])

    def test_v5(self):
        packet = parse_packet(self.v5)
        self.assertIsInstance(packet, V5ExportPacket)
        self.assertEqual([f.data for f in packet.flows], [make.v5_flow(n)[1] for n in range(3)])
        self.assertEqual(tuple(packet.flows[0].data), make.V5_FIELDS)
        self.assertEqual(packet.header.to_dict(), {
            "version": 5, "count": 3, "uptime": make.UPTIME_MS, "timestamp": make.EXPORT_S, "timestamp_nano": 5,
            "sequence": 42, "engine_type": 1, "engine_id": 2, "sampling_interval": 0x4064})
        self.assertEqual(list(packet.header.to_dict()), [
            "version", "count", "uptime", "timestamp", "timestamp_nano", "sequence", "engine_type", "engine_id",
            "sampling_interval"])

    def test_attributes(self):
        for raw, flow in ((self.v1, make.v1_flow), (self.v5, make.v5_flow)):
            packet = parse_packet(raw)
            for n, got in enumerate(packet.flows):
                for name, value in flow(n)[1].items():
                    self.assertEqual(getattr(got, name), value, name)
                self.assertFalse(hasattr(got, "sourceIPv4Address"))
            for name, value in packet.header.to_dict().items():
                self.assertEqual(getattr(packet.header, name), value, name)

    def test_addresses_are_numbers(self):
        flow = parse_packet(self.v5).flows[0]
        self.assertEqual(flow.IPV4_DST_ADDR, make.ip4("192.0.2.1"))
        self.assertEqual(ipaddress.ip_address(flow.IPV4_DST_ADDR), ipaddress.ip_address("192.0.2.1"))

    def test_largest_values(self):
        packet = parse_packet(make.v5(b"\xff" * 48))
        self.assertEqual(packet.flows[0].IN_OCTETS, 0xFFFFFFFF)
        self.assertEqual(packet.flows[0].SRC_PORT, 0xFFFF)
        self.assertEqual(packet.flows[0].DST_MASK, 0xFF)
        packet = parse_packet(make.v1(b"\xff" * 48))
        self.assertEqual(packet.flows[0].NEXT_HOP, 0xFFFFFFFF)
        self.assertEqual(packet.flows[0].TCP_FLAGS, 0xFF)

    def test_templates_are_left_alone(self):
        templates = fresh()
        parse_packet(self.v5, templates)
        parse_packet(self.v1, templates)
        self.assertEqual(templates, fresh())
        nothing = {}
        parse_packet(self.v5, nothing)
        self.assertEqual(nothing, {})

    def test_no_flows(self):
        self.assertEqual(parse_packet(make.v1()).flows, [])
        self.assertEqual(parse_packet(make.v5()).flows, [])

    def test_octets_behind_the_last_record(self):
        self.assertEqual(len(parse_packet(self.v5 + bytes(30)).flows), 3)
        self.assertEqual(len(parse_packet(self.v1 + b"\xff").flows), 2)

    def test_cut_anywhere(self):
        for raw in (self.v1, self.v5):
            for n in range(len(raw)):
                cut = bytearray(raw[:n])
                with self.subTest(octets=n), self.assertRaises(struct.error):
                    parse_packet(cut)

    def test_more_flows_announced_than_there(self):
        with self.assertRaises(struct.error):
            parse_packet(make.v5(make.v5_flow(0)[0], count=2))

    def test_repr(self):
        packet = parse_packet(self.v1)
        self.assertEqual(repr(packet), "<ExportPacket v1 with 2 records>")
        self.assertEqual(repr(packet.flows[1]), "<DataRecord with data %r>" % make.v1_flow(1)[1])
        packet = parse_packet(self.v5)
        self.assertEqual(repr(packet), "<ExportPacket v5 with 3 records>")
        self.assertEqual(repr(packet.flows[1]), "<DataRecord with data %r>" % make.v5_flow(1)[1])
        self.assertEqual(str(packet), repr(packet))

    def test_constructors(self):
        octets, data = make.v5_flow(9)
        flow = V5DataFlow(octets)
        self.assertEqual((flow.data, flow.PROTO, flow.length), (data, 17, 48))
        octets, data = make.v1_flow(9)
        flow = V1DataFlow(octets)
        self.assertEqual((flow.data, flow.PROTO, flow.length), (data, 6, 48))
        self.assertEqual(V5Header(self.v5).sequence, 42)
        self.assertEqual(V5Header(self.v5[:24]).to_dict(), parse_packet(self.v5).header.to_dict())
        self.assertEqual(V1Header(self.v1[:16]).count, 2)
        self.assertEqual(len(V5ExportPacket(self.v5).flows), 3)
        self.assertEqual(len(V1ExportPacket(self.v1).flows), 2)
        self.assertEqual((V1DataFlow.length, V5DataFlow.length, V1Header.length, V5Header.length), (48, 48, 16, 24))

    def test_constructors_want_all_octets(self):
        for call in (V1DataFlow, V5DataFlow):
            for n in (0, 47, 49):
                with self.subTest(call=call.__name__, octets=n), self.assertRaises(struct.error):
                    call(bytes(n))
        for call, n in ((V1Header, 15), (V5Header, 23), (V1ExportPacket, 15), (V5ExportPacket, 23)):
            with self.subTest(call=call.__name__), self.assertRaises(struct.error):
                call(b"\0\5\0\0" + bytes(n - 4))

    def test_constructors_take_any_octets(self):
        for wrap in (bytearray, memoryview):
            self.assertEqual(len(V5ExportPacket(wrap(self.v5)).flows), 3)
            self.assertEqual(len(V1ExportPacket(wrap(self.v1)).flows), 2)
            self.assertEqual(V5DataFlow(wrap(make.v5_flow(9)[0])).data, make.v5_flow(9)[1])
            self.assertEqual(V1Header(wrap(self.v1)).count, 2)

    def test_constructors_believe_their_name(self):
        """The class says how to read, whatever version the octets say."""
        for octets in (make.v9_template(), make.ipfix_template(), b"\0\7" + bytes(40), b"\xff\xff" + bytes(60)):
            for cls in (V1ExportPacket, V5ExportPacket):
                data = octets[:2] + struct.pack("!H", 0) + octets[4:]
                packet = cls(data)
                self.assertEqual((packet.header.version, packet.flows), (octets[0] << 8 | octets[1], []))

    def test_constructors_want_octets(self):
        for call in (V1DataFlow, V5DataFlow, V1Header, V5Header, V1ExportPacket, V5ExportPacket):
            for data in (None, 7):
                with self.subTest(call=call.__name__, data=data), self.assertRaises(TypeError):
                    call(data)


class Objects(unittest.TestCase):
    """What one can do with any flow, header and packet."""

    def everything(self):
        templates = fresh()
        v9_options = make.v9(make.a_set(1, make.v9_options(300, [(1, 4)], [(34, 4)])), make.a_set(300, bytes(7) + b"\5"))
        return [
            parse_packet(make.v1(make.v1_flow(4)[0], make.v1_flow(5)[0])),
            parse_packet(make.v5(make.v5_flow(4)[0], make.v5_flow(5)[0])),
            parse_packet(make.v9(V9_PLAIN, make.aligned(256, make.record(1), make.record(2))), templates),
            parse_packet(v9_options, templates),
            parse_packet(make.ipfix(IPFIX_PLAIN, make.a_set(256, make.record(1), make.record(2))), templates),
        ]

    def test_flows_are_a_list(self):
        for packet in self.everything():
            self.assertIsInstance(packet.flows, list)
            self.assertEqual(len(packet.flows[:1] + packet.flows[1:]), len(packet.flows))

    def test_same_flow_each_time(self):
        for packet in self.everything():
            for i, flow in enumerate(packet.flows):
                self.assertIs(packet.flows[i], flow)
            self.assertIs(packet.header, packet.header)

    def test_data_is_a_dict_for_json_and_format(self):
        for packet in self.everything():
            for flow in packet.flows:
                self.assertIs(type(flow.data), dict)
                self.assertEqual(json.loads(json.dumps(flow.data)), flow.data)
                first = next(iter(flow.data))
                self.assertEqual(("{%s}" % first).format(**flow.data), str(flow.data[first]))
            self.assertIs(type(packet.header.to_dict()), dict)
            json.dumps(packet.header.to_dict())

    def test_vars(self):
        for packet in self.everything():
            for flow in packet.flows:
                for name, value in flow.data.items():
                    self.assertEqual(vars(flow)[name], value)
                    self.assertIn(name, dir(flow))
            for name, value in packet.header.to_dict().items():
                self.assertEqual(vars(packet.header)[name], value)

    def test_missing_attribute(self):
        for packet in self.everything():
            for thing in (*packet.flows, packet, packet.header):
                with self.assertRaises(AttributeError):
                    thing.NO_SUCH_FIELD
                self.assertEqual(getattr(thing, "NO_SUCH_FIELD", 7), 7)

    def test_users_attributes(self):
        for packet in self.everything():
            for thing in (*packet.flows, packet, packet.header):
                thing.seen_by = "me"
                self.assertEqual(thing.seen_by, "me")
            packet.header.count = 99
            self.assertEqual(packet.header.count, 99)

    def test_data_of_v1_v5_v9_can_be_changed(self):
        for packet in self.everything()[:3]:
            flow = packet.flows[0]
            flow.data["label"] = "x"
            self.assertEqual(flow.data["label"], "x")

    def test_pickle_and_copy(self):
        for packet in self.everything():
            for twin in (pickle.loads(pickle.dumps(packet)), copy.copy(packet), copy.deepcopy(packet)):
                self.assertIs(type(twin), type(packet))
                self.assertEqual(repr(twin), repr(packet))
                self.assertEqual(twin.header.to_dict(), packet.header.to_dict())
                self.assertEqual([f.data for f in twin.flows], [f.data for f in packet.flows])
                if packet.header.version >= 9:
                    self.assertEqual(twin.contains_new_templates, packet.contains_new_templates)
                    self.assertEqual(list(twin.templates), list(packet.templates))

    def test_pickle_and_copy_of_flows_and_headers(self):
        for packet in self.everything():
            for thing in (packet.header, *packet.flows):
                for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
                    twin = pickle.loads(pickle.dumps(thing, protocol))
                    self.assertIs(type(twin), type(thing))
                for twin in (twin, copy.copy(thing), copy.deepcopy(thing)):
                    fields = thing.to_dict() if thing is packet.header else thing.data
                    self.assertEqual(twin.to_dict() if thing is packet.header else twin.data, fields)
                    for name, value in fields.items():
                        self.assertEqual(getattr(twin, name), value)

    def test_pickle_and_copy_of_ipfix_fields(self):
        packet = parse_packet(make.ipfix(IPFIX_PLAIN, make.a_set(256, make.record(1))), fresh())
        flow = packet.flows[0]
        for twin in (pickle.loads(pickle.dumps(flow)), copy.copy(flow), copy.deepcopy(flow),
                     pickle.loads(pickle.dumps(packet)).flows[0]):
            self.assertEqual(set(twin.fields), set(flow.fields))
            self.assertEqual(repr(twin), "<IPFIXDataRecord with 8 entries>")
            self.assertEqual(twin.get_length(), 22)

    @better
    def test_data_replaced_or_gone(self):
        for packet in self.everything():
            for flow in packet.flows:
                flow.data = 7
                for use in (lambda: getattr(flow, "fields", None), lambda: vars(flow), lambda: copy.copy(flow)):
                    try:
                        use()
                    except (AttributeError, TypeError):
                        pass
                flow.data = {"a": 1}
                self.assertEqual(flow.data, {"a": 1})
                repr(flow), vars(flow), copy.copy(flow)
                try:
                    del flow.data
                except (AttributeError, TypeError):
                    continue
                for use in (lambda: flow.fields, lambda: flow.data, lambda: repr(flow), lambda: vars(flow),
                            lambda: copy.copy(flow), lambda: flow.get_length()):
                    try:
                        use()
                    except (AttributeError, TypeError):
                        pass

    def test_pickle_of_options_and_templates(self):
        templates = fresh()
        packet = parse_packet(make.v9(V9_PLAIN, make.a_set(1, make.v9_options(300, [(1, 4)], [(34, 4)])),
                                      make.a_set(300, bytes(7) + b"\5")), templates)
        parse_packet(make.ipfix(IPFIX_PLAIN), templates)
        option = pickle.loads(pickle.dumps(packet.options[0]))
        self.assertEqual((option.scopes, option.data), ({"System": 0}, {"SAMPLING_INTERVAL": 5}))
        self.assertEqual(copy.deepcopy(packet.options[0]).data, {"SAMPLING_INTERVAL": 5})
        self.assertEqual(repr(pickle.loads(pickle.dumps(templates["netflow"][256]))), repr(templates["netflow"][256]))
        self.assertEqual(pickle.loads(pickle.dumps(templates["ipfix"][256])), templates["ipfix"][256])

    def test_pickled_templates_still_decode(self):
        templates = fresh()
        parse_packet(make.v9_template(), templates)
        parse_packet(make.ipfix_template(), templates)
        for kept in (pickle.loads(pickle.dumps(templates)), copy.deepcopy(templates), copy.copy(templates)):
            self.assertEqual(parse_packet(make.v9_data([3]), kept).flows[0].data, v9_dict(3))
            self.assertEqual(parse_packet(make.ipfix_data([3]), kept).flows[0].data, ipfix_dict(3))

    def test_identity_equality_and_hash(self):
        for packet in self.everything():
            for thing in (packet, packet.header, *packet.flows):
                self.assertEqual(thing, thing)
                self.assertEqual(len({thing, thing}), 1)
                self.assertNotEqual(thing, copy.copy(thing))

    def test_weak_references(self):
        packets = [packet for packet in self.everything() if packet.flows]
        while packets:
            packet = packets.pop()
            flow = packet.flows[0]
            kept = weakref.ref(flow), weakref.ref(packet)
            self.assertIs(kept[0](), flow)
            del packet, flow
            gc.collect()
            self.assertEqual([reference() for reference in kept], [None, None])

        class Mine(V9DataRecord):
            pass
        mine, gone = Mine(), []
        weakref.finalize(mine, gone.append, "mine")
        del mine
        self.assertEqual(gone, ["mine"])

    def test_subclass(self):
        class Mine(V5DataFlow):
            def port(self):
                return self.SRC_PORT
        self.assertEqual(Mine(make.v5_flow(6)[0]).port(), 1030)

        class Record(IPFIXDataRecord):
            def port(self):
                return self.sourceTransportPort
        self.assertEqual(Record(make.record(3), [TemplateField(*f) for f in make.FIELDS]).port(), 1027)

        class Packet(V9ExportPacket):
            pass
        self.assertEqual(len(Packet(make.v9(V9_PLAIN, make.aligned(256, make.record(1))), {}).flows), 1)

    def test_packet_outlives_nothing_it_needs(self):
        templates = fresh()
        parse_packet(make.v9_template(), templates)
        flow = parse_packet(make.v9_data([7]), templates).flows[0]
        templates.clear()
        self.assertEqual(flow.data, v9_dict(7))
        self.assertEqual(flow.L4_SRC_PORT, 1031)


class Templates(unittest.TestCase):
    """The dict that the caller keeps between calls."""

    def test_wanted(self):
        for packet in (make.v9_template(), make.v9_data([0]), make.ipfix_template(), make.ipfix_data([0])):
            with self.assertRaises(ValueError):
                parse_packet(packet)
            with self.assertRaises(ValueError) as caught:
                parse_packet(packet, None)
            self.assertIn("templates", str(caught.exception))

    def test_kept_by_the_caller(self):
        templates = fresh()
        packet = parse_packet(make.v9_template(number=1024), templates)
        self.assertEqual(list(templates), ["netflow", "ipfix"])
        self.assertEqual(list(templates["netflow"]), [1024])
        self.assertEqual(templates["ipfix"], {})
        self.assertEqual(list(packet.templates), [1024])
        parse_packet(make.ipfix_template(number=2048), templates)
        self.assertEqual(list(templates["ipfix"]), [2048])
        self.assertEqual(list(templates["netflow"]), [1024])

    def test_length_and_keys_grow(self):
        templates = fresh()
        for n in range(5):
            parse_packet(make.v9_template(number=300 + n), templates)
            parse_packet(make.ipfix_template(number=400 + n), templates)
            self.assertEqual(len(templates["netflow"]), n + 1)
            self.assertEqual(len(templates["ipfix"]), n + 1)
            self.assertIn(300 + n, templates["netflow"])
            self.assertNotIn(301 + n, templates["netflow"])
        self.assertEqual(sorted(templates["netflow"].keys()), [300, 301, 302, 303, 304])
        self.assertEqual(sorted(templates["ipfix"].keys()), [400, 401, 402, 403, 404])

    def test_v9_and_ipfix_do_not_mix(self):
        templates = fresh()
        parse_packet(make.v9_template(), templates)
        with self.assertRaises(IPFIXTemplateNotRecognized):
            parse_packet(make.ipfix_data([0]), templates)

    def test_two_dicts_do_not_mix(self):
        one, two = fresh(), fresh()
        parse_packet(make.v9_template(), one)
        with self.assertRaises(V9TemplateNotRecognized):
            parse_packet(make.v9_data([0]), two)
        self.assertEqual(len(parse_packet(make.v9_data([0]), one).flows), 1)

    def test_dict_dies_and_another_takes_its_place(self):
        for _ in range(100):
            templates = fresh()
            with self.assertRaises(V9TemplateNotRecognized):
                parse_packet(make.v9_data([0]), templates)
            parse_packet(make.v9_template(), templates)
            self.assertEqual(len(parse_packet(make.v9_data([0]), templates).flows), 1)

    def test_forgotten_by_the_caller(self):
        templates = fresh()
        parse_packet(make.v9_template(), templates)
        parse_packet(make.ipfix_template(), templates)
        del templates["netflow"][256]
        del templates["ipfix"][256]
        with self.assertRaises(V9TemplateNotRecognized):
            parse_packet(make.v9_data([0]), templates)
        with self.assertRaises(IPFIXTemplateNotRecognized):
            parse_packet(make.ipfix_data([0]), templates)

    def test_forgotten_among_others(self):
        templates = fresh()
        for number in (256, 257, 258):
            parse_packet(make.v9_template(number), templates)
            parse_packet(make.ipfix_template(number), templates)
        del templates["netflow"][257]
        del templates["ipfix"][257]
        for number in (256, 257, 258):
            for data, missing in ((make.v9_data([0], number), V9TemplateNotRecognized),
                                  (make.ipfix_data([0], number), IPFIXTemplateNotRecognized)):
                with self.subTest(number=number, missing=missing):
                    if number == 257:
                        self.assertRaises(missing, parse_packet, data, templates)
                    else:
                        self.assertEqual(len(parse_packet(data, templates).flows), 1)

    def test_classes_derived_from_dict(self):
        """Their own methods see what comes and goes."""
        class Logged(dict):
            def __init__(self):
                super().__init__()
                self.log = []

            def __setitem__(self, key, value):
                self.log.append(key)
                super().__setitem__(key, value)

            def __delitem__(self, key):
                self.log.append(-key)
                super().__delitem__(key)

        for kind in collections.OrderedDict, Logged:
            kept = {"netflow": kind(), "ipfix": kind()}
            for number in 300, 256:
                parse_packet(make.v9_template(number), kept)
                parse_packet(make.ipfix_template(number), kept)
            self.assertEqual([list(kept["netflow"]), list(kept["ipfix"])], [[300, 256]] * 2)
            self.assertEqual(len(parse_packet(make.v9_data([1, 2]), kept).flows), 2)
            self.assertEqual(len(parse_packet(make.ipfix_data([1, 2]), kept).flows), 2)
            if OURS:
                parse_packet(make.ipfix(make.a_set(2, struct.pack("!HH", 300, 0))), kept)
                self.assertEqual(list(kept["ipfix"]), [256])
        self.assertEqual(kept["netflow"].log, [300, 256])
        self.assertEqual(kept["ipfix"].log, [300, 256, -300] if OURS else [])

    @better
    def test_sections_that_are_no_dicts(self):
        for section in collections.UserDict(), collections.UserDict({256: None}), 5, 0, "", "ab", [1], object():
            with self.subTest(section=section):
                self.assertRaises(TypeError, parse_packet, make.v9_template(), {"netflow": section, "ipfix": {}})
                self.assertRaises(TypeError, parse_packet, make.ipfix_template(), {"netflow": {}, "ipfix": section})

    @better
    def test_dict_that_refuses(self):
        class Full(dict):
            def __setitem__(self, key, value):
                raise OSError("no room")

        kept = {"netflow": Full(), "ipfix": Full()}
        self.assertRaises(OSError, parse_packet, make.v9_template(), kept)
        self.assertRaises(OSError, parse_packet, make.ipfix_template(), kept)
        kept["netflow"] = {}
        parse_packet(make.v9_template(), kept)
        self.assertEqual(len(parse_packet(make.v9_data([1]), kept).flows), 1)

    @better
    def test_template_that_takes_itself_out(self):
        class Gone:
            @property
            def _handle(self):
                kept["netflow"].clear()
                raise AttributeError("_handle")

            def __getattr__(self, name):
                kept["netflow"].clear()
                gc.collect()
                raise AttributeError(name)

        kept = fresh()
        kept["netflow"][256] = Gone()
        self.assertRaises((TypeError, V9TemplateNotRecognized), parse_packet, make.v9_data([1]), kept)

    def test_cleared_by_the_caller(self):
        templates = fresh()
        parse_packet(make.v9_template(), templates)
        templates["netflow"].clear()
        with self.assertRaises(V9TemplateNotRecognized):
            parse_packet(make.v9_data([0]), templates)
        parse_packet(make.v9_template(), templates)
        templates["netflow"] = {}
        with self.assertRaises(V9TemplateNotRecognized):
            parse_packet(make.v9_data([0]), templates)

    def test_moved_by_the_caller(self):
        one, two = fresh(), fresh()
        parse_packet(make.v9_template(), one)
        parse_packet(make.ipfix_template(), one)
        two["netflow"][256] = one["netflow"][256]
        two["ipfix"].update(one["ipfix"])
        self.assertEqual(parse_packet(make.v9_data([5]), two).flows[0].data, v9_dict(5))
        self.assertEqual(parse_packet(make.ipfix_data([5]), two).flows[0].data, ipfix_dict(5))

    def test_made_by_the_caller(self):
        fields = [V9TemplateField(*f) for f in make.FIELDS]
        templates = {"netflow": {256: V9TemplateRecord(256, len(fields), fields)},
                     "ipfix": {256: [TemplateField(*f) for f in make.FIELDS]}}
        self.assertEqual(parse_packet(make.v9_data([5]), templates).flows[0].data, v9_dict(5))
        self.assertEqual(parse_packet(make.ipfix_data([5]), templates).flows[0].data, ipfix_dict(5))

    def test_fields_changed_by_the_caller(self):
        """What a template says counts when the next packet comes."""
        swapped = (("a list of its own", lambda t: setattr(t, "fields", [t.fields[1], t.fields[0], *t.fields[2:]])),
                   ("in the list", lambda t: t.fields.reverse() or t.fields.reverse() or t.fields.insert(0, t.fields.pop(1))),
                   ("the fields", lambda t: (setattr(t.fields[0], "field_type", 12), setattr(t.fields[1], "field_type", 8))))
        for how, change in swapped:
            with self.subTest(how):
                templates = fresh()
                parse_packet(make.v9_template(), templates)
                before = parse_packet(make.v9_data([1]), templates)
                self.assertEqual(len(templates["netflow"][256].fields), 8)
                change(templates["netflow"][256])
                data = parse_packet(make.v9_data([1]), templates).flows[0].data
                self.assertEqual((data["IPV4_SRC_ADDR"], data["IPV4_DST_ADDR"]), ("192.0.2.1", "10.0.0.1"))
                self.assertEqual(before.flows[0].data, v9_dict(1))
                parse_packet(make.v9_template(), templates)
                self.assertEqual(parse_packet(make.v9_data([1]), templates).flows[0].data, v9_dict(1))
        templates = fresh()
        parse_packet(make.ipfix_template(), templates)
        parse_packet(make.ipfix_data([1]), templates)
        fields = templates["ipfix"][256]
        fields[0], fields[1] = fields[1], fields[0]
        data = parse_packet(make.ipfix_data([1]), templates).flows[0].data
        self.assertEqual((data["sourceIPv4Address"], data["destinationIPv4Address"]), (0xC0000201, 0x0A000001))
        parse_packet(make.ipfix_template(), templates)
        self.assertEqual(parse_packet(make.ipfix_data([1]), templates).flows[0].data, ipfix_dict(1))

    def test_options_changed_by_the_caller(self):
        templates = fresh()
        options = make.a_set(1, make.v9_options(300, [(1, 4)], [(34, 4), (35, 2)]), pad=2)
        parse_packet(make.v9(options), templates)
        template = templates["netflow"][300]
        data = make.v9(make.a_set(300, bytes(range(10)), pad=2))
        self.assertEqual(parse_packet(data, templates).options[0].data, {"SAMPLING_INTERVAL": 0x04050607, "SAMPLING_ALGORITHM": 0x0809})
        self.assertEqual((template.scope_fields, template.option_fields), ({1: 4}, {34: 4, 35: 2}))
        template.option_fields[35] = 1
        template.option_fields[34] = 5
        self.assertEqual(parse_packet(data, templates).options[0].data, {"SAMPLING_INTERVAL": 0x0405060708, "SAMPLING_ALGORITHM": 9})
        template.scope_fields = {2: 4}
        self.assertEqual(parse_packet(data, templates).options[0].scopes, {"Interface": 0x00010203})

    def test_templates_as_objects(self):
        """They take attributes, as any object of Python."""
        templates = fresh()
        parse_packet(make.v9(V9_PLAIN, make.a_set(1, make.v9_options(300, [(1, 4)], [(34, 4)]), pad=2)), templates)
        template, options = templates["netflow"][256], templates["netflow"][300]
        template.seen = options.seen = template.fields[0].seen = 5
        self.assertEqual((template.seen, options.seen, template.fields[0].seen), (5, 5, 5))
        self.assertIs(template.fields, template.fields)
        self.assertEqual(vars(template.fields[0]), {"field_type": 8, "field_length": 4, "seen": 5})
        for thing, names in ((template, ("template_id", "field_count", "fields")),
                             (options, ("template_id", "scope_fields", "option_fields"))):
            for name in names:
                getattr(thing, name)
                self.assertIn(name, vars(thing))
            for twin in (pickle.loads(pickle.dumps(thing)), copy.copy(thing), copy.deepcopy(thing)):
                self.assertEqual(repr(twin), repr(thing))
                self.assertEqual(twin.seen, 5)

    def test_redefined(self):
        templates = fresh()
        other = ((12, 4), (8, 4)) + make.FIELDS[2:]
        for set_id, packet, data, read in (
                (0, make.v9, make.v9_data([1]), v9_dict), (2, make.ipfix, make.ipfix_data([1]), ipfix_dict)):
            parse_packet(packet(make.a_set(set_id, make.template(256, *make.FIELDS))), templates)
            parse_packet(packet(make.a_set(set_id, make.template(256, *other))), templates)
            got, want = parse_packet(data, templates).flows[0].data, read(1)
            src, dst = list(want)[:2]
            self.assertEqual((got[src], got[dst]), (want[dst], want[src]))

    def test_what_v9_templates_look_like(self):
        templates = fresh()
        parse_packet(make.v9(V9_PLAIN, make.a_set(1, make.v9_options(257, [(1, 4), (2, 2)], [(34, 4), (35, 1)]))),
                     templates)
        template = templates["netflow"][256]
        self.assertIsInstance(template, V9TemplateRecord)
        self.assertEqual((template.template_id, template.field_count), (256, 8))
        self.assertEqual([(f.field_type, f.field_length) for f in template.fields], list(make.FIELDS))
        self.assertIsInstance(template.fields[0], V9TemplateField)
        options = templates["netflow"][257]
        self.assertIsInstance(options, V9OptionsTemplateRecord)
        self.assertEqual(options.template_id, 257)
        self.assertEqual(options.scope_fields, {1: 4, 2: 2})
        self.assertEqual(options.option_fields, {34: 4, 35: 1})

    def test_what_ipfix_templates_look_like(self):
        templates = fresh()
        parse_packet(make.ipfix(make.a_set(2, make.template(256, (8, 4), (1, 8, 29305))),
                                make.a_set(3, make.ipfix_options(257, [(149, 4)], [(34, 4)]))), templates)
        plain, enterprise = templates["ipfix"][256]
        self.assertEqual(plain, TemplateField(id=8, length=4))
        self.assertEqual(enterprise, TemplateFieldEnterprise(id=1, length=8, enterprise_number=29305))
        self.assertEqual((enterprise.id, enterprise.length, enterprise.enterprise_number), (1, 8, 29305))
        self.assertEqual(templates["ipfix"][257], [TemplateField(149, 4), TemplateField(34, 4)])

    def test_new_templates(self):
        templates = fresh()
        self.assertTrue(parse_packet(make.v9_template(), templates).contains_new_templates)
        self.assertFalse(parse_packet(make.v9_data([0]), templates).contains_new_templates)
        self.assertFalse(parse_packet(make.v9_template(), templates).contains_new_templates)
        self.assertTrue(parse_packet(make.v9_template(number=257), templates).contains_new_templates)
        self.assertTrue(parse_packet(make.v9(make.a_set(1, make.v9_options(258, [(1, 4)], [(34, 4)]))),
                                     templates).contains_new_templates)
        self.assertTrue(parse_packet(make.ipfix_template(), templates).contains_new_templates)
        self.assertFalse(parse_packet(make.ipfix_data([0]), templates).contains_new_templates)
        self.assertTrue(parse_packet(make.ipfix_template(), templates).contains_new_templates)

    def test_kept_though_data_are_not_understood(self):
        templates = fresh()
        with self.assertRaises(V9TemplateNotRecognized):
            parse_packet(make.v9(make.aligned(999, make.record(0)), V9_PLAIN), templates)
        self.assertEqual(list(templates["netflow"]), [256])
        with self.assertRaises(IPFIXTemplateNotRecognized):
            parse_packet(make.ipfix(IPFIX_PLAIN, make.a_set(999, make.record(0))), templates)
        self.assertEqual(list(templates["ipfix"]), [256])

    def test_lost_and_found(self):
        for template, data, unknown, read in (
                (make.v9_template(), make.v9_data([1, 2]), V9TemplateNotRecognized, v9_dict),
                (make.ipfix_template(), make.ipfix_data([1, 2]), IPFIXTemplateNotRecognized, ipfix_dict)):
            templates = fresh()
            for _ in range(3):
                with self.assertRaises(unknown):
                    parse_packet(data, templates)
            parse_packet(template, templates)
            self.assertEqual([f.data for f in parse_packet(data, templates).flows], [read(1), read(2)])

    def test_not_recognized_is_a_key_error(self):
        self.assertTrue(issubclass(V9TemplateNotRecognized, KeyError))
        self.assertTrue(issubclass(IPFIXTemplateNotRecognized, KeyError))

    @better
    def test_sections_appear(self):
        templates = {}
        parse_packet(make.v9_template(), templates)
        self.assertEqual([*templates], ["netflow"])
        parse_packet(make.ipfix_template(), templates)
        self.assertEqual([len(templates["netflow"]), len(templates["ipfix"])], [1, 1])
        self.assertEqual(parse_packet(make.v9_data([5]), templates).flows[0].data, v9_dict(5))
        self.assertEqual(parse_packet(make.ipfix_data([5]), templates).flows[0].data, ipfix_dict(5))

    @better
    def test_lists_as_sections(self):
        templates = {"netflow": [], "ipfix": []}  # as the documentation of 0.12.2 has it
        parse_packet(make.v9_template(), templates)
        parse_packet(make.ipfix_template(), templates)
        self.assertEqual(parse_packet(make.v9_data([5]), templates).flows[0].data, v9_dict(5))
        self.assertEqual(parse_packet(make.ipfix_data([5]), templates).flows[0].data, ipfix_dict(5))

    @better
    def test_exporters_with_the_same_template_id(self):
        short = make.FIELDS[:2]
        for packet, set_id, head, aligned, read in (
                (make.v9, 0, "source", make.aligned, v9_dict), (make.ipfix, 2, "domain", make.a_set, ipfix_dict)):
            templates = fresh()
            parse_packet(packet(make.a_set(set_id, make.template(256, *make.FIELDS)), **{head: 1}), templates)
            parse_packet(packet(make.a_set(set_id, make.template(256, *short)), **{head: 2}), templates)
            one = parse_packet(packet(aligned(256, make.record(1)), **{head: 1}), templates)
            two = parse_packet(packet(aligned(256, make.record(2)[:8]), **{head: 2}), templates)
            self.assertEqual([f.data for f in one.flows], [read(1)])
            self.assertEqual([f.data for f in two.flows], [dict(list(read(2).items())[:2])])


@better
class Bounds(unittest.TestCase):
    """What exporters make the package keep has an end."""

    @staticmethod
    def resident():
        with open("/proc/self/statm", encoding="ascii") as numbers:
            return int(numbers.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def grown(self, feed, rounds, warm):
        """Octets that the interpreter and the process have taken from round `warm` on."""
        gc.collect()
        for n in range(warm):
            feed(n)
        tracemalloc.start()
        try:
            gc.collect()
            known, resident = tracemalloc.get_traced_memory()[0], self.resident()
            for n in range(warm, rounds):
                feed(n)
            gc.collect()
            return tracemalloc.get_traced_memory()[0] - known, self.resident() - resident
        finally:
            tracemalloc.stop()

    def test_redefined_again_and_again(self):
        def fields(n, many):
            return [(n * 7 + i) % 20000 + 1 for i in range(many)]

        for form, set_id, packet in (("netflow", 0, make.v9), ("ipfix", 2, make.ipfix)):
            templates = fresh()
            unread = []

            def feed(n):
                many = 4000 if n % 20 == 0 else 30
                numbers = fields(n, many)
                read = parse_packet(packet(make.a_set(set_id, make.template(256, *((f, 1) for f in numbers))),
                                           make.aligned(256, bytes(many))), templates)
                if n % 2:
                    self.assertEqual(len(read.flows[0].data), many)
                else:
                    unread[:] = [read]

            with self.subTest(form):
                traced, resident = self.grown(feed, 2000, 100)
                self.assertEqual(len(templates[form]), 1)
                self.assertLess(traced, 2 << 20)
                self.assertLess(resident, 24 << 20)
                self.assertGreater(len(unread[0].flows[0].data), 0)

    def test_withdrawn_again_and_again(self):
        templates = fresh()

        def feed(n):
            domain, number = n % 700, 256 + n % 5000
            parse_packet(make.ipfix_template(number, domain=domain), templates)
            parse_packet(make.ipfix(make.a_set(2, make.template(number)), domain=domain), templates)
            self.assertEqual(templates["ipfix"], {})

        traced, resident = self.grown(feed, 6000, 2000)
        self.assertLess(traced, 2 << 20)
        self.assertLess(resident, 16 << 20)

    def test_domains_without_end(self):
        """What is in the dict is known whatever else was forgotten."""
        templates = fresh()

        def feed(n):
            if n % 5 == 0:
                parse_packet(make.v9_template(256 + n % 3, source=n), templates)
                parse_packet(make.ipfix_template(256 + n % 3, domain=n), templates)
            else:
                self.assertEqual(parse_packet(make.v9_data([n], source=n), templates).flows[0].data, v9_dict(n))
                self.assertEqual(parse_packet(make.ipfix_data([n], domain=n), templates).flows[0].data, ipfix_dict(n))

        traced, resident = self.grown(feed, 6000, 2500)
        self.assertLess(traced, 2 << 20)
        self.assertLess(resident, 16 << 20)

    def test_dict_that_is_full(self):
        """A template that has no room is refused; others are read still, and there is room again when the caller makes some."""
        for form, set_id, packet, data in (("netflow", 0, make.v9, make.v9_data([1])),
                                           ("ipfix", 2, make.ipfix, make.ipfix_data([1]))):
            with self.subTest(form):
                templates = fresh()
                parse_packet(packet(make.a_set(set_id, make.template(256, *make.FIELDS))), templates)
                large = [make.a_set(set_id, make.template(300 + n, *((1 + i, 1) for i in range(16000)))) for n in range(150)]
                with self.assertRaisesRegex(netflow.MalformedPacket, "refused.*16 MiB"):
                    for template in large:
                        parse_packet(packet(template), templates)
                held = len(templates[form])
                self.assertGreater(held, 20)
                self.assertLess(held, 140)
                self.assertEqual(len(parse_packet(data, templates).flows), 1)
                self.assertRaises(netflow.MalformedPacket, parse_packet, packet(large[-1]), templates)
                for number in range(300, 320):
                    del templates[form][number]
                parse_packet(packet(large[-1]), templates)
                self.assertEqual(len(templates[form]), held - 19)
                self.assertEqual(len(parse_packet(data, templates).flows), 1)

    def test_memory_of_a_dict(self):
        kept = []
        parse_packet(make.v9_template(), fresh())
        before = self.resident()
        for _ in range(500):
            kept.append(fresh())
            parse_packet(make.v9_template(), kept[-1])
        self.assertLess((self.resident() - before) / 500, 24 << 10)


class Concurrency(unittest.TestCase):
    def test_threads_with_one_dict(self):
        templates = fresh()
        parse_packet(make.v9_template(), templates)
        wrong = []

        def work(first):
            try:
                for n in range(first, first + 300):
                    parse_packet(make.v9_template(256 + n % 5), templates)
                    if parse_packet(make.v9_data([n]), templates).flows[0].data != v9_dict(n):
                        wrong.append(n)
            except BaseException as why:  # pylint: disable=broad-except
                wrong.append(why)

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(interval)
        self.assertEqual(wrong, [])

    def test_packets_while_a_packet_is_read(self):
        """The interpreter may run anything while objects are made: here what a cycle that is collected does."""
        templates = fresh()
        parse_packet(make.v9_template(), templates)
        seen = []

        class Cycle:
            def __init__(self):
                self.me = self

            def __del__(self):
                if not seen or seen[-1] is not None:
                    seen.append(None)
                    parse_packet(make.v9_template(257), templates)
                    seen[-1] = parse_packet(make.v9_data([9, 10]), templates).flows[1].data

        threshold = gc.get_threshold()
        gc.set_threshold(5)
        try:
            for n in range(200):
                Cycle()
                packet = parse_packet(make.v9(V9_PLAIN, make.aligned(256, *map(make.record, range(n, n + 30)))), templates)
                self.assertEqual([f.data for f in packet.flows], [v9_dict(n + i) for i in range(30)])
        finally:
            gc.set_threshold(*threshold)
        self.assertTrue(seen)
        self.assertTrue(all(data == v9_dict(10) for data in seen if data is not None))


class Records(unittest.TestCase):
    """Values of many records one after the other, which have some in common with others."""

    def test_v5(self):
        rng = random.Random(5)
        row = struct.Struct("!IIIHHIIIIHHxBBBHHBB2x")
        few = [rng.randrange(1 << 32) for _ in range(5)]
        for _ in range(60):
            octets = []
            for _ in range(30):
                record = bytearray(rng.choice([rng.randbytes(48), bytes(48), b"\xff" * 48, octets[-1] if octets else bytes(48)]))
                struct.pack_into("!III", record, 0, rng.choice(few), rng.choice(few), 0)
                octets.append(bytes(record))
            flows = parse_packet(make.v5(*octets)).flows
            self.assertEqual([f.data for f in flows], [dict(zip(make.V5_FIELDS, row.unpack(r))) for r in octets])
            self.assertEqual([list(f.data) for f in flows], [list(make.V5_FIELDS)] * 30)

    def test_v9_and_ipfix(self):
        rng = random.Random(9)
        templates = fresh()
        parse_packet(make.v9_template(), templates)
        parse_packet(make.ipfix_template(), templates)
        for _ in range(60):
            numbers = [rng.choice([7, rng.randrange(70), rng.randrange(1 << 20)]) for _ in range(30)]
            self.assertEqual([f.data for f in parse_packet(make.v9_data(numbers), templates).flows], list(map(v9_dict, numbers)))
            self.assertEqual([f.data for f in parse_packet(make.ipfix_data(numbers), templates).flows],
                             list(map(ipfix_dict, numbers)))

    def test_nothing_of_an_earlier_record(self):
        """Neither attributes nor changes of a flow that is gone are seen in another one."""
        for _ in range(50):
            flows = parse_packet(make.v5(*(make.v5_flow(n)[0] for n in range(30)))).flows
            for n, flow in enumerate(flows):
                self.assertEqual(flow.data, make.v5_flow(n)[1])
                self.assertFalse(hasattr(flow, "mine"))
                flow.mine = n
                flow.data["IN_OCTETS"] = flow.data["mine too"] = "changed"
            del flow, flows

    def test_cycles_are_collected(self):
        flow = parse_packet(make.v5(make.v5_flow(1)[0])).flows[0]
        token = Token()
        flow.data["me"], flow.token = flow, token
        gone = weakref.ref(token)
        del flow, token
        gc.collect()
        self.assertIsNone(gone())


class Token:
    """Something that can be waited for."""


class Version9(unittest.TestCase):
    def test_header(self):
        packet = parse_packet(make.v9_template(sequence=77, source=0xFFFFFFFF), fresh())
        self.assertIsInstance(packet, V9ExportPacket)
        self.assertEqual(packet.header.to_dict(), {
            "version": 9, "count": 1, "uptime": make.UPTIME_MS, "timestamp": make.EXPORT_S, "sequence": 77,
            "source_id": 0xFFFFFFFF})
        self.assertEqual(list(packet.header.to_dict()),
                         ["version", "count", "uptime", "timestamp", "sequence", "source_id"])
        self.assertEqual(packet.header.source_id, 0xFFFFFFFF)
        self.assertEqual((V9Header.length, V9Header(make.v9()).version), (20, 9))

    def test_two_templates_eight_flows(self):
        other = make.a_set(0, make.template(1024, *make.FIELDS), make.template(2048, *make.FIELDS6))
        packet = parse_packet(make.v9(other, make.aligned(1024, *map(make.record, range(8))), count=10), fresh())
        self.assertEqual((len(packet.flows), len(packet.templates), packet.header.count), (8, 2, 10))
        self.assertEqual([f.data for f in packet.flows], [v9_dict(n) for n in range(8)])
        self.assertEqual(tuple(packet.flows[0].data), make.V9_NAMES)

    def test_templates_behind_the_data(self):
        packet = parse_packet(make.v9(make.aligned(256, *map(make.record, range(8))), V9_PLAIN), fresh())
        self.assertEqual([f.data for f in packet.flows], [v9_dict(n) for n in range(8)])
        self.assertTrue(packet.contains_new_templates)

    def test_data_that_waited_come_last(self):
        packet = parse_packet(make.v9(make.aligned(257, make.record6(1)), V9_PLAIN,
                                      make.aligned(256, make.record(2)),
                                      make.a_set(0, make.template(257, *make.FIELDS6))), fresh())
        self.assertEqual([f.IN_PKTS for f in packet.flows], [3, 2])

    def test_several_data_sets(self):
        templates = fresh()
        parse_packet(make.v9_template(), templates)
        packet = parse_packet(make.v9(*(make.aligned(256, make.record(n)) for n in range(5))), templates)
        self.assertEqual([f.data for f in packet.flows], [v9_dict(n) for n in range(5)])

    def test_addresses_are_text(self):
        packet = parse_packet(make.v9(V9_PLAIN, make.aligned(256, make.record(1)),
                                      make.a_set(0, make.template(257, *make.FIELDS6)),
                                      make.aligned(257, make.record6(258))), fresh())
        self.assertEqual((packet.flows[0].IPV4_SRC_ADDR, packet.flows[0].IPV4_DST_ADDR), ("10.0.0.1", "192.0.2.1"))
        self.assertEqual((packet.flows[1].IPV6_SRC_ADDR, packet.flows[1].IPV6_DST_ADDR), ("2001:db8::102", "fe80::1"))
        ipaddress.ip_address(packet.flows[1].IPV6_SRC_ADDR)

    def test_which_addresses_are_text(self):
        fields = ((8, 4), (12, 4), (15, 4), (18, 4), (27, 16), (28, 16), (62, 16), (63, 16), (44, 4), (225, 4), (47, 4))
        body = bytes([192, 0, 2, 7]) * 4 + (b"\x20\x01\x0d\xb8" + bytes(11) + b"\7") * 4 + bytes([192, 0, 2, 7]) * 3
        flow = parse_packet(make.v9(make.a_set(0, make.template(256, *fields)), make.aligned(256, body)),
                            fresh()).flows[0]
        self.assertEqual(flow.data, {
            "IPV4_SRC_ADDR": "192.0.2.7", "IPV4_DST_ADDR": "192.0.2.7", "IPV4_NEXT_HOP": "192.0.2.7",
            "BGP_IPV4_NEXT_HOP": "192.0.2.7", "IPV6_SRC_ADDR": "2001:db8::7", "IPV6_DST_ADDR": "2001:db8::7",
            "IPV6_NEXT_HOP": "2001:db8::7", "BPG_IPV6_NEXT_HOP": "2001:db8::7", "IPV4_SRC_PREFIX": 0xC0000207,
            "NF_F_XLATE_SRC_ADDR_IPV4": 0xC0000207, "MPLS_TOP_LABEL_IP_ADDR": 0xC0000207})

    def test_numbers_of_any_length(self):
        for octets in (1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 32, 100):
            raw = bytes(255 - n % 256 for n in range(octets))
            packet = parse_packet(make.v9(make.a_set(0, make.template(256, (1, octets), (2, 4), (4, 1))),
                                          make.aligned(256, raw, b"\0\0\0\3\6")), fresh())
            self.assertEqual([f.data for f in packet.flows],
                             [{"IN_BYTES": int.from_bytes(raw, "big"), "IN_PKTS": 3, "PROTOCOL": 6}], octets)

    def test_mac_and_text_are_numbers(self):
        packet = parse_packet(make.v9(make.a_set(0, make.template(256, (56, 6), (82, 5))),
                                      make.aligned(256, b"\0\0\x5e\0\x53\1eth0\0")), fresh())
        self.assertEqual(packet.flows[0].IN_SRC_MAC, 0x00005E005301)
        self.assertEqual(packet.flows[0].IF_NAME, int.from_bytes(b"eth0\0", "big"))

    def test_repeated_field(self):
        packet = parse_packet(make.v9(make.a_set(0, make.template(256, (8, 4), (1, 4), (8, 4), (1, 4))),
                                      make.aligned(256, struct.pack("!IIII", 1, 2, 3, 4))), fresh())
        self.assertEqual(list(packet.flows[0].data.items()), [("IPV4_SRC_ADDR", "0.0.0.3"), ("IN_BYTES", 4)])

    def test_padding_of_up_to_three_octets(self):
        for spare in range(4):
            fields = make.FIELDS + ((5, 1),) * (1 if spare else 0)
            size = 22 + (1 if spare else 0)
            data = make.a_set(256, bytes(size), bytes(size), pad=spare)
            if len(data) % 4:
                continue
            packet = parse_packet(make.v9(make.a_set(0, make.template(256, *fields)), data), fresh())
            self.assertEqual(len(packet.flows), 2, spare)

    def test_sets_that_are_not_padded(self):
        packet = parse_packet(make.v9(V9_PLAIN, make.a_set(256, make.record(1)), make.a_set(256, make.record(2))),
                              fresh())
        self.assertEqual([f.data for f in packet.flows], [v9_dict(1), v9_dict(2)])

    def test_options(self):
        packet = parse_packet(make.v9(
            make.a_set(1, make.v9_options(257, [(1, 4), (2, 4)], [(34, 4), (35, 1), (84, 3)])),
            make.a_set(257, struct.pack("!IIIB", 9, 10, 100, 2), b"eth", struct.pack("!IIIB", 11, 12, 200, 1), b"lo\0")),
            fresh())
        self.assertEqual(packet.flows, [])
        self.assertEqual(len(packet.options), 2)
        option = packet.options[1]
        self.assertIsInstance(option, V9OptionsDataRecord)
        self.assertEqual(option.scopes, {"System": 11, "Interface": 12})
        self.assertEqual(option.data, {"SAMPLING_INTERVAL": 200, "SAMPLING_ALGORITHM": 1,
                                       "SAMPLER_NAME": int.from_bytes(b"lo\0", "big")})
        self.assertEqual(list(packet.templates), [257])

    def test_options_scopes(self):
        scopes = [(1, 4), (2, 4), (3, 4), (4, 4), (5, 4), (6, 4)]
        packet = parse_packet(make.v9(make.a_set(1, make.v9_options(257, scopes, [(41, 4)]), pad=2),
                                      make.a_set(257, struct.pack("!7I", *range(7)))), fresh())
        self.assertEqual(packet.options[0].scopes,
                         {"System": 0, "Interface": 1, "Line Card": 2, "Cache": 3, "Template": 4, 6: 5})
        self.assertEqual(packet.options[0].data, {"TOTAL_PKTS_EXP": 6})

    def test_options_with_elements_of_ipfix(self):
        packet = parse_packet(make.v9(make.a_set(1, make.v9_options(257, [(1, 4)], [(459, 4), (303, 4)])),
                                      make.a_set(257, struct.pack("!I4sI", 7, b"ab\0\0", 50))), fresh())
        self.assertEqual(packet.options[0].data, {"httpRequestMethod": int.from_bytes(b"ab\0\0", "big"),
                                                  "informationElementId": 50})

    def test_options_and_flows_together(self):
        packet = parse_packet(make.v9(make.aligned(256, make.record(1)), make.a_set(257, struct.pack("!II", 7, 50)),
                                      make.a_set(1, make.v9_options(257, [(1, 4)], [(34, 4)]), pad=2), V9_PLAIN),
                              fresh())
        self.assertEqual([f.data for f in packet.flows], [v9_dict(1)])
        self.assertEqual([o.data for o in packet.options], [{"SAMPLING_INTERVAL": 50}])

    def test_unknown_template(self):
        with self.assertRaises(V9TemplateNotRecognized):
            parse_packet(make.v9_data([0]), fresh())
        templates = fresh()
        parse_packet(make.v9_template(number=300), templates)
        with self.assertRaises(V9TemplateNotRecognized):
            parse_packet(make.v9_data([0]), templates)

    def test_unknown_template_beside_a_new_one(self):
        templates = fresh()
        with self.assertRaises(V9TemplateNotRecognized):
            parse_packet(make.v9(make.aligned(300, make.record(0)), V9_PLAIN), templates)
        self.assertEqual(list(templates["netflow"]), [256])

    def test_header_alone(self):
        packet = parse_packet(make.v9(count=0), fresh())
        self.assertEqual((packet.flows, packet.options, packet.contains_new_templates), ([], [], False))

    def test_cut_header(self):
        for n in range(2, 20):
            with self.subTest(octets=n), self.assertRaises(struct.error):
                parse_packet(bytearray(make.v9()[:n]), fresh())

    @better
    def test_octets_behind_the_last_set(self):
        for n in (1, 2, 3):
            packet = parse_packet(make.v9(V9_PLAIN, make.aligned(256, make.record(1)), bytes(n)), fresh())
            self.assertEqual([f.data for f in packet.flows], [v9_dict(1)])

    def test_repr(self):
        templates = fresh()
        packet = parse_packet(make.v9_template(count=4), templates)
        self.assertEqual(repr(packet), "<V9ExportPacket with 4 records and new template(s)>")
        self.assertEqual(repr(templates["netflow"][256]), "<TemplateRecord 256 with 8 fields: %s>"
                         % " ".join(make.V9_NAMES))
        self.assertEqual(repr(templates["netflow"][256].fields[1]), "<TemplateField type 12:IPV4_DST_ADDR, length 4>")
        packet = parse_packet(make.v9_data([3]), templates)
        self.assertEqual(repr(packet), "<V9ExportPacket with 1 records>")
        self.assertEqual(repr(packet.flows[0]), "<DataRecord with data: %r>" % v9_dict(3))
        packet = parse_packet(make.v9(make.a_set(1, make.v9_options(257, [(1, 4)], [(34, 4)])),
                                      make.a_set(257, bytes(8))), templates)
        self.assertEqual(repr(packet.options[0]), "<V9OptionsDataRecord with scopes dict_keys(['System']) and "
                                                  "data dict_keys(['SAMPLING_INTERVAL'])>")
        self.assertEqual(repr(templates["netflow"][257]), "<V9OptionsTemplateRecord with scope fields dict_keys([1]) "
                                                          "and option fields dict_keys([34])>")

    def test_constructors(self):
        template = V9TemplateRecord(256, 2, [V9TemplateField(8, 4), V9TemplateField(1, 4)])
        self.assertEqual((template.template_id, template.field_count, len(template.fields)), (256, 2, 2))
        flows = V9DataFlowSet(make.a_set(256, struct.pack("!IIII", 1, 2, 3, 4)), template)
        self.assertEqual((flows.template_id, flows.length), (256, 20))
        self.assertEqual([f.data for f in flows.flows], [{"IPV4_SRC_ADDR": "0.0.0.1", "IN_BYTES": 2},
                                                         {"IPV4_SRC_ADDR": "0.0.0.3", "IN_BYTES": 4}])
        self.assertIsInstance(flows.flows[0], V9DataRecord)
        self.assertEqual(flows.flows[1].IN_BYTES, 4)
        self.assertEqual(repr(flows), "<DataFlowSet with template 256 of length 20 holding 2 flows>")
        more = V9DataFlowSet(make.a_set(256, struct.pack("!II", 1, 2)) + b"\xff" * 40, template)
        self.assertEqual(len(more.flows), 1)

        sets = V9TemplateFlowSet(make.a_set(0, make.template(256, (8, 4)), make.template(300, (1, 4), (2, 4))))
        self.assertEqual((sets.flowset_id, sets.length, list(sets.templates)), (0, 24, [256, 300]))
        self.assertEqual(sets.templates[300].field_count, 2)
        self.assertEqual(repr(sets), "<TemplateFlowSet with id 0 of length 24 containing templates: "
                                     "dict_keys([256, 300])>")

        options = V9OptionsTemplateFlowSet(make.a_set(1, make.v9_options(257, [(1, 4)], [(34, 4)]), pad=2))
        self.assertEqual((options.flowset_id, options.flowset_length, list(options.templates)), (1, 20, [257]))
        self.assertEqual(repr(options), "<V9OptionsTemplateFlowSet with 1 templates: dict_keys([257])>")
        template = V9OptionsTemplateRecord(257, {1: 4}, {34: 4})
        self.assertEqual((template.template_id, template.scope_fields, template.option_fields), (257, {1: 4}, {34: 4}))
        data = V9OptionsDataFlowset(make.a_set(257, struct.pack("!II", 7, 8)), template)
        self.assertEqual((data.template_id, data.length), (257, 12))
        self.assertEqual([(r.scopes, r.data) for r in data.option_data_records],
                         [({"System": 7}, {"SAMPLING_INTERVAL": 8})])

        self.assertEqual(V9DataRecord().data, {})
        self.assertEqual((V9OptionsDataRecord().scopes, V9OptionsDataRecord().data), ({}, {}))
        self.assertEqual(V9Header(make.v9(sequence=8)).sequence, 8)
        known = {}
        packet = V9ExportPacket(make.v9_template(), known)
        self.assertEqual((list(known), packet.contains_new_templates), ([256], True))
        self.assertEqual(V9ExportPacket(make.v9_data([2]), known).flows[0].data, v9_dict(2))

    def test_constructors_want_octets(self):
        template = V9TemplateRecord(256, 1, [V9TemplateField(8, 4)])
        for call, args in ((V9Header, ()), (V9TemplateFlowSet, ()), (V9OptionsTemplateFlowSet, ()),
                           (V9DataFlowSet, (template,)), (V9ExportPacket, ({},)),
                           (V9OptionsDataFlowset, (V9OptionsTemplateRecord(257, {1: 4}, {34: 4}),))):
            with self.subTest(call=call.__name__):
                with self.assertRaises(struct.error):
                    call(b"\0\1\0", *args)
                with self.assertRaises(TypeError):
                    call(None, *args)

    @better
    def test_unknown_fields_keep_apart(self):
        packet = parse_packet(make.v9(make.a_set(0, make.template(256, (8, 4), (65, 4), (66, 2), (461, 4))),
                                      make.aligned(256, struct.pack("!IIH4s", 1, 2, 3, b"abc\0"))), fresh())
        data = packet.flows[0].data
        self.assertNotIn("UNKNOWN_FIELD_TYPE", data)
        self.assertEqual(len(data), 4)
        self.assertEqual(data["IPV4_SRC_ADDR"], "0.0.0.1")

    @better
    def test_very_long_numbers(self):
        for octets, want in ((255, int), (256, str), (2000, str)):
            flow = parse_packet(make.v9(make.a_set(0, make.template(256, (1, octets), (2, 4))),
                                        make.aligned(256, b"\1" * octets, b"\0\0\0\3")), fresh()).flows[0]
            self.assertIs(type(flow.IN_BYTES), want)
            self.assertEqual(flow.IN_PKTS, 3)
            repr(flow)

    @better
    def test_padding_of_a_whole_record(self):
        packet = parse_packet(make.v9(make.a_set(0, make.template(256, (1, 4), (2, 4))),
                                      make.a_set(256, struct.pack("!II", 1, 2), pad=4), V9_PLAIN), fresh())
        self.assertEqual([f.data for f in packet.flows], [{"IN_BYTES": 1, "IN_PKTS": 2}])

    @better
    def test_records_of_fewer_than_four_octets(self):
        packet = parse_packet(make.v9(make.a_set(0, make.template(256, (4, 1), (5, 1))),
                                      make.a_set(256, bytes(range(8)))), fresh())
        self.assertEqual([f.data for f in packet.flows],
                         [{"PROTOCOL": n, "SRC_TOS": n + 1} for n in range(0, 8, 2)])

    @better
    def test_set_without_length_ends_the_packet(self):
        for set_id in (0, 1, 256, 999):
            with self.subTest(set_id=set_id):
                try:
                    parse_packet(make.v9(V9_PLAIN, struct.pack("!HH", set_id, 0), bytes(40)), fresh())
                except (netflow.utils.MalformedPacket, V9TemplateNotRecognized):
                    pass

    @better
    def test_cut_sets(self):
        raw = make.v9(V9_PLAIN, make.aligned(256, make.record(1), make.record(2)))
        for n in range(21, len(raw)):
            if n < 24 or 0 <= n - 20 - len(V9_PLAIN) < 4:  # up to three octets may be padding
                continue
            with self.subTest(octets=n), self.assertRaises(netflow.utils.MalformedPacket) as caught:
                parse_packet(raw[:n], fresh())
            self.assertIsInstance(caught.exception, struct.error)
            self.assertIsInstance(caught.exception, ValueError)
            self.assertTrue(str(caught.exception))


class Ipfix(unittest.TestCase):
    def test_header(self):
        packet = parse_packet(make.ipfix_template(sequence=77, domain=0xFFFFFFFE), fresh())
        self.assertIsInstance(packet, IPFIXExportPacket)
        self.assertEqual(packet.header.to_dict(), {
            "version": 10, "length": 16 + len(IPFIX_PLAIN), "export_uptime": make.EXPORT_S, "sequence_number": 77,
            "obervation_domain_id": 0xFFFFFFFE})
        self.assertEqual(list(packet.header.to_dict()), ["version", "length", "export_uptime", "sequence_number",
                                                         "obervation_domain_id"])
        self.assertEqual(packet.header.obervation_domain_id, 0xFFFFFFFE)
        self.assertEqual(IPFIXHeader.size, 16)
        self.assertIsInstance(packet.header, IPFIXHeader)

    def test_contents(self):
        packet = parse_packet(make.ipfix(IPFIX_PLAIN, make.a_set(2, make.template(257, *make.FIELDS6)),
                                         make.a_set(256, make.record(1), make.record(2)),
                                         make.a_set(257, make.record6(3))), fresh())
        self.assertEqual(len(packet.templates), 2)
        self.assertEqual([f.data for f in packet.flows[:2]], [ipfix_dict(1), ipfix_dict(2)])
        flow = packet.flows[0]
        self.assertEqual(flow.destinationIPv4Address, make.ip4("192.0.2.1"))
        self.assertEqual(ipaddress.ip_address(flow.destinationIPv4Address), ipaddress.ip_address("192.0.2.1"))
        self.assertEqual((flow.protocolIdentifier, flow.sourceTransportPort, flow.destinationTransportPort,
                          flow.tcpControlBits), (6, 1025, 443, 1))
        flow = packet.flows[2]
        self.assertEqual(flow.sourceIPv6Address, 0x20010DB8 << 96 | 3)
        self.assertEqual(ipaddress.ip_address(flow.sourceIPv6Address), ipaddress.ip_address("2001:db8::3"))

    def test_records_over_several_messages(self):
        templates = fresh()
        total = 0
        for message in (make.ipfix_template(), make.ipfix_data([1, 2, 3]), make.ipfix_data([4]),
                        make.ipfix(make.a_set(256, make.record(5)), make.a_set(256, make.record(6)))):
            total += len(parse_packet(message, templates).flows)
        self.assertEqual(total, 6)

    def test_layer_2(self):
        fields = ((8, 4), (56, 6), (57, 6), (80, 6), (81, 6), (256, 2), (58, 2))
        body = (bytes([192, 0, 2, 9]) + bytes.fromhex("00005e005301 00005e005302 00005e005303 00005e005304 0800 0005"))
        flow = parse_packet(make.ipfix(make.a_set(2, make.template(1025, *fields)), make.a_set(1025, body)),
                            fresh()).flows[0]
        self.assertTrue(hasattr(flow, "sourceMacAddress"))
        self.assertTrue(hasattr(flow, "postDestinationMacAddress"))
        self.assertEqual(flow.data, {
            "sourceIPv4Address": make.ip4("192.0.2.9"), "sourceMacAddress": 0x5E005301,
            "postDestinationMacAddress": 0x5E005302, "destinationMacAddress": 0x5E005303,
            "postSourceMacAddress": 0x5E005304, "ethernetType": 0x0800, "vlanId": 5})

    def test_padding(self):
        for pad in range(1, 20):
            packet = parse_packet(make.ipfix(IPFIX_PLAIN, make.a_set(256, make.record(1), pad=pad),
                                             make.a_set(256, make.record(2), pad=pad)), fresh())
            self.assertEqual([f.data for f in packet.flows], [ipfix_dict(1), ipfix_dict(2)], pad)

    def test_padding_behind_templates(self):
        for pad in (1, 2, 3):
            packet = parse_packet(make.ipfix(make.a_set(2, make.template(256, *make.FIELDS), pad=pad),
                                             make.a_set(3, make.ipfix_options(257, [(149, 4)], [(34, 4)]), pad=pad),
                                             make.a_set(256, make.record(2))), fresh())
            self.assertEqual(sorted(packet.templates), [256, 257])
            self.assertEqual([f.data for f in packet.flows], [ipfix_dict(2)])

    def test_each_data_type(self):
        cases = (
            (148, 8, b"\xff" * 8, 2**64 - 1), (148, 4, b"\xff" * 4, 2**32 - 1), (4, 1, b"\x11", 17),
            (434, 4, struct.pack("!i", -5), -5), (434, 2, struct.pack("!h", -2), -2),
            (320, 8, struct.pack("!d", -0.5), -0.5), (311, 4, struct.pack("!f", 0.5), 0.5), (276, 1, b"\1", 1),
            (320, 4, struct.pack("!f", 2.5), 2.5), (276, 1, b"\2", 2),
            (56, 6, b"\0\0\x5e\0\x53\1", 0x5E005301), (150, 4, b"\1\2\3\4", 0x01020304),
            (152, 8, struct.pack("!Q", 1700000000123), 1700000000123),
            (154, 8, struct.pack("!II", 3909000000, 7), (3909000000, 7)),
            (156, 8, struct.pack("!II", 3909000000, 8), (3909000000, 8)),
            (8, 4, b"\xc0\0\2\1", 0xC0000201), (27, 16, b"\x20\1\r\xb8" + bytes(11) + b"\1", 0x20010DB8 << 96 | 1),
            (82, 5, b"eth0\0", "eth0\0"), (82, 2, "é".encode(), "é"), (82, 3, b"\xff'\n", str(b"\xff'\n")),
            (95, 4, b"\3\0\1\xbb", 0x030001BB), (104, 3, b"\1\2\3", 0x010203))
        for number, octets, raw, want in cases:
            name = IPFIXFieldTypes.by_id(number).name
            with self.subTest(name=name, octets=octets):
                flow = parse_packet(make.ipfix(make.a_set(2, make.template(256, (number, octets))),
                                               make.a_set(256, raw)), fresh()).flows[0]
                self.assertEqual(flow.data, {name: want})
                self.assertIs(type(flow.data[name]), type(want))
                self.assertEqual(getattr(flow, name), want)

    def test_reduced_size(self):
        for octets in (1, 2, 4, 8):
            flow = parse_packet(make.ipfix(make.a_set(2, make.template(256, (1, octets))),
                                           make.a_set(256, bytes(octets - 1) + b"\7")), fresh()).flows[0]
            self.assertEqual(flow.octetDeltaCount, 7)

    def test_record_fields(self):
        packet = parse_packet(make.ipfix(IPFIX_PLAIN, make.a_set(256, make.record(1))), fresh())
        flow = packet.flows[0]
        self.assertIsInstance(flow, IPFIXDataRecord)
        self.assertEqual(set(flow.fields), set(zip((f[0] for f in make.FIELDS), make.values(1))))
        self.assertEqual(len(flow.fields), 8)
        self.assertEqual(flow.get_length(), 22)

    def test_sets(self):
        packet = parse_packet(make.ipfix(IPFIX_PLAIN, make.a_set(256, make.record(1), make.record(2))), fresh())
        first, second = packet.sets
        self.assertIsInstance(first, IPFIXSet)
        self.assertEqual((first.is_template, first.is_data, second.is_template, second.is_data),
                         (True, False, False, True))
        self.assertEqual((first.header.set_id, first.header.length), (2, len(IPFIX_PLAIN)))
        self.assertEqual(first.get_length(), len(IPFIX_PLAIN))
        self.assertEqual(list(first.templates), [256])
        self.assertEqual(second.templates, {})
        self.assertEqual(len(first.records), 1)
        self.assertIsInstance(first.records[0], IPFIXTemplateRecord)
        self.assertEqual([r.data for r in second.records], [ipfix_dict(1), ipfix_dict(2)])
        self.assertEqual(first.header.to_dict(), {"set_id": 2, "length": len(IPFIX_PLAIN)})

    def test_options_template(self):
        templates = fresh()
        packet = parse_packet(make.ipfix(make.a_set(3, make.ipfix_options(257, [(149, 4), (145, 2)], [(34, 4)]))),
                              templates)
        self.assertTrue(packet.contains_new_templates)
        self.assertEqual(list(templates["ipfix"]), [257])
        record = packet.sets[0].records[0]
        self.assertIsInstance(record, IPFIXOptionsTemplateRecord)
        self.assertEqual((record.template_id, record.field_count, record.scope_field_count), (257, 3, 2))
        self.assertEqual(record.scope_fields, [TemplateField(149, 4), TemplateField(145, 2)])
        self.assertEqual(record.fields, [TemplateField(34, 4)])
        self.assertEqual(record.get_length(), 18)

    def test_unknown_template(self):
        with self.assertRaises(IPFIXTemplateNotRecognized):
            parse_packet(make.ipfix_data([0]), fresh())

    def test_forbidden_set(self):
        for set_id in (0, 1, 4, 255):
            with self.subTest(set_id=set_id), self.assertRaises(netflow.ipfix.IPFIXRFCError):
                parse_packet(make.ipfix(make.a_set(set_id, bytes(8))), fresh())

    @better
    def test_padding_that_is_not_zero(self):
        packet = parse_packet(make.ipfix(IPFIX_PLAIN, make.a_set(256, make.record(1), b"\1")), fresh())
        self.assertEqual([f.data for f in packet.flows], [ipfix_dict(1)])

    def test_set_longer_than_the_message(self):
        raw = make.ipfix(IPFIX_PLAIN, make.a_set(256, make.record(1), pad=4))
        raw = raw[:2] + struct.pack("!H", len(raw) - 4) + raw[4:]
        with self.assertRaises(netflow.ipfix.IPFIXMalformedPacket):
            parse_packet(raw, fresh())

    def test_exceptions(self):
        for name in ("IPFIXMalformedRecord", "IPFIXRFCError", "IPFIXMalformedPacket", "IPFIXTemplateError",
                     "IPFIXTemplateNotRecognized", "PaddingCalculationError"):
            self.assertTrue(issubclass(getattr(netflow.ipfix, name), Exception), name)

    def test_cut_header(self):
        for n in range(2, 16):
            with self.subTest(octets=n), self.assertRaises(struct.error):
                parse_packet(bytearray(make.ipfix()[:n]), fresh())

    def test_header_alone(self):
        packet = parse_packet(make.ipfix(), fresh())
        self.assertEqual((packet.flows, packet.sets, packet.contains_new_templates), ([], [], False))

    def test_octets_behind_the_message(self):
        packet = parse_packet(make.ipfix_template() + b"\xff" * 7, fresh())
        self.assertEqual(list(packet.templates), [256])

    def test_repr(self):
        packet = parse_packet(make.ipfix(IPFIX_PLAIN, make.a_set(256, make.record(1)),
                                         make.a_set(3, make.ipfix_options(257, [(149, 4)], [(34, 4), (35, 1)]))),
                              fresh())
        self.assertEqual(repr(packet), "<IPFIXExportPacket with 3 sets, exported at %d>" % make.EXPORT_S)
        self.assertEqual(repr(packet.flows[0]), "<IPFIXDataRecord with 8 entries>")
        self.assertEqual([repr(s) for s in packet.sets], [
            "<IPFIXSet with set_id 2 and 1 records>", "<IPFIXSet with set_id 256 and 1 records>",
            "<IPFIXSet with set_id 3 and 1 records>"])
        self.assertEqual(repr(packet.sets[0].header),
                         "<IPFIXSetHeader with set_id 2 and length %d>" % len(IPFIX_PLAIN))
        self.assertEqual(repr(packet.sets[0].records[0]), "<IPFIXTemplateRecord with 8 fields>")
        self.assertEqual(repr(packet.sets[2].records[0]),
                         "<IPFIXOptionsTemplateRecord with 1 scope fields and 2 fields>")

    def test_constructors(self):
        self.assertEqual(IPFIXHeader(make.ipfix(sequence=8)[:16]).sequence_number, 8)
        self.assertEqual(IPFIXSetHeader(b"\1\0\0\4").set_id, 256)
        with self.assertRaises(netflow.ipfix.IPFIXRFCError):
            IPFIXSetHeader(b"\0\1\0\4")
        record = IPFIXTemplateRecord(make.template(300, (8, 4), (1, 8, 9)))
        self.assertEqual((record.template_id, record.field_count, record.get_length()), (300, 2, 16))
        self.assertEqual(record.fields, [TemplateField(8, 4), TemplateFieldEnterprise(1, 8, 9)])
        record = IPFIXOptionsTemplateRecord(make.ipfix_options(301, [(149, 4)], [(34, 4)]))
        self.assertEqual((record.template_id, record.scope_fields, record.fields),
                         (301, [TemplateField(149, 4)], [TemplateField(34, 4)]))
        record = IPFIXDataRecord(make.record(3) + b"\xff" * 9, [TemplateField(*f) for f in make.FIELDS])
        self.assertEqual((record.data, record.get_length(), record.sourceTransportPort), (ipfix_dict(3), 22, 1027))
        a_set = IPFIXSet(IPFIX_PLAIN, {})
        self.assertEqual((a_set.is_template, list(a_set.templates), a_set.get_length()),
                         (True, [256], len(IPFIX_PLAIN)))
        a_set = IPFIXSet(make.a_set(256, make.record(4)), {256: [TemplateField(*f) for f in make.FIELDS]})
        self.assertEqual([r.data for r in a_set.records], [ipfix_dict(4)])
        with self.assertRaises(IPFIXTemplateNotRecognized):
            IPFIXSet(make.a_set(256, make.record(4)), {})
        known = {}
        self.assertTrue(IPFIXExportPacket(make.ipfix_template(), known).contains_new_templates)
        self.assertEqual(list(known), [256])
        self.assertEqual(IPFIXExportPacket(make.ipfix_data([2]), known).flows[0].data, ipfix_dict(2))

    def test_constructors_want_octets(self):
        for call, args in ((IPFIXHeader, ()), (IPFIXSetHeader, ()), (IPFIXTemplateRecord, ()),
                           (IPFIXOptionsTemplateRecord, ()), (IPFIXDataRecord, ([TemplateField(8, 4)],)),
                           (IPFIXSet, ({},)), (IPFIXExportPacket, ({},))):
            with self.subTest(call=call.__name__):
                with self.assertRaises(struct.error):
                    call(b"\0\1\0", *args)
                with self.assertRaises(TypeError):
                    call(None, *args)

    def test_helpers(self):
        fields, used = netflow.ipfix.parse_fields(make.specifier(8, 4) + make.specifier(1, 8, 9) + b"rest", 2)
        self.assertEqual((fields, used), ([TemplateField(8, 4), TemplateFieldEnterprise(1, 8, 9)], 12))
        self.assertEqual(netflow.ipfix.parse_fields(b"", 0), ([], 0))
        padding = netflow.ipfix.rest_is_padding_zeroes
        self.assertTrue(padding(b"\1\0\0", 1))
        self.assertTrue(padding(b"\1", 1))
        self.assertFalse(padding(b"\1\0\2", 1))
        with self.assertRaises(ValueError):
            padding(b"\1", 2)

    @better
    def test_withdrawal(self):
        templates = fresh()
        parse_packet(make.ipfix(make.a_set(2, make.template(256, (8, 4)), make.template(257, (8, 4))),
                                make.a_set(3, make.ipfix_options(258, [(149, 4)], [(34, 4)]))), templates)
        packet = parse_packet(make.ipfix(make.a_set(2, make.template(256))), templates)
        self.assertEqual(packet.flows, [])
        self.assertEqual(sorted(templates["ipfix"]), [257, 258])
        with self.assertRaises(IPFIXTemplateNotRecognized):
            parse_packet(make.ipfix(make.a_set(256, bytes(4))), templates)
        self.assertEqual(len(parse_packet(make.ipfix(make.a_set(257, bytes(4))), templates).flows), 1)
        parse_packet(make.ipfix(make.a_set(3, make.template(258))), templates)
        self.assertEqual(sorted(templates["ipfix"]), [257])
        parse_packet(make.ipfix(make.a_set(2, make.template(256, (8, 4)))), templates)
        self.assertEqual(sorted(templates["ipfix"]), [256, 257])

    @better
    def test_withdrawal_of_all(self):
        templates = fresh()
        parse_packet(make.ipfix(make.a_set(2, make.template(256, (8, 4)), make.template(257, (8, 4)))), templates)
        parse_packet(make.ipfix(make.a_set(2, make.template(2))), templates)
        self.assertEqual(len(templates["ipfix"]), 0)

    @better
    def test_order_of_fields_is_that_of_the_wire(self):
        for fields in (make.FIELDS, make.FIELDS[::-1]):
            names = [IPFIXFieldTypes.by_id(f[0]).name for f in fields]
            packet = parse_packet(make.ipfix(make.a_set(2, make.template(256, *fields)), make.a_set(256, bytes(22))),
                                  fresh())
            self.assertEqual(list(packet.flows[0].data), names)

    @better
    def test_repeated_element(self):
        packet = parse_packet(make.ipfix(make.a_set(2, make.template(256, (8, 4), (1, 4), (8, 4))),
                                         make.a_set(256, struct.pack("!III", 1, 2, 3))), fresh())
        self.assertEqual(list(packet.flows[0].data.items()), [("sourceIPv4Address", 3), ("octetDeltaCount", 2)])

    @better
    def test_enterprise_and_unknown_elements(self):
        packet = parse_packet(make.ipfix(make.a_set(2, make.template(256, (8, 4), (8, 4, 65000), (1, 8, 29305), (60000 & 0x7FFF, 2))),
                                         make.a_set(256, struct.pack("!IIQH", 1, 2, 3, 4))), fresh())
        data = packet.flows[0].data
        self.assertEqual(data["sourceIPv4Address"], 1)
        self.assertEqual(data["reverseOctetDeltaCount"], 3)
        self.assertIn("e65000id8", data)
        self.assertIn("e0id%d" % (60000 & 0x7FFF), data)
        self.assertEqual(len(data), 4)

    @better
    def test_variable_length(self):
        packet = parse_packet(make.ipfix(make.a_set(2, make.template(256, (82, 65535), (1, 4), (83, 65535))),
                                         make.a_set(256, b"\4eth0", struct.pack("!I", 9), b"\xff\0\3abc",
                                                    b"\0", struct.pack("!I", 10), b"\1x")), fresh())
        self.assertEqual([f.data for f in packet.flows], [
            {"interfaceName": "eth0", "octetDeltaCount": 9, "interfaceDescription": "abc"},
            {"interfaceName": "", "octetDeltaCount": 10, "interfaceDescription": "x"}])

    @better
    def test_integers_of_odd_lengths(self):
        for octets in (3, 5, 6, 7):
            packet = parse_packet(make.ipfix(make.a_set(2, make.template(256, (1, octets))),
                                             make.a_set(256, b"\1" * octets)), fresh())
            self.assertEqual(packet.flows[0].octetDeltaCount, int.from_bytes(b"\1" * octets, "big"))

    @better
    def test_options_are_no_flows(self):
        packet = parse_packet(make.ipfix(make.a_set(3, make.ipfix_options(257, [(149, 4)], [(34, 4)])), IPFIX_PLAIN,
                                         make.a_set(257, struct.pack("!II", 7, 50)), make.a_set(256, make.record(1))),
                              fresh())
        self.assertEqual([f.data for f in packet.flows], [ipfix_dict(1)])
        self.assertEqual(len(packet.options), 1)

    @better
    def test_template_behind_the_data(self):
        packet = parse_packet(make.ipfix(make.a_set(256, make.record(1)), IPFIX_PLAIN), fresh())
        self.assertEqual([f.data for f in packet.flows], [ipfix_dict(1)])

    @better
    def test_malformed_is_one_class(self):
        malformed = netflow.utils.MalformedPacket
        self.assertTrue(issubclass(malformed, ValueError) and issubclass(malformed, struct.error))
        for name in ("IPFIXMalformedRecord", "IPFIXRFCError", "IPFIXMalformedPacket", "IPFIXTemplateError",
                     "PaddingCalculationError"):
            self.assertTrue(issubclass(getattr(netflow.ipfix, name), malformed), name)

    @better
    def test_cut_anywhere(self):
        raw = make.ipfix(IPFIX_PLAIN, make.a_set(256, make.record(1), make.record(2)))
        for n in range(2, len(raw)):
            with self.subTest(octets=n), self.assertRaises(netflow.utils.MalformedPacket) as caught:
                parse_packet(raw[:n], fresh())
            self.assertTrue(str(caught.exception))


class Tables(unittest.TestCase):
    def test_v9_field_types(self):
        self.assertEqual(V9_FIELD_TYPES[0], "UNKNOWN_FIELD_TYPE")
        for number, name in ((1, "IN_BYTES"), (8, "IPV4_SRC_ADDR"), (50, "NTERVAL"), (63, "BPG_IPV6_NEXT_HOP"),
                             (98, "postipDiffServCodePoint"), (225, "NF_F_XLATE_SRC_ADDR_IPV4"),
                             (33002, "NF_F_FW_EXT_EVENT"), (40000, "NF_F_USERNAME"), (56702, "PANOS_USERID")):
            self.assertEqual(V9_FIELD_TYPES[number], name)
        self.assertIsInstance(V9_FIELD_TYPES, dict)
        self.assertGreaterEqual(len(V9_FIELD_TYPES), 118)
        self.assertNotIn(65535, V9_FIELD_TYPES)
        self.assertIsNone(V9_FIELD_TYPES.get(65535))
        self.assertEqual(V9_SCOPE_TYPES, {1: "System", 2: "Interface", 3: "Line Card", 4: "Cache", 5: "Template"})
        self.assertEqual(sorted(netflow.v9.V9_FIELD_TYPES_CONTAINING_IP), [8, 12, 15, 18, 27, 28, 62, 63])

    def test_ipfix_by_id_and_name(self):
        for number, name, kind in ((1, "octetDeltaCount", "unsigned64"), (8, "sourceIPv4Address", "ipv4Address"),
                                   (56, "sourceMacAddress", "macAddress"), (82, "interfaceName", "string"),
                                   (152, "flowStartMilliseconds", "dateTimeMilliseconds"),
                                   (291, "basicList", "basicList"), (276, "dataRecordsReliability", "boolean"),
                                   (491, "bgpDestinationLargeCommunityList", "basicList")):
            field = IPFIXFieldTypes.by_id(number)
            self.assertEqual(field, (number, name, kind))
            self.assertEqual((field.id, field.name, field.type), (number, name, kind))
            self.assertIsInstance(field, netflow.ipfix.FieldType)
            self.assertEqual(IPFIXFieldTypes.by_name(name), field)
        self.assertIsNone(IPFIXFieldTypes.by_id(65535))
        self.assertIsNone(IPFIXFieldTypes.by_name("noSuchElement"))
        self.assertIsNone(IPFIXFieldTypes.by_name("OCTETDELTACOUNT"))

    def test_ipfix_all(self):
        elements = list(IPFIXFieldTypes.iana_field_types)
        self.assertGreaterEqual(len(elements), 464)
        for number, name, kind in elements:
            if kind:
                self.assertEqual(IPFIXFieldTypes.by_id(number), (number, name, kind))
                self.assertEqual(IPFIXFieldTypes.by_name(name), (number, name, kind))

    def test_ipfix_type_of_element(self):
        self.assertEqual(IPFIXFieldTypes.get_type_unpack(1), ("unsigned64", "Q"))
        self.assertEqual(IPFIXFieldTypes.get_type_unpack("sourceIPv6Address"), ("ipv6Address", "16s"))
        self.assertIsNone(IPFIXFieldTypes.get_type_unpack(65535))
        self.assertIsNone(IPFIXFieldTypes.get_type_unpack("noSuchElement"))

    def test_ipfix_data_types(self):
        types = IPFIXDataTypes
        self.assertEqual(dict(types.iana_data_types), {
            "octetArray": None, "unsigned8": "B", "unsigned16": "H", "unsigned32": "I", "unsigned64": "Q",
            "signed8": "b", "signed16": "h", "signed32": "i", "signed64": "q", "float32": "f", "float64": "d",
            "boolean": "?", "macAddress": "6s", "string": None, "dateTimeSeconds": "I", "dateTimeMilliseconds": "Q",
            "dateTimeMicroseconds": "8s", "dateTimeNanoseconds": "8s", "ipv4Address": "4s", "ipv6Address": "16s"})
        self.assertEqual(types.by_name("signed8"), ("signed8", "b"))
        self.assertEqual((types.by_name("float32").type, types.by_name("float32").unpack_format), ("float32", "f"))
        self.assertIsNone(types.by_name("noSuchType"))
        self.assertTrue(types.is_signed("signed64") and types.is_signed(types.by_name("signed8")))
        self.assertFalse(types.is_signed("unsigned8") or types.is_signed("float32"))
        self.assertTrue(types.is_float("float32") and types.is_float(types.by_name("float64")))
        self.assertFalse(types.is_float("unsigned8"))
        for name in ("octetArray", "string", "macAddress", "ipv4Address", "ipv6Address", "dateTimeMicroseconds",
                     "dateTimeNanoseconds"):
            self.assertTrue(types.is_bytes(name) and types.is_bytes(types.by_name(name)), name)
        self.assertFalse(types.is_bytes("unsigned8") or types.is_bytes("dateTimeMilliseconds"))


class Modules(unittest.TestCase):
    def test_star(self):
        for module, names in (
                (netflow.v1, ("V1DataFlow", "V1ExportPacket", "V1Header")),
                (netflow.v5, ("V5DataFlow", "V5ExportPacket", "V5Header")),
                (netflow.v9, ("V9DataFlowSet", "V9DataRecord", "V9ExportPacket", "V9Header", "V9TemplateField",
                              "V9TemplateFlowSet", "V9TemplateNotRecognized", "V9TemplateRecord",
                              "V9OptionsTemplateFlowSet", "V9OptionsTemplateRecord", "V9OptionsDataRecord"))):
            for name in names:
                self.assertIn(name, module.__all__)
                self.assertTrue(hasattr(module, name))

    @better
    def test_all_is_written_out_in_full(self):
        self.assertEqual(netflow.__all__, sorted([*netflow._arrow.__all__, "MalformedPacket", "UnknownExportVersion",
                                                  "parse_packet"]))

    def test_classes_say_where_they_live(self):
        for cls in (V1ExportPacket, V5DataFlow, V9DataRecord, V9OptionsDataRecord, IPFIXDataRecord, IPFIXSet):
            module = importlib.import_module(cls.__module__)
            self.assertIs(getattr(module, cls.__qualname__), cls)
            self.assertTrue(cls.__module__.startswith("netflow."))

    @better
    def test_everything_public_is_documented(self):
        for module in (netflow, netflow.utils, netflow.v1, netflow.v5, netflow.v9, netflow.ipfix):
            self.assertTrue(module.__doc__, module.__name__)
            for name, thing in vars(module).items():
                if name.startswith("_") or not callable(thing) or not getattr(thing, "__module__", "").startswith("netflow"):
                    continue
                with self.subTest(name=f"{module.__name__}.{name}"):
                    self.assertTrue(getattr(thing, "__doc__", None))
                    if isinstance(thing, type):
                        for part, value in vars(thing).items():
                            if not part.startswith("_") and (callable(value) or isinstance(
                                    value, (property, classmethod, staticmethod))):
                                self.assertTrue(getattr(value, "__doc__", None), f"{name}.{part}")

    @better
    def test_every_module_can_be_imported(self):
        """As tools for documentation do: none of them takes the process away."""
        script = ("import importlib, netflow, pkgutil\n"
                  "for m in pkgutil.walk_packages(netflow.__path__, 'netflow.'):\n"
                  "    print(importlib.import_module(m.name).__name__)")
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("netflow.__main__", done.stdout.split())


SEVERAL = r"""
import netflow
try:
    import _interpreters as several
    create, run = lambda: several.create("legacy"), several.exec
except ImportError:
    import _xxsubinterpreters as several
    create, run = lambda: several.create(isolated=False), several.run_string
i = create()
run(i, '''
try:
    import netflow
except ImportError as e:
    import os
    os.write(1, str(e).encode())
''')
several.destroy(i)
try:
    netflow.parse_packet(b"\0\5")
except netflow.MalformedPacket:
    print(", caught")
"""


@better
class Interpreters(unittest.TestCase):
    """Of several interpreters in a process one has the package: in another its exceptions would be other classes."""

    def test_another_is_refused(self):
        done = subprocess.run([sys.executable, "-c", SEVERAL], capture_output=True, text=True, check=False)
        if "ModuleNotFoundError" in done.stderr:
            self.skipTest("this Python makes no interpreters")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, "one interpreter of a process.*, caught")


if __name__ == "__main__":
    unittest.main()
