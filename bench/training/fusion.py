"""Fit the fusion of classical methods on the built-in set, and cross-validate it over photos (minutes).

The file that is written holds the coefficients and the cross-validation. `python -m bench run --models fusion --weights
fusion=FILE` uses it; the shipped one is models/classical/fusion.toml.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from bench.data import Sample, TestSet, builtin, open_builtin
from bench.files import write_atomic
from bench.perturb import Perturbation, parse
from bench.training.progress import progress
from models import Localizer
from models.classical.fusion import CELL, FEATURES, MEMBERS, Coefficients, features
from models.image import ForensicImage, read_image

CELLS_PER_IMAGE = 500  # about; neighbouring cells say much the same
PROBABILITY_BINS = (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1)
HEAD = """\
# Coefficients of the localizer "fusion" (see models/classical/fusion.py) and how well they do; written by
# `python -m bench train fusion`, not by hand.
"""


@dataclass(frozen=True)
class Example:
    """Some grid cells of one image at one level of post-processing.

    Attributes:
        photo: the one that was forged.
        photos: all that have pixels in it, donors included.
        values: float32 (n, members, 2), `fusion.features` in the order of MEMBERS, 0 where a member does not apply.
        applies: bool (members,).
        forged: bool (n,).
    """

    photo: str
    photos: frozenset[str]
    values: np.ndarray
    applies: np.ndarray
    forged: np.ndarray

    @property
    def mixed(self) -> bool:
        """Whether there are cells of both classes, so that an AUC is defined."""
        return bool(self.forged.any() and not self.forged.all())


def example(
    image: ForensicImage, mask: np.ndarray, photo: str, photos: frozenset[str], members: Mapping[str, Localizer]
) -> Example:
    """The example of an image: every k-th cell in both directions, about 500 in all.

    Args:
        image: at one level of post-processing.
        mask: ground truth, bool, of the image's size or of its size before it was resized. A cell is forged if more
            than half of it is.
        photo: the one that was forged.
        photos: all that have pixels in the image.
        members: the localizers that are fused, by name.
    """
    found = features(image, members)
    rows, columns = (-(-n // CELL) for n in image.shape)
    forged = cv2.resize(mask.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA) > 0.5
    absent = np.zeros((len(FEATURES), rows, columns), np.float32)
    values = np.stack([found.get(name, absent) for name in members]).transpose(2, 3, 0, 1)
    step = max(1, round((rows * columns / CELLS_PER_IMAGE) ** 0.5))
    taken = np.s_[step // 2 :: step, step // 2 :: step]
    applies = np.array([name in found for name in members])
    return Example(photo, photos, values[taken].reshape(-1, *values.shape[2:]), applies, forged[taken].ravel())


def fit(examples: Sequence[Example]) -> Coefficients:
    """Logistic regression, with a standard normal prior on the weights that tens of thousands of cells outweigh."""
    model = _regression(examples, _linear)
    weights = model.coef_.reshape(-1, len(FEATURES)).tolist()
    return Coefficients(float(model.intercept_[0]), dict(zip(MEMBERS, map(tuple, weights), strict=True)))


# A way to combine: fitted to the first examples, it scores the cells of each of the second.
Form = Callable[[Sequence[Example], Sequence[Example]], list[np.ndarray]]


def logistic(train: Sequence[Example], test: Sequence[Example]) -> list[np.ndarray]:
    """Log-odds by logistic regression on the members' features."""
    model = _regression(train, _linear)
    return [model.decision_function(_linear(e)) for e in test]


def logistic_with_pairs(train: Sequence[Example], test: Sequence[Example]) -> list[np.ndarray]:
    """Log-odds by logistic regression on the features and the products of any two of them."""
    model = _regression(train, _with_pairs)
    return [model.decision_function(_with_pairs(e)) for e in test]


def mean_rank(train: Sequence[Example], test: Sequence[Example]) -> list[np.ndarray]:
    """Mean over the members that apply of the normal quantile of the rank; nothing is fitted."""
    return [e.values[:, :, 0].sum(1) / max(1, e.applies.sum()) for e in test]


