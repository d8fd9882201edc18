from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

import leads
from leads.environments.shallow_water import ShallowWater
from leads.errors import SettingsError, UnknownNameError

F0, DEPTH, LENGTH, G = 1e-4, 75.0, 1e6, 9.81
K = 2 * math.pi / LENGTH


def inviscid(f0: float = F0, depth: float = DEPTH) -> Tensor:
    return torch.tensor([[f0, depth, 0.0]], dtype=torch.float64)


def plane(n: int, k: int, m: int) -> Tensor:
    """Phase of a wave with ``k`` crests along x and ``m`` along y, shape ``(n, n)``."""
    line = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    return m * line[:, None] + k * line


@pytest.mark.parametrize(("k", "m"), [(1, 0), (2, 3), (0, 4)])
def test_inertia_gravity_waves(k: int, m: int) -> None:
    system, p, phase = ShallowWater(16), inviscid(), plane(16, k, m)
    kx, ky = K * k, K * m
    k2 = kx**2 + ky**2
    omega = math.sqrt(F0**2 + G * DEPTH * k2)
    a = 1e-5

    def exact(t: float) -> Tensor:
        """The travelling wave h = a cos(k x + m y - omega t) of the linear equations."""
        c, s = torch.cos(phase - omega * t), torch.sin(phase - omega * t)
        scale = a / (DEPTH * k2)
        return torch.stack([scale * (omega * kx * c - F0 * ky * s), scale * (omega * ky * c + F0 * kx * s), a * c])

    t = torch.linspace(0, 3 * 2 * math.pi / omega, 13, dtype=torch.float64)
    states = system.simulate(exact(0.0)[None, None], p, t)[0, 0]
    expected = torch.stack([exact(float(s)) for s in t])
    scale = expected.abs().amax((0, 2, 3), keepdim=True)
    assert float(((states - expected) / scale).abs().max()) < 1e-5
    # The frequency itself, from the phase that the crest has moved by.
    moved = torch.angle((states[:, 2] * torch.exp(-1j * phase)).mean((-2, -1)))
    measured = -torch.from_numpy(np.unwrap(moved.numpy()))
    torch.testing.assert_close(measured[1:] / t[1:], torch.full((12,), omega, dtype=torch.float64), rtol=1e-5, atol=0)


def test_geostrophic_adjustment() -> None:
    system, p, a = ShallowWater(16), inviscid(), 1e-4
    omega2 = F0**2 + G * DEPTH * K**2
    h = a * torch.cos(plane(16, 1, 0))
    t = torch.linspace(0, 2 * math.pi / math.sqrt(omega2), 17, dtype=torch.float64)
    states = system.simulate(torch.stack([0 * h, 0 * h, h])[None, None], p, t)[0, 0]
    # What is left of the elevation at rest once the waves are gone: the part without a frequency.
    balanced = states[:-1, 2].mean(0)
    torch.testing.assert_close(balanced, h * F0**2 / omega2, atol=1e-5 * a, rtol=0)
    u, v = states[:-1, 0].mean(0), states[:-1, 1].mean(0)
    # In balance with it: f v = g h_x.
    torch.testing.assert_close(F0 * v, -G * K * a * F0**2 / omega2 * torch.sin(plane(16, 1, 0)), atol=1e-12, rtol=0)
    assert float(u.abs().max()) < 1e-8


def test_balanced_shear_is_steady() -> None:
    system, p = ShallowWater(32), inviscid()
    y = plane(32, 0, 1)
    h = 0.5 * torch.sin(y)
    x0 = torch.stack([-G / F0 * 0.5 * K * torch.cos(y), torch.zeros_like(h), h])
    assert float(x0[0].abs().max()) > 0.3
    states = system.simulate(x0[None, None], p, torch.tensor([0.0, 36000.0], dtype=torch.float64))
    torch.testing.assert_close(states[0, 0, 1], x0, atol=1e-10, rtol=0)


def test_what_is_conserved() -> None:
    system = ShallowWater(32)
    x0 = system.sample_x0(2, np.random.RandomState(0))
    t = torch.tensor([0.0, 3600.0, 7200.0], dtype=torch.float64)
    p = torch.tensor([[8e-5, 50.0, 0.0], [1.2e-4, 100.0, 0.0]], dtype=torch.float64)
    states = system.simulate(x0.expand(2, *x0.shape), p, t)
    values = system.diagnostics(states, p[:, None, None])
    assert float(values["mass"].abs().max()) < 1e-14
    for name in ("energy", "potential_vorticity", "potential_enstrophy"):
        change = (values[name][..., -1] / values[name][..., 0] - 1).abs()
        assert float(change.max()) < 1e-6, name
    torch.testing.assert_close(values["potential_vorticity"][:, 0, 0], p[:, 0] / p[:, 1])
    damped = p + torch.tensor([0, 0, 1e12])
    energy = system.diagnostics(system.simulate(x0.expand(2, *x0.shape), damped, t), p[:, None, None])["energy"]
    assert bool((energy.diff() < 0).all())


