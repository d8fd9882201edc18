"""Networks from a few consecutive frames to features of their environment."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from leads.errors import SettingsError


class WindowMLP(nn.Module):
    """``depth`` hidden layers of ``width`` units with SiLU, over all numbers of a window side by side.

    Called with windows ``(B, k, *S)``; gives ``(B, width)``.
    """

    def __init__(self, state_shape: tuple[int, ...], frames: int, width: int, depth: int) -> None:
        super().__init__()
        inputs = frames * int(torch.Size(state_shape).numel())
        sizes = [inputs, *[width] * depth]
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(sizes))
        self.features = width

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in self.layers:
            x = nn.functional.silu(layer(x))
        return x


class WindowConv(nn.Module):
    """``depth`` times [convolution of kernel 3 in time and space, leaky ReLU, max-pooling by 2], then the mean.

    Channels double from ``width``; an axis that has one point left is not pooled. Convolutions start as He et al. (2015)
    advise and keep the scale of their input; the published network has batch normalisation instead, under which an
    environment's context would depend on those beside it.

    Called with windows ``(B, k, C, *X)``; gives ``(B, width 2^(depth - 1))``. Published size: width 128, depth 4.

    Raises:
        SettingsError: more than two space axes.
    """

    def __init__(self, state_shape: tuple[int, ...], width: int, depth: int) -> None:
        super().__init__()
        if len(state_shape) > 3:
            raise SettingsError(
                f"The encoder's convolutions take states (C,), (C, X) or (C, Y, X), these are {tuple(state_shape)}. "
                "Use network='mlp'."
            )
        kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
        channels = [state_shape[0], *(width * 2**i for i in range(depth))]
        convolution = kinds[len(state_shape) - 1]
        self.layers = nn.ModuleList(convolution(i, o, 3, padding=1) for i, o in pairwise(channels))
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="leaky_relu")  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.features = channels[-1]

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        pools = (nn.functional.max_pool1d, nn.functional.max_pool2d, nn.functional.max_pool3d)
        pool = pools[x.ndim - 3]
        for layer in self.layers:
            x = nn.functional.leaky_relu(layer(x))
            x = pool(x, tuple(2 if n > 1 else 1 for n in x.shape[2:]))
        return x.flatten(2).mean(2)
