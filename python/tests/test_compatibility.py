#!/usr/bin/env python3
"""Every example of COMPATIBILITY.md gives what it says, here and (when it is there) under netflow 0.12.2."""
import contextlib
import io
import json
import pathlib
import re
import resource
import signal
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
TEXT = HERE.parent / "COMPATIBILITY.md"
EXAMPLE = re.compile(r"^```python\n(.*?)^```\n^```text\n0\.12\.2: (.*?)\nhere: +(.*?)\n```$", re.M | re.S)
SETUP = re.compile(r"^```python setup\n(.*?)^```$", re.M | re.S)
EXAMPLE_S = 60
CPU_S = 1.0


class Endless(BaseException):
    """An example has had its time."""


def on_alarm(_number, _frame):
    raise Endless


def run(setup, code):
    """What an example prints, or which exception it ends with."""
    signal.signal(signal.SIGVTALRM, on_alarm)
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_S)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.RLIM_INFINITY))
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            space = {}
            exec(setup, space)
            exec(code, space)
    except (Endless, MemoryError):
        return "does not end"
    except Exception as error:
        return f"raises {type(error).__name__}"
    return out.getvalue().rstrip("\n")


class Examples(unittest.TestCase):
    def setUp(self):
        self.text = TEXT.read_text(encoding="utf-8")
        self.setup = SETUP.search(self.text).group(1)
        self.examples = EXAMPLE.findall(self.text)

    def test_all_are_found(self):
        self.assertGreater(len(self.examples), 10)
        self.assertEqual(len(self.examples), self.text.count("```python\n"))
        self.assertEqual(len(self.examples), self.text.count("```text\n"))

    def check(self, python, which):
        for example in self.examples:
            with self.subTest(code=example[0]):
                done = subprocess.run([python, "-B", __file__, "--run"], input=json.dumps([self.setup, example[0]]),
                                      capture_output=True, text=True, timeout=EXAMPLE_S, check=True)
                self.assertEqual(json.loads(done.stdout), example[which])

    def test_here(self):
        self.check(sys.executable, 2)

    def test_before(self):
        from test_differential import old_python  # it needs a package to import
        python = old_python()
        if not python:
            self.skipTest("netflow 0.12.2 is not there and could not be installed; WEIR_PYTHON_OLD names an "
                          "interpreter that has it")
        self.check(python, 1)


if __name__ == "__main__":
    if sys.argv[1:] == ["--run"]:
        print(json.dumps(run(*json.load(sys.stdin))))
    else:
        unittest.main()
