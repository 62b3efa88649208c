"""Mosaic consistency network (adaptive CFA): which of the four Bayer phases each block was demosaiced on.

Bammey, Grompone von Gioi and Morel, "An adaptive neural network for unsupervised mosaic consistency analysis in
image forensics", CVPR 2020.

Trace: demosaicing leaves a pattern of period 2; a spliced or copy-moved region has an even chance per direction
to lie on another phase than the rest. A small network (about 32,000 parameters) tells the phase of each 32x32 block.
Works on camera pictures at their native resolution, uncompressed or at a JPEG quality of about 95 and more.
Cannot work after resizing or stronger compression, and not on a region that happens to keep the phase.

The paper adapts the weights to the pictures under test by training on; here they are used as they come. The
authors' files are `pretrained.pt` and two that are already adapted (`adapted_to_nojpeg_database.pt`,
`adapted_to_j95_database.pt`): name one as `weights`.

Compared with the official code on the same weights: class probabilities equal within 1e-5. The map is drawn as the
official script does: a block's value is repeated over the block, the first block begins in the picture's corner
(although the network saw it 4 pixels further in), and what no block covers is 0. Interpolated between the blocks'
centres the map scores differently: docs/reproductions.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import Localizer, WeightFile, register
from models.checkpoint import load_strictly, read_checkpoint, registered_file
from models.classical.blocks import require_size
from models.device import compute_device
from models.image import ForensicImage, ScoreMap

_PAGE = "https://github.com/qbammey/adaptive_cfa_forensics/tree/master/src/models"
_PADDING = 4  # pixels lost to unpadded convolutions on each side
_STRIP_PIXELS = 300_000  # seen at once; the network holds about 1.5 kB a pixel
# Class of a block whose mosaic is seen from each of the four pixels of its 2x2 cell, for the same true phase.
_SEEN_FROM = ((0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0))


@register(
    "adaptive-cfa",
    title="Adaptive CFA: mosaic consistency network",
    paper="Bammey, Grompone von Gioi, Morel, CVPR 2020",
    year=2020,
    summary="Probability that a block was demosaiced on another phase than the rest of the picture",
    licence="none stated by the authors",
    groups=("classical",),
    weights=(WeightFile("adaptive_cfa/pretrained.pt", _PAGE, "none stated by the authors", 143144,
                        "992dade71b8682a617f63e5a92e46292cd34e391f8b46dd050ce4c0f86e7745d"),),
)  # fmt: skip
class AdaptiveCfa(Localizer):
    """Probability of the most likely phase of each block where it is not the picture's own, else `own`.

    block: side of a block in pixels, even.
    own: score of the blocks on the picture's own phase, 0..1; 0 in the authors' script. With 1, its rows in
        TruFor's table 1 are given again (docs/reproductions.md); such a map calls forged what is most surely not.
    """

    def __init__(
        self,
        weights: str | os.PathLike | Mapping[str, Tensor] | None = None,
        device: str = "cpu",
        block: int = 32,
        own: float = 0.0,
    ):
        if not 0 <= own <= 1:
            raise ValueError(f"adaptive-cfa: own is a score in 0..1, got {own}")
        self.block = block
        self.own = own
        self._device = compute_device(device)
        checkpoint = read_checkpoint(registered_file(self.card) if weights is None else weights)
        self.network = MosaicNetwork()
        load_strictly(self.network, checkpoint)
        self.network = self.network.to(self._device).eval()
        self.weights_digest = checkpoint.digest

    def localize(self, image: ForensicImage) -> ScoreMap:
        """Probability map; extras: "phase" 0..3 of the picture. Raises NotApplicable below 2x2 blocks."""
        least = 2 * self.block + 2 * _PADDING
        require_size(image, least, least)
        phases = self.phases(image.rgb)
        phase = int(phases.mean((1, 2)).argmax())
        blocks = np.where(phases.argmax(0) == phase, self.own, phases.max(0))
        values = np.zeros(image.shape, np.float32)
        drawn = np.kron(blocks, np.ones((self.block, self.block)))
        values[: drawn.shape[0], : drawn.shape[1]] = drawn
        return ScoreMap(values, "probability", extras={"phase": phase})

    def phases(self, rgb: np.ndarray) -> np.ndarray:
        """Probability float32 (4, rows, columns) of each phase for each block, mean of the four views of it.

        rgb: uint8 (H, W, 3). Runs in strips of whole blocks, which the unpadded network makes exact.
        """
        rows, columns = ((n - 2 * _PADDING) // self.block for n in rgb.shape[:2])
        width = columns * self.block + 2 * _PADDING
        at_once = max(1, _STRIP_PIXELS // (width * self.block))
        strips = []
        for first in range(0, rows, at_once):
            count = min(at_once, rows - first)
            top = first * self.block
            strip = rgb[top : top + count * self.block + 2 * _PADDING, :width]
            x = torch.tensor(strip).to(self._device).permute(2, 0, 1)[None] / 255
            with torch.inference_mode():
                strips.append(self.network(x, self.block).exp().cpu().numpy())
        views = np.concatenate(strips, 2)
        return np.mean([views[list(seen), view] for view, seen in enumerate(_SEEN_FROM)], 0)


class _Directional(nn.Module):
    """Two layers of horizontal, vertical and square convolutions beside one dilated layer; loses 2 pixels a side."""

    def __init__(self, channels: int, directional: int = 10, square: int = 5):
        super().__init__()
        middle = 2 * directional + square
        self.h1 = nn.Conv2d(channels, directional, (1, 3))
        self.h2 = nn.Conv2d(middle, directional, (1, 3))
        self.v1 = nn.Conv2d(channels, directional, (3, 1))
        self.v2 = nn.Conv2d(middle, directional, (3, 1))
        self.f1 = nn.Conv2d(channels, square, 3)
        self.f2 = nn.Conv2d(middle, square, 3)
        self.hd = nn.Conv2d(channels, directional, (1, 3), dilation=2)
        self.vd = nn.Conv2d(channels, directional, (3, 1), dilation=2)
        self.fd = nn.Conv2d(channels, square, 3, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        dilated = _side_by_side(x, self.hd, self.vd, self.fd, 2)
        middle = F.softplus(_side_by_side(x, self.h1, self.v1, self.f1, 1))
        return torch.cat((dilated, _side_by_side(middle, self.h2, self.v2, self.f2, 1)), 1)


def _side_by_side(x: Tensor, horizontal: nn.Module, vertical: nn.Module, square: nn.Module, cut: int) -> Tensor:
    """The three convolutions of x, cut to the size of the square one's result."""
    return torch.cat((horizontal(x)[:, :, cut:-cut], vertical(x)[:, :, :, cut:-cut], square(x)), 1)


