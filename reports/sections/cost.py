"""What localizing one image costs."""

from __future__ import annotations

from reports.comparison import Comparison
from reports.tables import cost

ORDER = 80
TITLE = "Cost per image"
SHORT = "Cost"


def context(comparison: Comparison) -> dict:
    """A row per line."""
    return {"rows": cost(comparison).to_dict("records")}
