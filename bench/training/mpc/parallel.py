"""Training by several processes, one per GPU, as torchrun starts them.

    torchrun --nproc-per-node 2 -m -- bench train mpc --device cuda ...

Each process computes the gradient of its share of every batch; DistributedDataParallel averages them. Batch
normalization uses the statistics of each process's own share, the first process's running statistics count.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from models.device import DeviceError, compute_device

PATIENCE = datetime.timedelta(hours=2)  # how long the others wait for what the first process alone does
Made = TypeVar("Made")


@dataclass(frozen=True)
class Processes:
    """The processes of one training.

    Attributes:
        rank: number of this one, 0 to count - 1.
        count: how many there are.
        device: where this one computes.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, logs and validates."""
        return self.rank == 0

    def share(self, batch: int) -> int:
        """How many samples of a batch each process takes."""
        return batch // self.count

    def parallel(self, module: nn.Module, partly: bool = False) -> nn.Module:
        """The module with its gradients averaged over the processes after each backward pass.

        Before each forward pass, all processes get the first one's running statistics.

        Args:
            module: what is trained.
            partly: the loss may not depend on all parameters.
        """
        if self.count == 1:
            return module
        return DistributedDataParallel(module, find_unused_parameters=partly)

    def share_statistics(self, module: nn.Module) -> None:
        """Give every process the first one's running statistics of a module that is not trained."""
        if self.count == 1:
            return
        buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
        flat = torch.cat([buffer.flatten() for buffer in buffers])
        dist.broadcast(flat, 0)
        for buffer, values in zip(buffers, flat.split([buffer.numel() for buffer in buffers]), strict=True):
            buffer.copy_(values.view_as(buffer))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in one of the processes; all of them get the same answer."""
        if self.count == 1:
            return flag
        flags = torch.tensor([float(flag)], device=self.device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags.item())

    def from_first(self, value: float) -> float:
        """The first process's value."""
        if self.count == 1:
            return value
        values = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(values, 0)
        return values.item()

    def made_by_first(self, make: Callable[[], Made]) -> Made:
        """What the first process makes, copied (pickled) to the others, which do not make it themselves."""
        if self.count == 1:
            return make()
        made: list[Any] = [make() if self.first else None]
        dist.broadcast_object_list(made, 0, device=self.device)
        return made[0]

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.count > 1:
            dist.barrier()


def alone(device: torch.device) -> Processes:
    """The only process of a training."""
    return Processes(0, 1, device)


@contextmanager
def joined_processes(device: str) -> Iterator[Processes]:
    """This process among those that torchrun started, or alone if torchrun did not start it.

    Inside another such context the processes stay joined: they cannot part and join again.

    Args:
        device: "cpu", "cuda" (with torchrun: the GPU of the process's local rank) or "cuda:1".

    Raises:
        DeviceError: there is no such device, or several processes would share one.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield alone(compute_device(device))
        return
    if device.startswith("cuda:"):
        raise DeviceError(f"{count} processes cannot share {device}; write --device cuda, each takes a GPU of its own")
    own = compute_device(f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    outermost = not dist.is_initialized()
    if outermost:
        dist.init_process_group("nccl" if own.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Processes(dist.get_rank(), count, own)
    finally:
        if outermost:
            dist.destroy_process_group()
