"""Results that other projects publish beside their captures: logstash, Elastic Beats, NetGauze, pmacct, netflow_parser,
OpenNMS, ipfixcol. Each names fields in its own way: names are compared without case and punctuation, and every value
that has a plain counterpart is compared."""
import base64
import collections
import datetime
import ipaddress
import json
import re

import corpus

PROTOCOLS = {"icmp": 1, "ipip": 4, "tcp": 6, "udp": 17, "gre": 47, "ipv6-icmp": 58, "ipv6icmp": 58, "icmpv6": 58,
             "ospf": 89, "ospfigp": 89, "vrrp": 112, "pim": 103, "ipv4": 4, "ipv6": 41, "eigrp": 88, "igmp": 2}


def plain(name):
    return re.sub(r"[^a-z0-9]", "", name.lower())


def by_name(fields):
    out = {}
    for f in fields:
        for name in (f.name, f.v9_name):
            if name:
                out.setdefault(plain(name), f)
    return out


def iso_ns(text):
    m = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|\+00:00)", text)
    if not m:
        return None
    t = datetime.datetime.fromisoformat(m[1]).replace(tzinfo=datetime.timezone.utc)
    return int(t.timestamp()) * 10**9 + int((m[2] or "0").ljust(9, "0"))


def utc(ns):
    return (datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=ns // 1000)).isoformat(" ", "milliseconds")


def same(f, v):
    """Whether field f and a published value mean the same; None: the value is in a form of its own."""
    octets = bytes.fromhex(f.hex)
    if isinstance(v, bool):
        return f.value == v if f.kind == "bool" else None
    if isinstance(v, (int, float)):
        if f.kind == "time":
            return f.value in (v * 10**9, v * 10**6)
        if f.kind in ("u64", "s64"):
            return f.value == v
        return int.from_bytes(octets, "big") == v if f.kind in ("octets", "bad") and len(octets) <= 8 else None
    if isinstance(v, list):
        return list(octets) == v if all(isinstance(n, int) for n in v) else None
    if isinstance(v, dict):
        return same_dict(f, v)
    if not isinstance(v, str):
        return None
    if f.kind in ("ipv4", "ipv6"):
        return corpus.same_address(f.value, v)
    if f.kind == "mac":
        return f.value == v.lower().replace("-", ":")
    if f.kind == "text":
        return f.value.rstrip("\0") == v.rstrip("\0")
    if f.kind == "time":
        ns = int(v) * 10**6 if v.isdigit() and len(v) > 11 else int(v) * 10**9 if v.isdigit() else iso_ns(v)
        return None if ns is None else f.value // 10**6 == ns // 10**6
    if f.kind in ("u64", "s64"):
        if v.isdigit():
            return f.value == int(v)
        return f.value == PROTOCOLS[plain(v)] if f.id == 4 and plain(v) in PROTOCOLS else None
    if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{8})*", v):
        return f.hex == v.replace("-", "")
    m = re.fullmatch(r"(\d+)\.\.(\d+)", v)  # application id: engine and selector
    if m:
        return (octets[0], int.from_bytes(octets[1:], "big")) == (int(m[1]), int(m[2]))
    try:
        return base64.b64decode(v, validate=True) == octets
    except ValueError:
        return None


def same_dict(f, v):
    flags = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
    if set(flags) <= set(v):
        return f.value & 255 == sum(1 << i for i, name in enumerate(flags) if v[name])
    if set(v) == {"status", "reason"}:
        return (f.value >> 6, f.value & 63) == (v["status"], v["reason"])
    if len(v) == 1 and isinstance(next(iter(v.values())), (int, str, list)):
        name, inner = next(iter(v.items()))
        return same(f, inner) if isinstance(inner, (int, list)) or name in ("Ip4Addr", "Ip6Addr", "String",
                                                                            "MacAddr") else None
    if "DataNumber" in v and isinstance(v["DataNumber"], dict):
        return same(f, next(iter(v["DataNumber"].values())))
    return None


