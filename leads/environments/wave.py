"""Damped waves on a line and on a square."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.arguments import whole
from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.grid_system import GridSystem
from leads.environments.system import Channel, Grid, Parameter, Term
from leads.errors import SettingsError, UnknownNameError
from leads.integrators import check_finite, check_times
from leads.numerics.modes import Modes, damped_oscillator, runge_kutta_four
from leads.numerics.stencils import BOUNDARIES, Boundary, laplacian
from leads.registry import nearest

#: Step of the published generator.
PUBLISHED_STEP = 1e-3
#: States advanced together, in bytes: they stay in a core's cache.
CACHED_BYTES = 2**18


class DampedWave(GridSystem):
    """Displacement w and its rate w_t in one or two dimensions:

        w_tt = c^2 lap(w) - k w_t

    Published values (two dimensions): c = 330, k = 50, 64 x 64 cells of size 1; the Laplacian is the centred stencil of
    order 4. State ``(2, *X)`` with channels w and w_t. Initial states: a bump ``exp(-r^2 / s)`` at rest, s uniform in
    [10, 100], its centre a cell from 20/64 to below 40/64 of the side.

    ``boundary``: ``"neumann"`` reflects waves (no gradient at the outer side of the last cell), as the paper says;
    ``"dirichlet"`` has w = 0 beyond the edge, ``"periodic"`` joins the ends. The public code does none of them well: it
    leaves the Laplacian out in the two outermost rows and columns.

    Energy ``E = 1/2 sum (w_t^2 - c^2 w lap(w)) dV`` obeys ``dE/dt = -k sum w_t^2 dV`` with the discrete Laplacian
    exactly, whatever the boundary; it is conserved where k = 0. With reflecting walls a mode
    ``cos(pi m (i + 1/2) / n)`` is a damped oscillator of its own.
    The equation is linear: solutions are those of its modes, exact to rounding, and :meth:`simulate_published` gives
    what the published steps give, likewise by modes.
    Source: Yin et al., APHYNITY (2021).
    """

    channels = (Channel("w", "m", "displacement"), Channel("w_t", "m s-1", "rate of displacement"))
    parameters = (
        Parameter("c", "m s-1", 1.0, 1000.0, "wave speed"),
        Parameter("k", "s-1", 0.0, 500.0, "damping rate"),
    )

    terms = (Term("propagation", ("c",)), Term("damping", ("k",)))

    def __init__(self, size: int = 64, dims: int = 2, boundary: Boundary = "neumann") -> None:
        if whole("dims", dims, 1) > 2:
            raise SettingsError(f"Damped waves have 1 or 2 dimensions, got dims={dims}.")
        size = whole("size", size, 16, "bumps are 3 to 10 cells wide")
        if boundary not in BOUNDARIES:
            raise UnknownNameError(f"No boundary is named {boundary!r}. {nearest(str(boundary), BOUNDARIES)}")
        self.boundary = boundary
        axes = ("y", "x")[-dims:]
        self.grid = Grid((size,) * dims, (1.0,) * dims, axes, "m", periodic=boundary == "periodic")

    def rates(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        del t
        assert self.grid is not None
        w, rate = x
        c, k = p
        return torch.stack([rate, c * c * laplacian(w, self.grid.spacing, 4, self.boundary) - k * rate])

    def parts(self, t: Tensor, x: Tensor, p: Tensor) -> dict[str, Callable[[], Tensor]]:
        """``propagation`` (with dw/dt = w_t) and ``damping`` -k w_t."""
        del t
        assert self.grid is not None
        w, rate = x
        c, k = p
        spacing = self.grid.spacing
        return {
            "propagation": lambda: torch.stack([rate, c * c * laplacian(w, spacing, 4, self.boundary)]),
            "damping": lambda: torch.stack([torch.zeros_like(w), -k * rate]),
        }

    def simulate_published(self, x0: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """By the classical Runge-Kutta method of order 4 in the published steps of 1e-3, with their error."""

        def steps(stiffness: Tensor, damping: Tensor, interval: float) -> Tensor:
            n = max(1, math.ceil(interval / PUBLISHED_STEP - 1e-9))
            return torch.linalg.matrix_power(runge_kutta_four(stiffness, damping, interval / n), n)

        return self._flat(x0, p, lambda x, q: self._by_modes(x, q, t, steps))

    def _solve(self, x0: Tensor, p: Tensor, t: Tensor, rtol: float, atol: float) -> Tensor:
        del rtol, atol
        return self._by_modes(x0, p, t, damped_oscillator)

    def _by_modes(self, x: Tensor, p: Tensor, t: Tensor, matrices: Callable[[Tensor, Tensor, float], Tensor]) -> Tensor:
        """``(B, 2, *X)``, ``(B, P)`` to ``(T, B, 2, *X)``, given the matrix that advances an oscillator over an interval."""
        check_times(t)
        assert self.grid is not None
        modes = Modes(self.grid.shape, self.grid.spacing, 4, self.boundary)
        # Trajectories of one environment share their matrices.
        if p.requires_grad:
            rows, which = p.double(), torch.arange(len(p), device=p.device)
        else:
            rows, which = p.double().unique(dim=0, return_inverse=True)
        c, k = self.split(rows)
        stiffness = -c * c * modes.values.to(rows)
        known: dict[float, Tensor] = {}
        intervals = (t[1:] - t[:-1]).tolist()
        for interval in intervals:
            if (length := round(interval, 12)) not in known:
                known[length] = matrices(stiffness, k, interval).to(x.dtype).movedim((-2, -1), (0, 1)).contiguous()
        states = x.new_empty(len(t), *x.shape)
        states[0] = x
        for some in torch.arange(len(x)).split(max(1, CACHED_BYTES // (x[:1].numel() * x.element_size()))):
            first, last = int(some[0]), int(some[-1]) + 1
            state = modes.forward(x[first:last])
            for frame, interval in enumerate(intervals, 1):
                m = known[round(interval, 12)]
                if len(rows) > 1:
                    m = m[:, :, which[first:last]]
                w, rate = state.unbind(1)
                state = torch.stack([m[0, 0] * w + m[0, 1] * rate, m[1, 0] * w + m[1, 1] * rate], 1)
                states[frame, first:last] = modes.inverse(state)
        return check_finite(states, t)

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        assert self.grid is not None
        size, dims = self.grid.shape[0], len(self.grid.shape)
        cells = np.indices(self.grid.shape)
        x = np.zeros((n, *self.state_shape))
        for state in x:
            width = generator.uniform(10, 100)
            # The first number drawn belongs to x, the last axis.
            centre = generator.randint(20 * size // 64, 40 * size // 64, size=dims)[::-1]
            square = sum((cells[i] - centre[i]) ** 2 for i in range(dims))
            state[0] = np.exp(-square / width)
        return torch.from_numpy(x)

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """Kinetic, potential and total energy of a unit density, and the rate at which damping takes energy, ``(...)``."""
        assert self.grid is not None
        dims = len(self.grid.shape)
        space = tuple(range(-dims, 0))
        w, rate = x.unbind(-dims - 1)
        c, k = p.unbind(-1)
        first = tuple(range(dims))
        curved = laplacian(w.movedim(space, first), self.grid.spacing, 4, self.boundary).movedim(first, space)
        volume = float(np.prod(self.grid.spacing))
        kinetic = 0.5 * volume * rate.square().sum(space)
        potential = -0.5 * volume * c**2 * (w * curved).sum(space)
        return {
            "kinetic energy": kinetic,
            "potential energy": potential,
            "energy": kinetic + potential,
            "dissipation": 2 * k * kinetic,
        }


_UNSEEN = tuple(product((315.0, 390.0), (37.5, 100.0)))
_BOX = Box((300.0, 25.0), (360.0, 75.0))
_MANY = tuple(product((300.0, 330.0, 360.0), (25.0, 50.0, 75.0)))

#: seen, unseen, budget, source
_SPLITS = {
    "aphynity": (
        ((330.0, 50.0),),
        _UNSEEN,
        Budget(train=200, test=50),
        "Yin et al. (2021), APHYNITY, with the paper's boundary. The public code cuts 200 overlapping windows of 25 frames "
        "from one trajectory of 225 frames; here are as many trajectories, each from its own bump (frames=225 gives its "
        "length). It has one environment; the unseen ones here are ours.",
    ),
    "ours": (_MANY, _UNSEEN, Budget(train=8, test=32), "Ours: environments around the published one."),
}


def _family(name: str, split: str, system: DampedWave, frames: int, arguments: dict[str, object]) -> EnvironmentFamily:
    seen, unseen, budget, source = choose_split(name, split, _SPLITS if name == "wave" else {"ours": _SPLITS["ours"]})
    return EnvironmentFamily(
        name=name,
        split=split,
        system=system,
        seen=torch.tensor(seen, dtype=torch.float64),
        unseen=torch.tensor(unseen, dtype=torch.float64),
        times=torch.arange(frames, dtype=torch.float64) * 1e-3,
        budget=budget,
        distribution=_BOX,
        source=source,
        arguments={"split": split, "frames": frames, **arguments},
    )


@register("wave")
def wave(
    split: Literal["aphynity", "ours"] = "aphynity",
    size: int = 64,
    frames: int = 25,
    boundary: Boundary = "neumann",
) -> EnvironmentFamily:
    """Damped waves on a square, frames 1 ms apart.

    Args:
        split: ``"aphynity"`` (the one published environment, 200 training trajectories) or ``"ours"`` (9 seen, 4 unseen
            environments in c and k).
        size: cells a side; 64 as published.
        frames: 25 as published.
        boundary: ``"neumann"`` (the paper), ``"dirichlet"`` or ``"periodic"``.
    """
    return _family("wave", split, DampedWave(size, 2, boundary), frames, {"size": size, "boundary": boundary})


@register("wave_1d")
def wave_1d(
    split: Literal["ours"] = "ours", size: int = 64, frames: int = 25, boundary: Boundary = "neumann"
) -> EnvironmentFamily:
    """Damped waves on a line, frames 1 ms apart.

    Args:
        split: ``"ours"`` (9 seen, 4 unseen environments in c and k).
        size: cells.
        frames: number of frames.
        boundary: ``"neumann"``, ``"dirichlet"`` or ``"periodic"``.
    """
    return _family("wave_1d", split, DampedWave(size, 1, boundary), frames, {"size": size, "boundary": boundary})
