"""Rates of what is watched follow from the equations; spectra add up; published solvers are the published ones."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor
from torch.func import jacrev, jvp

import leads
from leads.environments import System
from leads.environments.decaying_turbulence import DecayingTurbulence
from leads.environments.kolmogorov import Kolmogorov
from leads.environments.korteweg_de_vries import KortewegDeVries
from leads.environments.shallow_water import ShallowWater
from leads.environments.wave import DampedWave
from leads.errors import DataError


def states(system: System, n: int = 3) -> Tensor:
    return system.sample_x0(n, np.random.RandomState(0))


def rate(system: System, name: str, x: Tensor, p: Tensor) -> Tensor:
    """d/dt of a diagnostic along the flow."""
    flow = system.rhs(x.new_zeros(()), x, p)
    return jvp(lambda y: system.diagnostics(y, p)[name], (x,), (flow,))[1]


def test_rates_of_change() -> None:
    gs = leads.make("gray_scott")
    x, p = states(gs.system), gs.seen[0]
    feed, kill = p
    d = gs.system.diagnostics(x, p)
    torch.testing.assert_close(rate(gs.system, "mean u", x, p), feed * (1 - d["mean u"]) - d["reaction"])
    torch.testing.assert_close(rate(gs.system, "mean v", x, p), d["reaction"] - (feed + kill) * d["mean v"])

    go = leads.make("glycolytic_oscillator")
    x, p = states(go.system), go.seen[0]
    _, s2, _, s4, s5, _, s7 = x.unbind(-1)
    j0, k4, k6, kappa = p[0], p[4], p[6], p[11]
    torch.testing.assert_close(
        rate(go.system, "carbon", x, p), 2 * j0 - k6 * s2 * s5 - k4 * s4 * s5 - kappa * (s4 - s7), atol=1e-10, rtol=0
    )
    assert go.system.diagnostics(x, p)["energy charge"].tolist() == pytest.approx((x[:, 5] / 4).tolist())

    sm = leads.make("selkov")
    x, p = states(sm.system), sm.seen[3]
    torch.testing.assert_close(rate(sm.system, "total", x, p), p[1] - x[:, 0])

    lz = leads.make("lorenz")
    x, p = states(lz.system), lz.seen[1]
    (sigma, rho, beta), (a, b, c) = p, x.unbind(-1)
    expected = -2 * sigma * (rho * a**2 + b**2 + beta * c**2 - 2 * beta * rho * c)
    torch.testing.assert_close(rate(lz.system, "lyapunov", x, p), expected)

    fn = leads.make("fitzhugh_nagumo")
    x, p = states(fn.system), fn.seen[1]
    (a, b, _, current), (v, w) = p, x.unbind(-1)
    torch.testing.assert_close(rate(fn.system, "energy", x, p), v**2 - v**4 / 3 + current * v + a * w - b * w**2)


@pytest.mark.parametrize("name", ["selkov", "lorenz", "fitzhugh_nagumo"])
def test_divergence_is_the_trace_of_the_jacobian(name: str) -> None:
    family = leads.make(name)
    p = family.seen[1]
    for x in states(family.system):
        jacobian = jacrev(lambda y: family.system.rhs(y.new_zeros(()), y, p))(x)
        torch.testing.assert_close(family.system.diagnostics(x, p)["divergence"], jacobian.trace())


def test_spectra_add_up() -> None:
    for system, p in (
        (DecayingTurbulence(32, 48), torch.tensor([1e-2, 0.0])),
        (Kolmogorov(32, 48), torch.tensor([1e-3, 1.5 * math.pi, 0.0, 0.0])),
    ):
        x = states(system)
        k, energy = system.spectrum(x, p.double())
        total = system.diagnostics(x, p.double())["energy"]
        torch.testing.assert_close((energy * k[..., :1]).sum(-1), total)
    assert float(k[0]) == pytest.approx(2 * math.pi / float(p[1]))
    # One wave: all of its energy in one bin.
    y = torch.arange(32, dtype=torch.float64) / 32 * 2 * math.pi
    k, energy = DecayingTurbulence(32, 48).spectrum((3 * torch.cos(3 * y))[None, None, :].expand(1, 32, 32))
    assert float(k[2]) == pytest.approx(3)
    assert energy.tolist() == pytest.approx([0.25 * (i == 2) for i in range(len(k))], abs=1e-12)
    line = KortewegDeVries(64)
    u = states(line)
    k, half = line.spectrum(u)
    torch.testing.assert_close(half.sum(-1) * k[0], 0.5 * u[:, 0].var(-1, unbiased=False))
    water = ShallowWater(32)
    x = states(water)
    k, kinetic = water.spectrum(x)
    torch.testing.assert_close(kinetic.sum(-1) * k[0], 0.5 * x[:, :2].square().mean((-2, -1)).sum(-1))
    # Eddies of 400 km.
    assert float(k[kinetic.mean(0).argmax()]) == pytest.approx(2 * math.pi / 400e3, rel=0.3)


def test_dry_shallow_water_is_refused() -> None:
    system = ShallowWater(16)
    p = torch.tensor([[1e-4, 50.0, 1e10], [1e-4, 5.0, 1e10]], dtype=torch.float64)
    x = states(system, 2).expand(2, 2, 3, 16, 16).clone()
    x[1, 1, 2, 3, 4] = -5.5
    with pytest.raises(DataError, match=r"Trajectory 1 of environment 1 .* 0.5 m below"):
        system.simulate(x, p, torch.tensor([0.0, 60.0], dtype=torch.float64))


NOTHING_PUBLISHED = ("heat", "advection", "lorenz", "van_der_pol", "fitzhugh_nagumo", "sir", "seir")


@pytest.mark.parametrize("name", NOTHING_PUBLISHED)
def test_unpublished_systems_are_solved_at_reference_accuracy(name: str) -> None:
    family = leads.make(name)
    x0 = states(family.system, 2)[None]
    p, t = family.seen[:1], family.times[:3]
    assert torch.equal(family.system.simulate_published(x0, p, t), family.system.simulate(x0, p, t))


def test_stiff_unpublished_systems_come_back() -> None:
    for name, size in (
        ("equivalent_barotropic_qg", 32),
        ("barotropic_qg", 48),
        ("double_gyre", 16),
        ("shallow_water", 16),
        ("sst_advection", 16),
        ("decaying_turbulence", 32),
    ):
        family = leads.make(name, size=size)
        x0, p, t = states(family.system, 1)[None], family.seen[:1], family.times[:2]
        assert torch.equal(family.system.simulate_published(x0, p, t), family.system.simulate(x0, p, t)), name


def test_published_waves_take_rk4_steps() -> None:
    system, p = DampedWave(16), torch.tensor([[330.0, 50.0]], dtype=torch.float64)
    x0, t = states(system, 2)[None], torch.arange(4, dtype=torch.float64) * 2e-3
    got = system.simulate_published(x0, p, t)
    x, h = x0, 1e-3
    for _ in range(6):
        f = lambda y: system.rhs(t[0], y, p[:, None])
        a = f(x)
        b = f(x + h / 2 * a)
        c = f(x + h / 2 * b)
        x = x + h / 6 * (a + 2 * b + 2 * c + f(x + h * c))
    torch.testing.assert_close(got[:, :, -1], x, rtol=1e-12, atol=1e-12)
    assert 1e-9 < float((got - system.simulate(x0, p, t)).abs().max()) < 2


def test_published_kolmogorov_takes_rk4_steps() -> None:
    system, p = Kolmogorov(32, 48), torch.tensor([[1e-3, math.pi, 1.0, 0.1]], dtype=torch.float64)
    x0, t = states(system, 2)[None], torch.tensor([0.0, 0.01], dtype=torch.float64)
    # Without its Nyquist modes a state is its modes.
    x0 = system.to_field(system.to_modes(x0[:, :]))
    got = system.simulate_published(x0, p, t)
    exact = solve_ivp(
        lambda s, y: system.rhs(t[0], torch.from_numpy(y).reshape(1, 2, 1, 32, 32), p[:, None]).flatten().numpy(),
        (0, 0.01),
        x0.flatten().numpy(),
        rtol=1e-11,
        atol=1e-12,
        method="DOP853",
    ).y[:, -1]
    assert float((got[:, :, -1].flatten() - torch.from_numpy(exact)).abs().max()) < 1e-4 * float(x0.abs().max())
    assert float((system.simulate_published(x0, p, t[:2] / 4) - system.simulate(x0, p, t / 4)).abs().max()) < 1e-4
