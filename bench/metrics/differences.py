"""Why the same maps have other numbers under other protocols: sentences computed from what was stored of one run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.metrics.formulas import f1, iou
from bench.metrics.observation import Observation
from bench.metrics.protocol import Protocol
from bench.metrics.recompute import SetTotals, all_metrics, not_counted
from bench.metrics.registry import METRICS, find

COUNTS = ("tp", "fp", "fn", "tn")


@dataclass(frozen=True)
class Difference:
    """One cause, on these maps.

    Attributes:
        cause: "empty maps", "authentic images", "inverted maps", "both classes", "another size", "soft masks",
            "threshold", "images left out" or "pooled".
        sentence: what it does here, with its numbers.
        protocols: the names of those that it moves.
        images: how many images it concerns.
        effect: how far it moves the headline of the protocol that it moves most, 0 to 1.
    """

    cause: str
    sentence: str
    protocols: tuple[str, ...]
    images: int
    effect: float


@dataclass(frozen=True)
class _Sheet:
    """One protocol on all images: metrics (as `all_metrics`) and whether the image is counted, in their order."""

    protocol: Protocol
    rows: Sequence[dict[str, float]]
    counted: np.ndarray
    whole: dict[str, float]

    @property
    def name(self) -> str:
        return self.protocol.name

    @property
    def headline(self) -> str:
        return self.protocol.headline

    @property
    def per_image(self) -> bool:
        return self.headline in self.protocol.metrics

    def column(self, metric: str) -> np.ndarray:
        """float64 (N,), NaN where an image has no such number."""
        return np.array([row.get(metric, math.nan) for row in self.rows], np.float64)

    def counts(self) -> np.ndarray:
        """float64 (N, 4): TP, FP, FN, TN."""
        return np.stack([self.column(name) for name in COUNTS], axis=1)

    def of_counts(self, formula) -> np.ndarray:
        """A formula of the counts of each image, NaN where they are missing or it is undefined."""
        return np.array([math.nan if np.isnan(c).any() else formula(*c) for c in self.counts()])


def differences(observations: Iterable[Observation], protocols: Iterable[str | Protocol]) -> list[Difference]:
    """The causes that move a headline on these maps, the one that moves it most first; [] for a single protocol.

    observations: of one localizer on one test set at one perturbation. Raises NotKept.
    """
    observations = list(observations)
    sheets = [_sheet(observations, find(protocol)) for protocol in protocols]
    tampered = np.array([o.tampered for o in observations], bool)
    if len(sheets) < 2 or not tampered.size:
        return []
    causes = (_empty, _authentic, _inverted, _macro, _size, _soft, _threshold, _left_out, _pooled)
    found = [difference for cause in causes if (difference := cause(sheets, tampered)) is not None]
    return sorted(found, key=lambda difference: -difference.effect)


def why(observations: Iterable[Observation], protocols: Iterable[str | Protocol], limit: int = 3) -> list[str]:
    """The sentences of the `limit` causes that move a headline most."""
    return [difference.sentence for difference in differences(observations, protocols)[:limit]]


def _sheet(observations: Sequence[Observation], protocol: Protocol) -> _Sheet:
    totals = SetTotals(protocol)
    for observation in observations:
        totals.add(observation)
    rows = [all_metrics(observation, protocol) for observation in observations]
    counted = np.array([not not_counted(observation, protocol) for observation in observations], bool)
    return _Sheet(protocol, rows, counted, totals.means() | totals.metrics())


def _empty(sheets: list[_Sheet], tampered: np.ndarray) -> Difference | None:
    reference = _reference(sheets)
    if reference is None:
        return None
    counts = reference.counts()
    empty = tampered & (counts[:, 0] + counts[:, 1] == 0)
    values = {}
    for sheet in (s for s in sheets if s.per_image):
        own = sheet.counts()
        there = empty & sheet.counted & ~(own[:, 0] + own[:, 1] > 0)  # NaN: it has no fixed threshold
        values[sheet.name] = _mean(sheet.column(sheet.headline)[there])
    values = {name: value for name, value in values.items() if not math.isnan(value)}
    if not empty.any() or not values or max(values.values()) - min(values.values()) < 5e-4:
        return None
    low, high = (best(values, key=lambda name: values[name]) for best in (min, max))
    share = empty.sum() / tampered.sum()
    sentence = (
        f"{_of(empty, tampered)} tampered images have an empty map at the fixed threshold: they get "
        f"{_number(values[low])} ({_title(low)}) under {low} and {_number(values[high])} ({_title(high)}) under {high}."
    )
    return _made("empty maps", sentence, values, empty, share * (values[high] - values[low]))


def _authentic(sheets: list[_Sheet], tampered: np.ndarray) -> Difference | None:
    moved = {}
    for sheet in sheets:
        values = sheet.column(sheet.headline)
        if sheet.per_image and (sheet.counted & ~tampered).any():
            moved[sheet.name] = _mean(values[sheet.counted & tampered]), _mean(values[sheet.counted])
    moved = {name: pair for name, pair in moved.items() if abs(pair[0] - pair[1]) > 5e-4}
    if not moved:
        return None
    most = max(moved, key=lambda name: abs(moved[name][0] - moved[name][1]))
    without, with_them = moved[most]
    others = [s.name for s in sheets if s.name not in moved and not (s.counted & ~tampered).any()]
    sentence = (
        f"{_of(~tampered, np.ones_like(tampered))} images are authentic: {_list(moved)} {_s(moved, 'count')} them"
        f"{_not(others)}; without them the {_title(most)} of "
        f"{most} would be {_number(without)} instead of {_number(with_them)}."
    )
    return _made("authentic images", sentence, moved, ~tampered, abs(without - with_them))


def _inverted(sheets: list[_Sheet], tampered: np.ndarray) -> Difference | None:
    moved, better = {}, np.zeros_like(tampered)
    for sheet in sheets:
        plain, other = sheet.of_counts(f1), sheet.of_counts(lambda tp, fp, fn, tn: f1(fn, tn, tp, fp))
        if sheet.headline not in ("f1", "permuted_f1"):
            continue
        value = sheet.column(sheet.headline)
        taken = sheet.counted & tampered & (other > plain) & (value > plain + 1e-6)
        if taken.any():
            moved[sheet.name] = _mean(plain[taken]), _mean(value[taken]), taken.sum() / sheet.counted.sum()
            better |= taken
    if not moved:
        return None
    most = max(moved, key=lambda name: (moved[name][1] - moved[name][0]) * moved[name][2])
    given, chosen, share = moved[most]
    others = [s.name for s in sheets if s.name not in moved and s.headline == "f1"]
    sentence = (
        f"On {_of(better, tampered)} tampered images the inverted map is better than the map: {_list(moved)} "
        f"{_s(moved, 'take')} the better of both (under {most} F1 {_number(chosen)} instead of {_number(given)} there)"
        f"{_not(others)}."
    )
    return _made("inverted maps", sentence, moved, better, (chosen - given) * share)


def _macro(sheets: list[_Sheet], tampered: np.ndarray) -> Difference | None:
    moved = {}
    for sheet in sheets:
        if sheet.headline in ("macro_f1", "mean_iou", "permuted_mean_iou"):
            forged = sheet.of_counts(f1 if sheet.headline == "macro_f1" else iou)
            both = sheet.column(sheet.headline)
            used = sheet.counted & tampered & ~np.isnan(forged)
            if used.any():
                moved[sheet.name] = _mean(forged[used]), _mean(both[used])
    moved = {name: pair for name, pair in moved.items() if abs(pair[0] - pair[1]) > 5e-4}
    if not moved:
        return None
    most = max(moved, key=lambda name: abs(moved[name][0] - moved[name][1]))
    alone, averaged = moved[most]
    what = "F1" if METRICS[find(most).headline].name == "macro_f1" else "IoU"
    sentence = (
        f"{_list(moved)} {_s(moved, 'average')} forged and pristine pixels: of the tampered images, {most} has "
        f"{_number(averaged)}, where the {what} of the forged pixels alone is {_number(alone)}."
    )
    return _made("both classes", sentence, moved, tampered, abs(alone - averaged))


def _size(sheets: list[_Sheet], tampered: np.ndarray) -> Difference | None:
    reference = _reference(sheets)
    if reference is None:
        return None
    pixels, own, moved, concerned = (
        reference.counts().sum(axis=1),
        reference.of_counts(iou),
        {},
        np.zeros_like(tampered),
    )
    for sheet in sheets:
        there = sheet.counts().sum(axis=1)
        other = sheet.counted & reference.counted & tampered & ~np.isnan(there) & (there != pixels)
        values = sheet.of_counts(iou)
        other &= ~np.isnan(own) & ~np.isnan(values)
        if other.any():
            moved[sheet.name] = _mean(pixels[other]), _mean(there[other]), _mean(own[other]), _mean(values[other])
            concerned |= other
    if not moved:
        return None
    most = max(moved, key=lambda name: abs(moved[name][2] - moved[name][3]))
    before, after, here, theirs = moved[most]
    sentence = (
        f"{_list(moved)} {_s(moved, 'score')} other pixels than {reference.name}, by resizing or by margins ({most}: "
        f"{after:,.0f} per image instead of {before:,.0f}): there the IoU of the same maps is {_number(theirs)} "
        f"instead of {_number(here)}."
    )
    return _made("another size", sentence, moved, concerned, abs(here - theirs))


def _soft(sheets: list[_Sheet], tampered: np.ndarray) -> Difference | None:
    reference = _reference(sheets)
    if reference is None:
        return None
    counts, moved, concerned = reference.counts(), {}, np.zeros_like(tampered)
    own = reference.of_counts(iou)
    for sheet in sheets:
        there = sheet.counts()
        same = there.sum(axis=1) == counts.sum(axis=1)
        other = tampered & same & (there[:, 0] + there[:, 2] != counts[:, 0] + counts[:, 2])
        if other.any():
            forged = _mean(counts[other, 0] + counts[other, 2]), _mean(there[other, 0] + there[other, 2])
            moved[sheet.name] = *forged, _mean(own[other]), _mean(sheet.of_counts(iou)[other])
            concerned |= other
    if not moved:
        return None
    most = max(moved, key=lambda name: abs(moved[name][0] - moved[name][1]))
    here, other_pixels, before, after = moved[most]
    sentence = (
        f"The masks of {_of(concerned, tampered)} tampered images have other values than 0 and 255: {most} "
        f"({find(most).mask_rule}) has {other_pixels:,.0f} forged pixels per image, {reference.name} "
        f"({reference.protocol.mask_rule}) {here:,.0f}."
    )
    effect = 0.0 if math.isnan(before - after) else abs(before - after) * concerned.sum() / tampered.sum()
    return _made("soft masks", sentence, moved, concerned, effect)


def _threshold(sheets: list[_Sheet], tampered: np.ndarray) -> Difference | None:
    reference = _reference(sheets)
    if reference is None:
        return None
    counts, own, moved, concerned = reference.counts(), reference.of_counts(f1), {}, np.zeros_like(tampered)
    for sheet in sheets:
        there = sheet.counts()
        same = (there.sum(axis=1) == counts.sum(axis=1)) & (there[:, 0] + there[:, 2] == counts[:, 0] + counts[:, 2])
        other = tampered & same & (there[:, 0] + there[:, 1] != counts[:, 0] + counts[:, 1])
        gap = np.abs(sheet.of_counts(f1) - own)
        if other.any() and _mean(gap[other]) > 5e-4:
            moved[sheet.name] = _mean(gap[other]) * other.sum() / tampered.sum()
            concerned |= other
    if not moved:
        return None
    most = max(moved, key=lambda name: moved[name])
    sentence = (
        f"On {_of(concerned, tampered)} tampered images {_list(moved)} {_s(moved, 'call')} other pixels forged than "
        f"{reference.name} ({most}: {find(most).threshold}): F1 moves by {_number(moved[most])} on average."
    )
    return _made("threshold", sentence, moved, concerned, moved[most])


def _left_out(sheets: list[_Sheet], tampered: np.ndarray) -> Difference | None:
    reference = _reference(sheets)
    if reference is None:
        return None
    value, moved, concerned = reference.column("f1"), {}, np.zeros_like(tampered)
    for sheet in sheets:
        if not sheet.per_image:
            continue
        undefined = np.isnan(sheet.column(sheet.headline)) & (sheet.protocol.average == "nanmean")
        missing = tampered & reference.counted & (~sheet.counted | undefined) & ~np.isnan(value)
        kept = tampered & reference.counted & ~missing & ~np.isnan(value)
        if missing.any() and kept.any():
            moved[sheet.name] = _mean(value[kept | missing]), _mean(value[kept]), int(missing.sum())
            concerned |= missing
    if not moved:
        return None
    most = max(moved, key=lambda name: abs(moved[name][0] - moved[name][1]))
    whole, kept, number = moved[most]
    sentence = (
        f"{_list(moved)} {_s(moved, 'leave')} out tampered images that others count ({most}: {number} of "
        f"{tampered.sum()}): over the rest the F1 of {reference.name} is {_number(kept)} instead of {_number(whole)}."
    )
    return _made("images left out", sentence, moved, concerned, abs(whole - kept))


def _pooled(sheets: list[_Sheet], tampered: np.ndarray) -> Difference | None:
    moved = {}
    for sheet in sheets:
        single = sheet.headline.removeprefix("pooled_")
        if single != sheet.headline and single in sheet.protocol.metrics:
            mean, pooled = _mean(sheet.column(single)[sheet.counted]), sheet.whole[sheet.headline]
            if not math.isnan(mean - pooled) and abs(mean - pooled) > 5e-4:
                moved[sheet.name] = mean, pooled
    if not moved:
        return None
    most = max(moved, key=lambda name: abs(moved[name][0] - moved[name][1]))
    mean, pooled = moved[most]
    sentence = (
        f"{_list(moved)} {_s(moved, 'add')} up the pixels of all images, so that large forgeries weigh more: "
        f"{_title(most)} {_number(pooled)}, where the mean over images is {_number(mean)}."
    )
    return _made("pooled", sentence, moved, tampered, abs(mean - pooled))


def _reference(sheets: list[_Sheet]) -> _Sheet | None:
    """`native` if it is there, else the first protocol with an F1 and counts at a fixed threshold."""
    usable = [s for s in sheets if "f1" in s.protocol.metrics and not np.isnan(s.counts()).all()]
    return next((s for s in usable if s.name == "native"), usable[0] if usable else None)


def _made(cause: str, sentence: str, protocols: Iterable[str], images: np.ndarray, effect: float) -> Difference:
    return Difference(cause, sentence, tuple(protocols), int(images.sum()), float(effect))


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def _title(protocol: str) -> str:
    return METRICS[find(protocol).headline].title.replace("Pixel ", "")


def _of(some: np.ndarray, everything: np.ndarray) -> str:
    return f"{int(some.sum())} of {int(everything.sum())}"


def _number(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1) if 0 <= value < 1 else f"{value:.3f}"


def _list(names: Iterable[str]) -> str:
    names = list(names)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _not(names: Sequence[str]) -> str:
    """The words ", a and b do not"; "" for nobody."""
    if len(names) > 3:
        return ", the others do not"
    return f", {_list(names)} {_s(names, 'does', 'do')} not" if names else ""


def _s(names: Iterable[str], one: str, several: str | None = None) -> str:
    """The verb for these subjects: `_s(["a"], "count")` is "counts"."""
    if several is None:
        one, several = f"{one}s", one
    return one if len(list(names)) == 1 else several
