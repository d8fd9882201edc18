"""All weights move linearly with a small code."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from leads.adapters.adapter import Context, MakeBackbone, WeightAdapter, adapters
from leads.adapters.layers import LayerChoice, moving
from leads.backbones.coded import CodedPerceptron, stacked_layer
from leads.backbones.mlp import MLP
from leads.errors import SettingsError
from leads.trajectories import Trajectories


@adapters.register("linear_hyper")
class LinearHyper(WeightAdapter):
    """``theta_e = theta + W xi_e``: the weights of an environment lie on a plane around the shared ones.

    Penalty: ``code sum_e |xi_e|^2 + row_norms sum_rows |W_row| + squares |W|^2``; rows are weights of the network.

    Args:
        make_backbone: makes the network; its own weights are the shared ones.
        dim: size of the code xi.
        only: which layers move: see :func:`leads.adapters.layers.moving`.
        code, row_norms, squares: coefficients of the penalty.
        spread: columns of W start uniform in ``spread / sqrt(dim) * [-1, 1]`` (1 is torch's default for a layer).

    Source: Kirchmeyer et al. (2022), CoDA, eq. 6 and section 4.
    """

    weight: Tensor

    def __init__(
        self,
        make_backbone: MakeBackbone,
        dim: int = 2,
        only: LayerChoice = "all",
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
        self.moving = moving(self.backbone, only)
        sizes = [own[name].numel() for name in self.moving]
        self.sizes, self.shapes = sizes, [tuple(own[name].shape) for name in self.moving]
        self.weight = nn.Parameter(torch.empty(sum(sizes), dim).uniform_(-1, 1).mul_(spread / math.sqrt(dim)))

    def init_context(self) -> Context:
        return {"code": self.weight.new_zeros(self.dim)}

    def effective(self, context: Context) -> dict[str, Tensor]:
        weights = self.backbone.own_weights()
        shifts = (self.weight @ context["code"]).split(self.sizes)
        for name, shift, shape in zip(self.moving, shifts, self.shapes, strict=True):
            weights[name] = weights[name] + shift.view(shape)
        return weights

    def coded(self) -> CodedPerceptron | None:
        """The field for very many codes (see :mod:`leads.backbones.coded`); ``None`` unless the backbone is a perceptron."""
        if not isinstance(self.backbone, MLP):
            return None
        moves = dict(zip(self.moving, self.weight.split(self.sizes), strict=True))

        def basis(name: str) -> Tensor:
            own = weights[name]
            shifts = moves[name].T.reshape(-1, *own.shape) if name in moves else own.new_zeros(self.dim, *own.shape)
            return torch.cat([own[None], shifts])

        weights = self.backbone.own_weights()
        return self.backbone.coded(lambda w, b: stacked_layer(basis(w), basis(b)), basis)

    def penalty(self, contexts: Context, batch: Trajectories) -> Tensor:
        total = super().penalty(contexts, batch)
        if self.code:
            total = total + self.code * contexts["code"].square().sum()
        if self.row_norms:
            total = total + self.row_norms * self.weight.norm(dim=1).sum()
        if self.squares:
            total = total + self.squares * self.weight.square().sum()
        return total
