"""Order in time: fixed steps towards the reference solution, its own tolerance, the published Adams-Bashforth stepper."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from leads.environments import System
from leads.environments.decaying_turbulence import DecayingTurbulence
from leads.environments.kolmogorov import Kolmogorov
from leads.environments.sst_advection import SSTAdvection
from leads.environments.two_layer_qg import TwoLayerQG
from leads.environments.wave import DampedWave
from leads.integrators import integrate

DAY = 86400.0


def wide(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def smooth(n: int, seed: int = 0) -> Tensor:
    """A random field of up to three waves along each axis, mean square 1, ``(n, n)``."""
    random = np.random.RandomState(seed)
    angle = 2 * np.pi * np.arange(n) / n
    field = np.zeros((n, n))
    for i in range(-3, 4):
        for j in range(1, 4):
            a, b = random.standard_normal(2)
            field += a * np.cos(i * angle[:, None] + j * angle) + b * np.sin(i * angle[:, None] + j * angle)
    return torch.from_numpy(field / np.sqrt(np.mean(field**2)))


def solved(system: System, x: Tensor, p: Tensor, end: float) -> Tensor:
    return system.simulate(x[None, None], p[None], wide(0, end))[0, 0, -1]


def flows() -> list[tuple[System, Tensor, float]]:
    return [
        (Kolmogorov(48, 64, closure=0.0), wide(5e-3, math.pi, 1.0, 0.1), 1.0),
        (DecayingTurbulence(48, 64), wide(5e-3, 0.0), 1.0),
    ]


@pytest.mark.parametrize("case", flows(), ids=["kolmogorov", "decaying"])
def test_error_falls_with_the_tolerance(case: tuple[System, Tensor, float]) -> None:
    system, p, end = case
    x, end = 5 * smooth(48)[None], 2 * end
    errors = []
    tolerances = (1e-12, 1e-5, 1e-6, 1e-7, 1e-8)
    for rtol in tolerances:
        system.rtol, system.atol = rtol, rtol / 100
        state = solved(system, x, p, end)
        if rtol == tolerances[0]:
            reference = state
        else:
            errors.append(float((state - reference).norm() / reference.norm()))
    slope = np.polyfit(np.log10(tolerances[1:]), np.log10(errors), 1)[0]
    assert 0.75 < slope < 1.25, errors
    assert errors[-1] < 30 * tolerances[-1]


CASES = {
    "kolmogorov": (*flows()[0], lambda n: 5 * smooth(n)[None], 48, 60),
    "decaying": (*flows()[1], lambda n: 5 * smooth(n)[None], 48, 60),
    "wave": (
        DampedWave(32, 2, "periodic"),
        wide(330.0, 50.0),
        0.02,
        lambda n: torch.stack([smooth(n), 0 * smooth(n)]),
        32,
        40,
    ),
    "sst": (
        SSTAdvection(32),
        wide(3000.0, 0.3, 0.02, 0.5, 0.1, 2e-7, 5.0),
        5 * DAY,
        lambda n: 20 + smooth(n)[None],
        32,
        120,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_fixed_steps_converge_with_order_four(name: str) -> None:
    system, p, end, start, n, steps = CASES[name]
    x = start(n)
    system.rtol, system.atol = 1e-12, 1e-12
    reference = solved(system, x, p, end)
    errors = [
        float(
            (
                integrate(lambda t, y: system.rhs(t, y, p), x, wide(0, end), method="rk4", substeps=k)[-1] - reference
            ).norm()
        )
        for k in (steps, 2 * steps)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.3), errors


def test_adams_bashforth_has_order_three_behind_its_euler_start() -> None:
    """The Euler step that starts it is wrong by ``h^2 q'' / 2``: as if the start were another, by so much."""
    p, t = wide(1.5e-11, 15e3, 0.25, 0.05, 5.787e-7), wide(0, 2 * DAY)
    x = torch.stack([5e-6 * smooth(32), 1e-6 * smooth(32, 1)])
    system = TwoLayerQG(32)
    # Off: a filter of strength 0 is refused.
    system.strength = 1e-30
    rate = lambda s: system.rhs(wide(0)[0], s, p)
    second = torch.func.jvp(rate, (x,), (rate(x),))[1]
    errors, plain = [], []
    for h in (1800.0, 900.0, 450.0):
        system.filter_step = h
        found = system.simulate_published(x[None, None], p[None], t)[0, 0, -1]
        starts = torch.stack([x - h**2 / 2 * second, x])
        moved, exact = system.simulate(starts[None], p[None], t, refine=4)[0, :, -1]
        errors.append(float((found - moved).norm()))
        plain.append(float((found - exact).norm()))
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert orders[-1] == pytest.approx(3, abs=0.25), (orders, errors, plain)
    assert errors[-1] < plain[-1]
