"""Residual network steered by its style: gain and shift of normalised channels, and what lies beyond the edge."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leads.backbones.backbone import Backbone, Swish, backbones
from leads.backbones.grid import require_positive, space_axes
from leads.errors import ShapeError


class AdaptiveNorm(nn.Module):
    """``gain (v - mean) / sqrt(var + 1e-5) + shift`` with each sample's own mean and variance over space (AdaIN).

    Args:
        channels: of the input; ``gain`` and ``shift`` have one value each, at first 1 and 0.

    Source: Huang and Belongie (2017), Arbitrary style transfer, eq. 8.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        space = tuple(range(2, x.ndim))
        centred = x - x.mean(space, keepdim=True)
        scale = (centred.square().mean(space, keepdim=True) + 1e-5).rsqrt()
        per_channel = (-1, *(1,) * len(space))
        return centred * scale * self.gain.reshape(per_channel) + self.shift.reshape(per_channel)


class AdaptivePad(nn.Module):
    """A ring of one cell around the grid, filled with learned values that all channels share (AdaPad).

    ``values`` holds the cell before and the cell after a line; of a plane ``(Y, X)`` the row above and the row below,
    ``X + 2`` each, then the column to the left and the one to the right, ``Y`` each: ``2 (Y + X) + 4`` in all. They
    are zero at first.

    Raises:
        ShapeError: an input on another grid.

    Source: Wang et al. (2022), Meta-learning dynamics forecasting using task inference. Its public code
    fixes 260 values, for 64 x 64 cells with one corner left out.
    """

    def __init__(self, grid: tuple[int, ...]) -> None:
        super().__init__()
        self.grid = tuple(grid)
        self.values = nn.Parameter(torch.zeros(2 if len(grid) == 1 else 2 * sum(grid) + 4))

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[2:]) != self.grid:
            raise ShapeError(
                f"The padding was made for the grid {self.grid}, got {tuple(x.shape[2:])}. Put the states on that grid."
            )
        if len(self.grid) == 1:
            before, after = (self.values[i].expand(*x.shape[:2], 1) for i in (0, 1))
            return torch.cat([before, x, after], -1)
        rows, columns = self.grid
        above, below, left, right = self.values.split([columns + 2, columns + 2, rows, rows])
        row = lambda v: v.expand(*x.shape[:2], 1, columns + 2)  # noqa: E731
        column = lambda v: v[:, None].expand(*x.shape[:2], rows, 1)  # noqa: E731
        return torch.cat([row(above), torch.cat([column(left), x, column(right)], -1), row(below)], -2)


@backbones.register("style_resnet")
class StyleResNet(Backbone):
    """Residual blocks ``swish(W v + norm(conv(pad(swish(norm(conv(pad(v))))))))`` whose norms and pads are the style.

    conv has kernel 3 and no bias (the norm would remove it); W is the identity, or a pointwise map where the width
    changes, which it does, doubling, every second block: 64, 64, 128, 128, 256, 256, 512, 512 at the published size. A
    pointwise map leads out. The resolution is kept, and nothing is periodic: what lies beyond the edge is learned.

    All style parameters lie below ``norms`` and ``pads`` (:meth:`style` names them), so that an adapter can move them
    alone, e.g. ``LinearHyper(..., only=["norms", "pads"])``.

    Args:
        state_shape: ``(C, X)`` or ``(C, Y, X)``.
        width: channels of the first block.
        blocks: number of blocks.
        factor: the output is multiplied by it.

    Raises:
        SettingsError: states without one or two space axes, or sizes below 1.
        ShapeError: a state on another grid than the network was made for.

    Source: Wang et al. (2022), Meta-learning dynamics forecasting using task inference (its ResNet forecaster).
    """

    def __init__(self, state_shape: tuple[int, ...], width: int = 64, blocks: int = 8, factor: float = 1.0) -> None:
        super().__init__(state_shape)
        space = space_axes("style_resnet", state_shape)
        require_positive("style_resnet", width=width, blocks=blocks)
        self.factor = factor
        layer = nn.Conv1d if space == 1 else nn.Conv2d
        widths = [state_shape[0], *(width * 2 ** (i // 2) for i in range(blocks))]
        self.pads, self.convs, self.norms = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.activations, self.shortcuts = nn.ModuleList(), nn.ModuleList()
        for i in range(blocks):
            for inputs in (widths[i], widths[i + 1]):
                self.pads.append(AdaptivePad(tuple(state_shape[1:])))
                self.convs.append(layer(inputs, widths[i + 1], 3, bias=False))
                self.norms.append(AdaptiveNorm(widths[i + 1]))
                self.activations.append(Swish())
            same = widths[i] == widths[i + 1]
            self.shortcuts.append(nn.Identity() if same else layer(widths[i], widths[i + 1], 1))
        self.out = layer(widths[-1], state_shape[0], 1)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        del t
        y = x
        for i, shortcut in enumerate(self.shortcuts):
            z = self.activations[2 * i](self._layer(2 * i, y))
            y = self.activations[2 * i + 1](shortcut(y) + self._layer(2 * i + 1, z))
        return self.factor * self.out(y)

    def _layer(self, i: int, x: Tensor) -> Tensor:
        return self.norms[i](self.convs[i](self.pads[i](x)))

    def style(self) -> list[str]:
        """Names of the parameters that are the style: gains, shifts and pad values."""
        return [name for name, _ in self.named_parameters() if name.startswith(("norms.", "pads."))]

    def norm_layers(self) -> list[str]:
        return [name.removesuffix(".gain") for name in self.style() if name.endswith(".gain")]
