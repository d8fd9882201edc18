"""Every ordinary differential equation against SciPy, with its right-hand side written a second time in NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import leads
from leads.environments import EnvironmentFamily
from leads.environments.epidemic import SEIR, SIR
from leads.environments.lotka_volterra import LotkaVolterra
from leads.environments.pendulum import Pendulum
from leads.errors import SettingsError, UnknownNameError
from leads.trajectories.generate import initial_states

Rates = Callable[[float, np.ndarray, np.ndarray], list[float]]


def lotka_volterra(t: float, y: np.ndarray, p: np.ndarray) -> list[float]:
    return [y[0] * (p[0] - p[1] * y[1]), y[1] * (p[3] * y[0] - p[2])]


def glycolytic_oscillator(t: float, y: np.ndarray, p: np.ndarray) -> list[float]:
    j0, k1, k2, k3, k4, k5, k6, kk1, q, n, a, kappa, psi, k = p
    r = k1 * y[0] * y[5] / (1 + (y[5] / kk1) ** q)
    return [
        j0 - r,
        2 * r - k2 * y[1] * (n - y[4]) - k6 * y[1] * y[4],
        k2 * y[1] * (n - y[4]) - k3 * y[2] * (a - y[5]),
        k3 * y[2] * (a - y[5]) - k4 * y[3] * y[4] - kappa * (y[3] - y[6]),
        k2 * y[1] * (n - y[4]) - k4 * y[3] * y[4] - k6 * y[1] * y[4],
        -2 * r + 2 * k3 * y[2] * (a - y[5]) - k5 * y[5],
        psi * kappa * (y[3] - y[6]) - k * y[6],
    ]


def selkov(t: float, y: np.ndarray, p: np.ndarray) -> list[float]:
    return [-y[0] + p[0] * y[1] + y[0] ** 2 * y[1], p[1] - p[0] * y[1] - y[0] ** 2 * y[1]]


def pendulum(t: float, y: np.ndarray, p: np.ndarray) -> list[float]:
    return [y[1], -(p[1] ** 2) * np.sin(y[0]) - p[0] * y[1] + p[2] * np.cos(p[3] * t)]


def forced_oscillator(t: float, y: np.ndarray, p: np.ndarray) -> list[float]:
    s, c = np.sin(t), np.cos(t)
    basis = [s, c, np.exp(c), np.sin(c), np.sin(s + c), np.sinh(s + c), np.sinh(s), np.sinh(c)]
    return [y[1], -p[0] * y[1] - p[1] ** 2 * y[0] + np.dot(p[2:], basis)]


def lorenz(t: float, y: np.ndarray, p: np.ndarray) -> list[float]:
    return [p[0] * (y[1] - y[0]), p[1] * y[0] - y[1] - y[0] * y[2], y[0] * y[1] - p[2] * y[2]]


def van_der_pol(t: float, y: np.ndarray, p: np.ndarray) -> list[float]:
    return [y[1], p[0] * (1 - y[0] ** 2) * y[1] - y[0]]


def fitzhugh_nagumo(t: float, y: np.ndarray, p: np.ndarray) -> list[float]:
    """FitzHugh's own variables and signs, x = -v, y = w, z = -I."""
    a, b, c, current = p
    x, w, z = -y[0], y[1], -current
    return [-c * (w + x - x**3 / 3 + z), -(x - a + b * w) / c]


def sir(t: float, y: np.ndarray, p: np.ndarray) -> list[float]:
    new = p[0] * y[0] * y[1] / y.sum()
    return [-new, new - p[1] * y[1], p[1] * y[1]]


def seir(t: float, y: np.ndarray, p: np.ndarray) -> list[float]:
    new = p[0] * y[0] * y[2] / y.sum()
    return [-new, new - p[1] * y[1], p[1] * y[1] - p[2] * y[2], p[2] * y[2]]


CASES = [
    (lotka_volterra, "coda"),
    (lotka_volterra, "metaphysica"),
    (lotka_volterra, "metaphysica_ood"),
    (glycolytic_oscillator, "coda"),
    (glycolytic_oscillator, "fnsda"),
    (selkov, "ncf"),
    (pendulum, "geps"),
    (pendulum, "aphynity"),
    (pendulum, "coda"),
    (pendulum, "ncf"),
    (pendulum, "metaphysica_ood"),
    (forced_oscillator, "ncf"),
    (lorenz, "ours"),
    (van_der_pol, "ours"),
    (fitzhugh_nagumo, "ours"),
    (sir, "ours"),
    (sir, "metaphysica_ood"),
    (seir, "ours"),
]


