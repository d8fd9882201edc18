"""Fourier neural operator for periodic states on a grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from leads.backbones.backbone import Backbone, Swish, Weights, backbones
from leads.backbones.grid import coordinates as coordinates_of
from leads.backbones.grid import require_positive, space_axes
from leads.backbones.head import pointwise_head
from leads.backbones.spectral import SpectralConv, from_modes, kept_modes, mode_matrices, multiply_modes
from leads.errors import SettingsError


class _Block(nn.Module):
    """A spectral convolution and a pointwise one, added; swish after all but the last block."""

    def __init__(self, width: int, modes: tuple[int, ...], spread: float, last: bool) -> None:
        super().__init__()
        self.spectral = SpectralConv(width, width, modes, spread)
        self.pointwise = _pointwise(len(modes), width, width)
        self.activation = nn.Identity() if last else Swish()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.spectral(x) + self.pointwise(x))


@backbones.register("fno")
class FNO(Backbone):
    """Lift, ``depth`` blocks ``swish(K v + W v + b)``, projection; K multiplies the kept Fourier modes by matrices.

    59,621 parameters for one channel on a plane with 6 modes, 232,421 with 12 (real and imaginary parts counted),
    the sizes published for Navier-Stokes. Without coordinates the network commutes with shifts of the grid.

    Args:
        state_shape: ``(C, X)`` or ``(C, Y, X)``.
        modes: kept wavenumbers per axis, 0 to modes - 1 (on the first axis of a plane also -modes to -1); 12, or half
            the grid where that is less, by default. A sequence gives each axis its own.
        width: channels of a block.
        depth: number of blocks.
        hidden: channels of the projection's hidden layer.
        coordinates: add each point's coordinates, from 0 to 1 over the grid, to the input channels, as published.
        spread: spectral weights start uniform in ``[0, spread]``, both parts; ``1 / width^2`` by default.
        factor: the output is multiplied by it.

    Raises:
        SettingsError: states without one or two space axes, or more modes than half a side of the grid.

    Source: Li et al. (2021), Fourier neural operator; sizes, activation and coordinates as in the networks of LEADS
    (6 modes, spread ``width^-1/2``) and CoDA (12 modes, spread ``width^-2``) for Navier-Stokes.
    """

    def __init__(
        self,
        state_shape: tuple[int, ...],
        modes: int | Sequence[int] | None = None,
        width: int = 10,
        depth: int = 4,
        hidden: int = 128,
        coordinates: bool = True,
        spread: float | None = None,
        factor: float = 1.0,
    ) -> None:
        super().__init__(state_shape)
        self.space = space_axes("fno", state_shape)
        require_positive("fno", width=width, depth=depth, hidden=hidden)
        self.modes = _check_modes(modes, state_shape[1:])
        self.coordinates, self.factor = coordinates, factor
        spread = width**-2.0 if spread is None else spread
        channels = state_shape[0]
        self.lift = _pointwise(self.space, channels + self.space * coordinates, width)
        self.blocks = nn.ModuleList(_Block(width, self.modes, spread, i == depth - 1) for i in range(depth))
        self.project = _pointwise(self.space, width, hidden)
        self.activation = Swish()
        self.out = _pointwise(self.space, hidden, channels)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        del t
        y = self.lift(self._inputs(x))
        for block in self.blocks:
            y = block(y)
        return self.factor * self.out(self.activation(self.project(y)))

    def _inputs(self, x: Tensor) -> Tensor:
        return torch.cat([x, coordinates_of(x, self.space)], 1) if self.coordinates else x

    def complex_weights(self) -> list[str]:
        return [f"blocks.{i}.spectral.weight" for i in range(len(self.blocks))]

    def ready(self, weights: Weights) -> list[tuple[Tensor, Tensor, Tensor | None]]:
        """Matrices, biases and spectral matrices of each layer, every swish folded in as ``fold_swish`` does."""
        n = len(self.blocks)
        names = ["lift", *(f"blocks.{i}.pointwise" for i in range(n)), "project", "out"]
        swishes = {f"blocks.{i}.pointwise": f"blocks.{i}.activation.slope" for i in range(n - 1)}
        swishes["project"] = "activation.slope"
        layers = []
        before: Tensor | float = 1.0
        for name in names:
            after = softplus(weights[swishes[name]]) if name in swishes else self.factor if name == "out" else 1.0
            spectral = weights.get(name.replace("pointwise", "spectral") + ".weight") if "pointwise" in name else None
            layers.append(
                (
                    _times(weights[f"{name}.weight"].flatten(2), before * after).unsqueeze(1),
                    _times(weights[f"{name}.bias"], after)[:, None, :, None],
                    None if spectral is None else mode_matrices(_times(spectral, before * after)),
                )
            )
            before = (1.1 * after).reciprocal() if isinstance(after, Tensor) else 1.0
        return layers

    def batched(self, ready: list[tuple[Tensor, Tensor, Tensor | None]], t: Tensor, x: Tensor) -> Tensor:
        """Matrix products over environments in place of convolutions: one for all points, one per kept mode."""
        del t
        e, n, _, *grid = x.shape
        y = self._inputs(x.flatten(0, 1)).unflatten(0, (e, n)).flatten(3)
        *blocks, (project, shift, _), (out, last_shift, _) = ready
        for i, (matrix, bias, spectral) in enumerate(blocks):
            z = torch.matmul(matrix, y) + bias
            if spectral is not None:
                modes = multiply_modes(kept_modes(y.unflatten(-1, grid), self.modes), spectral)
                z = z + from_modes(modes, self.modes, grid).flatten(3)
            y = silu(z) if 0 < i < len(self.blocks) else z
        return pointwise_head(y, project, shift, out, last_shift).reshape(x.shape)


def _pointwise(space: int, inputs: int, outputs: int) -> nn.Module:
    return (nn.Conv1d if space == 1 else nn.Conv2d)(inputs, outputs, 1)


def _times(weight: Tensor, scale: Tensor | float) -> Tensor:
    """Stacked weights ``(E, ...)`` times a number, or one ``(E, 1)`` for each environment."""
    return weight * (scale.reshape(-1, *(1,) * (weight.ndim - 1)) if isinstance(scale, Tensor) else scale)


def _check_modes(modes: int | Sequence[int] | None, grid: tuple[int, ...]) -> tuple[int, ...]:
    each = tuple(min(12, n // 2) for n in grid) if modes is None else modes
    each = (each,) * len(grid) if isinstance(each, int) else tuple(each)
    if len(each) != len(grid):
        raise SettingsError(f"The fno backbone needs modes for each of the {len(grid)} space axes, got {list(each)}.")
    if min(each) < 1 or any(2 * m > n for m, n in zip(each, grid, strict=True)):
        most = [n // 2 for n in grid]
        raise SettingsError(
            f"The fno backbone cannot keep {list(each)} modes of a grid {tuple(grid)}: between 1 and {most} are there."
        )
    return each
