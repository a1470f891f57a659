"""weir collect as a whole: real sockets, real files, real signals."""
import glob
import gzip
import json
import os
import random
import resource
import select
import signal
import socket
import struct
import subprocess
import unittest

import packets as P
from collector import DEADLINE_S, WEIR, Collector, CollectorTest, check_laws, lines_of, packets_of


def members_of(path):
    """Lengths of the gzip members as their extra fields tell them; the first is the one of nothing."""
    with open(path, "rb") as f:
        data = f.read()
    out, at = [], 0
    while at < len(data):
        assert data[at:at + 4] == b"\x1f\x8b\x08\x04" and data[at + 12:at + 14] == b"WR", data[at:at + 20]
        length = struct.unpack_from("<I", data, at + 16)[0]
        assert bool(gzip.decompress(data[at:at + length])) == bool(out), at
        out.append(length)
        at += length
    assert at == len(data)
    return out


class Lines(CollectorTest):
    def test_each_version_becomes_lines(self):
        out = self.path("a.gz")
        with Collector("-o", out) as c:
            c.send(P.v1([1, 2]), P.v5([3, 4, 5]), P.v9_template(), P.v9_data(range(6, 10), sequence=1),
                   P.ipfix_template(), P.ipfix_data(range(10, 15)))
            c.decoded(6)
            s = c.stop()
        self.assertEqual(s["output"]["packets_written"], 6)
        self.assertEqual(s["output"]["records_written"], 2 + 3 + 4 + 5)
        got = packets_of(out)
        self.assertEqual([h["version"] for h, _ in got], [1, 5, 9, 9, 10, 10])
        self.assertEqual([len(f) for _, f in got], [2, 3, 0, 4, 0, 5])
        src, dst, sport, dport, proto, packets, octets = P.flow(3)
        v5 = got[1][1][0]
        self.assertEqual((v5["SRC_PORT"], v5["DST_PORT"], v5["PROTO"]), (sport, dport, proto))
        v9 = got[3][1][0]
        self.assertEqual((v9["IPV4_SRC_ADDR"], v9["IN_BYTES"]), (P.flow(6)[0], P.flow(6)[6]))
        ipfix = got[5][1][4]
        self.assertEqual((ipfix["octetDeltaCount"], ipfix["sourceTransportPort"]), (P.flow(14)[6], P.flow(14)[2]))
        line = lines_of(out)[0]
        (when, packet), = line.items()
        self.assertGreater(float(when), 1.6e9)
        self.assertEqual(packet["client"][0], "127.0.0.1")

    def test_default_output_is_the_archive(self):
        with Collector(cwd=self.dir) as c:
            c.send(P.v5([1]))
            c.decoded(1)
            c.stop()
        self.assertEqual(os.listdir(self.dir), ["archive"])
        self.assertEqual(len(glob.glob(os.path.join(self.dir, "archive/flows/date=*/hour=*/*.parquet"))), 1)

    def test_plain_lines_on_stdout_at_once(self):
        with Collector("-o", "-", stdout=subprocess.PIPE) as c:
            c.send(P.v5([1, 2, 3]))
            ready, _, _ = select.select([c.process.stdout], [], [], DEADLINE_S)
            self.assertTrue(ready)
            line = json.loads(c.process.stdout.readline())
            c.stop()
            c.process.stdout.close()
        self.assertEqual(len(next(iter(line.values()))["flows"]), 3)

    def test_closed_stdout_ends_the_run(self):
        read, write = os.pipe()
        with Collector("-o", "-", stdout=write) as c:
            os.close(write)
            os.close(read)
            c.send(P.v5([1]))
            s = c.end(status=1)
        self.assertEqual(s["output"]["packets_lost"], 1)
        self.assertIn("Broken pipe", "".join(c.said))

    def test_fifo_gets_plain_lines(self):
        fifo = self.path("fifo")
        os.mkfifo(fifo)
        with Collector("-o", fifo) as c, open(fifo) as f:
            c.send(P.v5([1, 2]))
            self.assertEqual(len(next(iter(json.loads(f.readline()).values()))["flows"]), 2)
            c.stop()

    def test_fifo_that_nobody_reads_does_not_hold_up_the_end(self):
        fifo = self.path("fifo")
        os.mkfifo(fifo)
        with Collector("-o", fifo) as c:
            for i in range(60):  # far more than a pipe holds
                c.send(P.v5(range(30)))
            c.decoded(60)
            s = c.stop(status=1)  # it could not write all and says so
        self.assertGreater(s["output"]["packets_lost"], 0)
        self.assertEqual(s["output"]["packets_queued"], 0)

    def test_stderr_that_nobody_reads_does_not_hold_up_the_end(self):
        out, (reader, writer) = self.path("out.gz"), os.pipe()
        child = subprocess.Popen([WEIR, "collect", "--listen", "127.0.0.1:0", "-o", out, "--no-state"], stderr=writer)
        try:
            with open(reader, "rb", buffering=0) as words:
                said = b""
                while b"listening on" not in said:
                    said += words.read(4096)
                full = os.open(f"/proc/self/fd/{writer}", os.O_WRONLY | os.O_NONBLOCK)
                for size in (4096, 1):
                    with self.assertRaises(BlockingIOError):
                        while True:
                            os.write(full, b"x" * size)
                os.close(full)
                child.send_signal(signal.SIGUSR1)
                child.send_signal(signal.SIGTERM)
                self.assertEqual(child.wait(DEADLINE_S), 0)
        finally:
            child.kill()
            child.wait()
            os.close(writer)

    def test_readable_while_it_grows(self):
        out = self.path("a.gz")
        with Collector("-o", out, "--flush", "20ms") as c:
            for i in range(1, 11):
                c.send(P.v5([i], sequence=i))
                c.written(i)
                self.assertEqual(len(lines_of(out)), i)
            c.stop()
        self.assertEqual(sum(members_of(out)), os.path.getsize(out))

    def test_zero_length_and_junk_are_rejected_and_counted(self):
        with Collector("-o", "/dev/null") as c:
            c.send(b"", b"\x00", b"\x00\x63" + bytes(40), P.v5([1])[:30], P.ipfix_template() + b"\x00", P.v5([1]))
            s = c.decoded(6)
            self.assertEqual(sum(s["decode"]["rejected"].values()) + s["decode"]["decoded"], 6)
            self.assertGreaterEqual(sum(s["decode"]["rejected"].values()), 4)
            c.stop()


