"""Images a second that the training stream delivers beside images a second that the network consumes, in one run.

python tests/benchmarks/training.py --photos DIR [--data casia2:ROOT] [--recipe small] [--device cuda] [--workers N]

For each stage of the recipe: what one worker process makes in a second of CPU time, what N of them deliver through
the data loader in a second of the clock, what the network consumes (a full optimizer step on batches that are already
there; CPU time on the CPU, the clock on a GPU), and the ratio of the last two: above 1 the network never waits.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import sys
import tempfile
import time
from pathlib import Path

# ruff: noqa: E402 (the path and the thread limits come before the imports that they are for)
sys.path.insert(0, str(Path(__file__).parents[2]))  # runs from a clone that is not installed
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import torch

from bench.training.mpc.forgeries import find_photos
from bench.training.mpc.pairs import open_pairs
from bench.training.mpc.recipe import learning_rate, read_recipe
from bench.training.mpc.train import TWO_STAGES, Training
from models.device import compute_device


def main() -> None:
    """Measure both stages and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", help="folder of authentic photos")
    parser.add_argument("--data", help="training sets, as for bench train")
    parser.add_argument("--recipe", default="small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1) - 1))
    parser.add_argument("--batches", type=int, default=8, help="of each measurement (default 8)")
    args = parser.parse_args()
    if not args.photos and not args.data:
        parser.error("nothing to measure: give --photos, --data, or both")
    torch.set_num_threads(1)
    recipe, device = read_recipe(args.recipe), compute_device(args.device)
    with tempfile.TemporaryDirectory() as folder:
        print(f"recipe {args.recipe}: HRFormer-{recipe.network.backbone}, {device}, images a second")
        print(f"{'stage':<10}{'crop':>6}{'one worker':>12}{f'{args.workers} workers':>12}{'network':>10}{'ratio':>8}"
              f"{'workers needed':>16}")  # fmt: skip
        for stage in TWO_STAGES:
            training = Training(
                recipe,
                find_photos(args.photos) if args.photos else None,
                Path(folder),
                pairs=open_pairs(args.data) if args.data else None,
                device=device,
                workers=args.workers,
                save_every=1,
                validate_every=1,
                validation_samples=1,
            )
            one, many = made(training, stage, args.batches)
            used = consumed(training, stage, args.batches)
            crop, needed = recipe.stage(stage).crop, math.ceil(used / one)
            print(f"{stage:<10}{crop:>6}{one:>12.1f}{many:>12.1f}{used:>10.1f}{many / used:>8.2f}{needed:>16}")


def made(training: Training, stage: str, batches: int) -> tuple[float, float]:
    """Samples a second of CPU time in this process, and a second of the clock from the worker processes."""
    size, workers = training.recipe.stage(stage).batch, training.workers
    training.workers = 0
    alone = training._batches(stage, 0)
    next(alone)
    started = time.process_time()
    count = sum(len(batch["image"]) for batch in itertools.islice(alone, batches))
    rate = count / (time.process_time() - started)
    training.workers = workers
    together = training._batches(stage, 0)
    for _ in range(3 * workers + 1):  # what is made before the first is asked for
        next(together)
    started = time.perf_counter()
    for _ in range(batches + 3 * workers):
        next(together)
    return rate, (batches + 3 * workers) * size / (time.perf_counter() - started)


def consumed(training: Training, stage: str, batches: int) -> float:
    """Samples a second of optimizer steps. The head's encoder has its random start: the time is the same."""
    settings = training.recipe.stage(stage)
    training._trained_encoder = lambda: (training._fresh_network().encoder.state_dict(), None)
    state = training._begin(stage)
    training.workers = 0
    ready = list(itertools.islice(training._batches(stage, 0), 2))
    clock = time.perf_counter if training.device.type == "cuda" else time.process_time
    started = 0.0
    for step in range(batches + 2):
        if step == 2:  # the first ones choose algorithms and fill caches
            started = clock()
        state.set_rate(learning_rate(settings, step))
        training._step(stage, settings, step, state, ready[step % 2])  # ends with the loss's value: synchronized
    return batches * settings.batch / (clock() - started)


if __name__ == "__main__":
    main()
