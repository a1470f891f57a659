"""NetFlow version 7: packets, their header and their flows (Catalyst 5000; netflow 0.12.2 does not know it)."""

import struct
from typing import Dict

from . import _weir

__all__ = ["V7DataFlow", "V7ExportPacket", "V7Header"]


@_weir.record_type
class V7DataFlow(_weir.Record):
    """One flow. `data` is a dict of its values, which are attributes too: `flow.IN_OCTETS`. Addresses are integers."""

    __slots__ = ()
    length = 52  #: octets of a record

    def __new__(cls, data: bytes):
        if len(data) != cls.length:
            raise MalformedPacket(f"a v7 record has {cls.length} octets, not {len(data)}")
        flow = V7ExportPacket(struct.pack("!HHIIIIBBH", 7, 1, 0, 0, 0, 0, 0, 0, 0) + bytes(data)).flows[0]
        return flow if cls is type(flow) else _weir._restore_record(cls, flow.data, None, None, cls.length, {})

    def __repr__(self) -> str:
        return f"<DataRecord with data {self.data}>"


class V7Header:
    """The header: version, count, uptime (ms), timestamp (s since 1970), timestamp_nano, sequence, engine_type,
    engine_id and sampling_interval, which v7 keeps at 0."""

    length = 24  #: octets

    def __init__(self, data: bytes):
        try:
            (self.version, self.count, self.uptime, self.timestamp, self.timestamp_nano, self.sequence, self.engine_type,
             self.engine_id, self.sampling_interval) = _HEADER.unpack_from(data)
        except struct.error as why:
            raise MalformedPacket(f"v7 header: {why}") from None

    def to_dict(self) -> Dict[str, int]:
        """The values by name."""
        return self.__dict__


_HEADER = struct.Struct("!HHIIIIBBH")


class V7ExportPacket(_weir.Packet):
    """A packet: `header` and `flows`, a list of V7DataFlow."""

    _header_type = V7Header

    def __init__(self, data: bytes):
        self._decode(data, 7, None)

    def __repr__(self) -> str:
        return f"<ExportPacket v{self.header.version} with {self.header.count} records>"

    def __reduce__(self):
        return _restore, (type(self), self._raw, self.flows, self.__dict__)


from ._packets import MalformedPacket, _restore  # noqa: E402
