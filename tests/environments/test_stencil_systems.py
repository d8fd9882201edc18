"""Reaction, diffusion and waves by finite differences, against exact solutions, SciPy and theory."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import leads
from leads.environments.brusselator import Brusselator
from leads.environments.reaction_diffusion import ReactionDiffusion
from leads.environments.system import System
from leads.environments.wave import DampedWave
from leads.errors import SettingsError, UnknownNameError
from leads.integrators import integrate


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def draw(system: System, n: int = 1, seed: int = 0) -> torch.Tensor:
    return system.sample_x0(n, np.random.RandomState(seed))


def scipy_solution(system: System, x0: torch.Tensor, p: torch.Tensor, end: float) -> torch.Tensor:
    """DOP853 at tight tolerances, one trajectory ``(C, *X)``."""

    def field(t: float, y: np.ndarray) -> np.ndarray:
        return system.rhs(numbers(t)[0], torch.from_numpy(y).reshape(x0.shape), p).reshape(-1).numpy()

    solution = solve_ivp(field, (0, end), x0.reshape(-1).numpy(), method="DOP853", rtol=1e-12, atol=1e-13)
    return torch.from_numpy(solution.y[:, -1]).reshape(x0.shape)


def time_order(system: System, x0: torch.Tensor, p: torch.Tensor, end: float, steps: int) -> float:
    """Order at which fixed-step rk4 with ``rhs`` approaches what ``simulate`` gives."""
    exact = system.simulate(x0[None], p[None], numbers(0.0, end))[0, :, -1]
    errors = []
    for n in (steps, 2 * steps):
        run = integrate(lambda t, x: system.rhs(t, x, p), x0, numbers(0.0, end), method="rk4", substeps=n)
        errors.append(float((run[-1] - exact).abs().max()))
    return math.log2(errors[0] / errors[1])


SYSTEMS = [
    (Brusselator(8), numbers(1.0, 3.5), 2.0, 40),
    (ReactionDiffusion(16), numbers(1e-3, 5e-3, 5e-3), 1.0, 8),
    (DampedWave(16), numbers(330.0, 50.0), 0.01, 12),
    (DampedWave(32, dims=1, boundary="dirichlet"), numbers(330.0, 50.0), 0.01, 12),
]


@pytest.mark.parametrize(("system", "p", "end", "steps"), SYSTEMS)
def test_agrees_with_scipy(system: System, p: torch.Tensor, end: float, steps: int) -> None:
    x0 = draw(system)
    ours = system.simulate(x0[None], p[None], numbers(0.0, end))[0, 0, -1]
    expected = scipy_solution(system, x0[0], p, end)
    assert float((ours - expected).abs().max()) < 1e-9 * float(expected.abs().max())


@pytest.mark.parametrize(("system", "p", "end", "steps"), SYSTEMS)
def test_order_in_time(system: System, p: torch.Tensor, end: float, steps: int) -> None:
    assert time_order(system, draw(system), p, end, steps) == pytest.approx(4, abs=0.3)


# Uniform states feel the reaction alone; small waves grow or decay as the linearised equations say.


@pytest.mark.parametrize(
    ("system", "p", "reaction"),
    [
        (Brusselator(4), (1.0, 3.5), lambda u, v: (1 - 4.5 * u + u * u * v, 3.5 * u - u * u * v)),
        (ReactionDiffusion(4), (1e-3, 5e-3, 0.1), lambda u, v: (u - u**3 - v - 0.1, u - v)),
    ],
)
def test_uniform_states_are_the_reaction(system: System, p: tuple[float, ...], reaction) -> None:  # type: ignore[no-untyped-def]
    x0 = numbers(1.2, 0.7)
    states = system.simulate(x0.reshape(1, 1, 2, 1, 1).expand(1, 1, 2, 4, 4), numbers(*p)[None], numbers(0.0, 3.0))
    exact = solve_ivp(lambda t, y: reaction(*y), (0, 3), x0.numpy(), method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
    last = states[0, 0, -1]
    torch.testing.assert_close(last, torch.from_numpy(exact).reshape(2, 1, 1).expand(2, 4, 4), rtol=1e-9, atol=1e-9)


def growth(system: System, p: torch.Tensor, steady: torch.Tensor, wave: torch.Tensor) -> torch.Tensor:
    """The 2 x 2 matrix by which a small wave about a steady state changes per time."""
    columns = []
    for j in range(2):
        small = torch.zeros(2, *wave.shape, dtype=torch.float64)
        small[j] = 1e-6 * wave
        rate = system.rhs(numbers(0.0)[0], steady.reshape(2, 1, 1) + small, p)
        rate = rate - system.rhs(numbers(0.0)[0], steady.reshape(2, 1, 1) - small, p)
        columns.append((rate * wave).sum((-2, -1)) / (2e-6 * wave.square().sum()))
    return torch.stack(columns, -1)


def test_brusselator_linear_growth() -> None:
    a, b = 1.1, 3.4
    angle = 2 * math.pi / 8 * torch.arange(8, dtype=torch.float64)
    wave = torch.cos(angle[:, None] + 2 * angle)
    # The nine-point stencil is cos(k/2)^2 cos(l/2)^2 - 1, four times.
    symbol = 4 * (math.cos(math.pi / 8) ** 2 * math.cos(math.pi / 4) ** 2 - 1)
    expected = torch.tensor([[b - 1 + symbol, a * a], [-b, 0.1 * symbol - a * a]], dtype=torch.float64)
    matrix = growth(Brusselator(8), numbers(a, b), numbers(a, b / a), wave)
    torch.testing.assert_close(matrix, expected, rtol=1e-8, atol=1e-8)


def test_reaction_diffusion_linear_growth() -> None:
    # u = v = u* solves u*^3 = -k.
    a, b, k = 1e-3, 5e-3, 0.027
    angle = 2 * math.pi / 16 * torch.arange(16, dtype=torch.float64)
    wave = torch.cos(angle[:, None] + 2 * angle)
    symbol = (2 * math.cos(math.pi / 8) + 2 * math.cos(math.pi / 4) - 4) * 8**2
    expected = torch.tensor([[a * symbol + 1 - 3 * 0.09, -1], [1, b * symbol - 1]], dtype=torch.float64)
    matrix = growth(ReactionDiffusion(16), numbers(a, b, k), numbers(-0.3, -0.3), wave)
    torch.testing.assert_close(matrix, expected, rtol=1e-8, atol=1e-8)


def test_reaction_diffusion_order_in_space() -> None:
    """A smooth state on finer and finer grids, every coarse cell centre being a fine one."""
    p, t, values = numbers(0.02, 0.01, 0.1)[None], numbers(0.0, 1.0), []
    for n in (8, 16, 32, 64):
        angle = 2 * math.pi / n * torch.arange(n, dtype=torch.float64)
        wave = torch.sin(angle) + 0.5 * torch.cos(angle[:, None])
        x0 = torch.stack([wave, 0.3 * wave.roll(n // 4, 1)])
        values.append(ReactionDiffusion(n).simulate(x0[None, None], p, t)[0, 0, -1, :, :: n // 8, :: n // 8])
    differences = [float((a - b).abs().max()) for a, b in pairwise(values)]
    orders = [math.log2(a / b) for a, b in pairwise(differences)]
    assert orders[-1] == pytest.approx(2, abs=0.1)


def test_brusselator_order_in_space() -> None:
    """Cells have size 1, so that a wave of fixed shape is better resolved the more cells it spans."""
    errors = []
    for n in (16, 32, 64):
        angle = 2 * math.pi / n * torch.arange(n, dtype=torch.float64)
        wave = torch.sin(angle[:, None] + 2 * angle)
        matrix = growth(Brusselator(n), numbers(1.0, 3.0), numbers(1.0, 3.0), wave)
        exact = -5 * (2 * math.pi / n) ** 2
        errors.append(abs(float(matrix[0, 0] - 2) / exact - 1))
    assert [math.log2(a / b) for a, b in pairwise(errors)] == pytest.approx([2, 2], abs=0.1)


# Waves.


def modes(n: int, dims: int, boundary: str) -> torch.Tensor:
    i = torch.arange(n, dtype=torch.float64)
    if boundary == "neumann":
        one, two = torch.cos(2 * math.pi * (i + 0.5) / n), torch.cos(3 * math.pi * (i + 0.5) / n)
    else:
        one, two = torch.sin(2 * math.pi * i / n), torch.cos(4 * math.pi * i / n)
    return one if dims == 1 else one[:, None] * two


@pytest.mark.parametrize(("dims", "boundary"), [(1, "neumann"), (2, "neumann"), (1, "periodic"), (2, "periodic")])
def test_a_mode_is_a_damped_oscillator(dims: int, boundary: str) -> None:
    """Exact solution of the differential equation: error of order 4 in the cell."""
    c, k, length, errors = 300.0, 40.0, 64.0, []
    numbers_of_waves = {("neumann", 1): 1.0, ("neumann", 2): 1 + 2.25, ("periodic", 1): 1.0, ("periodic", 2): 5.0}
    square = (2 * math.pi / length) ** 2 * numbers_of_waves[boundary, dims]
    frequency = math.sqrt(c * c * square - k * k / 4)
    t = numbers(0.0, 0.01, 0.05)
    exact = torch.exp(-k * t / 2) * (torch.cos(frequency * t) + k / (2 * frequency) * torch.sin(frequency * t))
    for n in (16, 32):
        system = DampedWave(n, dims, boundary)  # type: ignore[arg-type]
        # Cells of size 1: a box half as long has waves of half the speed.
        x0 = torch.stack([modes(n, dims, boundary), torch.zeros((n,) * dims, dtype=torch.float64)])
        w = system.simulate(x0[None, None], numbers(c * n / length, k)[None], t)[0, 0, :, 0]
        errors.append(float((w[-1] - exact[-1] * x0[0]).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.3)
    assert errors[1] < 2e-3


@pytest.mark.parametrize(("dims", "boundary"), [(1, "neumann"), (2, "dirichlet"), (2, "neumann"), (2, "periodic")])
def test_wave_energy(dims: int, boundary: str) -> None:
    system = DampedWave(16, dims, boundary)  # type: ignore[arg-type]
    x0, t = draw(system), torch.linspace(0, 0.02, 81, dtype=torch.float64)
    free, damped = numbers(330.0, 0.0), numbers(330.0, 50.0)
    states = system.simulate(x0.expand(2, *x0.shape), torch.stack([free, damped]), t)[:, 0]
    energy = system.diagnostics(states[0], free)["energy"]
    assert float((energy / energy[0] - 1).abs().max()) < 1e-8
    budget = system.diagnostics(states[1], damped)
    lost = budget["energy"][0] - budget["energy"][-1]
    # Simpson's rule twice, with and without every other frame, extrapolated.
    rate = budget["dissipation"]
    simpson = [simpson_rule(rate[::s], 0.02) for s in (1, 2)]
    assert float(lost / (simpson[0] + (simpson[0] - simpson[1]) / 15)) == pytest.approx(1, abs=1e-6)
    assert float(lost / budget["energy"][0]) > 0.3


def simpson_rule(values: torch.Tensor, length: float) -> torch.Tensor:
    inner = 4 * values[1:-1:2].sum() + 2 * values[2:-1:2].sum()
    return (values[0] + inner + values[-1]) * length / (3 * (len(values) - 1))


@pytest.mark.parametrize("dims", [1, 2])
def test_instant_energy_budget(dims: int) -> None:
    """dE/dt along the field, by the chain rule, is what damping takes."""
    system, p = DampedWave(16, dims, "dirichlet"), numbers(200.0, 30.0)
    x = torch.randn(3, *system.state_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    energy = lambda y: system.diagnostics(y, p)["energy"]
    _, change = torch.func.jvp(energy, (x,), (system.rhs(numbers(0.0)[0], x, p),))
    torch.testing.assert_close(change, -system.diagnostics(x, p)["dissipation"], rtol=1e-10, atol=1e-6)


# Published values.


def test_published_splits() -> None:
    b = leads.make("brusselator")
    assert (len(b.seen), len(b.unseen), len(b.times), b.budget.train, b.budget.test) == (9, 12, 20, 4, 32)
    assert float(b.times[-1]) == 9.5
    assert b.system.state_shape == (2, 8, 8)
    assert leads.make("brusselator", size=16).system.state_shape == (2, 16, 16)
    r = leads.make("reaction_diffusion")
    assert r.seen.tolist() == [[1e-3, 5e-3, 5e-3]]
    assert (r.budget.train, r.budget.test, len(r.times)) == (1600, 320, 25)
    assert r.system.grid is not None
    assert r.system.grid.spacing == (2 / 32, 2 / 32)
    w = leads.make("wave")
    assert w.seen.tolist() == [[330.0, 50.0]]
    assert (w.budget.train, w.budget.test, len(w.times), float(w.times[1])) == (200, 50, 25, 1e-3)
    assert len(leads.make("wave", split="ours").seen) == len(leads.make("wave_1d").seen) == 9
    g = leads.make("gray_scott", split="geps_multienv")
    assert (len(g.seen), len(g.unseen), len(g.times), len(g.horizon_times)) == (100, 4, 20, 40)
    assert bool(((g.seen >= numbers(0.03, 0.058)) & (g.seen <= numbers(0.04, 0.062))).all())


def test_initial_states() -> None:
    x = draw(Brusselator(8), 400)
    u = x[:, 0, 0, 0]
    assert bool((x[:, 0] == u[:, None, None]).all())
    assert (float(u.min()), float(u.max())) == pytest.approx((0.5, 2.0), abs=0.02)
    assert float(x[:, 1].std((1, 2)).mean()) == pytest.approx(0.1, rel=0.02)
    product = (x[:, 1].mean((1, 2)) * u).sort().values
    assert (float(product[0]), float(product[-1])) == pytest.approx((1.25, 5.0), abs=0.1)
    y = draw(ReactionDiffusion(32), 20)
    assert float(y.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(y.std()) == pytest.approx(1 / math.sqrt(12), abs=0.01)
    w = draw(DampedWave(64), 50)
    peaks = w[:, 0].flatten(1).argmax(1)
    assert float(w[:, 0].amax()) == 1
    assert float(w[:, 1].abs().max()) == 0
    assert bool(((peaks // 64 >= 20) & (peaks // 64 < 40) & (peaks % 64 >= 20) & (peaks % 64 < 40)).all())
    # The integral of exp(-r^2 / s) is pi s.
    widths = w[:, 0].sum((1, 2)) / math.pi
    assert (float(widths.min()), float(widths.max())) == pytest.approx((10, 100), abs=8)


def test_published_solver_is_scipy_rk45() -> None:
    system, p = ReactionDiffusion(8), numbers(1e-3, 5e-3, 5e-3)
    x0, t = draw(system), torch.arange(25, dtype=torch.float64) * 0.1
    field = lambda t, y: system.rhs(numbers(t)[0], torch.from_numpy(y).reshape(2, 8, 8), p).reshape(-1).numpy()
    fine = np.arange(0, 2.5, 1e-3)
    run = solve_ivp(field, (0, 2.5), x0.reshape(-1).numpy(), method="RK45", t_eval=fine)
    expected = torch.from_numpy(run.y[:, ::100].T.copy()).reshape(25, 2, 8, 8)
    torch.testing.assert_close(system.simulate_published(x0[None], p[None], t)[0, 0], expected, rtol=0, atol=1e-5)


def test_bad_input() -> None:
    for make in (lambda: Brusselator(3), lambda: ReactionDiffusion(2), lambda: DampedWave(8)):
        with pytest.raises(SettingsError, match="at least"):
            make()
    with pytest.raises(SettingsError, match="1 or 2 dimensions"):
        DampedWave(16, dims=3)
    with pytest.raises(UnknownNameError, match="Did you mean 'neumann'"):
        leads.make("wave", boundary="neuman")
    with pytest.raises(UnknownNameError, match="Did you mean 'aphynity'"):
        leads.make("wave", split="aphinity")
    for name in ("brusselator", "reaction_diffusion", "wave_1d"):
        with pytest.raises(UnknownNameError, match="has no split"):
            leads.make(name, split="none")
