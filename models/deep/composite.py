"""Localizers whose network was released as several files, one for each of its parts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from models import Localizer
from models.checkpoint import load_strictly, read_checkpoint, registered_file
from models.device import compute_device


class CompositeLocalizer(Localizer):
    """Loads each child of `make_network()` strictly from one of the card's files, which are in the same order.

    weights: None for the registered files, a folder that holds them (their names on the card, without the folder that
    those begin with), or one file or state dict for the network as a whole.

    Raises WeightsMissing where a registered file is absent and WeightsError where one does not fit.
    """

    make_network: Callable[[], nn.Module]

    def __init__(self, weights: str | os.PathLike | Mapping[str, Tensor] | None = None, device: str = "cpu"):
        self._device = compute_device(device)
        with torch.device("meta"):
            network = self.make_network()
        if weights is None:
            files = [registered_file(replace(self.card, weights=(file,))) for file in self.card.weights]
            self.weights_digest = _load_parts(network, files)
        elif not isinstance(weights, Mapping) and Path(weights).is_dir():
            files = [Path(weights, *(Path(file.name).parts[1:] or [file.name])) for file in self.card.weights]
            self.weights_digest = _load_parts(network, files)
        else:
            checkpoint = read_checkpoint(weights)
            load_strictly(network, checkpoint)
            self.weights_digest = checkpoint.digest
        self.network = network.to(self._device).eval()


def _load_parts(network: nn.Module, files: list[Path]) -> str:
    """Load one file into each child; returns the SHA-256 over the files' digests."""
    digest = hashlib.sha256()
    for part, file in zip(network.children(), files, strict=True):
        checkpoint = read_checkpoint(file)
        load_strictly(part, checkpoint)
        digest.update(checkpoint.digest.encode())
    return digest.hexdigest()
