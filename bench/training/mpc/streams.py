"""Random numbers by coordinates: each purpose has a number of its own, so that none sees another's draws.

A sample is drawn from (seed, stream, index), so any worker can make it and a resumed training sees what an
uninterrupted one would.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

PAIRS = 1  # follows the stream where pairs of a training set are presented, so that they do not repeat the forgeries'
STUDY_SEED = 20_240_613  # in the place of a recipe's seed: the validation forgeries of a study


class Stream(IntEnum):
    """What random numbers are drawn for; the second coordinate, after the recipe's seed.

    CONTRAST and SUPERVISED are one number on purpose: they are alternatives that are compared on the same samples.
    """

    CONTRAST = 1
    SUPERVISED = 1
    HEAD = 2
    VALIDATION = 3
    CALIBRATION = 4
    TEACHER = 5
    CARD = 6


def step_seed(seed: int, stream: Stream, step: int, rank: int = 0) -> int:
    """Torch's seed for one training step: stochastic depth and pixel draws. No generator state has to be kept.

    Args:
        seed: of the recipe.
        stream: of the stage.
        step: from 0.
        rank: of the process, where several train together.
    """
    coordinates = [seed, stream, step] + ([rank] if rank else [])
    return int(np.random.SeedSequence(coordinates).generate_state(1, np.uint32)[0])
