"""Decaying two-dimensional turbulence: random eddies that merge into a few vortices."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.arguments import points
from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.system import Parameter
from leads.environments.vorticity_flow import DealiasedFlow
from leads.numerics.random_fields import random_field
from leads.numerics.spectral import SpectralGrid

#: k0, the wavenumber of the initial eddies.
EDDIES = 6.0


class DecayingTurbulence(DealiasedFlow):
    """Vorticity zeta of a flow (u, v) in a doubly periodic square of side 2 pi:

        zeta_t + u zeta_x + v zeta_y = nu lap(zeta) - nu4 lap(lap(zeta)),    zeta = v_x - u_y

    State ``(1, size, size)``, axes (y, x). Parameters: viscosity nu and hyperviscosity nu4 (0 in the family).
    Energy E and enstrophy Z decay: ``dE/dt = -2 nu Z``, ``dZ/dt = -2 nu P`` with the palinstrophy P (for nu4 = 0);
    with both viscosities 0 and ``fine=size`` energy and enstrophy are conserved.

    Initial states: Gaussian, energy spectrum proportional to ``k / (1 + (k / k0)^4)``, k0 = 6, cut at two thirds of the
    grid's highest wavenumber, each field scaled to energy 1/2 (mean of ``|velocity|^2 / 2``).

    Discretisation: Fourier, 2/3 rule on ``fine`` points, adaptive steps of order 8 (see :class:`DealiasedFlow`); error
    by tighter tolerances 1e-7 of the largest vorticity over 20 frames. At ``fine`` = 128 frames of 64 points differ
    from those of a converged grid by 3 % (root mean square) for nu = 4e-3 and 0.3 % for nu = 1e-2.
    Source: McWilliams (1984), J. Fluid Mech. 146; initial states as in pyqg's example of it.
    """

    parameters = (
        Parameter("nu", "length2/time", 0.0, 1.0, "viscosity"),
        Parameter("nu4", "length4/time", 0.0, 1.0, "hyperviscosity"),
    )

    def __init__(self, size: int = 64, fine: int = 128) -> None:
        reason = f"initial eddies of wavenumber {EDDIES:g} must be resolved by the 2/3 rule"
        size, fine = (points(name, n, EDDIES, 3, reason) for name, n in (("size", size), ("fine", fine)))
        super().__init__(size, 2 * math.pi, fine)

    def linear(self, g: SpectralGrid, p: Tensor) -> Tensor:
        nu, nu4 = self.split(p)
        return nu * g.laplacian - nu4 * g.laplacian**2

    def simulate_published(self, x0: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """As :meth:`simulate`: no generator of this system's data is published."""
        return self.simulate(x0, p, t)

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        g = self.fourier
        fields = random_field(g, lambda k: k**3 / (1 + (k / EDDIES) ** 4), n, generator)
        zetah = g.dealias * g.forward(fields)
        energy = -0.5 * g.inner(zetah, g.inverse_laplacian * zetah)
        return g.inverse(zetah * (0.5 / energy).sqrt()[:, None, None]).unsqueeze(1)


_BOX = Box((4e-3, 0.0), (1e-2, 0.0))

#: seen and unseen viscosities, source
_SPLITS = {
    "ours": (
        (4e-3, 6e-3, 8e-3, 1e-2),
        (5e-3, 7e-3, 9e-3, 1.2e-2),
        "Set-up of McWilliams (1984); viscosities, frames and budget are ours.",
    ),
}


@register("decaying_turbulence")
def decaying_turbulence(split: Literal["ours"] = "ours", size: int = 64, fine: int = 128) -> EnvironmentFamily:
    """Decaying turbulence, 20 frames, dt = 0.1 (about one turnover of the initial eddies).

    Args:
        split: ``"ours"`` (4 seen, 4 unseen viscosities, one of them beyond the seen range).
        size: points a side of the frames.
        fine: points a side of the simulation; at least ``size``.
    """
    seen, unseen, source = choose_split("decaying_turbulence", split, _SPLITS)
    rows = lambda values: torch.tensor([(nu, 0.0) for nu in values], dtype=torch.float64)  # noqa: E731
    return EnvironmentFamily(
        name="decaying_turbulence",
        split=split,
        system=DecayingTurbulence(size, fine),
        seen=rows(seen),
        unseen=rows(unseen),
        times=torch.arange(20, dtype=torch.float64) * 0.1,
        budget=Budget(train=4, test=8, valid=2, adapt_test=8),
        distribution=_BOX,
        source=source,
        arguments={"split": split, "size": size, "fine": fine},
    )
