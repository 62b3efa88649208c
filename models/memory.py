"""How much memory a network may take for one image, and whether the image fits into it as a whole.

Networks that see a photo at its own size need memory in proportion to its pixels. Each of them has a `MemoryPolicy`:
what a pass over the whole takes (`Cost`, measured) and in which tiles it sees a photo that is too large for that; the
decision is kept with the result. All other networks of this package see at most 1024 x 1024 pixels at once, whatever
the photo: they resize it (MPC, MVSS-Net, Mesorch, SparseViT, ForMa, SAFIRE, FOCAL, HiFi-Net's detection weights) or see
it in tiles of a fixed size (IF-OSN, EITLNet and Noiseprint by their authors' own procedure, IML-ViT, SPAN). What a
network of another project (`onnx:FILE`, `torchscript:FILE`) needs at a photo's own size is not known here.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from models.device import Device, compute_device

if TYPE_CHECKING:
    import torch

    from models.deep.parts.tiles import Tiling

VARIABLE = "BENCH_MEMORY_GB"
GB = 1e9
STITCHING_BYTES = 64  # per pixel: the network's input, and the maps that are stitched together from tiles
SHARE = 0.6  # of the free memory; the rest is for weights, the interpreter, and estimates that are too low
MEMBERSHIP, CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


class MemoryLimitError(RuntimeError):
    """The memory that may be used is stated wrongly, or not enough for the smallest step."""


@dataclass(frozen=True)
class Cost:
    """Bytes that one pass adds at its peak, besides the weights: `fixed`, and `per_pixel` for each pixel.

    Measured with random weights on a CPU of one thread (see `bench.training.tools.network_memory`, which adds up the
    tensors of any size).
    """

    per_pixel: float
    fixed: float = 0.0

    def of(self, height: int, width: int) -> float:
        """Bytes for an image of this size seen as a whole."""
        return self.fixed + self.per_pixel * height * width

    def in_tiles(self, height: int, width: int, side: int) -> float:
        """Bytes for the same in tiles of at most this side, whose results are stitched together."""
        return self.of(min(height, side), min(width, side)) + STITCHING_BYTES * height * width


class Decision(NamedTuple):
    """How a photo is seen: in these tiles, or as a whole (None).

    extras: what the score map keeps of it. "seen": "whole", or the tiles in words. "whole_gb": estimate for the whole
    photo; "budget_gb": what it may take.
    """

    tiling: Tiling | None
    extras: dict[str, object]


@dataclass(frozen=True)
class MemoryPolicy:
    """How a network sees photos at their own size.

    cost: of a pass over the whole.
    tiling: for a photo that does not fit; None where nothing but the whole gives the method's result.
    """

    cost: Cost
    tiling: Tiling | None = None

    def decide(self, height: int, width: int, available: float, name: str) -> Decision:
        """For a photo of this size and `available` bytes, on which alone the decision depends.

        Raises:
            MemoryLimitError: where they are not enough; `name` is the localizer's, for the message.
        """
        whole = needed = self.cost.of(height, width)
        tiling = words = None
        if whole > available:
            tiling, words = self.tiling, "and tiles would not give the same"
        if tiling is not None:
            needed, words = self.cost.in_tiles(height, width, tiling.side), f"even in tiles of {tiling.side}"
        if needed > available:
            raise MemoryLimitError(
                f"{name} needs {needed / GB:.3g} GB for {width} x {height} pixels {words}, and {available / GB:.3g} GB "
                "may be used; free memory, run fewer workers, or set BENCH_MEMORY_GB"
            )
        seen = "whole" if tiling is None else str(tiling)
        return Decision(tiling, {"seen": seen, "whole_gb": round(whole / GB, 2), "budget_gb": round(available / GB, 2)})


def budget(device: torch.device | Device, memory_gb: float | None = None) -> float:
    """Bytes that one pass may take: memory_gb, else $BENCH_MEMORY_GB, else SHARE of what is free on the device.

    Raises:
        MemoryLimitError: where what was given is not a number above 0.
    """
    given, origin = (os.environ.get(VARIABLE), VARIABLE) if memory_gb is None else (memory_gb, "memory_gb")
    if given is None:
        return SHARE * available(device)
    try:
        number = float(given)
    except ValueError:
        number = math.nan
    if not number > 0:
        raise MemoryLimitError(f"{origin} is {given!r}; it must be a number of GB above 0, e.g. 4")
    return number * GB


def available(device: torch.device | Device) -> float:
    """Bytes free on a GPU; on the CPU those that the system and the limits of this process's control groups leave."""
    if device.type == "cuda":
        import torch

        device = compute_device(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    return max(0.0, min([_free_in_system(), *_free_in_groups()]))


def share_gb(workers: int, device: Device) -> float:
    """GB for each of `workers` localizers on a device, as `models.build` takes them (`memory_gb`).

    A number in $BENCH_MEMORY_GB is what each worker may take: it is not divided.
    """
    return budget(device) / GB if VARIABLE in os.environ else round(budget(device) / workers / GB, 2)


def _free_in_system() -> float:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2  # what is free is not known here


def _free_in_groups() -> Iterator[float]:
    """What each limited control group that this process is in leaves (Linux, both versions of control groups)."""
    with contextlib.suppress(OSError):
        for line in MEMBERSHIP.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                root, limit, used, cache = CGROUPS, "memory.max", "memory.current", "inactive_file"
            elif "memory" in controllers.split(","):
                root, limit = CGROUPS / "memory", "memory.limit_in_bytes"
                used, cache = "memory.usage_in_bytes", "total_inactive_file"
            else:
                continue
            own = root / path.lstrip("/")
            for group in [own, *own.parents]:
                with contextlib.suppress(OSError, ValueError, KeyError):  # no limit is the word "max"
                    statistics = dict(row.split() for row in (group / "memory.stat").read_text().splitlines())
                    spent = int((group / used).read_text()) - int(statistics[cache])  # files in memory can be dropped
                    yield int((group / limit).read_text()) - spent
                if group == root:
                    break
