"""Flows as tables: a decoder of one's own, captures and archives, as rows of Python objects or as Arrow data.

Whatever has flows gives them in the same columns, those that ``weir fields`` lists:

>>> import netflow
>>> decoder = netflow.Decoder()
>>> decoder.feed(datagram, client=("192.0.2.1", 2055))
>>> decoder.batch().dicts(["src_addr", "dst_addr", "bytes"])
[{'src_addr': '10.0.0.1', 'dst_addr': '10.0.0.2', 'bytes': 4711}]

>>> for batch in netflow.open_capture("exports.pcap"):
...     print(len(batch), batch.columns)

>>> archive = netflow.open_archive("archive")
>>> talkers = archive.query("proto tcp", by=["src_addr"], order="bytes", limit=10)
>>> talkers.table()              # pyarrow.Table
>>> list(talkers.tuples())       # or without pyarrow
>>> duckdb.sql("select * from talkers")

Nothing here needs pyarrow but the methods ``arrow`` and ``table``. Batches and results have the Arrow PyCapsule interface
(``__arrow_c_array__``, ``__arrow_c_stream__``): pyarrow, DuckDB, polars and pandas take them without copying values.

Decoding, reading and filtering happen without the GIL.
"""
from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import (TYPE_CHECKING, Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple,
                    TypeVar, Union)

from . import _weir
from ._weir import Batch
from .utils import MalformedPacket

if TYPE_CHECKING:
    import pyarrow
    from typing import Literal

    Times = Literal["datetime", "int"]
    Scope = Literal["address", "port"]
    Transport = Literal["udp", "stream", "file"]

__all__ = ["Archive", "Batch", "Capture", "Decoder", "ExporterState", "Field", "Result", "StreamState", "TemplateField",
           "TemplateState", "open_archive", "open_capture"]

Path = Union[str, "os.PathLike[str]"]
Moment = Union[datetime, str, None]
_Self = TypeVar("_Self", bound="_Rows")
_Decoder = TypeVar("_Decoder", bound="Decoder")

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

# Limits of a decoder in the order in which the C part takes them, and whether they have 32 bits alone.
_LIMITS = (("max_exporters", False), ("max_streams", False), ("max_exporter_streams", False), ("max_templates", False),
           ("max_fields", False), ("max_state_octets", False), ("max_waiting_octets", False),
           ("max_waiting_total", False), ("waiting_s", True), ("template_life_s", True), ("idle_s", True),
           ("max_depth", True), ("max_list_items", True))
_TRANSPORTS = ("udp", "stream", "file")


class Field(NamedTuple):
    """A column: its name, and its type as pyarrow names it ("uint64", "timestamp[us, tz=UTC]", "string")."""

    name: str
    type: str


class TemplateField(NamedTuple):
    """A field of a template."""

    name: str  #: registry name of the element, "octetDeltaCount"
    pen: int  #: private enterprise number, 0: IANA or NetFlow v9
    id: int  #: number of the element
    type: str  #: abstract data type, "unsigned64"
    length: int  #: octets, 65535: variable
    scope: bool  #: of an options template: what the record is about


@dataclass(frozen=True)
class TemplateState:
    """A template in force."""

    id: int
    options: bool  #: describes options records
    variable: bool  #: has a field of variable length
    learnt: datetime  #: arrival of the packet that defined it
    seen: datetime  #: arrival of the packet that last repeated it
    port: int  #: source port of the last definition
    fields: Tuple[TemplateField, ...]


@dataclass(frozen=True)
class StreamState:
    """One observation domain (v9: source id, v5: engine) of an exporter; with scope "port" one of its ports."""

    version: int  #: 1, 5, 7, 9, or 10 for IPFIX
    domain: int
    port: int  #: of the last packet
    first: datetime  #: arrival of the first and last packet
    last: datetime
    clock_skew: timedelta  #: export time minus arrival of the last packet
    uptime_ms: int  #: sysUptime of the last packet, 0 for IPFIX
    sampling_rate: float  #: packets seen for one counted; 0: unknown, or each record has its own
    sampling_origin: str  #: "unknown", "header", "record", "options" or "configured"
    sequence_unit: str  #: what sequence numbers count: "flows", "packets", "records", "none", or "" (v1)
    sequence_numbering: str  #: how they do: "standard", or what was found instead of it
    counters: Dict[str, Any]  #: as Decoder.counters
    exported: Dict[str, Optional[int]]  #: what the exporter says of itself; None: it has not said
    templates: Tuple[TemplateState, ...]


