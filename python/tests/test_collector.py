"""netflow.collector: the listener, the generator, the command line, and the receiver below them."""
import contextlib
import gzip
import json
import os
import queue
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from unittest import mock

import packets as p
from netflow import collector
from netflow._weir import Receiver
from netflow.collector import (ListenerStats, ParsedPacket, QueuingRequestHandler, QueuingUDPListener, RawPacket,
                               ThreadedNetFlowListener, get_export_packets)

PATIENCE = 30  # seconds after which a test has failed


def sender(address="127.0.0.1"):
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 0))
    return sock


def send(listener, datagrams, address="127.0.0.1"):
    """From one port of an address."""
    with contextlib.closing(sender(address)) as sock:
        for datagram in datagrams:
            sock.sendto(datagram, listener.server.server_address[:2])
        return sock.getsockname()


def rest(listener):
    """All that comes until the end of a listener that finishes."""
    found = []
    with contextlib.suppress(queue.Empty):
        while True:
            found.append(listener.get(timeout=PATIENCE))
    return found


def collect(*datagrams, host="127.0.0.1", address="127.0.0.1"):
    """(parsed packets, stats) of datagrams that arrive before the listener is started."""
    with listening(host) as listener:
        send(listener, datagrams, address)
        listener.start()
        listener.finish()
        return rest(listener), listener.stats


@contextlib.contextmanager
def listening(host="127.0.0.1"):
    listener = ThreadedNetFlowListener(host, 0)
    try:
        yield listener
    finally:
        listener.stop()
        listener.join(PATIENCE)
        assert not listener.is_alive(), "it does not stop"


def numbers(packet):
    """The n of p.record(n) of each flow."""
    version = packet.export.header.version
    name = {9: "IN_PKTS", 10: "packetDeltaCount"}.get(version, "IN_PACKETS")
    return [flow.data[name] - 1 for flow in packet.export.flows]


class Packets(unittest.TestCase):
    """What arrives comes out."""

    def test_v1(self):
        (packet,), _ = collect(p.v1(*(p.v1_flow(n)[0] for n in range(2))))
        self.assertEqual(packet.client[0], "127.0.0.1")
        self.assertEqual((packet.export.header.version, packet.export.header.count), (1, 2))
        self.assertEqual([flow.data for flow in packet.export.flows], [p.v1_flow(n)[1] for n in range(2)])

    def test_v5(self):
        (packet,), _ = collect(p.v5(*(p.v5_flow(n)[0] for n in range(3))))
        self.assertEqual((packet.export.header.version, packet.export.header.count), (5, 3))
        self.assertEqual([flow.data for flow in packet.export.flows], [p.v5_flow(n)[1] for n in range(3)])

    def test_v9(self):
        found, _ = collect(p.v9_template(), p.v9_data([1, 2]))
        self.assertEqual([numbers(packet) for packet in found], [[], [1, 2]])
        self.assertEqual(found[1].export.flows[0].IPV4_SRC_ADDR, "10.0.0.1")
        self.assertEqual(len(found[1].export.templates), 1)

    def test_v9_template_behind_data(self):
        datagram = p.v9(p.aligned(256, p.record(1)), p.a_set(0, p.template(256, *p.FIELDS)), count=2)
        (packet,), _ = collect(datagram)
        self.assertEqual(numbers(packet), [1])

    def test_ipfix(self):
        found, _ = collect(p.ipfix_template(), p.ipfix_data([1, 2]))
        self.assertEqual([numbers(packet) for packet in found], [[], [1, 2]])

    def test_what_a_packet_is(self):
        with listening() as listener:
            before = time.time()
            name = send(listener, [p.v5(p.v5_flow(1)[0])])
            listener.start()
            packet = listener.get(timeout=PATIENCE)
            self.assertIsInstance(packet, ParsedPacket)
            self.assertEqual(packet._fields, ("ts", "client", "export"))
            self.assertEqual(packet.client, name)
            self.assertTrue(before <= packet.ts <= time.time())

    def test_time_of_arrival(self):
        """Not that of parsing; different for all."""
        with listening() as listener:
            send(listener, [p.v5()] * 50)
            sent = time.time()
            while listener.stats.received < 50:
                time.sleep(0)
            taken = time.time()
            send(listener, [p.v5()] * 50)
            listener.start()
            listener.finish()
            times = [packet.ts for packet in rest(listener)]
        self.assertEqual(len(set(times)), 100)
        self.assertEqual(times, sorted(times))
        self.assertLessEqual(times[49], taken)
        self.assertGreaterEqual(times[50], sent)

    def test_ipv6(self):
        (packet,), _ = collect(p.v5(), host="::1", address="::1")
        self.assertEqual(packet.client[0], "::1")
        self.assertEqual(len(packet.client), 4)
        self.assertEqual(packet.client[2:], (0, 0))

    def test_large(self):
        (packet,), _ = collect(p.ipfix(p.a_set(2, p.template(256, *p.FIELDS)), p.a_set(256, *map(p.record, range(2400)))))
        self.assertEqual(numbers(packet), list(range(2400)))

    def many(self, at):
        """A thousand packets, the template at a place among them."""
        datagrams = [p.v9_data(range(n, n + 12), sequence=n) for n in range(999)]
        datagrams.insert(at, p.v9_template())
        found, stats = collect(*datagrams)
        self.assertEqual(len(found), 1000)
        self.assertEqual(stats, ListenerStats(1000, 1000, 0, 0, 0, 0))
        self.assertEqual(sum(len(packet.export.flows) for packet in found), 999 * 12)
        firsts = [numbers(packet)[0] for packet in found if packet.export.flows]
        self.assertEqual(firsts, list(range(999)))  # none overtook another

    def test_template_first(self):
        self.many(0)

    def test_template_in_the_middle(self):
        self.many(500)

    def test_template_last(self):
        self.many(999)

    def test_ipfix_before_and_after_its_template(self):
        found, _ = collect(p.ipfix_data([1]), p.ipfix_template(), p.ipfix_data([2]))
        self.assertEqual([numbers(packet) for packet in found], [[], [1], [2]])

    def test_no_template(self):
        for datagram in p.v9_data([1]), p.ipfix_data([1]):
            found, stats = collect(datagram)
            self.assertEqual(found, [])
            self.assertEqual(stats, ListenerStats(1, 0, 0, 1, 0, 0))

    def test_one_by_one(self):
        with listening() as listener:
            listener.start()
            for n in range(20):
                send(listener, [p.v5(p.v5_flow(n)[0])])
                self.assertEqual(numbers(listener.get(timeout=PATIENCE)), [n])

    def test_input(self):
        with listening() as listener:
            listener.start()
            raw = RawPacket(12.5, ("192.0.2.1", 2055), p.v5(p.v5_flow(1)[0]))
            listener.input.put(raw)
            packet = listener.get(timeout=PATIENCE)
            self.assertEqual((packet.ts, packet.client, numbers(packet)), (12.5, ("192.0.2.1", 2055), [1]))
            self.assertEqual(listener.stats, ListenerStats(1, 1, 0, 0, 0, 0))

    def test_input_that_is_no_packet(self):
        """Whoever puts it there hears of it; the thread goes on."""
        raw = RawPacket(12.5, ("192.0.2.1", 2055), p.v5(p.v5_flow(1)[0]))
        with listening() as listener:
            listener.start()
            for wrong in (None, 5, (), (1, 2), raw._replace(ts=None), raw._replace(ts="1"), raw._replace(client=None),
                          raw._replace(client=()), raw._replace(client=([],)), raw._replace(data=None), raw._replace(data="ab")):
                with self.subTest(wrong=wrong):
                    self.assertRaises((TypeError, ValueError), listener.input.put, wrong)
            listener.input.put(raw._replace(data=bytearray(raw.data)))
            listener.input.put_nowait(raw._replace(data=bytearray(p.v9_data([1])[:-1])))
            self.assertEqual(numbers(listener.get(timeout=PATIENCE)), [1])
            wait_until(lambda: listener.stats.rejected == 1)
            self.assertTrue(listener.is_alive())

    def test_input_shows_what_waits(self):
        with listening() as listener:
            self.assertTrue(listener.input.empty())
            send(listener, [p.v5()] * 3)
            wait_until(lambda: listener.input.qsize() == 3)
            self.assertFalse(listener.input.empty())


