"""NetFlow version 5: packets, their header and their flows."""

import struct
from typing import Dict

from . import _weir

__all__ = ["V5DataFlow", "V5ExportPacket", "V5Header"]


@_weir.record_type
class V5DataFlow(_weir.Record):
    """One flow. `data` is a dict of its values, which are attributes too: `flow.IN_OCTETS`. Addresses are integers."""

    __slots__ = ()
    length = 48  #: octets of a record

    def __new__(cls, data: bytes):
        if len(data) != cls.length:
            raise MalformedPacket(f"a v5 record has {cls.length} octets, not {len(data)}")
        flow = V5ExportPacket(struct.pack("!HHIIIIBBH", 5, 1, 0, 0, 0, 0, 0, 0, 0) + bytes(data)).flows[0]
        return flow if cls is type(flow) else _weir._restore_record(cls, flow.data, None, None, cls.length, {})

    def __repr__(self) -> str:
        return f"<DataRecord with data {self.data}>"


class V5Header:
    """The header: version, count, uptime (ms), timestamp (s since 1970), timestamp_nano, sequence, engine_type, engine_id and
    sampling_interval (two bits of mode above 14 of interval)."""

    length = 24  #: octets

    def __init__(self, data: bytes):
        try:
            (self.version, self.count, self.uptime, self.timestamp, self.timestamp_nano, self.sequence, self.engine_type,
             self.engine_id, self.sampling_interval) = _HEADER.unpack_from(data)
        except struct.error as why:
            raise MalformedPacket(f"v5 header: {why}") from None

    def to_dict(self) -> Dict[str, int]:
        """The values by name."""
        return self.__dict__


_HEADER = struct.Struct("!HHIIIIBBH")


class V5ExportPacket(_weir.Packet):
    """A packet: `header` and `flows`, a list of V5DataFlow."""

    _header_type = V5Header

    def __init__(self, data: bytes):
        self._decode(data, 5, None)

    def __repr__(self) -> str:
        return f"<ExportPacket v{self.header.version} with {self.header.count} records>"

    def __reduce__(self):
        return _restore, (type(self), self._raw, self.flows, self.__dict__)


from ._packets import MalformedPacket, _restore  # noqa: E402
