"""The answer in a few sentences, before anything else, and what must be known before it."""

from __future__ import annotations

from reports.comparison import Comparison

ORDER = 10
TITLE = "Answer"


def context(comparison: Comparison) -> dict:
    """Warnings, demonstration sets, and the runs."""
    return {
        "demonstrations": [s for s in comparison.test_sets if s.demonstration],
        "warnings": comparison.warnings,
    }