class _Spatial(nn.Module):
    """Features of each pixel from its 9x9 neighbourhood, with the pixel itself and the first stage passed on."""

    def __init__(self):
        super().__init__()
        self.conv1 = _Directional(3)
        self.conv2 = _Directional(53)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat((x[:, :, 2:-2, 2:-2], self.conv1(x)), 1)
        return torch.cat((x[:, :, 2:-2, 2:-2], self.conv2(x)), 1)


class _Pixelwise(nn.Module):
    """Densely connected 1x1 convolutions."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(103, 30, 1)
        self.conv2 = nn.Conv2d(30, 15, 1)
        self.conv3 = nn.Conv2d(45, 15, 1)
        self.conv4 = nn.Conv2d(60, 30, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.conv1(x))
        x = torch.cat((x, F.leaky_relu(self.conv2(x))), 1)
        x = torch.cat((x, F.leaky_relu(self.conv3(x))), 1)
        return self.conv4(x)


class MosaicNetwork(nn.Module):
    """Log-probabilities (4, 4, rows, columns) of the four phases, seen from each pixel of the 2x2 cell.

    Input: float32 (1, 3, H, W) in 0..1, H and W even. Tensor names are those of the official checkpoints;
    `auxiliary` is the head of the authors' pre-training, stored with the rest and not used here.
    """

    def __init__(self):
        super().__init__()
        self.spatial = _Spatial()
        self.pixelwise = _Pixelwise()
        self.blockwise = nn.Sequential(
            nn.Conv2d(120, 180, 1, groups=30), nn.Softplus(),
            nn.Conv2d(180, 90, 1, groups=30), nn.Softplus(),
            nn.Conv2d(90, 90, 1, groups=30), nn.Softplus(),
            nn.Conv2d(90, 45, 1), nn.Softplus(),
            nn.Conv2d(45, 45, 1), nn.Softplus(),
            nn.Conv2d(45, 4, 1), nn.LogSoftmax(1),
        )  # fmt: skip
        self.auxiliary = nn.Sequential(self.spatial, self.pixelwise, nn.Conv2d(30, 4, 1), nn.LogSoftmax(1))

    def forward(self, x: Tensor, block: int = 32) -> Tensor:
        """Log-probabilities of the four mosaic phases of each block."""
        features = self.pixelwise(self.spatial(x))
        # mean over the block of each feature at each of the four pixels of the cell: (30, 4, rows, columns)
        cells = F.avg_pool2d(F.pixel_unshuffle(features, 2), block // 2).unflatten(1, (30, 4))[0]
        views = torch.stack([cells[:, list(seen)] for seen in _SEEN_FROM])
        return self.blockwise(views.flatten(1, 2))
