"""Export packets made by hand, field by field, for the tests that send them."""
import ipaddress
import struct

# NetFlow v9 and IPFIX share these numbers (RFC 3954 section 8, IANA ipfix).
OCTETS, PACKETS, PROTO, SRC_PORT, SRC, DST_PORT, DST, LAST, FIRST = 1, 2, 4, 7, 8, 11, 12, 21, 22
FIELDS = ((SRC, 4), (DST, 4), (SRC_PORT, 2), (DST_PORT, 2), (PROTO, 1), (PACKETS, 4), (OCTETS, 4))
TEMPLATE = 256
EXPORT_S = 1_700_000_000


def flow(n):
    """Values of FIELDS of the n-th flow: a pure function of n, so that tests can check any of them."""
    return (f"10.0.{n >> 8 & 255}.{n & 255}", "192.0.2.1", 1024 + n % 60000, 443, 6, n % 1000 + 1, 40 * (n % 1000 + 1))


def record(n):
    src, dst, sport, dport, proto, packets, octets = flow(n)
    return (ipaddress.ip_address(src).packed + ipaddress.ip_address(dst).packed
            + struct.pack("!HHBII", sport, dport, proto, packets, octets))


def v1(numbers, uptime=100_000):
    body = b"".join(v5_record(n)[:40] + bytes(8) for n in numbers)
    return struct.pack("!HHIII", 1, len(numbers), uptime, EXPORT_S, 0) + body


def v5_record(n):
    src, dst, sport, dport, proto, packets, octets = flow(n)
    return (ipaddress.ip_address(src).packed + ipaddress.ip_address(dst).packed + bytes(4)
            + struct.pack("!HHIIIIHHBBBBHHBBH", 1, 2, packets, octets, 90_000, 95_000, sport, dport,
                          0, 0x1B, proto, 0, 64512, 64513, 24, 16, 0))


def v5(numbers, sequence=0, uptime=100_000):
    head = struct.pack("!HHIIIIBBH", 5, len(numbers), uptime, EXPORT_S, 0, sequence, 0, 0, 0)
    return head + b"".join(v5_record(n) for n in numbers)


def template_set(set_id, template=TEMPLATE, fields=FIELDS):
    body = struct.pack("!HH", template, len(fields)) + b"".join(struct.pack("!HH", *f) for f in fields)
    return struct.pack("!HH", set_id, 4 + len(body)) + body


def data_set(numbers, template=TEMPLATE):
    body = b"".join(record(n) for n in numbers)
    body += bytes(-len(body) % 4)
    return struct.pack("!HH", template, 4 + len(body)) + body


def v9(*sets, count, sequence=0, source=7, uptime=100_000):
    return struct.pack("!HHIIII", 9, count, uptime, EXPORT_S, sequence, source) + b"".join(sets)


def v9_template(sequence=0, source=7):
    return v9(template_set(0), count=1, sequence=sequence, source=source)


def v9_data(numbers, sequence=0, source=7):
    return v9(data_set(numbers), count=len(numbers), sequence=sequence, source=source)


def ipfix(*sets, sequence=0, domain=9):
    body = b"".join(sets)
    return struct.pack("!HHIII", 10, 16 + len(body), EXPORT_S, sequence, domain) + body


def ipfix_template(sequence=0, domain=9):
    return ipfix(template_set(2), sequence=sequence, domain=domain)


def ipfix_data(numbers, sequence=0, domain=9):
    return ipfix(data_set(numbers), sequence=sequence, domain=domain)


def pcap(frames, link_type=1):
    """A capture of (microseconds, octets) frames."""
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link_type)
    for us, data in frames:
        out += struct.pack("<IIII", us // 1_000_000, us % 1_000_000, len(data), len(data)) + data
    return out


def _checksum(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet_udp(src, sport, dst, dport, payload):
    """An Ethernet frame with one IPv4 UDP datagram."""
    udp = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0,
                       ipaddress.ip_address(src).packed, ipaddress.ip_address(dst).packed)
    head = head[:10] + struct.pack("!H", _checksum(head)) + head[12:]
    return bytes.fromhex("02000000000202000000000108 00".replace(" ", "")) + head + udp
