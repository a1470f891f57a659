"""The field names of netflow 0.12.2, where they are its own (the package data `names.tsv`, made from the project's registry)."""

import os
from typing import Dict

_PATH = os.path.join(os.path.dirname(__file__), "names.tsv")


def _load() -> Dict[int, Dict[int, str]]:
    names: Dict[int, Dict[int, str]] = {9: {}, 10: {}}
    with open(_PATH, encoding="utf-8") as lines:
        next(lines)
        for line in lines:
            version, number, name = line.rstrip("\n").split("\t")
            names[int(version)][int(number)] = name
    return names


NAMES = _load()
V9_KNOWN = NAMES[9]
IPFIX_KNOWN = NAMES[10]
