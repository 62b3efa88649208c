"""Localizers of known behaviour, for tests of the harness. Each call leaves a line in the file $TOY_LOG."""

import os
import signal
import time

import numpy as np

from models import Localizer
from models.image import NotApplicable, ScoreMap


def _note(localizer, image):
    if "TOY_LOG" in os.environ:
        with open(os.environ["TOY_LOG"], "a") as file:
            file.write(f"{type(localizer).__name__} {image.rgb.sum()}\n")


class Redness(Localizer):
    """Probability = red channel / 255: the made test images paint their forged pixels red."""

    def __init__(self, gain: float = 1.0):
        self.gain = gain

    def localize(self, image):
        _note(self, image)
        return ScoreMap(np.clip(image.rgb[..., 0].astype(np.float32) / 255 * self.gain, 0, 1), "probability")


class Slow(Redness):
    """Redness, a fifth of a second late."""

    def localize(self, image):
        time.sleep(0.2)
        return super().localize(image)


class Hungry(Redness):
    """Redness that needs 80 MB besides."""

    def localize(self, image):
        blocks = [np.ones(2**19) for _ in range(20)]
        del blocks
        return super().localize(image)


class AsHungry(Hungry):
    """The same again, under another name."""


class OnlyJpeg(Redness):
    """Redness for JPEG files alone."""

    def localize(self, image):
        if image.jpeg is None:
            raise NotApplicable("no JPEG history")
        return super().localize(image)


class Nan(Localizer):
    """A map with a NaN in its corner."""

    def localize(self, image):
        values = np.zeros(image.shape, np.float32)
        values[0, 0] = np.nan
        return ScoreMap(values, "score")


class WrongSize(Localizer):
    """A map that is one row short."""

    def localize(self, image):
        return ScoreMap(np.zeros((image.shape[0] - 1, image.shape[1]), np.float32), "score")


class Fragile(Redness):
    """Raises on every image whose top left pixel is green."""

    def localize(self, image):
        if image.rgb[0, 0, 1] > 200 and image.rgb[0, 0, 0] < 50:
            raise ArithmeticError("green corner")
        return super().localize(image)


class Deadly(Redness):
    """Takes its whole process down, as an out-of-memory kill would, on an image with a green corner."""

    def localize(self, image):
        if image.rgb[0, 0, 1] > 200 and image.rgb[0, 0, 0] < 50:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().localize(image)


class Talkative(Redness):
    """A network, as far as the harness can tell, that says more than its map; its memory is what it may plan with."""

    def __init__(self, device: str = "cpu", memory_gb: float | None = None):
        super().__init__()
        self.memory_gb = memory_gb

    def localize(self, image):
        score = super().localize(image)
        forged = (score.values > 0.5).astype(np.uint8)
        extras = {
            "confidence": 1 - score.values / 2,
            "sources": forged,
            "noiseprint": score.values,
            "seen": "tiles 32x32, overlap 0",
            "budget_gb": self.memory_gb,
        }
        return ScoreMap(score.values, "probability", image_score=float(forged.mean()), extras=extras)


class Moody(Redness):
    """Redness, worse where TOY_MOOD says so: "fails", or a number that its probabilities are multiplied by."""

    def localize(self, image):
        mood = os.environ.get("TOY_MOOD", "1")
        if mood == "fails":
            raise RuntimeError("no mood")
        return ScoreMap(super().localize(image).values * np.float32(mood), "probability")
