"""Reading TESTLIST and running its lines, for test_golden.py and tools/update-golden."""
import os
import pathlib
import shlex
import subprocess

HERE = pathlib.Path(__file__).resolve().parent


def tests():
    """(name, input, expected, options) of each line."""
    out = []
    with open(HERE / "TESTLIST", encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            words = shlex.split(line, comments=True)
            if words and len(words) < 3:
                raise ValueError(f"TESTLIST:{number}: NAME INPUT EXPECTED [OPTION]... needed, found {line.strip()!r}")
            if words:
                out.append((words[0], HERE / words[1], HERE / words[2], words[3:]))
    return out


def run(weir, source, options):
    """What weir decode prints. Warnings are for people: standard error is shown when it fails."""
    p = subprocess.run([weir, "decode", "--format", "json", *options, os.fspath(source)], stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, check=False)
    if p.returncode:
        raise AssertionError(f"weir decode {source.name}: exit {p.returncode}: {p.stderr.decode()}")
    return p.stdout.decode("utf-8")