class Listening(CollectorTest):
    def test_both_families_by_default(self):
        with Collector("--port", "0", "-o", "/dev/null", host=None) as c:
            self.assertRegex("".join(c.said), r"listening on 0\.0\.0\.0:\d+")
            c.send(P.v5([1]))
            n = 1
            if len(c.ports) > 1:
                self.assertEqual(c.ports[0], c.ports[1])
                c.send(P.v5([2]), host="::1")
                n = 2
            s = c.decoded(n)
            self.assertEqual(sorted(e["exporter"] for e in s["exporters"]), ["127.0.0.1", "::1"][:n])
            c.stop()

    def test_several_addresses(self):
        with Collector("--listen", "127.0.0.1:0", "--listen", "127.0.0.2:0", "-o", "/dev/null", host=None) as c:
            self.assertEqual(len(c.ports), 2)
            c.send(P.v5([1]), port=c.ports[0])
            c.send(P.v5([2]), port=c.ports[1], host="127.0.0.2")
            s = c.decoded(2)
            self.assertEqual([k["datagrams"] for k in s["receive"]["sockets"]], [1, 1])
            c.stop()

    def test_port_in_use_names_the_remedy(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind(("127.0.0.1", 0))
            at = f"127.0.0.1:{s.getsockname()[1]}"
            with Collector("--listen", at, "-o", "/dev/null", host=None, ready=False) as c:
                c.end(status=1)
        self.assertIn(f"weir collect: cannot listen on {at}: Address already in use "
                      "(stop the other collector or choose another --port)", "".join(c.said))

    def test_wrong_usage(self):
        for args, word in ((["--listen", "1.2.3.4"], "ADDRESS:PORT"), (["--listen", "::1:5"], "brackets"),
                           (["--allow", "10.0.0.0/33"], "prefix"), (["--allow", "10.0.0.1/8"], "10.0.0.0/8"),
                           (["--sampling", "10.0.0.1=0"], "RATE"), (["--sampling", "x=5"], "RATE"),
                           (["--quirk", "10.0.0.1=nonsense"], "nonsense"), (["--compress", "10"], "0 to 9"),
                           (["--exporter-scope", "10.0.0.1=x"], "ADDR=port"), (["extra"], "extra"),
                           (["--host", "::1", "--listen", "[::1]:1"], "exclude")):
            with self.subTest(args=args):
                r = subprocess.run([WEIR, "collect", *args], capture_output=True, text=True, timeout=DEADLINE_S)
                self.assertEqual(r.returncode, 2, r.stderr)
                self.assertIn(word, r.stderr)
                self.assertEqual(r.stdout, "")

    def test_small_receive_buffer_is_told(self):
        with Collector("-o", "/dev/null", "--receive-buffer", "1G") as c:
            granted = c.stats()["receive"]["sockets"][0]["receive_buffer"]
            if granted < 1 << 30:
                self.assertRegex("".join(c.said), r"warning: the kernel grants \d+ of 1073741824 .*net\.core\.rmem_max")
            c.stop()

    def test_service_manager_is_notified(self):
        for name in (self.path("notify"), "@weir-test-%d" % os.getpid()):
            with self.subTest(name=name), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
                s.bind(name.replace("@", "\0"))
                s.settimeout(DEADLINE_S)
                with Collector("-o", "/dev/null", env={"NOTIFY_SOCKET": name}) as c:
                    self.assertEqual(s.recv(100), b"READY=1")
                    c.stop()
                    self.assertEqual(s.recv(100), b"STOPPING=1")

    def test_allow_refuses_and_counts(self):
        with Collector("-o", "/dev/null", "--allow", "127.0.0.8/29", "--allow", "::1", "--listen", "127.0.0.1:0",
                       host=None) as c:
            for last in (7, 8, 15, 16):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                    s.bind((f"127.0.0.{last}", 0))
                    c.send(P.v5([last]), sock=s)
            s = c.until("4 datagrams", lambda s: s["receive"]["datagrams"] == 4 and s["receive"]["queued"] == 0)
            self.assertEqual(s["receive"]["refused"], 2)
            self.assertEqual(sorted(e["exporter"] for e in s["exporters"]), ["127.0.0.15", "127.0.0.8"])
            c.stop()
            self.assertEqual(sum("refused a packet from 127.0.0." in line for line in c.said), 1)


class Ending(CollectorTest):
    def test_what_the_kernel_has_is_still_taken(self):
        out = self.path("a.gz")
        with Collector("-o", out) as c:
            # Stopped, it cannot read; the signal then finds the datagrams in the kernel.
            c.process.send_signal(signal.SIGSTOP)
            c.send(*(P.v5([i], sequence=i) for i in range(50)))
            c.process.send_signal(signal.SIGTERM)
            c.process.send_signal(signal.SIGCONT)
            s = c.end()
        self.assertEqual(s["receive"]["datagrams"], 50)
        self.assertEqual(len(lines_of(out)), 50)

    def test_sigint_ends_too(self):
        with Collector("-o", self.path("a.gz")) as c:
            c.send(P.v5([1]))
            c.decoded(1)
            c.stop(signal.SIGINT)
        self.assertEqual(len(lines_of(self.path("a.gz"))), 1)

    def test_data_that_waits_is_written_at_the_end(self):
        out = self.path("a.gz")
        with Collector("-o", out) as c:
            c.send(P.v9_data([1, 2]), P.v5([1]))
            s = c.decoded(2)
            self.assertEqual(s["decode"]["waiting"], 1)
            s = c.stop()
        self.assertEqual((s["decode"]["waiting"], s["decode"]["expired"]), (0, 1))
        self.assertEqual(sorted(h["version"] for h, _ in packets_of(out)), [5, 9])

    def test_waiting_data_is_one_line_with_its_own_time(self):
        out = self.path("a.gz")
        with Collector("-o", out, "--flush", "10ms") as c:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.bind(("127.0.0.1", 0))
                c.send(P.v9_data([1, 2], sequence=0), P.v5([1]), sock=s)
                c.written(1)
                c.send(P.v9_template(sequence=1), sock=s)
                c.written(3)
            c.stop()
        times = [float(t) for line in lines_of(out) for t in line]
        got = packets_of(out)
        late = next(i for i, (h, f) in enumerate(got) if h["version"] == 9 and f)
        self.assertEqual([f["IPV4_SRC_ADDR"] for f in got[late][1]], [P.flow(1)[0], P.flow(2)[0]])
        self.assertEqual(times[late], min(times))  # it came first and says so

    def test_waiting_time_ends(self):
        with Collector("-o", "/dev/null", "--waiting-time", "1s") as c:
            c.send(P.v9_data([1]))
            s = c.until("the wait is over", lambda s: s["decode"]["expired"] == 1)
            self.assertEqual(s["output"]["packets"], 1)
            c.stop()


class Surviving(CollectorTest):
    def test_restart_appends(self):
        out = self.path("a.gz")
        for i in range(3):
            with Collector("-o", out) as c:
                c.send(P.v5([i]))
                c.decoded(1)
                c.stop()
        self.assertEqual([f[0]["SRC_PORT"] for _, f in packets_of(out)], [1024, 1025, 1026])
        self.assertEqual(len(members_of(out)), 1 + 3)

    def test_killed_at_any_moment(self):
        """What was reported as written is there, whole, whenever it was killed; and it goes on from there."""
        out = self.path("a.gz")
        rng = random.Random(4)
        written = 0
        for _ in range(12):
            with Collector("-o", out, "--flush", "1ms") as c:
                n = 0
                stop_at = rng.randrange(1, 400)
                for i in range(stop_at):
                    c.send(P.v5(range(i % 30 + 1), sequence=i))
                    if i == stop_at // 2:
                        n = c.stats()["output"]["packets_written"]
                c.kill()
                written += n
                # Readable as it is: a member torn by the kill can only be the last.
                got = self.readable_lines(out)
                self.assertGreaterEqual(got, written)
                written = got
        with Collector("-o", out) as c:
            c.send(P.v5([1]))
            c.decoded(1)
            c.stop()
        self.assertEqual(len(lines_of(out)), written + 1)

    def readable_lines(self, path):
        n = 0
        if not os.path.exists(path):
            return 0
        with gzip.open(path) as f:
            try:
                for line in f:
                    json.loads(line)
                    n += 1
            except EOFError:
                pass
        return n

    def test_torn_end_at_every_length_is_cut_off(self):
        out = self.path("a.gz")
        with Collector("-o", out, "--flush", "1ms") as c:
            for i in range(3):
                c.send(P.v5([i]))
                c.written(i + 1)
            c.stop()
        sizes = members_of(out)
        with open(out, "rb") as f:
            whole = f.read()
        start = sum(sizes[:3])
        # -r of nothing: opens and recovers the output, writes nothing.
        empty = self.path("empty.pcap")
        with open(empty, "wb") as f:
            f.write(P.pcap([]))
        for cut in list(range(start, start + 30)) + list(range(len(whole) - 30, len(whole) + 1)):
            with open(out, "wb") as f:
                f.write(whole[:cut])
            r = subprocess.run([WEIR, "collect", "-r", empty, "-o", out], capture_output=True, text=True,
                               timeout=DEADLINE_S)
            self.assertEqual(r.returncode, 0, r.stderr)
            torn = cut not in (start, len(whole))
            self.assertEqual(os.path.getsize(out), start if cut < len(whole) else len(whole), cut)
            self.assertEqual(f"cut off {cut - start} octets" in r.stderr, torn, r.stderr)
            self.assertEqual(len(lines_of(out)), 2 if cut < len(whole) else 3)

    def test_appends_to_a_file_of_the_python_collector(self):
        out = self.path("a.gz")
        for i in range(3):
            with gzip.open(out, "ab") as f:
                f.write(json.dumps({str(i): {"header": {"version": 5}, "flows": []}}).encode() + b"\n")
        with open(out, "ab") as f:
            f.write(gzip.compress(b"torn line\n")[:-5])
        with Collector("-o", out) as c:
            self.assertRegex("".join(c.said), "cut off 25 octets")
            c.send(P.v5([1]))
            c.decoded(1)
            c.stop()
        self.assertEqual(len(lines_of(out)), 4)

    def test_damage_in_the_middle_is_kept_aside(self):
        out = self.path("a.gz")
        good = [gzip.compress(b'{"%d": {"header": {}, "flows": []}}\n' % i) for i in range(3)]
        broken = bytearray(good[1])
        broken[12] ^= 0xFF
        broken[13] ^= 0xFF
        with open(out, "wb") as f:
            f.write(good[0] + bytes(broken) + good[2])
        with Collector("-o", out) as c:
            self.assertRegex("".join(c.said), r"damaged at octet %d: kept as .*\.damaged-\d+" % len(good[0]))
            c.send(P.v5([1]))
            c.decoded(1)
            c.stop()
        self.assertEqual(len(lines_of(out)), 1)
        aside = [n for n in os.listdir(self.dir) if ".damaged-" in n]
        self.assertEqual(os.path.getsize(self.path(aside[0])), len(good[0]) + len(broken) + len(good[2]))

    def test_other_files_are_not_touched(self):
        out = self.path("notes.txt")
        with open(out, "w") as f:
            f.write("dear diary\n")
        with Collector("-o", out, ready=False) as c:
            c.end(status=1)
        self.assertIn("is no gzip file", "".join(c.said))
        with open(out) as f:
            self.assertEqual(f.read(), "dear diary\n")

    def test_one_writer_a_file(self):
        out = self.path("a.gz")
        with Collector("-o", out) as c, Collector("-o", out, ready=False) as other:
            other.end(status=1)
            self.assertIn("being written by another process", "".join(other.said))
            c.stop()

    def test_one_collector_a_state(self):
        with Collector("-o", self.path("a.gz"), "--state", self.path("s")) as c, \
                Collector("-o", self.path("b.gz"), "--state", self.path("s"), ready=False) as other:
            other.end(status=1)
            self.assertIn("in use by another collector", "".join(other.said))
            c.stop()

    def test_empty_file_is_gzip(self):
        out = self.path("a.gz")
        with Collector("-o", out) as c:
            with gzip.open(out) as f:
                self.assertEqual(f.read(), b"")
            c.stop()

    def test_captures_that_cannot_all_be_decoded(self):
        bad = self.path("bad.hex")
        with open(bad, "w") as f:
            f.write("0005 0001\n")
        with Collector("-r", bad, "-o", self.path("a.gz"), ready=False) as c:
            c.end(status=1)
            self.assertIn("1 packets rejected", "".join(c.said))

    def test_rotation(self):
        out = self.path("a.gz")
        with Collector("-o", out) as c:
            for i in range(4):
                c.send(P.v5([i]))
                c.decoded(i + 1)
                os.rename(out, self.path(f"a.{i}.gz"))
                c.process.send_signal(signal.SIGHUP)
                c.wait_for("opened .* anew")
                self.assertEqual(len(lines_of(self.path(f"a.{i}.gz"))), 1)
            c.send(P.v5([4]))
            c.decoded(5)
            c.process.send_signal(signal.SIGHUP)  # not renamed: the same file goes on
            c.wait_for("opened .* anew")
            c.stop()
        self.assertEqual([f[0]["SRC_PORT"] for _, f in packets_of(out)], [1028])

    def test_rotation_into_nowhere_keeps_the_old_file(self):
        sub = self.path("sub")
        os.mkdir(sub)
        out = os.path.join(sub, "a.gz")
        with Collector("-o", out, "--no-state") as c:
            moved = self.path("moved")
            os.rename(sub, moved)
            c.process.send_signal(signal.SIGHUP)
            c.wait_for("cannot open .*going on with the old file")
            c.send(P.v5([1]))
            c.decoded(1)
            c.stop()
        self.assertEqual(len(lines_of(os.path.join(moved, "a.gz"))), 1)

    def test_emptied_under_us(self):
        """Rotation by copy and truncate: no hole, no lost line."""
        out = self.path("a.gz")
        with Collector("-o", out, "--flush", "1ms") as c:
            c.send(P.v5([1]))
            c.written(1)
            os.truncate(out, 0)
            c.send(P.v5([2]))
            c.written(2)
            c.stop()
        self.assertEqual([f[0]["SRC_PORT"] for _, f in packets_of(out)], [1026])


class State(CollectorTest):
    def run_once(self, *args, packets, **kwargs):
        with Collector(*args, **kwargs) as c:
            c.send(*packets)
            c.decoded(len(packets))
            return c.stop(), "".join(c.said)

    def test_templates_survive_a_restart(self):
        out = self.path("a.gz")
        self.run_once("-o", out, packets=[P.v9_template(), P.ipfix_template()])
        s, _ = self.run_once("-o", out, packets=[P.v9_data([1, 2], sequence=1), P.ipfix_data([3])])
        self.assertEqual((s["decode"]["decoded"], s["decode"]["waiting"], s["decode"]["flows"]), (2, 0, 3))
        self.assertEqual([len(f) for _, f in packets_of(out)], [0, 0, 2, 1])

    def test_templates_survive_a_kill(self):
        out = self.path("a.gz")
        with Collector("-o", out) as c:
            empty = os.path.getsize(out + ".state")
            c.send(P.v9_template())
            c.until("the template in the state file", lambda s: os.path.getsize(out + ".state") > empty)
            c.kill()
        s, _ = self.run_once("-o", out, packets=[P.v9_data([1], sequence=1)])
        self.assertEqual(s["decode"]["flows"], 1)

    def test_corrupt_state_is_discarded(self):
        out = self.path("a.gz")
        self.run_once("-o", out, packets=[P.v9_template()])
        with open(out + ".state", "rb") as f:
            good = f.read()
        rng = random.Random(2)
        for i in range(20):
            bad = bytearray(good)
            if i % 2:
                bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
            else:
                del bad[rng.randrange(len(bad)):]
            with open(out + ".state", "wb") as f:
                f.write(bad)
            s, said = self.run_once("-o", out, packets=[P.v9_data([1])])
            self.assertIn("warning: discarded the state file", said)
            self.assertEqual(s["decode"]["expired"], 1)

    def test_no_state(self):
        out = self.path("a.gz")
        self.run_once("-o", out, "--no-state", packets=[P.v9_template()])
        self.run_once("-o", "/dev/null", packets=[P.v9_template()], cwd=self.dir)
        self.assertEqual(os.listdir(self.dir), ["a.gz"])

    def test_state_of_ones_own(self):
        state = self.path("s")
        self.run_once("-o", "/dev/null", "--state", state, packets=[P.v9_template()])
        s, _ = self.run_once("-o", "/dev/null", "--state", state, packets=[P.v9_data([5])])
        self.assertEqual(s["decode"]["flows"], 1)


class DiskFull(CollectorTest):
    LIMIT = 2000

    def limited(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.LIMIT, resource.RLIM_INFINITY))

    def test_full_disk_counts_and_resumes(self):
        out = self.path("a.gz")
        with Collector("-o", out, "--flush", "1ms", "--no-state", "--output-queue", "0", preexec=self.limited) as c:
            sent = 0
            while True:  # members of one line each until the file may not grow
                c.send(P.v5(range(30), sequence=30 * sent))
                sent += 1
                s = c.until("written or failing", lambda s: s["output"]["packets_written"] == sent
                            or s["output"]["failing"])
                if s["output"]["failing"]:
                    break
            c.wait_for("cannot write .*: File too large: .*still receiving")
            size = os.path.getsize(out)
            before = len(lines_of(out))  # it ends with a whole member
            self.assertEqual(before, s["output"]["packets_written"])
            self.assertLessEqual(size, self.LIMIT)
            for i in range(200):
                c.send(P.v5(range(30), sequence=30 * (sent + i)))
            s = c.until("still receiving", lambda s: s["receive"]["datagrams"] == sent + 200)
            self.assertEqual(s["output"]["packets_written"], before)
            os.truncate(out, 0)  # there is room again
            c.wait_for("can be written again")
            written = c.until("more is written", lambda s: s["output"]["packets_written"] > before)
            self.assertGreaterEqual(len(lines_of(out)), written["output"]["packets_written"] - before)
            c.process.send_signal(signal.SIGTERM)
            self.assertIn(c.process.wait(DEADLINE_S), (0, 1))  # it may be full again

    def test_full_disk_loses_what_the_queue_cannot_hold(self):
        out = self.path("a.gz")
        with Collector("-o", out, "--no-state", "--output-queue", "0", "--queue", "256k", "--flush", "1ms",
                       preexec=self.limited) as c:
            sent = 0

            def more(s):
                nonlocal sent
                # The queue holds some 170 of them; a decoder that is only slow must not be taken for an output that is full.
                room = s["receive"]["datagrams"] == sent and 140 - s["receive"]["queued"]
                for _ in range(min(room, 100)):
                    c.send(P.v5(range(30), sequence=30 * sent))
                    sent += 1
                return s["output"]["packets_lost"] > 0
            c.until("lines are lost", more)
            s = c.until("all were received", lambda s: s["receive"]["datagrams"] == sent)
            self.assertEqual(s["receive"]["dropped"], 0)
            said = sum("output is too slow or full" in line for line in c.said)
            self.assertEqual(said, 1)
            s = c.stop(status=1)
            self.assertEqual(s["output"]["packets_lost"] + s["output"]["packets_written"], sent)
        self.assertEqual(len(lines_of(out)), s["output"]["packets_written"])

    def test_dev_full(self):
        with Collector("-o", "/dev/full", "--flush", "1ms") as c:
            c.send(P.v5([1]))
            c.wait_for("cannot write /dev/full: No space left on device")
            c.send(P.v5([2]))
            s = c.decoded(2)
            self.assertEqual(s["output"]["packets_queued"], 2)
            s = c.stop(status=1)
            self.assertEqual(s["output"]["packets_lost"], 2)


