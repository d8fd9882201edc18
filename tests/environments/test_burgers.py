"""Burgers' equation against Cole and Hopf's exact solution."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import leads
from leads.environments.burgers import Burgers, refined
from leads.errors import DivergenceError, SettingsError, UnknownNameError
from leads.integrators import integrate


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def draw(system: Burgers, n: int = 1, seed: int = 0) -> torch.Tensor:
    return system.sample_x0(n, np.random.RandomState(seed))


def cole_hopf(potential, mu: float, t: float, faces: np.ndarray, points: int = 6001) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Averages between neighbouring faces: -2 mu [log phi] / width, phi the heat kernel applied to exp(-U0 / 2 mu).

    ``potential`` is an antiderivative U0 of the initial velocity. The trapezoidal rule over the kernel's width and the
    distance that waves travel converges faster than any power.
    """
    reach = 12 * math.sqrt(2 * mu * t) + 5 * t
    s = np.linspace(-reach, reach, points)
    exponent = -potential(faces[:, None] - s) / (2 * mu) - s**2 / (4 * mu * t)
    top = exponent.max(1)
    log = top + np.log(np.exp(exponent - top[:, None]).sum(1))
    return -2 * mu * np.diff(log) / np.diff(faces)


def amplitudes() -> tuple[np.ndarray, np.ndarray]:
    """The published spectrum: wavenumbers, and sqrt(2 E)."""
    k = np.arange(1, 33)
    return k, np.sqrt(2 * (2 / 3) / math.sqrt(math.pi) * (k / 5) ** 4 / 5 * np.exp(-((k / 5) ** 2)))


def published_potential(seed: int):  # type: ignore[no-untyped-def]
    k, a = amplitudes()
    phase = 2 * math.pi * np.random.RandomState(seed).rand(len(k))

    def potential(y: np.ndarray) -> np.ndarray:
        base = np.exp(1j * y)
        power, total = np.ones_like(base), np.zeros_like(base)
        for ki, ai, ph in zip(k, a, phase, strict=True):
            power = power * base
            total = total + 2 * ai / ki * np.exp(1j * ph) * power
        return total.imag

    return potential