@dataclass(frozen=True)
class ExporterState:
    """What a decoder knows of one exporter."""

    address: str  #: "192.0.2.1"
    scope: Scope  #: whether templates are its, or those of each of its ports
    quirks: Tuple[str, ...]  #: those that are switched on
    first: datetime  #: arrival of the first and last packet
    last: datetime
    counters: Dict[str, Any]  #: as Decoder.counters
    streams: Tuple[StreamState, ...]


def _moment(ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=ns // 1000)


def _options(scope: str, limits: Optional[Mapping[str, int]]) -> Tuple[int, ...]:
    """The options of a decoder as the C part takes them."""
    given = dict(limits or {})
    values = []
    for name, small in _LIMITS:
        value = given.pop(name, 0)
        if not 0 <= value < (1 << 32 if small else 1 << 62):
            raise ValueError(f"limit {name}: {value} is outside its range")
        values.append(value)
    if given:
        raise ValueError(f"no such limit: {', '.join(sorted(given))}; there are {', '.join(n for n, _ in _LIMITS)}")
    return (_scope(scope), *values)


def _scope(scope: str) -> int:
    if scope not in ("address", "port"):
        raise ValueError(f'scope is "address" or "port", not {scope!r}')
    return int(scope == "port")


def _paths(paths: Optional[Iterable[Path]]) -> Optional[List[str]]:
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    return None if paths is None else [os.fspath(path) for path in paths]


def _template(raw: Dict[str, Any]) -> TemplateState:
    scope = raw["n_scope"]
    return TemplateState(
        id=raw["id"], options=raw["options"], variable=raw["variable"], learnt=_moment(raw["learnt_ns"]),
        seen=_moment(raw["seen_ns"]), port=raw["port"],
        fields=tuple(TemplateField(name, pen, number, kind, length, i < scope)
                     for i, (name, pen, number, kind, length) in enumerate(raw["fields"])))


def _stream(raw: Dict[str, Any]) -> StreamState:
    said = ("exported_messages", "exported_flows", "exported_octets", "ignored_packets", "ignored_octets",
            "not_sent_flows", "not_sent_packets", "not_sent_octets")
    return StreamState(
        version=raw["version"], domain=raw["domain"], port=raw["port"], first=_moment(raw["first_ns"]),
        last=_moment(raw["last_ns"]), clock_skew=timedelta(microseconds=raw["clock_skew_ns"] // 1000),
        uptime_ms=raw["uptime_ms"], sampling_rate=raw["sampling_rate"], sampling_origin=raw["sampling_origin"],
        sequence_unit=raw["sequence_unit"], sequence_numbering=raw["sequence_numbering"], counters=raw["counters"],
        exported={name: None if raw[name] < 0 else raw[name] for name in said},
        templates=tuple(map(_template, raw["templates"])))


class Decoder(_weir.Decoder):
    """Export packets in, flows out: NetFlow v1, v5, v7, v9 and IPFIX of any number of exporters.

    A decoder keeps what exporters have said (templates, sampling rates, sequence numbers) for each of them; what it can be
    made to keep has a limit. Any number of threads may use one decoder; its work is done without the GIL, one packet after
    the other. Rows are kept until :meth:`batch` takes them, so take them often enough.

    columns: names as in ``weir fields`` or of elements without a column of their own; without it a batch has the columns
    that some of its flows have a value for, and loses nothing of what was sent.
    options: keep options records too, see :meth:`options_batch`.
    strict: a packet that is malformed, or has a malformed part, raises :class:`netflow.utils.MalformedPacket`; else it is
    counted, and what can be read of it is read.
    scope: over UDP, whose templates are whose: the exporter's "address", or its address and source "port".
    transport: "udp"; "stream" for messages of a TCP connection, "file" for those of an IPFIX file: there exporters may
    withdraw templates.
    limits: of what is kept, by name: max_exporters, max_streams, max_exporter_streams, max_templates, max_fields,
    max_state_octets, max_waiting_octets, max_waiting_total, waiting_s (how long data waits for its template),
    template_life_s (templates that are not repeated expire; 0: never), idle_s, max_depth, max_list_items.
    elements: files of further elements, tab-separated as the project's registry has them.

    ValueError: no such column or limit, a wrong file of elements; OSError: a file cannot be read.
    """

    def __new__(cls: "type[_Decoder]", *, columns: Optional[Sequence[str]] = None, options: bool = False,
                strict: bool = False, scope: Scope = "address", transport: Transport = "udp",
                limits: Optional[Mapping[str, int]] = None, elements: Optional[Iterable[Path]] = None) -> _Decoder:
        if transport not in _TRANSPORTS:
            raise ValueError(f"transport is one of {', '.join(_TRANSPORTS)}, not {transport!r}")
        decoder: _Decoder = super().__new__(cls, _options(scope, limits), columns, _paths(elements), options,
                                            MalformedPacket if strict else None, _TRANSPORTS.index(transport))
        return decoder

    @property
    def counters(self) -> Dict[str, Any]:
        """What was counted since the start, over all exporters.

        Among them packets, octets, decoded, waiting, expired, records, flows, options, templates, sequence_lost,
        sequence_duplicated, and as dicts by reason "rejected" (packets) and "faults" (parts of packets).
        packets = decoded + waiting + expired + all rejected; records = flows + options + records_rejected.
        """
        counters: Dict[str, Any] = json.loads(self._counters_json())
        return counters

    def exporters(self, templates: bool = True) -> List[ExporterState]:
        """The exporters with their domains, counters and, unless templates is False, their templates, as they are now."""
        bits = _weir.quirks()
        return [ExporterState(address=raw["address"], scope="port" if raw["per_port"] else "address",
                              quirks=tuple(name for name, bit in bits.items() if raw["quirks"] & bit),
                              first=_moment(raw["first_ns"]), last=_moment(raw["last_ns"]), counters=raw["counters"],
                              streams=tuple(map(_stream, raw["streams"])))
                for raw in json.loads(self._exporters_json(templates))]

    def set_scope(self, exporter: str, scope: Scope) -> None:
        """Whose templates are whose at this exporter: its "address", or each source "port" of it."""
        self._set_scope(exporter, _scope(scope))

    def set_quirks(self, exporter: str, quirks: Iterable[str]) -> None:
        """Switch on how an exporter is known to misbehave, by names as in registry/quirks.tsv, and all else off.

        "uptime-seconds", "export-time-fixed", "record-time-broken", "skip-bad-templates". ValueError: no such quirk.
        """
        bits, known = 0, _weir.quirks()
        for name in [quirks] if isinstance(quirks, str) else quirks:
            if name not in known:
                raise ValueError(f"no quirk is named {name!r}: there are {', '.join(known)}")
            bits |= known[name]
        self._set_quirks(exporter, bits)


class _Rows:
    """Rows that are read batch by batch. Whoever iterates, or takes an Arrow stream, gets all of them from the start."""

    def __init__(self) -> None:
        self._closed = False
        self._last: Optional[_weir.Stream] = None
        # At most one that nobody has read from, or an Arrow stream that was exported: a consumer that only wanted to see the
        # schema has left it as it was.
        self._spare = [self._open()]

    def _open(self) -> _weir.Stream:
        raise NotImplementedError

    def _fresh(self) -> _weir.Stream:
        """A stream from the first row, of the caller alone."""
        if self._closed:
            raise ValueError("the rows are closed")
        try:
            spare = self._spare.pop()
        except IndexError:
            return self._open()
        return spare if spare.fresh else self._open()

    def _take(self) -> _weir.Stream:
        """The same, to be read."""
        self._last = self._fresh()
        return self._last

    def __iter__(self) -> Iterator[Batch]:
        """The rows as batches, one after the other."""
        return self._take()

    def __arrow_c_schema__(self) -> object:
        """The schema as a capsule of the Arrow PyCapsule interface."""
        stream = self._fresh()
        self._spare.append(stream)
        return stream.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Optional[object] = None) -> object:
        """All rows as a capsule of the Arrow PyCapsule interface; values are not copied, nor cast."""
        stream = self._take()
        capsule = stream.__arrow_c_stream__(requested_schema)
        self._spare.append(stream)
        return capsule

    @property
    def fields(self) -> List[Field]:
        """The columns and their types."""
        stream = self._fresh()
        self._spare.append(stream)
        return [Field(*field) for field in stream.fields]

    @property
    def columns(self) -> Tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(field.name for field in self.fields)

    def dicts(self, columns: Optional[Sequence[str]] = None, *, times: Times = "datetime",
              nulls: bool = True) -> Iterator[Dict[str, Any]]:
        """One row after the other as {column: value}; see Batch.dicts."""
        for batch in self:
            yield from batch.dicts(columns, times=times, nulls=nulls)

    def tuples(self, columns: Optional[Sequence[str]] = None, *,
               times: Times = "datetime") -> Iterator[Tuple[Any, ...]]:
        """One row after the other as a tuple; see Batch.tuples."""
        for batch in self:
            yield from batch.tuples(columns, times=times)

    def arrow(self) -> "pyarrow.RecordBatchReader":
        """All rows as pyarrow.RecordBatchReader, which reads as it is read, without a copy.

        ImportError without pyarrow (15 or later)."""
        import pyarrow
        return pyarrow.RecordBatchReader.from_stream(self)

    def table(self) -> "pyarrow.Table":
        """All rows as pyarrow.Table, in memory."""
        return self.arrow().read_all()

    def close(self) -> None:
        """End the reading and free what it needs. Arrow streams that were handed out, and iterators before the last one, go on
        until they are released."""
        self._closed = True
        for stream in (*self._spare, self._last):
            if stream is not None:
                stream.close()
        self._spare.clear()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Capture(_Rows):
    """The records of a capture, made by :func:`open_capture`. Each iteration reads it from the start."""

    def __init__(self, path: Path, arguments: Tuple[Any, ...]) -> None:
        self._path, self._arguments, self._opened = path, arguments, False
        super().__init__()

    def _open(self) -> _weir.Stream:
        if self._opened and self._path == "-":
            raise ValueError("standard input can be read once only")
        try:
            stream = _weir.open_capture(self._path, *self._arguments)
        except OSError:
            if self._path != "-":
                with open(self._path, "rb"):  # says more exactly what is wrong with a file that cannot be opened
                    pass
            raise
        self._opened = True
        return stream

    @property
    def counters(self) -> Dict[str, Any]:
        """What the last iteration has met up to now: frames, packets, damaged (frames that could not be read), lost (records
        without memory for their row) and as "decoder" what Decoder.counters has."""
        if self._closed:
            raise ValueError("the capture is closed")
        stream = self._last
        if stream is None:
            stream = self._fresh()
            self._spare.append(stream)
        counters: Dict[str, Any] = json.loads(stream.counts())
        return counters

    def __repr__(self) -> str:
        return f"<netflow.Capture {os.fspath(self._path)!r}>"


def open_capture(path: Path, columns: Optional[Sequence[str]] = None, *, options: bool = False, batch_rows: int = 65536,
                 port: int = 0, scope: Scope = "address", limits: Optional[Mapping[str, int]] = None,
                 elements: Optional[Iterable[Path]] = None) -> Capture:
    """The flows of a capture: pcap, pcapng, IPFIX file, one raw payload or hex text; gzip and bzip2 are opened, "-" is standard
    input.

    What is damaged is passed over and counted. Flows come in the order of the packets on the wire, those that wait for their
    template behind the packet that brings it.

    columns: names as in ``weir fields``, or of elements that have no column of their own; without it all columns of the
    table, and none of elements beside them.
    options: the options records instead of the flows.
    batch_rows: flows of a batch, for which that of a pipe waits too. port: the UDP destination port that counts, 0: whatever
    looks like exports.
    scope, limits, elements: as of :class:`Decoder`.

    FileNotFoundError, OSError: it cannot be read; ValueError: no such column, or a form of capture that nobody knows.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"port: {port} is outside 0 to 65535")
    if not 0 < batch_rows <= 1 << 24:
        raise ValueError(f"batch_rows: {batch_rows} is outside 1 to {1 << 24}")
    names = None if columns is None else _names(columns)
    return Capture(path, (names, options, batch_rows, port, _options(scope, limits), _paths(elements)))


def _names(columns: Sequence[str]) -> List[str]:
    if isinstance(columns, str):
        raise TypeError("columns is a sequence of names, not one str")
    return list(columns)


def _words(words: Union[str, Iterable[str], None]) -> Optional[str]:
    """Names as a list in one text, as `weir query` takes them."""
    if words is None or isinstance(words, str):
        return words
    return ",".join(words)


def _window(window: Union[str, Tuple[Moment, Moment], None]) -> Optional[str]:
    """A window of time as `weir query -t` takes it."""
    if window is None or isinstance(window, str):
        return window
    begin, end = window
    if begin is None and end is None:
        return None
    return "-".join(
        moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
        if isinstance(moment, datetime) else moment or "" for moment in (begin, end))


class Result(_Rows):
    """The answer to a question, made by :meth:`Archive.query`.

    It is worked out on other threads while it is read. Each iteration, and each Arrow stream, asks the question anew and has all of
    its rows."""

    def __init__(self, arguments: Tuple[Any, ...]) -> None:
        self._arguments = arguments
        super().__init__()

    def _open(self) -> _weir.Stream:
        return _weir.open_query(*self._arguments)

    @property
    def summary(self) -> Dict[str, Any]:
        """What was read and how complete it is, as ``weir query -o json`` says it, once all rows have been read.

        ValueError: the last iteration has not come to its end."""
        if self._last is None or self._closed:
            raise ValueError("the summary comes with the last row: read them all")
        summary: Dict[str, Any] = json.loads(self._last.summary())["summary"]
        return summary

    def __repr__(self) -> str:
        return f"<netflow.Result of {self._arguments[1] or 'any'!r}>"


class Archive:
    """An archive of flows, made by :func:`open_archive`."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = tuple(paths)
        self._fields = self.query(limit=1).fields

    def fields(self) -> List[Field]:
        """The columns of flows and their types; ``weir fields`` says what they mean. Elements without a column of their own are
        asked for by their registry name."""
        return list(self._fields)

    def query(self, filter: Optional[str] = None, by: Union[str, Iterable[str], None] = None, order: Optional[str] = None,
              columns: Union[str, Iterable[str], None] = None,
              window: Union[str, Tuple[Moment, Moment], None] = None, limit: int = 0, raw: bool = False, *,
              threads: int = 0, memory: int = 0) -> Result:
        """Ask for flows, in the words of ``weir query``.

        filter: nfdump's filter language, "dst port 53 and bytes > 1k"; None: all flows.
        by: group by these fields, ["src_addr", "dst_port"]; rows are then groups with their counters.
        order: "bytes", "first", ...; with ":a" behind it rising, ":d" falling.
        columns: fields of the answer, unless by is given; None: all columns.
        window: flows that were alive then: "2026-11-22T21:00Z-2026-11-22T22:00Z", "-1h", or a pair of datetime, text or None.
        limit: rows of the answer, 0: all.
        raw: counters as they were sent, not multiplied by the sampling rate.
        threads, memory: cores, and octets for groups and sorting; 0: all cores, a quarter of the memory.

        ValueError: the filter, a name or the window is wrong, and where; FileNotFoundError: nothing to read; OSError.
        """
        for name, value, end in (("limit", limit, 1 << 63), ("threads", threads, 1 << 16), ("memory", memory, 1 << 62)):
            if not 0 <= value < end:
                raise ValueError(f"{name}: {value} is outside its range")
        return Result((self.paths, filter, _window(window), _words(columns), _words(by), order, limit, raw, threads,
                       memory))

    def __repr__(self) -> str:
        return f"<netflow.Archive {', '.join(self.paths)}>"


def open_archive(path: Union[Path, Iterable[Path]]) -> Archive:
    """An archive that ``weir collect`` writes, a directory of Parquet files, or a file; or several of them.

    FileNotFoundError: there is nothing to read.
    """
    paths = _paths(path)  # type: ignore[arg-type]
    if not paths:
        raise ValueError("no path is given")
    return Archive(paths)
