"""What localizers with one network and one checkpoint file have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from models import Localizer
from models.checkpoint import load_strictly, read_checkpoint, registered_file
from models.device import compute_device


class NetworkLocalizer(Localizer):
    """Loads `make_network()` strictly from the given weights, else from the card's first file.

    Raises WeightsMissing where that file is absent and WeightsError where it does not fit.
    """

    make_network: Callable[[], nn.Module]
    read = staticmethod(read_checkpoint)

    def __init__(self, weights: str | os.PathLike | Mapping[str, Tensor] | None = None, device: str = "cpu"):
        self._device = compute_device(device)
        checkpoint = self.read(registered_file(self.card) if weights is None else weights)
        with torch.device("meta"):  # no time is spent on initial values
            network = self.make_network()
        load_strictly(network, checkpoint)
        self.network = network.to(self._device).eval()
        self.weights_digest = checkpoint.digest
