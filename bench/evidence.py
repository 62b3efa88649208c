"""What is kept of one cell, an (image, perturbation, localizer): `Evidence`; and which cell it is: `Cell`."""

from __future__ import annotations

import builtins
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from bench.metrics import Observation, measure
from bench.truth import Truth
from models.image import ScoreMap

if TYPE_CHECKING:
    from bench.severity import Severity

STATUSES = ("ok", "failed", "not_applicable")


@dataclass(frozen=True)
class Cell:
    """Which (image, perturbation, localizer) a result belongs to, by the names that tables show."""

    model: str
    test_set: str
    image: str
    source: str
    tampered: bool
    perturbation: str
    level: str
    spec: str


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything that is kept of one localizer on one image at one perturbation.

    Attributes:
        status: "ok", "failed" or "not_applicable", the latter two with a reason and without scores.
        kind: kind of the score map ("probability", "logit", "score").
        image_score: the localizer's own image-level score, None where it has none. max_score: the map's maximum.
        seconds: wall time of the localizer. peak_mb: memory it added at its peak, NaN where not known.
        psnr (dB, inf for identical), ssim, bytes: measured severity of the perturbation.
        extras: what else the localizer and the severity say, as JSON holds it.
        statistics: name of a kept statistic -> its bytes (see `bench.metrics.measure`).
    """

    status: str = "ok"
    reason: str = ""
    kind: str = ""
    image_score: float | None = None
    max_score: float | None = None
    seconds: float = math.nan
    peak_mb: float = math.nan
    psnr: float = math.nan
    ssim: float = math.nan
    bytes: int | None = None
    extras: Mapping[str, object] = field(default_factory=dict)
    statistics: Mapping[str, builtins.bytes] = field(default_factory=dict)

    def __post_init__(self):
        if self.status not in STATUSES:
            raise ValueError(f"status must be one of {', '.join(STATUSES)}, got {self.status!r}")

    @classmethod
    def measure(
        cls,
        score: ScoreMap,
        truth: Truth,
        *,
        tampered: bool,
        protocols: Iterable[str],
        severity: Severity | None = None,
    ) -> Evidence:
        """Evidence of a score map: the statistics that the protocols need, and its scores.

        Extras of the score map that are not plain numbers, texts or short lists of them (arrays the size of the
        image) are not kept. Raises ValueError for forged pixels in an image that is said to be authentic.
        """
        statistics = measure(score, truth, tampered, protocols)
        return cls(
            kind=score.kind,
            image_score=None if score.image_score is None else float(score.image_score),
            max_score=float(score.resized(*truth.shape).values.max()),
            extras=_plain(score.extras),
            statistics=statistics,
        ).perturbed_by(severity)

    def perturbed_by(self, severity: Severity | None) -> Evidence:
        """The same with the measured severity of the perturbation."""
        if severity is None:
            return self
        measured = vars(severity).copy()
        columns = {name: measured.pop(name) for name in ("psnr", "ssim", "bytes")}
        extras = {**self.extras, "severity": _plain(measured)} if measured else self.extras
        return replace(self, **columns, extras=extras)

    def observation(self, tampered: bool) -> Observation:
        """What protocols compute metrics from; of evidence with status "ok"."""
        assert self.max_score is not None, "what was scored has a largest score"
        return Observation(tampered, self.kind, self.image_score, self.max_score, self.statistics)

    def to_row(self) -> tuple:
        """One plain value (text, number, None) per name of COLUMNS."""
        values = {name: getattr(self, name) for name in COLUMNS}
        values["extras"] = json.dumps(_plain(self.extras), sort_keys=True, allow_nan=False)
        plain = {n: None if isinstance(v, float) and math.isnan(v) else v for n, v in values.items()}
        return tuple(plain[name] for name in COLUMNS)

    @classmethod
    def from_row(cls, row: Iterable, statistics: Mapping[str, builtins.bytes]) -> Evidence:
        """The evidence that `to_row` wrote."""
        values = dict(zip(COLUMNS, row, strict=True))
        for name in ("seconds", "peak_mb", "psnr", "ssim"):
            values[name] = math.nan if values[name] is None else values[name]
        values["extras"] = json.loads(values["extras"])
        return cls(**values, statistics=statistics)


COLUMNS = tuple(f.name for f in fields(Evidence) if f.name != "statistics")


def _plain(extras: Mapping[str, object]) -> dict[str, object]:
    """What JSON can hold of a localizer's extras: numbers, texts and short lists; NaN and infinity become None."""
    plain: dict[str, object] = {}
    for name, value in extras.items():
        value = value.tolist() if isinstance(value, np.generic | np.ndarray) and np.size(value) <= 64 else value
        if isinstance(value, Mapping):
            plain[str(name)] = _plain(value)
        elif isinstance(value, list | tuple):
            if len(value) <= 64 and all(map(_is_plain, value)):
                plain[str(name)] = [_finite(item) for item in value]
        elif _is_plain(value):
            plain[str(name)] = _finite(value)
    return plain


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | bool | int | float | np.generic)


def _finite(value: object) -> object:
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
