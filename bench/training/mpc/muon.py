"""Muon: an optimizer for matrices whose updates are equally long in all directions.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; learning rates on the scale of AdamW's: Liu et al. 2025,
arXiv 2502.16982, section 2.2. The iteration is PyTorch's (from 2.9 on), which takes matrices only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

LEAST_RANK = 16  # of a matrix; AdamW serves smaller ones, tables and depth-wise kernels among them, and vectors


class Muon(torch.optim.Optimizer):
    """Muon for matrices and kernels of convolutions, AdamW for everything else, with one learning rate and decay.

    A kernel is taken as the matrix (outputs, inputs x height x width).
    """

    def __init__(self, params: Iterable[tuple[str, nn.Parameter]], lr: float, weight_decay: float):
        """An optimizer of `params`, (name, parameter) pairs.

        Tables of relative positions, recognized by their names, are not taken as matrices.
        """
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, value in params:
            matrix = value.ndim >= 2 and min(len(value), value[0].numel()) >= LEAST_RANK
            (matrices if matrix and not name.endswith("_table") else others).append(value)
        groups = [{"params": group} for group in (matrices, others) if group]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})
        self._kernels = matrices
        self._views = [nn.Parameter(value.detach().view(len(value), -1)) for value in matrices]  # of the same memory
        self._parts: dict[str, torch.optim.Optimizer] = {}
        if matrices:
            self._parts["muon"] = torch.optim.Muon(
                self._views, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
            )
        if others:
            self._parts["adamw"] = torch.optim.AdamW(others, lr=lr, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update once with the present gradients and learning rates."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for kernel, view in zip(self._kernels, self._views, strict=True):
            view.grad = None if kernel.grad is None else kernel.grad.reshape(view.shape)
        for part, group in zip(self._parts.values(), self.param_groups, strict=True):
            for own in part.param_groups:
                own["lr"] = group["lr"]
            part.step()
        for view in self._views:
            view.grad = None
        return loss

    def state_dict(self) -> dict:
        """The states of both parts, by name."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state: dict) -> None:
        """Go on where `state_dict` was taken, with the same parameters."""
        for (name, part), group in zip(self._parts.items(), self.param_groups, strict=True):
            part.load_state_dict(state[name])
            group["lr"] = part.param_groups[0]["lr"]
