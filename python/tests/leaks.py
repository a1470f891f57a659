#!/usr/bin/env python3
"""Reference leaks: every entry point, with good and bad input, again and again; nothing may stay.

    leaks.py [--rounds N] [--only NAME]

Under a debug interpreter (`python3-dbg`, with an extension built for it) sys.gettotalrefcount() must not grow with the
rounds. Under any other the number of objects, memory blocks and the references of what is shared must not, nor the size of
the process. Exit status 0, else 1 and a line for each entry point that keeps something.
"""
import argparse
import copy
import gc
import os
import pickle
import resource
import struct
import sys

import netflow
import packets as make
from netflow import ipfix, parse_packet, utils, v1, v5, v9

DEBUG = hasattr(sys, "gettotalrefcount")
WARM, TRIES, RSS_MAX = 200, 5, 8 << 20
NOISE = 256  # memory blocks that caches may still take
FIELDS6 = make.a_set(0, make.template(257, *make.FIELDS6))
V5 = make.v5(*(make.v5_flow(n)[0] for n in range(30)))
V9 = make.v9(make.a_set(0, make.template(256, *make.FIELDS)), make.aligned(256, *map(make.record, range(20))),
             FIELDS6, make.aligned(257, make.record6(1)), make.a_set(1, make.v9_options(258, [(1, 4)], [(34, 4)]), pad=2),
             make.a_set(258, bytes(8)))
IPFIX = make.ipfix(make.a_set(2, make.template(256, *make.FIELDS), make.template(257, (82, 65535), (1, 3), (8, 4, 65000))),
                   make.a_set(256, *map(make.record, range(20))), make.a_set(257, b"\4eth0", bytes(7)),
                   make.a_set(3, make.ipfix_options(258, [(149, 4)], [(34, 4)])), make.a_set(258, bytes(8)))
KEPT = {"netflow": {}, "ipfix": {}}
LISTS = {"netflow": [], "ipfix": []}


def fresh():
    return {"netflow": {}, "ipfix": {}}


def fails(kinds, call, *args):
    try:
        call(*args)
    except kinds:
        return
    raise AssertionError(f"{call} did not raise")


def read(packet):
    for flow in packet.flows:
        dict(flow.data)
        for name in flow.data:
            getattr(flow, name)
        repr(flow)
    for option in getattr(packet, "options", ()):
        repr(option), option.data
    repr(packet), packet.header.to_dict(), repr(packet.header)
    if packet.header.version >= 9:
        list(packet.templates), packet.contains_new_templates
    for a_set in getattr(packet, "sets", ()):
        repr(a_set), repr(a_set.header), [repr(r) for r in a_set.records], a_set.templates, a_set.get_length()


CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


@case
def legacy():
    read(parse_packet(V5))
    read(parse_packet(make.v1(make.v1_flow(1)[0])))
    read(parse_packet(V5.hex()))
    read(parse_packet(V5.hex().encode()))


@case
def packet_not_read():
    parse_packet(V5)
    parse_packet(V9, KEPT)
    parse_packet(IPFIX, KEPT)


@case
def templates_kept():
    read(parse_packet(V9, KEPT))
    read(parse_packet(make.v9_data([1, 2]), KEPT))
    read(parse_packet(IPFIX, KEPT))
    read(parse_packet(make.ipfix_data([1, 2]), KEPT))


@case
def templates_each_time():
    templates = fresh()
    read(parse_packet(V9, templates))
    read(parse_packet(IPFIX, templates))
    copied = copy.deepcopy(templates)
    read(parse_packet(make.v9_data([1]), copied))
    read(parse_packet(make.ipfix_data([1]), copied))
    pickle.loads(pickle.dumps(templates))
    parse_packet(V9, {})
    parse_packet(IPFIX, {})


@case
def templates_changing():
    templates = fresh()
    for n in range(5):
        parse_packet(make.v9_template(300 + n), templates)
        parse_packet(make.ipfix_template(300 + n), templates)
    parse_packet(make.v9_template(300, make.FIELDS6), templates)
    parse_packet(make.ipfix_template(300, make.FIELDS6), templates)
    parse_packet(make.ipfix(make.a_set(2, make.template(301))), templates)
    parse_packet(make.ipfix(make.a_set(2, make.template(2))), templates)
    templates["netflow"].clear()
    fails(v9.V9TemplateNotRecognized, parse_packet, make.v9_data([1], 300), templates)
    repr(templates)


