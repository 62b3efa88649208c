"""What two processes of torchrun do for test_parallel.py: a training of both stages, and the same again, killed
and resumed in each of them.

torchrun --nproc-per-node 2 several_processes.py PHOTOS RECIPE OUT
"""

# ruff: noqa: E402 (the path comes before the imports that it is for)
import argparse
import logging
import shutil
import sys
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).parents[4])]

from bench.training.mpc import train
from bench.training.mpc.parallel import joined_processes
from bench.training.mpc.stages import Trainer
from bench.training.mpc.teacher import Teacher
from models.mpc.backbone import VARIANTS, Variant

MICRO = Variant(channels=(8, 16, 32, 64), heads=(1, 2, 4, 8), modules=(1, 1, 1))


def command(photos, recipe, out, *more):
    """Exit code of `bench train mpc` with these options."""
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    words = ["--photos", photos, "--recipe", recipe, "--out", out, "--workers", 0, "--validation-samples", 2, *more]
    return train.main(parser.parse_args([str(word) for word in words]))


def die_at(stage, step):
    """Make every process fail before this step, as a kill would."""
    original = Trainer.step

    def dying(self, state, number, batch):
        if (self.name, number) == (stage, step):
            raise KeyboardInterrupt
        return original(self, state, number, batch)

    Trainer.step = dying
    return original


def forbid_what_the_first_does():
    """Writing, and teaching the teacher, are the first process's alone."""

    def refuse(*_, **__):
        raise AssertionError("another process than the first one writes or fits a teacher")

    torch.save = Path.write_bytes = Path.write_text = Teacher.fit = refuse


def killed(stage, step, *words):
    """Train with these options until the kill."""
    original = die_at(stage, step)
    try:
        command(*words, "--save-every", 1)
        raise AssertionError("the training was not killed")
    except KeyboardInterrupt:
        Trainer.step = original


def main():
    """The part of this process."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    VARIANTS["micro"] = MICRO
    train.write_card = lambda *_: "tested elsewhere"
    photos, recipe, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    with joined_processes("cpu") as processes:
        if not processes.first:
            forbid_what_the_first_does()
        assert command(photos, recipe, out / "whole") == 0
        killed("contrast", 1, photos, recipe, out / "parts")
        if processes.first:
            shutil.copytree(out / "parts", out / "step")
        killed("head", 1, photos, recipe, out / "parts", "--resume")
        assert command(photos, recipe, out / "parts", "--resume") == 0


if __name__ == "__main__":
    main()
