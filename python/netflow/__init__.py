"""NetFlow v1, v5, v7, v9 and IPFIX: packets as objects (as the package netflow 0.12.2 has them), decoders and archives."""

from . import _weir
from .utils import MalformedPacket, UnknownExportVersion, parse_packet
from ._arrow import *  # noqa: F401,F403
from . import _arrow

__all__ = ["MalformedPacket", "UnknownExportVersion", "parse_packet"]
__all__ += _arrow.__all__
__version__ = "0.13.0"  # its own, above the 0.12.2 whose place it takes; weir's is _weir.version
__weir__ = _weir.version  #: the version of libweir