def wait_until(true):
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            raise AssertionError("it does not come")
        time.sleep(0.001)


class BadPackets(unittest.TestCase):
    def test_are_ignored(self):
        good = [p.v9_template(), p.v9_data([1]), p.v9_data([2])]
        bad = [b"\xff" * 21, b"", b"\0", b"\0\5", p.v9_data([1])[:30], p.ipfix_data([1])[:-3], b"hello", b"0009"]
        with self.assertLogs(level="WARNING") as logs:
            found, stats = collect(*(datagram for b in bad for datagram in (b, *good)))
        self.assertEqual(len(found), 3 * len(bad))
        self.assertEqual(stats, ListenerStats(4 * len(bad), 3 * len(bad), len(bad), 0, 0, 0))
        self.assertIn("65535", logs.output[0])
        self.assertIn("127.0.0.1", logs.output[0])

    def test_messages_are_limited(self):
        with self.assertLogs("netflow-collector", "WARNING") as logs:
            _, stats = collect(*[b"\xff" * 21] * 500)
        self.assertEqual(stats.rejected, 500)
        self.assertEqual(len(logs.output), collector._COMPLAINTS + 1)
        self.assertIn(f"{500 - collector._COMPLAINTS} more", logs.output[-1])

    def test_whatever_parsing_raises(self):
        with mock.patch.object(collector, "parse_packet", side_effect=RuntimeError("odd")):
            with self.assertLogs("netflow-collector", "ERROR") as logs:
                found, stats = collect(p.v5())
        self.assertEqual((found, stats.rejected), ([], 1))
        self.assertIn("RuntimeError: odd", logs.output[0])


OTHER = ((12, 4), (8, 4)) + p.FIELDS[2:]  # addresses the other way round


