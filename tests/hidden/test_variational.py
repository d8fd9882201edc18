"""4D-Var against the normal equations; its minimiser and its background against theory."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import leads
from leads.adapters import Adapter, Context
from leads.contexts import Table
from leads.dynamics import DecomposedDynamics
from leads.environments import Channel, Grid
from leads.errors import DataError, DivergenceError, SettingsError, ShapeError
from leads.hidden import Background, fourdvar
from leads.hidden.lbfgs import minimise
from leads.observation import Channels, Clouds, Layout, Noise
from leads.trajectories import Trajectories, observe

N = 12
LAYOUT = Layout((Channel("h", "m"), Channel("u", "m s-1")), (N,), Grid((N,), (1.0,), ("x",), "m"))


class Waves(Adapter):
    """``h_t = -c u_x, u_t = -c h_x`` by centred differences, with the context c."""

    def __init__(self) -> None:
        super().__init__()
        self.unit = torch.nn.Parameter(torch.ones((), dtype=torch.float64))

    def init_context(self) -> Context:
        return {"speed": torch.ones(1, dtype=torch.float64)}

    def prepare(self, context: Context) -> Tensor:
        return context["speed"]

    def forward(self, t: Tensor, x: Tensor, prepared: Tensor) -> Tensor:
        slope = 0.5 * (x.roll(-1, -1) - x.roll(1, -1))
        return -prepared * self.unit * slope.flip(-2)


def waves() -> tuple[DecomposedDynamics, Context, Trajectories]:
    adapter = Waves()
    model = DecomposedDynamics(adapter, Table(adapter, 2).double(), substeps=4)
    contexts = {"speed": torch.tensor([[1.0], [1.6]], dtype=torch.float64)}
    x0 = torch.randn(2, 3, 2, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    times = torch.arange(5, dtype=torch.float64)
    with torch.no_grad():
        states = model.rollout(x0, times, contexts)
    return model, contexts, Trajectories(states, times, channels=LAYOUT.channels, grid=LAYOUT.grid)


def test_the_minimum_solves_the_normal_equations() -> None:
    model, contexts, truth = waves()
    operator = Channels("h") | Clouds(0.3, 1.5) | Noise(0.2)
    observed = observe(truth, operator, seed=1)
    assert observed.mask is not None
    background = Background((1.0, 0.7), 1.2)
    mean = 0.1 * torch.ones(2, 3, 2, N, dtype=torch.float64)
    found = fourdvar(model, contexts, observed, background, mean=mean, iterations=200, tolerance=1e-8)
    assert bool(found.converged.all())
    size = 2 * N
    basis = torch.eye(size, dtype=torch.float64).reshape(1, size, 2, N).expand(2, size, 2, N)
    with torch.no_grad():
        path = model.rollout(basis, truth.times, contexts)[:, :, :, 0]  # (E, 24, T, N)
    root = background.root(basis[0], LAYOUT).reshape(size, size).numpy().T
    b = root @ root.T
    for e in range(2):
        every = path[e].flatten(1).numpy().T
        for n in range(3):
            keep = observed.mask[e, n, :, 0].flatten().numpy()
            m = every[keep]
            y = observed.states[e, n, :, 0].flatten().numpy()[keep]
            xb = mean[e, n].flatten().numpy()
            gain = b @ m.T @ np.linalg.inv(m @ b @ m.T + 0.04 * np.eye(len(m)))
            expected = xb + gain @ (y - m @ xb)
            np.testing.assert_allclose(found.initial[e, n].flatten().numpy(), expected, atol=1e-6)
    with torch.no_grad():
        end = model.rollout(found.initial, truth.times, contexts)[:, :, -1]
    assert torch.equal(end, found.final)


def test_each_trajectory_is_a_problem_of_its_own() -> None:
    model, contexts, truth = waves()
    observed = observe(truth, Channels("h") | Noise(0.2), seed=1)
    together = fourdvar(model, contexts, observed, Background(1.0), iterations=15)
    speed = {"speed": contexts["speed"][1:]}
    alone = fourdvar(model, speed, observed.select([1], [2]), Background(1.0), iterations=15)
    torch.testing.assert_close(alone.initial[0, 0], together.initial[1, 2], rtol=1e-6, atol=1e-8)
    assert bool((together.history.diff(dim=0) <= 0).all())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_hidden_velocity_is_found() -> None:
    model, contexts, truth = waves()
    observed = observe(truth, Channels("h") | Noise(0.01), seed=1)
    found = fourdvar(model, contexts, observed, Background(1.0), iterations=100)
    error = (found.initial - truth.initial)[:, :, 1]
    # Waves of the longest and the shortest wavelength of centred differences stand still and stay unseen.
    modes = torch.fft.rfft(error)[..., 1:-1].abs().max() / N
    assert float(modes) < 0.02
    assert float(torch.fft.rfft(truth.initial[:, :, 1])[..., 1:-1].abs().max() / N) > 0.2


def test_minimiser_on_rosenbrock_rows() -> None:
    scale = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)
    valley = lambda x: (1 - x[:, 0]) ** 2 + scale[: len(x)] * (x[:, 1] - x[:, 0] ** 2) ** 2
    start = torch.tensor([[-1.2, 1.0]] * 3, dtype=torch.float64)
    found = minimise(valley, start, iterations=200, tolerance=1e-9)
    torch.testing.assert_close(found.x, torch.ones_like(start), rtol=1e-6, atol=1e-6)
    assert bool(found.converged.all())
    alone = minimise(valley, start[:1], iterations=200, tolerance=1e-9)
    torch.testing.assert_close(alone.x, found.x[:1], rtol=1e-8, atol=1e-8)


def test_minimiser_backs_off_from_infinite_values() -> None:
    barrier = lambda x: -x.log().sum(1) + 50 * x.sum(1)
    found = minimise(barrier, torch.ones(1, 3, dtype=torch.float64), iterations=100, tolerance=1e-8)
    torch.testing.assert_close(found.x, torch.full((1, 3), 0.02, dtype=torch.float64), rtol=1e-5, atol=1e-6)


def test_the_spectral_background_has_its_covariance() -> None:
    n, length = 40, 2.5
    layout = Layout((Channel("h"),), (n, n), Grid((n, n), (1.0, 1.0), ("y", "x")))
    background = Background(0.3, length)
    spike = torch.zeros(1, n, n, dtype=torch.float64)
    spike[0, 0, 0] = 1.0
    covariance = background.root(background.root(spike, layout), layout)[0]
    r = torch.arange(10, dtype=torch.float64)
    torch.testing.assert_close(covariance[0, :10], 0.09 * (-(r**2) / (2 * length**2)).exp(), rtol=1e-6, atol=1e-8)
    diagonal = Background((2.0,)).root(spike, layout)
    assert float(diagonal[0, 0, 0]) == 2.0
    assert float(diagonal.sum()) == 2.0
    assert math.isclose(float(covariance[0, 0]), 0.09, rel_tol=1e-9)


def test_bad_input() -> None:
    model, contexts, truth = waves()
    observed = observe(truth, Channels("h") | Noise(0.2))
    noiseless = observe(truth, Channels("h"))
    with pytest.raises(SettingsError, match="noise="):
        fourdvar(model, contexts, noiseless, Background(1.0))
    with pytest.raises(DataError, match="no operator"):
        fourdvar(model, contexts, truth, Background(1.0))
    with pytest.raises(SettingsError, match="positive"):
        Background(0.0)
    with pytest.raises(SettingsError, match="3 deviations, the state 2"):
        fourdvar(model, contexts, observed, Background((1.0, 1.0, 1.0)))
    with pytest.raises(ShapeError, match="mean"):
        fourdvar(model, contexts, observed, Background(1.0), mean=torch.zeros(5, 7))
    with pytest.raises(DivergenceError, match="environment 0, trajectory 0"):
        fourdvar(model, {"speed": 1e200 * contexts["speed"]}, observed, Background(1.0))
    past = leads.build("erm", truth, history=2, backbone="conv")
    with pytest.raises(SettingsError, match="history=1"):
        fourdvar(past, {}, observed, Background(1.0))
