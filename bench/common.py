"""common -- what the benchmarks share: the traffic generator and how its files are found."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def flowgen(work):
    """Path of a flowgen program (deterministic v5, v9 and IPFIX traffic), or None.

    WEIR_FLOWGEN names one; else its source is built from ../shared/bench when that is there."""
    if os.environ.get("WEIR_FLOWGEN"):
        return os.environ["WEIR_FLOWGEN"]
    source = ROOT.parent / "shared" / "bench" / "flowgen.c"
    if not source.is_file():
        return None
    out = pathlib.Path(work) / "flowgen"
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-o", out, source, "-lm"], check=True)
    return str(out)


def build(work, name):
    """Path of the program made from bench/NAME.c, or None when there is no compiler."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if not compiler:
        return None
    out = pathlib.Path(work) / name
    subprocess.run([compiler, "-O2", "-D_GNU_SOURCE", "-o", out, ROOT / "bench" / f"{name}.c"], check=True)
    return str(out)


def workspace():
    """A directory for input files, removed at the end: in memory if there is room, so that no disk is measured."""
    shm = pathlib.Path("/dev/shm")
    base = shm if shm.is_dir() and shutil.disk_usage(shm).free > 2 << 30 else None
    return tempfile.TemporaryDirectory(prefix="weir-bench-", dir=base)


def need_flowgen(work):
    path = flowgen(work)
    if path is None:
        sys.exit("bench: no flowgen: set WEIR_FLOWGEN to the program (its source is not part of this project)")
    return path