class Templates(unittest.TestCase):
    def sources(self, packet):
        return [flow.data["IPV4_SRC_ADDR"] for flow in packet.export.flows]

    def test_of_each_client(self):
        with listening() as listener:
            send(listener, [p.v9_template()], "127.0.0.1")
            send(listener, [p.v9_template(fields=OTHER)], "127.0.0.2")
            send(listener, [p.v9_data([1])], "127.0.0.1")
            send(listener, [p.v9_data([1])], "127.0.0.2")
            send(listener, [p.v9_data([1])], "127.0.0.3")
            listener.start()
            listener.finish()
            found = rest(listener)
            self.assertEqual([self.sources(packet) for packet in found], [[], [], ["10.0.0.1"], ["192.0.2.1"]])
            self.assertEqual(listener.stats.waiting, 1)

    def test_ports_share_them(self):
        with listening() as listener:
            for datagram in p.v9_template(), p.v9_data([1]):
                send(listener, [datagram])
            listener.start()
            listener.finish()
            self.assertEqual(len(rest(listener)), 2)

    def test_of_each_domain(self):
        found, _ = collect(p.v9_template(source=1), p.v9_data([1], source=2), p.v9_data([1], source=1),
                           p.v9_template(source=2, fields=OTHER))
        self.assertEqual([self.sources(packet) for packet in found], [[], ["10.0.0.1"], [], ["192.0.2.1"]])

    def test_v9_and_ipfix_are_two_things(self):
        found, stats = collect(p.v9_template(), p.ipfix_data([1]))
        self.assertEqual((len(found), stats.waiting), (1, 1))

    def test_two_that_are_missing(self):
        both = p.v9(p.aligned(256, p.record(1)), p.aligned(257, p.record(2)), count=2)
        found, stats = collect(both, p.v9_template(256), p.v9_template(257))
        self.assertEqual([numbers(packet) for packet in found], [[], [], [1, 2]])
        self.assertEqual(stats.waiting, 0)

    def test_waiting_is_limited(self):
        data = [p.v9_data([n]) for n in range(10)]
        room = 4 * (len(data[0]) + collector._WAITING_OVERHEAD)
        with mock.patch.object(collector, "MAX_WAITING_OCTETS", room), self.assertLogs(level="ERROR") as logs:
            found, stats = collect(*data, p.v9_template())
        self.assertEqual([numbers(packet) for packet in found], [[], [6], [7], [8], [9]])
        self.assertEqual(stats, ListenerStats(11, 5, 0, 0, 6, 0))
        self.assertIn("No room", logs.output[0])

    def test_too_old(self):
        with mock.patch.object(collector, "PACKET_TIMEOUT", -1), self.assertLogs(level="WARNING"):
            found, stats = collect(p.v9_data([1]), p.v9_template())
        self.assertEqual((len(found), stats), (1, ListenerStats(2, 1, 0, 0, 1, 0)))

    def test_expires(self):
        """Without any packet that would remind it."""
        with listening() as listener, self.assertLogs(level="WARNING") as logs:
            listener.start()
            listener.input.put(RawPacket(time.time() - collector.PACKET_TIMEOUT + 0.2, ("192.0.2.1", 1), p.v9_data([1])))
            wait_until(lambda: listener.stats.expired == 1)
            self.assertEqual(listener.stats, ListenerStats(1, 0, 0, 0, 1, 0))
            self.assertIn("did not come", logs.output[-1])

    def test_look_again_costs_little(self):
        """Right after a long look there is none, but later there is."""
        with mock.patch.multiple(collector, _RETRY_FREE=0, _RETRY_SHARE=1e9), listening() as listener:
            send(listener, [p.v9_data([1]), p.v9_data([2], set_id=257), p.v9_template(256), p.v9_template(257)])
            listener.start()
            found = [listener.get(timeout=PATIENCE) for _ in range(3)]
            self.assertEqual([numbers(packet) for packet in found], [[], [1], []])
            wait_until(lambda: listener.stats.parsed == 3)
            exporter, _ = next(iter(listener._waiting.packets.values()))
            exporter.not_before = 0.0
            self.assertEqual(numbers(listener.get(timeout=PATIENCE)), [2])

    def test_number_of_sources_is_limited(self):
        with mock.patch.object(collector, "MAX_EXPORTERS", 3), listening() as listener:
            listener.start()
            for n in range(1, 5):
                send(listener, [p.v9_template(source=n)])
                listener.get(timeout=PATIENCE)
            send(listener, [p.v9_data([1], source=1), p.v9_data([3], source=4)])
            listener.finish()
            self.assertEqual([numbers(packet) for packet in rest(listener)], [[3]])
            self.assertEqual(listener.stats, ListenerStats(6, 5, 0, 1, 0, 0))

    def test_what_waits_goes_with_its_source(self):
        with mock.patch.object(collector, "MAX_EXPORTERS", 1), listening() as listener:
            listener.start()
            send(listener, [p.v9_data([1], source=1)])
            wait_until(lambda: listener.stats.waiting == 1)
            send(listener, [p.v9_template(source=2)])
            listener.finish()
            self.assertEqual(len(rest(listener)), 1)
            self.assertEqual(listener.stats, ListenerStats(2, 1, 0, 0, 1, 0))

    def test_memory_of_a_source_is_limited(self):
        many = [p.v9(*(p.a_set(0, p.template(n, *p.FIELDS)) for n in range(first, first + 20)), count=20)
                for first in range(256, 1256, 20)]
        with mock.patch.object(collector, "MAX_SOURCE_TEMPLATE_OCTETS", 100_000), listening() as listener:
            send(listener, many)
            with self.assertLogs(level="WARNING"):
                listener.start()
                listener.finish()
                found = rest(listener)
            self.assertEqual(len(found), 50)
            exporter = listener._exporters.of(found[0].client, many[0])
            self.assertLess(len(exporter.templates["netflow"]), 200)

    def test_refreshed_templates_are_kept(self):
        with mock.patch.multiple(collector, MAX_SOURCE_TEMPLATE_OCTETS=50_000, MAX_TEMPLATE_OCTETS=100_000):
            found, _ = collect(*[p.ipfix_template(domain=1), p.ipfix_template(domain=2)] * 300, p.ipfix_data([1], domain=1))
        self.assertEqual(numbers(found[-1]), [1])

    def test_memory_of_all_is_limited(self):
        with mock.patch.object(collector, "MAX_TEMPLATE_OCTETS", 1_000_000), listening() as listener:
            send(listener, [p.v9_template(source=n) for n in range(500)])
            listener.start()
            listener.finish()
            self.assertEqual(len(rest(listener)), 500)
            self.assertLess(len(listener._exporters._all), 100)
            self.assertLessEqual(listener._exporters._octets, 1_000_000)


