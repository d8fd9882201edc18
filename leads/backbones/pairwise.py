"""Fields that are sums of functions of two state variables each."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import torch
from torch import Tensor, nn

from leads.backbones.backbone import Backbone, Swish, Weights, backbones, fold_swish
from leads.errors import SettingsError


class GroupedLinear(nn.Module):
    """One linear layer a group: ``(N, groups, inputs)`` to ``(N, groups, outputs)``; weight ``(groups outputs, inputs)``."""

    def __init__(self, groups: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.groups = groups
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(groups * outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(groups * outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.view(self.groups, -1, self.weight.shape[1])
        return torch.einsum("ngi,goi->ngo", x, weight) + self.bias.view(self.groups, -1)


@backbones.register("pairwise")
class Pairwise(Backbone):
    """``f(x) = sum over pairs i < j of g_ij(x_i, x_j)``: a perceptron for each pair of channels, all summed.

    In many laws variables interact two by two: predation, mass action of two species, Hill kinetics with one inhibitor,
    friction between two masses. Then this form holds the truth, and two-dimensional functions are learned from far fewer
    trajectories than one of all channels: on the glycolytic oscillator (7 channels, 32 initial states) it generalises
    better than the ``mlp`` of the papers (docs/studies.md). Where three variables interact in one term it cannot.

    Args:
        state_shape: ``(C,)`` with at least two channels.
        width: hidden units of each of the ``C (C - 1) / 2`` perceptrons.
        depth: their hidden layers.

    Raises:
        SettingsError: states with space axes or fewer than two channels, or sizes below 1.

    Source: the functional ANOVA to second order (Hooker, 2007, "Generalized functional ANOVA diagnostics for
    high-dimensional functions of dependent variables"), with networks as components.
    """

    def __init__(self, state_shape: tuple[int, ...], width: int = 16, depth: int = 2) -> None:
        super().__init__(state_shape)
        if len(state_shape) != 1 or state_shape[0] < 2:
            raise SettingsError(
                "The pairwise backbone takes states (C,) of at least two channels and without space axes, this system's are "
                f"{tuple(state_shape)}. Choose backbone='mlp' for one channel, a convolutional one for fields."
            )
        if width < 1 or depth < 1:
            raise SettingsError(f"The pairwise backbone needs width >= 1 and depth >= 1, got {width} and {depth}.")
        channels = state_shape[0]
        self.pairs = [list(pair) for pair in combinations(range(channels), 2)]
        groups, sizes = len(self.pairs), [2, *[width] * depth]
        self.hidden = nn.ModuleList(GroupedLinear(groups, i, o) for i, o in pairwise(sizes))
        self.activations = nn.ModuleList(Swish() for _ in range(depth))
        self.out = nn.Linear(groups * width, channels)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        del t
        y = x[..., self.pairs]
        for layer, activation in zip(self.hidden, self.activations, strict=True):
            y = activation(layer(y))
        out: Tensor = self.out(y.flatten(-2))
        return out

    def ready(self, weights: Weights) -> tuple[list[tuple[Tensor, Tensor]], Tensor, Tensor]:
        """Matrices of all environments and pairs on one axis, every swish folded in, as ``baddbmm`` takes them."""
        names = [*(f"hidden.{i}" for i in range(len(self.hidden))), "out"]
        w, b = fold_swish(
            [weights[f"{n}.weight"] for n in names],
            [weights[f"{n}.bias"] for n in names],
            [weights[f"activations.{i}.slope"] for i in range(len(self.hidden))],
        )
        groups = len(self.pairs)
        rows = w[0].shape[0] * groups
        layers = [
            (wi.reshape(rows, -1, wi.shape[-1]).mT.contiguous(), bi.reshape(rows, 1, -1))
            for wi, bi in zip(w[:-1], b[:-1], strict=True)
        ]
        last = w[-1].mT.reshape(rows, -1, w[-1].shape[1]).contiguous()
        return layers, last, b[-1].unsqueeze(-2)

    def batched(self, ready: tuple[list[tuple[Tensor, Tensor]], Tensor, Tensor], t: Tensor, x: Tensor) -> Tensor:
        """One batched product a layer, with environments times pairs as its batch."""
        del t
        layers, last, bias = ready
        e, n, channels = x.shape
        y = x[..., self.pairs].transpose(1, 2).reshape(-1, n, 2)
        for w, b in layers:
            y = nn.functional.silu(torch.baddbmm(b, y, w))
        return torch.bmm(y, last).view(e, -1, n, channels).sum(1) + bias
