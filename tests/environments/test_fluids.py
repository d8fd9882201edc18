"""Two-dimensional flows solved by their vorticity: Navier-Stokes, Kolmogorov flow, decaying turbulence."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import leads
from leads.environments.decaying_turbulence import DecayingTurbulence
from leads.environments.kolmogorov import Kolmogorov
from leads.environments.navier_stokes import NavierStokes, check_finite
from leads.errors import DataError, DivergenceError, SettingsError, UnknownNameError


def seconds(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def simpson(values: torch.Tensor, h: float) -> torch.Tensor:
    """Integral along the last axis of an odd number of equidistant values."""
    return (
        h / 3 * (values[..., 0] + values[..., -1] + 4 * values[..., 1:-1:2].sum(-1) + 2 * values[..., 2:-1:2].sum(-1))
    )


def waves(n: int) -> tuple[np.ndarray, np.ndarray]:
    k = np.fft.fftfreq(n, 1 / n)
    return k[:, None], k[None]


def inverse(coefficients: np.ndarray) -> np.ndarray:
    return np.fft.ifft2(coefficients).real


def published_navier_stokes(w0: np.ndarray, nu: float, force: np.ndarray, steps: int, dt: float) -> np.ndarray:
    """Semi-implicit steps of the vorticity equation on the unit torus, by complex transforms of one field."""
    n = w0.shape[-1]
    kx, ky = waves(n)
    k2 = 4 * np.pi**2 * (kx**2 + ky**2)
    k2[0, 0] = 1
    mask = (abs(kx) <= n / 3) & (abs(ky) <= n / 3)
    w, fh = np.fft.fft2(w0), np.fft.fft2(force)
    dx, dy = 2j * np.pi * kx, 2j * np.pi * ky
    for _ in range(steps):
        advection = inverse(dy * w / k2) * inverse(dx * w) - inverse(dx * w / k2) * inverse(dy * w)
        explicit = dt * fh - dt * mask * np.fft.fft2(advection)
        w = (explicit + (1 - 0.5 * dt * nu * k2) * w) / (1 + 0.5 * dt * nu * k2)
    return inverse(w)


def forcing(n: int, a: tuple[int, int], b: tuple[int, int]) -> np.ndarray:
    x, y = np.meshgrid(np.arange(n) / n, np.arange(n) / n, indexing="ij")
    return 0.1 * (np.sin(2 * np.pi * (a[0] * x + a[1] * y)) + np.cos(2 * np.pi * (b[0] * x + b[1] * y)))


def developed(size: int, n: int = 1) -> torch.Tensor:
    """Strong smooth flow without modes that the 2/3 rule drops, ``(n, 1, size, size)``."""
    system = NavierStokes(size)
    g = system.fourier
    return g.inverse(g.dealias * g.forward(4 * system.sample_x0(n, np.random.RandomState(0))))


def test_the_published_stepper_is_the_formula() -> None:
    family = leads.make("navier_stokes", split="leads")
    x0 = family.system.sample_x0(3, np.random.RandomState(0))
    p = family.seen[2:4]
    got = family.system.simulate_published(x0.expand(2, *x0.shape), p, seconds(0, 0.05, 0.08))
    for e, vectors in enumerate((((1, 1), (2, 1)), ((1, 2), (2, 1)))):
        for k in (0, 2):
            expected = published_navier_stokes(x0[k, 0].numpy(), 1e-3, forcing(32, *vectors), 80, 1e-3)
            np.testing.assert_allclose(got[e, k, -1, 0], expected, atol=1e-13)
    single = family.system.simulate_published(x0.expand(2, *x0.shape).float(), p, seconds(0, 0.05, 0.08))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), got, atol=1e-5, rtol=0)


def test_spin_up_runs_to_28_and_a_half() -> None:
    system = NavierStokes(16)
    system.published_step = 0.02
    x0 = system.sample_x0(2, np.random.RandomState(1))
    expected = published_navier_stokes(x0[1, 0].numpy(), 8e-4, forcing(16, (1, 1), (1, 1)), 1425, 0.02)
    np.testing.assert_allclose(system.spin_up(x0)[1, 0], expected, atol=1e-9)


def test_navier_stokes_orders_in_time() -> None:
    system, p, t = NavierStokes(16), leads.make("navier_stokes").seen[:1], seconds(0, 0.4)
    x0 = developed(16)[None]
    system.max_step = 0.4 / 160
    reference = system.simulate(x0, p, t)
    errors = []
    for h in (0.4 / 10, 0.4 / 20):
        system.max_step = h
        errors.append(float((system.simulate(x0, p, t) - reference).abs().max()))
    assert errors[1] < 1e-5
    assert abs(math.log2(errors[0] / errors[1]) - 4) < 0.3
    errors = []
    for h in (4e-3, 2e-3):
        system.published_step = h
        errors.append(float((system.simulate_published(x0, p, t) - reference).abs().max()))
    assert errors[1] < 1e-2
    assert abs(math.log2(errors[0] / errors[1]) - 1) < 0.1


def test_navier_stokes_reference_error() -> None:
    family = leads.make("navier_stokes")
    x0 = developed(32)[None]
    coarse, fine = (family.system.simulate(x0, family.seen[:1], seconds(0, 1, 2), refine=r) for r in (1, 2))
    assert float((coarse - fine).abs().max()) < 1e-6


def test_taylor_green_decays_exactly() -> None:
    x = torch.arange(32, dtype=torch.float64) / 32
    w = (torch.sin(2 * math.pi * x)[:, None] * torch.sin(2 * math.pi * x))[None, None, None]
    system, t, nu = NavierStokes(32), seconds(0, 0.5, 2), 1e-2
    p = seconds(nu, 0, 1, 1, 1, 1)[None]
    exact = w[:, :, None] * torch.exp(-8 * math.pi**2 * nu * t)[:, None, None, None]
    torch.testing.assert_close(system.simulate(w, p, t), exact, atol=1e-12, rtol=0)
    torch.testing.assert_close(system.simulate_published(w, p, t), exact, atol=1e-6, rtol=0)
    x = 2 * math.pi * torch.arange(20, dtype=torch.float64) / 20
    zeta = (torch.cos(2 * x)[:, None] * torch.cos(2 * x))[None, None, None]
    got = DecayingTurbulence(20, 30).simulate(zeta, seconds(1e-2, 1e-3)[None], t)
    exact = zeta[:, :, None] * torch.exp(-(8e-2 + 64e-3) * t)[:, None, None, None]
    torch.testing.assert_close(got, exact, atol=1e-8, rtol=0)


def test_navier_stokes_budgets_close() -> None:
    system, nu = NavierStokes(32), 1e-3
    p, t = seconds(nu, 0.1, 1, 1, 1, 2)[None], torch.linspace(0, 0.4, 41, dtype=torch.float64)
    states = system.simulate(developed(32)[None], p, t)
    values = {k: v[0, 0] for k, v in system.diagnostics(states, p[:, None, None]).items()}
    f = torch.from_numpy(forcing(32, (1, 1), (1, 2)))
    kx, ky = (torch.from_numpy(k) for k in waves(32))
    k2 = 4 * math.pi**2 * (kx**2 + ky**2)
    k2[0, 0] = 1
    w = states[0, 0, :, 0]
    psi = torch.fft.ifft2(torch.fft.fft2(w) / k2).real
    power = {"energy": (psi * f).mean((-2, -1)), "enstrophy": (w * f).mean((-2, -1))}
    loss = {"energy": 2 * nu * values["enstrophy"], "enstrophy": 2 * nu * values["palinstrophy"]}
    for name, value in values.items():
        if name in power:
            expected = simpson(power[name] - loss[name], 0.01)
            torch.testing.assert_close(value[-1] - value[0], expected, rtol=1e-6, atol=0)


def test_navier_stokes_initial_states() -> None:
    x = NavierStokes(16).sample_x0(2000, np.random.RandomState(0))[:, 0].numpy()
    assert abs(x.mean((1, 2))).max() < 1e-14
    kx, ky = waves(16)
    # The real part of coefficients c with E|c|^2 = 2 s^2 has the power s^2 in every mode.
    expected = 49.0**1.5 * (4 * np.pi**2 * (kx**2 + ky**2) + 49) ** -2.5
    power = (abs(np.fft.fft2(x) / 256) ** 2).mean(0)
    np.testing.assert_allclose(power.ravel()[1:], expected.ravel()[1:], rtol=0.15)
    assert abs(power.ravel()[1:] / expected.ravel()[1:] - 1).mean() < 0.03


def test_published_navier_stokes_splits() -> None:
    coda, other = leads.make("navier_stokes"), leads.make("navier_stokes", split="leads")
    assert coda.seen[:, 0].tolist() == [8e-4, 9e-4, 1e-3, 1.1e-3, 1.2e-3]
    assert coda.unseen[:, 0].tolist() == [8.5e-4, 9.5e-4, 1.05e-3, 1.15e-3]
    assert other.seen[:, 2:].tolist() == [[1, 1, 1, 1], [1, 1, 1, 2], [1, 1, 2, 1], [1, 2, 2, 1]]
    assert bool((other.seen[:, :2] == seconds(1e-3, 0.1)).all())
    assert (coda.budget.train, other.budget.train, coda.budget.test, coda.times.tolist()) == (
        16,
        8,
        32,
        list(range(10)),
    )
    assert coda.system.spin_up_with[0] == 8e-4
    assert other.system.spin_up_with[0] == 1e-3
    assert torch.equal(leads.make("navier_stokes", split="ncf").seen, coda.seen)


def test_bad_input() -> None:
    with pytest.raises(UnknownNameError, match="coda"):
        leads.make("navier_stokes", split="cod")
    with pytest.raises(SettingsError, match="at least 8"):
        leads.make("navier_stokes", size=4)
    with pytest.raises(SettingsError, match="fine >= size"):
        leads.make("kolmogorov", size=64, fine=48)
    with pytest.raises(DataError, match="16 waves"):
        Kolmogorov(32, 48, wavenumber=32.0).check_parameters(seconds(1e-3, math.pi, 1, 0)[None])
    with pytest.raises(DataError, match="whole wave numbers"):
        NavierStokes().check_parameters(seconds(1e-3, 0.1, 1, 1.5, 1, 1)[None])
    states = torch.zeros(3, 2, 1, 8, 8)
    states[2, 1] = torch.inf
    with pytest.raises(DivergenceError, match="Trajectory 1 blows up before t = 2") as error:
        check_finite(states, seconds(0, 1, 2))
    assert error.value.trajectory == 1


def test_a_blow_up_is_named() -> None:
    system = NavierStokes(16)
    x0 = developed(16, 2).repeat(2, 1, 1, 1).unflatten(0, (2, 2))
    x0[1, 1] *= 1e3
    with pytest.raises(DivergenceError, match="Trajectory 1 of environment 1"):
        system.simulate(x0, leads.make("navier_stokes").seen[:2], seconds(0, 1))


def test_a_solution_by_scipy() -> None:
    """Kolmogorov flow against DOP853 on an independent form: advective, 48 points, 3/2 rule, complex transforms."""
    n, big, nu, side, force, mu = 32, 48, 5e-3, 2.0, 0.5, 0.1
    system = Kolmogorov(n, big, wavenumber=2 * math.pi, closure=0.0)
    x0 = 0.2 * system.sample_x0(1, np.random.RandomState(0))
    ky, kx = waves(big)
    scale = 2 * np.pi / side
    k2 = scale**2 * (kx**2 + ky**2)
    inverse_k2 = np.divide(1, k2, out=np.zeros_like(k2), where=k2 > 0)
    keep = (abs(kx) < n / 2) & (abs(ky) < n / 2)
    y = np.arange(big)[:, None] / big * side
    shear = np.fft.fft2(-force * 2 * scale * np.cos(2 * scale * y) * np.ones((1, big)))

    def field(_: float, flat: np.ndarray) -> np.ndarray:
        z = keep * np.fft.fft2(flat.reshape(big, big))
        psi = -z * inverse_k2
        u, v = inverse(-1j * scale * ky * psi), inverse(1j * scale * kx * psi)
        advection = u * inverse(1j * scale * kx * z) + v * inverse(1j * scale * ky * z)
        return inverse(keep * (shear - np.fft.fft2(advection) - (nu * k2 + mu) * z)).ravel()

    small = np.fft.fft2(x0[0, 0].numpy())
    wide = np.zeros((big, big), complex)
    index = np.r_[0 : n // 2, -n // 2 + 1 : 0]
    wide[np.ix_(index, index)] = small[np.ix_(index, index)] * (big / n) ** 2
    solution = solve_ivp(field, (0, 0.5), inverse(wide).ravel(), method="DOP853", rtol=1e-10, atol=1e-12).y[:, -1]
    got = system.simulate(x0[None], seconds(nu, side, force, mu)[None], seconds(0, 0.25, 0.5))[0, 0, -1, 0]
    full = np.fft.fft2(solution.reshape(big, big))
    expected = np.zeros((n, n), complex)
    expected[np.ix_(index, index)] = full[np.ix_(index, index)] / (big / n) ** 2
    np.testing.assert_allclose(got, inverse(expected), atol=1e-7)


def test_kolmogorov_laminar_flow_is_steady() -> None:
    system, side, nu, mu, force = Kolmogorov(32, 48, closure=0.0), 1.5 * math.pi, 1e-2, 0.1, 1.0
    k = 4.0
    y = torch.arange(32, dtype=torch.float64) / 32 * side
    zeta = (-force * k * torch.cos(k * y) / (nu * k**2 + mu))[:, None].expand(32, 32)[None, None, None]
    p = seconds(nu, side, force, mu)[None]
    assert float(system.rhs(seconds(0)[0], zeta, p[:, None]).abs().max()) < 1e-11
    torch.testing.assert_close(system.simulate(zeta, p, seconds(0, 0.5))[0, 0, 1], zeta[0, 0], atol=1e-7, rtol=0)


def test_kolmogorov_side_is_a_unit_of_length() -> None:
    system, t = Kolmogorov(32, 48), seconds(0, 0.1)
    x0 = system.sample_x0(1, np.random.RandomState(0))
    p = torch.tensor([[1e-3, math.pi / 2, 0, 0], [4e-3, math.pi, 0, 0]], dtype=torch.float64)
    half, whole = system.simulate(x0.expand(2, *x0.shape), p, t)
    torch.testing.assert_close(half, whole, atol=1e-10, rtol=0)


def test_kolmogorov_energy_budget_closes() -> None:
    system = Kolmogorov(32, 48, closure=0.0)
    side, nu, force, mu = 0.75 * math.pi, 2e-3, 1.0, 0.1
    p, t = seconds(nu, side, force, mu)[None], torch.linspace(0, 0.2, 41, dtype=torch.float64)
    states = system.simulate(system.sample_x0(1, np.random.RandomState(0))[None], p, t)
    # The first frame still has the Nyquist modes.
    states, values = states[:, :, 2:], system.diagnostics(states[:, :, 2:], p[:, None, None])
    k = 4 * math.pi / side
    y = torch.arange(32, dtype=torch.float64) / 32 * side
    ky, kx = (torch.from_numpy(n) * 2 * math.pi / side for n in waves(32))
    k2 = kx**2 + ky**2
    k2[0, 0] = 1
    u = torch.fft.ifft2(1j * ky / k2 * torch.fft.fft2(states[0, 0, :, 0])).real
    power = (u * force * torch.sin(k * y)[:, None]).mean((-2, -1))
    energy, enstrophy = values["energy"][0, 0], values["enstrophy"][0, 0]
    expected = simpson(power - 2 * nu * enstrophy - 2 * mu * energy, 0.005)
    torch.testing.assert_close(energy[-1] - energy[0], expected, rtol=1e-6, atol=0)


def test_kolmogorov_family() -> None:
    family = leads.make("kolmogorov")
    assert len(family.seen) == 8
    assert len(family.unseen) == 4
    assert {(nu, round(side / math.pi, 6), f, mu) for nu, side, f, mu in family.seen.tolist()} == {
        (nu, side, *force) for nu in (1e-3, 1e-4) for side in (1.0, 0.75) for force in ((0, 0), (1, 0.1))
    }
    assert set(family.unseen[:, 0].tolist()) == {1e-5}
    assert (len(family.times), len(family.horizon_times), family.budget.train) == (20, 40, 16)
    x = family.system.sample_x0(1, np.random.RandomState(0))
    # Every mode has the variance k E(k) / pi, so the sum over modes 2 apart tends to 5 k0^2 / 8.
    assert abs(float(x.square().mean()) - 62.5) < 0.5
    y = family.system.spin_up(x)
    p = seconds(*family.system.spin_up_with)[None]
    torch.testing.assert_close(y, family.system.simulate(x[None], p, seconds(0, 0.4))[0, :, -1])


def test_inviscid_turbulence_conserves_energy_and_enstrophy() -> None:
    system = DecayingTurbulence(32, 32)
    x0 = system.sample_x0(2, np.random.RandomState(0))
    p, t = torch.zeros(1, 2, dtype=torch.float64), seconds(0, 0.25, 0.5)
    values = system.diagnostics(system.simulate(x0[None], p, t), p[:, None, None])
    for name in ("energy", "enstrophy"):
        torch.testing.assert_close(values[name][0, :, -1], values[name][0, :, 0], rtol=1e-7, atol=0)
    assert bool((values["palinstrophy"][0, :, -1] > values["palinstrophy"][0, :, 0]).all())


def test_turbulence_decays() -> None:
    system, nu = DecayingTurbulence(32, 48), 1e-2
    x0 = system.sample_x0(1, np.random.RandomState(0))
    p, t = seconds(nu, 0)[None], torch.linspace(0, 0.4, 81, dtype=torch.float64)
    values = {k: v[0, 0] for k, v in system.diagnostics(system.simulate(x0[None], p, t), p[:, None, None]).items()}
    assert bool((values["enstrophy"].diff() < 0).all())
    for name, loss in (("energy", "enstrophy"), ("enstrophy", "palinstrophy")):
        expected = -2 * nu * simpson(values[loss], 0.005)
        torch.testing.assert_close(values[name][-1] - values[name][0], expected, rtol=2e-6, atol=0)


def test_initial_turbulence() -> None:
    system = DecayingTurbulence(64, 96)
    x = system.sample_x0(40, np.random.RandomState(0))
    values = system.diagnostics(x, torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(values["energy"], torch.full((40,), 0.5, dtype=torch.float64))
    g = system.fourier
    spectrum = g.isotropic_spectrum(g.forward(x[:, 0])).mean(0)[:18]
    # A mode's share of k / (1 + (k / 6)^4) is that over k; vorticity has k^2 as much variance as energy.
    expected = g.isotropic_spectrum((g.k2 / (1 + g.k2**2 / 6**4)).sqrt().to(torch.complex128))[:18]
    ratio = spectrum / expected
    assert float((ratio / ratio.mean() - 1).abs()[2:].max()) < 0.15
    family = leads.make("decaying_turbulence")
    assert family.split == "ours"
    assert bool((family.seen[:, 1] == 0).all())