class Loss(unittest.TestCase):
    def test_is_counted_and_told(self):
        with mock.patch.multiple(collector, MAX_RECEIVED_OCTETS=1, RECEIVE_BUFFER_OCTETS=1), listening() as listener:
            listener.server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000)
            send(listener, [p.v5(*[p.v5_flow(1)[0]] * 25)] * 500)
            self.assertGreater(listener.dropped, 300)
            with self.assertLogs("netflow-collector", "WARNING") as logs:
                listener.start()
                listener.finish()
                found = rest(listener)
            self.assertEqual(len(found) + listener.dropped, 500)
            self.assertEqual(listener.stats.dropped, listener.dropped)
            self.assertIn(f"{listener.dropped} packets were dropped", logs.output[0])
            listener.stop()
            listener.join(PATIENCE)
            self.assertEqual(len(found) + listener.dropped, 500)

    def test_nothing_is_lost_while_python_is_busy(self):
        with listening() as listener:
            send(listener, [p.v5(p.v5_flow(n)[0]) for n in range(5000)])  # nobody parses
            self.assertEqual(listener.dropped, 0)
            listener.start()
            listener.finish()
            self.assertEqual([numbers(packet)[0] for packet in rest(listener)], list(range(5000)))

    def test_parsed_packets_are_limited(self):
        with mock.patch.object(collector, "MAX_PARSED_PACKETS", 10), listening() as listener:
            send(listener, [p.v5(p.v5_flow(n)[0]) for n in range(2000)])
            listener.start()
            listener.finish()
            wait_until(lambda: listener.output.qsize() >= 10)
            first = listener.get(timeout=PATIENCE)
            self.assertLess(listener.output.qsize(), 10 + collector._BATCH)
            self.assertLess(listener.stats.parsed, 10 + 4 * collector._BATCH)
            found = [first] + rest(listener)
            self.assertEqual([numbers(packet)[0] for packet in found], list(range(2000)))


