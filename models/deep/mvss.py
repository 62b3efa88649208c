"""MVSS-Net: one ResNet for edges on the pixels, one on a learned noise residual, fused by dual attention."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import WeightFile, register
from models.convolution import convolve
from models.deep.parts.bayar import BayarConv2d
from models.deep.parts.imagenet import normalized
from models.deep.parts.resnet import ResNet50
from models.deep.parts.sobel import SobelNorm, edge_gate
from models.image import ForensicImage, ScoreMap
from models.network import NetworkLocalizer, square_tensor, to_array

INPUT_SIZE = 512
GREY_OF_BGR = (0.1140, 0.5870, 0.2989)


class MVSSNet(nn.Module):
    """Edge logits (B, 1, H/4, W/4) and segmentation logits (B, 1, H, W) of (B, 3, H, W), channels B, G, R.

    H and W are multiples of 16. width: channels of the ResNets' first layer.
    """

    def __init__(self, width: int = 64):
        super().__init__()
        self.model = ResNet50(width=width)
        stages = [4 * width * 2**stage for stage in range(4)]
        for stage, channels in enumerate(stages, 1):
            setattr(self, f"erb_db_{stage}", EdgeResidualBlock(channels))
        for step in (1, 2, 3):
            setattr(self, f"erb_trans_{step}", EdgeResidualBlock(1))
        for stage, channels in enumerate(stages, 1):
            setattr(self, f"sobel_x{stage}", SobelNorm(channels, "x"))
            setattr(self, f"sobel_y{stage}", SobelNorm(channels, "y"))
        self.noise_extractor = NoiseExtractor(width)
        self.constrain_conv = BayarConv2d(1, 3)
        self.head = DualAttentionHead(2 * stages[-1])

    @classmethod
    def tiny(cls) -> MVSSNet:
        return cls(width=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.model(x)
        logits = self.head(self.both_views(x, features))
        return self.edges(features), F.interpolate(logits, x.shape[2:], mode="bilinear", align_corners=True)

    def both_views(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """(B, 64 * width, H/16, W/16): last features of the pixels and of the noise residual of their grey value."""
        weights = x.new_tensor(GREY_OF_BGR)[:, None, None]
        residual = self.constrain_conv((x * weights).sum(1, keepdim=True))
        return torch.cat([features[-1], self.noise_extractor(residual)], 1)

    def edges(self, features: list[Tensor]) -> Tensor:
        """Edge logits (B, 1, H/4, W/4), from fine to coarse features."""
        found = [self._edge_of(stage, x) for stage, x in enumerate(features, 1)]
        total = found[0]
        for step, coarser in enumerate(found[1:], 1):
            factor = 2 if step == 1 else 4
            total = total + F.interpolate(coarser, scale_factor=factor, mode="bilinear", align_corners=True)
            total = getattr(self, f"erb_trans_{step}")(total, rectified=step < 3)
        return total

    def _edge_of(self, stage: int, x: Tensor) -> Tensor:
        gated = edge_gate(x, getattr(self, f"sobel_x{stage}"), getattr(self, f"sobel_y{stage}"))
        return getattr(self, f"erb_db_{stage}")(gated)


class NoiseExtractor(nn.Module):
    """The last features of a second ResNet-50."""

    def __init__(self, width: int):
        super().__init__()
        self.model = ResNet50(width=width)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)[-1]


class EdgeResidualBlock(nn.Module):
    """To one channel by a 1 x 1 convolution, then two 3 x 3 convolutions around a shortcut."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 1, 1)
        self.conv2 = nn.Conv2d(1, 1, 3, padding=1)
        self.bn = nn.BatchNorm2d(1)
        self.conv3 = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor, rectified: bool = True) -> Tensor:
        x = self.conv1(x)
        x = x + self.conv3(convolve(x, self.conv2, self.bn, "relu"))
        return F.relu(x) if rectified else x


