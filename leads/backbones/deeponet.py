"""Operator network of a branch and a trunk, for states on a fixed grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from leads.backbones.backbone import Backbone, Swish, Weights, backbones, fold_swish
from leads.backbones.grid import require_positive
from leads.errors import SettingsError, ShapeError


class _Perceptron(nn.Module):
    """Linear layers of the given sizes with swish between them."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(sizes))
        self.activations = nn.ModuleList(Swish() for _ in sizes[2:])

    def forward(self, x: Tensor) -> Tensor:
        for linear, activation in zip(self.linears, self.activations, strict=False):
            x = activation(linear(x))
        return self.linears[-1](x)


@backbones.register("deeponet")
class DeepONet(Backbone):
    """``dx_c/dt (s) = sum_k branch_ck(x) trunk_k(s) + b_c``: the state at its grid points enters the branch, the place
    s the trunk.

    The trunk sees ``cos 2 pi j s, sin 2 pi j s`` for j up to ``harmonics`` along each axis, s from 0 to 1 over the
    period, so that the result is periodic. The branch is tied to the grid, of any number of axes.

    Args:
        state_shape: ``(C, *X)`` with at least one space axis.
        width: units of a hidden layer of branch and trunk.
        depth: hidden layers of each.
        basis: number of trunk functions k.
        harmonics: wavenumbers that the trunk sees.
        factor: the output is multiplied by it.

    Raises:
        SettingsError: states without space axes, which leave the trunk nothing to see, or sizes below 1.
        ShapeError: a state on another grid than the network was made for.

    Source: Lu et al. (2021), DeepONet; periodic features of the trunk as in Lu et al. (2022), "A comprehensive
    and fair comparison of two neural operators".
    """

    def __init__(
        self,
        state_shape: tuple[int, ...],
        width: int = 64,
        depth: int = 3,
        basis: int = 64,
        harmonics: int = 4,
        factor: float = 1.0,
    ) -> None:
        super().__init__(state_shape)
        if len(state_shape) < 2:
            raise SettingsError(
                f"The deeponet backbone takes states (C, *X) on a grid, this system's are {tuple(state_shape)}: without "
                "coordinates nothing is left for its trunk. Choose backbone='mlp'."
            )
        require_positive("deeponet", width=width, depth=depth, basis=basis, harmonics=harmonics)
        channels, *grid = state_shape
        self.basis, self.harmonics, self.factor = basis, harmonics, factor
        hidden = [width] * depth
        self.branch = _Perceptron([channels * math.prod(grid), *hidden, channels * basis])
        self.trunk = _Perceptron([2 * harmonics * len(grid), *hidden, basis])
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        del t
        self._check(x)
        parts = self.branch(x.flatten(1)).unflatten(1, (-1, self.basis))
        y = torch.einsum("nck,pk->ncp", parts, self.trunk(self._features())) + self.bias[:, None]
        return self.factor * y.reshape(x.shape)

    def ready(self, weights: Weights) -> dict[str, Any]:
        """The trunk's values at the grid points, which no state changes, and the branch with its swish folded in."""
        part = lambda p: {k.removeprefix(p): w for k, w in weights.items() if k.startswith(p)}  # noqa: E731
        features = self._features()
        trunk = vmap(lambda w: functional_call(self.trunk, w, (features,)))(part("trunk."))
        branch, n = part("branch."), len(self.branch.linears)
        w, b = fold_swish(
            [branch[f"linears.{i}.weight"] for i in range(n)],
            [branch[f"linears.{i}.bias"] for i in range(n)],
            [branch[f"activations.{i}.slope"] for i in range(n - 1)],
        )
        layers = [(wi.mT.contiguous(), bi.unsqueeze(-2)) for wi, bi in zip(w, b, strict=True)]
        return {
            "layers": layers,
            "trunk": self.factor * trunk.mT,
            "bias": self.factor * weights["bias"][:, None, :, None],
        }

    def batched(self, ready: dict[str, Any], t: Tensor, x: Tensor) -> Tensor:
        """Batched matrix products, with the trunk evaluated once per rollout."""
        del t
        self._check(x)
        y = x.flatten(2)
        for i, (w, b) in enumerate(ready["layers"]):
            y = torch.baddbmm(b, nn.functional.silu(y) if i else y, w)
        parts = y.unflatten(2, (-1, self.basis)).flatten(1, 2)
        out = torch.bmm(parts, ready["trunk"]).unflatten(1, (x.shape[1], -1)) + ready["bias"]
        return out.reshape(x.shape)

    def _check(self, x: Tensor) -> None:
        if tuple(x.shape[-len(self.state_shape) :]) != self.state_shape:
            raise ShapeError(
                f"This deeponet was made for states {self.state_shape}, got {tuple(x.shape)}: its branch is tied to "
                "the grid. Put the states on that grid, or take a backbone that serves any, e.g. 'fno'."
            )

    def _features(self) -> Tensor:
        """What the trunk sees of each grid point: ``(points, 2 harmonics axes)``."""
        like = self.bias
        axes = [torch.arange(n, dtype=like.dtype, device=like.device) / n for n in self.state_shape[1:]]
        places = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes), 1)
        angles = 2 * math.pi * places * torch.arange(1, self.harmonics + 1, dtype=like.dtype, device=like.device)
        return torch.cat([angles.cos(), angles.sin()], -1).flatten(1)
