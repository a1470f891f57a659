"""The program ``weir`` that comes with this package."""
from __future__ import annotations

import os
import shutil
import signal
import sys
from typing import NoReturn, Optional, Sequence

BUNDLED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_bin", "weir")


def find() -> Optional[str]:
    """Path of the program: the one in the package, else the one in $PATH, else None."""
    return BUNDLED if os.access(BUNDLED, os.X_OK) else shutil.which("weir")


def run(arguments: Sequence[str]) -> NoReturn:
    """Become the program: it has this process, its standard input and output, and its signals."""
    program = find()
    if program is None:
        sys.exit(f"The program 'weir' is neither in the package ({BUNDLED}) nor in $PATH: "
                 "reinstall the package, or install weir")
    sys.stdout.flush()
    sys.stderr.flush()
    for name in "SIGPIPE", "SIGXFSZ":  # which Python ignores, and programs inherit that
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execv(program, ["weir", *arguments])
    except OSError as e:
        sys.exit(f"{program}: {e.strerror}: reinstall the package, or install weir")


def main() -> NoReturn:
    """``python3 -m netflow`` and the script ``weir``: the program with the arguments of this process."""
    run(sys.argv[1:])
