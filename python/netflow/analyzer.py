"""Who talked to whom: connections from the flows that a collector has written.

On the command line ``python3 -m netflow.analyzer -f FILE`` prints the connections in a file of ``netflow.collector`` or
``weir collect -o``. The work is done by the program ``weir analyze`` that comes with this package, whose other options are
understood here too (``weir analyze --help``).

In a program, Connection makes one connection of two flows, given as dicts (``flow.data``)::

    there, back = packet.flows
    connection = Connection(there.data, back.data)
    print(connection.src, connection.dest, connection.service, connection.human_size, connection.human_duration)
"""
from __future__ import annotations

import argparse
import contextlib
import functools
import ipaddress
import logging
import socket
import sys
from typing import Any, Mapping, NamedTuple, NoReturn, Optional, Sequence, Union

from netflow import _program

__all__ = ["Connection", "IP_PROTOCOLS", "Pair", "args", "fallback", "human_duration", "human_size", "logger", "printv",
           "resolve_hostname"]

IP_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6"}
"""Names of protocol numbers."""

IPAddress = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Flow = Mapping[str, Any]


class Pair(NamedTuple):
    """Something of the two ends of a connection."""

    src: Any
    """Of the end that sent more."""
    dest: Any
    """Of the other end."""


logger = logging.getLogger(__name__)
formatter = logging.Formatter("%(asctime)s - %(levelname)s - %(message)s")
ch = logging.StreamHandler()
ch.setFormatter(formatter)

args = argparse.Namespace(file=None, packets_threshold=10, verbose=False, match_host=None, no_dns=False)
"""Settings of the functions here, named and preset like the options of the command line: ``args.verbose`` is what
printv() asks for, ``args.no_dns`` what resolve_hostname() does. Programs may change them."""


def printv(message: str, *args_: Any, **kwargs: Any) -> None:
    """Print a message, formatted by str.format, if args.verbose is set."""
    if args.verbose:
        print(message.format(*args_, **kwargs))


@functools.lru_cache(maxsize=65536)
def _name_of(ip: str) -> str:
    return socket.getfqdn(ip)


def resolve_hostname(ip: str) -> str:
    """The name of an address, which is asked for once; the address itself if it has none or args.no_dns is set."""
    return ip if args.no_dns else _name_of(ip)


def fallback(d: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """The value of the first key that d has.

    :raises KeyError: it has none of them.
    """
    for key in keys:
        if key in d:
            return d[key]
    raise KeyError(", ".join(keys))


def human_size(size_bytes: float) -> str:
    """A number of octets for people: 999B, 1.50K, 3.25M, 12.00G."""
    if size_bytes < 1024:
        return f"{int(size_bytes)}B"
    for unit in "KM":
        size_bytes /= 1024
        if size_bytes < 1024:
            return f"{size_bytes:.2f}{unit}"
    return f"{size_bytes / 1024:.2f}G"


def human_duration(seconds: float) -> str:
    """A number of seconds for people: 42 sec, 03:07 min, 2:05.09 hours."""
    whole = int(seconds)
    if seconds < 60:
        return f"{whole} sec"
    if seconds > 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02d}.{whole % 60:02d} hours"
    return f"{whole // 60:02d}:{whole % 60:02d} min"


# What flows of v9, v1 and v5, and IPFIX call the same thing.
_SRC4 = ("IPV4_SRC_ADDR", "sourceIPv4Address")
_DST4 = ("IPV4_DST_ADDR", "destinationIPv4Address")
_SRC6 = ("IPV6_SRC_ADDR", "sourceIPv6Address")
_DST6 = ("IPV6_DST_ADDR", "destinationIPv6Address")
_SRC_PORT = ("L4_SRC_PORT", "SRC_PORT", "sourceTransportPort")
_DST_PORT = ("L4_DST_PORT", "DST_PORT", "destinationTransportPort")
_OCTETS = ("IN_BYTES", "IN_OCTETS", "octetDeltaCount", "octetTotalCount")
_PACKETS = ("IN_PKTS", "IN_PACKETS", "packetDeltaCount", "packetTotalCount")
_VERSION = ("IP_PROTOCOL_VERSION", "ipVersion")
# Names of first and last, milliseconds of their unit, and where their clock runs over.
_TIMES = (
    ("FIRST_SWITCHED", "LAST_SWITCHED", 1, 2**32),
    ("flowStartSysUpTime", "flowEndSysUpTime", 1, 2**32),
    ("flowStartMilliseconds", "flowEndMilliseconds", 1, 0),
    ("flowStartSeconds", "flowEndSeconds", 1000, 0),
)


