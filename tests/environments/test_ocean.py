"""Ocean circulation against theory: growth rates, Rossby waves, conserved quantities, budgets, boundary currents."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

import leads
from leads.environments import EnvironmentFamily
from leads.environments.barotropic_qg import BarotropicQG
from leads.environments.double_gyre import DENSE, DoubleGyre, arakawa, centred
from leads.environments.equivalent_barotropic_qg import EquivalentBarotropicQG, rotation
from leads.environments.quasi_geostrophic import PeriodicQG
from leads.environments.two_layer_qg import DAY, TwoLayerQG, growth_rate
from leads.errors import DivergenceError, SettingsError, UnknownNameError

EDDY = (1.5e-11, 15e3, 0.25, 0.025, 5.787e-7)


def wide(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def run(system: leads.environments.System, x: Tensor, p: Tensor, t: Tensor, refine: int = 1) -> Tensor:
    """One trajectory: ``(C, *X)`` to ``(T, C, *X)``."""
    return system.simulate(x[None, None], p[None], t, refine=refine)[0, 0]


def draw(system: leads.environments.System) -> Tensor:
    return system.sample_x0(1, np.random.RandomState(0))[0]


def total_energy(system: leads.environments.System, x: Tensor, p: Tensor) -> Tensor:
    parts = system.diagnostics(x, p)
    return sum((v for k, v in parts.items() if "energy" in k), torch.zeros(()))


# Two layers.


def phillips(k: Tensor, shear: float, beta: float, f: float) -> Tensor:
    """Growth rate for layers of equal depth without drag (Vallis, 2017, equation 9.120), F = f in both layers."""
    under = k**4 * (4 * f**2 - k**4) * shear**2 / 4 - beta**2 * f**2
    return under.clamp_min(0).sqrt() / (k * (k**2 + 2 * f))


def test_growth_rates_are_those_of_phillips() -> None:
    rd, shear, beta = 15e3, 0.05, 1.5e-11
    k = torch.linspace(0.05, 3.0, 60, dtype=torch.float64) / rd
    found = growth_rate(wide(beta, rd, 1.0, shear, 0.0), k, torch.zeros_like(k))
    expected = phillips(k, shear, beta, 1 / (2 * rd**2))
    assert float(expected.max()) > 5e-7
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-13)


@pytest.mark.parametrize(
    "p", [EDDY, (1.5e-11, 15e3, 0.25, 0.05, 5.787e-7), (1e-11, 20e3, 2.5, 0.06, 3e-7)], ids=["eddy", "fast", "upside"]
)
def test_a_small_perturbation_grows_as_the_eigenvalue_says(p: tuple[float, ...]) -> None:
    system, q = TwoLayerQG(24, "none"), wide(*p)
    k = 2 * math.pi / 1e6 * torch.arange(1, 8, dtype=torch.float64)
    rates = growth_rate(q, k, torch.zeros_like(k))
    m = int(rates.argmax()) + 1
    phase = (system.grid.coordinates(1) * k[m - 1]).expand(24, 24)
    waves = torch.stack([torch.cos(phase), torch.sin(phase)])
    basis = torch.einsum("wyx,ij->wijyx", waves, torch.eye(2, dtype=torch.float64)).flatten(0, 1) * 1e-12
    slopes = system.rhs(wide(0)[0], basis, q)
    matrix = torch.einsum("aiyx,biyx->ba", slopes, basis) / basis[0].square().sum()
    values, vectors = torch.linalg.eig(matrix)
    mode = torch.einsum("b,biyx->iyx", vectors[:, values.real.argmax()].real, basis)
    t = wide(0, 60 * DAY)
    grown = run(system, mode, q, t)
    measured = float((grown[1].norm() / grown[0].norm()).log() / t[1])
    assert measured == pytest.approx(float(rates[m - 1]), rel=1e-3)
    assert measured > 1e-8


@pytest.mark.parametrize("kind", ["barotropic", "baroclinic"])
def test_two_layer_rossby_waves(kind: str) -> None:
    beta, rd, delta = 1.5e-11, 15e3, 0.25
    system, p = TwoLayerQG(20, "none"), wide(beta, rd, delta, 0.0, 0.0)
    k, l = 2 * 2 * math.pi / 1e6, 3 * 2 * math.pi / 1e6  # noqa: E741
    k2 = k**2 + l**2
    omega = -beta * k / (k2 + (rd**-2 if kind == "baroclinic" else 0))
    ratio = -delta if kind == "baroclinic" else 1.0
    y, x = system.grid.coordinates(0)[:, None], system.grid.coordinates(1)
    f1 = 1 / (rd**2 * (1 + delta))

    def wave(t: float) -> Tensor:
        psi = 1e-3 * torch.cos(k * x + l * y - omega * t)
        return torch.stack([(-k2 + f1 * (ratio - 1)) * psi, (-k2 * ratio + delta * f1 * (1 - ratio)) * psi])

    end = 100 * DAY
    states = run(system, wave(0), p, wide(0, end))
    # A relative error of the phase speed shows as a phase error omega t times as large.
    error = float((states[-1] - wave(end)).norm() / wave(end).norm()) / abs(omega * end)
    assert error < 1e-5
    assert error > 0


def developed(dissipation: str = "none", size: int = 32, p: tuple[float, ...] = EDDY) -> tuple[TwoLayerQG, Tensor]:
    """A system and a strongly nonlinear truncated state."""
    system = TwoLayerQG(size, dissipation)  # type: ignore[arg-type]
    g = system.modes
    x = g.inverse(g.dealias * g.forward(draw(system)))
    return system, x


@pytest.mark.parametrize("delta", [0.25, 1.0])
def test_two_layer_invariants(delta: float) -> None:
    system, x = developed()
    p = wide(1.5e-11, 15e3, delta, 0.0, 0.0)
    states = run(system, x, p, torch.arange(0, 21, 5, dtype=torch.float64) * DAY, refine=4)
    d = system.diagnostics(states, p)
    enstrophy = d["enstrophy 1"] + d["enstrophy 2"]
    energy = total_energy(system, states, p)
    torch.testing.assert_close(enstrophy, enstrophy[:1].expand_as(enstrophy), rtol=1e-10, atol=0)
    torch.testing.assert_close(energy, energy[:1].expand_as(energy), rtol=1e-10, atol=0)
    # Not trivially: the flow turns over, and beta moves enstrophy between the layers.
    assert float((states[-1] - x).norm() / x.norm()) > 0.5
    assert float((d["enstrophy 2"][-1] / d["enstrophy 2"][0] - 1).abs()) > 1e-3


@pytest.mark.parametrize("dissipation", ["filter", "hyperviscosity", "none"])
def test_two_layer_energy_budget(dissipation: str) -> None:
    system, x = developed(dissipation)
    p = wide(1e-11, 20e3, 0.1, 0.05, 5e-7)
    x = run(system, x, p, wide(0, 5 * DAY))[-1]
    rate = torch.func.jvp(lambda s: total_energy(system, s, p), (x,), (system.rhs(wide(0)[0], x, p),))[1]
    parts = system.energy_budget(x, p)
    assert float(parts["shear"].abs() / parts["drag"].abs()) > 0.05
    torch.testing.assert_close(sum(parts.values()), rate, rtol=1e-9, atol=0)  # type: ignore[arg-type]
    # And over time, by Simpson's rule.
    t = torch.arange(0, 41, dtype=torch.float64) * 1800
    states = run(system, x, p, t)
    rates = sum(system.energy_budget(states, p).values())
    work = (rates[0] + rates[-1] + 4 * rates[1::2].sum() + 2 * rates[2:-1:2].sum()) * 1800 / 3  # type: ignore[index]
    energy = total_energy(system, states, p)
    assert float(work / (energy[-1] - energy[0])) == pytest.approx(1, rel=1e-6)


def test_energies_are_those_of_two_layers_of_water() -> None:
    system, x = developed()
    beta, rd, delta, shear, rek = 1e-11, 20e3, 0.1, 0.05, 5e-7
    p = wide(beta, rd, delta, shear, rek)
    upper = 500.0
    lower, f0 = upper / delta, 1e-4
    u, v = system.velocity(x, p)
    psi = system.streamfunction(x, p)
    speed = (u**2 + v**2).mean((-2, -1))
    reduced = f0**2 * (1 + delta) * rd**2 / upper
    interface = f0 / reduced * (psi[0] - psi[1])
    d = system.diagnostics(x, p)
    depth = upper + lower
    assert float(d["kinetic energy 1"]) == pytest.approx(float(upper * speed[0] / 2 / depth))
    assert float(d["kinetic energy 2"]) == pytest.approx(float(lower * speed[1] / 2 / depth))
    potential = reduced * interface.square().mean() / 2 / depth
    assert float(d["available potential energy"]) == pytest.approx(float(potential))
    spectra = system.spectra(x, p).sum(-1) * 2 * math.pi / 1e6
    torch.testing.assert_close(spectra, speed / 2)
    torch.testing.assert_close(system.ssh(x, p), f0 / 9.81 * psi[0])
    # Inversion: q1 = lap psi1 + F1 (psi2 - psi1) and its fellow.
    g = system.modes
    f1 = 1 / (rd**2 * (1 + delta))
    lap = g.inverse(g.laplacian * g.forward(psi))
    step = psi[1] - psi[0]
    torch.testing.assert_close(lap + torch.stack([f1 * step, -delta * f1 * step]), x, rtol=0, atol=1e-18)


def test_dissipation_is_the_published_filter_whatever_the_step() -> None:
    system = TwoLayerQG(32)
    g = system.modes
    rate = system.damping(wide(0))
    torch.testing.assert_close((rate * 7200).exp(), g.exponential_filter(), rtol=1e-12, atol=1e-300)
    assert float(TwoLayerQG(32, "hyperviscosity").damping(wide(0))[0, 16] * 3 * 3600) == pytest.approx(-1)
    # With nothing else in the equations the published stepper gives the same.
    x, p = draw(system) * 1e-9, wide(0, 15e3, 0.25, 0, 0)
    t = wide(0, 10 * DAY)
    ours = run(system, x, p, t)
    published = system.simulate_published(x[None, None], p[None], t)[0, 0]
    torch.testing.assert_close(published, ours, rtol=0, atol=1e-6 * float(x.abs().max()))


def test_published_stepper_converges_to_ours() -> None:
    x, p, t = draw(TwoLayerQG(32)), wide(*EDDY), wide(0, 2 * DAY)
    errors = []
    for length in (3600.0, 1800.0, 900.0):
        system = TwoLayerQG(32)
        system.filter_step = length
        errors.append(
            float((system.simulate_published(x[None, None], p[None], t)[0, 0] - run(system, x, p, t))[-1].norm())
        )
    assert errors[0] > 1.7 * errors[1] > 1.7**2 * errors[2]
    assert errors[0] < 0.05 * float(x.norm())


# One layer.


def test_barotropic_rossby_wave() -> None:
    system, p = BarotropicQG(48, "none"), wide(10.0, 0.3, 0.0)
    y, x = system.grid.coordinates(0)[:, None], system.grid.coordinates(1)
    wave = lambda t: torch.cos(3 * x - 2 * y + 30 / 13 * t)[None] * math.exp(-0.3 * t)
    states = run(system, wave(0.0), p, wide(0, 5))
    torch.testing.assert_close(states[-1], wave(5.0), rtol=0, atol=1e-11)


def test_ssh_rossby_wave_with_drag() -> None:
    system, p = EquivalentBarotropicQG(32, "none"), wide(38.0, 2.7, 1e-8)
    place = rotation(p[0], p[1])
    assert float(place.f) == pytest.approx(8.98e-5, rel=1e-3)
    assert float(place.beta) == pytest.approx(1.80e-11, rel=3e-3)
    assert float(place.stretching**-0.5) == pytest.approx(30.1e3, rel=2e-3)
    unit = 2 * math.pi / system.modes.lengths[0]
    k, l = 2 * unit, unit  # noqa: E741
    y, x = system.grid.coordinates(0)[:, None], system.grid.coordinates(1)
    whole = float(k**2 + l**2 + place.stretching)
    omega, decay = -float(place.beta) * k / whole, 1e-8 * (k**2 + l**2) / whole
    wave = lambda t: 0.1 * torch.cos(k * x + l * y - omega * t)[None] * math.exp(-decay * t)
    states = run(system, wave(0.0), p, wide(0, 100 * DAY))
    torch.testing.assert_close(states[-1], wave(100 * DAY), rtol=0, atol=1e-9)


@pytest.mark.parametrize("southern", [False, True])
def test_geostrophic_velocity(southern: bool) -> None:
    system = EquivalentBarotropicQG(32)
    p = wide(-30.0 if southern else 30.0, 2.7, 0.0)
    unit = 2 * math.pi / system.modes.lengths[0]
    y = system.grid.coordinates(0)[:, None].expand(32, 32)
    u, v = system.velocity(torch.sin(unit * y)[None], p)
    f = 2 * 7.2921e-5 * math.sin(math.radians(float(p[0])))
    torch.testing.assert_close(u, -9.81 / f * unit * torch.cos(unit * y))
    assert float(v.abs().max()) < 1e-12


@pytest.mark.parametrize(
    ("system", "p", "end"),
    [
        (BarotropicQG(48, "none"), (10.0, 0.0, 0.0), 2.0),
        (EquivalentBarotropicQG(32, "none"), (38.0, 2.7, 0.0), 20 * DAY),
    ],
    ids=["barotropic", "equivalent"],
)
def test_one_layer_invariants(system: PeriodicQG, p: tuple[float, ...], end: float) -> None:
    g = system.modes
    x = g.inverse(g.dealias * g.forward(draw(system)))
    q = wide(*p)
    states = run(system, x, q, wide(0, end / 2, end), refine=2)
    enstrophy = system.diagnostics(states, q)["enstrophy"]
    energy = total_energy(system, states, q)
    torch.testing.assert_close(enstrophy, enstrophy[:1].expand(3), rtol=1e-7, atol=0)
    torch.testing.assert_close(energy, energy[:1].expand(3), rtol=1e-7, atol=0)
    assert float((states[-1] - x).norm() / x.norm()) > 0.5


def test_barotropic_energy_budget() -> None:
    system, p = BarotropicQG(48), wide(10.0, 0.05, 2.0)
    x = draw(system)
    assert float(system.diagnostics(x, p)["energy"]) == pytest.approx(0.08)
    assert float(system.forcing(p).square().mean().sqrt()) == pytest.approx(2.0)
    rate = torch.func.jvp(lambda s: system.diagnostics(s, p)["energy"], (x,), (system.rhs(wide(0)[0], x, p),))[1]
    torch.testing.assert_close(sum(system.energy_budget(x, p).values()), rate, rtol=1e-10, atol=0)  # type: ignore[arg-type]
    fine = BarotropicQG(96)
    torch.testing.assert_close(fine.forcing(p)[::2, ::2], system.forcing(p))


@pytest.mark.parametrize(
    ("system", "p", "step"),
    [
        (BarotropicQG(48, "none"), (10.0, 0.01, 1.0), 0.04),
        (EquivalentBarotropicQG(32, "hyperviscosity"), (38.0, 2.7, 1e-7), 14400.0),
        (TwoLayerQG(32, "hyperviscosity"), (1.5e-11, 15e3, 0.25, 0.05, 5.787e-7), 14400.0),
        (DoubleGyre(24), (0.4, 300.0, 1e-7, 1.754e-11, 1e5), 14400.0),
    ],
    ids=["barotropic", "equivalent", "two layers", "gyre"],
)
def test_order_in_time_is_four(system: leads.environments.System, p: tuple[float, ...], step: float) -> None:
    x = draw(system) * (50 if isinstance(system, DoubleGyre) else 1)
    t = wide(0, 24 * step)
    system.step = step  # type: ignore[attr-defined]
    states = [run(system, x, wide(*p), t, refine=r)[-1] for r in (1, 2, 4)]
    coarse, fine = (float((a - b).norm()) for a, b in pairwise(states))
    assert math.log2(coarse / fine) == pytest.approx(4, abs=0.4)


# The closed basin.


def test_arakawa_conserves_and_converges() -> None:
    random = np.random.RandomState(1)
    a, b = (torch.from_numpy(random.standard_normal((2, 9, 12))) for _ in range(2))
    j, _ = arakawa(a, b, 0.3)
    size = float(j.abs().sum())
    assert abs(float((a * j).sum())) < 1e-14 * size
    assert abs(float((b * j).sum())) < 1e-14 * size
    assert float(arakawa(a, a, 0.3)[0].abs().max()) < 1e-13
    errors = []
    for n in (31, 63):
        s = torch.arange(1, n + 1, dtype=torch.float64) * math.pi / (n + 1)
        y, x = s[:, None], s
        psi, zeta = torch.sin(x) * torch.sin(2 * y), torch.sin(3 * x) * torch.sin(y)
        exact = torch.cos(x) * torch.sin(2 * y) * torch.sin(3 * x) * torch.cos(y) - 2 * torch.sin(x) * torch.cos(
            2 * y
        ) * 3 * torch.cos(3 * x) * torch.sin(y)
        errors.append(float((arakawa(psi, zeta, math.pi / (n + 1))[0] - exact).norm()) / n)
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.1)
    long = torch.from_numpy(random.standard_normal((DENSE + 2, 3)))
    torch.testing.assert_close(centred(long, -2)[:DENSE], centred(long[: DENSE + 1], -2)[:DENSE])
    torch.testing.assert_close(centred(long.mT, -1), centred(long, -2).mT)


@pytest.mark.parametrize("rd", [math.inf, 60e3])
def test_gyre_invariants_and_mass(rd: float) -> None:
    system, p = DoubleGyre(24), wide(0, 0, 0, 1.754e-11, rd)
    x = 30 * draw(system)
    states = run(system, x, p, wide(0, 10 * DAY, 20 * DAY), refine=4)
    energy = total_energy(system, states, p)
    torch.testing.assert_close(energy, energy[:1].expand(3), rtol=1e-7, atol=0)
    assert float((states[-1] - x).norm() / x.norm()) > 0.3
    if math.isinf(rd):
        # beta exchanges enstrophy with the walls' currents: it is advection alone that conserves it.
        still = wide(0, 0, 0, 0, rd)
        states = run(system, x, still, wide(0, 10 * DAY, 20 * DAY), refine=4)
        enstrophy = system.diagnostics(states, still)["enstrophy"]
        torch.testing.assert_close(enstrophy, enstrophy[:1].expand(3), rtol=1e-6, atol=0)
    # Mass: the mean of psi over the basin, its uniform value on the walls included.
    psi = system.streamfunction(states[-1], p)
    wall = system._flow(states[-1], p).wall
    assert abs(float(psi.sum() + wall * (25**2 - 24**2))) < 1e-10 * float(psi.abs().sum())
    # Inversion: q = lap psi - psi / rd^2 with psi known on the walls.
    walled = torch.full((26, 26), float(wall), dtype=torch.float64)
    walled[1:-1, 1:-1] = psi
    inner = walled[1:-1, 1:-1]
    around = walled[2:, 1:-1] + walled[:-2, 1:-1] + walled[1:-1, 2:] + walled[1:-1, :-2]
    q = (around - 4 * inner) / system.grid.spacing[0] ** 2 - inner / rd**2
    torch.testing.assert_close(q, states[-1, 0], rtol=0, atol=1e-10 * float(q.abs().max()))


def test_gyre_energy_budget() -> None:
    system, p = DoubleGyre(24), wide(0.05, 300, 1e-7, 1.754e-11, 8e4)
    x = 10 * draw(system)
    rate = torch.func.jvp(lambda s: total_energy(system, s, p), (x,), (system.rhs(wide(0)[0], x, p),))[1]
    torch.testing.assert_close(sum(system.energy_budget(x, p).values()), rate, rtol=1e-9, atol=0)  # type: ignore[arg-type]


def linear_gyre(n: int, length: float, tau: float, a: float, r: float, beta: float) -> Tensor:
    """Steady psi of ``beta psi_x = W sin(2 pi y / L) + A lap^2 psi - r lap psi``, by the roots of the ODE across x."""
    m = 2 * math.pi / length
    wind = -tau * m / (DoubleGyre.density * DoubleGyre.depth)
    # X solves A (D^2 - m^2)^2 X - r (D^2 - m^2) X - beta X' + W = 0, X = 0 on the walls, and X'' = 0 with viscosity.
    roots = np.roots([a, 0, -2 * a * m**2 - r, -beta, a * m**4 + r * m**2]) if a else np.roots([-r, -beta, r * m**2])
    constant = -wind / (a * m**4 + r * m**2)
    conditions, right = [], []
    for x in (0.0, length):
        # Growing exponentials are measured from the far wall, so that none overflows.
        e = np.exp(np.where(roots.real > 0, roots * (x - length), roots * x))
        conditions.append(e)
        right.append(-constant)
        if a:
            conditions.append(roots**2 * e)
            right.append(0.0)
    weights = np.linalg.solve(np.array(conditions), np.array(right, dtype=complex))
    s = np.arange(1, n + 1) * length / (n + 1)
    e = np.exp(np.where(roots.real > 0, roots * (s[:, None] - length), roots * s[:, None]))
    across = (constant + e @ weights).real
    return torch.from_numpy(np.sin(m * s)[:, None] * across)


@pytest.mark.parametrize(
    ("name", "a", "r"), [("Stommel", 0.0, 1.5e-6), ("Munk", 8e3, 0.0), ("both", 4e3, 1e-6)], ids=lambda v: str(v)
)
def test_steady_linear_gyre(name: str, a: float, r: float) -> None:
    length, beta, tau = 1e6, 2e-11, 1e-6
    width = r / beta if name == "Stommel" else (a / beta) ** (1 / 3)
    errors = []
    for n in (23, 47):
        system = DoubleGyre(n, length)
        system.step = 14400.0
        p = wide(tau, a, r, beta, math.inf)
        steady = run(system, torch.zeros(1, n, n, dtype=torch.float64), p, wide(0, 150 * DAY))[-1]
        psi = system._flow(steady, p).psi
        exact = linear_gyre(n, length, tau, a, r, beta)
        errors.append(float((psi - exact).norm() / exact.norm()))
    assert errors[1] < 0.02
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.35)
    # The strongest current runs along the western wall, in a layer of the width that theory gives.
    _, v = system.velocity(steady, p)
    row = v[11].abs()
    assert int(row.argmax()) <= 1
    inside = row > row.max() / math.e
    reach = float(inside.sum()) * system.grid.spacing[0]
    assert 0.4 * width < reach < 2 * width


# Families.


@pytest.mark.parametrize(
    ("name", "split", "seen", "unseen"),
    [
        ("two_layer_qg", "grid", 6, 4),
        ("two_layer_qg", "eddy_jet", 1, 1),
        ("barotropic_qg", "decay", 6, 4),
        ("barotropic_qg", "forced", 6, 4),
        ("equivalent_barotropic_qg", "latitude", 9, 4),
        ("equivalent_barotropic_qg", "drag", 6, 4),
        ("double_gyre", "wind", 6, 4),
        ("double_gyre", "planet", 6, 4),
    ],
)
def test_splits(name: str, split: str, seen: int, unseen: int) -> None:
    family: EnvironmentFamily = leads.make(name, split=split, size=48)
    assert (len(family.seen), len(family.unseen), len(family.times)) == (seen, unseen, 21)
    family.system.check_parameters(family.sample(20, "outside", 0))
    assert leads.make(name, **family.arguments).arguments == family.arguments
    with pytest.raises(UnknownNameError, match=f"'{split}'"):
        leads.make(name, split=split + "s")


def test_published_values() -> None:
    family = leads.make("two_layer_qg", split="eddy_jet")
    assert family.seen.tolist() == [[1.5e-11, 15e3, 0.25, 0.025, 5.787e-7]]
    assert family.unseen.tolist() == [[1.0e-11, 15e3, 0.1, 0.025, 7e-8]]
    beta, rd, delta, shear, _ = leads.make("two_layer_qg").seen.unbind(-1)
    assert bool((shear / (beta * rd**2 * (1 + delta) / delta) >= 1.7).all())


@pytest.mark.parametrize("name", ["two_layer_qg", "barotropic_qg", "equivalent_barotropic_qg"])
def test_initial_states_have_their_size_on_every_grid(name: str) -> None:
    sizes = {"two_layer_qg": 1.8e-5, "barotropic_qg": 3.1, "equivalent_barotropic_qg": 0.1}
    systems = [leads.make(name, size=n).system for n in (48, 96)]
    if isinstance(systems[1], EquivalentBarotropicQG):
        systems[1] = EquivalentBarotropicQG(96, spacing=5e3)
    coarse, fine = (system.sample_x0(3, np.random.RandomState(5)) for system in systems)
    torch.testing.assert_close(fine[..., ::2, ::2], coarse)
    assert float(coarse[:, 0].std()) == pytest.approx(sizes[name], rel=0.2)
    assert float(coarse.mean((-2, -1)).abs().max()) < 1e-12


def test_spin_up_does_not_depend_on_the_batch_and_keeps_the_flow_alive() -> None:
    system = TwoLayerQG(32, spin_up_days=20.0)
    x = system.sample_x0(3, np.random.RandomState(0))
    settled = system.spin_up(x)
    assert settled.dtype == torch.float64
    assert torch.equal(system.spin_up(x[1:2]), settled[1:2])
    p = wide(*system.reference)
    energy = system.diagnostics(settled, p)["kinetic energy 1"] / system.diagnostics(x, p)["kinetic energy 1"]
    assert bool(((energy > 0.3) & (energy < 2)).all())


def test_gyre_spin_up_parts_the_draws() -> None:
    system = DoubleGyre(16, 2.5e5, spin_up_days=(30.0, 10.0))
    x = system.sample_x0(2, np.random.RandomState(0))
    y = system.spin_up(x)
    assert float((y[0] - y[1]).norm()) > 0
    assert torch.equal(system.spin_up(x[:1]), y[:1])


def test_bad_input() -> None:
    with pytest.raises(SettingsError, match="at least 20"):
        TwoLayerQG(15)
    with pytest.raises(SettingsError, match="at least 48"):
        BarotropicQG(32)
    with pytest.raises(SettingsError, match="at least 16"):
        DoubleGyre(4)
    with pytest.raises(UnknownNameError, match="hyperviscosity"):
        TwoLayerQG(32, "hyperviscous")  # type: ignore[arg-type]
    system = BarotropicQG(48, "none")
    x = draw(system).expand(1, 2, 1, 48, 48) * torch.tensor([1.0, 1e12])[:, None, None, None]
    with pytest.raises(DivergenceError, match=r"Trajectory 1 of environment 0 \(beta = 10"):
        system.simulate(x, wide(10, 0, 0)[None], wide(0, 0.1, 0.2))
