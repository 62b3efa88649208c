"""How long the reliability campaign is, and its tally.

`--reliability=quick` (the default; some minutes) tries each kind of fault a few times, `--reliability=long` (tox
environment `reliability`) hundreds of times, a number between 0 and 1 so much of the way between them. Each test adds
what it tried to the tally, which is printed at the end: the counts in docs/reliability.md are such tables.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
TRIED: Counter[str] = Counter()


def pytest_addoption(parser):
    parser.addoption(
        "--reliability",
        default=os.environ.get("RELIABILITY", "quick"),
        help="length of the reliability campaign: quick, long, or a number between 0 (quick) and 1 (long)",
    )


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent == FOLDER:
            item.add_marker("slow")
            item.add_marker(pytest.mark.timeout(24 * 3600 if _length(item.config) else 600))


def _length(config) -> float:
    chosen = config.getoption("reliability", default=os.environ.get("RELIABILITY", "quick"))
    return {"quick": 0.0, "long": 1.0}[chosen] if chosen in ("quick", "long") else float(chosen)


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # a process of pytest-xdist
        session.config.workeroutput["tried"] = dict(TRIED)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    TRIED.update(getattr(node, "workeroutput", {}).get("tried", {}))


def pytest_terminal_summary(terminalreporter):
    if TRIED:
        terminalreporter.section("reliability: tried")
        for kind, count in sorted(TRIED.items()):
            terminalreporter.write_line(f"{count:7,}  {kind}")


@pytest.fixture
def count(request) -> Callable[[int, int], int]:
    """count(quick, long): the number of tries of this campaign."""
    return lambda quick, long: round(quick + _length(request.config) * (long - quick))


@pytest.fixture
def tried() -> Counter[str]:
    """The tally: tried["kind"] += 1."""
    return TRIED
