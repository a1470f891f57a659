#!/usr/bin/env python3
"""quirks -- captures of exporters that misbehave, for rows of registry/quirks.tsv that no recorded capture shows.

    tests/golden/quirks.py        write tests/golden/quirks/*.pcap anew

Six minutes of NetFlow v9, a packet of two flows every 20 seconds, the template every minute. The same octets each time.
"""
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
sys.dont_write_bytecode = True
import packets  # noqa: E402

START_S = 1_795_381_200  # 2026-11-22T21:00:00Z
UP_S = 40_000  # how long the exporter has been up then
TIMES = ((packets.FIRST, 4), (packets.LAST, 4))
FIELDS = packets.FIELDS + TIMES


def messages(unit=1000, clock=lambda s: s, times=lambda up, n: (up - 9000, up - 1000)):
    """(seconds, payload): unit is a second of uptime, clock the export time, times those of flow n in ms of uptime."""
    for i in range(18):
        at = i * 20
        up = UP_S + at
        sets, count = b"", 0
        if i % 3 == 0:
            sets, count = packets.template_set(0, fields=FIELDS), 1
        body = b""
        for n in (2 * i, 2 * i + 1):
            first, last = times(up * 1000, n)
            body += packets.record(n) + struct.pack("!II", first * unit // 1000, last * unit // 1000)
        body += bytes(-len(body) % 4)
        sets += struct.pack("!HH", packets.TEMPLATE, 4 + len(body)) + body
        yield START_S + at, struct.pack("!HHIIII", 9, count + 2, up * unit, clock(START_S + at), i, 7) + sets


def capture(**how):
    return packets.pcap([(s * 1_000_000, packets.ethernet_udp("192.0.2.1", 50000, "192.0.2.99", 2055, payload))
                         for s, payload in messages(**how)])


# Name -> capture. `sound` is the same exporter without a fault.
CAPTURES = {
    "sound": {},
    "uptime-seconds": {"unit": 1},
    "export-time-fixed": {"clock": lambda s: START_S - 86400},
    "record-time-broken": {"times": lambda up, n: (up - n * 7919 % 5000, up - 20_000 - n * 104_729 % 30_000)},
}


def main():
    for name, how in CAPTURES.items():
        path = HERE / "quirks" / f"{name}.pcap"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(capture(**how))
        print(path.name)


if __name__ == "__main__":
    main()
