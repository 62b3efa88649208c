"""Fit the fusion of classical methods on the built-in set, and tell what it is worth on photos held out (minutes).

The file holds the coefficients and the cross-validation; `python -m bench run --models fusion --weights
fusion=FILE` uses it, and the one that is shipped is models/classical/fusion.toml.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from bench import builtin
from bench.data import Sample, TestSet, open_builtin
from bench.image import read_image
from bench.perturb import Perturbation, parse
from models.classical.fusion import MEMBERS
from models.classical.fusion_fit import Example, Validation, cross_validate, example, fit, write

SEED = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench train fusion`."""
    parser.add_argument("--out", type=Path, default=Path("fusion.toml"), help="file to write (default: fusion.toml)")
    parser.add_argument("--perturbations", default="standard", help="levels to fit under (default: standard)")


def main(args: argparse.Namespace) -> int:
    """Exit code 0. Raises DataError, PerturbationError or OSError, with a message for the user."""
    perturbations = parse(args.perturbations)
    test_set = open_builtin()
    examples: list[Example] = []
    pairs = list(zip(test_set.samples, builtin.RECIPES, strict=True))
    for sample, recipe in tqdm(pairs, unit="image", file=sys.stderr):
        examples += examples_of(test_set, sample, recipe, perturbations)
    found = cross_validate(examples)
    about = {
        "test_set": test_set.name, "digest": builtin.prepare()[2], "images": len(pairs),
        "perturbations": args.perturbations, "seed": SEED,
    }  # fmt: skip
    write(args.out, fit(examples), examples, found, about)
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
    lines = [f"Held-out photos, {found.examples} tampered images and levels: mean pixel AUC"]
    lines += [f"  {name:22} {auc:.3f}" for name, auc in found.auc.items()]
    lines += ["Members alone, and the fusion where they apply"]
    lines += [f"  {name:22} {auc:.3f}  {fusion:.3f}  n = {n}" for name, (n, auc, fusion) in found.members.items()]
    lines += [f"Mean log loss {found.loss:.4f}, {found.prior_loss:.4f} without looking", "Says p, forged, cells"]
    lines += [f"  {p:6.3f} {share:6.3f} {n:8d}" for n, p, share in found.reliability]
    return "\n".join(lines)
