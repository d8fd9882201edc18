"""The weights themselves move, freely."""

from __future__ import annotations

import torch
from torch import Tensor

from leads.adapters.adapter import Context, MakeBackbone, WeightAdapter, adapters
from leads.adapters.layers import LayerChoice, moving


@adapters.register("weight_delta")
class WeightDelta(WeightAdapter):
    """``theta_e = theta + delta_e``: the context is one number per moving weight, zero at the start.

    Args:
        make_backbone: makes the network; its own weights are the shared ones.
        only: which layers move: see :func:`leads.adapters.layers.moving`.

    Source: gradient-based meta-learning (Finn et al., 2017) written with its displacement from the shared weights.
    """

    def __init__(self, make_backbone: MakeBackbone, only: LayerChoice = "all") -> None:
        super().__init__(make_backbone)
        self.moving = moving(self.backbone, only)

    def init_context(self) -> Context:
        weights = self.backbone.own_weights()
        return {name: torch.zeros_like(weights[name], requires_grad=False) for name in self.moving}

    def effective(self, context: Context) -> dict[str, Tensor]:
        weights = self.backbone.own_weights()
        return weights | {name: weights[name] + delta for name, delta in context.items()}
