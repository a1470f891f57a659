#!/usr/bin/env python3
"""Hostile input through the Python layer: mutated packets, templates dicts of the wrong shape, objects made by hand.

    fuzz.py [--seconds N | --rounds N] [--seed N] [--only NAME]

Only documented exceptions may come out; an interpreter that dies, any other exception (SystemError above all) or memory
that grows with the rounds is a failure. Exit status 0 and a line with the number of rounds, else 1 with the seed and
the input of the round, which `--seed` repeats alone: round n of seed s is seed s + n.
"""
import argparse
import copy
import faulthandler
import os
import pathlib
import pickle
import random
import resource
import struct
import sys
import time
import traceback

import netflow
import packets as make
from netflow import ipfix, utils, v1, v5, v9
from test_differential import own_cases

DOCUMENTED = (utils.UnknownExportVersion, utils.MalformedPacket, v9.V9TemplateNotRecognized,
              ipfix.IPFIXTemplateNotRecognized, ipfix.IPFIXMalformedPacket, ipfix.IPFIXMalformedRecord,
              ipfix.IPFIXRFCError, ipfix.IPFIXTemplateError, ipfix.PaddingCalculationError)
# What wrong arguments may raise besides.
WRONG_ARGUMENT = (TypeError, ValueError, AttributeError, KeyError, OverflowError, struct.error)
MEMORY_MAX = 1 << 31  # of the process, octets
GROWTH_MAX = 96 << 20  # of the resident set after the first rounds, octets

SEEDS = [(name, payloads) for name, payloads in own_cases()]
LONG = [p for _, payloads in SEEDS for p in payloads]
INTERESTING = (0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 15, 16, 20, 24, 127, 128, 255, 256, 257, 258, 300, 0x7FFF, 0x8000, 0x8001,
               0xFFFE, 0xFFFF)


def mutate(rng, data):
    """A packet that is not quite this one."""
    data = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 8))):
        kind = rng.randrange(9)
        at = rng.randrange(len(data)) if data else 0
        if kind == 0 and data:
            data[at] = rng.randrange(256)
        elif kind == 1 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind in (2, 3) and len(data) > 2:
            at &= ~1 if kind == 2 else ~3
            struct.pack_into("!H", data, min(at, len(data) - 2), rng.choice(INTERESTING))
        elif kind == 4:
            del data[at:]
        elif kind == 5:
            del data[at:at + rng.choice((1, 2, 4, 48))]
        elif kind == 6:
            data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 8, 40))) if hasattr(rng, "randbytes") else bytes(4)
        elif kind == 7:
            other = rng.choice(LONG)
            data[at:] = other[rng.randrange(len(other)):] if other else b""
        elif data:
            data += data[at:at + 60]
    if len(data) >= 4 and data[:2] == b"\0\n" and rng.random() < 0.5:
        struct.pack_into("!H", data, 2, len(data) & 0xFFFF)
    return bytes(data)


class Odd:
    """Something whose every use fails in its own way."""

    def __init__(self, rng):
        self.error = rng.choice((ValueError, KeyError, TypeError, RuntimeError))

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise self.error(name)

    def __hash__(self):
        return 7

    def __eq__(self, other):
        raise self.error("==")

    def __len__(self):
        raise self.error("len")

    def __iter__(self):
        raise self.error("iter")

    def __index__(self):
        raise self.error("index")


def junk(rng):
    """A value that belongs nowhere."""
    return rng.choice((
        None, True, -1, 0, 8, 65536, 1 << 70, 1.5, float("nan"), "", "8", "\ud800", b"", b"\0\x08\0\4", [], [None],
        [(8, 4)], (), (8, 4), {}, {8: 4}, {"a": "b"}, set(), object(), object, Odd(rng), lambda *a: None, range(3),
        v9.V9TemplateField(8, 4), ipfix.TemplateField(8, 4), ipfix.TemplateFieldEnterprise(8, 4, 9),
        ipfix.TemplateField(None, None), ipfix.TemplateField(1 << 70, -1), ipfix.TemplateField(8, 1 << 70)))


def field9(rng):
    pick = rng.choice(INTERESTING)
    return rng.choice((lambda: v9.V9TemplateField(pick, rng.choice(INTERESTING)), lambda: v9.V9TemplateField(8, 4),
                       lambda: junk(rng), lambda: v9.V9TemplateField(junk(rng), 4)))()


def field10(rng):
    pick = rng.choice(INTERESTING)
    return rng.choice((lambda: ipfix.TemplateField(pick, rng.choice(INTERESTING)), lambda: ipfix.TemplateField(8, 4),
                       lambda: ipfix.TemplateFieldEnterprise(pick, rng.choice((0, 1, 4, 8, 65535)), 29305),
                       lambda: junk(rng), lambda: ipfix.TemplateField(8, junk(rng))))()


