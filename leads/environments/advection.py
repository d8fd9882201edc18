"""Advection: a field carried along a line at constant speed."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.arguments import whole
from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.fourier_system import LinearFourierSystem, smooth_fields
from leads.environments.system import Channel, Grid, Parameter
from leads.numerics.spectral import SpectralGrid


class Advection(LinearFourierSystem):
    """Concentration u on a periodic line of length 2 pi:

        u_t + c u_x = 0

    State ``(1, size)``. Initial states: a Gaussian random field of spectrum ``exp(-k^2 / 18)``. Derivatives are spectral
    and solutions exact: ``u(t, x) = u(0, x - c t)``. The mean and the mean of u^2 (the ``invariant``) are conserved.

    Args:
        size: points, at least 16.

    Raises:
        SettingsError: too few points.
    """

    channels = (Channel("u", "1", "concentration"),)
    parameters = (Parameter("c", "length/time", -5.0, 5.0, "speed"),)

    def __init__(self, size: int = 64) -> None:
        size = whole("size", size, 16, "initial waves of wavenumber 3 and more must be resolved")
        self.spectral = SpectralGrid((size,), (2 * math.pi,))
        self.grid = Grid(self.spectral.shape, self.spectral.spacing, ("x",))

    def symbol(self, grid: SpectralGrid, p: Tensor) -> Tensor:
        (speed,) = self.split(p)
        return -speed * grid.derivative(-1)

    def simulate_published(self, x0: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """As :meth:`simulate`: no generator of this system's data is published."""
        return self.simulate(x0, p, t)

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        return smooth_fields(self.spectral, 3.0, n, generator).unsqueeze(1)

    def invariant(self, x: Tensor, p: Tensor) -> Tensor:
        """Mean of u^2 over the grid, shape ``(...)``."""
        return x[..., 0, :].square().mean(-1)

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """Means over the grid of u and u^2, each ``(...)``."""
        return {"mean": x[..., 0, :].mean(-1), "mean square": self.invariant(x, p)}


#: seen, unseen, budget, range of fresh environments, source
_SPLITS = {
    "ours": (
        ((0.5,), (0.75,), (1.0,), (1.25,), (1.5,)),
        ((0.625,), (1.375,), (0.3,), (1.75,)),
        Budget(train=4, test=32),
        Box((0.5,), (1.5,)),
        "Ours.",
    ),
}


@register("advection")
def advection(split: Literal["ours"] = "ours", size: int = 64) -> EnvironmentFamily:
    """Advection at constant speed, 20 frames 0.1 apart.

    Args:
        split: ``"ours"`` (5 seen, 4 unseen speeds: two between and two beyond the seen ones).
        size: points.
    """
    seen, unseen, budget, box, source = choose_split("advection", split, _SPLITS)
    return EnvironmentFamily(
        name="advection",
        split=split,
        system=Advection(size),
        seen=torch.tensor(seen, dtype=torch.float64),
        unseen=torch.tensor(unseen, dtype=torch.float64),
        times=torch.arange(20, dtype=torch.float64) * 0.1,
        budget=budget,
        distribution=box,
        source=source,
        arguments={"split": split, "size": size},
    )
