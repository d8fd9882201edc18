"""What is believed of the initial state before it is observed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from leads.errors import SettingsError
from leads.numerics import SpectralGrid
from leads.observation import Layout


@dataclass(frozen=True)
class Background:
    """A Gaussian background error: ``B = L L^T`` with standard deviations ``sd`` of each channel.

    With ``length`` errors are correlated in space, ``exp(-r^2 / 2 length^2)`` on the periodic box (a spectral covariance:
    L multiplies Fourier modes by a Gaussian); without it B is diagonal. Channels are not correlated.

    Args:
        sd: in the units of the state's channels, one for all or one each.
        length: in the unit of the grid.

    Raises:
        SettingsError: deviations or a length that are not positive.
    """

    sd: float | tuple[float, ...]
    length: float | None = None

    def __post_init__(self) -> None:
        sd = tuple(float(v) for v in self.sd) if isinstance(self.sd, tuple | list) else (float(self.sd),)
        if not all(0 < v < math.inf for v in sd) or (self.length is not None and not 0 < self.length < math.inf):
            raise SettingsError(f"A background needs positive deviations and length, got {self.sd} and {self.length}.")

    def root(self, v: Tensor, layout: Layout) -> Tensor:
        """``L v`` of fields ``(..., C, *X)``.

        Raises:
            SettingsError: another number of deviations than channels, or a length without a periodic grid.
        """
        count, space = len(layout.channels), layout.space
        sd = tuple(self.sd) if isinstance(self.sd, tuple | list) else (self.sd,) * count
        if len(sd) != count:
            raise SettingsError(f"The background has {len(sd)} deviations, the state {count} channels.")
        scale = torch.tensor(sd, dtype=v.dtype, device=v.device).reshape(-1, *(1,) * len(space))
        if self.length is None:
            return scale * v
        grid = layout.grid
        if grid is None or not grid.periodic:
            raise SettingsError("A background with a length of correlation needs a periodic grid. Leave length out.")
        modes = SpectralGrid(space, tuple(n * d for n, d in zip(space, grid.spacing, strict=True))).to(v)
        weight = (-0.25 * modes.k2 * self.length**2).exp()
        size = ((modes.mode_weights * weight**2).sum() / math.prod(space)).sqrt()
        return scale * modes.inverse(weight / size * modes.forward(v))
