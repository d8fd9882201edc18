"""The context scales and shifts what layers give."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from leads.adapters.adapter import Context, MakeBackbone, WeightAdapter, adapters
from leads.adapters.layers import LayerChoice, layer_of, moving, weighted_layers
from leads.errors import SettingsError
from leads.trajectories import Trajectories


@adapters.register("modulation")
class Modulation(WeightAdapter):
    """``h_e = (1 + G c_e) * (W x + b) + B c_e`` in every chosen layer, channel by channel (FiLM).

    A layer is a part of the backbone that holds a matrix or a kernel W of output channels first, with or without a
    bias b; so gain and shift become ``W_e = (1 + G c_e) * W`` and ``b_e = (1 + G c_e) * b + B c_e``, and any backbone
    is served. Layers without bias are scaled only; layers without matrix (activation slopes) stay. Where a backbone
    normalises what its hidden layers give, which undoes their scale, its norms' gain and shift are modulated instead.

    Penalty: ``code sum_e |c_e|^2``.

    Args:
        make_backbone: makes the network; its own weights are the shared ones.
        dim: size of the code, zero at the start, where the network is the shared one.
        only: which layers are modulated: see :func:`leads.adapters.layers.moving`.
        code: coefficient of the penalty.
        spread: columns of G and B start uniform in ``spread / sqrt(dim) * [-1, 1]`` (1 is torch's default).

    Source: Perez et al. (2018), FiLM, eq. 1-2, with gains predicted around one as it advises; Zintgraf et al. (2019),
    CAVIA, section 3 (convolutional networks).
    """

    def __init__(
        self,
        make_backbone: MakeBackbone,
        dim: int = 2,
        only: LayerChoice = "hidden",
        code: float = 0.0,
        spread: float = 1.0,
    ) -> None:
        super().__init__(make_backbone)
        if dim < 1:
            raise SettingsError(f"The code needs at least one dimension, got dim={dim}.")
        self.dim, self.code = dim, code
        norms = self.backbone.norm_layers() if only == "hidden" else []
        chosen, layers = moving(self.backbone, "all" if norms else only), norms or weighted_layers(self.backbone)
        self.moving = [name for name in chosen if layer_of(name) in layers]
        if not self.moving:
            raise SettingsError(f"There is no layer with a matrix or a kernel to modulate among only={only!r}.")
        self.gain, self.shift = nn.ParameterDict(), nn.ParameterDict()
        weights = self.backbone.own_weights()
        for name in self.moving:
            key, out = layer_of(name).replace(".", "/"), weights[name].shape[0]  # a ParameterDict refuses dots
            into = self.gain if _scales(name, weights[name]) else self.shift
            into[key] = nn.Parameter(torch.empty(out, dim).uniform_(-1, 1).mul_(spread / math.sqrt(dim)))

    def init_context(self) -> Context:
        return {"code": next(self.backbone.parameters()).new_zeros(self.dim)}

    def effective(self, context: Context) -> dict[str, Tensor]:
        c, weights = context["code"], self.backbone.own_weights()
        for name in self.moving:
            key, w = layer_of(name).replace(".", "/"), weights[name]
            scaled = w * (1 + self.gain[key] @ c).reshape(-1, *(1,) * (w.ndim - 1))
            weights[name] = scaled if _scales(name, w) else scaled + self.shift[key] @ c
        return weights

    def penalty(self, contexts: Context, batch: Trajectories) -> Tensor:
        return super().penalty(contexts, batch) + self.code * contexts["code"].square().sum()


def _scales(name: str, weight: Tensor) -> bool:
    """Whether a parameter scales its layer's input (a matrix, a kernel, a norm's gain) rather than being added."""
    return weight.ndim > 1 or name.endswith(".gain")