def test_a_solution_by_scipy() -> None:
    """The waves' basis and the steps against DOP853 on a right-hand side by complex transforms."""
    n, beta, damping = 12, 2e-11, 1e12
    system = ShallowWater(n, beta=beta)
    x0 = 3 * system.sample_x0(1, np.random.RandomState(0))
    p = torch.tensor([[F0, 30.0, damping]], dtype=torch.float64)
    big = 3 * n // 2
    k = np.fft.fftfreq(big, 1 / big)
    dy, dx = 1j * K * k[:, None], 1j * K * k[None]
    keep = (abs(k[:, None]) < n / 2) & (abs(k[None]) < n / 2)
    y = np.arange(big)[:, None] / big
    f = F0 + beta * LENGTH / (2 * np.pi) * np.sin(2 * np.pi * (y - 0.5))

    def inverse(z: np.ndarray) -> np.ndarray:
        return np.fft.ifft2(z).real

    def field(_: float, flat: np.ndarray) -> np.ndarray:
        x = flat.reshape(3, big, big)
        u, v, h = x
        uh, vh, _ = z = np.fft.fft2(x)
        turn = f + inverse(dx * vh - dy * uh)
        head = np.fft.fft2(G * h + (u * u + v * v) / 2)
        rates = np.stack(
            [
                np.fft.fft2(turn * v) - dx * head,
                -np.fft.fft2(turn * u) - dy * head,
                -dx * np.fft.fft2((30 + h) * u) - dy * np.fft.fft2((30 + h) * v),
            ]
        )
        return inverse(keep * (rates - damping * (dx**2 + dy**2) ** 2 * z)).ravel()

    index = np.r_[0 : n // 2, -n // 2 + 1 : 0]
    wide = np.zeros((3, big, big), complex)
    wide[:, index[:, None], index] = np.fft.fft2(x0[0].numpy())[:, index[:, None], index] * (big / n) ** 2
    end = 7200.0
    solution = solve_ivp(field, (0, end), inverse(wide).ravel(), method="DOP853", rtol=1e-10, atol=1e-12).y[:, -1]
    narrow = np.zeros((3, n, n), complex)
    full = np.fft.fft2(solution.reshape(3, big, big))
    narrow[:, index[:, None], index] = full[:, index[:, None], index] / (big / n) ** 2
    system.max_step = 100.0
    got = system.simulate(x0[None], p, torch.tensor([0.0, end], dtype=torch.float64))[0, 0, 1]
    np.testing.assert_allclose(got, inverse(narrow), atol=2e-7)
    rates = system.rhs(torch.zeros(()), x0, p)[0]
    expected = np.fft.fft2(field(0.0, inverse(wide).ravel()).reshape(3, big, big))
    narrow[:, index[:, None], index] = expected[:, index[:, None], index] / (big / n) ** 2
    np.testing.assert_allclose(rates, inverse(narrow), atol=1e-12)


def test_order_in_time() -> None:
    system = ShallowWater(16)
    x0, p = system.sample_x0(1, np.random.RandomState(0))[None], inviscid()
    t = torch.tensor([0.0, 14400.0], dtype=torch.float64)
    system.max_step = 100.0
    reference = system.simulate(x0, p, t)
    errors = []
    for step in (1200.0, 600.0):
        system.max_step = step
        errors.append(float((system.simulate(x0, p, t) - reference).abs().max()))
    assert errors[1] < 1e-5
    assert abs(math.log2(errors[0] / errors[1]) - 4) < 0.4


def test_beta_plane_and_potential_vorticity() -> None:
    system = ShallowWater(64, beta=2e-11)
    f = system.coriolis(torch.tensor(F0, dtype=torch.float64), 64)[:, 0]
    assert float(f[32]) == pytest.approx(F0)
    assert float(f[33] - f[31]) / (2 * LENGTH / 64) == pytest.approx(2e-11, rel=2e-3)
    rest = torch.zeros(3, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(system.potential_vorticity(rest, inviscid()[0]), (f / DEPTH)[:, None].expand(64, 64))


def test_initial_states_are_balanced() -> None:
    system = ShallowWater(64)
    x = system.sample_x0(20, np.random.RandomState(0))
    u, v, h = x.unbind(1)
    torch.testing.assert_close(h.square().mean((1, 2)).sqrt(), torch.full((20,), 0.3, dtype=torch.float64))
    g = system.fourier
    slope_x, slope_y = (g.inverse(g.derivative(a) * g.forward(h)) for a in (1, 0))
    torch.testing.assert_close(1e-4 * v, G * slope_x)
    torch.testing.assert_close(-1e-4 * u, G * slope_y)


def test_family_and_bad_input() -> None:
    family = leads.make("shallow_water")
    assert family.split == "ours"
    assert (len(family.seen), len(family.unseen), len(family.times)) == (6, 4, 20)
    with pytest.raises(UnknownNameError, match="ours"):
        leads.make("shallow_water", split="our")
    for size in (6, 33):
        with pytest.raises(SettingsError, match="size must be"):
            leads.make("shallow_water", size=size)
