"""ManTra-Net: features of manipulation traces, and how far each pixel's are from those around it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import WeightFile, register
from models.convolution import at_least_float32
from models.deep.parts.bayar import constrained
from models.deep.parts.keras import convolution, read_keras
from models.deep.parts.manipulation_trace import FIRST_WIDTH, LAYERS, RADIUS, WIDTHS, trace_features
from models.deep.parts.srm import by_channel
from models.deep.parts.tiles import Tiling, patchwise
from models.image import ForensicImage, ScoreMap
from models.memory import GB, Cost, MemoryPolicy
from models.network import NetworkLocalizer, to_array, to_tensor

PATCH = 512  # pixels a side seen at once; the 256 full-size feature maps take about 1 GB for it
WINDOWS = (7, 15, 31)
NORM_EPS = 1e-3
LEAST_DEVIATION = 1e-6
CHANNELS = 64
HIDDEN = 8
# Half the largest window, three pixels for each of the four steps of the ConvLSTM, and three for the last convolution.
DETECTOR_RADIUS = WINDOWS[-1] // 2 + 3 * (len(WINDOWS) + 1) + 3


class ManTraNet(nn.Module):
    """Probability (B, 1, H, W) of forgery for (B, 3, H, W) in 0..255, computed in patches.

    moving_statistics: normalize the features with statistics that are stored with the weights, as the Keras model
    does, and not with those of the image, as its PyTorch port does. widths: of the feature extractor's convolutions.
    channels: of the features that are compared. hidden: of the ConvLSTM's state.
    """

    def __init__(
        self,
        moving_statistics: bool = False,
        widths: Sequence[int] = WIDTHS,
        channels: int = CHANNELS,
        hidden: int = HIDDEN,
    ):
        super().__init__()
        self.IMTFE = TraceExtractor(widths)
        self.AnomalyDetector = AnomalyDetector(moving_statistics, widths[-1], channels, hidden)

    @classmethod
    def tiny(cls) -> ManTraNet:
        return cls(widths=(4,) * len(WIDTHS), channels=4, hidden=2)

    def forward(self, x: Tensor, tiling: Tiling | None = None) -> Tensor:
        """The map of a batch of photos.

        tiling: None to keep 64 features of every pixel. Else they are computed twice, for their statistics and for
            the map, and kept of one tile alone.
        """
        detector = self.AnomalyDetector
        if tiling is None:
            adapted = patchwise(self.adapted, x, PATCH, RADIUS)
            statistics = detector.statistics(*torch.var_mean(adapted, (2, 3), correction=0, keepdim=True))
            z = detector.normalize(adapted, statistics)
            return patchwise(lambda part: detector(part, statistics), z, PATCH, DETECTOR_RADIUS)
        statistics = detector.statistics(*self.moments(x, tiling))
        return tiling.apply(lambda part: detector(detector.normalize(self.adapted(part), statistics), statistics), x)

    def adapted(self, x: Tensor) -> Tensor:
        """64 features per pixel (B, 64, H, W), before they are normalized."""
        return self.AnomalyDetector.adaptation(self.IMTFE(x))

    def moments(self, x: Tensor, tiling: Tiling) -> tuple[Tensor, Tensor]:
        """Variance and mean (B, 64, 1, 1) of `adapted`, gathered tile by tile."""
        total = square = 0.0
        for rows, columns in tiling.places(*x.shape[2:]):
            seen = self.adapted(x[:, :, rows.seen, columns.seen])[:, :, rows.middle, columns.middle].double()
            total = total + seen.sum((2, 3), keepdim=True)
            square = square + seen.square_().sum((2, 3), keepdim=True)
        mean = total / x[0, 0].numel()
        return (square / x[0, 0].numel() - mean**2).clamp(min=0).to(x.dtype), mean.to(x.dtype)


class KerasManTraNet(ManTraNet):
    """With stored statistics. sizes: as of `ManTraNet`."""

    def __init__(self, **sizes):
        super().__init__(moving_statistics=True, **sizes)


class TraceExtractor(nn.Module):
    """Features (B, 256, H, W) of unit length for (B, 3, H, W) in 0..255."""

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        self.init_conv = nn.Conv2d(3, 4, 5, bias=False)
        self.BayarConv2D = nn.Conv2d(3, 3, 5, bias=False)
        self.SRMConv2D = nn.Conv2d(3, 9, 5, bias=False)
        layers = []
        for channels, out in zip((FIRST_WIDTH, *widths), widths, strict=False):
            layers += [nn.Conv2d(channels, out, 3), nn.ReLU()]
        self.middle_and_last_block = nn.ModuleList(layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        kernels = [self.init_conv.weight, self.SRMConv2D.weight, constrained(self.BayarConv2D.weight)]
        layers = [(conv.weight, conv.bias) for conv in self.middle_and_last_block[::2]]
        return trace_features(x / 255 * 2 - 1, torch.cat(kernels), layers)


class Statistics(NamedTuple):
    """Statistics of the features over the image, (B or 1, 64, 1, 1) each.

    What is subtracted from them and what they are divided by, and mean and standard deviation (at least a learned one)
    of what that gives.
    """

    shift: Tensor
    scale: Tensor
    mean: Tensor
    deviation: Tensor


class AnomalyDetector(nn.Module):
    """Deviation of the features from their means over windows and over the image, judged by a ConvLSTM."""

    def __init__(self, moving_statistics: bool, width: int, channels: int, hidden: int):
        super().__init__()
        self.sigma_F = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.adaptation = nn.Conv2d(width, channels, 1, bias=False)
        self.bnorm = MovingStatistics(channels) if moving_statistics else None
        self.conv_lstm = ConvLSTM(channels, hidden)
        self.end = nn.Sequential(nn.Conv2d(hidden, 1, 7, padding=3), nn.Sigmoid())

    def statistics(self, variance: Tensor, mean: Tensor) -> Statistics:
        """From those of the features over the image, (B, 64, 1, 1) each."""
        if self.bnorm is None:
            shift, scale = mean, (variance + NORM_EPS).sqrt()
        else:
            shift, scale = self.bnorm.running_mean, (self.bnorm.running_var + NORM_EPS).sqrt()
            shift, scale = shift[:, None, None], scale[:, None, None]
        deviation = torch.maximum(variance.sqrt() / scale, self.sigma_F + LEAST_DEVIATION)
        return Statistics(shift, scale, (mean - shift) / scale, deviation)

    def normalize(self, adapted: Tensor, of: Statistics) -> Tensor:
        """Works in place: the features are the one thing whose memory grows with the image."""
        return adapted.sub_(of.shift).div_(of.scale)

    def hidden(self, z: Tensor, of: Statistics) -> Tensor:
        """The ConvLSTM's last state (B, 8, H, W) after the windows from small to large and the image."""
        means = [*(_window_mean(z, window) for window in WINDOWS), of.mean]
        return self.conv_lstm([((m - z) / of.deviation).abs() for m in means])

    def forward(self, z: Tensor, of: Statistics) -> Tensor:
        """Probability (B, 1, H, W) from normalized features."""
        convolution, sigmoid = self.end
        return sigmoid(at_least_float32(convolution(self.hidden(z, of))))


