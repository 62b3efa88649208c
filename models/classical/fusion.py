"""Fusion of classical methods: a logistic regression over the maps that apply to the photo.

The log-odds that a place is forged are a weighted sum of what the members say of it, as in naive Bayes with weights
that discount what members have in common. Every member that applies gives two numbers for each cell of 8x8 pixels:
the standard normal quantile of its rank within the photo, which is comparable between photos whatever the score's
unit, and, where its map is a probability or log-odds, the log-odds of its own, cut to -4..4, which can say that
nothing in this photo is forged. A member that does not apply adds nothing, as one that is undecided everywhere does.

Works where its members work, and for the kinds of forgery that the built-in set holds. Cannot know how much of a photo
of yours is forged: probabilities are calibrated for the built-in set under its post-processings, where 4 % of all
pixels are, authentic images counted. So .5 is a cautious threshold, and photos with large forgeries deserve a lower
one.

Weights and intercept are fitted by `python -m bench train fusion` on the built-in set under the standard grid, and
stand in `fusion.toml` with what they were fitted on and how well they do. With photos held out, also as donors, the
mean AUC over tampered images and all 15 levels is .80; the best single members have .68 (ELA) and .70 (ADQ2, on the
JPEG files alone, where the fusion has .84). Other forms did worse there: the mean of ranks .79, products of pairs of
features .795.

The same cross-validation chose the members among the methods below .7 seconds a megapixel. Without any one of them
the AUC falls by .003 (ADQ1) to .03 (SIFT). NOI2, ZERO, DCT and CAGI's inverse would add .001 to .003 each, NOI1, NOI4
and aligned NADQ nothing; Noisesniffer's .008 are not worth its time, nor is NADQ. Slower methods were not tried.
"""

from __future__ import annotations

import hashlib
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.special import expit, logit, ndtri
from scipy.stats import rankdata

from models import Localizer, WeightsError, WeightsMissing, register
from models.classical.adq1 import DoubleQuantisationPeriod
from models.classical.adq2 import DoubleQuantisationMixture
from models.classical.blk import BlockArtefactGrid
from models.classical.cfa1 import DemosaicingResidual
from models.classical.cfa2 import ReinterpolationError
from models.classical.copymove_keypoint import KeypointCopyMove
from models.classical.ela import ErrorLevelAnalysis
from models.classical.ghost import JpegGhosts
from models.image import ForensicImage, NotApplicable, ScoreMap

# Imported, not built by name, so that a member's source counts as source of the fusion. GHOST and SIFT run with fewer
# qualities and keypoints than alone: half their time, for .002 of held-out AUC.
MEMBERS: dict[str, Localizer] = {
    member.card.name: member
    for member in (
        ErrorLevelAnalysis(),
        JpegGhosts(step=10),
        BlockArtefactGrid(),
        DoubleQuantisationPeriod(),
        DoubleQuantisationMixture(),
        DemosaicingResidual(),
        ReinterpolationError(),
        KeypointCopyMove(max_keypoints=1000),
    )
}
FEATURES = ("rank", "own")
SHIPPED = Path(__file__).with_name("fusion.toml")
CELL = 8  # pixels, the side of a JPEG block
OWN_LIMIT = 4.0  # log-odds; beyond it a member's own certainty says nothing more


@dataclass(frozen=True)
class Coefficients:
    """The fitted fusion. intercept: log-odds where every member is undecided. weights: member -> of its FEATURES."""

    intercept: float
    weights: Mapping[str, tuple[float, float]]


