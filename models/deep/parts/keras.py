"""Weights that were saved by Keras."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from models import WeightsError
from models.checkpoint import Checkpoint, read_checkpoint

Convert = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def read_keras(weights: str | os.PathLike | Mapping[str, Tensor], convert: Convert) -> Checkpoint:
    """As `read_checkpoint`; a file that ends in .h5 is read by h5py and its tensors go through `convert`.

    convert: from tensors called "layer/weight" (the innermost layer, without ":0") to the network's state dict.

    Raises WeightsError, also where h5py is not installed or the file lacks a tensor.
    """
    if isinstance(weights, Mapping) or Path(weights).suffix != ".h5":
        return read_checkpoint(weights)
    tensors = keras_tensors(Path(weights))
    try:
        tensors = convert(tensors)
    except KeyError as error:
        raise WeightsError(f"{weights}: it has no tensor {error}; the file belongs to another network") from error
    digest = hashlib.sha256(Path(weights).read_bytes()).hexdigest()
    return Checkpoint({name: value.contiguous() for name, value in tensors.items()}, digest, str(weights))


def keras_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a Keras file of any nesting by "layer/weight". Nothing in the file is executed."""
    try:
        import h5py
    except ImportError as error:
        raise WeightsError(
            f"{path}: Keras' files are read by h5py, which is not installed: pip install h5py"
        ) from error
    tensors = {}

    def keep(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer_weights/"):
            tensors["/".join(name.split("/")[-2:]).removesuffix(":0")] = torch.from_numpy(item[()]).float()

    try:
        with h5py.File(path) as file:
            file.visititems(keep)
    except OSError as error:
        raise WeightsError(f"{path}: damaged, truncated or no Keras file ({error}); fetch it again") from error
    return tensors


def convolution(kernel: Tensor) -> Tensor:
    """Keras' (height, width, in, out) as PyTorch's (out, in, height, width)."""
    return kernel.permute(3, 2, 0, 1)
