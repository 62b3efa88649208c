"""What localizers with one network and one checkpoint file have in common, and those that see images in full size."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models import Localizer
from models.checkpoint import load_strictly, read_checkpoint, registered_file
from models.deep.parts.tiles import Tiling
from models.device import compute_device
from models.memory import GB, Cost, MemoryLimitError, budget


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


class Decision(NamedTuple):
    """How an image is seen: in these tiles, or as a whole (None). extras: what the score map keeps of it.

    "seen": "whole" or the tiles in words. "whole_gb": estimate for the whole image; "budget_gb": what it may take.
    """

    tiling: Tiling | None
    extras: dict[str, object]


class NativeSizeLocalizer(Localizer):
    """Base, before the one that loads the network, of localizers whose network sees an image at its own size.

    An image that would need more memory than the budget is seen in tiles where the method allows that. Given a
    budget, the decision depends on the size of the image alone.

    memory_gb: the budget; None: see `models.memory.budget`, which is asked once, when the localizer is built.
    Raises MemoryLimitError for a number that is none, and in localize() where the budget is not enough.

    cost: of a pass over the whole, measured with random weights on a CPU of one thread (see
    `bench.training.tools.network_memory`, which adds up the tensors of any size).
    tiling: None where nothing but the whole gives the method's result.
    """

    cost: Cost
    tiling: Tiling | None

    def __init__(
        self,
        weights: str | os.PathLike | Mapping[str, Tensor] | None = None,
        device: str = "cpu",
        memory_gb: float | None = None,
    ):
        super().__init__(weights, device)
        self.memory_gb = memory_gb
        self._budget = budget(self._device, memory_gb)

    def decide(self, height: int, width: int) -> Decision:
        """For an image of this size."""
        whole = needed = self.cost.of(height, width)
        tiling = words = None
        if whole > self._budget:
            tiling, words = self.tiling, "and tiles would not give the same"
        if tiling is not None:
            needed, words = self.cost.in_tiles(height, width, tiling.side), f"even in tiles of {tiling.side}"
        if needed > self._budget:
            raise MemoryLimitError(
                f"{self.card.name} needs {needed / GB:.3g} GB for {width} x {height} pixels {words}, and "
                f"{self._budget / GB:.3g} GB may be used; free memory, run fewer workers, or set BENCH_MEMORY_GB"
            )
        seen = "whole" if tiling is None else str(tiling)
        numbers = {"whole_gb": round(whole / GB, 2), "budget_gb": round(self._budget / GB, 2)}
        return Decision(tiling, {"seen": seen} | numbers)
