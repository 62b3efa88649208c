"""An HRFormer that was trained on ImageNet as the start of stage 1, e.g. `hrt_base.pth`.

The official classification checkpoints (HRNet/HRFormer, folder `cls`) hold the network under "model", beside the
optimizer and a configuration object. They name the tensors of the body as our encoder does; their classification head
(`incre_modules`, `downsamp_modules`, `final_layer`, `classifier`) has no place here, and MPC's projections (`convs`)
are not in them.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models import WeightsError
from models.checkpoint import read_checkpoint
from models.inert import read_tensors
from models.mpc.backbone import VARIANTS, HRFormer

CONTAINER = "model"
PREFIXES = ("", "module.", "backbone.", "encoder.", "module.encoder.")
PROJECTIONS = "convs."


@dataclass(frozen=True)
class Start:
    """Tensors of the encoder by name. digest: SHA-256 of the file.
    fresh: names of the encoder's tensors that the file has not. left: names of the file's that the encoder has not."""

    file: str
    digest: str
    tensors: dict[str, Tensor]
    fresh: tuple[str, ...]
    left: tuple[str, ...]

    def describe(self) -> str:
        """What is taken and what not, in one line."""
        parts = [f"{len(self.tensors)} tensors taken"]
        parts.append(f"random start for {_grouped(self.fresh)}" if self.fresh else "none left at random")
        if self.left:
            parts.append(f"not taken: {_grouped(self.left)}")
        return f"start from {self.file}: {'; '.join(parts)}"

    def apply(self, encoder: HRFormer) -> None:
        """Put the tensors into the encoder; what is fresh keeps its values."""
        encoder.load_state_dict(self.tensors, strict=False)


def read_start(path: str | os.PathLike, backbone: str) -> Start:
    """The body, and the projections where it has them, of the HRFormer in a checkpoint file; nothing is executed.

    backbone: which HRFormer it has to be, key of `backbone.VARIANTS`.
    Raises WeightsError: no such file, damaged, no checkpoint, a tensor of the body missing or misshapen.
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
    taken = {name: found[name].to(torch.get_default_dtype()) if found[name].is_floating_point() else found[name]
             for name in shapes if name in found}  # fmt: skip
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    fresh, left = (tuple(name for name in names if name not in taken) for names in (shapes, found))
    return Start(path.name, digest, taken, fresh, left)


def _read(path: Path) -> Mapping[str, Tensor]:
    if path.suffix == ".safetensors":
        return read_checkpoint(path).tensors
    kept = read_tensors(path)
    return kept.tensors if len(kept.containers) == 1 else read_tensors(path, CONTAINER).tensors


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
