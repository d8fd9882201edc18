"""Forced two-dimensional Navier-Stokes flow on the unit torus."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.system import Parameter
from leads.environments.vorticity_flow import VorticityFlow
from leads.errors import DataError
from leads.integrators import check_finite, integrate_exponential
from leads.numerics.spectral import SpectralGrid

#: Pairs of trajectories that the published stepper advances together on a processor (8 was fastest, of 1 to 32).
PAIRS = 8


class NavierStokes(VorticityFlow):
    """Vorticity w of a flow (u, v) on the unit torus:

        w_t + u w_x + v w_y = nu lap(w) + f,    u = psi_y,  v = -psi_x,  -lap(psi) = w
        f = A [sin 2 pi (a . (x, y)) + cos 2 pi (b . (x, y))]

    State ``(1, size, size)``, axes (x, y). Parameters: viscosity nu, forcing amplitude A (0.1 in all published sets)
    and the wave vectors a and b of the forcing, which are whole numbers. Without forcing, ``w = sin 2 pi x sin 2 pi y``
    decays as ``exp(-8 pi^2 nu t)`` (Taylor and Green); energy E and enstrophy Z obey ``dE/dt = -2 nu Z + <psi f>``.

    Discretisation, as published: advection by products on the grid of modes that are not truncated before, with modes
    beyond two thirds of the highest dropped from the result; so both solvers below converge to the same ordinary
    differential equations.

    - :meth:`simulate`: ETDRK4, steps of at most ``max_step`` = 0.02 (up to 64 points a side); error by step doubling
      1e-7 over the published horizon.
    - :meth:`simulate_published`: the published generator's, explicit Euler for advection and forcing and
      Crank-Nicolson for viscosity, steps of 1e-3: an error of order one in the step.

    Initial states: a Gaussian random field (alpha = 2.5, tau = 7), see :meth:`sample_x0`, then :meth:`spin_up`.
    Source: Li et al. (2021), Fourier neural operators; set-up of Yin et al., LEADS (2021), and Kirchmeyer et al., CoDA
    (2022). The published code works in float32; here the precision is that of the states.
    """

    parameters = (
        Parameter("nu", "length2/time", 0.0, 1.0, "viscosity"),
        Parameter("A", "1/time2", 0.0, 10.0, "forcing amplitude"),
        Parameter("a_x", "1", -8, 8, "wave number of the sine along x"),
        Parameter("a_y", "1", -8, 8, "wave number of the sine along y"),
        Parameter("b_x", "1", -8, 8, "wave number of the cosine along x"),
        Parameter("b_y", "1", -8, 8, "wave number of the cosine along y"),
    )
    #: Step of :meth:`simulate_published`.
    spin_up_until = 28.5
    published_step = 1e-3

    def __init__(self, size: int = 32, spin_up_with: tuple[float, ...] = (8e-4, 0.1, 1, 1, 1, 1)) -> None:
        super().__init__(size, 1.0, ("x", "y"))
        # On finer grids the fastest modes that flow past would be unstable.
        self.max_step = 0.02 * min(1.0, 64 / size)
        self.spin_up_with = spin_up_with

    def check_parameters(self, p: Tensor) -> None:
        super().check_parameters(p)
        waves = p[:, 2:]
        if bool((waves != waves.round()).any()):
            e = int((waves != waves.round()).any(1).nonzero()[0])
            raise DataError(
                f"The forcing is periodic for whole wave numbers a and b only; environment {e} has {waves[e].tolist()}."
            )

    def forcing(self, g: SpectralGrid, p: Tensor) -> Tensor:
        """Coefficients of the forcing, shape ``(..., *g.spectral_shape)``."""
        _, amplitude, *waves = self.split(p)
        x = g.coordinates(0)
        a_x, a_y, b_x, b_y = (2 * math.pi * k for k in waves)
        wave = torch.sin(a_x * x[:, None] + a_y * x) + torch.cos(b_x * x[:, None] + b_y * x)
        return g.forward(amplitude * wave)

    def linear(self, g: SpectralGrid, p: Tensor) -> Tensor:
        """Symbol of the viscosity, shape ``(..., *g.spectral_shape)``."""
        # The published code sets the Laplacian of the mean, which is zero, to 1.
        k2 = g.k2 + (g.k2 == 0)
        return -p[..., 0, None, None] * k2

    def advection(self, g: SpectralGrid, wh: Tensor) -> Tensor:
        """Coefficients of ``u w_x + v w_y``, shape of ``wh``."""
        u, v, w_x, w_y = g.inverse(_symbols(g) * wh[..., None, :, :]).unbind(-3)
        return g.dealias * g.forward(u * w_x + v * w_y)

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        """``n`` Gaussian random fields of zero mean: the real part of the inverse transform of complex standard normal
        numbers times ``size^2 sqrt(2) sigma (4 pi^2 |k|^2 + tau^2)^(-alpha / 2)``, sigma = tau^(alpha - 1).

        :meth:`spin_up` makes initial states of them.
        """
        alpha, tau = 2.5, 7.0
        size = self.fourier.shape[0]
        k = np.fft.fftfreq(size, 1 / size)
        k2 = 4 * np.pi**2 * (k[:, None] ** 2 + k**2)
        deviation = size**2 * tau ** (alpha - 1) * (k2 + tau**2) ** (-alpha / 2)
        deviation[0, 0] = 0
        # A complex standard normal number has variance 1/2 in its real and in its imaginary part.
        real, imaginary = np.moveaxis(generator.standard_normal((n, 2, size, size)), 1, 0)
        return torch.from_numpy(np.fft.ifft2(deviation * (real + 1j * imaginary)).real[:, None].copy())

    def spin_up(self, x: Tensor) -> Tensor:
        """The state after ``spin_up_until`` = 28.5 time units of the published stepper, in the environment ``spin_up_with``.

        The published code records 30 time units every 1.5 and takes the last of the 20 records.
        """
        p = torch.tensor([self.spin_up_with], dtype=x.dtype, device=x.device).expand(len(x), -1)
        t = torch.tensor([0.0, self.spin_up_until], dtype=torch.float64)
        # Alone, not in pairs: an initial state must not depend on which others are made beside it.
        return check_finite(self._stepped(torch.complex(x[:, 0], x[:, 0]), p, t).real, t)[-1].unsqueeze(1)

    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        del t
        g = self.fourier.to(x)
        wh = g.forward(x[..., 0, :, :])
        return g.inverse(self.linear(g, p) * wh + self.forcing(g, p) - self.advection(g, wh)).unsqueeze(-3)

    def simulate(self, x0: Tensor, p: Tensor, t: Tensor, *, refine: int = 1) -> Tensor:
        self.check_refine(refine)
        return self._flat(x0, p, lambda x, q: self._solve_fourier(x, q, t, refine))

    def _solve_fourier(self, x0: Tensor, p: Tensor, t: Tensor, refine: int) -> Tensor:
        """``(B, 1, X, Y)``, ``(B, P)`` to ``(T, B, 1, X, Y)``."""
        g = self.fourier.to(x0)
        chunk = max(1, len(x0) if x0.is_cuda else 2 * PAIRS)
        parts = []
        for x, q in zip(x0.split(chunk), p.split(chunk), strict=True):
            force = self.forcing(g, q)
            modes = integrate_exponential(
                lambda _, wh, force=force: force - self.advection(g, wh),  # type: ignore[misc]
                self.linear(g, q),
                g.forward(x[:, 0]),
                t,
                max_step=self.max_step / refine,
            )
            parts.append(g.inverse(modes))
        return check_finite(torch.cat(parts, 1), t).unsqueeze(2)

    def simulate_published(self, x0: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """Solve with the published stepper:

            w_new = [(1 - dt nu k^2 / 2) w + dt (f - advection)] / (1 + dt nu k^2 / 2)

        Two trajectories of one environment travel as the real and imaginary part of one complex field: five complex
        transforms a step for both, which rounds differently from but otherwise equals stepping them alone.
        """
        n = x0.shape[1]
        return self._flat(x0, p, lambda x, q: self._in_pairs(x[:, 0].unflatten(0, (-1, n)), q, t).unsqueeze(2))

    def _in_pairs(self, x: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """Fields ``(E, N, X, Y)`` with parameters ``(E N, P)`` to ``(T, E N, X, Y)``."""
        n = x.shape[1]
        even = torch.cat([x, x[:, -1:]], 1) if n % 2 else x
        pairs = torch.complex(even[:, ::2], even[:, 1::2])
        done = self._stepped(pairs.flatten(0, 1), p.unflatten(0, (-1, n))[:, ::2].flatten(0, 1), t)
        states = torch.view_as_real(done).unflatten(1, pairs.shape[:2])
        states = states.permute(0, 1, 2, 5, 3, 4).flatten(2, 3)[:, :, :n].flatten(1, 2)
        broken = (~torch.isfinite(states).flatten(2).all(2).all(0)).nonzero()[:, 0]
        if len(broken):
            # One that blows up takes its partner with it: step them alone, to see which it is.
            alone = x.flatten(0, 1)[broken]
            states[:, broken] = self._stepped(torch.complex(alone, alone), p[broken], t).real
        return check_finite(states, t)

    def _stepped(self, z: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """Complex fields ``(B, X, Y)``, a trajectory in each part, to ``(T, B, X, Y)``."""
        chunk = max(len(z), 1) if z.is_cuda else PAIRS
        done = [self._step_pairs(a, b, t) for a, b in zip(z.split(chunk), p.split(chunk), strict=True)]
        return torch.cat(done, 1)

    def _step_pairs(self, z: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """Complex fields ``(B, X, Y)`` advanced through ``t``: ``(T, B, X, Y)``."""
        symbols, k2, dealias = _whole_symbols(self.fourier.to(z))
        g = self.fourier.to(z)
        force = torch.fft.fft2(g.inverse(self.forcing(g, p)) * (1 + 1j))
        zh, frames, length = torch.fft.fft2(z), [z], None
        for interval in (t[1:] - t[:-1]).tolist():
            steps = max(1, round(interval / self.published_step))
            if length is None or abs(interval / steps - length) > 1e-9 * length:
                length = interval / steps
                half = 0.5 * length * p[:, 0, None, None] * k2
                keep = ((1 - half) / (1 + half)).to(z.dtype)
                push = (-length * dealias / (1 + half)).to(z.dtype)
                drive = length * force / (1 + half)
            for _ in range(steps):
                u, v, w_x, w_y = torch.view_as_real(torch.fft.ifft2(symbols * zh)).unbind(0)
                advection = torch.view_as_complex(torch.addcmul(u * w_x, v, w_y))
                zh = torch.addcmul(torch.addcmul(drive, keep, zh), push, torch.fft.fft2(advection))
            frames.append(torch.fft.ifft2(zh))
        return torch.stack(frames)


@lru_cache(maxsize=16)
def _symbols(g: SpectralGrid) -> Tensor:
    """From w to u, v, w_x and w_y, shape ``(4, *g.spectral_shape)``."""
    with torch.inference_mode(False):
        along_x, along_y = torch.broadcast_tensors(g.derivative(0), g.derivative(1))
        return torch.stack([-along_y * g.inverse_laplacian, along_x * g.inverse_laplacian, along_x, along_y])


@lru_cache(maxsize=16)
def _whole_symbols(g: SpectralGrid) -> tuple[Tensor, Tensor, Tensor]:
    """For the whole spectrum: the same with an axis for a batch, ``|k|^2`` (1 for the mean), the 2/3 rule's mask."""
    n = g.shape[-1]
    with torch.inference_mode(False):
        column = torch.arange(n, device=g.device)
        # A symbol s of real fields has s(-k) = conj(s(k)).
        mirrored = column > n // 2
        rows = torch.where(mirrored[None], (-column[:, None]) % n, column[:, None]).expand(n, n)
        columns = torch.where(mirrored, n - column, column).expand(n, n)
        half = _symbols(g)[:, rows, columns]
        symbols = torch.where(mirrored, half.conj(), half).resolve_conj()
        k2 = g.k2[rows, columns]
        return symbols.unsqueeze(1), k2 + (k2 == 0), g.dealias[rows, columns]


