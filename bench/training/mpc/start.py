"""What stage 1 starts from: an HRFormer that was trained on ImageNet, e.g. `hrt_base.pth`, or first values of our own.

The official classification checkpoints (HRNet/HRFormer, folder `cls`) hold the network under "model", next to the
optimizer and a configuration object. They name the tensors of the body as our encoder does; their classification head
(`incre_modules`, `downsamp_modules`, `final_layer`, `classifier`) is not used, and they lack MPC's projections
(`convs`).
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models import WeightsError
from models.checkpoint import read_checkpoint
from models.inert import read_tensors
from models.mpc.backbone import (
    VARIANTS,
    Bottleneck,
    FeedForward,
    HighResolutionModule,
    HRFormer,
    WindowAttention,
)
from models.mpc.head import Decoder

CONTAINER = "model"
PREFIXES = ("", "module.", "backbone.", "encoder.", "module.encoder.")
PROJECTIONS = "convs."
HEAD = "decoder."


@dataclass(frozen=True)
class Start:
    """Tensors to start from.

    Attributes:
        file: its name.
        digest: SHA-256 of the file.
        tensors: of the encoder, by name.
        fresh: names of the encoder's tensors that the file lacks.
        left: names of the file's tensors that are not used.
        head: tensors of the head, if the file has one.
    """

    file: str
    digest: str
    tensors: dict[str, Tensor]
    fresh: tuple[str, ...]
    left: tuple[str, ...]
    head: dict[str, Tensor]

    def describe(self, with_head: bool = False) -> str:
        """What is taken and what is not, in one line; with_head: `apply_head` is used, too."""
        parts = [f"{len(self.tensors) + with_head * len(self.head)} tensors taken"]
        parts.append(f"random start for {_grouped(self.fresh)}" if self.fresh else "none left at random")
        left = [name for name in self.left if not (with_head and HEAD in name)]
        if left:
            parts.append(f"not taken: {_grouped(left)}")
        return f"start from {self.file}: {'; '.join(parts)}"

    def apply(self, encoder: HRFormer) -> None:
        """Load the tensors into the encoder; what the file lacks keeps its values."""
        encoder.load_state_dict(self.tensors, strict=False)

    def apply_head(self, decoder: Decoder) -> None:
        """Load the head's tensors into the decoder.

        Raises:
            WeightsError: the file has no head, or another one.
        """
        shapes = {name: tuple(value.shape) for name, value in decoder.state_dict().items()}
        if {name: tuple(value.shape) for name, value in self.head.items()} != shapes:
            found = "another head" if self.head else "no head"
            raise WeightsError(f"{self.file} has {found}; set start_head = false in the recipe")
        decoder.load_state_dict(self.head)


def read_start(path: str | os.PathLike, backbone: str) -> Start:
    """Read the body, and the projections if there are any, of the HRFormer in a checkpoint file; executes nothing.

    Args:
        path: the file.
        backbone: which HRFormer it has to be, key of `backbone.VARIANTS`.

    Raises:
        WeightsError: no such file, damaged, no checkpoint, a tensor of the body missing or misshapen.
    """
    path = Path(path)
    found = _read(path)
    shapes = _shapes(backbone)
    prefix = max(PREFIXES, key=lambda p: sum(p + name in found for name in shapes))
    found = {name.removeprefix(prefix): value for name, value in found.items()}
    body = [name for name in shapes if not name.startswith(PROJECTIONS)]
    missing = [name for name in body if name not in found]
    misshapen = [name for name in shapes if name in found and tuple(found[name].shape) != shapes[name]]
    if missing or misshapen:
        faults = [f"{len(missing)} of {len(body)} tensors missing, first {missing[0]}"] if missing else []
        if misshapen:
            name = misshapen[0]
            faults.append(
                f"{len(misshapen)} misshapen, first {name}: {tuple(found[name].shape)} instead of {shapes[name]}"
            )
        raise WeightsError(f"{path} is no start for HRFormer-{backbone}: {'; '.join(faults)}; {_cause(found)}")
    taken = {name: _as_trained(found[name]) for name in shapes if name in found}
    head = {name.partition(HEAD)[2]: _as_trained(value) for name, value in found.items() if HEAD in name}
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    fresh, left = (tuple(name for name in names if name not in taken) for names in (shapes, found))
    return Start(path.name, digest, taken, fresh, left, head)


def forensic_start(encoder: HRFormer) -> None:
    """Set first values with which an encoder without ImageNet weights learns noise patterns in hundreds of steps."""
    blind_to_content(encoder)
    begin_with_shortcuts(encoder)


@torch.no_grad()
def begin_with_shortcuts(encoder: HRFormer) -> None:
    """Start every residual branch at zero, and every exchange between the scales at a tenth.

    By default, each of 28 branches (of the finest scale; HRFormer-Small) adds about as much as what it is added to, and
    the stem's signal drowns. With zeros (Goyal et al. 2017, arXiv 1706.02677, section 5.1) the network starts as its
    stem, transitions and projections, and grows deeper as it learns.
    """
    for module in encoder.modules():
        if isinstance(module, FeedForward):
            module.norm3.weight.zero_()
        elif isinstance(module, Bottleneck):
            module.bn3.weight.zero_()
        elif isinstance(module, WindowAttention):
            module.out_proj.weight.zero_()
        elif isinstance(module, HighResolutionModule):
            rows: Any = module.fuse_layers
            for exchange in (part for row in rows for part in row if part is not None):
                [*(m for m in exchange.modules() if isinstance(m, nn.BatchNorm2d))][-1].weight.fill_(0.1)


@torch.no_grad()
def blind_to_content(encoder: HRFormer) -> None:
    """Make the first half of the first convolution's kernels blind to intensities that are constant or change evenly.

    Their outputs contain noise, compression, interpolation and edges, which is what distinguishes cameras and edits; a
    network that starts from random kernels must learn that first (Bayar and Stamm, IEEE TIFS 2018, constrain such
    kernels throughout; here they only start so). Each 3 x 3 plane loses its projections on 1, x and y. The rest is
    enlarged tenfold, or the batch normalization that follows would treat it as rounding errors.
    """
    kernels = encoder.conv1.weight[: len(encoder.conv1.weight) // 2]
    ramp = torch.arange(3.0, device=kernels.device) - 1
    smooth = torch.stack([torch.ones(3, 3), ramp.expand(3, 3), ramp[:, None].expand(3, 3)]).flatten(1).to(kernels)
    smooth = smooth / smooth.norm(dim=1, keepdim=True)  # the three are orthogonal
    planes = kernels.flatten(2)
    kernels.copy_(10 * (planes - planes @ smooth.T @ smooth).view_as(kernels))


def _read(path: Path) -> Mapping[str, Tensor]:
    if path.suffix == ".safetensors":
        return read_checkpoint(path).tensors
    kept = read_tensors(path)
    return kept.tensors if len(kept.containers) == 1 else read_tensors(path, CONTAINER).tensors


def _as_trained(value: Tensor) -> Tensor:
    """A tensor of a file, that may hold half precision, as one to train with."""
    return value.to(torch.get_default_dtype()) if value.is_floating_point() else value


def _shapes(backbone: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in HRFormer(backbone).state_dict().items()}


def _cause(found: Mapping[str, Tensor]) -> str:
    for backbone in VARIANTS:
        shapes = _shapes(backbone)
        if all(name in found and tuple(found[name].shape) == shape for name, shape in shapes.items()
               if not name.startswith(PROJECTIONS)):  # fmt: skip
            return f'it is HRFormer-{backbone}: write backbone = "{backbone}" in the recipe, or take the other file'
    return "it is another network; wanted is e.g. hrt_base.pth of the HRFormer repository (classification, ImageNet)"


def _grouped(names: Iterable[str]) -> str:
    counts = Counter(name.partition(".")[0] for name in names)
    return ", ".join(f"{name} ({count})" for name, count in counts.items())
