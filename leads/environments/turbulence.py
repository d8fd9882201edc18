"""A heated plume in a closed box: the turbulence of DyAd."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from leads.environments.arguments import whole
from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.system import Channel, Grid, Parameter, System
from leads.errors import DataError, SettingsError
from leads.integrators import check_finite

#: Side of the box, and length of a step.
SIDE, STEP = 64.0, 1.0


class Turbulence(System):
    """Buoyant marker d and incompressible velocity (w upward, u sideways) in a closed square box of side 64:

        w_t + w w_z + u w_x = -p_z + g B d        d_t + w d_z + u d_x = source
        u_t + w u_z + u u_x = -p_x                w_z + u_x = 0

    State ``(3, size, size)``, axes (z upward, x): w on the lower side of every cell, u on its left side, d in its
    middle (a staggered grid); the walls' own velocities are 0, and nothing flows through them (no friction along them).
    Parameter: buoyancy B; ``gravity`` g = 9.81 is PhiFlow's. Unless ``random_inlet``, the box starts at rest and empty,
    and a disc of radius 4 around (16, 32) is a source of rate 1 for 0 <= t < 2. With it, d starts as 2 in such a disc
    with centre uniform in [10, 32] x [16, 48], and there is no source.

    The system is the published *step*, of length 1, rather than the equations: a semi-Lagrangian one (bilinear
    interpolation at the foot of a straight line; values beyond the outermost ones are those), after which d is scaled
    to its former sum, then the source, buoyancy and the projection onto fields without divergence. The published flow
    crosses many cells a step and only the interpolation damps it, so that smaller steps give another flow.
    :meth:`simulate` and :meth:`simulate_published` are therefore the same and have no error in time; ``refine`` changes
    nothing. :meth:`rhs` is the equations' right-hand side with centred differences.

    The projection solves for the pressure by cosine transforms: the divergence that is left is rounding. The published
    one iterates.
    Source: Wang, Walters and Yu (2022), DyAd, and its public code on PhiFlow 1.0.1, whose closed box this follows:
    values and order of the step; the solver is our own, so trajectories are not the published ones to the number.
    """

    steps_tell_error = False
    channels = (
        Channel("w", "length/time", "upward velocity"),
        Channel("u", "length/time", "sideways velocity"),
        Channel("density", "1", "buoyant marker"),
    )
    parameters = (Parameter("B", "1", 0.0, 1000.0, "buoyancy"),)

    def __init__(self, size: int = 64, gravity: float = 9.81, random_inlet: bool = False) -> None:
        size = whole("size", size, 16, "its source must be two cells wide")
        spacing = SIDE / size
        self.grid = Grid((size, size), (spacing, spacing), ("z", "x"), periodic=False)
        self.gravity, self.random_inlet = gravity, random_inlet

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        x = torch.zeros(n, *self.state_shape, dtype=torch.float64)
        if self.random_inlet:
            centres = torch.from_numpy(generator.uniform((10, 16), (32, 48), size=(n, 2)))
            x[:, 2] = 2 * self.disc(centres)
        return x

    def disc(self, centres: Tensor) -> Tensor:
        """1 in the cells whose middle is within 4 of ``centres`` ``(..., 2)``, else 0; shape ``(..., size, size)``."""
        n = self.state_shape[-1]
        middle = (torch.arange(n, dtype=centres.dtype, device=centres.device) + 0.5) * (SIDE / n)
        z, x = (c[..., None, None] for c in centres.unbind(-1))
        return ((middle[:, None] - z) ** 2 + (middle - x) ** 2 <= 16).to(centres.dtype)

    def source(self, t: Tensor, like: Tensor) -> Tensor:
        """Rate of the source at time ``t``, shape ``(*t.shape, size, size)``."""
        disc = self.disc(like.new_tensor([16.0, 32.0]))
        on = (t < 2).to(like.dtype) * (0.0 if self.random_inlet else 1.0)
        return on[..., None, None] * disc

    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        h = SIDE / x.shape[-1]
        w, u = faces(x)
        d = x[..., 2, :, :]
        w_middle, u_middle = (w[..., 1:, :] + w[..., :-1, :]) / 2, (u[..., :, 1:] + u[..., :, :-1]) / 2
        # On the inner faces: the other component, as the mean of its four neighbours.
        u_there = (u_middle[..., 1:, :] + u_middle[..., :-1, :]) / 2
        w_there = (w_middle[..., :, 1:] + w_middle[..., :, :-1]) / 2
        w_in, u_in = w[..., 1:-1, :], u[..., :, 1:-1]
        lift = self.gravity * p[..., 0, None, None] * (d[..., 1:, :] + d[..., :-1, :]) / 2
        dw = lift - w_in * (w[..., 2:, :] - w[..., :-2, :]) / (2 * h) - u_there * _slope(w_in, -1, h)
        du = -u_in * (u[..., :, 2:] - u[..., :, :-2]) / (2 * h) - w_there * _slope(u_in, -2, h)
        dd = self.source(t, x) - w_middle * _slope(d, -2, h) - u_middle * _slope(d, -1, h)
        return assemble(*project(pad(dw, (0, 0, 1, 1)), pad(du, (1, 1)), h), dd)

    def simulate(self, x0: Tensor, p: Tensor, t: Tensor, *, refine: int = 1) -> Tensor:
        """See :meth:`System.simulate`; times are whole numbers of steps, and ``refine`` changes nothing.

        Raises:
            DataError: times that are not whole, or do not increase.
        """
        if refine < 1:
            raise SettingsError(f"refine must be at least 1, got {refine}.")
        whole = t.round()
        if bool(((t - whole).abs() > 1e-9).any()) or bool((whole.diff() < 1).any()):
            raise DataError(f"The box is advanced by whole steps of {STEP:g}: times must be increasing whole numbers.")
        return self._flat(x0, p, lambda x, q: self._march(x, q, whole))

    def simulate_published(self, x0: Tensor, p: Tensor, t: Tensor) -> Tensor:
        return self.simulate(x0, p, t)

    def _march(self, x: Tensor, p: Tensor, t: Tensor) -> Tensor:
        times = [int(s) for s in t.tolist()]
        frames = [x]
        for now in range(times[0], times[-1]):
            x = self.step(now, x, p)
            if now + 1 in times:
                frames.append(x)
        return check_finite(torch.stack(frames), t)

    def step(self, now: float, x: Tensor, p: Tensor) -> Tensor:
        """One step from time ``now`` of states ``(B, 3, size, size)`` with parameters ``(B, 1)``."""
        h = SIDE / x.shape[-1]
        w, u = faces(x)
        d = x[:, 2]
        w_middle, u_middle = (w[:, 1:] + w[:, :-1]) / 2, (u[:, :, 1:] + u[:, :, :-1]) / 2
        moved = _carried(d, w_middle, u_middle, h)
        before, after = d.sum((-2, -1), keepdim=True), moved.sum((-2, -1), keepdim=True)
        moved = moved * torch.where(after > 0, before / torch.where(after > 0, after, 1.0), 1.0)
        d = moved + STEP * self.source(x.new_tensor(now), x)
        u_there, w_there = _mean(_mirrored(u_middle, -2), -2), _mean(_mirrored(w_middle, -1), -1)
        w, u = _carried(w, w, u_there, h), _carried(u, w_there, u, h)
        lift = STEP * self.gravity * p[:, :, None] * _mean(d, -2)
        return assemble(*project(w + pad(lift, (0, 0, 1, 1)), u, h), d)

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """Means over the box: ``energy`` per mass, ``mass`` (of the marker), and ``vorticity`` (its modulus: DyAd's
        weak label); and ``divergence``, the largest modulus."""
        del p
        h = SIDE / x.shape[-1]
        w, u = faces(x)
        curl = (w[..., 1:-1, 1:] - w[..., 1:-1, :-1] - u[..., 1:, 1:-1] + u[..., :-1, 1:-1]) / h
        mean = lambda field: field.mean((-2, -1))  # noqa: E731
        return {
            "energy": 0.5 * (mean(x[..., 0, :, :] ** 2) + mean(x[..., 1, :, :] ** 2)),
            "mass": mean(x[..., 2, :, :]),
            "vorticity": mean(curl.abs()),
            "divergence": divergence(w, u, h).abs().amax((-2, -1)),
        }


def faces(x: Tensor) -> tuple[Tensor, Tensor]:
    """Velocities on all sides of cells, walls included: w ``(..., n + 1, n)`` and u ``(..., n, n + 1)``."""
    return pad(x[..., 0, 1:, :], (0, 0, 1, 1)), pad(x[..., 1, :, 1:], (1, 1))


def assemble(w: Tensor, u: Tensor, d: Tensor) -> Tensor:
    """States ``(..., 3, n, n)`` of velocities on all sides and of d; the upper and the right wall are left out."""
    return torch.stack([w[..., :-1, :], u[..., :, :-1], d], -3)


def divergence(w: Tensor, u: Tensor, h: float) -> Tensor:
    """Divergence in every cell, shape ``(..., n, n)``."""
    return (w.diff(dim=-2) + u.diff(dim=-1)) / h


def project(w: Tensor, u: Tensor, h: float) -> tuple[Tensor, Tensor]:
    """The nearest velocities without divergence and without flow through the walls; shapes of ``w`` and ``u``."""
    w, u = pad(w[..., 1:-1, :], (0, 0, 1, 1)), pad(u[..., :, 1:-1], (1, 1))
    cosines, inverse = _poisson(w.shape[-1])
    cosines, inverse = cosines.to(w), inverse.to(w)
    modes = cosines @ (divergence(w, u, h) * h**2) @ cosines.mT
    pressure = cosines.mT @ (modes * inverse) @ cosines
    gradient = pressure.diff(dim=-2) / h, pressure.diff(dim=-1) / h
    return w - pad(gradient[0], (0, 0, 1, 1)), u - pad(gradient[1], (1, 1))


@lru_cache(maxsize=8)
def _poisson(n: int) -> tuple[Tensor, Tensor]:
    """Orthonormal cosine modes by rows, ``(n, n)``, and the inverse eigenvalues of the five-point Laplacian for cells
    of side 1 with insulating walls, 0 for the mean."""
    with torch.inference_mode(False):
        k = torch.arange(n, dtype=torch.float64)
        modes = torch.cos(math.pi * k[:, None] * (k + 0.5) / n) * math.sqrt(2 / n)
        modes[0] /= math.sqrt(2)
        line = 2 * torch.cos(math.pi * k / n) - 2
        eigenvalues = line[:, None] + line
        eigenvalues[0, 0] = math.inf
        return modes, 1 / eigenvalues


def _slope(field: Tensor, axis: int, h: float) -> Tensor:
    """Centred difference along ``axis`` with the mirror image beyond the walls."""
    n, wide = field.shape[axis], _mirrored(field, axis)
    return (wide.narrow(axis, 2, n) - wide.narrow(axis, 0, n)) / (2 * h)


def _mirrored(field: Tensor, axis: int) -> Tensor:
    """With one more value at either end of ``axis``: the mirror image beyond the walls."""
    return torch.cat([field.narrow(axis, 0, 1), field, field.narrow(axis, field.shape[axis] - 1, 1)], axis)


def _mean(field: Tensor, axis: int) -> Tensor:
    """Means of neighbours along ``axis``, one fewer."""
    n = field.shape[axis]
    return (field.narrow(axis, 1, n - 1) + field.narrow(axis, 0, n - 1)) / 2


def _carried(field: Tensor, w: Tensor, u: Tensor, h: float) -> Tensor:
    """``field`` ``(B, rows, columns)`` where the straight lines along (w, u) to its points began a step ago."""
    rows, columns = field.shape[-2:]
    z = torch.arange(rows, dtype=field.dtype, device=field.device)[:, None] - w * (STEP / h)
    x = torch.arange(columns, dtype=field.dtype, device=field.device) - u * (STEP / h)
    # From -1 at the first point to 1 at the last.
    feet = torch.stack([x * (2 / (columns - 1)) - 1, z * (2 / (rows - 1)) - 1], -1)
    return grid_sample(field[:, None], feet, mode="bilinear", padding_mode="border", align_corners=True)[:, 0]


_HELD_OUT = (3, 8, 13, 18, 23)
_TASKS = tuple(b for b in range(1, 26) if b not in _HELD_OUT)

#: gravity, whether the inlet is random, training frames, test frames, budget, source
_SPLITS = {
    "dyad": (
        9.81,
        False,
        400,
        500,
        Budget(train=1, test=1, valid=1, adapt=1, adapt_test=1),
        "Wang et al. (2022), DyAd: 25 buoyancies, one trajectory each, from rest. Its samples are windows of 50 "
        "frames: cut these trajectories (leads.trajectories.segments); windows that start in frames 0 to 349 train, "
        "350 to 399 validate, 400 to 449 test the future, 0 to 49 of the unseen environments test the domain. Frames are not "
        "normalised and hold the marker, which DyAd hides.",
    ),
    "plumes": (
        0.005,
        True,
        50,
        50,
        Budget(train=8, test=8, valid=2, adapt=1, adapt_test=8),
        "Ours: the environments of Wang et al. (2022), DyAd, with several trajectories each, from discs at random "
        "places, and so little gravity that the flow crosses two cells a step at most, where DyAd's crosses hundreds.",
    ),
}


@register("turbulence")
def turbulence(split: Literal["dyad", "plumes"] = "dyad", size: int = 64) -> EnvironmentFamily:
    """A heated plume in a closed box, one frame a step; 20 seen buoyancies, {3, 8, 13, 18, 23} unseen.

    Args:
        split: ``"dyad"`` (one trajectory an environment, to be cut into windows: 400 frames to train on, 500 to test)
            or ``"plumes"`` (several trajectories of 50 frames).
        size: cells a side; 64 as published.
    """
    gravity, random_inlet, frames, test_frames, budget, source = choose_split("turbulence", split, _SPLITS)
    rows = lambda values: torch.tensor(values, dtype=torch.float64)[:, None]  # noqa: E731
    return EnvironmentFamily(
        name="turbulence",
        split=split,
        system=Turbulence(size, gravity, random_inlet),
        seen=rows(_TASKS),
        unseen=rows(_HELD_OUT),
        times=torch.arange(frames, dtype=torch.float64),
        test_times=torch.arange(test_frames, dtype=torch.float64),
        budget=budget,
        distribution=Box((1.0,), (25.0,)),
        source=source,
        arguments={"split": split, "size": size},
    )
