"""The two-layer model's validation figures (OCEAN.md, section 2.6): growth, waves, invariants, and what the step changes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from leads.environments.two_layer_qg import DAY, TwoLayerQG, growth_rate

BOX = 1e6


def wide(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def run(system: TwoLayerQG, x: Tensor, p: Tensor, t: Tensor, refine: int = 1) -> Tensor:
    return system.simulate(x[None, None], p[None], t, refine=refine)[0, 0]


@pytest.mark.parametrize(
    ("p", "per_day"),
    [((1.5e-11, 15e3, 0.25, 0.025, 5.787e-7), 0.00673), ((1.0e-11, 15e3, 0.1, 0.025, 7e-8), 0.00386)],
    ids=["eddy", "jet"],
)
def test_growth_rates_of_the_published_pair(p: tuple[float, ...], per_day: float) -> None:
    m = 2 * math.pi / BOX * torch.arange(0, 17, dtype=torch.float64)
    k, l = torch.meshgrid(m[1:], m, indexing="ij")  # noqa: E741
    assert float(growth_rate(wide(*p), k, l).max()) * DAY == pytest.approx(per_day, abs=6e-6)


def layers_of_water(upper: float, lower: float, reduced: float, f0: float, beta: float, shear: float, drag: float, k: float) -> tuple[complex, np.ndarray]:  # fmt: skip
    """Growth rate and mode ``(psi1, psi2)`` of layers with depths in m and reduced gravity, by SciPy: ``M dpsi/dt = A psi``."""
    s1, s2 = f0**2 / (reduced * upper), f0**2 / (reduced * lower)
    m = np.array([[-(k**2) - s1, s1], [s2, -(k**2) - s2]])
    a = -1j * k * (np.diag([shear, 0]) @ m + np.diag([beta + s1 * shear, beta - s2 * shear]))
    a = a + np.diag([0, drag * k**2])
    values, vectors = scipy.linalg.eig(a, m)
    best = values.real.argmax()
    return values[best], vectors[:, best]


@pytest.mark.parametrize(("upper", "lower"), [(500.0, 2000.0), (800.0, 300.0), (2.0, 3.0)])
def test_unequal_layers_of_any_depth_grow_as_scipy_says(upper: float, lower: float) -> None:
    """The equations in metres, whose depths sum to no round number, solved apart from the model's own parameters."""
    f0, beta, shear, drag, rd = 9e-5, 1.2e-11, 0.06, 4e-7, 18e3
    # rd^-2 = f0^2 (H1 + H2) / (g' H1 H2)
    reduced = f0**2 * rd**2 * (upper + lower) / (upper * lower)
    p = wide(beta, rd, upper / lower, shear, drag)
    rates = [layers_of_water(upper, lower, reduced, f0, beta, shear, drag, 2 * math.pi / BOX * n) for n in range(1, 9)]
    n = int(np.argmax([value.real for value, _ in rates])) + 1
    value, mode = rates[n - 1]
    k = 2 * math.pi / BOX * n
    assert float(growth_rate(p, wide(k)[0], wide(0)[0])) == pytest.approx(value.real, rel=1e-9)
    assert value.real > 5e-8
    # And in the nonlinear code, from a small eigenmode.
    system = TwoLayerQG(24, "none")
    phase = np.exp(1j * k * system.grid.coordinates(1).numpy())
    psi = torch.from_numpy((1e-2 * mode[:, None] * phase).real)[:, None].expand(2, 24, 24)
    f1 = 1 / (rd**2 * (1 + upper / lower))
    stretch = torch.stack([f1 * (psi[1] - psi[0]), upper / lower * f1 * (psi[0] - psi[1])])
    q = run(system, stretch - k**2 * psi, p, wide(0, 20 * DAY, 60 * DAY))
    measured = float((q[2].norm() / q[1].norm()).log()) / (40 * DAY)
    # The norm of a travelling wave does not oscillate, so three digits are there from the first day on.
    assert measured == pytest.approx(value.real, rel=1e-3)