class Accounting(CollectorTest):
    def test_laws_hold_at_every_moment(self):
        rng = random.Random(1)
        with Collector("-o", self.path("a.gz"), "--flush", "1ms", "--allow", "127.0.0.1") as c:
            made = [P.v1([1]), P.v5([1, 2]), P.v5([1, 2])[:40], P.v9_template(), P.v9_data([1, 2, 3]),
                    P.v9_data([4], source=8), P.ipfix_template(), P.ipfix_data([5, 6]), P.ipfix_data([7], domain=10),
                    P.ipfix_data([1])[:-1], b"junk", P.v9_template(source=8), P.ipfix_template(domain=10)]
            sent = 0
            for _ in range(40):
                batch = rng.choices(made, k=rng.randrange(1, 40))
                sent += len(batch)
                c.send(*batch)
                c.stats()  # checks the laws, while packets are on their way
            s = c.decoded(sent - c.stats()["receive"]["kernel_drops"])
            self.assertEqual(s["receive"]["datagrams"] + s["receive"]["kernel_drops"], sent)
            s = c.stop()
        self.assertEqual(s["output"]["packets_written"], len(lines_of(self.path("a.gz"))))
        self.assertEqual(s["output"]["records_written"], sum(len(f) for _, f in packets_of(self.path("a.gz"))))

    def test_sequence_gaps_stand_in_the_accounting(self):
        with Collector("-o", "/dev/null") as c:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.bind(("127.0.0.1", 0))
                c.send(P.v5([1, 2], sequence=0), P.v5([3], sequence=2), P.v5([4], sequence=13), sock=s)
            s = c.decoded(3)
            self.assertEqual(s["exporters"][0]["sequence_lost"], 10)
            c.stop()

    def test_kernel_drops_are_counted(self):
        with Collector("-o", "/dev/null", "--receive-buffer", "4k") as c:
            c.process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, c.process.pid, os.WSTOPPED | os.WNOWAIT)  # it reads no more from here on
            c.send(*(P.v5(range(30)) for _ in range(300)))
            c.process.send_signal(signal.SIGCONT)
            s = c.until("all accounted for", lambda s: s["receive"]["datagrams"] + s["receive"]["kernel_drops"] == 300)
            self.assertGreater(s["receive"]["kernel_drops"], 0)
            c.wait_for("the kernel dropped")
            c.stop()

    def test_text_and_interval(self):
        with Collector("-o", "/dev/null", "--stats-format", "text", "--stats-interval", "100ms") as c:
            c.send(P.v9_template(), P.v9_data([1, 2], sequence=1), b"junk")
            c.wait_for(r"stats: packets 3 = decoded 2 \+ waiting 0 \+ expired 0 \+ rejected 1 \(")
            c.wait_for(r"stats: records 2 = flows 2 \+ options 0 \+ rejected 0")
            c.wait_for(r"exporter 127\.0\.0\.1: packets \d = ")
            c.process.send_signal(signal.SIGTERM)
            self.assertEqual(c.process.wait(DEADLINE_S), 0)

    def test_debug_tells_every_packet(self):
        with Collector("-o", "/dev/null", "-D") as c:
            c.send(P.v9_template(), P.v9_data([1, 2]), b"junk")
            c.wait_for(r"debug: 127\.0\.0\.1:\d+: template 256 of domain 7 learnt: 7 fields")
            c.wait_for(r"debug: .*v9 packet 2 of \d+ octets: decoded, 2 flows")
            c.wait_for(r"rejected")
            c.stop()


