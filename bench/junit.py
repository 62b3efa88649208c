"""JUnit XML, the format in which CI servers read verdicts."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.files import write_atomic

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Case:
    """One verdict with its numbers: `failure` says what got worse, `error` why nothing can be said; None otherwise."""

    group: str
    name: str
    failure: str | None = None
    error: str | None = None
    text: str = ""
    numbers: Mapping[str, object] = field(default_factory=dict)


def write(path: Path, suite: str, cases: Sequence[Case]) -> None:
    """Write one test suite with these cases; characters that XML cannot hold become U+FFFD."""
    counts = {
        "tests": len(cases),
        "failures": sum(case.failure is not None for case in cases),
        "errors": sum(case.error is not None for case in cases),
    }
    root = ET.Element("testsuites")
    node = ET.SubElement(root, "testsuite", {"name": suite} | {name: str(count) for name, count in counts.items()})
    for case in cases:
        item = ET.SubElement(node, "testcase", classname=_clean(case.group), name=_clean(case.name))
        if case.numbers:
            properties = ET.SubElement(item, "properties")
            for name, value in case.numbers.items():
                ET.SubElement(properties, "property", name=name, value=_clean(str(value)))
        for kind, message in (("failure", case.failure), ("error", case.error)):
            if message is not None:
                ET.SubElement(item, kind, message=_clean(message.splitlines()[0])).text = _clean(message)
        if case.text:
            ET.SubElement(item, "system-out").text = _clean(case.text)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _clean(text: str) -> str:
    return _NOT_XML.sub("�", text)
