"""Compare networks on forgeries of validation photos: the tables of `docs/results/mpc_small_history.md`.

    python -m bench.training.tools.validation_forgeries PHOTOS before=OLD.safetensors after=NEW.safetensors fusion ela

Each forgery is shown three ways: as it is, with the augmentation of the training, and cropped to half to all of its
height and width, where positions say little. Values: protocol `native`, mean over the forgeries, with 95 % bootstrap
intervals over photos; differences are paired, to the first localizer named. `centre` is always added.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from bench.metrics import evaluate
from bench.statistics import Interval, bootstrap_mean, paired_bootstrap
from bench.training.mpc.forgeries import augmented, cropped, find_photos, forged_photo
from bench.training.mpc.recipe import read_recipe
from bench.usage import positive_int
from models import Localizer, build
from models.image import ForensicImage, NotApplicable

SEED = 77  # in the place of a recipe's seed, none of which has it
METRICS = ("auc", "f1", "best_f1")
WAYS = {
    "whole": lambda rgb, mask, rng: (rgb, mask),
    "whole, augmented": augmented,
    "cropped": cropped,
}


def main(photos: Path, localizers: dict[str, Localizer], each: int) -> None:
    """Print one table for each way of presenting `each` forgeries of every validation photo.

    Args:
        photos: the folder that the networks were trained on; the validation photos of the shipped recipes are forged.
        localizers: by the names of the tables' rows.
        each: forgeries per photo.
    """
    validation = find_photos(photos).split(read_recipe("small").data.validation)[1]
    for way, show in WAYS.items():
        scores: dict[str, list[list[float]]] = {name: [] for name in localizers}
        hosts = []
        for k in tqdm(range(each * len(validation)), desc=way, disable=None):
            rng, host = np.random.default_rng([SEED, k]), k % len(validation)
            rgb, mask = show(*forged_photo(validation, rng, host), rng)
            if not mask.any():
                continue
            hosts.append(host)
            image = ForensicImage(np.ascontiguousarray(rgb))
            for name, localizer in localizers.items():
                scores[name].append(_scores(localizer, image, np.ascontiguousarray(mask)))
        print(f"{way}: {len(hosts)} forgeries of {len(validation)} photos\n")
        print(table({name: np.array(values) for name, values in scores.items()}, np.array(hosts)))


def _scores(localizer: Localizer, image: ForensicImage, mask: np.ndarray) -> list[float]:
    try:
        found = evaluate(localizer.localize(image), mask, protocol="native")
    except NotApplicable:
        return [np.nan] * len(METRICS)
    return [found[metric] for metric in METRICS]


def table(scores: dict[str, np.ndarray], hosts: np.ndarray) -> str:
    """Markdown: one row per localizer with its metrics, and its AUC compared with the first one's, paired."""
    first = next(iter(scores.values()))
    lines = [f"| localizer | {' | '.join(METRICS)} | AUC - the first one's |", "|---|" + "---|" * (len(METRICS) + 1)]
    for name, values in scores.items():
        cells = [_interval(bootstrap_mean(column, clusters=hosts)) for column in values.T]
        against = paired_bootstrap(first[:, 0], values[:, 0], clusters=hosts)
        cells.append("" if values is first else f"{against.mean:+.3f} [{against.low:.3f}, {against.high:.3f}]")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _interval(found: Interval) -> str:
    return "n/a" if np.isnan(found.mean) else f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="the folder that the networks were trained on")
    parser.add_argument(
        "localizers", nargs="+", metavar="NAME=FILE|NAME", help="networks of `bench train mpc`, registered localizers"
    )
    parser.add_argument("--each", type=positive_int, default=4, help="forgeries per validation photo (default: 4)")
    chosen = parser.parse_args()
    named = dict(word.split("=", 1) if "=" in word else (word, None) for word in [*chosen.localizers, "centre"])
    built = {name: build("mpc", weights=file) if file else build(name) for name, file in named.items()}
    main(chosen.photos, built, chosen.each)
