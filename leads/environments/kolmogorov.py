"""Kolmogorov flow: decaying or sheared two-dimensional turbulence in boxes of several sizes."""

from __future__ import annotations

import math
from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.system import Parameter
from leads.environments.vorticity_flow import DealiasedFlow
from leads.errors import SettingsError
from leads.numerics.random_fields import random_field
from leads.numerics.spectral import SpectralGrid


class Kolmogorov(DealiasedFlow):
    """Vorticity zeta of a flow (u, v) in a doubly periodic square of side L:

        zeta_t + u zeta_x + v zeta_y = nu lap(zeta) - mu zeta + curl(F sin(k y) e_x) - D(zeta)
        zeta = v_x - u_y,   curl(F sin(k y) e_x) = -F k cos(k y),   k = 2 pi waves / L

    State ``(1, size, size)``, axes (y, x). Parameters: viscosity nu, side L, forcing F and linear drag mu. ``grid`` is
    that of the side ``REFERENCE`` = pi; an environment's own spacing is ``L / size``.

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
    from those of 288 points without closure by 2 % (root mean square) for nu = 1e-3 and by 4 to 7 % for nu = 1e-4; at
    192 by 0.1 % and 2 %. The published generator uses Arakawa's differences on 512 points, fourth-order Runge-Kutta
    steps of 0.005 and averages over blocks.

    Source: Koupai et al. (2024), GEPS, and its public code for initial states and forcing. There the box of 0.75 pi
    does not hold whole waves of ``sin(4 y)``, and the vorticity is forced by ``x sin(4 y)``, which is not periodic:
    here 4 counts the waves across the box, and the velocity is what is forced.
    """

    parameters = (
        Parameter("nu", "length^2/time", 0.0, 1.0, "viscosity"),
        Parameter("L", "length", 0.1, 100.0, "side of the box"),
        Parameter("F", "length/time^2", 0.0, 100.0, "amplitude of the forcing"),
        Parameter("mu", "1/time", 0.0, 10.0, "linear drag"),
    )
    REFERENCE = math.pi

    def __init__(
        self,
        size: int = 64,
        fine: int = 128,
        waves: int = 4,
        closure: float = 20.0,
        spin_up_with: tuple[float, ...] = (1e-3, math.pi, 0.0, 0.0),
    ) -> None:
        if not 1 <= waves < fine / 3 or closure < 0:
            raise SettingsError(
                f"Kolmogorov flow needs 1 <= waves < fine / 3 and closure >= 0, got waves {waves}, fine {fine} and "
                f"closure {closure}."
            )
        super().__init__(size, self.REFERENCE, fine)
        self.waves, self.closure, self.spin_up_with = waves, closure, spin_up_with

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
        k = 2 * math.pi * self.waves
        shear = torch.cos(k / self.REFERENCE * g.coordinates(0))[:, None].expand(g.shape)
        return torch.fft.rfft2(shear, norm="forward") * (-force * k / side)

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        """``n`` draws on the reference side; :meth:`spin_up` makes initial states of them."""

        def enstrophy(k: Tensor) -> Tensor:
            k0 = 10.0
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

#: seen, unseen, source
_SPLITS = {
    "geps": (
        _SEEN,
        _environments((1e-5,), (1.5, 2.0)),
        "Koupai et al. (2024), GEPS: values of the paper and of the public code's history; its later code differs. "
        "Solved by Fourier series instead of Arakawa's differences, with a forcing that is periodic in every box.",
    ),
}


@register("kolmogorov")
def kolmogorov(split: Literal["geps"] = "geps", size: int = 64, fine: int = 128) -> EnvironmentFamily:
    """Kolmogorov flow, 20 frames, dt = 0.05, tested on 40.

    Args:
        split: ``"geps"`` (8 seen environments: two viscosities, two sides, with forcing and without; 4 unseen ones of
            lower viscosity in larger boxes).
        size: points a side of the frames; 64 as published.
        fine: points a side of the simulation; at least ``size``. The published generator has 512.
    """
    seen, unseen, source = choose_split("kolmogorov", split, _SPLITS)
    return EnvironmentFamily(
        name="kolmogorov",
        split=split,
        system=Kolmogorov(size, fine, spin_up_with=seen[0]),
        seen=torch.tensor(seen, dtype=torch.float64),
        unseen=torch.tensor(unseen, dtype=torch.float64),
        times=torch.arange(20, dtype=torch.float64) * 0.05,
        test_times=torch.arange(40, dtype=torch.float64) * 0.05,
        budget=Budget(train=16, test=32),
        distribution=_BOX,
        source=source,
        arguments={"split": split, "size": size, "fine": fine},
    )
