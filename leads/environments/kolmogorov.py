"""Kolmogorov flow: decaying or sheared two-dimensional turbulence in boxes of several sizes."""

from __future__ import annotations

import math
from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.arguments import points
from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.system import Parameter
from leads.environments.vorticity_flow import DealiasedFlow
from leads.errors import DataError, SettingsError
from leads.integrators import check_finite, integrate
from leads.numerics.random_fields import random_field
from leads.numerics.spectral import SpectralGrid

#: k0, where the spectrum of the initial eddies turns over.
EDDIES = 10.0

#: Step of the published generator, and trajectories that are advanced by it together.
PUBLISHED_STEP, TOGETHER = 0.005, 8


class Kolmogorov(DealiasedFlow):
    """Vorticity zeta of a flow (u, v) in a doubly periodic square of side L:

        zeta_t + u zeta_x + v zeta_y = nu lap(zeta) - mu zeta + curl(F sin(k y) e_x) - D(zeta)
        zeta = v_x - u_y,   curl(F sin(k y) e_x) = -F k cos(k y),   k = 2 pi waves / L
        waves = max(1, round(wavenumber L / (2 pi)))

    State ``(1, size, size)``, axes (y, x). Parameters: viscosity nu, side L, forcing F and linear drag mu. ``grid`` is
    that of the side ``REFERENCE`` = pi; an environment's own spacing is ``L / size``. The forcing has the whole number of
    waves that comes nearest to ``wavenumber`` = 4: exactly ``sin(4 y)`` where the box holds whole waves of it (2, 3 and 4
    of them for L = pi, 1.5 pi and 2 pi), and k = 16 / 3 (2 waves) for L = 0.75 pi.

    D is a small-scale closure ``closure * min(|k| / k_max, 1)^8 zeta`` in Fourier space, k_max being the highest
    wavenumber along an axis that the 2/3 rule keeps on ``fine`` points: at the published viscosities the flow makes
    filaments thinner than an affordable grid. ``closure=0`` switches it off, for ``fine`` large enough (the published
    512).

    ``fine=size`` without forcing, viscosity, drag and closure conserves energy and enstrophy. The laminar solution
    ``zeta = -F k cos(k y) / (nu k^2 + mu)`` is steady. Energy E (mean of ``|velocity|^2 / 2``) obeys
    ``dE/dt = -2 nu Z - 2 mu E + <u F sin(k y)>`` less what the closure takes.

    Initial states: random phases with the energy spectrum ``(4 / 3) pi^(-1/2) (k / k0)^4 exp(-(k / k0)^2) / k0``,
    k0 = 10, on the reference side (in another box the same picture, stretched), followed by 0.4 time units in the
    environment ``spin_up_with``; the published generator drops as much, in each environment its own.

    Discretisation: Fourier, 2/3 rule on ``fine`` points, adaptive steps of order 8 (see :class:`DealiasedFlow`); error
    by tighter tolerances 1e-8 of the largest vorticity over 20 frames. At ``fine`` = 128 frames of 64 points differ
    from those of 288 points without closure by 1 to 2 % (root mean square over 20 frames) for nu = 1e-3 and by 6 to 8 %
    for nu = 1e-4; at 192 by 0.1 % and 1 to 2 %. The published generator uses Arakawa's differences on 512 points,
    fourth-order Runge-Kutta steps of 0.005 and averages over blocks; :meth:`simulate_published` takes these steps on the
    modes (relative error 2e-6 for nu = 1e-3, 1e-5 for nu = 1e-4).

    Source: Koupai et al. (2024), GEPS, and its public code for initial states and forcing. There the box of 0.75 pi
    does not hold whole waves of ``sin(4 y)``, and the vorticity is forced by ``x sin(4 y)``, which is not periodic:
    here waves are whole in every box, and the velocity is what is forced.

    Args:
        size: points a side of the state.
        fine: points a side of the simulation.
        wavenumber: of the forcing, before it is rounded to whole waves.
        closure: see above.
        spin_up_with: environment of the spin-up.

    Raises:
        SettingsError: too few points for the initial eddies, or ``wavenumber`` or ``closure`` out of range.
        DataError: parameters with a box so large that the grid does not resolve the forcing.
    """

    parameters = (
        Parameter("nu", "length2/time", 0.0, 1.0, "viscosity"),
        Parameter("L", "length", 0.1, 100.0, "side of the box"),
        Parameter("F", "length/time2", 0.0, 100.0, "amplitude of the forcing"),
        Parameter("mu", "1/time", 0.0, 10.0, "linear drag"),
    )
    REFERENCE = math.pi

    def __init__(
        self,
        size: int = 64,
        fine: int = 128,
        wavenumber: float = 4.0,
        closure: float = 20.0,
        spin_up_with: tuple[float, ...] = (1e-3, math.pi, 0.0, 0.0),
    ) -> None:
        if not (0 < wavenumber < math.inf and 0 <= closure < math.inf):
            raise SettingsError(
                f"Kolmogorov flow needs wavenumber > 0 and closure >= 0, got wavenumber {wavenumber} and closure {closure}."
            )
        # Beyond 2.5 k0 lie 3 % of the initial energy.
        highest, reason = 2.5 * EDDIES * self.REFERENCE / (2 * math.pi), "the initial eddies must be resolved"
        size = points("size", size, highest, 2, reason)
        fine = points("fine", fine, highest, 3, f"{reason} by the 2/3 rule")
        super().__init__(size, self.REFERENCE, fine)
        self.wavenumber, self.closure, self.spin_up_with = wavenumber, closure, spin_up_with

    def waves(self, p: Tensor) -> Tensor:
        """Waves of the forcing across the box, whole numbers, shape ``(...)`` for parameters ``(..., P)``."""
        return (self.wavenumber * p[..., 1] / (2 * math.pi) + 1e-9).round().clamp(min=1)

    def check_parameters(self, p: Tensor) -> None:
        super().check_parameters(p)
        assert self.grid is not None
        roof = min(self.grid.shape[0] / 2, self.fine / 3)
        bad = (self.waves(p) >= roof) & (p[:, 2] != 0)
        if bool(bad.any()):
            e = int(bad.nonzero()[0])
            raise DataError(
                f"The forcing of environment {e} has {int(self.waves(p)[e])} waves across its side L = {float(p[e, 1]):g}; "
                f"{self.grid.shape[0]} points on {self.fine} resolve fewer than {roof:g}. Take more points or a smaller box."
            )

    def scale(self, p: Tensor) -> Tensor:
        return p[..., 1] / self.REFERENCE

    def linear(self, g: SpectralGrid, p: Tensor) -> Tensor:
        nu, side, _, mu = self.split(p)
        highest2 = g.k2[0].max()
        # Unbounded, the corners of the spectrum would limit the steps.
        closure = self.closure * (g.k2 / highest2).clamp(max=1.0) ** 4
        return g.laplacian * nu * (self.REFERENCE / side) ** 2 - mu - closure

    def forcing(self, g: SpectralGrid, p: Tensor) -> Tensor:
        _, side, force, _ = self.split(p)
        k = 2 * math.pi * self.waves(p)[..., None, None]
        shear = torch.cos(k / self.REFERENCE * g.coordinates(0)[:, None])
        shear = shear.expand(*shear.shape[:-2], *g.shape)
        return torch.fft.rfft2(shear, norm="forward") * (-force * k / side)

    def simulate_published(self, x0: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """By the classical Runge-Kutta method of order 4 in the published steps of 0.005, on the modes."""
        return self._flat(x0, p, lambda x, q: self._solve_rk4(x, q, t))

    def _solve_rk4(self, x0: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """``(B, 1, Y, X)``, ``(B, P)`` to ``(T, B, 1, Y, X)``."""
        g = self.kept.to(x0)
        parts = []
        for x, q in zip(x0.split(TOGETHER), p.split(TOGETHER), strict=True):
            linear, force = self.linear(g, q), self.forcing(g, q)
            field = lambda _, z, linear=linear, force=force: linear * z + force - self.advection(z)  # noqa: E731
            modes = integrate(field, self.to_modes(x), t, method="rk4", max_step=PUBLISHED_STEP)
            parts.append(torch.cat([x[None], self.to_field(modes)[1:]]))
        return check_finite(torch.cat(parts, 1), t)

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        """``n`` draws on the reference side; :meth:`spin_up` makes initial states of them."""

        def enstrophy(k: Tensor) -> Tensor:
            k0 = EDDIES
            energy = 4 / 3 / math.sqrt(math.pi) * (k / k0) ** 4 / k0 * torch.exp(-((k / k0) ** 2))
            # The published variance of a mode is k E / pi whatever the side.
            return 2 * k**2 * energy * (self.REFERENCE / (2 * math.pi)) ** 2

        return random_field(self.fourier, enstrophy, n, generator, amplitudes="fixed").unsqueeze(1)

    def spin_up(self, x: Tensor) -> Tensor:
        p = torch.tensor([self.spin_up_with], dtype=torch.float64)
        return self.simulate(x[None], p, torch.tensor([0.0, 0.4], dtype=torch.float64))[0, :, -1]


def _environments(viscosities: tuple[float, ...], sides: tuple[float, ...]) -> list[tuple[float, ...]]:
    """(nu, L, F, mu), each without forcing and with it; sides in units of pi."""
    forcings = ((0.0, 0.0), (1.0, 0.1))
    return [(nu, side * math.pi, *force) for nu, side, force in product(viscosities, sides, forcings)]


_SEEN = _environments((1e-3, 1e-4), (1.0, 0.75))
_BOX = Box((1e-4, 0.75 * math.pi, 0.0, 0.0), (1e-3, math.pi, 1.0, 0.1))

_SPECTRAL = (
    "Solved by Fourier series instead of Arakawa's differences, with whole waves of the forcing in every box: sin(4 y) for "
    "L = pi, 1.5 pi and 2 pi, k = 16 / 3 for 0.75 pi and 4.8 for 1.25 pi. Initial states are spun up in environment 0, "
    "whatever the environment they are for."
)

#: seen, unseen, trajectories to adapt to, source
_SPLITS = {
    "geps": (
        _SEEN,
        _environments((1e-5,), (1.5, 2.0)),
        1,
        "Koupai et al. (2024), GEPS: values of the paper and of the public code's history; its later code differs: see geps_head. "
        + _SPECTRAL,
    ),
    "geps_head": (
        _SEEN,
        _environments((5e-4,), (1.25,)),
        16,
        "Koupai et al. (2024), GEPS: newest public code, which adapts at one viscosity in one box, to 16 trajectories. It "
        "lists exponential and periodic forcings there, which its generator duplicates; here one environment is "
        "unforced and one has the forcing of the seen ones. " + _SPECTRAL,
    ),
}


@register("kolmogorov")
def kolmogorov(split: Literal["geps", "geps_head"] = "geps", size: int = 64, fine: int = 128) -> EnvironmentFamily:
    """Kolmogorov flow, 20 frames, dt = 0.05, tested on 40.

    Args:
        split: ``"geps"`` (8 seen environments: two viscosities, two sides, with forcing and without; 4 unseen ones of
            lower viscosity in larger boxes) or ``"geps_head"`` (the same seen ones; 2 unseen of a viscosity in between
            in a box of 1.25 pi, 16 trajectories each to adapt to).
        size: points a side of the frames; 64 as published.
        fine: points a side of the simulation; at least ``size``. The published generator has 512.
    """
    seen, unseen, adapt, source = choose_split("kolmogorov", split, _SPLITS)
    return EnvironmentFamily(
        name="kolmogorov",
        split=split,
        system=Kolmogorov(size, fine, spin_up_with=seen[0]),
        seen=torch.tensor(seen, dtype=torch.float64),
        unseen=torch.tensor(unseen, dtype=torch.float64),
        times=torch.arange(20, dtype=torch.float64) * 0.05,
        test_times=torch.arange(40, dtype=torch.float64) * 0.05,
        budget=Budget(train=16, test=32, adapt=adapt),
        distribution=_BOX,
        source=source,
        arguments={"split": split, "size": size, "fine": fine},
    )
