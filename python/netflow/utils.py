"""parse_packet: any export packet as an object."""

from typing import Any, Dict, Optional, Union

from . import _weir, ipfix, v1, v5, v7, v9
from ._names import IPFIX_KNOWN, V9_KNOWN
from ._packets import MalformedPacket
from .ipfix import IPFIXExportPacket
from .v1 import V1ExportPacket
from .v5 import V5ExportPacket
from .v7 import V7ExportPacket
from .v9 import V9ExportPacket

__all__ = ["MalformedPacket", "UnknownExportVersion", "get_export_version", "parse_packet"]

ExportPacket = Union[V1ExportPacket, V5ExportPacket, V7ExportPacket, V9ExportPacket, IPFIXExportPacket]

_weir.register((v1.V1DataFlow, v5.V5DataFlow, v7.V7DataFlow, v9.V9DataRecord, v9.V9OptionsDataRecord, ipfix.IPFIXDataRecord,
                v9._make_template, ipfix._make_template, v9.V9TemplateNotRecognized, ipfix.IPFIXTemplateNotRecognized,
                MalformedPacket, ipfix.IPFIXMalformedPacket, ipfix.IPFIXTemplateError, ipfix.IPFIXMalformedRecord),
               V9_KNOWN, IPFIX_KNOWN, v9.V9_SCOPE_TYPES)


class UnknownExportVersion(Exception):
    """The first two octets are no version that is known: `data` and `version` say which."""

    def __init__(self, data: bytes, version: int):
        self.data = data
        self.version = version
        text = repr(data)
        super().__init__(f"Unknown NetFlow version {version} for data {text[:25] + '...' if len(text) >= 28 else text}")

    def __reduce__(self):
        return type(self), (self.data, self.version)


def get_export_version(data: bytes) -> int:
    """The version that a packet says it has."""
    if len(data) < 2:
        raise MalformedPacket(f"a packet has at least 2 octets, not {len(data)}")
    return int.from_bytes(data[:2], "big")


def _octets(data: Union[str, bytes, bytearray, memoryview]) -> bytes:
    """The octets of a packet that may be given as hexadecimal digits."""
    if isinstance(data, str):
        return bytes.fromhex(data)
    if not isinstance(data, bytes):
        data = memoryview(data).tobytes()
    if data[:1] > b"\x1f":  # no version, so digits
        try:
            return bytes.fromhex(data.decode("ascii"))
        except ValueError:
            pass
    return data


def parse_packet(data: Union[str, bytes, bytearray, memoryview], templates: Optional[Dict[str, Any]] = None) -> ExportPacket:
    """An export packet as an object, from its octets or from their hexadecimal digits.

    `templates` is a dict with the keys "netflow" and "ipfix", made when missing, which the caller keeps from one packet to the
    next: v9 and IPFIX packets put their templates there and are read with those they find. For each exporter another one.

    Raises ValueError when v9 or IPFIX comes without `templates`, UnknownExportVersion, MalformedPacket (or its subclasses in
    netflow.ipfix) with what is wrong, and netflow.v9.V9TemplateNotRecognized or netflow.ipfix.IPFIXTemplateNotRecognized when a
    template is missing: give the same packet again when it has come."""
    if type(data) is bytes and len(data) > 1 and not data[0]:
        octets, version = data, data[1]
    else:
        octets = _octets(data)
        version = get_export_version(octets)
    if version == 5:
        return V5ExportPacket(octets)
    if version in (9, 10):
        if templates is None:
            raise ValueError(f"{'NetFlow v9' if version == 9 else 'IPFIX'} packet without templates: pass a dict, "
                             "parse_packet(data, templates), and keep it from one packet to the next")
        key = "netflow" if version == 9 else "ipfix"
        inner = templates.get(key)
        if not isinstance(inner, dict):
            if inner or not isinstance(inner, (list, tuple, type(None))):
                raise TypeError(f"templates['{key}'] must be a dict, not {type(inner).__name__}")
            inner = templates[key] = {}
        return V9ExportPacket(octets, inner) if version == 9 else IPFIXExportPacket(octets, inner)
    if version == 1:
        return V1ExportPacket(octets)
    if version == 7:
        return V7ExportPacket(octets)
    raise UnknownExportVersion(octets, version)
