"""Where a network runs."""

from __future__ import annotations

import torch


class DeviceError(RuntimeError):
    """A device that this machine does not have."""


def compute_device(name: str) -> torch.device:
    """The torch device called "cpu", "cuda" or "cuda:1". Raises DeviceError if it is unknown or absent."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f'unknown device {name!r}; use "cpu" or "cuda"') from error
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f'device {name!r} is not supported; use "cpu" or "cuda"')
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        why = "this PyTorch was built without CUDA" if torch.version.cuda is None else "no such GPU was found"
        raise DeviceError(f"device {name!r} was asked for, but {why}; use --device cpu")
    return device
