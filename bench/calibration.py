"""Levels of all perturbations on one axis: what PSNR and SSIM they were measured to leave of the built-in set's photos.

A run measures the severity of its own images; this table, calibration.csv, is for choosing levels, and for saying what
level of one family does as much harm as a level of another. Made by: python -m bench.training.tools.perturbations
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from bench.perturb import STEPS, Perturbation
from bench.severity import severity
from bench.truth import Truth
from models.image import ForensicImage

TABLE = Path(__file__).with_name("calibration.csv")
TEST_SET = "builtin"


def calibrate(photos: Mapping[str, ForensicImage], perturbations: Sequence[Perturbation]) -> pd.DataFrame:
    """One row a perturbation: medians over the photos, which are named by their ids in the built-in set.

    Columns: spec, family, level; psnr (dB, inf for identical pixels), ssim, bits_per_pixel (NaN where the result is no
    file of a lossy codec), scorable (share of pixels); unchanged (share of the photos on which nothing changes).
    """
    rows = []
    for perturbation in perturbations:
        found, same = [], 0
        for name, photo in photos.items():
            made = perturbation.apply_pair(photo, Truth.pristine(photo.shape), (TEST_SET, name))
            measured = severity(made.reference, made.image, made.truth.scorable if perturbation.geometric else None)
            bits = np.nan if measured.bits_per_pixel is None else measured.bits_per_pixel
            found.append((measured.psnr, measured.ssim, bits, measured.scorable))
            same += made.unchanged
        psnr, ssim, bits, scorable = np.median(np.array(found), axis=0)
        rows.append(
            {
                "spec": perturbation.spec,
                "family": perturbation.family,
                "level": perturbation.level,
                "psnr": round(psnr, 2),
                "ssim": round(ssim, 4),
                "bits_per_pixel": round(bits, 3),
                "scorable": round(scorable, 4),
                "unchanged": same / len(photos),
            }
        )
    return pd.DataFrame(rows)


def examples() -> list[Perturbation]:
    """Every installed perturbation at the levels that give an idea of it."""
    return [Perturbation(((s.name, level),)) for s in STEPS.values() if s.installed for level in s.examples]


def read() -> pd.DataFrame:
    """The table that is shipped; see `calibrate`."""
    return pd.read_csv(TABLE, dtype={"level": str}, keep_default_na=False, na_values={"bits_per_pixel": [""]})


def level_at(table: pd.DataFrame, family: str, psnr: float) -> float | None:
    """The level of a family with levels in numbers that leaves this PSNR in dB, interpolated between measured ones.

    None where no two neighbouring levels enclose it, on one side of the level that changes nothing. Of several
    (brighter, darker) the highest level.
    """
    identity = STEPS[family].identity
    rows = table[(table["family"] == family) & np.isfinite(table["psnr"])]
    points = sorted((float(level), value) for level, value in zip(rows["level"], rows["psnr"], strict=True))
    for (low, before), (high, after) in reversed(list(pairwise(points))):
        if identity is not None and low < identity < high:
            continue
        if min(before, after) <= psnr <= max(before, after) and before != after:
            return low + (high - low) * (psnr - before) / (after - before)
    return None
