"""All weights move linearly with a small code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from leads.adapters.adapter import Context, MakeBackbone, WeightAdapter, adapters
from leads.errors import SettingsError, UnknownNameError
from leads.registry import nearest
from leads.trajectories import Trajectories


@adapters.register("linear_hyper")
class LinearHyper(WeightAdapter):
    """``theta_e = theta + W xi_e``: the weights of an environment lie on a plane around the shared ones.

    Penalty: ``code sum_e |xi_e|^2 + row_norms sum_rows |W_row| + squares |W|^2``; rows are weights of the network.

    Args:
        make_backbone: makes the network; its own weights are the shared ones.
        dim: size of the code xi.
        only: which layers move: ``"all"``, ``"first"``, ``"last"``, or prefixes of parameter names.
        code, row_norms, squares: coefficients of the penalty.
        spread: columns of W start uniform in ``spread / sqrt(dim) * [-1, 1]`` (1 is torch's default for a layer).

    Source: Kirchmeyer et al. (2022), CoDA, eq. 6 and section 4.
    """

    weight: Tensor

    def __init__(
        self,
        make_backbone: MakeBackbone,
        dim: int = 2,
        only: Literal["all", "first", "last"] | Sequence[str] = "all",
        code: float = 0.0,
        row_norms: float = 0.0,
        squares: float = 0.0,
        spread: float = 1.0,
    ) -> None:
        super().__init__(make_backbone)
        if dim < 1:
            raise SettingsError(f"The code needs at least one dimension, got dim={dim}.")
        self.dim, self.code, self.row_norms, self.squares = dim, code, row_norms, squares
        own = self.backbone.own_weights()
        self.moving = [name for name in own if self._moves(name, only)]
        sizes = [own[name].numel() for name in self.moving]
        self.sizes, self.shapes = sizes, [tuple(own[name].shape) for name in self.moving]
        self.weight = nn.Parameter(torch.empty(sum(sizes), dim).uniform_(-1, 1).mul_(spread / math.sqrt(dim)))

    def _moves(self, name: str, only: str | Sequence[str]) -> bool:
        layers = self.backbone.layers()
        weighted = [
            p for p in layers if any(w.ndim > 1 for k, w in self.backbone.named_parameters() if k.startswith(p))
        ]
        if only == "all":
            return True
        ends = {"first": weighted[:1], "last": weighted[-1:]}
        if isinstance(only, str) and only not in ends:
            raise UnknownNameError(f"No layer choice is named {only!r}. {nearest(only, ('all', *ends))}")
        chosen = ends[only] if isinstance(only, str) else only
        for prefix in chosen:
            if not any(k.startswith(prefix) for k, _ in self.backbone.named_parameters()):
                raise UnknownNameError(f"No layer's name starts with {prefix!r}. {nearest(prefix, layers)}")
        return name.startswith(tuple(chosen))

    def init_context(self) -> Context:
        return {"code": self.weight.new_zeros(self.dim)}

    def effective(self, context: Context) -> dict[str, Tensor]:
        weights = self.backbone.own_weights()
        shifts = (self.weight @ context["code"]).split(self.sizes)
        for name, shift, shape in zip(self.moving, shifts, self.shapes, strict=True):
            weights[name] = weights[name] + shift.view(shape)
        return weights

    def penalty(self, contexts: Context, batch: Trajectories) -> Tensor:
        total = super().penalty(contexts, batch)
        if self.code:
            total = total + self.code * contexts["code"].square().sum()
        if self.row_norms:
            total = total + self.row_norms * self.weight.norm(dim=1).sum()
        if self.squares:
            total = total + self.squares * self.weight.square().sum()
        return total
