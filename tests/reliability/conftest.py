"""How long the reliability campaign is, and its tally.

`--reliability=quick` (the default; about two minutes in all) tries each kind of fault a few times, `--reliability=long`
(tox environment `reliability`) as often as docs/reliability.md says. Each test adds what it tried to the tally, which
is printed at the end: what stands in the documentation is this table of a run that took place.
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
        choices=("quick", "long"),
        default=os.environ.get("RELIABILITY", "quick"),
        help="length of the reliability campaign (also: environment variable RELIABILITY)",
    )


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent == FOLDER:
            item.add_marker("slow")
            item.add_marker(pytest.mark.timeout(24 * 3600 if _long(item.config) else 600))


def _long(config) -> bool:
    return config.getoption("reliability", default=os.environ.get("RELIABILITY", "quick")) == "long"


def pytest_terminal_summary(terminalreporter):
    if TRIED:
        terminalreporter.section("reliability: tried")
        for kind, count in sorted(TRIED.items()):
            terminalreporter.write_line(f"{count:7,}  {kind}")


@pytest.fixture
def count(request) -> Callable[[int, int], int]:
    """count(quick, long): the number of tries of this campaign."""
    return lambda quick, long: long if _long(request.config) else quick


@pytest.fixture
def tried() -> Counter[str]:
    """The tally: tried["kind"] += 1."""
    return TRIED
