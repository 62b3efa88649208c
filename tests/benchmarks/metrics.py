"""Time of the ranking metrics against the scikit-learn calls that they replace, on 1-megapixel maps, in one run.

python tests/benchmarks/metrics.py [--repeats N]

Prints, for each mask and score distribution, the median time of AUC + AP + best F1 + best IoU here and in
scikit-learn (roc_auc_score, average_precision_score, and one precision_recall_curve for both best values), their
ratio, and the largest difference between the values; then the time and size of a curve of 0.27 megapixels.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

# ruff: noqa: E402 (the path and the thread limits come before the imports that they are for)
sys.path.insert(0, str(Path(__file__).parents[2]))  # runs from a clone that is not installed
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from bench.metrics import Ranking
from bench.metrics.statistics.curve import Curve


def main() -> None:
    """Run all cases and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9, help="of each measurement; the median counts (default 9)")
    repeats = parser.parse_args().repeats
    rng = np.random.default_rng(0)

    print(f"1000 x 1000 pixels, 1 thread, CPU time, median of {repeats}")
    print(f"{'mask':<18}{'scores':<12}{'here ms':>9}{'sklearn ms':>12}{'ratio':>8}{'difference':>12}")
    for mask_name, mask in masks(1000, 1000, rng).items():
        for score_name, score in scores(mask, rng).items():
            here, ours = timed(lambda s=score, m=mask: from_ranking(s, m), repeats)
            there, theirs = timed(lambda s=score, m=mask: from_sklearn(s, m), repeats)
            off = np.abs(np.subtract(ours, theirs)).max()
            print(f"{mask_name:<18}{score_name:<12}{here:>9.1f}{there:>12.0f}{there / here:>8.1f}{off:>12.1e}")

    print(f"\nCurve of 520 x 520 pixels, 1 thread, CPU time, median of {repeats}")
    print(f"{'mask':<18}{'scores':<12}{'make ms':>9}{'pack ms':>9}{'bins':>7}{'bytes':>8}")
    for mask_name, mask in masks(520, 520, rng).items():
        for score_name, score in scores(mask, rng).items():
            make, curve = timed(lambda s=score, m=mask: Curve.from_scores(s, m, (0.5,)), repeats)
            pack, data = timed(curve.to_bytes, repeats)
            bins = curve.thresholds.size
            print(f"{mask_name:<18}{score_name:<12}{make:>9.2f}{pack:>9.2f}{bins:>7}{len(data):>8}")


def masks(height: int, width: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Ground truths: contiguous and scattered."""
    found = {}
    for share in (0.05, 0.30):
        mask = np.zeros((height, width), bool)
        side = np.sqrt(share)
        mask[height // 9 :, width // 7 :][: int(height * side), : int(width * side)] = True
        found[f"{share:.0%} contiguous"] = mask
    for share in (0.10, 0.50):
        found[f"{share:.0%} scattered"] = rng.random((height, width)) < share
    return found


def scores(mask: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Probability maps: spread over 0..1, saturated at both ends, and of 256 levels."""
    logits = rng.normal(size=mask.shape) + 1.5 * mask - 0.5
    spread, saturated = (1 / (1 + np.exp(-gain * logits)) for gain in (1, 60))
    return {
        "spread": spread.astype(np.float32),
        "saturated": saturated.astype(np.float32),
        "256 levels": (np.rint(255 * spread) / 255).astype(np.float32),
    }


def from_ranking(score: np.ndarray, mask: np.ndarray) -> list[float]:
    """AUC, AP, best F1, best IoU as the suite computes them."""
    ranking = Ranking.of(score, mask)
    return [ranking.auc(), ranking.average_precision(), *ranking.best()[1:]]


def from_sklearn(score: np.ndarray, mask: np.ndarray) -> list[float]:
    """The same by scikit-learn."""
    truth, flat = mask.ravel(), score.ravel()
    precision, recall, _ = precision_recall_curve(truth, flat)
    f1 = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))
    return [roc_auc_score(truth, flat), average_precision_score(truth, flat), f1, f1 / (2 - f1)]


def timed(function, repeats: int) -> tuple[float, object]:
    """Median CPU milliseconds of `function` after one warm-up (other load does not count), and what it returns."""
    value, seconds = function(), []
    for _ in range(repeats):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return 1e3 * float(np.median(seconds)), value


if __name__ == "__main__":
    main()