class DualAttentionHead(nn.Module):
    """Attention between positions and between channels, summed (Fu et al., CVPR 2019, section 3); one logit."""

    def __init__(self, channels: int):
        super().__init__()
        inner = channels // 4
        self.conv_p1 = ConvNormRelu(channels, inner)
        self.conv_c1 = ConvNormRelu(channels, inner)
        self.pam = PositionAttention(inner)
        self.cam = ChannelAttention()
        self.conv_p2 = ConvNormRelu(inner, inner)
        self.conv_c2 = ConvNormRelu(inner, inner)
        self.out = nn.Sequential(nn.Dropout(0.1), nn.Conv2d(inner, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        by_position = self.conv_p2(self.pam(self.conv_p1(x)))
        by_channel = self.conv_c2(self.cam(self.conv_c1(x)))
        return self.out(by_position + by_channel)


class ConvNormRelu(nn.Sequential):
    """3 x 3 convolution, batch normalization, ReLU."""

    def __init__(self, channels: int, out: int):
        super().__init__(nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, *self, "relu")


class PositionAttention(nn.Module):
    """Self-attention between the positions of a feature map (DANet, Fu et al., CVPR 2019)."""

    def __init__(self, channels: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(1))
        self.conv_b = nn.Conv2d(channels, channels // 8, 1)
        self.conv_c = nn.Conv2d(channels, channels // 8, 1)
        self.conv_d = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (conv(x).flatten(2) for conv in (self.conv_b, self.conv_c, self.conv_d))
        attention = (query.mT @ key).softmax(-1)
        return self.alpha * (value @ attention.mT).view_as(x) + x


class ChannelAttention(nn.Module):
    """Self-attention between the channels of a feature map (DANet, Fu et al., CVPR 2019)."""

    def __init__(self):
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        channels = x.flatten(2)
        likeness = channels @ channels.mT
        attention = (likeness.amax(-1, keepdim=True) - likeness).softmax(-1)  # the less alike, the more weight
        return self.beta * (attention @ channels).view_as(x) + x


def network_input(rgb: np.ndarray, size: int = INPUT_SIZE) -> Tensor:
    """Float32 (1, 3, size, size) as `MVSSNet` takes it, of uint8 (H, W, 3) RGB; the aspect ratio is not kept.

    The authors read with OpenCV and do not swap the channels: the statistics of R, G and B are applied to B, G and R.
    """
    return normalized(square_tensor(np.ascontiguousarray(rgb[:, :, ::-1]), size).contiguous())


class MVSSNetLocalizer(NetworkLocalizer):
    """Probability of forgery; the image score is its maximum, as in the authors' evaluation.

    The authors' map has 8 bits before it is brought back to the image's size; here it keeps its precision.
    """

    make_network = MVSSNet

    def preprocess(self, image: ForensicImage) -> Tensor:
        return network_input(image.rgb)

    def postprocess(self, output: tuple[Tensor, Tensor], image: ForensicImage) -> ScoreMap:
        probability = to_array(output[1].sigmoid()[0, 0])
        return ScoreMap(probability, "probability", float(probability.max()))


_CARD = {
    "paper": "Chen et al., Image Manipulation Detection by Multi-View Multi-Scale Supervision, ICCV 2021",
    "year": 2021,
    "summary": "Edges on ResNet features of the pixels, and a learned noise residual, fused by dual attention",
    "licence": "none stated by the authors (code and weights)",
    "groups": ("deep",),
}
_PAGE = "https://drive.google.com/drive/folders/1CztGkd91xF1QqEXuc2n8rVDTBJ7X695U"


@register(
    "mvss-net",
    title="MVSS-Net, the authors' model trained on CASIA v2",
    trained_on=("casia2",),
    weights=(WeightFile("mvssnet_casia.pt", _PAGE, "none stated by the authors"),),
    **_CARD,
)
class MVSSNetCasia(MVSSNetLocalizer):
    """The checkpoint that the authors' scripts use."""


@register(
    "mvss-net-defacto",
    title="MVSS-Net, the authors' model trained on DEFACTO-84k",
    trained_on=("defacto",),
    weights=(WeightFile("mvssnet_defacto.pt", _PAGE, "none stated by the authors"),),
    **_CARD,
)
class MVSSNetDefacto(MVSSNetLocalizer):
    """The authors' second checkpoint."""