class Settings(CollectorTest):
    def test_scope_quirks_and_limits_reach_the_decoder(self):
        with Collector("-o", "/dev/null", "--exporter-scope", "127.0.0.1=port", "--max-templates", "1",
                       "--sampling", "127.0.0.1=100", "--quirk", "127.0.0.1=uptime-seconds") as c:
            c.send(P.v9_template(), P.v9(P.template_set(0, template=257), count=1, sequence=1))
            s = c.decoded(2)
            self.assertEqual(s["exporters"][0]["scope"], "port")
            self.assertEqual(s["exporters"][0]["quirks"], 1)
            self.assertEqual(s["decode"]["templates"], 1)
            self.assertEqual(s["decode"]["faults"]["template-limit"] + s["decode"]["templates_expired"], 1)
            c.stop()

    def test_elements_file(self):
        table = self.path("e.tsv")
        with open(table, "w") as f:
            f.write("pen\tid\tname\tabstract_data_type\n9999\t1\tmyCounter\tunsigned32\n")
        out = self.path("a.gz")
        fields = struct.pack("!HHHHI", 300, 1, 0x8001, 4, 9999)
        template = struct.pack("!HH", 2, 4 + len(fields)) + fields
        with Collector("-o", out, "--elements", table) as c:
            c.send(P.ipfix(template, struct.pack("!HHI", 300, 8, 77)))
            c.decoded(1)
            c.stop()
        self.assertEqual(packets_of(out)[0][1], [{"myCounter": 77}])