@case
def templates_by_hand():
    fields = [v9.V9TemplateField(*f) for f in make.FIELDS]
    templates = {"netflow": {256: v9.V9TemplateRecord(256, len(fields), fields)},
                 "ipfix": {256: [ipfix.TemplateField(*f) for f in make.FIELDS]}}
    read(parse_packet(make.v9_data([5]), templates))
    read(parse_packet(make.ipfix_data([5]), templates))


@case
def errors():
    fails(ValueError, parse_packet, V9)
    fails(ValueError, parse_packet, IPFIX, None)
    fails(ValueError, parse_packet, "zz")
    fails(TypeError, parse_packet, None)
    fails(TypeError, parse_packet, 5, fresh())
    fails(utils.UnknownExportVersion, parse_packet, b"\xff" * 30)
    fails(v9.V9TemplateNotRecognized, parse_packet, make.v9_data([1], 999), fresh())
    fails(ipfix.IPFIXTemplateNotRecognized, parse_packet, make.ipfix_data([1], 999), fresh())
    fails((TypeError, AttributeError, ValueError), parse_packet, V9, 7)
    for n in (0, 1, 2, 10, 19, 25, 30, 100):
        fails(struct.error, parse_packet, bytearray(V9[:n]), fresh())
    for n in (0, 1, 2, 10, 15, 17, 30, 60, 100):
        fails((struct.error, ValueError, IndexError), parse_packet, bytearray(IPFIX[:n]), fresh())
    for n in (0, 10, 23, 25, 100):
        fails(struct.error, parse_packet, bytearray(V5[:n]))
    fails(ipfix.IPFIXRFCError, parse_packet, make.ipfix(make.a_set(1, bytes(8))), fresh())


@case
def odd_templates():
    for bad in (7, "x", [], {256: None}, {256: 7}, {256: [1, 2]}, {None: None}, {256: [ipfix.TemplateField(None, -1)]}):
        for data in (make.v9_data([1]), make.ipfix_data([1]), V9, IPFIX):
            try:
                parse_packet(data, {"netflow": copy.copy(bad), "ipfix": copy.copy(bad)})
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError, struct.error):
                pass


@case
def objects():
    for packet in (parse_packet(V5), parse_packet(V9, KEPT), parse_packet(IPFIX, KEPT)):
        pickle.loads(pickle.dumps(packet))
        copy.copy(packet), copy.deepcopy(packet)
        for flow in packet.flows[:2]:
            copy.copy(flow), copy.deepcopy(flow), pickle.loads(pickle.dumps(flow))
            flow.mine = flow
            flow.data["mine"] = flow
            vars(flow), dir(flow), hash(flow), flow == packet
            getattr(flow, "missing", None)
            fails(AttributeError, delattr, flow, "missing")
            del flow.mine
        packet.mine = packet
        packet.header.mine = packet


@case
def constructors():
    v1.V1DataFlow(make.v1_flow(1)[0]), v5.V5DataFlow(make.v5_flow(1)[0])
    v1.V1ExportPacket(make.v1()), v5.V5ExportPacket(V5), v5.V5Header(V5), v9.V9Header(V9)
    template = v9.V9TemplateRecord(256, 1, [v9.V9TemplateField(8, 4)])
    read_flows = v9.V9DataFlowSet(make.a_set(256, bytes(8)), template).flows
    [f.data for f in read_flows]
    repr(template), repr(template.fields)
    v9.V9TemplateFlowSet(make.a_set(0, make.template(256, *make.FIELDS)))
    v9.V9OptionsTemplateFlowSet(make.a_set(1, make.v9_options(258, [(1, 4)], [(34, 4)])))
    v9.V9OptionsDataFlowset(make.a_set(258, bytes(8)), v9.V9OptionsTemplateRecord(258, {1: 4}, {34: 4}))
    v9.V9ExportPacket(V9, {}), ipfix.IPFIXExportPacket(IPFIX, {})
    ipfix.IPFIXHeader(IPFIX[:16]), ipfix.IPFIXSetHeader(b"\1\0\0\4")
    ipfix.IPFIXTemplateRecord(make.template(256, *make.FIELDS))
    ipfix.IPFIXOptionsTemplateRecord(make.ipfix_options(258, [(149, 4)], [(34, 4)]))
    ipfix.IPFIXDataRecord(make.record(1), [ipfix.TemplateField(*f) for f in make.FIELDS]).fields
    ipfix.IPFIXSet(make.a_set(256, bytes(4)), {256: [ipfix.TemplateField(8, 4)]})
    for call, args in ((v1.V1DataFlow, ()), (v5.V5DataFlow, ()), (v9.V9DataFlowSet, (template,)),
                       (v9.V9TemplateFlowSet, ()), (ipfix.IPFIXSet, ({},)), (ipfix.IPFIXTemplateRecord, ())):
        fails(struct.error, call, b"\0", *args)
        fails(TypeError, call, None, *args)


