"""Kuramoto-Sivashinsky: flame fronts and falling films, the standard example of chaos in space and time."""

from __future__ import annotations

import math
from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.arguments import points
from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.spectral_scalar import SpectralScalar
from leads.environments.system import Parameter
from leads.errors import SettingsError
from leads.numerics.random_fields import random_field
from leads.numerics.spectral import SpectralGrid


class KuramotoSivashinsky(SpectralScalar):
    """Velocity u of a front on a periodic line:

        u_t + u u_x + nu2 u_xx + nu4 u_xxxx = 0

    A mode of wavenumber k grows at the rate ``nu2 k^2 - nu4 k^4``: long waves are unstable, short ones damped, and the
    advection carries energy from the ones to the others. With U = nu2^(3/2) nu4^(-1/2), X = (nu4 / nu2)^(1/2) and
    T = nu4 / nu2^2 as units of u, x and t the equation has no parameter left but ``length / X``. The length is
    therefore an argument and not a parameter: it would add nothing, and all environments share one grid. About
    ``length / (2 pi X)`` modes grow; at ``length / X = 22`` the flow is chaotic with one positive Lyapunov exponent of
    0.05 (Cvitanovic et al., 2010), at 64 with several.

    Initial states: draws are Gaussian random fields of zero mean and of variance 1, white over the wavelengths of at least
    2 pi (the growing modes at nu2 = nu4 = 1), the same field at every size. :meth:`spin_up` takes them to the attractor
    of nu2 = nu4 = 1 in 150 units of time.

    The mean of u is conserved. Energy: ``d/dt <u^2> / 2 = nu2 <u_x^2> - nu4 <u_xx^2>``, the two terms of which are
    ``production`` and ``dissipation`` in the diagnostics.

    Error of ``simulate`` at the default settings (step doubling, states of size 4.4, environments of the family):
    3e-7 at t = 10 and 1e-5 at t = 20, for the flow multiplies errors by about e every ten units of time; space adds less
    than 1e-11. At longer steps the stiff modes lower the order of 4 towards 3.

    Source: Kuramoto and Tsuzuki (1976), Sivashinsky (1977); integration of Kassam and Trefethen (2005).

    Args:
        size: points.
        length: of the line; 22 as in Cvitanovic et al. (2010), 64 as in Brandstetter et al. (2022).
        max_step, fine: see :class:`SpectralScalar`; ``fine`` is twice ``size`` by default.

    Raises:
        SettingsError: a line on which nothing grows, or too few points for waves of wavenumber 2 (2/3 rule).
    """

    parameters = (
        Parameter("nu2", "length2/time", 0.0, 2.0, "coefficient of the second derivative (anti-diffusion)"),
        Parameter("nu4", "length4/time", 0.25, 4.0, "coefficient of the fourth derivative (hyperviscosity)"),
    )
    spin_up_time = 150.0

    def __init__(
        self, size: int = 128, length: float = 64.0, max_step: float = 0.0125, fine: int | None = None
    ) -> None:
        if not length > 2 * math.pi:
            raise SettingsError(
                f"On a line of length {length} no wave grows (at nu2 = nu4 = 1 those of at least 2 pi do). Take a length "
                "above 6.3; 22 is chaotic."
            )
        highest = 2 * length / (2 * math.pi)
        reason = f"on a length of {length:g} waves of wavenumber 2, twice that of the shortest growing ones, need them"
        size = points("size", size, highest, 3, reason)
        super().__init__(size, length, max_step, 2 * size if fine is None else fine)

    def advection(self, p: Tensor) -> Tensor:
        return torch.ones_like(p[..., 0])

    def symbol(self, g: SpectralGrid, p: Tensor) -> Tensor:
        nu2, nu4 = p[..., None, :].unbind(-1)
        return nu2 * g.k2 - nu4 * g.k2**2

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        length = self.fourier.lengths[0]
        coarse = SpectralGrid((max(8, 4 * int(length / 6)),), (length,))
        field = random_field(coarse, lambda k: (k <= 1).double(), n, generator)
        return self.fourier.inverse(coarse.resample(coarse.forward(field), self.fourier.shape))[:, None]

    def spin_up(self, x: Tensor) -> Tensor:
        # The attractor's statistics need no more: what small errors change is which of its states comes out.
        quick = KuramotoSivashinsky(self.fourier.shape[0], self.fourier.lengths[0], max(self.max_step, 0.1))
        times = torch.tensor([0.0, self.spin_up_time], dtype=torch.float64)
        return quick.simulate(x[None], x.new_ones(1, 2), times)[0, :, -1]

    def invariant(self, x: Tensor, p: Tensor) -> Tensor:
        """The mean of u."""
        del p
        return x[..., 0, :].mean(-1)

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """``mass``, ``energy`` = mean of u^2 / 2, ``production`` = nu2 <u_x^2> and ``dissipation`` = nu4 <u_xx^2>."""
        g = self.fourier.to(x)
        xh = g.forward(x[..., 0, :])
        nu2, nu4 = p.unbind(-1)
        basic = super().diagnostics(x, p)
        return {
            "mass": basic["mass"],
            "energy": basic["momentum"],
            "production": nu2 * g.inner(xh, g.k2 * xh),
            "dissipation": nu4 * g.inner(xh, g.k2**2 * xh),
        }


#: seen, unseen, range of fresh environments
_SPLITS = {
    "ours": (
        tuple(product((0.9, 1.0, 1.1), (0.8, 1.0, 1.2))),
        tuple(product((0.95, 1.2), (0.9, 1.4))),
        Box((0.9, 0.8), (1.1, 1.2)),
    ),
}


@register("kuramoto_sivashinsky")
def kuramoto_sivashinsky(
    split: Literal["ours"] = "ours", size: int = 128, length: float = 64.0, frames: int = 40
) -> EnvironmentFamily:
    """Kuramoto-Sivashinsky chaos on frames 0.5 apart, from initial states on the attractor of nu2 = nu4 = 1.

    Args:
        split: ``"ours"``: 9 seen environments in nu2 and nu4, 4 unseen (one between them, one beyond them in either
            parameter, one in both).
        size: points.
        length: of the line: 64, or 22.
        frames: of all sets; 40 frames last about two Lyapunov times.
    """
    seen, unseen, box = choose_split("kuramoto_sivashinsky", split, _SPLITS)
    return EnvironmentFamily(
        name="kuramoto_sivashinsky",
        split=split,
        system=KuramotoSivashinsky(size, length),
        seen=torch.tensor(seen, dtype=torch.float64),
        unseen=torch.tensor(unseen, dtype=torch.float64),
        times=torch.arange(frames, dtype=torch.float64) * 0.5,
        budget=Budget(train=8, test=32),
        distribution=box,
        source="Equation: Kuramoto and Tsuzuki (1976), Sivashinsky (1977). Environments and budget are ours.",
        arguments={"split": split, "size": size, "length": length, "frames": frames},
    )
