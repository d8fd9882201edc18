"""Exact solutions, conserved quantities and bifurcations of the ordinary differential equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import simpson
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq
from scipy.special import ellipj, ellipk
from torch import Tensor

import leads
from leads.environments import System
from leads.environments.epidemic import SEIR, SIR
from leads.environments.fitzhugh_nagumo import FitzHughNagumo
from leads.environments.forced_oscillator import FORCINGS, ForcedOscillator
from leads.environments.lorenz import Lorenz
from leads.environments.lotka_volterra import LotkaVolterra
from leads.environments.pendulum import Normal, Pendulum, Ring
from leads.environments.selkov import Selkov
from leads.environments.van_der_pol import VanDerPol


def _solve(system: System, x0: list[float], p: list[float], t: np.ndarray) -> Tensor:
    """One trajectory, ``(T, C)``."""
    tensors = (torch.tensor([[x0]], dtype=torch.float64), torch.tensor([p], dtype=torch.float64), torch.from_numpy(t))
    return system.simulate(*tensors)[0, 0]


def _jacobian(system: System, x: list[float], p: list[float]) -> np.ndarray:
    t = torch.zeros((), dtype=torch.float64)
    point, q = torch.tensor(x, dtype=torch.float64), torch.tensor(p, dtype=torch.float64)
    assert float(system.rhs(t, point, q).abs().max()) < 1e-12
    return torch.func.jacrev(lambda y: system.rhs(t, y, q))(point).numpy()


T = np.linspace(0, 20, 81)


@pytest.mark.parametrize("angle", [0.1, 1.5, 3.0])
def test_swinging_pendulum(angle: float) -> None:
    omega0 = 1.3
    k = np.sin(angle / 2)
    sn, cn, _, _ = ellipj(omega0 * T + ellipk(k**2), k**2)
    states = _solve(Pendulum(), [angle, 0.0], [0.0, omega0, 0.0, 0.0], T).numpy()
    np.testing.assert_allclose(states[:, 0], 2 * np.arcsin(k * sn), atol=1e-9)
    np.testing.assert_allclose(states[:, 1], 2 * k * omega0 * cn, atol=1e-9)


def test_turning_pendulum() -> None:
    omega0, v0 = 0.8, 2.0
    _, _, dn, amplitude = ellipj(v0 * T / 2, (2 * omega0 / v0) ** 2)
    states = _solve(Pendulum(), [0.0, v0], [0.0, omega0, 0.0, 0.0], T).numpy()
    np.testing.assert_allclose(states[:, 0], 2 * amplitude, atol=1e-9)
    np.testing.assert_allclose(states[:, 1], v0 * dn, atol=1e-9)
    assert states[-1, 0] > 4 * np.pi


def test_pendulum_energy() -> None:
    """Conserved when free and undamped; else it changes by the work of the drive less the friction's."""
    system = Pendulum()
    x = _solve(system, [2.0, 0.5], [0.0, 1.1, 0.0, 0.0], T)
    energy = system.diagnostics(x, torch.tensor([0.0, 1.1, 0.0, 0.0], dtype=torch.float64))["energy"]
    assert float((energy - energy[0]).abs().max()) < 1e-11
    fine = np.linspace(0, 8, 801)
    p = torch.tensor([0.3, 1.1, 0.4, 0.9], dtype=torch.float64)
    x = _solve(system, [2.0, 0.5], p.tolist(), fine)
    energy = system.diagnostics(x, p)["energy"]
    v = x[:, 1].numpy()
    power = 0.4 * np.cos(0.9 * fine) * v - 0.3 * v**2
    np.testing.assert_allclose(float(energy[-1] - energy[0]), simpson(power, x=fine), atol=1e-8)


def test_pendulum_initial_recipes() -> None:
    ring = Ring(1.3, 2.3)(4000, np.random.RandomState(0))
    radius = np.linalg.norm(ring, axis=1)
    assert radius.min() >= 1.3
    assert radius.max() <= 2.3
    assert abs(radius.mean() - 1.8) < 4 / np.sqrt(12 * 4000)
    assert np.abs(ring.mean(0)).max() < 4 * 1.3 / np.sqrt(4000)
    draw = np.random.RandomState(3)
    direction = draw.random_sample(2) * 2 - 1
    expected = direction / np.sqrt((direction**2).sum()) * (draw.random_sample() + 1.3)
    np.testing.assert_allclose(Ring(1.3, 2.3)(1, np.random.RandomState(3))[0], expected, rtol=1e-14)
    normal = Normal()(4000, np.random.RandomState(0))
    assert np.abs(normal.mean(0)).max() < 4 / np.sqrt(4000)
    assert np.abs(normal.std(0) - 1).max() < 0.05