@case
def tables():
    ipfix.IPFIXFieldTypes.by_id(8), ipfix.IPFIXFieldTypes.by_name("sourceIPv4Address")
    ipfix.IPFIXFieldTypes.by_id(65535), ipfix.IPFIXFieldTypes.get_type_unpack(8)
    ipfix.IPFIXDataTypes.by_name("unsigned8"), v9.V9_FIELD_TYPES.get(8)


if hasattr(netflow, "Decoder"):
    @case
    def decoder():
        d = netflow.Decoder(options=True)
        for data in (V5, V9, IPFIX, make.v9_data([3], 999), b"", V9[:30]):
            d.feed(data, client=("192.0.2.1", 2055), received=1.7e9)
        batch = d.batch()
        batch.dicts(), batch.tuples(), batch.columns, batch.fields, len(batch)
        d.options_batch().dicts()
        d.exporters(), d.counters
        netflow.Decoder().load(d.save())
        fails(ValueError, netflow.Decoder().load, b"nothing")
        fails(ValueError, lambda: netflow.Decoder(limits={"none": 1}))
        fails((ValueError, KeyError), batch.dicts, ["no_such_column"])
        strict = netflow.Decoder(strict=True)
        fails(utils.MalformedPacket, strict.feed, V9[:30])
        fails(TypeError, strict.feed, None)


def resident():
    with open("/proc/self/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * resource.getpagesize()


def state():
    gc.collect()
    shared = (None, True, KEPT, int, dict, list, str, tuple, utils.MalformedPacket, v9.V9DataRecord, v5.V5DataFlow,
              v9.V9TemplateNotRecognized, ipfix.IPFIXDataRecord, ipfix.IPFIXTemplateNotRecognized, "IPV4_SRC_ADDR")
    counts = {"blocks": sys.getallocatedblocks(), "objects": len(gc.get_objects())}
    if DEBUG:
        counts = {"references": sys.gettotalrefcount(), **counts}
    else:
        counts.update(("references of %.40r" % (thing,), sys.getrefcount(thing)) for thing in shared)
    return counts


def check(name, rounds):
    """What an entry point keeps, as text; None when nothing."""
    function = CASES[name]
    for _ in range(WARM):
        function()
    size = resident()
    for _ in range(TRIES):  # caches may fill at first; what leaks does so each time
        before = state()
        for _ in range(rounds):
            function()
        after = state()
        grown = {what: after[what] - before[what] for what in after
                 if after[what] - before[what] > rounds / 2 + (NOISE if what == "blocks" else 0)}
        if not grown:
            break
    if resident() - size > RSS_MAX:
        grown["octets of memory"] = resident() - size
    if not grown:
        return None
    return ", ".join(f"{n / rounds:.1f} {what} a round" for what, n in grown.items())


def main():
    parser = argparse.ArgumentParser(description="Reference leaks of the Python package.")
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("LEAK_ROUNDS", "600")))
    parser.add_argument("--only", choices=CASES, action="append")
    args = parser.parse_args()
    failed = 0
    for name in args.only or CASES:
        try:
            kept = check(name, args.rounds)
        except Exception as error:  # an entry point that does not do what it should has not been checked
            kept = f"{type(error).__name__}: {error}"
        if kept:
            failed += 1
            print(f"leaks: {name}: {kept}")
    print(f"leaks: {len(args.only or CASES) - failed} entry points keep nothing, {failed} failed"
          f"{' (debug interpreter)' if DEBUG else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
