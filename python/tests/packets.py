"""Export packets made by hand, field by field, for the tests of the Python package.

A field is (number, octets) or (number, octets, enterprise number). Nothing here knows what a number means: tests name
the elements that they use.
"""
import struct

EXPORT_S = 1_700_000_000
UPTIME_MS = 100_000

V1_FIELDS = ("IPV4_SRC_ADDR", "IPV4_DST_ADDR", "NEXT_HOP", "INPUT", "OUTPUT", "IN_PACKETS", "IN_OCTETS",
             "FIRST_SWITCHED", "LAST_SWITCHED", "SRC_PORT", "DST_PORT", "PROTO", "TOS", "TCP_FLAGS")
V5_FIELDS = V1_FIELDS[:11] + ("TCP_FLAGS", "PROTO", "TOS", "SRC_AS", "DST_AS", "SRC_MASK", "DST_MASK")

# A plain record of v9 and IPFIX (the numbers are the same in both): addresses, counters, ports, protocol, flags.
FIELDS = ((8, 4), (12, 4), (1, 4), (2, 4), (7, 2), (11, 2), (4, 1), (6, 1))
V9_NAMES = ("IPV4_SRC_ADDR", "IPV4_DST_ADDR", "IN_BYTES", "IN_PKTS", "L4_SRC_PORT", "L4_DST_PORT", "PROTOCOL",
            "TCP_FLAGS")
IPFIX_NAMES = ("sourceIPv4Address", "destinationIPv4Address", "octetDeltaCount", "packetDeltaCount",
               "sourceTransportPort", "destinationTransportPort", "protocolIdentifier", "tcpControlBits")
# The same with IPv6 addresses.
FIELDS6 = ((27, 16), (28, 16)) + FIELDS[2:]


def ip4(text):
    return struct.unpack("!I", bytes(int(part) for part in text.split(".")))[0]


def values(n):
    """The values of FIELDS of record n: a pure function of n."""
    return (0x0A000000 + n, 0xC0000201, 100 * n + 40, n + 1, 1024 + n % 60000, 443, 6 if n % 2 else 17, n % 64)


def record(n):
    return struct.pack("!IIIIHHBB", *values(n))


def values6(n):
    return (0x20010DB8 << 96 | n, 0xFE80 << 112 | 1) + values(n)[2:]


def record6(n):
    v = values6(n)
    return v[0].to_bytes(16, "big") + v[1].to_bytes(16, "big") + struct.pack("!IIHHBB", *v[2:])


def legacy_values(n):
    """The values of the first eleven fields of v1 and v5, which are the same."""
    return (0x0A000000 + n, 0xC0000201, 0xC00002FE, 3, 4, n + 1, 100 * n + 40, 90_000 + n, 95_000 + n, 1024 + n, 443)


def v1_flow(n):
    """(octets of a v1 record, what its .data must be)"""
    first, proto, tos, flags = legacy_values(n), 6, 16, 27
    return struct.pack("!IIIHHIIIIHHHBBB7x", *first, 0, proto, tos, flags), dict(
        zip(V1_FIELDS, first + (proto, tos, flags)))


def v5_flow(n):
    first, rest = legacy_values(n), (27, 17, 16, 64500, 65001, 24, 16)
    return struct.pack("!IIIHHIIIIHHxBBBHHBB2x", *first, *rest), dict(zip(V5_FIELDS, first + rest))


def v1(*records, count=None):
    count = len(records) if count is None else count
    return struct.pack("!HHIII", 1, count, UPTIME_MS, EXPORT_S, 5) + b"".join(records)


def v5(*records, count=None, sequence=42):
    count = len(records) if count is None else count
    return struct.pack("!HHIIIIBBH", 5, count, UPTIME_MS, EXPORT_S, 5, sequence, 1, 2, 0x4064) + b"".join(records)


def v7(*records):
    return struct.pack("!HHIIIII", 7, len(records), UPTIME_MS, EXPORT_S, 5, 42, 0) + b"".join(records)


def v9(*sets, count=1, sequence=1, source=7):
    return struct.pack("!HHIIII", 9, count, UPTIME_MS, EXPORT_S, sequence, source) + b"".join(sets)


def ipfix(*sets, sequence=1, domain=7, length=None):
    body = b"".join(sets)
    return struct.pack("!HHIII", 10, 16 + len(body) if length is None else length, EXPORT_S, sequence, domain) + body


def a_set(number, *parts, pad=0):
    """A FlowSet of v9 or a Set of IPFIX with pad octets of zero behind it."""
    body = b"".join(parts) + bytes(pad)
    return struct.pack("!HH", number, 4 + len(body)) + body


def aligned(number, *parts):
    """The same, padded to four octets."""
    body = b"".join(parts)
    return a_set(number, body, pad=-len(body) % 4)


def specifier(number, octets, enterprise=None):
    if enterprise is None:
        return struct.pack("!HH", number, octets)
    return struct.pack("!HHI", number | 0x8000, octets, enterprise)


def template(number, *fields):
    return struct.pack("!HH", number, len(fields)) + b"".join(specifier(*f) for f in fields)


def v9_options(number, scopes, fields):
    return struct.pack("!HHH", number, 4 * len(scopes), 4 * len(fields)) + b"".join(
        specifier(*f) for f in (*scopes, *fields))


def ipfix_options(number, scopes, fields):
    return struct.pack("!HHH", number, len(scopes) + len(fields), len(scopes)) + b"".join(
        specifier(*f) for f in (*scopes, *fields))


def v9_template(number=256, fields=FIELDS, **header):
    return v9(a_set(0, template(number, *fields)), **header)


def v9_data(numbers, set_id=256, **header):
    return v9(aligned(set_id, *map(record, numbers)), count=len(numbers), **header)


def ipfix_template(number=256, fields=FIELDS, **header):
    return ipfix(a_set(2, template(number, *fields)), **header)


def ipfix_data(numbers, set_id=256, **header):
    return ipfix(a_set(set_id, *map(record, numbers)), **header)
