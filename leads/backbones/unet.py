"""Periodic U-Net for states on a grid."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from leads.backbones.backbone import Backbone, Swish, backbones
from leads.backbones.grid import periodic_convolution, require_positive, space_axes
from leads.errors import SettingsError


class _Stage(nn.Module):
    """Two periodic convolutions, each followed by swish."""

    def __init__(self, state_shape: tuple[int, ...], inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.first = periodic_convolution("unet", state_shape, inputs, outputs, kernel)
        self.between = Swish()
        self.second = periodic_convolution("unet", state_shape, outputs, outputs, kernel)
        self.after = Swish()

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.second(self.between(self.first(x))))


@backbones.register("unet")
class UNet(Backbone):
    """Stages of two periodic convolutions on ``levels + 1`` resolutions, each half the one before, and back again.

    Going down, cells are averaged in pairs along each axis and the channels double; going up, cells are repeated and
    joined with the output of the stage of the same resolution on the way down. Commutes with shifts of the grid by
    multiples of ``2^levels`` cells.

    Args:
        state_shape: ``(C, X)`` or ``(C, Y, X)``; each side a multiple of ``2^levels``.
        width: channels on the finest resolution.
        levels: number of halvings.
        kernel: odd kernel size.
        factor: the output is multiplied by it.

    Raises:
        SettingsError: states without one or two space axes, sides that cannot be halved ``levels`` times, an even
            kernel, or one wider than the coarsest grid.

    Source: Ronneberger et al. (2015), U-Net, with periodic padding, averaging in place of the largest value (which has
    no second derivative), and no normalisation.
    """

    def __init__(
        self, state_shape: tuple[int, ...], width: int = 32, levels: int = 2, kernel: int = 3, factor: float = 1.0
    ) -> None:
        super().__init__(state_shape)
        self.space = space_axes("unet", state_shape)
        require_positive("unet", width=width, levels=levels)
        sides = tuple(state_shape[1:])
        if any(n % 2**levels for n in sides):
            able = max(k for k in range(levels) if not any(n % 2**k for n in sides))
            instead = f"take levels={able}" if able else "choose another backbone, e.g. 'resnet' or 'fno'"
            raise SettingsError(
                f"The unet backbone halves each side of the grid {sides} {levels} times, which needs multiples of "
                f"{2**levels}: {instead}."
            )
        self.factor = factor
        widths = [width * 2**i for i in range(levels + 1)]
        shapes = [(state_shape[0], *(n // 2**i for n in sides)) for i in range(levels + 1)]
        self.down = nn.ModuleList(
            _Stage(shape, i, o, kernel)
            for shape, (i, o) in zip(shapes, pairwise([state_shape[0], *widths]), strict=True)
        )
        self.up = nn.ModuleList(
            _Stage(shapes[i], widths[i + 1] + widths[i], widths[i], kernel) for i in reversed(range(levels))
        )
        self.out = periodic_convolution("unet", state_shape, width, state_shape[0], 1)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        del t
        passed: list[Tensor] = []
        y = x
        for i, stage in enumerate(self.down):
            y = stage(self._halve(y) if i else y)
            passed.append(y)
        passed.pop()
        for stage in self.up:
            y = stage(torch.cat([self._double(y), passed.pop()], 1))
        return self.factor * self.out(y)

    def _halve(self, x: Tensor) -> Tensor:
        for axis in range(-self.space, 0):
            x = x.unflatten(axis, (-1, 2)).mean(axis)
        return x

    def _double(self, x: Tensor) -> Tensor:
        for axis in range(-self.space, 0):
            x = torch.stack([x, x], axis).flatten(axis - 1, axis)
        return x
