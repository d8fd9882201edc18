"""Burgers' equation: waves that steepen into shocks, with viscosity and forcing."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from copy import copy
from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.grid_system import GridSystem
from leads.environments.system import Channel, Grid, Parameter
from leads.errors import DivergenceError, SettingsError
from leads.numerics.stencils import second_derivative, shift, weno

LENGTH = 2 * math.pi
#: Wavenumbers of the initial states; the spectrum has fallen to rounding at the last one.
MODES = 44
#: Where cells are no wider than this times the viscosity, shocks are smooth on the grid.
RESOLVED = 0.125

_solvers: weakref.WeakKeyDictionary[Burgers, dict[int, Burgers]] = weakref.WeakKeyDictionary()


class Burgers(GridSystem):
    """Velocity u on a periodic line of length 2 pi:

        u_t + (u^2 / 2)_x = mu u_xx + F_periodic (sin(w x) + cos(w t)) + F_exponential exp(-w x^2),   0 <= x < 2 pi

    The state ``(1, cells)`` holds averages over cells. Initial states have random phases and the energy spectrum
    ``E(k) = 2 / (3 sqrt(pi)) k^4 / 5^5 exp(-(k / 5)^2)``, each coefficient of modulus ``sqrt(2 E)``, so that the mean of
    u^2 is 1; shocks form at about t = 0.05. Where w is not whole, or the forcing is the exponential one, it jumps at
    x = 0, as published.

    Discretisation: finite volumes. Convection: WENO of order 5 with Engquist and Osher's flux; viscosity: centred
    differences of order 6; forcing: exact cell averages. All telescope: without forcing the mean is conserved.
    ``rhs`` is this on ``cells`` cells. A shock is some ``8 mu / jump`` wide, far below a cell at the published
    mu = 5e-4, so ``simulate`` solves on more cells, whose averages it returns: on the fewest that are no wider than
    0.125 mu, at most ``fine``. (Initial states are refined as the trigonometric series that has their averages, so start
    from smooth ones: what happens within cells is not in the state, and a frame with shocks cannot be continued exactly.)

    Error of the 256 averages against the exact solution without forcing, relative, root mean square over six initial
    states: over the training horizon (t < 0.05) 1.3e-7 for mu = 5e-4 and 2.7e-7 for 5e-5; for mu = 0.05 and more, below
    7e-7 at any time (two states). At the end of the test horizon (t = 0.099), where shocks stand:

        fine                 2048      4096      8192
        mu = 5e-4          9.6e-4    4.5e-4    1.0e-4
        mu = 5e-5          2.4e-4    6.1e-5

    (16384 cells gave 6.9e-7 where 4096 gave 2.6e-4, one state at mu = 5e-4.) Cells half as wide cost four times as much.
    Orders measured on smooth solutions: 5 in space; time steps are chosen for a relative error of 1e-7 a step.
    ``simulate_published`` takes SciPy's RK45 at its default tolerances on the same cells; the published flux is another,
    of order 6 with artificial dissipation.

    Exact without forcing: Cole and Hopf's ``u = -2 mu (log phi)_x`` with ``phi_t = mu phi_xx``.
    Source: Koupai et al., GEPS (2024); spectrum of Maulik and San (2018).

    Args:
        cells: of the state; 256 as published.
        fine: most cells to solve on, a multiple of ``cells``; 16384 in the published generator.

    Raises:
        SettingsError: too few cells for the initial states, or ``fine`` not a multiple of ``cells``.
    """

    channels = (Channel("u", "1", "velocity"),)
    parameters = (
        Parameter("mu", "length2/time", 1e-5, 2.0, "viscosity"),
        Parameter("F_periodic", "length/time2", 0.0, 20.0, "amplitude of the periodic forcing"),
        Parameter("F_exponential", "length/time2", 0.0, 20.0, "amplitude of the exponential forcing"),
        Parameter("w", "1", 0.1, 10.0, "wavenumber and frequency of the forcing"),
    )
    method, rtol, atol = "dopri5", 1e-7, 1e-8

    def __init__(self, cells: int = 256, fine: int = 4096) -> None:
        if cells < 32:
            raise SettingsError(f"Burgers' initial states need at least 32 cells, got {cells}.")
        if fine < cells or fine % cells:
            raise SettingsError(f"fine must be a multiple of cells, got fine={fine} and cells={cells}.")
        self.fine, self.finer = fine, 1
        self.grid = Grid((cells,), (LENGTH / cells,), ("x",))

    def rates(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        mu, periodic, exponential, w = p
        u = x[0]
        n = len(u)
        width = LENGTH / n
        left, right = weno(u, 0)
        flux = 0.5 * (left.clamp_min(0).square() + right.clamp_max(0).square())
        edges = (torch.arange(n + 1, dtype=u.dtype, device=u.device) * width).reshape(-1, *(1,) * (u.ndim - 1))
        sine = -torch.diff(torch.cos(w * edges), dim=0) / (w * width)
        root = w.sqrt()
        bump = torch.diff(torch.erf(root * edges), dim=0) * (0.5 * math.sqrt(math.pi)) / (root * width)
        force = periodic * (sine + torch.cos(w * t).to(u)) + exponential * bump
        viscous = mu * second_derivative(u, width, 0, 6)
        return (viscous - (flux - shift(flux, -1, 0)) / width + force)[None]

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        assert self.grid is not None
        cells = self.grid.shape[0]
        modes = min(MODES, cells // 2 - 1)
        k = np.arange(1, modes + 1)
        energy = 2 / (3 * math.sqrt(math.pi)) * k**4 / 5.0**5 * np.exp(-((k / 5) ** 2))
        # The published stream: phases from wavenumber 1 upwards.
        phase = 2 * math.pi * generator.uniform(size=(n, modes, 1))
        average = 2 * np.sqrt(2 * energy) * np.sinc(k / cells)
        centres = (np.arange(cells) + 0.5) * LENGTH / cells
        u = (average[:, None] * np.cos(k[:, None] * centres + phase)).sum(1)
        return torch.from_numpy(u[:, None])

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """Mean and mean kinetic energy (of the cell averages), each ``(...)``."""
        u = x[..., 0, :]
        return {"mean": u.mean(-1), "energy": 0.5 * u.square().mean(-1)}

    def simulate(self, x0: Tensor, p: Tensor, t: Tensor, *, refine: int = 1) -> Tensor:
        """See :meth:`System.simulate`; ``refine`` multiplies the number of fine cells too, whose error is the larger."""
        self.check_refine(refine)
        if refine == 1:
            return super().simulate(x0, p, t)
        finer = copy(self)
        finer.fine, finer.finer = refine * self.fine, refine * self.finer
        return super(Burgers, finer).simulate(x0, p, t, refine=refine)

    def _solve(self, x0: Tensor, p: Tensor, t: Tensor, rtol: float, atol: float) -> Tensor:
        def solve(solver: Burgers, x: Tensor, q: Tensor) -> Tensor:
            return GridSystem._solve(solver, x, q, t, rtol, atol)

        return self._refined_solve(x0, p, t, solve)

    def _solve_published(self, x0: Tensor, p: Tensor, t: Tensor) -> Tensor:
        def solve(solver: Burgers, x: Tensor, q: Tensor) -> Tensor:
            return GridSystem._solve_published(solver, x, q, t)

        return self._refined_solve(x0, p, t, solve)

    def _refined_solve(
        self, x0: Tensor, p: Tensor, t: Tensor, solve: Callable[[Burgers, Tensor, Tensor], Tensor]
    ) -> Tensor:
        """Averages ``(T, B, 1, cells)`` of what ``solve`` gives on as many cells as each viscosity needs."""
        assert self.grid is not None
        cells = self.grid.shape[0]
        counts = self._counts(p[:, 0])
        out = x0.new_empty((len(t), *x0.shape))
        for n in sorted(set(counts.tolist())):
            here = (counts == n).nonzero()[:, 0]
            fine = refined(x0[here], n)
            solver = self._on(n)
            try:
                states = solve(solver, fine, p[here])
            except DivergenceError as error:
                if error.trajectory is not None:
                    error.trajectory = int(here[error.trajectory])
                raise
            out[:, here] = states.unflatten(-1, (cells, n // cells)).mean(-1)
        # The start is returned as it came.
        out[0] = x0
        return out

    def _on(self, cells: int) -> Burgers:
        """This system on ``cells`` cells; kept, because compiling it takes seconds."""
        kept = _solvers.setdefault(self, {})
        if cells not in kept:
            solver = kept[cells] = copy(self)
            solver.fine, solver.grid = cells, Grid((cells,), (LENGTH / cells,), ("x",))
        kept[cells].compile = self.compile
        return kept[cells]

    def _counts(self, mu: Tensor) -> Tensor:
        """Cells on which trajectories of viscosity ``mu`` (B,) are solved, (B,): ``cells`` times a power of two, or ``fine``."""
        assert self.grid is not None
        cells = self.grid.shape[0]
        times = torch.exp2(torch.ceil(torch.log2(self.finer * LENGTH / (RESOLVED * mu.double() * cells)))).clamp_min(1)
        wanted = (times * cells).clamp_max(self.fine).long()
        return torch.where(self.fine % wanted == 0, wanted, self.fine)


def refined(x: Tensor, n: int) -> Tensor:
    """Averages over ``n`` cells of the trigonometric series with averages ``x`` ``(..., cells)`` over fewer cells."""
    cells = x.shape[-1]
    if n == cells:
        return x
    k = torch.arange(cells // 2 + 1, dtype=x.dtype, device=x.device)
    xh = torch.fft.rfft(x)
    gain = torch.sinc(k / n) / torch.sinc(k / cells)
    # Centres of the first cells lie half a cell from the edge.
    angle = math.pi * k * (1 / n - 1 / cells)
    if cells % 2 == 0:
        gain = torch.cat([gain[:-1], gain[-1:] / 2])
    moved = xh * torch.polar(gain, angle)
    return torch.fft.irfft(moved, n) * (n / cells)


_NONE, _PERIODIC = (0.0, 0.0, 1.5), (5.0, 0.0, 1.5)

#: seen, unseen, budget, range of fresh environments, source
_SPLITS = {
    "geps": (
        tuple((mu, *force) for mu, force in product((0.5, 0.05, 5e-4), (_NONE, _PERIODIC))),
        tuple((mu, 0.0, 5.0, w) for mu, w in product((1.0, 5e-5), (1.5, 3.0))),
        Budget(train=4, test=32),
        Box((5e-4, 0.0, 0.0, 1.5), (0.5, 5.0, 0.0, 1.5)),
        "Koupai et al. (2024), GEPS, as the paper means it. In the public code the periodic environments are unforced "
        "duplicates of the others, and adaptation is tested on the training set's initial states.",
    ),
}


@register("burgers")
def burgers(split: Literal["geps"] = "geps", cells: int = 256, fine: int = 4096) -> EnvironmentFamily:
    """Burgers' equation, 50 frames 1e-3 apart, tested on 100.

    Args:
        split: ``"geps"`` (6 seen environments: three viscosities with and without periodic forcing; 4 unseen ones with
            exponential forcing, less and more viscous).
        cells: of the state; 256 as published.
        fine: most cells on which solutions are computed; 16384 in the published generator.
    """
    seen, unseen, budget, box, source = choose_split("burgers", split, _SPLITS)
    return EnvironmentFamily(
        name="burgers",
        split=split,
        system=Burgers(cells, fine),
        seen=torch.tensor(seen, dtype=torch.float64),
        unseen=torch.tensor(unseen, dtype=torch.float64),
        times=torch.arange(50, dtype=torch.float64) * 1e-3,
        test_times=torch.arange(100, dtype=torch.float64) * 1e-3,
        budget=budget,
        distribution=box,
        source=source,
        arguments={"split": split, "cells": cells, "fine": fine},
    )
