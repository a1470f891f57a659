"""Receive export packets over UDP and parse them.

In a program::

    listener = ThreadedNetFlowListener("0.0.0.0", 2055)
    listener.start()
    try:
        while True:
            ts, client, export = listener.get()
            for flow in export.flows:
                print(client[0], flow.data)
    finally:
        listener.stop()
        listener.join()

or, until SIGTERM or SIGINT::

    for ts, client, export in get_export_packets("0.0.0.0", 2055):
        ...

On the command line ``python3 -m netflow.collector`` writes every packet as a line of JSON into a gzip file, which
``python3 -m netflow.analyzer`` reads.

How it works: a native thread takes packets off the socket, whatever Python does meanwhile; the thread of the listener
parses them and get() hands them out. Each of these stages has a limit. When get() is not called often enough the packets
wait, first parsed, then as octets, then in the kernel, which drops in the end; what was dropped is counted
(ThreadedNetFlowListener.stats) and logged.
"""
from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import os
import queue
import signal
import socket
import socketserver
import stat
import sys
import threading
import time
import zlib
from collections import OrderedDict
from typing import Any, Dict, Generator, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from netflow._weir import Receiver
from netflow.ipfix import IPFIXTemplateNotRecognized
from netflow.utils import UnknownExportVersion, parse_packet
from netflow.v9 import V9TemplateNotRecognized

__all__ = ["ListenerStats", "PACKET_TIMEOUT", "ParsedPacket", "QueuingRequestHandler", "QueuingUDPListener", "RawPacket",
           "ThreadedNetFlowListener", "get_export_packets", "logger"]


class RawPacket(NamedTuple):
    """A packet as it was received."""

    ts: float
    """Time of arrival, seconds since 1970."""
    client: Tuple[Any, ...]
    """Who sent it, as socket.recvfrom() says: (address, port), for IPv6 (address, port, flow info, scope id)."""
    data: bytes
    """The datagram."""


class ParsedPacket(NamedTuple):
    """A packet that was parsed."""

    ts: float
    """Time of arrival, seconds since 1970; no two packets of a listener have the same."""
    client: Tuple[Any, ...]
    """Who sent it, as socket.recvfrom() says."""
    export: Any
    """What netflow.parse_packet() made of it."""


class ListenerStats(NamedTuple):
    """What a listener has done so far, in packets.

    At any moment received = parsed + rejected + waiting + expired + those that are still to be looked at.
    """

    received: int
    """Taken from the socket (or put into listener.input)."""
    parsed: int
    """Parsed; get() has given them or will."""
    rejected: int
    """Malformed or of an unknown version."""
    waiting: int
    """Wait for a template, now."""
    expired: int
    """Waited for a template in vain: longer than PACKET_TIMEOUT, or until there was no room for more."""
    dropped: int
    """Never received: the kernel had no room, since packets came faster than they were taken by get()."""


PACKET_TIMEOUT = 60 * 60
"""How long a packet waits for its template, in seconds."""

MAX_EXPORTERS = 16384
"""Sources (domains of clients) whose templates are kept; the one silent for longest makes room for a new one."""

MAX_TEMPLATE_OCTETS = 256 << 20
"""Memory for all templates; the source that has been silent for longest loses its own."""

MAX_SOURCE_TEMPLATE_OCTETS = 16 << 20
"""Memory for the templates of one source; it loses them when it sends more."""

MAX_WAITING_OCTETS = 64 << 20
"""Memory for all packets that wait for templates; the oldest makes room for a new one."""

MAX_RECEIVED_OCTETS = 64 << 20
"""Memory for packets that were received and are not parsed yet."""

MAX_PARSED_PACKETS = 4096
"""Packets that were parsed and not taken by get() yet."""

RECEIVE_BUFFER_OCTETS = 16 << 20
"""What the kernel is asked for (net.core.rmem_max limits it for all but root)."""