class Reading(CollectorTest):
    def capture(self, payloads, name="a.pcap", dport=2055):
        frames = [(1_700_000_000_000_000 + 1000 * i, P.ethernet_udp("192.0.2.9", 5000, "192.0.2.1", dport, p))
                  for i, p in enumerate(payloads)]
        with open(self.path(name), "wb") as f:
            f.write(P.pcap(frames))
        return self.path(name)

    def read(self, *args, status=0):
        r = subprocess.run([WEIR, "collect", "--stats-format", "json", *args], capture_output=True, text=True,
                           timeout=DEADLINE_S, cwd=self.dir)
        self.assertEqual(r.returncode, status, r.stderr)
        final = [line for line in r.stderr.splitlines() if line.startswith("{")]
        return r, check_laws(json.loads(final[-1])) if final else None

    def test_capture(self):
        a = self.capture([P.v9_data([1]), P.v9_template(sequence=1)])
        b = self.capture([P.v5([i], sequence=i) for i in range(1000)], name="b.pcap", dport=9995)
        out = self.path("a.gz")
        _, s = self.read("-r", a, "-r", b, "-o", out)
        self.assertEqual(s["output"]["packets_written"], 1002)
        lines = lines_of(out)
        self.assertIn("1700000000.0", lines[1])  # arrival as captured, though the line waited
        self.assertEqual(next(iter(lines[2].values()))["client"], ["192.0.2.9", 5000])
        self.assertEqual(os.listdir(self.dir).count("a.gz.state"), 0)

    def test_port_filter(self):
        a = self.capture([P.v5([1])], dport=2055)
        b = self.capture([P.v5([2])], name="b.pcap", dport=9995)
        _, s = self.read("-r", a, "-r", b, "-p", "9995", "-o", "/dev/null")
        self.assertEqual(s["receive"]["datagrams"], 1)

    def test_all_of_a_large_capture_is_kept(self):
        a = self.capture([P.v5(range(30), sequence=30 * i) for i in range(3000)])
        out = self.path("a.gz")
        _, s = self.read("-r", a, "-o", out, "--queue", "256k", "--output-queue", "0")
        self.assertEqual((s["output"]["records_written"], s["output"]["records_lost"]), (90000, 0))

    def test_missing_and_cut_files(self):
        a = self.capture([P.v5([i]) for i in range(5)])
        with open(a, "rb") as f:
            data = f.read()
        with open(self.path("cut.pcap"), "wb") as f:
            f.write(data[:-10])
        r, s = self.read("-r", "nowhere.pcap", "-r", "cut.pcap", "-o", "-", status=1)
        self.assertIn("nowhere.pcap", r.stderr)
        self.assertIn("cut.pcap", r.stderr)
        self.assertEqual(len(r.stdout.splitlines()), 4)