@pytest.mark.parametrize("name", FORCINGS)
def test_forced_oscillator(name: str) -> None:
    """Response to the forcing's Fourier components, which decay faster than exponentially, plus the free decay."""
    n = 128
    grid = 2 * np.pi * np.arange(n) / n
    s, c = np.sin(grid), np.cos(grid)
    shapes = {
        "sin": s, "cos": c, "exp_cos": np.exp(c), "sin_cos": np.sin(c), "sin_sum": np.sin(s + c),
        "sinh_sum": np.sinh(s + c), "sinh_sin": np.sinh(s), "sinh_cos": np.sinh(c),
    }  # fmt: skip
    order = np.fft.fftfreq(n, 1 / n)
    response = np.fft.fft(shapes[name]) / n / (1 - order**2 + 0.2j * order)
    steady = lambda t: (response * np.exp(1j * order * t[:, None])).sum(1).real
    speed = lambda t: (1j * order * response * np.exp(1j * order * t[:, None])).sum(1).real
    t = np.linspace(0, 6 * np.pi, 40)
    x0, v0 = 1.7, 1.2
    q, u = x0 - steady(t[:1])[0], v0 - speed(t[:1])[0]
    w = np.sqrt(1 - 0.01)
    free = np.exp(-0.1 * t) * (q * np.cos(w * t) + (u + 0.1 * q) / w * np.sin(w * t))
    weights = [float(f == name) for f in FORCINGS]
    got = _solve(ForcedOscillator(), [x0, v0], [0.2, 1.0, *weights], t)[:, 0].numpy()
    np.testing.assert_allclose(got, free + steady(t), atol=1e-10)


def test_forcing_is_differentiable_and_linear_in_its_weights() -> None:
    system = ForcedOscillator()
    p = leads.make("forced_oscillator").seen[0].clone().requires_grad_()
    x = torch.tensor([1.0, 1.0], dtype=torch.float64)
    t = torch.tensor(0.7, dtype=torch.float64)
    (grad,) = torch.autograd.grad(system.rhs(t, x, p)[1], p)
    s, c = np.sin(0.7), np.cos(0.7)
    shapes = [s, c, np.exp(c), np.sin(c), np.sin(s + c), np.sinh(s + c), np.sinh(s), np.sinh(c)]
    np.testing.assert_allclose(grad[2:], shapes, rtol=1e-14)


def test_lorenz_axis_and_volume() -> None:
    """On the z axis everything decays; anywhere, volumes shrink by exp(-(sigma + 1 + beta) t)."""
    p = [10.0, 28.0, 8 / 3]
    t = np.linspace(0, 1, 5)
    z = _solve(Lorenz(), [0.0, 0.0, 25.0], p, t).numpy()
    np.testing.assert_allclose(z, np.stack([0 * t, 0 * t, 25 * np.exp(-8 / 3 * t)], 1), rtol=1e-11, atol=1e-12)
    system, h = Lorenz(), 1e-4
    center = torch.tensor([1.0, 2.0, 20.0], dtype=torch.float64)
    steps = torch.cat([center + h * torch.eye(3), center - h * torch.eye(3)]).double()[None]
    ends = system.simulate(steps, torch.tensor([p], dtype=torch.float64), torch.tensor([0.0, 0.5]).double())[0, :, -1]
    determinant = torch.linalg.det((ends[:3] - ends[3:]) / (2 * h))
    np.testing.assert_allclose(float(determinant), np.exp(-0.5 * (10 + 1 + 8 / 3)), rtol=1e-5)


@pytest.mark.parametrize(("rho", "stable"), [(24.7, True), (24.8, False)])
def test_lorenz_loses_stability_at_24_74(rho: float, stable: bool) -> None:
    c = np.sqrt(8 / 3 * (rho - 1))
    eigenvalues = np.linalg.eigvals(_jacobian(Lorenz(), [c, c, rho - 1], [10.0, rho, 8 / 3]))
    assert (eigenvalues.real.max() < 0) == stable


def _period(x: np.ndarray, t: np.ndarray) -> float:
    """Mean time between the last upward zero crossings, by cubic interpolation."""
    spline = CubicSpline(t, x)
    up = np.flatnonzero((x[:-1] < 0) & (x[1:] >= 0))
    first, last = (brentq(spline, t[i], t[i + 1], xtol=1e-14) for i in (up[-3], up[-1]))
    return (last - first) / 2