def template9(rng):
    kind = rng.randrange(5)
    fields = [field9(rng) for _ in range(rng.choice((0, 1, 2, 8)))]
    if kind == 0:
        return junk(rng)
    if kind == 1:
        return v9.V9OptionsTemplateRecord(rng.choice((256, junk(rng))), rng.choice(({1: 4}, {1: junk(rng)}, junk(rng))),
                                          rng.choice(({34: 4}, {34: 65535, 35: 0}, {junk_key(rng): 4}, junk(rng))))
    template = v9.V9TemplateRecord(rng.choice((256, 257, junk(rng))), rng.choice((len(fields), 0, 1 << 40, junk(rng))),
                                   fields if kind < 4 else junk(rng))
    if rng.random() < 0.3:
        try:
            setattr(template, rng.choice(("fields", "template_id", "field_count")), junk(rng))
        except WRONG_ARGUMENT:
            pass
    return template


def junk_key(rng):
    while True:
        key = junk(rng)
        try:
            hash(key)
            return key
        except TypeError:
            pass


def template10(rng):
    fields = [field10(rng) for _ in range(rng.choice((0, 1, 2, 8)))]
    return rng.choice((fields, fields, tuple(fields), None, junk(rng)))


class Changing(dict):
    """A dict that changes while it is looked at."""

    rng = random.Random(0)

    def __contains__(self, key):
        if self.rng.random() < 0.2:
            self.clear()
        return super().__contains__(key)

    def __getitem__(self, key):
        if self.rng.random() < 0.2:
            self.pop(key, None)
        return super().__getitem__(key)

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        if self.rng.random() < 0.2:
            self.clear()


def section(rng, make_template, kind=None):
    kind = rng.randrange(8) if kind is None else kind
    if kind == 0:
        return junk(rng)
    out = (Changing if kind == 1 else dict)()
    for _ in range(rng.choice((1, 3))):
        try:
            dict.__setitem__(out, rng.choice((256, 257, 258, 300, 1024, junk_key(rng))), make_template(rng))
        except WRONG_ARGUMENT + (RuntimeError,):  # of Odd
            pass
    return out


def hostile_templates(rng):
    if rng.random() < 0.1:
        return junk(rng)
    out = (Changing if rng.random() < 0.1 else dict)()
    if rng.random() < 0.9:
        dict.__setitem__(out, "netflow", section(rng, rng.choice((template9, template9, template10))))
    if rng.random() < 0.9:
        dict.__setitem__(out, "ipfix", section(rng, rng.choice((template10, template10, template9))))
    return out


def look(packet, rng):
    """Use a packet as a program would."""
    flows = packet.flows
    for flow in flows[:50]:
        for name, value in flow.data.items():
            if isinstance(name, str):
                getattr(flow, name)
        repr(flow)
    for option in getattr(packet, "options", [])[:50]:
        repr(option), dict(option.data)
    packet.header.to_dict()
    repr(packet)
    if hasattr(packet, "templates"):
        list(packet.templates), packet.contains_new_templates
    for a_set in getattr(packet, "sets", []):
        repr(a_set), a_set.is_template, len(a_set.records)
    if rng.random() < 0.1:
        copy.copy(packet), copy.deepcopy(packet), pickle.loads(pickle.dumps(packet))
    if flows and rng.random() < 0.1:
        flow = rng.choice(flows)
        copy.deepcopy(flow), pickle.loads(pickle.dumps(flow)), vars(flow), dir(flow)


def one_packet(rng, keep):
    """Mutated packets with templates that live for some rounds."""
    if rng.random() < 0.02:
        keep.clear()
    name, payloads = rng.choice(SEEDS)
    for payload in payloads if rng.random() < 0.3 else (rng.choice(payloads),):
        data = mutate(rng, payload)
        keep["input"] = data
        form = rng.randrange(20)
        if form == 0:
            data = data.hex()
        elif form == 1:
            data = data.hex().encode()
        elif form == 2:
            data = bytearray(data)
        elif form == 3:
            data = memoryview(data)
        try:
            packet = netflow.parse_packet(data, keep.setdefault("templates", {"netflow": {}, "ipfix": {}}))
        except DOCUMENTED:
            continue
        look(packet, rng)