class Softflowd(CollectorTest):
    """softflowd of Debian turns a capture into exports; the flows of the capture come out again."""

    def test_exports_of_a_real_exporter(self):
        from shutil import which
        program = which("softflowd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if not program:
            self.skipTest("softflowd is not installed (Debian package softflowd)")
        frames, want = [], {}
        for i in range(20):
            for k in range(i + 1):
                frame = P.ethernet_udp(f"10.1.0.{i + 1}", 4000 + i, "10.2.0.1", 53, bytes(100 + i))
                frames.append((1_700_000_000_000_000 + 10_000 * len(frames), frame))
            want[f"10.1.0.{i + 1}"] = (4000 + i, i + 1, (i + 1) * (28 + 100 + i))
        with open(self.path("in.pcap"), "wb") as f:
            f.write(P.pcap(frames))
        names = {5: None, 9: ("IPV4_SRC_ADDR", "L4_SRC_PORT", "IN_PKTS", "IN_BYTES"),
                 10: ("sourceIPv4Address", "sourceTransportPort", "packetDeltaCount", "octetDeltaCount")}
        for version in (5, 9, 10):
            with self.subTest(version=version):
                out = self.path(f"v{version}.gz")
                with Collector("-o", out) as c:
                    subprocess.run([program, "-d", "-r", self.path("in.pcap"), "-v", str(version), "-n",
                                    f"127.0.0.1:{c.ports[0]}"],
                                   check=True, capture_output=True, timeout=DEADLINE_S)
                    s = c.stop()
                self.assertGreater(s["receive"]["datagrams"], 0)
                got = {}
                for header, flows in packets_of(out):
                    self.assertEqual(header["version"], version)
                    for f in flows:
                        self.add(got, f, names[version])
                self.assertEqual({k: v for k, v in got.items() if k in want}, want)

    def add(self, got, f, names):
        import ipaddress
        if names is None:
            row = (f["IPV4_SRC_ADDR"], f["SRC_PORT"], f["IN_PACKETS"], f["IN_OCTETS"])
        elif all(n in f for n in names):
            row = tuple(f[n] for n in names)
        else:
            return  # options: what the exporter says of itself
        addr = str(ipaddress.ip_address(row[0]))
        got[addr] = row[1:]


if __name__ == "__main__":
    unittest.main()
