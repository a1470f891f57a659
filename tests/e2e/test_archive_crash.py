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
    """A writer: lines that it said, until it is killed."""

    def __init__(self, archive, first, seed):
        self.child = subprocess.Popen([DRIVER, "write", archive, str(first), str(seed)], stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE)
        self.acked = first

    def first_word(self):
        """Wait until it has stored something."""
        ready, _, _ = select.select([self.child.stdout, self.child.stderr], [], [], DEADLINE_S)
        assert ready, "nothing stored"

    def kill(self):
        self.child.send_signal(signal.SIGKILL)
        said, complaints = self.child.communicate(timeout=DEADLINE_S)
        lines = said.split(b"\n")[:-1]  # what is behind the last end of line was cut
        if lines:
            self.acked = int(lines[-1])
        return self.child.returncode, complaints.decode()


class Crash(unittest.TestCase):
    def check(self, archive, acked):
        r = subprocess.run([DRIVER, "check", archive, str(acked)], capture_output=True, text=True, timeout=DEADLINE_S,
                           check=False)
        self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
        return int(r.stdout)

    def test_killed_writers_lose_nothing(self):
        rng = random.Random(20261122)
        kills = recovered = 0
        for archive_number in range((ROUNDS + ROUNDS_PER_ARCHIVE - 1) // ROUNDS_PER_ARCHIVE):
            with tempfile.TemporaryDirectory() as archive:
                number = 0
                for round_number in range(ROUNDS_PER_ARCHIVE):
                    seed = archive_number * 1000 + round_number + 1
                    compacter = None
                    if round_number % 4 == 3:
                        compacter = subprocess.Popen([DRIVER, "compact", archive], stderr=subprocess.PIPE)
                    writer = Killed(archive, number, seed)
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
                        rows = self.check(archive, writer.acked)
                        recovered += rows > writer.acked
                        number = rows
                    else:
                        number = self.read(archive, writer.acked)
                self.check(archive, number)
        self.assertGreaterEqual(kills, ROUNDS)
        self.assertGreater(recovered, 0, "no kill came between a store and its acknowledgement")

    def read(self, archive, acked):
        """The rows that a reader finds before anybody recovers."""
        r = subprocess.run([DRIVER, "read", archive, str(acked)], capture_output=True, text=True, timeout=DEADLINE_S,
                           check=False)
        self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
        return int(r.stdout)

    def test_readings_are_whole_beside_writer_and_compaction(self):
        with tempfile.TemporaryDirectory() as archive:
            r = subprocess.run([DRIVER, "race", archive, "3"], capture_output=True, text=True, timeout=120, check=False)
            self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
            self.assertRegex(r.stdout, r"^[1-9]\d* readings, [1-9]\d* open parts, [1-9]\d* rows, [1-9]\d* files compacted")


if __name__ == "__main__":
    unittest.main()