def held_out(examples: Sequence[Example], form: Form) -> list[np.ndarray]:
    """Cross-validated scores: of every example by a combination fitted to those without a pixel of its photo."""
    scores: dict[int, np.ndarray] = {}
    for photo in sorted({e.photo for e in examples}):
        test = [i for i, e in enumerate(examples) if e.photo == photo]
        train = [e for e in examples if photo not in e.photos]
        scores.update(zip(test, form(train, [examples[i] for i in test]), strict=True))
    return [scores[i] for i in range(len(examples))]


@dataclass(frozen=True)
class Validation:
    """The cross-validation's result. AUCs are over an example's cells, and means over examples with both classes.

    Attributes:
        examples: with both classes.
        auc: of each way to combine.
        members: name -> examples it applies to, its AUC, and the AUC of the logistic regression on the same.
        loss: mean negative log-likelihood of the logistic regression.
        prior_loss: the same of the prior, the share of forged cells.
        reliability: (count, mean predicted probability, observed share of forged cells) in bins of the probability.
    """

    examples: int
    auc: dict[str, float]
    members: dict[str, tuple[int, float, float]]
    loss: float
    prior_loss: float
    reliability: list[tuple[int, float, float]]


def cross_validate(examples: Sequence[Example]) -> Validation:
    """Cross-validated accuracy and calibration of the fusion, of the other ways to combine and of the members alone."""
    forms = {"logistic": logistic, "logistic_with_pairs": logistic_with_pairs, "mean_rank": mean_rank}
    scores = {name: held_out(examples, form) for name, form in forms.items()}
    mixed = [i for i, e in enumerate(examples) if e.mixed]
    aucs = {name: {i: roc_auc_score(examples[i].forged, of[i]) for i in mixed} for name, of in scores.items()}
    members = {}
    for number, name in enumerate(MEMBERS):
        applies = [i for i in mixed if examples[i].applies[number]]
        own = [roc_auc_score(examples[i].forged, examples[i].values[:, number, 0]) for i in applies]
        alone, fused = (float(np.mean(a)) if a else float("nan") for a in (own, [aucs["logistic"][i] for i in applies]))
        members[name] = (len(applies), alone, fused)
    forged = np.concatenate([e.forged for e in examples])
    probability = expit(np.concatenate(scores["logistic"]))
    bins = np.digitize(probability, PROBABILITY_BINS[1:-1])
    reliability = [
        (int(chosen.sum()), float(probability[chosen].mean()), float(forged[chosen].mean()))
        for chosen in (bins == b for b in range(len(PROBABILITY_BINS) - 1))
        if chosen.any()
    ]
    return Validation(
        examples=len(mixed),
        auc={name: float(np.mean(list(of.values()))) for name, of in aucs.items()},
        members=members,
        loss=float(log_loss(forged, probability)),
        prior_loss=float(log_loss(forged, np.full(len(forged), forged.mean()))),
        reliability=reliability,
    )


def write(path: Path, coefficients: Coefficients, examples: Sequence[Example], found: Validation, about: dict) -> None:
    """Write the coefficients file whole or not at all; about: further lines of its table `fit`."""
    forged = np.concatenate([e.forged for e in examples])
    fitted = {**about, "examples": len(examples), "cells": len(forged), "forged": round(float(forged.mean()), 5)}
    lines = [HEAD, f"intercept = {coefficients.intercept:.6f}", "", "[members]"]
    for name, weights in coefficients.weights.items():
        pairs = ", ".join(f"{feature} = {w:.6f}" for feature, w in zip(FEATURES, weights, strict=True))
        lines.append(f"{name} = {{ {pairs} }}")
    lines += ["", "[fit]", *(f"{key} = {_toml(value)}" for key, value in fitted.items())]
    lines += [
        "",
        "# Cross-validated over photos (hosts and donors): mean AUC of the cells of tampered images and levels.",
    ]
    lines += ["[held_out]", f"examples = {found.examples}"]
    lines += [f"{name} = {auc:.4f}" for name, auc in found.auc.items()]
    lines += ["", "# Mean negative log-likelihood of a cell, and of the prior (the share of forged cells)."]
    lines += [f"loss = {found.loss:.5f}", f"prior_loss = {found.prior_loss:.5f}"]
    lines += ["", "# Predicted p (mean of a bin) and observed share of forged cells.", "reliability = ["]
    lines += [f"  {{ cells = {n}, p = {p:.4f}, forged = {share:.4f} }}," for n, p, share in found.reliability]
    lines += ["]", "", "# Each member alone, and the fusion on the same images and levels.", "[held_out.members]"]
    for name, (n, own, fusion) in found.members.items():
        lines.append(f"{name} = {{ examples = {n}, auc = {own:.4f}, fusion = {fusion:.4f} }}")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, "\n".join(lines) + "\n")


