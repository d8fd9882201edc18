"""A training step as the reference codes take it, written anew: the same network, batch, loss and optimiser.

Weights come from the code by a linear map and are rebuilt at every stage of the solver; environments are groups of
convolutions; the solver is torchdiffeq's, called once for the whole trajectory or, while teacher forcing, once for every
frame (CoDA). It is here so that ratios are taken side by side in one run. On Lotka-Volterra it launches about as many operators
as the reference code itself (9,480 in shared/BASELINES.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv2d, pad, softplus
from torchdiffeq import odeint


class _Hyper(nn.Module):
    """Weights of shapes ``shapes`` for E environments: shared ones plus a linear map of two numbers."""

    def __init__(self, shapes: Sequence[tuple[int, ...]], environments: int, dim: int = 2) -> None:
        super().__init__()
        self.shapes, self.environments = shapes, environments
        sizes = [math.prod(s) for s in shapes]
        self.sizes = sizes
        start = [
            torch.empty(n).uniform_(-1, 1) / math.sqrt(max(math.prod(s[1:]), 1))
            for n, s in zip(sizes, shapes, strict=True)
        ]
        self.shared = nn.Parameter(torch.cat(start))
        self.map = nn.Linear(dim, sum(sizes), bias=False)
        self.codes = nn.Parameter(torch.zeros(environments, dim))

    def forward(self) -> list[Tensor]:
        flat = self.shared + self.map(self.codes)
        return [
            w.reshape(self.environments * s[0], *s[1:])
            for w, s in zip(flat.split(self.sizes, 1), self.shapes, strict=True)
        ]


def _swish(x: Tensor, slope: Tensor, environments: int) -> Tensor:
    channels = x.shape[1] // environments
    s = softplus(slope).repeat_interleave(channels).reshape(1, -1, *(1,) * (x.ndim - 2))
    return x * torch.sigmoid(x * s) / 1.1


class Perceptron(nn.Module):
    """Four linear layers as grouped convolutions of length one; state ``(N, E C)``."""

    def __init__(self, channels: int, environments: int, width: int = 64, depth: int = 3) -> None:
        super().__init__()
        sizes = [channels, *[width] * depth, channels]
        pairs = list(pairwise(sizes))
        shapes: list[tuple[int, ...]] = []
        for i, o in pairs:
            shapes += [(o, i, 1), (o,)]
        self.depth, self.environments = depth, environments
        self.hyper = _Hyper([*shapes, *[(1,)] * depth], environments)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        w = self.hyper()
        y = x.unsqueeze(-1)
        for i in range(self.depth + 1):
            y = conv1d(y, w[2 * i], w[2 * i + 1], groups=self.environments)
            if i < self.depth:
                y = _swish(y, w[2 * (self.depth + 1) + i], self.environments)
        return y.squeeze(-1)


class Convolutions(nn.Module):
    """Four periodic 3 x 3 convolutions as groups; state ``(N, E C, Y, X)``."""

    def __init__(self, channels: int, environments: int, width: int = 64, depth: int = 4) -> None:
        super().__init__()
        sizes = [channels, *[width] * (depth - 1), channels]
        shapes: list[tuple[int, ...]] = []
        for i, o in pairwise(sizes):
            shapes += [(o, i, 3, 3), (o,)]
        self.depth, self.environments = depth, environments
        self.hyper = _Hyper([*shapes, *[(1,)] * (depth - 1)], environments)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        w = self.hyper()
        for i in range(self.depth):
            x = conv2d(pad(x, (1, 1, 1, 1), mode="circular"), w[2 * i], w[2 * i + 1], groups=self.environments)
            if i < self.depth - 1:
                x = _swish(x, w[2 * self.depth + i], self.environments)
        return x * 5e-4


class Fourier(nn.Module):
    """FNO of four blocks of ten channels and a projection of 128, as groups; state ``(N, E C, Y, X)``."""

    def __init__(self, channels: int, environments: int, modes: int = 12, width: int = 10, hidden: int = 128) -> None:
        super().__init__()
        self.environments, self.modes, self.width, self.blocks = environments, modes, width, 4
        shapes: list[tuple[int, ...]] = [(width, channels + 2, 1, 1), (width,)]
        for _ in range(self.blocks):
            shapes += [(width, width, 1, 1), (width,), (width, width, 2 * modes, modes, 2)]
        shapes += [(hidden, width, 1, 1), (hidden,), (channels, hidden, 1, 1), (channels,), *[(1,)] * self.blocks]
        self.hyper = _Hyper(shapes, environments)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        w, e = self.hyper(), self.environments
        n, _, *grid = x.shape
        axes = torch.meshgrid(*[torch.linspace(0, 1, k) for k in grid], indexing="ij")
        place = torch.stack(axes).expand(n, e, 2, *grid)
        y = torch.cat([x.reshape(n, e, -1, *grid), place], 2).flatten(1, 2)
        y = conv2d(y, w[0], w[1], groups=e)
        for i in range(self.blocks):
            weight, bias, spectral = w[2 + 3 * i : 5 + 3 * i]
            z = conv2d(y, weight, bias, groups=e)
            y = z + self._spectral(y, torch.view_as_complex(spectral.contiguous()), grid)
            if i < self.blocks - 1:
                y = _swish(y, w[-self.blocks + i], e)
        weight, bias, last, last_bias = w[2 + 3 * self.blocks : 6 + 3 * self.blocks]
        return conv2d(_swish(conv2d(y, weight, bias, groups=e), w[-1], e), last, last_bias, groups=e)

    def _spectral(self, y: Tensor, weight: Tensor, grid: list[int]) -> Tensor:
        n, m, e = y.shape[0], self.modes, self.environments
        z = torch.fft.rfft2(y).reshape(n, e, self.width, grid[0], -1)
        w = weight.reshape(e, self.width, self.width, 2 * m, m)
        out = z.new_zeros(n, e, self.width, grid[0], grid[1] // 2 + 1)
        out[..., :m, :m] = torch.einsum("neiyx,eoiyx->neoyx", z[..., :m, :m], w[..., :m, :])
        out[..., -m:, :m] = torch.einsum("neiyx,eoiyx->neoyx", z[..., -m:, :m], w[..., m:, :])
        return torch.fft.irfft2(out.flatten(1, 2), s=grid)


NETWORKS: dict[str, type[nn.Module]] = {"mlp": Perceptron, "conv": Convolutions, "fno": Fourier}


def step(backbone: str, states: Tensor, times: Tensor, method: str, forced: bool) -> Callable[[], float]:
    """A function that takes one step of Adam on ``states`` ``(E, N, T, C, *X)`` and returns the loss."""
    e = states.shape[0]
    network = NETWORKS[backbone](states.shape[3], e)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    data = states.transpose(0, 1).movedim(2, 0).flatten(2, 3)  # (T, N, E C, *X)

    def take() -> float:
        if forced:
            parts = [odeint(network, data[i], times[i : i + 2], method=method)[1] for i in range(len(times) - 1)]
            forecast = torch.stack([data[0], *parts])
        else:
            forecast = odeint(network, data[0], times, method=method)
        hyper = network.hyper
        penalty = 1e-6 * hyper.map.weight.norm(dim=1).sum() + 1e-4 * hyper.codes.square().sum()
        loss = nn.functional.mse_loss(forecast, data) + penalty
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return take
