"""NetFlow version 1: packets, their header and their flows."""

import struct
from typing import Dict

from . import _weir

__all__ = ["V1DataFlow", "V1ExportPacket", "V1Header"]


@_weir.record_type
class V1DataFlow(_weir.Record):
    """One flow. `data` is a dict of its values, which are attributes too: `flow.IN_OCTETS`. Addresses are integers."""

    __slots__ = ()
    length = 48  #: octets of a record

    def __new__(cls, data: bytes):
        if len(data) != cls.length:
            raise MalformedPacket(f"a v1 record has {cls.length} octets, not {len(data)}")
        flow = V1ExportPacket(struct.pack("!HHIII", 1, 1, 0, 0, 0) + bytes(data)).flows[0]
        return flow if cls is type(flow) else _weir._restore_record(cls, flow.data, None, None, cls.length, {})

    def __repr__(self) -> str:
        return f"<DataRecord with data {self.data}>"


class V1Header:
    """The header: version, count, uptime (ms), timestamp (s since 1970) and timestamp_nano."""

    length = 16  #: octets

    def __init__(self, data: bytes):
        try:
            (self.version, self.count, self.uptime, self.timestamp, self.timestamp_nano) = _HEADER.unpack_from(data)
        except struct.error as why:
            raise MalformedPacket(f"v1 header: {why}") from None

    def to_dict(self) -> Dict[str, int]:
        """The values by name."""
        return self.__dict__


_HEADER = struct.Struct("!HHIII")


class V1ExportPacket(_weir.Packet):
    """A packet: `header` and `flows`, a list of V1DataFlow."""

    _header_type = V1Header

    def __init__(self, data: bytes):
        self._decode(data, 1, None)

    def __repr__(self) -> str:
        return f"<ExportPacket v{self.header.version} with {self.header.count} records>"

    def __reduce__(self):
        return _restore, (type(self), self._raw, self.flows, self.__dict__)


from ._packets import MalformedPacket, _restore  # noqa: E402
