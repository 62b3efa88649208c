"""CAT-Net v2: HRNet on the pixels and on the JPEG's DCT coefficients, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import WeightFile, register
from models.convolution import ConvNorm
from models.deep.parts.dct_volume import dct_volume, luma_coefficients, with_jpeg
from models.deep.parts.hrnet import ENLARGE, HRNet, basic_blocks, pass_on, stage, transition
from models.deep.parts.tiles import Tiling, patchwise
from models.image import ForensicImage, ScoreMap
from models.memory import GB, Cost, MemoryPolicy
from models.network import NetworkLocalizer, to_array

RGB_WIDTHS = (48, 96, 192, 384)
DCT_WIDTHS = (96, 192, 384)  # at strides 8, 16, 32
FUSED_WIDTHS = (24, 48, 96, 192)
VOLUME_PLANES = 21
BLOCKS = 4
DILATION = 8
PATCH_SIDE = 1024  # of the parts in which the DCT volume passes its widest layer, whose map takes 64 values per pixel
enlarge = ENLARGE["bilinear"]


class CATNet(HRNet):
    """HRNet-W48 on the pixels; a stream on the DCT volume that joins it at stride 8; a last stage on both.

    blocks: residual blocks of every branch in a module.
    """

    def __init__(
        self,
        rgb_widths: Sequence[int] = RGB_WIDTHS,
        dct_widths: Sequence[int] = DCT_WIDTHS,
        fused_widths: Sequence[int] = FUSED_WIDTHS,
        blocks: int = BLOCKS,
    ):
        super().__init__(rgb_widths, modules=(1, 4, 3), blocks=blocks)
        self.dc_layer0_dil = ConvNorm(VOLUME_PLANES, 64, 3, dilation=DILATION, bias=True)
        self.dc_layer1_tail = ConvNorm(64, 4, 1)
        self.dc_layer2 = basic_blocks(2 * 4 * 64, dct_widths[0], blocks)
        self.dc_transition2 = transition(dct_widths[:1], dct_widths[:2])
        self.dc_stage3 = stage(dct_widths[:2], 3, blocks, "bilinear")
        self.dc_transition3 = transition(dct_widths[:2], dct_widths)
        self.dc_stage4 = stage(dct_widths, 2, blocks, "bilinear")
        joined = [rgb + dct for rgb, dct in zip(rgb_widths, (0, *dct_widths), strict=True)]
        self.transition4 = transition(joined, fused_widths)
        self.stage5 = stage(fused_widths, 1, blocks, "bilinear")
        channels = sum(fused_widths)
        self.last_layer = nn.Sequential(
            nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, 2, 1)
        )

    @classmethod
    def tiny(cls) -> CATNet:
        return cls((4, 6, 8, 10), (6, 8, 10), (2, 4, 6, 8), blocks=1)

    def forward(self, rgb: Tensor, volume: Tensor, table: Tensor) -> Tensor:
        """Logits (B, 2, H/4, W/4) of authentic and forged.

        rgb: (B, 3, H, W) in -1..1, H and W multiples of 8. volume: (B, 21, H, W), see `dct_volume`.
        table: (B, 1, 8, 8) quantisation steps of the luma.
        """
        fine, *coarse = super().forward(rgb)
        frequency = self._frequency_stream(volume, table)
        joined = [fine, *(torch.cat(pair, 1) for pair in zip(coarse, frequency, strict=True))]
        features = self.stage5(pass_on(self.transition4, joined))
        size = features[0].shape[2:]
        return self.last_layer(torch.cat([features[0], *(enlarge(x, size) for x in features[1:])], 1))

    def _frequency_stream(self, volume: Tensor, table: Tensor) -> list[Tensor]:
        x = patchwise(lambda patch: self.dc_layer1_tail(self.dc_layer0_dil(patch)), volume, PATCH_SIDE, halo=DILATION)
        batch, channels, height, width = x.shape
        rows, columns = height // 8, width // 8
        # Each of the 64 frequencies becomes a channel: (B, C, 8, 8, rows, columns).
        x = x.reshape(batch, channels, rows, 8, columns, 8).permute(0, 1, 3, 5, 2, 4)
        both = torch.cat([x, x * table[..., None, None]], 1).reshape(batch, 2 * channels * 64, rows, columns)
        features = self.dc_stage3(pass_on(self.dc_transition2, [self.dc_layer2(both)]))
        return self.dc_stage4(pass_on(self.dc_transition3, features))


def planes(image: ForensicImage) -> tuple[Tensor, Tensor]:
    """Of an image with JPEG bytes (1, 4, H, W): pixels -1..1 and quantised luma coefficients; and the luma table.

    At the right and bottom the pixels are padded with grey to whole blocks.
    """
    height, width = image.shape
    coefficients = luma_coefficients(image.dct, height, width)
    made = np.zeros((4, *coefficients.shape), np.float32)
    made[:3, :height, :width] = (image.rgb.transpose(2, 0, 1).astype(np.float32) - 127.5) / 127.5
    made[3] = coefficients
    table = torch.from_numpy(image.dct.tables[0].astype(np.float32))
    return torch.from_numpy(made)[None], table[None, None]


def network_input(image: ForensicImage) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels, DCT volume and luma table of an image with JPEG bytes, as `CATNet` takes them, batch of one."""
    made, table = planes(image)
    return *volumes(made), table


