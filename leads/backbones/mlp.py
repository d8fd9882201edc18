"""Multi-layer perceptron for states without space axes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from leads.backbones.backbone import Backbone, Swish, Weights, backbones, fold_swish
from leads.backbones.coded import CodedLayer, CodedPerceptron
from leads.errors import SettingsError

#: Rows of a product from which on gathering more does not make it cheaper.
ENOUGH = 256


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

    def passes(self, ready: list[tuple[Tensor, Tensor]]) -> PerceptronPasses:
        return PerceptronPasses(ready)


class PerceptronPasses:
    """The batched perceptron with its way back written out (see :mod:`leads.integrators.written`)."""

    def __init__(self, layers: list[tuple[Tensor, Tensor]]) -> None:
        self._given = layers
        self._layers = [(w.detach(), b.detach()) for w, b in layers]
        self._back = [w.detach().mT for w, _ in layers]
        self.begin()

    def begin(self) -> None:
        #: What each layer saw and what came back to it, until it is enough for one product.
        self._seen: list[tuple[list[Tensor], list[Tensor]]] = [([], []) for _ in self._layers]
        self._sums: list[tuple[Tensor, Tensor] | None] = [None for _ in self._layers]

    def tensors(self) -> list[Tensor]:
        return [p for layer in self._given for p in layer]

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        kept = [x]
        for w, b in self._layers[:-1]:
            z = torch.baddbmm(b, x, w)
            x = nn.functional.silu(z)
            kept += [z, x]
        w, b = self._layers[-1]
        return torch.baddbmm(b, x, w), kept

    def backward(self, kept: list[Tensor], gradient: Tensor) -> Tensor:
        for i in range(len(self._layers) - 1, -1, -1):
            inputs, gradients = self._seen[i]
            inputs.append(kept[2 * i])
            gradients.append(gradient)
            if len(inputs) * gradient.shape[1] >= ENOUGH:
                self._collect(i)
            gradient = torch.bmm(gradient, self._back[i])
            if i:
                gradient = torch.ops.aten.silu_backward(gradient, kept[2 * i - 1])
        return gradient

    def gradients(self) -> list[Tensor]:
        out: list[Tensor] = []
        for i in range(len(self._layers)):
            self._collect(i)
            out += self._sums[i] or ()
        return out

    def _collect(self, i: int) -> None:
        """Add the product of what layer i has seen so far to its gradient."""
        inputs, gradients = self._seen[i]
        if not inputs:
            return
        x, g = (v[0] if len(v) == 1 else torch.cat(v, 1) for v in (inputs, gradients))
        before, bias = self._sums[i], g.sum(1, keepdim=True)
        if before is None:
            self._sums[i] = (torch.bmm(x.mT, g), bias)
        else:
            self._sums[i] = (before[0].baddbmm_(x.mT, g), before[1].add_(bias))
        inputs.clear()
        gradients.clear()
