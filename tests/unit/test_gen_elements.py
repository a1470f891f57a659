"""tools/gen-elements: the same input gives the same output, and a bad row is named by file and line."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.abspath(os.environ.get("WEIR_ROOT") or os.path.join(os.path.dirname(__file__), "..", ".."))
FILES = ["ipfix-elements.tsv", "enterprise-elements.tsv", "enterprise-numbers.tsv", "netflow9-fields.tsv",
         "netflow9-scopes.tsv"]

BAD = [  # file, line, text to replace in it, its replacement, what the message says
    ("ipfix-elements.tsv", 3, "unsigned64", "unsigned65", "unknown type 'unsigned65'"),
    ("ipfix-elements.tsv", 3, "deltaCounter", "delta", "unknown semantics 'delta'"),
    ("ipfix-elements.tsv", 3, "octetDeltaCount", "octet delta", "'octet delta' cannot be a name"),
    ("ipfix-elements.tsv", 3, "octetDeltaCount", "octet\"", "cannot be a name"),
    ("ipfix-elements.tsv", 4, "0\t2\t", "0\t1\t", "pen 0 id 1 was already in line 3"),
    ("ipfix-elements.tsv", 4, "0\t2\t", "0\t32768\t", "id '32768' is not a number up to 32767"),
    ("ipfix-elements.tsv", 4, "0\t2\t", "2\t", "11 columns, the header has 12"),
    ("enterprise-elements.tsv", 2, "9\t201", "x\t201", "pen 'x' is not a number"),
    ("enterprise-numbers.tsv", 4, "11\t", "9\t", "pen 9 is there twice"),
    ("enterprise-numbers.tsv", 4, "Hewlett-Packard", "", "organisation '' cannot be printed"),
    ("netflow9-fields.tsv", 2, "octetDeltaCount", "octetCount", "'octetCount' is not in the IANA registry"),
    ("netflow9-fields.tsv", 3, "2\tIN_PKTS\tpacket", "1\tIN_PKTS\toctet", "pen 0 id 1 was already in line 2"),
    ("netflow9-scopes.tsv", 3, "2\t", "-2\t", "scope_type '-2' is not a number"),
]


class Generator(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.dir)
        for name in FILES:
            shutil.copy(os.path.join(ROOT, "registry", name), self.dir)

    def run_it(self, out):
        return subprocess.run([sys.executable, os.path.join(ROOT, "tools", "gen-elements"),
                               *FILES, out], cwd=self.dir, capture_output=True, text=True)

    def test_same_output(self):
        texts = []
        for out in "a", "b":
            self.assertEqual(self.run_it(out).returncode, 0)
            with open(os.path.join(self.dir, out), "rb") as f:
                texts.append(f.read())
        self.assertEqual(texts[0], texts[1])
        self.assertIn(b'.name = "octetDeltaCount"', texts[0])

    def test_bad_rows(self):
        for name, line, old, new, says in BAD:
            with self.subTest(says), open(os.path.join(ROOT, "registry", name), encoding="utf-8") as f:
                lines = f.read().split("\n")
                self.assertIn(old, lines[line - 1])
                lines[line - 1] = lines[line - 1].replace(old, new, 1)
                path = os.path.join(self.dir, name)
                with open(path, "w", encoding="utf-8", newline="\n") as out:
                    out.write("\n".join(lines))
                ran = self.run_it("out")
                self.assertEqual(ran.returncode, 1)
                self.assertIn("gen-elements: %s:%d: " % (name, line), ran.stderr)
                self.assertIn(says, ran.stderr)
                self.assertFalse(os.path.exists(os.path.join(self.dir, "out")))
                shutil.copy(os.path.join(ROOT, "registry", name), self.dir)

    def test_usage(self):
        ran = subprocess.run([sys.executable, os.path.join(ROOT, "tools", "gen-elements")],
                             capture_output=True, text=True)
        self.assertEqual(ran.returncode, 2)


if __name__ == "__main__":
    unittest.main()
