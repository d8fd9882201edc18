from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import leads
from leads.environments.combined_equation import CombinedEquation
from leads.environments.korteweg_de_vries import KortewegDeVries
from leads.environments.kuramoto_sivashinsky import KuramotoSivashinsky
from leads.environments.spectral_scalar import SpectralScalar
from leads.environments.system import Parameter
from leads.errors import DivergenceError, SettingsError, UnknownNameError
from leads.testing import check_system

Tensor = torch.Tensor


def tensor(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def states(system: SpectralScalar, n: int = 1, seed: int = 0) -> Tensor:
    return system.sample_x0(n, np.random.RandomState(seed))


def worst(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


def order(make: object, steps: tuple[float, ...], x0: Tensor, p: Tensor, times: Tensor, exact: Tensor) -> np.ndarray:
    errors = [worst(make(h).simulate(x0, p, times)[:, :, -1], exact) for h in steps]  # type: ignore[operator]
    return np.log2(np.array(errors[:-1]) / errors[1:])


def galerkin(a: float, symbol: np.ndarray, length: float, xh: np.ndarray, t: float, rtol: float) -> np.ndarray:
    """SciPy's DOP853 on Fourier coefficients, the square by direct convolution: no FFT, no code of ours."""
    modes = len(xh)
    k = 2 * np.pi * np.arange(modes) / length

    def field(_: float, c: np.ndarray) -> np.ndarray:
        whole = np.concatenate([c[:0:-1].conj(), c])
        square = np.convolve(whole, whole)[2 * (modes - 1) : 3 * modes - 2]
        return symbol * c - 0.5j * a * k * square

    return solve_ivp(field, (0, t), xh, method="DOP853", rtol=rtol, atol=1e-13).y[:, -1]


SYSTEMS = [
    (KuramotoSivashinsky(48, 22.0, fine=48), [[1.0, 1.0], [1.1, 0.8]], 0.2),
    (KortewegDeVries(64, fine=64), [[6.0, 1.0], [5.0, 0.8]], 0.1),
    (CombinedEquation(64, linear_alone=True, fine=64), [[0.5, 0.1, 0.3, 0.2], [0.9, 0.0, 0.0, 0.0]], 0.4),
]


@pytest.mark.parametrize(("system", "parameters", "span"), SYSTEMS)
def test_side_by_side_equals_one_by_one(system: SpectralScalar, parameters: list, span: float) -> None:
    p, x = tensor(parameters), states(system, 3).expand(2, 3, *system.state_shape)
    # Intervals of different lengths: an equal number of steps in each would be wrong.
    times = tensor([0.0, span / 3, span, 2 * span])
    many = system.simulate(x, p, times)
    loop = [[system.simulate(x[e : e + 1, n : n + 1], p[e : e + 1], times)[0, 0] for n in range(3)] for e in range(2)]
    assert worst(many, torch.stack([torch.stack(row) for row in loop])) <= 1e-13
    assert worst(system.simulate(x, p, times[[0, 2]])[:, :, 1], many[:, :, 2]) <= 1e-6
    single = system.simulate(x.float(), p, times)
    assert single.dtype == torch.float32
    assert worst(single.double(), many) <= 2e-5


@pytest.mark.parametrize(("system", "parameters", "span"), SYSTEMS)
def test_rhs_is_the_rate_of_what_is_simulated(system: SpectralScalar, parameters: list, span: float) -> None:
    p, x = tensor(parameters), states(system, 2).expand(2, 2, *system.state_shape)
    h = 1e-3
    y = system.simulate(x, p, tensor([0, span, span + h, span + 2 * h, span + 3 * h, span + 4 * h]))[:, :, 1:]
    slope = (y[:, :, 0] - 8 * y[:, :, 1] + 8 * y[:, :, 3] - y[:, :, 4]) / (12 * h)
    rate = system.rhs(tensor(0.0), y[:, :, 2], p[:, None])
    assert worst(slope, rate) <= 2e-8 * max(1, float(rate.abs().max()))


@pytest.mark.parametrize(("system", "parameters", "span"), SYSTEMS)
def test_refine_multiplies_the_steps(system: SpectralScalar, parameters: list, span: float) -> None:
    p, x = tensor(parameters), states(system, 1)[None].expand(2, 1, *system.state_shape)
    times = tensor([0.0, 0.7 * system.max_step, 4.3 * system.max_step])
    # The intervals are cut into 1 and 4 steps; here three times as many are taken by hand.
    first = times[1] * torch.arange(4, dtype=torch.float64) / 3
    rest = times[1] + (times[2] - times[1]) * torch.arange(1, 13, dtype=torch.float64) / 12
    by_hand = system.simulate(x, p, torch.cat([first, rest]))
    assert worst(system.simulate(x, p, times, refine=3), by_hand[:, :, [0, 3, 15]]) <= 1e-13


def test_gradients_reach_parameters_and_states() -> None:
    system = CombinedEquation(32)
    x, p = states(system)[None], tensor([[0.6, 0.1, 0.3, 0.2]])
    times = tensor([0.0, 1.0])
    total = lambda x, p: system.simulate(x, p, times)[0, 0, -1].pow(3).sum()
    grads = torch.autograd.grad(total(x.requires_grad_(), p.requires_grad_()), (x, p))
    h = 1e-5
    for i in range(4):
        shift = h * torch.eye(4, dtype=torch.float64)[i]
        with torch.no_grad():
            assert float(grads[1][0, i]) == pytest.approx(
                float(total(x, p + shift) - total(x, p - shift)) / (2 * h), abs=1e-7
            )
            bump = h * torch.ones_like(x)
            rise = float(total(x + bump, p) - total(x - bump, p)) / (2 * h)
    assert float(grads[0].sum()) == pytest.approx(rise, rel=1e-6)


def test_bad_input() -> None:
    with pytest.raises(SettingsError, match="fine >= size"):
        KuramotoSivashinsky(64, fine=32)
    with pytest.raises(SettingsError, match="positive length and max_step"):
        KortewegDeVries(64, max_step=0.0)
    with pytest.raises(SettingsError, match="at least 25"):
        CombinedEquation(4)
    with pytest.raises(UnknownNameError, match="Did you mean 'cosine'"):
        KortewegDeVries(64, initial="cosin")  # type: ignore[arg-type]
    for name, wrong, right in (
        ("kuramoto_sivashinsky", "our", "ours"),
        ("korteweg_de_vries", "zabusky", "zabusky_kruskal"),
        ("combined_equation", "geps_bigg", "geps_big"),
    ):
        with pytest.raises(UnknownNameError, match=f"Did you mean '{right}'"):
            leads.make(name, split=wrong)
    x = torch.stack([states(KortewegDeVries(64)), 1e4 * states(KortewegDeVries(64))], 1)
    with pytest.raises(DivergenceError, match=r"Trajectory 1 of environment 0 \(alpha = 6, delta = 1\)"):
        KortewegDeVries(64).simulate(x, tensor([[6.0, 1.0]]), tensor([0.0, 0.1]))


# Kuramoto-Sivashinsky


@pytest.fixture(scope="module")
def developed() -> Tensor:
    """States on the attractor at length 22, ``(6, 1, 48)``."""
    return KuramotoSivashinsky(48, 22.0).spin_up(states(KuramotoSivashinsky(48, 22.0), 6))


def test_small_modes_grow_as_linear_theory_says() -> None:
    system = KuramotoSivashinsky(48, 22.0)
    x, k = system.fourier.coordinates(0), 2 * math.pi / 22 * torch.arange(1, 7, dtype=torch.float64)
    waves = 1e-7 * torch.cos(k[:, None] * x)[:, None]
    p = tensor([[1.0, 1.0], [1.2, 0.7]])
    y = system.simulate(waves.expand(2, *waves.shape), p, tensor([0.0, 1.0]))[:, :, 1, 0]
    growth = p[:, :1] * k**2 - p[:, 1:] * k**4
    assert growth.min() < -5
    assert growth.max() > 0.3
    expected = growth.exp()[..., None] * waves[:, 0]
    assert float(((y - expected).abs().amax(-1) / expected.abs().amax(-1)).max()) < 1e-6


def test_kuramoto_sivashinsky_agrees_with_scipy(developed: Tensor) -> None:
    x, modes = developed[:1], 24
    p = tensor([[1.1, 0.9]])
    ours = KuramotoSivashinsky(48, 22.0, max_step=0.0025, fine=72).simulate(x[None], p, tensor([0.0, 1.0]))
    k = 2 * np.pi * np.arange(modes) / 22
    start = np.fft.rfft(x[0, 0].numpy())[:modes] / 48
    end = galerkin(1.0, 1.1 * k**2 - 0.9 * k**4, 22.0, start, 1.0, 1e-11)
    theirs = np.fft.irfft(np.append(end, 0) * 48, 48)
    assert worst(ours[0, 0, 1, 0], torch.from_numpy(theirs)) < 1e-9


def test_kuramoto_sivashinsky_converges(developed: Tensor) -> None:
    x, p, times = developed[None], tensor([[1.0, 1.0]]), tensor([0.0, 1.0])
    exact = KuramotoSivashinsky(48, 22.0, 0.00078125, 48).simulate(x, p, times)[:, :, -1]
    # With longer steps the stiff modes hold it between 3, the stiff order of Krogstad's method, and 4.
    orders = order(lambda h: KuramotoSivashinsky(48, 22.0, h, 48), (0.0125, 0.00625, 0.003125), x, p, times, exact)
    assert np.all((orders > 3.75) & (orders < 4.25)), orders
    fine = KuramotoSivashinsky(48, 22.0, 0.05, 96).simulate(x, p, times)
    errors = [worst(KuramotoSivashinsky(48, 22.0, 0.05, n).simulate(x, p, times), fine) for n in (48, 60, 72, 84)]
    # Every 12 points bring at least a digit: faster than any power of the spacing (12 from 72 is less than an eighth).
    assert all(b < a / 10 for a, b in pairwise(errors)), errors
    assert errors[2] < 1e-7


def test_kuramoto_sivashinsky_energy_budget(developed: Tensor) -> None:
    system, p = KuramotoSivashinsky(48, 22.0), tensor([[1.1, 0.9]])
    h = 0.005
    y = system.simulate(developed[None], p, tensor([0, 1, 1 + h, 1 + 2 * h, 1 + 3 * h, 1 + 4 * h]))
    d = system.diagnostics(y, p[:, None, None])
    e = d["energy"][:, :, 1:]
    slope = (e[..., 0] - 8 * e[..., 1] + 8 * e[..., 3] - e[..., 4]) / (12 * h)
    budget = (d["production"] - d["dissipation"])[:, :, 3]
    assert worst(slope, budget) < 1e-6 * float(d["production"].max())
    mean = system.invariant(y, p[:, None, None])
    assert worst(mean, torch.zeros_like(mean)) < 1e-14


def test_spin_up_reaches_the_attractor() -> None:
    system = KuramotoSivashinsky()
    raw = states(system, 8)
    x = system.spin_up(raw)
    d = system.diagnostics(x, tensor([1.0, 1.0]))
    # Long-time averages balance, so those over many states nearly do; the variance is 1.7 (Wittenberg & Holmes, 1999).
    assert float(d["production"].mean() / d["dissipation"].mean()) == pytest.approx(1, abs=0.1)
    assert 1.4 < float(x.square().mean()) < 2.1
    assert worst(raw.mean(-1), torch.zeros(8, 1, dtype=torch.float64)) < 1e-14
    many = states(system, 400, seed=1)
    assert float(many.square().mean()) == pytest.approx(1, abs=0.1)
    assert worst(states(KuramotoSivashinsky(256), 2)[..., ::2], states(system, 2)) < 1e-13


# Korteweg-de Vries


def soliton(x: Tensor, c: float, alpha: float, delta: float) -> Tensor:
    return 3 * c / alpha / torch.cosh(0.5 * math.sqrt(c / delta) * x) ** 2


def test_one_soliton_travels_unchanged() -> None:
    system, alpha, delta, c, t = KortewegDeVries(128, 60.0), 4.0, 1.5, 1.3, 5.0
    x = system.fourier.coordinates(0)
    y = system.simulate(soliton(x - 20, c, alpha, delta)[None, None, None], tensor([[alpha, delta]]), tensor([0.0, t]))
    assert worst(y[0, 0, 1, 0], soliton(x - 20 - c * t, c, alpha, delta)) < 2e-8


def hirota(x: Tensor, t: float, k1: float, k2: float, x1: float, x2: float) -> Tensor:
    """Two solitons of alpha = 6, delta = 1: ``2 (log tau)_xx`` with ``tau = 1 + e1 + e2 + A e1 e2`` (Hirota, 1971)."""
    e1, e2 = torch.exp(k1 * (x - x1 - k1**2 * t)), torch.exp(k2 * (x - x2 - k2**2 * t))
    both = ((k1 - k2) / (k1 + k2)) ** 2 * e1 * e2
    tau, slope = 1 + e1 + e2 + both, k1 * e1 + k2 * e2 + (k1 + k2) * both
    return 2 * ((k1**2 * e1 + k2**2 * e2 + (k1 + k2) ** 2 * both) / tau - (slope / tau) ** 2)


def test_two_solitons_collide_and_are_shifted() -> None:
    system, k1, k2, t = KortewegDeVries(192, 80.0), 1.3, 0.7, 22.0
    x = system.fourier.coordinates(0)
    start, end = hirota(x, 0, k1, k2, 20.0, 32.0), hirota(x, t, k1, k2, 20.0, 32.0)
    y = system.simulate(start[None, None, None], tensor([[6.0, 1.0]]), tensor([0.0, t]))[0, 0, 1, 0]
    assert worst(y, end) < 3e-7
    # The fast one overtook: in front of the slow one, ahead of where it would be alone by 2 log((k1+k2)/(k1-k2)) / k1.
    peak = float(x[y.argmax()])
    assert peak - (20 + k1**2 * t) == pytest.approx(2 / k1 * math.log((k1 + k2) / (k1 - k2)), abs=80 / 192)
    assert peak > 20 + 12 + k2**2 * t


def test_korteweg_de_vries_conserves_and_converges() -> None:
    system = KortewegDeVries(64, fine=64)
    x, p, times = states(system, 2)[None], tensor([[6.0, 1.0]]), tensor([0.0, 0.5, 1.0])
    d = system.diagnostics(system.simulate(x, p, times), p[:, None, None])
    for name, tolerance in (("mass", 1e-15), ("momentum", 1e-10), ("hamiltonian", 1e-10)):
        assert worst(d[name], d[name][:, :, :1].expand_as(d[name])) < tolerance, name
    # Not only by accurate steps: the rates of change vanish up to rounding, also for a rough state.
    rough = torch.randn(1, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    g = system.fourier
    rough = g.inverse(g.forward(rough) * g.dealias).requires_grad_()
    for value in system.diagnostics(rough, p[0]).values():
        (slope,) = torch.autograd.grad(value, rough)
        terms = slope * system.rhs(tensor(0.0), rough, p[0]).detach()
        assert abs(float(terms.sum())) < 1e-11 * float(terms.abs().sum())
    exact = KortewegDeVries(64, max_step=0.00125).simulate(x, p, times)[:, :, -1]
    orders = order(lambda h: KortewegDeVries(64, max_step=h), (0.02, 0.01, 0.005), x, p, times, exact)
    assert np.all((orders > 3.6) & (orders < 4.6)), orders


def test_zabusky_and_kruskal_see_eight_solitons() -> None:
    f = leads.make("korteweg_de_vries", split="zabusky_kruskal")
    system, p = f.system, f.seen[1:2]
    assert p.tolist() == [[1.0, 0.022**2]]
    assert float(f.times[-1]) == pytest.approx(3.6 / math.pi)
    x = system.fourier.coordinates(0)
    # At a third of the published horizon's steps the picture is the same.
    quick = KortewegDeVries(256, 2.0, "cosine", max_step=0.002)
    y = quick.simulate(torch.cos(math.pi * x)[None, None, None], p, f.times[[0, 10, 36]])[0, 0, :, 0]
    bumps = (y > y.roll(1, -1)) & (y > y.roll(-1, -1))
    assert int(bumps[2].sum()) == 8
    # Up to the breaking time dispersion is weak and u carries its value along: steepest where cos(pi x) = 0, x = 1/2.
    assert abs(float(x[y[1].diff().abs().argmax()]) - 0.5) < 0.05
    first = states(system, 50)
    assert worst(first.square().mean(-1), torch.full((50, 1), 0.5, dtype=torch.float64)) < 1e-13
    assert worst(first.amax(-1), torch.ones(50, 1, dtype=torch.float64)) < 1e-3


def test_korteweg_de_vries_initial_solitons() -> None:
    system = KortewegDeVries()
    x = states(system, 300)
    # A soliton of speed c holds 2 sqrt(c); the mean of 2 sqrt(c), c uniform in [0.2, 1], is 5/3 (1 - 0.2^1.5).
    held = x.mean(-1) * 32
    assert float(held.mean()) == pytest.approx(2 * 5 / 3 * (1 - 0.2**1.5), rel=0.03)
    assert 4 * math.sqrt(0.2) < float(held.min()) < float(held.max()) < 4
    assert worst(states(system, 3), states(system, 5)[:3]) == 0
    assert worst(x[:, :, 0], (2 * x[:, :, 1] - x[:, :, 2] + 2 * x[:, :, -1] - x[:, :, -2]) / 2) < 0.02


# The combined equation


def test_combined_equation_contains_burgers() -> None:
    alpha, nu = 0.8, 0.25
    system = CombinedEquation(128)
    x, t = states(system, 2, seed=3), 6.0
    y = system.simulate(x[None], tensor([[alpha, nu, 0.0, 0.0]]), tensor([0.0, t]))[0, :, 1, 0]
    # Cole and Hopf: alpha u = -2 nu (log phi)_x where phi_t = nu phi_xx, on a finer grid in NumPy.
    n = 1024
    k = 2 * np.pi * np.fft.rfftfreq(n, 32 / n)
    uh = np.zeros((2, n // 2 + 1), complex)
    uh[:, :64] = np.fft.rfft(x[:, 0].numpy())[:, :64] * n / 128
    potential = np.fft.irfft(np.where(k > 0, uh / np.where(k > 0, 1j * k, 1), 0), n)
    ph = np.fft.rfft(np.exp(-alpha * potential / (2 * nu))) * np.exp(-nu * k**2 * t)
    exact = -2 * nu / alpha * np.fft.irfft(1j * k * ph, n) / np.fft.irfft(ph, n)
    assert worst(y, torch.from_numpy(exact[:, ::8])) < 1e-8


def test_combined_equation_contains_the_others() -> None:
    class Wide(CombinedEquation):
        """Admits beta < 0."""

        parameters = tuple(Parameter(q.name, q.unit, -2.0, 2.0) for q in CombinedEquation.parameters)

    mine, times = Wide(128, max_step=0.0125, fine=256), tensor([0.0, 1.0, 3.0])
    x = states(mine, 2)[None]
    front = KuramotoSivashinsky(128, 32.0, max_step=0.0125, fine=256)
    same = mine.simulate(x, tensor([[1.0, -1.1, 0.0, 0.9]]), times)
    assert worst(same, front.simulate(x, tensor([[1.1, 0.9]]), times)) < 1e-13
    water = KortewegDeVries(128, max_step=0.0125, fine=256)
    same = mine.simulate(x, tensor([[0.75, 0.0, 0.4, 0.0]]), times)
    assert worst(same, water.simulate(x, tensor([[0.75, 0.4]]), times)) < 1e-13


def test_combined_equation_without_advection_is_linear() -> None:
    system = CombinedEquation(64, linear_alone=True)
    x, t = states(system, 3), 5.0
    k = 2 * np.pi * np.fft.rfftfreq(64, 0.5)
    for p, symbol in (
        ((0.0, 0.2, 0.5, 0.3), -0.2 * k**2 - 0.3 * k**4 + 0.5j * k**3),
        ((0.9, 0.0, 0.0, 0.0), -0.9j * k),
    ):
        y = system.simulate(x[None], tensor([p]), tensor([0.0, t]))[0, :, 1, 0]
        exact = np.fft.irfft(np.fft.rfft(x[:, 0].numpy()) * np.exp(symbol * t), 64)
        assert worst(y, torch.from_numpy(exact)) < 1e-12
    # The paper's equation, where the argument is left alone, steepens instead.
    bare = CombinedEquation(64).rhs(tensor(0.0), x, tensor([0.9, 0, 0, 0]))
    moved = system.rhs(tensor(0.0), x, tensor([0.9, 0, 0, 0]))
    assert worst(bare, moved) > 0.05


def test_combined_equation_momentum_budget() -> None:
    system, p = CombinedEquation(64), tensor([0.8, 0.1, 0.6, 0.2])
    x, g = states(system, 4), system.fourier
    rate = (x * system.rhs(tensor(0.0), x, p))[:, 0].mean(-1)
    ux, uxx = g.inverse(g.derivative(-1) * g.forward(x)), g.inverse(g.laplacian * g.forward(x))
    assert worst(rate, -(0.1 * ux.square() + 0.2 * uxx.square())[:, 0].mean(-1)) < 1e-15


def test_combined_equation_against_the_published_generator() -> None:
    """Radau at torchdiffeq's default tolerances on u u_x with its aliasing errors, one frame."""
    f = leads.make("combined_equation")
    x, p, n = states(f.system, 1), f.seen[:1], 128
    a, b, d, c = p[0].tolist()
    ik = 2j * np.pi * np.fft.fftfreq(n, 32 / n)

    def field(_: float, u: np.ndarray) -> np.ndarray:
        uh = np.fft.fft(u)
        return -a * u * np.fft.ifft(ik * uh).real + np.fft.ifft((b * ik**2 - d * ik**3 - c * ik**4) * uh).real

    t = float(f.times[1])
    theirs = solve_ivp(field, (0, t), x[0, 0].numpy(), method="Radau", rtol=1e-7, atol=1e-9).y[:, -1]
    assert worst(f.system.simulate_published(x[None], p, f.times[:2])[0, 0, 1, 0], torch.from_numpy(theirs)) < 1e-6


def test_combined_equation_published_draws() -> None:
    small, big = leads.make("combined_equation"), leads.make("combined_equation", split="geps_big")
    assert small.seen.shape == (16, 4)
    assert len(small.unseen) == 4
    for column, values in enumerate(({0.5, 0.75}, {0.075, 0.25}, {0.25, 0.75}, {0.25, 0.75})):
        assert set(small.seen[:, column].tolist()) == values
    assert len(small.times) == 10
    assert float(small.times[1]) == pytest.approx(300 / 99)
    assert big.seen.shape == (1200, 4)
    assert big.unseen.shape == (10, 4)
    every = torch.cat([big.seen, big.unseen])
    assert len(every.unique(dim=0)) == 1210
    steps = (every - tensor([0.5, 0, 0, 0])) / tensor([0.05, 0.05, 0.1, 0.1])
    assert worst(steps, steps.round()) < 1e-12
    assert every.amin(0).tolist() == [0.5, 0, 0, 0]
    assert every.amax(0).tolist() == [1, 0.5, 1, 1]
    assert big.unseen[0].tolist() == pytest.approx([0.7, 0.5, 0.4, 0.8])
    alone = (big.seen[:, 1:] == 0).all(1)
    assert int(alone.sum()) == 1
    assert big.system.linear_alone
    np.random.seed(7)
    amplitude, phase, waves = (
        np.random.rand(1, 3) - 0.5,
        2 * np.pi * np.random.rand(1, 3),
        np.random.randint(1, 3, (1, 3)),
    )
    x = np.linspace(0, (1 - 1 / 128) * 32, 128)[:, None]
    published = np.sum(amplitude * np.sin(2 * np.pi * waves * x / 32 + phase), -1)
    assert worst(states(small.system, 1, seed=7)[0, 0], torch.from_numpy(published)) < 1e-14


@pytest.mark.parametrize(
    ("name", "split"), [("korteweg_de_vries", "zabusky_kruskal"), ("combined_equation", "geps_big")]
)
def test_contract_of_the_other_splits(name: str, split: str) -> None:
    f = leads.make(name, split=split)
    check_system(f.system, f.seen[:2], f.times[:3])
