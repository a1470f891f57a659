"""NetFlow v1, v5, v7, v9 and IPFIX: packets as objects (as the package netflow 0.12.2 has them), decoders and archives."""

from . import _weir
from .utils import MalformedPacket, UnknownExportVersion, parse_packet
from ._arrow import *  # noqa: F401,F403

# Written out: type checkers do not work it out.
__all__ = ["Archive", "Batch", "Capture", "Decoder", "ExporterState", "Field", "MalformedPacket", "Result", "StreamState",
           "TemplateField", "TemplateState", "UnknownExportVersion", "open_archive", "open_capture", "parse_packet"]
__version__ = "0.13.0"  # its own, above the 0.12.2 whose place it takes; weir's is _weir.version
__weir__ = _weir.version  #: the version of libweir
