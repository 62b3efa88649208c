"""Several runs: what differs between them, and the paired differences of each localizer."""

from __future__ import annotations

from reports.comparison import Comparison

ORDER = 30
TITLE = "Comparison of the runs"
SHORT = "Comparison"


def context(comparison: Comparison) -> dict | None:
    """What differs; nothing for a single run."""
    return {"differences": comparison.differences} if comparison.several else None
