"""Solutions from smooth states converge to themselves under refinement in space, at the stated rate."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from leads.environments import System
from leads.environments.barotropic_qg import BarotropicQG
from leads.environments.burgers import Burgers
from leads.environments.kolmogorov import Kolmogorov
from leads.environments.navier_stokes import NavierStokes
from leads.environments.shallow_water import ShallowWater
from leads.environments.sst_advection import SPACING, SSTAdvection
from leads.environments.two_layer_qg import TwoLayerQG

DAY = 86400.0


def waves(n: int) -> Tensor:
    """A fixed field of one and two waves, ``(n, n)``."""
    a = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    y, x = a[:, None], a
    return torch.sin(x + y) + 0.7 * torch.cos(x - 2 * y) + 0.5 * torch.sin(2 * x) * torch.cos(y)


def last(system: System, x: Tensor, p: tuple[float, ...], end: float) -> Tensor:
    t = torch.tensor([0.0, end], dtype=torch.float64)
    return system.simulate(x[None, None], torch.tensor([p], dtype=torch.float64), t)[0, 0, -1]


def navier_stokes(n: int) -> Tensor:
    return last(NavierStokes(n), 2 * waves(n)[None], (1e-2, 0.1, 1, 1, 1, 1), 1.0)


def kolmogorov(n: int) -> Tensor:
    system = Kolmogorov(n, n, closure=0.0)
    system.rtol, system.atol = 1e-11, 1e-12
    return last(system, waves(n)[None], (1e-1, math.pi, 1.0, 0.1), 1.0)


def shallow_water(n: int) -> Tensor:
    h = 0.1 * waves(n)
    return last(ShallowWater(n), torch.stack([0.1 * h, -0.2 * h, h]), (1e-4, 50.0, 1e10), 6 * 3600.0)


def two_layer_qg(n: int) -> Tensor:
    x = torch.stack([1e-6 * waves(n), 3e-7 * waves(n).T])
    return last(TwoLayerQG(n, "none"), x, (1.5e-11, 15e3, 0.25, 0.02, 5e-7), 2 * DAY)


def barotropic_qg(n: int) -> Tensor:
    return last(BarotropicQG(n, "none"), waves(n)[None], (10.0, 0.05, 0.0), 0.5)


@pytest.mark.parametrize(
    ("solve", "sizes"),
    [
        (navier_stokes, (16, 32, 64)),
        (kolmogorov, (40, 80)),
        (shallow_water, (16, 32, 64)),
        (two_layer_qg, (32, 64)),
        (barotropic_qg, (48, 96)),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_spectral_solutions_converge_to_rounding(solve: object, sizes: tuple[int, ...]) -> None:
    *coarse, fine = (solve(n) for n in sizes)  # type: ignore[operator]
    errors = []
    for state in coarse:
        step = fine.shape[-1] // state.shape[-1]
        common = fine[:, ::step, ::step]
        # Channels have units of their own.
        errors.append(max(float((a - b).norm() / b.norm()) for a, b in zip(state, common, strict=True)))
    assert errors[-1] < 1e-8, errors
    # Faster than any power that differences have.
    assert all(b < a / 2**8 for a, b in itertools.pairwise(errors)), errors


def order(errors: list[float]) -> float:
    return math.log2(errors[-2] / errors[-1])


def test_burgers_has_order_five() -> None:
    states = []
    for n in (128, 256, 512):
        system = Burgers(n, n)
        system.rtol, system.atol = 1e-11, 1e-12
        # Averages over cells of a sine are those at the centres, less high.
        centres = (np.arange(n) + 0.5) * 2 * np.pi / n
        u = 0.5 + np.sinc(1 / n) * np.sin(centres) + 0.3 * np.sinc(2 / n) * np.cos(2 * centres)
        states.append(last(system, torch.from_numpy(u)[None], (0.05, 0.0, 0.0, 1.5), 0.3)[0])
    *coarse, fine = states
    errors = [float((u - fine.unflatten(0, (len(u), -1)).mean(1)).norm() / len(u) ** 0.5) for u in coarse]
    assert order(errors) == pytest.approx(5, abs=0.5), errors


def test_sea_surface_temperature_has_order_six() -> None:
    states = []
    for n in (16, 32, 64, 128):
        system = SSTAdvection(n, 64 * SPACING / n)
        system.rtol, system.atol = 1e-11, 1e-11
        states.append(last(system, 20 + waves(n)[None], (3000.0, 0.1, 0.02, 0.5, 0.1, 2e-7, 5.0), 2 * DAY)[0])
    *coarse, fine = states
    errors = [float((t - fine[:: 128 // len(t), :: 128 // len(t)]).square().mean().sqrt()) for t in coarse]
    assert order(errors) == pytest.approx(6, abs=0.5), errors
