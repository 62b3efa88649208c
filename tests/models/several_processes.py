"""What two processes of torchrun do for test_mpc_parallel.py: three trainings, one of them killed and resumed.

torchrun --nproc-per-node 2 several_processes.py PHOTOS RECIPE OUT
"""

# ruff: noqa: E402 (the path comes before the imports that it is for)
import argparse
import os
import sys
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).parents[2])]

from models.mpc import train
from models.mpc.backbone import VARIANTS, Variant
from models.mpc.parallel import joined_processes

MICRO = Variant(channels=(8, 16, 32, 64), heads=(1, 2, 4, 8), modules=(1, 1, 1))


def command(photos, recipe, out, *more):
    """Exit code of `bench train mpc` with these options."""
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    words = ["--photos", photos, "--recipe", recipe, "--out", out, "--workers", 0, "--validation-samples", 2, *more]
    return train.main(parser.parse_args([str(word) for word in words]))


def die_at(stage, step):
    """Make every process fail before this step, as a kill would."""
    original = train.Training._step

    def dying(self, name, settings, number, *rest):
        if (name, number) == (stage, step):
            raise KeyboardInterrupt
        return original(self, name, settings, number, *rest)

    train.Training._step = dying
    return original


def forbid_writing():
    """Writing is the first process's alone."""

    def refuse(*_, **__):
        raise AssertionError("another process than the first one writes")

    torch.save = Path.write_bytes = Path.write_text = refuse


def main():
    """The part of this process."""
    torch.set_num_threads(1)
    VARIANTS["micro"] = MICRO
    photos, recipe, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if int(os.environ["RANK"]):
        forbid_writing()
    with joined_processes("cpu"):
        trainings(photos, recipe, out)


def trainings(photos, recipe, out):
    """One step; both stages; both stages killed and resumed."""
    assert command(photos, recipe, out / "step", "--stage", "contrast", "--steps", 1) == 0
    assert command(photos, recipe, out / "whole") == 0
    original = die_at("head", 1)
    try:
        command(photos, recipe, out / "parts", "--save-every", 1)
        raise AssertionError("the training was not killed")
    except KeyboardInterrupt:
        train.Training._step = original
    assert command(photos, recipe, out / "parts", "--resume") == 0


if __name__ == "__main__":
    main()
