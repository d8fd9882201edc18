"""The context enters as further input channels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from leads.adapters.adapter import Context, MakeBackbone, adapters
from leads.adapters.shared import forward_shared
from leads.adapters.widened import WidenedAdapter


@adapters.register("concat")
class Concat(WidenedAdapter):
    """``dx/dt = f(x, c_e)``: the code is constant in space and time and stands beside the state's channels.

    The network is the given backbone remade for C + dim channels; of its output the first C are used. Its weights are
    the same in all environments, so these are advanced as one batch.

    Penalty: ``code sum_e |c_e|^2``.

    Args:
        make_backbone: makes the network for C channels; :meth:`leads.backbones.Backbone.widened` remakes it.
        dim: size of the code, zero at the start.
        code: coefficient of the penalty.

    Source: Zintgraf et al. (2019), CAVIA, section 3 (context parameters as inputs of fully connected networks).
    """

    def __init__(self, make_backbone: MakeBackbone, dim: int = 2, code: float = 0.0) -> None:
        super().__init__(make_backbone, dim, code)

    def forward(self, t: Tensor, x: Tensor, prepared: Tensor) -> Tensor:
        return self.backbone(t, self._beside(x, prepared))[:, : self.channels]

    def prepare_all(self, contexts: Context) -> tuple[Any, Tensor]:
        shared = {k: w.unsqueeze(0) for k, w in self.backbone.own_weights().items()}
        return self.backbone.ready(shared), contexts["code"][:, None]

    def forward_all(self, t: Tensor, x: Tensor, prepared: tuple[Any, Tensor]) -> Tensor:
        ready, codes = prepared
        return forward_shared(self.backbone, ready, t, self._beside(x, codes))[:, :, : self.channels]

    def _beside(self, x: Tensor, code: Tensor) -> Tensor:
        """The state ``(..., C, *X)`` and the code ``(..., dim)``, constant in space, along the channels."""
        space = x.shape[x.ndim - len(self.backbone.state_shape) + 1 :]
        leading = x.shape[: x.ndim - len(self.backbone.state_shape)]
        wide = code.reshape(*code.shape, *(1,) * len(space)).expand(*leading, self.dim, *space)
        return torch.cat([x, wide], len(leading))
