"""Barotropic turbulence on a beta-plane: one layer, jets and Rossby waves."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.arguments import whole
from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.quasi_geostrophic import Dissipation, PeriodicQG
from leads.environments.system import Channel, Parameter
from leads.numerics import SpectralGrid, advection, random_field

#: Wavenumbers of the forcing's ring, as published: 14, and one and a half to either side.
FORCED = (12.5, 15.5)


class BarotropicQG(PeriodicQG):
    """Vorticity of a flow on a beta-plane, in a doubly periodic box of side 2 pi, nondimensional:

        dzeta/dt + J(psi, zeta) + beta psi_x = A F(x, y) - mu zeta + dissipation,   zeta = lap psi

    F is a steady pattern of mean square one: all modes with ``12.5 <= |k| < 15.5``, equal amplitudes, frozen random
    phases. (The published forcing at ``k = 14`` is white in time, which no deterministic model can learn.)
    State ``(1, size, size)``: zeta.

    Linear waves obey ``omega = -beta k / (k^2 + l^2)``. Without drag and forcing the energy ``mean(|grad psi|^2) / 2``
    and the enstrophy ``mean(zeta^2) / 2`` are conserved by advection; ``dissipation`` removes mostly enstrophy.

    Numerics: see :class:`PeriodicQG`, waves and drag solved exactly; the filter is that of FourierFlows (1e-15 at the
    Nyquist wavenumber, from 2/3 of it, order 4), applied once in 0.04. Steps are at most 0.01 (relative error 1e-6 after
    a time of 2).

    Initial states: random vorticity of equal variance in all modes with ``6 <= |k| <= 10`` and energy 0.08 exactly,
    advanced by :meth:`spin_up` for a time ``settling`` at the parameters ``reference``.

    Source: Constantinou and others, GeophysicalFlows.jl (2021), its examples "decaying barotropic QG beta-plane
    turbulence" and "forced-dissipative barotropic QG beta-plane turbulence".

    Args:
        size: points a side (published: 128).
        dissipation: see :class:`PeriodicQG`.
        reference: parameters of the spin-up.
        settling: its length.
    """

    channels = (Channel("zeta", "1", "relative vorticity"),)
    parameters = (
        Parameter("beta", "1", 0.0, 100.0, "northward gradient of the Coriolis parameter"),
        Parameter("mu", "1", 0.0, 10.0, "bottom drag"),
        Parameter("A", "1", 0.0, 100.0, "amplitude of the vorticity forcing"),
    )
    step, filter_step = 0.01, 0.04
    strength, cutoff = -math.log(1e-15) * (3 / math.pi) ** 4, 2 / 3 * math.pi
    energy = 0.08

    def __init__(
        self,
        size: int = 64,
        dissipation: Dissipation = "filter",
        reference: tuple[float, float, float] = (10.0, 0.0, 0.0),
        settling: float = 5.0,
    ) -> None:
        size = whole("size", size, 48, "the forcing at k = 14 must be resolved by the 2/3 rule")
        super().__init__(size, 2 * math.pi, "1", dissipation)
        self.reference = reference
        self.settling = settling

    def linear(self, p: Tensor) -> Tensor:
        g = self.modes.to(p)
        beta, mu, _ = self.split(p)
        waves = -beta * g.derivative(-1) * g.inverse_laplacian
        return (waves - mu + self.damping(p)).unsqueeze(-3)

    def tendency(self, p: Tensor) -> Callable[[Tensor], Tensor]:
        g = self.modes.to(p)
        forcing = (self.split(p)[2] * _ring(g, FORCED)).unsqueeze(-3)
        return lambda qh: forcing - advection(g, g.inverse_laplacian * qh, qh, dealias=self.dealias)

    def forcing(self, p: Tensor) -> Tensor:
        """``A F``, shape ``(..., Y, X)``."""
        g = self.modes.to(p)
        return g.inverse(self.split(p)[2] * _ring(g, FORCED))

    def streamfunction(self, x: Tensor) -> Tensor:
        """psi of states ``(..., 1, Y, X)``, shape ``(..., Y, X)``."""
        g = self.modes.to(x)
        return g.inverse(g.inverse_laplacian * g.forward(x[..., 0, :, :]))

    def velocity(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Eastward and northward velocity, each ``(..., Y, X)``."""
        g = self.modes.to(x)
        psih = g.inverse_laplacian * g.forward(x[..., 0, :, :])
        return g.inverse(-g.derivative(0) * psih), g.inverse(g.derivative(1) * psih)

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """Energy and enstrophy, means over the box."""
        del p
        g = self.modes.to(x)
        zetah = g.forward(x[..., 0, :, :])
        return {
            "energy": g.inner(-g.inverse_laplacian * zetah, zetah) / 2,
            "enstrophy": x[..., 0, :, :].square().mean((-2, -1)) / 2,
        }

    def energy_budget(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """Rates of change of the energy, ``(...)`` each; they add up to ``dE/dt``: ``forcing``, ``drag``, ``dissipation``."""
        g = self.modes.to(x)
        zetah = g.forward(x[..., 0, :, :])
        psih = g.inverse_laplacian * zetah
        return {
            "forcing": -g.inner(psih, self.split(p)[2] * _ring(g, FORCED)),
            "drag": p[..., 1] * g.inner(psih, zetah),
            "dissipation": -g.inner(psih, self.damping(x) * zetah),
        }

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        box = SpectralGrid((48, 48), self.modes.lengths)
        draws = random_field(box, lambda k: k * ((k >= 6) & (k <= 10)), n, generator)
        g = self.modes
        zetah = box.resample(box.forward(draws), g.shape)
        energy = g.inner(-g.inverse_laplacian * zetah, zetah) / 2
        return g.inverse(zetah * (self.energy / energy).sqrt()[:, None, None])[:, None]

    def spin_up(self, x: Tensor) -> Tensor:
        return self.settle(x, self.reference, self.settling, self.filter_step) if self.settling else x


@lru_cache(maxsize=16)
def _ring(g: SpectralGrid, bounds: tuple[float, float]) -> Tensor:
    """Coefficients of a pattern of mean square one on the ring, the same pattern on every grid."""
    with torch.inference_mode(False):
        coarse = SpectralGrid((48, 48), g.lengths)
        noise = coarse.forward(torch.from_numpy(np.random.RandomState(0).standard_normal(coarse.shape)))
        radius = coarse.k2.sqrt()
        pattern = torch.sgn(noise) * ((radius >= bounds[0]) & (radius < bounds[1]))
        pattern = coarse.resample(pattern / coarse.inner(pattern, pattern).sqrt(), g.shape)
        return pattern.to(g.device, g.dtype.to_complex())


#: seen, unseen, range of fresh environments, spin-up parameters and time, frame distance, source
_SPLITS = {
    "decay": (
        [(beta, mu, 0.0) for beta, mu in product((5.0, 10.0, 15.0), (0.0, 0.02))],
        [(beta, mu, 0.0) for beta, mu in product((7.5, 20.0), (0.01, 0.03))],
        Box((5.0, 0.0, 0.0), (15.0, 0.02, 0.0)),
        ((10.0, 0.0, 0.0), 5.0),
        0.1,
        "GeophysicalFlows.jl, decaying beta-plane turbulence (beta = 10, mu = 0); the other environments are ours.",
    ),
    "forced": (
        [(beta, 0.01, a) for beta, a in product((5.0, 10.0, 15.0), (0.5, 1.0))],
        [(beta, 0.01, a) for beta, a in product((7.5, 20.0), (0.75, 1.25))],
        Box((5.0, 0.01, 0.5), (15.0, 0.01, 1.0)),
        ((10.0, 0.01, 0.75), 50.0),
        0.1,
        "GeophysicalFlows.jl, forced beta-plane turbulence (beta = 10, mu = 0.01, k = 14), there with a forcing that is "
        "white in time; the steady pattern and the environments are ours.",
    ),
}


@register("barotropic_qg")
def barotropic_qg(split: Literal["decay", "forced"] = "decay", size: int = 64, frames: int = 21) -> EnvironmentFamily:
    """Barotropic turbulence on a beta-plane, frames 0.1 apart (an eddy of k = 8 turns over in about 0.3).

    Args:
        split: ``"decay"`` (6 seen, 4 unseen environments in beta and drag) or ``"forced"`` (6 seen, 4 unseen in beta
            and forcing amplitude).
        size: points a side.
        frames: of each trajectory.
    """
    seen, unseen, box, (reference, settling), dt, source = choose_split("barotropic_qg", split, _SPLITS)
    return EnvironmentFamily(
        name="barotropic_qg",
        split=split,
        system=BarotropicQG(size, reference=reference, settling=settling),
        seen=torch.tensor(seen, dtype=torch.float64),
        unseen=torch.tensor(unseen, dtype=torch.float64),
        times=torch.arange(frames, dtype=torch.float64) * dt,
        budget=Budget(train=4, test=8, valid=2, adapt=1, adapt_test=8),
        distribution=box,
        source=source,
        arguments={"split": split, "size": size, "frames": frames},
    )