def _environments(forcings: tuple[tuple[int, ...], ...], viscosities: tuple[float, ...]) -> list[tuple[float, ...]]:
    """(nu, A, a, b) for wave vectors (a_x, a_y, b_x, b_y)."""
    return [(nu, 0.1, *waves) for waves in forcings for nu in viscosities]


_DIAGONAL = ((1, 1, 1, 1),)
_CODA = _environments(_DIAGONAL, (8e-4, 9e-4, 1e-3, 1.1e-3, 1.2e-3))
_BETWEEN = _environments(_DIAGONAL, (8.5e-4, 9.5e-4, 1.05e-3, 1.15e-3))
_BOX = Box((8e-4, 0.1, 1, 1, 1, 1), (1.2e-3, 0.1, 1, 1, 1, 1))

#: seen, unseen, budget, source; the first seen environment spins up initial states.
_SPLITS = {
    "coda": (_CODA, _BETWEEN, Budget(train=16, test=32), "Kirchmeyer et al. (2022), CoDA: public code."),
    "leads": (
        _environments(((1, 1, 1, 1), (1, 1, 1, 2), (1, 1, 2, 1), (1, 2, 2, 1)), (1e-3,)),
        _environments(((2, 1, 1, 1), (1, 2, 1, 1), (2, 1, 1, 2), (2, 2, 1, 1)), (1e-3,)),
        Budget(train=8, test=32),
        "Yin et al. (2021), LEADS: public code. It adapts to no new environment; the unseen ones here are ours, and so "
        "are fresh ones, which vary the viscosity because wave numbers are whole.",
    ),
    "ncf": (
        _CODA,
        _BETWEEN,
        Budget(train=16, test=32),
        "Nzoyem et al. (2025), Neural Context Flows: CoDA's environments. Half of its published test trajectories are "
        "training trajectories; those here are held out, so its numbers do not compare.",
    ),
}


@register("navier_stokes")
def navier_stokes(split: Literal["coda", "leads", "ncf"] = "coda", size: int = 32) -> EnvironmentFamily:
    """Two-dimensional Navier-Stokes on the unit torus, 10 frames, dt = 1.

    Args:
        split: ``"coda"`` (5 seen, 4 unseen viscosities), ``"ncf"`` (the same) or ``"leads"`` (4 seen, 4 unseen
            forcings).
        size: points a side; 32 as published.
    """
    seen, unseen, budget, source = choose_split("navier_stokes", split, _SPLITS)
    return EnvironmentFamily(
        name="navier_stokes",
        split=split,
        system=NavierStokes(size, seen[0]),
        seen=torch.tensor(seen, dtype=torch.float64),
        unseen=torch.tensor(unseen, dtype=torch.float64),
        times=torch.arange(10, dtype=torch.float64),
        budget=budget,
        distribution=_BOX,
        source=source,
        arguments={"split": split, "size": size},
    )
