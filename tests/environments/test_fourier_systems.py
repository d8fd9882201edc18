"""Heat and advection, which are solved exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import leads
from leads.environments.advection import Advection
from leads.environments.heat import Heat
from leads.errors import SettingsError, UnknownNameError
from leads.integrators import integrate


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("dims", [1, 2])
def test_heat_of_a_gaussian(dims: int) -> None:
    """The heat kernel of age 0.2, with its images, becomes that of age 0.2 + D t, and loses exp(-r t)."""
    system = Heat(dims, 64)
    x = system.spectral.coordinates(0)

    def kernel(age: float) -> torch.Tensor:
        images = (torch.exp(-((x - math.pi + 2 * math.pi * m) ** 2) / (4 * age)) for m in range(-4, 5))
        one = sum(images, torch.zeros_like(x)) / math.sqrt(4 * math.pi * age)
        return one if dims == 1 else one[:, None] * one

    d, r, t = 0.3, 0.4, numbers(1.0, 1.7, 3.0)
    states = system.simulate(kernel(0.2).expand(1, 1, 1, *system.spectral.shape), numbers(d, r)[None], t)[0, 0, :, 0]
    for state, s in zip(states, (t - 1).tolist(), strict=True):
        torch.testing.assert_close(state, kernel(0.2 + d * s) * math.exp(-r * s), rtol=0, atol=1e-12)


def test_heat_diagnostics() -> None:
    """The mean decays as exp(-r t); the variance of a single wave as exp(-2 (D k^2 + r) t)."""
    system, t = Heat(1, 32), numbers(0, 1, 2)
    x0 = (0.7 + torch.cos(3 * system.spectral.coordinates(0)))[None, None, None]
    values = system.diagnostics(system.simulate(x0, numbers(0.1, 0.25)[None], t)[0, 0], numbers(0.1, 0.25))
    torch.testing.assert_close(values["mean"], 0.7 * torch.exp(-0.25 * t))
    torch.testing.assert_close(values["variance"], 0.5 * torch.exp(-2 * (0.9 + 0.25) * t))


def test_advection_shifts() -> None:
    """By whole cells exactly; anywhere else as the trigonometric series does."""
    system = Advection(32)
    x0 = system.sample_x0(3, np.random.RandomState(0))
    cell = system.spectral.spacing[0]
    states = system.simulate(x0[None], numbers(-2.0)[None], numbers(0, cell / 2, 5 * cell))[0, :, :, 0]
    torch.testing.assert_close(states[:, 2], x0[:, 0].roll(-10, -1), rtol=0, atol=1e-12)
    x = system.spectral.coordinates(0)
    wave = torch.sin(4 * x + 0.3)[None, None, None]
    moved = system.simulate(wave, numbers(0.7)[None], numbers(0, 1.3))[0, 0, 1, 0]
    torch.testing.assert_close(moved, torch.sin(4 * (x - 0.91) + 0.3), rtol=0, atol=1e-13)
    energy = system.invariant(states[:, :, None], numbers(-2.0))
    torch.testing.assert_close(energy, energy[:, :1].expand_as(energy), rtol=1e-13, atol=0)


SYSTEMS = [(Heat(1, 16), (0.05, 0.3)), (Heat(2, 16), (0.02, 0.3)), (Advection(16), (1.3,))]


@pytest.mark.parametrize(("system", "values"), SYSTEMS)
def test_rhs_and_solution_agree(system: Heat | Advection, values: tuple[float, ...]) -> None:
    """SciPy's DOP853 and fixed-step rk4 (at its order) with ``rhs`` give the exact propagator's result."""
    p, x0 = numbers(*values), system.sample_x0(1, np.random.RandomState(1))
    exact = system.simulate(x0[None], p[None], numbers(0, 0.5))[0, 0, 1]
    field = lambda t, y: system.rhs(numbers(t)[0], torch.from_numpy(y).reshape(x0[0].shape), p).reshape(-1).numpy()
    run = solve_ivp(field, (0, 0.5), x0.reshape(-1).numpy(), method="DOP853", rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(exact, torch.from_numpy(run.y[:, -1]).reshape(exact.shape), rtol=0, atol=1e-10)
    errors = []
    for n in (4, 8):
        steps = integrate(lambda t, x: system.rhs(t, x, p), x0, numbers(0, 0.5), method="rk4", substeps=n)
        errors.append(float((steps[-1, 0] - exact).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.4)


@pytest.mark.parametrize(("system", "n"), [(Heat(1, 16), 32), (Advection(8 * 2), 32)])
def test_spectral_accuracy(system: Heat | Advection, n: int) -> None:
    """Twice the points change the solution from a series that both grids carry by rounding alone: no order at all."""
    fine = type(system)(size=n)
    coarse_x, fine_x = (s.spectral.coordinates(0) for s in (system, fine))
    p = numbers(0.1, 0.2)[None] if isinstance(system, Heat) else numbers(0.7)[None]
    results = [
        s.simulate((torch.cos(3 * x) + torch.sin(7 * x))[None, None, None], p, numbers(0, 1))[0, 0, 1, 0]
        for s, x in ((system, coarse_x), (fine, fine_x))
    ]
    torch.testing.assert_close(results[0], results[1][::2], rtol=0, atol=1e-13)


def test_gradients_and_single_precision() -> None:
    system = Heat(2, 16)
    x0 = system.sample_x0(2, np.random.RandomState(0))[None]
    p = numbers(0.1, 0.2)[None].requires_grad_()
    system.simulate(x0, p, numbers(0, 1)).square().sum().backward()
    assert p.grad is not None
    assert bool((p.grad < 0).all())
    single = system.simulate(x0.float(), p.detach(), numbers(0, 1))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), system.simulate(x0, p.detach(), numbers(0, 1)), rtol=0, atol=1e-5)


def test_initial_states_and_splits() -> None:
    x = Heat(2, 32).sample_x0(200, np.random.RandomState(0))
    means = x.mean((1, 2, 3))
    assert (float(means.min()), float(means.max())) == pytest.approx((0, 1), abs=0.03)
    assert float(x.var((1, 2, 3)).mean()) == pytest.approx(1, abs=0.1)
    assert float(Advection(64).sample_x0(400, np.random.RandomState(0)).var(-1).mean()) == pytest.approx(1, abs=0.06)
    assert leads.make("heat", dims=2).system.state_shape == (1, 32, 32)
    assert len(leads.make("heat").seen) == 9
    assert len(leads.make("advection").unseen) == 4


def test_bad_input() -> None:
    with pytest.raises(SettingsError, match="1 or 2 dimensions"):
        leads.make("heat", dims=3)
    with pytest.raises(SettingsError, match="at least 16"):
        Advection(8)
    with pytest.raises(SettingsError, match="at least 16"):
        leads.make("heat", size=4)
    with pytest.raises(UnknownNameError, match="Did you mean 'ours'"):
        leads.make("advection", split="our")
