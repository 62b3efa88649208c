"""SPAN: ManTra-Net's features, and attention of every pixel to its neighbours at growing distances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import WeightFile, register
from models.convolution import at_least_float32
from models.deep.parts.keras import convolution, read_keras
from models.deep.parts.manipulation_trace import FIRST_WIDTH, LAYERS, RADIUS, WIDTHS, trace_features
from models.deep.parts.resample import left_aligned, sampled
from models.deep.parts.srm import by_channel
from models.deep.parts.tiles import Tiling, patchwise
from models.image import ForensicImage, ScoreMap
from models.network import NetworkLocalizer, to_array, to_tensor

PATCH = 576  # pixels a side seen at once by the features; the attention takes as much memory for it
MARGIN = 32  # pixels of it that are not kept; the features depend on fewer, and interpolation on one more
RESIZED = 224
CHANNELS = 32
SHIFTS = (1, 3, 9, 27, 81)
FINAL_WIDTHS = (32, 16, 8, 4, 1)
# Pixels that the attention looks away: each layer by its shift and three 3 x 3 convolutions.
REACH = sum(shift + 3 for shift in SHIFTS)


class SPAN(nn.Module):
    """Probability (B, 1, H, W) of forgery for (B, 3, H, W) in -1..1; with `resized` (B, 1, 224, 224).

    resized: side of the square that the features are brought to before the attention, as the authors' evaluation
    does; None to keep the image's size. widths: of the feature extractor's convolutions. channels: of the features that
    attend to each other.

    Tensors have Keras' names ("layer/weight") and layout (height, width, in, out).
    """

    patch = PATCH

    def __init__(self, resized: int | None = RESIZED, widths: Sequence[int] = WIDTHS, channels: int = CHANNELS):
        super().__init__()
        self.resized = resized
        self.b1c1 = FirstKernels()
        for layer, before, out in zip(LAYERS, (FIRST_WIDTH, *widths), widths, strict=False):
            setattr(self, layer, KerasConv2d(before, out, 3))
        self.outlierTrans_new = KerasConv2d(widths[-1], channels, 1, bias=False)
        for i, shift in enumerate(SHIFTS, 1):
            setattr(self, f"pixel_attention_{i}", PixelAttention(channels, shift))
        for i, (before, out) in enumerate(zip((channels, *FINAL_WIDTHS), FINAL_WIDTHS, strict=False), 1):
            setattr(self, f"final_{i}", KerasConv2d(before, out, 5))

    @classmethod
    def tiny(cls) -> SPAN:
        return cls(resized=48, widths=(4,) * len(WIDTHS), channels=4)

    def forward(self, x: Tensor) -> Tensor:
        return self.decide(self.attended(x))

    def attended(self, x: Tensor) -> Tensor:
        """The 32 features after the last attention."""
        # The official code resizes 256 features and adapts them then; a 1 x 1 convolution without bias commutes.
        if self.resized:
            tiling = Tiling(self.patch, MARGIN)
            (adapted,) = sampled(lambda part, _: [self._adapted(part)], x, tiling, [self.resized], left_aligned)
        else:
            adapted = patchwise(self._adapted, x, self.patch, RADIUS)
        return patchwise(self._attend, adapted, self.patch, REACH)

    def features(self, x: Tensor) -> Tensor:
        """ManTra-Net's features (B, 256, H, W)."""
        layers = [getattr(self, name) for name in LAYERS]
        return trace_features(x, self.b1c1(), [(convolution(layer.kernel), layer.bias) for layer in layers])

    def decide(self, x: Tensor) -> Tensor:
        """Probability from the features after the last attention."""
        return patchwise(self._decide, x, self.patch, 2 * len(FINAL_WIDTHS))

    def _adapted(self, x: Tensor) -> Tensor:
        return self.outlierTrans_new(self.features(x))

    def _attend(self, x: Tensor) -> Tensor:
        for i in range(len(SHIFTS)):
            x = getattr(self, f"pixel_attention_{i + 1}")(x)
        return x

    def _decide(self, x: Tensor) -> Tensor:
        for i in range(len(FINAL_WIDTHS)):
            x = getattr(self, f"final_{i + 1}")(x if i == 0 else x.relu())
        return at_least_float32(x).sigmoid()

    def state_dict(self, *args, **kwargs) -> dict[str, Tensor]:
        return {name.replace(".", "/"): value for name, value in super().state_dict(*args, **kwargs).items()}

    def load_state_dict(self, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False):
        named = {name.replace("/", "."): value for name, value in state_dict.items()}
        return super().load_state_dict(named, strict, assign)


class FirstKernels(nn.Module):
    """The first layer's kernels (16, 3, 5, 5). The constrained ones are stored as they are used."""

    def __init__(self):
        super().__init__()
        self.regular_kernel = nn.Parameter(torch.zeros(5, 5, 3, 4))
        self.bayar_kernel = nn.Parameter(torch.zeros(5, 5, 3, 3))

    def forward(self) -> Tensor:
        fixed = by_channel().to(self.regular_kernel)
        return torch.cat([convolution(self.regular_kernel), fixed, convolution(self.bayar_kernel)])


