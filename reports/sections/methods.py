"""The localizers: what each does, whose it is, what it was trained on."""

from __future__ import annotations

from reports.comparison import Comparison
from reports.view import Localizer

ORDER = 100
TITLE = "Methods"


def context(comparison: Comparison) -> dict:
    """The cards of the localizers that have a line."""
    cards = {c.name: c for run in comparison.runs for c in run.localizers if c.status == "run"}
    names = dict.fromkeys(line.model for line in comparison.lines)
    return {"cards": [cards.get(name, Localizer(name)) for name in names]}
