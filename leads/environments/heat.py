"""Heat: diffusion with loss to the surroundings, in one or two dimensions."""

from __future__ import annotations

import math
from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.arguments import whole
from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.fourier_system import LinearFourierSystem, smooth_fields
from leads.environments.system import Channel, Grid, Parameter
from leads.errors import SettingsError
from leads.numerics.spectral import SpectralGrid


class Heat(LinearFourierSystem):
    """Temperature u above that of the surroundings, on a periodic box of side 2 pi:

        u_t = D lap(u) - r u

    State ``(1, *X)``. Initial states: a constant, uniform in [0, 1], and a Gaussian random field of spectrum
    ``exp(-k^2 / 18)``. Derivatives are spectral and solutions exact: each Fourier mode decays as ``exp(-(D k^2 + r) t)``.
    The mean is conserved where r = 0. Source: Fourier (1822).

    Args:
        dims: 1 or 2.
        size: points a side, at least 16.

    Raises:
        SettingsError: another number of dimensions, or too few points.
    """

    channels = (Channel("u", "1", "temperature above the surroundings"),)
    parameters = (
        Parameter("D", "length2/time", 0.0, 1.0, "diffusivity"),
        Parameter("r", "1/time", 0.0, 2.0, "loss rate"),
    )

    def __init__(self, dims: int = 1, size: int = 64) -> None:
        if whole("dims", dims, 1) > 2:
            raise SettingsError(f"Heat flows in 1 or 2 dimensions here, got dims={dims}.")
        size = whole("size", size, 16, "initial waves of wavenumber 3 and more must be resolved")
        self.spectral = SpectralGrid((size,) * dims, (2 * math.pi,) * dims)
        self.grid = Grid(self.spectral.shape, self.spectral.spacing, ("y", "x")[-dims:])

    def symbol(self, grid: SpectralGrid, p: Tensor) -> Tensor:
        diffusivity, loss = self.split(p)
        return diffusivity * grid.laplacian - loss

    def simulate_published(self, x0: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """As :meth:`simulate`: no generator of this system's data is published."""
        return self.simulate(x0, p, t)

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        level = torch.from_numpy(generator.uniform(size=(n, *(1,) * self.spectral.ndim)))
        return (level + smooth_fields(self.spectral, 3.0, n, generator)).unsqueeze(1)

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """Mean and variance over the grid, each ``(...)``."""
        flat = x.flatten(-1 - self.spectral.ndim)
        return {"mean": flat.mean(-1), "variance": flat.var(-1, unbiased=False)}


#: seen, unseen, budget, range of fresh environments, source
_SPLITS = {
    "ours": (
        tuple(product((0.02, 0.05, 0.1), (0.0, 0.25, 0.5))),
        tuple(product((0.035, 0.15), (0.125, 0.75))),
        Budget(train=4, test=32),
        Box((0.02, 0.0), (0.1, 0.5)),
        "Ours.",
    ),
}


@register("heat")
def heat(split: Literal["ours"] = "ours", dims: int = 1, size: int | None = None) -> EnvironmentFamily:
    """Diffusion with loss, 20 frames 0.1 apart.

    Args:
        split: ``"ours"`` (9 seen, 4 unseen environments in D and r).
        dims: 1 or 2.
        size: points a side; by default 64 in one dimension and 32 in two.
    """
    seen, unseen, budget, box, source = choose_split("heat", split, _SPLITS)
    return EnvironmentFamily(
        name="heat",
        split=split,
        system=Heat(dims, (64 if dims == 1 else 32) if size is None else size),
        seen=torch.tensor(seen, dtype=torch.float64),
        unseen=torch.tensor(unseen, dtype=torch.float64),
        times=torch.arange(20, dtype=torch.float64) * 0.1,
        budget=budget,
        distribution=box,
        source=source,
        arguments={"split": split, "dims": dims, "size": size},
    )