def one_dict(rng, keep):
    """Valid and mutated packets with templates that somebody has tampered with."""
    templates = hostile_templates(rng)
    for _ in range(3):
        data = rng.choice(LONG)
        if rng.random() < 0.3:
            data = mutate(rng, data)
        keep["input"] = data
        try:
            look(netflow.parse_packet(data, templates), rng)
        except DOCUMENTED + WRONG_ARGUMENT:
            pass
        except RuntimeError as error:
            if error.args not in (("==",), ("len",), ("iter",), ("index",)) and "changed size" not in str(error) \
                    and type(error) is not RuntimeError:
                raise
        if isinstance(templates, dict) and rng.random() < 0.5:
            for known in list(templates.values()):
                if isinstance(known, dict) and rng.random() < 0.5:
                    dict.clear(known)
                elif isinstance(known, dict):
                    dict.__setitem__(known, rng.choice((256, 257)), rng.choice((template9, template10))(rng))
    keep.pop("input", None)


def one_template(rng, keep):
    """Templates that were learnt and then changed, exchanged or taken apart, with valid and mutated packets between."""
    if keep.get("learnt") is None or rng.random() < 0.02:
        keep["learnt"] = {"netflow": {}, "ipfix": {}}
    templates = keep["learnt"]
    for _ in range(3):
        data = rng.choice(LONG)
        if rng.random() < 0.2:
            data = mutate(rng, data)
        keep["input"] = data
        try:
            look(netflow.parse_packet(data, templates), rng)
        except DOCUMENTED + WRONG_ARGUMENT:
            pass
        except RuntimeError as error:
            if type(error) is not RuntimeError:
                raise
        known = [t for part in templates.values() for t in part.values()]
        if not known:
            continue
        template, other = rng.choice(known), rng.choice(known)
        value = rng.choice((junk(rng), [], None, [field9(rng)], {1: 4, 2: 2}, {34: junk(rng)}))
        for use in (lambda: setattr(template, rng.choice(("fields", "scope_fields", "option_fields", "_handle", "_rows")), value),
                    lambda: setattr(template, "_handle", other._handle),
                    lambda: setattr(template, "fields", other.fields),
                    lambda: setattr(rng.choice(template.fields), rng.choice(("field_type", "field_length")), junk(rng)),
                    lambda: template.fields.append(field9(rng)), lambda: template.fields.pop(), lambda: template.pop(),
                    lambda: template.append(rng.choice((ipfix.TemplateField(8, 4), junk(rng), template[0]))),
                    lambda: template.option_fields.update({34: rng.randrange(9)}), lambda: template.scope_fields.clear(),
                    lambda: [getattr(template, name, None) for name in dir(template)],
                    lambda: templates["netflow"].update({256: other}), lambda: templates["ipfix"].update({256: other}),
                    lambda: copy.deepcopy(template), lambda: repr(template), lambda: vars(template)):
            if rng.random() < 0.1:
                try:
                    use()
                except DOCUMENTED + WRONG_ARGUMENT + (IndexError, pickle.PicklingError):
                    pass
                except RuntimeError as error:
                    if type(error) is not RuntimeError:
                        raise
    keep.pop("input", None)


def one_object(rng, keep):
    """Constructors and attributes of all classes."""
    classes = [getattr(module, name) for module in (v1, v5, v9, ipfix, utils) for name in dir(module)
               if name[:1] in "VIU" and isinstance(getattr(module, name), type)]
    cls = rng.choice(classes)
    data = rng.choice((mutate(rng, rng.choice(LONG)), b"\1\0" + mutate(rng, rng.choice(LONG)), junk(rng)))
    if isinstance(data, bytes) and rng.random() < 0.5:
        data = data[rng.choice((0, 16, 20, 24)):]
    keep["input"] = (cls.__name__, data)
    arguments = (
        (data,), (data, junk(rng)), (data, template9(rng)), (data, template10(rng)), (),
        (data, section(rng, template9)), (data, section(rng, template10)), (junk(rng), junk(rng), junk(rng)),
        (256, {1: 4}, {34: 4}), (256, 1, [field9(rng)]), (data, v9.V9TemplateRecord(256, 1, [v9.V9TemplateField(8, 4)])),
        (data, {256: [ipfix.TemplateField(8, 4)]}))
    try:
        thing = cls(*rng.choice(arguments))
    except DOCUMENTED + WRONG_ARGUMENT:
        return
    except RuntimeError as error:
        if type(error) is not RuntimeError:
            raise
        return
    keep["input"] = (cls.__name__, data, "used")
    for use in (lambda: repr(thing), lambda: vars(thing), lambda: dir(thing), lambda: copy.copy(thing),
                lambda: pickle.loads(pickle.dumps(thing)), lambda: copy.deepcopy(thing), lambda: hash(thing),
                lambda: [getattr(thing, name, None) for name in dir(thing)],
                lambda: setattr(thing, rng.choice(dir(thing)), junk(rng)),
                lambda: delattr(thing, rng.choice(dir(thing))),
                lambda: setattr(thing, rng.choice(("data", "fields", "scopes", "templates", "header", "flows")),
                                junk(rng)),
                lambda: delattr(thing, rng.choice(("data", "fields", "scopes", "templates", "header", "flows"))),
                lambda: thing.data, lambda: thing.fields, lambda: thing.flows, lambda: thing.get_length(),
                lambda: repr(thing), lambda: vars(thing), lambda: thing.fields, lambda: copy.copy(thing)):
        try:
            use()
        except DOCUMENTED + WRONG_ARGUMENT + (AttributeError, pickle.PicklingError):
            pass
        except RuntimeError as error:
            if type(error) is not RuntimeError:
                raise


