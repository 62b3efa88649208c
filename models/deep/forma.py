"""ForMa: a vision Mamba on the pixels, and a head that also sees three mixed noise views."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from models import WeightFile, register
from models.deep.parts import dncnn
from models.deep.parts.mit import ConvNorm, Projection, enlarge
from models.deep.parts.modalities import ModalitiesExtractor, ModalMixer
from models.deep.parts.vmamba import VMamba
from models.image import ForensicImage, ScoreMap
from models.network import NetworkLocalizer, square_tensor, to_array

INPUT_SIZE = 512
WIDTHS = (96, 192, 384, 768)
DEPTHS = (2, 2, 9, 2)
EMBEDDING = 96
MODAL_WIDTH = 16


class PixelShuffleHead(nn.Module):
    """Four maps and a noise view at a quarter of the size to logits (B, 2, H/4, W/4).

    Coarse maps are enlarged by laying channels out in space.
    """

    def __init__(self, widths: Sequence[int], embedding: int):
        super().__init__()
        for level in (4, 3, 2, 1):
            enlarged = embedding * 4 ** (level - 1)
            setattr(self, f"linear_c{level}", Projection(widths[level - 1], enlarged))
        self.conv_modals = nn.Conv2d(3, MODAL_WIDTH, 1)
        self.linear_fuse = ConvNorm(4 * embedding + MODAL_WIDTH, embedding, eps=1e-3)
        self.linear_pred = nn.Conv2d(embedding, 2, 1)

    def forward(self, features: list[Tensor], view: Tensor) -> Tensor:
        projected = [getattr(self, f"linear_c{level}")(features[level - 1]) for level in (4, 3, 2, 1)]
        shuffled = [F.pixel_shuffle(x, 2**power) for x, power in zip(projected, (3, 2, 1, 0), strict=True)]
        return self.linear_pred(self.linear_fuse(torch.cat([*shuffled, self.conv_modals(view)], 1)))


class ForMa(nn.Module):
    """Height and width multiples of 32. input_size: of the squares that the localizer resizes photos to."""

    def __init__(
        self,
        widths: Sequence[int] = WIDTHS,
        depths: Sequence[int] = DEPTHS,
        embedding: int = EMBEDDING,
        noise_width: int = dncnn.WIDTH,
        input_size: int = INPUT_SIZE,
    ):
        super().__init__()
        self.input_size = input_size
        self.backbone = VMamba(widths, depths)
        self.decode = PixelShuffleHead(widths, embedding)
        self.modalmixer = ModalMixer()
        self.modal_extractor = ModalitiesExtractor(noise_width)

    @classmethod
    def tiny(cls) -> ForMa:
        return cls((4, 6, 8, 10), (1, 1, 1, 1), embedding=4, noise_width=4, input_size=64)

    def forward(self, rgb: Tensor) -> Tensor:
        """Logits (B, 2, H/4, W/4) of authentic and forged. rgb: (B, 3, H, W) in 0..1."""
        quarter = enlarge(rgb, (rgb.shape[2] // 4, rgb.shape[3] // 4))
        return self.decode(self.backbone(rgb), self.modalmixer(self.modal_extractor(quarter)))


@register(
    "forma",
    title="ForMa, the authors' network",
    paper="Guo et al., A Lightweight and Effective Image Tampering Localization Network with Vision Mamba, SPL 2025",
    year=2025,
    summary="VMamba on the pixels beside mixed Noiseprint++, constrained convolution and SRM residuals",
    licence="none stated",
    groups=("deep",),
    trained_on=("casia2", "imd2020", "fantasticreality", "tampcoco"),
    weights=(
        WeightFile(
            "ForMa_weights.pth", "https://drive.google.com/file/d/15NcJQr5kxhqC4V-WjyJhAqIsobI6u-yh", "none stated"
        ),
    ),
)
class ForMaLocalizer(NetworkLocalizer):
    """Probability of forgery; above .5 it is the authors' binary map.

    As in their test script the photo is resized to 512 x 512 (bilinear, aspect ratio not kept), and the map at a
    quarter of that is resized back by nearest neighbours.
    """

    make_network = ForMa

    def preprocess(self, image: ForensicImage) -> Tensor:
        return square_tensor(image.rgb, self.network.input_size)

    def postprocess(self, output: Tensor, image: ForensicImage) -> ScoreMap:
        forged = Image.fromarray(to_array(output.softmax(1)[0, 1]))
        height, width = image.shape
        return ScoreMap(np.array(forged.resize((width, height), Image.Resampling.NEAREST)), "probability")
