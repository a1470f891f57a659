"""readers -- other programs that read Parquet, for the tests that compare with them. Each is installed into
WEIR_INTEROP_DIR/NAME when it is not there; where that cannot be (no network, no npm, no pip) the test is skipped and
says so."""
import fcntl
import importlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
SKIP = 77


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIP)


def run(*args, **more):
    r = subprocess.run([str(a) for a in args], check=False, capture_output=True, text=True, **more)
    if r.returncode:
        sys.stderr.write(r.stderr)
        r.check_returncode()
    return r.stdout


def installed(reader, package, command, there):
    """The folder with the package; installs it once."""
    folder = pathlib.Path(os.environ["WEIR_INTEROP_DIR"]) / reader
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not there(folder):
            try:
                subprocess.run([str(a) for a in command(folder)], check=True, capture_output=True, timeout=240)
            except (OSError, subprocess.SubprocessError) as e:
                text = getattr(e, "stderr", None) or str(e).encode()
                skip(f"{package} is not installed and cannot be: {text.decode(errors='replace').strip()[-200:]}")
            if not there(folder):
                skip(f"{package} was installed, but cannot be used")
    return folder


def python_package(reader):
    def command(folder):
        return [sys.executable, "-m", "pip", "install", "--quiet", "--retries", "0", "--timeout", "20",
                "--disable-pip-version-check", "--target", folder, reader]

    def there(folder):
        return subprocess.run([sys.executable, "-c", f"import {reader}"], capture_output=True, check=False,
                              env={**os.environ, "PYTHONPATH": str(folder)}).returncode == 0

    sys.path.insert(0, str(installed(reader, reader, command, there)))
    return importlib.import_module(reader)


def duckdb():
    """A function that runs SQL statements in DuckDB and returns the rows of each."""
    if not shutil.which("npm") or not shutil.which("node"):
        skip("npm and node are needed for @duckdb/node-api")
    there = installed("duckdb", "@duckdb/node-api",
                      lambda d: ["npm", "install", "--prefix", d, "--no-audit", "--no-fund", "--fetch-retries", "0",
                                 "--fetch-timeout", "20000", "@duckdb/node-api"],
                      lambda d: (d / "node_modules/@duckdb/node-api/package.json").is_file())
    return lambda *statements: json.loads(run("node", HERE / "duckdb_run.mjs", there, input=json.dumps(statements)))
