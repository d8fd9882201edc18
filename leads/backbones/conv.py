"""Periodic convolutional network for states on a one- or two-dimensional grid."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from leads.backbones.backbone import Backbone, Swish, Weights, backbones, fold_swish
from leads.errors import SettingsError


@backbones.register("conv")
class PeriodicConv(Backbone):
    """``depth`` convolutions with periodic padding and learned-slope swish between them.

    76,229 parameters for two channels on a plane at the published size (4 layers, kernel 3, width 64).

    Args:
        state_shape: ``(C, X)`` or ``(C, Y, X)``.
        width: channels of a hidden layer.
        depth: number of convolutions.
        kernel: odd kernel size.
        factor: the output is multiplied by it (Gray-Scott: 5e-4 in CoDA, 1e-3 in LEADS), so that a fresh network is
            of the size of the true field.

    Source: the networks of LEADS, CoDA and GEPS for Gray-Scott.
    """

    def __init__(
        self, state_shape: tuple[int, ...], width: int = 64, depth: int = 4, kernel: int = 3, factor: float = 1.0
    ) -> None:
        super().__init__(state_shape)
        self.space = len(state_shape) - 1
        if self.space not in (1, 2):
            raise SettingsError(
                f"The conv backbone takes states (C, X) or (C, Y, X), this system's are {tuple(state_shape)}."
            )
        if kernel < 1 or kernel % 2 == 0:
            raise SettingsError(f"The conv backbone needs an odd kernel size, got {kernel}.")
        if min(state_shape[1:]) < kernel // 2:
            raise SettingsError(f"The grid {tuple(state_shape[1:])} is smaller than half the kernel size {kernel}.")
        if width < 1 or depth < 2:
            raise SettingsError(f"The conv backbone needs width >= 1 and depth >= 2, got {width} and {depth}.")
        self.kernel, self.factor = kernel, factor
        channels = [state_shape[0], *[width] * (depth - 1), state_shape[0]]
        layer = nn.Conv1d if self.space == 1 else nn.Conv2d
        self.convs = nn.ModuleList(layer(i, o, kernel) for i, o in pairwise(channels))
        self.activations = nn.ModuleList(Swish() for _ in range(depth - 1))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        del t
        for conv, activation in zip(self.convs, self.activations, strict=False):
            x = activation(conv(self._pad(x)))
        return self.factor * self.convs[-1](self._pad(x))

    def _pad(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x, (self.kernel // 2,) * (2 * self.space), mode="circular")

    def ready(self, weights: Weights) -> list[tuple[Tensor, Tensor]]:
        n = len(self.convs)
        w, b = fold_swish(
            [weights[f"convs.{i}.weight"] for i in range(n)],
            [weights[f"convs.{i}.bias"] for i in range(n)],
            [weights[f"activations.{i}.slope"] for i in range(n - 1)],
        )
        w[-1], b[-1] = w[-1] * self.factor, b[-1] * self.factor
        return list(zip(w, b, strict=True))

    def batched(self, ready: list[tuple[Tensor, Tensor]], t: Tensor, x: Tensor) -> Tensor:
        """One grouped convolution per layer, with the environments as groups."""
        del t
        e, n = x.shape[:2]
        convolve = nn.functional.conv1d if self.space == 1 else nn.functional.conv2d
        y = x.transpose(0, 1).reshape(n, -1, *x.shape[3:])
        for i, (w, b) in enumerate(ready):
            y = convolve(self._pad(y), w.flatten(0, 1), b.flatten(), groups=e)
            if i < len(ready) - 1:
                y = nn.functional.silu(y)
        return y.reshape(n, e, *x.shape[2:]).transpose(0, 1)