@pytest.mark.parametrize(("rates", "split"), CASES, ids=[f"{f.__name__}-{s}" for f, s in CASES])
def test_agrees_with_scipy(rates: Rates, split: str) -> None:
    """To 1e-10 of the state's size at the end of the horizon, and at its middle."""
    f = leads.make(rates.__name__, split=split)
    p = torch.cat([f.seen[-1:], f.unseen[-1:]])
    x0 = f.system.sample_x0(2, np.random.RandomState(5)).expand(2, 2, *f.system.state_shape)
    t = f.horizon_times[[0, len(f.horizon_times) // 2, -1]]
    states = f.system.simulate(x0, p, t)
    for e in range(2):
        size = float(states[e, e].abs().max())
        y = x0[e, e].numpy()
        for k in (1, 2):
            span = (float(t[k - 1]), float(t[k]))
            got = solve_ivp(rates, span, y, "DOP853", args=(p[e].numpy(),), rtol=1e-13, atol=1e-15 * size)
            y = got.y[:, -1]
            assert np.abs(y - states[e, e, k].numpy()).max() < 1e-10 * size


@pytest.mark.parametrize("name", ["pendulum", "forced_oscillator", "glycolytic_oscillator", "seir"])
def test_float32_and_vmap(name: str) -> None:
    f = leads.make(name)
    x, p, t = f.system.sample_x0(4, np.random.RandomState(0)), f.seen[:4], torch.linspace(0, 1, 4, dtype=torch.float64)
    whole = f.system.rhs(t, x, p)
    torch.testing.assert_close(torch.func.vmap(f.system.rhs)(t, x, p), whole)
    single = f.system.rhs(t, x.float(), p.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), whole, rtol=1e-4, atol=1e-4)
    states = f.system.simulate(x[None].float(), p[:1], f.times[:3])
    assert states.dtype == torch.float32
    torch.testing.assert_close(states.double(), f.system.simulate(x[None], p[:1], f.times[:3]), rtol=1e-4, atol=1e-4)


#: family, split, seen, unseen, frames, test frames, train, test, adapt, distance of frames
SPLITS = [
    ("lotka_volterra", "fnsda", 9, 4, 40, 40, 100, 50, 1, 0.5),
    ("lotka_volterra", "coda_shift", 9, 4, 20, 20, 4, 32, 1, 0.5),
    ("lotka_volterra", "ncf", 9, 4, 20, 20, 4, 32, 1, 0.5),
    ("lotka_volterra", "ncf_grid", 9, 2601, 20, 20, 4, 32, 1, 0.5),
    ("lotka_volterra", "lotka_50", 50, 4, 20, 20, 4, 32, 1, 0.5),
    ("lotka_volterra", "lotka_100", 100, 4, 20, 20, 4, 32, 1, 0.5),
    ("lotka_volterra", "lotka_17", 17, 4, 20, 20, 4, 32, 1, 0.5),
    ("lotka_volterra", "metaphysica", 800, 200, 33, 100, 1, 1, 1, 10 / 99),
    ("glycolytic_oscillator", "coda", 9, 4, 20, 20, 32, 32, 1, 0.05),
    ("glycolytic_oscillator", "coda_1", 9, 4, 20, 20, 32, 32, 1, 0.05),
    ("glycolytic_oscillator", "coda_2", 9, 4, 20, 20, 32, 32, 1, 0.05),
    ("glycolytic_oscillator", "coda_3", 9, 4, 20, 20, 32, 32, 1, 0.05),
    ("glycolytic_oscillator", "fnsda", 9, 4, 40, 40, 100, 50, 1, 0.05),
    ("selkov", "ncf", 21, 6, 11, 11, 4, 4, 1, 4.0),
    ("forced_oscillator", "ncf", 8, 1, 189, 189, 4, 32, 12, 6 * np.pi / 189),
    ("pendulum", "geps", 4, 4, 50, 100, 8, 32, 1, 0.5),
    ("pendulum", "aphynity", 1, 4, 40, 40, 25, 25, 1, 0.5),
    ("pendulum", "coda", 9, 4, 20, 20, 8, 32, 1, 0.2),
    ("pendulum", "ncf", 25, 2, 40, 40, 12, 32, 1, 10 / 39),
    ("pendulum", "metaphysica", 800, 200, 33, 100, 1, 1, 1, 10 / 99),
    ("sir", "metaphysica", 800, 200, 20, 100, 1, 1, 1, 10 / 99),
]


@pytest.mark.parametrize(
    ("name", "split", "seen", "unseen", "frames", "test_frames", "train", "test", "adapt", "dt"), SPLITS
)
def test_published_splits(
    name: str, split: str, seen: int, unseen: int, frames: int, test_frames: int,
    train: int, test: int, adapt: int, dt: float,
) -> None:  # fmt: skip
    f = leads.make(name, split=split)
    assert (len(f.seen), len(f.unseen), len(f.times), len(f.horizon_times)) == (seen, unseen, frames, test_frames)
    assert (f.budget.train, f.budget.test, f.budget.adapt) == (train, test, adapt)
    torch.testing.assert_close(f.horizon_times.diff(), torch.full((test_frames - 1,), dt, dtype=torch.float64))
    assert f.arguments == {"split": split}
    assert f.source
    again = leads.make(name, split=split)
    assert torch.equal(f.seen, again.seen)
    assert torch.equal(f.unseen, again.unseen)


def _columns(family: EnvironmentFamily, *names: str) -> set[tuple[float, ...]]:
    return set(map(tuple, family.seen[:, [family.system.parameter_index(n) for n in names]].tolist()))


def test_published_values() -> None:
    assert _columns(leads.make("glycolytic_oscillator"), "k1", "K1") == {
        (a, b) for a in (100, 90, 80) for b in (1, 0.75, 0.5)
    }
    assert {k for k, _ in _columns(leads.make("glycolytic_oscillator", split="coda_3"), "k1", "K1")} == {100, 99.5, 99}
    b = leads.make("selkov").seen[:, 1]
    assert (b < -0.2).sum() == (b > 0.2).sum() == (b.abs() <= 0.1).sum() == 7
    assert b.abs().max() == 1
    assert _columns(leads.make("pendulum"), "alpha", "omega0", "w_f", "f0") == {
        (0.2, 0.5, 0, 0), (0.5, 0.5, 0, 0), (0, 0.7, 0.75, 0.2), (0, 0.5, 1, 0.1)
    }  # fmt: skip
    coda = leads.make("pendulum", split="coda").seen
    np.testing.assert_allclose(sorted(coda[:, 0]), sorted(b / m for b in (0.3, 0.4, 0.5) for m in (1, 2, 3)))
    np.testing.assert_allclose(coda[:, 1] ** 2, 0.98)
    np.testing.assert_allclose(leads.make("pendulum", split="ncf").unseen[:, 1] ** 2, (10.25, 14.75))
    np.testing.assert_allclose(leads.make("pendulum", split="aphynity").seen, [[0.2, np.pi / 3, 0, 0]])
    grid = leads.make("lotka_volterra", split="ncf_grid").unseen
    np.testing.assert_allclose(grid[:, 1].unique(), np.linspace(0.25, 1.25, 51))
    for split in ("ncf", "coda_shift"):
        assert torch.equal(leads.make("lotka_volterra", split=split).unseen, leads.make("lotka_volterra").unseen)
    fifty, hundred = (leads.make("lotka_volterra", split=f"lotka_{n}").seen[:, (1, 3)] for n in (50, 100))
    assert torch.equal(fifty, hundred[:50])
    np.testing.assert_allclose(hundred.mean(0), 0.75, atol=4 * 0.15 / 10)
    np.testing.assert_allclose(hundred.std(0), 0.15, rtol=0.25)
    circles = leads.make("lotka_volterra", split="lotka_17").seen[:, (1, 3)]
    middles = torch.tensor([[0.75, 0.75], [1.25, 0.75]], dtype=torch.float64)
    nearest = (circles[:, None] - middles).norm(dim=-1).amin(1).numpy()
    np.testing.assert_allclose(np.sort(nearest), [0, 0] + [0.25] * 15, atol=1e-12)
    assert len({tuple(row) for row in circles.round(decimals=9).tolist()}) == 17


METAPHYSICA = {
    "lotka_volterra": ((1.2, 0.06, 0.48, 0.00048), (2.4, 0.12, 0.96, 0.00096), (3.6, 0.18, 1.44, 0.00144)),
    "pendulum": ((0.2, 1.0, 0.0, 0.0), (0.4, 2.0, 0.0, 0.0), (0.6, 3.0, 0.0, 0.0)),
    "sir": ((4.0, 0.4), (8.0, 0.8), (12.0, 1.2)),
}


@pytest.mark.parametrize("name", list(METAPHYSICA))
def test_environments_drawn_from_ranges(name: str) -> None:
    """Means within four standard errors; seen inside their range, unseen beyond it in every parameter."""
    f = leads.make(name, split="metaphysica")
    for rows, low, high in ((f.seen.numpy(), 0, 1), (f.unseen.numpy(), 1, 2)):
        a, b = np.array(METAPHYSICA[name][low]), np.array(METAPHYSICA[name][high])
        assert (rows >= a).all()
        assert (rows <= b).all()
        assert (np.abs(rows.mean(0) - (a + b) / 2) <= 4 * (b - a) / np.sqrt(12 * len(rows))).all()
    shifted = leads.make(name, split="metaphysica_ood")
    assert torch.equal(f.seen, shifted.seen)
    assert torch.equal(f.unseen, shifted.unseen)


@pytest.mark.parametrize(
    ("name", "split", "low", "high"),
    [
        ("lotka_volterra", "coda", (1, 1), (2, 2)),
        ("lotka_volterra", "coda_shift", (2, 2), (3, 3)),
        ("lotka_volterra", "metaphysica", (1000, 10), (2000, 20)),
        ("lotka_volterra", "metaphysica_ood", (100, 10), (200, 20)),
        (
            "glycolytic_oscillator", "coda",
            (0.15, 0.19, 0.04, 0.10, 0.08, 0.14, 0.05), (1.60, 2.16, 0.20, 0.35, 0.30, 2.67, 0.10),
        ),
        ("selkov", "ncf", (0, 0), (3, 3)),
        ("forced_oscillator", "ncf", (1, 1), (2, 2)),
        ("pendulum", "geps", (0, 0), (0.25, 1)),
        ("pendulum", "ncf", (-np.pi / 3, -1), (np.pi / 3, 1)),
        ("pendulum", "metaphysica", (0, -1), (np.pi / 2, 0)),
        ("pendulum", "metaphysica_ood", (np.pi - 0.1, -1), (np.pi - 0.05, 0)),
        ("sir", "metaphysica", (9, 1, 0), (10, 5, 0)),
        ("sir", "metaphysica_ood", (90, 1, 0), (100, 5, 0)),
    ],
)  # fmt: skip
def test_initial_states_are_uniform(name: str, split: str, low: tuple[float, ...], high: tuple[float, ...]) -> None:
    x = leads.make(name, split=split).system.sample_x0(4000, np.random.RandomState(0)).numpy()
    a, b = np.array(low), np.array(high)
    assert (x >= a).all()
    assert (x <= b).all()
    np.testing.assert_allclose(x.mean(0), (a + b) / 2, atol=4 * (b - a).max() / np.sqrt(12 * 4000))
    np.testing.assert_allclose(x.std(0), (b - a) / np.sqrt(12), rtol=0.04)


def test_initial_states_are_the_published_draw() -> None:
    """The streams of the public codes: seed k for trajectory k, for GEPS counted over all environments."""
    lv = leads.make("lotka_volterra").system
    go = leads.make("glycolytic_oscillator").system
    for seed in (0, 3):
        draw = np.random.RandomState(seed).random_sample(2) + 1
        np.testing.assert_allclose(lv.sample_x0(1, np.random.RandomState(seed))[0], draw, rtol=1e-15)
        u = np.random.RandomState(seed).random_sample(7)
        np.testing.assert_allclose(
            go.sample_x0(1, np.random.RandomState(seed))[0, 5], 0.14 + (2.67 - 0.14) * u[5], rtol=1e-15
        )
    x = initial_states(leads.make("pendulum"), lambda k: k, 8, 4)
    np.testing.assert_allclose(x[2, 3], np.random.RandomState(19).random_sample(2) * (0.25, 1), rtol=1e-15)


def test_published_fidelity_has_the_published_error() -> None:
    """RK45 at its defaults misses glycolysis by about 1.7e-8 (mean square), odeint's tolerances by far less."""
    f = leads.make("glycolytic_oscillator")
    x0 = initial_states(f, lambda k: 2**31 - 1 - k, 8, 9)
    error = f.system.simulate_published(x0, f.seen, f.times) - f.system.simulate(x0, f.seen, f.times)
    assert 3e-9 < float(error.square().mean()) < 1e-7
    for name in METAPHYSICA:
        f = leads.make(name, split="metaphysica")
        x0 = f.system.sample_x0(50, np.random.RandomState(0))[:, None]
        exact = f.system.simulate(x0, f.seen[:50], f.times)
        error = (f.system.simulate_published(x0, f.seen[:50], f.times) - exact).abs().max() / exact.abs().max()
        assert 1e-11 < float(error) < 1e-6


@pytest.mark.parametrize(
    "name",
    ["glycolytic_oscillator", "selkov", "pendulum", "forced_oscillator", "lorenz", "van_der_pol", "fitzhugh_nagumo",
     "sir", "seir"],
)  # fmt: skip
def test_unknown_split(name: str) -> None:
    with pytest.raises(UnknownNameError, match=f"family '{name}' has no split 'cods'"):
        leads.make(name, split="cods")


def test_bad_initial_boxes() -> None:
    with pytest.raises(SettingsError, match="start positive"):
        LotkaVolterra((0.0, 1.0), (1.0, 2.0))
    with pytest.raises(SettingsError, match="got 'rk4'"):
        Pendulum(published=("rk4", 1e-3, 1e-6))  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="3 lower bounds"):
        SIR((1.0, 0.1), (2.0, 0.2))
    with pytest.raises(SettingsError, match="4 lower bounds"):
        SEIR(low=(2.0, 0.1, 0.1, 0.0))
