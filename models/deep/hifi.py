"""HiFi-Net: HRNet features with a frequency branch; a mask, and the forgery's kind on four levels of detail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from models import WeightFile, register
from models.convolution import ConvNorm, at_least_float32, convolve
from models.deep.composite import CompositeLocalizer
from models.deep.parts.hrnet import ENLARGE, STEM_CHANNELS, HRNet, head_features, in_strips
from models.deep.parts.nonlocal_attention import NonLocal
from models.deep.parts.resample import centre_aligned, resampled
from models.deep.parts.tiles import Piece, Place, Tiling
from models.image import ForensicImage, NotApplicable, ScoreMap
from models.memory import GB, Cost, MemoryPolicy
from models.network import to_array, to_tensor

WIDTHS = (18, 36, 72, 144)
SCALES = (2, 4, 8)  # of the Laplacian differences
INPUT_SIZE = 256
FOLD = 4
PYRAMID_WIDTH = 64  # of the localization-only head
METRIC_WIDTH = 18  # channels in which the distance from authentic pixels is measured
FORGED_DISTANCE = 2.3
# For every class of a level of detail, the class one level coarser; of 14, 7, 5 and 3 classes. The last five of the
# finest level would be expected below classes 5 and 6; the released code takes 4 for them, and so do its weights.
PARENTS = {
    1: (0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 4, 4, 4, 4),
    2: (0, 1, 1, 2, 2, 3, 4),
    3: (0, 1, 1, 2, 2),
}
resize = ENLARGE["corners"]


class FrequencyHRNet(HRNet):
    """HRNet at full resolution whose four branches all start after stage 1, with a second stem on Laplacians."""

    def __init__(self, widths: Sequence[int]):
        super().__init__(widths, modules=(1, 1, 1), blocks=2, branches=(4, 4, 4), stem_stride=1, enlarge="corners")

    def _add_stem(self, stride: int) -> None:
        super()._add_stem(stride)
        self.conv1fre = nn.Conv2d(3, STEM_CHANNELS, 3, padding=1, bias=False)
        self.bn1fre = nn.BatchNorm2d(STEM_CHANNELS)
        self.conv2fre = nn.Conv2d(STEM_CHANNELS, STEM_CHANNELS, 3, padding=1, bias=False)
        self.bn2fre = nn.BatchNorm2d(STEM_CHANNELS)
        self.laplacian = LaplacianPyramid(STEM_CHANNELS)
        self.conv_1x1_merge = ConvNorm(2 * STEM_CHANNELS, STEM_CHANNELS, 1, groups=2)

    def stem(self, x: Tensor, place: Place | None = None) -> Tensor:
        frequency = self.laplacian(convolve(x, self.conv1fre, self.bn1fre, "relu"), place)
        frequency = convolve(frequency, self.conv2fre, self.bn2fre, "relu")
        return self.conv_1x1_merge(torch.cat([super().stem(x), frequency], 1))

    def first_stage(self, x: Tensor, place: Place | None = None) -> list[Tensor]:
        return in_strips(self.branch, self.stem(x, place))


class LaplacianPyramid(nn.Module):
    """Differences between a map and its smoothed, reduced and enlarged copies, mixed to as many channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.smoothing = nn.ModuleDict({f"scale-{scale}": Smoothing(channels) for scale in SCALES})
        self.conv_1x1 = ConvNorm(channels * len(SCALES), channels, 1)

    def forward(self, x: Tensor, place: Place | None = None) -> Tensor:
        """place: what x shows of an image, where it is a tile."""
        differences = []
        for scale, smooth in zip(SCALES, self.smoothing.values(), strict=True):
            reduced = F.interpolate(smooth(x), scale_factor=1 / scale, mode="bilinear", align_corners=False)
            if place is None:
                differences.append(x - F.interpolate(reduced, x.shape[2:], mode="bilinear", align_corners=False))
            else:
                differences.append(x - resampled(reduced, _reduced(place, scale), place, centre_aligned))
        return self.conv_1x1(torch.cat(differences, 1))


def _reduced(place: Place, scale: int) -> Place:
    """Where a tile lies in the map that is smoothed without padding, which takes a pixel at each side, and reduced.

    It may end before the tile does, by less than its margin.
    """

    def along(piece: Piece) -> Piece:
        whole, start = (piece.whole - 2) // scale, piece.start // scale
        return Piece(whole, start, start + (piece.stop - piece.start - 2) // scale, start, whole)

    return along(place[0]), along(place[1])


class Smoothing(nn.Module):
    """A fixed 3 x 3 kernel per channel, without padding; the checkpoints hold Gaussians."""

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("weight", torch.full((channels, 1, 3, 3), 1 / 9))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, groups=len(self.weight))