class Check:
    """Counts what was compared and gathers what differs."""

    def __init__(self, seen):
        self.tally, self.seen, self.out = corpus.Tally(), seen, set()

    def field(self, where, name, f, v):
        if f is None:
            self.tally.add(f"{name} is in no field of weir", where)
            return
        result = same(f, v)
        self.seen["values" if result is not None else "in a form of its own"] += 1
        if result is False:
            self.tally.add(f"value of {name}", f"{where}: {f.value if f.value is not None else f.hex}, not {v}")

    def number(self, where, name, mine, theirs):
        self.seen["values"] += 1
        if mine != theirs:
            self.tally.add(name, f"{where}: {mine}, not {theirs}")

    def time(self, where, name, mine, theirs):
        """Differences that have one cause are told apart from others."""
        self.seen["values"] += 1
        apart = theirs // 10**6 - mine // 10**6
        if apart:
            kind = {1000: " 1 s later at the oracle", 2**32: " 2^32 ms later at the oracle",
                    2**32 + 1000: " 2^32 ms and 1 s later at the oracle"}.get(apart, "")
            self.tally.add(name + kind, f"{where}: {utc(mine)}, not {utc(theirs)}")

    def count(self, name, mine, theirs):
        self.seen["counts"] += 1
        if mine != theirs:
            self.out.add(f"{mine} {name}, not {theirs}")

    def lines(self):
        return self.out | self.tally.lines()


# --- logstash: how many events, some of them, and single assertions ---

# Names of codec definitions that are neither a registry's nor NetFlow v9's here: id, or (id, enterprise).
LOGSTASH = {
    "ipprotocolversion": [60], "samplingalgorithm": [35], "samplinginterval": [34], "inpermanentbytes": [85],
    "connid": [148], "xlatesrcaddripv4": [40001], "xlatedstaddripv4": [40002], "xlatesrcport": [40003],
    "xlatedstport": [40004], "fwevent": [40005, 233], "fwextevent": [33002], "eventtimemsec": [323],
    "flowstartmsec": [152], "ingressaclid": [33000], "egressaclid": [33001], "username": [40000], "protocol": [4],
    "icmptype": [176], "icmpcode": [177], "flowsamplerid": [48], "srctos": [5], "totalflowsexp": [42],
    "totalpktsexp": [41], "totalbytesexp": [40], "revflowdeltabytes": [232], "ipdscp": [195],
    "mplslabelstackoctets": [201], "nprobeproto": [57590], "nprobeprotoname": [57591], "applicationid": [95],
    "applicationname": [96], "applicationdescription": [94], "ifdesc": [83], "srctrafficindex": [92],
    "dsttrafficindex": [93], "userid": [56702], "appid": [56701], "direction": [61], "flowactivetimeout": [36],
    "flowinactivetimeout": [37], "forwardingstatus": [89], "inputsnmp": [10], "outputsnmp": [14],
    "bgpipv4nexthop": [18], "ipv4nexthop": [15], "flows": [3], "inbytes": [1], "inpkts": [2], "ipv4srcaddr": [8],
    "ipv4dstaddr": [12], "l4srcport": [7], "l4dstport": [11], "tcpflags": [6], "srcas": [16], "dstas": [17],
    "srcmask": [9], "dstmask": [13]}

# Enterprise elements of Nokia and VMware that registry/ does not name, as logstash and Beats call them.
ENTERPRISE = {
    "natinsidesvcid": [(91, 637)], "natoutsidesvcid": [(92, 637)], "natsubstring": [(93, 637)],
    "vmwareingressinterfaceattr": [(890, 6876)], "vmwareegressinterfaceattr": [(888, 6876)],
    "vmwarevxlanexportrole": [(889, 6876)], "vmwareunknown888": [(888, 6876)], "vmwareunknown889": [(889, 6876)],
    "vmwareunknown890": [(890, 6876)]}


def alias(record, tables, name):
    for table in tables:
        for ie in table.get(plain(name), []):
            number = ie if isinstance(ie, tuple) else (ie, 0)
            f = next((x for x in record.fields if x.number == number), None)
            if f is not None:
                return f
    return None


def logstash_field(record, names, name):
    f = names.get(plain(name))
    return alias(record, (LOGSTASH, ENTERPRISE), name) if f is None else f


