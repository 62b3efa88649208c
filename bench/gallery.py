"""Which pictures a large run keeps: those of the best and the worst images of each localizer, set and perturbation.

Images stand in order of the headline metric of the first protocol, or of the next metric that the image has a value
of (maps without a meaningful threshold have no F1, but an AUC). An image that this protocol does not count has none.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Hashable, Iterator, Mapping

import pandas as pd

from bench.metrics import METRICS, Protocol

PICTURES = ("auto", "all", "extremes", "none")
ALL_UP_TO = 20_000  # cells of a run folder: 200 MB of pictures
EACH_END = 6


def chosen(pictures: str, cells: int) -> str:
    """What "auto" means in a folder of that many cells; any other choice as it is."""
    return ("all" if cells <= ALL_UP_TO else "extremes") if pictures == "auto" else pictures


def deciding(protocol: Protocol) -> list[str]:
    """The metrics that images may be put in order by, the first choice first."""
    merits = [name for name in protocol.metrics if METRICS[name].direction != "neither"]
    return sorted(merits, key=lambda name: name != protocol.headline)


def value_of(metrics: Mapping[str, float], protocol: Protocol) -> tuple[str, float] | None:
    """The metric and value by which an image stands in order; None where it has none."""
    known = (name for name in deciding(protocol) if math.isfinite(metrics.get(name, math.nan)))
    return next(((name, metrics[name]) for name in known), None)


class Extremes:
    """The best and worst members of each group, as they come. Ties go by the member's name, not by arrival."""

    def __init__(self, each_end: int = EACH_END):
        self.each_end = each_end
        self._groups: dict[Hashable, list[tuple]] = {}

    def offer(self, group: Hashable, member: Hashable, value: float) -> list:
        """Take in a member; the one that is none of the group's extremes any more, perhaps this very one, else []."""
        held = self._groups.setdefault(group, [])
        bisect.insort(held, (value, member))
        return [held.pop(self.each_end)[1]] if len(held) > 2 * self.each_end else []

    def __iter__(self) -> Iterator:
        return (member for held in self._groups.values() for _, member in held)

    def read(self, table: pd.DataFrame, protocol: Protocol) -> None:
        """Take in the images of a results table: members are (localizer, test set, image, spec)."""
        order = {name: number for number, name in enumerate(deciding(protocol))}
        rows = table[(table["protocol"] == protocol.name) & table["metric"].isin(list(order)) & table["value"].notna()]
        rows = rows[~rows["image"].isin(["*", "**"])]
        rows = rows.assign(order=rows["metric"].map(order).astype(int)).sort_values("order", kind="stable")
        names = ["model", "test_set", "image", "spec"]
        rows = rows.drop_duplicates(names)
        for *member, metric, value in rows[[*names, "metric", "value"]].itertuples(index=False, name=None):
            model, test_set, _, spec = member
            self.offer((model, test_set, spec, metric), tuple(member), value)
