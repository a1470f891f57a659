"""A running `weir collect` for a test: started on port 0, watched through its stderr, asked by signals. Nothing
here sleeps: every wait is for something that the collector says or writes, with a deadline."""
import gzip
import json
import os
import queue
import re
import signal
import socket
import subprocess
import threading
import time
import unittest

DEADLINE_S = 30
WEIR = os.environ.get("WEIR", os.path.join(os.path.dirname(__file__), "../../build/weir"))


class Collector:
    def __init__(self, *args, host="127.0.0.1", cwd=None, preexec=None, env=None, stdout=subprocess.DEVNULL,
                 ready=True):
        where = () if host is None else ("--host", host, "--port", "0")
        self.process = subprocess.Popen(
            [WEIR, "collect", *where, "--stats-interval", "0", "--stats-format", "json", *map(str, args)],
            stderr=subprocess.PIPE, stdout=stdout, cwd=cwd, preexec_fn=preexec, text=True,
            env={**os.environ, **(env or {})})
        self.said = []  # words of stderr
        self.stats_said = []  # its JSON
        self.words, self.jsons = queue.Queue(), queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.ports = []
        if ready:
            text = self.wait_for(r": (listening on|reading) .*, writing ")
            self.ports = [int(p) for p in re.findall(r":(\d+)(?=, )", text)]

    def _read(self):
        for line in self.process.stderr:
            said, lines = (self.stats_said, self.jsons) if line[0] == "{" else (self.said, self.words)
            said.append(line)
            lines.put(line)
        self.words.put(None)
        self.jsons.put(None)

    def _next(self, lines, what, wanted):
        end = time.monotonic() + DEADLINE_S
        while True:
            try:
                line = lines.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {what} in {DEADLINE_S} s: {self.said}") from None
            if line is None:
                raise AssertionError(f"ended before {what}: {self.said}")
            if wanted(line):
                return line

    def wait_for(self, pattern):
        """The next line of words that matches."""
        return self._next(self.words, f"line like {pattern!r}", lambda line: re.search(pattern, line))

    def stats(self):
        self.process.send_signal(signal.SIGUSR1)
        return check_laws(json.loads(self._next(self.jsons, "accounting", lambda line: True)))

    def until(self, what, condition):
        """Ask for the accounting until condition(stats) holds; returns those stats."""
        end = time.monotonic() + DEADLINE_S
        while True:
            s = self.stats()
            if condition(s):
                return s
            if time.monotonic() > end:
                raise AssertionError(f"not in {DEADLINE_S} s: {what}: {brief(s)}: {self.said}")

    def decoded(self, n):
        return self.until(f"{n} packets decoded", lambda s: s["decode"]["packets"] >= n)

    def written(self, n):
        return self.until(f"{n} packets written", lambda s: s["output"]["packets_written"] >= n)

    def send(self, *payloads, port=None, host="127.0.0.1", sock=None):
        s = sock or socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            for p in payloads:
                s.sendto(p, (host, port or self.ports[0]))
        finally:
            if not sock:
                s.close()

    def stop(self, how=signal.SIGTERM, status=0):
        """End it; the final accounting. status: the exit status that it must have."""
        self.process.send_signal(how)
        return self.end(status)

    def end(self, status=0):
        got = self.process.wait(DEADLINE_S)
        self.reader.join(DEADLINE_S)
        if got != status:
            raise AssertionError(f"exit status {got}, expected {status}: {self.said}")
        return check_laws(json.loads(self.stats_said[-1])) if self.stats_said else None

    def kill(self):
        """As a power failure would."""
        self.process.kill()
        self.process.wait(DEADLINE_S)
        self.reader.join(DEADLINE_S)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.kill()
        self.reader.join(DEADLINE_S)
        self.process.stderr.close()


def brief(s):
    """The counters that are not 0."""
    return {room: {k: v for k, v in s[room].items() if v} for room in ("receive", "decode", "output")}


def _law(what, left, right):
    if left != right:
        raise AssertionError(f"the accounting does not balance: {what}: {left} != {right}")


def _laws_of(who, c):
    _law(f"{who}: packets = decoded + waiting + expired + rejected", c["packets"],
         c["decoded"] + c["waiting"] + c["expired"] + sum(c["rejected"].values()))
    _law(f"{who}: records = flows + options + rejected", c["records"],
         c["flows"] + c["options"] + c["records_rejected"])


def check_laws(s):
    """The conservation laws, in total, per exporter and per stream; returns s."""
    r, d, o = s["receive"], s["decode"], s["output"]
    _law("datagrams = refused + dropped + queued + fed", r["datagrams"],
         r["refused"] + r["dropped"] + r["queued"] + r["fed"])
    if r["sockets"]:
        _law("datagrams of all sockets", r["datagrams"], sum(k["datagrams"] for k in r["sockets"]))
        _law("kernel drops of all sockets", r["kernel_drops"], sum(k["kernel_drops"] for k in r["sockets"]))
    _law("fed = packets", r["fed"], d["packets"])
    _laws_of("total", d)
    for e in s["exporters"]:
        _laws_of(e["exporter"], e)
        for stream in e["streams"]:
            _laws_of(f"{e['exporter']} domain {stream['domain']}", stream)
        for name in ("packets", "decoded", "waiting", "expired", "records", "flows", "options"):
            if sum(k[name] for k in e["streams"]) > e[name]:
                raise AssertionError(f"{e['exporter']}: its streams have more {name} than itself")
    for name in ("packets", "decoded", "waiting", "expired", "records", "flows", "options"):
        if sum(e[name] for e in s["exporters"]) > d[name]:
            raise AssertionError(f"all exporters have more {name} than the total")
    for unit in ("packets", "records"):
        _law(f"{unit} rendered = written + queued + lost", o[unit],
             o[f"{unit}_written"] + o[f"{unit}_queued"] + o[f"{unit}_lost"])
    if o["archive"]:
        _law("rows = flows + options", o["records"], d["flows"] + d["options"])
    elif not o["split"] and not o["unrendered"]:
        _law("lines = packets decoded + expired", o["packets"], d["decoded"] + d["expired"])
    return s


def lines_of(path):
    """Every line of a gzip file as JSON; gzip or JSON that is not whole is an error."""
    with gzip.open(path, "rt", encoding="ascii") as f:
        return [json.loads(line) for line in f]


def packets_of(path):
    """(header, flows) of every line."""
    return [(p["header"], p["flows"]) for line in lines_of(path) for p in line.values()]


class CollectorTest(unittest.TestCase):
    """A test with a directory of its own."""

    def setUp(self):
        import tempfile
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.dir = held.name

    def path(self, name):
        return os.path.join(self.dir, name)
