"""What is kept of one (image, perturbation, localizer): `Evidence`, with the score map condensed into a `Curve`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np

from bench.metrics import transition_protocols as protocols
from bench.metrics.statistics.curve import Curve
from models.image import ScoreMap

if TYPE_CHECKING:
    from bench.severity import Severity


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything that is kept of one localizer on one image at one perturbation.

    status: "ok", "failed" or "not_applicable", the latter two with a reason and without curve and scores.
    kind: kind of the score map ("probability", "logit", "score"). image_score: the localizer's own image-level score;
    max_score: the maximum of its map. seconds: wall time of the localizer; peak_mb: memory it added at its peak.
    psnr (dB, inf for identical), ssim, bytes: measured severity of the perturbation. extras: JSON-able.
    """

    model: str
    test_set: str
    image: str
    perturbation: str
    seed: int = 0
    status: str = "ok"
    reason: str = ""
    tampered: bool = True
    curve: Curve | None = None
    kind: str = ""
    image_score: float | None = None
    max_score: float | None = None
    seconds: float = math.nan
    peak_mb: float = math.nan
    psnr: float = math.nan
    ssim: float = math.nan
    bytes: int | None = None
    extras: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self):
        if self.status not in ("ok", "failed", "not_applicable"):
            raise ValueError(f'status must be "ok", "failed" or "not_applicable", got {self.status!r}')
        if (self.status == "ok") != (self.curve is not None):
            raise ValueError(f"evidence with status {self.status!r} and {'no ' * (self.curve is None)}curve")

    @classmethod
    def measure(
        cls,
        score: ScoreMap,
        mask: np.ndarray | None,
        *,
        tampered: bool | None = None,
        severity: Severity | None = None,
        **about,
    ) -> Evidence:
        """Evidence of a score map.

        mask: bool (H, W), True = forged; None, or all False with `tampered` False, for an authentic image. A map of
            another size is brought to that of the mask.
        about: the remaining fields (model, test_set, image, perturbation, seconds, ...). Extras of the score map that
            are not plain numbers, texts or short lists of them (arrays the size of the image) are not kept.
        Raises ValueError for forged pixels in an image that is said to be authentic.
        """
        tampered = mask is not None if tampered is None else tampered
        mask = np.zeros(score.values.shape, bool) if mask is None else mask
        if not tampered and mask.any():
            raise ValueError(
                f"{about.get('image', 'an image')} is authentic, yet its mask has {mask.sum()} forged pixels"
            )
        score = score.resized(*mask.shape)
        extras = {**_plain_extras(score.extras), **about.pop("extras", {})}
        return cls(
            **about,
            **_measured(severity),
            tampered=tampered,
            curve=Curve.from_scores(score.values, mask, protocols.borders(score.kind)),
            kind=score.kind,
            image_score=None if score.image_score is None else float(score.image_score),
            max_score=float(score.values.max()),
            extras=extras,
        )

    @classmethod
    def unscored(cls, status: str, reason: str, *, severity: Severity | None = None, **about) -> Evidence:
        """Evidence that there is no score map: status "failed" or "not_applicable", and why."""
        return cls(status=status, reason=reason, **about, **_measured(severity))

    def to_row(self) -> dict[str, object]:
        """A flat dict of str, int, float, bytes and None, one entry a field, for one row of a database."""
        row = {f.name: getattr(self, f.name) for f in fields(self)}
        row["tampered"] = int(self.tampered)
        row["curve"] = None if self.curve is None else self.curve.to_bytes()
        row["extras"] = json.dumps(dict(self.extras), sort_keys=True)
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, object]) -> Evidence:
        """The evidence that `to_row` wrote; further columns of the row are ignored."""
        values = {f.name: row[f.name] for f in fields(cls)}
        for name in ("seconds", "peak_mb", "psnr", "ssim"):  # SQLite stores NaN as NULL
            values[name] = math.nan if values[name] is None else values[name]
        values["tampered"] = bool(values["tampered"])
        values["curve"] = None if values["curve"] is None else Curve.from_bytes(values["curve"])
        values["extras"] = json.loads(values["extras"])
        return cls(**values)


def _measured(severity: Severity | None) -> dict[str, object]:
    return {} if severity is None else {"psnr": severity.psnr, "ssim": severity.ssim, "bytes": severity.bytes}


def _plain_extras(extras: Mapping[str, object]) -> dict[str, object]:
    plain = {}
    for name, value in extras.items():
        value = value.tolist() if isinstance(value, np.generic) else value
        items = value if isinstance(value, list | tuple) and len(value) <= 64 else [value]
        if all(item is None or isinstance(item, str | bool | int | float) for item in items):
            plain[name] = list(value) if isinstance(value, tuple) else value
    return plain
