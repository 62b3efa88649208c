"""JUnit XML, the format in which CI servers read verdicts."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """One verdict: `failure` is its message, None where it passed."""

    group: str
    name: str
    failure: str | None = None


def write(path: Path, suite: str, cases: Sequence[Case]) -> None:
    """Write one test suite with these cases."""
    failures = sum(case.failure is not None for case in cases)
    root = ET.Element("testsuites")
    node = ET.SubElement(root, "testsuite", name=suite, tests=str(len(cases)), failures=str(failures), errors="0")
    for case in cases:
        item = ET.SubElement(node, "testcase", classname=case.group, name=case.name)
        if case.failure is not None:
            ET.SubElement(item, "failure", message=case.failure.splitlines()[0]).text = case.failure
    path.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
