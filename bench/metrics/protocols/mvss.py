"""`mvss`: evaluate.py of MVSS-Net, on maps as its inference.py saves them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from bench.metrics.formulas import f1, named, ratio
from bench.metrics.images import ImageScores, auc
from bench.metrics.metric import Metric, Part
from bench.metrics.observation import Observation
from bench.metrics.protocol import Protocol, Quirk
from bench.metrics.statistics.levels import Histogram, Levels
from bench.metrics.steps.score import Probability, Truncated
from bench.metrics.steps.size import Linear, Nearest
from bench.metrics.steps.truth import Above
from bench.metrics.view import Kept, View

METRICS = (
    Metric("image_sensitivity", "Image sensitivity", "TP / (TP + FN + 1e-6) of images.", scope="set"),
    Metric("image_specificity", "Image specificity", "TN / (TN + FP + 1e-6) of images.", scope="set"),
    Metric(
        "combined_f1",
        "Combined F1",
        "Harmonic mean of the pixel F1 and the image F1 of the set (1e-6 added).",
        scope="set",
    ),
)
RESIZED = Kept(View(truth=(Above(0),), score=(Probability(), Truncated(), Linear("truth"))), Levels())
REFUSED = Kept(View(truth=(Above(0),), score=(Probability(), Truncated()), equal_sizes=True), Levels())
OWN_SIZE = Kept(View(truth=(Nearest("score"), Above(0)), score=(Probability(), Truncated())), Levels())


def _lowest(threshold: float) -> int:
    """The lowest of 256 levels with level / 255 > threshold."""
    return next(level for level in range(257) if level / 255 > threshold)


def _pixel_metrics(lowest: int):
    def of(levels: Histogram, kind: str) -> dict[str, float]:
        tp, fp, fn, tn = levels.confusion(lowest)
        if not tp + fp + fn:
            values = {"f1": 1.0, "precision": 0.0, "recall": 0.0}
        else:
            values = {"f1": 2 * tp / (2 * tp + fp + fn + 1e-6), "precision": tp / (tp + fp + 1e-6)}
            values["recall"] = tp / (tp + fn + 1e-6)
        return values | {"image_score": levels.highest() / 255, **named(tp, fp, fn, tn)}

    return of


class ImageLevel(ImageScores):
    """The script's image level: largest of the 8-bit map, called tampered above .5."""

    def __init__(self):
        super().__init__()
        self._sum, self._counted = 0.0, 0

    def add(self, observation: Observation, statistics: Mapping[str, Any], counted: bool) -> None:
        super().add(observation, statistics, counted)
        if counted and statistics["levels"] is not None:
            self._sum += self.pixel_f1(statistics["levels"])
            self._counted += 1

    def pixel_f1(self, levels: Histogram) -> float:
        """The pixel F1 of one image; set by `protocol`."""
        raise NotImplementedError

    def largest_of(self, observation: Observation, statistics: Mapping[str, Any]) -> float:
        levels: Histogram | None = statistics["image"]
        return math.nan if levels is None else levels.highest() / 255

    def metrics(self) -> dict[str, float]:
        scores, tampered = self.largest, self.tampered
        tp, fp, fn, tn = self.confusion(largest=True)
        both = tampered.any() and not tampered.all()
        sensitivity, specificity = tp / (tp + fn + 1e-6), tn / (tn + fp + 1e-6)
        image_f1 = self.image_f1(sensitivity, specificity, (tp, fp, fn, tn))
        mean = self._sum / self._counted if self._counted else math.nan
        return {
            "image_accuracy": (tp + tn) / (tampered.size + 1e-6),
            "image_sensitivity": sensitivity,
            "image_specificity": specificity,
            "image_f1": image_f1,
            "image_auc": auc(scores, tampered) if both or math.isnan(tp) else 0.0,
            "combined_f1": 2 * mean * image_f1 / (image_f1 + mean + 1e-6),
            **{f"image_{name}": value for name, value in named(tp, fp, fn, tn).items()},
        }

    def image_f1(self, sensitivity: float, specificity: float, counts: tuple) -> float:
        """The harmonic mean of sensitivity and specificity."""
        return ratio(2 * sensitivity * specificity, sensitivity + specificity)


class CorrectedImageLevel(ImageLevel):
    """The same with F1 of images as image F1."""

    def image_f1(self, sensitivity: float, specificity: float, counts: tuple) -> float:
        return f1(*counts)


def protocol(threshold: float = 0.5, resized: bool = True, corrected: bool = False) -> Protocol:
    """The script with `--th threshold`, on maps resized to the ground truth or not."""
    of = _pixel_metrics(_lowest(threshold))
    base = CorrectedImageLevel if corrected else ImageLevel
    level = type("ImageLevel", (base,), {"pixel_f1": lambda self, levels: of(levels, "probability")["f1"]})
    return Protocol(
        name="mvss",
        version=1,
        title="MVSS-Net script",
        description=(
            "As MVSS-Net's evaluate.py: map cut to 8 bits, resized as 8-bit image to the ground truth, forged where "
            "value / 255 exceeds .5; pixel F1 over tampered images, image level by the largest value of the map."
        ),
        kept={"levels": RESIZED if resized else REFUSED, "image": RESIZED if resized else OWN_SIZE},
        parts=(Part(("f1", "precision", "recall"), ("levels",), of),),
        headline="f1",
        set_metrics=(
            *("image_accuracy", "image_sensitivity", "image_specificity", "image_f1", "image_auc", "combined_f1"),
        ),
        accumulators=(level,),
        mask_rule="> 0",
        view="255 p cut to 8 bits, resized (bilinear) as an 8-bit image to the ground truth",
        threshold="value / 255 > .5",
        empty="both empty: F1 1, precision and recall 0",
        image_rule="largest of the 8-bit map, > .5 whatever the pixel threshold is",
        quirks=(
            Quirk("image-f1-is-harmonic-mean", "Image F1 is the harmonic mean of sensitivity and specificity.", True),
            Quirk("image-threshold-fixed", "The image level does not follow the threshold of the pixels."),
            Quirk("best-threshold-without-code", "The paper's optimal threshold has no code."),
            Quirk("size-mismatch-skips", "Maps of another size are skipped without a word, if not resized before."),
        ),
        twin="mvss-corrected",
        original="dong03/MVSS-Net cc2aed7: evaluate.py l.23-80, common/utils.py l.36-60, inference.py l.80-88",
        paper=(
            "Dong et al., MVSS-Net: Multi-View Multi-Scale Supervised Networks for Image Manipulation "
            "Detection, TPAMI 2022"
        ),
    )


CORRECTED = dataclasses.replace(
    protocol(corrected=True),
    name="mvss-corrected",
    title="MVSS-Net script, corrected",
    description="As mvss, but the image F1 is the F1 of images called tampered.",
    quirks=(),
    twin="mvss",
)
PROTOCOLS = (protocol(), CORRECTED)