def _duration_ms(flow: Flow) -> int:
    for first, last, unit, turn in _TIMES:
        if first in flow and last in flow:
            duration = (flow[last] - flow[first]) * unit
            return duration if duration >= 0 else max(duration + turn, 0)
    for name in "flowDurationMilliseconds", "flowDurationMicroseconds":
        if name in flow:
            return flow[name] if name.endswith("Milliseconds") else flow[name] // 1000
    raise KeyError(", ".join(name for first, last, _, _ in _TIMES for name in (first, last)))


class Connection:
    """Two flows that are the two ways of one connection.

    The source is the end that sent more, which need not be the one that began.

    :ivar src_flow: the flow that had more octets; :ivar dest_flow: the other one.
    :ivar src: address of the source; :ivar dest: of the other end, as in the module ipaddress.
    :ivar src_port: port of the source; :ivar dest_port: of the other end, as the source's flow is answered.
    :ivar size: octets that the source sent.
    :ivar duration: of the source's flow, in milliseconds.

    :param flow1: the values of one flow, by name. Names may be those of v1, v5, v9 or IPFIX.
    :param flow2: those of the other one.
    :raises ValueError: one of them is empty or None.
    :raises KeyError: a flow has no addresses, ports, size or times.
    """

    def __init__(self, flow1: Flow, flow2: Flow) -> None:
        if not flow1 or not flow2:
            raise ValueError("A connection requires two flows")
        if fallback(flow1, _OCTETS) >= fallback(flow2, _OCTETS):
            src, dest = flow1, flow2
        else:
            src, dest = flow2, flow1
        self.src_flow = src
        self.dest_flow = dest
        self.src, self.dest = self.get_ips(src)
        self.src_port: int = fallback(src, _SRC_PORT)
        self.dest_port: int = fallback(dest, _DST_PORT)
        self.size: int = fallback(src, _OCTETS)
        self.duration = _duration_ms(src)

    def __repr__(self) -> str:
        return f"<Connection from {self.src} to {self.dest}, size {self.human_size}>"

    @staticmethod
    def get_ips(flow: Flow) -> Pair:
        """The addresses of a flow, from texts or numbers."""
        if any(name in flow for name in (_SRC4[0], _DST4[0], _SRC4[1])) or \
                next((flow[name] for name in _VERSION if name in flow), None) == 4:
            return Pair(ipaddress.IPv4Address(fallback(flow, _SRC4)), ipaddress.IPv4Address(fallback(flow, _DST4)))
        return Pair(ipaddress.IPv6Address(fallback(flow, _SRC6)), ipaddress.IPv6Address(fallback(flow, _DST6)))

    @property
    def human_size(self) -> str:
        """The size for people."""
        return human_size(self.size)

    @property
    def human_duration(self) -> str:
        """The duration for people, in whole seconds."""
        return human_duration(self.duration // 1000)

    @property
    def hostnames(self) -> Pair:
        """The names of both ends."""
        return Pair(resolve_hostname(self.src.compressed), resolve_hostname(self.dest.compressed))

    @property
    def service(self) -> str:
        """The name of the service at the source's port, else at the other one, else both ports: (1234 5678)."""
        for port in self.src_port, self.dest_port:
            with contextlib.suppress(OSError, OverflowError):
                return socket.getservbyport(port)
        return f"({self.src_port} {self.dest_port})"

    @property
    def total_packets(self) -> int:
        """Packets of both flows."""
        return fallback(self.src_flow, _PACKETS) + fallback(self.dest_flow, _PACKETS)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m netflow.analyzer", description="Show the connections in a file of a collector.",
        epilog="Other options of 'weir analyze' are understood too, see 'python3 -m netflow analyze --help'.")
    parser.add_argument("-f", "--file", help="the file, gzip or plain (default standard input)")
    parser.add_argument("-p", "--packets", dest="packets_threshold", type=int, default=10, metavar="N",
                        help="leave out connections of fewer packets (default 10)")
    parser.add_argument("-v", "--verbose", action="store_true",
                        help="also show the flows that found no counterpart")
    parser.add_argument("--match-host", metavar="ADDRESS", help="only connections of this host")
    parser.add_argument("-n", "--no-dns", action="store_true", help="show addresses, look up no names")
    return parser


def _program_arguments(argv: Optional[Sequence[str]]) -> list[str]:
    """What `weir` is to be called with."""
    options, others = _arguments().parse_known_args(argv)
    command = ["analyze", "--packets", str(max(options.packets_threshold, 0))]
    if options.file is not None:
        command += ["--file", "./-" if options.file == "-" else options.file]
    if options.match_host:
        command += ["--match-host", options.match_host]
    if options.verbose:
        command.append("--verbose")
    if options.no_dns:
        command.append("--no-dns")
    return command + others


def main(argv: Optional[Sequence[str]] = None) -> NoReturn:
    """The command line of ``python3 -m netflow.analyzer``. This process becomes the program that does the work."""
    _program.run(_program_arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
