"""Sea-surface temperature: budgets to rounding, a Gaussian in a uniform flow, and the current itself."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import leads
from leads.environments.sst_advection import DAY, YEAR, SSTAdvection
from leads.errors import SettingsError, UnknownNameError
from leads.integrators import integrate
from leads.numerics.stencils import first_derivative


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# kappa, eddies, drift, phase, flow, relaxation, season
STIRRED = numbers(500.0, 0.2, 0.05, 1.0, 0.1, 0.0, 0.0)
FORCED = numbers(500.0, 0.2, 0.05, 1.0, 0.1, 5e-7, 6.0)


def test_a_gaussian_in_a_uniform_flow() -> None:
    """Exact solution, and the order at which finer grids approach it."""
    kappa, flow, length, t, errors = 2000.0, 0.3, 640e3, 5 * DAY, []

    def gaussian(x: torch.Tensor, centre: float, variance: float) -> torch.Tensor:
        images = (torch.exp(-((x - centre + m * length) ** 2) / (2 * variance)) for m in range(-3, 4))
        return sum(images, torch.zeros_like(x)) / math.sqrt(variance)

    for n in (16, 32, 64):
        system = SSTAdvection(n, length / n)
        x = torch.arange(n, dtype=torch.float64) * length / n
        start = gaussian(x, 320e3, 80e3**2)
        end = gaussian(x, 320e3, 80e3**2 + 2 * kappa * t)
        ahead = gaussian(x, 320e3 + flow * t, 80e3**2 + 2 * kappa * t)
        x0 = 80e3**2 * start[:, None] * start
        states = system.simulate(x0[None, None, None], numbers(kappa, 0, 0, 0, flow, 0, 0)[None], numbers(0, t))
        errors.append(float((states[0, 0, 1, 0] - 80e3**2 * end[:, None] * ahead).abs().max()))
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert orders[-1] == pytest.approx(6, abs=0.3)
    assert errors[-1] < 2e-5


def test_order_in_space_in_eddies() -> None:
    length, values = 600e3, []
    for n in (16, 32, 64):
        angle = 2 * math.pi / n * torch.arange(n, dtype=torch.float64)
        x0 = 20 + torch.sin(angle) + torch.cos(angle[:, None])
        p = numbers(5000, 0.1, 0.05, 1, 0.05, 1e-6, 5)[None]
        system = SSTAdvection(n, length / n)
        values.append(system.simulate(x0[None, None, None], p, numbers(0, 2 * DAY))[0, 0, 1, 0, :: n // 16, :: n // 16])
    differences = [float((a - b).abs().max()) for a, b in pairwise(values)]
    assert math.log2(differences[0] / differences[1]) > 5.3


def test_agrees_with_scipy_and_order_in_time() -> None:
    system = SSTAdvection(16)
    x0, t = system.sample_x0(1, np.random.RandomState(0)), numbers(50 * DAY, 52 * DAY)
    ours = system.simulate(x0[None], FORCED[None], t)[0, 0, 1]
    field = lambda t, y: system.rhs(numbers(t)[0], torch.from_numpy(y).reshape(1, 16, 16), FORCED).reshape(-1).numpy()
    run = solve_ivp(field, t.tolist(), x0.reshape(-1).numpy(), method="DOP853", rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours, torch.from_numpy(run.y[:, -1]).reshape(ours.shape), rtol=1e-8, atol=0)
    exact, errors = torch.from_numpy(run.y[:, -1]).reshape(ours.shape), []
    for n in (8, 16):
        steps = integrate(lambda t, x: system.rhs(t, x, FORCED), x0, t, method="rk4", substeps=n)
        errors.append(float((steps[-1, 0] - exact).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.3)


def test_mean_and_variance_budgets() -> None:
    """Without forcing the mean is conserved and diffusion takes all the variance that is lost, to 1e-6."""
    system, n = SSTAdvection(32), 97
    x0, t = system.sample_x0(2, np.random.RandomState(0)), torch.linspace(0, 3 * DAY, n, dtype=torch.float64)
    values = system.diagnostics(system.simulate(x0[None], STIRRED[None], t)[0], STIRRED)
    assert float((values["mean"] - values["mean"][:, :1]).abs().max()) < 1e-11
    weights = torch.ones(n, dtype=torch.float64)
    weights[1:-1:2], weights[2:-1:2] = 4, 2
    taken = (values["dissipation"] * weights).sum(-1) * float(t[1]) / 3
    lost = values["variance"][:, 0] - values["variance"][:, -1]
    torch.testing.assert_close(taken, lost, rtol=1e-6, atol=0)
    assert float((lost / values["variance"][:, 0]).min()) > 0.05


def test_instant_budgets_with_forcing() -> None:
    """By the chain rule along the field: advection changes neither mean nor variance, on any state, to rounding."""
    system, t = SSTAdvection(16), numbers(70 * DAY)[0]
    x = 20 + torch.randn(2, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rate = system.rhs(t, x, FORCED)
    north = 3 * torch.cos(2 * math.pi / 16 * torch.arange(16, dtype=torch.float64))[:, None]
    air = 20 + north + 6 * math.sin(2 * math.pi * 70 * DAY / YEAR)
    anomaly = x[:, 0] - x[:, 0].mean((-2, -1), keepdim=True)
    mean = rate.mean((-3, -2, -1))
    torch.testing.assert_close(mean, 5e-7 * (air - x[:, 0]).mean((-2, -1)), rtol=1e-9, atol=0)
    variance = 2 * (anomaly * rate[:, 0]).mean((-2, -1))
    forced = 2 * 5e-7 * (anomaly * (air - x[:, 0])).mean((-2, -1))
    torch.testing.assert_close(variance, forced - system.diagnostics(x, FORCED)["dissipation"], rtol=1e-9, atol=0)


def test_still_water_follows_the_air() -> None:
    """T' = r (A - T) + r S sin(w t), solved by hand at every latitude."""
    system, r, season, w = SSTAdvection(16), 1e-6, 6.0, 2 * math.pi / YEAR
    t = numbers(0, 30 * DAY, 90 * DAY)
    x0 = torch.full((1, 1, 1, 16, 16), 18.0, dtype=torch.float64)
    states = system.simulate(x0, numbers(0, 0, 0, 0, 0, r, season)[None], t)[0, 0, :, 0]
    air = 20 + 3 * torch.cos(2 * math.pi / 16 * torch.arange(16, dtype=torch.float64))[:, None]
    forced = season * r * (r * torch.sin(w * t) - w * torch.cos(w * t) + w * torch.exp(-r * t)) / (r * r + w * w)
    exact = air + (18 - air) * torch.exp(-r * t)[:, None, None] + forced[:, None, None]
    torch.testing.assert_close(states, exact.expand_as(states), rtol=1e-8, atol=0)


