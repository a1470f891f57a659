"""What an archive and its ledger say, for the tests that hold one against the other."""
import json
import os
import socket
import subprocess

from collector import DEADLINE_S, WEIR

ENV = {**os.environ, "TZ": "UTC", "LC_ALL": "C.UTF-8"}


def weir(*args, status=0):
    r = subprocess.run([WEIR, *map(str, args)], capture_output=True, text=True, timeout=DEADLINE_S * 2, check=False, env=ENV)
    if status is not None and r.returncode != status:
        raise AssertionError(f"weir {args}: exit status {r.returncode}: {r.stderr}{r.stdout[:400]}")
    return r


def collector_of(archive):
    """The collector's own sums."""
    return json.loads(weir("exporters", "-R", archive, "-o", "json").stdout)["collector"]


def streams_of(archive):
    """Every stream of the ledger: {(exporter, domain, version): sums}. Domain and version None: never known."""
    rows = json.loads(weir("exporters", "-R", archive, "-o", "json", "--by", "domain").stdout)["exporters"]
    out = {}
    for r in rows:
        key = r["exporter"], r["domain"], r["versions"][0] if r["versions"] else None
        assert key not in out, (key, r)
        out[key] = r
    return out


SUMS = ("packets", "octets", "decoded", "waiting", "expired", "packets_rejected", "flows", "options", "records_rejected",
        "flows_lost", "packets_dropped", "packets_refused", "sequence_lost", "duplicates", "out_of_order")


def exporters_of(archive):
    """The same by exporter: {exporter: sums}."""
    out = {}
    for (exporter, _, _), r in streams_of(archive).items():
        sums = out.setdefault(exporter, dict.fromkeys(SUMS, 0))
        for name in SUMS:
            sums[name] += r[name]
    return out


def stored(archive):
    """Flows that a query finds: {exporter: number}."""
    lines = weir("query", "-R", archive, "-q", "-s", "router", "-n", "0", "-o", "ndjson").stdout.splitlines()
    return {r["router"]: r["flows"] for r in map(json.loads, lines)}


def completeness(archive, *args):
    """What a query says of itself."""
    r = weir("query", "-R", archive, "-o", "null", "--summary", "json", *args)
    return json.loads((r.stderr or r.stdout).splitlines()[-1])["summary"]["completeness"]


def findings(archive):
    """What the doctor says: {id: [finding, ...]}. A warning among them is exit status 1."""
    out = {}
    for f in json.loads(weir("doctor", "-R", archive, "-o", "json", status=None).stdout)["findings"]:
        out.setdefault(f["id"], []).append(f)
    return out


def check_laws(test, archive):
    """The laws of docs/ledger.md, for every stream; returns the exporters' sums."""
    for key, r in streams_of(archive).items():
        test.assertEqual(r["packets"], r["decoded"] + r["waiting"] + r["expired"] + r["packets_rejected"], (key, r))
    sums, rows = exporters_of(archive), stored(archive)
    test.assertEqual({e: s["flows"] - s["flows_lost"] for e, s in sums.items() if s["flows"] != s["flows_lost"]}, rows)
    return sums


def gen(port, *args):
    """Send made-up exports; the truth about them."""
    r = subprocess.run([WEIR, "gen", "-q", *map(str, args), "--truth", "-", f"127.0.0.1:{port}"], capture_output=True,
                       text=True, timeout=DEADLINE_S * 2, check=False)
    if r.returncode:
        raise AssertionError(f"weir gen {args}: exit status {r.returncode}: {r.stderr}")
    return truth(r.stdout)


class Sender:
    """The same beside other things."""

    def __init__(self, port, *args):
        self.process = subprocess.Popen([WEIR, "gen", "-q", *map(str, args), "--truth", "-", f"127.0.0.1:{port}"],
                                        stdout=subprocess.PIPE, text=True)

    def sends(self):
        return self.process.poll() is None

    def end(self):
        out, _ = self.process.communicate(timeout=DEADLINE_S * 2)
        if self.process.returncode:
            raise AssertionError(f"weir gen: exit status {self.process.returncode}")
        return truth(out)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.sends():
            self.process.kill()
        self.process.wait(DEADLINE_S)
        self.process.stdout.close()


def truth(text):
    t = json.loads(text)
    t["of"] = {e["address"]: e for e in t["exporters"]}
    return t


def free_port():
    """A port that nobody has, for a collector that comes back to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def exporter_socket(address, port=0):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, port))
    return s