def volumes(made: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels and DCT volume from `planes`."""
    return made[:, :3], dct_volume(made[0, 3].cpu().numpy(), VOLUME_PLANES - 1)[None].to(made.device)


@register(
    "catnet-v2",
    title="CAT-Net v2, the authors' full model for general forgeries",
    paper="Kwon et al., Learning JPEG Compression Artifacts for Image Manipulation Detection and Localization, "
    "IJCV 2022",
    year=2022,
    summary="HRNet-W48 on the pixels and a second stream on the quantised DCT coefficients of the JPEG file",
    licence="Apache 2.0 (code), CC BY 4.0 (weights)",
    groups=("deep",),
    trained_on=("casia2", "imd2020", "fantasticreality", "tampcoco", "compraise"),
    weights=(
        WeightFile(
            "CAT_full_v2.pth.tar",
            "https://drive.google.com/drive/folders/1hBEfnFtGG6q_srBHVEmbF3fTq0IhP8jq",
            "CC BY 4.0",
        ),
    ),
)
class CATNetV2(NetworkLocalizer):
    """Probability of forgery; the logits are enlarged from a quarter of the size as in the authors' validation.

    An image without JPEG bytes is first saved at quality 100, 4:4:4, as the authors do; `resaved` in the extras
    says so, which also hold those of `Decision`. The branches at stride 16 and 32 reach some 1700 pixels, though with
    little weight, so tiles are an approximation: on a photo of 1408 x 1600 pixels,
    with random weights, the map from tiles had a correlation of .987 with that of the whole and differed by .0015 in
    the mean, by .00014 further than 128 pixels from where tiles meet.
    """

    make_network = CATNet
    memory = MemoryPolicy(Cost(per_pixel=470, fixed=0.3 * GB), Tiling(1280, 128))

    def preprocess(self, image: ForensicImage) -> tuple[Tensor, Tensor]:
        return planes(with_jpeg(image))

    def forward(self, made: Tensor, table: Tensor, tiling: Tiling | None = None) -> Tensor:
        def logits(part: Tensor) -> Tensor:
            return enlarge(self.network(*volumes(part), table), part.shape[2:])

        return logits(made) if tiling is None else tiling.apply(logits, made)

    def postprocess(self, output: Tensor, image: ForensicImage) -> ScoreMap:
        height, width = image.shape
        forged = to_array(F.softmax(output, 1)[0, 1, :height, :width])
        return ScoreMap(forged, "probability", extras={"resaved": image.jpeg is None})