class Life(unittest.TestCase):
    def test_is_a_thread(self):
        with listening() as listener:
            self.assertIsInstance(listener, threading.Thread)
            self.assertFalse(listener.is_alive())
            listener.start()
            self.assertTrue(listener.is_alive())
            listener.stop()
            listener.join(PATIENCE)
            self.assertFalse(listener.is_alive())

    def test_port_is_free_after_join(self):
        for start in True, False:
            listener = ThreadedNetFlowListener("127.0.0.1", 0)
            address = listener.server.server_address
            self.assertGreater(address[1], 0)
            self.assertEqual(listener.server.socket.getsockname(), address)
            if start:
                listener.start()
            listener.stop()
            listener.join(PATIENCE)
            again = ThreadedNetFlowListener(*address)
            self.assertEqual(again.server.server_address, address)
            again.stop()
            again.join(PATIENCE)

    def test_port_in_use(self):
        with listening() as listener, self.assertRaises(OSError):
            ThreadedNetFlowListener(*listener.server.server_address)

    def test_stop_twice_and_before_start(self):
        with listening() as listener:
            listener.stop()
            listener.stop()
            with self.assertRaises(queue.Empty):
                listener.get()
            listener.start()  # ends at once

    def test_get_in_time(self):
        with listening() as listener:
            listener.start()
            with self.assertRaises(queue.Empty):
                listener.get(block=False)
            with self.assertRaises(queue.Empty):
                listener.get(timeout=0.01)
            with self.assertRaises(queue.Empty):
                listener.get(True, 0)
            with self.assertRaises(ValueError):
                listener.get(timeout=-1)

    def test_get_ends_with_the_listener(self):
        with listening() as listener:
            listener.start()
            ended = queue.Queue()

            def wait():
                try:
                    ended.put(listener.get())
                except queue.Empty:
                    ended.put("end")
            waiting = threading.Thread(target=wait)
            waiting.start()
            listener.stop()
            self.assertEqual(ended.get(timeout=PATIENCE), "end")
            waiting.join()

    def test_stop_keeps_what_was_parsed(self):
        with listening() as listener:
            listener.start()
            send(listener, [p.v5()] * 3)
            wait_until(lambda: listener.output.qsize() == 3)
            listener.stop()
            listener.join(PATIENCE)
            self.assertEqual(len(rest(listener)), 3)

    def test_stop_does_not_wait_for_get(self):
        with mock.patch.object(collector, "MAX_PARSED_PACKETS", 1), listening() as listener:
            send(listener, [p.v5()] * 2000)
            listener.start()
            wait_until(lambda: listener.output.qsize())
            listener.stop()
            listener.join(PATIENCE)
            self.assertFalse(listener.is_alive())

    def test_finish_takes_nothing_more(self):
        with listening() as listener:
            send(listener, [p.v5()] * 3)
            listener.finish()
            wait_until(lambda: listener._receiver.packets == 3)
            with contextlib.suppress(OSError):
                send(listener, [p.v5()] * 3)
            listener.start()
            self.assertEqual(len(rest(listener)), 3)
            self.assertEqual(listener.dropped, 0)

    def test_shutdown_of_the_server(self):
        with listening() as listener:
            listener.start()
            listener.server.shutdown()
            with self.assertRaises(queue.Empty):
                listener.get(timeout=PATIENCE)
            self.assertRaises(RuntimeError, listener.server.serve_forever)

    def test_output_is_a_queue(self):
        with listening() as listener:
            self.assertIsInstance(listener.output, queue.Queue)
            listener.start()
            send(listener, [p.v5()])
            self.assertEqual(listener.output.get(timeout=PATIENCE).export.header.version, 5)
            self.assertTrue(listener.output.empty())


class Old(unittest.TestCase):
    """The classes below the listener of 0.12.2."""

    def test_server(self):
        packets = queue.Queue()
        server = QueuingUDPListener(("127.0.0.1", 0), packets)
        self.assertIs(server.RequestHandlerClass, QueuingRequestHandler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with contextlib.closing(sender()) as sock:
                sock.sendto(b"x" * 20_000, server.server_address)
                packet = packets.get(timeout=PATIENCE)
                self.assertIsInstance(packet, RawPacket)
                self.assertEqual((packet.client, packet.data), (sock.getsockname(), b"x" * 20_000))
                for n in range(50):
                    sock.sendto(b"%d" % n, server.server_address)
                self.assertEqual([packets.get(timeout=PATIENCE).data for _ in range(50)], [b"%d" % n for n in range(50)])
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def test_names(self):
        self.assertEqual(RawPacket._fields, ("ts", "client", "data"))
        self.assertEqual(collector.PACKET_TIMEOUT, 3600)
        self.assertEqual(collector.logger.name, "netflow-collector")

    def test_import_is_silent(self):
        code = "import netflow.collector, netflow.analyzer, logging; print(netflow.collector.logger.handlers)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        self.assertEqual((done.stdout, done.stderr), ("[]\n", ""))


class Generator(unittest.TestCase):
    def listen(self):
        """(generator that runs, how to send to it)"""
        made = []
        real = ThreadedNetFlowListener

        def make(host, port):
            made.append(real(host, port))
            send(made[0], [p.v5()])
            return made[0]
        with mock.patch.object(collector, "ThreadedNetFlowListener", make):
            packets = get_export_packets("127.0.0.1", 0)
            self.assertEqual(next(packets).export.header.version, 5)
        self.addCleanup(packets.close)
        return packets, made[0]

    def test_until_signal(self):
        """A signal, wherever the program is just then, ends the loop, and no packet is lost."""
        for number in signal.SIGTERM, signal.SIGINT:
            before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
            packets, listener = self.listen()
            send(listener, [p.v5(p.v5_flow(n)[0]) for n in range(100)])
            signal.raise_signal(number)
            self.assertEqual([numbers(packet) for packet in packets], [[n] for n in range(100)])
            self.assertFalse(listener.is_alive())
            self.assertEqual([signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)], before)

    def test_signal_while_it_waits(self):
        packets, listener = self.listen()
        me = threading.get_ident()
        killer = threading.Thread(target=lambda: signal.pthread_kill(me, signal.SIGTERM))
        real = collector._Output._await

        def wait(*args):
            killer.start()
            return real(*args)
        with mock.patch.object(collector._Output, "_await", wait):
            self.assertEqual(list(packets), [])
        killer.join()

    def test_second_signal_ends_at_once(self):
        packets, listener = self.listen()
        send(listener, [p.v5()] * 100)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        self.assertLess(len(list(packets)), 100)

    def test_closed_early(self):
        before = signal.getsignal(signal.SIGTERM)
        packets, listener = self.listen()
        packets.close()
        self.assertFalse(listener.is_alive())
        self.assertEqual(signal.getsignal(signal.SIGTERM), before)

    def test_in_another_thread(self):
        found = queue.Queue()

        def use():
            packets, listener = self.listen()
            found.put("one")
            listener.finish()
            found.put(list(packets))
        thread = threading.Thread(target=use)
        thread.start()
        self.assertEqual(found.get(timeout=PATIENCE), "one")
        self.assertEqual(found.get(timeout=PATIENCE), [])
        thread.join()

    def test_no_such_address(self):
        with self.assertRaises(OSError):
            next(get_export_packets("192.0.2.1", 0))


