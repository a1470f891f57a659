#!/usr/bin/env python3
"""The archive, killed at random moments: whatever was acknowledged is there afterwards, once, in files that verify; and
readers beside a writer and a compaction see neither too little nor too much."""
import os
import random
import select
import signal
import subprocess
import tempfile
import time
import unittest

DRIVER = os.environ["WEIR_ARCHIVE_DRIVER"]
ROUNDS = int(os.environ.get("WEIR_CRASH_ROUNDS", "200"))
ROUNDS_PER_ARCHIVE = 20
DEADLINE_S = 60


class Killed:
    """Two writers in one process: lines that they said, until it is killed. counts: flows and rows of the ledger that
    each has stored."""

    def __init__(self, archive, counts, seed):
        self.child = subprocess.Popen([DRIVER, "write", archive, *map(str, counts), str(seed)], stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE)
        self.acked = list(counts)

    def first_word(self):
        """Wait until it has stored something."""
        ready, _, _ = select.select([self.child.stdout, self.child.stderr], [], [], DEADLINE_S)
        assert ready, "nothing stored"

    def kill(self):
        self.child.send_signal(signal.SIGKILL)
        said, complaints = self.child.communicate(timeout=DEADLINE_S)
        for line in said.split(b"\n")[:-1]:  # what is behind the last end of line was cut
            lane, flows, ledger = map(int, line.split())
            self.acked[2 * lane:2 * lane + 2] = flows, ledger
        return self.child.returncode, complaints.decode()


class Crash(unittest.TestCase):
    def check(self, archive, acked, how="check"):
        r = subprocess.run([DRIVER, how, archive, *map(str, acked)], capture_output=True, text=True, timeout=DEADLINE_S,
                           check=False)
        self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
        return list(map(int, r.stdout.split()))

    def test_killed_writers_lose_nothing(self):
        rng = random.Random(20261122)
        kills = recovered = ledger = lanes = 0
        for archive_number in range((ROUNDS + ROUNDS_PER_ARCHIVE - 1) // ROUNDS_PER_ARCHIVE):
            with tempfile.TemporaryDirectory() as archive:
                counts = [0, 0, 0, 0]
                for round_number in range(ROUNDS_PER_ARCHIVE):
                    seed = archive_number * 1000 + round_number + 1
                    compacter = None
                    if round_number % 4 == 3:
                        compacter = subprocess.Popen([DRIVER, "compact", archive], stderr=subprocess.PIPE)
                    writer = Killed(archive, counts, seed)
                    writer.first_word()
                    end = time.monotonic() + rng.uniform(0, 0.03)
                    while time.monotonic() < end:  # the moment of the kill is what this test is about
                        pass
                    if compacter:
                        compacter.kill()
                        _, complaints = compacter.communicate(timeout=DEADLINE_S)
                        self.assertEqual(compacter.returncode, -signal.SIGKILL, complaints.decode())
                    status, complaints = writer.kill()
                    self.assertEqual(status, -signal.SIGKILL, complaints)
                    kills += 1
                    # A reader needs no recovery; the next writer recovers by itself, every third time.
                    if round_number % 3 != 2 or round_number == ROUNDS_PER_ARCHIVE - 1:
                        counts = self.check(archive, writer.acked)
                        recovered += counts != writer.acked
                    else:
                        counts = self.check(archive, writer.acked, "read")
                self.check(archive, counts)
                lanes += counts[0] > 0 and counts[2] > 0
                ledger += counts[1] + counts[3]
        self.assertGreaterEqual(kills, ROUNDS)
        self.assertGreater(recovered, 0, "no kill came between a store and its acknowledgement")
        self.assertGreater(lanes, 0, "one of the two writers never stored")
        self.assertGreater(ledger, 0, "no row of the ledger")

    def test_readings_are_whole_beside_writer_and_compaction(self):
        with tempfile.TemporaryDirectory() as archive:
            r = subprocess.run([DRIVER, "race", archive, "3"], capture_output=True, text=True, timeout=120, check=False)
            self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
            self.assertRegex(r.stdout, r"^[1-9]\d* readings, [1-9]\d* open parts, [1-9]\d* rows, [1-9]\d* files compacted")


if __name__ == "__main__":
    unittest.main()
