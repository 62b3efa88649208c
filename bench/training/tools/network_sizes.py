"""Count parameters and operations of the networks on the meta device.

    python -m bench.training.tools.network_sizes

writes models/sizes.csv, from which the cards are filled.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import models
from bench.files import atomic
from models.mpc.network import MPC

TABLE = Path(models.__file__).with_name("sizes.csv")
PHOTO = 512


# Networks whose form is in their checkpoint.
OTHERS: dict[str, Callable[[], nn.Module]] = {"mpc": lambda: MPC("small", "catnet")}
# Shapes of the network's inputs for a photo of 512 x 512, where they are not (1, 3, 512, 512).
INPUTS: dict[str, tuple[tuple[int, ...], ...]] = {
    "iml-vit": ((1, 3, 1024, 1024),),
    "iml-vit-casia2": ((1, 3, 1024, 1024),),
    "iml-vit-catnet": ((1, 3, 1024, 1024),),
    "focal": ((1, 3, 1024, 1024),),
    "focal-hrnet": ((1, 3, 1024, 1024),),
    "focal-vit": ((1, 3, 1024, 1024),),
    "hifi-net": ((1, 3, 256, 256),),
    "noiseprint": ((1, 1, PHOTO, PHOTO),),
    "catnet-v2": ((1, 3, PHOTO, PHOTO), (1, 21, PHOTO, PHOTO), (1, 1, 8, 8)),
}
NOT_COUNTED = {"safire"}  # its decoder runs once per point, and how often depends on a setting


def networks() -> dict[str, Callable[[], nn.Module]]:
    """Name of a localizer -> what builds its network."""
    found = {card.name: getattr(models.find(card.name), "make_network", None) for card in models.cards()}
    return {name: make for name, make in found.items() if make is not None} | OTHERS


def built(name: str) -> nn.Module:
    """The network on the meta device."""
    with torch.device("meta"):
        return networks()[name]().eval()


def parameters(network: nn.Module) -> int:
    """Number of values that are trained."""
    return sum(value.numel() for value in network.parameters())


def gflops(name: str, network: nn.Module) -> float | None:
    """Operations for a photo of 512 x 512, in 10^9; None where the number depends on a setting."""
    if name in NOT_COUNTED:
        return None
    shapes = INPUTS.get(name, ((1, 3, PHOTO, PHOTO),))
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(*(torch.empty(shape, device="meta") for shape in shapes))
    return round(counter.get_total_flops() / 1e9, 1)


def write() -> None:
    """Write the table."""
    with atomic(TABLE, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["model", "parameters", "gflops_512"])
        for name in sorted(networks()):
            network = built(name)
            count = gflops(name, network)
            writer.writerow([name, parameters(network), "" if count is None else count])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    write()
