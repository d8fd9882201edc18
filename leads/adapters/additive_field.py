"""Each environment adds a field of its own to the shared one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from leads.adapters.adapter import Adapter, Context, MakeBackbone, adapters
from leads.adapters.shared import forward_shared
from leads.trajectories import Trajectories


@adapters.register("additive_field")
class AdditiveField(Adapter):
    """``dx/dt = f(x) + g_e(x)``: the context is all weights of g_e, a network of the same architecture as f.

    Penalty: ``sum_e [ size mean (|g_e(x)| / |x|)^2 + smoothness sum_W sigma_max(W)^2 ]``; norms are over channels, at
    the data's states; sigma_max is the largest singular value of each weight of g_e, taken as a matrix with its
    output channels as rows. In the published objective size = 1 / lambda and smoothness = alpha / lambda.

    Source: Yin et al. (2021), LEADS, eq. 2 and its public code's "sum_spectral" choice.
    """

    def __init__(self, make_backbone: MakeBackbone, size: float = 0.0, smoothness: float = 0.0) -> None:
        super().__init__()
        self.backbone = make_backbone()
        self.make_backbone = make_backbone
        self.residual = make_backbone()
        # A template for g_e: its values are never used, each environment brings its own.
        self.residual.requires_grad_(False)
        self.size, self.smoothness = size, smoothness

    def init_context(self) -> Context:
        """Freshly drawn weights of g (from torch's generator), other ones at every call."""
        return {k: w.detach().clone() for k, w in self.make_backbone().own_weights().items()}

    def prepare(self, context: Context) -> Context:
        return context

    def forward(self, t: Tensor, x: Tensor, prepared: Context) -> Tensor:
        return self.backbone(t, x) + functional_call(self.residual, prepared, (t, x))

    def prepare_all(self, contexts: Context) -> tuple[Any, Any]:
        shared = {k: w.unsqueeze(0) for k, w in self.backbone.own_weights().items()}
        return self.backbone.ready(shared), self.residual.ready(contexts)

    def forward_all(self, t: Tensor, x: Tensor, prepared: tuple[Any, Any]) -> Tensor:
        shared, own = prepared
        return forward_shared(self.backbone, shared, t, x) + self.residual.batched(own, t, x)

    def penalty(self, contexts: Context, batch: Trajectories) -> Tensor:
        return self.adaptation_penalty(contexts, batch).sum()

    def adaptation_penalty(self, contexts: Context, batch: Trajectories) -> Tensor:
        total = super().adaptation_penalty(contexts, batch)
        if self.size:
            x = batch.states.flatten(1, 2)
            g = self.residual.batched(self.residual.ready(contexts), batch.times.new_zeros(()).to(x), x)
            ratio = g.norm(dim=2) / (x.norm(dim=2) + 1e-5)
            total = total + self.size * ratio.square().flatten(1).mean(1)
        if self.smoothness:
            norms = [largest_singular_value(w).square() for k, w in contexts.items() if w.ndim > 2]
            total = total + self.smoothness * torch.stack(norms).sum(0)
        return total


def largest_singular_value(weights: Tensor, iterations: int = 30) -> Tensor:
    """sigma_max of ``(E, out, in, ...)`` with each taken as a matrix ``(out, -1)``: shape ``(E,)``.

    Power iteration without gradient finds the singular vectors; ``u^T W v`` then has the exact gradient.
    """
    matrix = weights.flatten(2)
    with torch.no_grad():
        w = matrix.detach()
        v = torch.nn.functional.normalize(torch.ones_like(w[:, 0]) + w[:, 0], dim=-1)
        u = torch.zeros_like(w[:, :, 0])
        for _ in range(iterations):
            u = torch.nn.functional.normalize(torch.einsum("eoi,ei->eo", w, v), dim=-1)
            v = torch.nn.functional.normalize(torch.einsum("eoi,eo->ei", w, u), dim=-1)
    return vmap(lambda m, a, b: a @ m @ b)(matrix, u, v)