def test_the_current() -> None:
    system = SSTAdvection(32)
    p = torch.stack([STIRRED, numbers(100, 0.1, -0.02, 0.0, 0.0, 0, 0)])
    field = system.current(numbers(0.0)[0], p)
    assert field.shape == (2, 2, 32, 32)
    u, v = field[:, 0].movedim(0, -1), field[:, 1].movedim(0, -1)
    spacing = system.length / 32
    divergence = first_derivative(u, spacing, 1, 6) + first_derivative(v, spacing, 0, 6)
    assert float(divergence.abs().max()) < 1e-12 * 0.2 / spacing * 100
    torch.testing.assert_close(field.mean((-2, -1)), numbers(0.1, 0, 0, 0).reshape(2, 2), rtol=0, atol=1e-15)
    speed = (field - field.mean((-2, -1), keepdim=True)).square().sum(1).mean((-2, -1)).sqrt()
    torch.testing.assert_close(speed, numbers(0.2, 0.1), rtol=1e-3, atol=0)
    # After two cells' drift the eddies stand two cells further east (0.05 m/s) or west (0.02 m/s); so do other phases.
    drifted = system.current(numbers(2 * spacing / 0.05, 2 * spacing / 0.02), p)
    torch.testing.assert_close(drifted[0], field[0].roll(2, -1), rtol=0, atol=1e-13)
    torch.testing.assert_close(drifted[1], field[1].roll(-2, -1), rtol=0, atol=1e-13)
    shifted = p[0].clone()
    shifted[3] += 2 * math.pi * 3 / 32
    torch.testing.assert_close(system.current(numbers(0.0)[0], shifted), field[0].roll(3, -1), rtol=0, atol=1e-13)


def test_the_current_is_what_carries_temperature() -> None:
    """Without diffusion, dT/dt of a linear-in-x patch far from its seam is -u times the slope."""
    system = SSTAdvection(32)
    still = STIRRED.clone()
    still[0] = 0
    u = system.current(numbers(0.0)[0], still)[0]
    ramp = torch.arange(32, dtype=torch.float64).expand(1, 32, 32) * 0.1
    rate = system.rhs(numbers(0.0)[0], ramp, still)[0]
    spacing = system.length / 32
    # 1/2 (u D T + D(u T)) differs from u T_x by the error of order 6 of D(u T).
    torch.testing.assert_close(
        rate[:, 8:24], -(u * 0.1 / spacing)[:, 8:24], rtol=0, atol=2e-3 * 0.2 * 0.1 / spacing * 32
    )


def test_initial_states_and_split() -> None:
    f = leads.make("sst_advection")
    assert (len(f.seen), len(f.unseen), len(f.times), len(f.horizon_times)) == (8, 4, 10, 20)
    assert float(f.times[1]) == 86_400
    x = f.system.sample_x0(50, np.random.RandomState(0))
    assert float(x.mean()) == pytest.approx(20, abs=0.01)
    assert float((x.mean(0) - 20).amax()) == pytest.approx(3, abs=0.6)
    assert float((x - x.mean(0)).std()) == pytest.approx(1, abs=0.1)
    assert bool(((x > 10) & (x < 30)).all())


def test_bad_input() -> None:
    with pytest.raises(SettingsError, match="at least 16"):
        leads.make("sst_advection", size=8)
    with pytest.raises(SettingsError, match="must be positive"):
        SSTAdvection(16, 0.0)
    with pytest.raises(UnknownNameError, match="Did you mean 'ours'"):
        leads.make("sst_advection", split="our")
