"""The traffic behind the captures: a handful of flows that are known to the octet, as a pcap for exporters to read.
What an exporter tells of them can so be checked without our decoder."""
import collections
import ipaddress
import struct

# One direction of a conversation: IP octets of each packet, seconds after the start of the traffic of each.
Flow = collections.namedtuple("Flow", "src dst proto sport dport flags tos vlan sizes times")

START = 1700000000  # 2023-11-14 22:13:20 UTC

FLOWS = [
    Flow("192.0.2.10", "198.51.100.20", 6, 40000, 443, 0x1b, 0, 0, (60, 52, 152, 1052, 52), (0, 0.02, 0.03, 0.5, 2)),
    Flow("198.51.100.20", "192.0.2.10", 6, 443, 40000, 0x1b, 0, 0, (60, 1452, 1452, 52), (0.01, 0.04, 0.6, 2.1)),
    Flow("192.0.2.11", "198.51.100.53", 17, 50053, 53, 0, 0xb8, 0, (67,), (1,)),
    Flow("198.51.100.53", "192.0.2.11", 17, 53, 50053, 0, 0, 0, (131,), (1.02,)),
    Flow("192.0.2.12", "203.0.113.1", 1, 8 << 8, 0, 0, 0, 0, (84, 84, 84), (3, 4, 5)),
    Flow("203.0.113.1", "192.0.2.12", 1, 0, 0, 0, 0, 0, (84, 84, 84), (3.005, 4.005, 5.005)),
    Flow("2001:db8:1::10", "2001:db8:2::20", 6, 40006, 80, 0x1b, 0, 0, (80, 72, 272, 72), (6, 6.1, 6.2, 6.9)),
    Flow("2001:db8:2::20", "2001:db8:1::10", 6, 80, 40006, 0x1b, 0, 0, (80, 1272, 72), (6.05, 6.3, 7)),
    Flow("192.0.2.13", "198.51.100.99", 17, 60000, 4500, 0, 0, 100, (500, 500), (8, 8.5)),
]

MACS = {False: "02005e001001", True: "02005e001002"}  # of the side that asks, and the other


def packets(flow):
    return len(flow.sizes)


def octets(flow):
    return sum(flow.sizes)


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def transport(flow, n, length):
    """The segment of packet n: headers and zero octets, length in all."""
    if flow.proto == 6:
        flags = 2 if n == 0 else 0x18 if n + 1 < len(flow.sizes) else 0x11  # SYN, then PSH and ACK, then FIN and ACK
        if n == 0 and flow.sport < flow.dport:
            flags = 0x12
        options = length - 20 if n == 0 else 12
        head = struct.pack(">HHIIBBHHH", flow.sport, flow.dport, 1000 + n, 0 if n == 0 else 1,
                           (20 + options) // 4 << 4, flags, 65535, 0, 0) + b"\1" * options
    elif flow.proto == 17:
        head = struct.pack(">HHHH", flow.sport, flow.dport, length, 0)
    else:
        head = struct.pack(">BBHHH", flow.sport >> 8, 0, 0, 7, n)
        head = head[:2] + struct.pack(">H", checksum(head + bytes(length - len(head)))) + head[4:]
    return head + bytes(length - len(head))


def frame(flow, n):
    size, src, dst = flow.sizes[n], ipaddress.ip_address(flow.src), ipaddress.ip_address(flow.dst)
    if src.version == 4:
        head = struct.pack(">BBHHHBBH4s4s", 0x45, flow.tos, size, n + 1, 0, 64, flow.proto, 0, src.packed, dst.packed)
        ip = head[:10] + struct.pack(">H", checksum(head)) + head[12:] + transport(flow, n, size - 20)
    else:
        ip = struct.pack(">IHBB", 6 << 28, size - 40, flow.proto, 64) + src.packed + dst.packed + transport(
            flow, n, size - 40)
    answer = flow.src.startswith(("198.51.100.", "203.0.113.", "2001:db8:2:"))
    mac = bytes.fromhex(MACS[not answer]) + bytes.fromhex(MACS[answer])
    tag = struct.pack(">HH", 0x8100, flow.vlan) if flow.vlan else b""
    return mac + tag + struct.pack(">H", 0x0800 if src.version == 4 else 0x86dd) + ip


def write_pcap(path, flows=FLOWS):
    frames = sorted((START + t, i, n) for i, f in enumerate(flows) for n, t in enumerate(f.times))
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
        for t, i, n in frames:
            data = frame(flows[i], n)
            data += bytes(max(0, 60 - len(data)))  # Ethernet's shortest frame
            micros = round(t * 1000000)
            out.write(struct.pack("<IIII", micros // 1000000, micros % 1000000, len(data), len(data)) + data)


# What fprobe sees: datagrams sent over the loopback interface, for it reads no files. (source, port, destination,
# port, payload octets, how many)
LOOPBACK = [("127.0.1.1", 40000, "127.0.2.1", 5000, 100, 1), ("127.0.1.2", 40001, "127.0.2.2", 5001, 101, 2),
            ("127.0.1.3", 40002, "127.0.2.3", 5002, 102, 3)]