def _toml(value: str | int | float) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _linear(one: Example) -> np.ndarray:
    """Design matrix float64 (n, members * 2)."""
    return one.values.reshape(len(one.forged), -1).astype(np.float64)


def _with_pairs(one: Example) -> np.ndarray:
    x = _linear(one)
    return np.column_stack([x, *(x[:, i] * x[:, j] for i, j in combinations(range(x.shape[1]), 2))])


def _regression(examples: Sequence[Example], design: Callable[[Example], np.ndarray]) -> LogisticRegression:
    x = np.concatenate([design(e) for e in examples])
    forged = np.concatenate([e.forged for e in examples])
    return LogisticRegression(C=1.0, solver="newton-cholesky").fit(x, forged)


SEED = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench train fusion`."""
    parser.add_argument("--out", type=Path, default=Path("fusion.toml"), help="file to write (default: fusion.toml)")
    parser.add_argument("--perturbations", default="standard", help="levels to fit under (default: standard)")
    parser.add_argument("--json", action="store_true", help="print the cross-validation as JSON on standard output")


def main(args: argparse.Namespace) -> int:
    """Exit code 0.

    Raises:
        DataError, PerturbationError, OSError: with a message for the user.
    """
    perturbations = parse(args.perturbations)
    test_set = open_builtin()
    examples: list[Example] = []
    pairs = list(zip(test_set.samples, builtin.RECIPES, strict=True))
    for sample, recipe in progress(pairs, desc="fusion", unit="image"):
        examples += examples_of(test_set, sample, recipe, perturbations)
    found = cross_validate(examples)
    about = {
        "test_set": test_set.name, "digest": builtin.prepare()[2], "images": len(pairs),
        "perturbations": args.perturbations, "seed": SEED,
    }  # fmt: skip
    write(args.out, fit(examples), examples, found, about)
    if args.json:
        print(json.dumps({"coefficients": str(args.out), **dataclasses.asdict(found)}))
    else:
        print(_table(found))
        print(f"coefficients: {args.out}; use them with `--models fusion --weights fusion={args.out}`")
    return 0


def examples_of(
    test_set: TestSet, sample: Sample, recipe: builtin.Recipe, perturbations: Sequence[Perturbation]
) -> list[Example]:
    """One built-in image at every level, with the photos that its recipe takes pixels from."""
    original = read_image(sample.image)
    mask = test_set.read_mask(sample) if sample.tampered else np.zeros(original.shape, bool)
    used = {recipe.photo, *([recipe.part[0]] if recipe.part else [])}
    photos = frozenset(photo.removesuffix("_right") for photo in used)
    levels = (p.apply(original, key=(test_set.name, sample.id), seed=SEED) for p in perturbations)
    return [example(image, mask, sample.source, photos, MEMBERS) for image in levels]


def _table(found: Validation) -> str:
    lines = [f"Cross-validation over photos, {found.examples} tampered images and levels: mean pixel AUC"]
    lines += [f"  {name:22} {auc:.3f}" for name, auc in found.auc.items()]
    lines += ["Members alone, and the fusion where they apply"]
    lines += [f"  {name:22} {auc:.3f}  {fusion:.3f}  n = {n}" for name, (n, auc, fusion) in found.members.items()]
    lines += [f"Mean log loss {found.loss:.4f}; of the prior {found.prior_loss:.4f}"]
    lines += ["Predicted p, observed share, count"]
    lines += [f"  {p:6.3f} {share:6.3f} {n:8d}" for n, p, share in found.reliability]
    return "\n".join(lines)
