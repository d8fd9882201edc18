"""U-Net steered by its style: gain and shift of normalised channels, and what lies beyond the edges, at each resolution."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from leads.backbones.backbone import Backbone, Swish, backbones
from leads.backbones.grid import require_positive, space_axes
from leads.backbones.style_resnet import AdaptiveNorm, AdaptivePad
from leads.errors import SettingsError


class _Stage(nn.Module):
    """Two times ``swish(norm(conv(pad(v))))``; conv has kernel 3 and no bias (the norm would remove it)."""

    def __init__(self, grid: tuple[int, ...], inputs: int, outputs: int) -> None:
        super().__init__()
        layer = nn.Conv1d if len(grid) == 1 else nn.Conv2d
        self.pads = nn.ModuleList(AdaptivePad(grid) for _ in range(2))
        self.convs = nn.ModuleList(layer(i, outputs, 3, bias=False) for i in (inputs, outputs))
        self.norms = nn.ModuleList(AdaptiveNorm(outputs) for _ in range(2))
        self.activations = nn.ModuleList(Swish() for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for pad, conv, norm, activation in zip(self.pads, self.convs, self.norms, self.activations, strict=True):
            x = activation(norm(conv(pad(x))))
        return x


@backbones.register("style_unet")
class StyleUNet(Backbone):
    """Stages of two styled convolutions on ``levels + 1`` resolutions, each half the one before, and back again.

    Going down, cells are averaged in pairs along each axis and the channels double; going up, cells are repeated and
    joined with the output of the stage of the same resolution on the way down. A pointwise map leads out. All gains,
    shifts and pad values are the style, which :meth:`style` names; pads have the size of their resolution.

    Args:
        state_shape: ``(C, X)`` or ``(C, Y, X)``; each side a multiple of ``2^levels``.
        width: channels on the finest resolution.
        levels: number of halvings; by default as many, up to 3, as leave four cells a side, but one at least.
        factor: the output is multiplied by it.

    Raises:
        SettingsError: states without one or two space axes, sizes below 1, or sides that cannot be halved so often
            or down to fewer than four cells.
        ShapeError: a state on another grid than the network was made for.

    Source: Wang et al. (2022), Meta-learning dynamics forecasting using task inference (its U-Net forecaster; number of
    levels and the averages between them are ours).
    """

    def __init__(
        self, state_shape: tuple[int, ...], width: int = 64, levels: int | None = None, factor: float = 1.0
    ) -> None:
        super().__init__(state_shape)
        self.space = space_axes("style_unet", state_shape)
        require_positive("style_unet", width=width, **({} if levels is None else {"levels": levels}))
        sides = tuple(state_shape[1:])
        if levels is None:
            fits = lambda k: not any(n % 2**k or n < 2 ** (k + 2) for n in sides)  # noqa: E731
            levels = max((k for k in (1, 2, 3) if fits(k)), default=1)
        if any(n % 2**levels for n in sides) or math.prod(n // 2**levels for n in sides) < 4:
            raise SettingsError(
                f"The style_unet backbone halves each side of the grid {sides} {levels} times and normalises over the "
                f"cells that are left, which needs multiples of {2**levels} and four cells left: take fewer levels, or "
                "'style_resnet'."
            )
        self.factor = factor
        widths = [width * 2**i for i in range(levels + 1)]
        grids = [tuple(n // 2**i for n in sides) for i in range(levels + 1)]
        self.down = nn.ModuleList(
            _Stage(grid, i, o) for grid, (i, o) in zip(grids, pairwise([state_shape[0], *widths]), strict=True)
        )
        self.up = nn.ModuleList(_Stage(grids[i], widths[i + 1] + widths[i], widths[i]) for i in reversed(range(levels)))
        self.out = (nn.Conv1d if self.space == 1 else nn.Conv2d)(width, state_shape[0], 1)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        del t
        passed: list[Tensor] = []
        y = x
        for i, stage in enumerate(self.down):
            if i:
                for axis in range(-self.space, 0):
                    y = y.unflatten(axis, (-1, 2)).mean(axis)
            y = stage(y)
            passed.append(y)
        passed.pop()
        for stage in self.up:
            for axis in range(-self.space, 0):
                y = torch.stack([y, y], axis).flatten(axis - 1, axis)
            y = stage(torch.cat([y, passed.pop()], 1))
        return self.factor * self.out(y)

    def style(self) -> list[str]:
        """Names of the parameters that are the style: gains, shifts and pad values."""
        return [name for name, _ in self.named_parameters() if ".norms." in name or ".pads." in name]

    def norm_layers(self) -> list[str]:
        return [name.removesuffix(".gain") for name in self.style() if name.endswith(".gain")]
