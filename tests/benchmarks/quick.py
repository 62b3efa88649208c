"""CPU seconds of a few small cases of each part of the suite, as JSON: what `compare.py` compares between commits.

    PYTHONPATH=TREE python tests/benchmarks/quick.py [--repeats N] [--only WORDS]

The suite is taken from PYTHONPATH, so that one file measures any commit; a case that a commit cannot run is left out,
with its reason. Printed is the least of the repeats, which other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time

# ruff: noqa: E402 (the thread limits come before the imports that they are for)
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
sys.path = [p for p in sys.path if os.path.abspath(p) != os.path.dirname(os.path.abspath(__file__))]

from collections.abc import Callable, Iterator

import cv2
import numpy as np
from sklearn.datasets import load_sample_image

SIDE = 512
cv2.setNumThreads(1)


def main() -> None:
    """Measure every case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="of each case; the least counts (default 5)")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    args = parser.parse_args()
    seconds, skipped = {}, {}
    for name, prepare in cases():
        if args.only in name:
            try:
                seconds[name] = least(prepare(), args.repeats)
            except Exception as error:  # another commit may lack what the case is about
                skipped[name] = f"{type(error).__name__}: {error}"[:200]
    import bench

    suite = os.path.dirname(os.path.dirname(os.path.abspath(bench.__file__)))
    print(json.dumps({"seconds": seconds, "skipped": skipped, "suite": suite}))


def least(action: Callable[[], object], repeats: int) -> float:
    """Least CPU seconds of a call, after one that warms up; short calls are repeated to last 20 ms."""
    action()
    start = time.process_time()
    action()
    calls = max(1, int(0.02 / max(time.process_time() - start, 1e-6)))
    found = []
    for _ in range(repeats):
        gc.collect()
        start = time.process_time()
        for _ in range(calls):
            action()
        found.append((time.process_time() - start) / calls)
    return min(found)


def cases() -> Iterator[tuple[str, Callable[[], Callable[[], object]]]]:
    """(name, what prepares the timed call)."""
    for protocol in ("native", "mpc", "imdlbenco"):
        yield f"measure {protocol}", lambda protocol=protocol: measuring(protocol)
    yield "metrics of an image, native", image_metrics
    for spec in ("jpeg:70", "resize:0.5", "blur:5", "noise:5"):
        yield f"perturb {spec}", lambda spec=spec: perturbing(spec)
    yield "severity", severity
    for name in ("ela", "blk", "cfa1", "dct", "ghost", "noi1", "splicebuster"):
        yield f"localize {name}", lambda name=name: localizing(name)
    yield "pictures", pictures


def photo() -> np.ndarray:
    """A photo, uint8 (512, 512, 3)."""
    return cv2.resize(load_sample_image("china.jpg"), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def scored() -> tuple[np.ndarray, np.ndarray]:
    """A map of probabilities that follows its mask, and the mask (255 = forged)."""
    rng = np.random.default_rng(0)
    forged = np.hypot(*(np.mgrid[:SIDE, :SIDE] - SIDE / 2)) < SIDE / 5
    logits = cv2.GaussianBlur(rng.normal(size=forged.shape), (0, 0), 8) * 30 + 2 * forged - 1.5
    return (1 / (1 + np.exp(-logits))).astype(np.float32), np.uint8(255) * forged


def measuring(protocol: str) -> Callable[[], object]:
    """Statistics of one map."""
    from bench.metrics import measure
    from bench.truth import Truth
    from models.image import ScoreMap

    values, mask = scored()
    return lambda: measure(ScoreMap(values, "probability"), Truth(mask), True, [protocol])


def image_metrics() -> Callable[[], object]:
    """Metrics from stored statistics."""
    from bench.metrics import Observation, image_metrics

    kept = measuring("native")()
    return lambda: image_metrics(Observation(True, "probability", None, 1.0, kept), "native")


def perturbing(spec: str) -> Callable[[], object]:
    """One perturbation."""
    from bench.perturb import parse
    from models.image import ForensicImage

    image, perturbation = ForensicImage(photo()), next(p for p in parse(spec) if p.spec == spec)
    return lambda: perturbation.apply(image, ("set", "image"), 0)


def severity() -> Callable[[], object]:
    """PSNR, SSIM and bytes."""
    from bench.severity import severity
    from models.image import ForensicImage

    before, after = ForensicImage(photo()), ForensicImage(cv2.GaussianBlur(photo(), (5, 5), 0))
    return lambda: severity(before, after, None)


def localizing(name: str) -> Callable[[], object]:
    """One weight-free method on a JPEG file."""
    import models
    from models.image import encode_jpeg, read_image

    path = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"quick-{os.getpid()}.jpg")
    with open(path, "wb") as file:
        file.write(encode_jpeg(photo(), 80))
    try:
        image = read_image(path)
    finally:
        os.unlink(path)
    localizer = models.build(name)
    return lambda: localizer.localize(image)


def pictures() -> Callable[[], object]:
    """The small pictures of a cell."""
    from bench import thumbnails

    values, mask = scored()
    rgb = photo()
    return lambda: (thumbnails.photo(rgb), thumbnails.score(values, "probability"), thumbnails.mask(mask > 0))


if __name__ == "__main__":
    main()
