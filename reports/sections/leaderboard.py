"""The leaderboard: per localizer how good, how robust, how sure, at what cost."""

from __future__ import annotations

from reports.comparison import Comparison

ORDER = 20
TITLE = "Leaderboard"


def context(comparison: Comparison) -> dict:
    """Whether there is anything to rank."""
    return {"empty": not comparison.metrics or not comparison.protocols}
