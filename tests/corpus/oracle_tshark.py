"""tshark (*.tshark.jsonl): every set of every packet, split field by field."""
import collections
import datetime
import re

import corpus

# Values that tshark shows in a form of its own; their octets are compared all the same.
OWN_FORM = re.compile(r"cflow\.(mpls_label|mpls_label_length|icmp_ipv6_type|appl_id\.|pie\.cisco\.application_http_uri)")
MONTHS = {m: i + 1 for i, m in enumerate("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split())}


def time_ns(text):
    """'Oct  9, 2015 09:47:47.569000000 UTC' -> ns since 1970, or None."""
    m = re.fullmatch(r"(\w{3})\s+(\d+), (\d{4}) (\d\d):(\d\d):(\d\d)\.(\d{9}) UTC", text)
    if not m:
        return None
    t = datetime.datetime(int(m[3]), MONTHS[m[1]], int(m[2]), int(m[4]), int(m[5]), int(m[6]),
                          tzinfo=datetime.timezone.utc)
    return int(t.timestamp()) * 10**9 + int(m[7])


def number(text):
    try:
        return int(text, 0)
    except ValueError:
        return None


def same_value(field, name, show):
    """True, False, or None when tshark's form has no plain counterpart."""
    if show is None or OWN_FORM.match(name):
        return None
    octets = show.replace(":", "")
    if field.kind in ("octets", "bad", "list") or (":" in show and octets == field.hex and field.kind != "mac"):
        if re.fullmatch(r"[0-9a-f]*", octets) and len(octets) == len(field.hex):
            return octets == field.hex
        return None
    if name == "cflow.forwarding_status":  # the upper two bits
        return number(show) == field.value >> 6
    if field.kind in ("u64", "s64"):
        if name in ("cflow.timestart", "cflow.timeend") and "." in show:
            return round(float(show) * 1000) == field.value
        n = number(show)
        return None if n is None else n == field.value
    if field.kind in ("ipv4", "ipv6"):
        return corpus.same_address(field.value, show)
    if field.kind == "time":
        ns = time_ns(show)
        if ns is not None and "Microseconds" in field.name:
            # RFC 7011 section 6.1.9: the lower 11 bits, 477 ns, are not looked at; whole microseconds are what is left.
            return 0 <= ns - field.value < 1000 + 477
        return None if ns is None else ns == field.value
    if field.kind in ("text", "mac"):
        return show in (field.value, field.hex)  # octets where tshark does not know the type
    return None


def compare(case, name, dump, seen):
    """The differences as lines; seen counts the fields whose octets and whose values were compared."""
    out, tally = set(), corpus.Tally()
    oracle = {p["f"]: p for p in corpus.lines(name)}
    packets, records, templates = (collections.defaultdict(list) for _ in range(3))
    for p in dump.packets:
        packets[p["f"]].append(p)
    late = collections.Counter()
    for r in dump.records:
        if r.late:
            late[r.frame] += 1
        else:
            records[r.frame].append(r)
    for t in dump.definitions:
        templates[t["f"]].append(t)

    for frame in sorted(set(oracle) | set(packets)):
        theirs, ours = oracle.get(frame), packets.get(frame)
        if theirs is None or ours is None:
            out.add(f"frame {frame}: {'weir' if ours else 'tshark'} alone sees it")
            continue
        if ours[0]["outcome"] == "rejected":
            out.add(f"frame {frame}: weir rejects it: {ours[0]['msg']}")
            continue
        if len(ours) > 1:
            out.add(f"frame {frame}: weir sees {len(ours)} messages")
        header(frame, theirs, ours[0], tally)
        if theirs["v"] in (1, 5, 7):
            legacy(frame, theirs["records"], records[frame], out, tally, seen)
            continue
        expect_t = [(t["id"], kind, len(t.get("scope", [])), t.get("scope", []) + t["fields"])
                    for s in theirs["sets"] for kind, key in ((False, "templates"), (True, "options_templates"))
                    for t in s.get(key, []) if not t.get("withdraw")]
        got_t = [(t["id"], t["options"], t["scope"], t["fields"]) for t in templates[frame]]
        if expect_t != got_t:
            mine, other = [t[0] for t in got_t], [t[0] for t in expect_t]
            out.add(f"frame {frame}: templates {mine}, tshark {other}" +
                    (" with other fields" if mine == other else ""))
        expect = [(s["id"], bool(s.get("options")), r) for s in theirs["sets"] for r in s.get("records", [])]
        got = [(r.template, r.options, r.fields) for r in records[frame]]
        if len(expect) != len(got):
            out.add(f"frame {frame}: {len(got)} records, tshark {len(expect)}")
        for n, (e, g) in enumerate(zip(expect, got)):
            if e[:2] != g[:2]:
                out.add(f"frame {frame} record {n}: of template {g[0]}, tshark {e[0]}")
                break
            split(f"frame {frame} record {n}", e[2], g[2], tally, seen)
        waiting = sum(1 for s in theirs["sets"] if s.get("no_template"))
        if waiting and late[frame]:
            out.add(f"frame {frame}: {late[frame]} records once their template came, tshark none")
    return out | tally.lines()


def header(frame, theirs, ours, tally):
    pairs = [("v", "v"), ("seq", "seq"), ("domain", "domain"), ("uptime_ms", "uptime"), ("secs", "export_s"),
             ("nsecs", "export_ns"), ("count", "count"), ("msglen", "count"), ("len", "len"), ("src", "from")]
    for key, mine in pairs:
        value = ours[mine]
        if key == "src":
            value = value.replace("[", "").replace("]", "")
        if key in theirs and theirs[key] != value:
            tally.add(f"header {key}", f"frame {frame}: {ours[mine]}, tshark {theirs[key]}")
    if theirs["v"] == 5:
        engine, (mode, rate) = theirs["engine"], theirs["sampling"]
        if ours["domain"] != engine[0] * 256 + engine[1] or ours["sampling"] != mode * 16384 + rate:
            tally.add("header engine or sampling", f"frame {frame}: {ours['domain']}, {ours['sampling']}")


def legacy(frame, expect, got, out, tally, seen):
    if len(expect) != len(got):
        out.add(f"frame {frame}: {len(got)} records, tshark {len(expect)}")
    for n, (e, g) in enumerate(zip(expect, got)):
        for name, show in e.items():
            if name in corpus.LEGACY:
                field = g.by_id[corpus.LEGACY[name], 0][0]
                seen["values"] += 1
                # tshark counts the time from boot on as seconds, and shows 2^32 ms less 1 for -1.
                if not same_value(field, f"cflow.{name}", show):
                    tally.add(name, f"frame {frame} record {n}: {field.value}, tshark {show}")


def split(where, expect, got, tally, seen):
    mine, other = [[f.id, f.pen, f.len, f.hex] for f in got], [f[:4] for f in expect]
    seen["fields"] += len(mine)
    if mine != other:
        tally.add("fields", where)
        return
    for e, g in zip(expect, got):
        same = same_value(g, e[4], e[5]) if e[4] and len(e) == 6 else None
        seen["values" if same is not None else "octets only"] += 1
        if same is False:
            tally.add(f"value of {g.name}", f"{where}: {g.value!r}, tshark {e[5]!r}")
