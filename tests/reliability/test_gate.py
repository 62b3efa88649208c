"""The gate's promises by simulation, from tables as `bench check` reads them: false alarms and power.

tests/bench/test_max_t.py has the quick version of the threshold alone.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from bench.check import compare
from bench.reference import CELL


def table(values: np.ndarray) -> pd.DataFrame:
    """Values (images, cells) as the tables of a check hold them."""
    images, cells = values.shape
    cell, image = np.meshgrid(np.arange(cells), np.arange(images))
    frame = pd.DataFrame({"image": np.char.add("a", image.ravel().astype(str)), "value": values.ravel()})
    frame[CELL] = ["toy", "set", "", "native", "auc"]
    frame["spec"] = np.char.add("jpeg:", cell.ravel().astype(str))
    return frame.assign(source=frame["image"])


def alarms(images: int, cells: int, number: int, loss: float = 0.0, lossy: int = 1, noisy: int = 1) -> int:
    """How many of `number` checks call something worse: `noisy` of the two runs have noise of .05 on each image."""
    found = 0
    for repetition in range(number):
        rng = np.random.default_rng([11, images, cells, repetition])
        level = rng.uniform(0.5, 0.9, (images, cells))
        old = level + (rng.normal(0, 0.05, level.shape) if noisy == 2 else 0)
        new = level + rng.normal(0, 0.05, level.shape)
        new[:, :lossy] -= loss
        found += bool([v for v in compare(table(old), table(new)).verdicts if v.worse])
    return found


@pytest.mark.parametrize("cells", [48, 384])
@pytest.mark.parametrize("images", [6, 20, 46, 400])
def test_false_alarms(count, tried, images, cells):
    number = count(3, 200)
    found = alarms(images, cells, number)
    tried[f"check of an unchanged localizer, {images} images, {cells} cells"] += number
    tried[f"  of these false alarms, {images} images, {cells} cells"] += found
    assert found <= binom.isf(1e-3, number, 0.05)  # more has a chance below 1e-3 at the promised rate


@pytest.mark.parametrize(("cells", "lossy"), [(48, 1), (384, 1), (48, 48), (384, 384)])
def test_power(count, tried, cells, lossy):
    number = count(3, 200)
    found = alarms(46, cells, number, loss=0.05, lossy=lossy)
    tried[f"check of a loss of .05 in {lossy} of {cells} cells, 46 images"] += number
    tried[f"  of these found, {lossy} of {cells} cells"] += found
    assert found >= binom.ppf(1e-3, number, 0.9)  # fewer has a chance below 1e-3 at the promised power
