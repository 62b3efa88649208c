"""HRNet: branches at four resolutions side by side that exchange features (Wang et al., TPAMI 2021, section 3).

The forms that forgery localizers use differ in width, depth, stride of the stem, branches per stage, and in how
a coarse feature map is enlarged when it is added to a finer one. Tensor names are those of the released checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.convolution import ConvNorm, convolve
from models.deep.parts.resample import Aligned, centre_aligned, corner_aligned, resampled, sampled
from models.deep.parts.resnet import Bottleneck
from models.deep.parts.tiles import Place, Tiling, pieces

STEM_CHANNELS = 64
STRIP_PIXELS = 2**18  # of one strip of a large image; 256 MB for each of the widest maps
HALO = 16  # rows above and below a strip: six 3 x 3 convolutions at full size at most, or three of stride 2

Enlarge = Callable[[Tensor, tuple[int, int]], Tensor]
ENLARGE: dict[str, Enlarge] = {
    "bilinear": partial(F.interpolate, mode="bilinear", align_corners=False),
    "corners": partial(F.interpolate, mode="bilinear", align_corners=True),
    "nearest": partial(F.interpolate, mode="nearest"),
}
ALIGNED: dict[str, Aligned] = {"bilinear": centre_aligned, "corners": corner_aligned}


def _shortcut(channels: int, out: int) -> ConvNorm | None:
    return None if channels == out else ConvNorm(channels, out, 1, rectified=False)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions around a shortcut."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample = _shortcut(channels, out)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = convolve(x, self.conv1, self.bn1, "relu")
        return F.relu(convolve(x, self.conv2, self.bn2) + shortcut)


def basic_blocks(channels: int, out: int, count: int) -> nn.Sequential:
    """`count` basic blocks, the first of which goes from `channels` to `out` channels."""
    return nn.Sequential(*(BasicBlock(channels if i == 0 else out, out) for i in range(count)))


class HighResolutionModule(nn.Module):
    """Basic blocks on every branch, then each of the first `outputs` branches receives the sum of all branches.

    widths: channels of the branches, finest first. blocks: basic blocks per branch. enlarge: key of ENLARGE.
    """

    def __init__(self, widths: Sequence[int], blocks: int, enlarge: str, outputs: int):
        super().__init__()
        self.branches = nn.ModuleList(basic_blocks(width, width, blocks) for width in widths)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_exchange(widths, source, target) for source in range(len(widths)))
            for target in range(outputs)
        )
        self.form = enlarge

    def forward(self, features: list[Tensor], place: Place | None = None) -> list[Tensor]:
        """place: of the finest branch, where the features are those of a tile."""
        features = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        fused = []
        for target, exchanges in enumerate(self.fuse_layers):
            total = features[target]
            for source, exchange in enumerate(exchanges):
                if source == target:
                    continue
                x = exchange(features[source])
                if source > target and place is None:
                    x = ENLARGE[self.form](x, total.shape[2:])
                elif source > target:
                    coarse, fine = (tuple(piece.at(2**level) for piece in place) for level in (source, target))
                    x = resampled(x, coarse, fine, ALIGNED[self.form])
                total = total + x
            fused.append(F.relu(total))
        return fused


def _exchange(widths: Sequence[int], source: int, target: int) -> nn.Module | None:
    """The layers that bring branch `source` to the channels, and down to the stride, of branch `target`."""
    if source == target:
        return None
    if source > target:
        return ConvNorm(widths[source], widths[target], 1, rectified=False)
    inner = [ConvNorm(widths[source], widths[source], 3, 2) for _ in range(target - source - 1)]
    return nn.Sequential(*inner, ConvNorm(widths[source], widths[target], 3, 2, rectified=False))


def stage(widths: Sequence[int], modules: int, blocks: int, enlarge: str, outputs: int | None = None) -> nn.Sequential:
    """`modules` modules after each other; the last one yields `outputs` branches, all where None."""
    every = len(widths)
    yielded = [every] * (modules - 1) + [every if outputs is None else outputs]
    return nn.Sequential(*(HighResolutionModule(widths, blocks, enlarge, count) for count in yielded))


def transition(before: Sequence[int], after: Sequence[int]) -> nn.ModuleList:
    """What lies between two stages: a convolution where a branch's width changes, new branches from the coarsest."""
    layers: list[nn.Module | None] = []
    for branch, width in enumerate(after):
        steps = branch - len(before) + 1
        if steps > 0:
            inner = [ConvNorm(before[-1], before[-1], 3, 2) for _ in range(steps - 1)]
            layers.append(nn.Sequential(*inner, ConvNorm(before[-1], width, 3, 2)))
        else:
            layers.append(None if before[branch] == width else ConvNorm(before[branch], width, 3))
    return nn.ModuleList(layers)


