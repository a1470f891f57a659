"""nfdump (*.nfdump.jsonl): flow records alone, one a line, paired with ours by their key."""
import collections
import datetime
import ipaddress

import corpus

EMPTY = (None, 0, "", "0.0.0.0", "::", "00:00:00:00:00:00", "0-0-0", "........", "<empty>", "0x0/0x0/0x0")

TIME_EXPORT = 1


def first(*ies):
    return lambda r: r.get(*ies)


def flags(r):
    v = r.get(6)
    return None if v is None else "".join(c if v & 128 >> i else "." for i, c in enumerate("CEUAPRSF"))


def icmp(shift, ies):
    def read(r):
        one = r.get(*ies)
        if one is not None:
            return one
        both = r.get(32, 139)
        return None if both is None else both >> shift & 255
    return read


def mpls(n):
    def read(r):
        for f in r.by_id.get((69 + n, 0), []):
            v = int(f.hex, 16)
            return f"{v >> 4}-{v >> 1 & 7}-{v & 1}"
        return None
    return read


def acl(ie):
    def read(r):
        for f in r.by_id.get((ie, 0), []):
            return "/".join(f"0x{int(f.hex[i:i + 8], 16):x}" for i in (0, 8, 16)) if f.len == 12 else None
        return None
    return read


def user(r):
    v = r.get(371, 40000)
    return None if v is None else v or "<empty>"


ADDRESSES = {"src4_addr": (8, 0), "dst4_addr": (12, 0), "src6_addr": (27, 0), "dst6_addr": (28, 0)}
KEY = {"proto": first(4), "src_port": first(7), "dst_port": first(11), "in_packets": first(2, 86, 298),
       "in_bytes": first(1, 85, 231)}
MORE = {
    "tcp_flags": flags, "src_tos": first(5), "input_snmp": first(10), "output_snmp": first(14),
    "src_mask": first(9, 29), "dst_mask": first(13, 30), "direction": first(61), "fwd_status": first(89),
    "src_as": first(16), "dst_as": first(17), "dst_tos": first(55),
    "icmp_type": icmp(8, (176, 178)), "icmp_code": icmp(0, (177, 179)),
    "in_src_mac": first(56), "in_dst_mac": first(80), "out_dst_mac": first(57), "out_src_mac": first(81),
    "connect_id": first(148), "event_id": first(233, 40005), "xevent_id": first(33002),
    "src4_xlt_ip": first(225, 40001), "dst4_xlt_ip": first(226, 40002),
    "src_xlt_port": first(227, 40003), "dst_xlt_port": first(228, 40004),
    "src_vlan": first(58, 243), "dst_vlan": first(59), "ip4_next_hop": first(15), "ip6_next_hop": first(62),
    "bgp4_next_hop": first(18), "bgp6_next_hop": first(63), "ingress_vrf": first(234), "egress_vrf": first(235),
    "nat_event_id": first(230), "ingress_acl": acl(33000), "egress_acl": acl(33001), "user_name": user,
    "out_packets": first(24, 299, (2, 29305)), "out_bytes": first(23, 232, (1, 29305)),
    **{f"mpls_{n}": mpls(n) for n in range(1, 11)},
}


def time_ns(text):
    t = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f").replace(tzinfo=datetime.timezone.utc)
    return int(t.timestamp()) * 10**9 + t.microsecond * 1000


def utc(ns):
    return (datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=ns // 1000)).isoformat(" ", "milliseconds")


def number(v):
    """nfdump writes some numbers as strings."""
    return int(v) if isinstance(v, str) and v.isdigit() else v


def address(v):
    return "" if v in EMPTY else str(ipaddress.ip_address(v))


def our_key(r, sampled):
    scale = r.rate if sampled and r.rate else 1
    v = {k: read(r) or 0 for k, read in KEY.items()}
    if v["proto"] in (1, 58):
        v["src_port"] = v["dst_port"] = 0  # nfdump has type and code instead
    elif not r.has(4) and r.has(32, 139):
        v["dst_port"] = r.get(32, 139)  # it does not know that these are type and code
    v["in_packets"], v["in_bytes"] = int(v["in_packets"] * scale), int(v["in_bytes"] * scale)
    return tuple(address(r.get(ie)) for ie in ADDRESSES.values()) + tuple(v.values())


def their_key(o):
    a = {k: address(o.get(k, "")) for k in ADDRESSES}
    for v4, v6 in (("src4_addr", "src6_addr"), ("dst4_addr", "dst6_addr")):
        if a[v4] and a[v6] == str(ipaddress.ip_address("::" + a[v4])):
            a[v6] = ""  # one place for both: the IPv4 address has overwritten an unset IPv6 address
    return tuple(a.values()) + tuple(o.get(k, 0) for k in KEY)


def compare(_case, name, dump, seen):
    tally = corpus.Tally()
    lines = corpus.lines(name)
    sampled = any(o["sampled"] for o in lines)  # counters are scaled by the sampling rate
    ours, theirs = collections.defaultdict(list), collections.defaultdict(list)
    for r in dump.flows():
        ours[our_key(r, sampled)].append(r)
    for o in lines:
        theirs[their_key(o)].append(o)
    for key in sorted(set(ours) | set(theirs), key=str):
        mine, other = ours.get(key, []), theirs.get(key, [])
        for _ in other[len(mine):]:
            tally.add("flows of nfdump alone", text(key))
        for r in mine[len(other):]:
            tally.add("flows of weir alone", f"frame {r.frame}: {text(key)}")
        for r, o in zip(mine, other):
            seen["flows"] += 1
            times(r, o, tally, seen)
            values(r, o, tally, seen)
    return tally.lines()


def text(key):
    return " ".join(f"{k}={v}" for k, v in zip([*ADDRESSES, *KEY], key) if v != "")


def values(r, o, tally, seen):
    for k, read in MORE.items():
        if k not in o:
            continue
        v, w = read(r), number(o[k])
        if k in ("icmp_type", "icmp_code") and v is None and w and r.has(11):
            v = r.get(11) >> (8 if k == "icmp_type" else 0) & 255  # where NetFlow v5 has them, and others too
        if v is None and w in EMPTY:
            continue
        seen["values"] += 1
        if v != w and not (isinstance(v, str) and corpus.same_address(v, w)):
            tally.add(k, f"frame {r.frame}: {v}, nfdump {w}")


def times(r, o, tally, seen):
    if "t_event" in o and r.has(323):
        seen["times"] += 1
        if r.get(323) != time_ns(o["t_event"]):
            tally.add("t_event", f"frame {r.frame}: {utc(r.get(323))}, nfdump {o['t_event']}")
    for k, ns, missing in (("first", r.first, (22, 150, 152)), ("last", r.last, (21, 151, 153))):
        if k not in o:
            continue
        ms, theirs = ns // 10**6, time_ns(o[k]) // 10**6
        if theirs == 0 and not r.has(*missing):
            seen["no time at nfdump"] += 1  # it knows none but those
            continue
        if theirs == 0 and r.time_flags & TIME_EXPORT and r.has(21, 22):
            seen["no time at either"] += 1  # sysUptime in IPFIX, whose header has none, without element 160
            continue
        seen["times"] += 1
        if ms + 2**32 == theirs:
            tally.add(f"{k} 2^32 ms later at nfdump", f"frame {r.frame}: {utc(ns)}, nfdump {o[k]}")
        elif ms != theirs:
            tally.add(k, f"frame {r.frame}: {utc(ns)}, nfdump {o[k]}")