class Prediction(NamedTuple):
    """metric: (B, 18, 256, 256), in which distances are measured. mask: probabilities (B, 256, 256).

    levels: logits of 14, 7, 5 and 3 classes, class 0 authentic, from the finest level of detail to the coarsest.
    """

    metric: Tensor
    mask: Tensor
    levels: tuple[Tensor, Tensor, Tensor, Tensor]


class Head(nn.Module):
    """What both published heads share: from (features at the sides 256, 128, 64, 32) and the image, a Prediction."""

    def _add_classifiers(self, finest: int, widths: Sequence[int], metric_width: int) -> None:
        """finest: channels of the finest features, to which one from the masked image is added."""
        coarser = sum(widths[1:])
        self.branch_cls_level_1 = Classifier(coarser + finest + 1, metric_width, len(PARENTS[1]))
        self.branch_cls_level_2 = Classifier(coarser, metric_width, len(PARENTS[2]))
        self.branch_cls_level_3 = Classifier(sum(widths[2:]), metric_width, len(PARENTS[3]))
        self.branch_cls_level_4 = Classifier(widths[3], metric_width, max(PARENTS[3]) + 1)

    def _predict(self, pyramid: list[Tensor], image: Tensor) -> Prediction:
        metric, mask, seen = self.getmask(pyramid[0], image)
        finest = torch.cat([pyramid[0], resize(seen, pyramid[0].shape[2:])], 1)
        gathered = pyramid[3]
        logits = self.branch_cls_level_4(gathered)
        levels = [logits]
        for level, x in ((3, pyramid[2]), (2, pyramid[1]), (1, finest)):
            likely = positive_softmax(logits)[:, list(PARENTS[level])]
            gathered = torch.cat([resize(gathered, x.shape[2:]), x], 1)
            logits = getattr(self, f"branch_cls_level_{level}")(gathered)
            levels.insert(0, logits + logits * likely)
        return Prediction(metric, mask, tuple(levels))


def positive_softmax(logits: Tensor) -> Tensor:
    """Softmax over the positive logits alone, the others get 0; uniform where none is positive."""
    return torch.where(logits > 0, logits, -9e15).softmax(1)


class DetectionHead(Head):
    """The head of the detection and localization weights; the mask comes straight from the finest features."""

    def __init__(self, widths: Sequence[int], metric_width: int):
        super().__init__()
        self.getmask = MaskAttention(widths[0], FOLD)
        self._add_classifiers(widths[0], widths, metric_width)

    def forward(self, features: list[Tensor], image: Tensor) -> Prediction:
        return self._predict(features, image)


class LocalizationHead(Head):
    """The head of the localization-only weights; the mask comes from a feature pyramid. It takes any image size."""

    def __init__(self, widths: Sequence[int], metric_width: int, pyramid_width: int, input_size: int):
        super().__init__()
        self.input_size = input_size
        self.getmask = PyramidMaskAttention(pyramid_width, FOLD, metric_width)
        self.FPN_LOC = FeaturePyramid(widths, pyramid_width)
        self._add_classifiers(pyramid_width, widths, metric_width)

    def forward(self, features: list[Tensor], image: Tensor) -> Prediction:
        image = resize(image, (self.input_size, self.input_size))
        return self._predict([self.FPN_LOC(features), *features[1:]], image)


class FeaturePyramid(nn.Module):
    """From coarse to fine: each scale is brought to `channels`, added to the coarser ones, mixed and enlarged."""

    def __init__(self, widths: Sequence[int], channels: int):
        super().__init__()
        for level in (4, 3, 2, 1):
            first = nn.Conv2d(widths[level - 1], channels, 1)
            setattr(self, f"smooth_s{level}", nn.Sequential(first, nn.Conv2d(channels, channels, 3, padding=1)))
        for level in (1, 2, 3, 4):
            setattr(self, f"fpn{level}", ConvNorm(channels, channels, 3))

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        total = 0
        for level in (4, 3, 2, 1):
            x = getattr(self, f"smooth_s{level}")(pyramid[level - 1])
            total = getattr(self, f"fpn{level}")(x + total)
            if level > 1:
                total = F.interpolate(total, scale_factor=2, mode="nearest")
        return total


