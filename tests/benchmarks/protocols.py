"""Seconds and bytes of every protocol on one map of 1 megapixel, beside its original written plainly.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.protocols [--plain] [--write]

Prints one line per protocol: seconds (best of 5) and bytes of what is kept, seconds of the plain version
(tests/bench/metrics/originals.py, once); then `native` alone and all protocols together, for a map of probabilities and
one of logits. --write: into bench/metrics/costs.json, which `bench list protocols` prints.
"""

import argparse
import json
import platform
import time
from pathlib import Path

import cv2
import numpy as np

from bench.metrics import PROTOCOLS, measure
from bench.truth import Truth
from models.image import ScoreMap
from tests.bench.metrics.originals import ORIGINALS

COSTS = Path(__file__).parents[2] / "bench" / "metrics" / "costs.json"


def photo_sized(side=1000):
    """A map of probabilities (side, side) that follows its mask, noisy, and the mask, 255 in a disc."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    forged = (y - side / 2) ** 2 + (x - side / 2) ** 2 < (side / 5) ** 2
    noise = rng.normal(size=forged.shape).astype(np.float32)
    logits = cv2.GaussianBlur(noise, (0, 0), 8) * 30 + 0.2 * noise + 2 * forged - 1.5
    return (1 / (1 + np.exp(-logits))).astype(np.float32), logits.astype(np.float32), np.uint8(255) * forged


def seconds(function, repeats):
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - start)
    return best, result


def processor():
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--plain", action="store_true", help="also the originals written plainly")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    probabilities, logits, mask = photo_sized()
    truth, found, plain_all = Truth(mask), {}, 0.0
    for name in PROTOCOLS:
        score = ScoreMap(probabilities, "probability")
        taken, kept = seconds(lambda name=name, score=score: measure(score, truth, True, [name]), 5)
        found[name] = {"seconds": round(taken, 4), "bytes": sum(map(len, kept.values()))}
        line = f"{name:30} {taken:8.4f} s {found[name]['bytes']:7} bytes"
        if args.plain and name in ORIGINALS:
            plain, _ = seconds(lambda name=name: ORIGINALS[name](probabilities, mask), 1)
            plain_all += plain
            line += f"   plainly {plain:8.3f} s"
        print(line)
    together = {}
    for kind, values in (("probability", probabilities), ("logit", logits)):
        for what, names in (("native", ["native"]), ("all", list(PROTOCOLS))):
            taken, kept = seconds(lambda v=values, k=kind, n=names: measure(ScoreMap(v, k), truth, True, n), 7)
            together[f"{what}, {kind}"] = {"seconds": round(taken, 4), "bytes": sum(map(len, kept.values()))}
            print(f"{what} {kind}: {taken:.3f} s, {sum(map(len, kept.values()))} bytes")
    print(f"originals written plainly, together: {plain_all:.1f} s")
    if args.write:
        about = f"1 map of 1000 x 1000, one core of {processor()}, NumPy {np.__version__}, OpenCV {cv2.__version__}"
        record = {"measured_on": about, "protocols": found, "together": together}
        COSTS.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
