"""Export packets out of files: captures, files of one payload, files of IPFIX messages, hex dumps in a text."""
import gzip
import os
import pathlib
import re
import struct

HERE = pathlib.Path(__file__).resolve().parent
SHARED = HERE.parent.parent.parent / "shared"
CORPUS = pathlib.Path(os.environ.get("WEIR_CORPUS") or SHARED / "corpus")
DUMPS = SHARED / "netflow-0.12.2" / "netflow-0.12.2.diff.txt"


def udp_payload(frame):
    """The payload of an Ethernet frame with a whole UDP datagram, None for any other."""
    off, kind = 14, frame[12:14]
    while kind in (b"\x81\x00", b"\x88\xa8") and len(frame) >= off + 4:
        kind, off = frame[off + 2:off + 4], off + 4
    if kind == b"\x08\x00" and len(frame) >= off + 20:
        if frame[off + 9] != 17 or struct.unpack_from("!H", frame, off + 6)[0] & 0x3FFF:
            return None
        off += 4 * (frame[off] & 15)
    elif kind == b"\x86\xdd" and len(frame) >= off + 40:
        if frame[off + 6] != 17:
            return None
        off += 40
    else:
        return None
    if len(frame) < off + 8:
        return None
    return frame[off + 8:off + struct.unpack_from("!H", frame, off + 4)[0]]


def pcap(data):
    """The UDP payloads of a capture, in order."""
    order = {b"\xd4\xc3\xb2\xa1": "<", b"\x4d\x3c\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">",
             b"\xa1\xb2\x3c\x4d": ">"}.get(data[:4])
    if order is None or struct.unpack_from(order + "I", data, 20)[0] != 1:
        raise ValueError("no pcap file of Ethernet frames")
    off, out = 24, []
    while off + 16 <= len(data):
        size = struct.unpack_from(order + "I", data, off + 8)[0]
        payload = udp_payload(data[off + 16:off + 16 + size])
        if payload:
            out.append(payload)
        off += 16 + size
    return out


def messages(data):
    """The messages of an IPFIX file."""
    out, off = [], 0
    while off + 16 <= len(data):
        size = struct.unpack_from("!H", data, off + 2)[0]
        if size < 16:
            break
        out.append(data[off:off + size])
        off += size
    return out


def read(path):
    """The payloads of a file of the corpus; files with .gz behind their name too."""
    data, name = path.read_bytes(), path.name
    if name.endswith(".gz"):
        data, name = gzip.decompress(data), name[:-3]
    if name.endswith(".pcap"):
        return pcap(data)
    if name.endswith(".ipfix"):
        return messages(data)
    return [data]


def is_export(payload):
    """NetFlow or IPFIX by its version; not sFlow, whose version has four octets."""
    return len(payload) >= 2 and payload[0] == 0 and payload[1] in (1, 5, 7, 9, 10)


def corpus():
    """(name, payloads) of each file of the corpus that holds NetFlow or IPFIX."""
    for path in sorted(CORPUS.rglob("*")):
        if re.search(r"\.(pcap|dat|bin|dump|ipfix)(\.gz)?$", path.name) and path.is_file():
            payloads = [p for p in read(path) if is_export(p)]
            if payloads:
                yield path.relative_to(CORPUS).as_posix(), payloads


def dumps():
    """The packets that stand as hex text, over several lines, in the published tests of netflow 0.12.2."""
    if not DUMPS.is_file():
        return []
    text = DUMPS.read_text(encoding="utf-8", errors="replace")
    text = re.sub(r"#[^\n]*", "", text)
    out = []
    for literal in re.finditer(r'(?:"[0-9a-fA-F]{8,}"[\s\\]*)+', text):
        octets = bytes.fromhex("".join(re.findall(r'"([0-9a-fA-F]+)"', literal.group())))
        if octets not in out:
            out.append(octets)
    return out