@pytest.mark.parametrize("kind", ["barotropic", "baroclinic"])
def test_rossby_waves_after_a_hundred_days(kind: str) -> None:
    beta, rd, delta = 1.5e-11, 15e3, 0.25
    k, l = 2 * 2 * math.pi / BOX, 3 * 2 * math.pi / BOX  # noqa: E741
    k2 = k**2 + l**2
    f1 = 1 / (rd**2 * (1 + delta))
    ratio, extra = (-delta, rd**-2) if kind == "baroclinic" else (1.0, 0.0)
    omega = -beta * k / (k2 + extra)
    system = TwoLayerQG(20, "none")
    y, x = system.grid.coordinates(0)[:, None], system.grid.coordinates(1)

    def wave(t: float) -> Tensor:
        psi = torch.cos(k * x + l * y - omega * t)
        return torch.stack([(-k2 + f1 * (ratio - 1)) * psi, (-k2 * ratio + delta * f1 * (1 - ratio)) * psi])

    last = run(system, wave(0), wide(beta, rd, delta, 0, 0), wide(0, 100 * DAY))[-1]
    assert float((last - wave(100 * DAY)).norm() / wave(0).norm()) < 1e-5


@pytest.mark.parametrize("delta", [0.25, 2.5])
def test_depth_weighted_enstrophy_over_twenty_days(delta: float) -> None:
    system = TwoLayerQG(32, "none")
    g = system.modes
    x = g.inverse(g.dealias * g.forward(system.sample_x0(1, np.random.RandomState(0))[0]))
    states = run(system, x, wide(1.5e-11, 15e3, delta, 0, 0), wide(0, 10, 20) * DAY, refine=6)
    depths = wide(3.0 * delta, 3.0)
    enstrophy = states.square().mean((-2, -1))
    weighted = (enstrophy * depths).sum(-1)
    assert float((weighted / weighted[0] - 1).abs().max()) < 1e-10
    # The layers' own are no invariants: beta moves enstrophy between them.
    assert float((enstrophy / enstrophy[0] - 1).abs().max()) > 1e-3


@pytest.mark.parametrize("dissipation", ["filter", "hyperviscosity"])
def test_dissipation_does_not_know_the_step(dissipation: str) -> None:
    """Ten days by long and by short steps end the same, where the published filter, applied per step, does not."""
    system = TwoLayerQG(32, dissipation)  # type: ignore[arg-type]
    p, t = wide(1.5e-11, 15e3, 0.25, 0.05, 5.787e-7), wide(0, 10 * DAY)
    # Not from the first draw, whose smallest scales the filter removes within minutes.
    x = run(system, system.sample_x0(1, np.random.RandomState(0))[0], p, wide(0, 5 * DAY))[-1]
    long, short = (run(system, x, p, t, refine=r)[-1] for r in (1, 4))
    assert float((long - short).norm() / short.norm()) < 1e-7
    if dissipation == "filter":
        ends = []
        for step in (7200.0, 3600.0):
            published = TwoLayerQG(32)
            published.filter_step = step
            ends.append(published.simulate_published(x[None, None], p[None], t)[0, 0, -1])
        assert float((ends[0] - ends[1]).norm() / ends[1].norm()) > 0.05


def test_single_precision_is_enough_for_weeks() -> None:
    system = TwoLayerQG(32)
    x, p = system.sample_x0(1, np.random.RandomState(0))[0], wide(1.5e-11, 15e3, 0.25, 0.05, 5.787e-7)
    exact, single = (run(system, y, p, wide(0, 5 * DAY))[-1].double() for y in (x, x.float()))
    assert float((exact - single).norm() / exact.norm()) < 1e-5


def test_published_stepper_does_not_depend_on_the_batch() -> None:
    system = TwoLayerQG(64)
    x = system.sample_x0(6, np.random.RandomState(0))[:, None]
    p = wide(1.5e-11, 15e3, 0.25, 0.05, 5.787e-7).expand(6, 5)
    t = wide(0, 7200 * 4)
    torch.testing.assert_close(
        system.simulate_published(x, p, t)[4:5], system.simulate_published(x[4:5], p[4:5], t), rtol=0, atol=1e-18
    )
