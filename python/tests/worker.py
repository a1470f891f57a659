#!/usr/bin/env python3
"""Reads packets, writes what the package `netflow` of this interpreter makes of them; test_differential.py starts it.

Standard input: a line "reset" (new templates), else the hexadecimal text of a packet. Standard output: a line of JSON
for each packet, after a first one that says which package it is. No packet has more than CPU_S seconds of processor
time or a GiB of memory: netflow 0.12.2 never ends on some.
"""
import contextlib
import importlib.util
import io
import json
import resource
import signal
import sys

import netflow

CPU_S = 1.0


class Endless(BaseException):
    """The time of a packet is over."""


def on_alarm(_number, _frame):
    raise Endless


def plain(value):
    """A value as JSON that keeps its type apart from others."""
    if isinstance(value, (bytes, bytearray)):
        return {"octets": bytes(value).hex()}
    if isinstance(value, tuple):
        return {"tuple": [plain(v) for v in value]}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return {"float": repr(value)}
    if isinstance(value, (dict, set)):
        return {"repr": repr(value)}
    return value


def pairs(data):
    return [[key, plain(value)] for key, value in data.items()]


def names(error):
    return [f"{c.__module__}.{c.__qualname__}" for c in type(error).__mro__[:-1]]


def a_template(template):
    """[[type, octets, enterprise]...] and the number of scopes of a template of either version, None for a hole."""
    if template is None:
        return None
    if isinstance(template, list):
        return [[f.id, f.length, getattr(f, "enterprise_number", None)] for f in template]
    if hasattr(template, "scope_fields"):
        return {"scopes": pairs(template.scope_fields), "options": pairs(template.option_fields)}
    return [[f.field_type, f.field_length, None] for f in template.fields]


def result(packet):
    out = {"class": type(packet).__name__, "header": packet.header.to_dict(), "repr": repr(packet)}
    flows = packet.flows
    out["flows"] = [pairs(f.data) for f in flows]
    for flow in flows[:4]:
        for key, value in flow.data.items():
            assert plain(getattr(flow, key)) == plain(value), key
    if packet.header.version >= 9:
        out["new"] = packet.contains_new_templates
        out["keys"] = sorted(packet.templates)
    if hasattr(packet, "options"):
        out["options"] = [[pairs(getattr(o, "scopes", {})), pairs(o.data)] for o in packet.options]
    if flows:
        out["flow_repr"] = repr(flows[0])
    return out


def run(data, templates):
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_S)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                out = result(netflow.parse_packet(data, templates))
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except Endless:
        return {"error": ["endless"]}
    except MemoryError:
        return {"error": ["endless"]}
    except Exception as error:
        return {"error": names(error), "message": str(error)}
    return out


def main():
    signal.signal(signal.SIGVTALRM, on_alarm)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.RLIM_INFINITY))
    print(json.dumps({"ours": importlib.util.find_spec("netflow._weir") is not None, "file": netflow.__file__}))
    templates, shown = {"netflow": {}, "ipfix": {}}, None
    for line in sys.stdin:
        line = line.strip()
        if line == "reset":
            templates, shown = {"netflow": {}, "ipfix": {}}, None
            continue
        out = run(bytearray.fromhex(line), templates)  # no bytes: 0.12.2 may take those for text
        table = {kind: {str(number): a_template(known[number]) for number in sorted(known)}
                 for kind, known in templates.items()}
        if table != shown:
            out["table"] = shown = table
        print(json.dumps(out))


if __name__ == "__main__":
    main()
