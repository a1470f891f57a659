"""What the modules of the versions share: the exception of malformed packets, and how packets are copied and pickled."""

import struct
from typing import Any, Dict, Optional


class MalformedPacket(ValueError, struct.error):
    """A packet is cut or contradicts itself. The message says what was found where.

    netflow 0.12.2 raises struct.error there, which this is too."""


def _restore(cls, raw: Optional[bytes], flows: list, attributes: Dict[str, Any], options: Optional[list] = None,
             new_templates: bool = False, templates: Optional[Dict[int, Any]] = None):
    """A packet from its parts."""
    packet = cls.__new__(cls)
    packet.__dict__.update(attributes)
    packet._templates = templates
    packet.flows = flows
    if options is not None:
        packet.options = options
    packet._new_templates = new_templates
    return packet
