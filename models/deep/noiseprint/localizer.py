"""Noiseprint as a localizer: one network for each JPEG quality."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models import WeightFile, WeightsMissing, register, weights_folder
from models.deep.noiseprint.blind import LEAST_VALID, anomaly, smallest_side, to_pixels, windows
from models.deep.noiseprint.digests import SHA256
from models.deep.noiseprint.network import Noiseprint, extract
from models.image import ForensicImage, NotApplicable, ScoreMap
from models.network import NetworkLocalizer, Weights, to_array
from models.scaling import scaled_to_unit

FOLDER = "noiseprint"
UNCOMPRESSED = 101
QUALITIES = tuple(SHA256)
PAGE = "https://github.com/RonyAbecidan/noiseprint-pytorch/tree/main/pretrained_weights"
LICENCE = "GRIP-UNINA, non-profit research only"
FILE_BYTES = 2_258_104
# Luminance steps at quality 50 (ITU-T T.81, table K.1).
STANDARD_STEPS = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)


def file_name(quality: int) -> str:
    """The authors' name of the weights for this JPEG quality."""
    return f"model_qf{quality}.pth"


def jpeg_quality(steps: np.ndarray) -> int:
    """The libjpeg quality of a luminance table (8, 8), as the authors compute it.

    Exact from 50 to 100 for libjpeg's own tables, may be off by a little below, and exceeds 100 for finer tables.
    """
    if (steps == 1).all():
        return 100
    low = ((2 * steps - 1) / (2 * STANDARD_STEPS))[steps > 1].max()
    high = ((2 * steps + 1) / (2 * STANDARD_STEPS))[steps < 32767].min(initial=np.inf)
    if low > 1 and high > 1:
        return 1 if np.isinf(high) else int(np.ceil(50 / high))
    return int(np.ceil(50 * (2 - high))) if high < 1 else 50


@register(
    "noiseprint",
    title="Noiseprint, the authors' networks and blind localization",
    paper="Cozzolino and Verdoliva, Noiseprint: A CNN-Based Camera Model Fingerprint, TIFS 2020",
    year=2020,
    summary="Windows whose statistics of a learned camera noise pattern stand out from those of the rest of the photo",
    licence=LICENCE,
    groups=("deep",),
    weights=tuple(
        WeightFile(f"{FOLDER}/{file_name(quality)}", PAGE, LICENCE, FILE_BYTES, SHA256[quality])
        for quality in reversed(QUALITIES)
    ),
)
class NoiseprintLocalizer(NetworkLocalizer):
    """Squared distance of each window of 64 x 64 pixels from what most windows follow; no threshold has a meaning.

    weights: a folder with the files `model_qf51.pth` .. `model_qf101.pth` (None: `noiseprint` in the weights folder),
    or one file or state dict that then serves all qualities. Of a folder only the files present are needed, and
    localize() raises WeightsMissing for an image of another quality. A photo without JPEG bytes takes 101; below
    quality 51, for which no network was released, that of 51 is taken.

    scaled: each map is brought to 0..1 by its smallest and largest value, as TruFor's table 1 seems to count the
        method at a threshold of .5 (docs/reproductions.md).

    localize() raises NotApplicable for an image that is too small, flat or saturated to hold 50 textured windows.
    extras: "quality", of the JPEG file or 101, "network", the quality that the network is for (None: the one given),
    "noiseprint" float32 (H, W).
    """

    make_network = Noiseprint
    _folder: Path | None = None  # None where one network serves all qualities
    _quality: int | None = None  # that of the network which is loaded

    def __init__(self, weights: Weights = None, scaled: bool = False, **resources):
        super().__init__(weights, **resources)
        self.scaled = scaled

    def load(self, weights: Weights) -> tuple[nn.Module, str]:
        if weights is not None and (isinstance(weights, Mapping) or not Path(weights).is_dir()):
            return super().load(weights)
        self._folder = weights_folder() / FOLDER if weights is None else Path(weights)
        present = [q for q in QUALITIES if (self._folder / file_name(q)).is_file()]
        if not present:
            self._missing(UNCOMPRESSED)
        digest = hashlib.sha256()
        for quality in present:
            digest.update(f"{quality} ".encode())
            digest.update((self._folder / file_name(quality)).read_bytes())
        self._quality = present[-1]
        network, _ = super().load(self._folder / file_name(self._quality))
        return network, digest.hexdigest()

    def preprocess(self, image: ForensicImage) -> Tensor:
        if min(image.shape) < smallest_side():
            raise NotApplicable(f"needs {smallest_side()} pixels a side, the image has {min(image.shape)}")
        self._use(_quality_of(image))
        return torch.from_numpy(_luminance(image))[None, None]

    def forward(self, luminance: Tensor, tiling: None = None) -> Tensor:
        return extract(self.network, luminance)

    def postprocess(self, output: Tensor, image: ForensicImage) -> ScoreMap:
        pattern = to_array(output[0, 0])
        found = windows(pattern, _luminance(image))
        if found.valid.sum() < LEAST_VALID:
            raise NotApplicable(f"{found.valid.sum()} textured windows, {LEAST_VALID} are needed")
        values = to_pixels(anomaly(found), found, image.shape).astype(np.float32)
        extras = {"quality": _quality_of(image), "network": self._quality, "noiseprint": pattern}
        score = ScoreMap(values, "score", extras=extras)
        return scaled_to_unit(score) if self.scaled else score

    def _use(self, quality: int) -> None:
        """Have the network of a quality loaded."""
        wanted = max(quality, QUALITIES[0])
        if self._folder is None or wanted == self._quality:
            return
        file = self._folder / file_name(wanted)
        if not file.is_file():
            self._missing(wanted)
        network, _ = super().load(file)
        self.network, self._quality = network.to(self.device).eval(), wanted

    def _missing(self, quality: int) -> None:
        raise WeightsMissing(
            f"noiseprint needs {file_name(quality)} for JPEG quality {quality} ({UNCOMPRESSED}: not a JPEG): download "
            f"it from {PAGE} (licence: {LICENCE}) and put it into {self._folder.absolute()}"
        )


def _quality_of(image: ForensicImage) -> int:
    return UNCOMPRESSED if image.dct is None else min(jpeg_quality(image.dct.tables[0]), UNCOMPRESSED)


def _luminance(image: ForensicImage) -> np.ndarray:
    """Float32 (H, W) in 0..1."""
    return image.luminance / np.float32(256)
