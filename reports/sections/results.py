"""Per test set: curves, heat map, table, and published numbers beside the measured ones."""

from __future__ import annotations

from collections.abc import Mapping

from reports.comparison import Comparison
from reports.published import beside, elsewhere, is_folder, known_sets

ORDER = 40
TITLE = "Results by perturbation"
SHORT = "Results"
HOW = ("source", "printed_metric", "rule", "images", "scoring", "train_set")  # what a note on a published number says


def context(comparison: Comparison) -> dict:
    """The published numbers of the sets that have some."""
    return {"published": {name: published(comparison, name) for name in known_sets(comparison)}}


def published(comparison: Comparison, test_set: str) -> dict:
    """What the page says of the published numbers on a test set.

    Measured numbers, each with those published beside it (reasons that hold for all of them apart, sources as numbered
    notes), and by source and training set those without a measured counterpart.
    """
    pairs = beside(comparison, test_set)
    everywhere = [r for r in (pairs[0]["why_not"] if pairs else []) if all(r in pair["why_not"] for pair in pairs)]
    notes: dict[tuple, int] = {}
    measured: dict[tuple, dict] = {}
    for pair in pairs:
        how = tuple(pair[name] for name in HOW)
        note = notes.setdefault(how, len(notes) + 1)
        number = {**pair, "note": note, "reasons": [reason for reason in pair["why_not"] if reason not in everywhere]}
        key = (pair["line"].index, pair["spec"], pair["metric"], pair["protocol"])
        measured.setdefault(key, {**pair, "numbers": []})["numbers"].append(number)
    sources: dict[tuple[str, str], list[Mapping]] = {}
    for record in elsewhere(comparison, test_set):
        sources.setdefault((record["source"], record["train_set"]), []).append(record)
    shown = {pair["line"].index for pair in pairs}
    return {
        "folder": is_folder(comparison, test_set),
        "measured": list(measured.values()),
        "pairs": len(pairs),
        "comparable": sum(pair["comparable"] for pair in pairs),
        "everywhere": everywhere,
        "without": [line.label for line in comparison.lines if line.index not in shown],
        "flagged": comparison.contaminated(test_set),
        "notes": [dict(zip(HOW, how, strict=True)) for how in notes],
        "sources": sources,
        "elsewhere": sum(map(len, sources.values())),
    }
