"""The archive as a database sees it: one SQL statement over all its files gives what weir query gives, whatever hours,
templates and options they hold, before and after compaction."""
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

import readers

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
import packets as P  # noqa: E402

WEIR = os.environ["WEIR"]


def weir(*args):
    r = subprocess.run([WEIR, *map(str, args)], capture_output=True, text=True, timeout=120, check=False)
    if r.returncode:
        raise AssertionError(f"weir {args}: exit status {r.returncode}: {r.stderr}")
    return r.stdout


def capture(path):
    """Three hours of v5, v9 and IPFIX, options records and an element without a column of its own."""
    sent = []
    sequence = {5: 0, 9: 0, 10: 0}
    frames = []

    def frame(i, payload, host):
        frames.append((i * 37_000_000, P.ethernet_udp(f"192.0.2.{host}", 5000, "192.0.2.250", 2055, payload)))

    options = struct.pack("!HHHHHHHHH", 257, 4, 8, 1, 4, 34, 4, 35, 1)
    frame(0, P.v9(struct.pack("!HH", 1, 4 + len(options) + 2) + options + bytes(2), count=1), 9)
    frame(0, P.v9(struct.pack("!HHIIB", 257, 16, 0, 1, 2) + bytes(3), count=1, sequence=1), 9)
    frame(0, P.v9_template(sequence=2), 9)
    frame(0, P.ipfix_template(), 10)
    extra = P.FIELDS + ((459, 8),)  # httpRequestMethod, of eight octets
    frame(0, P.ipfix(P.template_set(2, template=300, fields=extra)), 10)
    sequence[9] = 3
    for i in range(1, 300):
        numbers = [i * 7, i * 7 + 1]
        kind = i % 4
        sent += [P.flow(n) for n in numbers]
        if kind == 0:
            frame(i, P.v5(numbers, sequence=sequence[5]), 5)
            sequence[5] += 2
        elif kind == 1:
            frame(i, P.v9_data(numbers, sequence=sequence[9]), 9)
            sequence[9] += 1
        elif kind == 2:
            frame(i, P.ipfix_data(numbers, sequence=sequence[10]), 10)
            sequence[10] += 2
        else:
            body = b"".join(P.record(n) + f"host{n % 9:04}".encode() for n in numbers)
            body += bytes(-len(body) % 4)
            frame(i, P.ipfix(struct.pack("!HH", 300, 4 + len(body)) + body, sequence=sequence[10]), 10)
            sequence[10] += 2
    with open(path, "wb") as f:
        f.write(P.pcap(frames))
    return sent


def check(what, got, want):
    if got != want:
        raise AssertionError(f"{what}:\n  got  {got}\n  want {want}")


def compare(duck, archive, sent):
    files = f"{archive}/**/*.parquet"
    sums = {}
    for flow in sent:
        sums[flow[0]] = sums.get(flow[0], 0) + flow[6]
    want = sorted(sums.items(), key=lambda kv: (-kv[1], kv[0]))
    top, rows, hosts, parts = duck(
        f"SELECT src_addr, sum(bytes) FROM '{files}' GROUP BY 1 ORDER BY 2 DESC, 1",
        f"SELECT src_addr, dst_addr, src_port, dst_port, proto, packets, bytes FROM '{files}' ORDER BY received, sequence",
        f"SELECT httpRequestMethod, count(*) FROM read_parquet('{files}', union_by_name = true) "
        "WHERE httpRequestMethod IS NOT NULL GROUP BY 1 ORDER BY 1",
        f"SELECT DISTINCT date, hour FROM '{files}' ORDER BY ALL")
    check("sums by source", [(a, int(b)) for a, b in top], want)
    check("flows", sorted(tuple(int(v) if i in (5, 6) else v for i, v in enumerate(row)) for row in rows), sorted(sent))
    check("hours", len(parts), 4)
    shown = [json.loads(line) for line in weir("query", "-R", archive, "-s", "srcip/bytes", "-n", "10", "-o",
                                               "ndjson:src_addr,bytes").splitlines()]
    check("weir query's top talkers", sorted(((r["src_addr"], r["bytes"]) for r in shown), key=lambda kv: (-kv[1], kv[0])),
          want[:10] if len({b for _, b in want[:11]}) == 11 else
          sorted(((r["src_addr"], sums[r["src_addr"]]) for r in shown), key=lambda kv: (-kv[1], kv[0])))
    check("their sums", [r["bytes"] for r in shown], [b for _, b in want[:10]])
    shown = [json.loads(line) for line in weir("query", "-R", archive, "-A", "httpRequestMethod", "-o",
                                               "ndjson:httpRequestMethod,n_flows", "httpRequestMethod present").splitlines()]
    check("the extra column", sorted((r["httpRequestMethod"], r["n_flows"]) for r in shown),
          sorted((h, int(n)) for h, n in hosts))


def main():
    duck = readers.duckdb()
    with tempfile.TemporaryDirectory() as folder:
        archive, path = f"{folder}/archive", f"{folder}/in.pcap"
        sent = capture(path)
        weir("collect", "-r", path, "-a", archive, "--stats-interval", "0")
        compare(duck, archive, sent)
        weir("archive", "compact", archive)
        check("files after compaction", len(list(pathlib.Path(archive).glob("flows/*/*/*"))), 4)
        compare(duck, archive, sent)
        weir("archive", "verify", archive)


main()
