"""Time of the classical localizers beside pyIFD's on the same file in one run, and their memory on a large photo.

    python tests/benchmarks/classical.py --pyifd PYTHON [--repeats N] [--only NAMES]
    python tests/benchmarks/classical.py --memory 12 [--only NAMES]

PYTHON belongs to an environment of its own, which pyIFD 0.0.3 needs:

    python3.11 -m venv peer && peer/bin/pip install --no-deps pyIFD==0.0.3
    peer/bin/pip install "numpy<1.25" "scipy<1.12" "scikit-image<0.23" "opencv-python-headless<4.9" "matplotlib<3.9" \
        PyWavelets pyjpegio

The photo is one of scikit-learn's, saved as JPEG at quality 60 and again at 85. Both sides start from the file and
take turns; a time is CPU time of one thread, so that other work on the machine does not count. Methods without a
counterpart there are timed alone. `--memory` gives the peak of a whole process with each method on a photo of that
many megapixels, each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# ruff: noqa: E402 (the path and the thread limits come before the imports that they are for)
sys.path.insert(0, str(Path(__file__).parents[2]))  # runs from a clone that is not installed
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import cv2
import numpy as np
import torch
from sklearn.datasets import load_sample_image

import models
from models.image import NotApplicable, decode_rgb, encode_jpeg, read_image

# What stands beside which; pyIFD's CAGI makes the plain and the inverse map at once.
COUNTERPARTS = {
    "adq1": "ADQ1",
    "adq2": "ADQ2",
    "blk": "BLK",
    "cagi+cagi-inverse": "CAGI",
    "cfa1": "CFA1",
    "cfa2": "CFA2",
    "dct": "DCT",
    "ela": "ELA",
    "ghost": "GHOST",
    "nadq": "NADQ",
    "noi1": "NOI1",
    "noi2": "NOI2",
    "noi4": "NOI4",
    "noi5": "NOI5",
}


def main() -> None:
    """Run what was asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pyifd", help="python of an environment with pyIFD")
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement; the median counts (default 3)")
    parser.add_argument("--memory", type=float, metavar="MEGAPIXELS", help="measure peak memory instead of time")
    parser.add_argument("--only", help="names of localizers, joined by commas")
    options = parser.parse_args()
    joined = {part for name in COUNTERPARTS for part in name.split("+")}
    alone = [name for name in available() if name not in joined]
    names = options.only.split(",") if options.only else [*COUNTERPARTS, *alone]
    with tempfile.TemporaryDirectory() as folder:
        if options.memory:
            print_memory([part for name in names for part in name.split("+")], Path(folder), options.memory)
        else:
            print_times(names, Path(folder), options.pyifd, options.repeats)


def available() -> list[str]:
    """Names of the group `classical` whose weights, if they have any, are there."""
    found = []
    for name in models.groups()["classical"]:
        try:
            models.build(name)
        except models.WeightsMissing:
            continue
        found.append(name)
    return found


def double_jpeg(folder: Path, megapixels: float | None = None) -> Path:
    """A file of a photo saved twice, enlarged to that size."""
    photo = np.array(load_sample_image("china.jpg"))
    if megapixels:
        height, width = photo.shape[:2]
        scale = (megapixels * 1e6 / (height * width)) ** 0.5
        photo = cv2.resize(photo, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_CUBIC)
    file = folder / "photo.jpg"
    file.write_bytes(encode_jpeg(decode_rgb(encode_jpeg(photo, 60)), 85))
    return file


def print_times(names: list[str], folder: Path, python: str | None, repeats: int) -> None:
    """Seconds a megapixel here and there, and their ratio."""
    file = double_jpeg(folder)
    height, width = read_image(file).shape
    size = height * width / 1e6
    peer = None
    if python:
        script = Path(__file__).with_name("pyifd_peer.py")
        peer = subprocess.Popen(
            [python, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    print(f"{width} x {height} pixels, JPEG, 1 thread, CPU time from the file, median of {repeats}")
    print(f"{'localizer':<20}{'here s/MP':>11}{'pyIFD s/MP':>12}{'ratio':>8}")
    ratios = []
    for name in names:
        localizers = [models.build(part) for part in name.split("+")]
        here, there = [], []
        for turn in range(repeats + 1):
            seconds = localize(localizers, file)
            other = ask(peer, COUNTERPARTS[name], file) if peer and name in COUNTERPARTS else {}
            if turn:  # the first turn warms up
                here.append(seconds / size)
                there.append(other.get("seconds", np.nan) / size)
        ours, theirs = np.median(here), np.median(there)
        ratios.append(theirs / ours)
        columns = "" if np.isnan(theirs) else f"{theirs:>12.3f}{theirs / ours:>8.1f}"
        print(f"{name:<20}{ours:>11.3f}{columns}{other.get('error', '')}", flush=True)
    if peer:
        peer.stdin.close()
        peer.wait()
        known = np.array([r for r in ratios if not np.isnan(r)])
        print(f"ratio over {known.size} methods: median {np.median(known):.1f}, least {known.min():.1f}")


def localize(localizers: list, file: Path) -> float:
    """CPU seconds from the file to the maps."""
    start = time.process_time()
    for localizer in localizers:
        localizer.localize(read_image(file))
    return time.process_time() - start


def ask(peer: subprocess.Popen, method: str, file: Path) -> dict:
    """One measurement by the other side."""
    peer.stdin.write(json.dumps({"method": method, "file": str(file)}) + "\n")
    peer.stdin.flush()
    return json.loads(peer.stdout.readline())


def print_memory(names: list[str], folder: Path, megapixels: float) -> None:
    """Peak memory of each method, in a process of its own."""
    file = double_jpeg(folder, megapixels)
    print(f"{megapixels:g} megapixels, JPEG: peak resident memory of the process, seconds of CPU time")
    print(f"{'localizer':<20}{'GB':>8}{'s':>8}")
    spawn = multiprocessing.get_context("spawn")
    for name in names:
        with spawn.Pool(1) as pool:
            peak, seconds, note = pool.apply(peak_memory, (name, str(file)))
        print(f"{name:<20}{peak:>8.2f}{seconds:>8.1f}  {note}", flush=True)


def peak_memory(name: str, file: str) -> tuple[float, float, str]:
    """Peak gigabytes of this process and CPU seconds after localizing once."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    start, note = time.process_time(), ""
    try:
        models.build(name).localize(read_image(file))
    except NotApplicable as reason:
        note = f"not applicable: {reason}"
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, time.process_time() - start, note


if __name__ == "__main__":
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    main()
