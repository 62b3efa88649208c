"""Estimate the memory that a network needs for a photo of any size, without computing anything.

    python -m bench.training.tools.network_memory NAME HEIGHT WIDTH

prints the largest sum of tensors alive at once in a forward pass of the whole photo. What a process needs beyond that
(buffers of convolutions, memory that the allocator keeps) must be measured; `Cost` of each localizer covers both.
"""

from __future__ import annotations

import argparse
import weakref
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.training.tools.network_sizes import networks
from bench.usage import positive_int
from models.convolution import fused_convolution
from models.deep.catnet import VOLUME_PLANES


class Alive(TorchDispatchMode):
    """Counts the bytes of the tensors that were made inside the context and still exist.

    Attributes:
        peak: the most so far.
    """

    def __init__(self) -> None:
        """Nothing is alive yet."""
        super().__init__()
        self.peak = self._now = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count what an operation returns."""
        found = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        self.peak = max(self.peak, self._now)
        return found

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self._now += storage.nbytes()
            weakref.finalize(storage, self._drop, key)

    def _drop(self, key: int) -> None:
        self._now -= self._sizes.pop(key)


def peak(name: str, height: int, width: int) -> int:
    """Bytes that a forward pass of an image of this size needs."""
    make = networks()[name]
    fused_convolution(torch.float32)  # tried by computing, which tensors without values cannot
    with FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode():
        network = make().eval()
        with Alive() as alive:
            inputs = [torch.empty(1, 3, height, width)]
            if name == "catnet-v2":
                inputs += [torch.empty(1, VOLUME_PLANES, height, width), torch.empty(1, 1, 8, 8)]
            network(*inputs)
    return alive.peak


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(networks()), metavar="NAME", help="a registered network")
    parser.add_argument("height", type=positive_int, help="of the photo, in pixels")
    parser.add_argument("width", type=positive_int, help="of the photo, in pixels")
    chosen = parser.parse_args()
    print(f"{peak(chosen.name, chosen.height, chosen.width) / 1e9:.2f} GB")