_BATCH = 256  # packets parsed before they are handed over
_TICK = 0.5  # seconds: what is done now and then is done this often
_LOSS_EVERY = 10.0  # seconds between two messages about dropped packets
_COMPLAINTS = 20  # messages about bad packets within that time; more are only counted
_WAITING_OVERHEAD = 512  # octets that a waiting packet costs beside its own
_SOURCE_OCTETS = 20_000  # of memory that a source takes without its templates,
_FIELD_OCTETS = 100  # of memory that a field of a template takes
_RETRY_FREE = 0.005  # seconds: looking again at packets that wait may take so long at any time,
_RETRY_SHARE = 10  # beyond that one part in so many of the time

logger = logging.getLogger("netflow-collector")
formatter = logging.Formatter("%(asctime)s - %(levelname)s - %(message)s")
ch = logging.StreamHandler()
ch.setFormatter(formatter)


class QueuingRequestHandler(socketserver.BaseRequestHandler):
    """Puts every datagram of a QueuingUDPListener into its queue as a RawPacket."""

    def handle(self) -> None:
        """Put the datagram into the queue."""
        data = self.request[0]
        self.server.queue.put(RawPacket(time.time(), self.client_address, data))  # type: ignore[attr-defined]
        logger.debug("Received %d bytes of data from %s", len(data), self.client_address)


class QueuingUDPListener(socketserver.UDPServer):
    """A UDP server that puts a RawPacket into a queue for every datagram, in the order of arrival.

    :param interface: (address, port) to listen on; an address with a colon is an IPv6 address.
    :param queue: anything that has put().
    """

    max_packet_size = 65535

    def __init__(self, interface: Tuple[str, int], queue: Any) -> None:
        self.queue = queue
        if ":" in interface[0]:
            self.address_family = socket.AF_INET6
        super().__init__(interface, QueuingRequestHandler)


class _Server(QueuingUDPListener):
    """The socket of a listener; packets are received by a Receiver instead of serve_forever()."""

    receiver: Optional[Receiver] = None

    def __init__(self, interface: Tuple[str, int], packets: _Input) -> None:
        super().__init__(interface, packets)
        self.receiver = packets.receiver = Receiver(self.socket, MAX_RECEIVED_OCTETS, RECEIVE_BUFFER_OCTETS)

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        raise RuntimeError("a listener receives by itself: call its start()")

    def shutdown(self) -> None:
        if self.receiver is not None:
            self.receiver.stop()

    def server_close(self) -> None:
        super().server_close()
        if self.receiver is not None:
            self.receiver.close()


class _Input(queue.Queue):
    """Packets to be parsed: what is put here comes before what was received."""

    receiver: Receiver

    def put(self, item: RawPacket, block: bool = True, timeout: Optional[float] = None) -> None:
        ts, client, data = item  # what is none is the caller's to know, not the thread's that parses
        hash(client)
        if not (isinstance(ts, (int, float)) and isinstance(client, tuple) and client
                and isinstance(data, (bytes, bytearray, memoryview))):
            raise TypeError("a RawPacket is (seconds since 1970, sender as socket.recvfrom() gives it, octets)")
        super().put(RawPacket(ts, client, bytes(data)), block, timeout)
        self.receiver.wake()

    def qsize(self) -> int:
        return super().qsize() + self.receiver.waiting

    def empty(self) -> bool:
        return not self.qsize()

    def drain(self) -> List[RawPacket]:
        with self.mutex:
            packets = list(self.queue)
            self.queue.clear()
            self.not_full.notify_all()
        return packets


