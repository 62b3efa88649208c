"""Convolution, batch normalization and activation in one pass, and products by oneDNN, for networks in inference."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS = {"none": lambda x: x, "relu": F.relu, "gelu": F.gelu}


def convolve(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, activation: str = "none") -> Tensor:
    """`activation(norm(conv(x)))`; activation: key of ACTIVATIONS.

    In inference the normalization is an affine map with fixed coefficients, which goes into the convolution's
    weights. On a CPU the activation is part of the same pass where PyTorch has that (`fused_convolution`): passes of
    their own, each with a new feature map, take up to as long as the convolution.
    """
    if norm.training or torch.is_grad_enabled():
        return ACTIVATIONS[activation](norm(conv(x)))
    scale, shift = affine_of(norm)
    if conv.bias is not None:
        shift = shift + conv.bias * scale
    weight = conv.weight * scale[:, None, None, None]
    if torch.amp.is_autocast_available(x.device.type) and torch.is_autocast_enabled(x.device.type):  # "meta" has none
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, shift = x.to(dtype), weight.to(dtype), shift.to(dtype)
    fused = fused_convolution(x.dtype) if x.device.type == "cpu" and x.dtype == weight.dtype else None
    if fused is not None:
        geometry = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        return fused(x, weight, shift, *geometry, activation, [], "none")
    x = F.conv2d(x, weight, shift, conv.stride, conv.padding, conv.dilation, conv.groups)
    return x.relu_() if activation == "relu" else ACTIVATIONS[activation](x)


@functools.cache
def fused_convolution(dtype: torch.dtype) -> Callable[..., Tensor] | None:
    """oneDNN's convolution with bias and activation in one pass, None where this machine has none for the type.

    PyTorch keeps the operator to itself, so it may be gone or changed in any version: it is tried before it is used,
    and without it everything works, more slowly and with other rounding errors.
    """
    one = torch.ones(1, 1, 1, 1, dtype=dtype)
    try:
        fused = torch.ops.mkldnn._convolution_pointwise
        tried = fused(-one, one, one[0, 0, 0], [0, 0], [1, 1], [1, 1], 1, "relu", [], "none")
    except (AttributeError, RuntimeError, TypeError):
        return None
    return fused if tried.shape == one.shape and not tried.any() else None


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`F.linear(x, weight, bias)`, x (..., channels).

    In inference in float32 on a CPU by oneDNN, as a 1 x 1 convolution: PyTorch leaves these products to MKL, which does
    not use all of an AMD processor's vector instructions and takes 1.8 to 5 times as long there.
    """
    fused = fused_convolution(x.dtype) if x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 else None
    if fused is None or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight, bias)
    pixels = x.reshape(1, 1, -1, x.shape[-1]).permute(0, 3, 1, 2)
    found = fused(pixels, weight[:, :, None, None], bias, [0, 0], [1, 1], [1, 1], 1, "none", [], "none")
    return found.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))


def at_least_float32(x: Tensor) -> Tensor:
    """The same in float32 where it has fewer bits, as under autocast.

    Of the probabilities from .5 to 1 bfloat16 knows but 129.
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))


def affine_of(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift of each channel that a batch normalization applies in evaluation mode."""
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


class ConvNorm(nn.Sequential):
    """Convolution and batch normalization, then a ReLU if `rectified`; padded so that stride 1 keeps the size."""

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int,
        stride: int = 1,
        *,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        rectified: bool = True,
    ):
        padding = dilation * (kernel // 2)
        conv = nn.Conv2d(channels, out, kernel, stride, padding, dilation, groups, bias=bias)
        super().__init__(conv, nn.BatchNorm2d(out))
        self.activation = "relu" if rectified else "none"

    def forward(self, x: Tensor) -> Tensor:
        """Convolution, normalization and activation."""
        return convolve(x, self[0], self[1], self.activation)