@register(
    "fusion",
    title="Fusion of classical methods (logistic regression)",
    paper="none; this repository's own combination, see models/classical/fusion.py",
    summary="Calibrated combination of ELA, GHOST, BLK, ADQ1, ADQ2, CFA1, CFA2 and SIFT copy-move: what classical "
    "forensics can do together. Fitted on the built-in set, where its pixel AUC on photos held out of the fit is .80, "
    "mean over the standard grid",
    groups=("baselines", "classical"),
    trained_on=("builtin",),
)
class Fusion(Localizer):
    """Probability in 0..1 that each pixel is forged, calibrated for photos like the built-in set's.

    weights: a coefficients file written by `python -m bench train fusion --out FILE`; None takes the shipped one.
    Raises WeightsMissing, WeightsError.
    """

    def __init__(self, weights: str | os.PathLike | None = None):
        path = SHIPPED if weights is None else Path(weights)
        self.coefficients = read_coefficients(path)
        self.weights_digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self._members = MEMBERS

    def localize(self, image: ForensicImage) -> ScoreMap:
        """Probability map; extras: "members", the names of those that apply.

        Raises NotApplicable where none does, and whatever else a member raises.
        """
        found = features(image, self._members)
        if not found:
            raise NotApplicable(f"none of the members applies: {', '.join(self._members)}")
        height, width = image.shape
        odds = cv2.resize(log_odds(found, self.coefficients), (width, height), interpolation=cv2.INTER_LINEAR)
        return ScoreMap(expit(odds), "probability", extras={"members": tuple(found)})


def features(image: ForensicImage, members: Mapping[str, Localizer]) -> dict[str, np.ndarray]:
    """What the members that apply say of each cell: name -> float32 (2, rows, columns), in the order of FEATURES."""
    found = {}
    for name, member in members.items():
        try:
            found[name] = map_features(member.localize(image))
        except NotApplicable:
            continue
    return found


def map_features(score: ScoreMap) -> np.ndarray:
    """Float32 (2, rows, columns) of the cells of a map: normal quantile of the rank, and own log-odds, 0 for a "score".

    Tied cells share their mean rank, so a constant map is undecided (0) everywhere.
    """
    cells = to_cells(score.values)
    rank = ndtri((rankdata(cells) - 0.5) / cells.size).reshape(cells.shape)
    if score.kind == "score":
        own = np.zeros_like(cells)
    elif score.kind == "probability":
        own = logit(np.clip(cells, expit(-OWN_LIMIT), expit(OWN_LIMIT)))
    else:
        own = np.clip(cells, -OWN_LIMIT, OWN_LIMIT)
    return np.stack([rank, own]).astype(np.float32)


def to_cells(values: np.ndarray) -> np.ndarray:
    """Means over cells of 8x8 pixels: float32 (ceil(H / 8), ceil(W / 8)) of float32 (H, W)."""
    height, width = values.shape
    return cv2.resize(values, (math.ceil(width / CELL), math.ceil(height / CELL)), interpolation=cv2.INTER_AREA)


def log_odds(found: Mapping[str, np.ndarray], coefficients: Coefficients) -> np.ndarray:
    """Float32 (rows, columns) of the members' features (2, rows, columns), at least one member's."""
    total = sum(np.tensordot(coefficients.weights[name], f, 1) for name, f in found.items())
    return (coefficients.intercept + total).astype(np.float32)


def read_coefficients(path: Path) -> Coefficients:
    """The coefficients in a file that `python -m bench train fusion` wrote. Raises WeightsMissing, WeightsError."""
    remedy = "write it anew with `python -m bench train fusion --out FILE`"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsMissing(f"{path} does not exist; {remedy}") from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read ({error}); {remedy}") from error
    stored = content.get("members", {})
    if set(stored) != set(MEMBERS):
        raise WeightsError(f"{path} is of the members {', '.join(stored)}, not {', '.join(MEMBERS)}; {remedy}")
    try:
        weights = {name: tuple(float(stored[name][feature]) for feature in FEATURES) for name in MEMBERS}
        intercept = float(content["intercept"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} lacks a number ({error!r}); {remedy}") from error
    if not np.isfinite([intercept, *sum(weights.values(), ())]).all():
        raise WeightsError(f"{path} holds a number that is not finite; {remedy}")
    return Coefficients(intercept, weights)