def pass_on(layers: Iterable[nn.Module | None], features: list[Tensor]) -> list[Tensor]:
    """The branches of the next stage, from those of the last one through a `transition`."""
    last = len(features) - 1
    sources = [features[min(branch, last)] for branch in range(len(layers))]
    return [x if layer is None else layer(x) for layer, x in zip(layers, sources, strict=True)]


class HRNet(nn.Module):
    """The backbone: (B, 3, H, W) to one feature map per branch, finest first.

    widths: channels of the four branches. modules: high-resolution modules of stages 2, 3 and 4. blocks: residual
    blocks of stage 1 and of every branch in a module. branches: how many of the branches stages 2, 3 and 4 have.
    stem_stride: of each of the stem's two convolutions; the branches' strides are its square times 1, 2, 4 and 8.
    enlarge: key of ENLARGE. outputs: how many branches are yielded.
    """

    def __init__(
        self,
        widths: Sequence[int],
        modules: tuple[int, int, int],
        blocks: int,
        *,
        branches: tuple[int, int, int] = (2, 3, 4),
        stem_stride: int = 2,
        enlarge: str = "bilinear",
        outputs: int = 4,
    ):
        super().__init__()
        self.widths = tuple(widths)
        self._add_stem(stem_stride)
        wide = 4 * STEM_CHANNELS
        inner = (STEM_CHANNELS, STEM_CHANNELS, wide)
        self.layer1 = nn.Sequential(*(Bottleneck(STEM_CHANNELS if i == 0 else wide, inner) for i in range(blocks)))
        two, three, four = (self.widths[:count] for count in branches)
        self.transition1 = transition([wide], two)
        self.stage2 = stage(two, modules[0], blocks, enlarge)
        self.transition2 = transition(two, three)
        self.stage3 = stage(three, modules[1], blocks, enlarge)
        self.transition3 = transition(three, four)
        self.stage4 = stage(four, modules[2], blocks, enlarge, outputs)

    def _add_stem(self, stride: int) -> None:
        self.conv1 = nn.Conv2d(3, STEM_CHANNELS, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS)
        self.conv2 = nn.Conv2d(STEM_CHANNELS, STEM_CHANNELS, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(STEM_CHANNELS)

    def stem(self, x: Tensor, place: Place | None = None) -> Tensor:
        """(B, 3, H, W) to (B, 64, H / stride^2, W / stride^2)."""
        return convolve(convolve(x, self.conv1, self.bn1, "relu"), self.conv2, self.bn2, "relu")

    def first_stage(self, x: Tensor, place: Place | None = None) -> list[Tensor]:
        """What stage 2 starts from; on the way there lie the widest maps, 256 channels at the stem's stride."""
        return self.branch(self.stem(x, place))

    def branch(self, x: Tensor) -> list[Tensor]:
        """From what the stem yields to what stage 2 starts from."""
        return pass_on(self.transition1, [self.layer1(x)])

    def forward(self, x: Tensor, place: Place | None = None) -> list[Tensor]:
        """place: where x is a tile of an image, what it sees of it; then stem_stride is 1.

        What a tile yields equals what the whole yields there, up to rounding, as far from its inner borders as
        convolutions reach: coarse maps are enlarged as those of the whole are.
        """
        features = _through(self.stage2, self.first_stage(x, place), place)
        features = _through(self.stage3, pass_on(self.transition2, features), place)
        return _through(self.stage4, pass_on(self.transition3, features), place)


def _through(modules: Iterable[HighResolutionModule], features: list[Tensor], place: Place | None) -> list[Tensor]:
    for module in modules:
        features = module(features, place)
    return features


def in_strips(function: Callable[[Tensor], list[Tensor]], x: Tensor) -> list[Tensor]:
    """`function(x)`, maps at strides 1, 2, 4 ..., in inference of a large image strip by strip.

    This gives what the whole image gives, up to rounding, in less memory: that of the maps themselves. The function
    consists of convolutions that reach at most HALO rows.
    """
    height, width = x.shape[2:]
    rows = max(HALO, STRIP_PIXELS // width // HALO * HALO)
    if rows >= height or torch.is_grad_enabled():
        return function(x)
    maps: list[Tensor] = []
    for strip in pieces(height, rows, HALO):
        for level, seen in enumerate(function(x[:, :, strip.seen])):
            part = strip.at(2**level)
            if len(maps) == level:
                maps.append(seen.new_empty(*seen.shape[:2], part.whole, seen.shape[3]))
            maps[level][:, :, part.kept] = seen[:, :, part.middle]
    return maps


def head_features(backbone: HRNet, x: Tensor, side: int, tiling: Tiling | None = None) -> list[Tensor]:
    """Features of a backbone of stem stride 1, resampled with aligned corners to side, side / 2, side / 4, ...

    tiling: of a large image, None to see it as a whole.
    """
    sides = [side >> level for level in range(len(backbone.widths))]
    if tiling is not None:
        return sampled(backbone, x, tiling, sides, corner_aligned)
    return [ENLARGE["corners"](features, (side, side)) for side, features in zip(sides, backbone(x), strict=True)]