class KerasConv2d(nn.Module):
    """Convolution that keeps the size."""

    def __init__(self, channels: int, out: int, size: int, bias: bool = True):
        super().__init__()
        self.kernel = nn.Parameter(torch.zeros(size, size, channels, out))
        self.register_parameter("bias", nn.Parameter(torch.zeros(out)) if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, convolution(self.kernel), self.bias, padding=self.kernel.shape[0] // 2)


class PixelAttention(nn.Module):
    """Attention of each pixel to itself and its eight neighbours at distance `shift`, then three convolutions.

    Neighbours outside the image have a score and a value of 0; they take their share of the softmax.
    """

    def __init__(self, channels: int, shift: int):
        super().__init__()
        self.shift = shift
        self.K_P = nn.Parameter(torch.zeros(1, 1, channels, 9 * channels))
        self.V_P = nn.Parameter(torch.zeros(1, 1, channels, 9 * channels))
        self.Q_P = nn.Parameter(torch.zeros(1, 1, channels, channels))
        for i, (wide, out) in enumerate([(1, 1), (1, 2), (2, 1)], 1):
            self.register_parameter(f"ff{i}_kernel", nn.Parameter(torch.zeros(3, 3, wide * channels, out * channels)))
            self.register_parameter(f"ff{i}_bias", nn.Parameter(torch.zeros(out * channels)))

    def forward(self, x: Tensor) -> Tensor:
        query = F.conv2d(x, convolution(self.Q_P))
        scores = [(query * key).sum(1, keepdim=True) / 8 for key in self._neighbours(x, self.K_P)]
        weights = torch.cat(scores, 1).softmax(1).split(1, 1)
        for weight, value in zip(weights, self._neighbours(x, self.V_P), strict=True):
            x = x + weight * value
        y = x
        for i in (1, 2, 3):
            kernel, bias = getattr(self, f"ff{i}_kernel"), getattr(self, f"ff{i}_bias")
            y = F.relu(F.conv2d(y, convolution(kernel), bias, padding=1))
        return x + y

    def _neighbours(self, x: Tensor, projection: Tensor) -> Iterator[Tensor]:
        """For each neighbour, row by row, its own projection of the features there."""
        height, width = x.shape[2:]
        for i, kernel in enumerate(convolution(projection).chunk(9)):
            projected = F.pad(F.conv2d(x, kernel), (self.shift,) * 4)
            top, left = i // 3 * self.shift, i % 3 * self.shift
            yield projected[:, :, top : top + height, left : left + width]


def from_keras(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict from the authors' file, where Keras may have numbered the attention layers higher."""
    attention = sorted({name.split("/")[0] for name in tensors if name.startswith("pixel_attention_")}, key=_number)
    renamed = {layer: f"pixel_attention_{i}" for i, layer in enumerate(attention, 1)}
    layers = ((name.split("/"), value) for name, value in tensors.items())
    found = {f"{renamed.get(layer, layer)}/{weight}": value for (layer, weight), value in layers}
    with torch.device("meta"):
        return {name: found[name] for name in SPAN().state_dict()}


def _number(layer: str) -> int:
    return int(layer.rpartition("_")[2])


def network_input(rgb: np.ndarray) -> Tensor:
    """Float32 (1, 3, H, W) in -1..1 of uint8 (H, W, 3)."""
    return (to_tensor(rgb) * 2 - 1).contiguous()


@register(
    "span",
    title="SPAN: spatial pyramid attention network",
    paper="Hu et al., SPAN: Spatial Pyramid Attention Network for Image Manipulation Localization, ECCV 2020",
    year=2020,
    summary="ManTra-Net's features, and attention of each pixel to neighbours at distances from 1 to 81",
    licence="none stated by the authors; ManTra-Net's features are for non-commercial use (code and weights)",
    groups=("deep",),
    trained_on=("dresden", "kaggle-camera", "mscoco"),
    weights=(
        WeightFile(
            "PixelAttention32.h5",
            "https://github.com/ZhiHanZ/IRIS0-SPAN",
            "none stated by the authors",
            git_sha1="3ac7c1e0f0c3e63988e675daba8ea6031ef37cb5",
        ),
    ),
)
class SPANLocalizer(NetworkLocalizer):
    """Probability of forgery at 224 x 224, as in the authors' evaluation, enlarged without interpolation as there.

    The features are computed at the image's own size, in tiles where it is larger than 576 pixels (`tiles` in the
    extras is their number), and of each no more is kept than what its part of 224 x 224 is made from: the memory does
    not grow with the image, and nothing changes but roundings. The .h5 file is read by h5py.
    """

    make_network = SPAN
    read = staticmethod(partial(read_keras, convert=from_keras))

    def preprocess(self, image: ForensicImage) -> Tensor:
        return network_input(image.rgb)

    def postprocess(self, output: Tensor, image: ForensicImage) -> ScoreMap:
        height, width = image.shape
        values = cv2.resize(to_array(output[0, 0]), (width, height), interpolation=cv2.INTER_NEAREST)
        count = len(Tiling(self.network.patch, MARGIN).places(height, width))
        return ScoreMap(values, "probability", extras={"tiles": count})
