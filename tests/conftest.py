"""Settings for all tests: one thread a library, so that parallel test workers do not fight for the cores."""

import logging
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

# Tests import `shared` and `toy_localizers` from this folder. The root goes first: this folder's own `bench` and
# `models` would otherwise hide the packages of an editable install, which are found last.
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

cv2.setNumThreads(1)


@pytest.fixture(autouse=True)
def loggers_as_before():
    """The command line gives the packages' loggers a handler; no later test is to meet it."""
    loggers = [logging.getLogger(name) for name in ("bench", "models", "reports")]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture
def photo_folder(tmp_path):
    """Four 48x64 PNGs `images/image0..3.png` with masks of the same names in `masks/`; forged pixels are red.

    The other pixels are a repeatable grey texture. image3 has a green corner (see toy_localizers).
    """
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    rng = np.random.default_rng(5)
    for i in range(4):
        rgb = np.repeat(rng.integers(60, 120, (48, 64, 1), dtype=np.uint8), 3, axis=2)
        mask = np.zeros((48, 64), np.uint8)
        mask[10 + i : 30 + i, 20:50] = 255
        rgb[mask > 0] = (230, 40, 40)
        if i == 3:
            rgb[:4, :4] = (0, 255, 0)
        Image.fromarray(rgb).save(images / f"image{i}.png")
        Image.fromarray(mask).save(masks / f"image{i}.png")
    return tmp_path