def test_van_der_pol_period_and_amplitude() -> None:
    mu = 0.2
    t = np.linspace(0, 85, 851)
    x = _solve(VanDerPol(), [2.0, 0.0], [mu], t)[:, 0].numpy()
    expected = 2 * np.pi * (1 + mu**2 / 16 - 5 * mu**4 / 3072)
    assert abs(_period(x, t) - expected) < 3e-6
    assert abs(x[-150:].max() - 2) < mu**2 / 96 + 1e-4


def test_van_der_pol_without_damping_is_harmonic() -> None:
    states = _solve(VanDerPol(), [1.0, 0.5], [0.0], T)
    np.testing.assert_allclose(states[:, 0], np.cos(T) + 0.5 * np.sin(T), atol=1e-11)
    energy = VanDerPol().diagnostics(states, torch.zeros(1))["energy"]
    np.testing.assert_allclose(energy, 0.625, atol=1e-11)


@pytest.mark.parametrize(("b", "stable"), [(0.40, True), (0.43, False), (0.78, False), (0.80, True), (-0.6, False)])
def test_selkov_hopf_bifurcation(b: float, stable: bool) -> None:
    """Strogatz, example 7.3.2."""
    eigenvalues = np.linalg.eigvals(_jacobian(Selkov(), [b, b / (0.1 + b * b)], [0.1, b]))
    assert (eigenvalues.real.max() < 0) == stable
    assert (b**4 - 0.8 * b**2 + 0.11 < 0) == (not stable)


def test_selkov_is_odd() -> None:
    there = _solve(Selkov(), [1.5, 0.4], [0.1, 0.6], T)
    back = _solve(Selkov(), [-1.5, -0.4], [0.1, -0.6], T)
    np.testing.assert_allclose(there, -back, atol=1e-12)


@pytest.mark.parametrize(("current", "stable"), [(0.346, True), (0.347, False), (1.403, False), (1.404, True)])
def test_neuron_fires_between_two_currents(current: float, stable: bool) -> None:
    a, b, c = 0.7, 0.8, 3.0
    v = brentq(lambda v: v - v**3 / 3 - (v + a) / b + current, -3, 3, xtol=1e-15)
    eigenvalues = np.linalg.eigvals(_jacobian(FitzHughNagumo(), [v, (v + a) / b], [a, b, c, current]))
    assert (eigenvalues.real.max() < 0) == stable


@pytest.mark.parametrize("system", [SIR(), SEIR()], ids=["sir", "seir"])
def test_epidemic_conserves_and_ends_at_its_final_size(system: System) -> None:
    beta, gamma = 0.5, 0.2
    middle = [] if isinstance(system, SIR) else [0.25]
    rest = [0.01] if isinstance(system, SIR) else [0.004, 0.006]
    x = _solve(system, [0.95, *rest, 0.04], [beta, *middle, gamma], np.linspace(0, 800, 21))
    p = torch.tensor([beta, *middle, gamma], dtype=torch.float64)
    watched = system.diagnostics(x, p)
    np.testing.assert_allclose(watched["total_population"], 1.0, atol=1e-13)
    np.testing.assert_allclose(watched["final_size_integral"], float(watched["final_size_integral"][0]), atol=1e-11)
    np.testing.assert_allclose(watched["reproduction_number"][0], 0.95 * beta / gamma)
    final = brentq(lambda s: np.log(s / 0.95) + beta / gamma * (1 - 0.04 - s), 1e-9, 0.9, xtol=1e-15)
    np.testing.assert_allclose(float(x[-1, 0]), final, rtol=1e-9)


def test_epidemics_do_not_depend_on_the_unit_of_population() -> None:
    one = _solve(SIR(), [0.9, 0.1, 0.0], [0.5, 0.2], T)
    many = _solve(SIR(), [9e5, 1e5, 0.0], [0.5, 0.2], T)
    np.testing.assert_allclose(many, 1e6 * one, rtol=1e-9)


def test_default_epidemics_start_as_fractions() -> None:
    for system in (SIR(), SEIR()):
        x = system.sample_x0(500, np.random.RandomState(0))
        np.testing.assert_allclose(x.sum(-1), 1.0, rtol=1e-15)
        assert float(x[:, 0].min()) > 0.85
        assert float(x[:, -2].max()) < 0.025


def test_lotka_volterra_in_counts_conserves() -> None:
    f = leads.make("lotka_volterra", split="metaphysica_ood")
    x0 = f.system.sample_x0(20, np.random.RandomState(0))[:, None]
    states = f.system.simulate(x0, f.unseen[:20], f.horizon_times)
    v = LotkaVolterra().invariant(states, f.unseen[:20, None, None])
    assert float(((v - v[:, :, :1]) / v[:, :, :1]).abs().max()) < 1e-9
