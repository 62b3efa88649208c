"""Muon: gradient descent on matrices with all directions of an update equally long.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; rates that mean what AdamW's mean: Liu et al. 2025,
arXiv 2502.16982, section 2.2. The iteration itself is PyTorch's; it takes matrices only.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

LEAST_RANK = 16  # of a matrix; AdamW serves smaller ones, tables and depth-wise kernels among them, and vectors


class Muon(torch.optim.Optimizer):
    """Muon for matrices and for the kernels of convolutions, each taken as the matrix (outputs, inputs x height x
    width); AdamW for everything else. Both with one learning rate and one decay.

    params: (name, parameter) pairs; tables of relative positions, told by their names, are no matrices.
    """

    def __init__(self, params: Iterable[tuple[str, nn.Parameter]], lr: float, weight_decay: float):
        matrices, others = [], []
        for name, value in params:
            matrix = value.ndim >= 2 and min(len(value), value[0].numel()) >= LEAST_RANK
            (matrices if matrix and not name.endswith("_table") else others).append(value)
        groups = [{"params": group} for group in (matrices, others) if group]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})
        self._kernels = matrices
        self._views = [nn.Parameter(value.detach().view(len(value), -1)) for value in matrices]  # of the same memory
        decay = {"lr": lr, "weight_decay": weight_decay}
        self._parts: dict[str, torch.optim.Optimizer] = {}
        if matrices:
            self._parts["muon"] = torch.optim.Muon(self._views, **decay, adjust_lr_fn="match_rms_adamw")
        if others:
            self._parts["adamw"] = torch.optim.AdamW(others, **decay)

    @torch.no_grad()
    def step(self, closure=None) -> Tensor | None:
        """One update with the gradients and the rates of the groups as they are."""
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
        """Of both parts, by name."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state: dict) -> None:
        """Go on where `state_dict` was taken of the same parameters."""
        for (name, part), group in zip(self._parts.items(), self.param_groups, strict=True):
            part.load_state_dict(state[name])
            group["lr"] = part.param_groups[0]["lr"]
