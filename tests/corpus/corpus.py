"""The cases of the flow-export corpus, what corpus_dump makes of them, and the list of known differences.

The captures are other people's data: they are read where they are, ../shared/corpus beside the repository or the
folder that WEIR_CORPUS names, and never copied.
"""
import collections
import functools
import ipaddress
import json
import os
import pathlib
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CORPUS = pathlib.Path(os.environ.get("WEIR_CORPUS") or ROOT.parent / "shared" / "corpus")

# Legacy records are read through built-in templates: their field names at the oracles -> element.
LEGACY = {"srcaddr": 8, "dstaddr": 12, "nexthop": 15, "inputint": 10, "outputint": 14, "packets": 2, "octets": 1,
          "timestart": 22, "timeend": 21, "srcport": 7, "dstport": 11, "tcpflags": 6, "protocol": 4, "tos": 5,
          "srcas": 16, "dstas": 17, "srcmask": 9, "dstmask": 13}


def path(name):
    return CORPUS / name


def present():
    return path("cases.jsonl").is_file()


@functools.lru_cache(maxsize=None)
def cases():
    with open(path("cases.jsonl"), encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def lines(name):
    """The objects of a JSON lines file of the corpus."""
    with open(path(name), encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]


class Field(collections.namedtuple("Field", "id pen len hex name kind value v9_name")):
    """One field of a record. value: what weir_value_read made of it, None for octets."""

    @property
    def number(self):
        return self.id, self.pen


class Record:
    def __init__(self, d):
        self.frame, self.template, self.options, self.n_scope = d["f"], d["tpl"], d["options"], d["scope"]
        self.late, self.first, self.last, self.time_flags = d["late"], d["first"], d["last"], d["time_flags"]
        self.rate, self.origin = d["rate"], d["origin"]
        self.fields = [Field(*f) for f in d["fields"]]
        self.by_id = {}
        for i, f in enumerate(self.fields):
            if not (self.options and i < self.n_scope):
                self.by_id.setdefault(f.number, []).append(f)

    def all(self, ie, pen=0):
        """The values of an element, as kinds number, text and address have them."""
        return [f.value for f in self.by_id.get((ie, pen), [])]

    def get(self, *ies):
        """The first value of the first of these elements that the record has, or None."""
        for ie in ies:
            number = ie if isinstance(ie, tuple) else (ie, 0)
            if number in self.by_id:
                return self.by_id[number][0].value
        return None

    def has(self, *ies):
        return any((ie if isinstance(ie, tuple) else (ie, 0)) in self.by_id for ie in ies)


class Dump:
    """What corpus_dump printed."""

    def __init__(self, events):
        self.packets, self.late, self.templates, self.records, self.faults, self.input = [], [], [], [], [], []
        self.streams = []
        self.capture = collections.Counter()
        for e in events:
            what = e.pop("e")
            if what == "record":
                self.records.append(Record(e))
            elif what == "capture":
                self.capture.update(e)
            elif what == "totals":
                self.totals = e
            else:
                {"packet": self.packets, "late": self.late, "template": self.templates, "fault": self.faults,
                 "input": self.input, "stream": self.streams}[what].append(e)
        self.definitions = [t for t in self.templates if t["event"] in ("learnt", "changed", "refreshed")]
        self.rejected = [p for p in self.packets if p["outcome"] == "rejected"]

    def flows(self):
        return [r for r in self.records if not r.options]


def dump(*args):
    exe = os.environ["WEIR_CORPUS_DUMP"]
    p = subprocess.run([exe, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if p.returncode or p.stderr:
        raise AssertionError(f"corpus_dump {' '.join(map(str, args))}: exit {p.returncode}: {p.stderr.decode()}")
    return Dump(json.loads(line) for line in p.stdout.splitlines())


@functools.lru_cache(maxsize=None)
def decode(case, *options):
    """The dump of a case by its name; templates belong to address and port, as in tshark."""
    c = next(c for c in cases() if c["case"] == case)
    return dump(*(options or ("--scope", "port")), path(c["pcap"]))


def same_address(a, b):
    try:
        return ipaddress.ip_address(a) == ipaddress.ip_address(b)
    except ValueError:
        return False


class Differences:
    """differences.tsv: where our result and an oracle's are not the same, who is right and why."""

    COLUMNS = ["case", "oracle", "difference", "right", "why"]

    def __init__(self):
        self.rows = {}
        with open(HERE / "differences.tsv", encoding="utf-8") as f:
            head = f.readline().rstrip("\n").split("\t")
            assert head == self.COLUMNS, head
            for number, line in enumerate(f, 2):
                cells = line.rstrip("\n").split("\t")
                if len(cells) != len(self.COLUMNS) or not all(cells):
                    raise AssertionError(f"differences.tsv:{number}: {len(cells)} cells, {len(self.COLUMNS)} needed")
                case, oracle, what = cells[:3]
                if cells[3] not in ("weir", "oracle", "both", "neither"):
                    raise AssertionError(f"differences.tsv:{number}: right is {cells[3]!r}")
                at = self.rows.setdefault((case, oracle), set())
                if what in at:
                    raise AssertionError(f"differences.tsv:{number}: a row twice")
                at.add(what)
        self.seen = set()

    def expected(self, case, oracle):
        self.seen.add((case, oracle))
        return self.rows.get((case, oracle), set())

    def unseen(self):
        return sorted(set(self.rows) - self.seen)


class Tally:
    """Unequal things of one comparison, told once for each kind with how many there were and the first of them."""

    def __init__(self):
        self.first, self.n = {}, collections.Counter()

    def add(self, what, example):
        self.n[what] += 1
        self.first.setdefault(what, example)

    def lines(self):
        return {f"{what}: {n} differ, first {self.first[what]}" for what, n in self.n.items()}
