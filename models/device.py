"""Where networks run: the devices that an option names, how workers are spread over them, and in which precision.

PyTorch is imported where it is used: a run without networks does not need it, and it takes longer to import than such
a run to plan.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PRECISIONS = ("float32", "tf32", "bfloat16", "auto")
# Features of a CPU with instructions that multiply in bfloat16; without them it is slower than float32.
CPU_BFLOAT16 = ("avx512_bf16", "amx_bf16", "amx_tile")


class DeviceError(RuntimeError):
    """A device that this machine does not have, or a precision that a device cannot compute in."""


@dataclass(frozen=True)
class Device:
    """A device by its name, as plans and jobs hold it; `compute_device` makes PyTorch's of it."""

    type: str
    index: int | None = None

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"


def parse_devices(text: str) -> list[Device]:
    """The devices that `--device` names.

    Args:
        text: "cpu", "cuda" (every visible GPU), "cuda:1", or "cuda:0,1" (those GPUs).

    Raises:
        DeviceError: if the text is none of these, names a GPU twice, or one that is not there.
    """
    if text == "cpu":
        return [Device("cpu")]
    import torch

    kind, _, numbers = str(text).partition(":")
    if kind != "cuda" or not numbers:
        device = compute_device(text)
        visible = range(torch.cuda.device_count() if device.type == "cuda" else 0)
        return [Device("cuda", i) for i in visible] or [Device(device.type, device.index)]
    devices = [Device("cuda", compute_device(f"cuda:{number.strip()}").index) for number in numbers.split(",")]
    if len(set(devices)) < len(devices):
        raise DeviceError(f"device {text!r} names a GPU twice")
    return devices


def compute_device(name: str | Device | torch.device) -> torch.device:
    """The torch device called "cpu", "cuda" or "cuda:1".

    Raises:
        DeviceError: if it is unknown or absent.
    """
    import torch

    try:
        device = torch.device(str(name))
    except RuntimeError as error:
        raise DeviceError(f'unknown device {str(name)!r}; use "cpu", "cuda", "cuda:0" or "cuda:0,1"') from error
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f'device {str(name)!r} is not supported; use "cpu" or "cuda"')
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        why = "this PyTorch was built without CUDA" if torch.version.cuda is None else "no such GPU was found"
        raise DeviceError(f"device {str(name)!r} was asked for, but {why}; use --device cpu")
    return device


def assign_workers(devices: Sequence[Device], cores: int, needed: float, free: Sequence[float]) -> list[Device]:
    """The device of each worker process: as many workers a GPU as fit into its memory, and no more than cores.

    The devices take turns, so that workers are spread evenly over GPUs of equal size, and every GPU that has room for
    one has a worker.

    Args:
        devices: as `parse_devices` returns them.
        cores: processor cores of this machine; a GPU's worker keeps one busy with decoding and perturbing images.
        needed: bytes that one worker takes on its device: the network, a pass, and the CUDA context.
        free: bytes free on each device; on a CPU, of the main memory.

    Returns:
        At least one worker, even where the memory is short: the network then says what it lacks.
    """
    fitting = [max(0, int(available // needed)) for available in free]
    turns = itertools.chain.from_iterable(
        (device for device, count in zip(devices, fitting, strict=True) if turn < count)
        for turn in range(max(fitting, default=0))
    )
    return list(itertools.islice(turns, max(1, cores))) or [devices[0]]


def resolved_precision(precision: str, device: torch.device) -> str:
    """One of "float32", "tf32" and "bfloat16".

    Args:
        precision: one of PRECISIONS. "auto" is bfloat16 where the device has instructions for it, else float32. "tf32"
            lets NVIDIA cards round the factors of products to 10 bits; it is never used unless asked for.
        device: that a network runs on.

    Raises:
        DeviceError: for another word, and for "tf32" on a CPU.
    """
    if precision not in PRECISIONS:
        raise DeviceError(f"unknown precision {precision!r}; use {', '.join(PRECISIONS)}")
    if precision == "tf32" and device.type != "cuda":
        raise DeviceError(f"precision 'tf32' needs a GPU, and the device is {device}; use float32")
    if precision != "auto":
        return precision
    return "bfloat16" if _computes_in_bfloat16(device) else "float32"


def _computes_in_bfloat16(device: torch.device) -> bool:
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # since PyTorch 2.12
    return any(capabilities.get(name) for name in CPU_BFLOAT16)


@contextlib.contextmanager
def arithmetic(precision: str, device: torch.device):
    """While it is open, products and convolutions are computed in this precision.

    Weights and everything that sums (normalization, softmax) stay float32. On a GPU the process's settings for TF32
    are put back on leaving.
    """
    import torch

    with contextlib.ExitStack() as stack:
        if device.type == "cuda":
            stack.enter_context(_tf32(precision == "tf32"))
        stack.enter_context(torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"))
        yield


@contextlib.contextmanager
def _tf32(allowed: bool):
    import torch

    switches: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)  # one is typed as a mere module
    before = [switch.allow_tf32 for switch in switches]
    try:
        for switch in switches:
            switch.allow_tf32 = allowed
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.allow_tf32 = value