def one_decoder(rng, keep):
    """netflow.Decoder: mutated packets of several exporters, batches, saved states that are none."""
    if not hasattr(netflow, "Decoder"):
        return
    decoder = keep.get("decoder")
    if decoder is None or rng.random() < 0.01:
        decoder = keep["decoder"] = netflow.Decoder(options=rng.random() < 0.5, strict=rng.random() < 0.5,
                                                    limits={"max_exporters": 50, "max_waiting_total": 1 << 20})
    data = mutate(rng, rng.choice(LONG))
    keep["input"] = data
    client = rng.choice((("192.0.2.%d" % rng.randrange(100), 2055), ("2001:db8::1", 1, 0, 0), "192.0.2.1", None,
                         junk(rng)))
    try:
        decoder.feed(data, client=client, received=rng.choice((None, 1.7e9 + rng.random() * 1e5, junk(rng))))
    except DOCUMENTED + WRONG_ARGUMENT:
        pass
    except RuntimeError as error:
        if type(error) is not RuntimeError:
            raise
    if rng.random() < 0.1:
        batch = decoder.batch()
        batch.dicts(), batch.tuples(), batch.columns
        try:
            batch.dicts([junk(rng)])
        except WRONG_ARGUMENT:
            pass
        except RuntimeError as error:
            if type(error) is not RuntimeError:
                raise
        try:
            decoder.options_batch()
        except ValueError:  # made without them
            pass
    if rng.random() < 0.02:
        decoder.exporters(), decoder.counters
        state = mutate(rng, decoder.save())
        try:
            netflow.Decoder().load(state)
        except DOCUMENTED + WRONG_ARGUMENT:
            pass


FUZZERS = {f.__name__[4:]: f for f in (one_packet, one_dict, one_template, one_object, one_decoder)}


def resident():
    with open("/proc/self/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * resource.getpagesize()


def main():
    parser = argparse.ArgumentParser(description="Hostile input through the Python package.")
    parser.add_argument("--seconds", type=float, help="how long (default 10)")
    parser.add_argument("--rounds", type=int, help="how many rounds instead")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("FUZZ_SEED", "1")))
    parser.add_argument("--only", choices=FUZZERS, action="append", help="one of the kinds")
    parser.add_argument("--input", type=pathlib.Path, help="write the input of each round here first, to find a crash")
    args = parser.parse_args()
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, resource.RLIM_INFINITY))
    chosen = [FUZZERS[name] for name in args.only or FUZZERS]
    seconds = args.seconds if args.seconds is not None else None if args.rounds else 10
    began, n, base, keep = time.monotonic(), 0, None, {}
    while (seconds is None or time.monotonic() - began < seconds) and (args.rounds is None or n < args.rounds):
        rng = random.Random(args.seed + n)
        Changing.rng = rng
        state = keep.setdefault(n % len(chosen), {})
        try:
            chosen[n % len(chosen)](rng, state)
        except BaseException as error:
            traceback.print_exc()
            print(f"fuzz: round {n} ({chosen[n % len(chosen)].__name__}), --seed {args.seed} --rounds {n + 1}: "
                  f"{type(error).__name__}", file=sys.stderr)
            given = state.get("input")
            print("input:", given.hex() if isinstance(given, bytes) else repr(given)[:4000], file=sys.stderr)
            return 1
        if args.input:
            given = state.get("input")
            args.input.write_text(given.hex() if isinstance(given, bytes) else repr(given), encoding="utf-8")
        n += 1
        if n == 20000 or (base is None and time.monotonic() - began > (seconds or 0) / 3 > 0):
            base = base or resident()
    grown = resident() - base if base else 0
    if grown > GROWTH_MAX:
        print(f"fuzz: the process has grown by {grown >> 20} MiB", file=sys.stderr)
        return 1
    print(f"fuzz: {n} rounds from seed {args.seed}, {time.monotonic() - began:.0f} s, no failure, "
          f"grown by {grown >> 10} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
