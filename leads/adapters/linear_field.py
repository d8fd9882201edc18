"""The field is linear in the context."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from leads.adapters.adapter import Context, MakeBackbone, adapters
from leads.adapters.shared import forward_shared
from leads.adapters.widened import WidenedAdapter


@adapters.register("linear_field")
class LinearField(WidenedAdapter):
    """``dx/dt = c(t, x) + sum_k w_k V_k(t, x)``: the context w weighs learned fields V_1 ... V_dim beside a common one.

    One network gives all of them: the given backbone remade for ``(1 + dim) C`` channels, to which the state is given
    ``1 + dim`` times over. Its weights are the same in all environments, so these are advanced as one batch. Contexts are
    determined up to a linear map: the family of fields stays the same when V and w are mixed by a matrix and its
    inverse. Being affine in the context, they can be found in closed form (:class:`leads.contexts.Ridge`).

    Penalty: ``code sum_e |w_e|^2``.

    Args:
        make_backbone: makes the network for C channels; :meth:`leads.backbones.Backbone.widened` remakes it.
        dim: size of the context w, zero at the start.
        code: coefficient of the penalty.

    Source: Blanke and Lelarge (2024), "Interpretable meta-learning of physical systems" (context-affine models).
    """

    affine = True
    called = "context"

    def __init__(self, make_backbone: MakeBackbone, dim: int = 2, code: float = 0.0) -> None:
        super().__init__(make_backbone, dim, code)

    def further_channels(self) -> int:
        return self.dim * self.channels

    def forward(self, t: Tensor, x: Tensor, prepared: Tensor) -> Tensor:
        fields = self.backbone(t, self._repeated(x, 1)).unflatten(1, (1 + self.dim, self.channels))
        return fields[:, 0] + torch.einsum("nk...,k->n...", fields[:, 1:], prepared)

    def prepare_all(self, contexts: Context) -> tuple[Any, Tensor]:
        shared = {k: w.unsqueeze(0) for k, w in self.backbone.own_weights().items()}
        return self.backbone.ready(shared), contexts["code"]

    def forward_all(self, t: Tensor, x: Tensor, prepared: tuple[Any, Tensor]) -> Tensor:
        ready, codes = prepared
        fields = forward_shared(self.backbone, ready, t, self._repeated(x, 2))
        fields = fields.unflatten(2, (1 + self.dim, self.channels))
        return fields[:, :, 0] + torch.einsum("enk...,ek->en...", fields[:, :, 1:], codes)

    def _repeated(self, x: Tensor, axis: int) -> Tensor:
        """The state once for each field, along its channels."""
        return torch.cat([x] * (1 + self.dim), axis)