def test_initial_states_are_the_published_ones() -> None:
    """A discrete Fourier sum on 16384 points, averaged by the trapezoidal rule, seed for seed."""
    n, (k, a) = 16384, amplitudes()
    for seed in (0, 2**31 - 1):
        psi = np.random.RandomState(seed).rand(n // 2 - 1)[: len(k)]
        modes = np.zeros(n, dtype=complex)
        modes[k] = n * a * np.exp(2j * math.pi * psi)
        modes[-k] = modes[k].conj()
        u = np.fft.ifft(modes).real
        widened = np.append(u, u[0])
        means = np.stack([(widened[i : i + 65].sum() - 0.5 * (widened[i] + widened[i + 64])) / 64 for i in range(0, n, 64)])  # fmt: skip
        np.testing.assert_allclose(draw(Burgers(256), seed=seed)[0, 0].numpy(), means, atol=1e-4 * 0.1)
    many = draw(Burgers(256), 50)
    square = many.square().mean(-1)
    # Every state has the same spectrum, whose sum over whole wavenumbers is 1/4.
    assert float(square.std()) < 1e-12
    assert float(square.mean()) == pytest.approx(1, abs=4e-3)
    assert float(many.mean(-1).abs().max()) < 1e-13


@pytest.mark.parametrize(("mu", "early", "late"), [(1.0, 5e-7, 1e-6), (0.05, 5e-7, 1e-6), (5e-4, 1e-7, 1e-3), (5e-5, 1e-7, 1e-3)])  # fmt: skip
def test_cole_hopf_from_the_published_initial_state(mu: float, early: float, late: float) -> None:
    """Relative error over the training horizon (before shocks) and over the test horizon (with them)."""
    system = Burgers(256)
    states = system.simulate(draw(system)[None], numbers(mu, 0, 0, 1.5)[None], numbers(0, 0.049, 0.099))[0, 0, :, 0]
    cells = np.arange(128, 176)
    faces = np.arange(128, 177) * 2 * math.pi / 256
    for t, state, bound in ((0.049, states[1], early), (0.099, states[2], late)):
        exact = cole_hopf(published_potential(0), mu, t, faces)
        error = state.numpy()[cells] - exact
        assert math.sqrt((error**2).mean() / (exact**2).mean()) < bound


def sine(cells: int) -> torch.Tensor:
    """Averages of sin(x)."""
    edges = torch.arange(cells + 1, dtype=torch.float64) * 2 * math.pi / cells
    return (-torch.diff(edges.cos()) * cells / (2 * math.pi))[None, None, None]


def test_order_in_space() -> None:
    mu, t, errors = 0.2, 1.0, []
    for n in (32, 64, 128):
        faces = np.arange(n + 1) * 2 * math.pi / n
        exact = cole_hopf(lambda y: -np.cos(y), mu, t, faces)
        states = Burgers(n, n).simulate(sine(n), numbers(mu, 0, 0, 1)[None], numbers(0, t))
        errors.append(float(np.abs(states[0, 0, 1, 0].numpy() - exact).max()))
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert orders[-1] > 4.8
    assert errors[-1] < 1e-6


def test_order_in_time() -> None:
    system, p = Burgers(64, 64), numbers(0.05, 5, 0, 1.5)
    x0, t = sine(64)[0], numbers(0.0, 0.2)
    system.rtol, system.atol = 1e-11, 1e-12
    exact = system.simulate(x0[None], p[None], t)[0, :, 1]
    errors = []
    for n in (5, 10):
        run = integrate(lambda t, x: system.rhs(t, x, p), x0, t, method="rk4", substeps=n)[-1]
        errors.append(float((run - exact).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.3)


def test_a_travelling_shock() -> None:
    """u = s - a tanh(a (x - s t) / 2 mu) far from the ends of the box, where it is left constant by a second, wide, front."""
    mu, a, speed, n = 0.05, 1.0, 0.5, 256
    x = (np.arange(n) + 0.5) * 2 * math.pi / n
    faces = np.arange(n + 1) * 2 * math.pi / n

    def averages(t: float) -> np.ndarray:
        log = np.log(np.cosh(a * (faces - 2 - speed * t) / (2 * mu)))
        return speed - 2 * mu * np.diff(log) / np.diff(faces)

    # A smooth rise back to the left state joins the ends; it lies out of the shock's reach.
    rise = 0.5 * (1 + np.tanh((x - 5.2) / 0.15))
    x0 = averages(0) + 2 * a * rise
    states = Burgers(n, n).simulate(torch.from_numpy(x0)[None, None, None], numbers(mu, 0, 0, 1)[None], numbers(0, 1))
    near = np.abs(x - 2.5) < 0.5
    np.testing.assert_allclose(states[0, 0, 1, 0].numpy()[near], averages(1)[near], atol=2e-4)


def test_mean_follows_the_forcing() -> None:
    """Without forcing it is conserved; with it, it is the integral of the forcing's own mean."""
    system, t = Burgers(64, 128), numbers(0, 0.02, 0.1)
    x0 = draw(system) + 0.3
    p = torch.stack([numbers(5e-4, 0, 0, 1.5), numbers(0.05, 5, 0, 1.5), numbers(0.05, 0, 5, 3)])
    mean = system.diagnostics(system.simulate(x0.expand(3, 1, 1, 64), p, t), p[:, None, None])["mean"][:, 0]
    assert float((mean[0] - mean[0, 0]).abs().max()) < 1e-13
    wave = (1 - math.cos(3 * math.pi)) / (3 * math.pi)
    torch.testing.assert_close(mean[1], mean[1, 0] + 5 * (wave * t + torch.sin(1.5 * t) / 1.5), rtol=0, atol=1e-7)
    bump = math.sqrt(math.pi / 3) / 2 * math.erf(math.sqrt(3) * 2 * math.pi) / (2 * math.pi)
    torch.testing.assert_close(mean[2], mean[2, 0] + 5 * bump * t, rtol=0, atol=1e-7)


def test_forcing_is_the_published_formula() -> None:
    system, still = Burgers(4096, 4096), torch.zeros(1, 4096, dtype=torch.float64)
    x = (torch.arange(4096, dtype=torch.float64) + 0.5) * 2 * math.pi / 4096
    force = system.rhs(numbers(0.7)[0], still, numbers(0.5, 5, 2, 1.5))[0]
    torch.testing.assert_close(force, 5 * (torch.sin(1.5 * x) + math.cos(1.05)) + 2 * torch.exp(-1.5 * x**2), atol=1e-5, rtol=0)  # fmt: skip


def test_energy_decays_through_shocks_without_new_extrema() -> None:
    system = Burgers(64, 256)
    x0, p = draw(system, 3), numbers(1e-5, 0, 0, 1)[None]
    states = system.simulate(x0[None], p, torch.linspace(0, 0.3, 7, dtype=torch.float64))
    energy = system.diagnostics(states, p[:, None, None])["energy"][0]
    assert bool((energy.diff(dim=-1) < 0).all())
    assert float(states.abs().amax()) < float(refined(x0, 1024).abs().amax()) * 1.001


@pytest.mark.parametrize(("cells", "fine"), [(32, 64), (32, 160), (33, 99)])
def test_refining_keeps_averages(cells: int, fine: int) -> None:
    x = torch.randn(2, 1, cells, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(refined(x, fine).unflatten(-1, (cells, -1)).mean(-1), x, rtol=0, atol=1e-13)
    torch.testing.assert_close(refined(sine(cells), fine), sine(fine), rtol=0, atol=1e-13)


def test_viscous_trajectories_are_solved_on_fewer_cells() -> None:
    counts = Burgers(256, 4096)._counts(numbers(2.0, 0.5, 0.05, 5e-4, 5e-5))
    assert counts.tolist() == [256, 256, 1024, 4096, 4096]
    assert Burgers(256, 768)._counts(numbers(0.05))[0] == 768


def test_published_split() -> None:
    f = leads.make("burgers")
    assert (len(f.seen), len(f.unseen), f.budget.train, f.budget.test, len(f.times), len(f.horizon_times)) == (6, 4, 4, 32, 50, 100)  # fmt: skip
    assert {tuple(r) for r in f.seen.tolist()} == {(m, a, 0.0, 1.5) for m in (0.5, 0.05, 5e-4) for a in (0.0, 5.0)}
    assert {tuple(r) for r in f.unseen.tolist()} == {(m, 0.0, 5.0, w) for m in (1.0, 5e-5) for w in (1.5, 3.0)}
    assert float(f.times[-1]) == pytest.approx(0.049)


def test_published_solver_runs_on_fine_cells() -> None:
    """SciPy's RK45 at its default tolerances on 128 cells, averaged by pairs."""
    system, p = Burgers(64, 128), numbers(5e-4, 5, 0, 1.5)
    x0, t = draw(system), torch.arange(5, dtype=torch.float64) * 0.01
    fine = Burgers(128, 128)
    field = lambda t, y: fine.rhs(numbers(t)[0], torch.from_numpy(y)[None], p)[0].numpy()
    run = solve_ivp(field, (0, 0.05), refined(x0, 128)[0, 0].numpy(), method="RK45", t_eval=t.numpy())
    expected = torch.from_numpy(run.y.T.copy()).unflatten(-1, (64, 2)).mean(-1)
    torch.testing.assert_close(system.simulate_published(x0[None], p[None], t)[0, 0, :, 0], expected, rtol=0, atol=1e-5)


def test_a_blow_up_names_the_trajectory() -> None:
    """Trajectories of several viscosities are solved in groups; the one that fails is named by its own number."""

    class Explosion(Burgers):
        def rates(self, t: torch.Tensor, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
            return 10 * (x - 1).clamp_min(0) ** 2

    x0 = torch.full((2, 2, 1, 32), 0.5, dtype=torch.float64)
    x0[1, 1] = 2.0
    p = torch.stack([numbers(1, 0, 0, 1), numbers(0.05, 0, 0, 1)])
    with pytest.raises(DivergenceError, match=r"Trajectory 1 of environment 1 \(mu = 0.05, .* t = 0.1"):
        Explosion(32, 64).simulate(x0, p, numbers(0, 1))


def test_bad_input() -> None:
    with pytest.raises(SettingsError, match="at least 32 cells"):
        Burgers(16)
    with pytest.raises(SettingsError, match="multiple of cells"):
        leads.make("burgers", cells=100, fine=256)
    with pytest.raises(UnknownNameError, match="Did you mean 'geps'"):
        leads.make("burgers", split="gep")
