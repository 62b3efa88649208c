"""Estimates the memory that networks take for a photo of any size, without computing anything.

`python -m bench.training.tools.network_memory NAME HEIGHT WIDTH` prints the largest sum of tensors alive at once in a
pass over the whole. What a process takes beyond that (buffers of convolutions, pieces that the allocator keeps) must
be measured; `Cost` of each localizer covers both.
"""

from __future__ import annotations

import sys
import weakref

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import models
from bench.training.tools.network_sizes import OTHERS
from models.deep.catnet import VOLUME_PLANES


class Alive(TorchDispatchMode):
    """Bytes of the tensors that exist, as far as they were made inside; `peak` is the most so far."""

    def __init__(self):
        super().__init__()
        self.peak = self._now = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
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
    """Bytes of a pass over an image of this size."""
    make = OTHERS.get(name) or models.find(name).make_network
    with FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode():
        network = make().eval()
        with Alive() as alive:
            inputs = [torch.empty(1, 3, height, width)]
            if name == "catnet-v2":
                inputs += [torch.empty(1, VOLUME_PLANES, height, width), torch.empty(1, 1, 8, 8)]
            network(*inputs)
    return alive.peak


if __name__ == "__main__":
    print(f"{peak(sys.argv[1], *map(int, sys.argv[2:4])) / 1e9:.2f} GB")
