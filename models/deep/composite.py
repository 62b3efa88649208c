"""Localizers whose checkpoint comes in several files, one for each part of the network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import nn

from models.checkpoint import load_strictly, read_checkpoint, registered_file
from models.network import NetworkLocalizer, Weights, without_memory


class CompositeLocalizer(NetworkLocalizer):
    """Loads each child of the network strictly from one of the card's files, which are in the same order.

    weights: None for the registered files, a folder that holds them (their names on the card, without the folder that
    those begin with), or one file or state dict for the network as a whole.
    """

    def load(self, weights: Weights) -> tuple[nn.Module, str]:
        if weights is None:
            files = [registered_file(replace(self.card, weights=(file,))) for file in self.card.weights]
        elif not isinstance(weights, Mapping) and Path(weights).is_dir():
            files = [Path(weights, *(Path(file.name).parts[1:] or [file.name])) for file in self.card.weights]
        else:
            return super().load(weights)
        network, digest = without_memory(self.make_network), hashlib.sha256()
        for part, file in zip(network.children(), files, strict=True):
            checkpoint = read_checkpoint(file)
            load_strictly(part, checkpoint)
            digest.update(checkpoint.digest.encode())
        return network, digest.hexdigest()
