"""Multi-layer perceptron for states without space axes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from leads.backbones.backbone import Backbone, Swish, Weights, backbones, fold_swish
from leads.backbones.coded import CodedLayer, CodedPerceptron
from leads.errors import SettingsError


@backbones.register("mlp")
class MLP(Backbone):
    """``depth`` hidden layers of ``width`` units with learned-slope swish; 8,645 parameters for two channels.

    Args:
        state_shape: ``(C,)``.
        width: units of a hidden layer.
        depth: hidden layers.
        gain: where positive, matrices start orthogonal with this gain and biases at zero. A small one starts the network
            near a linear map, and one that is to add little to known physics then stays smooth (APHYNITY's pendulum: 0.2).

    Source: the networks of LEADS, CoDA and GEPS for ordinary differential equations.
    """

    def __init__(self, state_shape: tuple[int, ...], width: int = 64, depth: int = 3, gain: float = 0.0) -> None:
        super().__init__(state_shape)
        if len(state_shape) != 1:
            raise SettingsError(
                f"The mlp backbone takes states (C,) without space axes, this system's are {tuple(state_shape)}. "
                "Choose a convolutional backbone, e.g. backbone='conv'."
            )
        if width < 1 or depth < 1 or gain < 0:
            raise SettingsError(
                f"The mlp backbone needs width >= 1, depth >= 1 and gain >= 0, got {width}, {depth} and {gain}."
            )
        channels = state_shape[0]
        sizes = [channels, *[width] * depth, channels]
        self.linears = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(sizes))
        self.activations = nn.ModuleList(Swish() for _ in range(depth))
        if gain:
            for p in self.linears.parameters():
                nn.init.orthogonal_(p, gain) if p.ndim > 1 else nn.init.zeros_(p)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        del t
        for linear, activation in zip(self.linears, self.activations, strict=False):
            x = activation(linear(x))
        return self.linears[-1](x)

    def coded(self, make_layer: Callable[[str, str], CodedLayer], slopes: Callable[[str], Tensor]) -> CodedPerceptron:
        """The network with weights that are affine in a code.

        Args:
            make_layer: the layer made of the weight and the bias of these names.
            slopes: the slope of this name, ``(1 + d, 1)``: the shared one, then those of the code.
        """
        layers = [make_layer(f"linears.{i}.weight", f"linears.{i}.bias") for i in range(len(self.linears))]
        rows = [slopes(f"activations.{i}.slope")[:, 0] for i in range(len(self.activations))]
        return CodedPerceptron(layers, torch.stack(rows))

    def ready(self, weights: Weights) -> list[tuple[Tensor, Tensor]]:
        n = len(self.linears)
        w, b = fold_swish(
            [weights[f"linears.{i}.weight"] for i in range(n)],
            [weights[f"linears.{i}.bias"] for i in range(n)],
            [weights[f"activations.{i}.slope"] for i in range(n - 1)],
        )
        return [(wi.mT.contiguous(), bi.unsqueeze(-2)) for wi, bi in zip(w, b, strict=True)]

    def batched(self, ready: list[tuple[Tensor, Tensor]], t: Tensor, x: Tensor) -> Tensor:
        del t
        for w, b in ready[:-1]:
            x = nn.functional.silu(torch.baddbmm(b, x, w))
        w, b = ready[-1]
        return torch.baddbmm(b, x, w)
