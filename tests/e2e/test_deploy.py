#!/usr/bin/env python3
"""The commands, units and compose file of the pages on deployment: what they name exists. (What it does is tested elsewhere.)"""
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from collector import DEADLINE_S, WEIR

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
PAGES = ["scaling.md", "clickhouse.md", "kafka.md", "ship.md", "ipfix-export.md", "archive.md", "ledger.md", "query.md"]


def blocks(page):
    """Texts of the code blocks, fenced or indented, with the line before each."""
    before, block, fenced, out = "", [], False, []
    for line in (DOCS / page).read_text(encoding="utf-8").split("\n"):
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or (line.startswith("    ") and (block or not before)):
            block.append(line if fenced else line[4:])
            continue
        elif not line.strip() and block and not fenced:
            block.append("")
            continue
        if block:
            out.append("\n".join(block).strip() + "\n")
            block = []
        before = line.strip()
    return out + (["\n".join(block).strip() + "\n"] if block else [])


def commands(page):
    """(subcommand, the rest of its line) of all weir commands in the code blocks."""
    for block in blocks(page):
        for line in block.replace("\\\n", " ").split("\n"):
            if line.startswith("Description="):
                continue
            parts = re.split(r"\bweir ([a-z]+)(?= |$)", re.sub(r"\s#\s.*", "", line))
            yield from zip(parts[1::2], parts[2::2])


def out_of(*args):
    return subprocess.run([WEIR, *args], capture_output=True, text=True, check=True, timeout=DEADLINE_S).stdout


class Deploy(unittest.TestCase):
    def test_options_and_settings_exist(self):
        known = {}
        settings = set(re.findall(r"^ +(\w[\w.-]*)  ", out_of("ship", "--formats"), re.M))
        self.assertIn("password_file", settings)
        n = 0
        for page in PAGES:
            for name, rest in commands(page):
                if name not in known:
                    known[name] = set(re.findall(r"--[a-z][a-z0-9-]*", out_of(name, "--help")))
                for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", rest):
                    n += 1
                    self.assertIn(option, known[name], f"docs/{page}: weir {name} {rest}")
                if name != "ship":
                    continue
                named = re.findall(r"--set '?([\w.-]+)=", rest)
                for query in re.findall(r"(?:clickhouses?|kafka|ipfix(?:\+tcp)?)://[^\s'?]*\?([^\s']+)", rest):
                    named += [pair.partition("=")[0] for pair in query.split("&")]
                for setting in named:
                    n += 1
                    if "." not in setting:  # librdkafka's own
                        self.assertIn(setting, settings, f"docs/{page}: weir {name} {rest}")
        self.assertGreater(n, 30)

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
    def test_units(self):
        text = (DOCS / "scaling.md").read_text(encoding="utf-8")
        names = re.findall(r"^`([\w-]+\.service)`:$", text, re.M)
        self.assertEqual(names, ["weir-collect.service", "weir-ship.service"])
        units = [b for b in blocks("scaling.md") if b.startswith("[Unit]")]
        with tempfile.TemporaryDirectory(prefix="weir-units-") as folder:
            for name, unit in zip(names, units, strict=True):
                self.assertEqual(unit.count("/usr/local/bin/weir"), 1)
                with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                    f.write(unit.replace("/usr/local/bin/weir", os.path.abspath(WEIR)))
            r = subprocess.run(["systemd-analyze", "verify", "--man=no", *[os.path.join(folder, n) for n in names]],
                               capture_output=True, text=True, check=False, timeout=DEADLINE_S)
        self.assertEqual([line for line in (r.stdout + r.stderr).splitlines() if "weir-" in line], [])

    @unittest.skipUnless(importlib.util.find_spec("yaml"), "Python has no yaml")
    def test_compose_file(self):
        import yaml
        block, = [b for b in blocks("scaling.md") if b.startswith("services:")]
        file = yaml.safe_load(block)
        self.assertEqual(set(file["services"]), {"collect", "ship", "clickhouse"})
        for service in file["services"].values():
            for volume in service.get("volumes", []):
                self.assertIn(volume.partition(":")[0], file["volumes"])
            for secret in service.get("secrets", []):
                self.assertIn(secret, file["secrets"])
            self.assertLessEqual(set(service.get("depends_on", [])), set(file["services"]))


if __name__ == "__main__":
    unittest.main(verbosity=2)