class MaskAttention(NonLocal):
    """Metric features, the mask they give, and a summary of the image where the mask is high."""

    def __init__(self, channels: int, fold: int, metric_width: int = METRIC_WIDTH):
        super().__init__(channels, fold)
        self._add_mask(channels, metric_width)
        self.Pconv_1 = PartialConv(3, 3)
        self.Pconv_2 = PartialConv(3, 3)
        self.Pconv_3 = PartialConv(3, 1)

    def _add_mask(self, channels: int, metric_width: int) -> None:
        self.getmask = nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 1, 3, padding=1))

    def _metric_and_mask(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, at_least_float32(self.getmask(x)).sigmoid()

    def forward(self, x: Tensor, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Metric features (B, 18, H, W), mask (B, H, W) in 0..1, and (B, 1, about H/8, about W/8)."""
        metric, mask = self._metric_and_mask(super().forward(x))
        valid = mask.expand(-1, 3, -1, -1)
        seen = image * valid
        for convolution in (self.Pconv_1, self.Pconv_2, self.Pconv_3):
            seen, valid = convolution(seen, valid)
        return metric, mask[:, 0], seen


class PyramidMaskAttention(MaskAttention):
    """The same with metric features of their own between 0 and 1."""

    def _add_mask(self, channels: int, metric_width: int) -> None:
        self.conv_1 = nn.Conv2d(channels, metric_width, 3, padding=1)
        self.conv_2 = nn.Conv2d(metric_width, 1, 3, padding=1)

    def _metric_and_mask(self, x: Tensor) -> tuple[Tensor, Tensor]:
        metric = self.conv_1(x)
        return metric.sigmoid(), at_least_float32(self.conv_2(metric.relu())).sigmoid()


class PartialConv(nn.Module):
    """3 x 3 convolution of stride 2, divided by how much of its window is valid (Liu et al., ECCV 2018).

    Unlike there, the validity is not 0 or 1 in the first layer, and its kernel is part of the checkpoint.
    """

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.input_conv = nn.Conv2d(channels, out, 3, 2)
        self.mask_conv = nn.Conv2d(channels, out, 3, 2, bias=False)

    def forward(self, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        amount = self.mask_conv(valid)
        hole = amount == 0
        bias = self.input_conv.bias[:, None, None]
        x = (self.input_conv(x) - bias) / amount.masked_fill(hole, 1) + bias
        return x.masked_fill(hole, 0), (~hole).to(x.dtype)


class Classifier(nn.Module):
    """Logits (B, classes) from the mean of convolved features."""

    def __init__(self, channels: int, width: int, classes: int):
        super().__init__()
        self.fc = nn.Linear(width, classes)
        self.bn = nn.BatchNorm1d(width)
        self.branch_cls = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, width, 3, padding=1), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.bn(self.branch_cls(x).mean((2, 3))))


class Sphere(nn.Module):
    """Where authentic pixels lie: a centre and the largest distance from it seen in training."""

    def __init__(self, width: int):
        super().__init__()
        self.center = nn.Parameter(torch.zeros(width), requires_grad=False)
        self.radius = nn.Parameter(torch.ones(()), requires_grad=False)

    def forward(self, metric: Tensor) -> Tensor:
        """(B, 18, H, W) to distances (B, H, W)."""
        return F.pairwise_distance(metric.movedim(1, -1), self.center)


class HiFiNet(nn.Module):
    """Features, head of the detection and localization weights, and sphere: children as the authors' files.

    input_size: of the squares that the localizer resizes photos to.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS, metric_width: int = METRIC_WIDTH, input_size: int = INPUT_SIZE):
        super().__init__()
        self.input_size = input_size
        self.features = FrequencyHRNet(widths)
        self.head = DetectionHead(widths, metric_width)
        self.sphere = Sphere(metric_width)

    @classmethod
    def tiny(cls) -> HiFiNet:
        return cls((3, 4, 5, 6), metric_width=3, input_size=64)

    def forward(self, x: Tensor) -> tuple[Prediction, Tensor]:
        """x: (B, 3, 256, 256) in 0..1. The prediction, and the distances (B, 256, 256) of its metric features."""
        prediction = self.head(self.features(x), x)
        return prediction, self.sphere(prediction.metric)


class HiFiNetLocalization(nn.Module):
    """Features and head of the localization-only weights: children as the authors' files.

    input_size: side of the finest of the features that the head sees.
    """

    def __init__(
        self,
        widths: Sequence[int] = WIDTHS,
        metric_width: int = METRIC_WIDTH,
        pyramid_width: int = PYRAMID_WIDTH,
        input_size: int = INPUT_SIZE,
    ):
        super().__init__()
        self.input_size = input_size
        self.features = FrequencyHRNet(widths)
        self.head = LocalizationHead(widths, metric_width, pyramid_width, input_size)

    @classmethod
    def tiny(cls) -> HiFiNetLocalization:
        return cls((3, 4, 5, 6), metric_width=3, pyramid_width=4, input_size=64)

    def forward(self, x: Tensor, tiling: Tiling | None = None) -> Prediction:
        """x: (B, 3, H, W) in 0..1. tiling: how the features of a large image are computed, None for as a whole."""
        return self.head(head_features(self.features, x, self.input_size, tiling), x)


def square_input(rgb: np.ndarray, side: int) -> Tensor:
    """Float32 (1, 3, side, side) in 0..1 of uint8 (H, W, 3): Pillow's bicubic in 8 bits, aspect ratio not kept."""
    return to_tensor(np.asarray(Image.fromarray(rgb).resize((side, side), Image.Resampling.BICUBIC)))


def _image_level(prediction: Prediction) -> tuple[float, dict[str, object]]:
    """Probability that the image is not authentic, and the likeliest class of each level, the finest first."""
    probability = 1 - float(prediction.levels[0].softmax(1)[0, 0])
    return probability, {"classes": [int(logits[0].argmax()) for logits in prediction.levels]}


_CARD = {
    "paper": "Guo et al., Hierarchical Fine-Grained Image Forgery Detection and Localization, CVPR 2023",
    "year": 2023,
    "licence": "MIT (code), not stated (weights)",
    "groups": ("deep",),
}
_DRIVE = "https://drive.google.com/drive/folders"


@register(
    "hifi-net",
    title="HiFi-Net, the authors' detection and localization model",
    summary="Distance of each pixel's features from those of authentic pixels; the forgery's kind on four levels",
    trained_on=("hifi-ifdl",),
    weights=(
        WeightFile("hifi_net/HRNet/750001.pth", f"{_DRIVE}/1v07aJ2hKmSmboceVwOhPvjebFMJFHyhm", "not stated"),
        WeightFile("hifi_net/NLCDetection/750001.pth", f"{_DRIVE}/1v07aJ2hKmSmboceVwOhPvjebFMJFHyhm", "not stated"),
        WeightFile(
            "hifi_net/center/radius_center.pth",
            "https://github.com/CHELSEA234/HiFi_IFDL/tree/main/center",
            "MIT",
            size=543,
            sha256="e41e09256e65bcff9ba43e72f08701bf4d3904ccdb749f2d32a008af92c2483b",
        ),
    ),
    **_CARD,
)
class HiFiNetLocalizer(CompositeLocalizer):
    """Distance from the centre of authentic pixels minus the authors' threshold 2.3, from a 256 x 256 copy.

    The authors leave the map at that size. The image score is the probability of any class but authentic.
    """

    make_network = HiFiNet

    def preprocess(self, image: ForensicImage) -> Tensor:
        return square_input(image.rgb, self.network.input_size)

    def postprocess(self, output: tuple[Prediction, Tensor], image: ForensicImage) -> ScoreMap:
        prediction, distance = output
        return ScoreMap(to_array(distance[0]) - np.float32(FORGED_DISTANCE), "logit", *_image_level(prediction))


@register(
    "hifi-net-loc",
    title="HiFi-Net, the authors' localization model",
    summary="A mask from a feature pyramid at 256 x 256, of the features of the whole image; the authors do not name "
    "the training images of these weights",
    weights=(
        WeightFile("hifi_net_loc/HRNet/225000.pth", f"{_DRIVE}/1cxCoE2hjcDj4lLrJmGEbskzPRJfoDIMJ", "not stated"),
        WeightFile("hifi_net_loc/NLCDetection/225000.pth", f"{_DRIVE}/1cxCoE2hjcDj4lLrJmGEbskzPRJfoDIMJ", "not stated"),
    ),
    **_CARD,
)
class HiFiNetLocalizationLocalizer(CompositeLocalizer):
    """Probability of forgery from the weights trained with cross entropy, the default of the authors' script.

    The head sees the whole image at 256 x 256; the features before it can be computed in tiles, which give the same up
    to rounding. extras: those of `Decision`. Not applicable to images with a side below 10 pixels, which the Laplacians
    cannot be reduced from.
    """

    make_network = HiFiNetLocalization
    memory = MemoryPolicy(Cost(per_pixel=2700, fixed=0.3 * GB), Tiling(960, 160))

    def preprocess(self, image: ForensicImage) -> Tensor:
        if min(image.shape) < max(SCALES) + 2:
            raise NotApplicable(f"HiFi-Net's Laplacians need at least {max(SCALES) + 2} pixels a side")
        return to_tensor(image.rgb)

    def postprocess(self, output: Prediction, image: ForensicImage) -> ScoreMap:
        return ScoreMap(to_array(output.mask[0]), "probability", *_image_level(output))
