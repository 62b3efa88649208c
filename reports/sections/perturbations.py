"""The perturbations as measured: how far each level moved the images, and what it looks like."""

from __future__ import annotations

from reports.comparison import Comparison

ORDER = 60
TITLE = "Perturbations"


def context(comparison: Comparison) -> dict:
    """The levels, with the title of each family's axis."""
    return {"axes": {name: comparison.axis_title(name) for name in comparison.families}}