def logstash_event(check, where, dump, r, event):
    names = by_name(r.fields)
    packet = next(p for p in dump.packets if p["f"] == r.frame)
    for name, v in event.items():
        key = plain(name)
        if key == "version":
            check.number(where, name, packet["v"], int(v))
        elif key == "flowseqnum":
            check.number(where, name, packet["seq"], int(v))
        elif key == "flowsetid":
            check.number(where, name, r.template, int(v))
        elif key == "flowrecords":
            check.number(where, name, packet["count"], int(v))
        elif key in ("enginetype", "engineid"):
            check.number(where, name, packet["domain"] >> (8 if key == "enginetype" else 0) & 255, int(v))
        elif packet["v"] == 5 and key in ("samplingalgorithm", "samplinginterval"):
            mine = packet["sampling"] >> 14 if key == "samplingalgorithm" else packet["sampling"] & 16383
            check.number(where, name, mine, int(v))
        elif key in ("firstswitched", "lastswitched"):
            ns = r.first if key == "firstswitched" else r.last
            check.time(where, name, ns, iso_ns(v))
        elif key == "scopesystem":
            check.field(where, name, r.fields[0], int(v))
        else:
            check.field(where, name, logstash_field(r, names, name), v)


def logstash(name, dump, seen):
    with open(corpus.path(name), encoding="utf-8") as f:
        golden = json.load(f)
    check = Check(seen)
    records = [r for r in dump.records if not r.late]
    if golden["events"] is not None:
        check.count("events", len(records), golden["events"])
    for a in golden["asserts"]:
        m = re.fullmatch(r"\[netflow\]\[(\w+)\]", a["field"])
        if not m or a["event"] >= len(records):
            check.seen["in a form of its own"] += 1
            continue
        logstash_event(check, f"event {a['event']}", dump, records[a["event"]], {m[1]: a["value"]})
    # Which event an example is cannot be told: it is the one that fits best.
    for n, e in enumerate(golden["json"]):
        best = None
        for r in records:
            trial = Check(collections.Counter())
            logstash_event(trial, f"example {n}", dump, r, e["netflow"])
            if best is None or len(trial.tally.n) < best[0]:
                best = len(trial.tally.n), r
        if best is None:
            check.out.add(f"example {n}: weir has no record")
        else:
            logstash_event(check, f"example {n}", dump, best[1], e["netflow"])
    return check.lines()


# --- Elastic Beats: every event ---

BEATS = {"asafwevent": [40005], "asausername": [40000], "asaxlatedstaddripv4": [40002], "asaxlatedstport": [40004],
         "asaxlatesrcaddripv4": [40001], "asaxlatesrcport": [40003], "fwextevent": [33002], "ingressaclid": [33000],
         "egressaclid": [33001]}