class _Output(queue.Queue):
    """Parsed packets: put in many at a time, with an end."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.room = threading.Condition(self.mutex)
        self.closed = False
        self._full = False

    def put_all(self, items: Sequence[ParsedPacket], given_up: threading.Event) -> None:
        """Append items; waits for room until given_up is set."""
        with self.mutex:
            while len(self.queue) >= self.most and not given_up.is_set():
                self._full = True
                self.room.wait(_TICK / 5)
            self._full = False
            self.queue.extend(items)
            self.unfinished_tasks += len(items)
            self.not_empty.notify(len(items))

    def close(self) -> None:
        """Nothing comes any more: get() does not wait any longer."""
        with self.mutex:
            self.closed = True
            self.not_empty.notify_all()

    def get(self, block: bool = True, timeout: Optional[float] = None) -> ParsedPacket:
        with self.not_empty:
            if not self.queue:
                self._await(block, timeout)
            item = self.queue.popleft()
            if self._full and len(self.queue) <= self.most // 2:
                self.room.notify()
            return item

    def _await(self, block: bool, timeout: Optional[float]) -> None:
        if timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        until = None if timeout is None else time.monotonic() + timeout
        while block and not self.queue and not self.closed:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                break
            self.not_empty.wait(left)
        if not self.queue:
            raise queue.Empty


class _Exporter:
    """What is known of one source: a domain (v9: source id) of a client address."""

    __slots__ = ("templates", "octets", "measured", "waiting", "retry", "not_before")

    def __init__(self) -> None:
        self.templates: Dict[str, Any] = {"netflow": {}, "ipfix": {}}
        self.octets = _SOURCE_OCTETS  # an estimate, at most twice of what it was when measured
        self.measured = _SOURCE_OCTETS
        self.waiting: Dict[int, None] = {}  # numbers in _Waiting, oldest first
        self.retry = False  # a template came since they were looked at
        self.not_before = 0.0

    def measure(self) -> None:
        """Make the estimate right."""
        n_fields = sum(_n_fields(template) for section in self.templates.values() for template in section.values())
        self.octets = self.measured = _SOURCE_OCTETS + _FIELD_OCTETS * n_fields


def _n_fields(template: Any) -> int:
    """Number of fields of a template, and one for itself."""
    if isinstance(template, (list, tuple)):
        return 1 + len(template)
    count = getattr(template, "field_count", None)  # looking at the fields would make an object of each
    if count is not None:
        return 1 + count
    return 1 + sum(len(getattr(template, name, ())) for name in ("fields", "scope_fields", "option_fields"))


class _Exporters:
    """All sources, those that were silent for longest first."""

    def __init__(self) -> None:
        self._all: OrderedDict[Tuple[Any, ...], _Exporter] = OrderedDict()
        self._octets = 0
        self._none = _Exporter()  # of versions without templates

    def of(self, client: Tuple[Any, ...], data: bytes) -> _Exporter:
        """The source of a packet. Ports do not count, since many exporters change theirs; the interface of a link-local
        address does."""
        version = data[:2]
        if version == b"\0\x09":
            domain = data[16:20]
        elif version == b"\0\x0a":
            domain = data[12:16]
        else:
            return self._none
        key = version, domain, client[0], client[3] if len(client) > 3 else 0
        exporter = self._all.get(key)
        if exporter is None:
            exporter = self._all[key] = _Exporter()
            self._octets += exporter.octets
        else:
            self._all.move_to_end(key)
        return exporter

    def learnt(self, exporter: _Exporter, octets: int) -> None:
        """A packet of so many octets brought templates."""
        before = exporter.octets
        exporter.octets += _FIELD_OCTETS * (octets // 4 + 1)
        if exporter.octets > 2 * exporter.measured:
            exporter.measure()
        if exporter.octets > MAX_SOURCE_TEMPLATE_OCTETS:
            logger.warning("A source has more templates than fit into %d octets: they are forgotten",
                           MAX_SOURCE_TEMPLATE_OCTETS)
            exporter.templates = {"netflow": {}, "ipfix": {}}
            exporter.measure()
        self._octets += exporter.octets - before

    def excess(self) -> Iterator[_Exporter]:
        """Remove and yield those for which there is no room."""
        while len(self._all) > MAX_EXPORTERS or (self._octets > MAX_TEMPLATE_OCTETS and len(self._all) > 1):
            _, idle = self._all.popitem(last=False)
            self._octets -= idle.octets
            yield idle


class _Waiting:
    """Packets whose templates have not come, of all exporters, oldest first."""

    def __init__(self) -> None:
        self.packets: OrderedDict[int, Tuple[_Exporter, RawPacket]] = OrderedDict()
        self.octets = 0
        self.last = 0

    def add(self, exporter: _Exporter, packet: RawPacket) -> int:
        """Keep one. How many others had to go for it."""
        self.last += 1
        self.packets[self.last] = exporter, packet
        exporter.waiting[self.last] = None
        self.octets += len(packet.data) + _WAITING_OVERHEAD
        gone = 0
        while self.octets > MAX_WAITING_OCTETS and len(self.packets) > 1:
            self.remove(next(iter(self.packets)))
            gone += 1
        return gone

    def remove(self, number: int) -> None:
        exporter, packet = self.packets.pop(number)
        del exporter.waiting[number]
        self.octets -= len(packet.data) + _WAITING_OVERHEAD

    def forget(self, exporter: _Exporter) -> int:
        """Remove all of an exporter. How many they were."""
        numbers = list(exporter.waiting)
        for number in numbers:
            self.remove(number)
        return len(numbers)

    def expire(self, before: float) -> int:
        """Remove what came before a time. How many they were."""
        gone = 0
        while self.packets:
            number, (_, packet) = next(iter(self.packets.items()))
            if packet.ts >= before:
                break
            self.remove(number)
            gone += 1
        return gone


class _Complaints:
    """Lets a limited number of messages through, since anyone can send anything."""

    def __init__(self) -> None:
        self.left = _COMPLAINTS
        self.hidden = 0

    def say(self, message: str, *args: Any) -> None:
        if self.left > 0:
            self.left -= 1
            logger.error(message, *args)
        else:
            self.hidden += 1

    def renew(self) -> None:
        if self.hidden:
            logger.error("%d more packets ignored", self.hidden)
        self.left, self.hidden = _COMPLAINTS, 0


class ThreadedNetFlowListener(threading.Thread):
    """Listens for export packets, parses them in a thread and hands them out by get().

    It receives from the moment it is made, parses from start() on, and stops by stop(); join() waits until it has, and
    the port is free then. See the module for an example.

    :ivar server: its ``server_address`` is (address, port), where the port is the one found for port 0;
        ``socket`` is the socket.
    :ivar input: a queue of packets that are to be parsed. A RawPacket that is put there is treated as if received; anything else
        raises TypeError or ValueError.
    :ivar output: the queue that get() reads.

    Templates are kept per client address and domain. A packet whose template is missing waits for it, at most PACKET_TIMEOUT
    seconds, and follows the packet that brings it; those of one client keep their order.

    :param host: address to listen on; one with a colon is an IPv6 address. "0.0.0.0" or "::" is any.
    :param port: UDP port, 0 for any free one.
    :raises OSError: the address cannot be had.
    """

    def __init__(self, host: str, port: int) -> None:
        super().__init__(name="netflow-listener")
        self.input = _Input()
        self.output = _Output(MAX_PARSED_PACKETS)
        self.server = _Server((host, port), self.input)
        self._receiver = self.input.receiver
        self._shutdown = threading.Event()
        self._exporters = _Exporters()
        self._waiting = _Waiting()
        self._complaints = _Complaints()
        self._put = self._parsed = self._rejected = self._expired = 0
        self._told_dropped = 0
        self._next_tick = time.monotonic() + _TICK
        self._next_loss = time.monotonic() + _LOSS_EVERY
        logger.info("Listening for export packets on %s port %d", *self.server.server_address[:2])

    def get(self, block: bool = True, timeout: Optional[float] = None) -> ParsedPacket:
        """The next parsed packet.

        Waits for it when block is true, at most timeout seconds unless that is None.

        :raises queue.Empty: there was none in time, or the listener has stopped and there is none left.
        """
        return self.output.get(block, timeout)

    @property
    def stats(self) -> ListenerStats:
        """How many packets were received, parsed, rejected and lost so far."""
        return ListenerStats(self._receiver.packets + self._put, self._parsed, self._rejected,
                             len(self._waiting.packets), self._expired, self._receiver.dropped)

    @property
    def dropped(self) -> int:
        """Packets that were lost since they came faster than get() was called (stats.dropped)."""
        return self._receiver.dropped

    def run(self) -> None:
        """Parse packets until stop() or finish(); start() calls it in a thread."""
        try:
            while not self._shutdown.is_set():
                ended = self._receiver.ended
                packets = self._receiver.receive(_BATCH, int(_TICK * 1000))
                if self.input.queue:
                    given = self.input.drain()
                    self._put += len(given)
                    packets = given + packets
                parsed = self._parse(packets) if packets else []
                if time.monotonic() >= self._next_tick:
                    self._tick(parsed)
                if ended and not packets:
                    self._retry_due(parsed, last=True)
                if parsed:
                    self.output.put_all(parsed, self._shutdown)
                elif ended and not packets:
                    break
        except OSError as e:
            logger.error("Cannot receive any more: %s", e)
        finally:
            self._close()

    def finish(self) -> None:
        """Receive nothing more, but parse all that has arrived; then get() raises queue.Empty at the end."""
        self._receiver.finish()

    def stop(self) -> None:
        """Stop receiving and parsing. What is parsed can still be had by get(); may be called from anywhere."""
        logger.info("Shutting down the listener")
        self._shutdown.set()
        self._receiver.stop()
        self._receiver.wake()
        if self.ident is None:  # never started: there is no thread that would close
            self._close()

    def join(self, timeout: Optional[float] = None) -> None:
        """Wait until the thread has ended after stop(), at most timeout seconds unless that is None."""
        if self.ident is not None:
            super().join(timeout)

    def _close(self) -> None:
        self._receiver.stop()
        self._tell_loss()
        self._complaints.renew()
        self.server.server_close()
        self.output.close()

    def _parse(self, packets: Iterable[Tuple[float, Tuple[Any, ...], bytes]]) -> List[ParsedPacket]:
        """Parse a batch. Whatever packets hold, no exception leaves this."""
        parsed: List[ParsedPacket] = []
        debug = logger.isEnabledFor(logging.DEBUG)
        source_of = self._exporters.of
        for ts, client, data in packets:
            if debug:
                logger.debug("Received %d bytes of data from %s", len(data), client)
            exporter = source_of(client, data)
            export: Any = None
            try:
                export = parse_packet(data, exporter.templates)
            except (V9TemplateNotRecognized, IPFIXTemplateNotRecognized):
                self._keep(exporter, RawPacket(ts, client, data))
            except Exception as e:  # pylint: disable=broad-except
                self._reject(client, e)
            if export is None:
                continue
            if debug:
                _tell_processed(export)
            parsed.append(ParsedPacket(ts, client, export))
            if export.header.version in (9, 10) and export.contains_new_templates:
                self._exporters.learnt(exporter, len(data))
                if exporter.waiting:
                    exporter.retry = True
                    self._retry(exporter, parsed)
        for idle in self._exporters.excess():
            self._expired += self._waiting.forget(idle)
        self._parsed += len(parsed)
        return parsed

    def _reject(self, client: Tuple[Any, ...], e: Exception) -> None:
        self._rejected += 1
        if isinstance(e, UnknownExportVersion):
            self._complaints.say("%s, ignoring the packet of %s", e, client[0])
        else:
            self._complaints.say("Ignoring a packet of %s: %s: %s", client[0], type(e).__name__, e)

    def _keep(self, exporter: _Exporter, packet: RawPacket) -> None:
        if time.time() - packet.ts > PACKET_TIMEOUT:
            self._expired += 1
            logger.warning("Dropping a packet of %s that is too old to wait for its template", packet.client[0])
            return
        logger.debug("A packet of %s waits for its template", packet.client[0])
        gone = self._waiting.add(exporter, packet)
        if gone:
            self._expired += gone
            self._complaints.say("No room for packets that wait for templates: %d dropped", gone)

    def _retry(self, exporter: _Exporter, parsed: List[ParsedPacket], last: bool = False) -> None:
        """Look again at the packets of an exporter that wait, oldest first, after new templates."""
        began = time.monotonic()
        if began < exporter.not_before and not last:
            return  # _retry_due comes back to it
        exporter.retry = False
        logger.debug("New templates: looking again at %d packets that wait", len(exporter.waiting))
        for number in list(exporter.waiting):
            ts, client, data = self._waiting.packets[number][1]
            try:
                export = parse_packet(data, exporter.templates)
            except (V9TemplateNotRecognized, IPFIXTemplateNotRecognized):
                continue
            except Exception as e:  # pylint: disable=broad-except
                self._waiting.remove(number)
                self._reject(client, e)
                continue
            self._waiting.remove(number)
            parsed.append(ParsedPacket(ts, client, export))
        ended = time.monotonic()
        if ended - began > _RETRY_FREE:
            exporter.not_before = ended + (ended - began) * _RETRY_SHARE

    def _retry_due(self, parsed: List[ParsedPacket], last: bool = False) -> None:
        """Make up for looks that were put off."""
        before = len(parsed)
        due = {id(exporter): exporter for exporter, _ in self._waiting.packets.values() if exporter.retry}
        for exporter in due.values():
            self._retry(exporter, parsed, last)
        self._parsed += len(parsed) - before

    def _tick(self, parsed: List[ParsedPacket]) -> None:
        """What is done now and then. May add to the packets that were parsed."""
        now = time.monotonic()
        self._next_tick = now + _TICK
        gone = self._waiting.expire(time.time() - PACKET_TIMEOUT)
        if gone:
            self._expired += gone
            logger.warning("Dropping %d packets whose templates did not come in time", gone)
        self._retry_due(parsed)
        if now >= self._next_loss:
            self._next_loss = now + _LOSS_EVERY
            self._tell_loss()
            self._complaints.renew()

    def _tell_loss(self) -> None:
        dropped = self._receiver.dropped
        if dropped > self._told_dropped:
            logger.warning("%d packets were dropped, since they came faster than they were taken (%d in all)",
                           dropped - self._told_dropped, dropped)
            self._told_dropped = dropped


def _tell_processed(export: Any) -> None:
    header = export.header
    if header.version == 10:
        logger.debug("Processed an IPFIX packet of %d octets", header.length)
    else:
        logger.debug("Processed a v%d packet of %d records", header.version, header.count)


class _Signals:
    """SIGTERM and SIGINT end a listener: the first lets it finish, the second stops it at once.

    The handlers that were there come back at the end. Outside of the main thread, where Python has no signals, nothing
    is done.
    """

    def __init__(self) -> None:
        self.listener: Optional[ThreadedNetFlowListener] = None
        self._before: Dict[int, Any] = {}
        self.count = 0

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _take(self, number: int, _: Any) -> None:
        logger.debug("Received signal %d", number)
        self.count += 1
        if self.listener is None:
            return
        if self.count == 1:
            self.listener.finish()
        else:
            self.listener.stop()


def _packets(host: str, port: int, tick: Optional[float] = None) -> Generator[Optional[ParsedPacket], None, None]:
    """Packets until a signal; None when for tick seconds there was none."""
    with _Signals() as signals:
        listener = ThreadedNetFlowListener(host, port)
        signals.listener = listener
        if signals.count:
            listener.finish()
        try:
            listener.start()
            while signals.count < 2:
                try:
                    packet = listener.get(timeout=tick)
                except queue.Empty:
                    if listener.output.closed and listener.output.empty():
                        return
                    packet = None
                yield packet
        finally:
            listener.stop()
            listener.join()


def get_export_packets(host: str, port: int) -> Iterator[ParsedPacket]:
    """Listen on host and port and yield every parsed packet, until SIGTERM or SIGINT.

    After the first signal all packets that have arrived by then are still yielded; a second one ends at once. No exception
    comes of either.

    :raises OSError: the address cannot be had.
    """
    with contextlib.closing(_packets(host, port)) as packets:
        for packet in packets:
            if packet is not None:
                yield packet


class _GzipLines:
    """Lines appended to a file as whole gzip members, so that the file is complete at any time."""

    LEVEL = 2
    MEMBER_OCTETS = 1 << 20
    SECONDS = 1.0

    def __init__(self, path: str) -> None:
        self._path = None if os.path.exists(path) else path  # ours to remove if nothing comes
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
        self._lines: List[bytes] = []
        self._octets = 0
        self._since = 0.0

    def write(self, line: bytes) -> None:
        """Take a line; it is in the file after SECONDS if write or tick is called then."""
        if not self._lines:
            self._since = time.monotonic()
        self._lines.append(line)
        self._octets += len(line)
        if self._octets >= self.MEMBER_OCTETS:
            self.flush()
        else:
            self.tick()

    def tick(self) -> None:
        """Write what has waited for long enough."""
        if self._lines and time.monotonic() - self._since >= self.SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write a member. A file that has no room for it is left as it was before."""
        if not self._lines:
            return
        packer = zlib.compressobj(self.LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        member = memoryview(packer.compress(b"".join(self._lines)) + packer.flush())
        self._lines.clear()
        self._octets = 0
        end = os.fstat(self._fd).st_size if self._regular else 0
        try:
            while member:
                member = member[os.write(self._fd, member):]
            self._path = None
        except OSError:
            if self._regular:
                os.ftruncate(self._fd, end)
            raise

    def close(self) -> None:
        """Write the rest and close."""
        try:
            self.flush()
        finally:
            os.close(self._fd)
            if self._path is not None:
                os.unlink(self._path)


def _finite(value: Any) -> Any:
    """JSON has no word for NaN and the infinities: they become text."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _octets_as_text(value: Any) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    raise TypeError(f"{type(value).__name__} is no value of a flow")


_encode = json.JSONEncoder(allow_nan=False, default=_octets_as_text).encode


def _records(export: Any) -> Iterable[Any]:
    """What goes into a line: flows, and of IPFIX options records too, which stand among them in these files."""
    if export.header.version == 10 and export.options:
        return [record for a_set in export.sets if a_set.is_data for record in a_set.records]
    return export.flows


def _line(packet: ParsedPacket) -> bytes:
    """A packet as a line of JSON."""
    export = packet.export
    entry = {packet.ts: {"client": packet.client, "header": export.header.to_dict(),
                         "flows": [record.data for record in _records(export)]}}
    try:
        text = _encode(entry)
    except ValueError:
        text = _encode(_finite(entry))
    return text.encode() + b"\n"


def _collect(host: str, port: int, path: str) -> None:
    """Write lines until a signal."""
    lines = _GzipLines(path)
    try:
        with contextlib.closing(_packets(host, port, _GzipLines.SECONDS)) as packets:
            for packet in packets:
                if packet is None:
                    lines.tick()
                else:
                    lines.write(_line(packet))
    finally:
        lines.close()


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m netflow.collector",
        description="Receive NetFlow and IPFIX and write each packet as a line of JSON into a gzip file.",
        epilog="Ends on SIGINT or SIGTERM. 'weir collect -o FILE' writes the same, many times faster.")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default 0.0.0.0)")
    parser.add_argument("--port", "-p", type=int, default=2055, help="UDP port to listen on (default 2055)")
    parser.add_argument("--file", "-o", dest="output_file", default=f"{int(time.time())}.gz", metavar="FILE",
                        help="file to append to (default the time in seconds, with .gz)")
    parser.add_argument("--debug", "-D", action="store_true", help="say what is done with every packet")
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line of ``python3 -m netflow.collector``. The exit status."""
    parser = _arguments()
    args = parser.parse_args(argv)
    if not 0 <= args.port <= 65535:
        parser.error(f"argument --port/-p: {args.port} is not from 0 to 65535")
    logger.addHandler(ch)
    if args.debug:
        logger.setLevel(logging.DEBUG)
        ch.setLevel(logging.DEBUG)
    try:
        _collect(args.host, args.port, args.output_file)
    except OSError as e:
        where = e.filename if e.filename else f"{args.host} port {args.port}, file {args.output_file}"
        logger.error("%s: %s", where, e.strerror or e)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