class CommandLine(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.file = Path(place.name, "flows.gz")

    def run_it(self, *args, datagrams=(), end=signal.SIGTERM):
        """What it said and its exit status."""
        command = [sys.executable, "-m", "netflow.collector", "--host", "127.0.0.1", "-p", "0", "-D", *map(str, args)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            watch = threading.Timer(PATIENCE, process.kill)
            watch.start()
            line = process.stderr.readline()
            port = int(re.search(r"port (\d+)$", line)[1])
            with contextlib.closing(sender()) as sock:
                for datagram in datagrams:
                    sock.sendto(datagram, ("127.0.0.1", port))
            process.send_signal(end)
            said = line + process.stderr.read()
            watch.cancel()
        return said, process.returncode

    def entries(self):
        return [json.loads(line) for line in gzip.decompress(self.file.read_bytes()).splitlines()]

    def test_file(self):
        before = time.time()
        said, status = self.run_it("-o", self.file, datagrams=[
            p.v5(*(p.v5_flow(n)[0] for n in range(2))), p.v9_data([1]), p.v9_template(), p.ipfix_template(), b"\xff" * 20])
        self.assertEqual(status, 0, said)
        entries = self.entries()
        self.assertEqual([list(entry.values())[0]["header"]["version"] for entry in entries], [5, 9, 9, 10])
        (ts, first), = entries[0].items()
        self.assertTrue(before <= float(ts) <= time.time())
        self.assertEqual(list(first), ["client", "header", "flows"])
        self.assertEqual(first["client"][0], "127.0.0.1")
        self.assertEqual(first["flows"], [p.v5_flow(n)[1] for n in range(2)])
        self.assertEqual(first["header"], {
            "version": 5, "count": 2, "uptime": p.UPTIME_MS, "timestamp": p.EXPORT_S, "timestamp_nano": 5,
            "sequence": 42, "engine_type": 1, "engine_id": 2, "sampling_interval": 0x4064})
        (_, late), = entries[2].items()
        self.assertEqual(len(late["flows"]), 1)
        self.assertIn("Processed a v9 packet", said)
        self.assertIn("Received signal 15", said)

    def test_ipfix_options_stand_among_the_flows(self):
        options = p.a_set(3, p.ipfix_options(300, [(149, 4)], [(34, 4)])) + p.a_set(300, struct.pack("!II", 7, 100))
        _, status = self.run_it("-o", self.file, datagrams=[
            p.ipfix(p.a_set(2, p.template(256, *p.FIELDS)), p.a_set(256, p.record(1)), options, p.a_set(256, p.record(2)))])
        self.assertEqual(status, 0)
        (entry,), = (list(entry.values()) for entry in self.entries())
        self.assertEqual([flow.get("packetDeltaCount") for flow in entry["flows"]], [2, None, 3])
        self.assertEqual(entry["flows"][1], {"observationDomainId": 7, "samplingInterval": 100})

    def test_appends(self):
        for end in signal.SIGINT, signal.SIGTERM:
            _, status = self.run_it("--file", self.file, datagrams=[p.v5()], end=end)
            self.assertEqual(status, 0)
        self.assertEqual(len(self.entries()), 2)

    def test_no_packet_no_file(self):
        _, status = self.run_it("-o", self.file)
        self.assertEqual(status, 0)
        self.assertFalse(self.file.exists())

    def test_quiet(self):
        """Without --debug only what is wrong is told."""
        code = ("import sys, threading, signal; from netflow import collector\n"
                "made = collector.ThreadedNetFlowListener\n"
                "class Listener(made):\n"
                "    def __init__(self, *args):\n"
                "        super().__init__(*args); signal.raise_signal(signal.SIGTERM)\n"
                "collector.ThreadedNetFlowListener = Listener\n"
                "sys.exit(collector.main(['--host', '127.0.0.1', '-p', '0', '-o', sys.argv[1]]))\n")
        done = subprocess.run([sys.executable, "-c", code, self.file], capture_output=True, text=True, check=False,
                              timeout=PATIENCE)
        self.assertEqual((done.stdout, done.stderr, done.returncode), ("", "", 0))

    def fails(self, *args):
        done = subprocess.run([sys.executable, "-m", "netflow.collector", *map(str, args)], capture_output=True, text=True,
                              check=False, timeout=PATIENCE)
        self.assertNotIn("Traceback", done.stderr)
        return done.returncode, done.stderr

    def test_errors(self):
        with contextlib.closing(sender()) as sock:
            port = sock.getsockname()[1]
            status, said = self.fails("--host", "127.0.0.1", "--port", port, "-o", self.file)
        self.assertEqual(status, 1)
        self.assertIn(f"127.0.0.1 port {port}", said)
        self.assertFalse(self.file.exists())
        status, said = self.fails("--host", "127.0.0.1", "-p", 0, "-o", "/nonexistent/file.gz")
        self.assertEqual(status, 1)
        self.assertIn("/nonexistent/file.gz", said)
        self.assertEqual(self.fails("-p", 70000)[0], 2)
        self.assertEqual(self.fails("-p", "x")[0], 2)
        self.assertEqual(self.fails("--bogus")[0], 2)

    def test_disk_full(self):
        said, status = self.run_it("-o", "/dev/full", datagrams=[p.v5()])
        self.assertEqual(status, 1)
        self.assertIn("No space left", said)

    def test_help(self):
        done = subprocess.run([sys.executable, "-m", "netflow.collector", "-h"], capture_output=True, text=True, check=True)
        for option in "--host", "--port", "-p", "--file", "-o", "--debug", "-D":
            self.assertIn(option, done.stdout)


class Lines(unittest.TestCase):
    """The file behind the command line."""

    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.file = Path(place.name, "flows.gz")

    def test_whole_members(self):
        lines = collector._GzipLines(str(self.file))
        with mock.patch.multiple(collector._GzipLines, SECONDS=0, MEMBER_OCTETS=1 << 30):
            for n in range(3):
                lines.write(b"%d\n" % n)
                self.assertEqual(gzip.decompress(self.file.read_bytes()), b"".join(b"%d\n" % m for m in range(n + 1)))
        lines.close()

    def test_many_in_a_member(self):
        lines = collector._GzipLines(str(self.file))
        with mock.patch.object(collector._GzipLines, "SECONDS", 1000):
            for _ in range(1000):
                lines.write(b"x" * 99 + b"\n")
            self.assertEqual(self.file.stat().st_size, 0)
            lines.write(b"y" * lines.MEMBER_OCTETS + b"\n")
            self.assertEqual(self.file.read_bytes().count(b"\x1f\x8b\x08"), 1)
            lines.write(b"z\n")
            lines.tick()
        lines.close()
        self.assertTrue(gzip.decompress(self.file.read_bytes()).endswith(b"y\nz\n"))

    def test_failed_member_leaves_the_file_as_it_was(self):
        lines = collector._GzipLines(str(self.file))
        lines.write(b"one\n")
        lines.flush()
        whole = self.file.read_bytes()
        real = os.write

        def half(fd, data):
            if len(data) < 10:
                raise OSError(28, "No space left on device")
            return real(fd, data[:len(data) - 5])
        lines.write(b"two\n")
        with mock.patch("os.write", half), self.assertRaises(OSError):
            lines.flush()
        self.assertEqual(self.file.read_bytes(), whole)
        lines.close()

    def line(self, **flow):
        export = mock.Mock()
        export.header.version = 9
        export.header.to_dict.return_value = {"version": 9}
        export.options = []
        export.sets = []
        export.flows = [mock.Mock(data=flow)]
        return json.loads(collector._line(ParsedPacket(1.5, ("192.0.2.1", 2), export)), parse_constant=self.fail)

    def test_line(self):
        self.assertEqual(self.line(A=1), {"1.5": {"client": ["192.0.2.1", 2], "header": {"version": 9},
                                                  "flows": [{"A": 1}]}})

    def test_what_json_has_no_word_for(self):
        flow = self.line(a=float("nan"), b=float("inf"), c=-float("inf"), d=(1, 2), e=b"\0\xff", f=1.5)["1.5"]["flows"][0]
        self.assertEqual(flow, {"a": "NaN", "b": "Infinity", "c": "-Infinity", "d": [1, 2], "e": "00ff", "f": 1.5})


class Receive(unittest.TestCase):
    """netflow._weir.Receiver"""

    def setUp(self):
        self.socket = sender()
        self.addCleanup(self.socket.close)
        self.client = sender()
        self.addCleanup(self.client.close)

    def send(self, *datagrams):
        for datagram in datagrams:
            self.client.sendto(datagram, self.socket.getsockname())

    def all(self, receiver, *args, **kwargs):
        found = []
        while not receiver.ended:
            found += receiver.receive(*args, **kwargs)
        return found

    def test_order_and_clients(self):
        receiver = Receiver(self.socket)
        want = [b"%d" % n * (n % 300) for n in range(3000)]
        self.send(*want)
        receiver.finish()
        found = self.all(receiver)
        self.assertEqual([data for _, _, data in found], want)
        self.assertEqual({client for _, client, _ in found}, {self.client.getsockname()})
        self.assertEqual((receiver.packets, receiver.octets, receiver.waiting, receiver.dropped),
                         (3000, sum(map(len, want)), 0, 0))
        self.assertEqual(receiver.receive(), [])

    def test_many_clients(self):
        receiver = Receiver(self.socket)
        clients = [sender(f"127.0.1.{n}") for n in range(1, 200)]
        for _ in range(2):
            for client in clients:
                client.sendto(b"x", self.socket.getsockname())
        receiver.finish()
        self.assertEqual([client for _, client, _ in self.all(receiver)], [c.getsockname() for c in clients] * 2)
        for client in clients:
            client.close()

    def test_at_most(self):
        receiver = Receiver(self.socket)
        self.send(*[b"x"] * 10)
        receiver.finish()
        sizes = []
        while not receiver.ended:
            sizes.append(len(receiver.receive(max_packets=3)))
            self.assertEqual(receiver.packets - sum(sizes), receiver.waiting)
        self.assertLessEqual(max(sizes), 3)
        self.assertEqual(sum(sizes), 10)

    def test_timeout(self):
        receiver = Receiver(self.socket)
        began = time.monotonic()
        self.assertEqual(receiver.receive(timeout_ms=20), [])
        self.assertGreaterEqual(time.monotonic() - began, 0.02)
        self.assertEqual(receiver.receive(10, 0), [])

    def test_wake(self):
        receiver = Receiver(self.socket)
        receiver.wake()
        self.assertEqual(receiver.receive(), [])  # at once
        waker = threading.Timer(0.01, receiver.wake)
        waker.start()
        self.assertEqual(receiver.receive(), [])

    def test_other_threads_run_while_it_waits(self):
        receiver = Receiver(self.socket)
        done = []
        thread = threading.Thread(target=lambda: done.extend(receiver.receive()))
        thread.start()
        self.send(b"x")
        thread.join(PATIENCE)
        self.assertEqual(len(done), 1)

    def test_signal_handler_runs(self):
        class Enough(Exception):
            pass

        def stop(*_):
            raise Enough
        before = signal.signal(signal.SIGALRM, stop)
        try:
            receiver = Receiver(self.socket)
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            with self.assertRaises(Enough):
                receiver.receive()
        finally:
            signal.signal(signal.SIGALRM, before)

    def test_socket_may_be_closed(self):
        receiver = Receiver(self.socket.fileno())
        name = self.socket.getsockname()
        self.socket.close()
        self.client.sendto(b"x", name)
        self.assertEqual(len(receiver.receive()), 1)
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as again:
            self.assertRaises(OSError, again.bind, name)
            receiver.close()
            again.bind(name)
        receiver.close()
        self.assertTrue(receiver.ended)
        self.assertEqual(receiver.receive(), [])

    def test_close_keeps_what_is_in_memory(self):
        receiver = Receiver(self.socket)
        self.send(b"x", b"y")
        wait_until(lambda: receiver.packets == 2)
        receiver.close()
        self.assertFalse(receiver.ended)
        self.assertEqual([data for _, _, data in self.all(receiver)], [b"x", b"y"])

    def test_limit(self):
        receiver = Receiver(self.socket, limit=1, buffer=1)
        self.send(*[b"x" * 1000] * 3)
        wait_until(lambda: receiver.waiting)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000)
        self.send(*[b"x" * 1000] * 1000)
        self.assertGreater(receiver.dropped, 900)
        receiver.finish()
        self.assertEqual(len(self.all(receiver)) + receiver.dropped, 1003)

    def test_bad_arguments(self):
        with tempfile.TemporaryFile() as file:
            self.assertRaises(OSError, Receiver, file)
        self.assertRaises(OSError, Receiver, 10_000)
        self.assertRaises(TypeError, Receiver, "x")
        self.assertRaises(TypeError, Receiver)
        self.assertRaises(ValueError, Receiver, self.socket, 0)
        receiver = Receiver(self.socket)
        for wrong in 0, -1, 1 << 30:
            self.assertRaises(ValueError, receiver.receive, wrong)

    def test_after_fork(self):
        """A child has no thread that receives: it may forget the receiver, and end."""
        receiver = Receiver(self.socket)
        child = os.fork()
        if not child:
            del receiver
            os._exit(7)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 7)
        self.send(b"x")
        self.assertEqual(len(receiver.receive()), 1)

    def test_child_leaves_the_parent_alone(self):
        """A child may call anything, also when its copy of the lock is held for ever: the parent's receiver goes on."""
        receiver = Receiver(self.socket)
        asked = threading.Event()

        def ask():
            while not asked.is_set():
                self.assertEqual(receiver.waiting, 0)

        thread = threading.Thread(target=ask)
        before = sys.getswitchinterval()
        self.addCleanup(sys.setswitchinterval, before)
        sys.setswitchinterval(1e-5)
        thread.start()
        for _ in range(20):
            child = os.fork()
            if not child:
                signal.alarm(5)
                receiver.wake()
                receiver.finish()
                receiver.stop()
                receiver.close()
                os._exit(7 if receiver.ended and receiver.receive() == [] and receiver.packets == 0 else 8)
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 7)
        asked.set()
        thread.join()
        self.assertFalse(receiver.ended)
        began = time.process_time()
        self.assertEqual(receiver.receive(timeout_ms=300), [])
        self.assertLess(time.process_time() - began, 0.2)  # its thread sleeps
        self.send(b"x")
        self.assertEqual(len(receiver.receive()), 1)

    def test_no_thread_or_descriptor_is_left(self):
        before = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
        for _ in range(20):
            receiver = Receiver(self.socket)
            self.send(b"x")
            receiver.receive()
            del receiver
        self.assertEqual((len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))), before)


if __name__ == "__main__":
    unittest.main()