def beats(name, dump, seen):
    with open(corpus.path(name), encoding="utf-8") as f:
        golden = json.load(f)
    check = Check(seen)
    records = [r for r in dump.records if not r.late]
    check.count("events", len(records), len(golden["events"]))
    for n, (r, e) in enumerate(zip(records, golden["events"])):
        where, fields = f"event {n}", e["Fields"]
        scope = r.fields[:r.n_scope]
        names, scopes = by_name(r.fields[r.n_scope:]), by_name(scope)
        packets = [p for p in dump.packets if p["f"] == r.frame]
        exporter = fields["netflow"]["exporter"]
        if len(packets) == 1:
            p = packets[0]
            check.number(where, "exporter.version", p["v"], exporter["version"])
            check.number(where, "exporter.source_id", p["domain"], exporter["source_id"])
            check.number(where, "exporter.uptime_millis", p["uptime"], exporter["uptime_millis"])
            check.number(where, "exporter.timestamp", p["export_s"], iso_ns(exporter["timestamp"]) // 10**9)
        for name_, v in fields["netflow"].items():
            if name_ in ("exporter", "type"):
                continue
            if name_ in ("options", "scope"):
                for k, w in v.items():
                    check.field(where, f"{name_}.{k}", (names if name_ == "options" else scopes).get(plain(k)), w)
                continue
            f = names.get(plain(name_))
            check.field(where, name_, alias(r, (BEATS, ENTERPRISE), name_) if f is None else f, v)
        for key, ns in (("start", r.first), ("end", r.last)):
            if key in fields["event"] and r.time_flags & 9 == 0:
                check.time(where, f"event.{key}", ns, iso_ns(fields["event"][key]))
    return check.lines()


# --- NetGauze: every message in full ---

def netgauze(name, dump, seen):
    check = Check(seen)
    templates, records, headers = [], [], []
    for message in corpus.lines(name):
        (_, m), = message.items()
        headers.append((m["version"], m["sequence_number"], m.get("observation_domain_id", m.get("source_id"))))
        for s in m["sets"]:
            for t in s.get("Template", []):
                templates.append((t["id"], [], t["field_specifiers"]))
            for t in s.get("OptionsTemplate", []):
                templates.append((t["id"], t["scope_field_specifiers"], t["field_specifiers"]))
            if "Data" in s:
                records += [(s["Data"]["id"], r) for r in s["Data"]["records"]]
    check.count("messages", len(dump.packets), len(headers))
    for n, (p, h) in enumerate(zip(dump.packets, headers)):
        check.number(f"message {n}", "header", (p["v"], p["seq"], p["domain"]), h)
    check.count("templates", len(dump.definitions), len(templates))
    for n, (t, (ident, scope, fields)) in enumerate(zip(dump.definitions, templates)):
        mine = t["id"], t["scope"], [f[2] for f in t["fields"]]
        check.number(f"template {n}", "template", mine, (ident, len(scope), [f["length"] for f in scope + fields]))
    check.count("records", len(dump.records), len(records))
    for n, (r, (ident, e)) in enumerate(zip(dump.records, records)):
        where = f"record {n}"
        check.number(where, "template id", r.template, ident)
        theirs = e["scope_fields"] + e["fields"]
        check.number(where, "fields", len(r.fields), len(theirs))
        for f, t in zip(r.fields, theirs):
            (key, v), = t.items() if isinstance(t, dict) and len(t) == 1 else ((None, t),)
            if key is None or isinstance(v, dict) and plain(f.name) != plain(key):
                check.seen["in a form of its own"] += 1
                continue
            if plain(key) != plain(f.name):
                check.tally.add(f"{key} is {f.name} here", where)
            check.field(where, key, f, v)
    return check.lines()


# --- pmacct: flows added up by their keys ---

def pmacct(name, dump, seen):
    check = Check(seen)
    mine, theirs = collections.Counter(), collections.Counter()
    for r in dump.flows():
        # The inner headers of a tunnel follow the outer ones: pmacct takes the last of a repeated element, and the
        # IPv4 addresses where both kinds are there.
        src, dst = address(r, 8, 27), address(r, 12, 28)
        scale = r.rate or 1
        key = (r.get(10) or 0, r.get(14) or 0, src, dst, *((r.all(ie) or [0])[-1] for ie in (7, 11, 4, 5)))
        mine[key, "packets"] += int(r.get(2) * scale)
        mine[key, "bytes"] += int(r.get(1) * scale)
    for o in corpus.lines(name):
        key = (o["iface_in"], o["iface_out"], str(ipaddress.ip_address(o["ip_src"])),
               str(ipaddress.ip_address(o["ip_dst"])), o["port_src"], o["port_dst"],
               PROTOCOLS.get(plain(o["ip_proto"]), o["ip_proto"]), o["tos"])
        theirs[key, "packets"] += o["packets"]
        theirs[key, "bytes"] += o["bytes"]
    for key in sorted(set(mine) | set(theirs), key=str):
        if key not in theirs or key not in mine:
            check.tally.add(f"{key[1]} of keys {'weir' if key in mine else 'pmacct'} alone has",
                            " ".join(map(str, key[0])))
        else:
            check.number(" ".join(map(str, key[0])), key[1], mine[key], theirs[key])
    return check.lines()


def address(r, v4, v6):
    a = r.get(v4)
    if a is None or a == "0.0.0.0" and r.get(v6) not in (None, "::"):
        a = r.get(v6)
    return str(ipaddress.ip_address(a or "0.0.0.0"))


# --- netflow_parser: snapshots in YAML ---

def yaml(text):
    """The YAML that the snapshots use: nested lists and mappings of plain and quoted scalars."""
    rows = [(len(s) - len(s.lstrip()), s.strip()) for s in text.split("\n") if s.strip()]

    def scalar(s):
        if s.startswith('"'):
            return json.loads(s)
        if re.fullmatch(r"-?\d+", s):
            return int(s)
        return {"true": True, "false": False, "null": None, "[]": [], "~": None}.get(s, s)

    def block(i, indent):
        if rows[i][1].startswith("- "):
            out = []
            while i < len(rows) and rows[i][0] == indent and rows[i][1].startswith("- "):
                rows[i] = (indent + 2, rows[i][1][2:].strip())
                v, i = block(i, indent + 2)
                out.append(v)
            return out, i
        m = re.match(r"([\w.]+):(?: (.*))?$", rows[i][1])
        if not m:
            return scalar(rows[i][1]), i + 1
        out = {}
        while i < len(rows) and rows[i][0] == indent and not rows[i][1].startswith("- "):
            m = re.match(r"([\w.]+):(?: (.*))?$", rows[i][1])
            i += 1
            if m[2]:
                out[m[1]] = scalar(m[2])
            elif i < len(rows) and rows[i][0] > indent:
                out[m[1]], i = block(i, rows[i][0])
            else:
                out[m[1]] = None
        return out, i

    return block(0, rows[0][0])[0] if rows else None


SNAP_FIXED = {"src_addr": 8, "dst_addr": 12, "next_hop": 15, "input": 10, "output": 14, "d_pkts": 2, "d_octets": 1,
              "first": 22, "last": 21, "src_port": 7, "dst_port": 11, "tcp_flags": 6, "protocol_number": 4, "tos": 5,
              "src_as": 16, "dst_as": 17, "src_mask": 9, "dst_mask": 13, "router_src": 43}


def snap_packet(packets, header):
    """Take our last packet with this header out of packets."""
    wanted = {"v": header["version"], "count": header.get("count", header.get("length"))}
    for theirs, mine in (("sequence_number", "seq"), ("flow_sequence", "seq"), ("source_id", "domain"),
                         ("observation_domain_id", "domain")):
        if theirs in header:
            wanted[mine] = header[theirs]
    while packets:
        p = packets.pop()
        if all(p[k] == v for k, v in wanted.items()):
            return p
    return None


def snap_templates(body):
    for t in body if isinstance(body, list) else body.get("templates", [body]):
        fields = [f for part in ("scope_fields", "fields", "option_fields") for f in t.get(part) or []]
        yield t["template_id"], [(f["field_type_number"] & (0x7fff if f.get("enterprise_number") else 0xffff),
                                  f["field_length"]) for f in fields]


def snap(name, dump, seen):
    with open(corpus.path(name), encoding="utf-8") as f:
        text = f.read().split("---\n", 2)[2]
    check = Check(seen)
    packets = yaml(text)
    if isinstance(packets, dict) and "packets" not in packets or not isinstance(packets, (list, dict)):
        check.count("packets taken", sum(p["outcome"] != "rejected" for p in dump.packets), 0)
        seen["snapshots of an error"] += 1
        return check.lines()
    if isinstance(packets, dict):
        packets = packets["packets"]
    if all(isinstance(n, int) for n in packets):  # what they write back: the octets of the message
        seen["snapshots of octets, not compared"] += 1
        return check.lines()
    left = list(dump.packets)
    for packet in reversed(packets):  # some snapshots hold the last packet of a case alone
        (kind, p), = packet.items()
        ours = snap_packet(left, p["header"])
        if ours is None or ours["outcome"] == "rejected":
            check.out.add(f"packet {p['header']['version']}: {'rejected' if ours else 'not seen'} by weir")
            continue
        templates, expect = [], []
        for s in p["flowsets"] or []:
            if kind in ("V5", "V7"):
                expect.append(s)
                continue
            for key, body in s["body"].items():
                if key in ("Template", "Templates", "OptionsTemplate", "OptionsTemplates"):
                    templates += snap_templates(body)
                elif key in ("Data", "OptionsData"):
                    expect += body["fields"] or []
                else:
                    seen[f"sets of kind {key}"] += 1
        records = [r for r in dump.records if r.frame == ours["f"] and not r.late]
        mine = [(t["id"], [(f[0], f[2]) for f in t["fields"]]) for t in dump.definitions if t["f"] == ours["f"]]
        check.number(f"frame {ours['f']}", "templates", mine, templates)
        check.count(f"records in frame {ours['f']}", len(records), len(expect))
        for n, (r, e) in enumerate(zip(records, expect)):
            snap_record(check, f"frame {ours['f']} record {n}", r, e)
    return check.lines()


def snap_record(check, where, r, e):
    if isinstance(e, dict) and "src_addr" in e:
        for key, ie in SNAP_FIXED.items():
            if key in e:
                check.field(where, key, r.by_id[ie, 0][0], e[key])
        return
    pairs = e
    if isinstance(e, dict):
        pairs = [[k, v] for x in e["scope_fields"] or [] for k, v in x.items()] + (e["options_fields"] or [])
    check.number(where, "fields", len(r.fields), len(pairs))
    for f, (key, v) in zip(r.fields, pairs):
        while isinstance(key, dict):
            key = next(iter(key.values()))
        snap_field(check, where, f, str(key), v)


def snap_field(check, where, f, key, v):
    if plain(key) in (plain(f.name), plain(f.v9_name or "")):
        check.seen["names"] += 1
    else:
        check.seen["names of its own"] += 1
    if isinstance(v, dict) and "Duration" in v:  # of milliseconds or seconds
        d = v["Duration"]
        check.seen["values"] += 1
        ns = d["secs"] * 10**9 + d["nanos"]
        if f.value not in (ns, ns // 10**6, ns // 10**9):
            check.tally.add(f"value of {key}", f"{where}: {f.value}, not {ns} ns")
        return
    if isinstance(v, dict) and "String" in v:  # without control characters
        check.number(where, f"value of {key}", re.sub(r"[\0-\x1f\x7f]", "", f.value or ""), v["String"])
        return
    check.field(where, key, f, v)


# --- OpenNMS: what its flow adapter passes on ---

OPENNMS = {"srcAddress": 8, "dstAddress": 12, "srcPort": 7, "dstPort": 11, "numBytes": 1, "numPackets": 2,
           "protocol": 4, "tos": 5, "tcpFlags": 6, "inputSnmpIfindex": 10, "outputSnmpIfindex": 14, "srcAs": 16,
           "dstAs": 17, "nextHopAddress": 15}


def opennms(name, dump, seen):
    with open(corpus.path(name), encoding="utf-8") as f:
        golden = json.load(f)
    check = Check(seen)
    flows = dump.flows()
    check.count("flows", len(flows), len(golden))
    for n, (r, e) in enumerate(zip(flows, golden)):
        where = f"flow {n}"
        for key, ie in OPENNMS.items():
            v = r.get(ie)
            check.number(where, key, str(v if v is not None else "0.0.0.0" if key == "nextHopAddress" else 0),
                         str(e[key]))
        check.number(where, "firstSwitched", r.first // 10**6, int(e["firstSwitched"]))
        check.number(where, "lastSwitched", r.last // 10**6, int(e["lastSwitched"]))
        packet = next(p for p in dump.packets if p["f"] == r.frame)
        check.number(where, "flowSeqNum", packet["seq"], int(e["flowSeqNum"]))
        check.number(where, "timestamp", packet["export_s"] * 1000, int(e["timestamp"]))
        check.number(where, "nodeIdentifier", packet["domain"], int(e["nodeIdentifier"]))
    return check.lines()


# --- ipfixcol: what it logs ---

def ipfixcol(name, dump, seen):
    check = Check(seen)
    with open(corpus.path(name), encoding="utf-8") as f:
        for line in f:
            m = re.search(r"Data template with ID (\d+) not found", line)
            if m:
                check.number("log", "data sets without template", dump.totals["sets_expired"], 1)
            elif "Received Template withdrawal message" in line or "withdrawal message received for unknown" in line:
                check.number("log", "withdrawals ignored", dump.totals["withdrawals_ignored"], 1)
            elif line.strip():
                check.seen["lines in a form of its own"] += 1
    return check.lines()