class MovingStatistics(nn.Module):
    """Mean and variance of each channel over the training images."""

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))


def _window_mean(x: Tensor, window: int) -> Tensor:
    """Mean over window x window pixels, at the margins over those inside the image. Equals the mean of row means."""
    half = window // 2
    rows = F.avg_pool2d(x, (1, window), 1, (0, half), count_include_pad=False)
    return F.avg_pool2d(rows, (window, 1), 1, (half, 0), count_include_pad=False)


class ConvLSTM(nn.Module):
    """One layer of an LSTM whose gates are convolutions (Shi et al., NeurIPS 2015), with Keras' hard sigmoid."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.cell_list = nn.ModuleList([ConvLSTMCell(channels, hidden)])

    def forward(self, steps: list[Tensor]) -> Tensor:
        """The hidden state (B, hidden, H, W) after all steps (B, channels, H, W)."""
        (cell,) = self.cell_list
        hidden = memory = steps[0].new_zeros(len(steps[0]), cell.hidden, *steps[0].shape[2:])
        for x in steps:
            hidden, memory = cell(x, hidden, memory)
        return hidden


class ConvLSTMCell(nn.Module):
    """A long short-term memory cell whose gates are 7 x 7 convolutions."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.hidden = hidden
        self.conv = nn.Conv2d(channels + hidden, 4 * hidden, 7, padding=3)

    def forward(self, x: Tensor, hidden: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        enter, keep, content, leave = self.conv(torch.cat([x, hidden], 1)).chunk(4, 1)
        memory = _hard_sigmoid(keep) * memory + _hard_sigmoid(enter) * content.tanh()
        return _hard_sigmoid(leave) * memory.tanh(), memory


def _hard_sigmoid(x: Tensor) -> Tensor:
    """Keras' form, of slope 0.2; PyTorch's has another."""
    return (0.2 * x + 0.5).clamp(0, 1)


def from_keras(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """State dict of `KerasManTraNet` from the tensors of the authors' Keras file."""
    gates = torch.cat([tensors["cLSTM/kernel"], tensors["cLSTM/recurrent_kernel"]], 2)
    kernels = {
        "IMTFE.init_conv.weight": tensors["b1c1/regular_kernel"],
        "IMTFE.BayarConv2D.weight": tensors["b1c1/bayar_kernel"],
        "AnomalyDetector.adaptation.weight": tensors["outlierTrans/kernel"],
        "AnomalyDetector.conv_lstm.cell_list.0.conv.weight": gates,
        "AnomalyDetector.end.0.weight": tensors["pred/kernel"],
    }
    vectors = {
        "AnomalyDetector.sigma_F": tensors["glbStd/min_std"].reshape(1, -1, 1, 1),
        "AnomalyDetector.bnorm.running_mean": tensors["bnorm/moving_mean"],
        "AnomalyDetector.bnorm.running_var": tensors["bnorm/moving_variance"],
        "AnomalyDetector.conv_lstm.cell_list.0.conv.bias": tensors["cLSTM/bias"],
        "AnomalyDetector.end.0.bias": tensors["pred/bias"],
    }
    for i, layer in enumerate(LAYERS):
        kernels[f"IMTFE.middle_and_last_block.{2 * i}.weight"] = tensors[f"{layer}/kernel"]
        vectors[f"IMTFE.middle_and_last_block.{2 * i}.bias"] = tensors[f"{layer}/bias"]
    fixed = {"IMTFE.SRMConv2D.weight": by_channel()}  # no weight in Keras
    return {name: convolution(kernel) for name, kernel in kernels.items()} | vectors | fixed


_CARD = {
    "paper": "Wu et al., ManTra-Net: Manipulation Tracing Network for Detection and Localization of Image Forgeries "
    "With Anomalous Features, CVPR 2019",
    "year": 2019,
    "summary": "Features trained to tell 385 manipulations, and how they deviate from those nearby and in the image",
    "licence": "USC-ISI research licence: non-commercial, no redistribution (code and weights)",
    "groups": ("deep",),
    "trained_on": ("dresden", "kaggle-camera", "mscoco"),
}
_WEIGHTS_LICENCE = "USC-ISI research licence: non-commercial, no redistribution"


class _ManTraNetLocalizer(NetworkLocalizer):
    memory = MemoryPolicy(Cost(per_pixel=290, fixed=1.3 * GB), Tiling(576, 64))

    def preprocess(self, image: ForensicImage) -> Tensor:
        return to_tensor(image.rgb, 1).contiguous()

    def postprocess(self, output: Tensor, image: ForensicImage) -> ScoreMap:
        return ScoreMap(to_array(output[0, 0]), "probability")


@register(
    "mantranet",
    title="ManTra-Net, the authors' weights in R. Abecidan's PyTorch port",
    weights=(
        WeightFile(
            "MantraNetv4.pt",
            "https://github.com/RonyAbecidan/ManTraNet-pytorch/tree/main/MantraNet",
            _WEIGHTS_LICENCE,
            git_sha1="60549891de22793a156ea7c3ac1173fc689c8fb4",
        ),
    ),
    **_CARD,
)
class ManTraNetPort(_ManTraNetLocalizer):
    """Probability of forgery at the image's own size; features are normalized with the image's statistics.

    The network works in patches of 512 pixels, which give what the whole gives. What grows with the image are features
    whose statistics the map depends on; tiles, which do not keep them, give the same map up to rounding in twice the
    time. extras: those of `Decision`.
    """

    make_network = ManTraNet


@register(
    "mantranet-keras",
    title="ManTra-Net, the authors' Keras model",
    weights=(
        WeightFile(
            "ManTraNet_Ptrain4.h5",
            "https://github.com/ISICV/ManTraNet/tree/master/pretrained_weights",
            _WEIGHTS_LICENCE,
            git_sha1="1f46864d32778df35208c6e1ae1af511aaf33a66",
        ),
    ),
    **_CARD,
)
class ManTraNetKeras(_ManTraNetLocalizer):
    """As `ManTraNetPort`, but features are normalized with stored statistics. The .h5 file is read by h5py."""

    make_network = KerasManTraNet
    read = staticmethod(partial(read_keras, convert=from_keras))
