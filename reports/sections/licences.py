"""Licences and citations of the data."""

from __future__ import annotations

from reports.comparison import Comparison

ORDER = 110
TITLE = "Licences and citations of the data"
SHORT = "Licences"


def context(comparison: Comparison) -> dict:
    """Nothing beyond the sets."""
    return {"sets": comparison.test_sets}
