"""Networks side by side on forgeries of held-back photos: the rows of `models/mpc/weights/mpc_small.md`.

    python -m bench.training.tools.held_back.py PHOTOS before=OLD.safetensors after=NEW.safetensors fusion ela

PHOTOS: the folder that they were trained on; what `data.held_back` of the shipped recipes leaves out is forged.
The others: NAME=FILE, networks that `bench train mpc` wrote, and names of registered localizers; `centre` comes by
itself. Each forgery is shown three ways: as it is, with the augmentation of the training, and in part (a window of
half to all of its height and width), where positions say little. Values: protocol `native`, mean over the forgeries,
with 95 % bootstrap intervals over photos; differences are paired, to the first localizer named.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[2]))  # runs from a clone that is not installed

from bench.metrics import evaluate
from bench.statistics import Interval, bootstrap_mean, paired_bootstrap
from bench.training.mpc.forgeries import augmented, find_photos, forged_photo, part
from bench.training.mpc.recipe import read_recipe
from models import Localizer, build
from models.image import ForensicImage, NotApplicable

SEED = 77  # no training stream
METRICS = ("auc", "f1", "best_f1")
WAYS = {
    "whole": lambda rgb, mask, rng: (rgb, mask),
    "whole, augmented": augmented,
    "in part": part,
}


def main(photos: Path, localizers: dict[str, Localizer], each: int) -> None:
    """Print one table for each way of showing `each` forgeries of every held-back photo."""
    held_back = find_photos(photos).split(read_recipe("small").data.held_back)[1]
    for way, show in WAYS.items():
        scores = {name: [] for name in localizers}
        hosts = []
        for k in tqdm(range(each * len(held_back)), desc=way, disable=None):
            rng, host = np.random.default_rng([SEED, k]), k % len(held_back)
            rgb, mask = show(*forged_photo(held_back, rng, host), rng)
            if not mask.any():
                continue
            hosts.append(host)
            image = ForensicImage(np.ascontiguousarray(rgb))
            for name, localizer in localizers.items():
                scores[name].append(_scores(localizer, image, np.ascontiguousarray(mask)))
        print(f"{way}: {len(hosts)} forgeries of {len(held_back)} photos\n")
        print(table({name: np.array(values) for name, values in scores.items()}, np.array(hosts)))


def _scores(localizer: Localizer, image: ForensicImage, mask: np.ndarray) -> list[float]:
    try:
        found = evaluate(localizer.localize(image), mask, protocol="native")
    except NotApplicable:
        return [np.nan] * len(METRICS)
    return [found[metric] for metric in METRICS]


def table(scores: dict[str, np.ndarray], hosts: np.ndarray) -> str:
    """Markdown: a row a localizer with its metrics, and its AUC against that of the first one, paired."""
    first = next(iter(scores.values()))
    lines = [f"| localizer | {' | '.join(METRICS)} | AUC against the first |", "|---|" + "---|" * (len(METRICS) + 1)]
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
    parser.add_argument("photos", type=Path)
    parser.add_argument("localizers", nargs="+", metavar="NAME=FILE|NAME")
    parser.add_argument("--each", type=int, default=4, help="forgeries of each held-back photo (default: 4)")
    chosen = parser.parse_args()
    named = dict(word.split("=", 1) if "=" in word else (word, None) for word in [*chosen.localizers, "centre"])
    built = {name: build("mpc", weights=file) if file else build(name) for name, file in named.items()}
    main(chosen.photos, built, chosen.each)
